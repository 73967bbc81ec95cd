//! From a client's arrival to his program: accept, room, process.

use super::environment::Client;
use super::launcher::Standard;
use super::processes::{Process, Stage};
use super::worker::{GONE, READ, Worker, tag, token};
use super::{Stderr, WhenGone};
use crate::endpoint::Address;
use crate::engine::readiness::Waiter;
use crate::journal::{Exit, Ran, Record, Warning};
use crate::peer::Peer;
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::time::Duration;
use switchboard_proto::Instant;

/// Pause after the first time that there was no process or no descriptor; doubled up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Clients accepted at one door before others get their turn.
const ACCEPTS: usize = 64;
/// Clients taken from a Unix listener that is shut for good: it does not tell how many wait.
const UNTOLD: usize = 1_024;

/// A client who was accepted and has no program yet. His socket is a blocking one.
pub(super) struct Arrival {
    pub(super) fd: OwnedFd,
    pub(super) peer: Peer,
    pub(super) local: Address,
    pub(super) id: u64,
    pub(super) came: Instant,
}

impl Worker<'_> {
    /// Clients that may still be let in.
    fn has_room(&self) -> bool {
        self.processes.len() < self.site.most.max(1)
    }

    fn is_open(&self) -> bool {
        !self.is_stopping()
            && self.has_room()
            && self.unserved.is_none()
            && self.starved_until.is_none_or(|until| until <= self.now)
    }

    /// Watches the doors, or not.
    pub(super) fn watch_doors(&mut self) -> Result<(), Errno> {
        let open = self.is_open();
        if open == self.open {
            return Ok(());
        }
        if open {
            for (number, door) in self.doors.iter().enumerate() {
                let Some(door) = door else { continue };
                self.waiting.add(door.as_fd(), token(tag::DOOR, number as u64), READ)?;
            }
            self.open = true;
        } else {
            self.unwatch_doors();
        }
        Ok(())
    }

    pub(super) fn unwatch_doors(&mut self) {
        if self.open {
            for (number, door) in self.doors.iter().enumerate() {
                let Some(door) = door else { continue };
                self.waiting.remove(door.as_fd(), token(tag::DOOR, number as u64));
            }
            self.open = false;
        }
    }

    pub(super) fn on_door(&mut self, number: usize) {
        for _ in 0..ACCEPTS {
            if !self.is_open() {
                return;
            }
            let Some(Some(door)) = self.doors.get(number) else { return };
            match socket::accept(door, Wait::Yes) {
                Ok((fd, peer)) => {
                    let arrival = self.arrival(fd, peer, number);
                    self.start(arrival);
                }
                Err(errno) if !self.may_go_on(errno) => return,
                Err(_) => {}
            }
        }
    }

    fn arrival(&self, fd: OwnedFd, peer: Peer, number: usize) -> Arrival {
        let local = self.site.listeners[number].local().clone();
        Arrival { fd, peer, local, id: self.site.number(), came: self.now }
    }

    /// Accepts those who wait now, for doors that are about to be shut for good.
    pub(super) fn take_seats(&mut self) {
        for number in 0..self.doors.len() {
            let Some(Some(door)) = self.doors.get(number) else { continue };
            for _ in 0..socket::queue_length(door).unwrap_or(UNTOLD) {
                let Some(Some(door)) = self.doors.get(number) else { break };
                match socket::accept(door, Wait::Yes) {
                    Ok((fd, peer)) => {
                        let arrival = self.arrival(fd, peer, number);
                        self.seated.push(arrival);
                    }
                    Err(errno) if !self.may_go_on(errno) => break,
                    Err(_) => {}
                }
            }
        }
        self.seated.reverse();
    }

    /// After accept(2) failed: whether the next one may be fine.
    fn may_go_on(&mut self, errno: Errno) -> bool {
        match errno {
            Errno::AGAIN => false,
            Errno::NFILE | Errno::MFILE | Errno::NOMEM | Errno::NOBUFS => {
                self.starve("accept", errno);
                false
            }
            // accept(2): errors of the new connection.
            _ => {
                Counters::add(&self.site.counters.accept_aborted, 1);
                true
            }
        }
    }

    /// There is no descriptor, process or memory now: waits a moment, longer each time.
    fn starve(&mut self, what: &str, errno: Errno) {
        Counters::add(&self.site.counters.accept_starved, 1);
        self.starved_until = Some(self.now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let open = self.processes.len();
        self.site.journal.warn(Warning::Accept, self.now, &|| {
            format!(
                "{}: cannot {what} now: {errno}; {open} processes are running, clients wait in the queue",
                self.site.id
            )
        });
    }

    /// Tries again for those who are waiting inside.
    pub(super) fn retry(&mut self) {
        if self.starved_until.is_some_and(|until| until > self.now) {
            return;
        }
        self.starved_until = None;
        while self.starved_until.is_none() && self.has_room() {
            let Some(arrival) = self.unserved.take().or_else(|| self.seated.pop()) else { return };
            self.start(arrival);
        }
    }

    /// Starts the program for a client.
    pub(super) fn start(&mut self, arrival: Arrival) {
        let Some(slot) = self.site.register.take(self.me, self.key, arrival.id, arrival.peer) else {
            self.starve("write down another program", Errno::NOSPC);
            self.unserved = Some(arrival);
            return;
        };
        let pipe = match self.stderr_pipe() {
            Ok(pipe) => pipe,
            Err(errno) => {
                self.site.register.release(slot);
                self.starve("make a pipe", errno);
                self.unserved = Some(arrival);
                return;
            }
        };
        let client = Client {
            id: arrival.id,
            peer: arrival.peer,
            socket: Some(arrival.fd.as_fd()),
            local: &arrival.local,
            name: None,
            settings: &[],
        };
        let started = self.launcher.start(
            &self.site.program,
            self.site.id,
            &client,
            Standard::Connection(arrival.fd.as_fd()),
            pipe.as_ref().map(|(_, writer)| writer),
            self.site.register.places(slot),
        );
        let pid = match started {
            Ok(pid) => pid,
            Err(errno) => {
                self.site.register.release(slot);
                self.starve("start a process", errno);
                self.unserved = Some(arrival);
                return;
            }
        };
        self.site.register.started(slot);
        self.pause = FIRST_PAUSE;
        let Arrival { fd, peer, local, id, came } = arrival;
        let number = self.add_process(Process {
            pid,
            slot,
            id,
            peer,
            local,
            came,
            waited: self.now.since(came),
            stage: Stage::Running,
            client: None,
            pidfd: None,
        });
        if let Some((reader, _)) = pipe {
            self.watch_lines(number, reader, id, slot, Vec::new());
        }
        if self.site.program.when_gone == WhenGone::Terminate {
            probe(&fd);
            let watched = self.waiting.add(fd.as_fd(), token(tag::CLIENT, number), GONE);
            if let (Ok(()), Some(process)) = (watched, self.processes.get_mut(&number)) {
                process.client = Some(fd);
            }
        }
    }

    /// The reading and the writing end of a pipe for standard error, if it goes to the log.
    fn stderr_pipe(&self) -> Result<Option<(OwnedFd, OwnedFd)>, Errno> {
        if self.site.program.stderr != Stderr::Log {
            return Ok(None);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok(Some((reader, writer)))
    }

    pub(super) fn watch_lines(&mut self, number: u64, pipe: OwnedFd, id: u64, slot: usize, partial: Vec<u8>) {
        if self.waiting.add(pipe.as_fd(), token(tag::LINES, number), READ).is_ok() {
            self.lines.insert(number, super::lines::Lines::new(pipe, id, slot).with_partial(partial));
        }
    }

    /// Writes a connection's record.
    pub(super) fn record(&self, process: &Process, exit: Exit, end: &str) {
        self.site.journal.record(&Record {
            id: process.id,
            service: self.site.id,
            engine: "program",
            local: &process.local,
            peer: process.peer,
            received: 0,
            sent: 0,
            duration: self.now.since(process.came),
            end,
            note: None,
            ran: Some(Ran { pid: process.pid.as_raw_pid(), exit, waited: process.waited }),
        });
    }
}

/// A client who has closed his socket looks like one who has only finished sending, until something is sent to him
/// and his machine answers with a reset. Keep-alive probes are something: that client is found out about a minute
/// later, when his kernel has forgotten the connection (`tcp_fin_timeout`).
fn probe(fd: &OwnedFd) {
    const SETTINGS: [(i32, i32, i32); 4] = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 65),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 10),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
    ];
    for (level, number, value) in SETTINGS {
        // Unix sockets have no such thing, and need none: there, closing is noticed at once.
        let _ = crate::sys::sockopt::set_int(fd, level, number, value);
    }
}
