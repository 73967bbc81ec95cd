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

use super::Supervisor;
use crate::report::Output;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitStatus};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use switchboard_net::sys::inherited::{self, Inherited};
use switchboard_net::sys::signal::{Signal, Signals};
use switchboard_net::sys::watchlist::WatchList;
use switchboard_net::sys::{clock, parcel, process};
use switchboard_net::{Error, Scoreboard};
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
    /// No descriptor: whose the next place on the board is.
    Slot(String),
}

#[derive(Serialize, Deserialize)]
struct Rest {
    upgrades: u64,
}

const VERSION: u32 = 2;
/// SIGKILL.
const KILLED: i32 = 9;

/// An upgrade that is going on.
pub(super) struct Upgrading {
    child: Child,
    socket: OwnedFd,
    until: Instant,
    phase: Phase,
    /// It has closed its socket.
    closed: bool,
    end: Option<WaitStatus>,
    /// Who asked for it over the control socket.
    pub(super) client: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is sent what it needs, from this item on.
    Sending {
        from: usize,
    },
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
        // It names the process that the service manager's watchdog wants to hear of (sd_watchdog_enabled(3)): the
        // successor from now on.
        command.env_remove("WATCHDOG_PID");
        let passed = inherited::pass_on(&theirs, true);
        let child = passed.and_then(|()| command.spawn());
        let child = child.map_err(|error| format!("cannot start {}: {error}", origin.program.display()))?;
        drop(theirs);
        let until = clock::now() + supervisor.plan.upgrade_timeout;
        let phase = Phase::Sending { from: 0 };
        let mut upgrading = Upgrading { child, socket: ours, until, phase, closed: false, end: None, client };
        // A successor that reads nothing must not hold us up.
        let sent = rustix::io::ioctl_fionbio(&upgrading.socket, true);
        match sent.and_then(|()| upgrading.send(supervisor)) {
            // If it has ended already, how will be seen in a moment.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(upgrading),
            Err(errno) => Err(upgrading.fail(&format!("it did not take the sockets: {errno}"))),
        }
    }

    /// Sends as much of what the successor needs as it takes now. Nothing of it can change meanwhile: a reload is
    /// refused during an upgrade.
    fn send(&mut self, supervisor: &Supervisor) -> Result<(), Errno> {
        while let Phase::Sending { from } = self.phase {
            let mut items = items(supervisor).skip(from).peekable();
            let (what, descriptors): (Vec<_>, Vec<_>) = items.by_ref().take(parcel::MOST).unzip();
            let next = from + what.len();
            let rest = items.peek().is_none().then_some(Rest { upgrades: supervisor.upgrades + 1 });
            let last = rest.is_some();
            let bytes = serde_json::to_vec(&Consignment { version: VERSION, what, rest })
                .map_err(|_| Errno::INVAL)?;
            let descriptors: Vec<_> = descriptors.into_iter().flatten().collect();
            match parcel::send(&self.socket, &bytes, &descriptors) {
                Ok(()) if last => self.phase = Phase::Preparing,
                Ok(()) => self.phase = Phase::Sending { from: next },
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// What to watch, and whether for room.
    pub(super) fn watch(&self) -> Option<(BorrowedFd<'_>, bool)> {
        (!self.closed).then(|| (self.socket.as_fd(), matches!(self.phase, Phase::Sending { .. })))
    }

    /// The successor has ended, and was reaped.
    pub(super) fn ended(&mut self, status: WaitStatus) {
        self.end = Some(status);
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Looks at what the successor says; `None` while it is at it.
    pub(super) fn advance(&mut self, supervisor: &Supervisor) -> Option<Outcome> {
        let timeout = supervisor.plan.upgrade_timeout;
        let now = clock::now();
        // If it is gone, what it said before is told below.
        let _ = self.send(supervisor);
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
                Err(Errno::AGAIN) if now >= self.until => {
                    let why = format!("it did not serve within {} s", timeout.as_secs_f64());
                    return Some(Outcome::Failed(self.fail(&why)));
                }
                Err(Errno::AGAIN) => return None,
                // It has ended without reading everything. That is told once, and before what it said.
                Err(Errno::CONNRESET) => {}
                // Its status comes with the next signal.
                Ok(None) => {
                    let Some(end) = self.end else {
                        if !self.closed {
                            self.closed = true;
                            self.pid().into_iter().for_each(process::kill);
                        }
                        return None;
                    };
                    let how = match (end.exit_status(), end.terminating_signal()) {
                        (Some(status), _) => format!("it ended with status {status} before it served"),
                        (_, Some(KILLED)) => "it ended before it served".to_owned(),
                        (_, signal) => format!("signal {} ended it before it served", signal.unwrap_or(0)),
                    };
                    return Some(Outcome::Failed(self.fail(&how)));
                }
                Err(errno) => return Some(Outcome::Failed(self.fail(&errno.to_string()))),
            }
        }
    }

    /// Ends the successor with everything it has started.
    fn fail(&self, why: &str) -> String {
        // Once it was reaped its number may be another's.
        self.pid().filter(|_| self.end.is_none()).into_iter().for_each(process::kill);
        format!("the upgrade failed, the old program goes on: {why}")
    }
}

/// Everything that a successor is sent, in order.
fn items(supervisor: &Supervisor) -> impl Iterator<Item = (Item, Option<BorrowedFd<'_>>)> {
    let sockets = supervisor.sockets.named();
    let sockets = sockets.map(|(name, listener)| (Item::Socket(name.to_owned()), Some(listener.as_fd())));
    let control = supervisor.control.iter().map(|control| (Item::Control, Some(control.listener().as_fd())));
    let others = supervisor.others().map(|(name, fd)| (Item::Other(name), Some(fd)));
    let slots = supervisor.board.slots.iter().map(|slot| (Item::Slot(slot.clone()), None));
    let board = std::iter::once((Item::Board, Some(supervisor.board.file.as_fd())));
    sockets.chain(board).chain(control).chain(others).chain(slots)
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
            let mut descriptors = parcel.descriptors.into_iter();
            let mut next = || descriptors.next().ok_or_else(|| wrong("a descriptor is missing".into()));
            for item in consignment.what {
                match item {
                    Item::Socket(name) => heritage.sockets.push(Inherited { name, fd: next()? }),
                    Item::Board => heritage.board = Some(next()?),
                    Item::Control => heritage.control = Some(next()?),
                    Item::Other(name) => heritage.others.push(Inherited { name, fd: next()? }),
                    Item::Slot(name) => heritage.slots.push(name),
                }
            }
            if let Some(rest) = consignment.rest {
                heritage.upgrades = rest.upgrades;
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
            .partition(|other: &Inherited| other.name.starts_with(super::succession::BEQUEST));
        self.others = others;
        let named = |one: Inherited| Inherited {
            name: one.name[super::succession::BEQUEST.len()..].to_owned(),
            fd: one.fd,
        };
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

/// As process 1 of a container this process cannot end before its successor: it stays as its init, hands signals on to
/// whoever is the supervisor by then, collects orphans, and ends as the last of the supervisors did.
pub(super) fn stay_as_init(scores: &Scoreboard, out: &mut Output) -> i32 {
    let hand_on = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::User1, Signal::User2];
    let Ok(signals) = Signals::watch(&[&hand_on[..], &[Signal::Child]].concat()) else { return 1 };
    let mut list = WatchList::default();
    list.push(signals.as_fd(), true, false);
    out.talk("this was process 1: it stays, and hands signals on to its successor");
    out.flush();
    loop {
        let supervisor = scores.supervisor();
        loop {
            match process::reap_or_idle() {
                process::Reaped::One(pid, status) if Some(pid) == supervisor => {
                    return status
                        .exit_status()
                        .or(status.terminating_signal().map(|n| 128 + n))
                        .unwrap_or(1);
                }
                process::Reaped::One(..) => {}
                process::Reaped::Nobody => break,
                process::Reaped::NoChildren => return 1,
            }
        }
        let _ = list.wait(None);
        for signal in signals.take().filter(|signal| *signal != Signal::Child) {
            // It is below this process, and its number is not another's before it was reaped here.
            supervisor.into_iter().for_each(|pid| process::send(pid, signal));
        }
    }
}
