//! [`Lines`]: what a program writes to its standard error, cut into lines for the log, and kept from filling it.
//!
//! The pipe is always read, so that a program never waits for the log; what is more than the limits is counted and
//! said in one line.

use crate::journal::Journal;
use crate::sys::socket;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::time::Duration;
use switchboard_proto::Instant;

/// Bytes of one line in the log at most; the rest of it is left out, and said.
pub(super) const LONGEST: usize = 1_024;
/// Lines of one program that are logged at once, and then one in each [`EVERY`].
const BURST: u32 = 200;
/// See [`BURST`]: 20 lines a second.
const EVERY: Duration = Duration::from_millis(50);
/// Bytes read from one program before others get their turn.
const TURN: usize = 64 * 1024;

/// The reading end of a program's standard error.
pub(super) struct Lines {
    pub(super) pipe: OwnedFd,
    /// The connection's number.
    pub(super) id: u64,
    partial: Vec<u8>,
    /// Bytes of the line that were left out.
    cut: u64,
    /// When the bucket of lines would be full.
    full_at: Instant,
    dropped: u64,
}

/// Whether there may be more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum More {
    /// Not now.
    Later,
    /// Never: every process that had the other end is gone.
    Never,
}

impl Lines {
    /// `pipe` is non-blocking; its other end, the program's, is not.
    pub(super) fn new(pipe: OwnedFd, id: u64) -> Lines {
        Lines { pipe, id, partial: Vec::new(), cut: 0, full_at: Instant::default(), dropped: 0 }
    }

    /// Goes on with what another process had read of a line.
    pub(super) fn with_partial(mut self, partial: Vec<u8>) -> Lines {
        self.partial = partial;
        self
    }

    /// The line that has not ended yet.
    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Reads what is there and logs it.
    pub(super) fn read(&mut self, journal: &Journal, service: &str, now: Instant) -> More {
        let mut bytes = [0; 16 * 1024];
        let mut taken = 0;
        while taken < TURN {
            match socket::retry(|| rustix::io::read(&self.pipe, &mut bytes)) {
                Ok(0) => {
                    self.finish(journal, service, now);
                    return More::Never;
                }
                Ok(n) => {
                    taken += n;
                    self.take(&bytes[..n], journal, service, now);
                    if n < bytes.len() {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(_) => return More::Never,
            }
        }
        More::Later
    }

    /// Logs what is left: the last line need not end.
    pub(super) fn finish(&mut self, journal: &Journal, service: &str, now: Instant) {
        if !self.partial.is_empty() {
            self.end_line(journal, service, now);
        }
        self.tell_dropped(journal, service);
    }

    fn take(&mut self, mut bytes: &[u8], journal: &Journal, service: &str, now: Instant) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end]);
            self.end_line(journal, service, now);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST - self.partial.len();
        let kept = bytes.len().min(room);
        self.partial.extend_from_slice(&bytes[..kept]);
        self.cut += (bytes.len() - kept) as u64;
    }

    fn end_line(&mut self, journal: &Journal, service: &str, now: Instant) {
        if self.may_log(now) {
            self.tell_dropped(journal, service);
            let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
            journal.said(self.id, service, line, self.cut);
        } else {
            self.dropped += 1;
        }
        self.partial.clear();
        self.cut = 0;
    }

    fn tell_dropped(&mut self, journal: &Journal, service: &str) {
        if self.dropped > 0 {
            let text = format!("({} lines of standard error were not logged)", self.dropped);
            journal.said(self.id, service, text.as_bytes(), 0);
            self.dropped = 0;
        }
    }

    /// A token bucket: the time at which it is full again moves with every line.
    fn may_log(&mut self, now: Instant) -> bool {
        if self.full_at.since(now) >= EVERY * BURST {
            return false;
        }
        self.full_at = self.full_at.max(now) + EVERY;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Format;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn lines_are_cut_bounded_and_counted() {
        let (mut log, sink) = UnixStream::pair().unwrap();
        let journal = Journal::new(sink.into(), Format::Human);
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let mut lines = Lines::new(reader, 7);
        let mut writer = std::fs::File::from(writer);
        writer.write_all(b"one\ntw").unwrap();
        let now = Instant(1_000_000_000_000);
        assert_eq!(lines.read(&journal, "s", now), More::Later);
        writer.write_all(b"o\r\n\x1b[2J\n").unwrap();
        writer.write_all(&vec![b'x'; 5_000]).unwrap();
        writer.write_all(b"\n").unwrap();
        assert_eq!(lines.read(&journal, "s", now), More::Later);
        for _ in 0..1_000 {
            writer.write_all(b"flood\n").unwrap();
        }
        writer.write_all(b"last").unwrap();
        drop(writer);
        assert_eq!(lines.read(&journal, "s", now), More::Later, "less than was asked for: it may be all");
        assert_eq!(lines.read(&journal, "s", now), More::Never);
        journal.finish();
        drop(journal);
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        let said: Vec<&str> =
            text.lines().filter_map(|line| line.split_once("#7 stderr: ")).map(|l| l.1).collect();
        assert_eq!(said[..3], ["one", "two", "\\u{1b}[2J"]);
        assert!(said[3].starts_with("xxx") && said[3].ends_with("x (3976 more bytes)"), "{}", said[3]);
        assert_eq!(said.iter().filter(|line| **line == "flood").count(), BURST as usize - 4);
        assert_eq!(said.last().unwrap(), &"(805 lines of standard error were not logged)");
    }
}
