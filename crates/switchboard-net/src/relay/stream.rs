//! [`Flow`]: one relayed connection, from its client to its end in the log.

use super::call::Call;
use super::direction::{Direction, Moved};
use super::secure::{Broke, Secure};
use super::{Relay, Target, Who, tag, token};
use crate::admission::Ticket;
use crate::endpoint::{Address, Kind, Location};
use crate::engine::readiness::{Interest, Waiter};
use crate::guests::Arrival;
use crate::introduction::Introduction;
use crate::journal::Record;
use crate::passing;
use crate::roster::{Newcomer, Seat};
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use crate::tls::{Facts, Failure};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, getsockname, socketpair};
use std::net::SocketAddr;
use switchboard_proto::Instant;
use switchboard_proto::proxy_header::Carrier;

/// A connection.
pub(super) struct Flow {
    who: Who,
    client: OwnedFd,
    #[expect(dead_code, reason = "given back by being dropped")]
    ticket: Option<Ticket>,
    multiplexed: bool,
    /// The session with the client, if he speaks TLS.
    secure: Option<Box<Secure>>,
    /// Where it is written down, so that it can be listed and ended from outside.
    seat: Option<Seat>,
    pub(super) stage: Stage,
}

/// How far it has come.
pub(super) enum Stage {
    /// The client and we agree on keys.
    Greeting {
        /// At the latest until then.
        until: Instant,
        limit_ms: u64,
        watched: Interest,
    },
    /// The target is being connected; the client is not read from meanwhile.
    Calling(Call),
    /// Bytes move.
    Joined(Joined),
}

/// Both ends.
pub(super) struct Joined {
    target: OwnedFd,
    /// What is left of the header that introduces the client.
    header: Vec<u8>,
    /// From the client to the target.
    up: Direction,
    down: Direction,
    /// What the client's and the target's socket are watched for. A target that is watched for nothing is not watched,
    /// or a hang-up would be reported again and again; a client is, until that has come.
    watched: [Option<Interest>; 2],
    hung_up: bool,
    /// When something has moved.
    moved: Instant,
}

impl Joined {
    /// Sends what is left of the header. A fresh socket has room for it, as a rule.
    fn introduce(&mut self) -> Result<(), Errno> {
        if self.header.is_empty() {
            return Ok(());
        }
        match socket::send(&self.target, &self.header, Wait::No) {
            Ok(sent) => drop(self.header.drain(..sent)),
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

impl Relay<'_> {
    /// A client may come in.
    pub(super) fn begin(&mut self, arrival: Arrival) {
        let Arrival { fd, peer, local, came, ticket, multiplexed, introduction, tls, .. } = arrival;
        let who = self.who(peer, local, came, introduction);
        self.last += 1;
        let newcomer = Newcomer { connection: who.id, service: self.key, peer: who.peer, came: self.now };
        let seat = Seat::take(newcomer, fd.as_fd());
        // Not read from yet; but if it is ended from outside, that is noticed.
        let _ = self.waiting.add(fd.as_fd(), token(tag::CLIENT, self.last), Interest::default());
        let number = self.last;
        let greeting = tls.and_then(|server| {
            let secure = Secure::new(server.codec().ok()?, matches!(self.site.to, Target::Worker(_)));
            let limit = server.settings().handshake_timeout;
            let (until, limit_ms) = (self.now + limit, u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
            Some((Box::new(secure), Stage::Greeting { until, limit_ms, watched: Interest::default() }))
        });
        let (secure, stage) = match greeting {
            Some((secure, stage)) => (Some(secure), stage),
            None => (None, self.calling()),
        };
        let greets = secure.is_some();
        let flow = Flow { who, client: fd, ticket, multiplexed, secure, seat, stage };
        if let Some(limit) = self.site.lifetime {
            self.timers.schedule(number, flow.who.came + limit);
        }
        self.flows.insert(number, flow);
        if greets { self.greet(number) } else { self.call(number) }
    }

    fn calling(&mut self) -> Stage {
        Stage::Calling(Call::new(self.addresses(), &self.site.dialing, self.now))
    }

    /// Goes on with a handshake; when it is done the target is called.
    fn greet(&mut self, number: u64) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let (Some(secure), Stage::Greeting { until, watched, .. }) = (&mut flow.secure, &mut flow.stage)
        else {
            return;
        };
        match secure.pump(&flow.client, None) {
            Ok(_) if secure.is_open() && matches!(self.site.to, Target::Worker(_)) => self.hand_over(number),
            Ok(_) if secure.is_open() => {
                let stage = self.calling();
                let Some(flow) = self.flows.get_mut(&number) else { return };
                // Not read from while the target is called.
                let _ =
                    self.waiting.change(flow.client.as_fd(), token(tag::CLIENT, number), Interest::default());
                flow.stage = stage;
                self.call(number);
            }
            Ok(_) => {
                let wanted = secure.wants()[0];
                self.timers.schedule(number, *until);
                if wanted == *watched {
                    return;
                }
                *watched = wanted;
                if self.waiting.change(flow.client.as_fd(), token(tag::CLIENT, number), wanted).is_err() {
                    self.end(number, "no-memory", true);
                }
            }
            Err(broke) => self.broke(number, broke),
        }
    }

    /// Gives the worker of the service one end of a pair, and goes on with the other as with a target.
    fn hand_over(&mut self, number: u64) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let (Target::Worker(door), Some(secure)) = (&self.site.to, &flow.secure) else { return };
        let known = secure.witness.known();
        let introduction = flow.who.introduction.as_deref();
        // The address that he came to, and not the wildcard that listens there.
        let own = Address::of_descriptor(&flow.client);
        let mut settings = known.facts.as_ref().map(Facts::variables).unwrap_or_default();
        if let Some(introduction) = introduction {
            settings.extend(introduction.variables(own.as_ref().and_then(Address::inet)));
        }
        let asked = introduction
            .and_then(Introduction::destination)
            .map(|address| Address { kind: Kind::Tcp, place: Location::Inet { address, only_v6: None } });
        let escort = passing::Escort {
            peer: flow.who.peer,
            local: asked.or(own).unwrap_or_else(|| flow.who.local.clone()),
            settings,
            told: self.site.journal.told(&known) + &self.site.journal.introduced(introduction),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        match pair.and_then(|(near, far)| passing::pass_escorted(door, far, &escort).map(|()| near)) {
            Ok(near) => self.connected(number, near),
            Err(_) => self.end(number, "unavailable", true),
        }
    }

    /// A session has ended badly.
    fn broke(&mut self, number: u64, broke: Broke) {
        let failure = match broke {
            Broke::Client => return self.end(number, "client-reset", true),
            Broke::Target => return self.end(number, "target-reset", true),
            Broke::Tls(failure) => failure,
        };
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let end = match (&failure, &flow.stage) {
            (Failure::Truncated, _) => "tls-truncated",
            (_, Stage::Joined(_)) => "tls-broken",
            _ => "tls-handshake",
        };
        if let Some(secure) = &mut flow.secure {
            secure.failed(failure);
            secure.say_last_words(&flow.client);
        }
        // The target must not take a part for the whole. A Unix socket knows no reset: both its directions are over,
        // and its answer fails.
        if let Stage::Joined(joined) = &flow.stage {
            socket::reset_on_close(&joined.target);
        }
        self.end(number, end, false);
    }

    /// Something has happened to a client.
    pub(super) fn on_client(&mut self, number: u64, broken: bool) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        if flow.seat.as_ref().is_some_and(|seat| seat.cut().is_some()) {
            return self.end(number, "stopped", true);
        }
        match &mut flow.stage {
            Stage::Joined(joined) => {
                // Nobody would read the error, or the end, and it would be reported for ever.
                if broken && joined.watched[0] == Some(Interest::default()) {
                    if socket::take_error(&flow.client).is_some() {
                        return self.end(number, "client-reset", true);
                    }
                    joined.hung_up = true;
                }
                self.pump(number);
            }
            // What he has sent before he went is still passed on.
            Stage::Greeting { .. } => self.greet(number),
            Stage::Calling(_) => self.waiting.remove(flow.client.as_fd(), token(tag::CLIENT, number)),
        }
    }

    pub(super) fn connected(&mut self, number: u64, target: OwnedFd) {
        let Some(flow) = self.flows.get(&number) else { return };
        let local = getsockname(&flow.client).ok().and_then(|local| SocketAddr::try_from(local).ok());
        let Ok(header) = self.header(&flow.who, local, Carrier::Stream) else {
            return self.end(number, "no-introduction", true);
        };
        let Some(flow) = self.flows.get_mut(&number) else { return };
        if flow.multiplexed {
            passing::welcome(&flow.client);
        }
        self.waiting.remove(flow.client.as_fd(), token(tag::CLIENT, number));
        flow.stage = Stage::Joined(Joined {
            target,
            header,
            up: Direction::default(),
            down: Direction::default(),
            watched: [None; 2],
            hung_up: false,
            moved: self.now,
        });
        if let Some(limit) = self.site.idle_timeout {
            self.timers.schedule(number, self.now + limit);
        }
        self.pump(number);
    }

    /// No address of the target could be reached.
    pub(super) fn unreached(&mut self, number: u64) {
        if let Some(flow) = self.flows.get(&number)
            && flow.multiplexed
        {
            passing::refuse(&flow.client, "Not reachable now");
        }
        self.end(number, "unreachable", true);
    }

    /// Moves what can be moved, and watches for the rest.
    pub(super) fn pump(&mut self, number: u64) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let Stage::Joined(joined) = &mut flow.stage else { return };
        let introduced = joined.introduce();
        if let Some(secure) = &mut flow.secure {
            if introduced.is_err() {
                return self.end(number, "target-reset", true);
            }
            let ready = joined.header.is_empty();
            match secure.pump(&flow.client, ready.then_some(&joined.target)) {
                Ok(moved) => {
                    if moved {
                        joined.moved = self.now;
                    }
                    if secure.is_over() {
                        return self.end(number, "done", false);
                    }
                    let [client, target] = secure.wants();
                    let wanted = match ready {
                        true => [client, target],
                        // The target hears first who comes.
                        false => [Interest { read: false, ..client }, Interest { read: false, write: true }],
                    };
                    return self.watch_both(number, wanted);
                }
                Err(broke) => return self.broke(number, broke),
            }
        }
        let up = match introduced {
            Ok(()) if joined.header.is_empty() => {
                joined.up.pump(&flow.client, &joined.target, &mut self.pipes)
            }
            Ok(()) => Moved::Some(false),
            Err(errno) => Moved::ReceiverBroke(errno),
        };
        let down = joined.down.pump(&joined.target, &flow.client, &mut self.pipes);
        let end = match (up, down) {
            (Moved::SenderBroke(errno), _) | (_, Moved::ReceiverBroke(errno)) => {
                Some((errno, "client-reset"))
            }
            (Moved::ReceiverBroke(errno), _) | (_, Moved::SenderBroke(errno)) => {
                Some((errno, "target-reset"))
            }
            _ => None,
        };
        if let Some((errno, end)) = end {
            let starved = matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM);
            return self.end(number, if starved { "no-descriptors" } else { end }, true);
        }
        if up == Moved::Some(true) || down == Moved::Some(true) {
            joined.moved = self.now;
        }
        if joined.up.over && joined.down.over {
            return self.end(number, "done", false);
        }
        let wanted = [
            Interest {
                read: joined.header.is_empty() && joined.up.wants_input(),
                write: joined.down.wants_room(),
            },
            Interest {
                read: joined.down.wants_input(),
                write: !joined.header.is_empty() || joined.up.wants_room(),
            },
        ];
        self.watch_both(number, wanted);
    }

    /// Watches the client's and the target's socket for what is wanted of them.
    fn watch_both(&mut self, number: u64, wanted: [Interest; 2]) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let Stage::Joined(joined) = &mut flow.stage else { return };
        let fds = [flow.client.as_fd(), joined.target.as_fd()];
        for (place, tag) in [tag::CLIENT, tag::TARGET].into_iter().enumerate() {
            let (fd, token) = (fds[place], token(tag, number));
            let departs = flow.secure.as_ref().is_some_and(|secure| secure.awaits_departure());
            let listens = if place == 0 { !joined.hung_up } else { departs };
            let wanted = Some(wanted[place]).filter(|wanted| wanted.read || wanted.write || listens);
            let changed = match (joined.watched[place], wanted) {
                (before, now) if before == now => Ok(()),
                (None, Some(wanted)) => self.waiting.add(fd, token, wanted),
                (Some(_), Some(wanted)) => self.waiting.change(fd, token, wanted),
                (_, None) => {
                    self.waiting.remove(fd, token);
                    Ok(())
                }
            };
            if changed.is_err() {
                return self.end(number, "no-memory", true);
            }
            joined.watched[place] = wanted;
        }
    }

    pub(super) fn on_time(&mut self, number: u64) {
        let Some(flow) = self.flows.get(&number) else { return };
        if self.site.lifetime.is_some_and(|limit| flow.who.came + limit <= self.now) {
            return self.end(number, "lifetime", true);
        }
        match &flow.stage {
            Stage::Greeting { until, limit_ms, .. } if *until <= self.now => {
                let limit_ms = *limit_ms;
                self.broke(number, Broke::Tls(Failure::Late { limit_ms }));
            }
            Stage::Greeting { .. } => {}
            Stage::Calling(call) if call.wakes_at <= self.now => self.call(number),
            Stage::Calling(_) => {}
            Stage::Joined(joined) => {
                let Some(limit) = self.site.idle_timeout else { return };
                let due = joined.moved + limit;
                if due <= self.now {
                    return self.end(number, "idle", true);
                }
                self.timers.schedule(number, due);
            }
        }
    }

    /// The time to drain is over.
    pub(super) fn cut(&mut self) {
        self.guests.clear();
        let numbers: Vec<u64> = self.flows.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.end(number, "stopped", true));
    }

    fn end(&mut self, number: u64, end: &str, by_reset: bool) {
        let Some(mut flow) = self.flows.remove(&number) else { return };
        let cut = flow.seat.take().and_then(Seat::leave);
        let (mut received, mut sent) = (0, 0);
        if let Stage::Joined(joined) = &flow.stage {
            (received, sent) = match &flow.secure {
                Some(secure) => (secure.received, secure.sent),
                None => (joined.up.bytes, joined.down.bytes),
            };
            if by_reset {
                socket::reset_on_close(&joined.target);
            }
            self.waiting.remove(joined.target.as_fd(), token(tag::TARGET, number));
        }
        self.waiting.remove(flow.client.as_fd(), token(tag::CLIENT, number));
        if by_reset && !flow.multiplexed {
            socket::reset_on_close(&flow.client);
        }
        let counters = self.site.counters;
        Counters::add(&counters.ended, 1);
        Counters::add(&counters.bytes_in, received);
        Counters::add(&counters.bytes_out, sent);
        let end = match cut {
            Some(cut) => {
                counters.cut(cut);
                cut.name()
            }
            None => {
                match end {
                    "idle" | "lifetime" => Counters::add(&counters.timed_out, 1),
                    "stopped" => Counters::add(&counters.stopped, 1),
                    "done" => {}
                    _ if end.starts_with("tls-") => Counters::add(&counters.malformed, 1),
                    _ => Counters::add(&counters.reset, 1),
                }
                end
            }
        };
        let known = flow.secure.as_ref().map(|secure| self.site.journal.told(&secure.witness.known()));
        // What ends well behind another worker has its record there.
        if end != "done" || matches!(self.site.to, Target::Endpoint(_)) {
            self.log(&flow.who, received, sent, end, known.as_deref());
        }
        if !by_reset && flow.secure.is_some_and(|secure| !secure.client_ended()) {
            socket::shutdown_write(&flow.client);
            self.guests.leave(flow.client, self.now);
        }
    }

    pub(super) fn log(&self, who: &Who, received: u64, sent: u64, end: &str, tls: Option<&str>) {
        self.site.journal.record(&Record {
            id: who.id,
            service: self.site.id,
            engine: "relay",
            local: &who.local,
            peer: who.peer,
            received,
            sent,
            duration: self.now.since(who.came),
            end,
            note: None,
            tls,
            ran: None,
            introduction: who.introduction.as_deref(),
            unique_id: who.unique_id.as_deref(),
        });
    }
}
