//! [`Lock`]: a lock in shared memory whose holder may be killed at any time. Whoever waits finds out, takes it over,
//! and is told, so that he can put right what was left half done.

use super::holder;
use crate::sys::process;
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};
use std::sync::atomic::{AtomicU32, Ordering};

/// 0: free; otherwise the process id of the holder (pids end at 2^22), and [`WAITED_FOR`].
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Lock(AtomicU32);

const WAITED_FOR: u32 = 1 << 31;
/// Attempts before the first wait: what is done under the lock takes well below a microsecond.
const SPINS: u32 = 64;
/// Time after which a waiter looks whether the holder still lives.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The lock is held until this is dropped.
pub(super) struct Held<'a> {
    lock: &'a Lock,
    /// The holder before this one died with the lock held.
    pub(super) inherited: bool,
}

impl Lock {
    pub(super) fn hold(&self) -> Held<'_> {
        let me = process::id().as_raw_pid().unsigned_abs();
        for _ in 0..SPINS {
            if self.swap(0, me) {
                return Held { lock: self, inherited: false };
            }
            std::hint::spin_loop();
        }
        loop {
            // Whoever has waited says so when he holds: there may be others.
            if self.swap(0, me | WAITED_FOR) {
                return Held { lock: self, inherited: false };
            }
            let seen = self.0.load(Ordering::Relaxed);
            if seen == 0 || (seen & WAITED_FOR == 0 && !self.swap(seen, seen | WAITED_FOR)) {
                continue;
            }
            let seen = seen | WAITED_FOR;
            let waited = futex::wait(&self.0, Flags::empty(), seen, Some(&PATIENCE));
            let owner = seen & !WAITED_FOR;
            if waited == Err(Errno::TIMEDOUT)
                && owner != me
                && holder::is_gone(owner)
                && self.swap(seen, me | WAITED_FOR)
            {
                return Held { lock: self, inherited: true };
            }
        }
    }

    fn swap(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.lock.0.swap(0, Ordering::Release) & WAITED_FOR != 0 {
            let _ = futex::wake(&self.lock.0, Flags::empty(), 1);
        }
    }
}
