//! The doors of the loop: accepting while the gate is open, polling datagram sockets, and closing up.

use super::{ACCEPT, FORECOURT, Loop, POLL, cancel};
use crate::datagrams::Progress;
use crate::engine::porch::Arrival;
use crate::engine::{Door, Site};
use crate::peer::Peer;
use crate::sys::fault;
use crate::sys::socket::Wait;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

/// Room for connections, below which clients are accepted one by one: many at once could be more than may come in.
const ROOM_FOR_MANY: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    No,
    One,
    Many,
    Cancelled,
}

/// What is armed at a door.
#[derive(Clone, Copy)]
pub(super) struct Armed {
    /// A stream door's accept.
    pub(super) accept: Accept,
    /// A datagram door's poll; cancelled if `closing`.
    pub(super) poll: bool,
    pub(super) closing: bool,
}

impl Loop<'_> {
    pub(super) fn accepted(&mut self, door: usize, event: &cqueue::Entry) {
        if !cqueue::more(event.flags()) {
            self.armed[door].accept = Accept::No;
            self.look_at_doors = true;
        }
        let mut failed = None;
        match event.result() {
            fd @ 0.. => {
                // SAFETY: accepted just now for us alone.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                failed = fault::accept();
                self.waiting.push_back((fd, door));
            }
            error if matches!(-error, libc::ECANCELED | libc::EINTR) => {}
            error => failed = Some(Errno::from_raw_os_error(-error)),
        }
        if let Some(errno) = failed {
            self.gate.on_error(errno, &self.site, self.now);
        }
        self.let_in();
    }

    /// Lets in those who wait inside, while they may. They were told that they are connected: draining does not
    /// shut them out, only cutting does.
    pub(super) fn let_in(&mut self) {
        while !self.waiting.is_empty() {
            let draining = self.gate.is_draining() && self.gate.inside() < self.limit;
            if self.is_cut {
                self.waiting.clear();
            } else if draining || self.gate.is_open(self.now) {
                let Some((fd, door)) = self.waiting.pop_front() else { break };
                let inet = self.site.doors[door].listener.local().kind.is_inet();
                let peer = Peer::of_connected(&fd, inet);
                let arrival = Arrival::new(fd, peer, door);
                if let Some(arrival) = self.porch.arrive(&self.site, arrival, self.now) {
                    self.enter(arrival);
                }
            } else {
                break;
            }
        }
        if self.is_cut {
            self.porch.clear();
        }
        while self.gate.inside() < self.limit
            && let Some(arrival) = self.porch.next(&self.site, self.now)
        {
            self.enter(arrival);
        }
    }

    /// Asks to be told when somebody on the forecourt has said something.
    pub(super) fn watch_forecourt(&mut self) {
        let Some(fd) = self.porch.watched().filter(|_| !self.watches_forecourt) else { return };
        self.watches_forecourt = true;
        let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLIN as u32).build().user_data(FORECOURT);
        // SAFETY: points at nothing, and the kernel holds the file that is polled.
        unsafe { self.ring.push(poll) };
    }

    pub(super) fn datagram(&mut self, index: usize, event: &cqueue::Entry) {
        self.armed[index].poll = false;
        self.look_at_doors = true;
        if self.gate.is_draining() || event.result() == -libc::ECANCELED {
            return;
        }
        let Site { doors, counters, .. } = &self.site;
        let progress = if self.blocked == Some(index) {
            self.datagrams.resume(doors, index, counters)
        } else {
            self.datagrams.serve(doors, index, counters)
        };
        // Whatever is left is reported as soon as the door is polled again.
        self.blocked = match progress {
            Progress::Blocked(door) => Some(door),
            Progress::Empty | Progress::More => None,
        };
    }

    /// Accepts exactly while the gate is open, and polls datagram sockets while answers can be sent.
    pub(super) fn open_or_shut_doors(&mut self) {
        let shut_or_opened = self.porch.look(&self.site, self.now);
        if self.gate.is_draining() {
            return self.close_doors();
        }
        let open = self.gate.is_open(self.now) && self.waiting.is_empty();
        let room = self.limit - self.gate.inside();
        let wanted = match (open, room >= ROOM_FOR_MANY) {
            (false, _) => Accept::No,
            (true, false) => Accept::One,
            (true, true) => Accept::Many,
        };
        if wanted == self.accept && !self.look_at_doors && !shut_or_opened {
            return;
        }
        self.accept = wanted;
        self.look_at_doors = false;
        for (index, Door { listener, warden, .. }) in self.site.doors.iter().enumerate() {
            let wanted = match warden {
                Some(_) if !self.porch.is_open(index) => Accept::No,
                // Many at once could be more than the limit lets in.
                Some(warden) if warden.may_shut() && wanted == Accept::Many => Accept::One,
                _ => wanted,
            };
            let armed = &mut self.armed[index];
            let fd = Fd(listener.as_fd().as_raw_fd());
            let whose = index as u64;
            if listener.local().kind.is_datagram() {
                let events = if self.blocked == Some(index) { libc::POLLOUT } else { libc::POLLIN };
                if !armed.poll && self.blocked.is_none_or(|door| door == index) {
                    armed.poll = true;
                    // SAFETY: the listener stays open longer than the loop lives.
                    unsafe {
                        self.ring
                            .push(opcode::PollAdd::new(fd, events as u32).build().user_data(POLL | whose))
                    };
                }
                continue;
            }
            let entry = match (armed.accept, wanted) {
                (Accept::No, Accept::Many) => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
                (Accept::No, Accept::One) => {
                    let nowhere = std::ptr::null_mut();
                    opcode::Accept::new(fd, nowhere, nowhere.cast()).flags(libc::SOCK_CLOEXEC).build()
                }
                (Accept::One | Accept::Many, Accept::No) | (Accept::Many, Accept::One) => {
                    armed.accept = Accept::Cancelled;
                    cancel(&mut self.ring, ACCEPT | whose);
                    continue;
                }
                _ => continue,
            };
            armed.accept = wanted;
            // SAFETY: the listener stays open longer than the loop lives, and the peer's address is not asked for.
            unsafe { self.ring.push(entry.user_data(ACCEPT | whose)) };
        }
    }

    /// Calls off what is armed at the doors, and closes each when nothing is any more.
    fn close_doors(&mut self) {
        for (index, door) in self.site.doors.iter_mut().enumerate() {
            let armed = &mut self.armed[index];
            let whose = index as u64;
            if matches!(armed.accept, Accept::One | Accept::Many) {
                armed.accept = Accept::Cancelled;
                cancel(&mut self.ring, ACCEPT | whose);
            }
            if armed.poll && !armed.closing {
                armed.closing = true;
                cancel(&mut self.ring, POLL | whose);
            }
            if armed.accept == Accept::No && !armed.poll {
                drop(door.listener.take());
            }
        }
    }

    pub(super) fn doors_are_quiet(&self) -> bool {
        self.waiting.is_empty()
            && self.porch.is_empty()
            && self.armed.iter().all(|armed| armed.accept == Accept::No && !armed.poll)
    }

    /// Stops accepting. Who is in a listener's queue has been told by the kernel that he is connected: he is let
    /// in first.
    pub(super) fn drain(&mut self) {
        if self.gate.is_draining() {
            return;
        }
        for door in 0..self.site.doors.len() {
            let listener = &self.site.doors[door].listener;
            if listener.local().kind.is_datagram() {
                continue;
            }
            // The listener does not wait; a connection may, since the ring asks it not to when it matters.
            let clients = self.gate.last_clients(listener, Wait::Yes, &self.site, self.now);
            self.waiting.extend(clients.into_iter().map(|(fd, _)| (fd, door)));
        }
        self.gate.drain();
        self.look_at_doors = true;
        self.cut_at = self.site.stop.cut_at(self.now, self.site.limits.drain_timeout);
    }
}
