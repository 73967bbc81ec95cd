//! [`Spin`]: waiting awake for a while before sleeping (`--busy-poll`), as long as that pays.
//!
//! To be woken takes longer than to answer: a client who asks again as soon as he has his answer waits for a
//! processor to wake, twice. A loop that looks again and again finds the next request at once, at the price of a
//! processor that is never idle meanwhile. How long to look is learned as KVM's halt polling learns it: it doubles
//! while events come within the limit, and one wait that lasted longer ends it. So a server without clients, or with
//! slow ones, sleeps as it would without.

use crate::sys::clock;
use std::hint;
use std::time::Duration;
use switchboard_proto::Instant;

/// The first time spent looking, once events come quickly.
const FIRST: Duration = Duration::from_micros(20);

pub(super) struct Spin {
    most: Duration,
    /// How long to look before sleeping now.
    patience: Duration,
    /// When the wait began.
    began: Instant,
}

impl Spin {
    /// Looks for at most `most`; `None`: never.
    pub(super) fn new(most: Option<Duration>) -> Spin {
        Spin { most: most.unwrap_or(Duration::ZERO), patience: Duration::ZERO, began: Instant::default() }
    }

    /// Asks `look` whether there is something until there is, or it does not pay any more, or `timeout` has passed.
    /// Returns whether to sleep, and for how long at most.
    pub(super) fn look<E>(
        &mut self,
        timeout: Option<Duration>,
        mut look: impl FnMut() -> Result<bool, E>,
    ) -> Result<Option<Option<Duration>>, E> {
        if self.most.is_zero() {
            return Ok(Some(timeout));
        }
        self.began = clock::now();
        if self.patience.is_zero() {
            return Ok(Some(timeout));
        }
        let patience = timeout.map_or(self.patience, |timeout| timeout.min(self.patience));
        loop {
            if look()? {
                return Ok(None);
            }
            let spent = clock::now().since(self.began);
            if spent >= patience {
                return Ok(Some(timeout.map(|timeout| timeout.saturating_sub(spent))));
            }
            hint::spin_loop();
        }
    }

    /// The wait that the last look began is over: learns from how long it lasted.
    pub(super) fn waited(&mut self, ended: Instant) {
        if self.most.is_zero() {
            return;
        }
        self.patience = if ended.since(self.began) > self.most {
            Duration::ZERO
        } else {
            (self.patience * 2).clamp(FIRST.min(self.most), self.most)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn never() -> Result<bool, Infallible> {
        panic!("looked")
    }

    const MOST: Duration = Duration::from_micros(100);

    fn after(spin: &mut Spin, wait: Duration) {
        spin.began = Instant(1_000_000_000);
        spin.waited(spin.began + wait);
    }

    #[test]
    fn without_being_asked_it_sleeps_at_once() {
        let mut spin = Spin::new(None);
        after(&mut spin, Duration::ZERO);
        assert_eq!(spin.look(None, never), Ok(Some(None)));
    }

    #[test]
    fn quick_events_make_it_look_longer_up_to_the_limit_and_one_long_wait_ends_it() {
        let mut spin = Spin::new(Some(MOST));
        assert_eq!(spin.look(None, never), Ok(Some(None)));
        for patience_us in [20, 40, 80, 100, 100] {
            after(&mut spin, MOST);
            assert_eq!(spin.patience, Duration::from_micros(patience_us));
        }
        after(&mut spin, MOST + Duration::from_nanos(1));
        assert_eq!(spin.look(None, never), Ok(Some(None)));
    }

    #[test]
    fn what_it_finds_spares_the_sleep_and_what_it_does_not_find_shortens_it() {
        let mut spin = Spin::new(Some(MOST));
        after(&mut spin, Duration::ZERO);
        let found = || Ok::<_, Infallible>(true);
        assert_eq!(spin.look(None, found), Ok(None));
        let nothing = || Ok::<_, Infallible>(false);
        assert_eq!(spin.look(None, nothing), Ok(Some(None)));
        let hour = Duration::from_secs(3_600);
        let left = spin.look(Some(hour), nothing).unwrap_or_default().flatten();
        assert!(left.is_some_and(|left| left < hour), "{left:?}");
        assert_eq!(spin.look(Some(Duration::ZERO), nothing), Ok(Some(Some(Duration::ZERO))));
    }
}
