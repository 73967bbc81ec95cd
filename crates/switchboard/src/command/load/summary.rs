//! [`Summary`]: what a run found, for people and, under a fixed name and version, for programs.

use super::record::{End, Facts, plural};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use switchboard_net::load::{Tally, Trouble};

/// Of the form of `--format json`. It counts up when a field changes its meaning or goes away.
const VERSION: u64 = 3;

/// Which percentiles are told, with their keys.
pub(super) const PERCENTILES: [(&str, f64); 8] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("p99.999", 0.99999),
];

/// Processor use of the workers above which the numbers are theirs and not the server's.
const BUSY: f64 = 0.9;
/// The same for the time in which they waited for a processor.
const WAITED: f64 = 0.2;
/// The same for the part of the requests that they started late.
const LATE: f64 = 0.01;

pub(super) struct Summary<'a> {
    pub(super) facts: &'a Facts,
    pub(super) tally: &'a Tally,
    pub(super) end: &'a End,
}

/// The times that count: in an open loop those from when requests were due.
pub(super) fn latency<'a>(facts: &Facts, tally: &'a Tally) -> &'a Histogram<u64> {
    if facts.is_open_loop() { &tally.response } else { &tally.service }
}

/// A time of so many nanoseconds with three or four digits.
pub(super) fn people(ns: f64) -> String {
    match ns {
        _ if ns < 1e3 => format!("{ns:.0} ns"),
        _ if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        _ if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.3} s", ns / 1e9),
    }
}

/// So many bytes with three or four digits.
pub(super) fn bytes(n: f64) -> String {
    match n {
        _ if n < 1e3 => format!("{n:.0} B"),
        _ if n < 1e6 => format!("{:.1} kB", n / 1e3),
        _ if n < 1e9 => format!("{:.1} MB", n / 1e6),
        _ => format!("{:.2} GB", n / 1e9),
    }
}

/// Why the numbers may be the generator's own, if so. `workers` are those of one process.
pub(super) fn saturation(facts: &Facts, tally: &Tally) -> Option<String> {
    let (busy, waited) = (busy(facts, tally), waited(facts, tally));
    let late = tally.late as f64 / tally.offered.max(1) as f64;
    let because = match () {
        () if late > LATE => {
            format!(
                "{:.1} % of the requests started more than 1 ms late, since it slept when they were due; it was busy \
                 {:.0} % of the time",
                late * 100.0,
                busy * 100.0
            )
        }
        () if busy > BUSY => format!("its workers were busy {:.0} % of the time", busy * 100.0),
        () if waited > WAITED => {
            format!("its workers waited {:.0} % of the time for a processor that others had", waited * 100.0)
        }
        () => return None,
    };
    let shard = if facts.shards > 1 { format!("shard {}: ", facts.shard) } else { String::new() };
    Some(format!("{shard}{because}"))
}

/// The part of the workers' time in which they ran.
fn busy(facts: &Facts, tally: &Tally) -> f64 {
    share(tally.cpu_ns, facts, tally)
}

/// The part in which they could have run and had no processor.
fn waited(facts: &Facts, tally: &Tally) -> f64 {
    share(tally.waited_ns, facts, tally)
}

fn share(ns: u64, facts: &Facts, tally: &Tally) -> f64 {
    ns as f64 / (tally.measured_ns.max(1) as f64 * facts.workers as f64)
}

impl Summary<'_> {
    /// What is said loudly, if anything is to be.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warn = |because: &String| {
            format!(
                "GENERATOR SATURATED: {because}. These numbers are the generator's, not the server's: use more \
                 --workers, a machine or processors that nobody else uses (--pin), or a lower --rate"
            )
        };
        let mut warnings: Vec<String> = self.end.saturated.iter().map(warn).collect();
        if self.tally.unsent > 0 {
            let Tally { unsent, offered, .. } = self.tally;
            let because = match self.end.saturated.is_empty() {
                true => "no connection was free for them",
                false => "no connection was free for them, or the generator was behind",
            };
            warnings.push(format!(
                "{unsent} of the {offered} requests that were due had not been sent at the end, since {because}; `since \
                 due` has each with the time that it had waited by then and that of the fastest answer: it would have \
                 taken longer, not less"
            ));
        }
        if let Some(obstacle) = &self.tally.obstacle {
            warnings.push(format!("the first failure of a connection: {obstacle}"));
        }
        if let Some(complaint) = &self.tally.complaint {
            warnings.push(format!("the first wrong answer: {complaint}"));
        }
        if let Some(failure) = &self.tally.tls_failure {
            warnings.push(format!("the first failure of TLS: {failure}"));
        }
        warnings
    }

    fn cpu_per_request_ns(&self) -> Option<f64> {
        (self.tally.in_time > 0).then(|| self.tally.cpu_ns as f64 / self.tally.in_time as f64)
    }

    /// Processor time of the generator per MiB, for streams.
    fn cpu_per_mib_ns(&self) -> Option<f64> {
        let moved = self.tally.bytes_up + self.tally.bytes_down;
        (moved > 0).then(|| self.tally.cpu_ns as f64 * 1_048_576.0 / moved as f64)
    }

    fn rate(&self) -> String {
        let tally = self.tally;
        let per_s = |count: u64| bytes(count as f64 * 1e9 / tally.measured_ns.max(1) as f64);
        let moved = format!("{}/s up, {}/s down", per_s(tally.bytes_up), per_s(tally.bytes_down));
        if self.facts.is_flow() {
            return moved;
        }
        let answers = if self.facts.is_open_loop() {
            format!("{:.1}/s of {:.1}/s offered (open loop)", tally.rate(), tally.offered_rate())
        } else {
            format!("{:.1}/s (closed loop)", tally.rate())
        };
        // Only connections, or a log that knew nothing of the bytes of answers.
        if tally.bytes_up + tally.bytes_down == 0 { answers } else { format!("{answers}; {moved}") }
    }

    fn counts(&self) -> String {
        let tally = self.tally;
        let name = if self.facts.is_flow() { "probes" } else { "answers" };
        let mut counts = format!("{name:<12} {}; errors {}", tally.answers(), tally.failed());
        for trouble in Trouble::ALL {
            let count = tally.errors[trouble as usize];
            if count > 0 {
                counts += &format!(", {} {count}", trouble.name());
            }
        }
        if tally.resumed > 0 {
            counts += &format!("; resumed {} of {} handshakes", tally.resumed, tally.handshake.len());
        }
        for (count, what) in [
            (tally.reordered, "reordered"),
            (tally.doubled, "doubled"),
            (tally.too_late, "too late"),
            (tally.unfinished, "unfinished"),
            (tally.unsent, "unsent"),
        ] {
            if count > 0 {
                counts += &format!("; {what} {count}");
            }
        }
        counts
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let (facts, tally) = (self.facts, self.tally);
        let early = if self.end.ended_early { " (ended early)" } else { "" };
        let mut lines = vec![
            format!("{}, {}{early}", facts.title(), people(tally.measured_ns as f64)),
            format!("rate         {}", self.rate()),
            self.counts(),
        ];
        if let Some(session) = &facts.tls {
            lines.push(format!("tls          {}", session.words()));
        }
        if facts.workload == "idle" {
            lines.push(format!("held         {} of {} connections", tally.open, facts.own_connections()));
        }
        let per = match (facts.is_flow(), self.cpu_per_mib_ns(), self.cpu_per_request_ns()) {
            (true, Some(ns), _) => Some(format!("{} of processor per MiB", people(ns))),
            (false, _, Some(ns)) => Some(format!("{} of processor per request", people(ns))),
            _ => None,
        };
        if let Some(per) = per {
            let late = match tally.late {
                0 => String::new(),
                late => format!("; {late} requests started late by its fault"),
            };
            let waited = match waited(facts, tally) * 100.0 {
                percent if percent < 1.0 => String::new(),
                percent => format!("; waited {percent:.0} % for a processor"),
            };
            lines.push(format!("own cost     {per}; busy {:.0} %{waited}{late}", busy(facts, tally) * 100.0));
        }
        if let Some(used) = &self.end.server {
            let cpu_ns = used.cpu_user_ns + used.cpu_system_ns;
            let each = if facts.is_flow() || tally.in_time == 0 {
                String::new()
            } else {
                format!(" ({} per request)", people(cpu_ns as f64 / tally.in_time as f64))
            };
            let processes = plural(used.processes, "process", "processes");
            lines.push(format!(
                "server       {} (pid {}, {processes}): processor {} user, {} system{each}",
                used.name,
                used.pid,
                people(used.cpu_user_ns as f64),
                people(used.cpu_system_ns as f64)
            ));
            lines.push(format!(
                "             memory {}; {} descriptors; context switches {} voluntary, {} not",
                bytes(used.memory_bytes as f64),
                used.descriptors,
                used.switches_voluntary,
                used.switches_involuntary
            ));
        }
        lines.extend(self.percentiles());
        lines
    }

    fn percentiles(&self) -> Vec<String> {
        let tally = self.tally;
        let mut columns: Vec<(&str, &Histogram<u64>)> = match () {
            () if self.facts.is_open_loop() => {
                vec![("since due", &tally.response), ("since sent", &tally.service)]
            }
            () if self.facts.is_flow() => vec![("round trip", &tally.service)],
            () => vec![("latency", &tally.service)],
        };
        columns.push(("first byte", &tally.first_byte));
        columns.push(("connect", &tally.connect));
        columns.push(("handshake", &tally.handshake));
        columns.retain(|(_, times)| !times.is_empty());
        if columns.is_empty() {
            return Vec::new();
        }
        let row = |name: &str, of: &dyn Fn(&Histogram<u64>) -> String| {
            let cells: String = columns.iter().map(|(_, times)| format!(" {:>12}", of(times))).collect();
            format!("{name:<12}{cells}")
        };
        let heads: String = columns.iter().map(|(name, _)| format!(" {name:>12}")).collect();
        let mut lines = vec![format!("{:<12}{heads}", "")];
        lines.push(row("min", &|times| people(times.min() as f64)));
        lines.push(row("mean", &|times| people(times.mean())));
        for (name, at) in PERCENTILES {
            lines.push(row(name, &|times| people(times.value_at_quantile(at) as f64)));
        }
        lines.push(row("max", &|times| people(times.max() as f64)));
        lines
    }

    pub(super) fn json(&self) -> Value {
        let (facts, tally) = (self.facts, self.tally);
        let errors: Map<String, Value> = Trouble::ALL
            .iter()
            .map(|trouble| (trouble.name().to_owned(), json!(tally.errors[*trouble as usize])))
            .collect();
        let due = if facts.is_open_loop() { times(&tally.response) } else { Value::Null };
        json!({
            "schema": "switchboard.load",
            "version": VERSION,
            "plan": facts,
            "open_loop": facts.is_open_loop(),
            "ended_early": self.end.ended_early,
            "measured_ns": tally.measured_ns,
            "offered": tally.offered,
            "started": tally.started,
            "answers": tally.answers(),
            "answers_in_time": tally.in_time,
            "unfinished": tally.unfinished,
            "unsent": tally.unsent,
            "reordered": tally.reordered,
            "doubled": tally.doubled,
            "too_late": tally.too_late,
            "errors": errors,
            "first_wrong_answer": tally.complaint,
            "first_obstacle": tally.obstacle,
            "first_tls_failure": tally.tls_failure,
            "open_connections": tally.open,
            "bytes_up": tally.bytes_up,
            "bytes_down": tally.bytes_down,
            "offered_rate_per_s": tally.offered_rate(),
            "rate_per_s": tally.rate(),
            "bytes_per_s": tally.bytes_rate(),
            "generator": {
                "cpu_ns": tally.cpu_ns,
                "cpu_per_request_ns": self.cpu_per_request_ns(),
                "busy": busy(facts, tally),
                "waited": waited(facts, tally),
                "late": tally.late,
                "saturated": self.end.saturated,
            },
            "server": self.end.server,
            "latency_since_due_ns": due,
            "latency_since_sent_ns": times(&tally.service),
            "first_byte_ns": times(&tally.first_byte),
            "connect_ns": times(&tally.connect),
            "handshake_ns": times(&tally.handshake),
            "handshakes_resumed": tally.resumed,
        })
    }
}

/// A distribution of times; `null` if there is none.
fn times(times: &Histogram<u64>) -> Value {
    if times.is_empty() {
        return Value::Null;
    }
    let mut map = Map::new();
    map.insert("count".into(), json!(times.len()));
    map.insert("min".into(), json!(times.min()));
    map.insert("mean".into(), json!(times.mean()));
    for (name, at) in PERCENTILES {
        map.insert(name.into(), json!(times.value_at_quantile(at)));
    }
    map.insert("max".into(), json!(times.max()));
    Value::Object(map)
}
