//! From a client's arrival to his program: accept, room, process.

use super::environment::Client;
use super::launcher::Standard;
use super::processes::{Process, Purpose, Stage};
use super::worker::{GONE, READ, Worker, tag, token};
use super::{Stderr, WhenGone};
use crate::admission::PollState;
use crate::engine::readiness::Waiter;
use crate::guests::Arrival;
use crate::journal::{Exit, Ran, Record, Warning};
use crate::passing::{self, Passed};
use crate::peer::Peer;
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::time::Duration;
use switchboard_proto::Instant;

/// Pause after the first time that there was no process or no descriptor; doubled up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Clients accepted at one door before others get their turn.
const ACCEPTS: usize = 64;
/// Clients taken from a Unix listener that is shut for good: it does not tell how many wait.
const UNTOLD: usize = 1_024;

impl Worker<'_> {
    /// Clients that may still be let in.
    pub(super) fn has_room(&self) -> bool {
        self.processes.len() + self.unnamed.len() < self.site.most.max(1)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_stopping()
            && self.has_room()
            && self.unserved.is_none()
            && self.starved_until.is_none_or(|until| until <= self.now)
            && self.shut_until() == Instant::NEVER
    }

    /// Until when a limit keeps the doors shut; [`Instant::NEVER`] if they are open.
    pub(super) fn shut_until(&self) -> Instant {
        let Some(warden) = self.site.warden.as_ref().filter(|_| !self.is_stopping()) else {
            return Instant::NEVER;
        };
        match warden.may_poll(self.now) {
            PollState::Open => Instant::NEVER,
            PollState::ShutUntil(until) => until,
        }
    }

    /// Watches the doors, or not.
    pub(super) fn watch_doors(&mut self) -> Result<(), Errno> {
        if self.keeps() {
            return Ok(());
        }
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
                    if let Some(arrival) = self.guests.arrive(&self.site.house(), arrival, self.now) {
                        self.start_or_seat(arrival);
                    }
                }
                Err(errno) if !self.may_go_on(errno) => return,
                Err(_) => {}
            }
        }
    }

    fn arrival(&self, fd: OwnedFd, peer: Peer, number: usize) -> Arrival {
        let local = self.site.listeners[number].local().clone();
        Arrival::new(fd, peer, local, self.now)
    }

    /// Connections that somebody else has accepted for this service.
    pub(super) fn on_passed(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(door) = &self.site.door else { return };
            match passing::receive(door) {
                Ok(Some(Passed { fd, peer, local, escort: Some(escort), .. })) => {
                    let arrival = Arrival::new(fd, peer, local, self.now);
                    let (settings, told) = (escort.settings, Some(escort.told));
                    // Whoever has a proxy was introduced to the escort.
                    self.start_or_seat(Arrival { settings, told, known: true, ..arrival });
                }
                Ok(Some(Passed { fd, peer, local, multiplexed, .. })) => {
                    let arrival = Arrival::new(fd, peer, local, self.now);
                    self.let_in(Arrival { multiplexed, ..arrival });
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::BADMSG) => {}
                Ok(None) | Err(_) => {
                    self.waiting.remove(door.as_fd(), token(tag::PASSED, 0));
                    self.site.door = None;
                    return;
                }
            }
        }
    }

    /// Starts the program for a client, if he may come in.
    fn let_in(&mut self, arrival: Arrival) {
        if let Some(arrival) = self.guests.judge(&self.site.house(), arrival, self.now) {
            self.start_or_seat(arrival);
        }
    }

    /// Those who come by themselves are let in one by one; those who are passed may be more than there is room for.
    fn start_or_seat(&mut self, arrival: Arrival) {
        if self.unserved.is_some() || !self.has_room() {
            self.seated.insert(0, arrival);
        } else {
            self.start(arrival);
        }
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
            if let Some(arrival) = self.unserved.take() {
                self.start(arrival);
                continue;
            }
            let seated = match self.seated.pop() {
                // Those who were seated when the doors were shut have not been judged yet.
                Some(arrival) if arrival.ticket.is_none() && arrival.told.is_none() => {
                    self.guests.arrive(&self.site.house(), arrival, self.now)
                }
                Some(arrival) => Some(arrival),
                None => match self.guests.next(&self.site.house(), self.now) {
                    Some(arrival) => Some(arrival),
                    None => return,
                },
            };
            if let Some(arrival) = seated {
                self.start(arrival);
            }
        }
    }

    /// A place in the register and a pipe for standard error; nothing if there is none now.
    pub(super) fn prepare(
        &mut self,
        id: u64,
        peer: Peer,
        door: u64,
    ) -> Option<(usize, Option<(OwnedFd, OwnedFd)>)> {
        let Some(slot) = self.site.register.take(self.me, self.key, id, peer, door) else {
            self.starve("write down another program", Errno::NOSPC);
            return None;
        };
        match self.stderr_pipe() {
            Ok(pipe) => {
                if let Some(stat) = pipe.as_ref().and_then(|(reader, _)| rustix::fs::fstat(reader).ok()) {
                    self.site.register.hears(slot, stat.st_ino);
                }
                Some((slot, pipe))
            }
            Err(errno) => {
                self.site.register.release(slot);
                self.starve("make a pipe", errno);
                None
            }
        }
    }

    /// What became of a start: the process, or nothing for now.
    pub(super) fn settle_start(&mut self, slot: usize, started: Result<Pid, Errno>) -> Option<Pid> {
        match started {
            Ok(pid) => {
                self.site.register.started(slot);
                self.pause = FIRST_PAUSE;
                Some(pid)
            }
            Err(errno) => {
                self.site.register.release(slot);
                self.starve("start a process", errno);
                None
            }
        }
    }

    /// Watches what a program writes to its standard error.
    pub(super) fn listen_to(&mut self, number: u64, pipe: Option<(OwnedFd, OwnedFd)>, id: u64) {
        if let Some((reader, _)) = pipe {
            self.watch_lines(number, reader, id, Vec::new());
        }
    }

    /// Starts the program for those whose names are known now.
    pub(super) fn let_in_named(&mut self) {
        while self.unserved.is_none()
            && let Some(arrival) = self.unnamed.next(self.now)
        {
            self.start(arrival);
        }
    }

    /// Starts the program for a client who may come in, or keeps him until his name is known.
    fn start(&mut self, arrival: Arrival) {
        let Some(mut arrival) = self.unnamed.admit(arrival, self.now) else { return };
        if arrival.id == 0 {
            arrival.id = self.site.number();
        }
        let Some((slot, pipe)) = self.prepare(arrival.id, arrival.peer, 0) else {
            self.unserved = Some(arrival);
            return;
        };
        if arrival.multiplexed {
            passing::welcome(&arrival.fd);
            arrival.multiplexed = false;
        }
        let client = Client {
            id: arrival.id,
            peer: arrival.peer,
            socket: Some(arrival.fd.as_fd()),
            local: &arrival.local,
            names: arrival.names.as_ref(),
            settings: &arrival.settings,
            introduction: arrival.introduction.as_deref(),
        };
        let started = self.launcher.start(
            &self.site.program,
            self.site.id,
            &client,
            Standard::Connection(arrival.fd.as_fd()),
            pipe.as_ref().map(|(_, writer)| writer),
            self.site.register.places(slot),
        );
        let Some(pid) = self.settle_start(slot, started) else {
            self.unserved = Some(arrival);
            return;
        };
        let Arrival { fd, peer, local, id, came, ticket, introduction, told, .. } = arrival;
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
            ask_at: Instant::NEVER,
            pidfd: None,
            ticket,
            told,
            purpose: Purpose::Connection,
            introduction,
            tree: self.launcher.tree(id),
        });
        self.listen_to(number, pipe, id);
        if self.site.program.when_gone != WhenGone::Leave {
            probe(&fd);
            self.watch_client(number, fd);
        }
    }

    /// Watches a client, so that his going is noticed.
    pub(super) fn watch_client(&mut self, number: u64, fd: OwnedFd) {
        let token = token(tag::CLIENT, number);
        let watched = match self.site.program.when_gone {
            WhenGone::Leave => return,
            WhenGone::TerminateAtEnd => self.waiting.add_peers_end(fd.as_fd(), token),
            WhenGone::Terminate => self.waiting.add(fd.as_fd(), token, GONE),
        };
        if let (Ok(()), Some(process)) = (watched, self.processes.get_mut(&number)) {
            process.client = Some(fd);
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

    pub(super) fn watch_lines(&mut self, number: u64, pipe: OwnedFd, id: u64, partial: Vec<u8>) {
        if self.waiting.add(pipe.as_fd(), token(tag::LINES, number), READ).is_ok() {
            self.lines.insert(number, super::lines::Lines::new(pipe, id).with_partial(partial));
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
            tls: process.told.as_deref(),
            ran: Some(Ran { pid: process.pid.as_raw_pid(), exit, waited: process.waited }),
            introduction: process.introduction.as_deref(),
            unique_id: None,
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
