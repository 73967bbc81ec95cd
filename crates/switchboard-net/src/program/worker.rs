//! [`Worker`]: the loop that serves one program. One thread, epoll; it reads no byte of a client's.

use super::exchange::Exchange;
use super::keeper::Keeper;
use super::launcher::Launcher;
use super::lines::{Lines, More};
use super::processes::{Process, Remains};
use super::register::{Owner, service_key};
use super::tree::Orphans;
use super::unnamed::Unnamed;
use super::{Mode, ProgramSite};
use crate::confine::Tree;
use crate::engine::epoll::Waiting;
use crate::engine::readiness::{Event, Interest, Waiter};
use crate::engine::timers::Timers;
use crate::error::Error;
use crate::guests::{Arrival, Guests};
use crate::sys::mmsg::Batch;
use crate::sys::signal::{Signal, Signals};
use crate::sys::{clock, process, spawn};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use switchboard_proto::Instant;

/// What an event is about: the upper byte of its token. The rest is a door's or a process's number.
pub(super) mod tag {
    pub(in crate::program) const STOP: u8 = 1;
    pub(in crate::program) const CHILD: u8 = 2;
    pub(in crate::program) const DOOR: u8 = 3;
    /// A program's standard error.
    pub(in crate::program) const LINES: u8 = 4;
    /// A client who is watched so that his going is noticed.
    pub(in crate::program) const CLIENT: u8 = 5;
    /// A process that is not our child.
    pub(in crate::program) const ADOPTED: u8 = 6;
    /// A program wants its datagram.
    pub(in crate::program) const INPUT: u8 = 7;
    /// A program answers a datagram.
    pub(in crate::program) const OUTPUT: u8 = 8;
    /// Connections that somebody else has accepted.
    pub(in crate::program) const PASSED: u8 = 9;
    /// An earlier worker hands programs over.
    pub(in crate::program) const LEGACY: u8 = 10;
    /// Clients who are introduced.
    pub(in crate::program) const FORECOURT: u8 = 11;
}

pub(super) fn token(tag: u8, number: u64) -> u64 {
    u64::from(tag) << 56 | number
}

pub(super) const READ: Interest = Interest { read: true, write: false };
pub(super) const WRITE: Interest = Interest { read: false, write: true };
/// Errors and hang-ups are always reported: for a client, that both directions are over.
pub(super) const GONE: Interest = Interest { read: false, write: false };

/// Time after which orphans that were killed are looked for again: their children are orphans then.
const ORPHANS: Duration = Duration::from_millis(20);

/// See the module's description.
pub(super) struct Worker<'a> {
    pub(super) site: ProgramSite<'a>,
    pub(super) key: u64,
    pub(super) me: Owner,
    pub(super) launcher: Launcher,
    pub(super) waiting: Waiting,
    pub(super) ended: Signals,
    /// The listening sockets by the number of their door; none once they are shut for good.
    pub(super) doors: Vec<Option<OwnedFd>>,
    /// For programs that serve listeners themselves, one for each door.
    pub(super) keepers: Vec<Keeper>,
    pub(super) guests: Guests,
    pub(super) unnamed: Unnamed,
    pub(super) exchanges: HashMap<u64, Exchange>,
    pub(super) spare: Vec<Batch>,
    pub(super) processes: HashMap<u64, Process>,
    pub(super) pids: HashMap<i32, u64>,
    pub(super) lines: HashMap<u64, Lines>,
    pub(super) remains: Vec<Remains>,
    /// Of programs that have ended, with daemons in them.
    pub(super) trees: VecDeque<Tree>,
    pub(super) timers: Timers,
    /// The number of the process that was started last.
    pub(super) last: u64,
    /// A client for whom there was no process, or no descriptor.
    pub(super) unserved: Option<Arrival>,
    /// Those who were in a queue when the doors were shut for good, the last first.
    pub(super) seated: Vec<Arrival>,
    /// Whether the doors are watched now.
    pub(super) open: bool,
    pub(super) pause: Duration,
    pub(super) starved_until: Option<Instant>,
    /// When what is left is asked to end, once the request to stop was made.
    pub(super) end_at: Option<Instant>,
    /// It was asked to end.
    pub(super) ending: bool,
    pub(super) orphans: Orphans,
    pub(super) now: Instant,
}

impl<'a> Worker<'a> {
    pub(super) fn new(mut site: ProgramSite<'a>) -> Result<Worker<'a>, Error> {
        let failed = |errno: Errno| Error::system("watch the listeners", errno);
        process::raise_descriptor_limit();
        spawn::close_others_on_exec();
        process::adopt_orphans();
        let ended =
            Signals::watch(&[Signal::Child]).map_err(|error| Error::system("watch for children", error))?;
        let launcher = Launcher::new(&site.program, site.id)?;
        let mut waiting = Waiting::new().map_err(failed)?;
        waiting.add(site.stop.as_fd(), token(tag::STOP, 0), READ).map_err(failed)?;
        waiting.add(ended.as_fd(), token(tag::CHILD, 0), READ).map_err(failed)?;
        let doors: Vec<_> = site.listeners.iter_mut().map(crate::listener::Listener::take).collect();
        let keeps = matches!(site.program.mode, Mode::Listener | Mode::Pool(_));
        for door in doors.iter().flatten() {
            // Programs that are handed the socket expect a blocking one. Otherwise it must not be, whatever an earlier
            // owner has made of it.
            rustix::io::ioctl_fionbio(door, !keeps).map_err(failed)?;
        }
        let keepers = site.listeners.iter().filter(|_| keeps).map(|listener| Keeper::new(listener.local()));
        let keepers = keepers.collect();
        for (fd, tag) in [(&site.door, tag::PASSED), (&site.legacy, tag::LEGACY)] {
            let Some(fd) = fd else { continue };
            rustix::io::ioctl_fionbio(fd, true).map_err(failed)?;
            waiting.add(fd.as_fd(), token(tag, 0), READ).map_err(failed)?;
        }
        let guests = Guests::new(site.upstreams.is_some() && site.program.mode == Mode::PerConnection)?;
        if let Some(watched) = guests.watched() {
            waiting.add(watched, token(tag::FORECOURT, 0), READ).map_err(failed)?;
        }
        let unnamed = Unnamed::new(&site)?;
        let mut worker = Worker {
            key: service_key(site.id),
            me: Owner::me(),
            site,
            launcher,
            waiting,
            ended,
            doors,
            keepers,
            guests,
            unnamed,
            exchanges: HashMap::new(),
            spare: Vec::new(),
            processes: HashMap::new(),
            pids: HashMap::new(),
            lines: HashMap::new(),
            remains: Vec::new(),
            trees: VecDeque::new(),
            timers: Timers::default(),
            last: 0,
            unserved: None,
            seated: Vec::new(),
            open: false,
            pause: super::arrivals::FIRST_PAUSE,
            starved_until: None,
            end_at: None,
            ending: false,
            orphans: Orphans::Left,
            now: clock::now(),
        };
        worker.adopt();
        Ok(worker)
    }

    pub(super) fn run(mut self) -> Result<(), Error> {
        let failed = |errno: Errno| Error::system("wait for clients", errno);
        let mut events: Vec<Event> = Vec::new();
        while !self.is_over() {
            self.guests.look(&self.site.house(), self.now);
            self.let_in_named();
            self.retry();
            self.keep();
            self.watch_doors().map_err(failed)?;
            self.site.journal.flush();
            let until = self.wakes_at();
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            events.clear();
            self.waiting.wait(timeout, &mut events).map_err(failed)?;
            self.now = clock::now();
            // The stop comes first: it knows whom to let in, and those who keep coming must not put it off.
            events.sort_by_key(|event| event.token >> 56 != u64::from(tag::STOP));
            for event in &events {
                self.on_event(event);
            }
            while let Some(number) = self.timers.due(self.now) {
                self.on_time(number);
            }
            self.kill_remains();
            if !self.ending && self.end_at.is_some_and(|at| at <= self.now) {
                self.drained();
            }
        }
        self.say_farewell();
        self.launcher.group().into_iter().for_each(|group| group.remove());
        self.site.journal.finish();
        Ok(())
    }

    fn on_event(&mut self, event: &Event) {
        let number = event.token & !(0xff << 56);
        match (event.token >> 56) as u8 {
            tag::STOP => self.stop(),
            tag::CHILD => self.reap(),
            tag::DOOR if self.keeps() => self.somebody_came(number as usize),
            tag::DOOR if self.site.program.mode == Mode::PerDatagram => self.on_datagram(number as usize),
            tag::DOOR => self.on_door(number as usize),
            tag::PASSED => self.on_passed(),
            tag::INPUT => self.feed(number),
            tag::OUTPUT => self.take_answer(number),
            tag::LEGACY => self.inherit(),
            tag::LINES => self.read_lines(number),
            tag::CLIENT => self.client_gone(number, event.broken),
            tag::ADOPTED => self.adopted_ended(number),
            _ => {}
        }
    }

    /// Shuts the doors. Whoever is in a queue has been told by the kernel that he is connected: he is let in, as
    /// soon as there is room.
    fn stop(&mut self) {
        self.waiting.remove(self.site.stop.as_fd(), token(tag::STOP, 0));
        if !self.keeps() && self.site.program.mode == Mode::PerConnection {
            self.take_seats();
        }
        self.unwatch_doors();
        self.unwatch_keepers();
        let patient = self.site.stop.is_patient();
        if self.site.program.mode != Mode::PerDatagram {
            self.doors.iter_mut().for_each(|door| drop(door.take()));
        }
        // A pool ends when it is told, a listener's program may be busy with clients.
        let drained = match self.site.program.mode {
            Mode::Pool(_) => self.now,
            Mode::Listener if patient => self.now,
            _ if patient => self.now + self.site.drain_timeout,
            _ => self.site.stop.cut_at(self.now, self.site.drain_timeout),
        };
        self.end_at = Some(drained);
    }

    /// The time to drain is over. Asked patiently, the programs are left alone: somebody else looks after them.
    fn drained(&mut self) {
        if !self.site.stop.is_patient() {
            return self.end_all();
        }
        // An answer to a datagram leaves from here.
        if self.site.program.mode == Mode::PerDatagram || !self.hand_over() {
            self.end_at = Some(Instant::NEVER);
        }
    }

    /// Whether the request to stop was made.
    pub(super) fn is_stopping(&self) -> bool {
        self.end_at.is_some()
    }

    fn is_over(&mut self) -> bool {
        self.is_stopping()
            && self.processes.is_empty()
            && self.remains.is_empty()
            && self.unserved.is_none()
            && self.seated.is_empty()
            && self.guests.is_empty()
            && self.unnamed.len() == 0
            && self.end_orphans()
    }

    fn wakes_at(&self) -> Instant {
        let retry = match self.starved_until {
            Some(until) if self.unserved.is_some() || !self.is_stopping() => until,
            _ => Instant::NEVER,
        };
        let remains = self.remains.iter().map(|remains| remains.kill_at).min().unwrap_or(Instant::NEVER);
        let orphans = match self.orphans {
            // The time may be over for one who has just become an orphan.
            Orphans::Asked(until) => until.max(self.now + ORPHANS),
            Orphans::Left => Instant::NEVER,
        };
        let end = self.end_at.filter(|_| !self.ending).unwrap_or(Instant::NEVER);
        let guests = self.guests.wakes_at(self.has_room()).min(self.shut_until());
        let guests = guests.min(self.unnamed.wakes_at());
        self.timers.next().min(retry).min(guests).min(self.keeps_at()).min(remains).min(orphans).min(end)
    }

    pub(super) fn read_lines(&mut self, number: u64) {
        let Some(lines) = self.lines.get_mut(&number) else { return };
        if lines.read(self.site.journal, self.site.id, self.now) == More::Never
            && let Some(lines) = self.lines.remove(&number)
        {
            self.waiting.remove(lines.pipe.as_fd(), token(tag::LINES, number));
        }
    }

    fn say_farewell(&mut self) {
        for lines in self.lines.values_mut() {
            lines.read(self.site.journal, self.site.id, self.now);
            lines.finish(self.site.journal, self.site.id, self.now);
        }
    }
}
