//! [`Peer`]: who is at the other end.

use crate::sys::sockopt::peer_credentials;
use rustix::fd::AsFd;
use rustix::net::{self, SocketAddrAny};
use std::fmt;
use std::net::SocketAddr;

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
        if let Some(address) = address.and_then(|address| SocketAddr::try_from(address).ok()) {
            return Peer::Inet(canonical(address));
        }
        match peer_credentials(fd) {
            Ok(peer) => Peer::Unix { pid: peer.pid, uid: peer.uid },
            Err(_) => Peer::Unknown,
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
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}
