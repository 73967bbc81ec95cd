//! Every packet takes its time.

use super::{Fate, Impair, Impairment, Passing, nanoseconds};
use crate::record::Nanos;

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "delay",
    summary: "every packet takes so long",
    examples: &["20ms", "300us"],
    make: |text| Ok(Box::new(Delay(nanoseconds(text)?))),
};

struct Delay(Nanos);

impl Impair for Delay {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        passing.due = passing.due.saturating_add(self.0);
        Fate::Pass
    }
}
