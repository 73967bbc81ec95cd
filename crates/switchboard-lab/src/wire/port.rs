//! [`Port`]: where packets enter and leave the wire; a TUN, a TAP, or a packet socket on a veth.

use crate::host::sys;
use crate::wire::frame::{ETHERNET, Frame, HEADROOM, LONGEST};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, write};
use std::io;
use switchboard_net::sys::sockopt;

/// What stands before the IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// Nothing.
    Bare,
    /// Ethernet, between these two hardware addresses.
    Ethernet {
        /// The host's.
        host: [u8; 6],
        /// That of whoever sends to it, if the sender is no host.
        wire: [u8; 6],
    },
}

/// One end of the wire.
#[derive(Debug)]
pub(crate) struct Port {
    fd: OwnedFd,
    framing: Framing,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// An IP packet.
    Packet(Frame),
    /// An ARP packet, without its Ethernet header.
    Arp(Vec<u8>),
    /// Something that the wire does not carry.
    Other,
}

/// Ethernet types (IEEE).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

impl Port {
    /// A TUN (bare) or TAP (Ethernet) whose packets begin with a `virtio_net_hdr`.
    pub(crate) fn tun(fd: OwnedFd, framing: Framing) -> Port {
        Port { fd, framing }
    }

    /// A packet socket, to be bound to an interface (packet(7)).
    pub(crate) fn packet(fd: OwnedFd, interface: u32, framing: Framing) -> io::Result<Port> {
        const PACKET_VNET_HDR: i32 = 15;
        const PACKET_IGNORE_OUTGOING: i32 = 23;
        /// As much for root; cut to `net.core.rmem_max` for others (socket(7)).
        const BUFFER: i32 = 32 << 20;
        sockopt::set_int(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
        sockopt::set_int(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        if sockopt::set_int(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER).is_err() {
            let _ = sockopt::set_int(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER);
        }
        let _ = sockopt::set_int(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF, BUFFER);
        sys::bind_packet(&fd, interface)?;
        Ok(Port { fd, framing })
    }

    /// Reads one packet; none if there is none now. `scratch` is for any content.
    ///
    /// # Errors
    /// When the interface is gone.
    pub(crate) fn read(&self, scratch: &mut Vec<u8>) -> Result<Option<Arrival>, Errno> {
        let at = match self.framing {
            Framing::Bare => ETHERNET,
            Framing::Ethernet { .. } => 0,
        };
        scratch.resize(LONGEST, 0);
        let length = match read(&self.fd, &mut scratch[at..]) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            // EINVAL: a packet that a virtio_net_hdr cannot describe.
            Err(Errno::INVAL | Errno::NOBUFS | Errno::NETDOWN) => return Ok(Some(Arrival::Other)),
            Err(error) => return Err(error),
        };
        let end = at + length;
        if end <= HEADROOM {
            return Ok(Some(Arrival::Other));
        }
        let kind = match self.framing {
            Framing::Bare => ip(&scratch[HEADROOM..end]),
            Framing::Ethernet { .. } => u16::from_be_bytes([scratch[HEADROOM - 2], scratch[HEADROOM - 1]]),
        };
        Ok(Some(match kind {
            ARP => Arrival::Arp(scratch[HEADROOM..end].to_vec()),
            IPV4 | IPV6 => Frame::read(scratch, at, end).map_or(Arrival::Other, Arrival::Packet),
            _ => Arrival::Other,
        }))
    }

    /// How many packets the kernel has thrown away since the last call because the wire did not take them in time; known
    /// of packet sockets only (`PACKET_STATISTICS`, packet(7)).
    pub(crate) fn overrun(&self) -> u32 {
        const PACKET_STATISTICS: i32 = 6;
        let mut statistics = [0; 8];
        match sockopt::get(&self.fd, libc::SOL_PACKET, PACKET_STATISTICS, &mut statistics) {
            Ok(8) => u32::from_ne_bytes([statistics[4], statistics[5], statistics[6], statistics[7]]),
            _ => 0,
        }
    }

    /// Hands a packet to the host; `sender` is the hardware address of the host that sent it.
    ///
    /// # Errors
    /// `EAGAIN` or `ENOBUFS` if its queue is full; others if the interface is gone or does not want it.
    pub(crate) fn write(&self, frame: &mut Frame, sender: Option<[u8; 6]>) -> Result<(), Errno> {
        let ethernet = match self.framing {
            Framing::Bare => None,
            Framing::Ethernet { host, wire } => {
                Some(header(host, sender.unwrap_or(wire), ip(frame.packet())))
            }
        };
        write(&self.fd, frame.written(ethernet)).map(drop)
    }

    /// Hands an ARP packet to the host.
    pub(crate) fn write_arp(&self, packet: &[u8], sender: [u8; 6]) -> Result<(), Errno> {
        let Framing::Ethernet { host, .. } = self.framing else { return Ok(()) };
        let bytes = [&[0; HEADROOM - ETHERNET][..], &header(host, sender, ARP), packet].concat();
        write(&self.fd, &bytes).map(drop)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The Ethernet type of an IP packet.
fn ip(packet: &[u8]) -> u16 {
    if packet.first().is_some_and(|first| first >> 4 == 6) { IPV6 } else { IPV4 }
}

fn header(destination: [u8; 6], source: [u8; 6], kind: u16) -> [u8; ETHERNET] {
    let mut header = [0; ETHERNET];
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&kind.to_be_bytes());
    header
}
