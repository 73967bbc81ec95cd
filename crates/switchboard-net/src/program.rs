//! [`Program`]: a program as a service: what is started for a client, and how; [`serve`]: the worker that does it.

use crate::admission::Warden;
use crate::confine::Confinement;
use crate::error::Error;
use crate::guests::House;
use crate::introduction::Upstreams;
use crate::journal::Journal;
use crate::listener::Listener;
use crate::stop::Stop;
use crate::tally::Counters;
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod arrivals;
mod environment;
mod exchange;
mod handover;
mod keeper;
mod launcher;
mod lines;
mod processes;
mod recovery;
pub mod register;
mod tree;
mod unnamed;
mod worker;

pub use register::{Entry, Register, service_key};

/// What is started for clients. Fully checked: the file exists, identities are numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// The file to execute; absolute.
    pub file: PathBuf,
    /// The argument vector, with `argv[0]`, which need not be the file's name.
    pub arguments: Vec<OsString>,
    /// Which descriptor it gets, and when it is started.
    pub mode: Mode,
    /// Where its standard error goes.
    pub stderr: Stderr,
    /// Its environment.
    pub environment: Environment,
    /// Its working directory; `/` if none is given.
    pub directory: PathBuf,
    /// What becomes of its processes when the client has gone.
    pub when_gone: WhenGone,
    /// From a request to end (SIGTERM to its process group) until it is killed.
    pub grace: Duration,
    /// Identity, limits and confinement.
    pub confinement: Confinement,
}

/// Which descriptor a program gets, and when it is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One process for each connection, with the connection on descriptors 0 and 1 (inetd's `nowait`).
    PerConnection,
    /// The listener itself on descriptor 0 and as `LISTEN_FDS=1` on 3; one process, started when a client
    /// waits, until it ends (inetd's `wait`).
    Listener,
    /// One process for each datagram: the datagram on descriptor 0, what it writes to 1 is sent back as one.
    PerDatagram,
    /// This many processes share the listener; one that ends is started again.
    Pool(u16),
}

/// Where a program's standard error goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stderr {
    /// To the log, each line with the connection's number.
    #[default]
    Log,
    /// To the client, as inetd does it.
    Client,
    /// Nowhere.
    Null,
}

/// What a program finds in its environment, besides what the connection gives.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Environment {
    /// Variables taken over from our own environment.
    pub pass: Vec<OsString>,
    /// Variables with their values; these win.
    pub set: Vec<(OsString, OsString)>,
    /// Also the names of both ends (`TCPREMOTEHOST`, …), forward-confirmed; otherwise only numbers. For programs that
    /// get a connection.
    pub names: bool,
}

/// What becomes of a connection's processes when its client has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenGone {
    /// They go on until they end by themselves.
    #[default]
    Leave,
    /// They are asked to end, and killed after the grace time. A client is gone when his connection is broken or over in
    /// both directions; one who has only finished sending may be waiting for the answer.
    Terminate,
    /// The same, and one who has finished sending is taken for gone unless the program ends by itself within the grace
    /// time. It is then asked to end, and killed after the grace time.
    TerminateAtEnd,
}

/// All that a worker needs to serve one program.
pub struct ProgramSite<'a> {
    /// The service's id.
    pub id: &'a str,
    /// Where clients come in; all for this one program.
    pub listeners: Vec<Listener>,
    /// Where connections come in that another worker has accepted for this service: a Unix sequenced-packet socket on
    /// which [`crate::passing::pass`] sends them.
    pub door: Option<OwnedFd>,
    /// What is started for them.
    pub program: Program,
    /// Who may come in, how many, how fast; none: everybody.
    pub warden: Option<Arc<Warden>>,
    /// Who introduces clients, before the warden judges them; none: they come by themselves.
    pub upstreams: Option<Arc<Upstreams>>,
    /// Processes for connections at once; beyond it clients wait in the listeners' queues.
    pub most: usize,
    /// When asked to stop, processes that serve a connection may go on for this long.
    pub drain_timeout: Duration,
    /// The request to stop. Made patiently, it leaves the programs alone; otherwise they end with the worker.
    pub stop: &'a Stop,
    /// One record per connection, and what programs write to their standard error.
    pub journal: &'a Journal,
    /// Counted as it happens, shared with other processes.
    pub counters: &'a Counters,
    /// Gives connections their numbers: its `accepted` is the last one. May be the same as `counters`.
    pub numbers: &'a Counters,
    /// Where running programs are written down.
    pub register: &'static Register,
    /// To the next worker of this service ([`crate::sys::parcel::pair`]). After a patient request to stop, what still
    /// runs after `drain_timeout` is handed over to it, and programs that serve a listener at once.
    pub heir: Option<OwnedFd>,
    /// From the last worker of this service: the other end of its `heir`.
    pub legacy: Option<OwnedFd>,
}

impl ProgramSite<'_> {
    fn house(&self) -> House<'_> {
        House {
            id: self.id,
            upstreams: self.upstreams.as_deref(),
            warden: self.warden.as_deref(),
            journal: self.journal,
            counters: self.counters,
        }
    }

    /// Counts a connection and returns its number.
    fn number(&self) -> u64 {
        let number = self.numbers.accept();
        if !std::ptr::eq(self.numbers, self.counters) {
            self.counters.accept();
        }
        number
    }
}

/// Serves a program until asked to stop: accepts, starts, looks after what was started, reaps. Runs in a process of
/// its own, with one thread, which becomes the parent of all orphans below it. Programs that an earlier worker of
/// this service left behind are found in the register and looked after.
///
/// # Errors
/// What keeps it from serving at all: a confinement that cannot be had here, no memory, no descriptors.
pub fn serve(site: ProgramSite<'_>) -> Result<(), Error> {
    worker::Worker::new(site)?.run()
}
