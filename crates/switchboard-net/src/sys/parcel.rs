//! Messages with descriptors (unix(7), `SCM_RIGHTS`) over a Unix sequenced-packet socket, between processes of this
//! program.

use super::socket;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// Descriptors in one message at most. The kernel takes 253 (`SCM_MAX_FD`).
pub const MOST: usize = 64;
/// Bytes in one message at most.
pub const LONGEST: usize = 64 * 1024;

/// What came: bytes, and descriptors that this process now owns (close-on-exec).
#[derive(Debug)]
pub struct Parcel {
    /// The message.
    pub bytes: Vec<u8>,
    /// In the order in which they were sent.
    pub descriptors: Vec<OwnedFd>,
}

/// A pair of connected sockets for parcels.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends `bytes`, which must not be empty, with at most [`MOST`] descriptors.
///
/// # Errors
/// `EPIPE` if nobody is there any more, `EAGAIN` on a full non-blocking socket, `EMSGSIZE`, `ETOOMANYREFS`.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    let flags = SendFlags::NOSIGNAL;
    socket::retry(|| net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags))?;
    Ok(())
}

/// Receives one message; `None` when the other end was closed.
///
/// # Errors
/// `EAGAIN` on a non-blocking socket, `EMSGSIZE` for one longer than [`LONGEST`] or with more descriptors than
/// this process may have.
pub fn receive(socket: impl AsFd) -> Result<Option<Parcel>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; LONGEST];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let came =
        socket::retry(|| net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags))?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if came.bytes == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    if came.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    bytes.truncate(came.bytes);
    Ok(Some(Parcel { bytes, descriptors }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn descriptors_travel_with_their_message() {
        let (here, there) = pair().unwrap();
        let (mut a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        send(&here, b"two", &[b.as_fd(), b.as_fd()]).unwrap();
        send(&here, b"none", &[]).unwrap();
        drop((b, here));
        let first = receive(&there).unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.descriptors.len()), (b"two".as_slice(), 2));
        a.write_all(b"x").unwrap();
        let mut byte = [0];
        let mut received =
            std::os::unix::net::UnixStream::from(first.descriptors.into_iter().next().unwrap());
        received.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        assert_eq!(receive(&there).unwrap().unwrap().descriptors.len(), 0);
        assert!(receive(&there).unwrap().is_none());
    }
}
