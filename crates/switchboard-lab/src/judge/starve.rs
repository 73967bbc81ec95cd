//! STARVES OTHERS: a client that did nothing wrong was not served, and might have been.

use super::evidence::Evidence;
use super::{Kind, Verdict};
use crate::scenario::Must;

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    let facts = evidence.facts;
    let probe = facts.probe?;
    // A server that is gone is another verdict's business.
    if evidence.end().is_some() || facts.must != Must::Survive {
        return None;
    }
    let cites: Vec<usize> = evidence.pending().iter().map(|(index, _)| *index).take(1).collect();
    let text = match (probe.meanwhile, probe.at_the_end) {
        (true, true) => return None,
        (true, false) => "a new client is not served any more at the end".to_owned(),
        (false, true) => format!("another client waited more than {} s for its answer", probe.patience_s),
        (false, false) => {
            format!(
                "another client was not served within {} s, and neither was a later one",
                probe.patience_s
            )
        }
    };
    let within = evidence.pending().first().map(|(_, call)| {
        let fd = call.fd.map_or(String::new(), |fd| format!(" on descriptor {fd}"));
        format!("; the server sits in {}{fd}", super::evidence::plain(&call.name))
    });
    Some(Verdict::new(Kind::Starves, text + &within.unwrap_or_default(), cites))
}
