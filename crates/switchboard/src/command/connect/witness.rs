//! [`Witness`]: what is shown of a conversation while it goes on: what is waited for, every byte, how far it is.

use super::editor::{Editor, History};
use crate::report::Output;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use switchboard_net::Error;
use switchboard_net::sys::clock;
use switchboard_net::sys::local::Nature;
use switchboard_net::sys::terminal::{self, Raw};
use switchboard_net::talk::{self, Screen, Waiting};
use switchboard_proto::Instant;

/// Bytes in a line of the dump.
const ROW: usize = 16;
/// How often progress is shown.
const BEAT: Duration = Duration::from_millis(500);

/// Sees a conversation and shows of it what was asked for.
pub(super) struct Witness<'a> {
    name: &'a str,
    silent: bool,
    out: &'a mut Output,
    dump: Option<Dump>,
    progress: Option<Progress>,
    desk: Option<Desk>,
    started: Instant,
    sent: u64,
    received: u64,
}

/// Where every byte is shown.
enum Dump {
    StandardError,
    File(BufWriter<File>, Option<io::Error>),
}

/// A terminal at which lines are edited.
struct Desk {
    editor: Editor,
    /// For as long as this lives.
    _raw: Raw,
}

/// How far it is.
struct Progress {
    /// Bytes of the input, if that is a file.
    total: Option<u64>,
    shown: Instant,
}

impl<'a> Witness<'a> {
    pub(super) fn new(
        name: &'a str,
        silent: bool,
        hex: Option<&Path>,
        input: &OwnedFd,
        output: &OwnedFd,
        out: &'a mut Output,
    ) -> Result<Witness<'a>, Error> {
        let dump = match hex {
            None => None,
            Some(path) if path == Path::new("-") => Some(Dump::StandardError),
            Some(path) => {
                let file = File::create(path)
                    .map_err(|error| Error::system(format!("write the dump to {}", path.display()), error))?;
                Some(Dump::File(BufWriter::new(file), None))
            }
        };
        let started = clock::now();
        let regular = |fd: &OwnedFd| Nature::of(fd) == Nature::Regular;
        let shows = (regular(input) || regular(output)) && io::stderr().is_terminal();
        let progress = (shows && !matches!(dump, Some(Dump::StandardError)))
            .then(|| Progress { total: regular(input).then(|| left_of(input)).flatten(), shown: started });
        Ok(Witness { name, silent, out, dump, progress, desk: None, started, sent: 0, received: 0 })
    }

    /// Has lines edited at the terminal that is input and output.
    pub(super) fn edit(&mut self, terminal: &OwnedFd, history: History) -> Result<(), Error> {
        let failed = |error| Error::system("edit lines at the terminal (--no-edit does without)", error);
        let again = terminal.try_clone().map_err(failed)?;
        let raw = Raw::enter(terminal.as_fd()).map_err(failed)?;
        let editor = Editor::new(Box::new(move || terminal::columns(&again)), history);
        self.desk = Some(Desk { editor, _raw: raw });
        Ok(())
    }

    /// Says something to the person at the terminal, above the line that is edited.
    fn say(&mut self, text: &str) {
        match &mut self.desk {
            Some(desk) => desk.editor.notice(text),
            None => self.out.aside(text),
        }
    }

    /// The conversation is over.
    pub(super) fn end(mut self) -> Result<(), Error> {
        if let Some(mut desk) = self.desk.take() {
            let rest = desk.editor.leave();
            self.out.bytes(&rest);
        }
        if self.progress.is_some() {
            self.out.passing("");
        }
        let Some(Dump::File(mut file, failed)) = self.dump else { return Ok(()) };
        match failed.map_or_else(|| file.flush(), Err) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::system("write the dump", error)),
        }
    }

    fn show(&mut self, mark: char, before: u64, bytes: &[u8]) {
        let now = clock::now();
        if let Some(dump) = &mut self.dump {
            let text = rows(mark, now.since(self.started), before, bytes);
            match dump {
                Dump::StandardError => self.say(text.trim_end()),
                Dump::File(file, failed) => {
                    if failed.is_none() {
                        *failed = file.write_all(text.as_bytes()).err();
                    }
                }
            }
        }
        self.show_progress(now);
    }

    fn show_progress(&mut self, now: Instant) {
        if let Some(progress) = &mut self.progress
            && now >= progress.shown + BEAT
        {
            progress.shown = now;
            let took = now.since(self.started).as_secs_f64();
            self.out.passing(how_far(self.sent, self.received, progress.total, took));
        }
    }
}

impl talk::Witness for Witness<'_> {
    fn waiting(&mut self, what: Waiting) {
        if self.silent {
            return;
        }
        let text = match what {
            Waiting::Start => format!("connected; waiting for input, and for {} to say something", self.name),
            Waiting::Answer => format!("all input is sent; waiting for {} to answer", self.name),
        };
        self.say(&format!("switchboard: {text}"));
    }

    fn came_from(&mut self, from: SocketAddr, addressee: SocketAddr) {
        if from != addressee {
            self.say(&format!(
                "switchboard: the next answer comes from udp:{from}, and not from udp:{addressee}"
            ));
        }
    }

    fn screen(&mut self) -> Option<&mut dyn Screen> {
        self.desk.as_mut().map(|desk| &mut desk.editor as &mut dyn Screen)
    }

    fn wants_bytes(&self) -> bool {
        self.dump.is_some()
    }

    fn passed(&mut self, sent: u64, received: u64) {
        self.sent += sent;
        self.received += received;
        self.show_progress(clock::now());
    }

    fn sent(&mut self, bytes: &[u8]) {
        let before = self.sent;
        self.sent += bytes.len() as u64;
        self.show('>', before, bytes);
    }

    fn received(&mut self, bytes: &[u8]) {
        let before = self.received;
        self.received += bytes.len() as u64;
        self.show('<', before, bytes);
    }
}

/// Bytes of a file from where it stands to its end.
fn left_of(file: &OwnedFd) -> Option<u64> {
    let size = u64::try_from(rustix::fs::fstat(file).ok()?.st_size).ok()?;
    let at = rustix::fs::tell(file).ok()?;
    Some(size.saturating_sub(at))
}

/// Lines of a dump: direction, seconds since the start, place of the first byte in that direction, the bytes.
fn rows(mark: char, at: Duration, before: u64, bytes: &[u8]) -> String {
    let mut text = String::new();
    let at = at.as_secs_f64();
    for (index, row) in bytes.chunks(ROW).enumerate() {
        let place = before + (index * ROW) as u64;
        let _ = write!(text, "{mark} {at:11.6} {place:08x} ");
        for column in 0..ROW {
            match row.get(column) {
                Some(byte) => drop(write!(text, " {byte:02x}")),
                None => text.push_str("   "),
            }
        }
        let shown = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        let _ = writeln!(text, "  {}", row.iter().map(shown).collect::<String>());
    }
    if bytes.is_empty() {
        let _ = writeln!(text, "{mark} {at:11.6} {before:08x}  (an empty message)");
    }
    text
}

fn how_far(sent: u64, received: u64, total: Option<u64>, took_s: f64) -> String {
    let moved = sent.max(received);
    let rate = moved as f64 / took_s.max(0.001);
    let mut text = format!(
        "sent {:.1} MB, received {:.1} MB, {:.1} MB/s",
        sent as f64 / 1e6,
        received as f64 / 1e6,
        rate / 1e6
    );
    if let Some(total) = total.filter(|total| *total > 0) {
        let left_s = total.saturating_sub(sent) as f64 / (sent as f64 / took_s.max(0.001)).max(1.0);
        let percent = (sent as f64 / total as f64 * 100.0).min(100.0);
        let _ = write!(text, ", {percent:.0} % of the input, {left_s:.0} s to go");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_shows_direction_time_place_and_bytes() {
        let text = rows('>', Duration::from_micros(1_500), 16, b"hello\r\n");
        assert_eq!(
            text,
            ">    0.001500 00000010  68 65 6c 6c 6f 0d 0a                             hello..\n"
        );
        assert_eq!(rows('<', Duration::ZERO, 0, &[b'a'; 17]).lines().count(), 2);
        assert_eq!(rows('<', Duration::ZERO, 0, b""), "<    0.000000 00000000  (an empty message)\n");
    }

    #[test]
    fn progress_tells_rate_and_rest() {
        let text = how_far(5_000_000, 0, Some(20_000_000), 2.0);
        assert_eq!(text, "sent 5.0 MB, received 0.0 MB, 2.5 MB/s, 25 % of the input, 6 s to go");
        assert!(!how_far(0, 7, Some(0), 0.0).contains("to go"));
    }
}
