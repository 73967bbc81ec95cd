//! Checks of documents: links, the test map, the README's code, paths that belong to one machine.

use crate::Problems;
use std::collections::BTreeSet;

/// The rows of the systems that the program covers, and of what goes beyond them; what each is stands in ARCHITECTURE.md.
pub(crate) const ROWS: [&str; 30] = [
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "S15", "S16",
    "S17", "S18", "S19", "S20", "S21", "S22", "S23", "S24", "S25", "B1", "B2", "B3", "B4", "B5",
];

/// A relative link of a document.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) line: usize,
    /// From the top of the repository; empty for one within the document.
    pub(crate) path: String,
    pub(crate) anchor: String,
}

/// The relative links of the Markdown `text`, which is the file `path`. Code is left out.
pub(crate) fn links(path: &str, text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let target = rest.split(')').next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { String::new() } else { resolve(path, file) };
            links.push(Link { line: number, path, anchor: anchor.to_owned() });
        }
    }
    links
}

/// Lines with their numbers, without fenced blocks and without what is between backticks.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let plain: String = line.split('`').step_by(2).collect();
            // A link may have code as its text: what remains of it is `[](target)`.
            lines.push((index + 1, plain));
        }
    }
    lines
}

/// `target` as seen from the folder of `path`.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a document's headings, as hosts of Markdown make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug = heading.trim().to_lowercase();
        let slug = slug.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        anchors.insert(slug.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    anchors
}

/// Links that lead nowhere.
pub(crate) fn broken_links(texts: &[(String, String)], exists: &dyn Fn(&str) -> bool) -> Problems {
    let mut problems = Problems::new();
    for (path, text) in texts {
        for Link { line, path: target, anchor } in links(path, text) {
            let target = if target.is_empty() { path.clone() } else { target };
            let headings = texts.iter().find(|(path, _)| *path == target).map(|(_, text)| anchors(text));
            if !exists(&target) {
                problems.push(format!("{path}:{line}: there is no {target}"));
            } else if !anchor.is_empty() && !headings.is_some_and(|headings| headings.contains(&anchor)) {
                problems.push(format!("{path}:{line}: {target} has no heading #{anchor}"));
            }
        }
    }
    problems
}

/// Documents that none of the `entrances` has a link to.
pub(crate) fn unlinked(texts: &[(String, String)], entrances: &[&str]) -> Problems {
    let is_entrance = |path: &str| entrances.contains(&path);
    let linked: BTreeSet<String> = texts
        .iter()
        .filter(|(path, _)| is_entrance(path))
        .flat_map(|(path, text)| links(path, text))
        .map(|link| link.path)
        .collect();
    let lost = texts.iter().filter(|(path, _)| !linked.contains(path) && path != "README.md");
    lost.map(|(path, _)| format!("{path}: no link from {}", entrances.join(" or "))).collect()
}

/// Rows that the section "Test map" of ARCHITECTURE.md has no test for: `| S1 | what | [test](file) |`.
pub(crate) fn unproven(architecture: &str, rows: &[&str]) -> Problems {
    let map = architecture.lines().skip_while(|line| *line != "## Test map").skip(1);
    let map: Vec<&str> = map.take_while(|line| !line.starts_with("## ")).collect();
    let proven = |row: &&&str| {
        let start = format!("| {row} | ");
        map.iter().any(|line| line.starts_with(&start) && line.contains(".rs)"))
    };
    rows.iter()
        .filter(|row| !proven(row))
        .map(|row| format!("ARCHITECTURE.md: the test map has no test for {row}"))
        .collect()
}

/// Tests that the last column of a table names and no source defines; rows that name none say that they refuse.
pub(crate) fn missing_tests(path: &str, table: &str, sources: &str) -> Problems {
    let mut problems = Problems::new();
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        let columns: Vec<&str> = line.trim_end_matches('|').split(" | ").collect();
        let names: Vec<&str> =
            columns.last().map_or(Vec::new(), |last| last.split('`').skip(1).step_by(2).collect());
        if names.is_empty() && !line.contains("refused") {
            problems.push(format!("{path}: neither test nor refusal: {line}"));
        }
        let is_missing = |name: &&&str| !sources.contains(&format!("#[test]\nfn {name}() {{"));
        problems
            .extend(names.iter().filter(is_missing).map(|name| format!("{path}: there is no test {name}")));
    }
    problems
}

#[test]
fn tests_that_are_not_there_are_found() {
    let table = "| # | what | here | proven by |\n| 1 | a | b | `there`, `gone` |\n| 2 | a | refused | |\n| 3 | a | b | |\n";
    assert_eq!(missing_tests("t.md", table, "#[test]\nfn there() {\n}").len(), 2);
}

/// Rust blocks of the README that are not among the doctests of `library`.
pub(crate) fn untested_code(readme: &str, library: &str) -> Problems {
    let shown = |line: &str| !line.starts_with("# ");
    let docs: Vec<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .filter(|line| shown(line))
        .collect();
    let docs = docs.join("\n");
    let mut problems = Problems::new();
    let mut block: Option<(usize, Vec<&str>)> = None;
    for (index, line) in readme.lines().enumerate() {
        match &mut block {
            None if line == "```rust" => block = Some((index + 1, Vec::new())),
            Some((start, lines)) if line == "```" => {
                if !docs.contains(&lines.join("\n")) {
                    problems
                        .push(format!("README.md:{start}: this is not in lib.rs, where it would be tested"));
                }
                block = None;
            }
            Some((_, lines)) => lines.push(line),
            None => {}
        }
    }
    problems
}

/// Absolute paths that exist on somebody's machine only.
pub(crate) fn machine_paths(path: &str, text: &str) -> Problems {
    const PATHS: [&str; 4] =
        [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let found = |line: &str| PATHS.iter().find(|path| line.contains(*path)).copied();
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(n, line)| Some(format!("{path}:{}: `{}` is on one machine only", n + 1, found(line)?)))
        .collect()
}

fn document(path: &str, text: &str) -> (String, String) {
    (path.to_owned(), text.to_owned())
}

#[test]
fn broken_and_missing_links_are_found() {
    let texts = [
        document(
            "README.md",
            "# Top\n[a](docs/a.md) [b](docs/b.md#part)\n```\n[c](c.md)\n```\n`[d](d.md)` [t](#top)",
        ),
        document("docs/b.md", "# Other\n[up](../README.md) [net](https://example.org/x)"),
        document("docs/lost.md", ""),
    ];
    let exists = |path: &str| texts.iter().any(|(known, _)| known == path);
    let problems = broken_links(&texts, &exists);
    assert_eq!(
        problems,
        ["README.md:2: there is no docs/a.md", "README.md:2: docs/b.md has no heading #part"]
    );
    assert_eq!(unlinked(&texts, &["README.md"]), ["docs/lost.md: no link from README.md"]);
}

#[test]
fn rows_without_a_test_are_found() {
    let text = "## Test map\n| S1 | x | [a](tests/a.rs) |\n| S2 | x | later |\n| B1 | x | [a](a.rs) |\n## Next\n| S3 | x | [a](a.rs) |\n";
    let problems = unproven(text, &["S1", "S2", "S3", "B1"]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].ends_with(" S2") && problems[1].ends_with(" S3"), "{problems:?}");
}

#[test]
fn code_that_is_not_tested_is_found() {
    let library = "//! ```\n//! let x = 1;\n//! # hidden();\n//!\n//! f(x);\n//! ```\n";
    assert_eq!(untested_code("```rust\nlet x = 1;\n\nf(x);\n```\n", library), Problems::new());
    assert_eq!(untested_code("\n```rust\nlet x = 2;\n```\n", library).len(), 1);
}

#[test]
fn paths_of_a_machine_are_found() {
    assert_eq!(machine_paths("a.md", concat!("see\n/wo", "rk/shared/notes\n")).len(), 1);
    assert_eq!(machine_paths("a.md", "the network/rest and /run/echo.sock\n"), Problems::new());
}
