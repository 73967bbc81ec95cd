//! [`Scenario`]: one thing that goes wrong on a network, as data. The files are in `scenarios/` at the top of the
//! repository, one a case, and are part of the program.
//!
//! A scenario asks two questions apart. `[kernel]` lists exact system calls on both hosts and what Linux answers: the
//! lab's own self-test. `[client]` and `[server]` put a whole program in that place, with a built-in peer opposite, and
//! ask what became of it.

use crate::formula::{COMPRESSED, DEFAULT, Knobs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub mod action;
mod file;
mod loopback;
mod pattern;
pub mod roles;
mod table;
mod when;

pub use action::Action;
pub(crate) use pattern::words;
pub use pattern::{Pattern, has_sent, is_call};
pub use table::SCENARIOS;
pub use when::When;

/// A case of the catalogue. Nothing in it can be invalid.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// Stable, such as `14-child-killed`.
    pub id: String,
    /// One line.
    pub title: String,
    /// Where the classic books tell of it.
    pub book: String,
    /// What Linux does.
    pub linux: String,
    /// Where the textbooks say otherwise.
    pub textbook: Option<String>,
    /// How it would take with the settings that Linux comes with.
    pub default: When,
    /// What a program does about it, in C.
    pub remedy: Option<String>,
    /// How the hosts are joined.
    pub topology: Topology,
    /// What the wire is like: impairments by name and value.
    pub line: Vec<(String, String)>,
    /// Largest packet.
    pub mtu: u32,
    /// Sysctls of every host besides the time profile's.
    pub sysctls: BTreeMap<String, String>,
    /// Sysctls as Linux comes with, whatever the profile.
    pub real_time: bool,
    /// The self-test.
    pub kernel: Option<Part>,
    /// A client program in it.
    pub client: Option<Part>,
    /// A server program in it.
    pub server: Option<Part>,
}

/// One cast of a scenario and what happens to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Built-in actors by role; the role's name begins with its host's name.
    pub actors: BTreeMap<String, String>,
    /// What happens when.
    pub steps: Vec<Step>,
    /// How long to look on after the last step.
    pub watch: Duration,
    /// The law that decides in real time how long, where it is not the scenario's default.
    pub real: Option<When>,
    /// What must be seen, in this order.
    pub expect: Vec<Pattern>,
    /// What is asked of the program; the kernel's part has none.
    pub must: Must,
    /// Why this and not more.
    pub because: Option<String>,
    /// Options of the lab's own programs in this case, such as a time-out where the kernel has none.
    pub own: Vec<String>,
    /// Lines that the program reads, or that the peer says.
    pub lines: Option<Lines>,
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// The port, if it must be a certain one.
    pub port: Option<u16>,
    /// It is about numbers that IPv6 has otherwise.
    pub ipv4_only: bool,
    /// The client is given a name with several addresses, of which only the last answers.
    pub several: bool,
    /// The conversation has an end, and all of it must arrive.
    pub whole: bool,
    /// Copies of the server program to start; the second is the one that is judged.
    pub copies: u32,
    /// Descriptors the program may have open.
    pub descriptors: Option<u32>,
    /// Numbers that sysctls of the machine must at least have; for a part without hosts, which cannot set them.
    pub least: BTreeMap<String, u64>,
    /// The same on one machine and without a wire, or why that cannot be.
    pub loopback: Result<Box<Part>, String>,
}

/// When something is fulfilled, something is done.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// What to wait for; nothing for at once.
    pub when: Option<Pattern>,
    /// What to do.
    pub action: Action,
    /// As it was written.
    pub text: String,
}

/// How the hosts are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Through a router: nobody notices a dead host but by silence.
    Routed,
    /// On one link: a dead host answers no ARP, and that is noticed.
    Lan,
}

/// What is asked of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Must {
    /// It learns that something went wrong, and ends or goes on with other work.
    Notice,
    /// It does what it would have done without the fault.
    Survive,
    /// It stops, and goes on once the fault is over.
    Recover,
    /// It is asked to end, and ends.
    End,
    /// Either is fine; only outright faults count.
    Endure,
}

/// TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Streams.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// What a client program is fed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    /// Line by line: the next when the last was answered, and the end after the last.
    Asked,
    /// A line now and then, answered or not, without end.
    Typed,
    /// As much as it takes, without end.
    Flood,
    /// One line, and then nothing more, without end.
    Idle,
}

impl Scenario {
    /// The settings its hosts run with.
    pub fn knobs(&self, real: bool) -> Knobs {
        if real || self.real_time { DEFAULT } else { COMPRESSED }
    }

    /// Reads a scenario file; `name` is what errors call it.
    ///
    /// # Errors
    /// Every mistake, each with file, line and what would be right.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, Mistakes> {
        file::read(name, text)
    }

    /// All that the program brings along, in order.
    ///
    /// # Panics
    /// If one is wrong: a test reads them all.
    pub fn all() -> Vec<Scenario> {
        let read = |(name, text): &(&str, &str)| {
            Scenario::parse(name, text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
        };
        SCENARIOS.iter().map(read).collect()
    }

    /// The one with exactly this id.
    pub fn exactly(id: &str) -> Option<Scenario> {
        let (name, text) = SCENARIOS.iter().find(|(name, _)| name.strip_suffix(".toml") == Some(id))?;
        Scenario::parse(name, text).ok()
    }

    /// The one with this id, or those of this row of the catalogue.
    ///
    /// # Errors
    /// What was asked for, and the nearest ids.
    pub fn find(id: &str) -> Result<Vec<Scenario>, String> {
        if let Some(scenario) = Scenario::exactly(id) {
            return Ok(vec![scenario]);
        }
        let row = id.parse::<u32>().map_or_else(|_| id.to_owned(), |row| format!("{row:02}"));
        let all = Scenario::all();
        let of_row: Vec<Scenario> = all
            .iter()
            .filter(|scenario| scenario.id.split('-').next() == Some(row.as_str()))
            .cloned()
            .collect();
        if !of_row.is_empty() {
            return Ok(of_row);
        }
        let similar = all.iter().filter(|scenario| scenario.id.contains(id) && id.len() > 2);
        let similar: Vec<&str> = similar.map(|scenario| scenario.id.as_str()).collect();
        let hint = match similar.as_slice() {
            [] => "see `switchboard lab list`".to_owned(),
            ids => format!("did you mean {}?", ids.join(" or ")),
        };
        Err(format!("no scenario is named `{id}`; {hint}"))
    }
}

/// What is wrong with a scenario file, a line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
id = "99-small"
title = "A small one"
book = "none"
linux = "does what it does"
default = "at-once"
[kernel]
actors.server = "listen; accept; close"
actors.client = """
connect
recv
"""
steps = ["client recv = 0 -> crash server"]
watch = "1s"
expect = ["client recv = 0 in 0s..1s", "never packet server RST"]
"#;

    #[test]
    fn a_scenario_is_read() {
        let scenario = Scenario::parse("small.toml", SMALL).expect("fine");
        let kernel = scenario.kernel.expect("there");
        assert_eq!(kernel.steps[0].action, Action::Crash("server".to_owned()));
        assert!(kernel.expect[1].never);
        assert_eq!(scenario.default.by_default(), "at once");
        assert_eq!(When::Established.by_default(), "947 s");
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let wrong = SMALL
            .replace("crash server", "crush server")
            .replace("connect\n", "conect\n")
            .replace("client recv = 0 in", "cleint recv = 0 in")
            .replace("1s\"\nexpect", "1 fortnight\"\nexpect");
        let mistakes = Scenario::parse("small.toml", &wrong).expect_err("wrong").0;
        let has = |line: &str| mistakes.iter().any(|mistake| mistake.starts_with(line));
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
        assert!(has("small.toml:9: `conect` is no call"), "{mistakes:#?}");
        assert!(has("small.toml:13: `crush server`"), "{mistakes:#?}");
        assert!(has("small.toml:14: "), "{mistakes:#?}");
        assert!(has("small.toml:15: nobody plays `cleint`"), "{mistakes:#?}");
        let unknown = SMALL.replace("watch =", "wach =");
        let mistakes = Scenario::parse("small.toml", &unknown).expect_err("wrong").to_string();
        assert!(mistakes.starts_with("small.toml:14: unknown field `wach`"), "{mistakes}");
    }

    #[test]
    fn the_scenarios_are_those_of_the_folder_and_all_can_be_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, files);
        for (name, text) in SCENARIOS {
            let scenario = Scenario::parse(name, text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            assert_eq!(format!("{}.toml", scenario.id), *name);
            let parts = [&scenario.kernel, &scenario.client, &scenario.server];
            assert!(parts.iter().any(|part| part.is_some()), "{name}: nothing to run");
        }
        let ids =
            |row: u32| SCENARIOS.iter().filter(|(name, _)| name.starts_with(&format!("{row:02}-"))).count();
        for row in 1..=32 {
            assert!(ids(row) >= 1, "row {row} of the catalogue has no scenario");
        }
    }

    #[test]
    fn a_scenario_is_found_by_id_by_number_and_not_by_a_guess() {
        let ids = |id: &str| {
            let found = Scenario::find(id).expect(id);
            found.into_iter().map(|scenario| scenario.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("14"), ["14-child-killed"]);
        assert_eq!(ids("2"), ["02-host-down-lan", "02-host-down"]);
        assert_eq!(ids("02-host-down"), ["02-host-down"]);
        assert!(Scenario::find("child").expect_err("a guess").contains("14-child-killed"));
        assert!(Scenario::find("zzz").expect_err("nothing").contains("lab list"));
    }
}
