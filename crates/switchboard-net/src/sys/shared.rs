//! Memory that a process and the children forked from it share.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU64;

/// Types that are valid when all bytes are zero and may be used by several processes at once.
///
/// # Safety
/// The implementor must consist of atomics only.
pub unsafe trait Shareable: Sync {}

// SAFETY: the counters are a structure of `AtomicU64` and nothing else.
unsafe impl Shareable for crate::tally::Counters {}

// SAFETY: atomics only.
unsafe impl<const N: usize> Shareable for [AtomicU64; N] {}

/// A zeroed `T` in shared anonymous memory (mmap(2), `MAP_SHARED`), for the rest of the process's life: children
/// forked later see the same one.
///
/// # Errors
/// `ENOMEM`.
pub fn shared<T: Shareable>() -> io::Result<&'static T> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    assert!(align_of::<T>() <= 4096, "a page is the largest alignment that mmap promises");
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice overlaps nothing.
    let at = unsafe {
        mmap_anonymous(ptr::null_mut(), size_of::<T>(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }?;
    // SAFETY: the mapping is zeroed, page-aligned, large enough, never unmapped; `Shareable` says that zero
    // bytes are a valid `T` and that concurrent use by other processes is fine.
    Ok(unsafe { &*at.cast::<T>() })
}
