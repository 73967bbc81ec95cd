//! Destroying connections from outside, as `ss -K` does: the local program sees `ECONNABORTED`, the peer a reset.

use super::entry::{End, Entry, Protocol, State};
use super::netlink;
use super::{Diag, Error, Wanted};
use rustix::net::{RecvFlags, SendFlags};
use std::net::IpAddr;

/// `SOCK_DESTROY` (linux/sock_diag.h), in kernels with `CONFIG_INET_DIAG_DESTROY`.
const DESTROY: u16 = 21;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST_ACK: u16 = 1 | 4;

impl Diag {
    /// Destroys every TCP connection that is there; needs `CAP_NET_ADMIN` over the network namespace.
    ///
    /// # Errors
    /// Those of listing, and of netlink; `EPERM`, `EOPNOTSUPP` by the kernel's word.
    pub fn destroy_connections(&mut self) -> Result<(), Error> {
        let wanted = Wanted { udp: false, raw: false, states: vec![State::Established], ..Wanted::inet() };
        for entry in self.sockets(&wanted)? {
            if let Some(body) = request(&entry) {
                self.destroy(&body)?;
            }
        }
        Ok(())
    }

    fn destroy(&mut self, body: &[u8]) -> Result<(), Error> {
        let system = |call| move |errno: rustix::io::Errno| Error::System { call, source: errno.into() };
        self.sequence = self.sequence.wrapping_add(1);
        let message = netlink::request(DESTROY, REQUEST_ACK, self.sequence, body);
        rustix::net::send(&self.socket, &message, SendFlags::empty()).map_err(system("send"))?;
        let (size, _) = rustix::net::recv(&self.socket, &mut self.part[..], RecvFlags::empty())
            .map_err(system("recv"))?;
        // An acknowledgement is an error message with errno 0 (netlink(7)).
        let answer = netlink::messages(&self.part[..size]).next().and_then(Result::ok);
        let errno =
            answer.and_then(|message| netlink::Fields(message.body).u32(0)).map_or(0, |errno| errno as i32);
        // It may have ended by itself meanwhile.
        if errno == 0 || errno == -libc::ENOENT {
            return Ok(());
        }
        Err(Error::System { call: "SOCK_DESTROY", source: std::io::Error::from_raw_os_error(-errno) })
    }
}

/// `struct inet_diag_req_v2` for this socket.
fn request(entry: &Entry) -> Option<Vec<u8>> {
    let (End::Inet(local, _), Some(End::Inet(peer, _)), Protocol::Tcp) =
        (&entry.local, &entry.peer, entry.protocol)
    else {
        return None;
    };
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut body = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.copy_from_slice(&address.octets()),
        }
        body.extend(bytes);
    }
    // Interface, and the kernel's number of the socket: two halves.
    body.extend(0_u32.to_ne_bytes());
    body.extend((entry.cookie as u32).to_ne_bytes());
    body.extend(((entry.cookie >> 32) as u32).to_ne_bytes());
    Some(body)
}
