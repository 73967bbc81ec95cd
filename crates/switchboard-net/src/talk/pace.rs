//! [`Pace`]: how fast input leaves, if it is not to leave as fast as it can.

use std::time::Duration;
use switchboard_proto::Instant;

/// The largest part of a second that leaves at once.
const PIECES_PER_S: u64 = 10;

/// When the next bytes may leave, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes per second.
    rate: Option<u64>,
    /// Between lines.
    delay_line: Option<Duration>,
    /// Nothing leaves before.
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>, delay_line: Option<Duration>, now: Instant) -> Pace {
        Pace { rate: rate.map(|rate| rate.max(1)), delay_line, next: now }
    }

    /// Whether there is one.
    pub(super) fn is_set(&self) -> bool {
        self.rate.is_some() || self.delay_line.is_some()
    }

    /// When something may leave.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// How many of `bytes` may leave now; 0 before [`Pace::next`].
    pub(super) fn allowed(&self, bytes: &[u8], now: Instant) -> usize {
        if !self.is_set() {
            return bytes.len();
        }
        if now < self.next {
            return 0;
        }
        let piece = self.rate.map_or(u64::MAX, |rate| (rate / PIECES_PER_S).max(1));
        let line = self.delay_line.and_then(|_| bytes.iter().position(|byte| *byte == b'\n'));
        bytes
            .len()
            .min(usize::try_from(piece).unwrap_or(usize::MAX))
            .min(line.map_or(usize::MAX, |at| at + 1))
    }

    /// These have left.
    pub(super) fn left(&mut self, bytes: &[u8], now: Instant) {
        if let Some(rate) = self.rate {
            let took = Duration::from_secs_f64(bytes.len() as f64 / rate as f64);
            // Counted from when they were due, so that a late wake-up does not add up; no more than a second is made up.
            let due = if self.next + Duration::from_secs(1) < now { now } else { self.next };
            self.next = due + took;
        }
        if let Some(delay) = self.delay_line
            && bytes.last() == Some(&b'\n')
        {
            self.next = self.next.max(now + delay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_rates_leave_when_they_may() {
        let at = |ms: u64| Instant(0) + Duration::from_millis(ms);
        let mut pace = Pace::new(None, Some(Duration::from_millis(100)), at(0));
        assert_eq!(pace.allowed(b"ab\ncd\n", at(0)), 3);
        pace.left(b"ab\n", at(0));
        assert_eq!((pace.allowed(b"cd\n", at(99)), pace.allowed(b"cd\n", at(100))), (0, 3));
        // A line that is not whole yet goes on without a wait.
        pace.left(b"c", at(100));
        assert_eq!(pace.allowed(b"d\n", at(100)), 2);

        let mut pace = Pace::new(Some(1_000), None, at(0));
        let (mut now, mut total) = (0, 0);
        while total < 2_000 {
            let n = pace.allowed(&[0; 700], at(now));
            pace.left(&vec![0; n], at(now));
            total += n;
            now += 7;
        }
        assert!((1_890..2_050).contains(&now), "2000 bytes at 1000/s took {now} ms");
        assert_eq!(Pace::new(None, None, at(0)).allowed(b"all of it", at(0)), 9);
    }
}
