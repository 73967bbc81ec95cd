//! `lab run`: puts a program, or the kernel, to the test.

use super::result;
use crate::ENGINES;
use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use switchboard_lab::mode::{self, Mode};
use switchboard_lab::run::{Cast, Grade, NO_FAULT, Outcome, Plan, Program, applicable, split, worker};
use switchboard_lab::scenario::{Protocol, Scenario};

/// Runs cases and says what became of the program
///
/// A server is started on one simulated host and a client on another; one of them, or both in turn, is the program to
/// be tested, the other is the lab's. The exit code is 0 if it coped with everything, 1 if it did not, 77 if nothing
/// could be run.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Cases by id, or by number of the catalogue; see `switchboard lab list`
    #[arg(value_name = "ID", conflicts_with = "all")]
    cases: Vec<String>,

    /// All that apply
    #[arg(long)]
    all: bool,

    /// Ask the kernel instead of a program: whether it does what the catalogue says
    #[arg(long, conflicts_with_all = ["client", "server"])]
    kernel: bool,

    #[command(flatten)]
    programs: Programs,

    /// Seed of all randomness [default: by chance, and printed]
    #[arg(long)]
    seed: Option<u64>,

    /// Over IPv6
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Linux's own time-outs instead of compressed ones: a case takes as long as the kernel does, up to 20 minutes
    #[arg(long)]
    real: bool,

    /// Where: on simulated hosts, or on this machine's loopback, where some cases can be shown [default: hosts, if the
    /// machine allows them]
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<Ground>,

    /// Cases run at the same time
    #[arg(long, value_name = "N", default_value = "6")]
    jobs: usize,

    #[command(flatten)]
    files: result::Files,
}

/// The program to be tested.
#[derive(Args, Debug)]
#[command(next_help_heading = "Program")]
struct Programs {
    /// A client; `{host}` and `{port}` in it are filled in [default: `switchboard connect`]
    #[arg(long, value_name = "COMMAND")]
    client: Option<String>,

    /// A server; `{port}` in it is filled in, and it must listen on every address [default: `switchboard serve echo`]
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,

    /// The engine of switchboard's own server
    #[arg(short, long, default_value = "epoll", conflicts_with_all = ["client", "server"])]
    engine: String,

    /// Test only one of switchboard's own programs
    #[arg(long, value_enum, conflicts_with_all = ["client", "server", "kernel"])]
    only: Option<Side>,

    /// The programs speak UDP
    #[arg(long)]
    udp: bool,

    /// The server is ready when it prints this [default: when the port listens]
    #[arg(long, value_name = "TEXT")]
    ready: Option<String>,

    /// Lines for the client's standard input, or for the server's clients to say
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// What must be in the client's output, or in the server's answers
    #[arg(long, value_name = "TEXT")]
    expect: Option<String>,

    /// A variable of the program's environment
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// The program's working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,

    /// Run the program as root of its host; otherwise, if the lab is run by root, it runs as nobody
    #[arg(long)]
    root: bool,

    /// Set these options on the program's sockets from outside, to prove a remedy: user-timeout=5s,keepalive=on
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    with: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Ground {
    /// Hosts in namespaces, and a wire between them
    Full,
    /// Processes on this machine: cases that need neither hosts nor a wire
    Loopback,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Side {
    /// `switchboard connect`
    Client,
    /// `switchboard serve`
    Server,
}

const EXAMPLES: &str = "\
Examples:
  switchboard lab run 1 --kernel
  switchboard lab run 14 --only client
  switchboard lab run 1 4 --client 'nc {host} {port}' --format json
  switchboard lab run --all --client './client {host} {port}' -o report.html
  switchboard lab run --all --server 'python3 server.py {port}' --junit lab.xml
  switchboard lab run 6 --client './client {host} {port}' --with keepalive=on,keepalive-idle=2

Exit codes:
  0 it copes, or the kernel is as recorded   2 usage, or the lab failed
  1 it does not                             77 nothing could be run here, or nothing came about";

/// So often is the conversation without a fault begun anew if it did not come about: everything else rests on it.
const ATTEMPTS: usize = 2;

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match try_run(arguments, out) {
        Ok(exit) => exit,
        Err(error) => {
            out.talk(error);
            Exit::Usage
        }
    }
}

fn try_run(arguments: &Arguments, out: &mut Output) -> Result<Exit, String> {
    let scenarios = if arguments.all { Scenario::all() } else { super::named(&arguments.cases)? };
    if scenarios.is_empty() {
        return Err("which cases? Name some (`switchboard lab list`), or say --all".to_owned());
    }
    let casts = arguments.casts()?;
    let mode = mode::probe();
    let loopback = match (&mode, arguments.mode) {
        (Mode::Skip(_), _) => {
            out.talk(format_args!("nothing can be run here: {mode}"));
            return Ok(Exit::Permission);
        }
        (Mode::Loopback(_), Some(Ground::Full)) => {
            out.talk(format_args!("there can be no simulated hosts here: {mode}"));
            return Ok(Exit::Permission);
        }
        (Mode::Full(_), Some(Ground::Loopback)) => {
            out.talk("mode: loopback, as asked for: no simulated hosts, and packets are not seen");
            true
        }
        (Mode::Full(_), _) => {
            out.talk(format_args!("mode: {mode}"));
            false
        }
        (Mode::Loopback(_), _) => {
            out.talk(format_args!("mode: {mode}"));
            true
        }
    };
    let seed = arguments.seed.unwrap_or_else(chance);
    let executable = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let mut omitted = Vec::new();
    let mut planned = Vec::new();
    for (cast, program) in casts {
        let (plans, not) = plans(&scenarios, cast, program.as_ref(), seed, arguments.manner(loopback));
        omitted.extend(not);
        planned.push(plans);
    }
    result::announce(&planned.concat(), arguments.jobs, out);
    let outcomes = play(planned, arguments.jobs, &executable, out);
    // A case that was named and applies to one of the casts is not missing.
    omitted.retain(|(id, ..)| !outcomes.iter().any(|outcome: &Outcome| outcome.plan.scenario == *id));
    result::print(&outcomes, &omitted, &arguments.files, arguments.real, out)?;
    arguments.files.end(seed, out);
    let worst = outcomes.iter().map(Outcome::grade).max();
    Ok(match worst {
        Some(Grade::Error) => Exit::Usage,
        Some(Grade::Bad) => Exit::Failed,
        None => Exit::Permission,
        // What could not be seen is no pass.
        Some(Grade::Unknown | Grade::Skipped) if outcomes.len() > 1 && !came_about(&outcomes) => {
            Exit::Permission
        }
        Some(_) => Exit::Ok,
    })
}

/// Whether anything was seen besides the conversation that the others are compared with.
fn came_about(outcomes: &[Outcome]) -> bool {
    let mut cases = outcomes.iter().filter(|outcome| outcome.plan.scenario != NO_FAULT);
    cases.any(|outcome| outcome.grade() == Grade::Good)
}

/// A case that is not run, and why.
type Omitted = (String, Cast, String);

/// How cases are run, whichever they are.
#[derive(Clone, Copy, Default)]
struct Manner {
    real: bool,
    ipv6: bool,
    loopback: bool,
}

/// A plan for each scenario that applies to one cast.
fn plans(
    scenarios: &[Scenario],
    cast: Cast,
    program: Option<&Choice>,
    seed: u64,
    Manner { real, ipv6, loopback }: Manner,
) -> (Vec<Plan>, Vec<Omitted>) {
    let (mut plans, mut omitted) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        let udp_case = cast.of(scenario).is_some_and(|part| part.protocol == Protocol::Udp);
        let program = program.map(|program| program.fit(udp_case, ipv6));
        let udp = program.as_ref().is_some_and(|program| program.udp);
        let id = scenario.id.clone();
        match applicable(scenario, cast, udp, ipv6, loopback) {
            Ok(()) => {
                plans.push(Plan { scenario: id, cast, program, seed, real, ipv6, loopback, baseline: None })
            }
            Err(why) => omitted.push((id, cast, why)),
        }
    }
    (plans, omitted)
}

/// Every scenario with every cast that it has, with switchboard's own programs.
pub(super) fn own(
    scenarios: &[Scenario],
    seed: u64,
    jobs: usize,
    out: &mut Output,
) -> Result<Vec<Outcome>, String> {
    let executable = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let client = Choice::OwnClient(Program::default());
    let server = Choice::OwnServer(Program::default(), "epoll".to_owned());
    let casts = [(Cast::Kernel, None), (Cast::Client, Some(&client)), (Cast::Server, Some(&server))];
    let planned = casts.map(|(cast, program)| plans(scenarios, cast, program, seed, Manner::default()).0);
    Ok(play(planned.into(), jobs, &executable, out))
}

/// Runs the plans of all casts: first each program's conversation without a fault, which its others are compared with.
fn play(casts: Vec<Vec<Plan>>, jobs: usize, executable: &Path, out: &mut Output) -> Vec<Outcome> {
    let mut plans = Vec::new();
    let mut first = Vec::new();
    for mut cast in casts {
        // In their place among the others.
        first.extend(
            without_fault(&mut cast, executable, out).map(|outcome| (plans.len() + first.len(), outcome)),
        );
        plans.append(&mut cast);
    }
    let progress = Mutex::new(result::Progress::new(plans.len(), out));
    let told = |outcome: &Outcome| {
        progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner).tell(outcome);
    };
    let mut outcomes = worker::run(executable, &plans, jobs, &told);
    for (place, outcome) in first {
        outcomes.insert(place, outcome);
    }
    outcomes
}

/// Runs the conversation without a fault if these plans rest on one, and gives it to them.
fn without_fault(plans: &mut Vec<Plan>, executable: &Path, out: &mut Output) -> Option<Outcome> {
    let first = plans.first().cloned()?;
    if first.cast == Cast::Kernel || first.program.as_ref().is_none_or(|program| program.udp) {
        return None;
    }
    let plan = Plan { scenario: NO_FAULT.to_owned(), ..first };
    let mut outcome = worker::one(executable, &plan);
    for _ in 1..ATTEMPTS {
        if outcome.grade() == Grade::Unknown {
            outcome = worker::one(executable, &plan);
        }
    }
    // What did not come about is nothing to compare with.
    let baseline = (outcome.grade() != Grade::Unknown).then(|| outcome.baseline.clone());
    plans.retain(|plan| plan.scenario != NO_FAULT);
    for plan in plans.iter_mut() {
        plan.baseline.clone_from(&baseline);
    }
    if outcome.error.is_some() {
        // Nor will it run in the other cases.
        plans.clear();
        let nobody = rustix::process::getuid().is_root() && runs_as_nobody(&outcome);
        let hint = if nobody { "; it runs as nobody unless you say --root" } else { "" };
        out.talk(format_args!("the {} cannot be run: {}{hint}", plan.cast.name(), outcome.summary()));
    } else if outcome.grade() != Grade::Good {
        out.talk(format_args!(
            "even without a fault the {} does not work: {}",
            plan.cast.name(),
            outcome.summary()
        ));
    }
    Some(outcome)
}

/// Whether the program was run as an ordinary user.
fn runs_as_nobody(outcome: &Outcome) -> bool {
    outcome.plan.program.as_ref().is_some_and(|program| !program.root)
}

impl Arguments {
    fn manner(&self, loopback: bool) -> Manner {
        Manner { real: self.real, ipv6: self.ipv6, loopback }
    }

    /// Which casts, with which programs.
    fn casts(&self) -> Result<Vec<(Cast, Option<Choice>)>, String> {
        if self.kernel {
            return Ok(vec![(Cast::Kernel, None)]);
        }
        let programs = &self.programs;
        let mut casts = Vec::new();
        for (cast, command) in [(Cast::Client, &programs.client), (Cast::Server, &programs.server)] {
            if let Some(command) = command {
                let program = Program { words: split(command)?, udp: programs.udp, ..programs.frame()? };
                casts.push((cast, Some(Choice::Given(program))));
            }
        }
        if casts.is_empty() {
            if !ENGINES.iter().any(|engine| engine.name == programs.engine) {
                let names: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
                return Err(format!(
                    "--engine: no engine is named `{}`: {}",
                    programs.engine,
                    names.join(", ")
                ));
            }
            let frame = programs.frame()?;
            if programs.only != Some(Side::Server) {
                casts.push((Cast::Client, Some(Choice::OwnClient(frame.clone()))));
            }
            if programs.only != Some(Side::Client) {
                casts.push((Cast::Server, Some(Choice::OwnServer(frame, programs.engine.clone()))));
            }
        }
        Ok(casts)
    }
}

impl Programs {
    /// Everything about a program but its command line.
    fn frame(&self) -> Result<Program, String> {
        let lines = match &self.script {
            None => Vec::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("--script {}: {error}", path.display()))?;
                text.split_inclusive('\n').map(str::to_owned).collect()
            }
        };
        let env = self.env.iter().map(|variable| match variable.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("--env {variable}: NAME=VALUE is wanted")),
        });
        // Options of sockets are written in either way elsewhere.
        let dashes = |option: &String| match option.split_once('=') {
            Some((name, value)) => format!("{}={value}", name.replace('_', "-")),
            None => option.replace('_', "-"),
        };
        let with: Vec<String> = self.with.iter().map(dashes).collect();
        for option in &with {
            let (name, value) = option.split_once('=').unwrap_or((option, "on"));
            switchboard_net::SocketOptions::default()
                .set(name, value)
                .map_err(|error| format!("--with {option}: {error}"))?;
        }
        Ok(Program {
            env: env.collect::<Result<_, _>>()?,
            cwd: self.cwd.clone(),
            ready: self.ready.clone(),
            lines,
            expect: self.expect.clone(),
            with,
            root: self.root,
            ..Program::default()
        })
    }
}

/// A program, as far as it does not depend on the case.
enum Choice {
    Given(Program),
    OwnClient(Program),
    OwnServer(Program, String),
}

impl Choice {
    /// The program for a case about TCP, or about UDP.
    fn fit(&self, udp: bool, ipv6: bool) -> Program {
        let own = std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned();
        let words =
            |words: &[&str]| [own.as_str()].iter().chain(words).map(|word| (*word).to_owned()).collect();
        match self {
            Choice::Given(program) => program.clone(),
            Choice::OwnClient(frame) if udp => Program {
                words: words(&[
                    "connect",
                    if ipv6 { "udp:[{host}]:{port}" } else { "udp:{host}:{port}" },
                    "--line",
                ]),
                is_own: true,
                udp,
                ..frame.clone()
            },
            Choice::OwnClient(frame) => {
                Program { words: words(&["connect", "{host}", "{port}"]), is_own: true, ..frame.clone() }
            }
            Choice::OwnServer(frame, engine) => Program {
                words: words(&[
                    "serve",
                    "echo",
                    "--listen",
                    if ipv6 { "tcp:[::]:{port}" } else { "tcp:0.0.0.0:{port}" },
                    "--engine",
                    engine,
                    "--log",
                    "none",
                ]),
                is_own: true,
                ..frame.clone()
            },
        }
    }
}

/// A seed by chance, short enough to be typed.
fn chance() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64 ^ u64::from(std::process::id())) % 1_000_000
}
