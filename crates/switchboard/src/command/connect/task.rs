//! [`Task`]: what `connect` was asked to do, and doing it: open both ends, let them talk, say what came of it.

use super::door::Door;
use super::editor::{History, usual_file};
use super::end::End;
use super::layers::{Layers, Pair};
use super::netcat::Netcat;
use super::opening::{Opened, What};
use super::program::Program;
use super::report::{JoinReport, Report, Totals, exit_for};
use super::witness::Witness;
use crate::exit::Exit;
use crate::plan::secured;
use crate::report::Output;
use rustix::io::Errno;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::Error;
use switchboard_net::dial::Dialing;
use switchboard_net::join::{Limits, Parting, join};
use switchboard_net::sys::process::{self, Fork};
use switchboard_net::sys::{parcel, signal, socket};
use switchboard_net::talk::{Rules, Ways, talk};

/// What is to be done.
pub(super) struct Task {
    pub(super) ends: [End; 2],
    pub(super) dialing: Dialing,
    /// What lies between the remote ends and the conversation.
    pub(super) layers: Layers,
    pub(super) rules: Rules,
    /// The end by silence is a good one if nothing is missing.
    pub(super) silence_is_good: bool,
    /// Connections to open to the remote end.
    pub(super) connections: usize,
    pub(super) keep_open: bool,
    pub(super) fork: bool,
    pub(super) verbose: bool,
    /// Times to do it all.
    pub(super) repeat: usize,
    /// From one beginning to the next.
    pub(super) every: Option<Duration>,
    /// Lines are edited at a terminal.
    pub(super) edits: bool,
    /// Where they are kept; empty: in the usual place.
    pub(super) history: Option<PathBuf>,
    /// Give the socket away instead of talking.
    pub(super) pass_socket: bool,
    /// Where every byte is shown; `-` is standard error.
    pub(super) hex: Option<PathBuf>,
    pub(super) json: bool,
    /// It tells of connections as nc does.
    pub(super) netcat: Option<Netcat>,
}

/// The doors of the ends that listen.
pub(super) type Doors = [Option<Door>; 2];

impl Task {
    pub(super) fn carry_out(&self, out: &mut Output) -> Exit {
        self.warn(out);
        let mut doors: Doors = [None, None];
        for (door, end) in doors.iter_mut().zip(&self.ends) {
            let End::Listening(spot) = end else { continue };
            match Door::open(&spot.endpoint, &self.dialing.options, self.dialing.unconnected) {
                Ok(opened) => *door = Some(opened),
                Err(error) => return failed(&error, out),
            }
        }
        // Only now: whoever reads this may connect to either.
        for (door, end) in doors.iter().zip(&self.ends) {
            for address in door.iter().flat_map(Door::addresses) {
                if let Some(netcat) = &self.netcat {
                    out.aside(netcat.listening(address));
                    continue;
                }
                if self.is_silent() {
                    continue;
                }
                let tls = matches!(end, End::Listening(spot) if spot.tls);
                out.talk(format_args!("listening on {}", secured(&address.to_string(), tls)));
            }
        }
        if self.repeat > 1 {
            return self.repeat(out);
        }
        if !self.keep_open && !self.fork {
            return self.converse(None, &mut doors, out);
        }
        loop {
            // What becomes of one client is said, and is no reason to turn the next one away.
            let exit =
                if self.fork { self.fork_off(&mut doors, out) } else { self.converse(None, &mut doors, out) };
            if exit == Exit::Usage || (self.fork && exit != Exit::Ok) {
                return exit;
            }
            for door in doors.iter_mut().flatten() {
                if let Err(error) = door.renew(self.fork) {
                    return failed(&error, out);
                }
            }
        }
    }

    /// Says what works and is not wise.
    pub(super) fn warn(&self, out: &mut Output) {
        self.layers.warnings().for_each(|warning| out.talk(format_args!("warning: {warning}")));
    }

    /// Whether only what went wrong is said.
    pub(super) fn is_silent(&self) -> bool {
        !self.verbose && !std::io::stderr().is_terminal()
    }

    /// Waits for a client and leaves him to a process of his own.
    fn fork_off(&self, doors: &mut Doors, out: &mut Output) -> Exit {
        // Their ends are not waited for: each tells of itself.
        let _ = signal::ignore_number(libc::SIGCHLD);
        let first = usize::from(doors[0].is_none());
        let opened = match self.open(first, doors, None, out) {
            Ok(opened) => opened,
            Err(exit) => return exit,
        };
        match process::fork() {
            Ok(Fork::Parent(_)) => Exit::Ok,
            Ok(Fork::Child) => {
                let _ = signal::default_action(libc::SIGCHLD);
                let exit = self.converse(Some((first, opened)), doors, out);
                out.flush();
                process::exit_now(i32::from(exit.code()))
            }
            Err(error) => failed(&Error::system("make a process for a client", error), out),
        }
    }

    /// One conversation, from opening what is not open yet to its end.
    pub(super) fn converse(
        &self,
        opened: Option<(usize, Opened)>,
        doors: &mut Doors,
        out: &mut Output,
    ) -> Exit {
        // Who listens comes first: the other end is not opened for nobody.
        let (first, one) = match opened {
            Some(opened) => opened,
            None => {
                let first = usize::from(doors[0].is_none() && !matches!(self.ends[0], End::Remote(_)));
                match self.open(first, doors, None, out) {
                    Ok(opened) => (first, opened),
                    Err(exit) => return exit,
                }
            }
        };
        if !self.keep_open && !self.fork {
            // One client is all.
            let turned_away = doors[first].take().map_or(0, |door| door.waiting());
            if self.verbose && turned_away > 0 {
                out.talk(format_args!(
                    "{turned_away} datagrams of others were not taken: --keep-open is for that"
                ));
            }
        }
        let one = match self.receive(first, one, out) {
            Ok(received) => received,
            Err(exit) => return exit,
        };
        let client = match (&self.ends[first], &one.what) {
            (End::Listening(_), What::Socket { channel, .. }) => Pair::of(channel.as_fd()),
            _ => None,
        };
        let other = self.open(1 - first, doors, client, out);
        let other = match other.and_then(|other| self.receive(1 - first, other, out)) {
            Ok(opened) => opened,
            Err(exit) => {
                if let What::Socket { channel, .. } = &one.what {
                    // He must not take nothing for the whole.
                    socket::reset_on_close(channel);
                }
                return exit;
            }
        };
        if self.fork {
            *doors = [None, None];
        }
        match if first == 0 { [one, other] } else { [other, one] } {
            [Opened { what: What::Local { .. }, .. }, Opened { what: What::Local { .. }, .. }] => {
                out.talk("neither end is a socket or a program, and one must be");
                Exit::Usage
            }
            [Opened { what: What::Local { input, output }, .. }, peer]
            | [peer, Opened { what: What::Local { input, output }, .. }] => {
                self.talk(peer, &input, &output, out)
            }
            [one, other] => self.join(one, other, out),
        }
    }

    /// A socket and descriptors of this process.
    pub(super) fn talk(&self, peer: Opened, input: &OwnedFd, output: &OwnedFd, out: &mut Output) -> Exit {
        let Opened { name, what: What::Socket { channel, companions, program, addressee } } = peer else {
            return Exit::Usage;
        };
        if self.pass_socket {
            return pass(&channel, output, out);
        }
        let seen = Witness::new(&name, self.is_silent(), self.hex.as_deref(), input, output, out);
        let mut seen = match seen {
            Ok(seen) => seen,
            Err(error) => return failed(&error, out),
        };
        let edits = self.edits_at(input, output);
        if edits && let Err(error) = self.history().and_then(|history| seen.edit(output, history)) {
            return failed(&error, out);
        }
        // As without editing: what a terminal gives at once is a line.
        let rules = Rules { by_line: self.rules.by_line || edits, addressee, ..self.rules.clone() };
        let (kind, facts) = (channel.kind(), channel.facts());
        let told = talk(channel, companions, input.as_fd(), output.as_fd(), &rules, &mut seen);
        if let Err(error) = seen.end() {
            return failed(&error, out);
        }
        let exit = match told {
            Ok(outcome) => {
                let report = Report {
                    outcome: &outcome,
                    name: &name,
                    rules: &self.rules,
                    silence_is_good: self.silence_is_good,
                    facts: facts.as_ref(),
                    // A client need not show a certificate, and then he is anybody.
                    verified: facts.as_ref().is_some_and(|facts| facts.peer.is_some())
                        && !self.layers.believes_anybody(),
                };
                if report.is_worth_saying(self.verbose) {
                    out.talk(&report);
                }
                if self.verbose {
                    out.talk(Totals(&outcome, kind));
                }
                if self.json {
                    out.aside(report.json());
                }
                report.exit()
            }
            Err(error) => failed(&error, out),
        };
        self.end_programs([program], exit, out)
    }

    /// Whether these are a terminal at which somebody types.
    fn edits_at(&self, input: &OwnedFd, output: &OwnedFd) -> bool {
        let able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        self.edits && able && self.rules.ways != Ways::Receive && input.is_terminal() && output.is_terminal()
    }

    fn history(&self) -> Result<History, Error> {
        let Some(file) = &self.history else { return Ok(History::default()) };
        let file = if file.as_os_str().is_empty() { usual_file() } else { Some(file.clone()) };
        let file = file.ok_or_else(|| {
            Error::Config("--history: neither XDG_STATE_HOME nor HOME says where; name a file".into())
        })?;
        History::of(file.clone())
            .map_err(|error| Error::system(format!("read the history {}", file.display()), error))
    }

    /// Two sockets.
    fn join(&self, one: Opened, other: Opened, out: &mut Output) -> Exit {
        let (first_name, second_name) = (one.name, other.name);
        let (
            What::Socket { channel: first, program: first_program, .. },
            What::Socket { channel: second, program: second_program, .. },
        ) = (one.what, other.what)
        else {
            return Exit::Usage;
        };
        let Rules { quit_after, idle_timeout, timeout, .. } = self.rules;
        let limits = Limits { quit_after, idle_timeout, timeout };
        let joined = join(first, second, &limits);
        let exit = match joined {
            Ok(joined) => {
                let report = JoinReport { joined: &joined, first: &first_name, second: &second_name };
                if self.verbose || !matches!(joined.end, Parting::Complete) {
                    out.talk(&report);
                }
                if self.json {
                    out.aside(report.json());
                }
                report.exit()
            }
            Err(error) => failed(&error, out),
        };
        self.end_programs([first_program, second_program], exit, out)
    }

    /// A program that fails makes a good end a bad one.
    fn end_programs(
        &self,
        programs: impl IntoIterator<Item = Option<Program>>,
        exit: Exit,
        out: &mut Output,
    ) -> Exit {
        let mut exit = exit;
        for program in programs.into_iter().flatten() {
            match program.end() {
                Ok(said) if self.verbose => out.talk(said),
                Ok(_) => {}
                Err(problem) => {
                    out.talk(problem);
                    exit = if exit == Exit::Ok { Exit::Failed } else { exit };
                }
            }
        }
        exit
    }
}

/// Gives a socket to whoever holds the other end of `output`.
fn pass(fd: &impl AsFd, output: &OwnedFd, out: &mut Output) -> Exit {
    // The byte is any: a descriptor does not travel alone.
    match parcel::send(output, &[0], &[fd.as_fd()]) {
        Ok(()) => Exit::Ok,
        Err(Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::INVAL | Errno::DESTADDRREQ) => {
            out.talk(
                "--pass-socket: standard output is no connected Unix socket, which alone can carry a socket",
            );
            Exit::Output
        }
        Err(errno) => {
            out.talk(format_args!("--pass-socket: {errno}"));
            Exit::Output
        }
    }
}

pub(super) fn failed(error: &Error, out: &mut Output) -> Exit {
    out.talk(error);
    exit_for(error)
}
