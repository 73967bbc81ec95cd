//! Yardstick: a child process per connection, blocking read and write.
//!
//! Dead children are reaped whenever a connection arrives: no signal handler, no extra wake-up. Those that
//! died since wait as zombies, and their time is still found by whoever sums the process tree.

use super::threads;
use rustix::process::{WaitOptions, wait};
use std::io;
use std::net::TcpListener;

pub(super) fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        // SAFETY: this process never started a thread, so the child may do anything the parent may.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                drop(listener);
                threads::echo(&stream);
                // SAFETY: `_exit` ends the child without running the parent's clean-up a second time.
                unsafe { libc::_exit(0) }
            }
            _ => drop(stream),
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
