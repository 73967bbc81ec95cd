//! Connections that one worker has accepted and another one serves, passed over a Unix sequenced-packet socket
//! ([`crate::sys::parcel::pair`]): what tcpmux (RFC 1078) is made of.

use crate::endpoint::Address;
use crate::peer::Peer;
use crate::sys::parcel;
use crate::sys::socket::{self, Wait};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// A connection from somebody else's door.
#[derive(Debug)]
pub struct Passed {
    /// The connection; a blocking socket.
    pub fd: OwnedFd,
    /// Who is at its other end.
    pub peer: Peer,
    /// Our end.
    pub local: Address,
    /// The service was chosen by name: before anything else the client is owed an answer, [`welcome`] or [`refuse`].
    pub multiplexed: bool,
}

/// Sends a connection to a worker.
///
/// # Errors
/// `EAGAIN` if the socket is non-blocking and full, `EPIPE` if nobody is there.
pub fn pass(door: impl AsFd, connection: impl AsFd, multiplexed: bool) -> Result<(), Errno> {
    parcel::send(door, &[u8::from(multiplexed)], &[connection.as_fd()])
}

/// The next connection that was passed; `None` when nobody can pass any more.
///
/// # Errors
/// `EAGAIN` if there is none now; `EBADMSG` for something that is no connection.
pub fn receive(door: impl AsFd) -> Result<Option<Passed>, Errno> {
    let Some(mut parcel) = parcel::receive(door)? else { return Ok(None) };
    let fd = parcel.descriptors.pop().ok_or(Errno::BADMSG)?;
    let local = Address::of_descriptor(&fd).ok_or(Errno::BADMSG)?;
    // Whoever has accepted it may have needed it the other way.
    rustix::io::ioctl_fionbio(&fd, false)?;
    let peer = Peer::of_connected(&fd, local.kind.is_inet());
    Ok(Some(Passed { fd, peer, local, multiplexed: parcel.bytes.first() == Some(&1) }))
}

/// Tells a client who has chosen a service by name that it begins. A fresh socket has room for that.
pub fn welcome(connection: impl AsFd) {
    let _ = socket::send(connection, b"+Go\r\n", Wait::No);
}

/// Tells him that it does not, and why: one line of text.
pub fn refuse(connection: impl AsFd, why: &str) {
    let _ = socket::send(connection, format!("-{why}\r\n").as_bytes(), Wait::No);
}
