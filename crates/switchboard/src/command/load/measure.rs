//! `load ENDPOINT`: one run, from the command line to the exit code.

use super::order::Order;
use super::summary::Summary;
use super::threshold::Threshold;
use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::sync::Arc;
use switchboard_net::load::{self, Shard};
use switchboard_net::sys::signal::{Signal, Signals, reset};
use switchboard_net::{Endpoint, Error, Stop};

/// The options of a run.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// Where to: HOST:PORT, tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, unix-dgram:PATH, unix-seqpacket:PATH
    #[arg(required = true)]
    endpoint: Option<Endpoint>,

    #[command(flatten)]
    order: Order,

    /// Fail (exit code 1) if this is so, such as `p99>5ms`, `errors>0`, `rate<1000`; may be repeated
    #[arg(long, value_name = "CONDITION", help_heading = "Output")]
    fail_if: Vec<Threshold>,

    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// Lines
    Text,
    /// One JSON object
    Json,
}

pub(super) fn run(arguments: &Run, out: &mut Output) -> Exit {
    match measure(arguments, out) {
        Ok(exit) => exit,
        Err(Error::Config(problem)) => {
            problem.lines().for_each(|line| out.talk(line));
            Exit::Usage
        }
        Err(problem) => {
            out.talk(problem);
            Exit::Failed
        }
    }
}

fn measure(arguments: &Run, out: &mut Output) -> Result<Exit, Error> {
    let order = &arguments.order;
    let Some(endpoint) = &arguments.endpoint else {
        return Err(Error::Config("an endpoint is needed".into()));
    };
    let errand = order.errand(endpoint)?;
    let address = match order.address(endpoint, out) {
        Ok(address) => address,
        Err(exit) => return Ok(exit),
    };
    let plan = order.plan(address, errand, Shard::WHOLE)?;
    let stop = Arc::new(Stop::new()?);
    stop_on_signals(Arc::clone(&stop)).map_err(|error| Error::system("catch signals", error))?;
    let tally = load::run(&plan, &stop)?;
    let summary = Summary { plan: &plan, tally: &tally, is_cut: stop.is_set() };
    match arguments.format {
        Format::Text => summary.lines().into_iter().for_each(|line| out.line(line)),
        Format::Json => out.line(summary.json()),
    }
    if let Some(warning) = summary.saturation() {
        out.talk(warning);
    }
    let mut exit = Exit::Ok;
    let is_idle = if plan.is_flow() { tally.bytes_up + tally.bytes_down == 0 } else { tally.answers() == 0 };
    if is_idle {
        out.talk("nothing that began in the measured time was answered");
        exit = Exit::Failed;
    }
    for threshold in &arguments.fail_if {
        if let Some(fact) = threshold.is_met(&plan, &tally) {
            out.talk(format_args!("--fail-if {threshold}: {fact}"));
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// The first signal ends the run, which then reports; a second one ends the program, whatever it does.
fn stop_on_signals(stop: Arc<Stop>) -> io::Result<()> {
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
