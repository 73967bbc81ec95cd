//! What is typed, byte by byte, becomes [`Key`]s.

/// The longest escape sequence that is waited for.
const LONGEST: usize = 16;

/// A key, or what it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// A character, as the bytes that it is: UTF-8, or one byte that is none.
    Text(Vec<u8>),
    Enter,
    /// Ctrl-D: the end of the input in an empty line, otherwise Delete.
    End,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    LineStart,
    LineEnd,
    Older,
    Newer,
    KillToEnd,
    KillToStart,
    KillWord,
    Yank,
    Redraw,
    /// Ctrl-V: the next byte stands for itself.
    Quote,
    /// A key without a meaning here.
    Other,
}

/// Puts bytes together.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Of an escape sequence or a character of several bytes.
    pending: Vec<u8>,
    quoting: bool,
}

impl Keys {
    /// The key that this byte completes.
    pub(super) fn next(&mut self, byte: u8) -> Option<Key> {
        if std::mem::take(&mut self.quoting) {
            return Some(Key::Text(vec![byte]));
        }
        self.pending.push(byte);
        let key = match self.pending[0] {
            0x1b => escape(&self.pending)?,
            0xc2..=0xf4 => character(&self.pending)?,
            _ => control(byte),
        };
        self.quoting = key == Key::Quote;
        self.pending.clear();
        Some(key)
    }
}

fn control(byte: u8) -> Key {
    match byte {
        b'\r' | b'\n' => Key::Enter,
        0x01 => Key::LineStart,
        0x02 => Key::Left,
        0x04 => Key::End,
        0x05 => Key::LineEnd,
        0x06 => Key::Right,
        0x08 | 0x7f => Key::Backspace,
        0x0b => Key::KillToEnd,
        0x0c => Key::Redraw,
        0x0e => Key::Newer,
        0x10 => Key::Older,
        0x15 => Key::KillToStart,
        0x16 => Key::Quote,
        0x17 => Key::KillWord,
        0x19 => Key::Yank,
        b'\t' => Key::Text(vec![byte]),
        0x00..0x20 => Key::Other,
        byte => Key::Text(vec![byte]),
    }
}

/// A character once all its bytes are there; bytes that are no UTF-8 stand for themselves, together.
fn character(bytes: &[u8]) -> Option<Key> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Some(Key::Text(bytes.to_vec())),
        Err(error) if error.error_len().is_none() => None,
        Err(_) => Some(Key::Text(bytes.to_vec())),
    }
}

/// What xterm, the Linux console and their kin send (ECMA-48: ESC [ parameters, one final byte; ESC O of SS3).
fn escape(bytes: &[u8]) -> Option<Key> {
    let (kind, rest) = match bytes {
        [_] => return None,
        [_, kind @ (b'[' | b'O'), rest @ ..] => (*kind, rest),
        [_, b'b'] => return Some(Key::WordLeft),
        [_, b'f'] => return Some(Key::WordRight),
        [_, 0x7f] => return Some(Key::KillWord),
        _ => return Some(Key::Other),
    };
    let (last, parameters) = rest.split_last()?;
    if !(0x40..0x7f).contains(last) {
        return (bytes.len() >= LONGEST).then_some(Key::Other);
    }
    Some(match (kind, parameters, last) {
        (_, b"", b'A') => Key::Older,
        (_, b"", b'B') => Key::Newer,
        (_, b"", b'C') => Key::Right,
        (_, b"", b'D') => Key::Left,
        (_, b"1;5" | b"1;3", b'C') => Key::WordRight,
        (_, b"1;5" | b"1;3", b'D') => Key::WordLeft,
        (_, b"", b'H') | (b'[', b"1" | b"7", b'~') => Key::LineStart,
        (_, b"", b'F') | (b'[', b"4" | b"8", b'~') => Key::LineEnd,
        (b'[', b"3", b'~') => Key::Delete,
        _ => Key::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_keys() {
        let text = |bytes: &[u8]| Key::Text(bytes.to_vec());
        for (typed, wanted) in [
            (&b"a\r"[..], vec![text(b"a"), Key::Enter]),
            ("é漢".as_bytes(), vec![text("é".as_bytes()), text("漢".as_bytes())]),
            (b"\x1b[A\x1bOB\x1b[1;5C\x1b[3~", vec![Key::Older, Key::Newer, Key::WordRight, Key::Delete]),
            (b"\x1b[99;99~x", vec![Key::Other, text(b"x")]),
            (b"\x16\x04\x04", vec![Key::Quote, text(b"\x04"), Key::End]),
            // Latin-1, and a lead byte that nothing fitting follows: no byte is lost.
            (b"\xff\xc3x", vec![text(b"\xff"), text(b"\xc3x")]),
        ] {
            let mut keys = Keys::default();
            let got: Vec<Key> = typed.iter().filter_map(|byte| keys.next(*byte)).collect();
            assert_eq!(got, wanted, "{typed:?}");
        }
        let mut keys = Keys::default();
        let mut endless = b"\x1b[".iter().chain(std::iter::repeat_n(&b'1', 40));
        assert!(
            endless.any(|byte| keys.next(*byte) == Some(Key::Other)),
            "a sequence without end is given up"
        );
    }
}
