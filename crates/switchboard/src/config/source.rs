//! [`Sources`]: the texts that a configuration is read from; [`Span`]: a piece of one; [`At`]: a value and its piece.

use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// The texts, in the order in which they were opened. A file's number is its place here.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: Vec<Source>,
}

/// One text.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file's name, as messages say it.
    pub(crate) path: PathBuf,
    /// What it holds.
    pub(crate) text: String,
}

/// Bytes of one text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Span {
    /// The file's number in [`Sources`].
    pub(crate) file: usize,
    /// First byte.
    pub(crate) start: usize,
    /// The byte after the last one.
    pub(crate) end: usize,
}

/// A value, and where it was written; nowhere, if a program made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it was written.
    pub(crate) span: Option<Span>,
}

impl Sources {
    /// Adds a text and says its number.
    pub(crate) fn add(&mut self, path: &Path, text: String) -> usize {
        self.files.push(Source { path: path.to_owned(), text });
        self.files.len() - 1
    }

    /// The text with this number.
    pub(crate) fn file(&self, number: usize) -> &Source {
        &self.files[number]
    }

    /// The names of all files.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    /// Line and column of a span's beginning, both from 1; a column is a character.
    pub(crate) fn line_column(&self, span: Span) -> (usize, usize) {
        let text = &self.files[span.file].text;
        let before = &text.as_bytes()[..span.start.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        (line, String::from_utf8_lossy(&before[begin..]).chars().count() + 1)
    }

    /// `FILE:LINE`.
    pub(crate) fn place(&self, span: Span) -> String {
        format!("{}:{}", self.files[span.file].path.display(), self.line_column(span).0)
    }
}

impl<T> At<T> {
    /// A value that was written at `span`.
    pub(crate) fn new(value: T, span: Span) -> At<T> {
        At { value, span: Some(span) }
    }
}

impl<T> From<T> for At<T> {
    fn from(value: T) -> At<T> {
        At { value, span: None }
    }
}

/// Where something was written makes no difference to what it says.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &At<T>) -> bool {
        self.value == other.value
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}
