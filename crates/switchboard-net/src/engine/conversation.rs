//! A connection together with what the log wants to know of it; the same in every engine.

use super::Site;
use crate::admission::Ticket;
use crate::endpoint::Kind;
use crate::journal::Record;
use crate::peer::Peer;
use crate::sys::clock;
use switchboard_proto::{Connection, Instant, Start, Transport};

/// One accepted connection, without its descriptor.
pub(super) struct Conversation {
    pub(super) connection: Connection,
    peer: Peer,
    id: u64,
    opened: Instant,
    door: u32,
    /// What the client is counted by; given back when this is dropped.
    _ticket: Option<Ticket>,
}

impl Conversation {
    /// A client came in at `site.doors[door]`.
    pub(super) fn open(
        site: &Site<'_>,
        door: usize,
        peer: Peer,
        ticket: Option<Ticket>,
        now: Instant,
    ) -> Conversation {
        let id = site.number();
        let Site { doors, limits, .. } = site;
        let transport = match doors[door].listener.local().kind {
            Kind::UnixSeqpacket => Transport::Messages,
            _ => Transport::Stream,
        };
        // Different for every conversation; nothing secret depends on it.
        let seed = now.0 ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let session = doors[door].recipe.session(&Start { transport, wall: clock::wall(), seed });
        let connection = Connection::new(limits.layered(session, now), transport, limits.bounds, now);
        Conversation { connection, peer, id, opened: now, door: door as u32, _ticket: ticket }
    }

    /// The connection is over: count it and log it. Its descriptor should be closed already, so that nobody waits
    /// for the log.
    pub(super) fn close(self, site: &Site<'_>, now: Instant) {
        site.counters.close(&self.connection);
        let door = &site.doors[self.door as usize];
        site.journal.record(&Record {
            id: self.id,
            service: &door.recipe.name,
            engine: site.engine,
            local: door.listener.local(),
            peer: self.peer,
            received: self.connection.received(),
            sent: self.connection.sent(),
            duration: now.since(self.opened),
            end: self.connection.end().name(),
            note: self.connection.note(),
            ran: None,
        });
    }
}
