//! [`Task`]: what `connect` was asked to do, and doing it: open both ends, let them talk, say what came of it.

use super::door::Door;
use super::end::End;
use super::program::Program;
use super::report::{JoinReport, Report, Totals, exit_for, exit_for_dialling};
use super::witness::Witness;
use crate::exit::Exit;
use crate::report::Output;
use std::fs::File;
use std::io::IsTerminal;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use switchboard_net::dial::{Attempt, Dialing, dial, dial_more};
use switchboard_net::join::{self, Limits, Parting, join};
use switchboard_net::sys::process::{self, Fork};
use switchboard_net::sys::{clock, inherited, signal, socket};
use switchboard_net::talk::{Rules, Ways, talk};
use switchboard_net::{Address, Endpoint, Error, Kind};

/// Input that is kept for --repeat.
const REPEATED_INPUT: u64 = 64 << 20;

/// What is to be done.
pub(super) struct Task {
    pub(super) ends: [End; 2],
    pub(super) dialing: Dialing,
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
    /// Where every byte is shown; `-` is standard error.
    pub(super) hex: Option<PathBuf>,
    pub(super) json: bool,
}

/// An end that is open.
struct Opened {
    name: String,
    what: What,
}

enum What {
    /// Descriptors of this process, perhaps shared with others.
    Local { input: OwnedFd, output: OwnedFd },
    /// A connected socket.
    Socket { fd: OwnedFd, kind: Kind, companions: Vec<OwnedFd>, program: Option<Program> },
}

/// The doors of the ends that listen.
type Doors = [Option<Door>; 2];

impl Task {
    pub(super) fn carry_out(&self, out: &mut Output) -> Exit {
        let mut doors: Doors = [None, None];
        for (door, end) in doors.iter_mut().zip(&self.ends) {
            let End::Listening(endpoint) = end else { continue };
            match Door::open(endpoint, &self.dialing.options) {
                Ok(opened) => *door = Some(opened),
                Err(error) => return failed(&error, out),
            }
        }
        // Only now: whoever reads this may connect to either.
        for address in doors.iter().flatten().flat_map(Door::addresses) {
            if !self.is_silent() {
                out.talk(format_args!("listening on {address}"));
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
                if let Err(error) = door.renew() {
                    return failed(&error, out);
                }
            }
        }
    }

    /// The same conversation several times; the exit code is that of the first that failed.
    fn repeat(&self, out: &mut Output) -> Exit {
        let mut exit = Exit::Ok;
        let mut good = 0;
        let input =
            match self.ends.iter().any(|end| matches!(end, End::Standard)).then(|| self.stored_input()) {
                Some(Err(error)) => return failed(&error, out),
                Some(Ok(input)) => Some(input),
                None => None,
            };
        let mut due = clock::now();
        for _ in 0..self.repeat {
            thread::sleep(due.since(clock::now()));
            due = due + self.every.unwrap_or_default();
            let standard = input.as_ref().map(|input| {
                let again = input.try_clone()?;
                (&again).rewind()?;
                standard_with(again.into())
            });
            let opened = match standard.transpose() {
                Ok(opened) => opened.map(|opened| (self.place_of_standard(), opened)),
                Err(error) => return failed(&Error::system("use the input again", error), out),
            };
            let round = self.converse(opened, &mut [None, None], out);
            good += u64::from(round == Exit::Ok);
            exit = if exit == Exit::Ok { round } else { exit };
        }
        if self.verbose || exit != Exit::Ok {
            out.talk(format_args!("{good} of {} times complete", self.repeat));
        }
        exit
    }

    fn place_of_standard(&self) -> usize {
        usize::from(!matches!(self.ends[0], End::Standard))
    }

    /// Standard input in a file that can be read again.
    fn stored_input(&self) -> Result<File, Error> {
        let failed = |error: io::Error| Error::system("keep the input for --repeat", error);
        let fd = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = File::from(fd.map_err(|errno| failed(errno.into()))?);
        if self.rules.ways != Ways::Receive {
            let most = REPEATED_INPUT + 1;
            let copied = io::copy(&mut io::stdin().lock().take(most), &mut file).map_err(failed)?;
            if copied == most {
                return Err(Error::Config(format!(
                    "--repeat keeps up to {REPEATED_INPUT} bytes of input in memory, and there is more"
                )));
            }
        }
        Ok(file)
    }

    /// Whether only what went wrong is said.
    fn is_silent(&self) -> bool {
        !self.verbose && !std::io::stderr().is_terminal()
    }

    /// The connected socket of the remote end.
    pub(super) fn call(&self, out: &mut Output) -> Result<OwnedFd, Exit> {
        let opened = match &self.ends[0] {
            End::Remote(endpoint) => self.dial(endpoint, out)?,
            _ => return Err(Exit::Usage),
        };
        match opened.what {
            What::Socket { fd, .. } => Ok(fd),
            What::Local { .. } => Err(Exit::Usage),
        }
    }

    /// Sends a request to the remote end: the answer, if everything went well; what did not is said.
    pub(super) fn ask(&self, request: &[u8], out: &mut Output) -> Result<Vec<u8>, Exit> {
        let file =
            |name: &str| rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map(File::from);
        let prepare = || -> io::Result<(File, File)> {
            let (mut input, output) = (file("request")?, file("answer")?);
            input.write_all(request)?;
            input.rewind()?;
            Ok((input, output))
        };
        let wrong = |error: io::Error| Error::system("keep request and answer", error);
        let (input, mut output) = prepare().map_err(|error| failed(&wrong(error), out))?;
        let End::Remote(endpoint) = &self.ends[0] else { return Err(Exit::Usage) };
        let peer = self.dial(endpoint, out)?;
        let kept = output.try_clone().map_err(|error| failed(&wrong(error), out))?;
        match self.talk(peer, &input.into(), &kept.into(), out) {
            Exit::Ok => {}
            exit => return Err(exit),
        }
        let mut answer = Vec::new();
        output
            .rewind()
            .and_then(|()| output.read_to_end(&mut answer))
            .map_err(|error| failed(&wrong(error), out))?;
        Ok(answer)
    }

    /// Waits for a client and leaves him to a process of his own.
    fn fork_off(&self, doors: &mut Doors, out: &mut Output) -> Exit {
        // Their ends are not waited for: each tells of itself.
        let _ = signal::ignore_number(libc::SIGCHLD);
        let first = usize::from(doors[0].is_none());
        let opened = match self.open(first, doors, out) {
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
    fn converse(&self, opened: Option<(usize, Opened)>, doors: &mut Doors, out: &mut Output) -> Exit {
        // Who listens comes first: the other end is not opened for nobody.
        let (first, one) = match opened {
            Some(opened) => opened,
            None => {
                let first = usize::from(doors[0].is_none() && !matches!(self.ends[0], End::Remote(_)));
                match self.open(first, doors, out) {
                    Ok(opened) => (first, opened),
                    Err(exit) => return exit,
                }
            }
        };
        if !self.keep_open && !self.fork {
            // One client is all.
            doors[first] = None;
        }
        let other = match self.open(1 - first, doors, out) {
            Ok(opened) => opened,
            Err(exit) => {
                if let What::Socket { fd, .. } = &one.what {
                    // He must not take nothing for the whole.
                    socket::reset_on_close(fd);
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

    fn open(&self, place: usize, doors: &mut Doors, out: &mut Output) -> Result<Opened, Exit> {
        let end = &self.ends[place];
        let socket = |fd, kind, name| Opened {
            name,
            what: What::Socket { fd, kind, companions: Vec::new(), program: None },
        };
        let opened = match end {
            End::Standard => io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .and_then(standard_with)
                .map_err(|error| Error::system("duplicate standard input and output", error)),
            End::Descriptor(number) => open_descriptor(*number),
            End::Program(words) => Program::start(words).map(|(program, fd)| Opened {
                name: end.to_string(),
                what: What::Socket { fd, kind: Kind::Unix, companions: Vec::new(), program: Some(program) },
            }),
            End::Listening(_) => match &mut doors[place] {
                None => Err(Error::Config(format!("{end} is not open"))),
                Some(door) => {
                    let kind = door.kind();
                    door.wait().map(|(fd, name)| {
                        if self.verbose {
                            out.talk(format_args!("{name} has come"));
                        }
                        socket(fd, kind, name)
                    })
                }
            },
            End::Remote(endpoint) => return self.dial(endpoint, out),
        };
        opened.map_err(|error| failed(&error, out))
    }

    fn dial(&self, endpoint: &Endpoint, out: &mut Output) -> Result<Opened, Exit> {
        let (verbose, silent) = (self.verbose, self.is_silent());
        let how = &self.dialing;
        let dialled = dial(endpoint, how, &mut |attempt| match attempt {
            Attempt::Resolving(_) | Attempt::Waiting(_) if silent => {}
            Attempt::Resolving(name) => out.talk(format_args!("still looking up {name}")),
            Attempt::Waiting(address) => {
                out.talk(format_args!(
                    "still waiting for {address} to answer; it may take {:?}",
                    how.connect_timeout
                ));
            }
            Attempt::Trying(address) if verbose => out.talk(format_args!("trying {address}")),
            Attempt::Failed(failure) if verbose => out.talk(failure),
            Attempt::Outrun { address, after } if verbose => {
                out.talk(format_args!("{address}: lost the race; given up after {after:.1?}"));
            }
            Attempt::Connected { to, from: Some(from) } if verbose => {
                out.talk(format_args!("connected to {to} from {from}"));
            }
            Attempt::Connected { to, from: None } if verbose => out.talk(format_args!("connected to {to}")),
            Attempt::Trying(_) | Attempt::Failed(_) | Attempt::Outrun { .. } | Attempt::Connected { .. } => {}
        });
        let more = self.connections - 1;
        let connected = dialled.and_then(|(socket, address)| {
            let companions = if more == 0 { Vec::new() } else { dial_more(&address, more, how)? };
            Ok((socket, companions, address))
        });
        let (fd, companions, address) = connected.map_err(|error| {
            out.talk(&error);
            exit_for_dialling(&error)
        })?;
        if verbose && more > 0 {
            out.talk(format_args!("{} connections are open", more + 1));
        }
        let kind = address.kind;
        Ok(Opened { name: address.to_string(), what: What::Socket { fd, kind, companions, program: None } })
    }

    /// A socket and descriptors of this process.
    fn talk(&self, peer: Opened, input: &OwnedFd, output: &OwnedFd, out: &mut Output) -> Exit {
        let Opened { name, what: What::Socket { fd, kind, companions, program } } = peer else {
            return Exit::Usage;
        };
        let seen = Witness::new(&name, self.is_silent(), self.hex.as_deref(), input, output, out);
        let mut seen = match seen {
            Ok(seen) => seen,
            Err(error) => return failed(&error, out),
        };
        let told = talk(fd, companions, kind, input.as_fd(), output.as_fd(), &self.rules, &mut seen);
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

    /// Two sockets.
    fn join(&self, one: Opened, other: Opened, out: &mut Output) -> Exit {
        let (first_name, second_name) = (one.name, other.name);
        let (
            What::Socket { fd: first, kind: first_kind, program: first_program, .. },
            What::Socket { fd: second, kind: second_kind, program: second_program, .. },
        ) = (one.what, other.what)
        else {
            return Exit::Usage;
        };
        let Rules { quit_after, idle_timeout, timeout, .. } = self.rules;
        let limits = Limits { quit_after, idle_timeout, timeout };
        let first = join::Side { fd: first, kind: first_kind };
        let second = join::Side { fd: second, kind: second_kind };
        let joined = join(&first, &second, &limits);
        drop((first, second));
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

/// Standard output, and this as its input.
fn standard_with(input: OwnedFd) -> io::Result<Opened> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(Opened { name: "-".into(), what: What::Local { input, output } })
}

/// A descriptor that this process was started with: a connected socket, or anything else that can be read or written.
fn open_descriptor(number: i32) -> Result<Opened, Error> {
    let missing = || {
        Error::Config(format!(
            "descriptor {number} is not open: the shell opens it with `{number}<>FILE`, for example"
        ))
    };
    let fd = inherited::descriptor(number).ok_or_else(missing)?;
    let name = format!("fd:{number}");
    let what = match Address::of_descriptor(&fd) {
        Some(address) => What::Socket { fd, kind: address.kind, companions: Vec::new(), program: None },
        None => {
            let output = fd.try_clone().map_err(|error| Error::system(format!("duplicate {name}"), error))?;
            What::Local { input: fd, output }
        }
    };
    Ok(Opened { name, what })
}

fn failed(error: &Error, out: &mut Output) -> Exit {
    out.talk(error);
    exit_for(error)
}
