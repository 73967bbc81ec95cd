//! Every engine of the server against yardsticks written straight on the kernel interface.
//!
//! `cargo bench -p switchboard --bench engines -- --help` tells the options. The server runs as the real
//! program does, in processes of its own on one processor; the client is this process on another. See
//! `cell.rs` for the method, `subject.rs` for what is measured, `memory.rs` for idle connections.

mod cell;
mod client;
mod interrupt;
mod memory;
mod report;
mod server;
mod statistics;
mod subject;
mod yardstick;

use cell::{Cell, Measure, Results, Terms};
use client::Load;
use report::{Table, ratio, say};
use rustix::thread::{CpuSet, sched_getaffinity};
use statistics::Verdict;
use std::process::ExitCode;
use std::time::Duration;
use subject::{ENGINES, Subject};

const HELP: &str = "\
Compares the server's engines with plain servers written straight on epoll, io_uring, threads and fork.

Usage: cargo bench -p switchboard --bench engines [-- OPTIONS]

  --quick           3 rounds of shorter slices: a glance, not a result
  --rounds N        rounds per cell (8)
  --cells FILTER    only cells whose name contains one of these words, separated by commas
  --engines LIST    only these engines, separated by commas; `none` for the yardsticks alone
  --list            names the cells and engines, and measures nothing
  --help            this text";

/// The cell that is not a load: memory of idle connections.
const MEMORY: &str = "memory";
/// Wanted: at least this share of the yardstick's rate,
const RATE_LIMIT: f64 = 0.95;
/// and at most this share of its CPU time per message.
const CPU_LIMIT: f64 = 1.05;

const CELLS: [Cell; 9] = [
    Cell { name: "echo-1x64", load: Load::Echo { connections: 1, bytes: 64 } },
    Cell { name: "echo-50x64", load: Load::Echo { connections: 50, bytes: 64 } },
    Cell { name: "echo-1000x64", load: Load::Echo { connections: 1000, bytes: 64 } },
    Cell { name: "echo-1x4096", load: Load::Echo { connections: 1, bytes: 4096 } },
    Cell { name: "echo-50x4096", load: Load::Echo { connections: 50, bytes: 4096 } },
    Cell { name: "echo-1000x4096", load: Load::Echo { connections: 1000, bytes: 4096 } },
    Cell { name: "stream-65536", load: Load::Stream },
    Cell { name: "connect-1", load: Load::Connect { at_once: 1 } },
    Cell { name: "connect-16", load: Load::Connect { at_once: 16 } },
];

struct Options {
    window: Duration,
    rounds: usize,
    cells: Vec<String>,
    engines: Option<Vec<String>>,
}

enum Request {
    Measure(Options),
    Yardstick(String),
    Tell(String),
}

fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Request::Measure(options)) => measure(&options),
        Ok(Request::Yardstick(name)) => {
            yardstick::run(&name).map_err(|error| format!("yardstick {name}: {error}"))
        }
        Ok(Request::Tell(text)) => {
            say(&text);
            Ok(())
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            _ = std::io::Write::write_all(&mut std::io::stderr(), format!("engines: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut arguments = arguments.peekable();
    if arguments.peek().is_none() {
        // `cargo test --all-targets` runs benchmarks without an argument: that is no time to measure for
        // minutes.
        return Ok(Request::Tell(
            "Nothing is measured without an option; `cargo bench` passes one.".to_owned(),
        ));
    }
    let mut options =
        Options { window: Duration::from_millis(200), rounds: 8, cells: Vec::new(), engines: None };
    let mut rounds = None;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match argument.as_str() {
            "--bench" => {}
            "--quick" => (options.rounds, options.window) = (3, Duration::from_millis(150)),
            "--rounds" => {
                let text = value()?;
                let number = text.parse().ok().filter(|number| *number > 0);
                rounds =
                    Some(number.ok_or_else(|| format!("--rounds wants a number above 0, not {text:?}"))?);
            }
            "--cells" => options.cells = list(value()?),
            "--engines" => options.engines = Some(list(value()?)),
            "--yardstick" => return Ok(Request::Yardstick(value()?)),
            "--list" => return Ok(Request::Tell(names())),
            "--help" | "-h" => return Ok(Request::Tell(HELP.to_owned())),
            _ => return Err(format!("{argument:?} is no option; --help lists them")),
        }
    }
    options.rounds = rounds.unwrap_or(options.rounds);
    let known = |name: &String| name == "none" || ENGINES.iter().any(|engine| engine.name == name);
    if let Some(name) = options.engines.iter().flatten().find(|name| !known(name)) {
        return Err(format!("no engine is called {name:?}; --list names them"));
    }
    if !CELLS.iter().any(|cell| options.wants(cell.name)) && !options.wants(MEMORY) {
        return Err(format!("no cell's name contains {:?}; --list names them", options.cells.join(",")));
    }
    Ok(Request::Measure(options))
}

impl Options {
    fn wants(&self, cell: &str) -> bool {
        self.cells.is_empty() || self.cells.iter().any(|word| cell.contains(word.as_str()))
    }

    fn subjects(&self) -> Vec<Subject> {
        let wanted =
            |name: &str| self.engines.as_ref().is_none_or(|list| list.iter().any(|known| known == name));
        let yardsticks = yardstick::YARDSTICKS.iter().map(|(name, _)| Subject::Yardstick(name));
        let engines = ENGINES.iter().filter(|engine| wanted(engine.name)).map(Subject::Engine);
        let engines: Vec<Subject> = if subject::program().is_some() { engines.collect() } else { Vec::new() };
        let alone = engines.is_empty();
        // The event-driven ones are everybody's measure, the others only that of their own kind.
        let needed = |subject: &Subject| {
            let Subject::Yardstick(name) = *subject else { return true };
            let asked = engines.iter().any(|engine| engine.model() == Some(name));
            alone || asked || name == "epoll" || name == "uring"
        };
        yardsticks.filter(needed).chain(engines.iter().copied()).collect()
    }
}

fn names() -> String {
    let cells: Vec<&str> = CELLS.iter().map(|cell| cell.name).chain([MEMORY]).collect();
    let engines: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
    format!("cells: {}\nengines: {}", cells.join(" "), engines.join(" "))
}

fn measure(options: &Options) -> Result<(), String> {
    let allowed =
        sched_getaffinity(None).map_err(|error| format!("cannot read the allowed processors: {error}"))?;
    let processors: Vec<usize> =
        (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
    let (Some(&first), Some(&last)) = (processors.first(), processors.get(1).or(processors.first())) else {
        return Err("no processor is allowed".to_owned());
    };
    let descriptors = server::raise_descriptor_limit();
    let terms =
        Terms { rounds: options.rounds, window: options.window, descriptors, processors: [first, last] };
    let subjects = options.subjects();

    say(&format!(
        "kernel {}, {} processors: servers on {first}, client on {last}",
        file("kernel/osrelease"),
        processors.len()
    ));
    say(&format!(
        "slices of {} ms, {} rounds; load average at the start {}",
        options.window.as_millis(),
        options.rounds,
        load()
    ));
    say(
        "ratios are per round: median [interquartile range]; CPU is the server's, user and kernel, per message",
    );
    if first == last {
        say("one processor for both ends: rates compare, but are not what either end could do alone");
    }
    match subject::program() {
        Some(program) => say(&format!("server: {program}")),
        None => say("no server binary (set SWITCHBOARD_BIN): the yardsticks alone"),
    }
    say("");
    server::pin(last).map_err(|error| format!("cannot bind the client to processor {last}: {error}"))?;

    interrupt::watch();
    let mut goals = Table::new(&["cell", "engine", "rate", "", "CPU per message", ""]);
    for (number, cell) in CELLS.iter().enumerate().filter(|(_, cell)| options.wants(cell.name)) {
        say(cell.name);
        let results = cell.run(number, &subjects, &terms);
        interrupt::check().map_err(|error| error.to_string())?;
        cell.print(&results);
        judge(cell, &results, &mut goals);
    }
    let mut idle = Table::new(&["cell", "engine", "bytes", ""]);
    if options.wants(MEMORY) {
        say("memory per idle connection");
        let found = memory::run(&subjects, descriptors, first);
        interrupt::check().map_err(|error| error.to_string())?;
        for (subject, bytes) in found {
            if let Subject::Engine(engine) = subject
                && ["poll", "epoll", "uring"].contains(&engine.name)
            {
                let shown = bytes.map_or_else(|| "-".to_owned(), report::number);
                let verdict = memory::verdict(bytes).word().to_owned();
                idle.row(vec![MEMORY.to_owned(), engine.name.to_owned(), shown, verdict]);
            }
        }
    }
    say("wanted: the epoll and uring engines within 5 % of their yardsticks' rate and CPU per message");
    goals.print();
    say(&format!("wanted: at most {} bytes of user memory per idle connection", memory::LIMIT_BYTES));
    idle.print();
    say(&format!("load average at the end {}", load()));
    Ok(())
}

/// Adds what the wanted engines gave in one cell. The classic connection cells are an extra: shown, and
/// judged alike.
fn judge(cell: &Cell, results: &Results, goals: &mut Table) {
    for row in &results.rows {
        let Subject::Engine(engine) = row.subject else { continue };
        if !["epoll", "uring"].contains(&engine.name) {
            continue;
        }
        let yardstick = results.yardstick(engine.name);
        let against = |measure| yardstick.and_then(|yardstick| row.ratio(yardstick, measure));
        let (rate, cpu) = (against(Measure::Rate), against(Measure::Cpu));
        let word = |verdict: Verdict| match verdict {
            _ if results.disturbed() => "cannot tell (disturbed)",
            known => known.word(),
        };
        goals.row(vec![
            cell.name.to_owned(),
            engine.name.to_owned(),
            ratio(rate),
            word(Verdict::at_least(rate, RATE_LIMIT)).to_owned(),
            ratio(cpu),
            word(Verdict::at_most(cpu, CPU_LIMIT)).to_owned(),
        ]);
    }
}

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned()
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
