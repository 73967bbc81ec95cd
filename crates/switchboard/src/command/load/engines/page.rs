//! The report as a page: one file, light and dark, readable without scripts; it fetches nothing.

use super::figure;
use super::results::Report;
use std::fmt::Write;
use switchboard_lab::render::html::head;
use switchboard_lab::render::svg::escaped;

const STYLE: &str = "\
:root { --page: #ffffff; --text: #1b2430; --quiet: #5d6878; --border: #d3dae3; --tint: #f5f7fa; --own: #0072b2; \
--peer: #b5651d; --bad: #b93a07; }\n\
@media (prefers-color-scheme: dark) { :root { --page: #10151c; --text: #e3e8ef; --quiet: #98a3b3; --border: #313b48; \
--tint: #171e27; --own: #56a8dc; --peer: #dc9a5c; --bad: #ff8a5c; } }\n\
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 860px; background: var(--page); color: var(--text); \
font: 15px/1.5 system-ui, \"DejaVu Sans\", sans-serif; }\n\
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 3rem 0 .6rem; font-size: 1.3rem; }\n\
.quiet { color: var(--quiet); } .bad { color: var(--bad); font-weight: 600; }\n\
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }\n\
th, td { padding: .3rem .6rem; border-top: 1px solid var(--border); text-align: right; }\n\
th:first-child { text-align: left; } thead th { border-top: 0; color: var(--quiet); font-size: .85rem; }\n\
.advice { padding: .6rem 1rem .6rem 2rem; border-left: 4px solid var(--own); background: var(--tint); }\n\
.figure { overflow-x: auto; margin: 1rem 0; }\n\
@media print { h2 { break-after: avoid; } .figure { break-inside: avoid; } }\n";

pub(super) fn of(report: &Report<'_>) -> String {
    let mut out = String::new();
    head(&mut out, "Engines compared", &[STYLE, figure::STYLE], false);
    let _ = write!(out, "<h1>Engines compared</h1>\n<p class=\"quiet\">{}</p>\n", escaped(&report.place()));
    out.push_str("<ul class=\"advice\">\n");
    for advice in &report.advice {
        let _ = writeln!(out, "<li>{}</li>", escaped(&advice.sentence));
    }
    out.push_str("</ul>\n");
    if report.cut {
        out.push_str("<p class=\"bad\">The run was ended before its time.</p>\n");
    }
    for findings in &report.findings {
        let _ = writeln!(
            out,
            "<section id=\"{}\">\n<h2>{}</h2>",
            findings.case.name,
            escaped(&findings.heading())
        );
        let figures = [figure::bars, figure::latencies].map(|draw| draw(findings, report.contestants));
        for figure in figures.into_iter().flatten() {
            let _ = writeln!(out, "<div class=\"figure\">\n{figure}</div>");
        }
        out.push_str("<div class=\"figure\">\n<table>\n<thead><tr>");
        for column in findings.columns() {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(column));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for (row, contestant) in findings.rows.iter().zip(report.contestants) {
            let Some(cells) = findings.cells(row, contestant) else { continue };
            for (place, cell) in cells.iter().enumerate() {
                let (open, close) =
                    if place == 0 { ("<tr><th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
                let _ = write!(out, "{open}{}{close}", escaped(cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>\n</table>\n</div>\n");
        for remark in findings.remarks(report.contestants) {
            let class = if remark.starts_with("DISTURBED") { "bad" } else { "quiet" };
            let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escaped(&remark));
        }
        out.push_str("</section>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}
