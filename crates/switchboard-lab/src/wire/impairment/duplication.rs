//! Packets arrive twice.

use super::{Fate, Impair, Impairment, Passing, probability};

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "duplication",
    summary: "packets arrive twice, with this probability",
    examples: &["5%"],
    make: |text| Ok(Box::new(Duplication(probability(text)?))),
};

/// In millionths.
struct Duplication(u32);

impl Impair for Duplication {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        passing.twice |= passing.happens(self.0);
        Fate::Pass
    }
}
