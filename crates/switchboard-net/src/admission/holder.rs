//! Which process holds something in shared memory, told apart from a later one with the same id by its start time.

use crate::sys::process;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::sync::atomic::{AtomicU64, Ordering};

/// A process: its id in the upper half, its start time in clock ticks (proc_pid_stat(5), cut to 32 bits) in the lower.
pub(super) type Holder = u64;

/// This process. After fork(2) it is another one.
pub(super) fn me() -> Holder {
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let pid = process::id().as_raw_pid().unsigned_abs();
    let known = KNOWN.load(Ordering::Relaxed);
    if pid_of(known) == pid {
        return known;
    }
    let started = status(pid).map_or(0, |(_, started)| started);
    let me = u64::from(pid) << 32 | u64::from(started);
    KNOWN.store(me, Ordering::Relaxed);
    me
}

/// A process by its id, which must not have been collected yet.
pub(super) fn of(pid: Pid) -> Holder {
    let pid = pid.as_raw_pid().unsigned_abs();
    u64::from(pid) << 32 | u64::from(status(pid).map_or(0, |(_, started)| started))
}

/// Whether this process is the holder, and not a child that was forked from it.
pub(super) fn is_mine(holder: Holder) -> bool {
    pid_of(holder) == process::id().as_raw_pid().unsigned_abs()
}

pub(super) fn pid_of(holder: Holder) -> u32 {
    (holder >> 32) as u32
}

/// Whether the process has ended; one that waits to be collected has.
pub(super) fn is_gone(pid: u32) -> bool {
    match status(pid) {
        Some((state, _)) => matches!(state, b'Z' | b'X'),
        // Without /proc the kernel is asked; to be forbidden to send a signal means that there is somebody.
        None => Pid::from_raw(pid as i32).is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH)),
    }
}

/// Whether this very process has ended, whoever has its id now.
pub(super) fn has_ended(holder: Holder) -> bool {
    let pid = pid_of(holder);
    let started = holder as u32;
    is_gone(pid) || (started != 0 && status(pid).is_some_and(|(_, now)| now != started))
}

/// State and start time, from proc_pid_stat(5): fields 3 and 22; field 2, in parentheses, may hold anything.
fn status(pid: u32) -> Option<(u8, u32)> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = text[after + 1..].split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let started: u64 = std::str::from_utf8(fields.nth(18)?).ok()?.trim_end().parse().ok()?;
    Some((state, started as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let me = me();
        assert_eq!(pid_of(me), std::process::id());
        assert_ne!(me as u32, 0, "the start time is known");
        assert!(!has_ended(me));
        assert!(has_ended(me ^ 1), "same id, other start");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(is_gone(pid));
    }
}
