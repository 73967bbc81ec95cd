//! [`Ring`]: setting io_uring up and entering it.

use crate::error::Error;
use crate::sys::fault;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::Duration;

/// Operations queued before the kernel is entered.
const SUBMISSIONS: u32 = 512;
/// Completions that fit; more are kept by the kernel until there is room (`IORING_FEAT_NODROP`).
const COMPLETIONS: u32 = 4_096;
/// Pause when the kernel has no memory even to take an operation.
const STARVED: Duration = Duration::from_millis(10);

/// The two queues shared with the kernel.
pub(super) struct Ring {
    uring: IoUring,
    /// Operations for which the submission queue had no room; they go first.
    backlog: VecDeque<squeue::Entry>,
}

impl Ring {
    /// Sets up the best ring that this kernel has. With `glances` the kernel tells in shared memory when there is
    /// something to fetch ([`Ring::glance`]).
    ///
    /// # Errors
    /// [`unavailable`], with the reason.
    pub(super) fn new(glances: bool) -> Result<Ring, Error> {
        // DEFER_TASKRUN (Linux 6.1): completions are made only when this thread enters the kernel for them, in
        // batches, and the ring belongs to one thread. Before that, COOP_TASKRUN at least spares interrupts.
        let build = |with: fn(&mut Builder) -> &mut Builder| build(with, glances);
        let uring = build(|builder| builder.setup_single_issuer().setup_defer_taskrun())
            .or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => build(Builder::setup_coop_taskrun),
                _ => Err(error),
            })
            .map_err(unavailable)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe).map_err(unavailable)?;
        // What cannot be asked for: multishot receive came with the same version as SEND_ZC.
        if !probe.is_supported(opcode::SendZc::CODE) || !uring.params().is_feature_nodrop() {
            return Err(unavailable(Errno::OPNOTSUPP.into()));
        }
        Ok(Ring { uring, backlog: VecDeque::new() })
    }

    pub(super) fn uring(&self) -> &IoUring {
        &self.uring
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// What `entry` points at, and its descriptor, stay until the operation has completed.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: as the caller promises.
        if !self.backlog.is_empty() || unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    /// Hands everything queued to the kernel and waits for a completion, at most for `timeout`; may return early.
    ///
    /// # Errors
    /// Those that mean that the ring cannot be used.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if fault::interrupted() {
            return Ok(());
        }
        let mut entered = self.submit_backlog();
        if entered.is_ok() {
            let submitter = self.uring.submitter();
            entered = match timeout {
                None => submitter.submit_and_wait(1),
                Some(timeout) => {
                    submitter.submit_with_args(1, &SubmitArgs::new().timespec(&Timespec::from(timeout)))
                }
            };
        }
        self.bear(entered)
    }

    /// Hands everything queued to the kernel, and returns at once whether there are completions. Without anything
    /// queued or done the kernel is not entered.
    ///
    /// # Errors
    /// Those that mean that the ring cannot be used.
    pub(super) fn glance(&mut self) -> io::Result<bool> {
        let mut entered = self.submit_backlog();
        if entered.is_ok() && !self.uring.submission().is_empty() {
            entered = self.uring.submit();
        }
        self.bear(entered)?;
        if self.uring.completion().is_empty() && self.uring.submission().taskrun() {
            // What was done is told only to those who ask, and a limit of no time makes it a question.
            self.enter(Some(Duration::ZERO))?;
        }
        Ok(!self.uring.completion().is_empty())
    }

    /// Moves the backlog to the submission queue; the kernel takes what has no room there.
    fn submit_backlog(&mut self) -> io::Result<usize> {
        let (submitter, mut queue, _) = self.uring.split();
        let mut entered = Ok(0);
        while entered.is_ok() && !self.backlog.is_empty() {
            while let Some(entry) = self.backlog.front()
                // SAFETY: as promised to `push`.
                && unsafe { queue.push(entry) }.is_ok()
            {
                self.backlog.pop_front();
            }
            queue.sync();
            if !self.backlog.is_empty() {
                entered = submitter.submit();
                queue.sync();
            }
        }
        entered
    }

    /// What of entering the kernel is no error of the ring.
    fn bear(&mut self, entered: io::Result<usize>) -> io::Result<()> {
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            // EBUSY: completions must be fetched before more can be queued.
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY), _)) => Ok(()),
            Err((Some(libc::EAGAIN), _)) => {
                if self.uring.completion().is_empty() {
                    thread::sleep(STARVED);
                }
                Ok(())
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Fetches the completions.
    pub(super) fn collect(&mut self, into: &mut Vec<cqueue::Entry>) {
        into.extend(self.uring.completion());
    }
}

fn build(with: fn(&mut Builder) -> &mut Builder, glances: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    if glances {
        builder.setup_taskrun_flag();
    }
    // SUBMIT_ALL: an operation that fails at once does not hold up those behind it.
    with(builder.setup_clamp().setup_submit_all().setup_cqsize(COMPLETIONS)).build(SUBMISSIONS)
}

/// Why there is no io_uring here, and the way out.
pub(super) fn unavailable(error: io::Error) -> Error {
    const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";
    let sysctl = std::fs::read_to_string(SYSCTL).ok().filter(|text| text.trim() != "0");
    let reason = match (error.raw_os_error(), sysctl) {
        (Some(libc::EPERM), Some(value)) => format!("sysctl kernel.io_uring_disabled is {}", value.trim()),
        (Some(libc::EPERM | libc::EACCES), None) => "forbidden here, probably by a seccomp filter".into(),
        (Some(libc::ENOSYS), _) => "this kernel has none, or a seccomp filter hides it".into(),
        (Some(libc::ENOMEM), _) => "not enough memory, or memory that may be locked (RLIMIT_MEMLOCK)".into(),
        (Some(libc::EINVAL | libc::EOPNOTSUPP), _) => "it needs Linux 6.0 or later".into(),
        _ => "set-up failed".to_owned(),
    };
    Error::System {
        what: "serve with io_uring".into(),
        source: error,
        hint: Some(format!("io_uring is not available: {reason}; use --engine epoll")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_reason_and_the_way_out() {
        for (errno, reason) in [
            (Errno::NOSYS, "this kernel has none"),
            (Errno::INVAL, "needs Linux 6.0"),
            (Errno::ACCESS, "seccomp"),
            (Errno::NOMEM, "RLIMIT_MEMLOCK"),
        ] {
            let text = unavailable(errno.into()).to_string();
            assert!(text.contains("io_uring is not available: ") && text.contains(reason), "{text}");
            assert!(text.ends_with("; use --engine epoll"), "{text}");
        }
    }
}
