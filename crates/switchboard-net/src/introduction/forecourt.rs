//! [`Forecourt`]: where clients of proxies wait until the header that introduces them is whole. It comes before the
//! warden, who judges the client that was introduced, and before TLS.
//!
//! The header is read byte-exactly: what is there is looked at (`MSG_PEEK`), and only what belongs to the header is
//! taken. What comes behind it is the service's, or the program's, to whom the socket goes as it is.

use super::{Introduction, Others, Unfit, Upstreams};
use crate::engine::epoll::Waiting;
use crate::engine::readiness::{Event, Interest, Waiter};
use crate::engine::timers::Timers;
use crate::error::Error;
use crate::journal::{Journal, Warning};
use crate::peer::Peer;
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, getrlimit};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use switchboard_proto::Instant;
use switchboard_proto::proxy_header::{Carrier, Decoded, decode};

/// Clients whose headers are awaited, and an eighth of all descriptors at most; beyond it those who have waited longest
/// are sent away.
const WAITING: usize = 1_024;
/// Bytes looked at by one call: more than most headers have.
const LOOK: usize = 256;

/// Somebody at a door who may be introduced.
pub(crate) trait Introduced: AsFd {
    /// Who is at the other end.
    fn peer(&self) -> Peer;
    /// Who he is taken for, and what a proxy said of it.
    fn identity(&mut self) -> (&mut Peer, &mut Option<Box<Introduction>>);
    /// He turns out to be somebody else.
    fn introduce(&mut self, said: Box<Introduction>) {
        let (peer, introduction) = self.identity();
        *peer = said.client();
        *introduction = Some(said);
    }
}

/// Who is told of those who are sent away.
pub(crate) struct Told<'a> {
    pub(crate) service: &'a str,
    pub(crate) journal: &'a Journal,
    pub(crate) counters: &'a Counters,
}

/// A client whose header is not whole yet.
struct Stranger<A> {
    arrival: A,
    seen: Vec<u8>,
}

/// See the module.
pub(crate) struct Forecourt<A> {
    waiting: Waiting,
    strangers: HashMap<u64, Stranger<A>>,
    timers: Timers,
    /// Those who were introduced meanwhile.
    ready: VecDeque<A>,
    last: u64,
    most: usize,
    events: Vec<Event>,
}

/// How far a header has come.
enum Progress {
    More,
    Whole(Box<Introduction>),
}

impl<A: Introduced> Forecourt<A> {
    /// An empty one.
    ///
    /// # Errors
    /// No descriptors, no memory.
    pub(crate) fn new() -> Result<Forecourt<A>, Error> {
        let waiting = Waiting::new().map_err(|errno| Error::system("watch for PROXY headers", errno))?;
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Ok(Forecourt {
            waiting,
            strangers: HashMap::new(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            last: 0,
            most: usize::try_from(descriptors / 8).unwrap_or(WAITING).clamp(1, WAITING),
            events: Vec::new(),
        })
    }

    /// Readable when a header, or a part of one, has come: then [`hear`](Forecourt::hear).
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }

    /// Somebody was accepted: he comes back at once if nothing is expected of him, or if his header is there already.
    pub(crate) fn arrive(
        &mut self,
        upstreams: &Upstreams,
        mut arrival: A,
        told: &Told<'_>,
        now: Instant,
    ) -> Option<A> {
        if !upstreams.lists(arrival.peer()) {
            if upstreams.others == Others::Serve {
                return Some(arrival);
            }
            send_away(arrival, Unfit::Stranger, told, now);
            return None;
        }
        let mut seen = Vec::new();
        let progress = read(&arrival, &mut seen, upstreams);
        match progress {
            Ok(Progress::Whole(introduction)) => {
                arrival.introduce(introduction);
                return Some(arrival);
            }
            // Whoever has waited longest goes first: headers that come at all come soon.
            Ok(Progress::More) if self.strangers.len() >= self.most => {
                while let Some(number) = self.timers.due(Instant(Instant::NEVER.0 - 1)) {
                    if let Some(oldest) = self.take(number) {
                        send_away(oldest, Unfit::Crowded, told, now);
                        break;
                    }
                }
            }
            Ok(Progress::More) => {}
            Err(unfit) => {
                send_away(arrival, unfit, told, now);
                return None;
            }
        }
        self.last += 1;
        let reading = Interest { read: true, write: false };
        if self.waiting.add(arrival.as_fd(), self.last, reading).is_err() {
            send_away(arrival, Unfit::Crowded, told, now);
            return None;
        }
        self.timers.schedule(self.last, now + upstreams.timeout);
        self.strangers.insert(self.last, Stranger { arrival, seen });
        None
    }

    /// Reads what has come, and sends away those who took too long. `at_door` tells what is expected where somebody
    /// came in, and who is told of him.
    pub(crate) fn hear<'s>(
        &mut self,
        at_door: impl Fn(&A) -> Option<(&'s Upstreams, Told<'s>)>,
        now: Instant,
    ) {
        if self.strangers.is_empty() {
            self.timers = Timers::default();
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        // What cannot be told now is told the next time.
        let _ = self.waiting.wait(Some(Duration::ZERO), &mut events);
        for event in &events {
            let Some(stranger) = self.strangers.get_mut(&event.token) else { continue };
            let Some((upstreams, told)) = at_door(&stranger.arrival) else { continue };
            match read(&stranger.arrival, &mut stranger.seen, upstreams) {
                Ok(Progress::More) => {}
                Ok(Progress::Whole(introduction)) => {
                    if let Some(mut arrival) = self.take(event.token) {
                        arrival.introduce(introduction);
                        self.ready.push_back(arrival);
                    }
                }
                Err(unfit) => {
                    if let Some(arrival) = self.take(event.token) {
                        send_away(arrival, unfit, &told, now);
                    }
                }
            }
        }
        self.events = events;
        while let Some(number) = self.timers.due(now) {
            let Some(arrival) = self.take(number) else { continue };
            if let Some((_, told)) = at_door(&arrival) {
                send_away(arrival, Unfit::Late, &told, now);
            }
        }
        let strangers = &self.strangers;
        self.timers.tidy(strangers.len(), |number| strangers.contains_key(&number));
    }

    /// The next of those who were introduced.
    pub(crate) fn next(&mut self) -> Option<A> {
        self.ready.pop_front()
    }

    /// When somebody is to be looked at although nothing happens; the past if somebody is ready and there is room.
    pub(crate) fn wakes_at(&self, has_room: bool) -> Instant {
        if has_room && !self.ready.is_empty() {
            return Instant::default();
        }
        self.timers.next()
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.strangers.is_empty() && self.ready.is_empty()
    }

    /// Leaves all who wait: there is no time left for them.
    pub(crate) fn clear(&mut self) {
        let numbers: Vec<u64> = self.strangers.keys().copied().collect();
        numbers.into_iter().for_each(|number| drop(self.take(number)));
        self.ready.clear();
    }

    /// Whoever leaves is forgotten by name: a process forked meanwhile may hold the socket a moment longer.
    fn take(&mut self, number: u64) -> Option<A> {
        let stranger = self.strangers.remove(&number)?;
        self.waiting.remove(stranger.arrival.as_fd(), number);
        Some(stranger.arrival)
    }
}

impl Told<'_> {
    fn of(&self, peer: Peer, unfit: Unfit, now: Instant) {
        Counters::add(&self.counters.unintroduced, 1);
        self.journal.warn(Warning::Introduction, now, &|| {
            format!("{}: {} is sent away: {unfit}", self.service, self.journal.shown(peer))
        });
    }
}

/// He must not take an orderly end for an answer.
fn send_away<A: Introduced>(arrival: A, unfit: Unfit, told: &Told<'_>, now: Instant) {
    told.of(arrival.peer(), unfit, now);
    socket::reset_on_close(arrival.as_fd());
}

/// Reads as far as the header's end and not a byte beyond it. `seen` is what was taken before.
fn read<A: Introduced>(arrival: &A, seen: &mut Vec<u8>, upstreams: &Upstreams) -> Result<Progress, Unfit> {
    loop {
        let mut bytes = [0; LOOK];
        let looked =
            socket::retry(|| recv(arrival.as_fd(), &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT));
        let there = match looked {
            Ok((0, _)) => return Err(Unfit::Ended),
            Ok((there, _)) => there,
            Err(Errno::AGAIN) => return Ok(Progress::More),
            Err(_) => return Err(Unfit::Ended),
        };
        let before = seen.len();
        seen.extend_from_slice(&bytes[..there]);
        let decoded = decode(seen, upstreams.versions)?;
        let wanted = match &decoded {
            Decoded::More => there,
            Decoded::Header(_, length) => length - before,
        };
        // They are there and nobody else reads; should fewer come all the same, the rest is looked at again.
        let taken = match socket::recv(arrival.as_fd(), &mut bytes[..wanted], Wait::No) {
            Ok(taken) => taken,
            Err(Errno::AGAIN) => 0,
            Err(_) => return Err(Unfit::Ended),
        };
        seen.truncate(before + taken);
        match decoded {
            Decoded::Header(header, _) if taken == wanted => {
                let introduction = Introduction::new(header, arrival.peer(), Carrier::Stream)?;
                return Ok(Progress::Whole(Box::new(introduction)));
            }
            // Another look would find nothing more.
            Decoded::More if taken == there && there < LOOK => return Ok(Progress::More),
            _ => {}
        }
    }
}
