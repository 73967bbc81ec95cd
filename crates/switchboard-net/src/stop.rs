//! [`Stop`]: the request to drain, as a descriptor that becomes readable and stays so.

use crate::error::Error;
use crate::sys::shared::shared;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchboard_proto::Instant;

/// A request to stop, seen by every process and thread that holds it.
#[derive(Debug)]
pub struct Stop {
    event: OwnedFd,
    /// How long what goes on may take, in nanoseconds, if the request said so; 0 if not. Shared with forked processes.
    patience: &'static [AtomicU64; 1],
}

impl Stop {
    /// A request that has not been made yet.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM` from eventfd(2).
    pub fn new() -> Result<Stop, Error> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("make an eventfd", errno))?;
        let patience = shared().map_err(|error| Error::system("map shared memory", error))?;
        Ok(Stop { event, patience })
    }

    /// Asks to accept no more, and to let the conversations that are going on take all the time they need.
    pub fn set_patiently(&self) {
        self.patience[0].store(u64::MAX, Ordering::SeqCst);
        self.set();
    }

    /// Whether the request was made patiently.
    pub fn is_patient(&self) -> bool {
        self.patience[0].load(Ordering::SeqCst) == u64::MAX
    }

    /// Asks to stop; what is left after `timeout` is cut, whatever the limits say.
    pub fn set_within(&self, timeout: Duration) {
        let ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.patience[0].store(ns, Ordering::SeqCst);
        self.set();
    }

    /// When to cut what is left, if the request was seen at `now`: after `drain_timeout`, unless the request said
    /// otherwise.
    pub(crate) fn cut_at(&self, now: Instant, drain_timeout: Duration) -> Instant {
        match self.patience[0].load(Ordering::SeqCst) {
            0 => now + drain_timeout,
            u64::MAX => Instant::NEVER,
            ns => now + Duration::from_nanos(ns),
        }
    }

    /// Asks to stop; may be called more than once, and from a process that was forked.
    pub fn set(&self) {
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Takes the request back: for a descriptor that is used as a bell.
    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        let mut event = [PollFd::new(&self.event, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut event, Some(&at_once)), Ok(1))
    }
}

impl AsFd for Stop {
    /// Readable once the request was made. Never read it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
