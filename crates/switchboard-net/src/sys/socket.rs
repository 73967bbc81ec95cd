//! Accepting, receiving and sending.

use super::fault;
use crate::peer::Peer;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags};

/// Whether a call may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// The call waits if the socket is a blocking one.
    Yes,
    /// The call says `EAGAIN` instead of waiting.
    No,
}

/// accept4(2): the connection, close-on-exec, and who is at its other end. With [`Wait::No`] the new socket is
/// non-blocking; the listener is expected to be so always.
///
/// # Errors
/// `EAGAIN`, and the errors of accept(2); those of the connection itself (`ECONNABORTED`, `EPROTO`, `ENETDOWN`…)
/// mean "try the next one".
pub fn accept(listener: impl AsFd, wait: Wait) -> Result<(OwnedFd, Peer), Errno> {
    let flags = match wait {
        Wait::Yes => SocketFlags::CLOEXEC,
        Wait::No => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    };
    if let Some(errno) = fault::accept() {
        return Err(errno);
    }
    retry(|| net::acceptfrom_with(&listener, flags)).map(|(fd, address)| {
        let peer = Peer::of(&fd, address);
        (fd, peer)
    })
}

/// recv(2): the number of bytes received into `bytes`; 0 at end of input.
///
/// # Errors
/// `EAGAIN`, `ECONNRESET`, `ETIMEDOUT` and the others of recv(2).
pub fn recv(fd: impl AsFd, bytes: &mut [u8], wait: Wait) -> Result<usize, Errno> {
    let flags = match wait {
        Wait::Yes => RecvFlags::empty(),
        Wait::No if fault::again() => return Err(Errno::AGAIN),
        Wait::No => RecvFlags::DONTWAIT,
    };
    let len = fault::short(bytes.len());
    retry(|| net::recv(&fd, &mut bytes[..len], flags)).map(|(n, _)| n)
}

/// send(2) without SIGPIPE: the number of bytes taken.
///
/// # Errors
/// `EAGAIN`, `EPIPE`, `ECONNRESET` and the others of send(2).
pub fn send(fd: impl AsFd, bytes: &[u8], wait: Wait) -> Result<usize, Errno> {
    let flags = match wait {
        Wait::Yes => SendFlags::NOSIGNAL,
        Wait::No if fault::again() => return Err(Errno::AGAIN),
        Wait::No => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    let len = fault::short(bytes.len());
    retry(|| net::send(&fd, &bytes[..len], flags))
}

/// Half-close: no more output. A connection that is already broken is left as it is.
pub fn shutdown_write(fd: impl AsFd) {
    let _ = net::shutdown(fd, Shutdown::Write);
}

/// Ends both halves: whoever waits in recv(2) or send(2) on this socket is woken.
pub fn shutdown_both(fd: impl AsFd) {
    let _ = net::shutdown(fd, Shutdown::Both);
}

/// Makes the close that follows a reset (`SO_LINGER` with time 0).
pub fn reset_on_close(fd: impl AsFd) {
    let _ = net::sockopt::set_socket_linger(fd, Some(std::time::Duration::ZERO));
}

/// Calls until the answer is not `EINTR`.
pub fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut answer = if fault::interrupted() { Err(Errno::INTR) } else { call() };
    while matches!(answer, Err(Errno::INTR)) {
        answer = call();
    }
    answer
}
