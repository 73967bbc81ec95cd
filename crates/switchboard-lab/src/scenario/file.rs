//! The scenario file: text becomes a [`Scenario`], or all that is wrong with it.

use super::action::{self, Action};
use super::{Lines, Mistakes, Must, Part, Pattern, Protocol, Scenario, Step, Topology, When, loopback};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use switchboard_net::quantity;
use toml::Spanned;

/// Reads a file; see [`Scenario::parse`].
pub(super) fn read(name: &str, text: &str) -> Result<Scenario, Mistakes> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, &span));
        Mistakes(vec![format!("{name}:{line}: {}", error.message())])
    })?;
    let mut reader = Reader { name, text, mistakes: Vec::new() };
    let scenario = reader.scenario(file);
    if reader.mistakes.is_empty() { Ok(scenario) } else { Err(Mistakes(reader.mistakes)) }
}

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

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePart {
    #[serde(default)]
    actors: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    steps: Vec<Spanned<String>>,
    watch: Option<Spanned<String>>,
    real: Option<When>,
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
    loopback: Option<Spanned<FileLoopback>>,
}

/// What is otherwise where there is one machine and no wire.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLoopback {
    actors: Option<BTreeMap<String, Spanned<String>>>,
    steps: Option<Vec<Spanned<String>>>,
    expect: Option<Vec<Spanned<String>>>,
    watch: Option<Spanned<String>>,
    #[serde(default)]
    least: BTreeMap<String, u64>,
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
        let wire = if file.line.is_some() || file.mtu.is_some() || file.topology == Topology::Lan {
            Some("it is about the line between two machines")
        } else if file.sysctls.is_empty() {
            None
        } else {
            Some("it needs settings of the kernel that are only a host's own")
        };
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
            kernel: file.kernel.map(|part| self.part(part, None, wire)),
            client: file.client.map(|part| self.part(part, Some("client"), wire)),
            server: file.server.map(|part| self.part(part, Some("server"), wire)),
        }
    }

    /// A part, and what it is where there is no wire. `wire` says why the whole scenario needs one.
    fn part(&mut self, mut part: FilePart, program: Option<&str>, wire: Option<&str>) -> Part {
        let other = part.loopback.take();
        let mut read = self.cast(part.clone(), program);
        read.loopback = match (other, wire) {
            (Some(other), _) => {
                let at = other.span();
                let other = other.into_inner();
                let changed = FilePart {
                    actors: other.actors.unwrap_or(part.actors),
                    steps: other.steps.unwrap_or(part.steps),
                    expect: other.expect.unwrap_or(part.expect),
                    watch: other.watch.or(part.watch),
                    ..part
                };
                let changed = self.cast(changed, program);
                loopback::adapt(&changed)
                    .map(|adapted| Box::new(Part { least: other.least, ..adapted }))
                    .inspect_err(|why| self.wrong(&at, why))
            }
            (None, Some(why)) => Err(why.to_owned()),
            (None, None) => loopback::adapt(&read).map(Box::new),
        };
        read
    }

    fn cast(&mut self, part: FilePart, program: Option<&str>) -> Part {
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
            real: part.real,
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
            least: BTreeMap::new(),
            loopback: Err(String::new()),
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
