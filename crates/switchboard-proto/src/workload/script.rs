//! `script`: what a file says is sent and expected, so that any service with a protocol of requests can be loaded.
//!
//! ```text
//! # SMTP: greeting and EHLO once per connection, then NOOP after NOOP
//! expect "220 "
//! expect-to "\n"
//! send "EHLO load\r\n"
//! expect-to "250 "
//! expect-to "\n"
//! repeat
//! send "NOOP\r\n"
//! expect-line "250"
//! ```
//!
//! One step a line; `#` begins a comment. Texts stand in quotes and know `\n`, `\r`, `\t`, `\0`, `\\`, `\"`, `\xHH`.
//! One pass from `repeat` (or from the top) to the end is one request. A script that ends with `expect-end` (the peer
//! closes) or `close` (we do) makes a connection for every pass.

use super::{Shape, Workload};
use crate::dialogue::{Dialogue, WrongContent};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

pub(super) const WORKLOAD: Workload = Workload {
    name: "script",
    summary: "what a file of send and expect lines says, to load any service",
    service: "",
    size_bytes: 0,
    shape: |errand| match &errand.script {
        Some(script) if script.is_once() => Shape::Once,
        _ => Shape::Stay,
    },
    dialogue: Some(|errand, _| Box::new(Player::new(errand.script.clone().unwrap_or_default()))),
};

/// Most bytes of a script.
const MOST_BYTES: usize = 1 << 20;
/// Most bytes that `expect-to` and `expect-line` wait for.
const MOST_LINE_BYTES: usize = 1 << 20;
/// Bytes that a complaint quotes.
const MOST_QUOTED: usize = 60;

/// A script that was read and is right.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Script {
    steps: Vec<(usize, Step)>,
    /// The first step of what is repeated.
    repeat: usize,
}

/// One line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// These bytes are sent.
    Send(Vec<u8>),
    /// These bytes must come next.
    Expect(Vec<u8>),
    /// A line must come next that begins with these bytes.
    ExpectLine(Vec<u8>),
    /// Whatever comes is taken, to the end of the first occurrence of these bytes.
    ExpectTo(Vec<u8>),
    /// So many bytes must come, whatever they are.
    ExpectBytes(usize),
    /// The peer must end its output; what comes before that is taken, whatever it is.
    ExpectEnd,
    /// We close.
    Close,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// Every line that is wrong, as `line N: what; what would be right`.
    pub fn read(text: &str) -> Result<Script, Vec<String>> {
        if text.len() > MOST_BYTES {
            return Err([format!("{} bytes: a script has at most {MOST_BYTES}", text.len())].into());
        }
        let mut script = Script::default();
        let mut problems = Vec::new();
        let mut repeat = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let number = index + 1;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if script.is_once() {
                problems.push(format!("line {number}: nothing can follow the end of the connection"));
                break;
            }
            if line == "repeat" {
                if repeat.replace(script.steps.len()).is_some() {
                    problems.push(format!("line {number}: there is one `repeat` already"));
                }
                continue;
            }
            match step(line) {
                Ok(step) => script.steps.push((number, step)),
                Err(problem) => problems.push(format!("line {number}: {problem}")),
            }
        }
        script.repeat = repeat.unwrap_or(0);
        if problems.is_empty() {
            let body = &script.steps[script.repeat..];
            let hears = |step: &Step| !matches!(step, Step::Send(_) | Step::Close);
            if !body.iter().any(|(_, step)| hears(step)) {
                problems.push("nothing is expected in what is repeated: its time could not be taken".into());
            } else if script.repeat > 0 && script.is_once() {
                problems.push("`repeat` does not go with a connection that ends with every pass".into());
            } else if script.repeat > 0 && !script.steps[..script.repeat].iter().any(|(_, step)| hears(step))
            {
                problems.push(
                    "what comes before `repeat` expects nothing: when it is over cannot be known".into(),
                );
            } else if let Some((number, Step::Send(_))) = script.steps.last() {
                problems.push(format!(
                    "line {number}: nothing is expected after it: its time could not be taken"
                ));
            }
        }
        if problems.is_empty() { Ok(script) } else { Err(problems) }
    }

    /// Whether the connection ends with every pass.
    pub fn is_once(&self) -> bool {
        matches!(self.steps.last(), Some((_, Step::ExpectEnd | Step::Close)))
    }
}

fn step(line: &str) -> Result<Step, String> {
    let (word, rest) =
        line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim()));
    let text = || -> Result<Vec<u8>, String> {
        let bytes = quoted(rest)?;
        if bytes.is_empty() { Err(format!("`{word}` needs at least one byte")) } else { Ok(bytes) }
    };
    let alone = |step| if rest.is_empty() { Ok(step) } else { Err(format!("`{word}` stands alone")) };
    match word {
        "send" => text().map(Step::Send),
        "expect" => text().map(Step::Expect),
        "expect-line" => quoted(rest).map(Step::ExpectLine),
        "expect-to" => text().map(Step::ExpectTo),
        "expect-bytes" => match rest.parse() {
            Ok(count) if count > 0 => Ok(Step::ExpectBytes(count)),
            _ => Err(format!("`expect-bytes` needs a number of bytes, not `{rest}`")),
        },
        "expect-end" => alone(Step::ExpectEnd),
        "close" => alone(Step::Close),
        _ => Err(format!(
            "`{word}` is not a step; steps are send, expect, expect-line, expect-to, expect-bytes, expect-end, close, \
             repeat"
        )),
    }
}

/// The bytes of `"…"`.
fn quoted(text: &str) -> Result<Vec<u8>, String> {
    let inner = text.strip_prefix('"').ok_or("a text in quotes is needed, as in \"hello\\n\"")?;
    let mut bytes = Vec::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                let rest = letters.as_str().trim();
                let is_over = rest.is_empty() || rest.starts_with('#');
                return if is_over { Ok(bytes) } else { Err(format!("`{rest}` stands after the text")) };
            }
            '\\' => match letters.next() {
                Some('n') => bytes.push(b'\n'),
                Some('r') => bytes.push(b'\r'),
                Some('t') => bytes.push(b'\t'),
                Some('0') => bytes.push(0),
                Some(same @ ('\\' | '"')) => bytes.push(same as u8),
                Some('x') => {
                    let digits: String = letters.by_ref().take(2).collect();
                    let byte = (digits.len() == 2).then(|| u8::from_str_radix(&digits, 16).ok()).flatten();
                    bytes.push(
                        byte.ok_or_else(|| format!("`\\x{digits}`: two hexadecimal digits are needed"))?,
                    );
                }
                other => {
                    let other = other.map(|other| other.to_string()).unwrap_or_default();
                    return Err(format!(
                        "`\\{other}` is not known; there are \\n \\r \\t \\0 \\\\ \\\" \\xHH"
                    ));
                }
            },
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err("the closing quote is missing".into())
}

/// A script on one connection.
struct Player {
    script: Arc<Script>,
    /// The step that is waited for.
    at: usize,
    is_ready: bool,
    is_asked: bool,
    /// What came and no step has taken.
    came: Vec<u8>,
    /// Bytes of it in which `expect-to` and `expect-line` need not look again.
    looked: usize,
    heard_in_pass: bool,
}

impl Player {
    fn new(script: Arc<Script>) -> Player {
        let is_ready = script.repeat == 0;
        let came = Vec::new();
        Player { script, at: 0, is_ready, is_asked: false, came, looked: 0, heard_in_pass: false }
    }

    /// Sends from here on, to the first step that waits.
    fn say(&mut self, out: &mut Vec<u8>) {
        while let Some((_, Step::Send(bytes))) = self.script.steps.get(self.at) {
            out.extend_from_slice(bytes);
            self.at += 1;
        }
    }

    /// Takes what the step that waits needs; `None` if more must come.
    fn take(&mut self) -> Result<Option<usize>, WrongContent> {
        let Some((line, step)) = self.script.steps.get(self.at) else { return Ok(None) };
        let came = &self.came[..];
        let wrong = |wanted: &[u8]| {
            let quote = |bytes: &[u8]| {
                let part = &bytes[..bytes.len().min(MOST_QUOTED)];
                format!("\"{}\"{}", part.escape_ascii(), if part.len() < bytes.len() { "…" } else { "" })
            };
            WrongContent::new(format!("script line {line}: expected {}, came {}", quote(wanted), quote(came)))
        };
        let begins = |wanted: &[u8]| {
            let n = wanted.len().min(came.len());
            if wanted[..n] == came[..n] { Ok(n == wanted.len()) } else { Err(wrong(wanted)) }
        };
        let find = |wanted: &[u8]| {
            let from = self.looked.saturating_sub(wanted.len() - 1);
            let place = came[from..].windows(wanted.len()).position(|part| part == wanted);
            match place {
                Some(place) => Ok(Some(from + place + wanted.len())),
                None if came.len() > MOST_LINE_BYTES => Err(wrong(wanted)),
                None => Ok(None),
            }
        };
        match step {
            Step::Expect(wanted) => Ok(begins(wanted)?.then_some(wanted.len())),
            Step::ExpectLine(wanted) if !begins(wanted)? => Ok(None),
            Step::ExpectLine(_) => find(b"\n"),
            Step::ExpectTo(wanted) => find(wanted),
            Step::ExpectBytes(count) => Ok((came.len() >= *count).then_some(*count)),
            Step::ExpectEnd | Step::Send(_) | Step::Close => Ok(None),
        }
    }

    /// What comes before the end is not kept.
    fn drop_rest(&mut self) {
        if matches!(self.script.steps.get(self.at), Some((_, Step::ExpectEnd))) {
            self.came.clear();
        }
    }

    /// Ends the beginning, or a pass, if it is over.
    fn settle(&mut self) -> u64 {
        if self.at < self.script.repeat {
            return 0;
        }
        if !self.is_ready {
            self.is_ready = true;
            return 0;
        }
        let is_over = match self.script.steps.get(self.at) {
            None | Some((_, Step::Close)) => true,
            Some(_) => false,
        };
        if !is_over {
            return 0;
        }
        self.at = self.script.repeat;
        self.is_asked = false;
        self.heard_in_pass = false;
        1
    }
}

impl Dialogue for Player {
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.is_ready {
            self.say(out);
        }
    }

    fn is_ready(&self) -> bool {
        self.is_ready
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        self.is_asked = true;
        self.say(out);
    }

    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<u64, WrongContent> {
        self.came.extend_from_slice(bytes);
        let mut answers = 0;
        loop {
            if self.is_ready && !self.is_asked {
                // A service that greets may do so before the first request; more than that nobody asked for.
                let is_first = self.at == 0 && self.script.repeat == 0;
                if !self.came.is_empty() && !is_first {
                    let came = &self.came[..self.came.len().min(MOST_QUOTED)];
                    return Err(WrongContent::new(format!("nobody asked for \"{}\"", came.escape_ascii())));
                }
                return Ok(answers);
            }
            let Some(taken) = self.take()? else {
                self.drop_rest();
                self.looked = self.came.len();
                self.heard_in_pass |= !self.came.is_empty();
                return Ok(answers);
            };
            self.came.drain(..taken);
            self.looked = 0;
            self.heard_in_pass = true;
            self.at += 1;
            if self.is_ready || self.at < self.script.repeat {
                self.say(out);
            }
            answers += self.settle();
        }
    }

    fn hear_end(&mut self) -> Option<u64> {
        let is_due = matches!(self.script.steps.get(self.at), Some((_, Step::ExpectEnd)));
        (is_due && self.is_asked).then(|| {
            self.at += 1;
            self.settle()
        })
    }

    fn is_within_answer(&self) -> bool {
        self.heard_in_pass
    }

    fn restart(&mut self) {
        *self = Player::new(Arc::clone(&self.script));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(text: &str) -> Player {
        Player::new(Arc::new(Script::read(text).unwrap()))
    }

    #[test]
    fn a_beginning_is_said_once_and_the_rest_again_and_again() {
        let mut player = player(
            "expect \"220 \"\nexpect-to \"\\n\"\nsend \"EHLO me\\r\\n\"\nexpect-line \"250\"\nrepeat\n\
             send \"NOOP\\r\\n\"\nexpect-line \"250\"\n",
        );
        let mut out = Vec::new();
        player.begin(&mut out);
        assert!(!player.is_ready() && out.is_empty());
        assert_eq!(player.hear(b"220 mail.exam", &mut out), Ok(0));
        assert_eq!(player.hear(b"ple ready\r\n", &mut out), Ok(0));
        assert_eq!(out, b"EHLO me\r\n");
        assert_eq!(player.hear(b"250 hi\n", &mut out), Ok(0));
        assert!(player.is_ready());
        for _ in 0..3 {
            out.clear();
            player.ask(&mut out);
            assert_eq!(out, b"NOOP\r\n");
            assert_eq!(player.hear(b"2", &mut out), Ok(0));
            assert!(player.is_within_answer());
            assert_eq!(player.hear(b"50 ok\r\n", &mut out), Ok(1));
        }
        assert!(player.hear(b"250 again\n", &mut out).is_err(), "unasked");
        player.restart();
        assert!(!player.is_ready());
    }

    #[test]
    fn several_steps_are_one_request() {
        let mut player = player("send \"a\"\nexpect \"1\"\nsend \"b\"\nexpect-bytes 2\n");
        let mut out = Vec::new();
        player.ask(&mut out);
        assert_eq!(player.hear(b"1", &mut out), Ok(0));
        assert_eq!(out, b"ab");
        assert_eq!(player.hear(b"??", &mut out), Ok(1));
    }

    #[test]
    fn a_wrong_answer_is_told_with_its_line() {
        let mut player = player("# a greeting\nsend \"hi\\n\"\n\nexpect \"250 ok\"\n");
        player.ask(&mut Vec::new());
        let wrong = player.hear(b"500 no", &mut Vec::new()).unwrap_err();
        assert_eq!(wrong.how, "script line 4: expected \"250 ok\", came \"500 no\"");
    }

    #[test]
    fn the_end_can_be_the_answer() {
        let mut player = player(
            "send \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect \"HTTP/1.\"\nexpect-to \"\\r\\n\\r\\n\"\nexpect-end\n",
        );
        assert!(player.script.is_once());
        player.ask(&mut Vec::new());
        assert_eq!(player.hear(b"HTTP/1.0 200 OK\r\n\r\nok", &mut Vec::new()), Ok(0));
        assert_eq!(player.hear_end(), Some(1));
        player.restart();
        player.ask(&mut Vec::new());
        assert_eq!(player.hear_end(), None, "too early");
    }

    #[test]
    fn a_service_that_speaks_first_is_heard() {
        let mut player = player("expect-line \"\"\nexpect-end\n");
        assert_eq!(player.hear(b"Sun Jan  1 00:00:00 2023\r\n", &mut Vec::new()), Ok(0));
        player.ask(&mut Vec::new());
        assert_eq!(player.hear(b"", &mut Vec::new()), Ok(0));
        assert_eq!(player.hear_end(), Some(1));
    }

    #[test]
    fn what_is_wrong_is_said_line_by_line() {
        let problems =
            Script::read("sent \"x\"\nsend x\nexpect \"\\q\"\nsend \"a\nexpect-bytes many\nsend \"\\x4\"")
                .unwrap_err();
        for (problem, part) in problems.iter().zip([
            "line 1: `sent` is not a step",
            "line 2: a text in quotes",
            "line 3: `\\q`",
            "line 4: the closing quote",
            "line 5: `expect-bytes`",
            "line 6: `\\x4\"`",
        ]) {
            assert!(problem.contains(part), "{problem}");
        }
        assert_eq!(problems.len(), 6);
        for (text, part) in [
            ("", "nothing is expected"),
            ("send \"a\"", "nothing is expected"),
            ("expect \"a\"\nsend \"b\"", "line 2: nothing is expected after it"),
            ("send \"a\"\nrepeat\nexpect \"b\"", "before `repeat`"),
            ("expect \"a\"\nrepeat\nexpect \"b\"\nclose", "`repeat` does not go"),
            ("expect \"a\"\nclose\nsend \"b\"", "line 3: nothing can follow"),
        ] {
            let problems = Script::read(text).unwrap_err();
            assert!(problems[0].contains(part), "{text:?}: {problems:?}");
        }
    }
}
