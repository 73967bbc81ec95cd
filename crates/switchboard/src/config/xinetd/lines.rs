//! From text to sections: `defaults` and `service NAME`, each with its lines; files that are included.
//!
//! Everything is by lines: a comment is a whole line, nothing is quoted, nothing is continued.

use crate::config::notes::{self, Findings};
use crate::config::source::{Sources, Span};
use std::path::{Path, PathBuf};

/// A word and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) span: Span,
}

/// How a line changes an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operator {
    Set,
    Add,
    Remove,
}

/// `name operator values`.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: Word,
    pub(super) operator: Operator,
    pub(super) values: Vec<Word>,
    pub(super) span: Span,
}

/// `defaults { … }` or `service NAME { … }`.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The service's name; none: `defaults`.
    pub(super) name: Option<Word>,
    pub(super) lines: Vec<Line>,
    /// A line in it could not be read, and so the rest was not.
    pub(super) lost: bool,
    /// From its keyword to its brace.
    pub(super) span: Span,
}

/// Files within files within files …: no deeper than this.
const DEPTH: usize = 16;
/// Files in all.
const FILES: usize = 4_096;

/// Reads files and what they include.
pub(super) struct Files<'a> {
    pub(super) sources: &'a mut Sources,
    pub(super) found: &'a mut Findings,
    pub(super) sections: Vec<Section>,
    /// Whether `include` is followed; a fuzzer has no files.
    pub(super) disk: bool,
}

impl Files<'_> {
    /// Reads the sections of a text, and of the files that it includes.
    pub(super) fn text(&mut self, path: &Path, text: String, depth: usize) {
        let file = self.sources.add(path, text);
        let text = self.sources.file(file).text.clone();
        let mut lines = Lines { file, text: &text, at: 0 };
        let mut defaults: Option<Span> = None;
        while let Some(words) = lines.words() {
            let span = over(&words);
            match words[0].text.as_str() {
                "service" | "defaults" => self.section(&words, span, &mut defaults, &mut lines),
                "include" | "includedir" => match words.get(1) {
                    Some(what) => self.include(&words[0].text, what, path, depth),
                    None => self.line_problem(span, "a path is missing"),
                },
                _ => self.line_problem(span, "expected `service`, `defaults`, `include` or `includedir`"),
            }
        }
    }

    fn line_problem(&mut self, span: Span, text: &str) {
        self.found.note(&notes::XINETD_LINE, span, text);
    }

    fn section(&mut self, words: &[Word], start: Span, defaults: &mut Option<Span>, lines: &mut Lines<'_>) {
        let name = match (words[0].text.as_str(), words.get(1)) {
            ("defaults", _) => None,
            (_, Some(name)) => Some(name.clone()),
            (_, None) => return self.line_problem(start, "the service's name is missing"),
        };
        if name.is_none() && defaults.is_some() {
            self.line_problem(start, "`defaults` is there already: once in each file");
        }
        if name.is_none() {
            *defaults = Some(start);
        }
        let extra = if name.is_some() { 2 } else { 1 };
        let on_one_line = words[extra..].iter().any(|word| word.text.contains('{'));
        let mut section = Section { name, lines: Vec::new(), lost: false, span: start };
        if on_one_line {
            self.line_problem(start, "`{` belongs on a line of its own");
            section.lost = true;
        } else {
            if words.len() > extra {
                self.found.note(&notes::XINETD_NAME_WORDS, over(&words[extra..]), "");
            }
            match lines.words() {
                Some(brace) if brace.len() == 1 && brace[0].text == "{" => {}
                Some(other) => {
                    self.line_problem(over(&other), "expected `{` on a line of its own");
                    section.lost = true;
                }
                None => {
                    self.line_problem(start, "expected `{` on the next line, found the end of the file");
                    section.lost = true;
                }
            }
        }
        self.body(&mut section, lines);
        self.sections.push(section);
    }

    fn body(&mut self, section: &mut Section, lines: &mut Lines<'_>) {
        let mut off = false;
        loop {
            let Some(words) = lines.words() else {
                if !off {
                    self.line_problem(
                        section.span,
                        "the section is not closed: expected `}` on a line of its own",
                    );
                    section.lost = true;
                }
                return;
            };
            section.span.end = words[words.len() - 1].span.end;
            if words.len() == 1 && words[0].text == "}" {
                return;
            }
            if section.lost || off {
                continue;
            }
            match line(&words) {
                Ok(line) => {
                    let word = line.values.first().map(|word| word.text.as_str());
                    off = section.name.is_some() && line.name.text == "disable" && word == Some("yes");
                    section.lines.push(line);
                }
                Err(problem) => {
                    self.line_problem(over(&words), problem);
                    section.lost = true;
                }
            }
        }
    }

    fn include(&mut self, keyword: &str, what: &Word, from: &Path, depth: usize) {
        if !self.disk {
            return;
        }
        if depth >= DEPTH {
            return self.line_problem(what.span, "files include each other too deeply (16)");
        }
        let path = from.parent().unwrap_or(Path::new(".")).join(&what.text);
        if keyword == "include" {
            return self.file(&path, what, depth);
        }
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => {
                let problem = format!("cannot read the directory {}: {error}", path.display());
                return self.line_problem(what.span, &problem);
            }
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !file.is_file() {
                continue;
            }
            if name.contains('.') || name.ends_with('~') {
                self.found.note(&notes::XINETD_SKIPPED_FILE, what.span, name);
                continue;
            }
            self.file(&file, what, depth);
        }
    }

    fn file(&mut self, path: &Path, what: &Word, depth: usize) {
        if self.sources.paths().len() >= FILES {
            return self.line_problem(what.span, "too many files (4096)");
        }
        match std::fs::read(path) {
            Ok(bytes) => self.text(path, String::from_utf8_lossy(&bytes).into_owned(), depth + 1),
            Err(error) => self.line_problem(what.span, &format!("cannot read {}: {error}", path.display())),
        }
    }
}

fn line(words: &[Word]) -> Result<Line, &'static str> {
    let name = &words[0];
    if name.text.contains('=') {
        return Err("a blank is missing between the attribute and its operator");
    }
    let second = words.get(1).ok_or("an operator is missing: `=`, `+=` or `-=`")?;
    let operators = [("+=", Operator::Add), ("-=", Operator::Remove), ("=", Operator::Set)];
    let (length, operator) = operators
        .into_iter()
        .find(|(sign, _)| second.text.starts_with(sign))
        .map(|(sign, operator)| (sign.len(), operator))
        .ok_or("expected an operator after the attribute: `=`, `+=` or `-=`")?;
    let mut values = words[2..].to_vec();
    if second.text.len() > length {
        let span = Span { start: second.span.start + length, ..second.span };
        values.insert(0, Word { text: second.text[length..].to_owned(), span });
    }
    Ok(Line { name: name.clone(), operator, values, span: over(words) })
}

fn over(words: &[Word]) -> Span {
    Span { end: words[words.len() - 1].span.end, ..words[0].span }
}

/// The lines of a text that say something.
struct Lines<'a> {
    file: usize,
    text: &'a str,
    at: usize,
}

impl Lines<'_> {
    /// The words of the next line that has any and is no comment.
    fn words(&mut self) -> Option<Vec<Word>> {
        while self.at < self.text.len() {
            let start = self.at;
            let end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
            self.at = end + 1;
            let mut words = Vec::new();
            let mut begin = None;
            for (at, c) in self.text[start..end].char_indices().chain([(end - start, ' ')]) {
                let at = start + at;
                match (begin, c == ' ' || c == '\t' || c == '\r') {
                    (None, false) => begin = Some(at),
                    (Some(from), true) => {
                        let span = Span { file: self.file, start: from, end: at };
                        words.push(Word { text: self.text[from..at].to_owned(), span });
                        begin = None;
                    }
                    _ => {}
                }
            }
            if words.first().is_some_and(|word| !word.text.starts_with('#')) {
                return Some(words);
            }
        }
        None
    }
}
