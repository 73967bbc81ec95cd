//! Datagrams relayed: each sender has a socket of his own to the target, so that what comes back finds him. It is
//! forgotten when nothing has moved for a while; when there are too many, the one that was quiet longest goes.

use super::{READ, Relay, Who, tag, token};
use crate::dial::{self, Start};
use crate::engine::readiness::Waiter;
use crate::peer::{Peer, canonical};
use crate::roster::{Newcomer, Seat};
use crate::sys::mmsg::Batch;
use crate::sys::socket;
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use switchboard_proto::Instant;
use switchboard_proto::proxy_header::Carrier;

/// A sender is forgotten after this long, if nothing else is said.
const QUIET: Duration = Duration::from_secs(60);
/// Replies passed on before others get their turn.
const TURN: usize = 64;
/// Calls for datagrams at one door before others get their turn.
const BATCHES: usize = 4;

/// A door, a sender's address there, and that of the client for whom it sends.
type Key = (usize, SocketAddr, Option<SocketAddr>);

#[derive(Default)]
pub(super) struct Senders {
    by_address: HashMap<Key, u64>,
    all: HashMap<u64, Sender>,
    batch: Option<Batch>,
}

/// Somebody who sends datagrams.
struct Sender {
    who: Who,
    key: Key,
    /// What goes before each of his datagrams.
    header: Vec<u8>,
    upstream: OwnedFd,
    /// Where it is written down, so that it can be listed and ended from outside.
    seat: Option<Seat>,
    /// Where replies go.
    envelope: Batch,
    moved: Instant,
    received: u64,
    sent: u64,
}

impl Relay<'_> {
    pub(super) fn on_datagrams(&mut self, door: usize) {
        let mut batch = self.senders.batch.take().unwrap_or_default();
        for _ in 0..BATCHES {
            let came = match batch.receive(&self.site.listeners[door]) {
                Ok(came) => came,
                Err(Errno::AGAIN) => break,
                // An error of an earlier reply, told here.
                Err(_) => continue,
            };
            Counters::add(&self.site.counters.datagrams_in, came as u64);
            for index in 0..came {
                self.on_datagram(door, &mut batch, index);
            }
        }
        self.senders.batch = Some(batch);
    }

    fn on_datagram(&mut self, door: usize, batch: &mut Batch, index: usize) {
        let slot = &mut batch.slots(index + 1)[index];
        // Unix datagrams have no address that could be told apart.
        let Some(address) = slot.source() else {
            return Counters::add(&self.site.counters.datagrams_filtered, 1);
        };
        let mut peer = Peer::Inet(canonical(address));
        let mut introduction = None;
        if let Some(upstreams) = &self.site.upstreams {
            match upstreams.take_from(&mut slot.request, peer) {
                Ok(said) => introduction = said,
                Err(_) => return Counters::add(&self.site.counters.datagrams_unintroduced, 1),
            }
        }
        peer = introduction.as_ref().map_or(peer, |said| said.client());
        let client = match (&introduction, peer) {
            (Some(_), Peer::Inet(client)) => Some(client),
            _ => None,
        };
        if let Some(warden) = &self.site.warden
            && let Some(refusal) = warden.judge_datagram(peer, &self.site.listeners[door], self.now)
        {
            let counters = self.site.counters;
            let counter =
                if refusal.denied { &counters.datagrams_denied } else { &counters.datagrams_limited };
            return Counters::add(counter, 1);
        }
        let number = match self.senders.by_address.get(&(door, address, client)) {
            Some(number) => *number,
            None => {
                let who = self.who(peer, self.site.listeners[door].local().clone(), self.now, introduction);
                match self.new_sender((door, address, client), who, slot.return_envelope()) {
                    Some(number) => number,
                    None => return Counters::add(&self.site.counters.datagrams_unsent, 1),
                }
            }
        };
        let Some(sender) = self.senders.all.get_mut(&number) else { return };
        sender.moved = self.now;
        let introduced;
        let bytes = match sender.header.as_slice() {
            [] => slot.request.bytes(),
            header => {
                introduced = [header, slot.request.bytes()].concat();
                &introduced
            }
        };
        match socket::send_message(&sender.upstream, bytes) {
            Ok(_) => sender.received += slot.request.len() as u64,
            // ECONNREFUSED tells of an earlier one; this one was not sent. It is tried once more.
            Err(Errno::CONNREFUSED) if socket::send_message(&sender.upstream, bytes).is_ok() => {
                sender.received += slot.request.len() as u64;
            }
            Err(_) => Counters::add(&self.site.counters.datagrams_unsent, 1),
        }
    }

    fn new_sender(&mut self, key: Key, who: Who, envelope: Batch) -> Option<u64> {
        if self.senders.all.len() >= self.site.most.max(1) {
            let oldest = self.senders.all.iter().min_by_key(|(_, sender)| sender.moved).map(|(n, _)| *n);
            self.forget_sender(oldest?, "crowded");
        }
        // The first address that has a route; datagrams cannot tell more.
        let upstream = self.addresses().iter().find_map(|to| match dial::start(to, &self.site.dialing) {
            Ok(Start::Connected(fd) | Start::InProgress(fd)) => Some(fd),
            Err(_) => None,
        })?;
        self.last += 1;
        let number = self.last;
        self.waiting.add(upstream.as_fd(), token(tag::UPSTREAM, number), READ).ok()?;
        // Without the address that was asked, it is the listener's: unspecified on a wildcard.
        let header = self.header(&who, None, Carrier::Datagram).ok()?;
        let (moved, received, sent) = (self.now, 0, 0);
        let newcomer = Newcomer { connection: who.id, service: self.key, peer: who.peer, came: self.now };
        let seat = Seat::take(newcomer, upstream.as_fd());
        let sender = Sender { who, key, header, upstream, seat, envelope, moved, received, sent };
        self.senders.by_address.insert(key, number);
        self.senders.all.insert(number, sender);
        let first = self.site.lifetime.map_or(self.quiet(), |limit| limit.min(self.quiet()));
        self.timers.schedule(number, self.now + first);
        Some(number)
    }

    fn quiet(&self) -> Duration {
        self.site.idle_timeout.unwrap_or(QUIET)
    }

    /// The target has answered a sender.
    pub(super) fn on_replies(&mut self, number: u64) {
        let sender = self.senders.all.get(&number);
        if sender.and_then(|sender| sender.seat.as_ref()).is_some_and(|seat| seat.cut().is_some()) {
            return self.forget_sender(number, "stopped");
        }
        for _ in 0..TURN {
            let Some(sender) = self.senders.all.get_mut(&number) else { return };
            let mut bytes = [0; 65_536];
            match socket::recv_message(&sender.upstream, &mut bytes) {
                Ok(n) => {
                    let slot = &mut sender.envelope.slots(1)[0];
                    slot.answer.clear();
                    slot.answer.push(&bytes[..n]);
                    slot.answered = true;
                    let sent = sender.envelope.send(&self.site.listeners[sender.key.0], 0, 1).1.is_ok();
                    let counters = self.site.counters;
                    Counters::add(if sent { &counters.datagrams_out } else { &counters.datagrams_unsent }, 1);
                    sender.moved = self.now;
                    sender.sent += n as u64;
                }
                Err(Errno::AGAIN) => return,
                // Nobody listens there now; that was taken note of by being read.
                Err(Errno::CONNREFUSED) => {}
                Err(_) => return self.forget_sender(number, "unreachable"),
            }
        }
    }

    /// A time that was set for a sender has come.
    pub(super) fn sender_due(&mut self, number: u64) {
        let Some(sender) = self.senders.all.get(&number) else { return };
        let over = self.site.lifetime.map_or(Instant::NEVER, |limit| sender.who.came + limit);
        let due = sender.moved + self.quiet();
        if due.min(over) <= self.now {
            return self.forget_sender(number, if over <= due { "lifetime" } else { "idle" });
        }
        self.timers.schedule(number, due.min(over));
    }

    fn forget_sender(&mut self, number: u64, end: &str) {
        let Some(mut sender) = self.senders.all.remove(&number) else { return };
        let cut = sender.seat.take().and_then(Seat::leave);
        self.senders.by_address.remove(&sender.key);
        self.waiting.remove(sender.upstream.as_fd(), token(tag::UPSTREAM, number));
        let counters = self.site.counters;
        Counters::add(&counters.ended, 1);
        Counters::add(&counters.bytes_in, sender.received);
        Counters::add(&counters.bytes_out, sender.sent);
        let end = match cut {
            Some(cut) => {
                counters.cut(cut);
                cut.name()
            }
            None => end,
        };
        self.log(&sender.who, sender.received, sender.sent, end, None);
    }

    /// No listener is left to answer from.
    pub(super) fn forget_senders(&mut self) {
        let numbers: Vec<u64> = self.senders.all.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.forget_sender(number, "stopped"));
    }
}
