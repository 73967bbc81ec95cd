//! Running scenarios: one [`Plan`] is one scenario with one cast, and gives one [`Outcome`].
//!
//! Each plan is run by a process of its own ([`worker`]): a run that gets stuck is killed with everything in it, and
//! several run at the same time, since most of a run is waiting.

use crate::judge::{Facts, Kind, Verdict};
use crate::record::Recording;
use crate::render::{Class, Finding};
use crate::scenario::{Must, Part, Protocol, Scenario};
use serde::{Deserialize, Serialize};

mod expect;
mod eyes;
mod feed;
mod ground;
mod ledger;
mod log;
mod lookout;
mod player;
mod program;
pub mod span;
mod stage;
mod steps;
mod talk;
pub mod worker;

pub use program::{Program, split};

/// The port that the lab's servers listen at unless a scenario needs another.
pub const PORT: u16 = 7007;
/// It and those after it that scenarios use: so many.
pub const PORTS: u16 = 10;
/// The case that others are compared with.
pub const NO_FAULT: &str = "00-no-fault";
/// Lines of a conversation where the user gave none.
pub const LINES: [&str; 5] =
    ["alpha\n", "bravo\n", "charlie 3\n", "delta\n", "echo the fifth and last line\n"];

/// Which cast of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cast {
    /// The self-test: exact calls.
    Kernel,
    /// A client program against built-in peers.
    Client,
    /// A server program against built-in peers.
    Server,
}

impl Cast {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Cast::Kernel => "kernel",
            Cast::Client => "client",
            Cast::Server => "server",
        }
    }

    /// The part of a scenario for this cast.
    pub fn of(self, scenario: &Scenario) -> Option<&Part> {
        match self {
            Cast::Kernel => scenario.kernel.as_ref(),
            Cast::Client => scenario.client.as_ref(),
            Cast::Server => scenario.server.as_ref(),
        }
    }
}

/// What a conversation without a fault looked like: what later ones are compared with.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// What went in came out unchanged: the program's input at the peer, and the peer's bytes at the program's output;
    /// for servers: an echo.
    pub verbatim: [bool; 2],
    /// What came out, in each direction.
    pub came: [Vec<u8>; 2],
    /// The program ended by itself.
    pub ended: bool,
    /// What a server has for an answer.
    pub answers: Answers,
}

/// See [`Baseline::answers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// It has said something.
    Words,
    /// It has taken what the client said, and ended the conversation without a word.
    Silence,
    /// Neither was seen.
    #[default]
    Unknown,
}

/// One scenario with one cast, ready to be run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's id.
    pub scenario: String,
    /// Which cast.
    pub cast: Cast,
    /// The program; none for the kernel's self-test.
    pub program: Option<Program>,
    /// Seed of all randomness.
    pub seed: u64,
    /// Linux's own times instead of compressed ones.
    pub real: bool,
    /// Over IPv6.
    pub ipv6: bool,
    /// On this machine's loopback, without simulated hosts.
    pub loopback: bool,
    /// From a run without fault.
    pub baseline: Option<Baseline>,
}

impl Plan {
    /// The scenario's part for this cast, looked on for as long as this plan needs. In real time the times of single
    /// calls are what they are.
    pub(crate) fn part(&self, scenario: &Scenario) -> Option<Part> {
        let part = self.cast.of(scenario)?;
        let mut part = if self.loopback { part.loopback.as_deref().ok()? } else { part }.clone();
        part.watch = span::watch(&part, scenario, self);
        if self.real {
            for pattern in &mut part.expect {
                pattern.took = None;
            }
        }
        Some(part)
    }
}

/// What came of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// What was run.
    pub plan: Plan,
    /// All that was seen.
    pub recording: Recording,
    /// What became of the program; for the kernel's self-test empty.
    pub verdicts: Vec<Verdict>,
    /// For the self-test: what this kernel does otherwise than the catalogue says.
    pub differences: Vec<String>,
    /// What the verdicts rest on besides the recording.
    pub facts: Option<Facts>,
    /// What this conversation looked like.
    pub baseline: Baseline,
    /// How long it took.
    pub took_ms: u64,
    /// What kept the lab from running it.
    pub error: Option<String>,
    /// It does not apply to this program: why.
    pub skipped: Option<String>,
}

/// How good an outcome is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Good,
    /// It does not apply.
    Skipped,
    /// It could not be seen.
    Unknown,
    /// The program has a fault, or the kernel differs.
    Bad,
    /// The lab failed.
    Error,
}

impl Outcome {
    /// How good it is.
    pub fn grade(&self) -> Grade {
        if self.error.is_some() {
            Grade::Error
        } else if self.skipped.is_some() {
            Grade::Skipped
        } else if !self.differences.is_empty() || self.verdicts.iter().any(|verdict| verdict.kind.is_bad()) {
            Grade::Bad
        } else if self.verdicts.iter().any(|verdict| verdict.kind == Kind::Inconclusive) {
            Grade::Unknown
        } else {
            Grade::Good
        }
    }

    /// In one line, for the score table.
    pub fn summary(&self) -> String {
        if let Some(why) = self.error.as_ref().or(self.skipped.as_ref()) {
            return why.clone();
        }
        if self.plan.cast == Cast::Kernel {
            return match self.differences.as_slice() {
                [] => "as recorded".to_owned(),
                differences => differences.join("; "),
            };
        }
        let verdicts: Vec<String> = self.verdicts.iter().map(ToString::to_string).collect();
        verdicts.join("; ")
    }

    /// What is said of it, in the form in which it is shown.
    pub fn findings(&self) -> Vec<Finding> {
        let subject = self.plan.cast.name().to_owned();
        let finding = |word: &str, sentence: String, class| Finding {
            word: word.to_owned(),
            subject: subject.clone(),
            sentence,
            cites: Vec::new(),
            remedy: None,
            class,
        };
        if let Some(error) = &self.error {
            return vec![finding("LAB FAILED", error.clone(), Class::Unknown)];
        }
        if let Some(why) = &self.skipped {
            return vec![finding("NOT APPLICABLE", why.clone(), Class::Unknown)];
        }
        if self.plan.cast == Cast::Kernel {
            return match self.differences.as_slice() {
                [] => vec![finding(
                    "AS RECORDED",
                    "this kernel does what the catalogue says".to_owned(),
                    Class::Good,
                )],
                all => all.iter().map(|text| finding("DIFFERS", text.clone(), Class::Bad)).collect(),
            };
        }
        let shown = |verdict: &Verdict| Finding {
            cites: verdict.cites.clone(),
            remedy: verdict.kind.remedy().map(str::to_owned),
            ..finding(
                verdict.kind.word(),
                verdict.text.clone(),
                match verdict.kind {
                    Kind::Inconclusive => Class::Unknown,
                    kind if kind.is_bad() => Class::Bad,
                    _ => Class::Good,
                },
            )
        };
        self.verdicts.iter().map(shown).collect()
    }

    /// The words alone.
    pub fn words(&self) -> Vec<&'static str> {
        self.verdicts.iter().map(|verdict| verdict.kind.word()).collect()
    }
}

/// Which scenarios apply to a program, and why the others do not.
pub fn applicable(
    scenario: &Scenario,
    cast: Cast,
    udp: bool,
    ipv6: bool,
    loopback: bool,
) -> Result<(), String> {
    let part = fits(scenario, cast, udp, ipv6)?;
    if !loopback {
        return Ok(());
    }
    let least = &part.loopback.as_ref().map_err(|why| format!("not on one machine: {why}"))?.least;
    for (sysctl, least) in least {
        let value = std::fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/")));
        if !value.as_ref().is_ok_and(|value| value.trim().parse::<u64>().is_ok_and(|value| value >= *least)) {
            let value = value.unwrap_or_default();
            return Err(format!(
                "on this machine {sysctl} is {}, and must be at least {least}",
                value.trim()
            ));
        }
    }
    Ok(())
}

fn fits(scenario: &Scenario, cast: Cast, udp: bool, ipv6: bool) -> Result<&Part, &'static str> {
    let Some(part) = cast.of(scenario) else {
        return Err(match cast {
            Cast::Kernel => "there is nothing to ask the kernel",
            Cast::Client => "it is about the kernel or about servers",
            Cast::Server => "it is about the kernel or about clients",
        });
    };
    if ipv6 && part.ipv4_only {
        return Err("its numbers are those of IPv4");
    }
    match (part.protocol, udp) {
        (Protocol::Udp, false) if cast != Cast::Kernel => Err("it is about UDP"),
        (Protocol::Tcp, true) if cast != Cast::Kernel => Err("it is about TCP"),
        _ => Ok(part),
    }
}

/// Runs one plan in this process.
pub fn here(plan: &Plan) -> Outcome {
    stage::play(plan)
}

/// An outcome of a plan that could not be run.
pub(crate) fn failed(plan: &Plan, error: String) -> Outcome {
    Outcome {
        plan: plan.clone(),
        recording: log::empty(&plan.scenario),
        verdicts: Vec::new(),
        differences: Vec::new(),
        facts: None,
        baseline: Baseline::default(),
        took_ms: 0,
        error: Some(error),
        skipped: None,
    }
}

/// Whether the program is to be watched to the end of the time: what it leaves behind shows only then.
fn watches_to_the_end(cast: Cast, must: Must) -> bool {
    cast == Cast::Server && must != Must::End
}
