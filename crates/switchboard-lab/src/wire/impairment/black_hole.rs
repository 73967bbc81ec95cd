//! Nothing arrives, and nobody is told.

use super::{Fate, Impair, Impairment, Passing, nothing};

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "black-hole",
    summary: "nothing arrives, and nobody is told",
    examples: &["on"],
    make: |text| nothing(text).map(|()| Box::new(BlackHole) as Box<dyn Impair>),
};

struct BlackHole;

impl Impair for BlackHole {
    fn meet(&mut self, _: &mut Passing<'_>) -> Fate {
        Fate::Drop("black hole")
    }
}
