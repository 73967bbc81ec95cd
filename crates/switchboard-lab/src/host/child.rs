//! [`Child`]: a running program of a host; waited for, signalled, killed.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By exit, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Somebody else, such as a tracer, has collected its status.
    Elsewhere,
}

/// A process of a host, known to its [`Child`] and to the host.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    pidfd: OwnedFd,
    ended: Mutex<Option<Ended>>,
}

impl Process {
    /// A child of ours that was not waited for.
    pub(super) fn new(pid: i32, pidfd: OwnedFd) -> Process {
        Process { pid, pidfd, ended: Mutex::new(None) }
    }

    /// How it ended, waiting until `deadline` for it; none if it has not.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> io::Result<Option<Ended>> {
        loop {
            if let Some(ended) = self.collect()? {
                return Ok(Some(ended));
            }
            if !readable(self.pidfd.as_fd(), deadline)? {
                return self.collect();
            }
        }
    }

    /// Sends a signal; nothing if it has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// SIGKILL, and the end of it: no zombie remains. The host's first process could not end either as long as one of
    /// its namespace's processes is not collected.
    pub(super) fn kill(&self) {
        let _ = self.signal(Signal::KILL);
        let _ = self.wait(None);
    }

    fn collect(&self) -> io::Result<Option<Ended>> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Only a process that has ended is asked how. Of one that is traced by another thread of ours, waitid(2) would
        // otherwise return, and so take away, the stops that its tracer waits for.
        if ended.is_none() && readable(self.pidfd.as_fd(), Some(Instant::now()))? {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            *ended = match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(None) => None,
                Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                    (Some(status), _) => Some(Ended::Exited(status)),
                    (None, Some(signal)) => Some(Ended::Killed(signal)),
                    (None, None) => None,
                },
                Err(Errno::CHILD) => Some(Ended::Elsewhere),
                Err(Errno::INTR) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(*ended)
    }
}

/// A running program. It is killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: Arc<Process>,
    /// The writing end of its standard input, if that is a `Stream::Pipe`.
    pub stdin: Option<OwnedFd>,
    /// The reading end of its standard output, if that is a `Stream::Pipe`.
    pub stdout: Option<OwnedFd>,
    /// The reading end of its standard error, if that is a `Stream::Pipe`.
    pub stderr: Option<OwnedFd>,
}

impl Child {
    /// With our ends of its standard streams.
    pub(super) fn new(process: Process, [stdin, stdout, stderr]: [Option<OwnedFd>; 3]) -> Child {
        Child { process: Arc::new(process), stdin, stdout, stderr }
    }

    /// The process number in the lab's own pid namespace, as ptrace(2) and /proc want it.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// A descriptor that becomes readable when it ends (pidfd_open(2)).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// Sends it a signal; nothing if it has ended.
    ///
    /// # Errors
    /// Those of pidfd_send_signal(2).
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }

    /// How it ended; waits for it no longer than `patience`, and returns none if it has not ended by then.
    ///
    /// # Errors
    /// Those of waitid(2).
    pub fn wait(&self, patience: Duration) -> io::Result<Option<Ended>> {
        self.process.wait(Instant::now().checked_add(patience))
    }

    pub(super) fn process(&self) -> &Arc<Process> {
        &self.process
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// Waits until a descriptor is readable; false at the deadline.
fn readable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| rustix::event::Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], left.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Collects a child of ours that is about to end.
pub(super) fn reap(pidfd: BorrowedFd<'_>) {
    while matches!(rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED), Err(Errno::INTR)) {}
}
