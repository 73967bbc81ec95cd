//! [`Buffer`]: the byte queue that travels between the kernel, a session and the kernel again.
//!
//! A buffer is moved, not copied: appending to an empty buffer takes the other one's storage. Reading a line
//! remembers how far the search came, so a line that arrives one byte at a time costs O(n), not O(n²); line and
//! message reads are bounded (UNP's `readline` and `readn` with a limit; SYSTEMS.md S12).

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use core::mem;

/// A queue of bytes in one piece of storage: filled at the end, consumed from the front.
///
/// Holds at most 4 GiB. A new buffer owns no storage until something is written into it.
#[derive(Default)]
pub struct Buffer {
    storage: Box<[u8]>,
    start: u32,
    end: u32,
    /// Bytes after `start` already known to hold no line feed.
    scanned: u32,
}

/// What [`Buffer::line`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// A whole line: this many bytes, its line feed included.
    Complete(usize),
    /// No line feed yet, and the limit is not reached.
    Partial,
    /// As many bytes as the limit, and no line feed among them.
    TooLong,
}

impl Buffer {
    /// An empty buffer without storage.
    pub fn new() -> Buffer {
        Buffer::default()
    }

    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Buffer {
        Buffer { storage: vec![0; capacity].into_boxed_slice(), ..Buffer::default() }
    }

    /// Bytes queued.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// True when nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Size of the storage owned.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// The queued bytes, oldest first.
    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.start as usize..self.end as usize]
    }

    /// Storage after the queued bytes, to be filled and then [committed](Buffer::commit).
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.storage[self.end as usize..]
    }

    /// Declares the first `n` bytes of [`spare`](Buffer::spare) as queued; never more than there are.
    pub fn commit(&mut self, n: usize) {
        self.end = cut(self.end as usize + n.min(self.storage.len() - self.end as usize));
    }

    /// Drops the `n` oldest bytes; all of them if there are fewer.
    pub fn consume(&mut self, n: usize) {
        if n >= self.len() {
            self.clear();
        } else {
            self.start += cut(n);
            self.scanned = self.scanned.saturating_sub(cut(n));
        }
    }

    /// Drops everything queued; the storage stays.
    pub fn clear(&mut self) {
        (self.start, self.end, self.scanned) = (0, 0, 0);
    }

    /// Drops all but the `n` oldest bytes.
    pub fn truncate(&mut self, n: usize) {
        let len = cut(self.len().min(n));
        self.end = self.start + len;
        self.scanned = self.scanned.min(len);
    }

    /// Queues a copy of `bytes`, growing geometrically when the storage is too small.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.end += cut(bytes.len());
    }

    /// Makes room for `more` bytes behind those queued, moving them to the front first if that suffices.
    pub fn reserve(&mut self, more: usize) {
        if self.storage.len() - self.end as usize >= more {
            return;
        }
        let len = self.len();
        if self.storage.len() - len >= more && len <= self.start as usize {
            self.storage.copy_within(self.start as usize..self.end as usize, 0);
        } else {
            let target = (len + more).max(self.storage.len().saturating_mul(2)).max(64);
            let mut grown = vec![0; target].into_boxed_slice();
            grown[..len].copy_from_slice(self.bytes());
            self.storage = grown;
        }
        (self.start, self.end) = (0, cut(len));
    }

    /// Moves everything from `other` behind what is queued here: by exchanging storage when this buffer is
    /// empty, by copying otherwise. `other` is empty afterwards.
    pub fn append(&mut self, other: &mut Buffer) {
        if self.is_empty() {
            self.clear();
            mem::swap(self, other);
        } else {
            self.push(other.bytes());
            other.clear();
        }
    }

    /// Like [`append`](Buffer::append), but at most `room` bytes; the rest stays in `other`.
    pub fn append_up_to(&mut self, other: &mut Buffer, room: usize) {
        if other.len() <= room {
            self.append(other);
        } else {
            self.push(&other.bytes()[..room]);
            other.consume(room);
        }
    }

    /// Looks for a line of at most `limit` bytes, its line feed included. Bytes already searched are not
    /// searched again.
    pub fn line(&mut self, limit: usize) -> Line {
        let from = (self.scanned as usize).min(limit);
        let to = self.len().min(limit);
        match position(&self.bytes()[from..to], b'\n') {
            Some(at) => Line::Complete(from + at + 1),
            None => {
                self.scanned = cut(to);
                if self.len() >= limit { Line::TooLong } else { Line::Partial }
            }
        }
    }

    /// The first `n` bytes if that many are queued (UNP's `readn`): read them, then [`consume`](Buffer::consume).
    pub fn message(&self, n: usize) -> Option<&[u8]> {
        self.bytes().get(..n)
    }

    /// For a buffer about to rest: gives the storage back when empty, and moves a few bytes out of storage
    /// that is much too large for them. What is returned has no bytes queued.
    pub fn settle(&mut self) -> Buffer {
        let len = self.len();
        if len == 0 {
            self.clear();
            return mem::take(self);
        }
        if self.storage.len() > 1024 && len < self.storage.len() / 4 {
            let mut small = Buffer::with_capacity(len.next_power_of_two().max(64));
            small.push(self.bytes());
            small.scanned = self.scanned;
            let mut spare = mem::replace(self, small);
            spare.clear();
            return spare;
        }
        Buffer::new()
    }
}

/// Position of `byte`, eight bytes at a time: a word with a matching byte has a zero byte after the XOR.
fn position(haystack: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let pattern = u64::from_ne_bytes([byte; 8]);
    let (words, _) = haystack.as_chunks::<8>();
    let clear = words
        .iter()
        .take_while(|word| {
            let x = u64::from_ne_bytes(**word) ^ pattern;
            x.wrapping_sub(ONES) & !x & HIGHS == 0
        })
        .count();
    let from = clear * 8;
    haystack[from..].iter().position(|b| *b == byte).map(|at| from + at)
}

/// Storage is limited to 4 GiB by construction of every caller: queues are bounded far below that.
fn cut(n: usize) -> u32 {
    u32::try_from(n).expect("a buffer holds at most 4 GiB")
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Buffer {
        Buffer { storage: Box::from(bytes), start: 0, end: cut(bytes.len()), scanned: 0 }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {})", self.len(), self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_to_empty_moves_the_storage() {
        let mut from = Buffer::from(&b"hello"[..]);
        let at = from.bytes().as_ptr();
        let mut to = Buffer::new();
        to.append(&mut from);
        assert_eq!((to.bytes(), to.bytes().as_ptr()), (&b"hello"[..], at));
        assert!(from.is_empty() && from.capacity() == 0);
        to.append(&mut Buffer::from(&b" world"[..]));
        assert_eq!(to.bytes(), b"hello world");
    }

    #[test]
    fn a_slow_line_is_searched_once() {
        let mut buffer = Buffer::new();
        for n in 1..=4096usize {
            buffer.push(b"x");
            assert_eq!(buffer.line(8192), Line::Partial);
            assert_eq!(buffer.scanned as usize, n);
        }
        buffer.push(b"\nrest");
        assert_eq!(buffer.line(8192), Line::Complete(4097));
        buffer.consume(4097);
        assert_eq!((buffer.bytes(), buffer.scanned), (&b"rest"[..], 0));
    }

    #[test]
    fn a_line_is_bounded() {
        let mut buffer = Buffer::from(&b"12345678\n"[..]);
        assert_eq!(buffer.line(8), Line::TooLong);
        assert_eq!(buffer.line(9), Line::Complete(9));
        let mut short = Buffer::from(&b"1234567"[..]);
        assert_eq!(short.line(8), Line::Partial);
        assert_eq!(short.message(8), None);
        assert_eq!(short.message(7), Some(&b"1234567"[..]));
    }

    #[test]
    fn append_up_to_leaves_the_rest() {
        let (mut to, mut from) = (Buffer::new(), Buffer::from(&b"abcdef"[..]));
        to.append_up_to(&mut from, 2);
        assert_eq!((to.bytes(), from.bytes()), (&b"ab"[..], &b"cdef"[..]));
        to.append_up_to(&mut from, 9);
        assert_eq!((to.bytes(), from.len()), (&b"abcdef"[..], 0));
    }

    #[test]
    fn truncating_and_consuming_stop_at_the_ends() {
        let mut buffer = Buffer::from(&b"abcdef"[..]);
        buffer.consume(2);
        buffer.truncate(usize::MAX);
        assert_eq!(buffer.bytes(), b"cdef");
        assert_eq!(buffer.line(9), Line::Partial);
        buffer.truncate(1);
        assert_eq!((buffer.bytes(), buffer.scanned), (&b"c"[..], 1));
        buffer.push(b"\n");
        assert_eq!(buffer.line(9), Line::Complete(2));
        buffer.consume(usize::MAX);
        assert!(buffer.is_empty());
    }

    #[test]
    fn storage_stays_within_a_few_times_the_longest_queue() {
        let mut buffer = Buffer::new();
        for n in 0..10_000usize {
            buffer.push(&[0; 100]);
            buffer.consume(if n < 10 { 0 } else { 100 });
            assert!(buffer.len() <= 1_000 && buffer.capacity() <= 4_400, "{buffer:?}");
        }
    }

    #[test]
    fn settling_returns_what_is_not_needed() {
        let mut buffer = Buffer::with_capacity(65_536);
        buffer.push(b"few");
        let spare = buffer.settle();
        assert_eq!((spare.capacity(), spare.len()), (65_536, 0));
        assert_eq!((buffer.bytes(), buffer.capacity()), (&b"few"[..], 64));
        assert_eq!((buffer.line(9), buffer.scanned), (Line::Partial, 3));
        buffer.reserve(60_000);
        buffer.settle();
        assert_eq!((buffer.capacity(), buffer.scanned), (64, 3), "what was searched stays searched");
        buffer.consume(3);
        assert_eq!((buffer.settle().capacity(), buffer.capacity()), (64, 0));
    }

    #[test]
    fn line_search_agrees_with_the_plain_one() {
        for len in 0..40 {
            for at in 0..len {
                let mut text = vec![b'a'; len];
                text[at] = b'\n';
                assert_eq!(position(&text, b'\n'), Some(at));
                assert_eq!(position(&text[..at], b'\n'), None);
            }
        }
    }
}
