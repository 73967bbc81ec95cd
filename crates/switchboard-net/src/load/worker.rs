//! [`Worker`]: one thread, one epoll, its share of the connections and of the rate.
//!
//! Here is the loop: connecting, timers, slices of time, the end. What goes on at an open connection is in
//! `worker/`: requests and answers, streams, datagrams.

mod client;
mod flow;
mod handshake;
mod opening;
mod packets;
mod requests;
mod slices;
mod unsent;

use super::Plan;
use super::schedule::Schedule;
use super::tally::{Tally, Trouble, times};
use crate::dial::Dialing;
use crate::error::Error;
use crate::stop::Stop;
use crate::sys::processors::pin;
use crate::sys::socket;
use crate::sys::{clock, watchlist::WatchList};
use crate::tls;
use client::{Client, Line, State};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::thread::set_current_timer_slack;
use slices::Used;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::mpsc::Sender;
use std::time::Duration;
use switchboard_proto::{Instant, Shape};

/// How long a connection that failed rests, so that a closed door is not hammered.
const REST: Duration = Duration::from_millis(10);
/// Requests that start this much after they were due, which was while we should have been awake, are late by our fault.
const LATE: Duration = Duration::from_millis(1);
/// Time-outs are looked for this often at most, and ten times within one: a timer that is due soon makes each wait dearer.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that are to stay are made so many at a time, by each worker: more would only overflow the server's
/// accept queue, and wait for a second for their SYN to be sent again.
const MOST_CONNECTING: usize = 512;
/// How long one waits that found that many.
const CROWDED: Duration = Duration::from_millis(1);
const EVENTS: usize = 256;
const READ_BYTES: usize = 64 << 10;
/// The epoll token of the request to stop.
const STOP: u64 = u64::MAX;

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    shape: Shape,
    /// How TLS is spoken by those who remember nothing.
    secure: Option<tls::Client>,
    /// One for each source.
    dialings: Vec<Dialing>,
    index: usize,
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Open loop: who can take a request, in the order in which they could.
    free: VecDeque<usize>,
    /// Who is to be woken when.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Open loop: requests that were started, on this worker's own clockwork.
    issued: u64,
    /// Open loop: we came too late last when it was that time.
    overslept_until: Instant,
    connecting: usize,
    /// Clients whose server has a full accept queue.
    knocking: usize,
    /// Connections that are to be held and are not made yet.
    unmade: usize,
    schedule: Schedule,
    /// A moment read from the clock once a round, and with every answer of a connection that stays.
    now: Instant,
    is_stopped: bool,
    /// Open loop: whether the time is over in which requests are sent.
    is_closed: bool,
    /// Whether those who hold have been asked for the last time.
    is_last_asked: bool,
    /// What was measured in the slice that goes on.
    tally: Tally,
    /// Answers that came in one piece, in that slice: they count as the time of a first byte and as that of an answer.
    at_once: Histogram<u64>,
    slices: Sender<(usize, u64, Tally)>,
    slice: u64,
    slice_from: Instant,
    /// The fastest answer of the slices that are over.
    fastest_ns: Option<u64>,
    used_from: Used,
    /// When the measured time was over: what waits for the last answers uses is not a part of it.
    used_to: Option<Used>,
    /// Where what comes is read.
    bytes: Vec<u8>,
    /// Where the next request is written: one place for all, which stays in the processor's cache. Only a connection
    /// that does not take all at once keeps it.
    spare: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        index: usize,
        stop: &Stop,
        slices: Sender<(usize, u64, Tally)>,
    ) -> Result<Worker<'a>, Error> {
        let system = |errno| Error::system("make an epoll for a load worker", errno);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system)?;
        epoll::add(&epoll, stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN).map_err(system)?;
        let own = plan.shard.own(plan.connections);
        let clients: Vec<Client> =
            own.skip(index).step_by(plan.workers).map(|number| Client::new(plan, number)).collect();
        // Who waited in connect(2) would keep all others waiting.
        let dialing = Dialing { connect_timeout: Duration::ZERO, ..plan.dialing.clone() };
        let from = |ip| Dialing { source: Some(SocketAddr::new(ip, 0)), ..dialing.clone() };
        let mut dialings: Vec<Dialing> = plan.sources.iter().copied().map(from).collect();
        if dialings.is_empty() {
            dialings.push(dialing);
        }
        Ok(Worker {
            plan,
            shape: plan.errand.shape(),
            secure: plan.secure.as_ref().map(|secure| secure.client.remembering(false)),
            dialings,
            index,
            epoll,
            unmade: clients.len(),
            clients,
            free: VecDeque::new(),
            timers: BinaryHeap::new(),
            issued: 0,
            overslept_until: Instant(0),
            connecting: 0,
            knocking: 0,
            schedule: Schedule::new(plan, index, Instant::NEVER),
            now: Instant::NEVER,
            is_stopped: false,
            is_closed: false,
            is_last_asked: false,
            tally: Tally::new(),
            at_once: times(),
            slices,
            slice: 0,
            slice_from: Instant::NEVER,
            fastest_ns: None,
            used_from: Used::default(),
            used_to: None,
            bytes: vec![0; READ_BYTES],
            spare: Vec::new(),
        })
    }

    /// # Errors
    /// epoll(7) failed, or there is no such processor to be pinned to.
    pub(super) fn run(mut self) -> Result<(), Error> {
        self.pin()?;
        // Requests are due at moments: the kernel may otherwise ring up to 50 µs later, to ring for several at once
        // (PR_SET_TIMERSLACK(2const)). A kernel that refuses rings so.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        // Counted from when the thread really runs: one that had to wait for a processor still does the whole of its
        // share.
        self.now = clock::now();
        self.schedule = Schedule::new(self.plan, self.index, self.now);
        if self.shape == Shape::Hold {
            // Making connections is a part of what is measured, and how long it takes is not known.
            self.schedule.from = self.now;
            self.schedule.end = Instant::NEVER;
        }
        self.slice_from = self.schedule.from;
        for place in 0..self.clients.len() {
            let at = self.schedule.start_of(place, self.clients.len(), self.plan.ramp);
            self.timers.push(Reverse((at, place)));
        }
        self.serve()?;
        self.finish();
        Ok(())
    }

    fn serve(&mut self) -> Result<(), Error> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut list = WatchList::default();
        let mut is_measuring = false;
        let mut look_at = self.now;
        let mut had_free = false;
        let mut known = Instant::NEVER;
        loop {
            // Reading the clock is a noticeable part of a request. The last answer has just done it; only requests that
            // are due at a time of their own want to know better.
            if self.is_open_loop() || self.now == known {
                self.now = clock::now();
            }
            known = self.now;
            if !is_measuring && self.now >= self.schedule.from {
                is_measuring = true;
                self.used_from = Used::now();
                // What the warm-up could not start is none of the measured time's business.
                self.issued = self.issued.max(self.schedule.due_before(self.schedule.from));
            }
            let is_end = self.used_to.is_none() && self.now >= self.schedule.end;
            if is_end {
                self.used_to = Some(Used::now());
            }
            self.cut();
            if is_end {
                self.close(had_free);
            }
            if self.shape == Shape::Hold {
                self.look_after_held();
            }
            if self.is_over() {
                return Ok(());
            }
            let (issued, mut is_behind) = (self.issued, false);
            while let Some(&Reverse((at, place))) = self.timers.peek() {
                if at > self.now {
                    break;
                }
                self.timers.pop();
                self.wake(place);
                is_behind = true;
            }
            self.start_due(had_free);
            is_behind |= self.issued != issued;
            had_free = !self.free.is_empty();
            if self.now >= look_at {
                self.end_silent();
                look_at = self.now + LOOK.min(self.plan.timeout / 10).max(Duration::from_millis(1));
            }
            let mut until = look_at.min(self.slice_end());
            if self.now < self.schedule.end {
                until = until.min(self.schedule.end);
            }
            let due = if self.free.is_empty() { Instant::NEVER } else { self.schedule.due(self.issued) };
            let due = if due < self.schedule.end { due } else { Instant::NEVER };
            let next = due.min(self.timers.peek().map_or(Instant::NEVER, |Reverse((at, _))| *at));
            let mut wait = until.since(if is_behind { clock::now() } else { self.now });
            if next < until {
                // epoll_wait(2) counts in milliseconds, and requests are due, and rests over, between two of them.
                list.clear();
                list.push(self.epoll.as_fd(), true, false);
                socket::retry(|| list.wait(Some(next.since(clock::now()))))
                    .map_err(|errno| Error::system("wait for a load worker's epoll", errno))?;
                wait = Duration::ZERO;
            }
            let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait for a load worker's sockets", errno)),
            }
            // Connections that stay read the clock when they have read what came.
            if self.shape != Shape::Stay {
                self.now = clock::now();
            }
            for event in &events {
                let event: &epoll::Event = event;
                match event.data.u64() {
                    STOP => self.is_stopped = true,
                    place => self.on_ready(place as usize, event.flags),
                }
            }
        }
    }

    /// Whether requests are due at times of their own.
    fn is_open_loop(&self) -> bool {
        self.plan.rate_per_s.is_some()
    }

    fn pin(&self) -> Result<(), Error> {
        let processors = &self.plan.processors;
        if processors.is_empty() {
            return Ok(());
        }
        let processor = processors[self.index % processors.len()];
        pin(processor)
            .map_err(|errno| Error::system(format!("pin a load worker to processor {processor}"), errno))
    }

    fn is_over(&self) -> bool {
        if self.is_stopped {
            return true;
        }
        if self.now < self.schedule.end {
            return false;
        }
        self.now >= self.schedule.end + self.plan.timeout || self.clients.iter().all(Client::is_quiet)
    }

    /// Its time has come: a first connection, one after a failure, or the end of a rest.
    fn wake(&mut self, place: usize) {
        let client = &mut self.clients[place];
        client.is_resting = false;
        if let State::Knocking(..) = client.state {
            return self.connect(place);
        }
        if !matches!(client.state, State::Off) || self.shape == Shape::Once {
            return self.offer(place);
        }
        if self.now >= self.schedule.end || self.is_last_asked {
            return;
        }
        if self.connecting >= MOST_CONNECTING {
            return self.timers.push(Reverse((self.now + CROWDED, place)));
        }
        self.connect(place);
    }

    /// A connection that may be able to take more.
    fn offer(&mut self, place: usize) {
        match self.shape {
            Shape::Stay | Shape::Once | Shape::Hold => self.offer_request(place),
            Shape::Packets => self.offer_packet(place),
            Shape::Flow(_) => self.pump(place),
        }
    }

    fn on_ready(&mut self, place: usize, flags: epoll::EventFlags) {
        match &self.clients[place].state {
            State::Open(..) => self.on_input(place, flags),
            State::Connecting(..) => self.finish_connecting(place),
            State::Shaking(..) => self.shake_hands(place),
            State::Leaving(..) => self.leave(place),
            State::Off | State::Knocking(..) => {}
        }
    }

    /// There is something to be read at an open connection, or room for what is to be sent.
    fn on_input(&mut self, place: usize, flags: epoll::EventFlags) {
        match self.shape {
            Shape::Stay | Shape::Once | Shape::Hold => {
                if self.clients[place].wants_write {
                    self.flush(place);
                }
                self.read(place);
            }
            Shape::Packets => self.receive(place),
            Shape::Flow(_) => self.stream(place, flags),
        }
    }

    /// Sees to it that the epoll tells of room to write, or no more does.
    fn watch_room(&mut self, place: usize, wants_write: bool) -> Result<(), Errno> {
        let client = &mut self.clients[place];
        let (State::Open(channel, _) | State::Shaking(channel, _)) = &client.state else { return Ok(()) };
        if client.wants_write == wants_write {
            return Ok(());
        }
        client.wants_write = wants_write;
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, wants_write);
        epoll::modify(&self.epoll, channel, epoll::EventData::new_u64(place as u64), flags)
    }

    /// Counts what the connection still owed, closes it, and lets it rest. That a connection is closed which owed
    /// nothing is no error: another one is made. One that was to be held is another matter.
    fn fail(&mut self, place: usize, trouble: Trouble) {
        self.now = clock::now();
        let from = self.schedule.from;
        let is_measured = self.schedule.is_measured(self.now);
        let client = &mut self.clients[place];
        match client.state {
            State::Connecting(..) => self.connecting -= 1,
            State::Knocking(..) => self.knocking -= 1,
            _ => {}
        }
        let mut owed = 0;
        let mut counted = 0;
        match &mut client.line {
            Line::Requests(requests) => {
                owed = requests.asked.len();
                counted = requests.asked.drain(..).filter(|asked| asked.intended >= from).count() as u64;
            }
            Line::Packets(packets) => packets.give_up(
                |_| true,
                |asked| {
                    owed += 1;
                    counted += u64::from(asked.intended >= from);
                },
            ),
            Line::Stream(_) => {}
        }
        let is_nothing = trouble == Trouble::Closed && self.shape == Shape::Stay;
        if owed == 0 && !is_nothing && is_measured {
            counted = 1;
        }
        self.tally.errors[trouble as usize] += counted;
        client.disconnect();
        if self.shape == Shape::Hold {
            return self.unmade -= usize::from(!std::mem::replace(&mut client.is_made, true));
        }
        client.is_resting = true;
        self.timers.push(Reverse((self.now + REST, place)));
    }

    /// The connection cannot be used any more.
    fn break_off(&mut self, place: usize, errno: Errno) {
        let failure = match &self.clients[place].state {
            State::Open(channel, _) => channel.failure(),
            _ => None,
        };
        let Some(failure) = failure else { return self.fail(place, Trouble::of(errno)) };
        let failure = failure.to_string();
        self.tally.tls_failure.get_or_insert(failure);
        self.fail(place, Trouble::Tls);
    }

    /// Ends what has taken longer than the time-out.
    fn end_silent(&mut self) {
        let (now, timeout) = (self.now, self.plan.timeout);
        for place in 0..self.clients.len() {
            if self.shape == Shape::Packets {
                self.give_up(place);
            } else if self.clients[place].waits_since().is_some_and(|since| now.since(since) >= timeout) {
                self.fail(place, Trouble::TimedOut);
            } else if matches!(&self.clients[place].state, State::Leaving(_, since) if now.since(*since) >= timeout)
            {
                self.rest(place);
            }
        }
    }
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(nanoseconds(time));
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
