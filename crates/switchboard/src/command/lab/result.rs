//! What `lab run` prints and writes: all of it from recordings and verdicts, by the lab's renderers.

use crate::exit::Exit;
use crate::report::{Output, Table};
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard_lab::record::HostId;
use switchboard_lab::render::{Chapter, Finding, html, jsonl, junit, pcapng, svg, terminal};
use switchboard_lab::run::{Cast, Grade, NO_FAULT, Outcome, Plan, span};

/// Where results go.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Files {
    /// How to print the scores
    #[arg(long, value_enum, default_value = "human")]
    format: Format,

    /// Draw every case's ladder: calls, packets, calls [default: if there is one case]
    #[arg(long)]
    ladder: bool,

    /// Write a report: scores and ladders in one HTML file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write the ladders as pictures into this folder
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,

    /// Write verdicts and everything that was seen into this folder, as JSON and JSON Lines; `lab diff` reads it
    #[arg(long, value_name = "DIR")]
    jsonl: Option<PathBuf>,

    /// Write the verdicts as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write the packets as each host saw them into this folder, for Wireshark
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Format {
    /// Ladder, table of scores, remedies
    Human,
    /// JSON
    Json,
}

/// The file in a folder of `--jsonl` that has the verdicts.
const SUMMARY: &str = "run.json";

/// What is foreseen to take less is not worth a word.
const SHORT: Duration = Duration::from_secs(20);

/// Says beforehand how long these plans will take.
pub(super) fn announce(plans: &[Plan], jobs: usize, out: &mut Output) {
    let lengths: Vec<Duration> = plans.iter().map(span::expected).collect();
    let whole = span::together(&lengths, jobs);
    let Some((longest, of)) = lengths.iter().zip(plans).max_by_key(|(length, _)| **length) else { return };
    if whole > SHORT {
        out.talk(format_args!(
            "{} runs, {jobs} at a time, take up to {}; the longest is {} {}, up to {}",
            plans.len(),
            span::in_words(whole),
            of.scenario,
            of.cast.name(),
            span::in_words(*longest)
        ));
    }
}

/// A word while others still run: each run in real time, since minutes lie between them; otherwise only what is not as
/// it should be, and at a terminal how far it has come.
pub(super) struct Progress<'a> {
    out: &'a mut Output,
    done: usize,
    all: usize,
    is_terminal: bool,
}

impl Progress<'_> {
    pub(super) fn new(all: usize, out: &mut Output) -> Progress<'_> {
        Progress { out, done: 0, all, is_terminal: std::io::stderr().is_terminal() }
    }

    pub(super) fn tell(&mut self, outcome: &Outcome) {
        self.done += 1;
        if self.is_terminal {
            self.out.passing("");
        }
        let (done, all, plan) = (self.done, self.all, &outcome.plan);
        if plan.real || outcome.grade() >= Grade::Unknown {
            let took = span::in_words(Duration::from_millis(outcome.took_ms));
            self.out.talk(format_args!(
                "{done}/{all} {} {}, {took}: {}",
                plan.scenario,
                plan.cast.name(),
                outcome.summary()
            ));
        }
        if self.is_terminal && done < all {
            self.out.passing(format_args!("{done} of {all} runs are over"));
        }
    }
}

/// Prints and writes everything that was asked for.
pub(super) fn print(
    outcomes: &[Outcome],
    omitted: &[(String, Cast, String)],
    files: &Files,
    real: bool,
    out: &mut Output,
) -> Result<(), String> {
    // What does not apply is no result.
    let (skipped, outcomes): (Vec<&Outcome>, Vec<&Outcome>) =
        outcomes.iter().partition(|outcome| outcome.skipped.is_some());
    let outcomes = outcomes.as_slice();
    let mut not_run: Vec<(String, Cast, String)> = omitted.to_vec();
    not_run.extend(skipped.iter().map(|outcome| {
        let why = outcome.skipped.clone().unwrap_or_default();
        (outcome.plan.scenario.clone(), outcome.plan.cast, why)
    }));
    let omitted = not_run.as_slice();
    let findings: Vec<Vec<Finding>> = outcomes.iter().map(|outcome| outcome.findings()).collect();
    let chapters: Vec<Chapter<'_>> = outcomes
        .iter()
        .zip(&findings)
        .map(|(outcome, findings)| Chapter { recording: &outcome.recording, findings })
        .collect();
    match files.format {
        Format::Human => {
            human(outcomes, &chapters, files.ladder, out);
            if !real {
                compressed(outcomes, out);
            }
            reasons(omitted, out);
        }
        Format::Json => out.line(json(outcomes, omitted)),
    }
    files.write(outcomes, &chapters, omitted)
}

impl Files {
    /// What a run is repeated with; JSON has it in each run.
    pub(super) fn end(&self, seed: u64, out: &mut Output) {
        if self.format == Format::Human {
            out.line(format_args!("seed {seed}"));
        }
    }

    fn write(
        &self,
        outcomes: &[&Outcome],
        chapters: &[Chapter<'_>],
        omitted: &[(String, Cast, String)],
    ) -> Result<(), String> {
        let command: Vec<String> =
            std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let said = |flag: &str, path: &Path, done: io::Result<()>| {
            done.map_err(|error| format!("{flag} {}: {error}", path.display()))
        };
        if let Some(path) = &self.output {
            let text = html::document("switchboard lab", &command.join(" "), chapters);
            said("--output", path, std::fs::write(path, text))?;
        }
        if let Some(path) = &self.junit {
            said("--junit", path, std::fs::write(path, junit::document("switchboard lab", chapters)))?;
        }
        if let Some(folder) = &self.svg {
            let done = each(folder, chapters, |chapter, name| {
                std::fs::write(folder.join(format!("{name}.svg")), svg::document(chapter))
            });
            said("--svg", folder, done)?;
        }
        if let Some(folder) = &self.pcap {
            let done = each(folder, chapters, |chapter, name| {
                for (index, host) in chapter.recording.header.hosts.iter().enumerate() {
                    let path = folder.join(format!("{name}-at-{}.pcapng", host.name));
                    let mut file = BufWriter::new(File::create(path)?);
                    pcapng::write(chapter.recording, HostId(index as u8), &mut file)?;
                    file.flush()?;
                }
                Ok(())
            });
            said("--pcap", folder, done)?;
        }
        if let Some(folder) = &self.jsonl {
            let done = each(folder, chapters, |chapter, name| {
                let mut file = BufWriter::new(File::create(folder.join(format!("{name}.jsonl")))?);
                jsonl::write(chapter.recording, &mut file)
            });
            let summary = format!("{:#}\n", json(outcomes, omitted));
            said("--jsonl", folder, done.and_then(|()| std::fs::write(folder.join(SUMMARY), summary)))?;
        }
        Ok(())
    }
}

/// Makes the folder and writes each chapter into it.
fn each(
    folder: &Path,
    chapters: &[Chapter<'_>],
    write: impl Fn(&Chapter<'_>, &str) -> io::Result<()>,
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    chapters
        .iter()
        .try_for_each(|chapter| write(chapter, &chapter.recording.header.scenario.replace(':', "-")))
}

/// The verdicts of a run that `--jsonl` has written, by case and cast.
pub(super) fn read(path: &Path) -> Result<serde_json::Value, String> {
    let path = if path.is_dir() { path.join(SUMMARY) } else { path.to_owned() };
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let run: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        format!("{}: not a summary of `lab run --jsonl` or `--format json`: {error}", path.display())
    })?;
    if run["schema"] != SCHEMA || !run["runs"].is_array() {
        return Err(format!("{}: not a summary of `lab run --jsonl` or `--format json`", path.display()));
    }
    Ok(run)
}

const SCHEMA: &str = "switchboard-lab-run";

fn human(outcomes: &[&Outcome], chapters: &[Chapter<'_>], ladder: bool, out: &mut Output) {
    let width = width();
    // The conversation without a fault comes along by itself.
    let named = outcomes.iter().filter(|outcome| outcome.plan.scenario != NO_FAULT).count();
    for (outcome, chapter) in outcomes.iter().zip(chapters) {
        let alone = named == 1 && outcome.plan.scenario != NO_FAULT || outcomes.len() == 1;
        if ladder || alone {
            out.line(terminal::chapter(chapter, width));
        }
    }
    out.line(terminal::scores(chapters, width));
    let mut remedies: Vec<(&str, &str)> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.verdicts)
        .filter_map(|verdict| Some((verdict.kind.word(), verdict.kind.remedy()?)))
        .collect();
    remedies.sort_unstable();
    remedies.dedup();
    if !remedies.is_empty() {
        let mut table = Table::new(&["verdict", "remedy"]);
        for (word, remedy) in remedies {
            table.row([&word, &remedy]);
        }
        out.line(table);
        out.line("");
    }
}

/// What the times would be outside of the lab.
fn compressed(outcomes: &[&Outcome], out: &mut Output) {
    // The default is what the program would see outside of the lab.
    let slow = outcomes.iter().filter_map(|outcome| {
        let default = &outcome.facts.as_ref()?.gives_up;
        (default != "at once").then(|| format!("{} {default}", outcome.plan.scenario))
    });
    let mut slow: Vec<String> = slow.collect();
    slow.sort_unstable();
    slow.dedup();
    if !slow.is_empty() {
        out.line(format_args!(
            "times are compressed; with the settings Linux comes with: {}",
            slow.join(", ")
        ));
    }
}

fn reasons(omitted: &[(String, Cast, String)], out: &mut Output) {
    let mut reasons: Vec<(Cast, &str)> = omitted.iter().map(|(_, cast, why)| (*cast, why.as_str())).collect();
    reasons.dedup();
    reasons.sort_unstable_by_key(|(cast, why)| (cast.name(), *why));
    reasons.dedup();
    for (cast, why) in reasons {
        let ids = omitted.iter().filter(|(_, of, because)| *of == cast && because == why);
        let ids: Vec<&str> = ids.map(|(id, ..)| id.as_str()).collect();
        out.line(format_args!("not run ({}), since {why}: {}", cast.name(), ids.join(", ")));
    }
}

fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let window =
        || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    columns.or_else(window).filter(|columns| *columns > 0).unwrap_or(200)
}

fn json(outcomes: &[&Outcome], omitted: &[(String, Cast, String)]) -> serde_json::Value {
    let runs: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let verdicts: Vec<_> = outcome
                .verdicts
                .iter()
                .map(|verdict| {
                    serde_json::json!({
                        "verdict": verdict.kind, "word": verdict.kind.word(), "bad": verdict.kind.is_bad(),
                        "text": verdict.text, "cites": verdict.cites, "remedy": verdict.kind.remedy(),
                    })
                })
                .collect();
            serde_json::json!({
                "scenario": outcome.plan.scenario, "of": outcome.plan.cast, "grade": outcome.grade(),
                "verdicts": verdicts, "differences": outcome.differences, "error": outcome.error,
                "skipped": outcome.skipped, "took_ms": outcome.took_ms, "seed": outcome.plan.seed,
                "default": outcome.facts.as_ref().map(|facts| facts.gives_up.clone()),
            })
        })
        .collect();
    let omitted: Vec<_> = omitted
        .iter()
        .map(|(id, cast, why)| serde_json::json!({ "scenario": id, "of": cast, "why": why }))
        .collect();
    serde_json::json!({ "schema": SCHEMA, "version": 1, "runs": runs, "not_run": omitted })
}

/// Exit code of a comparison or a run that went as wanted or not.
pub(super) fn exit(fine: bool) -> Exit {
    if fine { Exit::Ok } else { Exit::Failed }
}
