//! [`Program`]: a program as a service: what is started for a client, and how.

use crate::confine::Confinement;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Also the names of both ends (`TCPREMOTEHOST`, …), forward-confirmed; otherwise only numbers.
    pub names: bool,
}

/// What becomes of a connection's processes when its client has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenGone {
    /// They go on until they end by themselves.
    #[default]
    Leave,
    /// They are asked to end, and killed after the grace time.
    Terminate,
}
