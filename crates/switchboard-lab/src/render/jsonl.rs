//! The log itself as JSON Lines: first the header, then one event a line, to be kept and read again.
//!
//! The header's line begins with `"schema":"switchboard.recording"`. A line may be long (a command line, a packet's
//! bytes) but not longer than [`LONGEST`].

use crate::record::{Event, Header, Recording};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};

/// The longest line that is read.
pub const LONGEST: u64 = 1 << 20;
/// The name of this format.
const SCHEMA: &str = "switchboard.recording";
/// The version of this format; see [`Header::version`].
const VERSION: u32 = 1;

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("cannot read the recording: {0}")]
    System(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the recording: {reason}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Serialize)]
struct FirstLine<'a> {
    schema: &'a str,
    #[serde(flatten)]
    header: &'a Header,
}

#[derive(Deserialize)]
struct FirstLineRead {
    schema: String,
    #[serde(flatten)]
    header: Header,
}

/// Writes a recording.
///
/// # Errors
/// Those of `to`.
pub fn write(recording: &Recording, to: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *to, &FirstLine { schema: SCHEMA, header: &recording.header })?;
    to.write_all(b"\n")?;
    for event in &recording.events {
        serde_json::to_writer(&mut *to, event)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Reads a recording.
///
/// # Errors
/// See [`Error`]; the line is named.
pub fn read(from: &mut impl BufRead) -> Result<Recording, Error> {
    let mut text = String::new();
    let wrong = |line: usize, reason: String| Error::Line { line, reason };
    let first = next(from, &mut text, 1)?.ok_or_else(|| wrong(1, "it is empty".to_owned()))?;
    let FirstLineRead { schema, header } =
        serde_json::from_str(first).map_err(|error| wrong(1, format!("it is no header: {error}")))?;
    if schema != SCHEMA || header.version != VERSION {
        let reason = format!(
            "it is `{}` version {}, not `{SCHEMA}` version {VERSION}",
            schema.escape_default(),
            header.version
        );
        return Err(wrong(1, reason));
    }
    let mut events = Vec::new();
    for line in 2.. {
        let Some(text) = next(from, &mut text, line)? else { break };
        let event: Event = serde_json::from_str(text).map_err(|error| wrong(line, error.to_string()))?;
        events.push(event);
    }
    Ok(Recording { header, events })
}

/// The next line, without its end; none at the end.
fn next<'a>(from: &mut impl BufRead, text: &'a mut String, line: usize) -> Result<Option<&'a str>, Error> {
    text.clear();
    let length = from.take(LONGEST).read_line(text)?;
    if length as u64 == LONGEST && !text.ends_with('\n') {
        return Err(Error::Line { line, reason: format!("it is longer than {LONGEST} bytes") });
    }
    Ok((length > 0).then(|| text.trim_end_matches(['\n', '\r'])))
}
