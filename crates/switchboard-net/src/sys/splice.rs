//! sendfile(2) and splice(2): bytes that go from one descriptor to another and stay in the kernel.
//!
//! Neither call waits if the socket is non-blocking: both ask the open file of a socket, whatever their flags say. So a
//! caller makes sure of that first ([`is_non_blocking`]), or copies.

use super::{fault, socket};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{self, SpliceFlags};

/// Whether calls on this open file do not wait (`O_NONBLOCK`).
pub fn is_non_blocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// sendfile(2) from where `file` stands, which moves on by what was taken: the number of bytes, at most `most`; 0 at the
/// end of the file.
///
/// # Errors
/// `EAGAIN` when `to` has no room; those of send(2), and then there was at least one byte that could not be sent; `EINVAL`
/// for files that cannot do it; `EIO` when the file cannot be read.
pub fn send_file(to: impl AsFd, file: impl AsFd, most: usize) -> Result<usize, Errno> {
    if fault::again() {
        return Err(Errno::AGAIN);
    }
    let most = fault::short(most);
    socket::retry(|| rustix::fs::sendfile(&to, &file, None, most))
}

/// splice(2), of which one side is a pipe: the number of bytes, at most `most`; 0 at the end of `from`.
/// TCP is not told that more follows: who said so of the last bytes would see them held back for 200 ms.
///
/// # Errors
/// `EAGAIN` when `from` has nothing or `to` no room; those of recv(2) or send(2), of read(2) or write(2); `EINVAL` for
/// files that cannot do it, or that are appended to.
pub fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> Result<usize, Errno> {
    if fault::again() {
        return Err(Errno::AGAIN);
    }
    let most = fault::short(most);
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    socket::retry(|| pipe::splice(&from, None, &to, None, most, flags))
}
