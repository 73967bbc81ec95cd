//! [`Guests`]: clients between a door and what serves them, if the service has a [`Warden`]: those who wait to be
//! judged again, and those who are being seen off; and if clients are introduced, those who were not yet
//! ([`Forecourt`]). For workers that are no engines: programs and relays.

use crate::admission::{Refusal, Ticket, Verdict, Visit, Warden, finish_farewell};
use crate::endpoint::Address;
use crate::error::Error;
use crate::introduction::{Forecourt, Introduced, Introduction, Told, Upstreams};
use crate::journal::Journal;
use crate::passing;
use crate::peer::Peer;
use crate::tally::Counters;
use crate::tls::Server;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::VecDeque;
use switchboard_proto::Instant;

/// Clients who wait inside at most; beyond it they are sent away.
const WAITING: usize = 1_024;
/// Of these, clients from one source.
const WAITING_PER_SOURCE: usize = 32;
/// Clients who are being seen off at most; beyond it they are left at once.
const FAREWELLS: usize = 256;

/// A client who was accepted and is not served yet.
pub(crate) struct Arrival {
    pub(crate) fd: OwnedFd,
    pub(crate) peer: Peer,
    pub(crate) local: Address,
    /// His connection's number, once he has one.
    pub(crate) id: u64,
    pub(crate) came: Instant,
    /// What he is counted by while he is inside, if he is counted.
    pub(crate) ticket: Option<Ticket>,
    /// What the rules of access add to a program's environment.
    pub(crate) settings: Vec<(String, String)>,
    /// He speaks TLS, like this.
    pub(crate) tls: Option<Server>,
    /// Somebody else has let him in, speaks TLS with him, and says this of it for the log.
    pub(crate) told: Option<String>,
    /// He has chosen the service by name, and is owed an answer (RFC 1078).
    pub(crate) multiplexed: bool,
    /// What a proxy said of him.
    pub(crate) introduction: Option<Box<Introduction>>,
    /// It is known who he is: nobody need introduce him.
    pub(crate) known: bool,
    /// The names of both ends, once they were looked up, if they are asked for.
    pub(crate) names: Option<BothNames>,
}

/// Host names that lead back to the addresses of a connection's ends.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct BothNames {
    pub(crate) remote: Option<String>,
    pub(crate) local: Option<String>,
}

impl Arrival {
    pub(crate) fn new(fd: OwnedFd, peer: Peer, local: Address, now: Instant) -> Arrival {
        let settings = Vec::new();
        Arrival {
            fd,
            peer,
            local,
            id: 0,
            came: now,
            ticket: None,
            settings,
            tls: None,
            told: None,
            multiplexed: false,
            introduction: None,
            known: false,
            names: None,
        }
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

    fn introduce(&mut self, introduction: Box<Introduction>) {
        self.peer = introduction.client();
        self.introduction = Some(introduction);
    }
}

/// Who decides, and who is told.
pub(crate) struct House<'a> {
    pub(crate) id: &'a str,
    pub(crate) upstreams: Option<&'a Upstreams>,
    pub(crate) warden: Option<&'a Warden>,
    pub(crate) journal: &'a Journal,
    pub(crate) counters: &'a Counters,
}

pub(crate) struct Guests {
    forecourt: Option<Forecourt<Arrival>>,
    waiting: Vec<(Arrival, Visit, Instant)>,
    farewells: VecDeque<(Instant, OwnedFd)>,
}

impl<'a> House<'a> {
    fn told(&self) -> Told<'a> {
        Told { service: self.id, journal: self.journal, counters: self.counters }
    }
}

impl Guests {
    /// Nobody; with a forecourt if clients are introduced.
    ///
    /// # Errors
    /// No descriptors, no memory.
    pub(crate) fn new(introduced: bool) -> Result<Guests, Error> {
        let forecourt = introduced.then(Forecourt::new).transpose()?;
        Ok(Guests { forecourt, waiting: Vec::new(), farewells: VecDeque::new() })
    }

    /// To be watched, if there is one: readable when somebody on the forecourt has said something. Nothing need be done
    /// then but to come here again.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.forecourt.as_ref().map(Forecourt::as_fd)
    }

    /// Somebody was accepted: he comes back if he may come in now.
    pub(crate) fn arrive(&mut self, house: &House<'_>, arrival: Arrival, now: Instant) -> Option<Arrival> {
        let introduced = match (house.upstreams, &mut self.forecourt) {
            (Some(upstreams), Some(forecourt)) if !arrival.known => {
                forecourt.arrive(upstreams, arrival, &house.told(), now)?
            }
            _ => arrival,
        };
        self.judge(house, introduced, now)
    }

    fn hear(&mut self, house: &House<'_>, now: Instant) {
        if let (Some(upstreams), Some(forecourt)) = (house.upstreams, &mut self.forecourt) {
            forecourt.hear(|_| Some((upstreams, house.told())), now);
        }
    }

    /// Decides about a client who is known: he comes back if he may come in now.
    pub(crate) fn judge(&mut self, house: &House<'_>, mut arrival: Arrival, now: Instant) -> Option<Arrival> {
        arrival.known = true;
        let Some(warden) = house.warden else { return Some(arrival) };
        let mut visit = Visit::new(arrival.peer);
        match warden.judge(&mut visit, &arrival.fd, now) {
            Verdict::Wait(at) if self.has_room_for(&visit) => {
                Counters::add(&house.counters.delayed, 1);
                self.waiting.push((arrival, visit, at.max(Instant(now.0 + 1))));
                None
            }
            verdict => self.settle(house, warden, arrival, &visit, verdict, now),
        }
    }

    /// The next of those who wait that may come in now.
    pub(crate) fn next(&mut self, house: &House<'_>, now: Instant) -> Option<Arrival> {
        self.hear(house, now);
        while let Some(arrival) = self.forecourt.as_mut().and_then(Forecourt::next) {
            if let Some(arrival) = self.judge(house, arrival, now) {
                return Some(arrival);
            }
        }
        let warden = house.warden?;
        let mut index = 0;
        while index < self.waiting.len() {
            let (arrival, visit, at) = &mut self.waiting[index];
            if *at > now {
                index += 1;
                continue;
            }
            match warden.judge(visit, &arrival.fd, now) {
                Verdict::Wait(later) => {
                    // Whoever waits is not judged again in the same breath.
                    *at = later.max(Instant(now.0 + 1));
                    index += 1;
                }
                verdict => {
                    let (arrival, visit, _) = self.waiting.remove(index);
                    let arrival = self.settle(house, warden, arrival, &visit, verdict, now);
                    if arrival.is_some() {
                        return arrival;
                    }
                }
            }
        }
        None
    }

    /// When somebody is to be looked at again.
    pub(crate) fn wakes_at(&self, has_room: bool) -> Instant {
        let forecourt = self.forecourt.as_ref();
        let forecourt = forecourt.map_or(Instant::NEVER, |forecourt| forecourt.wakes_at(has_room));
        let farewell = self.farewells.front().map_or(forecourt, |(until, _)| forecourt.min(*until));
        let waiting = self.waiting.iter().map(|(_, _, at)| *at).filter(|_| has_room);
        waiting.fold(farewell, Instant::min)
    }

    /// Sees a client off who was told that it is over: closed at once with input on its way, his connection would be
    /// reset and the last words lost.
    pub(crate) fn leave(&mut self, fd: OwnedFd, now: Instant) {
        if self.farewells.len() >= FAREWELLS
            && let Some((_, fd)) = self.farewells.pop_front()
        {
            finish_farewell(fd);
        }
        self.farewells.push_back((now + Warden::FAREWELL, fd));
    }

    /// Leaves those who were seen off long enough, and hears those who are introduced, whether or not there is room.
    pub(crate) fn look(&mut self, house: &House<'_>, now: Instant) {
        self.hear(house, now);
        while self.farewells.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, fd)) = self.farewells.pop_front() {
                finish_farewell(fd);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.forecourt.as_ref().is_none_or(Forecourt::is_empty)
    }

    /// Leaves all who wait: there is no time left for them.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        if let Some(forecourt) = &mut self.forecourt {
            forecourt.clear();
        }
    }

    /// Carries out a verdict that is not to wait.
    fn settle(
        &mut self,
        house: &House<'_>,
        warden: &Warden,
        mut arrival: Arrival,
        visit: &Visit,
        verdict: Verdict,
        now: Instant,
    ) -> Option<Arrival> {
        let refusal = match verdict {
            Verdict::Admit(admitted) => {
                (arrival.ticket, arrival.settings) = (admitted.ticket, admitted.environment);
                return Some(arrival);
            }
            Verdict::Refuse(refusal) => refusal,
            Verdict::Wait(_) => Warden::CROWDED,
        };
        self.turn_away(house, warden, arrival, visit, refusal, now);
        None
    }

    fn turn_away(
        &mut self,
        house: &House<'_>,
        warden: &Warden,
        arrival: Arrival,
        visit: &Visit,
        refusal: Refusal,
        now: Instant,
    ) {
        if arrival.multiplexed {
            passing::refuse(&arrival.fd, refusal.reason);
        }
        let left = warden.turn_away(arrival.fd, visit, refusal, house.journal, house.counters, now);
        let Some(fd) = left else { return };
        self.leave(fd, now);
    }

    fn has_room_for(&self, visit: &Visit) -> bool {
        // Those who would have waited in the queue, had it been known in time, are not sent away.
        if visit.is_queued() {
            return true;
        }
        let alike = self.waiting.iter().filter(|(_, other, _)| other.is_from_the_source_of(visit)).count();
        self.waiting.len() < WAITING && alike < WAITING_PER_SOURCE
    }
}
