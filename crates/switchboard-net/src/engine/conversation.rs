//! A connection together with what the log wants to know of it; the same in every engine.

use super::Site;
use super::porch::Arrival;
use crate::admission::Ticket;
use crate::endpoint::Kind;
use crate::introduction::Introduction;
use crate::journal::Record;
use crate::peer::Peer;
use crate::program::service_key;
use crate::roster::{Cut, Newcomer, Seat};
use crate::sys::clock;
use crate::tls::Witness;
use rustix::fd::{AsFd, OwnedFd};
use switchboard_proto::{Connection, Instant, Start, Transport};

/// One accepted connection, without its descriptor. Idle ones are most of a server's memory: what few have is apart.
pub(super) struct Conversation {
    pub(super) connection: Connection,
    peer: Peer,
    id: u64,
    opened: Instant,
    door: u32,
    /// Where it is written down, so that it can be listed and ended from outside.
    seat: Option<Seat>,
    rare: Option<Box<Rare>>,
}

/// What most conversations have not.
struct Rare {
    tls: Option<Witness>,
    /// What the client is counted by; given back when this is dropped.
    _ticket: Option<Ticket>,
    /// What a proxy said of the client.
    introduction: Option<Box<Introduction>>,
}

impl Rare {
    fn new(
        tls: Option<Witness>,
        ticket: Option<Ticket>,
        introduction: Option<Box<Introduction>>,
    ) -> Option<Box<Rare>> {
        let any = tls.is_some() || ticket.is_some() || introduction.is_some();
        any.then(|| Box::new(Rare { tls, _ticket: ticket, introduction }))
    }
}

impl Conversation {
    /// A client came in.
    pub(super) fn open(site: &Site<'_>, arrival: Arrival, now: Instant) -> (OwnedFd, Conversation) {
        let Arrival { fd, peer, door, ticket, introduction } = arrival;
        let id = site.number();
        let Site { doors, limits, .. } = site;
        let transport = match doors[door].listener.local().kind {
            Kind::UnixSeqpacket => Transport::Messages,
            _ => Transport::Stream,
        };
        // Different for every conversation; nothing secret depends on it.
        let seed = now.0 ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let session = doors[door].recipe.session(&Start { transport, wall: clock::wall(), seed });
        let session = limits.layered(session, now);
        let tls = doors[door].tls.as_ref().map(|server| (server, Witness::default()));
        let (session, tls) = match tls {
            Some((server, witness)) => (server.layer(session, witness.clone(), now), Some(witness)),
            None => (session, None),
        };
        let connection = Connection::new(session, transport, limits.bounds, now);
        let service = service_key(&doors[door].recipe.name);
        let seat = Seat::take(Newcomer { connection: id, service, peer, came: now }, fd.as_fd());
        let (door, rare) = (door as u32, Rare::new(tls, ticket, introduction));
        (fd, Conversation { connection, peer, id, opened: now, door, seat, rare })
    }

    /// Whether somebody has broken the connection off from outside. The session need not notice by itself.
    pub(super) fn is_cut(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.cut_here().is_some())
    }

    /// The connection is over: close its descriptor, count it and log it, in this order, so that nobody waits for the
    /// log.
    pub(super) fn close(self, site: &Site<'_>, fd: impl Sized, now: Instant) {
        let cut = self.seat.and_then(Seat::leave);
        drop(fd);
        site.counters.close(&self.connection, cut);
        let door = &site.doors[self.door as usize];
        let rare = self.rare.as_deref();
        let tls = rare.and_then(|rare| rare.tls.as_ref()).map(|witness| site.journal.told(&witness.known()));
        site.journal.record(&Record {
            id: self.id,
            service: &door.recipe.name,
            engine: site.engine,
            local: door.listener.local(),
            peer: self.peer,
            received: self.connection.received(),
            sent: self.connection.sent(),
            duration: now.since(self.opened),
            end: cut.map_or_else(|| self.connection.end().name(), Cut::name),
            note: self.connection.note(),
            tls: tls.as_deref(),
            ran: None,
            introduction: rare.and_then(|rare| rare.introduction.as_deref()),
            unique_id: None,
        });
    }
}
