//! [`Record`]: a run as it is kept: what was asked for, on which machine, what every slice of time measured.
//!
//! It is all that summary, merge, compare and report know of a run, and it is what a `.hlog` file holds.

use super::secured::Session;
use crate::plan::secured;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard_net::load::{Plan, Shard, Slice, Tally, Trouble, sizes_written};
use switchboard_proto::workload::Direction;

/// What was asked for, of whom, and where from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) endpoint: String,
    /// What was agreed on, of servers with TLS.
    pub(super) tls: Option<Session>,
    pub(super) workload: String,
    /// As in `--size`.
    pub(super) size: String,
    /// `up`, `down` or `both`, for streams.
    pub(super) direction: Option<String>,
    /// Of all shards together.
    pub(super) connections: usize,
    pub(super) workers: usize,
    pub(super) depth: usize,
    /// Of all shards together; none in a closed loop.
    pub(super) asked_rate_per_s: Option<f64>,
    pub(super) think_time_ns: u64,
    pub(super) ramp_ns: u64,
    pub(super) warm_up_ns: u64,
    pub(super) duration_ns: u64,
    pub(super) timeout_ns: u64,
    pub(super) interval_ns: u64,
    /// From 1.
    pub(super) shard: usize,
    pub(super) shards: usize,
    /// When the run began, nanoseconds since 1970.
    pub(super) began_unix_ns: u64,
    pub(super) command: String,
    pub(super) machine: Machine,
}

/// Where it was measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) processors: usize,
}

/// How it ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) ended_early: bool,
    /// Why the numbers may be the generator's own; a reason for each shard that says so.
    pub(super) saturated: Vec<String>,
    /// What the server's processes used.
    pub(super) server: Option<super::server::Used>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) facts: Facts,
    /// In the order of their numbers, none missing.
    pub(super) slices: Vec<Slice>,
    pub(super) end: End,
}

/// What a slice counted, beside its times: [`Tally::counters`] and errors by their names.
///
/// Names, not places: a log of an older version has no counts of what that did not know, which are nothing then, and one
/// of a newer version may have more, which are left aside; errors of kinds that are not known here are [`Trouble::Other`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) index: u64,
    begin_ns: u64,
    errors: Errors,
    complaint: Option<String>,
    obstacle: Option<String>,
    tls_failure: Option<String>,
    #[serde(flatten)]
    counters: BTreeMap<String, Value>,
}

/// How often each kind of [`Trouble`] was met.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Errors {
    Named(BTreeMap<String, u64>),
    /// As in logs that were written before kinds had names in them: in the order of [`Trouble::ALL`], whose end they miss.
    Placed(Vec<u64>),
}

pub(super) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Facts {
    /// Of a run that begins now.
    pub(super) fn of(plan: &Plan, tls: Option<Session>) -> Facts {
        let direction = plan.direction().map(|direction| match direction {
            Direction::Up => "up",
            Direction::Down => "down",
            Direction::Both => "both",
        });
        Facts {
            endpoint: secured(&plan.address.to_string(), tls.is_some()),
            tls,
            workload: plan.errand.workload.name.to_owned(),
            size: sizes_written(&plan.errand.sizes),
            direction: direction.map(str::to_owned),
            connections: plan.connections,
            workers: plan.workers,
            depth: plan.depth,
            asked_rate_per_s: plan.rate_per_s,
            think_time_ns: ns(plan.think_time),
            ramp_ns: ns(plan.ramp),
            warm_up_ns: ns(plan.warm_up),
            duration_ns: ns(plan.duration),
            timeout_ns: ns(plan.timeout),
            interval_ns: ns(plan.interval),
            shard: plan.shard.index() + 1,
            shards: plan.shard.count(),
            began_unix_ns: ns(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            machine: Machine::here(),
        }
    }

    /// It begins later than was thought when this was made.
    pub(super) fn begins_now(&mut self) {
        self.began_unix_ns = ns(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    }

    pub(super) fn is_open_loop(&self) -> bool {
        self.asked_rate_per_s.is_some()
    }

    /// Connections of this shard.
    pub(super) fn own_connections(&self) -> usize {
        let shard = Shard::new(self.shard, self.shards).unwrap_or(Shard::WHOLE);
        shard.own(self.connections).len()
    }

    pub(super) fn is_flow(&self) -> bool {
        self.direction.is_some()
    }

    /// What was asked for, in a line.
    pub(super) fn title(&self) -> String {
        let bytes = if matches!(self.size.as_str(), "0") {
            String::new()
        } else {
            format!(" of {} bytes", self.size)
        };
        let way = self.direction.as_ref().map(|way| format!(" {way}")).unwrap_or_default();
        let rate = self.asked_rate_per_s.map(|rate| format!(", {rate}/s")).unwrap_or_default();
        let deep = if self.depth > 1 { format!(", {} deep", self.depth) } else { String::new() };
        let shard = if self.shards > 1 && self.shard > 0 {
            format!(", shard {}/{}", self.shard, self.shards)
        } else {
            String::new()
        };
        format!(
            "{}: {}{way}{bytes}, {}{deep}{rate}, {}{shard}",
            self.endpoint,
            self.workload,
            plural(self.connections, "connection", "connections"),
            plural(self.workers, "worker", "workers")
        )
    }
}

pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl Machine {
    fn here() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            processor: model.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Record {
    /// The whole, one slice after the other.
    pub(super) fn total(&self) -> Tally {
        let mut slices = self.slices.iter().map(|slice| &slice.tally);
        let mut total = slices.next().cloned().unwrap_or_default();
        slices.for_each(|tally| total.then(tally));
        total
    }
}

impl Counts {
    pub(super) fn of(slice: &Slice) -> Counts {
        let Slice { index, begin, tally } = slice;
        let errors = Trouble::ALL.iter().map(|kind| (kind.name().to_owned(), tally.errors[*kind as usize]));
        Counts {
            index: *index,
            begin_ns: ns(*begin),
            errors: Errors::Named(errors.collect()),
            complaint: tally.complaint.clone(),
            obstacle: tally.obstacle.clone(),
            tls_failure: tally.tls_failure.clone(),
            counters: tally.counters().map(|(name, count)| (name.to_owned(), count.into())).into(),
        }
    }

    /// A slice with these counts and the times of `tally`.
    ///
    /// # Errors
    /// A count that is no number, or more kinds of errors than places for them.
    pub(super) fn slice(self, mut tally: Tally) -> Result<Slice, String> {
        tally.errors = self.errors.placed()?;
        tally.complaint = self.complaint;
        tally.obstacle = self.obstacle;
        tally.tls_failure = self.tls_failure;
        for (name, place) in tally.counters_mut() {
            if let Some(count) = self.counters.get(name) {
                *place = count.as_u64().ok_or_else(|| format!("{name} is {count}, which is no count"))?;
            }
        }
        Ok(Slice { index: self.index, begin: Duration::from_nanos(self.begin_ns), tally })
    }
}

impl Default for Errors {
    fn default() -> Errors {
        Errors::Named(BTreeMap::new())
    }
}

impl Errors {
    fn placed(self) -> Result<[u64; Trouble::ALL.len()], String> {
        let mut all = [0_u64; Trouble::ALL.len()];
        match self {
            Errors::Named(named) => {
                for (name, count) in named {
                    let kind = Trouble::ALL.into_iter().find(|kind| kind.name() == name);
                    let place = &mut all[kind.unwrap_or(Trouble::Other) as usize];
                    *place = place.saturating_add(count);
                }
            }
            Errors::Placed(placed) => {
                let first = all.get_mut(..placed.len()).ok_or_else(|| {
                    format!("{} kinds of errors; only {} are known", placed.len(), Trouble::ALL.len())
                })?;
                first.copy_from_slice(&placed);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice in which every count is another number.
    fn slice() -> Slice {
        let mut tally = Tally::new();
        for ((_, count), n) in tally.counters_mut().into_iter().zip(100..) {
            *count = n;
        }
        for (count, n) in tally.errors.iter_mut().zip(1..) {
            *count = n;
        }
        tally.tls_failure = Some("no trust".into());
        tally.obstacle = Some("no port".into());
        Slice { index: 3, begin: Duration::from_millis(300), tally }
    }

    fn read(json: &Value) -> Result<Slice, String> {
        let counts: Counts = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
        counts.slice(Tally::new())
    }

    #[test]
    fn a_slice_is_read_as_it_was_written_by_versions_that_knew_less_or_more() {
        let slice = slice();
        let now = serde_json::to_value(Counts::of(&slice)).expect("JSON");
        assert_eq!(
            read(&now).map(|read| (read.index, read.begin, read.tally)),
            Ok((3, slice.begin, slice.tally.clone()))
        );
        // Before there was TLS: errors by place, one kind fewer, and no counter of it.
        let mut old = now.clone();
        old["errors"] = serde_json::json!([1, 2, 3, 4, 5, 6, 7, 8]);
        for name in ["resumed", "tls_failure", "obstacle"] {
            old.as_object_mut().expect("an object").remove(name);
        }
        let tally = read(&old).expect("an old log").tally;
        assert_eq!(tally.errors, [1, 2, 3, 4, 5, 6, 7, 8, 0]);
        assert_eq!((tally.resumed, tally.tls_failure, tally.obstacle), (0, None, None));
        assert_eq!(tally.offered, slice.tally.offered);
        // A kind and a counter that are not known yet.
        let mut new = now.clone();
        new["errors"]["eaten"] = 50.into();
        new["weather"] = "fine".into();
        let tally = read(&new).expect("a new log").tally;
        assert_eq!(tally.failed(), slice.tally.failed() + 50);
        assert_eq!(tally.errors[Trouble::Other as usize], slice.tally.errors[Trouble::Other as usize] + 50);
        for (name, damage) in [
            ("errors", serde_json::json!([0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            ("errors", serde_json::json!({ "reset": -1 })),
            ("offered", serde_json::json!("many")),
            ("index", Value::Null),
        ] {
            let mut damaged = now.clone();
            damaged[name] = damage;
            assert!(read(&damaged).is_err(), "{damaged}");
        }
    }
}
