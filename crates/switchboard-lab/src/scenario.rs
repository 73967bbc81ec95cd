//! [`Scenario`]: one thing that goes wrong on a network, as data. The files are in `scenarios/` at the top of the
//! repository, one a case, and are part of the program.
//!
//! A scenario asks two questions apart. `[kernel]` lists exact system calls on both hosts and what Linux answers: the
//! lab's own self-test. `[client]` and `[server]` put a whole program in that place, with a built-in peer opposite, and
//! ask what became of it.

use crate::formula::{self, COMPRESSED, DEFAULT, Knobs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use switchboard_net::quantity;
use toml::Spanned;

pub mod action;
mod pattern;
pub mod roles;
mod table;

pub use action::Action;
pub(crate) use pattern::words;
pub use pattern::{Pattern, is_call};
pub use table::SCENARIOS;

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

/// A law of the kernel's about time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Within a round trip.
    AtOnce,
    /// `tcp_syn_retries`.
    Connect,
    /// `tcp_retries2`.
    Established,
    /// `tcp_keepalive_*`.
    Keepalive,
    /// A peer that died with a closed window.
    ZeroWindow,
    /// 60 s.
    TimeWait,
    /// `tcp_fin_timeout`.
    FinTimeout,
    /// Nothing ends it.
    Never,
}

impl When {
    /// How long under these settings; `None` is never.
    pub fn under(self, knobs: &Knobs) -> Option<Duration> {
        let round_trip = Duration::from_millis(22);
        match self {
            When::AtOnce => Some(Duration::ZERO),
            When::Connect => Some(knobs.connect()),
            When::Established => Some(knobs.established(round_trip)),
            When::Keepalive => Some(knobs.keepalive()),
            When::ZeroWindow => Some(formula::ZERO_WINDOW),
            When::TimeWait => Some(formula::TIME_WAIT),
            When::FinTimeout => Some(knobs.fin_timeout),
            When::Never => None,
        }
    }

    /// The law as people write it.
    pub fn law(self) -> &'static str {
        match self {
            When::AtOnce => "as soon as the answer has travelled",
            When::Connect => {
                "the first expiry of the timer not before 2^(tcp_syn_retries + 1) − 1 s; it starts at 1 s, stays there \
                 tcp_syn_linear_timeouts times, then doubles up to tcp_rto_max_ms"
            }
            When::Established => {
                "the first expiry of the timer not before the sum of tcp_retries2 + 1 waits; they start at 200 ms plus \
                 the round trip and double up to tcp_rto_max_ms"
            }
            When::Keepalive => "tcp_keepalive_time + tcp_keepalive_intvl × tcp_keepalive_probes",
            When::ZeroWindow => "15 window probes without an answer",
            When::TimeWait => "60 s, a constant of the kernel's",
            When::FinTimeout => "tcp_fin_timeout",
            When::Never => "no timer of the kernel's runs",
        }
    }

    /// In words, with the settings that Linux comes with: `never`, `947 s`.
    pub fn by_default(self) -> String {
        self.in_words(&DEFAULT)
    }

    /// The same with other settings.
    pub fn in_words(self, knobs: &Knobs) -> String {
        match self.under(knobs) {
            None => "never".to_owned(),
            Some(Duration::ZERO) => "at once".to_owned(),
            Some(time) => format!("{:.0} s", time.as_secs_f64()),
        }
    }
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
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, &span));
            Mistakes(vec![format!("{name}:{line}: {}", error.message())])
        })?;
        let mut reader = Reader { name, text, mistakes: Vec::new() };
        let scenario = reader.scenario(file);
        if reader.mistakes.is_empty() { Ok(scenario) } else { Err(Mistakes(reader.mistakes)) }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: String,
    title: String,
    book: String,
    linux: String,
    textbook: Option<String>,
    default: When,
    remedy: Option<String>,
    #[serde(default = "routed")]
    topology: Topology,
    line: Option<Spanned<String>>,
    mtu: Option<u32>,
    #[serde(default)]
    sysctls: BTreeMap<String, String>,
    #[serde(default)]
    real_time: bool,
    kernel: Option<FilePart>,
    client: Option<FilePart>,
    server: Option<FilePart>,
}

fn routed() -> Topology {
    Topology::Routed
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePart {
    #[serde(default)]
    actors: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    steps: Vec<Spanned<String>>,
    watch: Option<Spanned<String>>,
    #[serde(default)]
    expect: Vec<Spanned<String>>,
    must: Option<Must>,
    because: Option<String>,
    #[serde(default)]
    own: Vec<String>,
    lines: Option<Lines>,
    #[serde(default)]
    protocol: Protocol,
    port: Option<u16>,
    #[serde(default)]
    ipv4_only: bool,
    #[serde(default)]
    several: bool,
    #[serde(default)]
    whole: bool,
    copies: Option<u32>,
    descriptors: Option<u32>,
}

/// A line on which one can see that packets take time.
const DELAY: &str = "delay=5ms";

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn wrong(&mut self, at: &Range<usize>, why: impl fmt::Display) {
        self.mistakes.push(format!("{}:{}: {why}", self.name, line_of(self.text, at)));
    }

    fn scenario(&mut self, file: File) -> Scenario {
        let line = match &file.line {
            None => action::line(DELAY),
            Some(line) => action::line(line.get_ref()),
        };
        let line = line.unwrap_or_else(|why| {
            self.wrong(&file.line.as_ref().map_or(0..0, Spanned::span), why);
            Vec::new()
        });
        Scenario {
            id: file.id,
            title: file.title,
            book: file.book,
            linux: file.linux.trim().to_owned(),
            textbook: file.textbook.map(|text| text.trim().to_owned()),
            default: file.default,
            remedy: file.remedy.map(|code| code.trim().to_owned()),
            topology: file.topology,
            line,
            mtu: file.mtu.unwrap_or(1500),
            sysctls: file.sysctls,
            real_time: file.real_time,
            kernel: file.kernel.map(|part| self.part(part, None)),
            client: file.client.map(|part| self.part(part, Some("client"))),
            server: file.server.map(|part| self.part(part, Some("server"))),
        }
    }

    fn part(&mut self, part: FilePart, program: Option<&str>) -> Part {
        let mut roles: Vec<String> = part.actors.keys().cloned().collect();
        roles.extend(program.map(str::to_owned));
        for (role, calls) in &part.actors {
            if !role.starts_with("client") && !role.starts_with("server") {
                self.wrong(
                    &calls.span(),
                    format_args!("`{role}` begins neither with `client` nor with `server`"),
                );
            }
            if let Err(why) = crate::actor::check(calls.get_ref()) {
                self.wrong(&calls.span(), why);
            }
        }
        let steps = part.steps.iter().filter_map(|text| self.step(text, &roles)).collect();
        let expect = part.expect.iter().filter_map(|text| self.pattern(text.get_ref(), &text.span(), &roles));
        let expect = expect.collect();
        let watch = part.watch.map_or(Duration::from_secs(3), |watch| {
            quantity::duration(watch.get_ref()).unwrap_or_else(|error| {
                self.wrong(&watch.span(), error);
                Duration::ZERO
            })
        });
        let plain = |calls: Spanned<String>| calls.into_inner();
        Part {
            actors: part.actors.into_iter().map(|(role, calls)| (role, plain(calls))).collect(),
            steps,
            watch,
            expect,
            must: part.must.unwrap_or(Must::Endure),
            because: part.because,
            own: part.own,
            lines: part.lines,
            protocol: part.protocol,
            port: part.port,
            ipv4_only: part.ipv4_only,
            several: part.several,
            whole: part.whole,
            copies: part.copies.unwrap_or(1),
            descriptors: part.descriptors,
        }
    }

    /// `WHEN -> DO`, or `-> DO`.
    fn step(&mut self, text: &Spanned<String>, roles: &[String]) -> Option<Step> {
        let whole = text.get_ref();
        let Some((when, action)) = whole.split_once("->") else {
            self.wrong(&text.span(), format_args!("`{whole}` is no step `WHEN -> DO`"));
            return None;
        };
        let when = match when.trim() {
            "" => None,
            when => Some(self.pattern(when, &text.span(), roles)?),
        };
        match Action::parse(action.trim()) {
            Ok(action) => Some(Step { when, action, text: whole.clone() }),
            Err(why) => {
                self.wrong(&text.span(), why);
                None
            }
        }
    }

    fn pattern(&mut self, text: &str, at: &Range<usize>, roles: &[String]) -> Option<Pattern> {
        match Pattern::parse(text.trim()) {
            Ok(pattern) => {
                let known = |name: &str| {
                    let name = name.strip_suffix(".child").unwrap_or(name);
                    ["client", "server", "router", "probe"].contains(&name)
                        || roles.iter().any(|role| role == name)
                };
                if let Some(name) = pattern.subject().filter(|name| !known(name)) {
                    self.wrong(at, format_args!("nobody plays `{name}`: {}", roles.join(", ")));
                }
                Some(pattern)
            }
            Err(why) => {
                self.wrong(at, why);
                None
            }
        }
    }
}

fn line_of(text: &str, at: &Range<usize>) -> usize {
    text[..at.start.min(text.len())].matches('\n').count() + 1
}

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
