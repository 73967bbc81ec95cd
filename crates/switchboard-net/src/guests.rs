//! [`Guests`]: clients between a door and what serves them, if the service has a [`Warden`]: those who wait to be
//! judged again, and those who are being seen off; and if clients are introduced, those who were not yet
//! ([`Forecourt`]). For workers that are no engines: programs and relays.

use crate::admission::{Farewells, Judged, Ticket, WaitingRoom, Warden};
use crate::endpoint::Address;
use crate::error::Error;
use crate::introduction::{Forecourt, Introduced, Introduction, Told, Upstreams};
use crate::journal::Journal;
use crate::passing;
use crate::peer::Peer;
use crate::tally::Counters;
use crate::tls::Server;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use switchboard_proto::Instant;

/// Clients who wait inside at most; beyond it they are sent away.
const WAITING: usize = 1_024;

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

    fn identity(&mut self) -> (&mut Peer, &mut Option<Box<Introduction>>) {
        (&mut self.peer, &mut self.introduction)
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
    waiting: WaitingRoom<Arrival>,
    farewells: Farewells,
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
        Ok(Guests {
            forecourt,
            waiting: WaitingRoom::new(WAITING),
            farewells: Farewells::new(Farewells::MOST),
        })
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
        let peer = arrival.peer;
        let judged = self.waiting.judge(arrival, peer, warden, house.counters, now)?;
        self.settle(house, warden, judged, now)
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
        while let Some(judged) = self.waiting.next(now, |_| Some(warden)) {
            if let Some(arrival) = self.settle(house, warden, judged, now) {
                return Some(arrival);
            }
        }
        None
    }

    /// When somebody is to be looked at again.
    pub(crate) fn wakes_at(&self, has_room: bool) -> Instant {
        let forecourt = self.forecourt.as_ref();
        let forecourt = forecourt.map_or(Instant::NEVER, |forecourt| forecourt.wakes_at(has_room));
        let waiting = if has_room { self.waiting.wakes_at() } else { Instant::NEVER };
        forecourt.min(self.farewells.wakes_at()).min(waiting)
    }

    /// Sees a client off who was told that it is over: closed at once with input on its way, his connection would be
    /// reset and the last words lost.
    pub(crate) fn leave(&mut self, fd: OwnedFd, now: Instant) {
        self.farewells.begin(fd, now);
    }

    /// Leaves those who were seen off long enough, and hears those who are introduced, whether or not there is room.
    pub(crate) fn look(&mut self, house: &House<'_>, now: Instant) {
        self.hear(house, now);
        self.farewells.finish_due(now);
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

    /// Carries out a decision.
    fn settle(
        &mut self,
        house: &House<'_>,
        warden: &Warden,
        judged: Judged<Arrival>,
        now: Instant,
    ) -> Option<Arrival> {
        let (arrival, visit, refusal) = match judged {
            Judged::In(mut arrival, admitted) => {
                (arrival.ticket, arrival.settings) = (admitted.ticket, admitted.environment);
                return Some(arrival);
            }
            Judged::Away(arrival, visit, refusal) => (arrival, visit, refusal),
        };
        if arrival.multiplexed {
            passing::refuse(&arrival.fd, refusal.reason);
        }
        if let Some(fd) = warden.turn_away(arrival.fd, &visit, refusal, house.journal, house.counters, now) {
            self.leave(fd, now);
        }
        None
    }
}
