//! `load engines`: the bake-off. Every engine of our own server, and what else is named, under the same loads: the table
//! of UNP chapter 30 for this machine and this kernel, and a sentence that says what to choose.
//!
//! All servers of a case are up at once and take turns, round after round: other work on the machine then hits them
//! alike, and what two did in the same round is compared. Servers and clients have different processors.

mod advice;
mod case;
mod contestant;
mod figure;
mod machine;
mod page;
mod results;
mod server;

use super::started::Orphans;
use crate::exit::Exit;
use crate::report::Output;
use case::{CASES, Case, Course};
use clap::{Args, ValueEnum};
use contestant::{Contestant, Peer};
use machine::Machine;
use results::{Findings, Report};
use std::cell::RefCell;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::{ENGINES, Error, Stop, Workers, quantity};

/// Compares the engines of this program under the same loads, and says which to choose
///
/// Every engine serves `echo` in a process of its own; all are up at once and take turns. Servers and clients run on
/// different processors. For each case there are requests per second, processor time of the server per request,
/// latencies, and for idle connections the server's memory. Where other work disturbed the machine, the numbers are
/// shown and nothing is concluded from them. Other echo servers can stand beside: --peer 'NAME=COMMAND {port}'.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Few and short rounds, fewer connections: under a minute, and only a glance
    #[arg(long)]
    quick: bool,

    /// Only these engines, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = engine_name)]
    engines: Vec<String>,

    /// Only these cases, separated by commas: one, many, crowd, connect, idle [default: all; with --quick many,
    /// connect, idle]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = case_name)]
    cases: Vec<String>,

    /// Numbers of workers of the engines that can have several [default: 1, and one for each processor of the servers]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = quantity::count)]
    workers: Vec<usize>,

    /// Another echo server, `NAME=COMMAND {port}`: started with a free TCP port of 127.0.0.1; may be repeated
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<Peer>,

    /// Also the engines that can look before they sleep (`serve --busy-poll`)
    #[arg(long)]
    busy_poll: bool,

    /// Rounds of each case [default: 5; with --quick 2]
    #[arg(long, value_name = "N", value_parser = quantity::count)]
    rounds: Option<usize>,

    /// How long each server is loaded in a round [default: 1s; with --quick 200ms]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    duration: Option<Duration>,

    /// Idle connections [default: 10000; with --quick 1000]
    #[arg(long, value_name = "N", value_parser = quantity::count)]
    idle: Option<usize>,

    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Also write a page with pictures here (HTML, one file)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// Tables and sentences
    Text,
    /// One JSON object
    Json,
}

const EXAMPLES: &str = "\
Examples:
  switchboard load engines --quick --engines epoll,threads --cases many --duration 50ms
  switchboard load engines --quick --engines epoll --cases connect --rounds 1 --duration 50ms --format json";

/// Most servers of one run: each keeps its connections while the others have their turn.
const MOST_CONTESTANTS: usize = 40;

fn engine_name(text: &str) -> Result<String, String> {
    match ENGINES.iter().find(|row| row.name == text) {
        Some(row) => Ok(row.name.to_owned()),
        None => {
            let names: Vec<&str> = ENGINES.iter().map(|row| row.name).collect();
            Err(format!("the engines are {}", names.join(", ")))
        }
    }
}

fn case_name(text: &str) -> Result<String, String> {
    match CASES.iter().find(|case| case.name == text) {
        Some(case) => Ok(case.name.to_owned()),
        None => Err(format!("the cases are {}", CASES.map(|case| case.name).join(", "))),
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match bake(arguments, out) {
        Ok(exit) => exit,
        Err(problem) => {
            out.talk(&problem);
            if matches!(problem, Error::Config(_)) { Exit::Usage } else { Exit::Failed }
        }
    }
}

fn bake(arguments: &Arguments, out: &mut Output) -> Result<Exit, Error> {
    let _orphans = Orphans::adopt();
    let machine = Machine::here()?;
    let contestants = contestants(arguments, &machine)?;
    let stop = Arc::new(Stop::new()?);
    super::measure::stop_on_signals(Arc::clone(&stop))
        .map_err(|error| Error::system("catch signals", error))?;
    let quick = arguments.quick;
    let course = Course {
        rounds: arguments.rounds.unwrap_or(if quick { 2 } else { 5 }).max(1),
        duration: arguments.duration.unwrap_or(Duration::from_millis(if quick { 200 } else { 1_000 })),
        idle: arguments.idle.unwrap_or(if quick { 1_000 } else { 10_000 }).max(1),
        machine: &machine,
        stop: &stop,
    };
    if course.duration.is_zero() {
        return Err(Error::Config("--duration must be more than 0".into()));
    }
    let wanted = |case: &&Case| match arguments.cases.as_slice() {
        [] => !quick || case.quick,
        cases => cases.iter().any(|name| name == case.name),
    };
    let mut findings: Vec<Findings> = Vec::new();
    let live = stderr().is_terminal();
    for case in CASES.iter().filter(wanted) {
        if stop.is_set() {
            break;
        }
        let out = RefCell::new(&mut *out);
        let mut tell = |what: &str| {
            if live {
                out.borrow_mut().passing(what);
            }
        };
        let mut say = |what: &str| out.borrow_mut().talk(what);
        findings.push(course.run(case, &contestants, &mut tell, &mut say)?);
        tell("");
    }
    let report = Report {
        machine: &machine,
        contestants: &contestants,
        advice: advice::of(&findings, &contestants),
        findings,
        cut: stop.is_set(),
        course: &course,
    };
    match arguments.format {
        Format::Text => report.lines().into_iter().for_each(|line| out.line(line)),
        Format::Json => out.line(report.json()),
    }
    if let Some(path) = &arguments.output {
        std::fs::write(path, page::of(&report))
            .map_err(|error| Error::system(format!("write {}", path.display()), error))?;
        out.talk(format_args!("the page is {}", path.display()));
    }
    Ok(if report.is_empty() { Exit::Failed } else { Exit::Ok })
}

/// Who takes part, in the order of the table.
fn contestants(arguments: &Arguments, machine: &Machine) -> Result<Vec<Contestant>, Error> {
    let mut workers = arguments.workers.clone();
    if workers.is_empty() {
        workers = vec![1, machine.servers.len()];
    }
    workers.sort_unstable();
    workers.dedup();
    let chosen =
        |name: &str| arguments.engines.is_empty() || arguments.engines.iter().any(|other| other == name);
    let mut all = Vec::new();
    for row in ENGINES.iter().filter(|row| chosen(row.name)) {
        match row.workers {
            Workers::ReusePort => {
                all.extend(workers.iter().map(|count| Contestant::engine(row, Some(*count), false)));
                if arguments.busy_poll && row.spins {
                    all.push(Contestant::engine(row, Some(1), true));
                }
            }
            Workers::Children | Workers::Threads => all.push(Contestant::engine(row, None, false)),
        }
    }
    all.extend(arguments.peer.iter().cloned().map(Contestant::peer));
    if all.len() > MOST_CONTESTANTS {
        return Err(Error::Config(format!(
            "{} servers are too many for one run, {MOST_CONTESTANTS} at most: choose with --engines and --workers",
            all.len()
        )));
    }
    let mut titles: Vec<&str> = all.iter().map(|contestant| contestant.title.as_str()).collect();
    titles.sort_unstable();
    if let Some(pair) = titles.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Config(format!("two servers are called {}: give the peer another name", pair[0])));
    }
    Ok(all)
}
