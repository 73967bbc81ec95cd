//! The loop behind `poll` and `epoll`: one thread, all sockets non-blocking, told by the kernel which are ready.
//!
//! Write before sleeping: output is sent at once, and the kernel is asked about writability only for what did
//! not fit. A buffer is lent from a small store for each read and comes back when its bytes were sent, so an idle
//! connection owns none.

use super::conversation::Conversation;
use super::gate::{After, Burst, Gate};
use super::porch::{Arrival, Porch};
use super::spin::Spin;
use super::timers::Timers;
use super::{Door, Site};
use crate::datagrams::{Datagrams, Progress};
use crate::error::Error;
use crate::journal::Warning;
use crate::sys::socket::{self, Wait};
use crate::sys::watchlist::Ready;
use crate::sys::{clock, sockopt};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::time::Duration;
use switchboard_proto::{Buffer, Instant};

/// What a descriptor is watched for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// What happened to a watched descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The connection is broken or both halves have ended.
    pub(crate) broken: bool,
}

impl Event {
    /// What poll(2) said of the descriptor that is known by `token`.
    pub(crate) fn of(token: u64, ready: Ready) -> Event {
        Event { token, readable: ready.readable, writable: ready.writable, broken: ready.broken }
    }
}

/// A kernel mechanism that tells which descriptors are ready (level-triggered).
pub(crate) trait Waiter {
    /// Watches `fd`. An event carries `token`.
    fn add(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno>;
    /// Watches a socket of datagrams, which stays open until it is forgotten.
    fn add_datagrams(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        self.add(fd, token, interest)
    }
    /// Changes what a watched `fd` is watched for.
    fn change(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno>;
    /// Forgets `fd`, which others may still hold.
    fn remove(&mut self, fd: BorrowedFd<'_>, token: u64);
    /// Forgets `fd`, which nobody else holds and which is closed next.
    fn closing(&mut self, fd: BorrowedFd<'_>, token: u64) {
        self.remove(fd, token);
    }
    /// Waits for events or until `timeout` has passed; `None`: for ever. An interruption ends the wait early.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<(), Errno>;
}

/// EINTR from a wait: nothing happened, and the caller looks at the clock again.
pub(super) fn interrupted_is_nothing(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::INTR { Ok(()) } else { Err(errno) }
}

/// Serves the datagram door `index`, which is ready. The doors are watched with tokens that are `tag` and their
/// number. While one socket's answers wait for room, only that one is watched, for writing.
pub(super) fn serve_datagrams(
    datagrams: &mut Datagrams,
    site: &Site<'_>,
    waiter: &mut impl Waiter,
    tag: u64,
    index: usize,
    writable: bool,
) {
    let Site { doors, counters, .. } = site;
    let progress = if writable {
        datagrams.resume(doors, index, counters)
    } else {
        datagrams.serve(doors, index, counters)
    };
    let blocked = match progress {
        Progress::Blocked(door) => Some(door),
        Progress::Empty | Progress::More => None,
    };
    if blocked.is_none() && !writable {
        return;
    }
    for (index, door) in doors.iter().enumerate() {
        if door.listener.local().kind.is_datagram() {
            let interest = Interest { read: blocked.is_none(), write: blocked == Some(index) };
            let _ = waiter.change(door.listener.as_fd(), tag | index as u64, interest);
        }
    }
}

/// Storage for one read: as large as a stream needs to be fast; untouched pages cost nothing.
const READ_SIZE: usize = 64 * 1024;
/// Spare buffers kept.
const SPARES: usize = 16;
/// Bytes moved for one connection before others get their turn.
const TURN: usize = 256 * 1024;

/// Slots in the table from the start: enough for the allocator to take pages of their own for it, which it moves when
/// the table grows, where a small table is copied and leaves holes. Untouched pages cost nothing.
pub(super) const FIRST_SLOTS: usize = 1_024;

/// Tokens: a slot and its generation for connections; doors and the stop descriptor at the top.
const STOP: u64 = u64::MAX;
const FORECOURT: u64 = u64::MAX - 1;
const DOOR: u64 = 1 << 63;
/// A token that no descriptor of the loop has, for a waiter's own.
pub(super) const OWN: u64 = u64::MAX - 2;

struct Slot {
    generation: u32,
    interest: Interest,
    scheduled: Instant,
    live: Option<(OwnedFd, Conversation)>,
}

impl Slot {
    /// Whether `token` is that of the connection here now.
    fn is(&self, token: u64) -> bool {
        self.live.is_some() && u64::from(self.generation) == token >> 32
    }
}

pub(super) struct Loop<'a, W> {
    site: Site<'a>,
    waiter: W,
    slots: Vec<Slot>,
    free: Vec<u32>,
    timers: Timers,
    gate: Gate,
    porch: Porch,
    /// For each door, whether it is watched.
    accepting: Vec<bool>,
    bursts: Vec<Burst>,
    waits: u64,
    spin: Spin,
    /// Clients who were in a queue when the doors were shut for good; the gate has not counted them yet.
    seated: VecDeque<Arrival>,
    datagrams: Datagrams,
    spares: Vec<Buffer>,
    now: Instant,
    cut_at: Instant,
}

impl<'a, W: Waiter> Loop<'a, W> {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// No descriptors or no memory.
    pub(super) fn new(site: Site<'a>, waiter: W) -> Result<Loop<'a, W>, Error> {
        let gate = Gate::new(site.limits.connections());
        let datagrams = Datagrams::new(&site);
        let bursts = vec![Burst::default(); site.doors.len()];
        let porch = Porch::new(&site)?;
        let accepting = vec![true; site.doors.len()];
        let spin = Spin::new(site.limits.busy_poll);
        Ok(Loop {
            site,
            waiter,
            slots: Vec::with_capacity(FIRST_SLOTS),
            free: Vec::new(),
            timers: Timers::default(),
            gate,
            porch,
            accepting,
            bursts,
            waits: 0,
            spin,
            seated: VecDeque::new(),
            datagrams,
            spares: Vec::new(),
            now: clock::now(),
            cut_at: Instant::NEVER,
        })
    }

    /// Serves until stopped and drained.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let failed = |errno| Error::system("watch descriptors", errno);
        let reading = Interest { read: true, write: false };
        self.waiter.add(self.site.stop.as_fd(), STOP, reading).map_err(failed)?;
        for (index, door) in self.site.doors.iter().enumerate() {
            let (fd, token) = (door.listener.as_fd(), DOOR | index as u64);
            let added = match door.listener.local().kind.is_datagram() {
                true => self.waiter.add_datagrams(fd, token, reading),
                false => self.waiter.add(fd, token, reading),
            };
            added.map_err(failed)?;
        }
        if let Some(watched) = self.porch.watched() {
            self.waiter.add(watched, FORECOURT, reading).map_err(failed)?;
        }
        let mut events = Vec::new();
        loop {
            while self.gate.has_room()
                && let Some(arrival) = self.seated.pop_front()
            {
                self.arrive(arrival);
            }
            while self.gate.has_room()
                && let Some(arrival) = self.porch.next(&self.site, self.now)
            {
                self.enter(arrival);
            }
            if self.gate.is_draining() && self.gate.inside() == 0 && self.porch.is_empty() {
                break;
            }
            self.open_or_shut_doors();
            let porch = self.porch.wakes_at(self.gate.has_room());
            let until = self.timers.next().min(self.gate.opens_at()).min(porch).min(self.cut_at);
            self.site.journal.flush();
            events.clear();
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            self.wait(timeout, &mut events).map_err(failed)?;
            self.now = clock::now();
            self.spin.waited(self.now);
            self.waits += 1;
            for event in &events {
                match event.token {
                    STOP => self.drain(),
                    // The next turn hears them.
                    FORECOURT => {}
                    token if token & DOOR != 0 && !self.gate.is_draining() => {
                        self.door(event, (token & !DOOR) as usize);
                    }
                    token if token & DOOR != 0 => {}
                    token => self.connection(event, token),
                }
            }
            while let Some(token) = self.timers.due(self.now) {
                self.deadline(token);
            }
            let slots = &self.slots;
            self.timers.tidy(slots.len(), |token| slots[token as u32 as usize].is(token));
            if self.now >= self.cut_at {
                self.cut();
            }
        }
        self.site.journal.finish();
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<(), Errno> {
        let look = || {
            self.waiter.wait(Some(Duration::ZERO), events)?;
            Ok(!events.is_empty())
        };
        match self.spin.look(timeout, look)? {
            Some(timeout) => self.waiter.wait(timeout, events),
            None => Ok(()),
        }
    }

    fn door(&mut self, event: &Event, index: usize) {
        if !self.site.doors[index].listener.local().kind.is_datagram() {
            let burst = self.bursts[index].next(self.waits);
            return self.accept(index, burst);
        }
        serve_datagrams(&mut self.datagrams, &self.site, &mut self.waiter, DOOR, index, event.writable);
    }

    fn accept(&mut self, index: usize, burst: usize) {
        for _ in 0..burst {
            if !self.gate.is_open(self.now) || !self.porch.may_accept(&self.site, index, self.now) {
                return;
            }
            match socket::accept(&self.site.doors[index].listener, Wait::No) {
                Ok((fd, peer)) => self.arrive(Arrival::new(fd, peer, index)),
                Err(errno) => match self.gate.on_error(errno, &self.site, self.now) {
                    After::Next => {}
                    After::Wait => {
                        self.bursts[index].end();
                        return;
                    }
                },
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        if let Some(arrival) = self.porch.arrive(&self.site, arrival, self.now) {
            self.enter(arrival);
        }
    }

    fn enter(&mut self, arrival: Arrival) {
        let (fd, conversation) = Conversation::open(&self.site, arrival, self.now);
        self.gate.enter();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                interest: Interest::default(),
                scheduled: Instant::NEVER,
                live: None,
            });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        let token = u64::from(entry.generation) << 32 | u64::from(slot);
        entry.interest = Interest { read: conversation.connection.wants().read, write: false };
        if let Err(errno) = self.waiter.add(fd.as_fd(), token, entry.interest) {
            let now = self.now;
            self.site.journal.warn(Warning::Watch, now, &|| format!("cannot watch a connection: {errno}"));
            let mut conversation = conversation;
            conversation.connection.on_stop();
            self.gate.leave();
            self.free.push(slot);
            return conversation.close(&self.site, fd, now);
        }
        entry.live = Some((fd, conversation));
        // A service that speaks first does so now.
        self.turn(slot, token, false);
    }

    fn connection(&mut self, event: &Event, token: u64) {
        let slot = token as u32;
        let Some(entry) = self.slots.get_mut(slot as usize).filter(|entry| entry.is(token)) else { return };
        let Some((fd, conversation)) = &mut entry.live else { return };
        if conversation.is_cut() {
            conversation.connection.on_stop();
        }
        if event.broken {
            let wants = conversation.connection.wants();
            if !wants.read && !wants.write {
                // Nobody would ever read the error, and the kernel would report it for ever.
                let _ = sockopt::get_int(&*fd, libc::SOL_SOCKET, libc::SO_ERROR);
                conversation.connection.on_error();
            }
        }
        self.turn(slot, token, event.readable || event.broken);
    }

    /// Does all that a connection wants and the kernel allows now, within its turn.
    fn turn(&mut self, slot: u32, token: u64, mut readable: bool) {
        let entry = &mut self.slots[slot as usize];
        let Some((fd, conversation)) = &mut entry.live else { return };
        let connection = &mut conversation.connection;
        let mut writable = true;
        let mut moved = 0;
        // Input goes first once, so that a peer who takes endless output can still be heard.
        let mut heard = false;
        let wants = loop {
            let wants = connection.wants();
            let hear = wants.read && readable && !heard;
            if wants.write && writable && !hear {
                let mut out = connection.take_write();
                match socket::send(&*fd, out.bytes(), Wait::No) {
                    Ok(n) => {
                        moved += n;
                        out.consume(n);
                        writable = out.is_empty();
                    }
                    Err(Errno::AGAIN) => writable = false,
                    Err(_) => {
                        connection.on_error();
                        continue;
                    }
                }
                keep(&mut self.spares, connection.on_write(out, self.now));
            } else if wants.read && readable {
                heard = true;
                let mut bytes = self.spares.pop().unwrap_or_else(|| Buffer::with_capacity(READ_SIZE));
                match socket::recv(&*fd, bytes.spare(), Wait::No) {
                    Ok(n) => {
                        moved += n;
                        // Fewer bytes than there was room for: nothing more is queued, except perhaps the end.
                        readable = n == bytes.capacity();
                        bytes.commit(n);
                        keep(&mut self.spares, connection.on_read(bytes, self.now));
                    }
                    Err(Errno::AGAIN) => {
                        readable = false;
                        keep(&mut self.spares, bytes);
                    }
                    Err(_) => {
                        connection.on_error();
                        keep(&mut self.spares, bytes);
                    }
                }
            } else if wants.shutdown {
                socket::shutdown_write(&*fd);
                connection.on_shutdown(self.now);
            } else {
                break wants;
            }
            if moved >= TURN {
                break connection.wants();
            }
        };
        if wants.close {
            return self.close(slot, wants.reset);
        }
        if connection.deadline() < entry.scheduled {
            entry.scheduled = self.timers.schedule(token, connection.deadline());
        }
        let interest = Interest { read: wants.read, write: wants.write };
        if interest != entry.interest {
            entry.interest = interest;
            if self.waiter.change(fd.as_fd(), token, interest).is_err() {
                connection.on_stop();
                self.close(slot, true);
            }
        }
    }

    fn close(&mut self, slot: u32, reset: bool) {
        let entry = &mut self.slots[slot as usize];
        let token = u64::from(entry.generation) << 32 | u64::from(slot);
        let Some((fd, conversation)) = entry.live.take() else { return };
        entry.generation = entry.generation.wrapping_add(1) & 0x7fff_ffff;
        entry.scheduled = Instant::NEVER;
        self.free.push(slot);
        self.waiter.closing(fd.as_fd(), token);
        if reset {
            socket::reset_on_close(&fd);
        }
        self.gate.leave();
        conversation.close(&self.site, fd, self.now);
    }

    fn deadline(&mut self, token: u64) {
        let slot = token as u32;
        let Some(entry) = self.slots.get_mut(slot as usize).filter(|entry| entry.is(token)) else { return };
        entry.scheduled = Instant::NEVER;
        let Some((_, conversation)) = &mut entry.live else { return };
        conversation.connection.on_deadline(self.now);
        self.turn(slot, token, false);
    }

    /// Watches the stream listeners exactly while the gate is open.
    fn open_or_shut_doors(&mut self) {
        self.porch.look(&self.site, self.now);
        let open = self.gate.is_open(self.now);
        for (index, door) in self.site.doors.iter().enumerate() {
            let open = open && self.porch.is_open(index);
            if open != self.accepting[index] && !door.listener.local().kind.is_datagram() {
                self.accepting[index] = open;
                let interest = Interest { read: open, write: false };
                let _ = self.waiter.change(door.listener.as_fd(), DOOR | index as u64, interest);
            }
        }
    }

    /// Stops accepting. Who is in a listener's queue has been told by the kernel that he is connected: he is let
    /// in first.
    fn drain(&mut self) {
        if self.gate.is_draining() {
            return;
        }
        for index in 0..self.site.doors.len() {
            let listener = &self.site.doors[index].listener;
            if listener.local().kind.is_datagram() {
                continue;
            }
            let clients = self.gate.last_clients(listener, Wait::No, &self.site, self.now);
            let seat = |(fd, peer)| Arrival::new(fd, peer, index);
            self.seated.extend(clients.into_iter().map(seat));
        }
        self.gate.drain();
        self.cut_at = self.site.stop.cut_at(self.now, self.site.limits.drain_timeout);
        self.waiter.remove(self.site.stop.as_fd(), STOP);
        for (index, Door { listener, .. }) in self.site.doors.iter_mut().enumerate() {
            self.waiter.remove(listener.as_fd(), DOOR | index as u64);
            drop(listener.take());
        }
        self.accepting.fill(false);
    }

    /// Draining took too long.
    fn cut(&mut self) {
        self.seated.clear();
        self.porch.clear();
        for slot in 0..self.slots.len() {
            if let Some((_, conversation)) = &mut self.slots[slot].live {
                conversation.connection.on_stop();
                let reset = conversation.connection.wants().reset;
                self.close(slot as u32, reset);
            }
        }
    }
}

fn keep(spares: &mut Vec<Buffer>, buffer: Buffer) {
    if buffer.capacity() == READ_SIZE && spares.len() < SPARES {
        spares.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 300 bytes for each idle connection are wanted, with its place in the roster and what tables leave unused.
    #[test]
    fn an_idle_connection_takes_few_bytes() {
        let bytes = size_of::<Slot>();
        assert!(bytes <= 216, "a slot takes {bytes} bytes");
    }
}
