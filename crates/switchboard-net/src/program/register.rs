//! [`Register`]: the programs that are running, in memory shared by all processes.
//!
//! A worker writes down what it starts before it starts it, and the kernel itself stores the process id
//! (`CLONE_PARENT_SETTID`), so there is no moment at which a program runs and is not in the register, whenever the
//! worker is killed. The supervisor reads it for `status` and `terminate`; the next worker of a service adopts from
//! it what the last one left.
//!
//! Process ids are used again. A program is known by its id *and* the time at which it was started
//! (proc_pid_stat(5), field 22), which the kernel rounds to clock ticks; the register has the time before and after.

use crate::confine::Tree;
use crate::error::Error;
use crate::peer::Peer;
use crate::sys::shared::{map, shared_file};
use crate::sys::{clock, process};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Programs at once that a register has room for.
pub const MOST: usize = 16_384;

/// The programs that are running now.
#[derive(Debug)]
#[repr(C)]
pub struct Register {
    /// Where a free slot may be found: a hint.
    next: AtomicU64,
    slots: [Slot; MOST],
}

const FREE: u32 = 0;
const TAKEN: u32 = 1;

/// One program. Pages of slots that were never used cost no memory.
#[derive(Debug)]
#[repr(C)]
struct Slot {
    state: AtomicU32,
    /// The worker that looks after it: an [`Owner`].
    owner: AtomicU64,
    /// Stored by the kernel when the process is made; 0 before.
    pid: AtomicI32,
    /// Where starting it failed: step and error number, written by the process that could not.
    failure: AtomicU32,
    service: AtomicU64,
    connection: AtomicU64,
    /// `CLOCK_BOOTTIME` before and after it was started, ns.
    before: AtomicU64,
    after: AtomicU64,
    /// The listener that it serves, as [`service_key`] makes it of the address; 0 for a connection's program.
    door: AtomicU64,
    /// Inode of the pipe that is its standard error; 0 if the log has nothing to do with that.
    stderr: AtomicU64,
    peer: [AtomicU64; 3],
}

/// A program in the register, as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its place.
    pub slot: usize,
    /// Its process id, which is also its process group and session.
    pub pid: Pid,
    owner: Owner,
    /// Its service, as [`service_key`] makes it of the id.
    pub service: u64,
    /// The connection's number.
    pub connection: u64,
    /// Who is served; unknown for a program that serves a listener.
    pub peer: Peer,
    pub(crate) door: u64,
    pub(crate) stderr: u64,
    /// For how long it has been running.
    pub age: Duration,
    before: u64,
    after: u64,
}

/// A service's id as the register knows it: the same in every process and every version (FNV-1a, 64 bits).
pub fn service_key(id: &str) -> u64 {
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Register {
    /// A new one, and the descriptor by which another process can [`open`](Register::open) it.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub fn create() -> Result<(OwnedFd, &'static Register), Error> {
        shared_file("programs").map_err(|error| Error::system("map shared memory", error))
    }

    /// The one that another process created.
    ///
    /// # Errors
    /// A descriptor of something else; `ENOMEM`.
    pub fn open(fd: impl AsFd) -> Result<&'static Register, Error> {
        map(fd).map_err(|error| Error::system("map the register of running programs", error))
    }

    /// The programs that are in the register.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..MOST).filter_map(|slot| self.entry(slot))
    }

    /// The program in a slot, if there is one.
    pub fn entry(&self, slot: usize) -> Option<Entry> {
        let at = self.slots.get(slot)?;
        if at.state.load(Ordering::Acquire) != TAKEN {
            return None;
        }
        let read = |field: &AtomicU64| field.load(Ordering::Relaxed);
        let before = read(&at.before);
        Some(Entry {
            slot,
            pid: Pid::from_raw(at.pid.load(Ordering::Acquire))?,
            owner: Owner(read(&at.owner)),
            service: read(&at.service),
            connection: read(&at.connection),
            peer: Peer::from_words(at.peer.each_ref().map(read)),
            door: read(&at.door),
            stderr: read(&at.stderr),
            age: Duration::from_nanos(clock::since_boot_ns().saturating_sub(before)),
            before,
            after: read(&at.after),
        })
    }

    /// Asks the program of a connection to end (SIGTERM to its process group); true if there is one. Whoever asks
    /// comes back after the grace time and calls [`Entry::kill`] if the entry is still there.
    pub fn terminate(&self, connection: u64) -> Option<Entry> {
        let entry = self.entries().find(|entry| entry.connection == connection && entry.is_alive())?;
        entry.signal(Signal::TERM);
        Some(entry)
    }

    /// Forgets programs that do not run any more and whose worker does not either; their number. For the
    /// supervisor, after a worker died and when a service was taken away.
    pub fn sweep(&self) -> usize {
        let mut swept = 0;
        for (slot, at) in self.slots.iter().enumerate() {
            if at.state.load(Ordering::Acquire) != TAKEN || Owner(at.owner.load(Ordering::Relaxed)).is_alive()
            {
                continue;
            }
            // Taken by a worker that died before there was a process, or the process has ended.
            if self.entry(slot).is_none_or(|entry| !entry.is_alive()) {
                self.release(slot);
                swept += 1;
            }
        }
        swept
    }

    /// Takes a slot for a program that is about to be started; none if the register is full.
    pub(crate) fn take(
        &self,
        owner: Owner,
        service: u64,
        connection: u64,
        peer: Peer,
        door: u64,
    ) -> Option<usize> {
        let start = self.next.load(Ordering::Relaxed) as usize;
        let slot = (0..MOST).map(|n| (start + n) % MOST).find(|slot| {
            let state = &self.slots[*slot].state;
            state.load(Ordering::Relaxed) == FREE
                && state.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        let at = &self.slots[slot];
        at.owner.store(owner.0, Ordering::Relaxed);
        at.failure.store(0, Ordering::Relaxed);
        at.service.store(service, Ordering::Relaxed);
        at.connection.store(connection, Ordering::Relaxed);
        at.before.store(clock::since_boot_ns(), Ordering::Relaxed);
        at.after.store(0, Ordering::Relaxed);
        at.door.store(door, Ordering::Relaxed);
        at.stderr.store(0, Ordering::Relaxed);
        for (word, value) in at.peer.iter().zip(peer.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        Some(slot)
    }

    /// Its standard error will be the pipe with this inode.
    pub(crate) fn hears(&self, slot: usize, inode: u64) {
        self.slots[slot].stderr.store(inode, Ordering::Relaxed);
    }

    /// Where the kernel stores the process id, and where the new process says why it could not start.
    pub(crate) fn places(&self, slot: usize) -> (&AtomicI32, &AtomicU32) {
        (&self.slots[slot].pid, &self.slots[slot].failure)
    }

    /// The program runs, or has failed already.
    pub(crate) fn started(&self, slot: usize) {
        self.slots[slot].after.store(clock::since_boot_ns(), Ordering::Relaxed);
    }

    /// `owner` looks after the program from now on.
    pub(crate) fn own(&self, slot: usize, owner: Owner) {
        self.slots[slot].owner.store(owner.0, Ordering::Relaxed);
    }

    /// The program has ended.
    pub(crate) fn release(&self, slot: usize) {
        let at = &self.slots[slot];
        at.pid.store(0, Ordering::Release);
        at.state.store(FREE, Ordering::Release);
        // The slot used last is the one whose memory is at hand.
        self.next.store(slot as u64, Ordering::Relaxed);
    }
}

/// A worker, told apart from later processes with the same id: its id and the clock tick of its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(u64);

impl Owner {
    /// This process.
    pub(crate) fn me() -> Owner {
        Owner::of(process::id())
    }

    fn of(pid: Pid) -> Owner {
        const TICK_NS: u64 = 10_000_000;
        let ticks = process::stat(pid).map_or(0, |stat| stat.started_ns / TICK_NS);
        Owner(ticks << 32 | u64::from(pid.as_raw_pid().cast_unsigned()))
    }

    fn is_alive(self) -> bool {
        let pid = Pid::from_raw((self.0 as u32).cast_signed());
        pid.is_some_and(|pid| {
            process::stat(pid).is_some_and(|stat| stat.state != 'Z') && Owner::of(pid) == self
        })
    }
}

impl Entry {
    /// Whether `me` looks after it, or nobody does any more.
    pub(crate) fn is_for(&self, me: Owner) -> bool {
        self.owner == me || !self.owner.is_alive()
    }

    /// The worker that looks after it.
    pub fn worker(&self) -> u32 {
        self.owner.0 as u32
    }

    /// Whether the process that was started is still there: not another one with its id.
    pub fn is_alive(&self) -> bool {
        self.pidfd().is_some()
    }

    /// A descriptor of the process (pidfd_open(2)), if it is still there.
    pub(crate) fn pidfd(&self) -> Option<OwnedFd> {
        // First the descriptor, then the look at who it is: from here on the id stays with this process.
        let pidfd = pidfd_open(self.pid, PidfdFlags::empty()).ok()?;
        let stat = process::stat(self.pid)?;
        (self.is_time(stat.started_ns) && stat.state != 'Z' && stat.state != 'X').then_some(pidfd)
    }

    /// Whether it may have been started at this time, which is rounded down to a clock tick.
    fn is_time(&self, started_ns: u64) -> bool {
        /// The longest clock tick (`USER_HZ` is 100).
        const TICK_NS: u64 = 10_000_000;
        /// A worker that was killed while it started the program did not write down the time after it.
        const UNSAID_NS: u64 = 1_000_000_000;
        let after = if self.after == 0 { self.before + UNSAID_NS } else { self.after };
        started_ns + TICK_NS >= self.before && started_ns <= after
    }

    /// Sends a signal to its process group, or to it alone if it has made another its own; and to all of its tree.
    pub fn signal(&self, signal: Signal) {
        let Some(pidfd) = self.pidfd() else { return };
        let tree = Tree::of(self.pid);
        // While the leader lives its group's number is its own.
        if rustix::process::kill_process_group(self.pid, signal).is_err() {
            let _: Result<(), Errno> = pidfd_send_signal(pidfd, signal);
        }
        if let Some(tree) = tree {
            tree.signal(signal, Some(self.pid));
        }
    }

    /// All processes of the program, if it has a cgroup of its own and is still there.
    pub fn tree(&self) -> Option<Tree> {
        self.pidfd().and_then(|_| Tree::of(self.pid))
    }

    /// Kills its process group and its tree.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_started_is_swept_and_what_lives_is_kept() {
        let (_fd, register) = Register::create().unwrap();
        let slot = register.take(Owner::me(), service_key("a"), 1, Peer::Unknown, 0).unwrap();
        assert_eq!(register.entries().count(), 0, "it has no process yet");
        assert_eq!(register.sweep(), 0, "its worker, this process, lives");
        register.slots[slot].owner.store(i32::MAX as u64, Ordering::Relaxed);
        assert_eq!(register.sweep(), 1);

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let slot = register.take(Owner::me(), service_key("a"), 2, Peer::Unknown, 0).unwrap();
        register.places(slot).0.store(child.id().cast_signed(), Ordering::Relaxed);
        // It was started a little earlier than the register was told.
        register.slots[slot].before.fetch_sub(1_000_000_000, Ordering::Relaxed);
        register.started(slot);
        let entry = register.entries().next().unwrap();
        assert!(entry.is_alive());
        assert_eq!((entry.connection, entry.slot), (2, slot));
        let other = Entry { before: entry.before + 100_000_000_000, after: u64::MAX, ..entry };
        assert!(!other.is_alive(), "a process that was started before is another one");
        child.kill().unwrap();
        child.wait().unwrap();
        register.slots[slot].owner.store(i32::MAX as u64, Ordering::Relaxed);
        assert_eq!(register.sweep(), 1);
        assert_eq!(register.entries().count(), 0);
    }

    #[test]
    fn a_full_register_says_so() {
        let (_fd, register) = Register::create().unwrap();
        let me = Owner::me();
        for n in 0..MOST {
            assert!(register.take(me, 0, n as u64, Peer::Unknown, 0).is_some());
        }
        assert_eq!(register.take(me, 0, 0, Peer::Unknown, 0), None);
        register.release(77);
        assert_eq!(register.take(me, 0, 0, Peer::Unknown, 0), Some(77));
    }
}
