//! Upgrade: the running server starts the program anew (the file may be another one by now) and hands its sockets over;
//! only when the successor serves does it drain.
//!
//! ```text
//!   predecessor                                   successor
//!   starts it with a socket ───────────────────▶  reads configuration
//!   sockets by name, counters ─────────────────▶  takes over or binds what it needs
//!                              ◀───── "ready" ──  nothing served yet
//!   "go" ──────────────────────────────────────▶  starts its workers
//!                              ◀─── "serving" ──
//!   drains, ends
//! ```
//! Whatever goes wrong before "serving" (it crashes, hangs, refuses the configuration, takes too long) ends the
//! successor, and the predecessor goes on as if nothing had been: it has served all the time.

use super::{Supervisor, sockets::Sockets};
use crate::report::Output;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;
use switchboard_net::Error;
use switchboard_net::sys::inherited::{self, Inherited};
use switchboard_net::sys::{clock, parcel, process};
use switchboard_proto::Instant;

/// Environment variable with the number of the descriptor by which a successor is handed what it needs.
const VARIABLE: &str = "SWITCHBOARD_UPGRADE_FD";

/// How this program was started, so that a successor can be.
pub(crate) struct Origin {
    program: PathBuf,
    /// What it was called: under another name it would be another program.
    zeroth: Option<OsString>,
    arguments: Vec<OsString>,
}

/// Whether this process was started by a server to take over from it.
pub(crate) fn is_successor() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// What a successor is given.
pub(crate) struct Heritage {
    /// Listening sockets, by name.
    pub(super) sockets: Vec<Inherited>,
    /// The counters.
    pub(super) board: Option<OwnedFd>,
    /// The services of the counters, by their places.
    pub(super) slots: Vec<String>,
    /// The control socket.
    pub(super) control: Option<OwnedFd>,
    /// Upgrades so far.
    pub(super) upgrades: u64,
    /// Other descriptors by name: the tables that services share with their successors.
    others: Vec<Inherited>,
    predecessor: OwnedFd,
}

/// One message to a successor: what each of its descriptors is.
#[derive(Serialize, Deserialize)]
struct Consignment {
    /// Version of this exchange.
    version: u32,
    what: Vec<Item>,
    /// Filled in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<Rest>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Item {
    Socket(String),
    Board,
    Control,
    Other(String),
}

#[derive(Serialize, Deserialize)]
struct Rest {
    slots: Vec<String>,
    upgrades: u64,
}

const VERSION: u32 = 1;

/// An upgrade that is going on.
pub(super) struct Upgrading {
    child: Child,
    socket: OwnedFd,
    until: Instant,
    phase: Phase,
    /// Who asked for it over the control socket.
    pub(super) client: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preparing,
    Starting,
}

/// How an upgrade has ended.
pub(super) enum Outcome {
    /// The successor serves.
    Serving(u32),
    /// It does not, and why.
    Failed(String),
}

impl Origin {
    /// Of this process. To be asked at the start: the file may be replaced later, and its path is then looked up
    /// anew.
    pub(crate) fn here() -> Origin {
        let mut arguments = std::env::args_os();
        let zeroth = arguments.next();
        let program = std::env::current_exe().ok().or_else(|| zeroth.clone().map(PathBuf::from));
        Origin {
            program: program.unwrap_or_else(|| "switchboard".into()),
            zeroth,
            arguments: arguments.collect(),
        }
    }
}

impl Upgrading {
    /// Starts the successor and sends it everything.
    pub(super) fn begin(supervisor: &Supervisor, client: Option<u64>) -> Result<Upgrading, String> {
        let (ours, theirs) =
            parcel::pair().map_err(|errno| format!("no socket for the successor: {errno}"))?;
        let origin = &supervisor.origin;
        let mut command = Command::new(&origin.program);
        if let Some(name) = &origin.zeroth {
            command.arg0(name);
        }
        command.args(&origin.arguments).env(VARIABLE, theirs.as_raw_fd().to_string());
        let passed = inherited::pass_on(&theirs, true);
        let child = passed.and_then(|()| command.spawn());
        let child = child.map_err(|error| format!("cannot start {}: {error}", origin.program.display()))?;
        drop(theirs);
        let until = clock::now() + supervisor.plan.upgrade_timeout;
        let upgrading = Upgrading { child, socket: ours, until, phase: Phase::Preparing, client };
        // A successor that reads nothing must not hold us up.
        let sent = rustix::io::ioctl_fionbio(&upgrading.socket, true)
            .and_then(|()| send(&upgrading.socket, supervisor));
        match sent {
            Ok(()) => Ok(upgrading),
            Err(errno) => Err(upgrading.fail(&format!("it did not take the sockets: {errno}"))),
        }
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Looks at what the successor says; `None` while it is at it.
    pub(super) fn advance(&mut self, timeout: Duration) -> Option<Outcome> {
        let now = clock::now();
        loop {
            match parcel::receive(&self.socket) {
                Ok(Some(parcel)) => match (self.phase, parcel.bytes.as_slice()) {
                    (Phase::Preparing, b"ready") => {
                        if parcel::send(&self.socket, b"go", &[]).is_err() {
                            return Some(Outcome::Failed(self.fail("it ended when it was to begin")));
                        }
                        (self.phase, self.until) = (Phase::Starting, now + timeout);
                    }
                    (Phase::Starting, b"serving") => return Some(Outcome::Serving(self.child.id())),
                    (_, why) => {
                        let why = String::from_utf8_lossy(why).into_owned();
                        return Some(Outcome::Failed(self.fail(&why)));
                    }
                },
                Ok(None) => return Some(Outcome::Failed(self.fail("it ended before it served"))),
                Err(rustix::io::Errno::AGAIN) if now >= self.until => {
                    let why = format!("it did not serve within {} s", timeout.as_secs_f64());
                    return Some(Outcome::Failed(self.fail(&why)));
                }
                Err(rustix::io::Errno::AGAIN) => return None,
                Err(errno) => return Some(Outcome::Failed(self.fail(&errno.to_string()))),
            }
        }
    }

    /// Ends the successor with everything it has started.
    fn fail(&self, why: &str) -> String {
        self.pid().into_iter().for_each(process::kill);
        format!("the upgrade failed, the old program goes on: {why}")
    }
}

impl AsFd for Upgrading {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn send(socket: &OwnedFd, supervisor: &Supervisor) -> Result<(), rustix::io::Errno> {
    let mut items: Vec<(Item, BorrowedFd<'_>)> =
        named(&supervisor.sockets).map(|(name, fd)| (Item::Socket(name), fd)).collect();
    items.push((Item::Board, supervisor.board.file.as_fd()));
    if let Some(control) = &supervisor.control {
        items.push((Item::Control, control.listener().as_fd()));
    }
    items.extend(supervisor.others().map(|(name, fd)| (Item::Other(name), fd)));
    let mut items = items.into_iter().peekable();
    loop {
        let (mut what, mut descriptors) = (Vec::new(), Vec::new());
        while descriptors.len() < parcel::MOST
            && let Some((item, fd)) = items.next()
        {
            what.push(item);
            descriptors.push(fd);
        }
        let last = items.peek().is_none();
        let rest =
            last.then(|| Rest { slots: supervisor.board.slots.clone(), upgrades: supervisor.upgrades + 1 });
        let consignment = Consignment { version: VERSION, what, rest };
        let bytes = serde_json::to_vec(&consignment).map_err(|_| rustix::io::Errno::INVAL)?;
        parcel::send(socket, &bytes, &descriptors)?;
        if last {
            return Ok(());
        }
    }
}

fn named(sockets: &Sockets) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
    sockets.named().map(|(name, listener)| (name.to_owned(), listener.as_fd()))
}

impl Heritage {
    /// What a predecessor hands over, if this process was started by one.
    ///
    /// # Errors
    /// A predecessor that hands over nothing that is understood.
    pub(crate) fn receive() -> Result<Option<Heritage>, Error> {
        let Some(predecessor) = inherited::from_variable(VARIABLE) else { return Ok(None) };
        let wrong = |why: String| Error::Config(format!("cannot take over from the running server: {why}"));
        let mut heritage = Heritage {
            sockets: Vec::new(),
            board: None,
            slots: Vec::new(),
            control: None,
            upgrades: 0,
            others: Vec::new(),
            predecessor,
        };
        loop {
            let parcel = parcel::receive(&heritage.predecessor).map_err(|errno| wrong(errno.to_string()))?;
            let parcel = parcel.ok_or_else(|| wrong("it is gone".into()))?;
            let consignment: Consignment =
                serde_json::from_slice(&parcel.bytes).map_err(|error| wrong(error.to_string()))?;
            if consignment.version != VERSION {
                return Err(wrong(format!("it speaks version {} of this exchange", consignment.version)));
            }
            for (item, fd) in consignment.what.into_iter().zip(parcel.descriptors) {
                match item {
                    Item::Socket(name) => heritage.sockets.push(Inherited { name, fd }),
                    Item::Board => heritage.board = Some(fd),
                    Item::Control => heritage.control = Some(fd),
                    Item::Other(name) => heritage.others.push(Inherited { name, fd }),
                }
            }
            if let Some(rest) = consignment.rest {
                (heritage.slots, heritage.upgrades) = (rest.slots, rest.upgrades);
                return Ok(Some(heritage));
            }
        }
    }

    /// One of the other descriptors.
    pub(super) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.others.iter().position(|other| other.name == name)?;
        Some(self.others.swap_remove(at).fd)
    }

    /// What the workers of services hand over, by the services' ids.
    pub(super) fn bequests(&mut self) -> Vec<Inherited> {
        let (bequests, others) = std::mem::take(&mut self.others)
            .into_iter()
            .partition(|other: &Inherited| other.name.starts_with(super::BEQUEST));
        self.others = others;
        let named =
            |one: Inherited| Inherited { name: one.name[super::BEQUEST.len()..].to_owned(), fd: one.fd };
        Vec::into_iter(bequests).map(named).collect()
    }

    /// Everything is there: waits for the word to begin.
    ///
    /// # Errors
    /// The predecessor has given up.
    pub(super) fn ready(&self) -> Result<(), Error> {
        let gone = || Error::Config("the running server has given this upgrade up".into());
        parcel::send(&self.predecessor, b"ready", &[]).map_err(|_| gone())?;
        match parcel::receive(&self.predecessor) {
            Ok(Some(parcel)) if parcel.bytes == b"go" => Ok(()),
            _ => Err(gone()),
        }
    }

    /// The workers were started.
    pub(super) fn serving(self) {
        let _ = parcel::send(&self.predecessor, b"serving", &[]);
    }

    /// Says why there is no successor, if this process was to be one and has not got as far as to receive anything.
    pub(crate) fn refuse_for(why: &str) {
        if let Some(predecessor) = inherited::from_variable(VARIABLE) {
            let _ = parcel::send(&predecessor, why.as_bytes(), &[]);
        }
    }

    /// Says why there is no successor.
    pub(super) fn refuse(&self, why: &str) {
        let _ = parcel::send(&self.predecessor, why.as_bytes(), &[]);
    }
}

/// As process 1 of a container this process cannot end before its successor: it stays as its init, hands signals on,
/// collects orphans, and ends as the last of the supervisors did.
pub(super) fn stay_as_init(out: &mut Output) -> i32 {
    use switchboard_net::sys::signal::{Signal, Signals};
    use switchboard_net::sys::watchlist::WatchList;
    let hand_on = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::User1, Signal::User2];
    let mut watched = vec![Signal::Child];
    watched.extend(hand_on);
    let Ok(signals) = Signals::watch(&watched) else { return 1 };
    let mut list = WatchList::default();
    list.push(signals.as_fd(), true, false);
    out.talk("this was process 1: it stays, and hands signals on to its successor");
    let mut last = 0;
    loop {
        loop {
            match process::reap_or_idle() {
                process::Reaped::One(_, status) => last = status.exit_status().unwrap_or(1),
                process::Reaped::Nobody => break,
                process::Reaped::NoChildren => return last,
            }
        }
        let _ = list.wait(None);
        for signal in signals.take().filter(|signal| *signal != Signal::Child) {
            process::signal_children(signal);
        }
    }
}
