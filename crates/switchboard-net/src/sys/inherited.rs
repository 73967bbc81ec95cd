//! Descriptors that this process was started with: sockets of a service manager (sd_listen_fds(3)) and the socket by
//! which a running server hands over to its successor.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::FdFlags;
use std::os::fd::{FromRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A socket that a service manager has opened.
#[derive(Debug)]
pub struct Inherited {
    /// Its name (`FileDescriptorName=`); `unknown` if it has none.
    pub name: String,
    /// The socket, close-on-exec.
    pub fd: OwnedFd,
}

/// First descriptor that sd_listen_fds(3) speaks of.
const FIRST: RawFd = 3;

/// The sockets that `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` speak of, once; later calls give none. The variables
/// are removed, so that programs started from here do not take them for theirs.
pub fn listen_fds() -> Vec<Inherited> {
    let read = |name| std::env::var(name).ok();
    let (count, pid, names) = (read("LISTEN_FDS"), read("LISTEN_PID"), read("LISTEN_FDNAMES"));
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] {
        remove(name);
    }
    let ours = pid.and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let count = count.and_then(|count| count.parse::<RawFd>().ok()).filter(|_| ours).unwrap_or(0);
    let names = names.unwrap_or_default();
    let mut names = names.split(':');
    // No more than the kernel lets one process have by default; a wild number does not keep us busy for ever.
    (FIRST..FIRST + count.clamp(0, 1_024))
        .filter_map(|number| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
            Some(Inherited { name, fd: take(number)? })
        })
        .collect()
}

/// The descriptor whose number is in the environment variable `variable`, which is removed.
pub fn from_variable(variable: &str) -> Option<OwnedFd> {
    let number = std::env::var(variable).ok()?;
    remove(variable);
    take(number.parse().ok().filter(|number| *number >= FIRST)?)
}

/// Descriptor `number`, which the one who started this process has opened for it; once for each number. None of 0, 1
/// and 2, and none that this process has opened itself: those are close-on-exec.
pub fn descriptor(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD asks about a number and touches no memory.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number < FIRST || flags & libc::FD_CLOEXEC != 0 { None } else { take(number) }
}

/// Lets the next program that is started have `fd`, or not.
///
/// # Errors
/// None for an open descriptor.
pub fn pass_on(fd: impl AsFd, pass: bool) -> std::io::Result<()> {
    let flags = if pass { FdFlags::empty() } else { FdFlags::CLOEXEC };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

/// Takes a descriptor over, once for each number.
fn take(number: RawFd) -> Option<OwnedFd> {
    static TAKEN: [AtomicBool; 2_048] = [const { AtomicBool::new(false) }; 2_048];
    let taken = TAKEN.get(usize::try_from(number).ok()?)?;
    // SAFETY: F_GETFD asks about a number and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 || taken.swap(true, Ordering::SeqCst) {
        return None;
    }
    // SAFETY: the descriptor is open; the environment says that it was opened for this process by its parent, so
    // nothing in this process owns it, and `TAKEN` sees to it that it is taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    pass_on(&fd, false).ok()?;
    Some(fd)
}

#[expect(clippy::disallowed_methods, reason = "at the start, with one thread")]
fn remove(variable: &str) {
    // SAFETY: called at the start, while this process has one thread; the verbs that use it say so.
    unsafe { std::env::remove_var(variable) };
}
