//! [`Flow`]: one relayed connection, from its client to its end in the log.

use super::call::Call;
use super::direction::{Direction, Moved};
use super::{Relay, Who, tag, token};
use crate::admission::Ticket;
use crate::engine::readiness::{Interest, Waiter};
use crate::guests::Arrival;
use crate::journal::Record;
use crate::passing;
use crate::roster::Seat;
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::getsockname;
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
    /// Where it is written down, so that it can be listed and ended from outside.
    seat: Option<Seat>,
    pub(super) stage: Stage,
}

/// How far it has come.
pub(super) enum Stage {
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
        let Arrival { fd, peer, local, came, ticket, multiplexed, introduction, .. } = arrival;
        let who = self.who(peer, local, came, introduction);
        self.last += 1;
        let call = Call::new(self.addresses(), &self.site.dialing, self.now);
        let seat = Seat::take(who.id, self.key, who.peer, fd.as_fd(), self.now);
        // Not read from yet; but if it is ended from outside, that is noticed.
        let _ = self.waiting.add(fd.as_fd(), token(tag::CLIENT, self.last), Interest::default());
        let flow = Flow { who, client: fd, ticket, multiplexed, seat, stage: Stage::Calling(call) };
        self.flows.insert(self.last, flow);
        self.call(self.last);
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
        let up = match joined.introduce() {
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
        let fds = [flow.client.as_fd(), joined.target.as_fd()];
        for (place, tag) in [tag::CLIENT, tag::TARGET].into_iter().enumerate() {
            let (fd, token) = (fds[place], token(tag, number));
            let listens = place == 0 && !joined.hung_up;
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
        match &flow.stage {
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
            (received, sent) = (joined.up.bytes, joined.down.bytes);
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
                    "idle" => Counters::add(&counters.timed_out, 1),
                    "stopped" => Counters::add(&counters.stopped, 1),
                    "done" => {}
                    _ => Counters::add(&counters.reset, 1),
                }
                end
            }
        };
        self.log(&flow.who, received, sent, end);
    }

    pub(super) fn log(&self, who: &Who, received: u64, sent: u64, end: &str) {
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
            tls: None,
            ran: None,
            introduction: who.introduction.as_deref(),
            unique_id: who.unique_id.as_deref(),
        });
    }
}
