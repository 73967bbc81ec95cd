//! getsockopt(2) and setsockopt(2) by number, for the options table.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

/// Sets an option whose value is an `int`.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_int(fd: impl AsFd, level: i32, option: i32, value: i32) -> Result<(), Errno> {
    set(fd, level, option, &value.to_ne_bytes())
}

/// Sets an option whose value is a string or a structure.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set(fd: impl AsFd, level: i32, option: i32, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: pointer and length describe `value`, which the kernel only reads.
    let done = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if done == -1 { Err(last()) } else { Ok(()) }
}

/// Reads an option whose value is an `int`.
///
/// # Errors
/// Those of getsockopt(2).
pub fn get_int(fd: impl AsFd, level: i32, option: i32) -> Result<i32, Errno> {
    let mut value = [0_u8; 4];
    get(fd, level, option, &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

/// Reads an option into `value` and returns its length.
///
/// # Errors
/// Those of getsockopt(2).
pub fn get(fd: impl AsFd, level: i32, option: i32, value: &mut [u8]) -> Result<usize, Errno> {
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `value` and the new length into `len`.
    let done = unsafe {
        libc::getsockopt(fd.as_fd().as_raw_fd(), level, option, value.as_mut_ptr().cast(), &mut len)
    };
    if done == -1 { Err(last()) } else { Ok((len as usize).min(value.len())) }
}

/// Who connected a Unix socket (unix(7), `SO_PEERCRED`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Process number; 0 if the process cannot be seen from this namespace, which rustix takes for an error.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// Asks who is at the other end of a Unix socket.
///
/// # Errors
/// Those of getsockopt(2).
pub fn peer_credentials(fd: impl AsFd) -> Result<Credentials, Errno> {
    let mut bytes = [0; 12];
    if get(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut bytes)? != bytes.len() {
        return Err(Errno::INVAL);
    }
    let number = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok(Credentials { pid: number(0).cast_signed(), uid: number(4), gid: number(8) })
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
