//! [`Complaint`]: what is wrong with a configuration, where, and how to mend it; [`Complaints`]: all of it at once.

use super::source::{Sources, Span};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::collections::HashSet;

/// Complaints that are shown to people; whoever reads these has enough to do.
const SHOWN: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    /// What.
    pub(crate) problem: String,
    /// Where, and what to say there; the first is the place of the complaint.
    pub(crate) marks: Vec<(Span, String)>,
    /// How to mend it.
    pub(crate) help: Option<String>,
    /// More about it, each with a word in front.
    pub(crate) asides: Vec<(&'static str, String)>,
    /// How bad it is.
    pub(crate) grade: Grade,
}

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grade {
    /// It cannot be used.
    Error,
    /// It can, but may not be what was meant.
    Warning,
    /// Something to know.
    Note,
}

/// All that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    found: Vec<Complaint>,
    /// What was said of which place.
    known: HashSet<(Span, String)>,
}

impl Complaint {
    /// A complaint without a place.
    pub(crate) fn new(problem: impl Into<String>) -> Complaint {
        Complaint {
            problem: problem.into(),
            marks: Vec::new(),
            help: None,
            asides: Vec::new(),
            grade: Grade::Error,
        }
    }

    /// At a place, with a word about it.
    pub(crate) fn at(mut self, span: impl Into<Option<Span>>, label: impl Into<String>) -> Complaint {
        self.marks.extend(span.into().map(|span| (span, label.into())));
        self
    }

    /// With advice.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Complaint {
        self.help = Some(help.into());
        self
    }

    /// With more about it, after a word such as `then`.
    pub(crate) fn aside(mut self, name: &'static str, text: impl Into<String>) -> Complaint {
        self.asides.push((name, text.into()));
        self
    }

    /// Not as bad as an error.
    pub(crate) fn grade(mut self, grade: Grade) -> Complaint {
        self.grade = grade;
        self
    }

    /// With its lines of the file underlined, in colours; the writer takes them out where they do not belong.
    pub(crate) fn show(&self, sources: &Sources) -> String {
        let level = match self.grade {
            Grade::Error => Level::ERROR,
            Grade::Warning => Level::WARNING,
            Grade::Note => Level::NOTE,
        };
        let title = level.primary_title(&self.problem);
        let mut group = title.elements(Vec::<annotate_snippets::Element<'_>>::new());
        let mut files: Vec<usize> = Vec::new();
        for (span, _) in &self.marks {
            if !files.contains(&span.file) {
                files.push(span.file);
            }
        }
        for number in files {
            let file = sources.file(number);
            let marks = self.marks.iter().enumerate().filter(|(_, (span, _))| span.file == number);
            let snippet = Snippet::source(&file.text).path(file.path.display().to_string());
            group = group.element(snippet.annotations(marks.map(|(nth, (span, label))| {
                let kind = if nth == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                kind.span(within(&file.text, *span)).label(label)
            })));
        }
        for (name, text) in &self.asides {
            group = group.element(Level::NOTE.with_name(*name).message(text));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        // The renderer shows C0 control characters as pictures, and leaves those of C1 to the terminal.
        Renderer::styled().render(&[group]).replace(|c| ('\u{80}'..='\u{9f}').contains(&c), "\u{fffd}")
    }
}

/// The bytes of a span, on character borders of the text.
fn within(text: &str, span: Span) -> std::ops::Range<usize> {
    let border = |at: &usize| text.is_char_boundary(*at);
    let start = (0..=span.start.min(text.len())).rev().find(border).unwrap_or(0);
    let end = (span.end.clamp(start, text.len())..=text.len()).find(border).unwrap_or(text.len());
    start..end
}

impl Complaints {
    /// One more. What is wrong with a default is said once, not for every service that has it.
    pub(crate) fn push(&mut self, complaint: Complaint) {
        let place = complaint.marks.first().map(|(span, _)| *span);
        if place.is_none_or(|span| self.known.insert((span, complaint.problem.clone()))) {
            self.found.push(complaint);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All, in the order of the files.
    pub(crate) fn list(&self) -> Vec<&Complaint> {
        let mut list: Vec<&Complaint> = self.found.iter().collect();
        list.sort_by_key(|complaint| complaint.marks.first().map(|(span, _)| (span.file, span.start)));
        list
    }

    /// All, as people read them; of very many the first.
    pub(crate) fn show(&self, sources: &Sources) -> String {
        let list = self.list();
        let mut shown: Vec<String> =
            list.iter().take(SHOWN).map(|complaint| complaint.show(sources)).collect();
        if list.len() > SHOWN {
            shown.push(format!("and {} more", list.len() - SHOWN));
        }
        shown.join("\n\n")
    }
}

/// The known word that `word` may have been meant to be.
pub(crate) fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(known, word);
    let known = known.into_iter().map(|known| (likeness(known), known));
    known.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.8).map(|(_, known)| known)
}

/// What the kernel says of a failed call, without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
