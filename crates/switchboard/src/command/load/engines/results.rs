//! What was found: samples by round, and what is shown of them as text and as JSON.

use super::advice::Advice;
use super::advice::capital;
use super::case::{Case, Course, Kind};
use super::contestant::Contestant;
use super::machine::{Disturbance, Machine};
use crate::report::Table;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use switchboard_net::load::{self, Spread};

/// What one server did in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Requests per second.
    pub(super) rate: f64,
    /// Processor time of the server for each, µs.
    pub(super) cpu_us: f64,
}

/// A server's rounds.
pub(super) struct Row {
    /// Connections that it had at once.
    pub(super) connections: usize,
    /// Why there is nothing.
    pub(super) missing: Option<String>,
    /// With the number of the round.
    pub(super) samples: Vec<(usize, Sample)>,
    /// Of all rounds together, ns.
    pub(super) times: Histogram<u64>,
    /// Requests without a right answer.
    pub(super) failed: u64,
    /// The server's memory without connections, and what each added, in bytes.
    pub(super) memory: Option<(u64, f64)>,
}

impl Row {
    pub(super) fn new(connections: usize) -> Row {
        Row { connections, missing: None, samples: Vec::new(), times: load::times(), failed: 0, memory: None }
    }

    pub(super) fn rate(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(|(_, sample)| sample.rate))
    }

    pub(super) fn cpu_us(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(|(_, sample)| sample.cpu_us))
    }

    /// Latency at a quantile, µs.
    pub(super) fn time_us(&self, quantile: f64) -> Option<f64> {
        (!self.times.is_empty()).then(|| self.times.value_at_quantile(quantile) as f64 / 1e3)
    }

    /// This server over another, round by round: what disturbs one disturbs the other.
    pub(super) fn over(&self, other: &Row, value: impl Fn(Sample) -> f64) -> Option<Spread> {
        let same = |round: usize| other.samples.iter().find(|(number, _)| *number == round);
        Spread::of(
            self.samples
                .iter()
                .filter_map(|(round, sample)| same(*round).map(|(_, other)| value(*sample) / value(*other))),
        )
    }

    /// Bytes that it would have with so many connections.
    pub(super) fn bytes_at(&self, connections: usize) -> Option<f64> {
        self.memory.map(|(before, each)| before as f64 + each * connections as f64)
    }
}

/// All rows of a case, in the order of the contestants.
pub(super) struct Findings {
    pub(super) case: &'static Case,
    pub(super) connections: usize,
    pub(super) rows: Vec<Row>,
    pub(super) disturbance: Disturbance,
}

/// Everything that is shown.
pub(super) struct Report<'a> {
    pub(super) machine: &'a Machine,
    pub(super) contestants: &'a [Contestant],
    pub(super) findings: Vec<Findings>,
    pub(super) advice: Vec<Advice>,
    pub(super) course: &'a Course<'a>,
    /// It was ended before its time.
    pub(super) cut: bool,
}

impl Report<'_> {
    /// Whether nothing was measured.
    pub(super) fn is_empty(&self) -> bool {
        let rows = self.findings.iter().flat_map(|findings| &findings.rows);
        rows.filter(|row| row.missing.is_none()).count() == 0
    }

    pub(super) fn place(&self) -> String {
        let list = |cpus: &[usize]| cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let shared = if self.machine.is_shared() {
            "; one processor for both ends: rates compare, and are not what either could do alone"
        } else {
            ""
        };
        format!(
            "Linux {}: servers on processor {}, clients on {}; {} rounds of {} ms{shared}",
            self.machine.kernel,
            list(&self.machine.servers),
            list(&self.machine.clients),
            self.course.rounds,
            self.course.duration.as_millis()
        )
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.place()];
        for findings in &self.findings {
            lines.push(String::new());
            lines.push(findings.heading());
            lines.push(findings.table(self.contestants).to_string());
            lines.extend(findings.remarks(self.contestants));
        }
        lines.push(String::new());
        lines.extend(self.advice.iter().map(|advice| advice.sentence.clone()));
        if self.cut {
            lines.push("The run was ended before its time.".to_owned());
        }
        lines
    }

    /// For programs; docs/json.md describes it.
    pub(super) fn json(&self) -> Value {
        let case = |findings: &Findings| {
            let rows = findings.rows.iter().zip(self.contestants);
            json!({
                "name": findings.case.name,
                "connections": findings.connections,
                "foreign": findings.disturbance.foreign,
                "stolen": findings.disturbance.stolen,
                "disturbed": findings.disturbance.is_too_much(),
                "servers": rows.map(|(row, contestant)| row.json(contestant)).collect::<Vec<_>>(),
            })
        };
        json!({
            "version": 1,
            "what": "engines",
            "kernel": self.machine.kernel,
            "server_processors": self.machine.servers,
            "client_processors": self.machine.clients,
            "rounds": self.course.rounds,
            "duration_ms": self.course.duration.as_millis() as u64,
            "cut": self.cut,
            "cases": self.findings.iter().map(case).collect::<Vec<_>>(),
            "advice": self.advice.iter().map(Advice::json).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn json(&self, contestant: &Contestant) -> Value {
        let spread = |spread: Option<Spread>| {
            spread.map(|spread| json!({"low": spread.low, "median": spread.median, "high": spread.high}))
        };
        json!({
            "name": contestant.title,
            "engine": contestant.engine_name(),
            "workers": contestant.workers(),
            "busy_poll": contestant.is_busy(),
            "connections": self.connections,
            "missing": self.missing,
            "rate_per_s": spread(self.rate()),
            "cpu_us": spread(self.cpu_us()),
            "p50_us": self.time_us(0.5),
            "p99_us": self.time_us(0.99),
            "p999_us": self.time_us(0.999),
            "failed": self.failed,
            "bytes_before": self.memory.map(|(before, _)| before),
            "bytes_each": self.memory.map(|(_, each)| each),
        })
    }
}

impl Findings {
    pub(super) fn heading(&self) -> String {
        match self.case.kind {
            Kind::Hold => format!("{} {}", number(self.connections as f64), self.case.title),
            _ => format!("{}, 64 bytes there and back", capital(self.case.title)),
        }
    }

    /// The columns of this case.
    pub(super) fn columns(&self) -> Vec<&'static str> {
        match self.case.kind {
            Kind::Hold => vec!["server", "bytes each", "MiB then", "measured with"],
            Kind::Ask => vec!["server", "requests/s", "CPU µs", "p50 µs", "p99 µs", "p99.9 µs"],
            Kind::Connect => vec!["server", "connections/s", "CPU µs", "p50 µs", "p99 µs", "p99.9 µs"],
        }
    }

    /// The cells of a server that has something to show.
    pub(super) fn cells(&self, row: &Row, contestant: &Contestant) -> Option<Vec<String>> {
        let mut cells = vec![contestant.title.clone()];
        let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
        if row.missing.is_some() {
            return None;
        }
        if self.case.kind == Kind::Hold {
            let then = row.bytes_at(self.connections).map(|bytes| bytes / f64::from(1 << 20));
            cells.extend([shown(row.memory.map(|(_, each)| each)), shown(then)]);
            cells.push(row.connections.to_string());
        } else {
            cells.push(shown(row.rate().map(|rate| rate.median)));
            cells.push(shown(row.cpu_us().map(|cpu| cpu.median)));
            cells.extend([0.5, 0.99, 0.999].map(|quantile| shown(row.time_us(quantile))));
        }
        Some(cells)
    }

    fn table(&self, contestants: &[Contestant]) -> Table {
        let mut table = Table::new(&self.columns());
        let rows = self.rows.iter().zip(contestants);
        rows.filter_map(|(row, contestant)| self.cells(row, contestant)).for_each(|cells| table.push(cells));
        table
    }

    /// Who is left out and why, what failed, what disturbed.
    pub(super) fn remarks(&self, contestants: &[Contestant]) -> Vec<String> {
        let mut remarks = Vec::new();
        for (row, contestant) in self.rows.iter().zip(contestants) {
            if let Some(missing) = &row.missing {
                remarks.push(format!("{} is left out: {missing}", contestant.title));
            }
            if row.failed > 0 {
                remarks.push(format!("{}: {} requests had no right answer", contestant.title, row.failed));
            }
        }
        if self.disturbance.is_too_much() {
            remarks.push(format!(
                "DISTURBED: other work had {:.0} % of the processors, the host {:.0} %: nothing is concluded",
                self.disturbance.foreign * 100.0,
                self.disturbance.stolen * 100.0
            ));
        }
        remarks
    }
}

/// A count with separated thousands, or as many digits as it needs.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_compared_within_rounds_that_both_had() {
        let row = |rates: &[(usize, f64)]| {
            let mut row = Row::new(1);
            row.samples =
                rates.iter().map(|(round, rate)| (*round, Sample { rate: *rate, cpu_us: 1.0 })).collect();
            row
        };
        // The second round was slow for both; the third is missing in one.
        let (a, b) = (row(&[(0, 200.0), (1, 20.0), (2, 900.0)]), row(&[(0, 100.0), (1, 10.0)]));
        let ratio = a.over(&b, |sample| sample.rate).expect("two rounds");
        assert_eq!(ratio, Spread { low: 2.0, median: 2.0, high: 2.0 });
        assert_eq!(row(&[]).over(&b, |sample| sample.rate), None);
    }

    #[test]
    fn numbers_are_read_by_people() {
        assert_eq!(
            [1.25, 99.96, 1_234.4, 1_234_567.0, f64::NAN].map(number),
            ["1.2", "100.0", "1,234", "1,234,567", "–"]
        );
    }
}
