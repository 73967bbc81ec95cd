//! The score table: a line for each finding of each chapter, and how many of each class there are.

use super::colour;
use crate::render::finding::{Chapter, Class};
use crate::render::wording;
use anstyle::{AnsiColor, Style};
use std::fmt::Write;

pub(super) fn style(class: Class) -> Style {
    match class {
        Class::Good => colour(AnsiColor::Green),
        Class::Unknown => colour(AnsiColor::Yellow),
        Class::Bad => colour(AnsiColor::Red).bold(),
    }
}

/// The score table of a run; `width` is that of the window.
pub fn scores(chapters: &[Chapter<'_>], width: usize) -> String {
    let mut rows: Vec<(Class, [String; 3], String)> = Vec::new();
    for chapter in chapters {
        let id = wording::harmless(&chapter.recording.header.scenario);
        if chapter.findings.is_empty() {
            rows.push((
                Class::Unknown,
                [id, String::new(), "INCONCLUSIVE".to_owned()],
                "nothing was found".to_owned(),
            ));
            continue;
        }
        for (index, finding) in chapter.findings.iter().enumerate() {
            let id = if index == 0 { id.clone() } else { String::new() };
            let (subject, word) = (wording::harmless(&finding.subject), wording::harmless(&finding.word));
            rows.push((finding.class, [id, subject, word], wording::harmless(&finding.sentence)));
        }
    }
    let width_of =
        |column: usize| rows.iter().map(|(_, cells, _)| cells[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2].map(width_of);
    let room = width.saturating_sub(widths.iter().sum::<usize>() + 8).max(20);
    let mut text = String::new();
    for (class, cells, sentence) in &rows {
        let style = style(*class);
        let [id, subject, word] =
            [0, 1, 2].map(|column| format!("{:width$}", cells[column], width = widths[column]));
        let sentence = wording::cut(sentence, room);
        let _ = writeln!(text, "{id}  {subject}  {style}{} {word}{style:#}  {sentence}", class.sign());
    }
    let count = |class: Class| chapters.iter().filter(|chapter| chapter.class() == class).count();
    let total = chapters.len();
    let cases = if total == 1 { "case" } else { "cases" };
    let _ = write!(text, "{total} {cases}: {} coped with", count(Class::Good));
    for (class, words) in [(Class::Bad, "not coped with"), (Class::Unknown, "inconclusive")] {
        if count(class) > 0 {
            let _ = write!(text, ", {} {words}", count(class));
        }
    }
    text.push('\n');
    text
}
