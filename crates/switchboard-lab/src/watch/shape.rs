//! [`Change`]: what an injection does to a call at its entry, and what puts everything back at its return.

use super::call::Row;
use super::decode::parts;
use super::memory::Memory;
use super::ptrace;

/// A call that was changed.
#[derive(Debug)]
pub(super) struct Change {
    errno: Option<i32>,
    /// Bytes left, and bytes asked for.
    bytes: (u64, u64),
    /// Registers of arguments, to be given back: compilers trust that a call leaves them alone.
    registers: Vec<(usize, u64)>,
    /// Memory of the program, to be given back.
    memory: Vec<(u64, Vec<u8>)>,
}

impl Change {
    fn new(errno: Option<i32>) -> Change {
        Change { errno, bytes: (0, 0), registers: Vec::new(), memory: Vec::new() }
    }

    /// The call at whose entry `tid` is will not be made, and fail with `errno`.
    pub(super) fn fail(tid: i32, errno: i32) -> Option<Change> {
        ptrace::skip(tid).is_ok().then(|| Change::new(Some(errno)))
    }

    /// The call will move at most `most` bytes; none if it would not move more anyway.
    pub(super) fn short(tid: i32, row: &Row, arguments: &[u64; 6], most: u64) -> Option<Change> {
        let memory = Memory(tid);
        let mut change = Change::new(None);
        let capped = match row.number {
            libc::SYS_sendfile => change.cap_register(tid, arguments, 3, most),
            libc::SYS_splice => change.cap_register(tid, arguments, 4, most),
            libc::SYS_readv | libc::SYS_writev => change.cap_vector(memory, arguments[1], arguments[2], most),
            libc::SYS_recvmsg | libc::SYS_sendmsg => change.cap_message(memory, arguments[1], most),
            libc::SYS_recvmmsg | libc::SYS_sendmmsg => {
                change.cap_message(memory, arguments[1], most).and_then(|()| {
                    change.registers.push((2, arguments[2]));
                    ptrace::set_argument(tid, 2, 1).ok()
                })
            }
            _ => change.cap_register(tid, arguments, 2, most),
        };
        capped.map(|()| change)
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        format!("first {} of {} bytes", self.bytes.0, self.bytes.1)
    }

    /// Puts everything back at the return; what the call is made to return, if it is.
    pub(super) fn undo(self, tid: i32) -> Option<i64> {
        for (index, value) in self.registers {
            let _ = ptrace::set_argument(tid, index, value);
        }
        for (address, bytes) in self.memory {
            let _ = Memory(tid).write(address, &bytes);
        }
        let result = -i64::from(self.errno?);
        ptrace::set_result(tid, result).is_ok().then_some(result)
    }

    fn cap_register(&mut self, tid: i32, arguments: &[u64; 6], index: usize, most: u64) -> Option<()> {
        let asked = arguments[index];
        if asked <= most {
            return None;
        }
        ptrace::set_argument(tid, index, most).ok()?;
        self.registers.push((index, asked));
        self.bytes = (most, asked);
        Some(())
    }

    fn cap_message(&mut self, memory: Memory, address: u64, most: u64) -> Option<()> {
        // msg_iov and msg_iovlen of struct msghdr.
        self.cap_vector(memory, memory.long(address + 16)?, memory.long(address + 24)?, most)
    }

    /// Shortens the buffers of a vector in the program's memory, which is given back at the return. A vector in memory
    /// that cannot be written is left alone.
    fn cap_vector(&mut self, memory: Memory, address: u64, count: u64, most: u64) -> Option<()> {
        let parts = parts(memory, address, usize::try_from(count).ok()?);
        let asked = parts.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length as u64));
        if asked <= most {
            return None;
        }
        let original = memory.bytes(address, parts.len() * 16);
        let mut left = most;
        let mut capped = Vec::with_capacity(original.len());
        for (at, length) in parts {
            let length = left.min(length as u64);
            left -= length;
            capped.extend(at.to_ne_bytes());
            capped.extend(length.to_ne_bytes());
        }
        memory.write(address, &capped).ok()?;
        self.memory.push((address, original));
        self.bytes = (most, asked);
        Some(())
    }
}
