//! Some packets are held back, so that later ones overtake them.

use super::{Fate, Impair, Impairment, Passing, nanoseconds, probability};
use crate::record::Nanos;

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "reordering",
    summary: "packets are held back, with this probability, by so long (1ms), and later ones overtake them",
    examples: &["20%", "5% 10ms"],
    make: |text| {
        let (often, long) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), "1ms"));
        Ok(Box::new(Reordering { millionths: probability(often)?, by: nanoseconds(long.trim())? }))
    },
};

struct Reordering {
    millionths: u32,
    by: Nanos,
}

impl Impair for Reordering {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        if passing.happens(self.millionths) {
            passing.due = passing.due.saturating_add(self.by);
        }
        Fate::Pass
    }
}
