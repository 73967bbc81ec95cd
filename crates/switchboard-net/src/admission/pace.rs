//! [`Pace`]: a token bucket as one number, the time at which it will be full again (GCRA, ITU-T I.371): one atomic
//! word, which no crash can leave half written.

use crate::limits::Rate;
use switchboard_proto::Instant;

/// A rate in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    /// From one token to the next.
    interval_ns: u64,
    /// How far ahead of the present the bucket may be used up.
    slack_ns: u64,
}

impl From<Rate> for Pace {
    fn from(rate: Rate) -> Pace {
        let burst = (rate.burst.max(1.0) as u64).min(1 << 20);
        // A rate of zero still gives the burst once: the next token is years away, not beyond all numbers.
        let longest = u64::MAX / 8 / burst;
        let interval_ns = ((1e9 / rate.per_second.max(0.0)) as u64).clamp(1, longest);
        Pace { interval_ns, slack_ns: (burst - 1) * interval_ns }
    }
}

impl Pace {
    /// When the next token can be had: `now` or before, if there is one. `full_at` is the bucket.
    pub(crate) fn ready_at(self, full_at: u64) -> Instant {
        Instant(full_at.saturating_sub(self.slack_ns))
    }

    /// The bucket after one token was taken at `now`.
    pub(crate) fn take(self, full_at: u64, now: Instant) -> u64 {
        full_at.max(now.0).saturating_add(self.interval_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use switchboard_proto::Random;

    /// The textbook's bucket.
    struct Bucket {
        tokens: f64,
        at: Instant,
    }

    #[test]
    fn agrees_with_the_bucket_of_the_textbook() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let rate = Rate {
                per_second: (random.bits() % 1_000 + 1) as f64 / 10.0,
                burst: (random.bits() % 50 + 1) as f64,
            };
            let pace = Pace::from(rate);
            let (mut full_at, mut now) = (0, Instant(1_000_000_000_000));
            let mut model = Bucket { tokens: rate.burst, at: now };
            for _ in 0..2_000 {
                now = now + Duration::from_millis(random.bits() % 300);
                let refill = now.since(model.at).as_secs_f64() * rate.per_second;
                model.tokens = (model.tokens + refill).min(rate.burst);
                model.at = now;
                let granted = pace.ready_at(full_at) <= now;
                // Where they differ, it is by the rounding of a nanosecond.
                assert!((model.tokens - 1.0).abs() < 1e-4 || granted == (model.tokens >= 1.0), "seed {seed}");
                if granted {
                    full_at = pace.take(full_at, now);
                    model.tokens -= 1.0;
                }
            }
        }
    }

    #[test]
    fn a_rate_of_zero_gives_its_burst_once() {
        let pace = Pace::from(Rate { per_second: 0.0, burst: 5.0 });
        let mut full_at = 0;
        let granted = (0..100_u64).filter(|second| {
            let now = Instant(second * 1_000_000_000);
            let granted = pace.ready_at(full_at) <= now;
            if granted {
                full_at = pace.take(full_at, now);
            }
            granted
        });
        assert_eq!(granted.count(), 5);
    }
}
