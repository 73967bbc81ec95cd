//! Packets get lost, each with the same probability.

use super::{Fate, Impair, Impairment, Passing, probability};

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "loss",
    summary: "packets get lost, each with this probability",
    examples: &["2%", "0.1%"],
    make: |text| Ok(Box::new(Loss(probability(text)?))),
};

/// In millionths.
struct Loss(u32);

impl Impair for Loss {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        if passing.happens(self.0) { Fate::Drop("random loss") } else { Fate::Pass }
    }
}
