//! [`Worker`]: one thread, one epoll, its share of the connections and of the rate.

use super::tally::{Tally, Trouble};
use super::{Plan, Workload};
use crate::dial::{self, Reason, Start};
use crate::error::Error;
use crate::stop::Stop;
use crate::sys::socket::{self, Wait};
use crate::sys::{clock, watchlist::WatchList};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;
use switchboard_proto::{Exchange, Instant};

/// How long a connection that failed rests, so that a closed door is not hammered.
const REST: Duration = Duration::from_millis(10);
/// Requests that start this much after they were due, with a connection free, are late by our own fault.
const LATE: Duration = Duration::from_millis(1);
/// Time-outs are looked for this often at most.
const LOOK: Duration = Duration::from_millis(100);
const EVENTS: usize = 256;
const READ_BYTES: usize = 64 << 10;
/// The epoll token of the request to stop.
const STOP: u64 = u64::MAX;

/// A request that waits for its answer.
struct Asked {
    intended: Instant,
    started: Instant,
    first_byte_seen: bool,
}

enum State {
    Off,
    Connecting(OwnedFd, Instant),
    Open(OwnedFd),
}

struct Client {
    state: State,
    exchange: Exchange,
    asked: VecDeque<Asked>,
    out: Vec<u8>,
    written: usize,
    wants_write: bool,
    is_free: bool,
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Open loop: who can take a request, in the order in which they could.
    free: VecDeque<usize>,
    /// Who is to be woken when.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Open loop: requests that were started, on this worker's own clockwork.
    issued: u64,
    index: usize,
    begin: Instant,
    from: Instant,
    end: Instant,
    /// A moment read from the clock once a round.
    now: Instant,
    is_stopped: bool,
    tally: Tally,
    bytes: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(plan: &'a Plan, index: usize, stop: &Stop) -> Result<Worker<'a>, Error> {
        let system = |errno| Error::system("make an epoll for a load worker", errno);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system)?;
        epoll::add(&epoll, stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN).map_err(system)?;
        let client = |place: usize| Client {
            state: State::Off,
            exchange: Exchange::new(plan.size_bytes, plan.seed.wrapping_add(place as u64)),
            asked: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            wants_write: false,
            is_free: false,
        };
        Ok(Worker {
            plan,
            epoll,
            clients: (index..plan.connections).step_by(plan.workers).map(client).collect(),
            free: VecDeque::new(),
            timers: BinaryHeap::new(),
            issued: 0,
            index,
            begin: Instant::NEVER,
            from: Instant::NEVER,
            end: Instant::NEVER,
            now: Instant::NEVER,
            is_stopped: false,
            tally: Tally::new(),
            bytes: vec![0; READ_BYTES],
        })
    }

    /// # Errors
    /// epoll(7) failed.
    pub(super) fn run(mut self) -> Result<Tally, Error> {
        // Counted from when the thread really runs: one that had to wait for a processor still does the whole of its
        // share.
        self.begin = clock::now();
        self.now = self.begin;
        self.from = self.begin + self.plan.warm_up;
        self.end = self.from + self.plan.duration;
        let mut events = Vec::with_capacity(EVENTS);
        let mut list = WatchList::default();
        let mut cpu_from_ns = cpu_ns();
        let mut cpu_to_ns = None;
        let mut is_measuring = false;
        let mut look_at = self.begin;
        let mut idle_before = 0;
        for place in 0..self.clients.len() {
            self.timers.push(Reverse((self.begin, place)));
        }
        loop {
            self.now = clock::now();
            if !is_measuring && self.now >= self.from {
                is_measuring = true;
                cpu_from_ns = cpu_ns();
            }
            if cpu_to_ns.is_none() && self.now >= self.end {
                cpu_to_ns = Some(cpu_ns());
            }
            if self.is_over() {
                break;
            }
            while let Some(&Reverse((at, place))) = self.timers.peek() {
                if at > self.now {
                    break;
                }
                self.timers.pop();
                self.wake(place);
            }
            self.start_due(idle_before);
            idle_before = self.free.len();
            if self.now >= look_at {
                self.end_silent();
                look_at = self.now + LOOK.min(self.plan.timeout / 10).max(Duration::from_millis(1));
            }
            let mut until = look_at;
            if self.now < self.end {
                until = until.min(self.end);
            }
            if let Some(&Reverse((at, _))) = self.timers.peek() {
                until = until.min(at);
            }
            let due = if self.free.is_empty() { Instant::NEVER } else { self.due(self.issued) };
            let mut wait = until.since(clock::now());
            if due < until && due < self.end {
                // epoll_wait(2) counts in milliseconds, and requests are due between two of them.
                list.clear();
                list.push(self.epoll.as_fd(), true, false);
                socket::retry(|| list.wait(Some(due.since(clock::now()))))
                    .map_err(|errno| Error::system("wait for a load worker's epoll", errno))?;
                wait = Duration::ZERO;
            }
            let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait for a load worker's sockets", errno)),
            }
            self.now = clock::now();
            for event in &events {
                let event: &epoll::Event = event;
                let token = event.data.u64();
                match token {
                    STOP => self.is_stopped = true,
                    place => self.on_ready(place as usize),
                }
            }
        }
        let stopped = self.now.min(self.end);
        self.tally.measured_ns = nanoseconds(stopped.since(self.from));
        let from = self.from;
        let left =
            self.clients.iter().flat_map(|client| &client.asked).filter(|asked| asked.intended >= from);
        self.tally.unfinished = left.count() as u64;
        self.tally.offered = self.tally.started;
        if self.plan.rate_per_s.is_some() && is_measuring {
            // Requests that were due and for which no connection became free are part of what was offered.
            let mut unstarted = self.issued;
            while self.due(unstarted) < stopped {
                self.tally.offered += u64::from(self.due(unstarted) >= from);
                unstarted += 1;
            }
        }
        if is_measuring {
            self.tally.cpu_ns = cpu_to_ns.unwrap_or_else(cpu_ns).saturating_sub(cpu_from_ns);
        }
        Ok(self.tally)
    }

    fn is_over(&self) -> bool {
        if self.is_stopped {
            return true;
        }
        let is_answered = || self.clients.iter().all(|client| client.asked.is_empty());
        self.now >= self.end && (self.now >= self.end + self.plan.timeout || is_answered())
    }

    /// When this worker's request number `n` is due.
    fn due(&self, n: u64) -> Instant {
        let Some(rate) = self.plan.rate_per_s else { return Instant::NEVER };
        let turn = n as f64 * self.plan.workers as f64 + self.index as f64;
        self.begin + Duration::from_secs_f64(turn / rate)
    }

    /// Starts the requests that are due, as far as there are connections. The first `idle_before` of them had one.
    fn start_due(&mut self, idle_before: usize) {
        let mut round = 0;
        while !self.free.is_empty() {
            let due = self.due(self.issued);
            if due > self.now || due >= self.end {
                return;
            }
            let Some(place) = self.free.pop_front() else { return };
            self.clients[place].is_free = false;
            if !self.can_take(place) {
                continue;
            }
            self.issued += 1;
            if round < idle_before && due >= self.from && self.now.since(due) > LATE {
                self.tally.late += 1;
            }
            round += 1;
            self.ask(place, due);
            self.flush(place);
            self.offer(place);
        }
    }

    fn can_take(&self, place: usize) -> bool {
        let client = &self.clients[place];
        match (self.plan.workload, &client.state) {
            (Workload::Ping, State::Open(_)) => client.asked.len() < self.plan.depth,
            (Workload::Connect, State::Off) => true,
            _ => false,
        }
    }

    /// A connection that can take requests: in an open loop it waits for its turn, in a closed one it asks at once.
    fn offer(&mut self, place: usize) {
        if self.plan.rate_per_s.is_some() {
            if self.can_take(place) && !self.clients[place].is_free {
                self.clients[place].is_free = true;
                self.free.push_back(place);
            }
            return;
        }
        let before = self.clients[place].asked.len();
        while self.now < self.end && self.can_take(place) {
            self.ask(place, self.now);
            if self.plan.workload == Workload::Connect {
                break;
            }
        }
        if self.clients[place].asked.len() > before {
            self.flush(place);
        }
    }

    /// Its time has come: a first connection, one after a failure, or the end of a rest.
    fn wake(&mut self, place: usize) {
        match (&self.clients[place].state, self.plan.workload) {
            (State::Off, Workload::Ping) if self.now < self.end => self.connect(place),
            _ => self.offer(place),
        }
    }

    /// Puts a request in the queue of its connection, and makes that if there is to be one for each.
    fn ask(&mut self, place: usize, intended: Instant) {
        if intended >= self.from {
            self.tally.started += 1;
        }
        // The clock is read anew: what was done for other connections of this round is not this request's time.
        let asked = Asked { intended, started: clock::now(), first_byte_seen: false };
        let client = &mut self.clients[place];
        client.asked.push_back(asked);
        if self.plan.size_bytes > 0 {
            client.out.extend_from_slice(client.exchange.request());
        }
        if self.plan.workload == Workload::Connect {
            self.connect(place);
        }
    }

    fn connect(&mut self, place: usize) {
        let started = clock::now();
        match dial::start(&self.plan.address, &self.plan.dialing) {
            Ok(Start::Connected(fd)) => {
                let flags = epoll::EventFlags::IN;
                match epoll::add(&self.epoll, &fd, epoll::EventData::new_u64(place as u64), flags) {
                    Ok(()) => self.connected(place, fd, started),
                    Err(errno) => self.fail(place, Trouble::of(errno)),
                }
            }
            Ok(Start::InProgress(fd)) => {
                let flags = epoll::EventFlags::OUT;
                match epoll::add(&self.epoll, &fd, epoll::EventData::new_u64(place as u64), flags) {
                    Ok(()) => self.clients[place].state = State::Connecting(fd, started),
                    Err(errno) => self.fail(place, Trouble::of(errno)),
                }
            }
            Err(Reason::System(errno)) => self.fail(place, Trouble::of(errno)),
            Err(Reason::TimedOut(_)) => self.fail(place, Trouble::TimedOut),
            Err(Reason::Unprepared(_)) => self.fail(place, Trouble::Exhausted),
        }
    }

    fn connected(&mut self, place: usize, fd: OwnedFd, started: Instant) {
        let now = clock::now();
        if started >= self.from && now < self.end {
            record(&mut self.tally.connect, now.since(started));
        }
        self.clients[place].state = State::Open(fd);
        self.clients[place].wants_write = false;
        match self.plan.workload {
            Workload::Connect if self.plan.size_bytes == 0 => self.answered(place, now),
            Workload::Connect => self.flush(place),
            Workload::Ping => self.offer(place),
        }
    }

    fn on_ready(&mut self, place: usize) {
        match std::mem::replace(&mut self.clients[place].state, State::Off) {
            State::Off => {}
            State::Connecting(fd, started) => match dial::finish(&fd) {
                Ok(()) => {
                    let flags = epoll::EventFlags::IN;
                    let data = epoll::EventData::new_u64(place as u64);
                    match epoll::modify(&self.epoll, &fd, data, flags) {
                        Ok(()) => self.connected(place, fd, started),
                        Err(errno) => self.fail(place, Trouble::of(errno)),
                    }
                }
                Err(errno) => self.fail(place, Trouble::of(errno)),
            },
            open @ State::Open(_) => {
                self.clients[place].state = open;
                if self.clients[place].wants_write {
                    self.flush(place);
                }
                self.read(place);
            }
        }
    }

    fn read(&mut self, place: usize) {
        loop {
            let client = &mut self.clients[place];
            let State::Open(fd) = &client.state else { return };
            let n = match socket::recv(fd, &mut self.bytes, Wait::No) {
                Ok(0) => return self.fail(place, Trouble::Closed),
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.fail(place, Trouble::of(errno)),
            };
            let now = clock::now();
            let Ok(answers) = client.exchange.answer(&self.bytes[..n]) else {
                return self.fail(place, Trouble::WrongContent);
            };
            for _ in 0..answers {
                self.first_byte(place, now);
                self.answered(place, now);
            }
            if self.clients[place].exchange.is_within_answer() {
                self.first_byte(place, now);
            }
            if answers > 0 {
                self.now = now;
                if self.plan.rate_per_s.is_none() && !self.plan.think_time.is_zero() {
                    self.timers.push(Reverse((now + self.plan.think_time, place)));
                } else {
                    self.offer(place);
                }
            }
            if n < self.bytes.len() {
                return;
            }
        }
    }

    fn first_byte(&mut self, place: usize, now: Instant) {
        if let Some(asked) = self.clients[place].asked.front_mut()
            && !asked.first_byte_seen
        {
            asked.first_byte_seen = true;
            if asked.intended >= self.from {
                record(&mut self.tally.first_byte, now.since(asked.started));
            }
        }
    }

    /// The oldest request of the connection has its answer.
    fn answered(&mut self, place: usize, now: Instant) {
        let Some(asked) = self.clients[place].asked.pop_front() else { return };
        if asked.intended >= self.from {
            record(&mut self.tally.response, now.since(asked.intended));
            record(&mut self.tally.service, now.since(asked.started));
            self.tally.in_time += u64::from(now <= self.end);
        }
        if self.plan.workload == Workload::Connect {
            self.disconnect(place);
            if self.plan.size_bytes == 0 {
                // Through the timers: a connect that succeeds at once must not call itself.
                self.timers.push(Reverse((now + self.plan.think_time, place)));
            }
        }
    }

    fn disconnect(&mut self, place: usize) {
        let client = &mut self.clients[place];
        // Closing takes it out of the epoll: no other descriptor refers to it.
        client.state = State::Off;
        client.out.clear();
        client.written = 0;
        client.wants_write = false;
        client.exchange.restart();
    }

    /// Sends what is queued, as far as the socket takes it.
    fn flush(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let State::Open(fd) = &client.state else { return };
        while client.written < client.out.len() {
            match socket::send(fd, &client.out[client.written..], Wait::No) {
                Ok(n) => client.written += n,
                Err(Errno::AGAIN) => break,
                Err(errno) => return self.fail(place, Trouble::of(errno)),
            }
        }
        let is_full = client.written < client.out.len();
        if !is_full {
            client.out.clear();
            client.written = 0;
        }
        if is_full != client.wants_write {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, is_full);
            client.wants_write = is_full;
            if let Err(errno) = epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(place as u64), flags)
            {
                self.fail(place, Trouble::of(errno));
            }
        }
    }

    /// Counts what the connection still owed, closes it, and lets it rest. That a connection is closed which owed
    /// nothing is no error: another one is made.
    fn fail(&mut self, place: usize, trouble: Trouble) {
        let asked = std::mem::take(&mut self.clients[place].asked);
        let is_nothing = asked.is_empty() && trouble == Trouble::Closed;
        if asked.is_empty() && !is_nothing && self.now >= self.from && self.now < self.end {
            self.tally.fail(trouble);
        }
        for _ in asked.iter().filter(|asked| asked.intended >= self.from) {
            self.tally.fail(trouble);
        }
        self.disconnect(place);
        self.timers.push(Reverse((self.now + REST, place)));
    }

    /// Ends what has taken longer than the time-out.
    fn end_silent(&mut self) {
        for place in 0..self.clients.len() {
            let client = &self.clients[place];
            let connecting = match client.state {
                State::Connecting(_, started) => Some(started),
                _ => None,
            };
            let since = client.asked.front().map(|asked| asked.started).or(connecting);
            if since.is_some_and(|since| self.now.since(since) >= self.plan.timeout) {
                self.fail(place, Trouble::TimedOut);
            }
        }
    }
}

fn record(histogram: &mut hdrhistogram::Histogram<u64>, time: Duration) {
    histogram.saturating_record(nanoseconds(time));
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time of this thread.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
