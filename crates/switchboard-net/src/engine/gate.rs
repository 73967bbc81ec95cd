//! [`Gate`]: whether to accept now. A listener is never closed to limit load: a gate that is shut leaves clients
//! in the kernel's queue, and opens by itself.

use super::Site;
use crate::journal::Warning;
use crate::peer::Peer;
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::time::Duration;
use switchboard_proto::Instant;

/// Pause after the first accept that failed for want of descriptors or memory; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Counts conversations against their limit, and pauses when the system has nothing left to accept with.
#[derive(Debug)]
pub(super) struct Gate {
    limit: usize,
    open: usize,
    pause: Duration,
    starved_until: Option<Instant>,
    draining: bool,
}

/// What to do after accept(2) failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// That connection is gone; the next one may be fine.
    Next,
    /// Nothing is queued, or nothing can be accepted for a while: ask the gate when.
    Wait,
}

impl Gate {
    pub(super) fn new(limit: usize) -> Gate {
        Gate { limit, open: 0, pause: FIRST_PAUSE, starved_until: None, draining: false }
    }

    /// Whether to accept at `now`.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        !self.draining && self.open < self.limit && self.starved_until.is_none_or(|until| until <= now)
    }

    /// Whether one more may be inside, whatever else keeps the gate shut.
    pub(super) fn has_room(&self) -> bool {
        self.open < self.limit
    }

    /// When a shut gate opens even if nobody leaves; [`Instant::NEVER`] if it does not wait for time.
    pub(super) fn opens_at(&self) -> Instant {
        match self.starved_until {
            Some(until) if !self.draining && self.open < self.limit => until,
            _ => Instant::NEVER,
        }
    }

    /// Conversations inside.
    pub(super) fn inside(&self) -> usize {
        self.open
    }

    /// Accepts no more.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing is to be accepted any more.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// A client was let in.
    pub(super) fn enter(&mut self) {
        self.open += 1;
        self.pause = FIRST_PAUSE;
    }

    /// A client left: whatever he held is free for the next one.
    pub(super) fn leave(&mut self) {
        self.open -= 1;
        self.starved_until = None;
    }

    /// accept(2), or making a process or thread for the connection, failed.
    pub(super) fn on_error(&mut self, errno: Errno, site: &Site<'_>, now: Instant) -> After {
        match errno {
            Errno::AGAIN => After::Wait,
            // accept(2): errors of the new connection, to be treated like EAGAIN but with the next one at once.
            Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::CONNRESET
            | Errno::TIMEDOUT
            | Errno::PERM => {
                Counters::add(&site.counters.accept_aborted, 1);
                After::Next
            }
            _ => {
                Counters::add(&site.counters.accept_starved, 1);
                self.starve(now);
                site.journal.warn(Warning::Accept, now, &|| {
                    format!(
                        "accepting pauses: {errno}; {} conversations are open, clients wait in the queue",
                        self.open
                    )
                });
                After::Wait
            }
        }
    }

    /// Accepts those who wait in a listener's queue now, and not whoever keeps coming meanwhile: for a listener
    /// that is about to be closed. They are not counted yet.
    pub(super) fn last_clients(
        &mut self,
        listener: impl AsFd,
        wait: Wait,
        site: &Site<'_>,
        now: Instant,
    ) -> Vec<(OwnedFd, Peer)> {
        /// Unix sockets do not tell how many wait.
        const UNTOLD: usize = 1_024;
        let mut clients = Vec::new();
        for _ in 0..socket::queue_length(&listener).unwrap_or(UNTOLD) {
            match socket::accept(&listener, wait) {
                Ok(client) => clients.push(client),
                Err(errno) => match self.on_error(errno, site, now) {
                    After::Next => {}
                    After::Wait => break,
                },
            }
        }
        clients
    }

    /// There was no process or thread for a client who is inside already.
    pub(super) fn on_shortage(&mut self, errno: Errno, site: &Site<'_>, now: Instant) {
        let after = self.on_error(if errno == Errno::AGAIN { Errno::NOMEM } else { errno }, site, now);
        debug_assert_eq!(after, After::Wait, "a shortage is not an error of the connection");
    }

    /// When to try again for a client for whom there was a shortage.
    pub(super) fn retry_at(&self) -> Instant {
        self.starved_until.unwrap_or_default()
    }

    fn starve(&mut self, now: Instant) {
        self.starved_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connections accepted at one door before others get their turn, at most.
const ACCEPTS: usize = 64;

/// How many connections to accept at a door in one go. One is enough when clients come singly, and asking for a
/// second would cost a call that says no; a door that is reported again and again has a queue.
#[derive(Clone, Copy, Default)]
pub(super) struct Burst {
    size: usize,
    reported: u64,
}

impl Burst {
    /// The size for a door reported by wait number `wait`.
    pub(super) fn next(&mut self, wait: u64) -> usize {
        let queued = self.reported + 1 == wait;
        self.size = if queued { (self.size * 2).clamp(1, ACCEPTS) } else { 1 };
        self.reported = wait;
        self.size
    }

    /// Nobody else is there.
    pub(super) fn end(&mut self) {
        self.size = 1;
    }
}
