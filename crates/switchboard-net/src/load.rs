//! Load: many connections that ask and check the answers, and how long those took.
//!
//! Closed loop: each connection asks again when it has its answer. Open loop, with [`Plan::rate_per_s`]: requests are
//! due at fixed times, whatever the server does, and their time counts from when they were due. A server that stalls
//! is then seen to keep everybody waiting, not only the few who asked just before ("coordinated omission").
//!
//! Every worker is a thread with an epoll(7) of its own; nothing is shared between them until the end.

mod tally;
mod worker;

pub use tally::{Tally, Trouble};

use crate::dial::Dialing;
use crate::endpoint::{Address, Kind};
use crate::error::Error;
use crate::stop::Stop;
use std::thread;
use std::time::Duration;
use worker::Worker;

/// Most connections of one run.
pub const MOST_CONNECTIONS: usize = 1_000_000;
/// Most workers of one run.
pub const MOST_WORKERS: usize = 256;
/// Most requests that wait for their answers on one connection.
pub const MOST_DEPTH: usize = 1_024;
/// Most bytes of a request.
pub const MOST_BYTES: usize = 16 << 20;
/// Most requests per second that can be asked for.
pub const MOST_RATE: f64 = 1e8;

/// What a connection is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    /// It stays: request after request.
    Ping,
    /// It is made for one request and closed after the answer; the time is that of all of it.
    Connect,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to; stream sockets only.
    pub address: Address,
    /// How to connect.
    pub dialing: Dialing,
    /// What a connection is used for.
    pub workload: Workload,
    /// Bytes of a request and of its answer. 0, with [`Workload::Connect`] only: the connection is all.
    pub size_bytes: usize,
    /// Connections at a time, of all workers together.
    pub connections: usize,
    /// Threads.
    pub workers: usize,
    /// Requests that may wait for their answers on one connection.
    pub depth: usize,
    /// Requests per second of all workers together; `None`: a closed loop.
    pub rate_per_s: Option<f64>,
    /// How long a connection rests between an answer and its next request. Closed loop only.
    pub think_time: Duration,
    /// What comes first and is not counted.
    pub warm_up: Duration,
    /// What is measured.
    pub duration: Duration,
    /// How long an answer may take; as long is waited for the last ones.
    pub timeout: Duration,
    /// Chooses the content of requests.
    pub seed: u64,
}

impl Plan {
    /// Looks for what cannot be done.
    ///
    /// # Errors
    /// The first thing, and what would be right.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        let within = |what: &str, n: usize, least: usize, most: usize| {
            if (least..=most).contains(&n) {
                return Ok(());
            }
            Err(Error::Config(format!("{n} {what}: it must be {least} to {most}")))
        };
        if !matches!(self.address.kind, Kind::Tcp | Kind::Unix) {
            return wrong(format!("{}: load speaks to stream sockets, tcp: and unix:", self.address));
        }
        within("connections", self.connections, 1, MOST_CONNECTIONS)?;
        within("workers", self.workers, 1, MOST_WORKERS.min(self.connections))?;
        within("requests deep", self.depth, 1, MOST_DEPTH)?;
        within("bytes", self.size_bytes, usize::from(self.workload == Workload::Ping), MOST_BYTES)?;
        if self.workload == Workload::Connect && self.depth > 1 {
            return wrong("a connection for one request has no depth: leave it at 1".into());
        }
        if self.duration.is_zero() || self.timeout.is_zero() {
            return wrong("the duration and the time-out must be more than 0".into());
        }
        match self.rate_per_s {
            Some(rate) if !(rate > 0.0 && rate <= MOST_RATE) => wrong(format!(
                "{rate} requests per second: it must be more than 0 and at most {MOST_RATE:.0}"
            )),
            Some(_) if !self.think_time.is_zero() => {
                wrong("with a rate the rate says when to ask: there is no think time".into())
            }
            _ => Ok(()),
        }
    }
}

/// Does what the plan says, until it is done or `stop` is set; then with what there is.
///
/// # Errors
/// A plan that cannot be done ([`Plan::check`]); no thread or epoll could be made. What goes wrong with connections is
/// counted, not an error.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Tally, Error> {
    plan.check()?;
    let mut workers = Vec::with_capacity(plan.workers);
    for index in 0..plan.workers {
        workers.push(Worker::new(plan, index, stop)?);
    }
    thread::scope(|scope| {
        let mut running = Vec::with_capacity(workers.len());
        for worker in workers {
            let thread = thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, || worker.run());
            match thread {
                Ok(thread) => running.push(thread),
                Err(error) => {
                    stop.set();
                    return Err(Error::Config(format!(
                        "cannot start a worker: {error}; ask for fewer --workers"
                    )));
                }
            }
        }
        let mut sum = Tally::new();
        for thread in running {
            match thread.join() {
                Ok(tally) => sum.add(&tally?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(sum)
    })
}
