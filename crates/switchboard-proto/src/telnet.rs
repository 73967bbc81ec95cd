//! [`Telnet`]: the network virtual terminal of RFC 854, as a client that wants no option.
//!
//! ```text
//!   user ──▶ LF → CR LF, lone CR → CR NUL, 255 doubled ──▶ peer
//!   user ◀── CR LF → LF, CR NUL → CR, 255 255 → 255    ◀── peer; commands taken out
//!              WILL x → DONT x, DO x → WONT x          ──▶ peer
//! ```
//! Every option stays off at both ends, so WONT and DONT only say what is so already and are not answered: two parties
//! who refuse everything cannot answer each other for ever (RFC 854, "General Considerations"; RFC 1143 section 3).
//! What is to be answered is one bit for an option and direction and not a queue: whoever asks faster than he reads is
//! answered once for all that he asked meanwhile, and no memory is his to fill. TIMING-MARK (RFC 860) needs no more:
//! WONT is an answer to it, and it has its place in the stream.

use alloc::vec::Vec;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// One side of a telnet connection on which no option is ever on.
#[derive(Clone, Debug, Default)]
pub struct Telnet {
    heard: Heard,
    /// The last byte from the user was a carriage return; what it becomes depends on the next one.
    held_return: bool,
    /// Options that the peer offered (WILL) and that are to be refused.
    dont: Options,
    /// Options that the peer asked for (DO) and that are to be refused.
    wont: Options,
}

/// How far a command from the peer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Heard {
    #[default]
    Data,
    Return,
    Command,
    /// An option follows: of WILL, DO, or of the two that are not answered.
    Will,
    Do,
    Refusal,
    /// Between SB and SE: of an option that was never agreed to.
    Parameters,
    ParametersCommand,
}

/// A set of option codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Options([u64; 4]);

impl Options {
    fn insert(&mut self, option: u8) {
        self.0[usize::from(option / 64)] |= 1 << (option % 64);
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Takes the smallest one out.
    fn pop(&mut self) -> Option<u8> {
        let (index, word) = self.0.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        u8::try_from(index as u32 * 64 + bit).ok()
    }
}

impl Telnet {
    /// A connection that has just begun.
    pub fn new() -> Telnet {
        Telnet::default()
    }

    /// Appends what goes over the wire for these bytes of the user, at most twice as many and one.
    ///
    /// A line feed ends a line (CR LF), with or without a carriage return before it; any other carriage return is sent
    /// as one (CR NUL).
    pub fn encode(&mut self, bytes: &[u8], wire: &mut Vec<u8>) {
        for byte in bytes {
            if core::mem::take(&mut self.held_return) {
                wire.extend_from_slice(if *byte == b'\n' { b"\r\n" } else { b"\r\0" });
                if *byte == b'\n' {
                    continue;
                }
            }
            match *byte {
                b'\r' => self.held_return = true,
                b'\n' => wire.extend_from_slice(b"\r\n"),
                IAC => wire.extend_from_slice(&[IAC, IAC]),
                byte => wire.push(byte),
            }
        }
    }

    /// The user has ended: appends what was held back until the next byte.
    pub fn encode_end(&mut self, wire: &mut Vec<u8>) {
        if core::mem::take(&mut self.held_return) {
            wire.extend_from_slice(b"\r\0");
        }
    }

    /// Appends what these bytes from the peer mean for the user, at most one byte more than came.
    ///
    /// Commands may be cut anywhere; the next call goes on with them. A carriage return is held back until the next
    /// byte tells whether it ends a line. One that neither LF nor NUL follows breaks RFC 854, and is a carriage return.
    pub fn decode(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        for byte in bytes {
            self.heard = self.heard(*byte, text);
        }
    }

    /// The peer has ended: appends what was held back.
    pub fn decode_end(&mut self, text: &mut Vec<u8>) {
        if core::mem::take(&mut self.heard) == Heard::Return {
            text.push(b'\r');
        }
    }

    fn heard(&mut self, byte: u8, text: &mut Vec<u8>) -> Heard {
        if self.heard == Heard::Return && byte != b'\n' {
            text.push(b'\r');
            if byte == b'\0' {
                return Heard::Data;
            }
        }
        match (self.heard, byte) {
            (Heard::Data | Heard::Return, IAC) => Heard::Command,
            (Heard::Data | Heard::Return, b'\r') => Heard::Return,
            (Heard::Data | Heard::Return, byte) => {
                text.push(byte);
                Heard::Data
            }
            (Heard::Command, IAC) => {
                text.push(IAC);
                Heard::Data
            }
            (Heard::Command, WILL) => Heard::Will,
            (Heard::Command, DO) => Heard::Do,
            (Heard::Command, WONT | DONT) => Heard::Refusal,
            (Heard::Command, SB) => Heard::Parameters,
            // NOP, DM, BRK, IP, AO, AYT, EC, EL, GA: nothing that a client without options would do.
            (Heard::Command, _) => Heard::Data,
            (Heard::Will, option) => {
                self.dont.insert(option);
                Heard::Data
            }
            (Heard::Do, option) => {
                self.wont.insert(option);
                Heard::Data
            }
            (Heard::Refusal, _) => Heard::Data,
            (Heard::Parameters, IAC) => Heard::ParametersCommand,
            (Heard::Parameters, _) => Heard::Parameters,
            (Heard::ParametersCommand, SE) => Heard::Data,
            (Heard::ParametersCommand, _) => Heard::Parameters,
        }
    }

    /// Whether the peer waits for an answer.
    pub fn has_answers(&self) -> bool {
        !self.dont.is_empty() || !self.wont.is_empty()
    }

    /// Appends the answers that the peer waits for, at most 1,536 bytes, and owes none then.
    pub fn answer(&mut self, wire: &mut Vec<u8>) {
        while let Some(option) = self.dont.pop() {
            wire.extend_from_slice(&[IAC, DONT, option]);
        }
        while let Some(option) = self.wont.pop() {
            wire.extend_from_slice(&[IAC, WONT, option]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut telnet, mut wire) = (Telnet::new(), Vec::new());
        pieces.iter().for_each(|piece| telnet.encode(piece, &mut wire));
        telnet.encode_end(&mut wire);
        wire
    }

    /// What the user sees, and what is answered, for these bytes in one piece and byte by byte.
    fn came(wire: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let both = [wire.len().max(1), 1].map(|size| {
            let (mut telnet, mut text, mut answer) = (Telnet::new(), Vec::new(), Vec::new());
            wire.chunks(size).for_each(|piece| telnet.decode(piece, &mut text));
            telnet.decode_end(&mut text);
            telnet.answer(&mut answer);
            assert!(!telnet.has_answers());
            (text, answer)
        });
        assert_eq!(both[0], both[1], "cut into bytes");
        both[0].clone()
    }

    #[test]
    fn lines_end_with_both_and_255_is_doubled() {
        for (text, wire) in [
            (&b"a\nb"[..], &b"a\r\nb"[..]),
            (b"a\r\nb", b"a\r\nb"),
            (b"a\rb\r", b"a\r\0b\r\0"),
            (b"\r\r\n\n", b"\r\0\r\n\r\n"),
            (b"\xff\xfe", b"\xff\xff\xfe"),
            (b"", b""),
        ] {
            assert_eq!(sent(&[text]), wire);
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(sent(&bytes), wire, "cut into bytes");
        }
    }

    #[test]
    fn commands_are_taken_out_and_options_refused() {
        for (wire, text, answer) in [
            (&b"login: "[..], &b"login: "[..], &b""[..]),
            (b"a\r\nb\r\0c\rd\r", b"a\nb\rc\rd\r", b""),
            (b"x\xff\xffy", b"x\xffy", b""),
            (b"\xff\xfb\x01\xff\xfd\x18ok", b"ok", b"\xff\xfe\x01\xff\xfc\x18"),
            // Refusals are what is so already.
            (b"\xff\xfc\x01\xff\xfe\x03ok", b"ok", b""),
            // No number is a command where an option stands.
            (b"\xff\xfd\xffok", b"ok", b"\xff\xfc\xff"),
            (b"a\xff\xf1\xff\xf2\xff\xf6\xff\xf9b", b"ab", b""),
            (b"a\xff\xfa\x18\x01\r\n\xff\xff\xff\xf0b", b"ab", b""),
            (b"\r\xff\xf1\n", b"\r\n", b""),
            (b"\xff", b"", b""),
            (b"\xff\xfa", b"", b""),
        ] {
            assert_eq!(came(wire), (text.to_vec(), answer.to_vec()), "{wire:?}");
        }
    }

    #[test]
    fn two_who_refuse_everything_fall_silent() {
        let (mut one, mut other) = (Telnet::new(), Telnet::new());
        let mut wire = alloc::vec![IAC, WILL, 1, IAC, DO, 3, IAC, DO, 6];
        for round in 0.. {
            assert!(round < 3, "they answer each other for ever: {wire:?}");
            let mut answer = Vec::new();
            one.decode(&wire, &mut Vec::new());
            one.answer(&mut answer);
            if answer.is_empty() {
                break;
            }
            wire = answer;
            core::mem::swap(&mut one, &mut other);
        }
    }

    #[test]
    fn a_flood_of_offers_owes_a_bounded_answer() {
        let (mut telnet, mut answer) = (Telnet::new(), Vec::new());
        for option in (0..=255).cycle().take(100_000) {
            telnet.decode(&[IAC, WILL, option, IAC, DO, option, IAC, WONT, option], &mut Vec::new());
        }
        telnet.answer(&mut answer);
        assert_eq!(answer.len(), 2 * 256 * 3);
    }
}
