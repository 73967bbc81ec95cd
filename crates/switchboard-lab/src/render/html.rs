//! A report in one file: score table first, then a ladder for each scenario, then the log itself.
//!
//! It needs no script to be read and fetches nothing (a content security policy says so); the little script shows
//! details without delay and hides what was coped with. It prints.

use super::finding::{Chapter, Class, Finding};
use super::ladder::Ladder;
use super::svg;
use super::terminal;
use super::wording::escaped;
use std::fmt::Write;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// Width of the ladder as text.
const TEXT_WIDTH: usize = 132;
/// The longest log that goes into the page, in bytes; a longer one is a file of its own anyway ([`super::jsonl`]).
const MOST_DATA: usize = 8 << 20;

/// The beginning of a page in one file, up to `<body>`: light and dark, fetching nothing, which a content security policy
/// says, as it says whether the page has a script.
pub fn head(out: &mut String, title: &str, styles: &[&str], has_script: bool) {
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'{}\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        if has_script { "; script-src 'unsafe-inline'" } else { "" },
        escaped(title),
        styles.concat(),
    );
}

/// The report on a run; `command` is the command line that made it.
pub fn document(title: &str, command: &str, chapters: &[Chapter<'_>]) -> String {
    let mut out = String::new();
    head(&mut out, title, &[STYLE, svg::STYLE], true);
    let _ = write!(
        out,
        "<header>\n<h1>{}</h1>\n<p class=\"command\"><code>{}</code></p>\n",
        escaped(title),
        escaped(command),
    );
    summary(&mut out, chapters);
    out.push_str("</header>\n<main>\n");
    scores(&mut out, chapters);
    for chapter in chapters {
        section(&mut out, chapter);
    }
    out.push_str("</main>\n");
    for chapter in chapters {
        let data = embedded(chapter).unwrap_or_else(|| "null".to_owned());
        let _ = writeln!(
            out,
            "<script type=\"application/json\" id=\"{}-data\">{data}</script>",
            chapter.anchor()
        );
    }
    let _ = write!(out, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

/// The log itself, if it is not too long. Within a script only `<` could end it.
fn embedded(chapter: &Chapter<'_>) -> Option<String> {
    let data = serde_json::to_string(chapter.recording).ok()?.replace('<', "\\u003c");
    (data.len() <= MOST_DATA).then_some(data)
}

fn summary(out: &mut String, chapters: &[Chapter<'_>]) {
    let count = |class: Class| chapters.iter().filter(|chapter| chapter.class() == class).count();
    out.push_str("<ul class=\"summary\">\n");
    for (class, words) in
        [(Class::Good, "coped with"), (Class::Bad, "not coped with"), (Class::Unknown, "inconclusive")]
    {
        if count(class) > 0 {
            let _ = writeln!(
                out,
                "<li class=\"{}\"><b>{}</b> {} {words}</li>",
                class.name(),
                count(class),
                class.sign()
            );
        }
    }
    if let Some(chapter) = chapters.first() {
        let header = &chapter.recording.header;
        let _ = writeln!(out, "<li>Linux {}</li>\n<li>seed {}</li>", escaped(&header.kernel), header.seed);
    }
    out.push_str("</ul>\n");
}

fn scores(out: &mut String, chapters: &[Chapter<'_>]) {
    out.push_str(
        "<table class=\"scores\">\n<thead><tr><th>case</th><th>who</th><th>verdict</th><th>what happened</th></tr></thead>\n",
    );
    for chapter in chapters {
        let header = &chapter.recording.header;
        let rows = chapter.findings.len().max(1);
        let _ = write!(
            out,
            "<tbody class=\"{}\">\n<tr><th scope=\"rowgroup\" rowspan=\"{rows}\"><a href=\"#{}\">{}</a><br><small>{}</small></th>",
            chapter.class().name(),
            chapter.anchor(),
            escaped(&header.scenario),
            escaped(&header.title)
        );
        if chapter.findings.is_empty() {
            out.push_str(
                "<td></td><td class=\"unknown\">? INCONCLUSIVE</td><td>nothing was found</td></tr>\n",
            );
        }
        for (index, finding) in chapter.findings.iter().enumerate() {
            let open = if index == 0 { "" } else { "<tr>" };
            let _ = writeln!(
                out,
                "{open}<td>{}</td><td class=\"{}\">{}</td><td>{}</td></tr>",
                escaped(&finding.subject),
                finding.class.name(),
                verdict(finding),
                escaped(&finding.sentence)
            );
        }
        out.push_str("</tbody>\n");
    }
    out.push_str("</table>\n");
}

fn verdict(finding: &Finding) -> String {
    format!("<span class=\"verdict\">{} {}</span>", finding.class.sign(), escaped(&finding.word))
}

fn section(out: &mut String, chapter: &Chapter<'_>) {
    let header = &chapter.recording.header;
    let ladder = Ladder::new(chapter.recording, &chapter.cited());
    let anchor = chapter.anchor();
    let _ = writeln!(
        out,
        "<section id=\"{anchor}\" class=\"{}\">\n<h2>{} <small>{}</small></h2>",
        chapter.class().name(),
        escaped(&header.title),
        escaped(&header.scenario)
    );
    for finding in chapter.findings {
        let _ = writeln!(
            out,
            "<div class=\"finding {}\">\n<p>{} <b>{}</b>: {}{}</p>",
            finding.class.name(),
            verdict(finding),
            escaped(&finding.subject),
            escaped(&finding.sentence),
            cites(finding, &ladder, &anchor)
        );
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(out, "<p class=\"remedy\"><b>Remedy:</b> {}</p>", escaped(remedy));
        }
        out.push_str("</div>\n");
    }
    let _ = writeln!(
        out,
        "<div class=\"figure\" tabindex=\"0\">\n{}</div>",
        svg::figure(chapter, &ladder, false)
    );
    out.push_str(
        "<p class=\"key\">Time runs downwards, to the row and not to scale. A bar is a call that waits, an arrow a packet \
         from leaving to arriving; dashed it was sent again, dotted and crossed it was lost. Marked lines are those that a \
         verdict cites.</p>\n",
    );
    let _ = writeln!(
        out,
        "<details><summary>The same as text</summary>\n<pre>{}</pre></details>\n</section>",
        lines(&terminal::plain(&ladder, TEXT_WIDTH))
    );
}

/// Several lines of harmless text.
fn lines(text: &str) -> String {
    text.lines().map(|line| escaped(line) + "\n").collect()
}

fn cites(finding: &Finding, ladder: &Ladder, anchor: &str) -> String {
    let mut lines: Vec<usize> = finding.cites.iter().filter_map(|event| ladder.line_of(*event)).collect();
    lines.dedup();
    let links: Vec<String> =
        lines.iter().map(|line| format!("<a href=\"#{anchor}-l{line}\">{line}</a>")).collect();
    match links.len() {
        0 => String::new(),
        1 => format!(" (line {})", links[0]),
        _ => format!(" (lines {})", links.join(", ")),
    }
}
