//! [`Pool`]: buffers of one size that the kernel picks from when input arrives (a provided buffer ring), so that
//! a connection that waits for input owns none.
//!
//! A buffer that was filled is moved out to the connection and another one takes its place at once, so the pool is
//! full again whenever the kernel is entered.

use crate::sys::fault;
use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::mem;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use switchboard_proto::Buffer;

/// Buffers lent to the kernel, and spare ones to lend next.
pub(super) struct Pool {
    group: u16,
    size: usize,
    /// Storage shared with the kernel: one entry for each buffer.
    entries: NonNull<BufRingEntry>,
    /// Entries written so far, modulo 2¹⁶.
    tail: u16,
    /// The buffers that the entries point into, by buffer id.
    lent: Box<[Buffer]>,
    spares: Vec<Buffer>,
    most_spares: usize,
}

impl Pool {
    /// `count` buffers (a power of two) of `size` bytes, not known to any ring yet.
    pub(super) fn new(group: u16, count: u16, size: usize, most_spares: usize) -> Pool {
        assert!(count.is_power_of_two(), "a buffer ring has 2^n entries");
        let layout = layout(count.into());
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let entries = NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout));
        let lent = (0..count).map(|_| Buffer::with_capacity(size)).collect();
        let mut pool = Pool { group, size, entries, tail: 0, lent, spares: Vec::new(), most_spares };
        for id in 0..count {
            pool.lend(id);
        }
        pool
    }

    /// Lets operations of `ring` pick from this pool.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.19; `ENOMEM`.
    ///
    /// # Safety
    /// The pool outlives every operation of `ring` that names its group.
    pub(super) unsafe fn register(&self, ring: &IoUring) -> io::Result<()> {
        let count = self.lent.len() as u16;
        let entries = self.entries.as_ptr() as u64;
        // SAFETY: `entries` is page-aligned and holds `count` valid entries; the caller keeps it alive.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries, count, self.group, 0) }
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The buffer that a completion names, holding what was received.
    pub(super) fn take(&mut self, completion: &cqueue::Entry) -> Option<Buffer> {
        let id = cqueue::buffer_select(completion.flags())?;
        let next = self.spares.pop().unwrap_or_else(|| Buffer::with_capacity(self.size));
        let mut bytes = mem::replace(&mut self.lent[usize::from(id)], next);
        self.lend(id);
        bytes.commit(usize::try_from(completion.result()).unwrap_or(0));
        Some(bytes)
    }

    /// Keeps storage of this pool's size for later.
    pub(super) fn keep(&mut self, mut buffer: Buffer) {
        if self.spares.len() < self.most_spares {
            buffer.clear();
            self.spares.push(buffer);
        }
    }

    /// Offers the buffer `id` to the kernel.
    fn lend(&mut self, id: u16) {
        let mask = self.lent.len() - 1;
        let room = self.lent[usize::from(id)].spare();
        // SAFETY: the index is below the number of entries; the kernel reads an entry only when the tail passed it,
        // and this one it gave back before (there are as many entries as ids).
        let entry = unsafe { self.entries.add(usize::from(self.tail) & mask).as_mut() };
        entry.set_addr(room.as_mut_ptr() as u64);
        entry.set_len(fault::short(room.len()) as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, where the setters above do not write; it is aligned, and shared
        // with the kernel only, which reads it atomically. "Release" makes the entry visible before it.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout; by `register` no operation uses it any more. The kernel
        // has pinned the pages by itself for as long as it looks at them.
        unsafe { dealloc(self.entries.as_ptr().cast(), layout(self.lent.len())) }
    }
}

/// The kernel asks for entries that start at a page.
fn layout(count: usize) -> Layout {
    const PAGE: usize = 4_096;
    let bytes = (count * size_of::<BufRingEntry>()).next_multiple_of(PAGE);
    Layout::from_size_align(bytes, PAGE).expect("at most 2^15 entries of 16 bytes")
}
