//! [`Schedule`]: what is when, for one worker: the begin, what is measured, the requests that are due.

use super::Plan;
use std::time::Duration;
use switchboard_proto::Instant;

pub(super) struct Schedule {
    begin: Instant,
    /// What was meant to start from here on is counted.
    pub(super) from: Instant,
    /// Nothing new starts from here on.
    pub(super) end: Instant,
    /// Requests from one of this worker to its next, of all workers and shards.
    stride: f64,
    /// The number of its first one.
    first: f64,
    /// Requests are due from here on.
    due_from: Instant,
    rate_per_s: Option<f64>,
}

impl Schedule {
    /// For worker number `index`, which begins now.
    pub(super) fn new(plan: &Plan, index: usize, now: Instant) -> Schedule {
        let shard = plan.shard;
        let from = now + plan.ramp + plan.warm_up;
        Schedule {
            begin: now,
            from,
            end: from + plan.duration,
            stride: (plan.workers * shard.count()) as f64,
            first: (index * shard.count() + shard.index()) as f64,
            due_from: now + plan.ramp,
            rate_per_s: plan.rate_per_s,
        }
    }

    /// Whether what happens at that time counts in itself, whatever it is a part of.
    pub(super) fn is_measured(&self, now: Instant) -> bool {
        now >= self.from && now < self.end
    }

    /// When client `place` of `count` begins.
    pub(super) fn start_of(&self, place: usize, count: usize, ramp: Duration) -> Instant {
        self.begin + ramp.mul_f64(place as f64 / count.max(1) as f64)
    }

    /// When this worker's request number `n` is due.
    pub(super) fn due(&self, n: u64) -> Instant {
        let Some(rate) = self.rate_per_s else { return Instant::NEVER };
        self.due_from + Duration::from_secs_f64((n as f64 * self.stride + self.first) / rate)
    }

    /// How many requests were due before `t`.
    pub(super) fn due_before(&self, t: Instant) -> u64 {
        let Some(rate) = self.rate_per_s else { return 0 };
        let turns = t.since(self.due_from).as_secs_f64() * rate - self.first;
        let mut n = (turns / self.stride).ceil().max(0.0) as u64;
        // The guess may be off by one, since due times are rounded.
        while n > 0 && self.due(n - 1) >= t {
            n -= 1;
        }
        while self.due(n) < t {
            n += 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;
    use crate::load::Shard;

    #[test]
    fn workers_and_shards_share_the_requests_out() {
        let endpoint: Endpoint = "127.0.0.1:7".parse().unwrap();
        let address = endpoint.resolve().unwrap().remove(0);
        let whole = Plan { rate_per_s: Some(777.0), connections: 12, ..Plan::ping(address) };
        let begin = Instant(1_000_000_000);
        let dues = |plan: &Plan| {
            let mut dues = Vec::new();
            for worker in 0..plan.workers {
                let schedule = Schedule::new(plan, worker, begin);
                let count = schedule.due_before(schedule.end);
                dues.extend((0..count).map(|n| schedule.due(n)));
                assert!(schedule.due(count) >= schedule.end);
            }
            dues
        };
        let mut parts = Vec::new();
        for number in 1..=3 {
            let shard = Shard::new(number, 3).unwrap();
            parts.extend(dues(&Plan { workers: 2, shard, ..whole.clone() }));
        }
        let mut all = dues(&whole);
        parts.sort_unstable();
        all.sort_unstable();
        assert_eq!(parts, all);
        assert_eq!(all.len(), (777.0 * 10.5_f64).ceil() as usize);
    }
}
