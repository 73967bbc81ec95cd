//! The memory of a watched program: process_vm_readv(2), which takes one call for any length.
#![allow(unsafe_code)]

use std::io;

/// The most that is read of one string.
const LONGEST: usize = 4096;

/// The memory of a process, by any of its threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory(pub(super) i32);

impl Memory {
    /// Up to `length` bytes from `address`; fewer where the mapping ends, none where there is none.
    pub(super) fn bytes(self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        if address == 0 || length == 0 {
            return Vec::new();
        }
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
        let remote = libc::iovec { iov_base: address as *mut _, iov_len: length };
        // SAFETY: `local` describes `bytes`; `remote` is an address of the other process, which the kernel checks.
        let read = unsafe { libc::process_vm_readv(self.0, &raw const local, 1, &raw const remote, 1, 0) };
        bytes.truncate(usize::try_from(read).unwrap_or(0));
        bytes
    }

    /// `N` bytes from `address`, all or nothing.
    pub(super) fn array<const N: usize>(self, address: u64) -> Option<[u8; N]> {
        self.bytes(address, N).try_into().ok()
    }

    /// A 32-bit number.
    pub(super) fn int(self, address: u64) -> Option<i32> {
        self.array(address).map(i32::from_ne_bytes)
    }

    /// A 64-bit number.
    pub(super) fn long(self, address: u64) -> Option<u64> {
        self.array(address).map(u64::from_ne_bytes)
    }

    /// A string that ends with a zero byte, cut to 4,096 bytes.
    pub(super) fn string(self, address: u64) -> Option<Vec<u8>> {
        const STEP: usize = 256;
        let mut text = Vec::new();
        while text.len() < LONGEST {
            let part = self.bytes(address + text.len() as u64, STEP);
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&part[..end]);
                return Some(text);
            }
            if part.is_empty() {
                return None;
            }
            text.extend(part);
        }
        Some(text)
    }

    /// Writes `bytes` at `address`.
    pub(super) fn write(self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: address as *mut _, iov_len: bytes.len() };
        // SAFETY: `local` describes `bytes`, which the kernel only reads; `remote` belongs to the other process.
        let written =
            unsafe { libc::process_vm_writev(self.0, &raw const local, 1, &raw const remote, 1, 0) };
        match usize::try_from(written) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// The 64-bit number at `index` of what was read.
pub(super) fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let part = bytes.get(index * 8..index * 8 + 8)?;
    part.try_into().ok().map(u64::from_ne_bytes)
}
