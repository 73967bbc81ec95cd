//! [`Notices`]: which refusals get a line of their own in the log, so that a flood can neither fill the disk nor hide
//! what befalls others. Those that get none are counted in a line that sums up, once a second at most.

use super::pace::Pace;
use crate::limits::Rate;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use switchboard_proto::Instant;

/// Lines for one source, as far as sources fall into different places.
const OF_SOURCE: Rate = Rate { per_second: 0.2, burst: 5.0 };
/// Lines for all.
const OF_ALL: Rate = Rate { per_second: 5.0, burst: 50.0 };
const PLACES: usize = 64;

/// The buckets of one service in one process.
#[derive(Debug)]
pub(super) struct Notices {
    all: AtomicU64,
    sources: [AtomicU64; PLACES],
}

impl Default for Notices {
    fn default() -> Notices {
        Notices { all: AtomicU64::new(0), sources: [const { AtomicU64::new(0) }; PLACES] }
    }
}

impl Notices {
    /// Whether a refusal of `source` gets a line now.
    pub(super) fn is_due(&self, source: &[u8], now: Instant) -> bool {
        // FNV-1a: who makes places collide hides his own lines.
        let hash = source.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // Its upper bits hardly know of the last byte; a multiplication more, and they do.
        let place = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        take(&self.sources[place as usize % PLACES], OF_SOURCE, now) && take(&self.all, OF_ALL, now)
    }
}

/// Two threads at once may both get the last line: no harm.
fn take(bucket: &AtomicU64, rate: Rate, now: Instant) -> bool {
    let pace = Pace::from(rate);
    let full_at = bucket.load(Relaxed);
    let ready = pace.ready_at(full_at) <= now;
    if ready {
        bucket.store(pace.take(full_at, now), Relaxed);
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_hides_nobody_and_fills_nothing() {
        let notices = Notices::default();
        let (mut flooder, mut other) = (0, 0);
        for ms in 0..60_000_u64 {
            let now = Instant(1_000_000_000 + ms * 1_000_000);
            flooder += u32::from(notices.is_due(b"flooder", now));
            other += u32::from(ms % 10_000 == 0 && notices.is_due(b"other", now));
        }
        assert_eq!(other, 6, "each time");
        assert!((15..=18).contains(&flooder), "{flooder}");
        let now = Instant(1_000_000_000_000);
        let many = (0..100_000_u32).filter(|n| notices.is_due(&n.to_be_bytes(), now)).count();
        assert_eq!(many, 50);
    }
}
