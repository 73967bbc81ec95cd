//! [`Porch`]: what is between a door and the room behind it, for doors that have a warden: which doors are shut by
//! a limit, who was accepted and waits to be judged again, and who is being seen off; and before it the
//! [`Forecourt`], for doors where clients are introduced. Sites without either pay one look at a flag.

use super::{Door, Site};
use crate::admission::Warden;
use crate::admission::{Farewells, Judged, PollState, Ticket, WaitingRoom};
use crate::error::Error;
use crate::introduction::{Forecourt, Introduced, Introduction, Told};
use crate::peer::Peer;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Resource, getrlimit};
use switchboard_proto::Instant;

/// A client at a door.
pub(super) struct Arrival {
    pub(super) fd: OwnedFd,
    pub(super) peer: Peer,
    pub(super) door: usize,
    /// What he is counted by while he is inside, if he is counted.
    pub(super) ticket: Option<Ticket>,
    /// What a proxy said of him.
    pub(super) introduction: Option<Box<Introduction>>,
}

impl Arrival {
    /// Somebody was accepted at a door.
    pub(super) fn new(fd: OwnedFd, peer: Peer, door: usize) -> Arrival {
        Arrival { fd, peer, door, ticket: None, introduction: None }
    }
}

impl AsFd for Arrival {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Introduced for Arrival {
    fn peer(&self) -> Peer {
        self.peer
    }

    fn identity(&mut self) -> (&mut Peer, &mut Option<Box<Introduction>>) {
        (&mut self.peer, &mut self.introduction)
    }
}

/// Clients who wait inside at most, and an eighth of all descriptors at most; beyond it they are sent away.
const WAITING: usize = 1_024;

/// See the module.
pub(super) struct Porch {
    /// Whether any door has a warden.
    guarded: bool,
    forecourt: Option<Forecourt<Arrival>>,
    /// For each door, until when it is shut; the past if it is open.
    shut_until: Vec<Instant>,
    now: Instant,
    waiting: WaitingRoom<Arrival>,
    farewells: Farewells,
}

impl Porch {
    /// For the doors of `site`.
    ///
    /// # Errors
    /// No descriptors or no memory.
    pub(super) fn new(site: &Site<'_>) -> Result<Porch, Error> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let introduces = |door: &Door| door.upstreams.is_some() && !door.listener.local().kind.is_datagram();
        let forecourt = site.doors.iter().any(introduces).then(Forecourt::new).transpose()?;
        Ok(Porch {
            guarded: site.doors.iter().any(|door| door.warden.is_some()),
            forecourt,
            shut_until: vec![Instant::default(); site.doors.len()],
            now: Instant::default(),
            waiting: WaitingRoom::new(usize::try_from(descriptors / 8).unwrap_or(WAITING).clamp(1, WAITING)),
            farewells: Farewells::new(Farewells::MOST),
        })
    }

    /// Whether anybody is looked at before he comes in, so that it matters what time it is.
    #[inline]
    pub(super) fn is_guarded(&self) -> bool {
        self.guarded || self.forecourt.is_some()
    }

    /// To be watched, if there is one: readable when somebody on the forecourt has said something. Nothing need be done
    /// then but to come here again.
    pub(super) fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.forecourt.as_ref().map(Forecourt::as_fd)
    }

    /// Looks at every warden's limits, and sees off those whose time has come. Returns whether a door that was open
    /// is shut now or the other way round.
    #[inline]
    pub(super) fn look(&mut self, site: &Site<'_>, now: Instant) -> bool {
        self.is_guarded() && self.look_at_doors(site, now)
    }

    fn look_at_doors(&mut self, site: &Site<'_>, now: Instant) -> bool {
        self.hear(site, now);
        if !self.guarded {
            return false;
        }
        let mut changed = false;
        for (index, door) in site.doors.iter().enumerate() {
            let was_open = self.is_open(index);
            if let Some(warden) = &door.warden {
                self.shut_until[index] = shut_until(warden, now);
                warden.complaints().iter().for_each(|complaint| site.journal.event(complaint));
            }
            changed |= was_open != (self.shut_until[index] <= now);
        }
        self.now = now;
        self.farewells.finish_due(now);
        changed
    }

    /// Whether a door was open at the last look.
    pub(super) fn is_open(&self, door: usize) -> bool {
        self.shut_until[door] <= self.now
    }

    /// Whether one more may be accepted at a door right now.
    pub(super) fn may_accept(&mut self, site: &Site<'_>, door: usize, now: Instant) -> bool {
        match &site.doors[door].warden {
            Some(warden) => shut_until(warden, now) <= now,
            None => true,
        }
    }

    /// When to look again although nothing happens; [`Instant::NEVER`] if nothing here waits for time. `has_room`:
    /// whether anybody could come in at all.
    pub(super) fn wakes_at(&self, has_room: bool) -> Instant {
        let forecourt = self.forecourt.as_ref();
        let forecourt = forecourt.map_or(Instant::NEVER, |forecourt| forecourt.wakes_at(has_room));
        if !self.guarded {
            return forecourt;
        }
        let farewell = forecourt.min(self.farewells.wakes_at());
        if !has_room {
            return farewell;
        }
        let shut = self.shut_until.iter().copied().filter(|until| *until > self.now);
        shut.fold(farewell.min(self.waiting.wakes_at()), Instant::min)
    }

    /// Somebody was accepted: he comes back if he may come in now.
    pub(super) fn arrive(&mut self, site: &Site<'_>, arrival: Arrival, now: Instant) -> Option<Arrival> {
        let introduced = match (&site.doors[arrival.door].upstreams, &mut self.forecourt) {
            (Some(upstreams), Some(forecourt)) => {
                let told = told(site, arrival.door);
                forecourt.arrive(upstreams, arrival, &told, now)?
            }
            _ => arrival,
        };
        self.judge(site, introduced, now)
    }

    /// Reads what has come of the headers of those on the forecourt.
    fn hear(&mut self, site: &Site<'_>, now: Instant) {
        let Some(forecourt) = &mut self.forecourt else { return };
        let at_door = |arrival: &Arrival| {
            let upstreams = site.doors[arrival.door].upstreams.as_deref()?;
            Some((upstreams, told(site, arrival.door)))
        };
        forecourt.hear(at_door, now);
    }

    /// Decides about a client who is known: he comes back if he may come in now.
    fn judge(&mut self, site: &Site<'_>, arrival: Arrival, now: Instant) -> Option<Arrival> {
        let Some(warden) = &site.doors[arrival.door].warden else { return Some(arrival) };
        let peer = arrival.peer;
        let judged = self.waiting.judge(arrival, peer, warden, site.counters, now)?;
        self.settle(site, judged, now)
    }

    /// The next of those who wait that may come in now. For when there is room.
    #[inline]
    pub(super) fn next(&mut self, site: &Site<'_>, now: Instant) -> Option<Arrival> {
        if self.is_guarded() { self.next_of_those_who_wait(site, now) } else { None }
    }

    fn next_of_those_who_wait(&mut self, site: &Site<'_>, now: Instant) -> Option<Arrival> {
        self.hear(site, now);
        while let Some(arrival) = self.forecourt.as_mut().and_then(Forecourt::next) {
            if let Some(arrival) = self.judge(site, arrival, now) {
                return Some(arrival);
            }
        }
        let warden = |arrival: &Arrival| site.doors[arrival.door].warden.as_deref();
        while let Some(judged) = self.waiting.next(now, warden) {
            if let Some(arrival) = self.settle(site, judged, now) {
                return Some(arrival);
            }
        }
        None
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.forecourt.as_ref().is_none_or(Forecourt::is_empty)
    }

    /// Whether nobody who was refused is being seen off.
    pub(super) fn sees_nobody_off(&self) -> bool {
        self.farewells.is_empty()
    }

    /// Leaves all who wait: there is no time left for them.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        if let Some(forecourt) = &mut self.forecourt {
            forecourt.clear();
        }
    }

    /// Carries out a decision.
    fn settle(&mut self, site: &Site<'_>, judged: Judged<Arrival>, now: Instant) -> Option<Arrival> {
        let (arrival, visit, refusal) = match judged {
            Judged::In(arrival, admitted) => return Some(Arrival { ticket: admitted.ticket, ..arrival }),
            Judged::Away(arrival, visit, refusal) => (arrival, visit, refusal),
        };
        let Site { doors, journal, counters, .. } = site;
        let warden = doors[arrival.door].warden.as_ref()?;
        if let Some(fd) = warden.turn_away(arrival.fd, &visit, refusal, journal, counters, now) {
            self.farewells.begin(fd, now);
        }
        None
    }
}

fn told<'s>(site: &'s Site<'_>, door: usize) -> Told<'s> {
    Told { service: &site.doors[door].recipe.name, journal: site.journal, counters: site.counters }
}

fn shut_until(warden: &Warden, now: Instant) -> Instant {
    match warden.may_poll(now) {
        PollState::Open => Instant::default(),
        PollState::ShutUntil(until) => until,
    }
}
