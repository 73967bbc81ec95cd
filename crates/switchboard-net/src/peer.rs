//! [`Peer`]: who is at the other end.

use crate::endpoint::Cid;
use crate::sys::sockaddr;
use crate::sys::sockopt::peer_credentials;
use rustix::fd::AsFd;
use rustix::net::{self, SocketAddrAny};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The other end of a connection, or the sender of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// An internet address; an IPv4 address mapped into IPv6 is shown as IPv4.
    Inet(SocketAddr),
    /// A process on this machine, as `SO_PEERCRED` names it (unix(7)).
    Unix {
        /// Process id; 0 if it cannot be seen from here.
        pid: i32,
        /// Effective user id.
        uid: u32,
    },
    /// A virtual machine, or the host (vsock(7)).
    Vsock {
        /// Its context identifier.
        cid: u32,
        /// The port there.
        port: u32,
    },
    /// Not known.
    Unknown,
}

impl Peer {
    /// Asks who is at the other end of a connection that came without the peer's address.
    pub(crate) fn of_connected(fd: impl AsFd, inet: bool) -> Peer {
        match net::getpeername(&fd) {
            Ok(address) => Peer::of(fd, address),
            // He has left already, and only a Unix socket remembers him.
            Err(_) if inet => Peer::Unknown,
            Err(_) => Peer::of(fd, None),
        }
    }

    pub(crate) fn of(fd: impl AsFd, address: Option<SocketAddrAny>) -> Peer {
        if let Some((cid, port)) = address.as_ref().and_then(sockaddr::vsock) {
            return Peer::Vsock { cid, port };
        }
        if let Some(address) = address.and_then(|address| SocketAddr::try_from(address).ok()) {
            return Peer::Inet(canonical(address));
        }
        match peer_credentials(fd) {
            // What sockets say that have no credentials.
            Ok(peer) if peer.pid == 0 && peer.uid == u32::MAX => Peer::Unknown,
            Ok(peer) => Peer::Unix { pid: peer.pid, uid: peer.uid },
            Err(_) => Peer::Unknown,
        }
    }
}

// In numbers, for memory that processes share: kind and port, then the address; for Unix, process and user id.
const INET4: u64 = 1;
const INET6: u64 = 2;
const UNIX: u64 = 3;
const VSOCK: u64 = 4;

impl Peer {
    /// In numbers; all of them 0 if he is not known.
    pub(crate) fn to_words(self) -> [u64; 3] {
        match self {
            Peer::Unknown => [0; 3],
            Peer::Vsock { cid, port } => [VSOCK, u64::from(cid), u64::from(port)],
            Peer::Unix { pid, uid } => [UNIX, u64::from(pid.cast_unsigned()), u64::from(uid)],
            Peer::Inet(address) => {
                let port = u64::from(address.port()) << 8;
                match address.ip() {
                    IpAddr::V4(ip) => [INET4 | port, u64::from(ip.to_bits()), 0],
                    IpAddr::V6(ip) => {
                        let bits = ip.to_bits();
                        [INET6 | port, (bits >> 64) as u64, bits as u64]
                    }
                }
            }
        }
    }

    /// From [`to_words`](Peer::to_words).
    pub(crate) fn from_words([kind, first, second]: [u64; 3]) -> Peer {
        let port = (kind >> 8) as u16;
        match kind & 0xff {
            INET4 => Peer::Inet(SocketAddr::new(IpAddr::V4((first as u32).into()), port)),
            INET6 => {
                let bits = u128::from(first) << 64 | u128::from(second);
                Peer::Inet(SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), port))
            }
            VSOCK => Peer::Vsock { cid: first as u32, port: second as u32 },
            UNIX => Peer::Unix { pid: (first as u32).cast_signed(), uid: second as u32 },
            _ => Peer::Unknown,
        }
    }
}

/// An IPv4-mapped IPv6 address as the IPv4 address that it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => address.fmt(f),
            Peer::Unix { pid, uid } => write!(f, "unix:pid={pid},uid={uid}"),
            Peer::Vsock { cid, port } => write!(f, "{}:{port}", Cid(*cid)),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_come_out_as_they_went_in() {
        for peer in [
            Peer::Unknown,
            Peer::Unix { pid: 7, uid: u32::MAX },
            Peer::Vsock { cid: 3, port: u32::MAX },
            Peer::Inet("192.0.2.1:65535".parse().unwrap()),
            Peer::Inet("[2001:db8::ffff:1]:1".parse().unwrap()),
        ] {
            assert_eq!(Peer::from_words(peer.to_words()), peer);
        }
    }
}
