//! [`Editor`]: a line that is edited at the foot of what arrives; without I/O.
//!
//! ```text
//!   login: user na▮me          what the peer has not ended with a line feed stands in front, as a prompt does;
//!   └ tail ┘└ line ┘           when more comes, the line is wiped, the peer's bytes are written, the line drawn anew
//! ```
//! The peer's bytes pass unchanged. To know in which column they leave the cursor, escape sequences are skipped and
//! widths are those of Unicode; a peer that moves the cursor about wants `--no-edit`. Bytes of a character or sequence
//! that is not whole yet wait for the rest, so that the line is not drawn into their midst.

#[cfg(test)]
mod emulator;
mod glyph;
mod history;
mod keys;
#[cfg(test)]
mod tests;

use glyph::{Glyph, Place, columns};
pub(super) use history::{History, usual_file};
use keys::{Key, Keys};
use std::fmt::Write as _;
use switchboard_net::sys::terminal;
use switchboard_net::talk::Screen;

/// Characters of a line.
const LONGEST: usize = 16 * 1024;
/// Bytes of an escape sequence of the peer's that are waited for.
const LONGEST_SEQUENCE: usize = 64;

/// A line that is being edited, and the column in which it begins.
pub(super) struct Editor {
    /// Columns of the terminal.
    width: Box<dyn Fn() -> usize>,
    columns: usize,
    keys: Keys,
    line: Vec<Glyph>,
    /// Where the cursor is in it.
    at: usize,
    killed: Vec<Glyph>,
    history: History,
    /// The column in which the peer's last bytes, or the last line, left the cursor.
    tail: usize,
    /// Of the peer's bytes, a character or sequence that is not whole.
    held: Vec<u8>,
    /// For the terminal.
    out: String,
    raw: Vec<u8>,
    ended: bool,
}

impl Editor {
    pub(super) fn new(width: Box<dyn Fn() -> usize>, history: History) -> Editor {
        Editor {
            columns: width(),
            width,
            keys: Keys::default(),
            line: Vec::new(),
            at: 0,
            killed: Vec::new(),
            history,
            tail: 0,
            held: Vec::new(),
            out: String::new(),
            raw: Vec::new(),
            ended: false,
        }
    }

    /// Says something on a line of its own, above the one that is edited.
    pub(super) fn notice(&mut self, text: &str) {
        self.wipe();
        if self.tail > 0 {
            self.out.push('\n');
        }
        for line in text.lines() {
            let _ = writeln!(self.out, "{line}");
        }
        self.tail = 0;
        self.draw();
    }

    /// The end: what the terminal is to be given still, so that whatever comes next has a line of its own.
    pub(super) fn leave(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        self.came_whole(&held);
        if !self.line.is_empty() {
            self.go_to(self.line.len());
            self.out.push('\n');
            self.line.clear();
            self.at = 0;
        }
        let mut rest = Vec::new();
        self.show(&mut rest);
        rest
    }

    // ── What is typed ──

    fn key(&mut self, key: Key, input: &mut Vec<u8>) {
        let end = self.line.len();
        match key {
            Key::Text(bytes) if end < LONGEST => {
                self.wipe();
                self.line.insert(self.at, Glyph::new(&bytes));
                self.at += 1;
                self.draw();
            }
            Key::Text(_) => self.out.push('\x07'),
            Key::Enter => {
                self.go_to(end);
                self.out.push('\n');
                self.tail = 0;
                self.at = 0;
                let line: Vec<u8> =
                    std::mem::take(&mut self.line).into_iter().flat_map(|one| one.bytes).collect();
                self.history.add(&line);
                input.extend_from_slice(&line);
                input.push(b'\n');
            }
            Key::End if end == 0 => self.ended = true,
            Key::End | Key::Delete => self.cut(self.at, (self.at + 1).min(end), false),
            Key::Backspace => self.cut(self.at.saturating_sub(1), self.at, false),
            Key::KillToEnd => self.cut(self.at, end, true),
            Key::KillToStart => self.cut(0, self.at, true),
            Key::KillWord => self.cut(self.word_left(), self.at, true),
            Key::Yank => {
                let killed = self.killed.clone();
                if end + killed.len() <= LONGEST {
                    self.wipe();
                    let at = self.at;
                    self.at += killed.len();
                    self.line.splice(at..at, killed);
                    self.draw();
                }
            }
            Key::Left => self.go_to(self.at.saturating_sub(1)),
            Key::Right => self.go_to((self.at + 1).min(end)),
            Key::WordLeft => self.go_to(self.word_left()),
            Key::WordRight => self.go_to(self.word_right()),
            Key::LineStart => self.go_to(0),
            Key::LineEnd => self.go_to(end),
            Key::Older => {
                let typed = self.line.iter().flat_map(|one| one.bytes.iter().copied()).collect();
                let line = self.history.older(typed).map(<[u8]>::to_vec);
                self.replace(line);
            }
            Key::Newer => {
                let line = self.history.newer().map(<[u8]>::to_vec);
                self.replace(line);
            }
            Key::Redraw => {
                self.out.push_str("\x1b[H\x1b[2J");
                self.tail = 0;
                self.draw();
            }
            Key::Quote | Key::Other => {}
        }
    }

    fn word_left(&self) -> usize {
        let before = &self.line[..self.at];
        let word = before.iter().rposition(Glyph::is_word).unwrap_or(0);
        before[..word].iter().rposition(|one| !one.is_word()).map_or(0, |blank| blank + 1)
    }

    fn word_right(&self) -> usize {
        let after = &self.line[self.at..];
        let word = after.iter().position(Glyph::is_word).unwrap_or(after.len());
        self.at
            + after[word..].iter().position(|one| !one.is_word()).map_or(after.len(), |blank| word + blank)
    }

    fn cut(&mut self, from: usize, to: usize, keep: bool) {
        if from < to {
            self.wipe();
            let cut = self.line.drain(from..to).collect();
            if keep {
                self.killed = cut;
            }
            self.at = from;
            self.draw();
        }
    }

    fn replace(&mut self, line: Option<Vec<u8>>) {
        if let Some(line) = line {
            self.wipe();
            let mut keys = Keys::default();
            // A file's line may hold what would be a key; here it is text.
            let whole = String::from_utf8_lossy(&line);
            self.line = match std::str::from_utf8(&line) {
                Ok(_) => whole.chars().map(|one| Glyph::new(one.to_string().as_bytes())).collect(),
                Err(_) => line
                    .iter()
                    .filter_map(|byte| match keys.next(*byte)? {
                        Key::Text(bytes) => Some(Glyph::new(&bytes)),
                        _ => Some(Glyph::new(&[*byte])),
                    })
                    .collect(),
            };
            self.line.truncate(LONGEST);
            self.at = self.line.len();
            self.draw();
        }
    }

    // ── What is shown ──

    /// Where the cursor is before the character at `at`, from where the line begins.
    fn place(&self, at: usize) -> Place {
        let start = Place { row: 0, column: self.tail };
        self.line[..at].iter().fold(start, |place, one| place.after(one.width, self.columns))
    }

    fn move_cursor(&mut self, from: Place, to: Place) {
        if from == to {
            return;
        }
        if to.row < from.row {
            let _ = write!(self.out, "\x1b[{}A", from.row - to.row);
        } else if to.row > from.row {
            let _ = write!(self.out, "\x1b[{}B", to.row - from.row);
        }
        self.out.push('\r');
        if to.column > 0 {
            let _ = write!(self.out, "\x1b[{}C", to.column);
        }
    }

    fn go_to(&mut self, at: usize) {
        self.move_cursor(self.place(self.at), self.place(at));
        self.at = at;
    }

    /// Takes the line off the screen; the cursor is where the peer's next bytes belong.
    fn wipe(&mut self) {
        if !self.line.is_empty() {
            self.move_cursor(self.place(self.at), self.place(0));
            self.out.push_str("\x1b[J");
        }
    }

    /// Puts it there again.
    fn draw(&mut self) {
        for one in &self.line {
            self.out.push_str(&one.shown);
        }
        let end = self.place(self.line.len());
        if end.column == 0 && !self.line.is_empty() {
            // The last row is full, and where the cursor is then differs between terminals: it is put where it belongs.
            self.out.push_str("\r\n");
        }
        self.move_cursor(end, self.place(self.at));
    }

    /// Moves what is for the terminal behind what is there already.
    fn settle(&mut self) {
        self.raw.append(&mut std::mem::take(&mut self.out).into_bytes());
    }

    fn came_whole(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.wipe();
        self.settle();
        self.raw.extend_from_slice(bytes);
        self.tail = column_after(self.tail, bytes, self.columns);
        if self.tail == 0
            && bytes.last() != Some(&b'\n')
            && bytes.last() != Some(&b'\r')
            && !self.line.is_empty()
        {
            // A full row, as in `draw`.
            self.out.push_str("\r\n");
        }
        self.draw();
        self.settle();
    }
}

impl Screen for Editor {
    fn typed(&mut self, bytes: &[u8], input: &mut Vec<u8>) -> bool {
        self.columns = (self.width)();
        for byte in bytes {
            if let Some(key) = self.keys.next(*byte)
                && !self.ended
            {
                self.key(key, input);
            }
        }
        !self.ended
    }

    fn came(&mut self, bytes: &[u8]) {
        self.columns = (self.width)();
        self.held.extend_from_slice(bytes);
        let whole = self.held.len() - unfinished(&self.held);
        let rest = self.held.split_off(whole);
        let whole = std::mem::replace(&mut self.held, rest);
        self.came_whole(&whole);
    }

    fn show(&mut self, terminal: &mut Vec<u8>) {
        if terminal::resumed() {
            // Somebody else had the screen.
            self.out.push('\r');
            self.tail = 0;
            self.draw();
        }
        self.settle();
        terminal.append(&mut self.raw);
    }
}

/// Bytes at the end that are the beginning of a character or of an escape sequence.
fn unfinished(bytes: &[u8]) -> usize {
    let recent = &bytes[bytes.len().saturating_sub(LONGEST_SEQUENCE)..];
    if let Some(escape) = recent.iter().rposition(|byte| *byte == 0x1b)
        && sequence(&recent[escape..]).is_none()
    {
        return recent.len() - escape;
    }
    let last = &bytes[bytes.len().saturating_sub(3)..];
    (1..=last.len())
        .find(|n| {
            let end = &last[last.len() - n..];
            std::str::from_utf8(end)
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}

/// Length of the escape sequence that these bytes begin with, once it is whole (ECMA-48; operating system commands end
/// with BEL or ESC \).
fn sequence(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'[' => bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte)).map(|at| at + 3),
        b']' | b'P' => bytes[2..].iter().position(|byte| matches!(byte, 0x07 | b'\\')).map(|at| at + 3),
        b'(' | b')' | b'#' | b' ' => bytes.get(2).map(|_| 3),
        _ => Some(2),
    }
}

/// The column in which these bytes leave a cursor that was in this one.
fn column_after(column: usize, bytes: &[u8], width: usize) -> usize {
    let mut place = Place { row: 0, column };
    let mut rest = bytes;
    while let Some(byte) = rest.first() {
        let mut len = 1;
        match byte {
            b'\n' | b'\r' => place.column = 0,
            b'\t' => place.column = ((place.column / 8 + 1) * 8).min(width - 1),
            0x08 => place.column = place.column.saturating_sub(1),
            0x1b => len = sequence(rest).unwrap_or(rest.len()),
            0x20..=0x7e => place = place.after(1, width),
            0x80.. => {
                let piece = &rest[..rest.len().min(4)];
                let valid = match std::str::from_utf8(piece) {
                    Ok(text) => text,
                    Err(error) => std::str::from_utf8(&piece[..error.valid_up_to()]).unwrap_or(""),
                };
                match valid.chars().next() {
                    Some(character) => {
                        len = character.len_utf8();
                        place = place.after(columns(character), width);
                    }
                    // Terminals show one sign for what is no character.
                    None => place = place.after(1, width),
                }
            }
            0x00..0x20 | 0x7f => {}
        }
        rest = &rest[len..];
    }
    place.column
}
