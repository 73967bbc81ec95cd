//! `sum`: lines with two integers; the answers must be their sums.

use super::{Errand, Shape, Workload};
use crate::dialogue::{Dialogue, WrongContent};
use crate::random::Random;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

pub(super) const WORKLOAD: Workload = Workload {
    name: "sum",
    summary: "lines with two integers; the answers must be their sums",
    service: "sum",
    size_bytes: 0,
    shape: |_| Shape::Stay,
    dialogue: Some(|errand, connection| Box::new(Sum::new(errand, connection))),
};

/// Most bytes of an answer: nobody's sum of two 32-bit numbers is longer.
const MOST_ANSWER_BYTES: usize = 16;

struct Sum {
    /// Makes the operands of requests ...
    asking: Random,
    /// ... and, behind it, those of the answers.
    due: Random,
    waiting: u64,
    line: Vec<u8>,
}

impl Sum {
    fn new(errand: &Errand, connection: u64) -> Sum {
        let random = Random::new(errand.seed ^ connection.rotate_left(32));
        Sum { asking: random.clone(), due: random, waiting: 0, line: Vec::new() }
    }
}

fn operands(random: &mut Random) -> (i64, i64) {
    let bits = random.bits();
    (i64::from(bits as i32), i64::from((bits >> 32) as i32))
}

impl Dialogue for Sum {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let (a, b) = operands(&mut self.asking);
        let mut line = String::new();
        // A String takes everything.
        let _ = writeln!(line, "{a} {b}");
        out.extend_from_slice(line.as_bytes());
        self.waiting += 1;
    }

    fn hear(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<u64, WrongContent> {
        let mut answers = 0;
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > MOST_ANSWER_BYTES {
                    return Err(WrongContent::new(format!(
                        "a line that is no sum: {}",
                        self.line.escape_ascii()
                    )));
                }
                continue;
            }
            if self.waiting == 0 {
                return Err(WrongContent::new("an answer that nobody asked for"));
            }
            let (a, b) = operands(&mut self.due);
            let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            if line != format!("{}", a + b).as_bytes() {
                return Err(WrongContent::new(format!("{a} + {b} is not {}", line.escape_ascii())));
            }
            self.line.clear();
            self.waiting -= 1;
            answers += 1;
        }
        Ok(answers)
    }

    fn is_within_answer(&self) -> bool {
        !self.line.is_empty()
    }

    fn restart(&mut self) {
        self.due = self.asking.clone();
        self.waiting = 0;
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_checked() {
        let mut sum = Sum::new(&WORKLOAD.errand(1), 4);
        let ask = |sum: &mut Sum| {
            let mut out = Vec::new();
            sum.ask(&mut out);
            let text = String::from_utf8(out).unwrap();
            text.split_whitespace().map(|n| n.parse::<i64>().unwrap()).sum::<i64>()
        };
        let (first, second) = (ask(&mut sum), ask(&mut sum));
        let hear = |sum: &mut Sum, text: String| sum.hear(text.as_bytes(), &mut Vec::new());
        assert_eq!(hear(&mut sum, format!("{first}\r\n{second}")), Ok(1));
        assert!(sum.is_within_answer());
        assert_eq!(hear(&mut sum, "\n".into()), Ok(1));
        assert!(hear(&mut sum, "0\n".into()).is_err(), "unasked");
        sum.restart();
        let third = ask(&mut sum);
        assert!(hear(&mut sum, format!("{}\n", third + 1)).is_err(), "wrong");
    }
}
