//! Sets of descriptors: poll, select, epoll.

use super::name;
use crate::watch::memory::{Memory, word};

/// Entries of a set that are shown.
const SHOWN: usize = 16;

/// `struct pollfd`s: what is waited for and, once the call has returned, what came.
pub(super) fn poll_set(memory: Memory, address: u64, count: usize, came: bool) -> String {
    let read = memory.bytes(address, count.min(4096) * 8);
    let mut parts = Vec::new();
    for entry in read.chunks_exact(8) {
        let flags =
            |at: usize| name::flags(name::POLLS, i64::from(u16::from_ne_bytes([entry[at], entry[at + 1]])));
        let fd = i32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let revents = (entry[6], entry[7]);
        if !came {
            parts.push(format!("{fd}:{}", flags(4)));
        } else if revents != (0, 0) {
            parts.push(format!("{fd}:{}→{}", flags(4), flags(6)));
        }
    }
    let quiet = if came { count.saturating_sub(parts.len()) } else { 0 };
    let mut text = listed(parts, count);
    if quiet > 0 {
        text.insert_str(text.len() - 1, &format!(", {quiet} quiet"));
    }
    text
}

/// The bits of an `fd_set`, of which the first `count` matter.
pub(super) fn fd_set(memory: Memory, address: u64, count: i32) -> String {
    let count = usize::try_from(count).unwrap_or(0).min(1 << 16);
    let bytes = memory.bytes(address, count.div_ceil(64) * 8);
    let set = |fd: &usize| word(&bytes, fd / 64).is_some_and(|word| word >> (fd % 64) & 1 == 1);
    let fds: Vec<String> = (0..count).filter(set).map(|fd| fd.to_string()).collect();
    let total = fds.len();
    listed(fds, total)
}

#[cfg(target_arch = "x86_64")]
const EPOLL: (usize, usize) = (12, 4);
#[cfg(not(target_arch = "x86_64"))]
const EPOLL: (usize, usize) = (16, 8);

fn event(bytes: &[u8]) -> Option<String> {
    let events = bytes.get(..4)?.try_into().ok().map(u32::from_ne_bytes)?;
    let data = bytes.get(EPOLL.1..EPOLL.1 + 8)?.try_into().ok().map(u64::from_ne_bytes)?;
    let flags = name::flags(name::EPOLLS, events.into());
    // Most programs keep a descriptor there, the others a pointer.
    Some(if data < 1 << 31 { format!("{flags} for {data}") } else { format!("{flags} for {data:#x}") })
}

pub(super) fn epoll_event(memory: Memory, address: u64) -> Option<String> {
    event(&memory.bytes(address, EPOLL.0))
}

pub(super) fn epoll_events(memory: Memory, address: u64, count: usize) -> String {
    let bytes = memory.bytes(address, count.min(SHOWN + 1) * EPOLL.0);
    listed(bytes.chunks_exact(EPOLL.0).filter_map(event).collect(), count)
}

fn listed(mut parts: Vec<String>, total: usize) -> String {
    if parts.len() > SHOWN {
        parts.truncate(SHOWN);
        parts.push(format!("… {total} in all"));
    }
    format!("[{}]", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_listed() {
        let memory = Memory(std::process::id() as i32);
        let set = [
            libc::pollfd { fd: 3, events: libc::POLLIN, revents: libc::POLLIN | libc::POLLHUP },
            libc::pollfd { fd: 4, events: libc::POLLOUT, revents: 0 },
        ];
        let at = set.as_ptr() as u64;
        assert_eq!(poll_set(memory, at, 2, false), "[3:POLLIN, 4:POLLOUT]");
        assert_eq!(poll_set(memory, at, 2, true), "[3:POLLIN→POLLIN|POLLHUP, 1 quiet]");
        let bits = [0x28_u64, 1];
        assert_eq!(fd_set(memory, bits.as_ptr() as u64, 65), "[3, 5, 64]");
        assert_eq!(fd_set(memory, bits.as_ptr() as u64, 4), "[3]");
    }
}
