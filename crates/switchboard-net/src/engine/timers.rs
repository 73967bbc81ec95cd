//! Deadlines of many connections, for loops that wait for the earliest.
//!
//! A deadline that moves later (every message moves the idle limit) costs nothing: the old entry stays in the
//! heap, and when it comes up the connection is asked for its real deadline. So there is one entry per
//! connection at most times, and one spurious wake-up per idle period.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use switchboard_proto::Instant;

/// Entries of (time, whose). Entries are hints: ask the owner whether it is really due.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Timers {
    /// Lets `owner` come up at `at`; returns `at`.
    pub(crate) fn schedule(&mut self, owner: u64, at: Instant) -> Instant {
        self.heap.push(Reverse((at, owner)));
        at
    }

    /// Drops the entries of owners that are gone, once there are many more entries than `owners`.
    pub(crate) fn tidy(&mut self, owners: usize, alive: impl Fn(u64) -> bool) {
        if self.heap.len() > 2 * owners + 1_024 {
            self.heap.retain(|Reverse((_, owner))| alive(*owner));
        }
    }

    /// When the earliest entry is due.
    pub(crate) fn next(&self) -> Instant {
        self.heap.peek().map_or(Instant::NEVER, |Reverse((at, _))| *at)
    }

    /// The next owner whose entry is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.next() > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, owner))| owner)
    }
}
