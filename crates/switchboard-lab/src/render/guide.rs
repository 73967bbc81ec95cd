//! The field guide: a small site with a page for each case, made from scenarios and from what was seen when they ran.
//!
//! Pages fetch nothing but their style sheet beside them, and have no script. What is on them comes from three places
//! only: the scenario's file, the arithmetic of [`formula`](crate::formula), and recordings.

use super::finding::{Chapter, Finding};
use super::ladder::Ladder;
use super::svg;
use super::wording::escaped;
use crate::formula::DEFAULT;
use crate::judge::{KINDS, Kind};
use crate::run::{Cast, Outcome};
use crate::scenario::{Part, Scenario};
use std::fmt::Write;

const STYLE: &str = include_str!("guide/style.css");
/// The longest picture that a page shows, in bytes; of a longer one it says how to see it.
const MOST_FIGURE: usize = 64 << 10;

/// A case and its runs.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The case.
    pub scenario: &'a Scenario,
    /// What came of it, for each cast that was run.
    pub outcomes: Vec<&'a Outcome>,
}

/// The site: file names and what is in them. The first is the index.
pub fn site(pages: &[Page<'_>]) -> Vec<(String, String)> {
    let mut files = vec![("index.html".to_owned(), index(pages))];
    files.push(("style.css".to_owned(), format!("{STYLE}{}", svg::STYLE)));
    for (at, page) in pages.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| pages.get(before));
        files.push((file(page.scenario), case(page, before, pages.get(at + 1))));
    }
    files
}

fn file(scenario: &Scenario) -> String {
    format!("{}.html", scenario.id)
}

fn head(out: &mut String, title: &str) {
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <link rel=\"stylesheet\" href=\"style.css\">\n</head>\n<body>\n",
        escaped(title)
    );
}

fn index(pages: &[Page<'_>]) -> String {
    let mut out = String::new();
    head(&mut out, "A field guide to failures of networks");
    let kernel = pages.iter().flat_map(|page| &page.outcomes).next();
    let kernel = kernel.map_or("?", |outcome| outcome.recording.header.kernel.as_str());
    // What a distribution adds to the version says nothing here.
    let kernel = kernel.split('-').next().unwrap_or(kernel);
    let _ = write!(
        out,
        "<header>\n<h1>A field guide to failures of networks</h1>\n<p class=\"lead\">What Linux does when a peer, a host \
         or a line fails, what a program sees of it, and what it should do. Every picture is a recording: the cases were \
         run on Linux {} by <code>switchboard lab guide</code>, between simulated hosts, with compressed time-outs; the \
         figures beside them are those of an untouched system.</p>\n</header>\n<main>\n<ol class=\"cases\">\n",
        escaped(kernel)
    );
    for page in pages {
        let scenario = page.scenario;
        let (number, _) = scenario.id.split_once('-').unwrap_or((&scenario.id, ""));
        let _ = write!(
            out,
            "<li><a href=\"{}\"><b class=\"number\">{}</b><span class=\"title\">{}</span>\
             <span class=\"facts\"><span class=\"time\">{}</span> ",
            file(scenario),
            escaped(number),
            escaped(&scenario.title),
            escaped(&scenario.default.by_default())
        );
        for outcome in page.outcomes.iter().filter(|outcome| outcome.plan.cast != Cast::Kernel) {
            for finding in outcome.findings() {
                let _ = write!(out, "{} ", badge(&finding));
            }
        }
        out.push_str("</span></a></li>\n");
    }
    out.push_str(
        "</ol>\n<p class=\"key\">Beside each case: when an untouched kernel gives up, and what became of switchboard's own \
         client and server in it.</p>\n<section>\n<h2>What can become of a program</h2>\n<dl class=\"words\">\n",
    );
    // INCONCLUSIVE is nothing that becomes of a program.
    for kind in KINDS.into_iter().filter(|kind| *kind != Kind::Inconclusive) {
        let class = if kind.is_bad() { "bad" } else { "good" };
        let _ = writeln!(
            out,
            "<dt class=\"{class}\">{}</dt><dd>{}</dd>",
            kind.word(),
            escaped(kind.remedy().unwrap_or("nothing to do"))
        );
    }
    out.push_str("</dl>\n</section>\n</main>\n");
    foot(&mut out);
    out
}

fn foot(out: &mut String) {
    out.push_str(
        "<footer>Made by <code>switchboard lab guide</code> from scenarios and runs; not written by hand.</footer>\n\
         </body>\n</html>\n",
    );
}

fn badge(finding: &Finding) -> String {
    format!(
        "<span class=\"badge {}\">{} {} <small>{}</small></span>",
        finding.class.name(),
        finding.class.sign(),
        escaped(&finding.word),
        escaped(&finding.subject)
    )
}

fn case(page: &Page<'_>, before: Option<&Page<'_>>, after: Option<&Page<'_>>) -> String {
    let scenario = page.scenario;
    let mut out = String::new();
    head(&mut out, &format!("{}: {}", scenario.id, scenario.title));
    let link = |page: Option<&Page<'_>>, arrow: [&str; 2]| {
        page.map_or("<span></span>".to_owned(), |page| {
            let (file, title) = (file(page.scenario), escaped(&page.scenario.title));
            format!("<a href=\"{file}\">{}{title}{}</a>", arrow[0], arrow[1])
        })
    };
    let around = format!(
        "<nav>{}<a href=\"index.html\">all cases</a>{}</nav>\n",
        link(before, ["← ", ""]),
        link(after, ["", " →"])
    );
    let _ = write!(
        out,
        "{around}<header>\n<p class=\"id\">{}</p>\n<h1>{}</h1>\n<p class=\"book\">To be read beside {}</p>\n</header>\n<main>\n",
        escaped(&scenario.id),
        escaped(&scenario.title),
        escaped(&scenario.book)
    );
    let _ = write!(out, "<p class=\"lead\">{}</p>\n<div class=\"panels\">\n", prose(&scenario.linux));
    clock(&mut out, scenario);
    if let Some(textbook) = &scenario.textbook {
        let _ = writeln!(
            out,
            "<section class=\"panel\">\n<h2>Where the textbook differs</h2>\n<p>{}</p>\n</section>",
            prose(textbook)
        );
    }
    out.push_str("</div>\n");
    if let Some(code) = &scenario.remedy {
        let _ = writeln!(
            out,
            "<section class=\"remedy\">\n<h2>The remedy</h2>\n<pre><code>{}</code></pre>\n</section>",
            code.lines().map(|line| escaped(line) + "\n").collect::<String>()
        );
    }
    for outcome in &page.outcomes {
        run(&mut out, scenario, outcome);
    }
    out.push_str(
        "<p class=\"key\">Time runs downwards, to the row and not to scale. A bar is a call that waits, an arrow a packet \
         from leaving to arriving; dashed it was sent again, dotted and crossed it was lost. Point at a line for all of \
         it.</p>\n</main>\n",
    );
    out.push_str(&around);
    foot(&mut out);
    out
}

/// When the kernel gives up, by which law, and with which settings.
fn clock(out: &mut String, scenario: &Scenario) {
    let knobs = scenario.knobs(false);
    let _ = write!(
        out,
        "<section class=\"panel\">\n<h2>When the kernel gives up</h2>\n<p class=\"figure-of-time\">{}</p>\n<p>{}.</p>\n",
        escaped(&scenario.default.by_default()),
        escaped(scenario.default.law())
    );
    let law = scenario.default.law();
    let pairs = DEFAULT.sysctls().into_iter().zip(knobs.sysctls());
    let rows: String = pairs
        .filter(|((name, _), _)| law.contains(name.trim_start_matches("net.ipv4.")))
        .map(|((name, default), (_, here))| {
            format!("<tr><th>{name}</th><td>{default}</td><td>{here}</td></tr>\n")
        })
        .collect();
    if !rows.is_empty() {
        let _ = write!(
            out,
            "<table>\n<thead><tr><th></th><th>by default</th><th>in these runs</th></tr></thead>\n{rows}\
             <tr class=\"sum\"><th>gives up after</th><td>{}</td><td>{}</td></tr>\n</table>\n",
            scenario.default.by_default(),
            scenario.default.in_words(&knobs)
        );
    }
    out.push_str("</section>\n");
}

/// One run: who did what, what is said of it, and its picture.
fn run(out: &mut String, scenario: &Scenario, outcome: &Outcome) {
    let cast = outcome.plan.cast;
    let title = match cast {
        Cast::Kernel => "What the kernel answers, call by call",
        Cast::Client => "A client in this case",
        Cast::Server => "A server in this case",
    };
    let findings = outcome.findings();
    let chapter = Chapter { recording: &outcome.recording, findings: &findings };
    let _ = writeln!(out, "<section class=\"run\">\n<h2>{title}</h2>");
    if let Some(part) = cast.of(scenario) {
        course(out, part);
    }
    for finding in &findings {
        let _ = writeln!(
            out,
            "<p class=\"finding {}\">{} {}</p>",
            finding.class.name(),
            badge(finding),
            escaped(&finding.sentence)
        );
    }
    if !outcome.recording.events.is_empty() {
        let ladder = Ladder::new(chapter.recording, &chapter.cited());
        let figure = svg::figure(&chapter, &ladder, false);
        if figure.len() <= MOST_FIGURE {
            let _ = writeln!(out, "<div class=\"figure\" tabindex=\"0\">\n{figure}</div>");
        } else {
            let how = match cast {
                Cast::Kernel => "--kernel".to_owned(),
                cast => format!("--only {}", cast.name()),
            };
            let _ = writeln!(
                out,
                "<p class=\"key\">The picture of this run has {} lines, too many for a page: \
                 <code>switchboard lab run {} {how} --ladder</code> draws it.</p>",
                ladder.rows.len(),
                escaped(&scenario.id)
            );
        }
    }
    out.push_str("</section>\n");
}

/// What the lab's side does, and what happens when.
fn course(out: &mut String, part: &Part) {
    let mut rows = String::new();
    for (role, script) in &part.actors {
        let _ = writeln!(rows, "<tr><th>{}</th><td><code>{}</code></td></tr>", escaped(role), prose(script));
    }
    for step in &part.steps {
        let (when, what) = step.text.split_once("->").unwrap_or(("", &step.text));
        let when = match when.trim() {
            "" => String::new(),
            when => format!(" <small>when</small> <code>{}</code>", escaped(when)),
        };
        let _ = writeln!(rows, "<tr><th>step</th><td><code>{}</code>{when}</td></tr>", escaped(what.trim()));
    }
    if let Some(because) = &part.because {
        let _ = writeln!(rows, "<tr><th>because</th><td>{}</td></tr>", escaped(because));
    }
    if !rows.is_empty() {
        let _ = write!(out, "<table class=\"course\">\n{rows}</table>\n");
    }
}

/// Text of several lines as one paragraph.
fn prose(text: &str) -> String {
    text.lines().map(|line| escaped(line.trim())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_page_that_links_to_its_neighbours_only() {
        let scenarios = Scenario::all();
        let pages: Vec<Page<'_>> =
            scenarios.iter().map(|scenario| Page { scenario, outcomes: Vec::new() }).collect();
        let files = site(&pages);
        assert_eq!(files.len(), scenarios.len() + 2);
        let known = |name: &str| files.iter().any(|(file, _)| file == name);
        for (name, text) in &files {
            for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(known(link), "{name}: {link}");
            }
            assert!(!text.contains("://") && !text.contains("<script"), "{name}");
        }
        assert!(scenarios.iter().all(|scenario| scenario.remedy.is_some()));
    }
}
