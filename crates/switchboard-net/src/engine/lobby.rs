//! [`Lobby`]: where the engines that give each conversation a process or thread of its own wait for clients. It
//! answers datagrams meanwhile.

use super::Site;
use super::epoll::Waiting;
use super::gate::{After, Gate};
use super::porch::{Arrival, Porch};
use super::readiness::{Event, Interest, Waiter, serve_datagrams};
use crate::datagrams::Datagrams;
use crate::error::Error;
use crate::sys::socket::{self, Wait};
use crate::sys::{clock, process};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use switchboard_proto::Instant;

/// What [`Lobby::next`] came back with.
pub(super) enum Next {
    /// A client; the gate has counted him.
    Client(Arrival),
    /// The other descriptor is readable.
    Other,
    /// The site is to be stopped: only those who wait already are still let in. Said once.
    Stopped,
    /// The time is over.
    TimedOut,
}

/// Waits for clients at all doors, for the request to stop, and for one other descriptor.
pub(super) struct Lobby {
    pub(super) gate: Gate,
    /// The stream listeners, by the number of their door. Dropped when nobody is let in any more.
    listeners: Vec<Option<OwnedFd>>,
    /// Clients who were in a queue when the doors were shut for good; the gate has not counted them yet.
    seated: VecDeque<Arrival>,
    porch: Porch,
    waiting: Waiting,
    /// For each door, whether it is a stream listener that is watched now.
    watching: Vec<bool>,
    events: Vec<Event>,
    datagrams: Datagrams,
}

const STOP: u64 = u64::MAX;
const OTHER: u64 = u64::MAX - 1;
const FORECOURT: u64 = u64::MAX - 2;
/// Clients who are accepted in one go if none of them is let in.
const ACCEPTS: usize = 64;
const READ: Interest = Interest { read: true, write: false };

impl Lobby {
    /// For the doors of `site`, letting in at most `limit` clients at once. The stream listeners move in here, so
    /// that they are closed with the lobby, or when it stops.
    ///
    /// # Errors
    /// No descriptors or no memory.
    pub(super) fn new(
        site: &mut Site<'_>,
        limit: usize,
        other: Option<BorrowedFd<'_>>,
    ) -> Result<Lobby, Error> {
        let failed = |errno: Errno| Error::system("watch the listeners", errno);
        let mut waiting = Waiting::new().map_err(failed)?;
        waiting.add(site.stop.as_fd(), STOP, READ).map_err(failed)?;
        if let Some(other) = other {
            waiting.add(other, OTHER, READ).map_err(failed)?;
        }
        let mut listeners = Vec::new();
        for (index, door) in site.doors.iter_mut().enumerate() {
            if door.listener.local().kind.is_datagram() {
                waiting.add(door.listener.as_fd(), index as u64, READ).map_err(failed)?;
                listeners.push(None);
            } else {
                listeners.push(door.listener.take());
            }
        }
        let porch = Porch::new(site)?;
        if let Some(watched) = porch.watched() {
            waiting.add(watched, FORECOURT, READ).map_err(failed)?;
        }
        Ok(Lobby {
            gate: Gate::new(limit),
            listeners,
            seated: VecDeque::new(),
            porch,
            waiting,
            watching: vec![false; site.doors.len()],
            events: Vec::new(),
            datagrams: Datagrams::new(site),
        })
    }

    /// Waits for the next thing to do, at most until `until`.
    ///
    /// # Errors
    /// What waiting cannot be helped with: no memory.
    pub(super) fn next(&mut self, site: &Site<'_>, until: Instant) -> Result<Next, Error> {
        let failed = |errno: Errno| Error::system("wait for clients", errno);
        loop {
            let now = clock::now();
            if until <= now {
                return Ok(Next::TimedOut);
            }
            while self.gate.has_room()
                && let Some(arrival) = self.seated.pop_front()
            {
                if let Some(arrival) = self.porch.arrive(site, arrival, now) {
                    self.gate.enter();
                    return Ok(Next::Client(arrival));
                }
            }
            if self.gate.has_room()
                && let Some(arrival) = self.porch.next(site, now)
            {
                self.gate.enter();
                return Ok(Next::Client(arrival));
            }
            self.porch.look(site, now);
            self.watch(self.gate.is_open(now)).map_err(failed)?;
            let porch = self.porch.wakes_at(self.gate.has_room());
            let wake = until.min(self.gate.opens_at()).min(porch);
            let timeout = (wake != Instant::NEVER).then(|| wake.since(now));
            site.journal.flush();
            let mut events = std::mem::take(&mut self.events);
            events.clear();
            let waited = self.waiting.wait(timeout, &mut events);
            // The stop comes first: it knows whom to let in, and those who keep coming must not put it off.
            events.sort_by_key(|event| event.token != STOP);
            let next = events.iter().find_map(|event| match event.token {
                STOP => Some(self.stop(site)),
                OTHER => Some(Next::Other),
                // The next turn hears them.
                FORECOURT => None,
                door => self.door(site, door as usize, event.writable),
            });
            self.events = events;
            waited.map_err(failed)?;
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    fn door(&mut self, site: &Site<'_>, door: usize, writable: bool) -> Option<Next> {
        if site.doors[door].listener.local().kind.is_datagram() {
            serve_datagrams(&mut self.datagrams, site, &mut self.waiting, 0, door, writable);
            return None;
        }
        let arrival = self.accept(site, door)?;
        self.gate.enter();
        Some(Next::Client(arrival))
    }

    fn accept(&mut self, site: &Site<'_>, door: usize) -> Option<Arrival> {
        let listener = self.listeners[door].as_ref()?;
        for _ in 0..ACCEPTS {
            match socket::accept(listener, Wait::Yes) {
                Ok((fd, peer)) => {
                    let now = if self.porch.is_guarded() { clock::now() } else { Instant::default() };
                    let admitted = self.porch.arrive(site, Arrival::new(fd, peer, door), now);
                    if admitted.is_some() || !self.porch.may_accept(site, door, now) {
                        return admitted;
                    }
                }
                Err(errno) => match self.gate.on_error(errno, site, clock::now()) {
                    After::Next => {}
                    After::Wait => return None,
                },
            }
        }
        None
    }

    /// Whether nobody will be let in any more.
    pub(super) fn is_closed(&self) -> bool {
        self.gate.is_draining() && self.seated.is_empty() && self.porch.is_empty()
    }

    /// Sends away those who were seated and not let in yet: there is no time left for them.
    pub(super) fn turn_away(&mut self) {
        self.seated.clear();
        self.porch.clear();
    }

    /// In a forked child, which has one client and nothing else of its parent's. What holds no descriptor that anybody
    /// could miss is left as it is: each page of the heap that is written to would be copied for the child first.
    pub(super) fn leave_to_parent(self) {
        if !(self.seated.is_empty() && self.porch.is_empty() && self.porch.sees_nobody_off()) {
            return;
        }
        for listener in self.listeners.iter().flatten() {
            process::close_copy(listener.as_fd());
        }
        std::mem::forget(self);
    }

    /// Shuts the doors for good. Whoever is in a queue has been told by the kernel that he is connected: he is
    /// seated, and let in when there is room.
    fn stop(&mut self, site: &Site<'_>) -> Next {
        for (door, listener) in self.listeners.iter().enumerate() {
            let Some(listener) = listener else { continue };
            let clients = self.gate.last_clients(listener, Wait::Yes, site, clock::now());
            self.seated.extend(clients.into_iter().map(|(fd, peer)| Arrival::new(fd, peer, door)));
        }
        self.gate.drain();
        let _ = self.watch(false);
        self.listeners.clear();
        self.waiting.remove(site.stop.as_fd(), STOP);
        for (index, door) in site.doors.iter().enumerate() {
            if door.listener.local().kind.is_datagram() {
                self.waiting.remove(door.listener.as_fd(), index as u64);
            }
        }
        Next::Stopped
    }

    /// Watches the stream listeners whose doors are open, or none.
    fn watch(&mut self, open: bool) -> Result<(), Errno> {
        for (index, listener) in self.listeners.iter().enumerate() {
            let watching = open && self.porch.is_open(index);
            let Some(fd) = listener else { continue };
            // Nothing is written that is so already: after a fork that would be a page copied.
            if self.watching[index] == watching {
                continue;
            }
            self.watching[index] = watching;
            if watching {
                self.waiting.add_exclusive(fd.as_fd(), index as u64)?;
            } else {
                self.waiting.remove(fd.as_fd(), index as u64);
            }
        }
        Ok(())
    }
}
