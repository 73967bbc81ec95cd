//! What a load client says on one connection: [`Exchange`] makes requests and checks that the same bytes come back.
//!
//! Each request begins with its number, as far as its size has room for it (8 bytes, little-endian), so that an answer
//! that is lost, doubled, out of order or another connection's is found, not only a damaged one.

use crate::random::Random;
use alloc::vec::Vec;

/// Bytes at the start of a request that hold its number.
const NUMBER_BYTES: usize = 8;

/// The requests and answers of one connection.
#[derive(Debug)]
pub struct Exchange {
    request: Vec<u8>,
    expected: Vec<u8>,
    sent: u64,
    answered: u64,
    /// Bytes of the next answer that have come.
    came: usize,
}

/// An answer that is not what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongContent;

impl Exchange {
    /// Requests of `size_bytes`, at least 1; `seed` chooses what is in them.
    pub fn new(size_bytes: usize, seed: u64) -> Exchange {
        let mut random = Random::new(seed);
        let request: Vec<u8> = (0..size_bytes.max(1)).map(|_| (random.bits() >> 32) as u8).collect();
        Exchange { expected: request.clone(), request, sent: 0, answered: 0, came: 0 }
    }

    /// The bytes of the next request.
    pub fn request(&mut self) -> &[u8] {
        number(&mut self.request, self.sent);
        self.sent += 1;
        &self.request
    }

    /// Takes bytes that came, and says how many answers are whole by them.
    ///
    /// # Errors
    /// They are not what was sent, or more than was asked for. The connection is of no use any more.
    pub fn answer(&mut self, mut bytes: &[u8]) -> Result<u64, WrongContent> {
        let before = self.answered;
        while !bytes.is_empty() {
            if self.answered == self.sent {
                return Err(WrongContent);
            }
            number(&mut self.expected, self.answered);
            let rest = &self.expected[self.came..];
            let n = rest.len().min(bytes.len());
            if rest[..n] != bytes[..n] {
                return Err(WrongContent);
            }
            bytes = &bytes[n..];
            self.came += n;
            if self.came == self.expected.len() {
                self.came = 0;
                self.answered += 1;
            }
        }
        Ok(self.answered - before)
    }

    /// Whether a part of the next answer has come.
    pub fn is_within_answer(&self) -> bool {
        self.came > 0
    }

    /// Begins anew, on a new connection. Numbers go on, so that an answer to the old one is not taken for a new one.
    pub fn restart(&mut self) {
        self.answered = self.sent;
        self.came = 0;
    }
}

fn number(request: &mut [u8], n: u64) {
    let bytes = NUMBER_BYTES.min(request.len());
    request[..bytes].copy_from_slice(&n.to_le_bytes()[..bytes]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_wherever_they_are_cut() {
        for size in [1, 7, 8, 9, 100] {
            for cut in 1..=3 * size {
                let mut exchange = Exchange::new(size, 1);
                let mut echo = Vec::new();
                for _ in 0..3 {
                    echo.extend_from_slice(exchange.request());
                }
                let counted: u64 = echo.chunks(cut).map(|part| exchange.answer(part).unwrap()).sum();
                assert_eq!(counted, 3, "{size} cut at {cut}");
            }
        }
    }

    #[test]
    fn every_damaged_byte_is_found() {
        let mut exchange = Exchange::new(20, 2);
        let echo = exchange.request().to_vec();
        for at in 0..20 {
            let mut exchange = Exchange::new(20, 2);
            exchange.request();
            let mut damaged = echo.clone();
            damaged[at] ^= 1;
            assert_eq!(exchange.answer(&damaged), Err(WrongContent), "byte {at}");
        }
    }

    #[test]
    fn doubled_swapped_unasked_and_stale_answers_are_wrong() {
        let mut exchange = Exchange::new(16, 3);
        let first = exchange.request().to_vec();
        let second = exchange.request().to_vec();
        assert_eq!(exchange.answer(&second), Err(WrongContent), "swapped");
        assert_eq!(exchange.answer(&first), Ok(1));
        assert_eq!(exchange.answer(&first), Err(WrongContent), "doubled");
        assert_eq!(exchange.answer(&second), Ok(1));
        assert_eq!(exchange.answer(b"?"), Err(WrongContent), "unasked");
        let stale = exchange.request().to_vec();
        exchange.restart();
        let fresh = exchange.request().to_vec();
        assert_eq!(exchange.answer(&stale), Err(WrongContent), "stale");
        assert_eq!(exchange.answer(&fresh), Ok(1));
    }
}
