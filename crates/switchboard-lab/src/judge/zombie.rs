//! ZOMBIES: children that ended and were not waited for.

use super::evidence::Evidence;
use super::{Kind, Verdict};
use crate::record::{Change, Nanos};
use std::collections::BTreeMap;

/// A parent may be busy for a moment.
const PATIENCE_NS: Nanos = 1_000_000_000;

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    // Whose parent has ended is inherited and collected by the host's first process.
    if evidence.end().is_some() {
        return None;
    }
    let mut zombies = BTreeMap::new();
    for (index, pid, change) in evidence.changes(0) {
        match change {
            Change::Zombie => drop(zombies.insert(pid, index)),
            Change::Reaped => drop(zombies.remove(&pid)),
            _ => {}
        }
    }
    let until = evidence.facts.until_ns;
    zombies.retain(|_, index| evidence.events[*index].at_ns + PATIENCE_NS < until);
    if zombies.is_empty() {
        return None;
    }
    let text = match zombies.len() {
        1 => "1 child that ended was not waited for".to_owned(),
        n => format!("{n} children that ended were not waited for"),
    };
    Some(Verdict::new(Kind::Zombies, text, zombies.into_values().collect()))
}
