//! [`Dialogue`]: a load client's side of one connection; what it says, and whether the answers are right.

use alloc::string::String;
use alloc::vec::Vec;

/// Requests of one connection and their answers, in the order of the requests. Bytes in, bytes out; no clock.
pub trait Dialogue: Send {
    /// What is to be said on a new connection before the first request.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Whether requests can be made: the beginning has been answered.
    fn is_ready(&self) -> bool {
        true
    }

    /// Appends the next request to `out`.
    fn ask(&mut self, out: &mut Vec<u8>);

    /// Takes bytes that came, and says how many answers are whole by them. May have more to say in `out`.
    ///
    /// # Errors
    /// They are not what was to come. The connection is of no use any more.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<u64, WrongContent>;

    /// The peer has ended its output: how many answers are whole by that; `None` if it was too early.
    fn hear_end(&mut self) -> Option<u64> {
        None
    }

    /// Whether a part of the next answer has come.
    fn is_within_answer(&self) -> bool;

    /// Begins anew, on a new connection. An answer to the old one must not pass for a new one.
    fn restart(&mut self);
}

/// An answer that is not what was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrongContent {
    /// In what it differs, for people; one line.
    pub how: String,
}

impl WrongContent {
    pub(crate) fn new(how: impl Into<String>) -> WrongContent {
        WrongContent { how: how.into() }
    }
}
