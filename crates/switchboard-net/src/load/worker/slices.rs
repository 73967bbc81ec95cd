//! Slices of time: what was measured in each is handed over when it is over.

use super::client::{Client, State};
use super::{Worker, nanoseconds};
use crate::sys::processors;
use switchboard_proto::Instant;

impl Worker<'_> {
    /// When the slice that goes on is over. The last one has no end: it also gets the answers that come afterwards.
    pub(super) fn slice_end(&self) -> Instant {
        let end = self.slice_from + self.plan.interval;
        if end < self.schedule.end { end } else { Instant::NEVER }
    }

    /// Hands slices over that are over.
    pub(super) fn cut(&mut self) {
        while self.now >= self.slice_end() {
            self.hand_over(self.slice_end());
        }
    }

    fn hand_over(&mut self, end: Instant) {
        let mut tally = std::mem::take(&mut self.tally);
        if !self.at_once.is_empty() {
            for times in [&mut tally.service, &mut tally.first_byte] {
                times.add(&self.at_once).expect("all histograms have the same bounds");
            }
            self.at_once.reset();
        }
        let from = std::mem::replace(&mut self.slice_from, end);
        let used = self.used_to.unwrap_or_else(Used::now);
        let before = std::mem::replace(&mut self.used_from, used);
        tally.cpu_ns = used.cpu_ns.saturating_sub(before.cpu_ns);
        tally.waited_ns = used.waited_ns.saturating_sub(before.waited_ns);
        tally.measured_ns = nanoseconds(end.since(from));
        tally.offered = tally.started;
        if self.is_open_loop() {
            // Requests that were due and for which no connection became free are part of what was offered.
            tally.offered = self.schedule.due_before(end).saturating_sub(self.schedule.due_before(from));
        }
        let fastest = (!tally.service.is_empty()).then(|| tally.service.min());
        self.fastest_ns = self.fastest_ns.into_iter().chain(fastest).min();
        let is_open = |client: &&Client| matches!(client.state, State::Open(..));
        tally.open = self.clients.iter().filter(is_open).count() as u64;
        // Nobody listens any more if another worker has failed; then nobody misses it.
        let _ = self.slices.send((self.index, self.slice, tally));
        self.slice += 1;
    }

    /// The last slice.
    pub(super) fn finish(&mut self) {
        let from = self.schedule.from;
        if self.now < from {
            return;
        }
        let end = self.now.min(self.schedule.end);
        if self.is_open_loop() {
            self.count_unsent(end);
        }
        let left = self.clients.iter().map(|client| client.waiting_since(from));
        self.tally.unfinished = left.sum::<usize>() as u64;
        self.hand_over(end);
    }
}

/// What a thread has had of the processors so far, and has lacked.
#[derive(Clone, Copy, Default)]
pub(super) struct Used {
    cpu_ns: u64,
    waited_ns: u64,
}

impl Used {
    /// By this thread.
    pub(super) fn now() -> Used {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Used {
            cpu_ns: time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
            waited_ns: processors::waited_ns().unwrap_or_default(),
        }
    }
}
