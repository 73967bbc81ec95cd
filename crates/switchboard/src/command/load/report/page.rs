//! The page: table, figures, command lines, machine, and the numbers themselves for programs, in one file.
//!
//! It fetches nothing and runs nothing, which a content security policy says.

use super::Run;
use super::figures::Figure;
use super::plot::STYLE as PLOT_STYLE;
use crate::command::load::summary::{PERCENTILES, Summary, bytes, latency, people};
use hdrhistogram::Histogram;
use std::fmt::Write;
use switchboard_lab::render::html::head;
use switchboard_lab::render::svg::escaped;
use switchboard_net::load::{Tally, Trouble};

const STYLE: &str = include_str!("page.css");

pub(super) fn document(title: &str, runs: &[Run], figures: &[Figure]) -> String {
    let totals: Vec<Tally> = runs.iter().map(|run| run.record.total()).collect();
    let mut out = String::new();
    head(&mut out, title, &[STYLE, PLOT_STYLE], false);
    let _ = writeln!(out, "<h1>{}</h1>", escaped(title));
    for run in runs {
        let _ = writeln!(
            out,
            "<p class=\"quiet\"><b>{}</b> {}</p>",
            escaped(&run.name),
            escaped(&run.record.facts.title())
        );
    }
    for (run, total) in runs.iter().zip(&totals) {
        let summary = Summary { facts: &run.record.facts, tally: total, end: &run.record.end };
        for warning in summary.warnings() {
            let _ = writeln!(out, "<p class=\"warning\">{}: {}</p>", escaped(&run.name), escaped(&warning));
        }
    }
    out.push_str("<h2>Results</h2>\n<div class=\"wide\">\n");
    table(&mut out, runs, &totals);
    out.push_str("</div>\n<h2>Figures</h2>\n");
    if runs.iter().any(|run| run.record.facts.is_open_loop()) {
        out.push_str(
            "<p class=\"quiet\">Latency counts from when requests were due; dotted: from when they were sent, which hides \
             the wait for a server that stalls.</p>\n",
        );
    }
    for figure in figures {
        let _ = writeln!(out, "<figure id=\"{}\">\n{}</figure>", figure.id, figure.svg);
    }
    out.push_str("<h2>How it was measured</h2>\n<dl>\n");
    for run in runs {
        let facts = &run.record.facts;
        let machine = &facts.machine;
        let _ = writeln!(
            out,
            "<dt>{}</dt>\n<dd><pre>{}</pre>{}, {} processors{}{}</dd>",
            escaped(&run.name),
            escaped(&facts.command),
            escaped(&machine.kernel),
            machine.processors,
            if machine.processor.is_empty() { "" } else { " of " },
            escaped(&machine.processor)
        );
    }
    out.push_str("</dl>\n");
    for (index, (run, total)) in runs.iter().zip(&totals).enumerate() {
        let summary = Summary { facts: &run.record.facts, tally: total, end: &run.record.end };
        // Within a script only `<` could end it.
        let json = summary.json().to_string().replace('<', "\\u003c");
        let _ = writeln!(out, "<script type=\"application/json\" id=\"run-{}\">{json}</script>", index + 1);
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn table(out: &mut String, runs: &[Run], totals: &[Tally]) {
    out.push_str("<table>\n<thead><tr><th></th>");
    for run in runs {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(&run.name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let mut row = |name: &str, cell: &dyn Fn(&Run, &Tally) -> Option<String>| {
        let cells: Vec<Option<String>> =
            runs.iter().zip(totals).map(|(run, total)| cell(run, total)).collect();
        if cells.iter().all(Option::is_none) {
            return;
        }
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escaped(name));
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", cell.map_or_else(|| "–".to_owned(), |text| escaped(&text)));
        }
        out.push_str("</tr>\n");
    };
    let is_flow = |run: &Run| run.record.facts.is_flow();
    row("answers per second", &|run, total| (!is_flow(run)).then(|| format!("{:.1}", total.rate())));
    row("bytes per second", &|run, total| {
        (is_flow(run) || total.bytes_rate() > 0.0).then(|| bytes(total.bytes_rate()))
    });
    row("offered per second", &|run, total| {
        run.record.facts.is_open_loop().then(|| format!("{:.1}", total.offered_rate()))
    });
    row("answers", &|_, total| Some(total.answers().to_string()));
    row("errors", &|_, total| Some(total.failed().to_string()));
    row("unsent", &|run, total| {
        (run.record.facts.is_open_loop() && total.unsent > 0).then(|| total.unsent.to_string())
    });
    for trouble in Trouble::ALL {
        row(&format!("  {}", trouble.name().replace('_', " ")), &|_, total| {
            let count = total.errors[trouble as usize];
            (count > 0).then(|| count.to_string())
        });
    }
    let time = |of: &dyn Fn(&Histogram<u64>) -> f64, run: &Run, total: &Tally| {
        let times = latency(&run.record.facts, total);
        (!times.is_empty()).then(|| people(of(times)))
    };
    row("latency: min", &|run, total| time(&|times| times.min() as f64, run, total));
    row("mean", &|run, total| time(&Histogram::mean, run, total));
    for (name, at) in PERCENTILES {
        row(name, &|run, total| time(&|times| times.value_at_quantile(at) as f64, run, total));
    }
    row("max", &|run, total| time(&|times| times.max() as f64, run, total));
    for (name, of) in [
        ("first byte", (|total| &total.first_byte) as fn(&Tally) -> &Histogram<u64>),
        ("connect", |total| &total.connect),
        ("TLS handshake", |total| &total.handshake),
    ] {
        for (which, at) in [("p50", 0.5), ("p99", 0.99)] {
            row(&format!("{name}: {which}"), &|_, total| {
                let times = of(total);
                (!times.is_empty()).then(|| people(times.value_at_quantile(at) as f64))
            });
        }
    }
    row("generator's processor time per answer", &|run, total| {
        (!is_flow(run) && total.in_time > 0).then(|| people(total.cpu_ns as f64 / total.in_time as f64))
    });
    row("server's processor time per answer", &|run, total| {
        let used = run.record.end.server.as_ref().filter(|_| !is_flow(run) && total.in_time > 0)?;
        Some(people((used.cpu_user_ns + used.cpu_system_ns) as f64 / total.in_time as f64))
    });
    row("server's memory", &|run, _| {
        run.record.end.server.as_ref().map(|used| bytes(used.memory_bytes as f64))
    });
    out.push_str("</tbody>\n</table>\n");
}
