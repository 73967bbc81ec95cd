//! The next packets of a kind do not arrive.

use super::{Fate, Impair, Impairment, Passing, count_and_kind};
use crate::wire::segment::Kind;

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "drop-next",
    summary: "the next packet of a kind, or the next few, do not arrive",
    examples: &["SYN-ACK", "3 DATA"],
    make: |text| {
        let (left, kind) = count_and_kind(text)?;
        Ok(Box::new(DropNext { left, kind }))
    },
};

struct DropNext {
    left: u32,
    kind: Kind,
}

impl Impair for DropNext {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        if self.left == 0 || passing.segment.kind() != self.kind {
            return Fate::Pass;
        }
        self.left -= 1;
        Fate::Drop("dropped on purpose")
    }
}
