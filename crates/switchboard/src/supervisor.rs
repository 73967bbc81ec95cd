//! [`Supervisor`]: owns listening sockets and worker processes, carries a [`Plan`] out, and changes it while it runs. It
//! parses no byte that came from a network.
//!
//! A worker is forked, so it inherits exactly its listeners and the checked plan; the supervisor has one thread,
//! which makes that safe. A worker that dies is started again after a pause while its listeners stay open here, so
//! that clients wait in the queue and are not refused. A reload starts workers for what has changed and lets those that
//! served it before finish; an upgrade hands every socket to a new process.

use crate::control::{ListenerStatus, ProgramStatus, Reply, Request, RetiredStatus, ServiceStatus, Status};
use crate::daemon::Ready;
use crate::exit::Exit;
use crate::plan::{Action, Changes, Plan, ServicePlan};
use crate::report::Output;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Pid;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard_net::admission::{Bound, Ledger, Policy};
use switchboard_net::program::{self, Entry, ProgramSite, Register, service_key};
use switchboard_net::relay::{self, RelaySite};
use switchboard_net::sys::inherited::Inherited;
use switchboard_net::sys::process::{self, Fork};
use switchboard_net::sys::signal::{self, Signal, Signals};
use switchboard_net::sys::watchlist::WatchList;
use switchboard_net::sys::{clock, socket};
use switchboard_net::tcpmux::{self, MuxSite};
use switchboard_net::{
    Counters, Dialing, Error, Journal, Limits, Listener, MAX_SERVICES, Scoreboard, Site, Tally,
};
use switchboard_proto::Instant;

mod control;
mod logger;
mod metrics;
mod notify;
mod sockets;
mod unit;
mod upgrade;
mod watch;

use control::Control;
use logger::Logger;
use notify::Notify;
pub(crate) use sockets::Complaint;
use sockets::{Opening, Sockets};
use unit::{Retired, Unit};
pub(crate) use upgrade::{Heritage, Origin, is_successor};
use upgrade::{Outcome, Upgrading};
use watch::Watch;

/// How serving ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Asked to stop, and drained or cut within the bound.
    Drained,
    /// Asked twice: left at once, by this signal.
    Left(u8),
    /// An engine could not serve at all.
    Broken,
    /// A successor serves.
    Succeeded,
}

/// Time beyond the drain limit before a worker that does not end is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Programs of one service at once, if nothing else is said.
const MOST_PROGRAMS: usize = 1_024;
/// Connections, or senders of datagrams, of one relay at once, if nothing else is said.
const MOST_RELAYED: usize = 4_096;
/// Exit status of a worker whose engine could not serve: starting it again would not help.
const CANNOT_SERVE: i32 = 3;

/// What a successor knows the ledger of admissions by.
const LEDGER: &str = "ledger";
/// What a successor knows by this and the service's id: the socket on which the worker here hands its programs over.
const BEQUEST: &str = "bequest ";
/// What a successor knows the register of running programs by.
const REGISTER: &str = "programs";

/// Reads the configuration again; the error is for people.
pub(crate) type Loader = Box<dyn Fn() -> Result<Plan, String>>;

/// The counters of all services, and which is whose.
struct Board {
    file: OwnedFd,
    scores: &'static Scoreboard,
    /// Names of units by their place; a name stays when its unit goes, and is found again when it comes back.
    slots: Vec<String>,
}

/// The programs that run for clients, written down by the workers.
struct Programs {
    file: OwnedFd,
    register: &'static Register,
    /// Connections that are being terminated, and when the program is killed.
    terminating: Vec<(u64, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Serving,
    /// Still serving, but the end was announced.
    Noticed {
        until: Instant,
        timeout: Option<Duration>,
    },
    Draining {
        /// When those who were retired before are cut, who would take all the time they need.
        cut_at: Instant,
        kill_at: Instant,
    },
}

pub(crate) struct Supervisor {
    plan: Plan,
    loader: Option<Loader>,
    origin: Origin,
    units: Vec<Unit>,
    retired: Vec<Retired>,
    sockets: Sockets,
    ledger: Ledger,
    programs: Programs,
    board: Board,
    journal: Journal,
    logger: Option<Logger>,
    /// Of logs that were changed by a reload.
    old_loggers: Vec<Logger>,
    signals: Signals,
    control: Option<Control>,
    notify: Notify,
    watch: Option<Watch>,
    ready: Option<Ready>,
    upgrading: Option<Upgrading>,
    heritage: Option<Heritage>,
    state: State,
    began: Instant,
    upgrades: u64,
    /// From the predecessor's workers of services, by their ids.
    bequests: Vec<Inherited>,
    handed_over: bool,
    broken: bool,
}

/// An address that is served, for the announcement.
pub(crate) struct Offer<'a> {
    pub(crate) service: &'a ServicePlan,
    pub(crate) listener: &'a Listener,
}

impl Supervisor {
    /// Binds everything that `plan` needs, or nothing. From here on a request to stop is not lost. What could not be
    /// bound and may be missing is told on `out`.
    ///
    /// # Errors
    /// What cannot be bound, or had.
    pub(crate) fn new(
        plan: Plan,
        loader: Option<Loader>,
        inherited: Vec<Inherited>,
        mut heritage: Option<Heritage>,
        out: &mut Output,
    ) -> Result<Supervisor, Complaint> {
        let made = Supervisor::make(plan, loader, inherited, &mut heritage, out);
        if let (Err((_, why)), Some(heritage)) = (&made, &heritage) {
            heritage.refuse(why);
        }
        made.map(|supervisor| Supervisor { heritage, ..supervisor })
    }

    fn make(
        plan: Plan,
        loader: Option<Loader>,
        mut inherited: Vec<Inherited>,
        heritage: &mut Option<Heritage>,
        out: &mut Output,
    ) -> Result<Supervisor, Complaint> {
        let failed = |error: Error| (Exit::Failed, error.to_string());
        let origin = Origin::here();
        let signals = Signals::watch(&[
            Signal::Interrupt,
            Signal::Terminate,
            Signal::Child,
            Signal::Hangup,
            Signal::User1,
            Signal::User2,
        ])
        .map_err(|error| (Exit::Failed, format!("cannot catch signals: {error}")))?;
        process::adopt_orphans();
        if let Some(heritage) = heritage {
            inherited.append(&mut heritage.sockets);
        }
        plan.check_rights().map_err(|problem| (Exit::Config, problem))?;
        let sockets = Sockets::default();
        let opening = sockets.open(&metrics::with_metrics(&plan)?, &mut inherited)?;
        for one in &inherited {
            out.talk(format_args!(
                "the socket `{}` that was handed over is not needed and is closed",
                one.name
            ));
        }
        opening.missed.iter().for_each(|missed| out.talk(missed));
        if opening.seats.iter().all(Vec::is_empty) {
            return Err((Exit::Failed, "nothing is served".into()));
        }
        // Tables of another version than ours are begun anew: an upgrade is not to fail for the sake of counts.
        let mut anew = |what: &str, error: Error| {
            out.talk(format_args!("{what} begin anew, the predecessor's are laid out otherwise: {error}"));
        };
        let slots = heritage.as_mut().map(|heritage| std::mem::take(&mut heritage.slots));
        let file = heritage.as_mut().and_then(|heritage| heritage.board.take());
        let board = file.and_then(|file| match Scoreboard::open(&file) {
            Ok(scores) => Some(Board { file, scores, slots: slots.unwrap_or_default() }),
            Err(error) => {
                anew("counters", error);
                None
            }
        });
        let board = board.map_or_else(Board::new, Ok).map_err(failed)?;
        let ledger = heritage.as_mut().and_then(|heritage| heritage.take(LEDGER));
        let ledger =
            ledger.and_then(|file| Ledger::open(file).map_err(|error| anew("counts of clients", error)).ok());
        let ledger = ledger.map_or_else(Ledger::create, Ok).map_err(failed)?;
        let register = heritage.as_mut().and_then(|heritage| heritage.take(REGISTER));
        let programs = register
            .and_then(|file| Programs::open(file).map_err(|error| anew("records of programs", error)).ok());
        let programs = programs.map_or_else(Programs::new, Ok).map_err(failed)?;
        let control = match (&plan.control, heritage.as_mut().and_then(|heritage| heritage.control.take())) {
            (Some(path), Some(fd)) if Control::fits(&fd, path) => {
                Some(Control::adopt(fd, path).map_err(failed)?)
            }
            (Some(path), _) => Some(Control::bind(path).map_err(failed)?),
            (None, _) => None,
        };
        let (logger, journal) = Logger::start(&plan.log).map_err(|why| (Exit::Failed, why))?;
        let upgrades = heritage.as_ref().map_or(0, |heritage| heritage.upgrades);
        let mut supervisor = Supervisor {
            plan,
            loader,
            origin,
            units: Vec::new(),
            retired: Vec::new(),
            sockets,
            ledger,
            programs,
            board,
            journal,
            logger,
            old_loggers: Vec::new(),
            signals,
            control,
            notify: Notify::from_environment(),
            watch: None,
            ready: None,
            upgrading: None,
            heritage: None,
            state: State::Serving,
            began: clock::now(),
            upgrades,
            bequests: heritage.as_mut().map(Heritage::bequests).unwrap_or_default(),
            handed_over: false,
            broken: false,
        };
        let mut notices = Vec::new();
        let plan = supervisor.plan.clone();
        supervisor.arrange(plan, opening, false, &mut notices).map_err(failed)?;
        notices.iter().for_each(|notice| out.talk(notice));
        Ok(supervisor)
    }

    /// What is served, in the order of the plan.
    pub(crate) fn offers(&self) -> impl Iterator<Item = Offer<'_>> {
        self.units
            .iter()
            .flat_map(Unit::addresses)
            .filter_map(|(service, socket)| Some(Offer { service, listener: self.sockets.listener(socket)? }))
    }

    /// What was counted so far, over all services.
    pub(crate) fn total(&self) -> Tally {
        self.board.scores.total()
    }

    /// Whom to tell when clients are served and the file with the process number is written.
    pub(crate) fn when_ready(&mut self, ready: Option<Ready>) {
        self.ready = ready;
    }

    /// Whether a predecessor waits for this process to serve.
    pub(crate) fn is_successor(&self) -> bool {
        self.heritage.is_some()
    }

    /// Makes `plan` the one in force: units that are the same stay as they are, unless everything is to be `afresh`.
    /// All or nothing: an error changes nothing.
    fn arrange(
        &mut self,
        plan: Plan,
        opening: Opening,
        afresh: bool,
        notices: &mut Vec<String>,
    ) -> Result<(), Error> {
        /// A unit of the plan: one that is there, by its place, or a new one.
        enum Next {
            Stays(usize),
            Comes(Box<Unit>),
        }
        let by_name = |plan: &ServicePlan| plan.tcpmux.then(|| plan.id.clone());
        let offers: Vec<String> = plan.services.iter().filter_map(by_name).collect();
        let offered: Vec<String> =
            self.units.iter().flat_map(|unit| &unit.services).filter_map(by_name).collect();
        let overall = plan.max_connections.map(|most| Bound { most, policy: Policy::Queue });
        let afresh = afresh || plan.max_connections != self.plan.max_connections;
        let mut next: Vec<Next> = Vec::new();
        let whole = metrics::with_metrics(&plan).map_err(|(_, why)| Error::Config(why))?;
        for (services, seats) in Unit::groups(&whole, &opening) {
            let same = |unit: &Unit| {
                let choice = !matches!(unit.services[0].action, Action::Tcpmux) || offers == offered;
                !afresh && !unit.failed && choice && unit.services == services && unit.seats == seats
            };
            next.push(match self.units.iter().position(same) {
                Some(at) => Next::Stays(at),
                None => Next::Comes(Box::new(Unit::new(services, seats, overall, &self.ledger)?)),
            });
        }
        self.plan = plan;
        let mut before: Vec<Option<Unit>> = std::mem::take(&mut self.units).into_iter().map(Some).collect();
        for next in next {
            let mut unit = match next {
                Next::Stays(at) => {
                    self.units.extend(before[at].take());
                    continue;
                }
                Next::Comes(unit) => *unit,
            };
            let name = unit.name();
            unit.slot = self.board.slot(&name);
            let old = before.iter_mut().flatten().find(|old| old.name() == name);
            let (bequest, door) = old.map(|old| (old.bequest.take(), old.door.take())).unwrap_or_default();
            if let Action::Program(_) = unit.services[0].action {
                // What its predecessor, here or in the process before this one, still looks after comes to it.
                unit.legacy = bequest.map(|bequest| bequest.to).or_else(|| self.heritage_of(&name));
            }
            // Whoever chooses by name goes on to find it behind the same door.
            if unit.door.is_some() && door.is_some() {
                unit.door = door;
            }
            self.units.push(unit);
        }
        // The old ones are told before sockets are closed: they let in whoever is in their queues.
        for unit in before.into_iter().flatten() {
            self.retire(unit);
        }
        drop(self.sockets.commit(opening, notices));
        Ok(())
    }

    /// What the predecessor's worker of a service hands over, if this process has a predecessor.
    fn heritage_of(&mut self, service: &str) -> Option<OwnedFd> {
        let at = self.bequests.iter().position(|bequest| bequest.name == service)?;
        Some(self.bequests.swap_remove(at).fd)
    }

    /// Lets a unit finish what it has begun.
    fn retire(&mut self, unit: Unit) {
        unit.stop.set_patiently();
        let name = unit.name();
        let programs = matches!(unit.services[0].action, Action::Program(_));
        let pids = unit.workers.iter().filter_map(|worker| worker.pid);
        self.retired.extend(pids.map(|pid| Retired { pid, unit: name.clone(), programs }));
    }

    /// Starts the workers and keeps them running until asked to stop; then drains.
    ///
    /// # Errors
    /// The first worker cannot be started; a predecessor has given this process up.
    pub(crate) fn run(&mut self, out: &mut Output) -> Result<Ending, Error> {
        if let Err(error) = self.begin() {
            if let Some(heritage) = &self.heritage {
                heritage.refuse(&error.to_string());
            }
            return Err(error);
        }
        if let Some(heritage) = self.heritage.take() {
            heritage.serving();
        }
        self.notify.ready(&self.summary());
        self.ready.take().into_iter().for_each(Ready::tell);
        let ending = self.watch(out)?;
        drop(std::mem::replace(&mut self.journal, Journal::silent()));
        self.logger.take().into_iter().chain(self.old_loggers.drain(..)).for_each(Logger::finish);
        if ending == Ending::Succeeded && process::id().as_raw_pid() == 1 {
            let status = upgrade::stay_as_init(self.board.scores, out);
            process::exit_now(status);
        }
        if !self.handed_over
            && let Some(path) = &self.plan.pid_file
        {
            crate::pid_file::remove(path);
        }
        Ok(ending)
    }

    /// Starts the workers, and says whose process this is.
    fn begin(&mut self) -> Result<(), Error> {
        if let Some(heritage) = &self.heritage {
            heritage.ready()?;
        }
        self.start_due()?;
        let scores = self.board.scores;
        scores.set_supervisor(process::id().as_raw_pid());
        scores.upgrades.store(self.upgrades, Ordering::Relaxed);
        self.watch_files();
        self.write_pid_file()
    }

    /// Watches the files of the plan in force, if that is asked for.
    fn watch_files(&mut self) {
        let watch = self.plan.watch.then(|| Watch::new(&self.plan.files)).transpose();
        self.watch = watch.unwrap_or_else(|errno| {
            self.journal.event(&format!("the configuration's files cannot be watched: {errno}"));
            None
        });
    }

    fn write_pid_file(&self) -> Result<(), Error> {
        let Some(path) = &self.plan.pid_file else { return Ok(()) };
        crate::pid_file::write(path).map_err(|error| {
            Error::Config(format!("cannot write the process number to {}: {error}", path.display()))
        })
    }

    fn summary(&self) -> String {
        let services = self.plan.services.len();
        format!("{services} service{}", if services == 1 { "" } else { "s" })
    }

    fn watch(&mut self, out: &mut Output) -> Result<Ending, Error> {
        let mut list = WatchList::default();
        loop {
            let now = clock::now();
            match self.state {
                State::Serving => self.start_due()?,
                State::Noticed { until, timeout } if now >= until => {
                    self.drain(timeout, out);
                    continue;
                }
                State::Noticed { .. } => self.start_due()?,
                State::Draining { cut_at, kill_at } => {
                    if self.is_empty() {
                        return Ok(self.ending());
                    }
                    if now >= cut_at {
                        self.cut_retired();
                        self.state = State::Draining { cut_at: Instant::NEVER, kill_at };
                    }
                    if now >= kill_at {
                        self.kill();
                        self.state = State::Draining { cut_at: Instant::NEVER, kill_at: now + GRACE };
                    }
                }
            }
            if self.broken && !matches!(self.state, State::Draining { .. }) {
                self.drain(None, out);
                continue;
            }
            let until = self.until();
            list.clear();
            list.push(self.signals.as_fd(), true, false);
            if let Some((fd, room)) = self.upgrading.as_ref().and_then(Upgrading::watch) {
                list.push(fd, true, room);
            }
            if let Some(watch) = &self.watch {
                list.push(watch.as_fd(), true, false);
            }
            for (fd, read, write) in self.control.iter().flat_map(Control::watch) {
                list.push(fd, read, write);
            }
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            // An interrupted wait is the signal that the next lines look at.
            let _ = list.wait(timeout);
            self.notify.alive();
            for signal in self.signals.take() {
                match signal {
                    Signal::Child => self.collect(),
                    Signal::Hangup => drop(self.reload()),
                    Signal::User1 => {
                        self.logger.iter().chain(&self.old_loggers).for_each(Logger::reopen);
                    }
                    Signal::User2 => drop(self.upgrade(None)),
                    Signal::Interrupt | Signal::Terminate => {
                        if matches!(self.state, State::Draining { .. }) {
                            self.kill();
                            return Ok(Ending::Left(signal as i32 as u8));
                        }
                        self.drain(None, out);
                    }
                }
            }
            self.serve_control(out);
            self.kill_terminated();
            if self.watch.as_mut().is_some_and(Watch::advance) && self.state == State::Serving {
                self.reload_if_changed();
            }
            self.look_at_successor(out);
        }
    }

    /// When to look again if nothing happens.
    fn until(&self) -> Instant {
        let mut until = match self.state {
            State::Serving => Instant::NEVER,
            State::Noticed { until, .. } => until,
            State::Draining { cut_at, kill_at } => cut_at.min(kill_at),
        };
        if !matches!(self.state, State::Draining { .. }) {
            let waiting = self.units.iter().filter(|unit| !unit.failed).flat_map(|unit| &unit.workers);
            let starts = waiting.filter(|worker| worker.pid.is_none()).map(|worker| worker.start_at);
            until = until.min(starts.min().unwrap_or(Instant::NEVER));
        }
        let kills = self.programs.terminating.iter().map(|(_, kill_at)| *kill_at);
        until = until.min(kills.min().unwrap_or(Instant::NEVER));
        until = until.min(self.watch.as_ref().map_or(Instant::NEVER, Watch::due));
        until = until.min(self.upgrading.as_ref().map_or(Instant::NEVER, Upgrading::until));
        until = until.min(self.control.as_ref().map_or(Instant::NEVER, Control::until));
        until.min(self.notify.due()).min(self.loggers_due())
    }

    fn loggers_due(&self) -> Instant {
        let due = self.logger.iter().chain(&self.old_loggers).map(Logger::due);
        due.min().unwrap_or(Instant::NEVER)
    }

    fn is_empty(&self) -> bool {
        self.retired.is_empty()
            && self.units.iter().flat_map(|unit| &unit.workers).all(|worker| worker.pid.is_none())
    }

    fn ending(&self) -> Ending {
        match (self.broken, self.handed_over) {
            (true, _) => Ending::Broken,
            (_, true) => Ending::Succeeded,
            _ => Ending::Drained,
        }
    }

    fn start_due(&mut self) -> Result<(), Error> {
        let now = clock::now();
        self.logger.iter_mut().chain(&mut self.old_loggers).for_each(|logger| logger.start_due(now));
        for unit in 0..self.units.len() {
            for worker in 0..self.units[unit].workers.len() {
                let place = &self.units[unit].workers[worker];
                if self.units[unit].failed || place.pid.is_some() || place.start_at > now {
                    continue;
                }
                let parent = process::id();
                match process::fork() {
                    Ok(Fork::Child) => self.become_worker(unit, worker, parent),
                    Ok(Fork::Parent(pid)) => self.units[unit].workers[worker].begin(pid, now),
                    Err(source) => {
                        let alone =
                            self.units.iter().flat_map(|unit| &unit.workers).all(|one| one.pid.is_none());
                        let worker = &mut self.units[unit].workers[worker];
                        let first = alone && worker.start_at == Instant::default();
                        let error = Error::System { what: "start a worker".into(), source, hint: None };
                        if first {
                            return Err(error);
                        }
                        worker.put_off(now);
                        self.journal.event(&error.to_string());
                    }
                }
            }
        }
        Ok(())
    }

    /// The rest of a forked child's life.
    fn become_worker(&mut self, unit: usize, worker: usize, parent: Pid) -> ! {
        process::die_with(parent);
        // Ctrl-C goes to the whole group, and service managers signal every process: only the supervisor acts.
        let quiet = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::User2];
        let quiet = quiet.into_iter().chain([Signal::User1]).map(signal::ignore).all(|done| done.is_ok());
        debug_assert!(quiet, "ignoring a signal cannot fail");
        let _ = signal::reset(Signal::Child);
        self.signals.close_in_child();
        // What the others serve, and the supervisor's own affairs, are not this one's business.
        let reserved_ports = unit::own_ports(&self.units, &self.sockets);
        let mut sockets = std::mem::take(&mut self.sockets);
        let services = self.units.iter().map(|unit| (unit.name(), unit.slot)).collect();
        let unit = self.units.swap_remove(unit);
        let (listeners, doors) = match unit.services[0].action {
            Action::Builtin { .. } => (Vec::new(), unit.doors(worker, &mut sockets)),
            _ => (unit.listeners(worker, &mut sockets), Vec::new()),
        };
        let mut doors = doors;
        if unit.services[0].id == metrics::ID {
            let (scores, register) = (Some(self.board.scores), Some(self.programs.register));
            let recipe = metrics::recipe(metrics::Numbers { scores, register, services });
            doors.iter_mut().for_each(|door| door.recipe = recipe.clone());
        }
        let offers = self.offered(&unit);
        drop(self.watch.take());
        drop((sockets, std::mem::take(&mut self.units), self.control.take(), self.upgrading.take()));
        drop(self.heritage.take());
        self.logger.iter_mut().chain(&mut self.old_loggers).for_each(Logger::leave);
        let status = match self.serve(&unit, worker, listeners, doors, offers, reserved_ports) {
            Ok(()) => 0,
            Err(error) => {
                let service = &unit.services[0];
                Output::default().talk(format_args!(
                    "{} {}: {error}",
                    service.action.kind(),
                    service.action.by()
                ));
                CANNOT_SERVE
            }
        };
        process::exit_now(status)
    }

    /// What a worker that chooses by name can choose from.
    fn offered(&self, unit: &Unit) -> Vec<tcpmux::Offer> {
        if !matches!(unit.services[0].action, Action::Tcpmux) {
            return Vec::new();
        }
        let offers = self.units.iter().filter_map(|other| {
            let door = share(&other.door.as_ref()?.outside).ok()?;
            Some(tcpmux::Offer { name: other.services[0].id.clone(), door })
        });
        offers.collect()
    }

    /// Serves, in a worker.
    fn serve(
        &self,
        unit: &Unit,
        worker: usize,
        listeners: Vec<Listener>,
        doors: Vec<switchboard_net::Door>,
        offers: Vec<tcpmux::Offer>,
        reserved_ports: Vec<u16>,
    ) -> Result<(), Error> {
        let service = &unit.services[0];
        let copies = unit.workers.len();
        // Every copy gets its share, the first ones the remainder; none gets nothing.
        let part = |n: usize| (n / copies + usize::from(worker < n % copies)).max(1);
        if let Action::Builtin { .. } | Action::Forward(_) = &service.action {
            service.confinement.apply_to_self(&service.id)?;
        }
        let limits = Limits {
            max_connections: service.limits.max_connections.map(part),
            drain_timeout: self.plan.drain_timeout,
            reserved_ports,
            ..service.limits.clone()
        };
        match &service.action {
            Action::Builtin { engine, workers, .. } => engine.engine.serve(Site {
                doors,
                limits,
                workers: workers.map_or_else(|| engine.workers.default_count(), usize::from),
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
                engine: engine.name,
            }),
            Action::Program(what) => program::serve(ProgramSite {
                id: &service.id,
                listeners,
                door: unit.door.as_ref().map(|door| share(&door.inside)).transpose()?,
                program: (**what).clone(),
                warden: unit.wardens[0].clone(),
                most: limits.max_connections.unwrap_or(MOST_PROGRAMS),
                drain_timeout: limits.drain_timeout,
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
                register: self.programs.register,
                heir: unit.bequest.as_ref().map(|bequest| share(&bequest.from)).transpose()?,
                legacy: unit.legacy.as_ref().map(share).transpose()?,
            }),
            Action::Forward(forward) => relay::serve(RelaySite {
                id: &service.id,
                listeners,
                door: unit.door.as_ref().map(|door| share(&door.inside)).transpose()?,
                to: forward.to.clone(),
                dialing: Dialing {
                    source: forward.source.map(|ip| std::net::SocketAddr::new(ip, 0)),
                    connect_timeout: forward.connect_timeout,
                    ..Dialing::default()
                },
                warden: unit.wardens[0].clone(),
                most: limits.max_connections.unwrap_or(MOST_RELAYED),
                idle_timeout: limits.idle_timeout,
                drain_timeout: limits.drain_timeout,
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
            }),
            Action::Tcpmux => tcpmux::serve(MuxSite {
                id: &service.id,
                listeners,
                offers,
                warden: unit.wardens[0].clone(),
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
            }),
        }
    }

    /// Collects processes that have ended.
    fn collect(&mut self) {
        let now = clock::now();
        let draining = matches!(self.state, State::Draining { .. });
        while let Some((pid, status)) = process::reap() {
            self.ledger.release_dead(pid.as_raw_pid());
            if let Some(logger) = &mut self.logger
                && logger.collect(pid, now)
            {
                continue;
            }
            if let Some(at) = self.old_loggers.iter_mut().position(|logger| logger.collect(pid, now)) {
                // Nobody writes to it any more.
                if status.exit_status() == Some(0) {
                    self.old_loggers.swap_remove(at);
                }
                continue;
            }
            if let Some(upgrading) = self.upgrading.as_mut().filter(|one| one.pid() == Some(pid)) {
                upgrading.ended(status);
                continue;
            }
            if let Some(at) = self.retired.iter().position(|retired| retired.pid == pid) {
                self.retired.swap_remove(at);
                continue;
            }
            let owner = self.units.iter_mut().find_map(|unit| {
                let at = unit.workers.iter().position(|worker| worker.pid == Some(pid))?;
                Some((unit, at))
            });
            // Others are orphans of programs.
            let Some((unit, at)) = owner else { continue };
            let name = unit.name();
            let by = unit.services[0].action.by();
            let worker = &mut unit.workers[at];
            if draining {
                worker.pid = None;
                continue;
            }
            if status.exit_status() == Some(CANNOT_SERVE) {
                worker.pid = None;
                unit.failed = true;
                self.broken = self.units.iter().all(|unit| unit.failed);
                if !self.broken {
                    self.journal.event(&format!("service {name} ({by}) cannot be served; the others are"));
                }
                continue;
            }
            unit.restarts += 1;
            self.board.of(unit.slot).crash();
            let why = match status.terminating_signal() {
                Some(signal) => format!("was killed by signal {signal}"),
                None => format!("ended with status {}", status.exit_status().unwrap_or_default()),
            };
            worker.put_off(now);
            self.journal.event(&format!(
                "worker {} ({name}, {by}) {why}; its listeners stay open, and it is started again",
                pid.as_raw_pid(),
            ));
        }
    }

    /// Asks every worker to drain, and closes the listeners here, so that new clients are refused at once when the
    /// workers have let in those who wait.
    fn drain(&mut self, timeout: Option<Duration>, out: &mut Output) {
        let timeout = timeout.unwrap_or(self.plan.drain_timeout);
        if !self.handed_over {
            self.notify.stopping();
            // A successor shares the board, and does not drain.
            self.board.scores.set_draining();
        }
        for unit in &self.units {
            match &unit.services[0].action {
                // The successor looks after programs that are running; nobody is cut.
                Action::Program(_) if self.handed_over => unit.stop.set_patiently(),
                _ => unit.stop.set_within(timeout),
            }
        }
        self.sockets.clear(self.handed_over);
        // Programs that ignore SIGTERM, and then their orphans, are killed by their worker after a time of their own.
        let grace = self.units.iter().filter_map(|unit| match &unit.services[0].action {
            Action::Program(program) => Some(program.grace * 2),
            _ => None,
        });
        let grace = grace.max().unwrap_or_default();
        let cut_at = clock::now() + timeout;
        self.state = State::Draining { cut_at, kill_at: cut_at + grace + GRACE };
        let tally = self.total();
        let open = tally.accepted - tally.ended.min(tally.accepted);
        if open > 0 {
            let seconds = timeout.as_secs_f64();
            out.talk(format_args!(
                "draining {open} connection{} for up to {seconds} s; a second Ctrl-C leaves at once",
                if open == 1 { "" } else { "s" }
            ));
        }
    }

    /// Cuts what workers without listeners still do. They were told to take their time, and listen no more: they are
    /// killed, and their programs asked to end. A successor's programs are left alone.
    fn cut_retired(&mut self) {
        let retired: Vec<u64> = self.retired.iter().map(|one| service_key(&one.unit)).collect();
        for one in self.retired.iter().filter(|one| !one.programs) {
            process::kill(one.pid);
        }
        if !self.handed_over {
            let register = self.programs.register;
            let theirs = register.entries().filter(|entry| retired.contains(&entry.service));
            for entry in theirs {
                register.terminate(entry.connection);
            }
        }
    }

    /// Kills whatever is left, programs included, unless a successor looks after them.
    fn kill(&self) {
        self.units.iter().flat_map(|unit| &unit.workers).for_each(unit::Worker::kill);
        self.retired.iter().for_each(|retired| process::kill(retired.pid));
        if !self.handed_over {
            self.programs.register.entries().for_each(|entry| entry.kill());
        }
    }

    /// Reads the configuration again and makes it the one in force; a bad one changes nothing. Returns what was done,
    /// or why not.
    fn reload(&mut self) -> Result<Vec<String>, String> {
        self.notify.reloading();
        let done = self.try_reload();
        if done.is_ok() {
            // Links may lead elsewhere by now.
            self.watch_files();
        }
        match &done {
            Ok(changes) => {
                self.board.scores.reloads.fetch_add(1, Ordering::Relaxed);
                changes.iter().for_each(|change| self.journal.event(&format!("reload: {change}")));
            }
            Err(why) => {
                self.board.scores.reloads_refused.fetch_add(1, Ordering::Relaxed);
                let plain = anstream::adapter::strip_str(why).to_string();
                let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| *line != "|").collect();
                let why = lines.join(" ");
                self.journal.event(&format!("reload refused, nothing was changed: {why}"));
            }
        }
        self.notify.ready(&self.summary());
        done
    }

    /// After something has happened to the files: nothing is done, and said, if they still mean the same.
    fn reload_if_changed(&mut self) {
        let read = self.loader.as_ref().and_then(|load| load().ok());
        let same = read.is_some_and(|plan| {
            let plan = Plan { control: self.plan.control.clone(), ..plan };
            plan.files == self.plan.files && Changes::between(&self.plan, &plan).is_empty()
        });
        if !same {
            drop(self.reload());
        }
    }

    fn try_reload(&mut self) -> Result<Vec<String>, String> {
        if self.state != State::Serving || self.upgrading.is_some() {
            return Err("the server is draining, or being upgraded".into());
        }
        let loader = self.loader.as_ref();
        let loader = loader.ok_or("there is no file to read again: everything was on the command line")?;
        let mut plan = loader()?;
        plan.check_rights()?;
        let changes = Changes::between(&self.plan, &plan).to_string();
        let mut changes: Vec<String> = changes.lines().map(str::to_owned).collect();
        // Clients look for the control socket where it was.
        if plan.control != self.plan.control {
            changes.push("`control` takes effect at the next start".into());
        }
        plan.control.clone_from(&self.plan.control);
        plan.pid_file.clone_from(&self.plan.pid_file);
        let file = |plan: &Plan| {
            plan.services.iter().map(|one| (one.id.clone(), one.file.clone())).collect::<Vec<_>>()
        };
        let before = file(&self.plan);
        for (id, file) in file(&plan) {
            if before.iter().any(|(old, before)| *old == id && *before != file) {
                changes.push(format!("{id}: files of its sockets that are there keep mode and owner"));
            }
        }
        self.apply(plan, &mut changes)?;
        Ok(changes)
    }

    /// Makes `plan` the one in force, or changes nothing.
    fn apply(&mut self, plan: Plan, changes: &mut Vec<String>) -> Result<(), String> {
        let whole = metrics::with_metrics(&plan).map_err(|(_, why)| why)?;
        let opening = self.sockets.open(&whole, &mut Vec::new()).map_err(|(_, why)| why)?;
        changes.extend(opening.missed.iter().cloned());
        let log = (plan.log != self.plan.log).then(|| Logger::start(&plan.log)).transpose()?;
        self.arrange(plan, opening, log.is_some(), changes).map_err(|error| error.to_string())?;
        if let Some((logger, journal)) = log {
            // The one before lives until nobody writes to it any more.
            self.old_loggers.extend(std::mem::replace(&mut self.logger, logger));
            self.journal = journal;
        }
        if let Err(error) = self.start_due() {
            changes.push(error.to_string());
        }
        Ok(())
    }
    /// Starts a successor; the answer to whoever asked comes when it serves, or does not.
    fn upgrade(&mut self, client: Option<u64>) -> Result<(), String> {
        let begun = if self.state != State::Serving || self.upgrading.is_some() {
            Err("the server is draining, or being upgraded already".to_owned())
        } else {
            Upgrading::begin(self, client)
        };
        match begun {
            Ok(upgrading) => {
                self.journal.event("upgrade: a successor was started");
                self.upgrading = Some(upgrading);
                Ok(())
            }
            Err(why) => {
                self.journal.event(&why);
                Err(why)
            }
        }
    }

    fn look_at_successor(&mut self, out: &mut Output) {
        let Some(mut upgrading) = self.upgrading.take() else { return };
        let Some(outcome) = upgrading.advance(self) else {
            self.upgrading = Some(upgrading);
            return;
        };
        let client = upgrading.client;
        let (successor, text) = match outcome {
            Outcome::Serving(pid) => (Some(pid), format!("process {pid} serves now; this one drains")),
            Outcome::Failed(why) => (None, why),
        };
        if successor.is_none() {
            // It may have got as far as to say whose process this is.
            self.board.scores.set_supervisor(process::id().as_raw_pid());
            let _ = self.write_pid_file();
        }
        self.journal.event(&format!("upgrade: {text}"));
        if let (Some(client), Some(control)) = (client, &mut self.control) {
            control.answer(client, &Reply { ok: successor.is_some(), text: vec![text], status: None });
        }
        if let Some(pid) = successor {
            self.notify.successor(pid);
            self.handed_over = true;
            if let Some(control) = &mut self.control {
                control.disown();
            }
            self.control = None;
            self.drain(None, out);
        }
    }

    /// Other descriptors that a successor is given, by name.
    fn others(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let descriptors = [(LEDGER, self.ledger.descriptor()), (REGISTER, self.programs.file.as_fd())];
        let bequests = self.units.iter().filter_map(|unit| {
            let bequest = unit.bequest.as_ref()?;
            Some((format!("{BEQUEST}{}", unit.name()), bequest.to.as_fd()))
        });
        descriptors.into_iter().map(|(name, fd)| (name.to_owned(), fd)).chain(bequests)
    }

    fn serve_control(&mut self, out: &mut Output) {
        let asked = self.control.as_mut().map(Control::advance).unwrap_or_default();
        for (client, request) in asked {
            let reply = match request {
                Err(why) => Some(Err(why)),
                Ok(Request::Status) => {
                    let reply = Reply { ok: true, text: Vec::new(), status: Some(self.status()) };
                    self.answer(client, &reply);
                    None
                }
                Ok(Request::Reload) => Some(self.reload()),
                Ok(Request::Upgrade) => self.upgrade(Some(client)).err().map(Err),
                Ok(Request::Drain { notice_ms, timeout_ms }) => {
                    let timeout = timeout_ms.map(Duration::from_millis);
                    self.board.scores.set_draining();
                    let until = clock::now() + Duration::from_millis(notice_ms);
                    match self.state {
                        State::Serving | State::Noticed { .. } => {
                            self.state = State::Noticed { until, timeout };
                            Some(Ok(vec!["draining".into()]))
                        }
                        State::Draining { .. } => Some(Ok(vec!["draining already".into()])),
                    }
                }
                Ok(Request::Stop) => {
                    match self.state {
                        State::Draining { .. } => self.kill(),
                        _ => self.drain(Some(Duration::ZERO), out),
                    }
                    Some(Ok(vec!["stopped".into()]))
                }
                Ok(Request::Terminate { connection }) => Some(self.terminate(&connection)),
            };
            if let Some(reply) = reply {
                let (ok, text) = match reply {
                    Ok(text) => (true, text),
                    Err(why) => (false, vec![why]),
                };
                self.answer(client, &Reply { ok, text, status: None });
            }
        }
    }

    fn answer(&mut self, client: u64, reply: &Reply) {
        if let Some(control) = &mut self.control {
            control.answer(client, reply);
        }
    }

    /// Ends the program that serves a connection: asked first, killed after its grace time.
    fn terminate(&mut self, connection: &str) -> Result<Vec<String>, String> {
        let number = connection.trim_start_matches('#').parse::<u64>().ok();
        let is_meant =
            |entry: &Entry| Some(entry.connection) == number || entry.peer.to_string() == connection;
        let entry = self.programs.register.entries().find(is_meant).ok_or_else(|| {
            format!("no program serves a connection {connection}; `status` shows those that are")
        })?;
        let grace = self.service_of(&entry).and_then(|service| match &service.action {
            Action::Program(program) => Some(program.grace),
            _ => None,
        });
        self.programs.register.terminate(entry.connection);
        self.programs.terminating.push((entry.connection, clock::now() + grace.unwrap_or(GRACE)));
        Ok(vec![format!("process {} was asked to end", entry.pid.as_raw_pid())])
    }

    /// Kills programs that were asked to end and have not.
    fn kill_terminated(&mut self) {
        let now = clock::now();
        let register = self.programs.register;
        self.programs.terminating.retain(|(connection, kill_at)| {
            let entry = register.entries().find(|entry| entry.connection == *connection);
            if now < *kill_at {
                return entry.is_some();
            }
            entry.iter().for_each(Entry::kill);
            false
        });
    }

    /// The service of a running program, if it is still there.
    fn service_of(&self, entry: &Entry) -> Option<&ServicePlan> {
        self.plan.services.iter().find(|service| service_key(&service.id) == entry.service)
    }

    fn status(&self) -> Status {
        let listener = |unit: &Unit| {
            let addresses = unit.addresses().filter_map(|(service, socket)| {
                let listener = self.sockets.listener(socket)?;
                Some(ListenerStatus {
                    service: service.id.clone(),
                    endpoint: listener.local().to_string(),
                    waiting: socket::queue_length(listener).map(|n| n as u64),
                })
            });
            addresses.collect()
        };
        let service = |unit: &Unit| {
            let tally = self.board.of(unit.slot).read();
            ServiceStatus {
                id: unit.name(),
                by: unit.services[0].action.by().into(),
                state: if unit.failed { "failed" } else { "serving" }.into(),
                listeners: listener(unit),
                workers: unit.workers.iter().filter_map(|worker| worker.pid).map(Pid::as_raw_pid).collect(),
                restarts: unit.restarts,
                open: tally.accepted - tally.ended.min(tally.accepted),
                counters: tally.figures().into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
            }
        };
        let program = |entry: Entry| ProgramStatus {
            connection: entry.connection,
            service: self.service_of(&entry).map_or_else(|| "?".to_owned(), |service| service.id.clone()),
            pid: entry.pid.as_raw_pid(),
            peer: entry.peer.to_string(),
            age_s: entry.age.as_secs_f64(),
        };
        let retired = |one: &Retired| RetiredStatus { service: one.unit.clone(), pid: one.pid.as_raw_pid() };
        Status {
            schema: "switchboard-status".into(),
            version: 1,
            program: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            state: match self.state {
                State::Serving => "serving",
                State::Noticed { .. } => "noticed",
                State::Draining { .. } => "draining",
            }
            .into(),
            uptime_s: clock::now().since(self.began).as_secs_f64(),
            reloads: self.board.scores.reloads.load(Ordering::Relaxed),
            reloads_refused: self.board.scores.reloads_refused.load(Ordering::Relaxed),
            upgrades: self.upgrades,
            files: self.plan.files.clone(),
            services: self.units.iter().map(service).collect(),
            programs: self.programs.register.entries().map(program).collect(),
            retired: self.retired.iter().map(retired).collect(),
        }
    }
}

fn share(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    fd.try_clone().map_err(|error| Error::system("share a socket", error))
}

impl Programs {
    fn new() -> Result<Programs, Error> {
        let (file, register) = Register::create()?;
        Ok(Programs { file, register, terminating: Vec::new() })
    }

    fn open(file: OwnedFd) -> Result<Programs, Error> {
        let register = Register::open(&file)?;
        Ok(Programs { file, register, terminating: Vec::new() })
    }
}

impl Board {
    fn new() -> Result<Board, Error> {
        let (file, scores) = Scoreboard::create()?;
        Ok(Board { file, scores, slots: Vec::new() })
    }

    /// The place of the unit called `name`. Beyond the last place, the last one is shared.
    fn slot(&mut self, name: &str) -> usize {
        if let Some(at) = self.slots.iter().position(|slot| slot == name) {
            return at;
        }
        if self.slots.len() < MAX_SERVICES {
            self.slots.push(name.to_owned());
        }
        self.slots.len() - 1
    }

    fn of(&self, slot: usize) -> &'static Counters {
        &self.scores.services[slot]
    }
}
