//! The figures of a report: percentiles of all runs, throughput over time, and a heat map for each run.

use super::Run;
use super::plot::{Plot, Scale};
use crate::command::load::heat::{Heat, floor_ns, strength};
use crate::command::load::record::Facts;
use crate::command::load::summary::{bytes, latency, people};
use hdrhistogram::Histogram;
use switchboard_net::load::Slice;

/// Columns of a heat map.
const MAP_COLUMNS: usize = 100;
/// Points of a percentile line in each factor of ten.
const POINTS_PER_TEN: usize = 24;

/// A picture with the name of its file.
pub(super) struct Figure {
    pub(super) id: String,
    pub(super) svg: String,
}

/// All that have something to show.
pub(super) fn all(runs: &[Run]) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(svg) = percentiles(runs) {
        figures.push(Figure { id: "percentiles".into(), svg });
    }
    // Bytes and answers have no axis in common.
    for (id, is_flow) in [("throughput", false), ("bytes", true)] {
        if let Some(svg) = throughput(runs, is_flow) {
            figures.push(Figure { id: id.into(), svg });
        }
    }
    for (index, run) in runs.iter().enumerate() {
        if let Some(svg) = heat(run) {
            figures.push(Figure { id: format!("latency-{}", index + 1), svg });
        }
    }
    figures
}

/// Points of a percentile line: 1 / (1 − quantile) and the time. The last is the longest time of all.
fn points(times: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let most = times.len().max(1) as f64;
    for step in 0.. {
        let x = 10_f64.powf(step as f64 / POINTS_PER_TEN as f64);
        if x >= most {
            break;
        }
        points.push((x, times.value_at_quantile(1.0 - 1.0 / x).max(1) as f64));
    }
    points.push((most, times.max().max(1) as f64));
    points
}

/// The one picture that settles which is better.
fn percentiles(runs: &[Run]) -> Option<String> {
    let totals: Vec<_> = runs.iter().map(|run| run.record.total()).collect();
    let all = || runs.iter().zip(&totals).map(|(run, total)| latency(&run.record.facts, total));
    let measured = || all().filter(|times| !times.is_empty());
    let least = measured().map(Histogram::min).min()?;
    let sent = |run: &Run| run.record.facts.is_open_loop();
    let sent_least =
        runs.iter().zip(&totals).filter(|(run, _)| sent(run)).map(|(_, total)| total.service.min()).min();
    let least = least.min(sent_least.unwrap_or(least)).max(1);
    let most = measured().map(Histogram::max).max()?;
    let count = measured().map(Histogram::len).max()?.max(10);
    let x = Scale::Log(1.0, count as f64);
    let mut x_ticks = vec![(1.0, "0 %".to_owned()), (2.0, "50 %".to_owned())];
    for nines in 1..=7_usize {
        let at = 10_f64.powi(nines as i32);
        if at <= count as f64 {
            let name = match nines {
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                _ => format!("99.{} %", "9".repeat(nines - 2)),
            };
            x_ticks.push((at, name));
        }
    }
    let y = Scale::decades(least as f64, most as f64);
    let y_ticks: Vec<_> = y.tens().into_iter().map(|ns| (ns, round(ns))).collect();
    let about = "Latency by percentile of all runs; both axes are logarithmic, and the percentiles by their distance from 100 %.";
    let lines = runs.iter().zip(&totals).enumerate();
    let lines = lines.filter(|(_, (run, total))| !latency(&run.record.facts, total).is_empty());
    let names: Vec<(usize, &str)> = lines.map(|(series, (run, _))| (series, run.name.as_str())).collect();
    let mut plot = Plot::new(
        "Latency by percentile",
        about,
        &names,
        430.0,
        (x, "percentile of answers", &x_ticks),
        (y, "latency", &y_ticks),
    );
    for (series, (run, total)) in runs.iter().zip(&totals).enumerate() {
        let times = latency(&run.record.facts, total);
        if times.is_empty() {
            continue;
        }
        if sent(run) && !total.service.is_empty() {
            let about = format!("{}: since sent (the wait for a stalled server is hidden)", run.name);
            plot.line(series, true, &about, &points(&total.service));
        }
        let p99 = people(times.value_at_quantile(0.99) as f64);
        plot.line(series, false, &format!("{}: p99 {p99}", run.name), &points(times));
    }
    Some(plot.finish())
}

/// A power of ten, as short as it goes.
fn round(ns: f64) -> String {
    match ns {
        _ if ns < 1e3 => format!("{ns:.0} ns"),
        _ if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        _ if ns < 1e9 => format!("{:.0} ms", ns / 1e6),
        _ => format!("{:.0} s", ns / 1e9),
    }
}

/// Bytes of a stream, or answers, per second.
fn rate_of(facts: &Facts, slice: &Slice) -> f64 {
    if facts.is_flow() { slice.tally.bytes_rate() } else { slice.tally.rate() }
}

fn rate_name(facts: &Facts, rate: f64) -> String {
    match rate {
        _ if facts.is_flow() => format!("{}/s", bytes(rate)),
        _ if rate >= 1e6 => format!("{:.1}M/s", rate / 1e6),
        _ if rate >= 1e4 => format!("{:.0}k/s", rate / 1e3),
        _ => format!("{rate:.0}/s"),
    }
}

/// Answers per second of the runs that have them, or bytes of those that are streams.
fn throughput(runs: &[Run], is_flow: bool) -> Option<String> {
    let shown: Vec<(usize, &Run)> =
        runs.iter().enumerate().filter(|(_, run)| run.record.facts.is_flow() == is_flow).collect();
    let first = &shown.first()?.1.record.facts;
    let names: Vec<(usize, &str)> = shown.iter().map(|(series, run)| (*series, run.name.as_str())).collect();
    let slices =
        || shown.iter().flat_map(|(_, run)| run.record.slices.iter().map(|slice| (&run.record.facts, slice)));
    let end_s = |slice: &Slice| slice.begin.as_secs_f64() + slice.tally.measured_ns as f64 / 1e9;
    let most_s = slices().map(|(_, slice)| end_s(slice)).reduce(f64::max)?;
    let most = slices().map(|(facts, slice)| rate_of(facts, slice)).reduce(f64::max)?;
    let (x, y) = (Scale::Linear(0.0, most_s), Scale::Linear(0.0, most.max(1.0) * 1.08));
    let x_ticks: Vec<_> = x.rounds().into_iter().map(|s| (s, seconds(s))).collect();
    let y_ticks: Vec<_> = y.rounds().into_iter().map(|rate| (rate, rate_name(first, rate))).collect();
    let mut plot = Plot::new(
        if is_flow { "Bytes of streams over time" } else { "Throughput over time" },
        "What came per second; triangles mark slices with errors.",
        &names,
        300.0,
        (x, "time since the measuring began", &x_ticks),
        (y, "per second", &y_ticks),
    );
    for (series, run) in &shown {
        let facts = &run.record.facts;
        // A step for each slice: what was measured is a mean over it, not a moment.
        let points: Vec<(f64, f64)> = run
            .record
            .slices
            .iter()
            .flat_map(|slice| {
                let rate = rate_of(facts, slice);
                [(slice.begin.as_secs_f64(), rate), (end_s(slice), rate)]
            })
            .collect();
        plot.line(*series, false, &run.name, &points);
        for slice in run.record.slices.iter().filter(|slice| slice.tally.failed() > 0) {
            let middle = (slice.begin.as_secs_f64() + end_s(slice)) / 2.0;
            plot.error(middle, &format!("{}: {} errors", run.name, slice.tally.failed()));
        }
    }
    Some(plot.finish())
}

fn seconds(s: f64) -> String {
    // Sums of parts of seconds are not exact.
    format!("{} s", (s * 1e3).round() / 1e3)
}

/// Latency over time: stalls that percentiles hide.
fn heat(run: &Run) -> Option<String> {
    let facts = &run.record.facts;
    let mut heat = Heat::new(MAP_COLUMNS);
    run.record.slices.iter().for_each(|slice| heat.add(latency(facts, &slice.tally)));
    let (low, high) = heat.rows()?;
    let most = heat.most();
    let column_s = facts.interval_ns.min(facts.duration_ns) as f64 / 1e9 * heat.slices_per_column() as f64;
    let (x, y) =
        (Scale::Linear(0.0, column_s * heat.width() as f64), Scale::Log(floor_ns(low), floor_ns(high + 1)));
    let x_ticks: Vec<_> = x.rounds().into_iter().map(|s| (s, seconds(s))).collect();
    let mut y_ticks: Vec<_> = Scale::decades(floor_ns(low), floor_ns(high + 1)).tens();
    y_ticks.retain(|ns| *ns >= floor_ns(low) * 0.999 && *ns <= floor_ns(high + 1) * 1.001);
    if y_ticks.len() < 2 {
        y_ticks = vec![floor_ns(low), floor_ns(high + 1)];
    }
    let y_ticks: Vec<_> = y_ticks.into_iter().map(|ns| (ns, round(ns))).collect();
    let mut plot = Plot::new(
        &format!("Latency over time: {}", run.name),
        "Every column is a slice of time, every row a range of latency; the stronger the colour, the more answers.",
        &[],
        300.0,
        (x, "time since the measuring began", &x_ticks),
        (y, "latency", &y_ticks),
    );
    for column in 0..heat.width() {
        for row in low..=high {
            let count = heat.count(column, row);
            if count == 0 {
                continue;
            }
            let left = column as f64 * column_s;
            let about = format!(
                "{}: {count} answers of {} to {}",
                seconds((left * 1e3).round() / 1e3),
                people(floor_ns(row)),
                people(floor_ns(row + 1))
            );
            let strength = 0.12 + 0.88 * strength(count, most);
            plot.cell((left, floor_ns(row)), (left + column_s, floor_ns(row + 1)), strength, &about);
        }
    }
    Some(plot.finish())
}
