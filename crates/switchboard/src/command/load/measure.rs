//! `load ENDPOINT`: one run, from the command line to the exit code.

use super::files::{self, Opened};
use super::moment::Moment;
use super::order::Order;
use super::progress::{Progress, can_redraw};
use super::record::{End, Facts};
use super::server::{Watched, owner};
use super::summary::{Summary, people, saturation};
use super::threshold::Threshold;
use crate::command::connect::Spot;
use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchboard_net::load::{self, Plan, Shard, Tally};
use switchboard_net::sys::signal::{Signal, Signals, reset};
use switchboard_net::{Error, Stop, quantity};

/// The longest sleep until the clock is looked at again, since it may be set.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The options of a run.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// Where to: HOST:PORT, tls:HOST:PORT, udp:HOST:PORT, unix:PATH, unix-dgram:PATH, unix-seqpacket:PATH
    #[arg(required = true, value_parser = Spot::parse)]
    endpoint: Option<Spot>,

    #[command(flatten)]
    order: Order,

    /// This process does part I of N of it; `load merge` adds the parts' --hlog files together
    #[arg(long, value_name = "I/N", default_value = "1/1", help_heading = "Many machines")]
    shard: Shard,

    /// Begin at this time: 2026-01-31T12:00:00Z, or @SECONDS since 1970
    #[arg(long, value_name = "TIME", help_heading = "Many machines")]
    start_at: Option<Moment>,

    /// What this process and its children use is shown; on this machine TCP and UDP servers are found without
    #[arg(long, value_name = "PID", help_heading = "Output")]
    server_pid: Option<i32>,

    /// How long a slice of time is, in progress and files; 1s, and 250ms for the view of a terminal
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, help_heading = "Output")]
    interval: Option<Duration>,

    /// Write a log of histograms (HdrHistogram V2), for merge, report and other programs
    #[arg(long, value_name = "FILE", value_parser = files::name, help_heading = "Output")]
    hlog: Option<PathBuf>,

    /// Write a row for every slice of time
    #[arg(long, value_name = "FILE", value_parser = files::name, help_heading = "Output")]
    csv: Option<PathBuf>,

    /// Show nothing while it goes on
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,

    /// Fail (exit code 1) if this is so: p99>5ms, errors>0, unsent>0, rate<1000, throughput<1GB; may be repeated
    #[arg(long, value_name = "CONDITION", help_heading = "Output")]
    fail_if: Vec<Threshold>,

    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// Lines
    Text,
    /// One JSON object; `load schema` says what is in it
    Json,
}

pub(super) fn run(arguments: &Run, out: &mut Output) -> Exit {
    measure(arguments, out).unwrap_or_else(|error| failed(error, out))
}

/// Says what went wrong.
pub(super) fn failed(error: Error, out: &mut Output) -> Exit {
    match error {
        Error::Config(problem) => {
            problem.lines().for_each(|line| out.talk(line));
            Exit::Usage
        }
        problem => {
            out.talk(problem);
            Exit::Failed
        }
    }
}

fn measure(arguments: &Run, out: &mut Output) -> Result<Exit, Error> {
    let order = &arguments.order;
    let Some(remote) = &arguments.endpoint else {
        return Err(Error::Config("an endpoint is needed".into()));
    };
    let errand = order.errand(&remote.endpoint)?;
    let secure = order.secured.secure(remote)?;
    let answerer = match order.secured.answerer(remote, secure, order.timeout, out) {
        Ok(answerer) => answerer,
        Err(exit) => return Ok(exit),
    };
    let usual =
        if can_redraw() && !arguments.quiet { Duration::from_millis(250) } else { Duration::from_secs(1) };
    let interval = arguments.interval.unwrap_or(usual);
    let (plan, mut facts) = order.plan(answerer, errand, arguments.shard, Some(interval))?;
    arguments.fail_if.iter().try_for_each(|threshold| threshold.check(&facts))?;
    let (log, csv) = (arguments.hlog.as_deref(), arguments.csv.as_deref());
    if let (Some(log), Some(csv)) = (log, csv)
        && files::is_same(log, csv)
    {
        let shown = log.display();
        return Err(Error::Config(format!(
            "--hlog and --csv are both {shown}: each needs a file of its own"
        )));
    }
    let stop = Arc::new(Stop::new()?);
    stop_on_signals(Arc::clone(&stop)).map_err(|error| Error::system("catch signals", error))?;
    let server = watched(arguments.server_pid, &plan)?;
    let opened = match Opened::new(log, csv) {
        Ok(opened) => opened,
        Err(problem) => return Ok(unwritten(&problem, out)),
    };
    if let Some(moment) = arguments.start_at {
        if moment.wait().is_zero() {
            out.talk(format_args!(
                "--start-at was {} ago: this begins now, later than parts that were in time",
                people(moment.ago().as_nanos() as f64)
            ));
        }
        wait_for(moment, &stop);
    }
    facts.begins_now();
    let mut files = match opened.begin(&facts) {
        Ok(files) => files,
        Err(problem) => return Ok(unwritten(&problem, out)),
    };
    let mut progress = Progress::new(&facts, !arguments.quiet);
    let ended = Stop::new()?;
    let (tally, loaded) = std::thread::scope(|scope| {
        let looking = server.as_ref().map(|server| {
            // Connections that are held are counted from the first one on.
            let warm_up = if facts.workload == "idle" { Duration::ZERO } else { plan.ramp + plan.warm_up };
            let until = Watched::late_in(plan.ramp.max(warm_up) + plan.duration);
            let stops = [&*stop, &ended];
            let begin = Instant::now();
            scope.spawn(move || {
                sleep_until(begin + warm_up, &stops);
                let before = server.look();
                sleep_until(begin + until, &stops);
                before.zip(server.look())
            })
        });
        let tally = load::watch(&plan, &stop, &mut |slice| {
            progress.slice(&facts, slice, out);
            if let Err(problem) = files.slice(&facts, slice) {
                // Said once: the file is closed.
                out.talk(problem);
            }
        });
        // Nobody is to be waited for.
        ended.set();
        let loaded = looking.and_then(|looking| looking.join().ok().flatten());
        tally.map(|tally| (tally, loaded))
    })?;
    let end = End {
        ended_early: stop.is_set(),
        saturated: saturation(&facts, &tally).into_iter().collect(),
        server: server.and_then(|server| server.used(loaded)),
    };
    if let Err(problem) = files.end(&end) {
        out.talk(problem);
    }
    let mut exit = if files.is_broken { Exit::Output } else { Exit::Ok };
    let summary = Summary { facts: &facts, tally: &tally, end: &end };
    let judged = conclude(&summary, arguments.format, &arguments.fail_if, out);
    if exit == Exit::Ok {
        exit = judged;
    }
    Ok(exit)
}

/// A file that was asked for cannot be written.
fn unwritten(problem: &str, out: &mut Output) -> Exit {
    out.talk(problem);
    Exit::Output
}

/// Tells the result, and what is to be thought of it.
pub(super) fn conclude(
    summary: &Summary<'_>,
    format: Format,
    thresholds: &[Threshold],
    out: &mut Output,
) -> Exit {
    let (facts, tally) = (summary.facts, summary.tally);
    match format {
        Format::Text => summary.lines().into_iter().for_each(|line| out.line(line)),
        Format::Json => out.line(summary.json()),
    }
    summary.warnings().into_iter().for_each(|warning| out.talk(warning));
    let mut exit = Exit::Ok;
    if is_nothing(facts, tally) {
        out.talk("nothing that began in the measured time was answered");
        exit = Exit::Failed;
    }
    for threshold in thresholds {
        if let Some(fact) = threshold.is_met(facts, tally) {
            out.talk(format_args!("--fail-if {threshold}: {fact}"));
            exit = Exit::Failed;
        }
    }
    exit
}

fn is_nothing(facts: &Facts, tally: &Tally) -> bool {
    if facts.is_flow() { tally.bytes_up + tally.bytes_down == 0 } else { tally.answers() == 0 }
}

/// The server whose use is to be shown: the one that was named, or that listens on this machine.
fn watched(pid: Option<i32>, plan: &Plan) -> Result<Option<Watched>, Error> {
    match pid {
        Some(pid) => match Watched::begin(pid) {
            Some(watched) => Ok(Some(watched)),
            None => Err(Error::Config(format!("--server-pid {pid}: there is no such process"))),
        },
        None => Ok(owner(&plan.address).and_then(Watched::begin)),
    }
}

/// Sleeps until then, or until the run is to end.
fn wait_for(moment: Moment, stop: &Stop) {
    while !stop.is_set() && !moment.wait().is_zero() {
        sleep_until(Instant::now() + moment.wait().min(LOOK_EVERY), &[stop]);
    }
}

/// Sleeps until then, or until one of these is set.
fn sleep_until(until: Instant, stops: &[&Stop]) {
    while !stops.iter().any(|stop| stop.is_set()) {
        let wait = until.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return;
        }
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut waiting: Vec<PollFd<'_>> =
            stops.iter().map(|stop| PollFd::new(*stop, PollFlags::IN)).collect();
        let _ = poll(&mut waiting, Some(&wait));
    }
}

/// The first signal ends the run, which then reports; a second one ends the program, whatever it does.
pub(super) fn stop_on_signals(stop: Arc<Stop>) -> io::Result<()> {
    let signals = Signals::watch(&[Signal::Interrupt, Signal::Terminate])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while signals.take().next().is_none() {
            let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
        }
        for signal in [Signal::Interrupt, Signal::Terminate] {
            let _ = reset(signal);
        }
        stop.set();
    })?;
    Ok(())
}
