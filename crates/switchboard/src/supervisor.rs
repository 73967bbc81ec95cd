//! [`Supervisor`]: owns listening sockets and worker processes, carries a [`Plan`] out, and changes it while it runs. It
//! parses no byte that came from a network.
//!
//! A worker is forked, so it inherits exactly its listeners and the checked plan; the supervisor has one thread,
//! which makes that safe. A worker that dies is started again after a pause while its listeners stay open here, so
//! that clients wait in the queue and are not refused. A reload starts workers for what has changed and lets those that
//! served it before finish; an upgrade hands every socket to a new process.

use crate::daemon::Ready;
use crate::exit::Exit;
use crate::plan::{Action, Plan, ServicePlan, secured};
use crate::report::Output;
use rustix::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard_net::admission::Ledger;
use switchboard_net::confine;
use switchboard_net::sys::clock;
use switchboard_net::sys::inherited::Inherited;
use switchboard_net::sys::process::{self, Fork};
use switchboard_net::sys::signal::{Signal, Signals};
use switchboard_net::sys::watchlist::WatchList;
use switchboard_net::{Error, Journal, Listener, Scoreboard, Tally};
use switchboard_proto::Instant;

mod agent;
mod announcing;
mod board;
mod control;
mod cutting;
mod escort;
mod logger;
mod metrics;
mod notify;
mod reload;
mod requests;
mod role;
mod sockets;
mod succession;
mod unit;
mod upgrade;
mod watch;

use board::{Board, Connections, Programs};
use control::Control;
use logger::Logger;
use notify::Notify;
pub(crate) use sockets::Complaint;
use sockets::Sockets;
use succession::{LEDGER, REGISTER, ROSTER};
use unit::{Retired, Unit};
use upgrade::Upgrading;
pub(crate) use upgrade::{Heritage, Origin, is_successor};
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
/// Exit status of a worker whose engine could not serve: starting it again would not help.
const CANNOT_SERVE: i32 = 3;

/// Reads the configuration again; the error is for people.
pub(crate) type Loader = Box<dyn Fn() -> Result<Plan, String>>;

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
    connections: Connections,
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
    pub(crate) tls: bool,
}

impl Offer<'_> {
    /// The address as users write it.
    pub(crate) fn address(&self) -> String {
        secured(&self.listener.local().to_string(), self.tls)
    }
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
        if plan.services.iter().any(|service| service.confinement_of_servers().cgroup.is_some()) {
            confine::settle();
        }
        let sockets = Sockets::default();
        let whole = escort::with_escorts(metrics::with_metrics(&plan)?);
        let opening = sockets.open(&whole, &mut inherited)?;
        for one in &inherited {
            out.talk(format_args!(
                "the socket `{}` that was handed over is not needed and is closed",
                one.name
            ));
        }
        opening.missed.iter().for_each(|missed| out.talk(missed));
        plan.warnings()
            .iter()
            .chain(&logger::unread(&plan.log))
            .for_each(|warning| out.talk(format_args!("warning: {warning}")));
        if opening.seats.iter().all(Vec::is_empty) && !plan.may_be_empty {
            let exit = if opening.unnamed { Exit::Name } else { Exit::Failed };
            return Err((exit, "nothing is served".into()));
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
        let roster = heritage.as_mut().and_then(|heritage| heritage.take(ROSTER));
        let connections = roster.and_then(|file| {
            Connections::open(file).map_err(|error| anew("records of connections", error)).ok()
        });
        let connections = connections.map_or_else(Connections::new, Ok).map_err(failed)?;
        let control = match (&plan.control, heritage.as_mut().and_then(|heritage| heritage.control.take())) {
            (Some(path), Some(fd)) if Control::fits(&fd, path) => {
                Some(Control::adopt(fd, path).map_err(failed)?)
            }
            (Some(path), _) => Some(Control::bind(path).map_err(failed)?),
            (None, _) => None,
        };
        let (logger, journal) =
            Logger::start(&plan.log, &board.scores.log_lines_lost).map_err(|why| (Exit::Failed, why))?;
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
            connections,
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
        supervisor.arrange(plan, &whole, opening, false, &mut notices).map_err(failed)?;
        notices.iter().for_each(|notice| out.talk(notice));
        Ok(supervisor)
    }

    /// What is served, in the order of the plan.
    pub(crate) fn offers(&self) -> impl Iterator<Item = Offer<'_>> {
        self.units.iter().flat_map(Unit::addresses).filter_map(|(service, socket, tls)| {
            Some(Offer { service, listener: self.sockets.listener(socket)?, tls })
        })
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
                        let cut_at = self.cut_retired(now);
                        self.state = State::Draining { cut_at, kill_at };
                    }
                    if now >= kill_at {
                        self.kill_the_late();
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
        let kills = self.programs.terminating.iter().map(|one| one.kill_at);
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
                confine::forget(&self.retired.swap_remove(at).unit);
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
                if unit.services[0].confinement_of_servers().cgroup.is_some() {
                    confine::forget(&name);
                }
                continue;
            }
            if status.exit_status() == Some(CANNOT_SERVE) {
                worker.pid = None;
                unit.failed = true;
                self.board.scores.set_failed(unit.slot, true);
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
            let lost = match self.forget_lost() {
                0 => String::new(),
                n => format!("; its conversations, {n}, have ended with it"),
            };
            self.journal.event(&format!(
                "worker {} ({name}, {by}) {why}; its listeners stay open, and it is started again{lost}",
                pid.as_raw_pid(),
            ));
        }
    }

    /// Asks every worker to drain, and closes the listeners here, so that new clients are refused at once when the
    /// workers have let in those who wait. Returns after how long whatever is left is killed.
    fn drain(&mut self, timeout: Option<Duration>, out: &mut Output) -> Duration {
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
        let (now, late) = (clock::now(), timeout + grace + GRACE);
        self.state = State::Draining { cut_at: now + timeout, kill_at: now + late };
        let tally = self.total();
        let open = tally.open();
        if open > 0 {
            let seconds = timeout.as_secs_f64();
            out.talk(format_args!(
                "draining {open} connection{} for up to {seconds} s; a second Ctrl-C leaves at once",
                if open == 1 { "" } else { "s" }
            ));
        }
        late
    }
}
