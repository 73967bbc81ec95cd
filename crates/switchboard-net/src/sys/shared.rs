//! Memory that processes share: a process and the children forked from it, or whoever is given the descriptor.

use rustix::fd::{AsFd, OwnedFd};
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

// SAFETY: counters only.
unsafe impl Shareable for crate::tally::Scoreboard {}

// SAFETY: atomics, and structures of them, only.
unsafe impl Shareable for crate::admission::Table {}

// SAFETY: a table of slots that consist of atomics, and an atomic.
unsafe impl Shareable for crate::program::register::Register {}

// SAFETY: a table of places that consist of atomics, and atomics.
unsafe impl Shareable for crate::roster::Roster {}

// SAFETY: atomics, and structures of them, only.
unsafe impl Shareable for crate::admission::NameTable {}

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

/// A zeroed `T` in a file of memory (memfd_create(2), sealed against shrinking and growing), and the descriptor by which another process may map
/// the same one with [`map`].
///
/// # Errors
/// `ENOMEM`, `EMFILE`.
pub fn shared_file<T: Shareable>(name: &str) -> io::Result<(OwnedFd, &'static T)> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, size_of::<T>() as u64)?;
    // Nobody can make the mapping fault by cutting the file.
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    let at = map(&fd)?;
    Ok((fd, at))
}

/// The `T` in a descriptor of [`shared_file`], for the rest of the process's life.
///
/// # Errors
/// `EINVAL` if the file is not of the size of `T` or could be cut; `ENOMEM`, `EACCES`.
pub fn map<T: Shareable>(fd: impl AsFd) -> io::Result<&'static T> {
    use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    assert!(align_of::<T>() <= 4096, "a page is the largest alignment that mmap promises");
    let fits = u64::try_from(fstat(&fd)?.st_size).is_ok_and(|size| size == size_of::<T>() as u64);
    if !fits || !fcntl_get_seals(&fd)?.contains(SealFlags::SHRINK) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing.
    let at = unsafe {
        mmap(ptr::null_mut(), size_of::<T>(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0)
    }?;
    // SAFETY: the file has the size of `T` and cannot shrink; it was zeroed when it was made, and whoever maps it
    // holds atomics only (`Shareable`), for which every content is valid.
    Ok(unsafe { &*at.cast::<T>() })
}
