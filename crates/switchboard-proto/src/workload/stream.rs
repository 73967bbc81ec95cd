//! `stream`: bytes as fast as they go, up, down or both; what was sent must come back if both.

use super::ping::{PLACES, place};
use super::{Errand, Shape, Workload};
use crate::dialogue::WrongContent;
use crate::random::Random;
use crate::size::Sizes;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub(super) const WORKLOAD: Workload = Workload {
    name: "stream",
    summary: "bytes as fast as they go, up (discard), down (chargen) or both (echo, checked)",
    service: "echo",
    size_bytes: 64 << 10,
    shape: |errand| Shape::Flow(errand.direction),
    dialogue: None,
};

/// Which way a stream goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From us; what comes is not looked at.
    Up,
    /// To us; what comes is counted and not looked at.
    Down,
    /// Both; what comes must be what was sent.
    Both,
}

/// The bytes of one connection. They repeat after `PERIOD`, a prime, so that a byte that is lost or doubled is found,
/// wherever the peer's buffers end.
#[derive(Clone, Debug)]
pub struct Stream {
    pattern: Arc<[u8]>,
    place: usize,
    /// Bytes of one write.
    write_bytes: usize,
    is_checked: bool,
    sent: u64,
    came: u64,
}

/// After so many bytes the pattern repeats.
const PERIOD: usize = 65_521;

impl Stream {
    pub(super) fn new(errand: &Errand, connection: u64) -> Stream {
        Stream {
            pattern: Arc::clone(&errand.pattern),
            place: place(connection),
            write_bytes: errand.sizes.bounds().1,
            is_checked: errand.direction == Direction::Both,
            sent: 0,
            came: 0,
        }
    }

    /// The bytes to be sent next.
    pub fn chunk(&self) -> &[u8] {
        let at = (self.sent % PERIOD as u64) as usize;
        &self.pattern[self.place + at..self.place + at + self.write_bytes]
    }

    /// So many of them were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Bytes sent so far.
    pub fn position(&self) -> u64 {
        self.sent
    }

    /// Bytes that came so far.
    pub fn returned(&self) -> u64 {
        self.came
    }

    /// Takes bytes that came.
    ///
    /// # Errors
    /// They are not what was sent, or more.
    pub fn hear(&mut self, mut bytes: &[u8]) -> Result<(), WrongContent> {
        if !self.is_checked {
            self.came += bytes.len() as u64;
            return Ok(());
        }
        if self.came + bytes.len() as u64 > self.sent {
            return Err(WrongContent::new(format!("more came back than was sent: byte {}", self.sent)));
        }
        let most = self.pattern.len() - self.place;
        while !bytes.is_empty() {
            let at = (self.came % PERIOD as u64) as usize;
            let n = bytes.len().min(most - at);
            let right = &self.pattern[self.place + at..self.place + at + n];
            if *right != bytes[..n] {
                let wrong = right.iter().zip(bytes).take_while(|(right, came)| right == came).count();
                return Err(WrongContent::new(format!(
                    "byte {} of the stream is {:#04x} and should be {:#04x}",
                    self.came + wrong as u64,
                    bytes[wrong],
                    right[wrong]
                )));
            }
            bytes = &bytes[n..];
            self.came += n as u64;
        }
        Ok(())
    }

    /// Begins anew, on a new connection.
    pub fn restart(&mut self) {
        (self.sent, self.came) = (0, 0);
    }
}

/// Bytes for writes of these sizes, wherever in the period they begin.
pub(super) fn pattern(sizes: &Sizes, seed: u64) -> Arc<[u8]> {
    let mut random = Random::new(seed);
    let period: Vec<u8> = (0..PERIOD).map(|_| (random.bits() >> 32) as u8).collect();
    let length = PERIOD + PLACES + sizes.bounds().1;
    period.iter().copied().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_known_again_however_it_is_cut() {
        for cut in [1, 1_000, 65_536, 100_000] {
            let mut stream = WORKLOAD.errand(3).stream(5);
            let mut sent = Vec::new();
            while sent.len() < 300_000 {
                let chunk = stream.chunk().to_vec();
                stream.sent(chunk.len());
                sent.extend(chunk);
            }
            let mut damaged = stream.clone();
            assert!(sent.chunks(cut).all(|part| stream.hear(part).is_ok()), "{cut}");
            assert!(stream.hear(b"x").is_err(), "more than was sent");
            sent.remove(200_000);
            let wrong = sent.chunks(cut).find_map(|part| damaged.hear(part).err());
            // Where a byte is missing the next one may be its equal.
            let how = wrong.expect("a lost byte is found").how;
            assert!(how.contains("byte 20000"), "{how}");
        }
    }
}
