//! The door between a program that is about to begin and its watcher: the child tells its number and waits, the
//! watcher seizes it and lets it go on. The number is told by the kernel (`SCM_CREDENTIALS`), which translates it
//! between pid namespaces (unix(7)).
#![allow(unsafe_code)]

use crate::host::Program;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair, sockopt,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The child's side.
#[derive(Debug)]
pub(super) struct Side {
    side: OwnedFd,
    /// The watcher's side, which the child must not hold open: it would wait for itself.
    other: RawFd,
}

/// The watcher's side.
#[derive(Debug)]
pub(super) struct Door(OwnedFd);

/// Both sides.
pub(super) fn pair() -> io::Result<(Side, Door)> {
    let (side, door) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_passcred(&door, true)?;
    let other = door.as_raw_fd();
    Ok((Side { side, other }, Door(door)))
}

impl Side {
    /// Waits until the watcher has seized the calling process. Async-signal-safe: it neither allocates nor locks.
    fn arrive(&self) -> io::Result<()> {
        let mut answer = [0_u8; 4];
        // SAFETY: plain system calls on descriptors of ours and on memory of the right length.
        let read = unsafe {
            libc::close(self.other);
            if libc::send(self.side.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_NOSIGNAL) != 1 {
                return Err(io::Error::last_os_error());
            }
            libc::recv(self.side.as_raw_fd(), answer.as_mut_ptr().cast(), 4, libc::MSG_WAITALL)
        };
        match (read, i32::from_ne_bytes(answer)) {
            (4, 0) => Ok(()),
            (4, number) => Err(io::Error::from_raw_os_error(number)),
            _ => Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
        }
    }
}

impl Door {
    /// Waits for the child, does what makes it watched, and lets it go on; or tells it why not.
    pub(super) fn admit(self, seize: impl FnOnce(i32) -> io::Result<()>) -> io::Result<i32> {
        let pid = self.arrival()?;
        let seized = seize(pid);
        let errno = seized.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        rustix::io::write(&self.0, &errno.to_ne_bytes())?;
        seized.map(|()| pid)
    }

    fn arrival(&self) -> io::Result<i32> {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(&mut byte)];
        let received = loop {
            match recvmsg(&self.0, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                done => break done?,
            }
        };
        let pids = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid.as_raw_nonzero().get()),
            _ => None,
        });
        // At the end of input nobody has come.
        pids.last().filter(|_| received.bytes == 1).ok_or_else(|| io::Error::from_raw_os_error(libc::ECHILD))
    }
}

/// Makes the child of `command` come to the door, and then do `then`, before it becomes the program. `then` must be
/// async-signal-safe.
pub(super) fn before_exec(
    command: &mut Command,
    side: Side,
    then: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: `arrive` is async-signal-safe, as a child of a process with threads needs it, and so is `then`.
    unsafe { command.pre_exec(move || side.arrive().and_then(|()| then())) };
}

/// Makes a program of a host install the filter before it begins.
pub(super) fn filtered(program: Program) -> Program {
    // SAFETY: the hook makes one or two system calls on memory that is there already.
    unsafe { program.before_exec(super::child_hook()) }
}
