//! [`Record`]: what is known of a connection at its end, and how that becomes a line of the log.

use super::{Escaped, Format, Journal, Json, Masked, Stamp};
use crate::endpoint::Address;
use crate::introduction::{Introduction, Shown};
use crate::peer::Peer;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// What is known of a connection at its end.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Number of the connection, unique among all workers.
    pub id: u64,
    /// The service's name.
    pub service: &'a str,
    /// The engine's name.
    pub engine: &'a str,
    /// The listener's address.
    pub local: &'a Address,
    /// Who was at the other end.
    pub peer: Peer,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// From accept to close.
    pub duration: Duration,
    /// How it ended.
    pub end: &'a str,
    /// What the service noted (bytes of the peer's).
    pub note: Option<&'a [u8]>,
    /// What is known of TLS, if it was spoken, as `Journal::told` writes it.
    pub tls: Option<&'a str>,
    /// The program that served, if it was one. Bytes are then not known.
    pub ran: Option<Ran>,
    /// What a proxy said of the client, if one introduced him.
    pub introduction: Option<&'a Introduction>,
    /// The name under which the connection was introduced to somebody else.
    pub unique_id: Option<&'a [u8]>,
}

/// A program that served a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ran {
    /// Its process id; 0 if there never was a process.
    pub pid: i32,
    /// How it ended.
    pub exit: Exit,
    /// From accept until it was started: for room, or for a process.
    pub waited: Duration,
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It was adopted from a worker that died, and its end is not told to strangers.
    Unknown,
    /// It was never started.
    Never,
}

impl Exit {
    /// The name of what is known, and what is known.
    fn parts(self) -> (&'static str, Result<i32, &'static str>) {
        match self {
            Exit::Status(status) => ("status", Ok(status)),
            Exit::Signal(signal) => ("signal", Ok(signal)),
            Exit::Unknown => ("status", Err("unknown")),
            Exit::Never => ("status", Err("none")),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (name, Ok(number)) => write!(f, "{name}={number}"),
            (name, Err(word)) => write!(f, "{name}={word}"),
        }
    }
}

impl Journal {
    /// A record as text, up to where the peer's name belongs. It is written where it stays: a process for each
    /// connection pays for every page that is touched.
    pub(super) fn push_record(&self, lines: &mut String, record: &Record<'_>) {
        let Record { id, service, engine, local, end, introduction, unique_id, .. } = *record;
        let peer = Masked { peer: record.peer, mask: self.mask };
        let moved = Moved { record, format: self.format };
        let time = Seconds(record.duration);
        let introduced = Shown { introduction, unique_id, journal: self, format: self.format };
        let now = Stamp::now();
        let done = match self.format {
            Format::Human => write!(
                lines,
                "{now} {service} #{id} {peer} -> {local} engine={engine} {moved} {time}s end={end}{introduced}",
            ),
            Format::Logfmt => write!(
                lines,
                "time={now} event=connection id={id} service={service} engine={engine} local={local} peer={peer} \
                 {moved} duration_s={time} end=\"{end}\"{introduced}",
            ),
            Format::Json => write!(
                lines,
                "{{\"time\":\"{now}\",\"event\":\"connection\",\"id\":{id},\"service\":{},\"engine\":\"{engine}\",\
                 \"local\":{},\"peer\":\"{peer}\",{moved},\"duration_s\":{time},\"end\":\"{end}\"{introduced}",
                Json(service),
                Json(&local.to_string()),
            ),
        };
        debug_assert!(done.is_ok(), "writing into a string cannot fail");
    }

    /// The rest of it.
    pub(super) fn push_rest(&self, lines: &mut String, record: &Record<'_>) {
        lines.push_str(record.tls.unwrap_or_default());
        let done = match (record.note, self.format) {
            (None, Format::Human | Format::Logfmt) => lines.write_str("\n"),
            (None, Format::Json) => lines.write_str("}\n"),
            (Some(note), Format::Human | Format::Logfmt) => writeln!(lines, " note=\"{}\"", Escaped(note)),
            (Some(note), Format::Json) => {
                writeln!(lines, ",\"note\":{}}}", Json(&Escaped(note).to_string()))
            }
        };
        debug_assert!(done.is_ok(), "writing into a string cannot fail");
    }
}

/// How many bytes went each way, or, of a program's connection, where those are not known, its process.
struct Moved<'a> {
    record: &'a Record<'a>,
    format: Format,
}

impl fmt::Display for Moved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { received, sent, ran, .. } = self.record;
        let Some(Ran { pid, exit, waited }) = *ran else {
            return match self.format {
                Format::Human => write!(f, "in={received} out={sent}"),
                Format::Logfmt => write!(f, "bytes_in={received} bytes_out={sent}"),
                Format::Json => write!(f, "\"bytes_in\":{received},\"bytes_out\":{sent}"),
            };
        };
        let waited = Seconds(waited);
        match (self.format, exit.parts()) {
            (Format::Human, _) => write!(f, "pid={pid} {exit} waited={waited}s"),
            (Format::Logfmt, _) => write!(f, "pid={pid} {exit} waited_s={waited}"),
            (Format::Json, (name, Ok(number))) => {
                write!(f, "\"pid\":{pid},\"{name}\":{number},\"waited_s\":{waited}")
            }
            (Format::Json, (name, Err(word))) => {
                write!(f, "\"pid\":{pid},\"{name}\":\"{word}\",\"waited_s\":{waited}")
            }
        }
    }
}

/// Seconds and microseconds, rounded down; without floating point, whose tables are cold in a new process.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
