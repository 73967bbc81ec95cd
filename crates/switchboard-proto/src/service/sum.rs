//! Sum, as text: a line with two integers is answered by a line with their sum (the server of UNP §5.18, with
//! its gaps closed: a wrong sum is never sent).
//!
//! A line holds at most 4,095 bytes before its line feed; a carriage return before the line feed is dropped. The
//! two signed decimal integers fit 64 bits and are separated by spaces or tabs. The last line may lack its line
//! feed. The connection stays open, and every line gets exactly one line in answer:
//!
//! | answer | why |
//! |---|---|
//! | the sum | |
//! | `overflow error` | the sum does not fit 64 bits |
//! | `input error` | anything else: not two integers, one of them too large, a NUL, a line too long |

use super::{Board, Datagram, Example, OptionError, Over, Service, ServiceOption, Settings, TryIt};
use crate::buffer::Line;
use crate::session::{Flow, Io, Session, Transport, Tx};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt::Write;

pub(super) const SERVICE: Service = Service {
    name: "sum",
    summary: "answers a line with two integers by their sum",
    source: "UNP section 5.18",
    port: 0,
    board: Board { tcp: &[9878], udp: &[] },
    datagram: Datagram::Bounded,
    options: &[ServiceOption {
        name: "syntax",
        values: "strict|lenient",
        default: "strict",
        summary: "lenient: whatever follows the two integers is ignored, as sscanf(3) does",
    }],
    try_it: TryIt { ask: "echo 3 4", show: "" },
    examples: &[
        Example {
            title: "two integers, their sum",
            options: &[],
            unix_s: 0,
            input: b"1 2\n",
            output: b"3\n",
            over: Over::Both,
        },
        Example {
            title: "spaces, tabs, signs, leading zeros, CR LF; each line in order",
            options: &[],
            unix_s: 0,
            input: b"  -1\t\t-22 \r\n+5 -0007\n0 0\n",
            output: b"-23\n-2\n0\n",
            over: Over::Stream,
        },
        Example {
            title: "the last line may lack its line feed",
            options: &[],
            unix_s: 0,
            input: b"1 2\n40 2",
            output: b"3\n42\n",
            over: Over::Stream,
        },
        Example {
            title: "so may a datagram",
            options: &[],
            unix_s: 0,
            input: b"5 5",
            output: b"10\n",
            over: Over::Both,
        },
        Example {
            title: "the whole range of 64 bits",
            options: &[],
            unix_s: 0,
            input: b"9223372036854775807 -9223372036854775808\n-9223372036854775808 0\n",
            output: b"-1\n-9223372036854775808\n",
            over: Over::Stream,
        },
        Example {
            title: "a sum that does not fit is an error, never a wrong sum",
            options: &[],
            unix_s: 0,
            input: b"9223372036854775807 1",
            output: b"overflow error\n",
            over: Over::Both,
        },
        Example {
            title: "an argument that does not fit is an input error",
            options: &[],
            unix_s: 0,
            input: b"9223372036854775808 -1\n",
            output: b"input error\n",
            over: Over::Stream,
        },
        Example {
            title: "anything else is an input error, and the conversation goes on",
            options: &[],
            unix_s: 0,
            input: b"\n1\n1 2 3\n1 2x\none two\n1,2\n- 1\n1\x00 2\n1 2\n",
            output:
                b"input error\ninput error\ninput error\ninput error\ninput error\ninput error\ninput error\n\
                input error\n3\n",
            over: Over::Stream,
        },
        Example {
            title: "trailing junk, leniently",
            options: &[("syntax", "lenient")],
            unix_s: 0,
            input: b"1 2 3\n1 2x\n1 x\n1 2 \x00\n",
            output: b"3\n3\ninput error\ninput error\n",
            over: Over::Stream,
        },
        Example {
            title: "a malformed datagram is met with silence, so that two servers never exchange errors",
            options: &[],
            unix_s: 0,
            input: b"input error\n",
            output: b"",
            over: Over::Silence,
        },
        Example {
            title: "so is an empty one",
            options: &[],
            unix_s: 0,
            input: b"",
            output: b"",
            over: Over::Silence,
        },
        Example {
            title: "one request a datagram",
            options: &[],
            unix_s: 0,
            input: b"1 2\n3 4\n",
            output: b"",
            over: Over::Silence,
        },
    ],
    make: |settings| {
        let syntax = Syntax::new(settings)?;
        Ok(Arc::new(move |start| match start.transport {
            Transport::Datagram => Box::new(SumDatagram { syntax }),
            Transport::Stream | Transport::Messages => Box::new(Sum { syntax, skipping: false }),
        }))
    },
};

/// Longest line, bytes, its line feed included (UNP's MAXLINE).
const MAX_LINE: usize = 4_096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Strict,
    Lenient,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Input,
    Overflow,
}

impl Syntax {
    fn new(settings: &Settings<'_>) -> Result<Syntax, OptionError> {
        match settings.value("syntax") {
            "strict" => Ok(Syntax::Strict),
            "lenient" => Ok(Syntax::Lenient),
            _ => Err(settings.bad("syntax")),
        }
    }

    /// The sum that `line`, with or without its line end, asks for.
    fn sum(self, line: &[u8]) -> Result<i64, Refusal> {
        let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if line.len() >= MAX_LINE || line.contains(&0) {
            return Err(Refusal::Input);
        }
        let (first, rest) = integer(skip_blanks(line)).ok_or(Refusal::Input)?;
        let next = skip_blanks(rest);
        if next.len() == rest.len() {
            return Err(Refusal::Input);
        }
        let (second, rest) = integer(next).ok_or(Refusal::Input)?;
        if self == Syntax::Strict && !skip_blanks(rest).is_empty() {
            return Err(Refusal::Input);
        }
        first.checked_add(second).ok_or(Refusal::Overflow)
    }
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    &text[blanks..]
}

/// A signed decimal integer at the beginning of `text`, and what follows it; none if it does not fit.
fn integer(text: &[u8]) -> Option<(i64, &[u8])> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at_checked(count).filter(|_| count > 0)?;
    let value = digits.iter().try_fold(0i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        // Built up on its own side of zero: the smallest number has no positive counterpart.
        value.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
    })?;
    Some((value, rest))
}

fn answer(tx: &mut Tx<'_>, result: Result<i64, Refusal>) {
    match result {
        // Writing into the output queue cannot fail.
        Ok(sum) => drop(writeln!(tx, "{sum}")),
        Err(Refusal::Input) => tx.push(b"input error\n"),
        Err(Refusal::Overflow) => tx.push(b"overflow error\n"),
    }
}

struct Sum {
    syntax: Syntax,
    /// Inside a line that was too long and is answered already.
    skipping: bool,
}

impl Session for Sum {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        // A peer that sends requests and reads no answers is held back here: what is not taken fills `rx`.
        while io.tx.room() > 0 {
            if self.skipping {
                match io.rx.line(usize::MAX) {
                    Line::Complete(length) => {
                        io.rx.consume(length);
                        self.skipping = false;
                    }
                    Line::Partial | Line::TooLong => {
                        io.rx.clear();
                        return if io.rx_eof { Flow::Finish } else { Flow::Continue };
                    }
                }
            }
            match io.rx.line(MAX_LINE) {
                Line::Complete(length) => {
                    answer(&mut io.tx, self.syntax.sum(&io.rx.bytes()[..length]));
                    io.rx.consume(length);
                }
                Line::TooLong => {
                    answer(&mut io.tx, Err(Refusal::Input));
                    self.skipping = true;
                }
                Line::Partial if !io.rx_eof => return Flow::Continue,
                Line::Partial => {
                    if !io.rx.is_empty() {
                        answer(&mut io.tx, self.syntax.sum(io.rx.bytes()));
                        io.rx.clear();
                    }
                    return Flow::Finish;
                }
            }
        }
        Flow::Continue
    }
}

/// One request, one packet; what is not a request gets no answer.
struct SumDatagram {
    syntax: Syntax,
}

impl Session for SumDatagram {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        let request = io.rx.bytes();
        let lines = request.split_inclusive(|b| *b == b'\n').count();
        match self.syntax.sum(request) {
            result @ (Ok(_) | Err(Refusal::Overflow)) if lines == 1 => {
                answer(&mut io.tx, result);
                Flow::Finish
            }
            _ => Flow::Abort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::format;

    /// A random integer, often near the ends of the range or near zero, at times just outside of it.
    fn operand(random: &mut Random) -> i128 {
        let near = random.below(5) as i128 - 2;
        match random.below(5) {
            0 => near,
            1 => i128::from(i64::MAX) + near,
            2 => i128::from(i64::MIN) + near,
            3 => i128::from(random.bits() as i64) >> random.below(64),
            _ => i128::from(random.bits() as i64),
        }
    }

    #[test]
    fn sums_agree_with_wider_arithmetic() {
        let mut random = Random::new(5_18);
        for _ in 0..200_000 {
            let (a, b) = (operand(&mut random), operand(&mut random));
            let line = format!("{a} {b}\n");
            let expected = match (i64::try_from(a), i64::try_from(b), i64::try_from(a + b)) {
                (Ok(_), Ok(_), Ok(sum)) => Ok(sum),
                (Ok(_), Ok(_), Err(_)) => Err(Refusal::Overflow),
                _ => Err(Refusal::Input),
            };
            assert_eq!(Syntax::Strict.sum(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn integers_are_plain_decimals() {
        assert_eq!(integer(b"+12x"), Some((12, &b"x"[..])));
        assert_eq!(integer(b"-000000000000000000000000000001"), Some((-1, &b""[..])));
        for text in
            [&b""[..], b"-", b"+", b"--1", b"+-1", b"x1", b"9223372036854775808", b"-9223372036854775809"]
        {
            assert_eq!(integer(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_line_is_judged_the_same_with_each_line_end() {
        for line in [&b"1 2"[..], b"1 2\n", b"1 2\r\n"] {
            assert_eq!(Syntax::Strict.sum(line), Ok(3));
        }
        // A carriage return that no line feed follows is a character like any other.
        assert_eq!(Syntax::Strict.sum(b"1 2\r"), Err(Refusal::Input));
        assert_eq!(Syntax::Strict.sum(b"1 2\r\r\n"), Err(Refusal::Input));
    }
}
