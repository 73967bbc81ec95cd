//! Pictures of a case, as SVG: bars with the spread of the rounds, and latencies from the middle to the far end.

use super::case::Kind;
use super::contestant::Contestant;
use super::results::{Findings, number};
use std::fmt::Write;
use switchboard_lab::render::svg::escaped;
use switchboard_net::load::Spread;

const WIDTH: f64 = 760.0;
/// Where bars begin, and end at most.
const LEFT: f64 = 130.0;
const RIGHT: f64 = 640.0;
const LINE: f64 = 26.0;
const HEAD: f64 = 34.0;

pub(super) const STYLE: &str = "\
.figure text { font: 13px system-ui, \"DejaVu Sans\", sans-serif; fill: var(--text); }\n\
.figure .name { text-anchor: end; }\n\
.figure .title { font-weight: 600; }\n\
.figure .quiet { fill: var(--quiet); font-size: 12px; }\n\
.figure .own { fill: var(--own); }\n\
.figure .peer { fill: var(--peer); }\n\
.figure .spread { stroke: var(--text); stroke-width: 1.5; }\n\
.figure .grid { stroke: var(--border); }\n\
.figure .way { stroke: var(--quiet); stroke-width: 2; }\n";

struct Bar<'a> {
    contestant: &'a Contestant,
    spread: Spread,
    label: String,
}

/// Rates, or memory: how much of it each server has.
pub(super) fn bars(findings: &Findings, contestants: &[Contestant]) -> Option<String> {
    let hold = findings.case.kind == Kind::Hold;
    let mut bars = Vec::new();
    for (row, contestant) in findings.rows.iter().zip(contestants).filter(|(row, _)| row.missing.is_none()) {
        if hold {
            let Some((_, each)) = row.memory else { continue };
            let spread = Spread { low: each, median: each, high: each };
            bars.push(Bar { contestant, spread, label: format!("{} bytes", number(each)) });
        } else if let Some(spread) = row.rate() {
            let cpu = row.cpu_us().map_or_else(|| "–".to_owned(), |cpu| number(cpu.median));
            bars.push(Bar { contestant, spread, label: format!("{} · {cpu} µs", number(spread.median)) });
        }
    }
    let most = bars.iter().map(|bar| bar.spread.high).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let title = match findings.case.kind {
        Kind::Hold => "Memory of the server for each connection (less is better)",
        Kind::Ask => {
            "Requests per second, and processor time of the server for each (bar: middle of the rounds)"
        }
        Kind::Connect => "Connections per second, and processor time of the server for each",
    };
    let mut out = head(title, bars.len());
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value / most).clamp(0.0, 1.0);
    for (line, bar) in bars.iter().enumerate() {
        let y = HEAD + LINE * line as f64;
        let class = if bar.contestant.is_own() { "own" } else { "peer" };
        let (low, median, high) = (x(bar.spread.low), x(bar.spread.median), x(bar.spread.high));
        name(&mut out, y, bar.contestant);
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\" rx=\"2\"/>",
            y + 4.0,
            (median - LEFT).max(1.0)
        );
        if high - low > 1.0 {
            let middle = y + 12.0;
            let _ = writeln!(
                out,
                "<line class=\"spread\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>"
            );
        }
        let _ = writeln!(
            out,
            "<text class=\"quiet\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            high.max(median) + 6.0,
            y + 16.5,
            escaped(&bar.label)
        );
    }
    out.push_str("</svg>\n");
    Some(out)
}

/// Latencies: p50, p99 and p99.9 of each server on a logarithmic axis.
pub(super) fn latencies(findings: &Findings, contestants: &[Contestant]) -> Option<String> {
    const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
    let rows: Vec<(&Contestant, Vec<f64>)> = findings
        .rows
        .iter()
        .zip(contestants)
        .map(|(row, contestant)| {
            (contestant, QUANTILES.iter().filter_map(|quantile| row.time_us(*quantile)).collect::<Vec<f64>>())
        })
        .filter(|(_, times)| times.len() == QUANTILES.len())
        .collect();
    let times = || rows.iter().flat_map(|(_, times)| times.iter().copied());
    let least = times().fold(f64::INFINITY, f64::min).max(0.1).log10().floor();
    let most = times().fold(0.0, f64::max).max(1.0).log10().ceil().max(least + 1.0);
    if rows.is_empty() {
        return None;
    }
    let mut out = head("Latency: p50, p99, p99.9 (the axis is logarithmic, less is better)", rows.len() + 1);
    let x = |time_us: f64| LEFT + (RIGHT - LEFT) * (time_us.max(0.1).log10() - least) / (most - least);
    let foot = HEAD + LINE * rows.len() as f64;
    for power in least as i32..=most as i32 {
        let at = x(10_f64.powi(power));
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{HEAD}\" y2=\"{foot:.1}\"/>\n\
             <text class=\"quiet\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            foot + 16.0,
            duration(10_f64.powi(power))
        );
    }
    for (line, (contestant, times)) in rows.iter().enumerate() {
        let y = HEAD + LINE * line as f64;
        let middle = y + 12.0;
        let class = if contestant.is_own() { "own" } else { "peer" };
        name(&mut out, y, contestant);
        let _ = writeln!(
            out,
            "<line class=\"way\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>",
            x(times[0]),
            x(times[2])
        );
        for (time, (size, what)) in times.iter().zip([(6.0, "p50"), (4.5, "p99"), (3.0, "p99.9")]) {
            let _ = writeln!(
                out,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"{size}\"><title>{what} {} µs</title></circle>",
                x(*time),
                number(*time)
            );
        }
    }
    out.push_str("</svg>\n");
    Some(out)
}

fn head(title: &str, lines: usize) -> String {
    let height = HEAD + LINE * lines as f64 + 8.0;
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{title}\">\n<text class=\"title\" x=\"0\" y=\"18\">{title}</text>\n"
    )
}

fn name(out: &mut String, y: f64, contestant: &Contestant) {
    let _ = writeln!(
        out,
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        LEFT - 8.0,
        y + 16.5,
        escaped(&contestant.title)
    );
}

fn duration(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}
