//! What two programs say to each other on a connection before the conversation proper: the request to a proxy for a way
//! through it ([`tunnel`](crate::tunnel)), to a server for TLS ([`starttls`](crate::starttls)).
//!
//! A prelude takes exactly the bytes that are its own. What follows them belongs to the conversation, so whoever drives
//! a prelude looks at what has come without taking it (`MSG_PEEK`, recv(2)), asks the prelude how much of it is its
//! own, and takes only that. No byte has to be carried over, and the socket can then be used as if nothing had been.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Our side of a prelude.
pub trait Prelude {
    /// What is to be sent before anything is looked at; empty if nothing is.
    fn take_output(&mut self) -> Vec<u8>;

    /// Looks at bytes that have come: how many of them are its own. At least one, unless it is done.
    ///
    /// # Errors
    /// The other side says no, or nothing that can be understood; it is of no use to go on.
    fn look(&mut self, bytes: &[u8]) -> Result<usize, Failure>;

    /// Whether the conversation may begin. There may still be something to send before.
    fn is_done(&self) -> bool;

    /// What to say if the other side's input ends before that.
    fn ended(&self) -> Failure {
        Failure::new(Why::Malformed, "it closed the connection before it had answered")
    }
}

/// Why a prelude came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Who erred.
    pub why: Why,
    /// What there is to say; nothing that came from the other side is in it unescaped.
    pub words: String,
}

/// Who erred in a prelude.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// What was to be reached through it cannot be reached.
    Unreached,
    /// It refuses: no permission, other credentials wanted, not offered.
    Denied,
    /// What came is not of its protocol, or not all of an answer came.
    Malformed,
}

impl Failure {
    pub(crate) fn new(why: Why, words: impl Into<String>) -> Failure {
        Failure { why, words: words.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl core::error::Error for Failure {}

/// Bytes of which a fixed number is wanted.
#[derive(Default, Debug)]
pub(crate) struct Gathered(Vec<u8>);

impl Gathered {
    /// Takes from `bytes` what is missing to `wanted` bytes: how many that are.
    pub(crate) fn take(&mut self, bytes: &[u8], wanted: usize) -> usize {
        let taken = wanted.saturating_sub(self.0.len()).min(bytes.len());
        self.0.extend_from_slice(&bytes[..taken]);
        taken
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Lines of which each is bounded, and all together.
#[derive(Debug)]
pub(crate) struct Lines {
    line: Vec<u8>,
    left: usize,
}

impl Lines {
    /// `limit`: bytes of all lines together.
    pub(crate) fn new(limit: usize) -> Lines {
        Lines { line: Vec::new(), left: limit }
    }

    /// Takes from `bytes` up to the end of the line: how many that are, and the line without its CR LF (or LF) if it is
    /// complete.
    ///
    /// # Errors
    /// More bytes than there may be.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>), Failure> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        self.left = self
            .left
            .checked_sub(taken)
            .ok_or_else(|| Failure::new(Why::Malformed, "its answer does not come to an end"))?;
        self.line.extend_from_slice(&bytes[..taken]);
        if end.is_none() {
            return Ok((taken, None));
        }
        let mut line = core::mem::take(&mut self.line);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok((taken, Some(line)))
    }

    /// The line that has not ended yet.
    pub(crate) fn unfinished(&self) -> &[u8] {
        &self.line
    }
}

/// Foreign bytes for a message: printable, and not too long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let mut shown = alloc::format!("{}", bytes[..bytes.len().min(MOST)].escape_ascii());
    if bytes.len() > MOST {
        shown.push('…');
    }
    shown
}
