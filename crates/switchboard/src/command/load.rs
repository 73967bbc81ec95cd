//! `load`: many clients of one service, and how long its answers took, in numbers that can be trusted.

mod summary;
mod threshold;

use super::connect::exit_for_dialling;
use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use summary::Summary;
use switchboard_net::load::{self, Plan, Workload};
use switchboard_net::sys::signal::{Signal, Signals, reset};
use switchboard_net::{Dialing, Endpoint, Error, Stop, dial, quantity};
use threshold::Threshold;

/// Loads a service with many clients and measures its answers
///
/// The service sends back what it gets, as `echo` does; every byte of it is checked. One connection more is made
/// first, to choose among the addresses of a name. With --rate, requests are due at fixed times and their latency counts
/// from then, so that a stall is seen for as long as it lasted; beside it stands the time from when they were really
/// sent. Without it each connection asks again when it has its answer (closed loop), and a stall is seen once per
/// connection. Ctrl-C ends the run and reports what there is.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Where to: HOST:PORT, tcp:HOST:PORT, unix:PATH
    endpoint: Endpoint,

    /// What connections are used for
    #[arg(long, value_enum, default_value_t = Kind::Ping)]
    workload: Kind,

    /// Connections at a time
    #[arg(short, long, value_name = "N", value_parser = quantity::count, default_value = "1")]
    connections: usize,

    /// How long is measured
    #[arg(short, long, value_name = "DURATION", value_parser = quantity::duration, default_value = "10s")]
    duration: Duration,

    /// What comes before and is not counted
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "500ms")]
    warm_up: Duration,

    /// Threads
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "1")]
    workers: usize,

    /// Bytes of a request and of its answer; 0 with `connect`: only connect and close
    #[arg(short, long, value_name = "BYTES", value_parser = quantity::bytes, default_value = "64")]
    size: usize,

    /// Requests that may wait for their answers on one connection
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "1")]
    depth: usize,

    /// Requests per second of all connections together (open loop)
    #[arg(short, long, value_name = "N")]
    rate: Option<f64>,

    /// Rest of a connection between an answer and its next request
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "0s")]
    think_time: Duration,

    /// How long a connection or an answer may take
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "10s")]
    timeout: Duration,

    /// Fail (exit code 1) if this is so, such as `p99>5ms`, `errors>0`, `rate<1000`; may be repeated
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Threshold>,

    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// Requests and answers on connections that stay
    Ping,
    /// A connection for each request
    Connect,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// Lines
    Text,
    /// One JSON object
    Json,
}

const EXAMPLES: &str = "\
Examples:
  switchboard load 127.0.0.1:7007 --duration 300ms --warm-up 100ms
  switchboard load 127.0.0.1:7007 --connections 20 --rate 500 --duration 500ms
  switchboard load 127.0.0.1:7007 --workload connect --duration 200ms --fail-if 'errors>0'
  switchboard load 127.0.0.1:7007 --depth 8 --size 4KiB --duration 200ms --format json";

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match measure(arguments, out) {
        Ok(exit) => exit,
        Err(Error::Config(problem)) => {
            out.talk(problem);
            Exit::Usage
        }
        Err(problem) => {
            out.talk(problem);
            Exit::Failed
        }
    }
}

fn measure(arguments: &Arguments, out: &mut Output) -> Result<Exit, Error> {
    if arguments.endpoint.kind.is_datagram() {
        return Err(Error::Config(format!(
            "{}: load speaks to stream sockets, tcp: and unix:",
            arguments.endpoint
        )));
    }
    let dialing = Dialing { connect_timeout: arguments.timeout, ..Dialing::default() };
    let address = match dial(&arguments.endpoint, &dialing, &mut |_| {}) {
        Ok((_, address)) => address,
        Err(error) => {
            out.talk(&error);
            return Ok(exit_for_dialling(&error));
        }
    };
    let plan = Plan {
        address,
        dialing,
        workload: match arguments.workload {
            Kind::Ping => Workload::Ping,
            Kind::Connect => Workload::Connect,
        },
        size_bytes: arguments.size,
        connections: arguments.connections,
        workers: arguments.workers,
        depth: arguments.depth,
        rate_per_s: arguments.rate,
        think_time: arguments.think_time,
        warm_up: arguments.warm_up,
        duration: arguments.duration,
        timeout: arguments.timeout,
        seed: switchboard_net::sys::clock::seed(),
    };
    plan.check()?;
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
    if tally.answers() == 0 {
        out.talk("no request that began in the measured time was answered");
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
