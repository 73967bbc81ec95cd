//! Accepting, receiving and sending.

use super::fault;
use crate::peer::Peer;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags};
use std::net::SocketAddr;
use std::os::fd::RawFd;

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
/// `EAGAIN`, `ECONNRESET`, `ETIMEDOUT` and the others of recv(2). With [`Wait::Yes`] also `EINTR`: made again, the
/// call would wait for the whole of its time-out once more, and only the caller knows what is left of it.
pub fn recv(fd: impl AsFd, bytes: &mut [u8], wait: Wait) -> Result<usize, Errno> {
    let flags = match wait {
        Wait::Yes => RecvFlags::empty(),
        Wait::No if fault::again() => return Err(Errno::AGAIN),
        Wait::No => RecvFlags::DONTWAIT,
    };
    let len = fault::short(bytes.len());
    let mut receive = || net::recv(&fd, &mut bytes[..len], flags).map(|(n, _)| n);
    match wait {
        Wait::Yes if fault::interrupted() => Err(Errno::INTR),
        Wait::Yes => receive(),
        Wait::No => retry(receive),
    }
}

/// recv(2) of bytes that stay where they are (`MSG_PEEK`), without waiting: the number of bytes that came and were
/// copied; 0 at end of input.
///
/// # Errors
/// As those of [`recv`].
pub fn peek(fd: impl AsFd, bytes: &mut [u8]) -> Result<usize, Errno> {
    if fault::again() {
        return Err(Errno::AGAIN);
    }
    let len = fault::short(bytes.len());
    retry(|| net::recv(&fd, &mut bytes[..len], RecvFlags::DONTWAIT | RecvFlags::PEEK)).map(|(n, _)| n)
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

/// recv(2) of one datagram or message, never cut short by a fault: the number of bytes received into `bytes`,
/// without waiting.
///
/// # Errors
/// `EAGAIN`, `ECONNREFUSED` and the others of recv(2).
pub fn recv_message(fd: impl AsFd, bytes: &mut [u8]) -> Result<usize, Errno> {
    if fault::again() {
        return Err(Errno::AGAIN);
    }
    retry(|| net::recv(&fd, &mut *bytes, RecvFlags::DONTWAIT)).map(|(n, _)| n)
}

/// recvfrom(2) of one datagram on a socket that is not connected: the number of bytes, and who sent them.
///
/// # Errors
/// As those of [`recv_message`].
pub fn recv_from(fd: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Option<SocketAddr>), Errno> {
    if fault::again() {
        return Err(Errno::AGAIN);
    }
    let (n, _, from) = retry(|| net::recvfrom(&fd, &mut *bytes, RecvFlags::DONTWAIT))?;
    Ok((n, from.and_then(|from| SocketAddr::try_from(from).ok())))
}

/// sendto(2) of one datagram, whole or not at all, without waiting.
///
/// # Errors
/// As those of [`send_message`]; no ICMP message that comes back is among them (UNP 8.9).
pub fn send_to(fd: impl AsFd, bytes: &[u8], to: &SocketAddr) -> Result<usize, Errno> {
    if fault::again() {
        return Err(Errno::AGAIN);
    }
    retry(|| net::sendto(&fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, to))
}

/// send(2) of one datagram or message, whole or not at all, without waiting.
///
/// # Errors
/// `EAGAIN`, `EMSGSIZE`, `ECONNREFUSED` and the others of send(2).
pub fn send_message(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    if fault::again() {
        return Err(Errno::AGAIN);
    }
    retry(|| net::send(&fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT))
}

/// Bytes that were sent and that the peer's kernel has not acknowledged (tcp(7) `SIOCOUTQ`); a FIN that is not
/// acknowledged counts as one. After a reset: those that were outstanding when it came.
pub fn unacknowledged(fd: impl AsFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, stores an int at the address given.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == -1 { 0 } else { usize::try_from(bytes).unwrap_or(0) }
}

/// Whether a TCP connection is over in both directions, by agreement or by a reset (tcp(7) `TCP_INFO`).
pub fn is_closed(fd: impl AsFd) -> bool {
    /// `TCP_CLOSE` of include/net/tcp_states.h.
    const CLOSE: u8 = 7;
    let mut state = [0];
    super::sockopt::get(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut state).is_ok() && state[0] == CLOSE
}

/// Takes the error that waits at a socket (`SO_ERROR`), if there is one.
pub fn take_error(fd: impl AsFd) -> Option<Errno> {
    match net::sockopt::socket_error(fd) {
        Ok(waiting) => waiting.err(),
        Err(errno) => Some(errno),
    }
}

/// How many clients wait in a TCP listener's queue (`tcpi_unacked` of a listening socket, net/ipv4/tcp.c); `None`
/// for other sockets.
pub fn queue_length(listener: impl AsFd) -> Option<usize> {
    let mut info = [0; 28];
    super::sockopt::get(listener, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).ok()?;
    Some(u32::from_ne_bytes([info[24], info[25], info[26], info[27]]) as usize)
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

/// Breaks a connection off where it is, whoever waits for it: a TCP peer gets a reset, and calls in progress on this
/// socket, and all later ones, fail. connect(2) to no address has that effect on TCP (tcp_disconnect in the kernel), and
/// is the only way to reset a connection without closing its descriptor; where it is not possible (other sockets, a
/// filter of system calls, kernels of 2023 while somebody waits in recv) both halves are shut down instead.
/// Async-signal-safe.
pub(crate) fn sever(fd: RawFd) {
    // SAFETY: all-zero bytes are a valid address, of family AF_UNSPEC.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    let mut kind: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: stores an int at `kind`; the descriptor need not be one.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size) };
    // SAFETY: reads an address of that length.
    let gone = kind == libc::SOCK_STREAM && unsafe { libc::connect(fd, &raw const nobody, len) } == 0;
    if !gone {
        // SAFETY: no memory is involved.
        unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
    }
}

/// Bytes that can be received now (`FIONREAD`): for datagrams those of the next one. 0 if that cannot be told.
pub fn queued(fd: impl AsFd) -> usize {
    rustix::io::ioctl_fionread(fd).map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Calls until the answer is not `EINTR`.
pub fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut answer = if fault::interrupted() { Err(Errno::INTR) } else { call() };
    while matches!(answer, Err(Errno::INTR)) {
        answer = call();
    }
    answer
}
