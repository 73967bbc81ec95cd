//! [`Engine`]: who accepts, where sessions run, which kernel mechanism waits; [`ENGINES`]: the table; one
//! concurrency model a file in `engine/`. Engines know nothing of services, services nothing of engines.

use crate::admission::Warden;
use crate::bucket::Answers;
use crate::error::Error;
use crate::introduction::Upstreams;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::listener::{Listener, Sharing};
use crate::stop::Stop;
use crate::tally::Counters;
use crate::tls::Server;
use std::sync::Arc;
use switchboard_proto::Recipe;

mod attend;
mod blocking;
mod conversation;
pub(crate) mod epoll;
mod fork;
mod gate;
mod iterative;
mod lobby;
mod poll;
mod pool;
mod porch;
mod prefork;
pub(crate) mod readiness;
mod spin;
mod threads;
pub(crate) mod timers;
mod uring;

/// Serves conversations.
pub trait Engine: Sync {
    /// Serves the site until its [`Stop`] was set and every conversation has ended or was cut.
    ///
    /// # Errors
    /// What keeps the engine from serving at all: no memory, no descriptors, a kernel without the mechanism. What
    /// befalls single connections is never an error of the engine.
    fn serve(&self, site: Site<'_>) -> Result<(), Error>;
}

/// A row of the table: an engine and what can be said of it before it runs.
pub struct EngineRow {
    /// The name users write.
    pub name: &'static str,
    /// One line: how it serves.
    pub summary: &'static str,
    /// Where the model is described, or the manual page of its mechanism.
    pub source: &'static str,
    /// How several workers of this engine share the work.
    pub workers: Workers,
    /// Whether it serves datagrams too.
    pub datagrams: bool,
    /// Whether one worker serves many services at once without one holding up another.
    pub many_services: bool,
    /// Whether it can look for events for a while before it sleeps ([`Limits::busy_poll`]).
    pub spins: bool,
    /// The engine.
    pub engine: &'static dyn Engine,
}

/// What `--workers N` means to an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    /// N processes, each with a listener of its own on the same address (`SO_REUSEPORT`).
    ReusePort,
    /// One process with N children, all accepting on one inherited listener.
    Children,
    /// One process with N threads, all accepting on one listener.
    Threads,
}

impl Workers {
    /// How many there are if nothing was asked for.
    pub fn default_count(self) -> usize {
        match self {
            Workers::ReusePort => 1,
            Workers::Children => 8,
            Workers::Threads => 64,
        }
    }

    /// How the listeners of such a worker are bound.
    pub fn sharing(self, count: usize) -> Sharing {
        if self == Workers::ReusePort && count > 1 { Sharing::ReusePort } else { Sharing::Alone }
    }
}

/// Every engine, from the simplest to the fastest.
pub static ENGINES: &[EngineRow] = &[
    iterative::ENGINE,
    fork::ENGINE,
    prefork::ENGINE,
    threads::ENGINE,
    pool::ENGINE,
    poll::ENGINE,
    epoll::ENGINE,
    uring::ENGINE,
];

impl EngineRow {
    /// The row called `name`.
    pub fn find(name: &str) -> Option<&'static EngineRow> {
        ENGINES.iter().find(|row| row.name == name)
    }
}

/// A listener and what is served there.
pub struct Door {
    /// Where clients come in.
    pub listener: Listener,
    /// What they are served.
    pub recipe: Recipe,
    /// Who decides whether they may come in; none: all may.
    pub warden: Option<Arc<Warden>>,
    /// How TLS is spoken here; none: it is not.
    pub tls: Option<Server>,
    /// Who introduces clients here, before the warden judges them; none: clients come by themselves.
    pub upstreams: Option<Arc<Upstreams>>,
}

/// All that an engine needs: where to accept, what to serve, within which limits, when to stop, whom to tell.
pub struct Site<'a> {
    /// Where clients come in, and what they are served there.
    pub doors: Vec<Door>,
    /// Bounds of everything.
    pub limits: Limits,
    /// Where answers to datagrams are counted; none: by each worker alone.
    pub answers: Option<Answers>,
    /// Children or threads, for the engines that make their own.
    pub workers: usize,
    /// Set when the engine is to drain and return.
    pub stop: &'a Stop,
    /// Where the log goes.
    pub journal: &'a Journal,
    /// Counted as it happens, shared with other processes.
    pub counters: &'a Counters,
    /// Gives connections their numbers: its `accepted` is the last one. The same as `counters`, unless several
    /// sites number their connections together.
    pub numbers: &'a Counters,
    /// The engine's name, for the log.
    pub engine: &'static str,
}

impl<'a> Site<'a> {
    /// A site with one service and default limits.
    pub fn new(
        engine: &'static EngineRow,
        listeners: Vec<Listener>,
        recipe: &Recipe,
        stop: &'a Stop,
        journal: &'a Journal,
        counters: &'a Counters,
    ) -> Site<'a> {
        let door =
            |listener| Door { listener, recipe: recipe.clone(), warden: None, upstreams: None, tls: None };
        Site {
            doors: listeners.into_iter().map(door).collect(),
            limits: Limits::default(),
            answers: None,
            workers: engine.workers.default_count(),
            stop,
            journal,
            counters,
            numbers: counters,
            engine: engine.name,
        }
    }

    /// A child that has ended, or was killed, is counted no more.
    pub(crate) fn release_dead(&self, pid: rustix::process::Pid) {
        if let Some(warden) = self.doors.iter().find_map(|door| door.warden.as_ref()) {
            warden.ledger().release_dead(pid.as_raw_pid());
        }
    }

    /// Counts a connection and returns its number.
    pub(crate) fn number(&self) -> u64 {
        let number = self.numbers.accept();
        if !std::ptr::eq(self.numbers, self.counters) {
            self.counters.accept();
        }
        number
    }
}
