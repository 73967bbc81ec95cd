//! [`Roster`]: the connections that are being served, in memory shared by all processes: what `status` lists and
//! `terminate` can end, whoever serves them.
//!
//! A conversation takes a place when it gets its number and gives it back before its descriptor is closed. Whoever wants
//! it ended marks the place and sends SIGURG to the process that serves it. The handler breaks the connection off where
//! it is (`sever`), which wakes whatever waits for it. An engine that waits for nothing of a connection that neither
//! reads nor writes now is told by a `bell`. SIGURG, because a process that does not expect it ignores it.
//!
//! A place's state is one word with the process in it, so that of several who change it at once one succeeds: the
//! conversation that leaves, the handler, perhaps on another thread, and whoever sweeps after a process that died.

use crate::error::Error;
use crate::peer::Peer;
use crate::sys::shared::{map, shared_file};
use crate::sys::socket::sever;
use crate::sys::{clock, process, signal};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Known;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64};
use std::time::Duration;
use switchboard_proto::Instant;

/// Connections that there is room for; those beyond it are served all the same, and are not listed.
pub const MOST: usize = 65_536;

/// The connections that are being served now.
#[derive(Debug)]
#[repr(C)]
pub struct Roster {
    /// The place that was given back last, plus 1, in the lower half; above it how often this has changed.
    free: AtomicU64,
    /// Places that were ever taken: those after them need not be looked at.
    used: AtomicU64,
    places: [Place; MOST],
}

/// One connection; 64 bytes, so that none shares a line of the cache with another. Pages of places that were never used
/// cost no memory.
#[derive(Debug)]
#[repr(C)]
struct Place {
    /// The process that serves it, in the upper half; why it is cut, and a phase.
    state: AtomicU64,
    /// The worker that this process is, or belongs to.
    worker: AtomicU32,
    fd: AtomicI32,
    /// The next free place, plus 1.
    next: AtomicU32,
    /// Kind and port of the peer.
    peer_kind: AtomicU32,
    connection: AtomicU64,
    service: AtomicU64,
    came: AtomicU64,
    peer: [AtomicU64; 2],
}

impl Place {
    fn peer(&self) -> Peer {
        let [first, second] = self.peer.each_ref().map(|word| word.load(Relaxed));
        Peer::from_words([u64::from(self.peer_kind.load(Relaxed)), first, second])
    }

    fn set_peer(&self, peer: Peer) {
        let [kind, first, second] = peer.to_words();
        // A port is 16 bits, above the 8 of the kind.
        self.peer_kind.store(kind as u32, Relaxed);
        self.peer[0].store(first, Relaxed);
        self.peer[1].store(second, Relaxed);
    }
}

const LIVE: u64 = 1;
/// Somebody wants it cut.
const ASKED: u64 = 2;
/// The handler is at it.
const CUTTING: u64 = 3;
const CUT: u64 = 4;
const PHASE: u64 = 0xff;
const CAUSE: u64 = 0xff00;

/// Why a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Somebody asked for it.
    Terminated = 1 << 8,
    /// The time to drain is over.
    Stopped = 2 << 8,
}

impl Cut {
    /// How the log calls such an end.
    pub fn name(self) -> &'static str {
        match self {
            Cut::Terminated => "terminated",
            Cut::Stopped => "stopped",
        }
    }
}

/// A connection in the roster, as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    place: usize,
    state: u64,
    /// The connection's number.
    pub connection: u64,
    /// Its service, as [`service_key`](crate::program::service_key) makes it of the id.
    pub service: u64,
    /// Who is served.
    pub peer: Peer,
    /// The process that serves him.
    pub pid: Pid,
    /// The worker process that this one is, or belongs to.
    pub worker: u32,
    /// When he came.
    pub came: Instant,
}

impl Entry {
    /// For how long it has been served.
    pub fn age(&self) -> Duration {
        clock::now().since(self.came)
    }
}

/// Where this process's connections are written down, and which worker it is, or was forked from.
static HERE: OnceLock<(&'static Roster, u32)> = OnceLock::new();

/// Rung when a connection of this process was broken off.
static BELL: OnceLock<OwnedFd> = OnceLock::new();

/// An eventfd(2) that becomes readable when a connection of this process was broken off; none if none can be. For one
/// loop: it is not to be shared by several, of which one would take the other's ring.
pub(crate) fn bell() -> Option<BorrowedFd<'static>> {
    HERE.get()?;
    if BELL.get().is_none() {
        let _ = BELL.set(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?);
    }
    BELL.get().map(AsFd::as_fd)
}

/// Whether this process has ever been asked to cut a connection: until then no event loop need look at the places, which
/// would cost a line of the cache for each event.
static ASKED_TO_CUT: AtomicBool = AtomicBool::new(false);

/// From here on connections of this process, and of those forked from it, are written down in `roster`, and can be ended
/// from outside. For a worker, before it serves; once in a process.
///
/// # Errors
/// None that a valid signal can cause.
pub fn begin(roster: &'static Roster) -> std::io::Result<()> {
    let _ = HERE.set((roster, process::id().as_raw_pid().unsigned_abs()));
    signal::on_urgent(answer)
}

/// A place in the roster; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    roster: &'static Roster,
    place: u32,
    pid: u32,
}

/// A connection that is to be written down; see [`Entry`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) connection: u64,
    pub(crate) service: u64,
    pub(crate) peer: Peer,
    pub(crate) came: Instant,
}

impl Seat {
    /// Writes a connection down, if there is a roster and room in it. `fd` stays open until the seat is left.
    pub(crate) fn take(newcomer: Newcomer, fd: BorrowedFd<'_>) -> Option<Seat> {
        let (roster, worker) = HERE.get()?;
        roster.seat(*worker, newcomer, fd)
    }

    /// Why it was cut, if it was.
    pub(crate) fn cut(&self) -> Option<Cut> {
        let state = self.roster.places[self.place as usize].state.load(Relaxed);
        if state & PHASE != CUT {
            return None;
        }
        Some(if state & CAUSE == Cut::Stopped as u64 { Cut::Stopped } else { Cut::Terminated })
    }

    /// The same, for a place whose connection this process serves.
    pub(crate) fn cut_here(&self) -> Option<Cut> {
        if ASKED_TO_CUT.load(Relaxed) { self.cut() } else { None }
    }

    /// Gives the place back, before the descriptor is closed; tells why the connection was cut, if it was.
    pub(crate) fn leave(self) -> Option<Cut> {
        // Dropped afterwards, it finds that nothing is left to do.
        let cut = self.give_back();
        std::mem::forget(self);
        cut
    }

    fn give_back(&self) -> Option<Cut> {
        let state = &self.roster.places[self.place as usize].state;
        loop {
            let now = state.load(Acquire);
            if now >> 32 != u64::from(self.pid) {
                // It was swept, or this is the copy of a process that was forked from the one that serves.
                return None;
            }
            // Another thread is about to sever this descriptor, which takes one system call.
            if now & PHASE == CUTTING {
                std::hint::spin_loop();
                continue;
            }
            let cut = self.cut();
            if state.compare_exchange(now, 0, AcqRel, Relaxed).is_ok() {
                self.roster.put_back(self.place);
                return cut;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Roster {
    /// A new one, and the descriptor by which another process can [`open`](Roster::open) it.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub fn create() -> Result<(OwnedFd, &'static Roster), Error> {
        shared_file("connections").map_err(|error| Error::system("map shared memory", error))
    }

    /// The one that another process created.
    ///
    /// # Errors
    /// A descriptor of something else; `ENOMEM`.
    pub fn open(fd: impl AsFd) -> Result<&'static Roster, Error> {
        map(fd).map_err(|error| Error::system("map the roster of connections", error))
    }

    /// The connections that are written down, in no order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.used()).filter_map(|place| self.entry(place))
    }

    fn used(&self) -> usize {
        (self.used.load(Acquire) as usize).min(MOST)
    }

    fn entry(&self, place: usize) -> Option<Entry> {
        let at = &self.places[place];
        let state = at.state.load(Acquire);
        let read = |field: &AtomicU64| field.load(Relaxed);
        let entry = Entry {
            place,
            state,
            connection: read(&at.connection),
            service: read(&at.service),
            peer: at.peer(),
            pid: Pid::from_raw((state >> 32) as i32)?,
            worker: at.worker.load(Relaxed),
            came: Instant(read(&at.came)),
        };
        // Somebody else may have come meanwhile.
        (at.state.load(Acquire) == state).then_some(entry)
    }

    /// Has a connection broken off: its client sees a reset, and the log says why. False if it has ended already, or is
    /// being cut, or its process cannot be reached.
    pub fn cut(&self, entry: &Entry, why: Cut) -> bool {
        // First the descriptor, then the look at who it is: from here on the id stays with this process.
        let Ok(pidfd) = pidfd_open(entry.pid, PidfdFlags::empty()) else { return false };
        if !is_alive(entry.pid, entry.came) || entry.state & PHASE != LIVE {
            return false;
        }
        let state = &self.places[entry.place].state;
        let asked = entry.state & !(PHASE | CAUSE) | why as u64 | ASKED;
        if state.compare_exchange(entry.state, asked, AcqRel, Relaxed).is_err() {
            return false;
        }
        let sent = pidfd_send_signal(pidfd, Signal::URG).is_ok();
        if !sent {
            let _ = state.compare_exchange(asked, entry.state, AcqRel, Relaxed);
        }
        sent
    }

    /// Forgets connections whose process has died, after telling `lost` of each; their number. Costs a look at each
    /// process in the roster.
    pub fn sweep(&self, mut lost: impl FnMut(&Entry)) -> usize {
        let mut alive: HashMap<Pid, bool> = HashMap::new();
        let mut swept = 0;
        for entry in self.entries() {
            let lives = match alive.entry(entry.pid) {
                // A process was there before its connections: one look serves for all of them.
                Known::Occupied(known) => *known.get(),
                Known::Vacant(unknown) => *unknown.insert(is_alive(entry.pid, entry.came)),
            };
            if !lives
                && self.places[entry.place].state.compare_exchange(entry.state, 0, AcqRel, Relaxed).is_ok()
            {
                lost(&entry);
                self.put_back(entry.place as u32);
                swept += 1;
            }
        }
        swept
    }

    fn seat(&'static self, worker: u32, newcomer: Newcomer, fd: BorrowedFd<'_>) -> Option<Seat> {
        let Newcomer { connection, service, peer, came } = newcomer;
        let place = self.take_place()?;
        let at = &self.places[place as usize];
        at.worker.store(worker, Relaxed);
        at.fd.store(fd.as_raw_fd(), Relaxed);
        at.connection.store(connection, Relaxed);
        at.service.store(service, Relaxed);
        at.came.store(came.0, Relaxed);
        at.set_peer(peer);
        let pid = process::known_id();
        at.state.store(u64::from(pid) << 32 | LIVE, Release);
        Some(Seat { roster: self, place, pid })
    }

    /// A place that was given back, or the next one that was never used.
    fn take_place(&self) -> Option<u32> {
        let mut free = self.free.load(Acquire);
        while let Some(place) = (free as u32).checked_sub(1) {
            let next = self.places[place as usize].next.load(Relaxed);
            match self.free.compare_exchange_weak(free, turned(free, next), AcqRel, Acquire) {
                Ok(_) => return Some(place),
                Err(now) => free = now,
            }
        }
        let place = self.used.fetch_update(AcqRel, Relaxed, |used| (used < MOST as u64).then_some(used + 1));
        place.ok().map(|place| place as u32)
    }

    fn put_back(&self, place: u32) {
        let mut free = self.free.load(Relaxed);
        loop {
            self.places[place as usize].next.store(free as u32, Relaxed);
            match self.free.compare_exchange_weak(free, turned(free, place + 1), AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }
}

/// A new head of the list of free places: the count above it keeps a head that was away and came back from passing for
/// one that has been here all the time.
fn turned(free: u64, place: u32) -> u64 {
    (free >> 32).wrapping_add(1) << 32 | u64::from(place)
}

/// Whether this very process, which served since `came`, is there: not a later one with its id.
fn is_alive(pid: Pid, came: Instant) -> bool {
    /// Start times are rounded down to clock ticks (`USER_HZ` is 100).
    const TICK_NS: u64 = 10_000_000;
    // Start times count the time in which the machine slept, the clock of connections does not.
    let slept = clock::since_boot_ns().saturating_sub(clock::now().0);
    process::stat(pid).is_some_and(|stat| {
        !matches!(stat.state, 'Z' | 'X') && stat.started_ns <= came.0.saturating_add(slept + TICK_NS)
    })
}

/// The handler of SIGURG: breaks off those of this process's connections that somebody wants cut. Atomics and system
/// calls that signal-safety(7) lists, nothing else.
fn answer() {
    let Some((roster, _)) = HERE.get() else { return };
    ASKED_TO_CUT.store(true, Release);
    let me = u64::from(process::id().as_raw_pid().unsigned_abs());
    for place in &roster.places[..roster.used()] {
        let asked = place.state.load(Acquire);
        if asked >> 32 != me || asked & PHASE != ASKED {
            continue;
        }
        let (cutting, cut) = (asked & !PHASE | CUTTING, asked & !PHASE | CUT);
        if place.state.compare_exchange(asked, cutting, AcqRel, Relaxed).is_ok() {
            sever(place.fd.load(Relaxed));
            place.state.store(cut, Release);
        }
    }
    if let Some(bell) = BELL.get() {
        let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_place_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Place>(), 64);
    }

    fn newcomer(connection: u64) -> Newcomer {
        Newcomer { connection, service: 7, peer: Peer::Unknown, came: clock::now() }
    }

    fn seat(roster: &'static Roster, connection: u64, fd: impl AsFd) -> Option<Seat> {
        roster.seat(1, newcomer(connection), fd.as_fd())
    }

    #[test]
    fn places_are_used_again_and_run_out() {
        let (fd, roster) = Roster::create().unwrap();
        let first = seat(roster, 1, &fd).unwrap();
        let second = seat(roster, 2, &fd).unwrap();
        let listed = |roster: &Roster| roster.entries().map(|entry| entry.connection).collect::<Vec<_>>();
        assert_eq!(listed(roster), [1, 2]);
        drop(first);
        assert_eq!(listed(roster), [2]);
        let third = seat(roster, 3, &fd).unwrap();
        assert_eq!(listed(roster), [3, 2], "in the place that was given back");
        let rest: Vec<Seat> = (2..MOST as u64).map(|n| seat(roster, n, &fd).unwrap()).collect();
        assert!(seat(roster, 0, &fd).is_none());
        drop((second, third, rest));
        assert_eq!(listed(roster), []);
        assert!(seat(roster, 0, &fd).is_some());
    }

    #[test]
    fn threads_never_share_a_place() {
        let (fd, roster) = Roster::create().unwrap();
        let fd = &fd;
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    for n in 0..2_000 {
                        let mine = thread << 32 | n;
                        let seats = [0, 1].map(|_| seat(roster, mine, fd).unwrap());
                        for seat in &seats {
                            assert_eq!(roster.entry(seat.place as usize).unwrap().connection, mine);
                        }
                    }
                });
            }
        });
        assert_eq!(roster.entries().count(), 0);
        assert!(roster.used() <= 8, "places are used again");
    }

    #[test]
    fn a_place_whose_process_is_gone_is_swept_and_one_that_lives_is_kept() {
        let (fd, roster) = Roster::create().unwrap();
        let (dead, live) = (seat(roster, 1, &fd).unwrap(), seat(roster, 2, &fd).unwrap());
        let state = &roster.places[dead.place as usize].state;
        state.store((i32::MAX as u64) << 32 | LIVE, Relaxed);
        let entry = roster.entry(dead.place as usize).unwrap();
        assert!(!roster.cut(&entry, Cut::Terminated), "nobody is there to be told");
        assert_eq!(roster.sweep(|_| ()), 1);
        drop(dead);
        assert_eq!(roster.entries().next().unwrap().connection, 2);
        // A process that was started after he came is another one with the same number.
        roster.places[live.place as usize].came.store(0, Relaxed);
        assert_eq!(roster.sweep(|_| ()), 1);
        assert!(live.leave().is_none());
        assert_eq!(roster.free.load(Relaxed) >> 32, 2, "each was given back once");
    }

    #[test]
    fn a_connection_is_broken_off_under_whoever_waits_for_it() {
        let (_fd, roster) = Roster::create().unwrap();
        begin(roster).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        let seat = Seat::take(newcomer(9), served.as_fd()).unwrap();
        let waits = std::thread::spawn(move || {
            let heard = served.read(&mut [0; 1]);
            (heard.map_err(|error| error.kind()), seat.cut(), seat.leave(), served)
        });
        let entry = roster.entries().find(|entry| entry.connection == 9).unwrap();
        assert!(roster.cut(&entry, Cut::Terminated));
        assert!(!roster.cut(&entry, Cut::Terminated), "once is enough");
        assert!(client.read(&mut [0; 1]).is_err() || client.read(&mut [0; 1]).unwrap() == 0);
        let (heard, seen, left, _served) = waits.join().unwrap();
        assert!(!matches!(heard, Ok(1..)), "{heard:?}");
        assert_eq!((seen, left), (Some(Cut::Terminated), Some(Cut::Terminated)));
    }
}
