//! [`Finding`] and [`Chapter`]: what is said of a run, in the form in which it is shown.

use crate::record::Recording;

/// How good or bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// The program coped.
    Good,
    /// It could not be tested: never counted as passed.
    Unknown,
    /// The program did not cope.
    Bad,
}

impl Class {
    /// A sign that does not need colour.
    pub fn sign(self) -> char {
        match self {
            Class::Good => '✔',
            Class::Unknown => '?',
            Class::Bad => '✘',
        }
    }

    /// One word, also as a CSS class.
    pub fn name(self) -> &'static str {
        match self {
            Class::Good => "good",
            Class::Unknown => "unknown",
            Class::Bad => "bad",
        }
    }
}

/// What became of a program, with what shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The word: `HANGS`, `KILLED BY SIGPIPE`.
    pub word: String,
    /// Of whom: `client`.
    pub subject: String,
    /// What happened, in a sentence.
    pub sentence: String,
    /// The events that show it, by their places in [`Recording::events`].
    pub cites: Vec<usize>,
    /// What to do, in one line.
    pub remedy: Option<String>,
    /// How bad it is.
    pub class: Class,
}

/// One scenario of a run.
#[derive(Clone, Debug)]
pub struct Chapter<'a> {
    /// What was seen.
    pub recording: &'a Recording,
    /// What is said of it.
    pub findings: &'a [Finding],
}

impl Chapter<'_> {
    /// The worst of its findings; unknown if there is none.
    pub fn class(&self) -> Class {
        self.findings.iter().map(|finding| finding.class).max().unwrap_or(Class::Unknown)
    }

    /// Every event that a finding cites.
    pub fn cited(&self) -> Vec<usize> {
        self.findings.iter().flat_map(|finding| finding.cites.iter().copied()).collect()
    }

    /// The id of the scenario as a name within a document: letters, digits and hyphens.
    pub fn anchor(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        format!("s-{}", self.recording.header.scenario.chars().map(plain).collect::<String>())
    }
}
