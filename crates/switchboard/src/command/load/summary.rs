//! [`Summary`]: what a run found, for people and, under a fixed name and version, for programs.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use switchboard_net::load::{Plan, Tally, Trouble, sizes_written};

/// Of the form of `--format json`. It counts up when a field changes its meaning or goes away.
const VERSION: u64 = 1;

/// Which percentiles are told, with their keys.
const PERCENTILES: [(&str, f64); 8] = [
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
/// The same for the part of the requests that they started late.
const LATE: f64 = 0.01;

pub(super) struct Summary<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tally: &'a Tally,
    /// Whether it was ended before its time.
    pub(super) is_cut: bool,
}

/// The times that count: in an open loop those from when requests were due.
pub(super) fn latency<'a>(plan: &Plan, tally: &'a Tally) -> &'a Histogram<u64> {
    if plan.rate_per_s.is_some() { &tally.response } else { &tally.service }
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

impl Summary<'_> {
    /// Why the numbers may be the generator's own, if so.
    pub(super) fn saturation(&self) -> Option<String> {
        let tally = self.tally;
        let busy = self.busy();
        let late = tally.late as f64 / tally.started.max(1) as f64;
        let because = match () {
            () if late > LATE => {
                format!(
                    "{:.1} % of the requests started more than 1 ms late though a connection was free",
                    late * 100.0
                )
            }
            () if busy > BUSY => format!("its workers were busy {:.0} % of the time", busy * 100.0),
            () => return None,
        };
        Some(format!(
            "GENERATOR SATURATED: {because}. These numbers are the generator's, not the server's: \
             use more --workers or processors, or a lower --rate"
        ))
    }

    fn busy(&self) -> f64 {
        let time_ns = self.tally.measured_ns.max(1) as f64 * self.plan.workers as f64;
        self.tally.cpu_ns as f64 / time_ns
    }

    fn cpu_per_request_ns(&self) -> Option<f64> {
        (self.tally.in_time > 0).then(|| self.tally.cpu_ns as f64 / self.tally.in_time as f64)
    }

    fn workload(&self) -> &'static str {
        self.plan.errand.workload.name
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let (plan, tally) = (self.plan, self.tally);
        let mut lines = vec![format!(
            "{}: {} of {} bytes, {} connections, {} workers, {}{}",
            plan.address,
            self.workload(),
            sizes_written(&plan.errand.sizes),
            plan.connections,
            plan.workers,
            people(tally.measured_ns as f64),
            if self.is_cut { " (ended early)" } else { "" },
        )];
        lines.push(match plan.rate_per_s {
            Some(_) => {
                format!(
                    "rate         {:.1}/s of {:.1}/s offered (open loop)",
                    tally.rate(),
                    tally.offered_rate()
                )
            }
            None => format!("rate         {:.1}/s (closed loop)", tally.rate()),
        });
        let mut counts = format!("answers      {}; errors {}", tally.answers(), tally.failed());
        for trouble in Trouble::ALL {
            let count = tally.errors[trouble as usize];
            if count > 0 {
                counts += &format!(", {} {count}", trouble.name());
            }
        }
        if tally.unfinished > 0 {
            counts += &format!("; unfinished {}", tally.unfinished);
        }
        if tally.offered > tally.started {
            counts += &format!("; never started {}", tally.offered - tally.started);
        }
        lines.push(counts);
        if let Some(ns) = self.cpu_per_request_ns() {
            lines.push(format!(
                "own cost     {} of processor per request; busy {:.0} %",
                people(ns),
                self.busy() * 100.0
            ));
        }
        let mut columns: Vec<(&str, &Histogram<u64>)> = match plan.rate_per_s {
            Some(_) => vec![("since due", &tally.response), ("since sent", &tally.service)],
            None => vec![("latency", &tally.service)],
        };
        columns.push(("first byte", &tally.first_byte));
        columns.push(("connect", &tally.connect));
        columns.retain(|(_, times)| !times.is_empty());
        if columns.is_empty() {
            return lines;
        }
        let row = |name: &str, of: &dyn Fn(&Histogram<u64>) -> String| {
            let cells: String = columns.iter().map(|(_, times)| format!(" {:>12}", of(times))).collect();
            format!("{name:<12}{cells}")
        };
        let heads: String = columns.iter().map(|(name, _)| format!(" {name:>12}")).collect();
        lines.push(format!("{:<12}{heads}", ""));
        lines.push(row("min", &|times| people(times.min() as f64)));
        lines.push(row("mean", &|times| people(times.mean())));
        for (name, at) in PERCENTILES {
            lines.push(row(name, &|times| people(times.value_at_quantile(at) as f64)));
        }
        lines.push(row("max", &|times| people(times.max() as f64)));
        lines
    }

    pub(super) fn json(&self) -> Value {
        let (plan, tally) = (self.plan, self.tally);
        let errors: Map<String, Value> = Trouble::ALL
            .iter()
            .map(|trouble| (trouble.name().to_owned(), json!(tally.errors[*trouble as usize])))
            .collect();
        let due = if plan.rate_per_s.is_some() { times(&tally.response) } else { Value::Null };
        json!({
            "schema": "switchboard.load",
            "version": VERSION,
            "endpoint": plan.address.to_string(),
            "workload": self.workload(),
            "size": sizes_written(&plan.errand.sizes),
            "connections": plan.connections,
            "workers": plan.workers,
            "depth": plan.depth,
            "open_loop": plan.rate_per_s.is_some(),
            "asked_rate_per_s": plan.rate_per_s,
            "ended_early": self.is_cut,
            "measured_ns": tally.measured_ns,
            "offered": tally.offered,
            "started": tally.started,
            "answers": tally.answers(),
            "answers_in_time": tally.in_time,
            "unfinished": tally.unfinished,
            "errors": errors,
            "offered_rate_per_s": tally.offered_rate(),
            "rate_per_s": tally.rate(),
            "generator": {
                "cpu_ns": tally.cpu_ns,
                "cpu_per_request_ns": self.cpu_per_request_ns(),
                "late": tally.late,
                "saturated": self.saturation().is_some(),
            },
            "latency_since_due_ns": due,
            "latency_since_sent_ns": times(&tally.service),
            "first_byte_ns": times(&tally.first_byte),
            "connect_ns": times(&tally.connect),
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
