//! HTTP `CONNECT` (RFC 9110 §9.3.6, RFC 9112): a request line, `Host`, perhaps `Proxy-Authorization` of the scheme Basic
//! (RFC 7617); then a response, and after the empty line of a successful one the tunnel, whatever its fields say of a
//! body.

use super::{Credentials, Destination};
use crate::prelude::{Failure, Lines, Prelude, Why, shown};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of everything that a proxy may answer.
const LARGEST_ANSWER: usize = 16 * 1024;

/// Our side.
pub(super) struct HttpConnect {
    output: Vec<u8>,
    lines: Lines,
    status: Option<Status>,
    done: bool,
}

/// The first line of a response, and what else is worth telling.
struct Status {
    code: u16,
    line: String,
    /// What kinds of credentials it would take.
    schemes: Vec<String>,
}

impl HttpConnect {
    pub(super) fn new(destination: &Destination, credentials: Option<&Credentials>) -> HttpConnect {
        let mut request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n");
        if let Some(Credentials { user, password }) = credentials {
            let secret = base64(format!("{user}:{password}").as_bytes());
            request.push_str(&format!("Proxy-Authorization: Basic {secret}\r\n"));
        }
        request.push_str("\r\n");
        HttpConnect {
            output: request.into_bytes(),
            lines: Lines::new(LARGEST_ANSWER),
            status: None,
            done: false,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        match &mut self.status {
            None => self.status = Some(Status::parse(line)?),
            Some(status) if !line.is_empty() => status.field(line),
            Some(Status { code: 200..=299, .. }) => self.done = true,
            // RFC 9110 §15.2: interim responses come before the real one; but nothing was asked that 101 could answer.
            Some(Status { code: 100 | 102..=199, .. }) => self.status = None,
            Some(status) => return Err(status.refusal()),
        }
        Ok(())
    }
}

impl Prelude for HttpConnect {
    fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    fn look(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut taken = 0;
        while !self.done && taken < bytes.len() {
            let (n, line) = self.lines.take(&bytes[taken..])?;
            taken += n;
            match line {
                Some(line) => self.line(&line)?,
                None if self.status.is_none() => check_start(self.lines.unfinished())?,
                None => {}
            }
        }
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn ended(&self) -> Failure {
        match &self.status {
            // It has said why, and did not care for the rest.
            Some(status) if status.code >= 300 => status.refusal(),
            _ => Failure::new(Why::Malformed, "it closed the connection before it had answered"),
        }
    }
}

impl Status {
    fn parse(line: &[u8]) -> Result<Status, Failure> {
        check_start(line)?;
        let code = match line.get(b"HTTP/1.".len()..) {
            Some([b'0' | b'1', b' ', code @ ..]) => match code {
                [digits @ .., b' '] | digits if digits.len() == 3 => number(digits),
                [a, b, c, b' ', ..] => number(&[*a, *b, *c]),
                _ => None,
            },
            _ => None,
        };
        let line = shown(line);
        match code {
            Some(code @ 100..=599) => Ok(Status { code, line, schemes: Vec::new() }),
            _ => Err(Failure::new(Why::Malformed, format!("`{line}` is no answer of an HTTP proxy"))),
        }
    }

    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        if line[..colon].eq_ignore_ascii_case(b"Proxy-Authenticate") {
            let value = line[colon + 1..].trim_ascii();
            let scheme = value.split(|byte| b" ,".contains(byte)).next().unwrap_or_default();
            self.schemes.push(shown(scheme));
        }
    }

    fn refusal(&self) -> Failure {
        let why = match self.code {
            502..=504 => Why::Unreached,
            _ => Why::Denied,
        };
        let mut words = format!("it says `{}`", self.line);
        if self.code == 407 {
            words.push_str(": it wants to know who asks");
            if !self.schemes.is_empty() {
                words.push_str(&format!(" ({}; Basic is what we can give)", self.schemes.join(", ")));
            }
        }
        Failure::new(why, words)
    }
}

/// Whether this can become a status line: what is no HTTP at all is told at once, and not when its line has ended.
fn check_start(line: &[u8]) -> Result<(), Failure> {
    const START: &[u8] = b"HTTP/1.";
    let common = line.len().min(START.len());
    if line[..common] == START[..common] {
        return Ok(());
    }
    Err(Failure::new(Why::Malformed, format!("`{}` is no answer of an HTTP proxy", shown(line))))
}

fn number(digits: &[u8]) -> Option<u16> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let three = [group[0], group.get(1).copied().unwrap_or(0), group.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= group.len() { ALPHABET[sextet] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 §10.
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }
}
