//! The processes of the programs that run: adopting, ending, reaping.
//!
//! A program is the leader of a session and a process group of its own. Those that it makes belong to that group
//! unless they leave it, and to this worker's tree even then: it is the subreaper of all below it.

use super::WhenGone;
use super::launcher::explain;
use super::register::Entry;
use super::worker::{GONE, READ, Worker, tag, token};
use crate::admission::Ticket;
use crate::confine::{Group, Tree};
use crate::endpoint::Address;
use crate::engine::readiness::Waiter;
use crate::introduction::Introduction;
use crate::journal::{Exit, Warning};
use crate::peer::Peer;
use crate::sys::spawn::{self, NOT_STARTED};
use crate::sys::{clock, process};
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group, test_kill_process_group};
use std::time::Duration;
use switchboard_proto::Instant;

/// One program that runs.
pub(super) struct Process {
    /// Also its process group and session.
    pub(super) pid: Pid,
    /// Its place in the register.
    pub(super) slot: usize,
    /// The connection's number.
    pub(super) id: u64,
    pub(super) peer: Peer,
    pub(super) local: Address,
    pub(super) came: Instant,
    pub(super) waited: Duration,
    pub(super) stage: Stage,
    /// His socket, if his going is to be noticed.
    pub(super) client: Option<OwnedFd>,
    /// He has finished sending, and it is asked to end at this time.
    pub(super) ask_at: Instant,
    /// It is not our child: this becomes readable when it has ended.
    pub(super) pidfd: Option<OwnedFd>,
    /// What the client is counted by.
    #[expect(dead_code, reason = "given back by being dropped")]
    pub(super) ticket: Option<Ticket>,
    /// What is known of TLS, for the log.
    pub(super) told: Option<String>,
    pub(super) purpose: Purpose,
    /// What a proxy said of the client.
    pub(super) introduction: Option<Box<Introduction>>,
    /// All its processes, if it has a cgroup of its own.
    pub(super) tree: Option<Tree>,
}

/// What a program was started for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// A connection.
    Connection,
    /// The listener with this number.
    Listener(usize),
    /// A datagram.
    Datagram,
}

/// A process group whose leader has ended, and that was asked to end.
pub(super) struct Remains {
    group: Pid,
    pub(super) kill_at: Instant,
    /// When the leader ended, ns since boot.
    ended_ns: u64,
    /// They and those who have left the group.
    tree: Option<Tree>,
}

/// How far its end has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nobody has asked it to end.
    Running,
    /// SIGTERM was sent; SIGKILL follows at this time.
    Asked(Instant),
    /// SIGKILL was sent.
    Killed,
}

impl Worker<'_> {
    pub(super) fn add_process(&mut self, process: Process) -> u64 {
        self.last += 1;
        self.pids.insert(process.pid.as_raw_pid(), self.last);
        self.processes.insert(self.last, process);
        self.last
    }

    /// Looks after what an earlier worker of this service left behind.
    pub(super) fn adopt(&mut self) {
        let entries: Vec<Entry> =
            self.site.register.entries().filter(|entry| entry.service == self.key).collect();
        for entry in entries {
            self.adopt_one(&entry);
        }
    }

    pub(super) fn adopt_one(&mut self, entry: &Entry) {
        let ours = entry.is_for(self.me);
        if ours {
            self.site.register.own(entry.slot, self.me);
        }
        let door = self.keepers.iter().position(|keeper| keeper.key == entry.door);
        let local = self.site.listeners.get(door.unwrap_or(0)).map(|listener| listener.local().clone());
        let ticket = self.site.warden.as_ref().filter(|_| door.is_none() && entry.door == 0);
        let ticket = ticket.and_then(|warden| warden.count(entry.peer, self.now));
        if let Some(door) = door {
            self.keepers[door].running += 1;
        }
        let pidfd = entry.pidfd();
        let has_ended = pidfd.is_none();
        let tree = pidfd.as_ref().and_then(|_| Tree::of(entry.pid));
        let number = self.add_process(Process {
            pid: entry.pid,
            slot: entry.slot,
            id: entry.connection,
            peer: entry.peer,
            local: local.unwrap_or_else(Address::unnamed),
            came: Instant(clock::now().0.saturating_sub(entry.age.as_nanos() as u64)),
            waited: Duration::ZERO,
            stage: Stage::Running,
            client: None,
            ask_at: Instant::NEVER,
            pidfd: None,
            ticket,
            told: None,
            purpose: door.map_or(Purpose::Connection, Purpose::Listener),
            introduction: None,
            tree,
        });
        if has_ended {
            return self.adopted_ended(number);
        }
        let Some(process) = self.processes.get_mut(&number) else { return };
        process.pidfd = pidfd;
        let Some(pidfd) = &process.pidfd else { return };
        if self.waiting.add(pidfd.as_fd(), token(tag::ADOPTED, number), READ).is_err() {
            // It cannot be watched, and so it does not count; it goes on.
            self.forget(number);
            return;
        }
        if ours {
            self.recover(number, entry);
        }
    }

    /// A process that is not our child has ended.
    pub(super) fn adopted_ended(&mut self, number: u64) {
        let Some(process) = self.processes.get(&number) else { return };
        let slot = process.slot;
        let id = process.id;
        // Whoever looks after it tells; an entry that was given away meanwhile is somebody else's.
        let same = |entry: &Entry| entry.connection == id && entry.service == self.key;
        let ours = self.site.register.entry(slot).filter(same).is_some_and(|entry| entry.is_for(self.me));
        if let Some(pidfd) = self.processes.get_mut(&number).and_then(|process| process.pidfd.take()) {
            self.waiting.remove(pidfd.as_fd(), token(tag::ADOPTED, number));
        }
        let Some(process) = self.forget(number) else { return };
        if ours {
            self.site.register.release(slot);
            self.record(&process, Exit::Unknown, "program");
            Counters::add(&self.site.counters.ended, 1);
            self.leave_behind(&process, false);
        }
        self.ended(&process, Exit::Unknown);
    }

    /// Somebody has left: there is room, or a listener without a program.
    fn ended(&mut self, process: &Process, exit: Exit) {
        self.starved_until = None;
        if let Purpose::Listener(number) = process.purpose {
            self.keeper_ended(number, process.came, exit);
        }
    }

    /// Collects all children that have ended, in a loop: one signal may stand for many.
    pub(super) fn reap(&mut self) {
        let _ = self.ended.take().count();
        if self.site.program.when_gone == WhenGone::Leave {
            while let Some((pid, status)) = process::reap() {
                self.child_ended(pid, status, false);
            }
            return;
        }
        // As long as the leader is not reaped its number is the group's: what is left of the group can be asked to
        // end without hitting another one.
        while let Some(pid) = process::ended_child() {
            let leads = self.pids.contains_key(&pid.as_raw_pid());
            let left = leads && kill_process_group(pid, Signal::TERM).is_ok();
            let Some(status) = process::reap_one(pid) else { continue };
            // The leader itself counted until now.
            let left = left && test_kill_process_group(pid).is_ok();
            self.child_ended(pid, status, left);
        }
    }

    /// A child has ended, and `left` others of its group have not.
    fn child_ended(&mut self, pid: Pid, status: WaitStatus, left: bool) {
        let Some(number) = self.pids.get(&pid.as_raw_pid()).copied() else {
            // An orphan of one of the programs, perhaps the last; or a stranger if we are process 1.
            return self.remove_trees();
        };
        // Its last words go before its end.
        self.read_lines(number);
        self.take_answer(number);
        self.bound_lines();
        let Some(process) = self.forget(number) else { return };
        let failure = match status.exit_status() {
            Some(NOT_STARTED) => spawn::failure(self.site.register.places(process.slot).1),
            _ => None,
        };
        self.site.register.release(process.slot);
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(_), _) if failure.is_some() => Exit::Never,
            (Some(status), _) => Exit::Status(status),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        };
        Counters::add(&self.site.counters.ended, 1);
        if let Some((step, errno)) = failure {
            Counters::add(&self.site.counters.refused, 1);
            self.site.journal.warn(Warning::Program, self.now, &|| {
                format!("{}: program not started: {}", self.site.id, explain(&self.site.program, step, errno))
            });
        }
        let end = match (exit, process.stage) {
            (Exit::Never, _) => "not-started",
            (_, Stage::Running) => "program",
            (_, Stage::Asked(_) | Stage::Killed) if self.ending => "stopped",
            (_, Stage::Asked(_) | Stage::Killed) => "terminated",
        };
        self.record(&process, exit, end);
        self.leave_behind(&process, left);
        self.remove_trees();
        self.tell_of_bounds();
        self.ended(&process, exit);
    }

    /// What a program leaves behind: others of its group (`left`), and all who are in its tree.
    fn leave_behind(&mut self, process: &Process, left: bool) {
        let tree = process.tree.clone().filter(|tree| !tree.remove());
        if self.site.program.when_gone == WhenGone::Leave && process.stage == Stage::Running {
            self.trees.extend(tree);
        } else if left || tree.is_some() {
            // The group was asked to end when its leader had.
            tree.iter().for_each(|tree| tree.signal(Signal::TERM, Some(process.pid)));
            let kill_at = self.now + self.site.program.grace;
            self.remains.push(Remains {
                group: process.pid,
                kill_at,
                ended_ns: clock::since_boot_ns(),
                tree,
            });
        }
    }

    /// Removes the cgroups of programs whose daemons have ended, too. Who is not our child ends without a sign, so that
    /// some are tried each time.
    fn remove_trees(&mut self) {
        const AT_ONCE: usize = 64;
        for _ in 0..self.trees.len().min(AT_ONCE) {
            let Some(tree) = self.trees.pop_front() else { break };
            if !tree.remove() {
                self.trees.push_back(tree);
            }
        }
    }

    /// Says what bounds have done to programs of this service.
    fn tell_of_bounds(&mut self) {
        let news = self.launcher.group().map(Group::news).unwrap_or_default();
        if !news.is_empty() {
            let id = self.site.id;
            self.site
                .journal
                .warn(Warning::Bounds, self.now, &|| format!("{id}: cgroup: {}", news.join("; ")));
        }
    }

    /// Daemons that programs leave behind may keep writing to the log; too many of them may not, and the oldest go.
    fn bound_lines(&mut self) {
        /// Pipes of programs that have ended.
        const KEPT: usize = 1_024;
        if self.lines.len() <= self.processes.len() + KEPT {
            return;
        }
        let left = self.lines.keys().copied().filter(|number| !self.processes.contains_key(number));
        if let Some(oldest) = left.min()
            && let Some(mut lines) = self.lines.remove(&oldest)
        {
            lines.finish(self.site.journal, self.site.id, self.now);
            self.waiting.remove(lines.pipe.as_fd(), token(tag::LINES, oldest));
        }
    }

    fn forget(&mut self, number: u64) -> Option<Process> {
        let mut process = self.processes.remove(&number)?;
        self.pids.remove(&process.pid.as_raw_pid());
        if let Some(client) = process.client.take() {
            self.waiting.remove(client.as_fd(), token(tag::CLIENT, number));
        }
        Some(process)
    }

    /// A client is gone, as far as can be told: both directions of his connection are over, or (`gone` is false) he has
    /// finished sending. His program is asked to end; in the second case it has time to end by itself first.
    pub(super) fn client_gone(&mut self, number: u64, gone: bool) {
        let Some(process) = self.processes.get_mut(&number) else { return };
        if !gone {
            // From here on only what is worse is news.
            let watched = process
                .client
                .as_ref()
                .map(|client| self.waiting.change(client.as_fd(), token(tag::CLIENT, number), GONE));
            debug_assert!(watched.is_some(), "he is watched");
            process.ask_at = self.now + self.site.program.grace;
            self.timers.schedule(number, process.ask_at);
            return;
        }
        if let Some(client) = process.client.take() {
            self.waiting.remove(client.as_fd(), token(tag::CLIENT, number));
        }
        self.ask(number);
    }

    /// Asks a program to end; it is killed after the grace time.
    pub(super) fn ask(&mut self, number: u64) {
        let Some(process) = self.processes.get_mut(&number) else { return };
        if process.stage != Stage::Running {
            return;
        }
        let kill_at = self.now + self.site.program.grace;
        process.stage = Stage::Asked(kill_at);
        signal(process, Signal::TERM);
        self.timers.schedule(number, kill_at);
    }

    /// A time that was set for a process has come.
    pub(super) fn on_time(&mut self, number: u64) {
        if self.is_late(number) {
            self.end_exchange(number);
            self.ask(number);
        }
        if self.processes.get(&number).is_some_and(|process| process.ask_at <= self.now) {
            self.ask(number);
        }
        let Some(process) = self.processes.get_mut(&number) else { return };
        if let Stage::Asked(at) = process.stage
            && at <= self.now
        {
            process.stage = Stage::Killed;
            signal(process, Signal::KILL);
        }
    }

    /// The time to drain is over: everything that is left is asked to end.
    pub(super) fn end_all(&mut self) {
        self.ending = true;
        self.seated.clear();
        self.guests.clear();
        self.unnamed.clear();
        self.unserved = None;
        let numbers: Vec<u64> = self.processes.keys().copied().collect();
        for number in numbers {
            self.ask(number);
        }
    }

    /// Kills what is left of groups whose time is over.
    pub(super) fn kill_remains(&mut self) {
        let now = self.now;
        for remains in self.remains.extract_if(.., |remains| remains.kill_at <= now) {
            if let Some(tree) = remains.tree {
                tree.kill();
                self.trees.push_back(tree);
                continue;
            }
            // The leader is gone, so the number may be another group's by now: that one is younger.
            let members = process::all().filter(|stat| {
                stat.group == remains.group.as_raw_pid() && stat.started_ns <= remains.ended_ns
            });
            members.for_each(|stat| process::kill(stat.pid));
        }
    }
}

/// Sends a signal to the program's group, and to the rest of its tree. Its number is its own as long as the program is
/// not reaped; one that is not our child is looked at first.
fn signal(process: &Process, signal: Signal) {
    if let Some(pidfd) = &process.pidfd
        && rustix::process::pidfd_send_signal(pidfd, signal).is_err()
    {
        return;
    }
    // It may have no group yet: it makes it on its way to becoming the program.
    if kill_process_group(process.pid, signal).is_err() && process.pidfd.is_none() {
        let _ = rustix::process::kill_process(process.pid, signal);
    }
    if let Some(tree) = &process.tree {
        tree.signal(signal, Some(process.pid));
    }
}
