//! [`Record`]: a run as it is kept: what was asked for, on which machine, what every slice of time measured.
//!
//! It is all that summary, merge, compare and report know of a run, and it is what a `.hlog` file holds.

use super::secured::Session;
use crate::plan::secured;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard_net::load::{Plan, Slice, Tally, Trouble, sizes_written};
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

/// What a slice counted, beside its times. The names are those of [`Tally`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) index: u64,
    begin_ns: u64,
    errors: [u64; Trouble::ALL.len()],
    complaint: Option<String>,
    tls_failure: Option<String>,
    resumed: u64,
    offered: u64,
    started: u64,
    in_time: u64,
    unfinished: u64,
    late: u64,
    reordered: u64,
    doubled: u64,
    too_late: u64,
    bytes_up: u64,
    bytes_down: u64,
    open: u64,
    cpu_ns: u64,
    measured_ns: u64,
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
            plural(self.connections, "connection"),
            plural(self.workers, "worker")
        )
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
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
        let Tally { errors, resumed, offered, started, in_time, unfinished, late, .. } = slice.tally;
        let Tally { reordered, doubled, too_late, bytes_up, bytes_down, open, cpu_ns, measured_ns, .. } =
            slice.tally;
        Counts {
            index: slice.index,
            begin_ns: ns(slice.begin),
            errors,
            complaint: slice.tally.complaint.clone(),
            tls_failure: slice.tally.tls_failure.clone(),
            resumed,
            offered,
            started,
            in_time,
            unfinished,
            late,
            reordered,
            doubled,
            too_late,
            bytes_up,
            bytes_down,
            open,
            cpu_ns,
            measured_ns,
        }
    }

    /// A slice with these counts and the times of `tally`.
    pub(super) fn slice(self, tally: Tally) -> Slice {
        let Counts {
            index,
            begin_ns,
            errors,
            complaint,
            tls_failure,
            resumed,
            offered,
            started,
            in_time,
            unfinished,
            late,
            ..
        } = self;
        let Counts { reordered, doubled, too_late, bytes_up, bytes_down, open, cpu_ns, measured_ns, .. } =
            self;
        let tally = Tally {
            errors,
            complaint,
            tls_failure,
            resumed,
            offered,
            started,
            in_time,
            unfinished,
            late,
            reordered,
            doubled,
            too_late,
            bytes_up,
            bytes_down,
            open,
            cpu_ns,
            measured_ns,
            ..tally
        };
        Slice { index, begin: Duration::from_nanos(begin_ns), tally }
    }
}
