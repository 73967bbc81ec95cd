//! A terminal, as far as a line editor needs one: what stands on its screen after these bytes.
#![allow(dead_code)]

use unicode_width::UnicodeWidthChar;

/// A screen without end downwards. A character that fills the last column leaves the cursor behind it, as VT100s do.
pub(crate) struct Emulator {
    width: usize,
    /// A wide character has an empty cell behind it.
    rows: Vec<Vec<Option<char>>>,
    row: usize,
    column: usize,
    bytes: Vec<u8>,
}

impl Emulator {
    pub(crate) fn new(width: usize) -> Emulator {
        Emulator { width, rows: vec![Vec::new()], row: 0, column: 0, bytes: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        loop {
            let text = match std::str::from_utf8(&self.bytes) {
                Ok(text) => text,
                Err(error) if error.valid_up_to() > 0 => {
                    std::str::from_utf8(&self.bytes[..error.valid_up_to()]).unwrap_or_default()
                }
                Err(_) => return,
            };
            let Some(first) = text.chars().next() else { return };
            let used = if first == '\x1b' {
                let Some(end) = text[1..].find(|c: char| c.is_ascii_alphabetic()) else { return };
                let sequence = text[1..=end + 1].to_owned();
                self.sequence(&sequence);
                end + 2
            } else {
                self.put(first);
                first.len_utf8()
            };
            self.bytes.drain(..used);
        }
    }

    fn sequence(&mut self, sequence: &str) {
        let body = sequence.strip_prefix('[').unwrap_or(sequence);
        let (number, command) = body.split_at(body.len() - 1);
        let n = number.parse::<usize>().unwrap_or(1);
        match command {
            "A" => self.row = self.row.saturating_sub(n),
            "B" => self.row += n,
            "C" => self.column = (self.column + n).min(self.width - 1),
            "D" => self.column = self.column.saturating_sub(n),
            "J" | "K" => {
                self.cut_row();
                if command == "J" {
                    self.rows.truncate(self.row + 1);
                }
            }
            _ => {}
        }
    }

    fn cut_row(&mut self) {
        self.reach();
        self.rows[self.row].truncate(self.column);
    }

    /// There is such a row.
    fn reach(&mut self) {
        while self.rows.len() <= self.row {
            self.rows.push(Vec::new());
        }
    }

    fn put(&mut self, character: char) {
        match character {
            '\r' => self.column = 0,
            // The terminal's line discipline makes both of it.
            '\n' => {
                self.row += 1;
                self.column = 0;
                self.reach();
            }
            '\x08' => self.column = self.column.saturating_sub(1),
            character => {
                let width = character.width().unwrap_or(0);
                if width == 0 {
                    return;
                }
                self.reach();
                if self.column + width > self.width {
                    self.row += 1;
                    self.column = 0;
                    self.reach();
                }
                let row = &mut self.rows[self.row];
                while row.len() < self.column + width {
                    row.push(Some(' '));
                }
                row[self.column] = Some(character);
                (1..width).for_each(|more| row[self.column + more] = None);
                self.column += width;
            }
        }
    }

    /// The rows as they look, without blanks at their ends and empty rows at the end.
    pub(crate) fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| row.iter().flatten().collect::<String>().trim_end().to_owned())
            .collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    /// All characters without rows and blanks.
    pub(crate) fn text(&self) -> String {
        self.upto(usize::MAX, usize::MAX)
    }

    pub(crate) fn text_before_cursor(&self) -> String {
        self.upto(self.row, self.column)
    }

    fn upto(&self, last: usize, column: usize) -> String {
        let rows = self.rows.iter().enumerate().take(last.saturating_add(1));
        rows.flat_map(|(at, row)| row.iter().take(if at == last { column } else { usize::MAX }))
            .flatten()
            .filter(|character| **character != ' ')
            .collect()
    }
}
