//! [`Journal`]: one structured record per connection, for people or for programs.
//!
//! Records are collected and written in one go when the engine is about to sleep. Bytes that came from a peer
//! are escaped: no control character, quote, backslash or bidirectional override reaches the log as it is.

mod record;

pub use record::{Exit, Ran, Record};

use crate::introduction::{Introduction, Shown};
use crate::peer::Peer;
use crate::resolve::Resolver;
use crate::sys::shared::shared;
use crate::sys::{clock, socket};
use crate::tls::Known;
use rustix::fd::OwnedFd;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use switchboard_proto::{Civil, Instant};

/// How records are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Words and `key=value` pairs.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
    /// `key=value` pairs only, one record a line.
    Logfmt,
}

/// How much of the peers' addresses the log shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mask {
    /// All.
    #[default]
    Nothing,
    /// The network: an IPv4 /24, an IPv6 /48; no port, no process number.
    Host,
    /// Nothing at all.
    All,
}

/// Where the log goes and how. A journal may be used by several threads, and by processes forked later.
#[derive(Debug)]
pub struct Journal {
    sink: Option<OwnedFd>,
    format: Format,
    mask: Mask,
    names: Option<OnceLock<Resolver>>,
    lines: Mutex<String>,
    /// For each [`Warning`]: when it was last written, and how many of its like were left out since. Shared with
    /// forked processes, so that what all of them lack is said once and not by each of them.
    warned: &'static Warned,
    /// Where lines that could not be written are counted for good.
    lost: Option<&'static AtomicU64>,
}

/// What is warned of at most once a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Warning {
    /// Nobody can be let in.
    Accept,
    /// A child died.
    Child,
    /// A child or a thread could not be made.
    Start,
    /// A connection could not be watched.
    Watch,
    /// A client was kept out by the rules of access.
    Denied,
    /// A client was sent away because of a limit.
    Limited,
    /// A client was sent away because no proxy introduced him as it should have.
    Introduction,
    /// A program could not be started.
    Program,
    /// A bound was kept against programs.
    Bounds,
}

/// Last of all: lines that could not be written and were not told of yet.
type Warned = [AtomicU64; 2 * (Warning::Bounds as usize + 1) + 1];

const LOST: usize = size_of::<Warned>() / size_of::<AtomicU64>() - 1;

/// For a journal without memory to share: one that is silent, or when there was none.
static ALONE: Warned = [const { AtomicU64::new(0) }; size_of::<Warned>() / size_of::<AtomicU64>()];

/// Lines collected before they are written even if the engine does not sleep, bytes.
const FLUSH_AT: usize = 32 * 1024;
/// Room for a connection's record of usual length, bytes.
const LINE: usize = 512;
/// Time between two warnings of the same kind.
const WARN_EVERY: Duration = Duration::from_secs(1);

impl Journal {
    /// A journal that writes to `sink`.
    pub fn new(sink: OwnedFd, format: Format) -> Journal {
        let warned = shared().unwrap_or(&ALONE);
        Journal {
            lost: None,
            sink: Some(sink),
            format,
            mask: Mask::Nothing,
            names: None,
            lines: Mutex::default(),
            warned,
        }
    }

    /// A journal that writes nothing.
    pub fn silent() -> Journal {
        Journal {
            sink: None,
            format: Format::Human,
            mask: Mask::Nothing,
            names: None,
            lines: Mutex::default(),
            warned: &ALONE,
            lost: None,
        }
    }

    /// Shows less of the peers' addresses, or nothing.
    #[must_use]
    pub fn with_mask(mut self, mask: Mask) -> Journal {
        self.mask = mask;
        self
    }

    /// Lines that cannot be written are counted there, besides being told of when they can be again.
    #[must_use]
    pub fn counting_lost(mut self, counter: &'static AtomicU64) -> Journal {
        self.lost = Some(counter);
        self
    }

    /// Adds the peer's name to each record (getnameinfo(3)), looked up after the connection has ended and away
    /// from the thread that serves.
    #[must_use]
    pub fn with_names(mut self) -> Journal {
        self.names = Some(OnceLock::new());
        self
    }

    /// Whether records get the peer's name.
    pub(crate) fn looks_names_up(&self) -> bool {
        self.names.is_some()
    }

    /// Writes a connection's record.
    pub fn record(&self, record: &Record<'_>) {
        let Some(sink) = &self.sink else { return };
        if let (Some(resolver), Peer::Inet(address), Mask::Nothing) = (&self.names, record.peer, self.mask) {
            let resolver = resolver.get_or_init(|| Resolver::start(sink));
            let mut halves = [String::new(), String::new()];
            self.push_record(&mut halves[0], record);
            self.push_rest(&mut halves[1], record);
            let [before, after] = halves;
            resolver.finish(before, address.ip(), after);
            return;
        }
        let mut lines = self.lock();
        self.push_record(&mut lines, record);
        self.push_rest(&mut lines, record);
        if lines.len() >= FLUSH_AT {
            self.write(&mut lines);
        }
    }

    /// Writes a line that the program of a connection wrote to its standard error; `cut` bytes of it were left out.
    pub(crate) fn said(&self, id: u64, service: &str, line: &[u8], cut: u64) {
        if self.sink.is_none() {
            return;
        }
        let mut lines = self.lock();
        let lines = &mut *lines;
        let more = if cut > 0 { format!(" ({cut} more bytes)") } else { String::new() };
        let line = Escaped(line);
        let now = Stamp::now();
        let done = match self.format {
            Format::Human => writeln!(lines, "{now} {service} #{id} stderr: {line}{more}"),
            Format::Logfmt => {
                writeln!(lines, "time={now} event=stderr id={id} service={service} text=\"{line}{more}\"")
            }
            Format::Json => writeln!(
                lines,
                "{{\"time\":\"{now}\",\"event\":\"stderr\",\"id\":{id},\"service\":{},\"text\":{}}}",
                Json(service),
                Json(&format!("{line}{more}")),
            ),
        };
        debug_assert!(done.is_ok(), "writing into a string cannot fail");
        if lines.len() >= FLUSH_AT {
            self.write(lines);
        }
    }

    /// Who introduced a client and as what, as it stands in this log's records.
    pub(crate) fn introduced(&self, introduction: Option<&Introduction>) -> String {
        Shown { introduction, unique_id: None, journal: self, format: self.format }.to_string()
    }

    /// What is known of a TLS session, as it stands in this log's records.
    pub(crate) fn told(&self, known: &Known) -> String {
        known.told(self.format)
    }

    /// A peer as this log shows him.
    pub(crate) fn shown(&self, peer: Peer) -> impl fmt::Display {
        Masked { peer, mask: self.mask }
    }

    /// Writes a line about the server itself.
    pub fn event(&self, text: &str) {
        if self.sink.is_none() {
            return;
        }
        let mut lines = self.lock();
        self.push_event(&mut lines, text);
        self.write(&mut lines);
    }

    /// Writes a warning, at most one of its kind a second; those left out are counted in the next one.
    pub(crate) fn warn(&self, kind: Warning, now: Instant, text: &dyn Fn() -> String) {
        if self.sink.is_none() {
            return;
        }
        let [last, left_out] = [0, 1].map(|field| &self.warned[2 * kind as usize + field]);
        let before = last.load(Ordering::Relaxed);
        let due = before == 0 || now.since(Instant(before)) >= WARN_EVERY;
        // Of several processes that are due at once, the one that says so first is the one that writes.
        if !due || last.compare_exchange(before, now.0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = left_out.swap(0, Ordering::Relaxed);
        let mut text = text();
        if left_out > 0 {
            let _ = write!(text, " ({left_out} more of these were not logged)");
        }
        let mut lines = self.lock();
        self.push_event(&mut lines, &text);
        self.write(&mut lines);
    }

    fn push_event(&self, lines: &mut String, text: &str) {
        let done = match self.format {
            Format::Human => writeln!(lines, "{} {text}", Stamp::now()),
            Format::Logfmt => writeln!(lines, "time={} event=notice text={}", Stamp::now(), Json(text)),
            Format::Json => writeln!(
                lines,
                "{{\"time\":\"{}\",\"event\":\"notice\",\"text\":{}}}",
                Stamp::now(),
                Json(text)
            ),
        };
        debug_assert!(done.is_ok(), "writing into a string cannot fail");
    }

    /// Writes what was collected. Engines call this before they sleep.
    pub fn flush(&self) {
        if self.sink.is_some() {
            let mut lines = self.lock();
            if !lines.is_empty() {
                self.write(&mut lines);
            }
        }
    }

    /// Writes everything, waiting for names that are still looked up. For the end of an engine.
    pub fn finish(&self) {
        self.flush();
        if let Some(resolver) = self.names.as_ref().and_then(OnceLock::get) {
            resolver.drain();
        }
    }

    fn write(&self, lines: &mut String) {
        if let Some(sink) = &self.sink {
            let lost = self.warned[LOST].swap(0, Ordering::Relaxed);
            if lost > 0 {
                self.push_event(lines, &format!("{lost} lines of the log before this were lost"));
            }
            if !write_all(sink, lines.as_bytes()) {
                let lines = lines.lines().count() as u64 - u64::from(lost > 0);
                self.warned[LOST].fetch_add(lost + lines, Ordering::Relaxed);
                if let Some(counter) = self.lost {
                    counter.fetch_add(lines, Ordering::Relaxed);
                }
            }
        }
        lines.clear();
        // One burst of long records must not stay in memory for ever.
        lines.shrink_to(FLUSH_AT);
    }

    /// Makes room for a line or two, before a process that has one connection is made: its allocator is not asked then.
    pub(crate) fn make_room(&self) {
        if self.sink.is_some() {
            self.lock().reserve(LINE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Writes everything; a log that cannot be written must not stop the service, so errors end the attempt. Whether it
/// was written.
pub(crate) fn write_all(sink: &OwnedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match socket::retry(|| rustix::io::write(sink, bytes)) {
            Ok(n) => bytes = &bytes[n..],
            Err(_) => return false,
        }
    }
    true
}

/// A peer as the log may show him.
struct Masked {
    peer: Peer,
    mask: Mask,
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::net::{IpAddr, Ipv6Addr};
        let ip = match (self.mask, self.peer) {
            (Mask::Nothing, peer) => return peer.fmt(f),
            (Mask::All, _) => return f.write_char('-'),
            (Mask::Host, Peer::Inet(address)) => address.ip(),
            (Mask::Host, Peer::Unix { uid, .. }) => return write!(f, "unix:uid={uid}"),
            (Mask::Host, Peer::Vsock { .. }) => return f.write_str("vsock"),
            (Mask::Host, Peer::Unknown) => return f.write_str("unknown"),
        };
        match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                write!(f, "{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                write!(f, "{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        }
    }
}

/// Now, in UTC, as RFC 3339 with milliseconds.
struct Stamp {
    civil: Civil,
    millis: u32,
}

impl Stamp {
    fn now() -> Stamp {
        let (s, ns) = clock::realtime();
        Stamp { civil: Civil::from_unix(s), millis: ns / 1_000_000 }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", self.millis)
    }
}

/// Foreign bytes made harmless: printable text stays, everything that could forge a line, move the cursor or
/// reorder text becomes an escape. Invalid UTF-8 becomes `\xNN`.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\\' | '"' | '\'' => write!(f, "\\{c}")?,
                    ' '..='~' => f.write_char(c)?,
                    _ if c.is_control() || is_reordering(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                    _ => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Line and paragraph separators and bidirectional controls (CVE-2021-42574).
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A JSON string (RFC 8259 §7).
pub struct Json<'a>(pub &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                _ if c.is_control() || is_reordering(c) => write!(f, "\\u{:04x}", u32::from(c))?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_are_escaped() {
        let all: Vec<u8> = (0..=255).collect();
        let text = Escaped(&all).to_string();
        assert!(text.chars().all(|c| (' '..='~').contains(&c)), "{text}");
        for point in
            ['\u{61c}', '\u{200e}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{2028}', '\u{85}']
        {
            let text = Escaped(point.to_string().as_bytes()).to_string();
            assert!(text.starts_with("\\u{"), "{text}");
        }
        assert_eq!(Escaped("a\"b\\c\nüé".as_bytes()).to_string(), "a\\\"b\\\\c\\nüé");
    }

    #[test]
    fn masks_leave_the_network_or_nothing() {
        let shown = |peer: &str, mask| {
            let peer = Peer::Inet(peer.parse().unwrap());
            Masked { peer, mask }.to_string()
        };
        assert_eq!(shown("192.0.2.77:4711", Mask::Nothing), "192.0.2.77:4711");
        assert_eq!(shown("192.0.2.77:4711", Mask::Host), "192.0.2.0/24");
        assert_eq!(shown("[2001:db8:1:2::3]:4711", Mask::Host), "2001:db8:1::/48");
        assert_eq!(shown("192.0.2.77:4711", Mask::All), "-");
        let unix = Peer::Unix { pid: 4711, uid: 1000 };
        assert_eq!(Masked { peer: unix, mask: Mask::Host }.to_string(), "unix:uid=1000");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_of() {
        use std::io::Read;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut journal = Journal::new(full.into(), Format::Human);
        journal.event("one");
        journal.event("two");
        journal.sink = Some(writer.into());
        journal.event("three");
        drop(journal);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].ends_with(" three") && lines[1].ends_with(" 2 lines of the log before this were lost"),
            "{text}"
        );
        assert_eq!(lines.len(), 2, "{text}");
    }

    #[test]
    fn json_strings_are_json() {
        assert_eq!(Json("a\"b\\c\nü\u{202e}").to_string(), "\"a\\\"b\\\\c\\u000aü\\u202e\"");
    }
}
