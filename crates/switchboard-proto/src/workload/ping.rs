//! `ping`: request after request on connections that stay; the same bytes must come back.
//!
//! Each request begins with a number (8 bytes, little-endian, as far as its size has room): that of the connection
//! times 2^40 and that of the request. So an answer that is lost, doubled, out of order or another connection's is
//! found, not only a damaged one. What follows is cut from one pattern that all connections share: none has a copy.

use super::{Errand, Shape, Workload};
use crate::dialogue::{Dialogue, WrongContent};
use crate::random::Random;
use crate::size::Sizes;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub(super) const WORKLOAD: Workload = Workload {
    name: "ping",
    summary: "requests on connections that stay; the same bytes must come back",
    service: "echo",
    size_bytes: 64,
    shape: |_| Shape::Stay,
    dialogue: Some(|errand, connection| Box::new(Exchange::new(errand, connection))),
};

/// Bytes at the start of a request that hold its number.
const NUMBER_BYTES: usize = 8;
/// Connections begin the pattern at as many places.
pub(super) const PLACES: usize = 257;

/// Bytes for requests of these sizes, wherever they begin.
pub(super) fn pattern(sizes: &Sizes, seed: u64) -> Arc<[u8]> {
    let mut random = Random::new(seed);
    let length = sizes.bounds().1 + PLACES;
    (0..length).map(|_| (random.bits() >> 32) as u8).collect()
}

/// Where the requests of a connection begin in the pattern.
pub(super) fn place(connection: u64) -> usize {
    (connection % PLACES as u64) as usize
}

/// The requests and answers of one connection.
#[derive(Clone, Debug)]
pub struct Exchange {
    pattern: Arc<[u8]>,
    place: usize,
    sizes: Sizes,
    next: Request,
    /// The oldest one that has no answer.
    due: Request,
    /// Bytes of its answer that have come.
    came: usize,
}

/// Which request, and how long.
#[derive(Clone, Debug)]
struct Request {
    number: u64,
    size: usize,
    random: Random,
}

impl Request {
    fn advance(&mut self, sizes: &Sizes) {
        self.number += 1;
        self.size = sizes.next(&mut self.random);
    }
}

impl Exchange {
    /// The exchange of connection number `connection`.
    pub fn new(errand: &Errand, connection: u64) -> Exchange {
        let mut random = Random::new(errand.seed ^ connection.rotate_left(32));
        let size = errand.sizes.next(&mut random);
        let next = Request { number: connection << 40, size, random };
        Exchange {
            pattern: Arc::clone(&errand.pattern),
            place: place(connection),
            sizes: errand.sizes.clone(),
            due: next.clone(),
            next,
            came: 0,
        }
    }
}

impl Dialogue for Exchange {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let at = out.len();
        let size = self.next.size;
        out.extend_from_slice(&self.pattern[self.place..self.place + size]);
        let stamped = NUMBER_BYTES.min(size);
        out[at..at + stamped].copy_from_slice(&self.next.number.to_le_bytes()[..stamped]);
        self.next.advance(&self.sizes);
    }

    fn hear(&mut self, mut bytes: &[u8], _: &mut Vec<u8>) -> Result<u64, WrongContent> {
        let mut answers = 0;
        while let Some(first) = bytes.first() {
            if self.due.number == self.next.number {
                return Err(WrongContent::new(format!(
                    "an answer that nobody asked for begins with {first:#04x}"
                )));
            }
            let stamp = self.due.number.to_le_bytes();
            let stamp = &stamp[..NUMBER_BYTES.min(self.due.size)];
            let (rest, what) = match stamp.get(self.came..) {
                Some(rest) if !rest.is_empty() => (rest, "number"),
                _ => (&self.pattern[self.place + self.came..self.place + self.due.size], "content"),
            };
            let n = rest.len().min(bytes.len());
            if rest[..n] != bytes[..n] {
                let at = rest.iter().zip(bytes).take_while(|(right, came)| right == came).count();
                return Err(WrongContent::new(format!(
                    "byte {} of {} ({what}) is {:#04x} and should be {:#04x}",
                    self.came + at,
                    self.due.size,
                    bytes[at],
                    rest[at],
                )));
            }
            bytes = &bytes[n..];
            self.came += n;
            if self.came == self.due.size {
                self.came = 0;
                self.due.advance(&self.sizes);
                answers += 1;
            }
        }
        Ok(answers)
    }

    fn is_within_answer(&self) -> bool {
        self.came > 0
    }

    /// Numbers go on, so that an answer to the old connection is not taken for one to the new.
    fn restart(&mut self) {
        self.due = self.next.clone();
        self.came = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(sizes: Sizes, connection: u64) -> Exchange {
        Exchange::new(&WORKLOAD.errand(7).sized(sizes), connection)
    }

    fn request(exchange: &mut Exchange) -> Vec<u8> {
        let mut out = Vec::new();
        exchange.ask(&mut out);
        out
    }

    fn hear(exchange: &mut Exchange, bytes: &[u8]) -> Result<u64, WrongContent> {
        exchange.hear(bytes, &mut Vec::new())
    }

    #[test]
    fn answers_are_counted_wherever_they_are_cut() {
        let fixed = [1, 7, 8, 9, 100].map(Sizes::Fixed);
        for sizes in fixed.into_iter().chain([Sizes::Uniform(1, 40), Sizes::Zipf(1, 64)]) {
            for cut in 1..=100 {
                let mut exchange = exchange(sizes.clone(), 1);
                let echo: Vec<u8> = (0..5).flat_map(|_| request(&mut exchange)).collect();
                let counted: u64 = echo.chunks(cut).map(|part| hear(&mut exchange, part).unwrap()).sum();
                assert_eq!(counted, 5, "{sizes:?} cut at {cut}");
                assert!(!exchange.is_within_answer());
            }
        }
    }

    #[test]
    fn every_damaged_byte_is_found() {
        for at in 0..20 {
            let mut exchange = exchange(Sizes::Fixed(20), 2);
            let mut damaged = request(&mut exchange);
            damaged[at] ^= 1;
            let wrong = hear(&mut exchange, &damaged).unwrap_err();
            assert!(wrong.how.contains(&format!("byte {at} of 20")), "{wrong:?}");
        }
    }

    #[test]
    fn doubled_swapped_unasked_and_stale_answers_are_wrong() {
        let mut exchange = exchange(Sizes::Fixed(16), 3);
        let first = request(&mut exchange);
        let second = request(&mut exchange);
        assert!(hear(&mut exchange.clone(), &second).is_err(), "swapped");
        assert_eq!(hear(&mut exchange, &first), Ok(1));
        assert!(hear(&mut exchange.clone(), &first).is_err(), "doubled");
        assert_eq!(hear(&mut exchange, &second), Ok(1));
        assert!(hear(&mut exchange.clone(), b"?").is_err(), "unasked");
        let stale = request(&mut exchange);
        exchange.restart();
        let fresh = request(&mut exchange);
        assert!(hear(&mut exchange.clone(), &stale).is_err(), "stale");
        assert_eq!(hear(&mut exchange, &fresh), Ok(1));
    }

    #[test]
    fn another_connection_s_answer_is_wrong() {
        let (mut one, mut other) = (exchange(Sizes::Fixed(8), 0), exchange(Sizes::Fixed(8), 257));
        let theirs = request(&mut other);
        request(&mut one);
        assert!(hear(&mut one, &theirs).is_err());
    }
}
