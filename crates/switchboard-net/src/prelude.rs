//! Preludes at work on a connected socket, each with a deadline: a request is sent, the answer is looked at without
//! taking it, and only what belongs to the prelude is taken.

use crate::sys::watchlist::WatchList;
use crate::sys::{clock, fault, socket};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::fmt;
use switchboard_proto::Instant;
use switchboard_proto::prelude::{Failure, Prelude};

/// What is looked at in one go.
const PIECE: usize = 4 * 1024;

/// Why a prelude did not come to its end.
#[derive(Debug)]
pub enum PreludeError {
    /// The other side said no, or nothing that makes sense.
    Failed(Failure),
    /// It did not come to its end in time.
    TimedOut,
    /// The connection broke, or a system call failed.
    System(Errno),
}

impl fmt::Display for PreludeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PreludeError::Failed(failure) => failure.fmt(f),
            PreludeError::TimedOut => f.write_str("it did not answer in time"),
            PreludeError::System(errno) => errno.fmt(f),
        }
    }
}

impl std::error::Error for PreludeError {}

/// Carries a prelude out on a connected stream socket. When this returns, no byte that came after the prelude has been
/// taken.
///
/// # Errors
/// The other side's refusal, its silence until `until`, or what broke. The connection is of no use then.
pub fn carry_out(socket: &OwnedFd, prelude: &mut dyn Prelude, until: Instant) -> Result<(), PreludeError> {
    let mut room = [0; PIECE];
    loop {
        send_all(socket, &prelude.take_output(), until)?;
        if prelude.is_done() {
            return Ok(());
        }
        let come = match socket::peek(socket, &mut room) {
            Ok(0) => return Err(PreludeError::Failed(prelude.ended())),
            Ok(n) => n,
            Err(Errno::AGAIN) => {
                wait(socket, true, until)?;
                continue;
            }
            Err(errno) => return Err(PreludeError::System(errno)),
        };
        let mut own = prelude.look(&room[..come]).map_err(PreludeError::Failed)?;
        while own > 0 {
            match socket::recv(socket, &mut room[..own], socket::Wait::No) {
                // It was there a moment ago.
                Ok(0) | Err(Errno::AGAIN) => wait(socket, true, until)?,
                Ok(n) => own -= n,
                Err(errno) => return Err(PreludeError::System(errno)),
            }
        }
    }
}

/// Sends all of this on a connected stream socket.
///
/// # Errors
/// No room for it until `until`, or what broke.
pub fn send_all(socket: &OwnedFd, mut bytes: &[u8], until: Instant) -> Result<(), PreludeError> {
    while !bytes.is_empty() {
        match socket::send(socket, bytes, socket::Wait::No) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::AGAIN) => wait(socket, false, until)?,
            Err(errno) => return Err(PreludeError::System(errno)),
        }
    }
    Ok(())
}

/// Sleeps until there is something to read, or room to write.
pub(crate) fn wait(socket: &OwnedFd, read: bool, until: Instant) -> Result<(), PreludeError> {
    let now = clock::now();
    if now >= until {
        return Err(PreludeError::TimedOut);
    }
    let mut list = WatchList::default();
    list.push(socket.as_fd(), read, !read);
    match if fault::interrupted() { Err(Errno::INTR) } else { list.wait(Some(until.since(now))) } {
        Ok(()) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(PreludeError::System(errno)),
    }
}
