//! [`Order`]: the options that say what is to be measured, and how they become a [`Plan`].

use super::record::Facts;
use super::secured::{Answerer, Secured};
use clap::{Args, ValueEnum};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::load::{self, Plan, Shard};
use switchboard_net::{Dialing, Endpoint, Error, quantity};
use switchboard_proto::workload::{Direction, Script};
use switchboard_proto::{Errand, Sizes, WORKLOADS, Workload};

/// What is measured, and how.
#[derive(Args, Clone, Debug)]
pub(super) struct Order {
    /// What connections are used for: ping, stream, connect, idle, sum, datagram, script
    ///
    /// `switchboard list workloads` says what each does. For udp: and unix-dgram: it is `datagram`, otherwise `ping`.
    #[arg(long, value_name = "NAME", value_parser = workload, help_heading = "Workload")]
    pub(super) workload: Option<&'static Workload>,

    /// Do what this file says: send and expect lines, to load any service
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "size"], help_heading = "Workload")]
    pub(super) script: Option<PathBuf>,

    /// Bytes of a request: 64, uniform:64-4096, zipf:64-64KiB, mix:64*9,4KiB*1
    ///
    /// `zipf`: of the doublings of the first up to the second, the k-th comes with a probability in proportion to 1/k.
    /// For a stream the size is that of one write. 0 with `connect`: only connect and close.
    #[arg(short, long, value_name = "BYTES", value_parser = load::sizes, help_heading = "Workload")]
    pub(super) size: Option<Sizes>,

    /// Which way a stream goes
    #[arg(long, value_enum, value_name = "WAY", default_value = "both", help_heading = "Workload")]
    pub(super) direction: Way,

    /// Requests that may wait for their answers on one connection
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "1", help_heading = "Workload")]
    pub(super) depth: usize,

    /// Requests per second of all connections together (open loop)
    #[arg(short, long, value_name = "N", value_parser = rate, help_heading = "Workload")]
    pub(super) rate: Option<f64>,

    /// Rest of a connection between an answer and its next request
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "0s")]
    #[arg(help_heading = "Workload")]
    pub(super) think_time: Duration,

    /// Connections at a time
    #[arg(short, long, value_name = "N", value_parser = load::connections, default_value = "1")]
    pub(super) connections: usize,

    /// How long is measured
    #[arg(short, long, value_name = "DURATION", value_parser = quantity::duration, default_value = "10s")]
    pub(super) duration: Duration,

    /// What comes before and is not counted
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "500ms")]
    pub(super) warm_up: Duration,

    /// Connections begin one by one during this time, which comes before the warm-up
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "0s")]
    pub(super) ramp: Duration,

    /// How long a connection or an answer may take; 10s, and 1s for datagrams
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    pub(super) timeout: Option<Duration>,

    /// Threads
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "1")]
    pub(super) workers: usize,

    /// Processors that threads are pinned to, in turn: 0,2-3
    #[arg(long, value_name = "LIST", value_parser = processors)]
    pub(super) pin: Option<Processors>,

    /// Addresses that connections come from, in turn: 127.0.0.1-127.0.0.40
    ///
    /// One address is good for about 28,000 connections to one port.
    #[arg(long, value_name = "LIST", value_parser = sources)]
    pub(super) source: Option<Sources>,

    #[command(flatten)]
    pub(super) secured: Secured,
}

/// Processors, as one value.
#[derive(Clone, Debug)]
pub(super) struct Processors(pub(super) Vec<usize>);

/// Source addresses, as one value.
#[derive(Clone, Debug)]
pub(super) struct Sources(pub(super) Vec<IpAddr>);

/// Which way a stream goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Way {
    /// To the server, as for `discard`
    Up,
    /// From the server, as of `chargen`
    Down,
    /// Both, as with `echo`: what comes must be what was sent
    Both,
}

fn workload(name: &str) -> Result<&'static Workload, String> {
    Workload::find(name).ok_or_else(|| {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        format!("there is no such workload; there are {}", names.join(", "))
    })
}

fn rate(text: &str) -> Result<f64, String> {
    let plain = text.parse::<f64>().ok().filter(|rate| rate.is_finite());
    plain.map_or_else(|| quantity::count(text).map(|n| n as f64).map_err(|error| error.to_string()), Ok)
}

pub(super) fn processors(text: &str) -> Result<Processors, Error> {
    quantity::processors(text).map(Processors)
}

fn sources(text: &str) -> Result<Sources, Error> {
    load::sources(text).map(Sources)
}

impl Order {
    /// What clients will do at such an endpoint.
    ///
    /// # Errors
    /// The script cannot be read, or is wrong: every problem with its line.
    pub(super) fn errand(&self, endpoint: &Endpoint) -> Result<Errand, Error> {
        let usual = if endpoint.kind.is_datagram() { "datagram" } else { "ping" };
        let usual = if self.script.is_some() { "script" } else { usual };
        let workload = self.workload.or(Workload::find(usual)).expect("they are in the table");
        let mut errand = workload.errand(switchboard_net::sys::clock::seed());
        if let Some(sizes) = &self.size {
            errand = errand.sized(sizes.clone());
        }
        errand.direction = match self.direction {
            Way::Up => Direction::Up,
            Way::Down => Direction::Down,
            Way::Both => Direction::Both,
        };
        if let Some(path) = &self.script {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::Config(format!("cannot read the script {shown}: {error}")))?;
            let script = Script::read(&text).map_err(|problems| {
                let mut all = String::new();
                for (index, problem) in problems.iter().enumerate() {
                    let _ = write!(all, "{}{shown}: {problem}", if index > 0 { "\n" } else { "" });
                }
                Error::Config(all)
            })?;
            errand.script = Some(Arc::new(script));
        }
        Ok(errand)
    }

    /// The plan for a server that answered, and what it is to be remembered as.
    ///
    /// # Errors
    /// What cannot be done.
    pub(super) fn plan(
        &self,
        answerer: Answerer,
        errand: Errand,
        shard: Shard,
        interval: Option<Duration>,
    ) -> Result<(Plan, Facts), Error> {
        let plan = Plan::new(answerer.address, errand);
        let timeout = self.timeout.unwrap_or(plan.timeout);
        let plan = Plan {
            dialing: Dialing { connect_timeout: timeout, ..Dialing::default() },
            connections: self.connections,
            workers: self.workers,
            depth: self.depth,
            rate_per_s: self.rate,
            think_time: self.think_time,
            ramp: self.ramp,
            warm_up: self.warm_up,
            duration: self.duration,
            timeout,
            sources: self.source.as_ref().map(|sources| sources.0.clone()).unwrap_or_default(),
            processors: self.pin.as_ref().map(|pin| pin.0.clone()).unwrap_or_default(),
            shard,
            secure: answerer.secure,
            interval: interval.unwrap_or(plan.interval),
            ..plan
        };
        plan.check()?;
        let facts = Facts::of(&plan, answerer.session);
        Ok((plan, facts))
    }
}
