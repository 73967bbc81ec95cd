//! The next packets of a kind meet a middlebox that resets the connection, as some firewalls do.

use super::{Fate, Impair, Impairment, Passing, Reply, count_and_kind};
use crate::wire::segment::Kind;

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "reset-next",
    summary: "the next packet of a kind, or the next few, do not arrive, and both ends get a reset instead",
    examples: &["DATA", "2 SYN"],
    make: |text| {
        let (left, kind) = count_and_kind(text)?;
        Ok(Box::new(ResetNext { left, kind }))
    },
};

struct ResetNext {
    left: u32,
    kind: Kind,
}

impl Impair for ResetNext {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        if self.left == 0 || passing.segment.kind() != self.kind || passing.segment.tcp().is_none() {
            return Fate::Pass;
        }
        self.left -= 1;
        passing.replies.push(Reply::Reset);
        Fate::Drop("reset by a middlebox")
    }
}
