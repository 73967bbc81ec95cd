//! The end of an open loop: what was due and was never sent.
//!
//! Nothing is sent when the measured time is over, or a run at a rate that the server cannot keep would go on with what
//! it owes for as long as it likes. To forget what is owed would be the very error that an open loop is to avoid: of a
//! server that stands still at the end only the fast answers before would be seen. So each request that was not sent
//! counts with the least that it can have taken.

use super::{LATE, Worker};
use switchboard_proto::Instant;

impl Worker<'_> {
    /// The measured time is over: what finds a free connection now is sent, since it is we who come too late; nothing
    /// else is any more.
    pub(super) fn close(&mut self, had_free: bool) {
        self.start_due(had_free);
        self.is_closed = true;
        self.free.clear();
        let due = self.schedule.due_before(self.schedule.end);
        if self.overslept_until == self.now && due > self.issued {
            // Connections were free while it slept; whoever woke in time would have had them.
            let late_before = Instant(self.now.0.saturating_sub(LATE.as_nanos() as u64));
            self.tally.late += self.schedule.due_before(late_before).min(due).saturating_sub(self.issued);
        }
    }

    /// Counts what was due before `end` and was not sent. In steps of what the histogram tells apart: an impossible rate
    /// leaves more of it than could be counted one by one.
    pub(super) fn count_unsent(&mut self, end: Instant) {
        let first = self.issued.max(self.schedule.due_before(self.schedule.from));
        let mut next = self.schedule.due_before(end);
        self.tally.unsent += next.saturating_sub(first);
        // None would have been answered sooner than the fastest.
        let last = [&self.tally.service, &self.at_once];
        let last = last.into_iter().filter(|times| !times.is_empty()).map(|times| times.min());
        let fastest_ns = last.chain(self.fastest_ns).min().unwrap_or(0);
        while next > first {
            // The one that has waited the least, and all that have waited about as long.
            let waited_ns = end.since(self.schedule.due(next - 1)).as_nanos() as u64;
            let more_ns = self.tally.response.next_non_equivalent(fastest_ns + waited_ns) - fastest_ns;
            let since = Instant(end.0.saturating_sub(more_ns - 1));
            let from = self.schedule.due_before(since).clamp(first, next - 1);
            self.tally.response.saturating_record_n(fastest_ns + waited_ns, next - from);
            next = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock;
    use super::*;
    use crate::load::schedule::Schedule;
    use crate::load::{Plan, times};
    use crate::{Endpoint, Stop};
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn what_is_counted_in_steps_is_what_is_counted_one_by_one() {
        let endpoint: Endpoint = "127.0.0.1:7".parse().unwrap();
        let address = endpoint.resolve().unwrap().remove(0);
        for (rate, fastest_ns) in [(3.0, 0), (777.0, 12_345), (1e6, 999)] {
            let duration = Duration::from_millis(500);
            let plan = Plan {
                rate_per_s: Some(rate),
                duration,
                connections: 2,
                workers: 2,
                ..Plan::ping(address.clone())
            };
            let stop = Stop::new().unwrap();
            let mut worker = Worker::new(&plan, 1, &stop, mpsc::channel().0).unwrap();
            worker.now = clock::now();
            worker.schedule = Schedule::new(&plan, 1, worker.now);
            let schedule = &worker.schedule;
            let (from, end) = (schedule.from, schedule.end);
            // Some of the first were sent.
            worker.issued = schedule.due_before(from) + (rate / 10.0) as u64;
            let mut singly = times();
            for n in worker.issued..schedule.due_before(end) {
                singly.record(fastest_ns + end.since(schedule.due(n)).as_nanos() as u64).unwrap();
            }
            if fastest_ns > 0 {
                worker.at_once.record(fastest_ns).unwrap();
                worker.fastest_ns = Some(fastest_ns + 1);
            }
            worker.count_unsent(end);
            assert_eq!(worker.tally.unsent, singly.len(), "{rate}");
            assert_eq!(worker.tally.response, singly, "{rate}");
        }
    }
}
