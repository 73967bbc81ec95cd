//! [`Glyph`]: a character of a line, as it is sent and as it is shown; and where it leaves the cursor.

use unicode_width::UnicodeWidthChar;

/// A character that was typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Glyph {
    /// What is sent.
    pub(super) bytes: Vec<u8>,
    /// What is shown: a control character as ^X, a byte that is no character as \xNN.
    pub(super) shown: String,
    /// Columns that this takes.
    pub(super) width: usize,
}

impl Glyph {
    pub(super) fn new(bytes: &[u8]) -> Glyph {
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
        let shown = match (text, bytes) {
            (Some(text), _) => text.to_owned(),
            (None, [byte @ (0..0x20 | 0x7f)]) => format!("^{}", char::from(byte ^ 0x40)),
            (None, bytes) => bytes.escape_ascii().to_string(),
        };
        Glyph { bytes: bytes.to_vec(), width: shown.chars().map(columns).sum(), shown }
    }

    /// Whether it belongs to a word.
    pub(super) fn is_word(&self) -> bool {
        self.bytes.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
    }
}

/// Columns that a character takes.
pub(super) fn columns(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// A place on the screen, counted from the row in which the line begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) column: usize,
}

impl Place {
    /// Where the cursor is after something that wide, on a terminal that wraps. A full row counts as the start of the next.
    pub(super) fn after(self, width: usize, columns: usize) -> Place {
        // A wide character that does not fit goes to the next row as a whole.
        let start = if self.column + width > columns { Place { row: self.row + 1, column: 0 } } else { self };
        let column = start.column + width;
        if column >= columns {
            Place { row: start.row + column / columns, column: column % columns }
        } else {
            Place { row: start.row, column }
        }
    }
}
