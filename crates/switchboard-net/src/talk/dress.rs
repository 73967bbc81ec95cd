//! What stands between the peer's bytes and those of input and output: a line editor, then telnet.
//!
//! ```text
//!   terminal ─▶ screen ─▶ CR LF ─▶ telnet ─▶ up ─▶ socket       either of them, or both, or, most often, none
//!   terminal ◀─ down ◀─── screen ◀─────────  telnet ◀─ socket
//! ```

use super::upward::with_returns;
use super::{Talk, Ways};

impl Talk<'_> {
    /// Whether bytes change on their way.
    pub(super) fn is_dressed(&mut self) -> bool {
        self.telnet.is_some() || self.witness.screen().is_some()
    }

    /// Takes what was read from the input.
    pub(super) fn encode(&mut self, read: &[u8]) {
        let mut lines = Vec::new();
        let (read, goes_on) = match self.witness.screen() {
            Some(screen) => {
                let goes_on = screen.typed(read, &mut lines);
                (&lines[..], goes_on)
            }
            None => (read, true),
        };
        let mut ended = Vec::new();
        let read = if self.rules.crlf && !read.is_empty() {
            ended = with_returns(read, self.last_was_return);
            self.last_was_return = read.last() == Some(&b'\r');
            &ended[..]
        } else {
            read
        };
        match &mut self.telnet {
            Some(telnet) => {
                let mut wire = Vec::with_capacity(read.len() + read.len() / 8);
                telnet.encode(read, &mut wire);
                self.up.push(&wire);
            }
            None => self.up.push(read),
        }
        drop(ended);
        if !goes_on {
            self.input_open = false;
            self.encode_end();
        }
    }

    /// The input has ended: what telnet held back.
    pub(super) fn encode_end(&mut self) {
        if let Some(telnet) = &mut self.telnet {
            let mut wire = Vec::new();
            telnet.encode_end(&mut wire);
            self.up.push(&wire);
        }
    }

    /// Takes what was received into the first `n` bytes of `down`'s spare room.
    pub(super) fn decode(&mut self, n: usize) {
        let mut text = Vec::new();
        match &mut self.telnet {
            Some(telnet) => telnet.decode(&self.down.spare()[..n], &mut text),
            None => text.extend_from_slice(&self.down.spare()[..n]),
        }
        self.came(&text);
    }

    /// The peer has ended: what telnet held back.
    pub(super) fn decode_end(&mut self) {
        if let Some(telnet) = &mut self.telnet {
            let mut text = Vec::new();
            telnet.decode_end(&mut text);
            self.came(&text);
        }
    }

    fn came(&mut self, text: &[u8]) {
        let text = if self.rules.ways == Ways::Send { &[] } else { text };
        match self.witness.screen() {
            Some(screen) => screen.came(text),
            None => self.down.push(text),
        }
        if text.is_empty() && self.down.is_empty() {
            // Commands only: nothing will be written that could tell that they are dealt with.
            self.written = self.received;
        }
    }

    /// Gives the terminal what the screen has for it.
    pub(super) fn refresh(&mut self) {
        if let Some(screen) = self.witness.screen() {
            let mut shown = Vec::new();
            screen.show(&mut shown);
            self.down.push(&shown);
        }
    }

    /// Refuses the options that the peer asked for, between two bytes of the input.
    pub(super) fn answer_commands(&mut self) {
        if let Some(telnet) = &mut self.telnet
            && telnet.has_answers()
            && self.up.is_empty()
        {
            let mut wire = Vec::new();
            telnet.answer(&mut wire);
            self.up.push(&wire);
        }
    }
}
