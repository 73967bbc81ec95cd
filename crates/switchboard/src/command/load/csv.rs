//! `--csv`: a row for every slice of time, for spreadsheets and plotting programs. Times are in nanoseconds.

use super::record::Facts;
use super::summary::{PERCENTILES, latency};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use switchboard_net::load::{Slice, Trouble};

pub(super) struct Csv {
    out: BufWriter<File>,
}

impl Csv {
    pub(super) fn begin(file: File) -> io::Result<Csv> {
        let mut out = BufWriter::new(file);
        let mut head = vec![
            "begin_s",
            "length_s",
            "offered",
            "started",
            "answers",
            "answers_in_time",
            "bytes_up",
            "bytes_down",
            "open",
        ];
        head.extend(["unsent", "reordered", "doubled", "too_late", "generator_cpu_ns"]);
        head.extend(Trouble::ALL.map(Trouble::name));
        head.push("min_ns");
        let percentiles = PERCENTILES.map(|(name, _)| format!("{}_ns", name.replace('.', "_")));
        head.extend(percentiles.iter().map(String::as_str));
        head.push("max_ns");
        writeln!(out, "{}", head.join(","))?;
        out.flush()?;
        Ok(Csv { out })
    }

    pub(super) fn slice(&mut self, facts: &Facts, slice: &Slice) -> io::Result<()> {
        let tally = &slice.tally;
        let times = latency(facts, tally);
        let mut cells = vec![
            format!("{:.3}", slice.begin.as_secs_f64()),
            format!("{:.3}", tally.measured_ns as f64 / 1e9),
        ];
        let counts = [
            tally.offered,
            tally.started,
            tally.answers(),
            tally.in_time,
            tally.bytes_up,
            tally.bytes_down,
            tally.open,
            tally.unsent,
            tally.reordered,
            tally.doubled,
            tally.too_late,
            tally.cpu_ns,
        ];
        cells.extend(counts.iter().chain(&tally.errors).map(u64::to_string));
        // Nobody's time is an empty cell, not 0.
        let quantiles = [0.0].into_iter().chain(PERCENTILES.map(|(_, at)| at)).chain([1.0]);
        cells.extend(quantiles.map(|at| match times.is_empty() {
            true => String::new(),
            false if at == 0.0 => times.min().to_string(),
            false if at == 1.0 => times.max().to_string(),
            false => times.value_at_quantile(at).to_string(),
        }));
        writeln!(self.out, "{}", cells.join(","))?;
        self.out.flush()
    }
}
