//! `datagram`: datagrams that must come back; the lost, the doubled and those that overtook others are counted.

use super::ping::place;
use super::{Errand, Shape, Workload};
use crate::dialogue::WrongContent;
use crate::random::Random;
use crate::size::Sizes;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub(super) const WORKLOAD: Workload = Workload {
    name: "datagram",
    summary: "datagrams that must come back: lost, doubled, reordered and late ones are counted",
    service: "echo",
    size_bytes: 64,
    shape: |_| Shape::Packets,
    dialogue: None,
};

/// Bytes at the start of a datagram that hold its number.
pub(super) const NUMBER_BYTES: usize = 8;
/// How many datagrams after the oldest unanswered one are remembered, and as many before it. Of one that comes later than
/// that nobody knows any more what became of it.
const WINDOW: usize = 65_536;

/// What a datagram that came is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival<T> {
    /// The answer to one that was waited for. It is out of order if one that was sent later was answered before.
    Answer {
        /// What was remembered of it.
        asked: T,
        /// Whether a later one was answered before.
        is_reordered: bool,
    },
    /// The same answer came before, right or damaged, in time or late.
    Doubled(T),
    /// It had been given up.
    Late(T),
    /// It came with other content, and is waited for no more.
    Damaged(T, WrongContent),
    /// It was settled so long ago that nobody knows how.
    Forgotten,
}

/// The datagrams of one socket.
#[derive(Clone, Debug)]
pub struct Packets<T> {
    pattern: Arc<[u8]>,
    place: usize,
    sizes: Sizes,
    random: Random,
    connection: u64,
    /// Those from number `first` on, in the order of their numbers.
    sent: VecDeque<Sent<T>>,
    first: u64,
    next: u64,
    /// The highest number that was answered, plus 1.
    highest: u64,
    waiting: usize,
}

#[derive(Clone, Debug)]
struct Sent<T> {
    size: usize,
    asked: T,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Waits,
    Came,
    GivenUp,
}

impl<T: Copy> Packets<T> {
    pub(super) fn new(errand: &Errand, connection: u64) -> Packets<T> {
        Packets {
            pattern: Arc::clone(&errand.pattern),
            place: place(connection),
            sizes: errand.sizes.clone(),
            random: Random::new(errand.seed ^ connection.rotate_left(32)),
            connection: connection << 40,
            sent: VecDeque::new(),
            first: 0,
            next: 0,
            highest: 0,
            waiting: 0,
        }
    }

    /// Appends the next datagram to `out`; `asked` is given back when its answer comes.
    pub fn ask(&mut self, out: &mut Vec<u8>, asked: T) {
        let size = self.sizes.next(&mut self.random).max(NUMBER_BYTES);
        let at = out.len();
        out.extend_from_slice(&self.pattern[self.place..self.place + size]);
        out[at..at + NUMBER_BYTES].copy_from_slice(&(self.connection + self.next).to_le_bytes());
        self.sent.push_back(Sent { size, asked, fate: Fate::Waits });
        self.next += 1;
        self.waiting += 1;
        while self.sent.len() > 2 * WINDOW {
            self.waiting -= usize::from(self.sent.pop_front().is_some_and(|sent| sent.fate == Fate::Waits));
            self.first += 1;
        }
    }

    /// How many are waited for.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a datagram that came.
    ///
    /// # Errors
    /// It is none that was sent.
    pub fn hear(&mut self, datagram: &[u8]) -> Result<Arrival<T>, WrongContent> {
        let Some(number) = datagram.first_chunk::<NUMBER_BYTES>() else {
            let length = datagram.len();
            return Err(WrongContent::new(format!("a datagram of {length} bytes holds no number")));
        };
        let number = u64::from_le_bytes(*number).wrapping_sub(self.connection);
        if number >= self.next {
            return Err(WrongContent::new("a datagram with a number that was not sent"));
        }
        let place = number.checked_sub(self.first).map(|place| place as usize);
        let Some(sent) = place.and_then(|place| self.sent.get_mut(place)) else {
            return Ok(Arrival::Forgotten);
        };
        let Sent { size, asked, .. } = *sent;
        match core::mem::replace(&mut sent.fate, Fate::Came) {
            Fate::Waits => self.waiting -= 1,
            Fate::Came => return Ok(Arrival::Doubled(asked)),
            Fate::GivenUp => return Ok(Arrival::Late(asked)),
        }
        let right = &self.pattern[self.place + NUMBER_BYTES..self.place + size];
        let content = &datagram[NUMBER_BYTES..];
        if right != content {
            let how = if datagram.len() == size {
                let at = right.iter().zip(content).take_while(|(right, came)| right == came).count();
                format!("byte {} of {size} is damaged", NUMBER_BYTES + at)
            } else {
                format!("{} of {size} bytes came back", datagram.len())
            };
            return Ok(Arrival::Damaged(asked, WrongContent::new(how)));
        }
        let is_reordered = number < self.highest;
        self.highest = self.highest.max(number + 1);
        self.forget();
        Ok(Arrival::Answer { asked, is_reordered })
    }

    /// Gives up those for which `is_over` holds, from the oldest on, until the first for which it does not; what was
    /// remembered of each goes to `lost`.
    pub fn give_up(&mut self, is_over: impl Fn(&T) -> bool, mut lost: impl FnMut(T)) {
        if self.waiting == 0 {
            return;
        }
        for sent in &mut self.sent {
            if sent.fate != Fate::Waits {
                continue;
            }
            if !is_over(&sent.asked) {
                break;
            }
            sent.fate = Fate::GivenUp;
            self.waiting -= 1;
            lost(sent.asked);
        }
        self.forget();
    }

    /// Those that are still waited for.
    pub fn asked(&self) -> impl Iterator<Item = &T> {
        self.sent.iter().filter(|sent| sent.fate == Fate::Waits).map(|sent| &sent.asked)
    }

    /// Keeps no more than a window of what is settled.
    fn forget(&mut self) {
        while self.sent.len() > WINDOW && self.sent.front().is_some_and(|sent| sent.fate != Fate::Waits) {
            self.sent.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets() -> Packets<u32> {
        WORKLOAD.errand(1).sized(Sizes::Uniform(8, 100)).packets(9)
    }

    fn ask(packets: &mut Packets<u32>, asked: u32) -> Vec<u8> {
        let mut out = Vec::new();
        packets.ask(&mut out, asked);
        out
    }

    #[test]
    fn every_fate_of_a_datagram_is_told_apart() {
        let mut packets = packets();
        let sent: Vec<Vec<u8>> = (0..5).map(|n| ask(&mut packets, n)).collect();
        let answer = |asked, is_reordered| Ok(Arrival::Answer { asked, is_reordered });
        assert_eq!(packets.hear(&sent[0]), answer(0, false));
        assert_eq!(packets.hear(&sent[3]), answer(3, false));
        assert_eq!(packets.hear(&sent[1]), answer(1, true));
        assert_eq!(packets.hear(&sent[1]), Ok(Arrival::Doubled(1)));
        let mut lost = Vec::new();
        packets.give_up(|asked| *asked < 4, |asked| lost.push(asked));
        assert_eq!(lost, [2]);
        assert_eq!(packets.hear(&sent[2]), Ok(Arrival::Late(2)));
        assert_eq!(packets.hear(&sent[2]), Ok(Arrival::Doubled(2)), "it is late once");
        assert_eq!(packets.waiting(), 1);
        assert_eq!(packets.asked().copied().collect::<Vec<_>>(), [4]);
        assert!(packets.hear(&sent[4][..7]).is_err(), "no number");
        assert!(packets.hear(&[0xff; 8]).is_err(), "not sent");
        assert_eq!(packets.hear(&sent[4]), answer(4, false));
        let mut damaged = ask(&mut packets, 5);
        let whole = damaged.clone();
        damaged.push(0);
        assert!(matches!(packets.hear(&damaged), Ok(Arrival::Damaged(5, _))));
        assert_eq!(packets.hear(&whole), Ok(Arrival::Doubled(5)), "what came damaged is not lost");
        assert_eq!(packets.waiting(), 0, "a damaged one is not lost as well");
    }

    #[test]
    fn memory_is_bounded_whatever_is_lost() {
        let mut packets = packets();
        let first = ask(&mut packets, 0);
        for n in 1..3 * WINDOW as u32 {
            let sent = ask(&mut packets, n);
            assert!(packets.hear(&sent).is_ok());
        }
        assert!(packets.sent.len() <= 2 * WINDOW);
        assert_eq!(packets.hear(&first), Ok(Arrival::Forgotten));
        assert_eq!(packets.waiting(), 0);
    }
}
