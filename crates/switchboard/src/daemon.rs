//! Into the background, as old daemons go, but without their race: whoever started us gets control back when clients
//! can connect and the file with the process number is there, or learns that it came to nothing.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, setsid, waitpid};
use std::io;
use switchboard_net::sys::process::{self, Fork};

/// To be told when the daemon serves; if it is dropped without that, whoever waits learns that it came to nothing.
#[derive(Debug)]
pub(crate) struct Ready {
    waiting: OwnedFd,
}

/// Forks twice, so that the daemon has a session of its own and can never get a terminal (setsid(2)). Only the daemon
/// returns; the process that was started waits until it is ready, and ends with 0, or with 1 if it never is.
///
/// # Errors
/// fork(2) or pipe(2) fail.
pub(crate) fn detach() -> io::Result<Ready> {
    let (told, waiting) = pipe_with(PipeFlags::CLOEXEC)?;
    if let Fork::Parent(child) = process::fork()? {
        drop(waiting);
        let _ = waitpid(Some(child), WaitOptions::empty());
        process::exit_now(if is_told(&told) { 0 } else { 1 });
    }
    drop(told);
    setsid()?;
    if let Fork::Parent(_) = process::fork()? {
        process::exit_now(0);
    }
    Ok(Ready { waiting })
}

fn is_told(told: &OwnedFd) -> bool {
    let mut byte = [0];
    loop {
        match rustix::io::read(told, &mut byte) {
            Err(Errno::INTR) => {}
            read => return read == Ok(1),
        }
    }
}

impl Ready {
    /// Says so, and lets go of the terminal and of the directory.
    pub(crate) fn tell(self) {
        let _ = std::env::set_current_dir("/");
        if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(&null);
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
        let _ = rustix::io::write(&self.waiting, b"+");
    }
}
