//! Every engine of the server against yardsticks written straight on the kernel interface, and against servers on
//! other runtimes (`peers/`).
//!
//! `cargo bench -p switchboard --bench engines -- --help` tells the options. The server runs as the real
//! program does, in processes of its own on one processor; the client is this process on another. See
//! `cell.rs` for the method, `subject.rs` for what is measured, `memory.rs` for idle connections.

mod cell;
mod client;
mod instructions;
mod interrupt;
mod memory;
mod report;
mod server;
mod statistics;
mod subject;
mod yardstick;

use cell::{Cell, Measure, Results, Row, Terms};
use client::Load;
use report::{Table, ratio, say};
use rustix::thread::{CpuSet, sched_getaffinity};
use statistics::{Spread, Verdict};
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
  --peers           also servers on tokio, monoio and mio: builds peers/ first
  --idle N          how many connections the cell `crowd` holds (100000)
  --instructions    counts user instructions per request with valgrind, and fails beyond a bound; nothing else
  --list            names the cells and engines, and measures nothing
  --help            this text";

/// The cells that are not a load: memory of idle connections, and very many of them.
const MEMORY: &str = "memory";
const CROWD: &str = "crowd";
/// Wanted: at least this share of the yardstick's rate,
const RATE_LIMIT: f64 = 0.95;
/// and at most this share of its CPU time per message.
const CPU_LIMIT: f64 = 1.05;
/// Of an engine that looks before it sleeps, with one client: at least so many times the rate of the one that sleeps.
const BUSY_LIMIT: f64 = 2.5;

const CELLS: [Cell; 12] = [
    Cell { name: "awake-1x64", load: Load::Awake { bytes: 64 } },
    Cell { name: "echo-1x64", load: Load::Echo { connections: 1, bytes: 64 } },
    Cell { name: "echo-50x64", load: Load::Echo { connections: 50, bytes: 64 } },
    Cell { name: "echo-1000x64", load: Load::Echo { connections: 1000, bytes: 64 } },
    Cell { name: "echo-1x4096", load: Load::Echo { connections: 1, bytes: 4096 } },
    Cell { name: "echo-50x4096", load: Load::Echo { connections: 50, bytes: 4096 } },
    Cell { name: "echo-1000x4096", load: Load::Echo { connections: 1000, bytes: 4096 } },
    Cell { name: "stream-65536", load: Load::Stream },
    Cell { name: "connect-1", load: Load::Connect { at_once: 1, workers: 1 } },
    Cell { name: "connect-16", load: Load::Connect { at_once: 16, workers: 1 } },
    Cell { name: "connect-16-two-workers", load: Load::Connect { at_once: 16, workers: 2 } },
    Cell { name: "datagram-50x64", load: Load::Datagram { clients: 50, bytes: 64 } },
];

struct Options {
    window: Duration,
    rounds: usize,
    cells: Vec<String>,
    engines: Option<Vec<String>>,
    peers: bool,
    instructions: bool,
    idle: usize,
}

enum Request {
    Measure(Options),
    Yardstick(String, usize),
    Hold(String),
    Tell(String),
}

fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Request::Measure(options)) => measure(&options),
        Ok(Request::Yardstick(name, workers)) => {
            yardstick::run(&name, workers).map_err(|error| format!("yardstick {name}: {error}"))
        }
        Ok(Request::Hold(order)) => memory::holder(&order).map_err(|error| format!("holding: {error}")),
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
    let mut options = Options {
        window: Duration::from_millis(200),
        rounds: 8,
        cells: Vec::new(),
        engines: None,
        peers: false,
        instructions: false,
        idle: 100_000,
    };
    let (mut role, mut workers) = (None, 1);
    let mut rounds = None;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match argument.as_str() {
            "--bench" => {}
            "--quick" => (options.rounds, options.window) = (3, Duration::from_millis(150)),
            "--rounds" => rounds = Some(count(&argument, value()?)?),
            "--idle" => options.idle = count(&argument, value()?)?,
            "--workers" => workers = count(&argument, value()?)?,
            "--peers" => options.peers = true,
            "--instructions" => options.instructions = true,
            "--cells" => options.cells = list(value()?),
            "--engines" => options.engines = Some(list(value()?)),
            "--hold" => return Ok(Request::Hold(value()?)),
            "--yardstick" => role = Some(value()?),
            "--list" => return Ok(Request::Tell(names())),
            "--help" | "-h" => return Ok(Request::Tell(HELP.to_owned())),
            _ => return Err(format!("{argument:?} is no option; --help lists them")),
        }
    }
    if let Some(name) = role {
        return Ok(Request::Yardstick(name, workers));
    }
    options.rounds = rounds.unwrap_or(options.rounds);
    let known = |name: &String| name == "none" || ENGINES.iter().any(|engine| engine.name == name);
    if let Some(name) = options.engines.iter().flatten().find(|name| !known(name)) {
        return Err(format!("no engine is called {name:?}; --list names them"));
    }
    if ![MEMORY, CROWD].into_iter().chain(CELLS.iter().map(|cell| cell.name)).any(|name| options.wants(name))
    {
        return Err(format!("no cell's name contains {:?}; --list names them", options.cells.join(",")));
    }
    Ok(Request::Measure(options))
}

fn count(argument: &str, text: String) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{argument} wants a number above 0, not {text:?}"))
}

impl Options {
    fn wants(&self, cell: &str) -> bool {
        self.cells.is_empty() || self.cells.iter().any(|word| cell.contains(word.as_str()))
    }

    fn subjects(&self, peers: Vec<Subject>) -> Vec<Subject> {
        let wanted =
            |name: &str| self.engines.as_ref().is_none_or(|list| list.iter().any(|known| known == name));
        let yardsticks = yardstick::YARDSTICKS.iter().map(|(name, _)| Subject::Yardstick(name));
        let engines = ENGINES.iter().filter(|engine| wanted(engine.name)).map(Subject::Engine);
        let engines: Vec<Subject> = if subject::program().is_some() { engines.collect() } else { Vec::new() };
        let alone = engines.is_empty();
        // The event-driven ones are everybody's measure, the others only that of their own kind.
        let needed = |subject: &Subject| {
            let Subject::Yardstick(name) = *subject else { return true };
            let asked =
                engines.iter().any(|engine| CELLS.iter().any(|cell| engine.model(cell.load) == Some(name)));
            alone || asked || name == "epoll" || name == "uring"
        };
        yardsticks.filter(needed).chain(engines.iter().copied()).chain(peers).collect()
    }
}

fn names() -> String {
    let cells: Vec<&str> = CELLS.iter().map(|cell| cell.name).chain([MEMORY, CROWD]).collect();
    let engines: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
    format!("cells: {}\nengines: {}", cells.join(" "), engines.join(" "))
}

fn measure(options: &Options) -> Result<(), String> {
    if options.instructions {
        return match instructions::run(&options.subjects(Vec::new()))? {
            Some(false) => Err("more instructions for a request than the bound allows".to_owned()),
            Some(true) | None => Ok(()),
        };
    }
    let allowed =
        sched_getaffinity(None).map_err(|error| format!("cannot read the allowed processors: {error}"))?;
    let processors: Vec<usize> =
        (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
    let (Some(&first), Some(&last)) = (processors.first(), processors.get(1).or(processors.first())) else {
        return Err("no processor is allowed".to_owned());
    };
    let descriptors = server::raise_descriptor_limit(2 * options.idle as u64);
    let terms =
        Terms { rounds: options.rounds, window: options.window, descriptors, processors: [first, last] };
    let peers = if options.peers { subject::peers()? } else { Vec::new() };
    let subjects = options.subjects(peers);

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
    server::pin(&[last]).map_err(|error| format!("cannot bind the client to processor {last}: {error}"))?;

    interrupt::watch();
    let mut findings = Findings::new();
    let outcome = cells(options, &subjects, &terms, &mut findings);
    // A run that was cut short says what it has.
    findings.print(options.peers);
    say(&format!("load average at the end {}", load()));
    outcome.map_err(|error| error.to_string())
}

/// Runs the cells that are wanted.
fn cells(
    options: &Options,
    subjects: &[Subject],
    terms: &Terms,
    findings: &mut Findings,
) -> std::io::Result<()> {
    for (number, cell) in CELLS.iter().enumerate().filter(|(_, cell)| options.wants(cell.name)) {
        say(cell.name);
        let results = cell.run(number, subjects, terms);
        cell.print(&results);
        findings.judge(cell, &results);
        interrupt::check()?;
    }
    if options.wants(MEMORY) {
        say("memory per idle connection");
        let found = memory::run(subjects, terms.descriptors, terms.processors[0]);
        for (subject, bytes) in found {
            if let Subject::Engine(engine) = subject
                && ["poll", "epoll", "uring"].contains(&engine.name)
            {
                let shown = bytes.map_or_else(|| "-".to_owned(), report::number);
                let verdict = memory::verdict(bytes).word().to_owned();
                findings.idle.row(vec![MEMORY.to_owned(), engine.name.to_owned(), shown, verdict]);
            }
        }
        interrupt::check()?;
    }
    if options.wants(CROWD) {
        say(&format!("{} idle connections, held and answering", options.idle));
        memory::crowd(subjects, options.idle, terms.descriptors, terms.processors[0]);
        interrupt::check()?;
    }
    Ok(())
}

/// What the cells gave, against what is wanted.
struct Findings {
    goals: Table,
    rivals: Table,
    busy: Table,
    idle: Table,
}

impl Findings {
    fn new() -> Findings {
        Findings {
            goals: Table::new(&["cell", "engine", "measure", "rate", "", "CPU per message", ""]),
            rivals: Table::new(&["cell", "engine", "peer", "rate", "", "CPU per message", ""]),
            busy: Table::new(&["cell", "engine", "measure", "rate", ""]),
            idle: Table::new(&["cell", "engine", "bytes", ""]),
        }
    }

    fn print(&self, peers: bool) {
        say(
            "wanted: the epoll and uring engines within 5 % of the better yardstick's rate and CPU per message",
        );
        self.goals.print();
        if peers {
            say("wanted: the same engines at or ahead of other runtimes (1.00, less 5 % of measuring)");
            self.rivals.print();
        }
        say(&format!(
            "wanted: with one client, looking before sleeping at {BUSY_LIMIT} times the rate or more"
        ));
        self.busy.print();
        say(&format!("wanted: at most {} bytes of user memory per idle connection", memory::LIMIT_BYTES));
        self.idle.print();
    }

    /// Adds what the wanted engines gave in one cell, against the better yardstick and against every peer.
    fn judge(&mut self, cell: &Cell, results: &Results) {
        let word = |verdict: Verdict| match verdict {
            _ if results.disturbed() => "cannot tell (disturbed)".to_owned(),
            known => known.word().to_owned(),
        };
        for row in &results.rows {
            let Subject::Engine(engine) = row.subject else { continue };
            if !engine.name.starts_with("epoll") && !engine.name.starts_with("uring") {
                continue;
            }
            let sleeps =
                |row: &&Row| matches!(row.subject, Subject::Engine(other) if other.is_sleeping(engine));
            if cell.load.is_alone()
                && let Some(sleeping) = results.rows.iter().find(sleeps)
            {
                let rate = row.ratio(sleeping, Measure::Rate);
                let verdict = word(Verdict::at_least(rate, BUSY_LIMIT));
                let name = sleeping.subject.title();
                self.busy.row(vec![cell.name.to_owned(), engine.name.to_owned(), name, ratio(rate), verdict]);
            }
            let line = |name: String, rate: Option<Spread>, cpu: Option<Spread>| {
                let fast = word(Verdict::at_least(rate, RATE_LIMIT));
                let cheap = word(Verdict::at_most(cpu, CPU_LIMIT));
                vec![cell.name.to_owned(), engine.name.to_owned(), name, ratio(rate), fast, ratio(cpu), cheap]
            };
            let best = |measure| results.best(cell.load, measure);
            let against = |measure| best(measure).and_then(|other| row.ratio(other, measure));
            let names =
                [Measure::Rate, Measure::Cpu].map(|measure| best(measure).map(|row| row.subject.title()));
            let [by_rate, by_cpu] = names.map(|name| name.unwrap_or_else(|| "-".to_owned()));
            let name = if by_rate == by_cpu { by_rate } else { format!("{by_rate}, {by_cpu}") };
            self.goals.row(line(
                name.replace("yardstick:", ""),
                against(Measure::Rate),
                against(Measure::Cpu),
            ));
            for peer in results.rows.iter().filter(|row| matches!(row.subject, Subject::Peer(_))) {
                let against = |measure| row.ratio(peer, measure);
                self.rivals.row(line(peer.subject.title(), against(Measure::Rate), against(Measure::Cpu)));
            }
        }
    }
}

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned()
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
