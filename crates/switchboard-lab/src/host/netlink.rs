//! A little rtnetlink(7): interfaces, addresses, routes; over a socket that was opened inside a host.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::net::IpAddr;

/// Message types (`linux/rtnetlink.h`).
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
/// Attributes (`linux/if_link.h`, `if_addr.h`, `rtnetlink.h`, `veth.h`).
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
/// No duplicate address detection: the address works at once (RFC 4862, section 5.4).
const IFA_F_NODAD: u8 = 0x02;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// Flags of a request.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_EXCL: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
/// Length of the header of a message.
const HEADER: usize = 16;

/// Routing's door into one network namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    serial: u32,
}

/// A message under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, serial: u32, body: &[u8]) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes[8..12].copy_from_slice(&serial.to_ne_bytes());
        bytes.extend_from_slice(body);
        Message(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |message| message.0.extend_from_slice(value));
    }

    /// An attribute whose value is what `inside` adds.
    fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Message)) {
        let at = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        inside(self);
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// `struct ifinfomsg`: which interface, and which of its flags to change how.
fn interface(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..].copy_from_slice(&change.to_ne_bytes());
    body
}

fn octets(address: IpAddr) -> ([u8; 16], usize, u8) {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => {
            bytes[..4].copy_from_slice(&address.octets());
            (bytes, 4, libc::AF_INET as u8)
        }
        IpAddr::V6(address) => {
            bytes.copy_from_slice(&address.octets());
            (bytes, 16, libc::AF_INET6 as u8)
        }
    }
}

impl Netlink {
    /// `socket` is of `NETLINK_ROUTE`.
    pub(super) fn new(socket: OwnedFd) -> Netlink {
        Netlink { socket, serial: 0 }
    }

    /// The index of an interface.
    pub(super) fn index(&mut self, name: &str) -> io::Result<u32> {
        let mut message = self.message(RTM_GETLINK, 0, &interface(0, 0, 0));
        message.attribute(IFLA_IFNAME, &terminated(name));
        let answer = self.exchange(message)?;
        let index = answer.get(HEADER + 4..HEADER + 8).and_then(|bytes| bytes.try_into().ok());
        index
            .map(u32::from_ne_bytes)
            .ok_or_else(|| io::Error::other("rtnetlink: an answer without an interface"))
    }

    /// Sets flags of an interface (`IFF_UP`, `IFF_NOARP`) and clears those of `clear`.
    pub(super) fn set_flags(&mut self, index: u32, set: i32, clear: i32) -> io::Result<()> {
        let message = self.message(RTM_NEWLINK, 0, &interface(index, set as u32, (set | clear) as u32));
        self.exchange(message).map(drop)
    }

    /// Sets the greatest length of an IP packet, and how many packets may wait to be sent.
    pub(super) fn set_sizes(&mut self, index: u32, mtu: u32, queue: u32) -> io::Result<()> {
        let mut message = self.message(RTM_NEWLINK, 0, &interface(index, 0, 0));
        message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        message.attribute(IFLA_TXQLEN, &queue.to_ne_bytes());
        self.exchange(message).map(drop)
    }

    /// Sets the hardware address.
    pub(super) fn set_hardware(&mut self, index: u32, address: [u8; 6]) -> io::Result<()> {
        let mut message = self.message(RTM_NEWLINK, 0, &interface(index, 0, 0));
        message.attribute(IFLA_ADDRESS, &address);
        self.exchange(message).map(drop)
    }

    /// Makes a pair of virtual Ethernet interfaces: `near` here, `far` in the namespace that `namespace` stands for.
    pub(super) fn add_veth(
        &mut self,
        near: &str,
        far: &str,
        hardware: [u8; 6],
        namespace: i32,
    ) -> io::Result<()> {
        let mut message = self.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &interface(0, 0, 0));
        message.attribute(IFLA_IFNAME, &terminated(near));
        message.nested(IFLA_LINKINFO, |message| {
            message.attribute(IFLA_INFO_KIND, b"veth");
            message.nested(IFLA_INFO_DATA, |message| {
                message.nested(VETH_INFO_PEER, |message| {
                    message.0.extend_from_slice(&interface(0, 0, 0));
                    message.attribute(IFLA_IFNAME, &terminated(far));
                    message.attribute(IFLA_ADDRESS, &hardware);
                    message.attribute(IFLA_NET_NS_FD, &namespace.to_ne_bytes());
                });
            });
        });
        self.exchange(message).map(drop)
    }

    /// Gives an interface an address that can be used at once.
    pub(super) fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let (bytes, length, family) = octets(address);
        let mut body = [family, prefix, IFA_F_NODAD, 0, 0, 0, 0, 0];
        body[4..].copy_from_slice(&index.to_ne_bytes());
        let mut message = self.message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body);
        message.attribute(IFA_LOCAL, &bytes[..length]);
        message.attribute(IFA_ADDRESS, &bytes[..length]);
        self.exchange(message).map(drop)
    }

    /// A route without destination: whatever has no better one leaves through the interface, from `source` unless a program chose another.
    pub(super) fn add_default_route(&mut self, index: u32, source: IpAddr) -> io::Result<()> {
        let (bytes, length, family) = octets(source);
        let scope = if source.is_ipv4() { RT_SCOPE_LINK } else { 0 };
        let body = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0, 0, 0, 0];
        let mut message = self.message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body);
        message.attribute(RTA_OIF, &index.to_ne_bytes());
        message.attribute(RTA_PREFSRC, &bytes[..length]);
        self.exchange(message).map(drop)
    }

    fn message(&mut self, kind: u16, flags: u16, body: &[u8]) -> Message {
        self.serial += 1;
        Message::new(kind, flags, self.serial, body)
    }

    /// Sends a request and returns the answer: the message that it asked for, or an empty one.
    fn exchange(&mut self, message: Message) -> io::Result<Vec<u8>> {
        let Message(mut bytes) = message;
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut wanted = Vec::new();
        let mut answer = vec![0; 32 * 1024];
        loop {
            let (_, length) = recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
            let mut rest = &answer[..length.min(answer.len())];
            // Several messages may come in one datagram.
            while let Some((head, body)) = rest.split_at_checked(HEADER) {
                let [a, b, c, d, e, f, ..] = *head else { break };
                let length = u32::from_ne_bytes([a, b, c, d]) as usize;
                if u16::from_ne_bytes([e, f]) == NLMSG_ERROR {
                    let [a, b, c, d, ..] = *body else { break };
                    return match i32::from_ne_bytes([a, b, c, d]) {
                        0 => Ok(wanted),
                        error => Err(Errno::from_raw_os_error(-error).into()),
                    };
                }
                wanted = rest.get(..length).unwrap_or(rest).to_vec();
                rest = rest.get(length.next_multiple_of(4).max(HEADER)..).unwrap_or_default();
            }
        }
    }
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}
