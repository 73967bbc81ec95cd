//! The one place that writes to standard output: lines, and tables whose columns line up.

use crate::statistics::Spread;
use std::io::Write;

/// Writes a line at once. A reader who has left is no reason to stop: the servers must still be taken down in
/// order.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

/// The first column is a name and stands left, all others are numbers and stand right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|title| (*title).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            say(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
        }
    }
}

/// A count with separated thousands, or as many digits as it needs.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let grouped = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    grouped.collect::<Vec<_>>().join(",")
}

/// A ratio with its interquartile range: `0.98 [0.96 1.01]`.
pub(crate) fn ratio(spread: Option<Spread>) -> String {
    match spread {
        Some(Spread { low, median, high }) => format!("{median:.2} [{low:.2} {high:.2}]"),
        None => "-".to_owned(),
    }
}
