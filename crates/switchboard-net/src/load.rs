//! Load: many connections that ask and check the answers, and how long those took.
//!
//! Closed loop: each connection asks again when it has its answer. Open loop, with [`Plan::rate_per_s`]: requests are
//! due at fixed times, whatever the server does, and their time counts from when they were due. A server that stalls
//! is then seen to keep everybody waiting, not only the few who asked just before ("coordinated omission").
//!
//! What clients do is a row of proto's table of [workloads](switchboard_proto::WORKLOADS). Every worker is a thread
//! with an epoll(7) of its own. Nothing is shared between them: what a worker measured in a slice of time it hands over
//! when the slice is over.
//!
//! A program that measures makes a [`Plan`] and calls [`run`], or [`watch`] to see it happen. Several runs may go on at
//! once in one process.

mod plan;
mod schedule;
mod secure;
mod shard;
mod spread;
mod supply;
mod tally;
mod worker;
mod written;

pub use plan::{MOST_BYTES, MOST_CONNECTIONS, MOST_DEPTH, MOST_RATE, MOST_WORKERS, Plan};
pub use secure::Secure;
pub use shard::{MOST_SHARDS, Shard};
pub use spread::Spread;
pub use tally::{Tally, Trouble, times};
pub use written::{MOST_MIXED, MOST_SOURCES, connections, sizes, sizes_written, sources};

use crate::error::Error;
use crate::stop::Stop;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use worker::Worker;

/// What was measured in one part of the time.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its number, from 0.
    pub index: u64,
    /// When it began, since the measuring did.
    pub begin: Duration,
    /// What was measured. Answers count where they came, requests where they started.
    pub tally: Tally,
}

/// Does what the plan says, until it is done or `stop` is set; then with what there is.
///
/// # Errors
/// A plan that cannot be done ([`Plan::check`]); no thread or epoll could be made. What goes wrong with connections is
/// counted, not an error.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Tally, Error> {
    // Longer than any run: one slice is all.
    let plan = Plan { interval: Duration::MAX, ..plan.clone() };
    watch(&plan, stop, &mut |_| {})
}

/// The same, and tells of every slice ([`Plan::interval`]) when all workers have handed it over, in their order. The
/// slices, one [after](Tally::then) the other, are the result.
///
/// # Errors
/// Those of [`run`].
pub fn watch(plan: &Plan, stop: &Stop, tell: &mut dyn FnMut(&Slice)) -> Result<Tally, Error> {
    plan.check()?;
    supply::check(plan)?;
    let (sender, receiver) = mpsc::channel();
    let mut workers = Vec::with_capacity(plan.workers);
    for index in 0..plan.workers {
        workers.push(Worker::new(plan, index, stop, sender.clone())?);
    }
    drop(sender);
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
        let mut total: Option<Tally> = None;
        let mut tell = |index: u64, tally: Tally| {
            let begin = plan.interval.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
            let slice = Slice { index, begin, tally };
            tell(&slice);
            match &mut total {
                Some(total) => total.then(&slice.tally),
                None => total = Some(slice.tally),
            }
        };
        // Slices that some workers have handed over: how many, and their sum.
        let mut slices: BTreeMap<u64, (usize, Tally)> = BTreeMap::new();
        // The last slice of each worker, and the connections that it had open then.
        let mut last = vec![(0, 0); plan.workers];
        for (worker, index, tally) in receiver {
            last[worker] = (index, tally.open);
            match slices.get_mut(&index) {
                Some((count, sum)) => {
                    *count += 1;
                    sum.beside(&tally);
                }
                None => _ = slices.insert(index, (1, tally)),
            }
            while let Some(first) = slices.first_entry().filter(|first| first.get().0 == plan.workers) {
                let (index, (_, tally)) = first.remove_entry();
                tell(index, tally);
            }
        }
        // Workers that held connections, or were ended early, are over at different times. Who was over before kept
        // what he had until the end.
        for (index, (_, mut tally)) in slices {
            tally.open += open_since(&last, index);
            tell(index, tally);
        }
        for thread in running {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(total.unwrap_or_default())
    })
}

/// Connections of parts that were over before slice `index`: each has its last slice in `last`, and how many it had open
/// then.
pub fn open_since(last: &[(u64, u64)], index: u64) -> u64 {
    let over = last.iter().filter(|(last, _)| *last < index);
    over.fold(0, |sum, (_, open)| sum.saturating_add(*open))
}
