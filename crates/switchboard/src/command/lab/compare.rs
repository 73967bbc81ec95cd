//! `lab diff`: what has changed between two runs.

use super::result;
use crate::exit::Exit;
use crate::report::{Output, Table};
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;

/// Compares two runs: verdicts that have changed
///
/// The exit code is 1 if a case that was fine is not fine any more.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  switchboard lab diff before/ after/\n  switchboard lab diff before.json after.json"
)]
pub(crate) struct Arguments {
    /// A folder of `lab run --jsonl`, or the output of `lab run --format json`
    before: PathBuf,
    /// A later one
    after: PathBuf,
}

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let (before, after) = match (result::read(&arguments.before), result::read(&arguments.after)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(error), _) | (_, Err(error)) => {
            out.talk(error);
            return Exit::Usage;
        }
    };
    let runs = |run: &Value| run["runs"].as_array().cloned().unwrap_or_default();
    let (before, after) = (runs(&before), runs(&after));
    let same = |a: &Value, b: &Value| a["scenario"] == b["scenario"] && a["of"] == b["of"];
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut table = Table::new(&["", "case", "of", "before", "after"]);
    let (mut changes, mut worse) = (0, false);
    for new in &after {
        let old = before.iter().find(|old| same(old, new));
        let (was, is) = (old.map_or_else(|| "(not run)".to_owned(), words), words(new));
        if was == is {
            continue;
        }
        let direction = match old.map(|old| rank(new).cmp(&rank(old))) {
            None => "new",
            Some(std::cmp::Ordering::Greater) => "worse",
            Some(std::cmp::Ordering::Less) => "better",
            Some(std::cmp::Ordering::Equal) => "other",
        };
        worse |= direction == "worse";
        changes += 1;
        table.row([&direction, &text(&new["scenario"]), &text(&new["of"]), &was, &is]);
    }
    for old in before.iter().filter(|old| !after.iter().any(|new| same(old, new))) {
        changes += 1;
        table.row([&"gone", &text(&old["scenario"]), &text(&old["of"]), &words(old), &"(not run)"]);
    }
    if changes == 0 {
        out.line("no verdict has changed");
    } else {
        out.line(table);
    }
    result::exit(!worse)
}

/// How bad a run's grade is.
fn rank(run: &Value) -> usize {
    const GRADES: [&str; 5] = ["good", "skipped", "unknown", "bad", "error"];
    GRADES.iter().position(|grade| run["grade"] == *grade).unwrap_or(GRADES.len())
}

/// The verdicts' words, or what came in their place. Times differ from run to run and are no change.
fn words(run: &Value) -> String {
    let list = |name: &str, word: &str| {
        let entries = run[name].as_array().into_iter().flatten();
        entries
            .filter_map(|entry| if word.is_empty() { entry.as_str() } else { entry[word].as_str() })
            .collect::<Vec<_>>()
            .join(", ")
    };
    let words = [list("verdicts", "word"), list("differences", "")];
    let found = words.into_iter().find(|words| !words.is_empty());
    let instead = || run["error"].as_str().or(run["skipped"].as_str()).unwrap_or("as recorded").to_owned();
    found.unwrap_or_else(instead)
}
