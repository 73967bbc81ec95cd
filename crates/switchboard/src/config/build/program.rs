//! A program as a service: the file, its mode, its environment.

use super::super::complaint::{Complaint, plain};
use super::super::source::{At, Span};
use super::super::value::{Goodbye, Mode as ModeWord, StandardError, Words};
use super::action::{FOR_BUILTINS, NOT_FOR_PROGRAMS};
use super::{Draft, absolute, is_program};
use crate::plan::{Action, Place};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard_net::program::{Environment, Mode, Program, Stderr, WhenGone};

/// Variables that programs get if nothing is said.
const PASS: [&str; 2] = ["PATH", "TZ"];
/// From SIGTERM to SIGKILL, if nothing is said.
const GRACE: Duration = Duration::from_secs(5);
/// Where programs are looked for if we have no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Draft<'_> {
    /// What is started for clients.
    pub(super) fn program(&mut self, words: &At<Words>, listen: &[At<Place>]) -> Option<Action> {
        self.useless(FOR_BUILTINS, "it is for `builtin`");
        self.useless(NOT_FOR_PROGRAMS, "a program looks after its conversations itself");
        let all = &self.service.all;
        let mode = self.mode(listen);
        let chroot = all.chroot.as_ref().map(|at| at.value.clone());
        let file = self.executable(words, chroot.as_deref());
        let mut arguments: Vec<OsString> = words.value.0.iter().map(OsString::from).collect();
        if let Some(argv0) = &all.argv0 {
            arguments[0] = argv0.value.clone().into();
        }
        let directory = match &all.directory {
            None => Some(PathBuf::from("/")),
            Some(at) => absolute(at, self.complaints).filter(|path| {
                let seen = inside(chroot.as_deref(), path);
                if !seen.is_dir() {
                    let problem = format!("there is no directory {}", seen.display());
                    self.complaints.push(Complaint::new(problem).at(at.span, ""));
                }
                true
            }),
        };
        let stderr = match all.stderr.as_ref().map(|at| at.value) {
            None | Some(StandardError::Log) => Stderr::Log,
            Some(StandardError::Client) => Stderr::Client,
            Some(StandardError::Null) => Stderr::Null,
        };
        let when_gone = match all.when_gone.as_ref().map(|at| at.value) {
            None | Some(Goodbye::Leave) => WhenGone::Leave,
            Some(Goodbye::Terminate) => WhenGone::Terminate,
            Some(Goodbye::TerminateAtEnd) => WhenGone::TerminateAtEnd,
        };
        let environment = self.environment();
        if environment.names && mode.is_some_and(|mode| mode != Mode::PerConnection) {
            let span = all.resolve_names.as_ref().and_then(|at| at.span);
            let complaint =
                Complaint::new("names are looked up for programs that get a connection (`nowait`)");
            self.complain(complaint.at(span, "no client is known when this one is started"));
        }
        let confinement = self.confinement();
        Some(Action::Program(Box::new(Program {
            file: file?,
            arguments,
            mode: mode?,
            stderr,
            environment,
            directory: directory?,
            when_gone,
            grace: all.grace.as_ref().map_or(GRACE, |at| at.value.0),
            confinement,
        })))
    }

    fn mode(&mut self, listen: &[At<Place>]) -> Option<Mode> {
        let all = &self.service.all;
        let by_tcpmux = all.tcpmux.as_ref().is_some_and(|at| at.value);
        let packets = listen.iter().find(|at| at.value.endpoint.kind.is_datagram());
        let stream = listen.iter().find(|at| !at.value.endpoint.kind.is_datagram());
        let written = all.mode.as_ref().and_then(|at| at.span);
        let mode = match (&all.pool, all.mode.as_ref().map(|at| at.value)) {
            (Some(pool), None | Some(ModeWord::Wait)) => {
                return self.only_listening(by_tcpmux, pool.span).and(self.workers(pool)).map(Mode::Pool);
            }
            (Some(pool), Some(_)) => {
                let complaint = Complaint::new(
                    "the processes of a pool get the listening socket, so their mode is `wait`",
                );
                self.complain(complaint.at(written, "not this").at(pool.span, "asked for here"));
                return None;
            }
            (None, mode) => mode,
        };
        match (mode, packets, stream) {
            (None, Some(packets), Some(stream)) => {
                let complaint =
                    Complaint::new("the program's mode is not clear: there are streams and datagrams")
                        .at(packets.span, "datagrams")
                        .at(stream.span, "streams")
                        .help("say `mode = \"wait\"`, or make two services of it");
                self.complain(complaint);
                None
            }
            (Some(ModeWord::Nowait), Some(packets), _) => {
                let complaint =
                    Complaint::new("datagrams have no connection that `nowait` could give to a process")
                        .at(packets.span, "these are datagrams")
                        .at(written, "asked for here")
                        .help("use `wait`, or `per-datagram`");
                self.complain(complaint);
                None
            }
            (Some(ModeWord::PerDatagram), _, Some(stream)) => {
                let complaint = Complaint::new("`per-datagram` is for datagrams")
                    .at(written, "asked for here")
                    .at(stream.span, "this is a stream")
                    .help("use `nowait`, or `wait`");
                self.complain(complaint);
                None
            }
            (Some(ModeWord::Wait), ..) => self.only_listening(by_tcpmux, written).map(|()| Mode::Listener),
            (None, Some(_), None) => Some(Mode::Listener),
            (Some(ModeWord::PerDatagram), ..) if by_tcpmux => {
                self.complain(
                    Complaint::new("tcpmux has streams, not datagrams").at(written, "expected `nowait`"),
                );
                None
            }
            (Some(ModeWord::PerDatagram), ..) => Some(Mode::PerDatagram),
            (None | Some(ModeWord::Nowait), ..) => Some(Mode::PerConnection),
        }
    }

    /// A program that gets the listening socket cannot be reached by tcpmux, which has a connection to give.
    fn only_listening(&mut self, by_tcpmux: bool, span: Option<Span>) -> Option<()> {
        if by_tcpmux {
            let complaint =
                Complaint::new("a program that gets the listening socket cannot be offered by tcpmux");
            let tcpmux = self.service.all.tcpmux.as_ref().and_then(|at| at.span);
            self.complain(
                complaint.at(tcpmux, "offered here").at(span, "the listening socket is asked for here"),
            );
        }
        (!by_tcpmux).then_some(())
    }

    /// The file to execute.
    fn executable(&mut self, words: &At<Words>, chroot: Option<&Path>) -> Option<PathBuf> {
        let name = &words.value.0[0];
        let path = Path::new(name);
        let complaint = if path.is_absolute() {
            let seen = inside(chroot, path);
            if is_program(&seen) {
                return Some(path.to_owned());
            }
            let what = match seen.metadata() {
                Err(error) => format!("cannot use {}: {}", seen.display(), plain(&error)),
                Ok(meta) if meta.is_file() => format!("{} is not executable", seen.display()),
                Ok(_) => format!("{} is not a file", seen.display()),
            };
            Complaint::new(what).at(words.span, "expected a program")
        } else if name.contains('/') {
            Complaint::new(format!("`{name}` depends on where this is started"))
                .at(words.span, "expected an absolute path, or a name alone, which is looked up in PATH")
        } else {
            let search = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
            let mut found =
                std::env::split_paths(&search).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
            if let Some(file) = found.find(|file| is_program(&inside(chroot, file))) {
                return Some(file);
            }
            let below = chroot.map_or(String::new(), |root| format!(" below {}", root.display()));
            Complaint::new(format!("there is no program `{name}` in PATH{below}"))
                .at(words.span, "expected a program")
                .help("give its absolute path, or start switchboard with another PATH")
        };
        self.complain(complaint);
        None
    }

    fn environment(&mut self) -> Environment {
        let all = &self.service.all;
        let pass = all.pass_env.as_ref().map(|at| at.value.0.clone());
        let set = all.env.as_ref().map(|at| at.value.0.clone()).unwrap_or_default();
        let given = pass.iter().flatten().chain(set.iter().map(|(name, _)| name));
        for name in given {
            if name.value.is_empty() || name.value.contains('=') {
                let problem = format!("`{}` cannot be the name of a variable", name.value.escape_debug());
                self.complaints.push(Complaint::new(problem).at(name.span, "expected a name without `=`"));
            }
        }
        let pass = pass.map_or_else(
            || PASS.map(OsString::from).to_vec(),
            |pass| pass.into_iter().map(|name| name.value.into()).collect(),
        );
        let set = set.into_iter().map(|(name, value)| (name.value.into(), value.value.into())).collect();
        Environment { pass, set, names: all.resolve_names.as_ref().is_some_and(|at| at.value) }
    }
}

/// A path as it is seen from outside of a root directory.
fn inside(chroot: Option<&Path>, path: &Path) -> PathBuf {
    chroot.map_or_else(|| path.to_owned(), |root| root.join(path.strip_prefix("/").unwrap_or(path)))
}
