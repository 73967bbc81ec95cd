//! Two connected sockets, joined: what comes from one goes to the other, and the end of each half is told on.
//!
//! Streams are spliced (splice(2)), so that their bytes stay in the kernel; messages are copied whole, and what TLS is on
//! one of the two ends passes through our memory. A half that
//! cannot be delivered any more does not take the other one with it: what the peer still has to say is passed on. But
//! if a sender breaks off, both sides are reset, so that nobody takes a part for the whole.

mod half;

use crate::channel::Channel;
use crate::endpoint::Kind;
use crate::error::Error;
use crate::relay::direction::Pipes;
use crate::sys::watchlist::WatchList;
use crate::sys::{clock, fault, socket};
use crate::tls::Failure;
use half::{Broke, Half};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::io;
use std::thread;
use std::time::Duration;
use switchboard_proto::Instant;

/// How long datagrams are awaited after the other side's end, unless asked otherwise.
const REPLY_WAIT: Duration = Duration::from_secs(2);
/// How long a peer may take to acknowledge any of the last bytes.
const SETTLE: Duration = Duration::from_secs(5);

/// When two joined sockets are parted.
#[derive(Clone, Copy, Default, Debug)]
pub struct Limits {
    /// After the end of one half, wait at most this long for that of the other; `None`: without limit.
    pub quit_after: Option<Duration>,
    /// End when nothing moves either way for this long. If one side has datagrams, which have no end: two seconds after
    /// the other side's end, unless this says otherwise.
    pub idle_timeout: Option<Duration>,
    /// End after this long, whatever happens.
    pub timeout: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
pub struct Joined {
    /// How it ended.
    pub end: Parting,
    /// From the first to the second.
    pub forth: Way,
    /// From the second to the first.
    pub back: Way,
    /// From the start to the end.
    pub duration: Duration,
}

/// What went one way.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Way {
    /// Bytes that the receiver's kernel took.
    pub bytes: u64,
    /// Bytes that came and are not known to have arrived.
    pub undelivered: u64,
}

/// How two joined sockets were parted.
#[derive(Debug)]
pub enum Parting {
    /// Both ended, and everything arrived as far as can be known.
    Complete,
    /// The first one broke.
    First(io::Error),
    /// The second one broke.
    Second(io::Error),
    /// TLS failed with the first one, or he ended without close_notify.
    FirstTls(Failure),
    /// TLS failed with the second one, or he ended without close_notify.
    SecondTls(Failure),
    /// The first one did not take everything.
    FirstMissed,
    /// The second one did not take everything.
    SecondMissed,
    /// Nothing moved for `idle_timeout`.
    IdleTimeout,
    /// `timeout` passed.
    Timeout,
}

/// Joins two sockets until both have ended or `limits` part them; both are closed then. Two non-blocking streams without
/// TLS are spliced. SIGPIPE must be ignored, as it is in Rust programs.
///
/// # Errors
/// poll(2) itself, for lack of memory. Whatever the two do is in [`Joined`].
pub fn join(first: Channel, second: Channel, limits: &Limits) -> Result<Joined, Error> {
    let now = clock::now();
    let mut join = Join {
        forth: Half::new(&first, &second),
        back: Half::new(&second, &first),
        first,
        second,
        limits,
        pipes: Pipes::default(),
        list: WatchList::default(),
        started: now,
        moved: now,
        one_over: Instant::NEVER,
    };
    let cut = join.run()?;
    Ok(join.outcome(cut))
}

/// A join in progress.
struct Join<'a> {
    first: Channel,
    second: Channel,
    limits: &'a Limits,
    forth: Half,
    back: Half,
    pipes: Pipes,
    list: WatchList,
    started: Instant,
    moved: Instant,
    /// When the first of the halves was over.
    one_over: Instant,
}

/// Why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Done,
    Quit,
    Broken,
    Idle,
    Timeout,
}

impl Join<'_> {
    fn run(&mut self) -> Result<Cut, Error> {
        loop {
            let forth = self.forth.pump(&mut self.first, &mut self.second, &mut self.pipes);
            let back = self.back.pump(&mut self.second, &mut self.first, &mut self.pipes);
            let now = clock::now();
            if forth || back {
                self.moved = now;
            }
            self.excuse();
            if self.forth.sender_broke() || self.back.sender_broke() {
                return Ok(Cut::Broken);
            }
            if self.forth.is_over() && self.back.is_over() {
                return Ok(Cut::Done);
            }
            if self.one_over == Instant::NEVER && (self.forth.is_over() || self.back.is_over()) {
                self.one_over = now;
            }
            let since = |from: Instant, limit: Option<Duration>| match limit {
                Some(limit) if from != Instant::NEVER => from + limit,
                _ => Instant::NEVER,
            };
            let total = since(self.started, self.limits.timeout);
            let quit = since(self.one_over, self.limits.quit_after);
            let silence = since(self.moved, self.limits.idle_timeout);
            let replies = self.replies_end();
            for (until, cut) in
                [(total, Cut::Timeout), (quit, Cut::Quit), (replies, Cut::Quit), (silence, Cut::Idle)]
            {
                if now >= until {
                    return Ok(cut);
                }
            }
            // A pump stops after its turn; then there is more to do at once.
            let until = total.min(quit).min(silence).min(replies);
            self.wait((until != Instant::NEVER).then(|| until.since(now)))?;
        }
    }

    /// A Unix socket that is closed while input waits in it resets its peer (`ECONNRESET`): all that came from there
    /// was read, but there was somebody who did not want everything.
    fn excuse(&mut self) {
        let reset = Some(Broke::Sender(Errno::CONNRESET));
        if self.first.kind() == Kind::Unix && self.forth.broke == reset {
            self.forth.excuse(&self.second);
            self.back.broke = Some(Broke::Receiver(Errno::PIPE));
        }
        if self.second.kind() == Kind::Unix && self.back.broke == reset {
            self.back.excuse(&self.first);
            self.forth.broke = Some(Broke::Receiver(Errno::PIPE));
        }
    }

    /// Datagrams have no end: when one side's end was passed on, what comes from the other one is awaited for a while.
    fn replies_end(&self) -> Instant {
        let datagrams = self.first.kind().is_datagram() || self.second.kind().is_datagram();
        if !datagrams || self.one_over == Instant::NEVER {
            return Instant::NEVER;
        }
        self.one_over.max(self.moved) + self.limits.idle_timeout.unwrap_or(REPLY_WAIT)
    }

    /// Sleeps until one of the sockets can be read or written as its half wants.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.list.clear();
        let wants = [
            (&self.first, self.forth.wants_input(), self.back.wants_room(&self.first)),
            (&self.second, self.back.wants_input(), self.forth.wants_room(&self.second)),
        ];
        // What TLS has decrypted already, poll(2) does not know of.
        let more = wants.iter().any(|(side, read, _)| *read && side.has_input());
        let timeout = if more { Some(Duration::ZERO) } else { timeout };
        let mut places = [usize::MAX; 2];
        let mut next = 0;
        for (place, (side, read, write)) in places.iter_mut().zip(wants) {
            // One that is watched for nothing would report its hang-up for ever. A local program that has ended is seen
            // by just that: nobody reads there any more.
            let gone = side.kind() == Kind::Unix && !read && !write && !self.is_watched_over(side);
            if read || write || gone {
                self.list.push(side.as_fd(), read, write);
                *place = next;
                next += 1;
            }
        }
        let idle = wants.map(|(_, read, write)| (read, write));
        match if fault::interrupted() { Err(Errno::INTR) } else { self.list.wait(timeout) } {
            Ok(()) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for the two sockets (poll)", errno)),
        }
        let mut broken = [false; 2];
        for (place, state) in self.list.ready() {
            if let Some(at) = places.iter().position(|one| *one == place) {
                let (read, write) = idle[at];
                broken[at] = state.broken && !read && !write;
            }
        }
        if broken[0] {
            self.back.nobody_reads(&self.second);
        }
        if broken[1] {
            self.forth.nobody_reads(&self.first);
        }
        Ok(())
    }

    /// Whether nothing is to be learnt any more of this side.
    fn is_watched_over(&self, side: &Channel) -> bool {
        if std::ptr::eq(side, &self.first) { self.back.is_over() } else { self.forth.is_over() }
    }

    fn outcome(&mut self, cut: Cut) -> Joined {
        let mut forth = Way { bytes: self.forth.bytes(), undelivered: self.forth.held() };
        let mut back = Way { bytes: self.back.bytes(), undelivered: self.back.held() };
        let orderly = matches!(cut, Cut::Done | Cut::Quit);
        if orderly {
            forth.undelivered += settle(&mut self.second, self.forth.is_over());
            back.undelivered += settle(&mut self.first, self.back.is_over());
        } else {
            socket::reset_on_close(&self.first);
            socket::reset_on_close(&self.second);
        }
        let failure = |side: &Channel| side.failure().cloned();
        let end = match (failure(&self.first), failure(&self.second)) {
            (Some(failure), _) => Parting::FirstTls(failure),
            (_, Some(failure)) => Parting::SecondTls(failure),
            (None, None) => self.parting(cut, &forth, &back),
        };
        Joined { end, forth, back, duration: clock::now().since(self.started) }
    }

    /// How they were parted, TLS apart.
    fn parting(&self, cut: Cut, forth: &Way, back: &Way) -> Parting {
        let failed = |errno: Errno| io::Error::from(errno);
        match (self.forth.broke, self.back.broke) {
            (Some(Broke::Sender(errno)), _) | (_, Some(Broke::Receiver(errno))) if gone(errno) => {
                Parting::First(failed(errno))
            }
            (_, Some(Broke::Sender(errno))) | (Some(Broke::Receiver(errno)), _) if gone(errno) => {
                Parting::Second(failed(errno))
            }
            _ if cut == Cut::Timeout => Parting::Timeout,
            _ if cut == Cut::Idle => Parting::IdleTimeout,
            (Some(Broke::Receiver(_)), _) => Parting::SecondMissed,
            (_, Some(Broke::Receiver(_))) => Parting::FirstMissed,
            _ if forth.undelivered > 0 => Parting::SecondMissed,
            _ if back.undelivered > 0 => Parting::FirstMissed,
            _ => Parting::Complete,
        }
    }
}

/// Whether this says that a connection broke, and not only that nobody reads there.
fn gone(errno: Errno) -> bool {
    errno != Errno::PIPE
}

/// Waits until `side` has acknowledged everything, at most [`SETTLE`] without any progress; the number of bytes that it has not. `told`: that
/// our half has ended.
fn settle(side: &mut Channel, told: bool) -> u64 {
    if told && !side.is_secure() {
        side.was_shut();
    }
    let mut until = clock::now() + SETTLE;
    let mut pause = Duration::from_micros(200);
    let mut least = u64::MAX;
    loop {
        // In this order: what is acknowledged between the two looks is not missing.
        let closed = socket::is_closed(&*side);
        let left = side.outstanding() as u64;
        if left < least {
            (least, until) = (left, clock::now() + SETTLE);
        }
        if left == 0 || closed || clock::now() >= until {
            return left;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
