//! Every packet takes up to so much longer; none overtakes another.

use super::{Fate, Impair, Impairment, Passing, nanoseconds};
use crate::record::Nanos;

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "jitter",
    summary: "every packet takes longer by a random time up to this; none overtakes another",
    examples: &["5ms"],
    make: |text| Ok(Box::new(Jitter { most: nanoseconds(text)?, last: 0 })),
};

struct Jitter {
    most: Nanos,
    /// When the last one arrives.
    last: Nanos,
}

impl Impair for Jitter {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        let late = passing.random.below(self.most as usize + 1) as Nanos;
        passing.due = passing.due.saturating_add(late).max(self.last);
        self.last = passing.due;
        Fate::Pass
    }
}
