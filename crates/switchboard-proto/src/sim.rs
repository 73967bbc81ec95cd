//! One conversation in virtual time, replayable from one seed.
//!
//! At one end a [`Connection`], driven as an engine would drive it; at the other a [`Peer`] that follows a
//! script; between them a [`Link`] with delay, segments of random size and a bounded window in each direction.
//! The engine here is an unkind one: reads and writes are short, writes complete late or not at all, calls that
//! change nothing are made at random. After every step the promises of [`Connection`] are checked.
//!
//! ```
//! use core::time::Duration;
//! use switchboard_proto::sim::{Link, Pace, Peer, Simulation};
//! use switchboard_proto::{Bounds, End, Service, Start, Transport, Wall};
//!
//! let start = Start { transport: Transport::Stream, wall: Wall::utc(0), seed: 1 };
//! let simulation = Simulation {
//!     transport: start.transport,
//!     bounds: Bounds::default(),
//!     answer: 0,
//!     link: Link { delay: Duration::from_millis(20), window: 100, segment: 10 },
//!     peer: Peer { input: b"there and back again", ends: true, reads: Pace::Eager },
//!     limit: Duration::from_secs(60),
//! };
//! let echo = Service::find("echo").unwrap().recipe(&[]).unwrap();
//! let outcome = simulation.run(echo.session(&start), 42).unwrap();
//! assert_eq!(outcome.output, b"there and back again");
//! assert_eq!(outcome.end, End::Peer);
//! ```
//!
//! The kernel's hardest rule is kept: a connection that is closed while input is unread, or still coming, is
//! reset, and output that has not reached the peer by then is lost. Lingering close exists because of it.

use crate::buffer::Buffer;
use crate::connection::{Bounds, Connection, End, Wants};
use crate::random::Random;
use crate::session::{Session, Transport};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// A conversation to be simulated.
#[derive(Clone, Copy, Debug)]
pub struct Simulation<'a> {
    /// What carries it; a datagram is no conversation and is treated as messages.
    pub transport: Transport,
    /// The connection's bounds.
    pub bounds: Bounds,
    /// How much a single answer may exceed the bound of the output, bytes.
    pub answer: usize,
    /// What is between the two ends.
    pub link: Link,
    /// The other end.
    pub peer: Peer<'a>,
    /// The conversation must be over by then.
    pub limit: Duration,
}

/// What is between the two ends; the same in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Longest delay of a segment; each one is delayed at random, but none overtakes another.
    pub delay: Duration,
    /// Bytes that may be under way or waiting to be read, in each direction; at least one segment always may.
    pub window: usize,
    /// Longest segment, bytes; at least 1. Also the longest message of a peer.
    pub segment: usize,
}

/// The other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer<'a> {
    /// What it sends.
    pub input: &'a [u8],
    /// Whether it shuts down its writing half when everything is sent, or else keeps it open.
    pub ends: bool,
    /// How it reads.
    pub reads: Pace,
}

/// How a peer reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Whatever there is, as soon as it is there.
    Eager,
    /// A segment at a time, pausing up to this long before each.
    Slow(Duration),
    /// Not at all.
    Never,
}

/// What came of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Everything the peer received.
    pub output: Vec<u8>,
    /// Lengths of the messages as the peer sent them.
    pub sent: Vec<usize>,
    /// Lengths of the pieces in which the connection's output was sent.
    pub received: Vec<usize>,
    /// How it ended.
    pub end: End,
    /// The peer was sent a reset, or was caused one by what it went on sending.
    pub reset: bool,
    /// When the connection closed, counted from the start.
    pub took: Duration,
    /// Most bytes of output that the connection held at a time.
    pub most_pending: usize,
    /// Most bytes of input that the connection held at a time.
    pub most_untaken: usize,
}

/// A broken promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Wants that contradict each other or the connection's state.
    Wants(Wants),
    /// More output held than the bound and one answer: this many bytes.
    Output(usize),
    /// More input held than the bound and one read: this many bytes.
    Input(usize),
    /// Bytes were counted that were not moved, or moved and not counted.
    Count,
    /// Nothing is wanted, nothing is awaited, and it is not over.
    Stuck,
    /// Both ends wait for the other, for ever.
    Deadlock,
    /// A deadline had passed, the connection was told so, and has it still.
    Deadline,
    /// A call without a reason had an effect.
    Spurious,
    /// The conversation was not over in time.
    Late,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Wants(wants) => write!(f, "the connection cannot want this now: {wants:?}"),
            Fault::Output(bytes) => write!(f, "{bytes} bytes of output are held, more than the bound allows"),
            Fault::Input(bytes) => write!(f, "{bytes} bytes of input are held, more than the bound allows"),
            Fault::Count => f.write_str("the connection's counts are not those of the bytes moved"),
            Fault::Stuck => f.write_str("the connection wants nothing, waits for nothing, and is not over"),
            Fault::Deadlock => f.write_str("both ends wait for the other"),
            Fault::Deadline => f.write_str("a deadline stays in the past"),
            Fault::Spurious => f.write_str("a call without a reason had an effect"),
            Fault::Late => f.write_str("the conversation is not over in time"),
        }
    }
}

impl core::error::Error for Fault {}

impl Simulation<'_> {
    /// Holds the conversation; the same seed gives the same one.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&self, session: Box<dyn Session>, seed: u64) -> Result<Outcome, Fault> {
        let now = Instant::default();
        let messages = self.transport != Transport::Stream;
        let mut world = World {
            plan: self,
            random: Random::new(seed),
            now,
            connection: Connection::new(session, self.transport, self.bounds, now),
            to_server: Pipe::new(self.link, messages),
            to_peer: Pipe::new(self.link, messages),
            in_flight: None,
            moved: (0, 0),
            told_eof: false,
            told_shutdown: false,
            closed_at: None,
            peer: PeerState { sent: 0, ended: false, sends_at: now, reads_at: now, saw_end: false },
            outcome: Outcome {
                output: Vec::new(),
                sent: Vec::new(),
                received: Vec::new(),
                end: End::Peer,
                reset: false,
                took: Duration::ZERO,
                most_pending: 0,
                most_untaken: 0,
            },
        };
        while world.step()? {}
        Ok(world.outcome)
    }
}

/// Everything that exists during a run.
struct World<'a> {
    plan: &'a Simulation<'a>,
    random: Random,
    now: Instant,
    connection: Connection,
    to_server: Pipe,
    to_peer: Pipe,
    /// A write that completes later, as io_uring's do.
    in_flight: Option<(Buffer, Instant)>,
    /// Bytes given to and taken from the connection.
    moved: (u64, u64),
    told_eof: bool,
    told_shutdown: bool,
    closed_at: Option<Instant>,
    peer: PeerState,
    outcome: Outcome,
}

struct PeerState {
    sent: usize,
    ended: bool,
    sends_at: Instant,
    reads_at: Instant,
    saw_end: bool,
}

impl World<'_> {
    /// Does one thing that can be done now, or lets time pass. False when everything is over.
    fn step(&mut self) -> Result<bool, Fault> {
        // In random order: an engine may learn of things in any.
        let first = self.random.below(3);
        let mut busy = false;
        for turn in 0..3 {
            busy |= match (first + turn) % 3 {
                0 => self.serve()?,
                1 => self.peer_sends(),
                _ => self.peer_reads(),
            };
        }
        if busy {
            return Ok(true);
        }
        if self.closed_at.is_some() && self.to_peer.is_over() {
            return Ok(false);
        }
        // A peer that never reads leaves its input where it is.
        if self.closed_at.is_some() && self.plan.peer.reads == Pace::Never {
            return Ok(false);
        }
        let next = [
            self.in_flight.as_ref().map_or(Instant::NEVER, |(_, at)| *at),
            self.connection.deadline(),
            self.to_server.next_arrival(self.now),
            self.to_peer.next_arrival(self.now),
            later(self.peer.sends_at, self.now),
            later(self.peer.reads_at, self.now),
        ];
        let next = next.into_iter().min().unwrap_or(Instant::NEVER);
        if next == Instant::NEVER {
            return Err(Fault::Deadlock);
        }
        self.now = next;
        if self.now > Instant::default() + self.plan.limit {
            return Err(Fault::Late);
        }
        Ok(true)
    }

    /// The engine's turn.
    fn serve(&mut self) -> Result<bool, Fault> {
        if self.closed_at.is_some() {
            return Ok(false);
        }
        let mut busy = self.deadlines()? || self.complete_write();
        self.make_spurious_calls()?;
        let wants = self.check()?;
        if wants.close {
            self.close(wants.reset);
            return Ok(true);
        }
        if wants.read && self.random.one_in(2) | !busy {
            busy |= self.read();
        }
        let wants = self.check()?;
        if wants.write {
            busy |= self.write();
        }
        if wants.shutdown {
            self.connection.on_shutdown(self.now);
            self.told_shutdown = true;
            self.to_peer.end(self.now);
            busy = true;
        }
        self.check()?;
        Ok(busy)
    }

    fn deadlines(&mut self) -> Result<bool, Fault> {
        let deadline = self.connection.deadline();
        if deadline > self.now {
            return Ok(false);
        }
        self.connection.on_deadline(self.now);
        if self.connection.deadline() <= self.now {
            return Err(Fault::Deadline);
        }
        Ok(true)
    }

    fn complete_write(&mut self) -> bool {
        match self.in_flight.take_if(|(_, at)| *at <= self.now) {
            Some((rest, _)) => {
                self.connection.on_write(rest, self.now);
                true
            }
            None => false,
        }
    }

    /// Calls for which there is no reason: they must change nothing that can be seen.
    fn make_spurious_calls(&mut self) -> Result<(), Fault> {
        if !self.random.one_in(4) || self.connection.deadline() <= self.now {
            return Ok(());
        }
        let wants = self.connection.wants();
        let before =
            (wants, self.connection.deadline(), self.connection.pending(), self.connection.untaken());
        self.connection.on_deadline(self.now);
        if wants.write {
            let all = self.connection.take_write();
            self.connection.on_write(all, self.now);
        }
        if !wants.shutdown {
            self.connection.on_shutdown(self.now);
        }
        let c = &self.connection;
        let after = (c.wants(), c.deadline(), c.pending(), c.untaken());
        if before == after { Ok(()) } else { Err(Fault::Spurious) }
    }

    fn read(&mut self) -> bool {
        let most = 1 + self.random.below(self.plan.link.segment);
        if let Some(bytes) = self.to_server.read(most, self.now) {
            self.moved.0 += bytes.len() as u64;
            self.connection.on_read(Buffer::from(&bytes[..]), self.now);
            true
        } else if self.to_server.at_end(self.now) {
            self.told_eof = true;
            self.connection.on_read(Buffer::new(), self.now);
            true
        } else {
            false
        }
    }

    fn write(&mut self) -> bool {
        let whole = self.plan.transport != Transport::Stream;
        let room = self.to_peer.room();
        if room == 0 {
            return false;
        }
        let mut out = self.connection.take_write();
        let n = if whole { out.len() } else { 1 + self.random.below(room.min(out.len())) };
        self.to_peer.send(&out.bytes()[..n], self.now, &mut self.random);
        self.outcome.received.push(n);
        self.moved.1 += n as u64;
        out.consume(n);
        if self.random.one_in(3) {
            let late = up_to(self.plan.link.delay, &mut self.random);
            self.in_flight = Some((out, self.now + late));
        } else {
            self.connection.on_write(out, self.now);
        }
        true
    }

    fn close(&mut self, reset: bool) {
        // What the peer sent and nobody will read makes the kernel send a reset, which overtakes all data.
        let unread =
            !self.to_server.is_empty() || !(self.peer.ended || self.peer.sent == self.plan.peer.input.len());
        self.outcome.reset = reset || unread;
        if self.outcome.reset {
            self.to_peer.cut(self.now);
        }
        self.to_peer.end(self.now);
        self.closed_at = Some(self.now);
        self.in_flight = None;
        self.outcome.end = self.connection.end();
        self.outcome.took = self.now.since(Instant::default());
    }

    /// Checks the promises of the connection and returns what it wants.
    fn check(&mut self) -> Result<Wants, Fault> {
        let (c, bounds) = (&self.connection, &self.plan.bounds);
        let wants = c.wants();
        let (pending, untaken) = (c.pending(), c.untaken());
        self.outcome.most_pending = self.outcome.most_pending.max(pending);
        self.outcome.most_untaken = self.outcome.most_untaken.max(untaken);
        if pending > bounds.tx as usize + self.plan.answer {
            return Err(Fault::Output(pending));
        }
        if untaken >= bounds.rx as usize + self.plan.link.segment {
            return Err(Fault::Input(untaken));
        }
        let sent = if self.in_flight.is_none() { c.sent() } else { self.moved.1 };
        if (c.received(), sent) != self.moved {
            return Err(Fault::Count);
        }
        let others = wants.read || wants.write || wants.shutdown;
        let wrong = wants.close != c.is_closed()
            || wants.close && (others || c.deadline() != Instant::NEVER)
            || wants.reset && !wants.close
            || wants.read && self.told_eof
            || wants.write && (self.in_flight.is_some() || pending == 0)
            || wants.shutdown && (wants.write || pending > 0 || self.told_shutdown);
        if wrong {
            return Err(Fault::Wants(wants));
        }
        let waits = self.in_flight.is_some() || c.deadline() != Instant::NEVER;
        if wants == Wants::default() && !waits { Err(Fault::Stuck) } else { Ok(wants) }
    }

    fn peer_sends(&mut self) -> bool {
        let (peer, plan) = (&mut self.peer, self.plan);
        let rest = &plan.peer.input[peer.sent..];
        if peer.ended || self.now < peer.sends_at || self.closed_at.is_some() {
            return false;
        }
        if rest.is_empty() {
            peer.ended = plan.peer.ends;
            if peer.ended {
                self.to_server.end(self.now);
            }
            return peer.ended;
        }
        let room = self.to_server.room();
        if room == 0 {
            return false;
        }
        let n = (1 + self.random.below(plan.link.segment)).min(rest.len()).min(room);
        self.to_server.send(&rest[..n], self.now, &mut self.random);
        self.outcome.sent.push(n);
        peer.sent += n;
        if self.random.one_in(3) {
            peer.sends_at = self.now + up_to(plan.link.delay, &mut self.random);
        }
        true
    }

    fn peer_reads(&mut self) -> bool {
        let (peer, plan) = (&mut self.peer, self.plan);
        let pause = match plan.peer.reads {
            Pace::Never => return false,
            Pace::Eager => Duration::ZERO,
            Pace::Slow(pause) => pause,
        };
        if self.now < peer.reads_at || peer.saw_end {
            return false;
        }
        match self.to_peer.read(plan.link.segment, self.now) {
            Some(bytes) => self.outcome.output.extend_from_slice(&bytes),
            None => {
                peer.saw_end = self.to_peer.at_end(self.now);
                return peer.saw_end;
            }
        }
        peer.reads_at = self.now + up_to(pause, &mut self.random);
        true
    }
}

/// A random time from nothing to `longest`, in steps of a microsecond.
fn up_to(longest: Duration, random: &mut Random) -> Duration {
    let micros = usize::try_from(longest.as_micros()).unwrap_or(usize::MAX - 1);
    Duration::from_micros(random.below(micros + 1) as u64)
}

/// `at` if it is still to come.
fn later(at: Instant, now: Instant) -> Instant {
    if at > now { at } else { Instant::NEVER }
}

/// One direction of the link.
struct Pipe {
    link: Link,
    messages: bool,
    segments: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes in all segments.
    bytes: usize,
    /// When the last segment arrives: none overtakes another.
    last: Instant,
    /// When the end of the stream arrives.
    end: Option<Instant>,
}

impl Pipe {
    fn new(link: Link, messages: bool) -> Pipe {
        Pipe { link, messages, segments: VecDeque::new(), bytes: 0, last: Instant::default(), end: None }
    }

    fn room(&self) -> usize {
        let least = if self.bytes == 0 { 1 } else { 0 };
        self.link.window.saturating_sub(self.bytes).max(least)
    }

    fn send(&mut self, bytes: &[u8], now: Instant, random: &mut Random) {
        self.last = self.last.max(now + up_to(self.link.delay, random));
        self.segments.push_back((self.last, bytes.to_vec()));
        self.bytes += bytes.len();
    }

    fn end(&mut self, now: Instant) {
        self.end = self.end.or(Some(self.last.max(now)));
    }

    /// At most `most` bytes of a stream, or a whole message.
    fn read(&mut self, most: usize, now: Instant) -> Option<Vec<u8>> {
        let (arrival, bytes) = self.segments.front_mut()?;
        if *arrival > now {
            return None;
        }
        let n = if self.messages { bytes.len() } else { bytes.len().min(most) };
        let rest = bytes.split_off(n);
        let read = core::mem::replace(bytes, rest);
        if bytes.is_empty() {
            self.segments.pop_front();
        }
        self.bytes -= n;
        Some(read)
    }

    fn at_end(&self, now: Instant) -> bool {
        self.segments.is_empty() && self.end.is_some_and(|at| at <= now)
    }

    fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Nothing more will ever come out.
    fn is_over(&self) -> bool {
        self.segments.is_empty() && self.end.is_some()
    }

    /// A reset: what has not arrived is lost.
    fn cut(&mut self, now: Instant) {
        self.segments.retain(|(arrival, _)| *arrival <= now);
        self.bytes = self.segments.iter().map(|(_, bytes)| bytes.len()).sum();
        self.last = self.last.min(now);
    }

    fn next_arrival(&self, now: Instant) -> Instant {
        let arrivals = self.segments.iter().map(|(at, _)| *at).chain(self.end);
        arrivals.filter(|at| *at > now).min().unwrap_or(Instant::NEVER)
    }
}
