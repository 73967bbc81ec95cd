//! [`Counters`]: what was served, counted in memory that forked processes share; [`Tally`]: a reading.

use crate::error::Error;
use crate::roster::Cut;
use crate::sys::shared::{map, shared, shared_file};
use rustix::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use switchboard_proto::{Cause, Connection, End};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Live counters; every process and thread adds to the same ones.
        #[derive(Debug, Default)]
        #[repr(C)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }

        /// A reading of [`Counters`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Tally { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// What was counted so far.
            pub fn read(&self) -> Tally {
                Tally { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl std::ops::AddAssign for Tally {
            fn add_assign(&mut self, other: Tally) {
                $(self.$name += other.$name;)*
            }
        }

        impl Tally {
            /// Every figure with its name.
            pub fn figures(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Connections accepted.
    accepted,
    /// Connections that have ended, in whatever way.
    ended,
    /// Of these: broken by the peer or the network.
    reset,
    /// Of these: ended by the idle limit or the lifetime.
    timed_out,
    /// Of these: cut when draining took too long.
    stopped,
    /// Of these: ended because somebody asked for it.
    terminated,
    /// Of these: refused by the service with a reset.
    refused,
    /// Of these: ended because TLS or a header before the service was not as it must be.
    malformed,
    /// Clients kept out by the rules of access; they were not counted as accepted.
    denied,
    /// Clients sent away because of a limit, or who waited for room in vain; not counted as accepted either.
    limited,
    /// Clients sent away because no proxy introduced them as it should have; not counted as accepted either.
    unintroduced,
    /// Clients who had to wait inside before it was decided about them.
    delayed,
    /// Bytes received on connections.
    bytes_in,
    /// Bytes sent on connections.
    bytes_out,
    /// Accepts that failed for a reason of the connection's own (ECONNABORTED and its like).
    accept_aborted,
    /// Accepts that failed for want of descriptors, memory or processes.
    accept_starved,
    /// Datagrams received.
    datagrams_in,
    /// Datagrams sent.
    datagrams_out,
    /// Datagrams dropped because of where they came from or where they were sent to.
    datagrams_filtered,
    /// Datagrams dropped because no proxy introduced their sender as it should have.
    datagrams_unintroduced,
    /// Datagrams dropped by the rules of access.
    datagrams_denied,
    /// Datagrams dropped by a rate limit.
    datagrams_limited,
    /// Answers that the kernel did not take.
    datagrams_unsent,
    /// Engine's worker processes and children that died.
    crashes,
}

/// What an operator says of one service to those who share work out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announced {
    /// Nothing: it takes what it has room for.
    Serving = 0,
    /// It wants no new connections; those that are there go on.
    Draining = 1,
    /// It wants no connections.
    Maintenance = 2,
}

/// Services that one [`Scoreboard`] has room for.
pub const MAX_SERVICES: usize = 1_024;

/// The counters of many services, in a file of memory that can be handed to a successor.
#[derive(Debug)]
#[repr(C)]
pub struct Scoreboard {
    /// Its `accepted` numbers the connections of all services.
    pub numbers: Counters,
    /// 1 once the end was announced.
    draining: AtomicU64,
    /// Process number of the supervisor that serves.
    supervisor: AtomicU64,
    /// Reloads that were carried out, over all supervisors.
    pub reloads: AtomicU64,
    /// Reloads that were refused.
    pub reloads_refused: AtomicU64,
    /// Upgrades that led to the supervisor that serves.
    pub upgrades: AtomicU64,
    /// Lines of the log that were lost: the disk was full, or the log's reader too slow.
    pub log_lines_lost: AtomicU64,
    /// For each service 1 if it cannot be served.
    failed: [AtomicU64; MAX_SERVICES],
    /// For each service what its operator has announced of it.
    announced: [AtomicU64; MAX_SERVICES],
    /// Each service has its own.
    pub services: [Counters; MAX_SERVICES],
}

impl Scoreboard {
    /// A new one, and the descriptor by which another process can [`open`](Scoreboard::open) it.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub fn create() -> Result<(OwnedFd, &'static Scoreboard), Error> {
        shared_file("counters").map_err(|error| Error::system("map shared memory", error))
    }

    /// The one that another process created.
    ///
    /// # Errors
    /// A descriptor of something else; `ENOMEM`.
    pub fn open(fd: impl AsFd) -> Result<&'static Scoreboard, Error> {
        map(fd).map_err(|error| Error::system("map the counters of the running program", error))
    }

    /// The end is announced, to whoever asks for the server's health.
    pub fn set_draining(&self) {
        self.draining.store(1, Ordering::Relaxed);
    }

    /// Whether the end was announced.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) == 1
    }

    /// Whether the service at this place can be served.
    pub fn set_failed(&self, place: usize, failed: bool) {
        self.failed[place].store(failed.into(), Ordering::Relaxed);
    }

    /// Whether the service at this place cannot be served.
    pub fn has_failed(&self, place: usize) -> bool {
        self.failed[place].load(Ordering::Relaxed) == 1
    }

    /// The operator announces this of the service at this place, to whoever asks how much work is wanted.
    pub fn announce(&self, place: usize, announced: Announced) {
        self.announced[place].store(announced as u64, Ordering::Relaxed);
    }

    /// What was announced of the service at this place.
    pub fn announced(&self, place: usize) -> Announced {
        match self.announced[place].load(Ordering::Relaxed) {
            1 => Announced::Draining,
            2 => Announced::Maintenance,
            _ => Announced::Serving,
        }
    }

    /// This supervisor serves from now on.
    pub fn set_supervisor(&self, pid: i32) {
        self.supervisor.store(u64::from(pid.unsigned_abs()), Ordering::SeqCst);
    }

    /// The supervisor that serves, which may be the successor of whoever asks; as its own namespace numbers it.
    pub fn supervisor(&self) -> Option<rustix::process::Pid> {
        let pid = i32::try_from(self.supervisor.load(Ordering::SeqCst)).ok()?;
        rustix::process::Pid::from_raw(pid)
    }

    /// The sum over all services.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.services.iter().for_each(|service| total += service.read());
        total
    }
}

impl Tally {
    /// Connections that are open. The counts are read one after the other, so that an end may be seen without its
    /// beginning.
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.ended)
    }
}

impl Counters {
    /// Counters that children forked later will share, for the rest of the process's life.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn shared() -> Result<&'static Counters, Error> {
        shared().map_err(|error| Error::system("map shared memory", error))
    }

    /// Adds `n` to one of the counters.
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts a connection and returns its number, unique among all that are counted here.
    pub(crate) fn accept(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a connection that has ended with the process that served it.
    pub fn lose(&self) {
        Counters::add(&self.ended, 1);
    }

    /// Counts a worker process that died.
    pub fn crash(&self) {
        Counters::add(&self.crashes, 1);
    }

    /// A connection has ended: by itself, or broken off from outside.
    pub(crate) fn close(&self, connection: &Connection, cut: Option<Cut>) {
        Counters::add(&self.ended, 1);
        Counters::add(&self.bytes_in, connection.received());
        Counters::add(&self.bytes_out, connection.sent());
        if let Some(cut) = cut {
            return self.cut(cut);
        }
        match connection.end() {
            End::Peer | End::Service => {}
            End::Refused => Counters::add(&self.refused, 1),
            End::Cause(Cause::Idle | Cause::Lifetime) => Counters::add(&self.timed_out, 1),
            End::Cause(Cause::Layer(_)) => Counters::add(&self.malformed, 1),
            End::Reset => Counters::add(&self.reset, 1),
            End::Stopped => Counters::add(&self.stopped, 1),
        }
    }

    /// Of those that ended: one that was broken off from outside.
    pub(crate) fn cut(&self, cut: Cut) {
        let counter = match cut {
            Cut::Terminated => &self.terminated,
            Cut::Stopped => &self.stopped,
        };
        Counters::add(counter, 1);
    }
}
