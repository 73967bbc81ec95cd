//! [`Dialog`]: STARTTLS in protocols of lines. What is offered is heeded: without the offer the command is not sent, and
//! the refusal says so, whether the server cannot or somebody in between has taken the offer out.

use super::Protocol;
use crate::prelude::{Failure, Lines, Prelude, Why, shown};
use alloc::format;
use alloc::vec::Vec;

/// Bytes of everything that a server may say before TLS.
const MOST: usize = 32 * 1024;

/// Our side.
pub(super) struct Dialog {
    protocol: Protocol,
    state: State,
    output: Vec<u8>,
    lines: Lines,
    /// Whether the offer was among what the server can.
    offered: bool,
    /// The code with which a reply of several lines began (RFC 959 §4.2).
    code: Option<[u8; 3]>,
}

/// What is awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Abilities,
    Consent,
    Done,
}

/// What a line comes to.
enum Sense {
    /// There is more to come.
    More,
    /// Yes, and that was all.
    Yes,
    /// No.
    No,
    /// Nothing of this protocol.
    Nonsense,
}

impl Dialog {
    pub(super) fn new(protocol: Protocol) -> Dialog {
        Dialog {
            protocol,
            state: State::Greeting,
            output: Vec::new(),
            lines: Lines::new(MOST),
            offered: false,
            code: None,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let sense = match self.protocol {
            Protocol::Imap => self.imap(line),
            Protocol::Pop3 => self.pop3(line),
            Protocol::Sieve => self.sieve(line),
            _ => self.coded(line),
        };
        match sense {
            Sense::More => Ok(()),
            Sense::Yes => self.advance(),
            Sense::No => {
                let asked = match self.state {
                    State::Greeting => "to talk",
                    State::Abilities => "to tell what it can",
                    State::Consent | State::Done => "to go on with TLS",
                };
                Err(Failure::new(Why::Denied, format!("it refuses {asked}: `{}`", shown(line))))
            }
            Sense::Nonsense => Err(Failure::new(
                Why::Malformed,
                format!("`{}` is no answer of {}", shown(line), self.protocol.name()),
            )),
        }
    }

    /// An answer is complete, and it was yes.
    fn advance(&mut self) -> Result<(), Failure> {
        let (output, state): (&[u8], State) = match (self.state, self.protocol) {
            (State::Greeting, Protocol::Smtp) => (b"EHLO [127.0.0.1]\r\n", State::Abilities),
            (State::Greeting, Protocol::Lmtp) => (b"LHLO [127.0.0.1]\r\n", State::Abilities),
            (State::Greeting, Protocol::Imap) => (b"a CAPABILITY\r\n", State::Abilities),
            (State::Greeting, Protocol::Pop3) => (b"CAPA\r\n", State::Abilities),
            (State::Greeting, Protocol::Nntp) => (b"CAPABILITIES\r\n", State::Abilities),
            // Its abilities are its greeting; FTP tells of them in too many ways to rely on.
            (State::Greeting, Protocol::Sieve) if !self.offered => return Err(not_offered()),
            (State::Greeting, Protocol::Ftp) => (b"AUTH TLS\r\n", State::Consent),
            (State::Greeting, _) => (b"STARTTLS\r\n", State::Consent),
            (State::Abilities, _) if !self.offered => return Err(not_offered()),
            (State::Abilities, Protocol::Imap) => (b"b STARTTLS\r\n", State::Consent),
            (State::Abilities, Protocol::Pop3) => (b"STLS\r\n", State::Consent),
            (State::Abilities, _) => (b"STARTTLS\r\n", State::Consent),
            (State::Consent | State::Done, _) => (b"", State::Done),
        };
        self.output = output.to_vec();
        self.state = state;
        Ok(())
    }

    /// SMTP, LMTP, FTP (RFC 959 §4.2), NNTP (RFC 3977 §3): three digits, and a hyphen while there is more.
    fn coded(&mut self, line: &[u8]) -> Sense {
        let nntp = self.protocol == Protocol::Nntp;
        if nntp && self.state == State::Abilities && self.code.is_some() {
            // The list is ended by a dot of its own.
            if line == b"." {
                self.code = None;
                return Sense::Yes;
            }
            self.offered |= line.eq_ignore_ascii_case(b"STARTTLS");
            return Sense::More;
        }
        let [a, b, c, rest @ ..] = line else {
            return if self.code.is_some() && self.protocol == Protocol::Ftp {
                Sense::More
            } else {
                Sense::Nonsense
            };
        };
        let code = [*a, *b, *c];
        let last = match rest {
            [b'-', ..] if !nntp => false,
            [] | [b' ', ..] => true,
            _ if self.code.is_some() && self.protocol == Protocol::Ftp => return Sense::More,
            _ => return Sense::Nonsense,
        };
        match self.code {
            // In FTP anything may stand between the first line and the last one.
            Some(first) if first != code && self.protocol == Protocol::Ftp => return Sense::More,
            Some(first) if first != code => return Sense::Nonsense,
            None if !code.iter().all(u8::is_ascii_digit) => return Sense::Nonsense,
            _ => {}
        }
        if self.state == State::Abilities && !nntp {
            let word = rest.get(1..).unwrap_or_default();
            let word = word.split(|byte| *byte == b' ').next().unwrap_or_default();
            self.offered |= word.eq_ignore_ascii_case(b"STARTTLS");
        }
        if !last {
            self.code = Some(code);
            return Sense::More;
        }
        self.code = None;
        let wanted: &[&[u8]] = match (self.state, self.protocol) {
            (State::Greeting, Protocol::Nntp) => &[b"200", b"201"],
            (State::Greeting, _) => &[b"220"],
            (State::Abilities, Protocol::Nntp) => &[b"101"],
            (State::Abilities, _) => &[b"250"],
            (_, Protocol::Nntp) => &[b"382"],
            (_, Protocol::Ftp) => &[b"234"],
            (_, _) => &[b"220"],
        };
        match wanted.contains(&&code[..]) {
            true if nntp && self.state == State::Abilities => {
                self.code = Some(code);
                Sense::More
            }
            true => Sense::Yes,
            // RFC 959 §4.2: service ready in so many minutes.
            false if code[0] == b'1' => Sense::More,
            false => Sense::No,
        }
    }

    /// RFC 9051 §7: lines with our tag end an answer, others tell.
    fn imap(&mut self, line: &[u8]) -> Sense {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (tag, word) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let ours: &[u8] = match self.state {
            State::Greeting => b"*",
            State::Abilities => b"a",
            State::Consent | State::Done => b"b",
        };
        if tag == ours {
            return match word {
                _ if word.eq_ignore_ascii_case(b"OK") => Sense::Yes,
                // Who is known already cannot begin TLS (RFC 9051 §6.2.1).
                _ if [&b"NO"[..], b"BAD", b"BYE", b"PREAUTH"]
                    .iter()
                    .any(|no| word.eq_ignore_ascii_case(no)) =>
                {
                    Sense::No
                }
                _ => Sense::Nonsense,
            };
        }
        if tag != b"*" {
            return Sense::Nonsense;
        }
        if word.eq_ignore_ascii_case(b"BYE") {
            return Sense::No;
        }
        if self.state == State::Abilities && word.eq_ignore_ascii_case(b"CAPABILITY") {
            self.offered |= words.any(|ability| ability.eq_ignore_ascii_case(b"STARTTLS"));
        }
        Sense::More
    }

    /// RFC 1939 §3, RFC 2449 §5: `+OK` or `-ERR`; abilities a line each, and a dot.
    fn pop3(&mut self, line: &[u8]) -> Sense {
        if self.state == State::Abilities && self.code.is_some() {
            if line == b"." {
                self.code = None;
                return Sense::Yes;
            }
            self.offered |= line.eq_ignore_ascii_case(b"STLS");
            return Sense::More;
        }
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        match word {
            b"+OK" if self.state == State::Abilities => {
                self.code = Some(*b"+OK");
                Sense::More
            }
            b"+OK" => Sense::Yes,
            b"-ERR" => Sense::No,
            _ => Sense::Nonsense,
        }
    }

    /// RFC 5804 §1.7, §2.2: abilities in quotation marks, then OK, NO or BYE.
    fn sieve(&mut self, line: &[u8]) -> Sense {
        if line.first() == Some(&b'"') {
            self.offered |= line.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"\"STARTTLS\""));
            return Sense::More;
        }
        let word = line.split(|byte| b" (".contains(byte)).next().unwrap_or_default();
        match word {
            _ if word.eq_ignore_ascii_case(b"OK") => Sense::Yes,
            _ if word.eq_ignore_ascii_case(b"NO") || word.eq_ignore_ascii_case(b"BYE") => Sense::No,
            _ => Sense::Nonsense,
        }
    }
}

fn not_offered() -> Failure {
    Failure::new(
        Why::Denied,
        "it does not offer TLS: either it has none here, or somebody in between has taken the offer out",
    )
}

impl Prelude for Dialog {
    fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    fn look(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut taken = 0;
        // What follows a question before it was answered belongs to its answer; only after the last one nothing may.
        while self.state != State::Done && self.output.is_empty() && taken < bytes.len() {
            let (n, line) = self.lines.take(&bytes[taken..])?;
            taken += n;
            if let Some(line) = line {
                self.line(&line)?;
            }
        }
        if self.state == State::Done && taken < bytes.len() {
            return Err(super::injected());
        }
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.state == State::Done
    }
}
