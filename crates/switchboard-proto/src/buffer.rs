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
/// Holds at most 4 GiB. A new buffer owns no storage until something is written into it, and is no larger than a
/// pointer: an idle connection has several.
#[derive(Default)]
pub struct Buffer {
    store: Option<Box<Store>>,
}

/// Moved from buffer to buffer as one.
struct Store {
    bytes: Box<[u8]>,
    start: u32,
    end: u32,
    /// Bytes after `start` already known to hold no line feed.
    scanned: u32,
}

impl Store {
    fn new(bytes: Box<[u8]>, end: u32) -> Box<Store> {
        Box::new(Store { bytes, start: 0, end, scanned: 0 })
    }

    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn queued(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    fn clear(&mut self) {
        (self.start, self.end, self.scanned) = (0, 0, 0);
    }
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
        Buffer { store: Some(Store::new(vec![0; capacity].into_boxed_slice(), 0)) }
    }

    /// Bytes queued.
    pub fn len(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.len())
    }

    /// True when nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.start == store.end)
    }

    /// Size of the storage owned.
    pub fn capacity(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.bytes.len())
    }

    /// The queued bytes, oldest first.
    pub fn bytes(&self) -> &[u8] {
        self.store.as_ref().map_or(&[], |store| store.queued())
    }

    /// Storage after the queued bytes, to be filled and then [committed](Buffer::commit).
    pub fn spare(&mut self) -> &mut [u8] {
        self.store.as_mut().map_or(&mut [], |store| &mut store.bytes[store.end as usize..])
    }

    /// Declares the first `n` bytes of [`spare`](Buffer::spare) as queued; never more than there are.
    pub fn commit(&mut self, n: usize) {
        if let Some(store) = &mut self.store {
            store.end = cut(store.bytes.len().min(store.end as usize + n));
        }
    }

    /// Drops the `n` oldest bytes; all of them if there are fewer.
    pub fn consume(&mut self, n: usize) {
        let Some(store) = &mut self.store else { return };
        if n >= store.len() {
            store.clear();
        } else {
            store.start += cut(n);
            store.scanned = store.scanned.saturating_sub(cut(n));
        }
    }

    /// Drops everything queued; the storage stays.
    pub fn clear(&mut self) {
        if let Some(store) = &mut self.store {
            store.clear();
        }
    }

    /// Drops all but the `n` oldest bytes.
    pub fn truncate(&mut self, n: usize) {
        let Some(store) = &mut self.store else { return };
        let len = cut(store.len().min(n));
        store.end = store.start + len;
        store.scanned = store.scanned.min(len);
    }

    /// Queues a copy of `bytes`, growing geometrically when the storage is too small.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.commit(bytes.len());
    }

    /// Makes room for `more` bytes behind those queued, moving them to the front first if that suffices.
    pub fn reserve(&mut self, more: usize) {
        let Some(store) = &mut self.store else {
            if more > 0 {
                *self = Buffer::with_capacity(more.max(LEAST));
            }
            return;
        };
        if store.bytes.len() - store.end as usize >= more {
            return;
        }
        let len = store.len();
        if store.bytes.len() - len >= more && len <= store.start as usize {
            store.bytes.copy_within(store.start as usize..store.end as usize, 0);
        } else {
            let target = (len + more).max(store.bytes.len().saturating_mul(2)).max(LEAST);
            let mut grown = vec![0; target].into_boxed_slice();
            grown[..len].copy_from_slice(store.queued());
            store.bytes = grown;
        }
        (store.start, store.end) = (0, cut(len));
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
        let Some(store) = &mut self.store else {
            return if limit == 0 { Line::TooLong } else { Line::Partial };
        };
        let from = (store.scanned as usize).min(limit);
        let to = store.len().min(limit);
        match position(&store.queued()[from..to], b'\n') {
            Some(at) => Line::Complete(from + at + 1),
            None => {
                store.scanned = cut(to);
                if store.len() >= limit { Line::TooLong } else { Line::Partial }
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
        let Some(store) = &mut self.store else { return Buffer::new() };
        let len = store.len();
        if len == 0 {
            store.clear();
            return mem::take(self);
        }
        if store.bytes.len() > 1024 && len < store.bytes.len() / 4 {
            let mut small = Buffer::with_capacity(len.next_power_of_two().max(LEAST));
            small.push(store.queued());
            if let Some(small) = &mut small.store {
                small.scanned = store.scanned;
            }
            let mut spare = mem::replace(self, small);
            spare.clear();
            return spare;
        }
        Buffer::new()
    }
}

/// The smallest storage, bytes.
const LEAST: usize = 64;

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
        Buffer { store: Some(Store::new(Box::from(bytes), cut(bytes.len()))) }
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

    fn scanned(buffer: &Buffer) -> u32 {
        buffer.store.as_ref().map_or(0, |store| store.scanned)
    }

    #[test]
    fn a_buffer_is_no_larger_than_a_pointer() {
        assert_eq!(size_of::<Buffer>(), size_of::<usize>());
    }

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
            assert_eq!(scanned(&buffer) as usize, n);
        }
        buffer.push(b"\nrest");
        assert_eq!(buffer.line(8192), Line::Complete(4097));
        buffer.consume(4097);
        assert_eq!((buffer.bytes(), scanned(&buffer)), (&b"rest"[..], 0));
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
        assert_eq!((buffer.bytes(), scanned(&buffer)), (&b"c"[..], 1));
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
        assert_eq!((buffer.line(9), scanned(&buffer)), (Line::Partial, 3));
        buffer.reserve(60_000);
        buffer.settle();
        assert_eq!((buffer.capacity(), scanned(&buffer)), (64, 3), "what was searched stays searched");
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
