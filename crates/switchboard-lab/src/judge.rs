//! [`judge`]: what became of the program, as a pure function of the recording and of what the lab knows besides.
//!
//! Every verdict cites the events that it rests on, by their index in [`Recording::events`]. Faults are looked for in
//! one file each; a program without any is told what it did right. What could not be seen is INCONCLUSIVE, never a pass.

use crate::record::{HostId, Nanos, Recording};
use crate::scenario::Must;
use evidence::Evidence;
use serde::{Deserialize, Serialize};

mod crash;
mod data;
mod evidence;
mod hang;
mod ignored;
mod leak;
mod outcome;
mod sigpipe;
mod spin;
mod starve;
mod verdict;
mod zombie;

pub use data::Stream;
pub use verdict::{KINDS, Kind, Verdict};

/// What the lab knows of a run besides what was recorded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The part that the program played, such as `client`.
    pub role: String,
    /// Its host.
    pub host: HostId,
    /// Its processes, the first one first; empty if it could not be started.
    pub processes: Vec<i32>,
    /// What is asked of it.
    pub must: Must,
    /// The event at which the fault happened, by index; without one, all of the run is after the fault.
    pub fault: Option<usize>,
    /// What did not happen although the case needs it, in words.
    pub missing: Option<String>,
    /// When the lab stopped looking.
    pub until_ns: Nanos,
    /// How long the lab looked on after the last step, in seconds.
    pub watched_s: f64,
    /// Signals that the lab itself sent to the program.
    pub signals: Vec<i32>,
    /// When the kernel ends the wait with the settings it comes with: `never`, `947 s`.
    pub gives_up: String,
    /// Bytes that went in and what should have come out.
    pub streams: Vec<Stream>,
    /// Whether others were served meanwhile, and at the end; for servers.
    pub probe: Option<Probe>,
    /// Without a fault it comes to its end by itself; unknown in that case itself.
    pub ends: Option<bool>,
    /// It was a datagram conversation.
    pub datagrams: bool,
}

/// Another client of the server's, which has done nothing wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// It was answered while the fault lasted.
    pub meanwhile: bool,
    /// It was answered at the end.
    pub at_the_end: bool,
    /// Seconds it was given.
    pub patience_s: u32,
}

/// Judges a program. There is always at least one verdict.
pub fn judge(recording: &Recording, facts: &Facts) -> Vec<Verdict> {
    let evidence = Evidence::new(recording, facts);
    if let Some(missing) = &facts.missing {
        // A program that died before its time is why nothing came about.
        if let Some(verdict) = sigpipe::look(&evidence).or_else(|| crash::look(&evidence)) {
            return vec![verdict];
        }
        return vec![Verdict::new(Kind::Inconclusive, missing.clone(), Vec::new())];
    }
    if facts.processes.is_empty() {
        return vec![Verdict::new(Kind::Inconclusive, "the program was not started".to_owned(), Vec::new())];
    }
    let looks: [fn(&Evidence<'_>) -> Option<Verdict>; 9] = [
        sigpipe::look,
        crash::look,
        spin::look,
        starve::look,
        hang::look,
        zombie::look,
        leak::look,
        data::look,
        ignored::look,
    ];
    let mut verdicts: Vec<Verdict> = looks.iter().filter_map(|look| look(&evidence)).collect();
    // One cause, one accusation: a program that hangs holds its socket, and one that was killed left data behind.
    let has = |kind: Kind, verdicts: &[Verdict]| verdicts.iter().any(|verdict| verdict.kind == kind);
    if has(Kind::Hangs, &verdicts) || has(Kind::Spins, &verdicts) {
        verdicts.retain(|verdict| verdict.kind != Kind::Leaked);
    }
    if has(Kind::Spins, &verdicts) {
        verdicts.retain(|verdict| !matches!(verdict.kind, Kind::Hangs | Kind::IgnoredError));
    }
    // Going on is what it does instead of taking notice.
    if has(Kind::IgnoredError, &verdicts) {
        verdicts.retain(|verdict| verdict.kind != Kind::Hangs);
    }
    if has(Kind::KilledBySigpipe, &verdicts) || has(Kind::Crashed, &verdicts) || has(Kind::Hangs, &verdicts) {
        let data = [Kind::DataTruncated, Kind::DataLost, Kind::Starves];
        verdicts.retain(|verdict| !data.contains(&verdict.kind));
    }
    if verdicts.is_empty() {
        verdicts.push(outcome::look(&evidence));
    }
    verdicts
}

#[cfg(test)]
mod tests;
