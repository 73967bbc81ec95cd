//! [`Player`]: a role that was started, under watch: the program, or an actor of the lab's.

use super::feed::{self, Feed};
use super::stage::Stage;
use super::{Answers, Cast, LINES, PORT, Program};
use crate::actor;
use crate::host::{self, Child, Stream as Pipe};
use crate::record::{Change, What};
use crate::scenario::action::{Action, How, Injection};
use crate::scenario::{Lines, Must};
use crate::watch::{Rule, Settings, Watched, Watcher};
use std::io;
use std::time::{Duration, Instant};
use switchboard_net::SocketOptions;

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(15);
/// How long a client that does nothing wrong waits for its answer, in seconds.
pub(super) const PROBE_S: u32 = 5;

/// A role that was started.
pub(super) struct Player {
    pub(super) role: String,
    pub(super) host: String,
    pub(super) pid: i32,
    /// So many events had been seen when it was started.
    since: usize,
    pub(super) feed: Option<Feed>,
    pub(super) watched: Watched,
    /// Killed when dropped.
    _child: Child,
}

impl Stage<'_> {
    /// Starts servers, waits until they are ready, then starts clients; those that a step starts are left alone.
    /// Returns what did not come about.
    pub(super) fn cast_all(&mut self) -> io::Result<Option<String>> {
        let mut roles: Vec<String> = self.part.actors.keys().cloned().collect();
        roles.extend(self.plan.program.is_some().then(|| self.plan.cast.name().to_owned()));
        let later = |role: &String| {
            self.part.steps.iter().any(|step| matches!(&step.action, Action::Start(name) if name == role))
        };
        roles.retain(|role| !later(role));
        roles.sort_by_key(|role| !role.starts_with("server"));
        let (servers, clients): (Vec<_>, Vec<_>) =
            roles.into_iter().partition(|role| role.starts_with("server"));
        for role in &servers {
            self.start(role)?;
            if !self.is_ready(role) {
                let said = self.last_words(role);
                return Ok(Some(format!("{role} did not get ready{said}")));
            }
        }
        for role in &clients {
            self.start(role)?;
        }
        Ok(None)
    }

    /// Whether a server listens, has bound its datagram socket, has said so, or has ended: then there is nothing to
    /// wait for.
    pub(super) fn is_ready(&self, role: &str) -> bool {
        let pattern =
            self.plan.program.as_ref().filter(|_| self.plays_program(role)).and_then(|p| p.ready.clone());
        let Some(player) = self.players.iter().rev().find(|player| player.role == role) else { return false };
        let (pid, from) = (player.pid, player.since);
        let script = self.part.actors.get(role);
        if script.is_some_and(|script| !script.contains("listen") && !script.contains("bind")) {
            return true;
        }
        let port = self.port();
        let ours = self.plays_program(role);
        let ready = self.log.wait(Instant::now() + READY, |state| {
            let by_role = |pid: i32| state.roles.is(role, pid);
            state.events[from..].iter().find_map(|event| match (&event.what, &pattern) {
                (What::Process(process), _) if process.pid == pid && process.tid == pid => {
                    matches!(process.change, Change::Exited { .. } | Change::Killed { .. })
                        .then_some(ours && self.part.must != Must::Notice)
                }
                (What::Output { bytes, stream: 1 | 2, pid }, Some(pattern)) if by_role(*pid) => {
                    String::from_utf8_lossy(bytes).contains(pattern.as_str()).then_some(false)
                }
                (What::Call(call), None) if !ours && by_role(call.pid) => {
                    let listens = call.name == "listen"
                        || call.name == "bind" && script.is_some_and(|script| !script.contains("listen"));
                    listens.then_some(false)
                }
                (What::Socket(socket), None) if ours => {
                    let here = socket.local.ends_with(&format!(":{port}"));
                    (here && (socket.state == "LISTEN" || socket.protocol == "udp")).then_some(false)
                }
                _ => None,
            })
        });
        ready == Some(false)
    }

    fn last_words(&self, role: &str) -> String {
        let state = self.log.lock();
        let words: String = state
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Output { pid, bytes, .. } if state.roles.is(role, *pid) => {
                    Some(String::from_utf8_lossy(bytes))
                }
                _ => None,
            })
            .collect();
        match words.trim().lines().next_back() {
            Some(line) => format!("; it said: {}", line.escape_debug()),
            None => String::new(),
        }
    }

    pub(super) fn plays_program(&self, role: &str) -> bool {
        self.plan.program.is_some()
            && (role == self.plan.cast.name() || self.part.copies > 1 && role == "server-second")
    }

    pub(super) fn command_of(&self, role: &str) -> Vec<String> {
        match &self.plan.program {
            Some(program) if self.plays_program(role) => {
                let host =
                    if self.part.several { "several".to_owned() } else { self.ground.server_address() };
                program.command(&host, self.port(), &self.part.own)
            }
            _ => vec!["(lab)".to_owned(), role.to_owned()],
        }
    }

    /// Where the server listens.
    fn port(&self) -> u16 {
        self.ground.port(self.part.port.unwrap_or(PORT))
    }

    /// Starts a role under watch.
    pub(super) fn start(&mut self, role: &str) -> io::Result<()> {
        let name = if role.starts_with("client") { "client" } else { "server" };
        let id = self.ground.id(name)?;
        let ours = self.plan.program.as_ref().filter(|_| self.plays_program(role));
        let program = match ours {
            Some(program) => self.as_program(role, program),
            None => self.as_actor(role)?,
        };
        let mut settings = Settings { host: id, rules: self.rules(role)?, ..Settings::default() };
        // A program that waits for its user is seen to.
        settings.stdio = ours.is_some();
        if let Some(program) = ours {
            let mut options = SocketOptions::default();
            for option in &program.with {
                let (name, value) = option.split_once('=').unwrap_or((option, "on"));
                options.set(name, value).map_err(io::Error::other)?;
            }
            settings.options = options;
        }
        let since = self.log.lock().events.len();
        let mut pid = 0;
        let watcher = Watcher::new(settings, self.log.sink());
        let (watched, mut child) = self.ground.spawn(name, watcher, program, |number| {
            pid = number;
            self.log.lock().roles.cast(role, number, id);
        })?;
        for (stream, from) in [(1, child.stdout.take()), (2, child.stderr.take())] {
            if let Some(from) = from {
                feed::listen(from, stream, pid, id, self.log.clone());
            }
        }
        let feed = child.stdin.take().map(|stdin| match (ours, self.part.lines) {
            (Some(program), how) if self.plan.cast == Cast::Client => {
                let lines = lines_of(program);
                Feed::of_program(stdin, lines, how.unwrap_or(Lines::Asked), self.log.clone(), pid)
            }
            _ => Feed::by_hand(stdin),
        });
        let player =
            Player { role: role.to_owned(), host: name.to_owned(), pid, since, feed, watched, _child: child };
        self.eyes.follow(player.watched.clone(), id, ours.is_some());
        self.players.push(player);
        Ok(())
    }

    fn as_program(&self, role: &str, program: &Program) -> host::Program {
        let mut started = host::Program::new(self.command_of(role)).stdout(Pipe::Pipe).stderr(Pipe::Pipe);
        if self.plan.cast == Cast::Client {
            started = started.stdin(Pipe::Pipe);
        }
        for (name, value) in &program.env {
            started = started.env(name, value);
        }
        if let Some(cwd) = &program.cwd {
            started = started.directory(cwd);
        }
        if program.root {
            started = started.user(host::User::Root);
        }
        match self.part.descriptors {
            Some(descriptors) => started.descriptor_limit(descriptors.into()),
            None => started,
        }
    }

    fn as_actor(&self, role: &str) -> io::Result<host::Program> {
        let script = match (role, self.part.actors.get(role)) {
            (_, Some(script)) => script.clone(),
            _ if role.starts_with("probe")
                && self.plan.program.as_ref().is_some_and(|program| program.udp) =>
            {
                "socket udp; connect; say; hear; close".to_owned()
            }
            _ if role.starts_with("probe") && self.answers() == Answers::Silence => {
                "connect; say; shutdown wr; recv-all; close".to_owned()
            }
            _ if role.starts_with("probe") => format!("connect; say; hear {}; close", PROBE_S * 1000),
            _ => return Err(io::Error::other(format!("nobody plays {role}"))),
        };
        let executable = std::env::current_exe()?.into_os_string();
        let program = host::Program::new([executable, actor::ROLE.into(), script.into()])
            .env(actor::HOSTS, self.ground.directory())
            .env(actor::BASE, self.ground.first_port().to_string())
            .env(actor::PORT, self.port().to_string())
            .directory("/")
            .stdin(Pipe::Pipe)
            .stdout(Pipe::Pipe)
            .stderr(Pipe::Pipe);
        Ok(match &self.plan.program {
            Some(under_test) => program
                .env(actor::LEDGER, self.ledgers.prefix(role))
                .env(actor::LINES, lines_of(under_test).concat()),
            None => program,
        })
    }

    /// What a step wants to change in this role's calls, as the watcher's rules.
    fn rules(&self, role: &str) -> io::Result<Vec<Rule>> {
        let mine = self.part.steps.iter().filter_map(|step| match &step.action {
            Action::Inject(injection) if injection.role == role => Some(injection),
            _ => None,
        });
        mine.map(|Injection { call, nth, how, .. }| {
            let how = match how {
                How::Fail(errno) => format!("errno={}", crate::names::of_errno(*errno)),
                How::Short(bytes) => format!("short={bytes}"),
            };
            let when = if *nth == 0 { String::new() } else { format!(":nth={nth}") };
            format!("{call}:{how}{when}").parse().map_err(io::Error::other)
        })
        .collect()
    }

    /// The program's own player; of several copies the last.
    pub(super) fn program_player(&self) -> Option<&Player> {
        self.players.iter().rev().find(|player| self.plays_program(&player.role))
    }
}

fn lines_of(program: &Program) -> Vec<String> {
    match program.lines.as_slice() {
        [] => LINES.map(str::to_owned).to_vec(),
        lines => lines.to_vec(),
    }
}
