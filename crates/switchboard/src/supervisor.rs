//! [`Supervisor`]: owns listening sockets and worker processes, and parses no byte that came from a network.
//!
//! A worker is forked, so it inherits exactly its listeners and the checked plan; the supervisor has one thread,
//! which makes that safe. A worker that dies is started again after a pause while its listeners stay open here, so
//! that clients wait in the queue and are not refused.

use crate::report::Output;
use rustix::fd::AsFd;
use rustix::process::Pid;
use std::time::Duration;
use switchboard_net::sys::clock;
use switchboard_net::sys::process::{self, Fork};
use switchboard_net::sys::signal::{self, Signal, Signals};
use switchboard_net::sys::watchlist::WatchList;
use switchboard_net::{Counters, Door, EngineRow, Error, Journal, Limits, Site, Stop};
use switchboard_proto::Instant;

/// What one worker process does.
pub(crate) struct Work {
    /// How it serves.
    pub(crate) engine: &'static EngineRow,
    /// What it serves, and where.
    pub(crate) doors: Vec<Door>,
    /// Children or threads it makes, if its engine makes any.
    pub(crate) tasks: usize,
    /// Its limits.
    pub(crate) limits: Limits,
}

/// How serving ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Asked to stop, and drained or cut within the bound.
    Drained,
    /// Asked twice: left at once, by this signal.
    Left(u8),
    /// An engine could not serve at all.
    Broken,
}

/// Pause before a worker that died is started again; doubled up to the longest while it keeps dying.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A worker that lived this long before it died starts over with the first pause.
const STEADY: Duration = Duration::from_secs(10);
/// Time beyond the drain limit before a worker that does not end is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Exit status of a worker whose engine could not serve: starting it again would not help.
const CANNOT_SERVE: i32 = 3;

struct Worker {
    work: Work,
    pid: Option<Pid>,
    started: Instant,
    pause: Duration,
    start_at: Instant,
}

pub(crate) struct Supervisor {
    workers: Vec<Worker>,
    journal: Journal,
    counters: &'static Counters,
    signals: Signals,
    stop: Stop,
    drain_timeout: Duration,
}

impl Supervisor {
    /// For these workers; `journal` is inherited by all of them. From here on a request to stop is not lost.
    pub(crate) fn new(
        works: Vec<Work>,
        journal: Journal,
        counters: &'static Counters,
    ) -> Result<Supervisor, Error> {
        let drain_timeout = works.iter().map(|work| work.limits.drain_timeout).max().unwrap_or_default();
        let workers = works.into_iter().map(|work| Worker {
            work,
            pid: None,
            started: Instant::default(),
            pause: FIRST_PAUSE,
            start_at: Instant::default(),
        });
        let failed = |source| Error::System { what: "catch signals".into(), source, hint: None };
        let signals =
            Signals::watch(&[Signal::Interrupt, Signal::Terminate, Signal::Child]).map_err(failed)?;
        let stop = Stop::new()?;
        Ok(Supervisor { workers: workers.collect(), journal, counters, signals, stop, drain_timeout })
    }

    /// Starts the workers and keeps them running until asked to stop; then drains.
    pub(crate) fn run(mut self, out: &mut Output) -> Result<Ending, Error> {
        let mut list = WatchList::default();
        list.push(self.signals.as_fd(), true, false);
        let (mut kill_at, mut broken) = (Instant::NEVER, false);
        loop {
            let draining = kill_at != Instant::NEVER;
            if !draining {
                self.start_due()?;
            }
            if draining && self.workers.iter().all(|worker| worker.pid.is_none()) {
                return Ok(if broken { Ending::Broken } else { Ending::Drained });
            }
            let waiting = self.workers.iter().filter(|worker| worker.pid.is_none() && !draining);
            let until = waiting.map(|worker| worker.start_at).min().unwrap_or(Instant::NEVER).min(kill_at);
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            // An interrupted wait is the signal that the next line looks at.
            let _ = list.wait(timeout);
            for signal in self.signals.take() {
                match signal {
                    Signal::Child => broken |= self.collect(draining),
                    Signal::Interrupt | Signal::Terminate if draining => {
                        self.kill();
                        return Ok(Ending::Left(signal as i32 as u8));
                    }
                    Signal::Hangup | Signal::User1 | Signal::User2 => {}
                    Signal::Interrupt | Signal::Terminate => {
                        kill_at = self.drain();
                        self.tell(out);
                    }
                }
            }
            if broken && kill_at == Instant::NEVER {
                kill_at = self.drain();
            }
            if clock::now() >= kill_at {
                self.kill();
                kill_at = clock::now() + GRACE;
            }
        }
    }

    fn tell(&self, out: &mut Output) {
        let tally = self.counters.read();
        let open = tally.accepted - tally.ended.min(tally.accepted);
        if open > 0 {
            let seconds = self.drain_timeout.as_secs_f64();
            out.talk(format_args!(
                "draining {open} connection{} for up to {seconds} s; a second Ctrl-C leaves at once",
                if open == 1 { "" } else { "s" }
            ));
        }
    }

    fn start_due(&mut self) -> Result<(), Error> {
        let now = clock::now();
        for index in 0..self.workers.len() {
            if self.workers[index].pid.is_some() || self.workers[index].start_at > now {
                continue;
            }
            let parent = process::id();
            match process::fork() {
                Ok(Fork::Child) => self.become_worker(index, parent),
                Ok(Fork::Parent(pid)) => {
                    let worker = &mut self.workers[index];
                    (worker.pid, worker.started) = (Some(pid), now);
                }
                Err(source) => {
                    let first = self.workers.iter().all(|worker| worker.pid.is_none());
                    let error = Error::System { what: "start a worker".into(), source, hint: None };
                    if first && now.since(self.workers[index].started) < STEADY {
                        return Err(error);
                    }
                    self.journal.event(&error.to_string());
                    self.workers[index].put_off(now);
                }
            }
        }
        Ok(())
    }

    /// The rest of a forked child's life.
    fn become_worker(&mut self, index: usize, parent: Pid) -> ! {
        process::die_with(parent);
        // Ctrl-C goes to the whole group, and service managers signal every process: only the supervisor acts.
        let quiet = [Signal::Interrupt, Signal::Terminate].map(signal::ignore);
        let _ = signal::reset(Signal::Child);
        self.signals.close_in_child();
        let work = self.workers.swap_remove(index).work;
        // The other workers' listeners are not this one's business.
        self.workers.clear();
        let site = Site {
            doors: work.doors,
            limits: work.limits,
            workers: work.tasks,
            stop: &self.stop,
            journal: &self.journal,
            counters: self.counters,
            numbers: self.counters,
            engine: work.engine.name,
        };
        debug_assert!(quiet.iter().all(Result::is_ok), "ignoring a signal cannot fail");
        let status = match work.engine.engine.serve(site) {
            Ok(()) => 0,
            Err(error) => {
                Output::default().talk(format_args!("engine {}: {error}", work.engine.name));
                CANNOT_SERVE
            }
        };
        process::exit_now(status)
    }

    /// Collects workers that have ended; true if one of them could not serve at all.
    fn collect(&mut self, draining: bool) -> bool {
        let now = clock::now();
        let mut broken = false;
        while let Some((pid, status)) = process::reap() {
            let Some(worker) = self.workers.iter_mut().find(|worker| worker.pid == Some(pid)) else {
                continue;
            };
            worker.pid = None;
            if status.exit_status() == Some(CANNOT_SERVE) {
                broken = true;
            } else if !draining {
                self.counters.crash();
                let why = match status.terminating_signal() {
                    Some(signal) => format!("was killed by signal {signal}"),
                    None => format!("ended with status {}", status.exit_status().unwrap_or_default()),
                };
                if now.since(worker.started) >= STEADY {
                    worker.pause = FIRST_PAUSE;
                }
                worker.put_off(now);
                self.journal.event(&format!(
                    "worker {} ({}) {why}; its listeners stay open, and it is started again",
                    pid.as_raw_pid(),
                    worker.work.engine.name,
                ));
            }
        }
        broken
    }

    /// Asks every worker to drain, and closes the listeners here, so that new clients are refused at once when the
    /// workers have let in those who wait. Returns when to lose patience.
    fn drain(&mut self) -> Instant {
        self.stop.set();
        for worker in &mut self.workers {
            worker.work.doors.clear();
        }
        clock::now() + self.drain_timeout + GRACE
    }

    fn kill(&self) {
        self.workers.iter().filter_map(|worker| worker.pid).for_each(process::kill);
    }
}

impl Worker {
    fn put_off(&mut self, now: Instant) {
        self.start_at = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
