//! A run from beginning to end: hosts and wire, actors and the program, the steps, and the judging.

use super::eyes::Eyes;
use super::feed::{self, Feed};
use super::ledger::Ledgers;
use super::log::{self, Log};
use super::{
    Answers, Baseline, Cast, LINES, Outcome, PORT, Plan, Program, expect, failed, watches_to_the_end,
};
use crate::actor;
use crate::formula::Knobs;
use crate::host::{self, Child, Network, Stream as Pipe};
use crate::judge::{self, Facts, Probe, Stream};
use crate::record::{Change, Event, Nanos, Point, Returned, What};
use crate::scenario::action::{Action, How, Injection};
use crate::scenario::roles::Roles;
use crate::scenario::{Lines, Must, Part, Protocol, Scenario, Topology, is_call};
use crate::watch::{Rule, Settings, Watched, Watcher};
use std::io;
use std::time::{Duration, Instant};
use switchboard_net::SocketOptions;

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(15);
/// A conversation in which nothing happened for so long is over, or stuck; actors pause for less.
const STILL: Duration = Duration::from_secs(4);
/// How long after a program's end its last packets and words may come.
const AFTERMATH: Duration = Duration::from_millis(200);
/// How long a client that does nothing wrong waits for its answer, in seconds.
const PROBE_S: u32 = 5;
/// How long the probe is waited for: it may have to connect first.
const PROBE: Duration = Duration::from_secs(PROBE_S as u64 + 3);

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

/// A run while it lasts. Its parts are dropped in this order.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scenario: &'a Scenario,
    pub(super) part: &'a Part,
    pub(super) log: Log,
    pub(super) players: Vec<Player>,
    pub(super) eyes: Eyes,
    pub(super) network: Network,
    pub(super) signals: Vec<i32>,
    /// It does not apply to this program: why.
    pub(super) inapplicable: Option<String>,
    ledgers: Ledgers,
    knobs: Knobs,
}

pub(super) fn play(plan: &Plan) -> Outcome {
    let began = Instant::now();
    let Some(scenario) = Scenario::exactly(&plan.scenario) else {
        return failed(plan, format!("no scenario is named {}", plan.scenario));
    };
    let Some(part) = plan.part(&scenario) else {
        return failed(plan, format!("{} has no part for {}", plan.scenario, plan.cast.name()));
    };
    let began_at_ns = crate::wire::now();
    let mut outcome = match Stage::set(plan, &scenario, &part) {
        Ok(stage) => stage.perform(began_at_ns).unwrap_or_else(|error| failed(plan, error.to_string())),
        Err(error) => failed(plan, error.to_string()),
    };
    outcome.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    outcome
}

impl<'a> Stage<'a> {
    fn set(plan: &'a Plan, scenario: &'a Scenario, part: &'a Part) -> io::Result<Stage<'a>> {
        let names = ["client", "server"].map(str::to_owned);
        let log = Log::new(names.to_vec());
        let topology = match scenario.topology {
            Topology::Routed => host::Topology::Routed,
            Topology::Lan => host::Topology::Lan,
        };
        let mut builder = Network::builder().topology(topology).seed(plan.seed).mtu(scenario.mtu);
        for name in &names {
            builder = builder.host(name);
        }
        // Addresses that nobody has, and a name for them and the server together, in this order.
        let addresses = Addresses::of(scenario.topology, plan.ipv6);
        for address in addresses.nobody.into_iter().chain([addresses.server]) {
            builder = builder.name("several", address.parse().map_err(io::Error::other)?);
        }
        let network = builder.start(log.sink())?;
        let stage = Stage {
            plan,
            scenario,
            part,
            players: Vec::new(),
            eyes: Eyes::open(log.clone()),
            log,
            network,
            signals: Vec::new(),
            inapplicable: None,
            ledgers: Ledgers::new(plan.seed)?,
            knobs: scenario.knobs(plan.real),
        };
        for name in &names {
            stage.prepare_host(name)?;
        }
        stage.set_line()?;
        Ok(stage)
    }

    /// Sysctls, and somebody who looks at its sockets.
    pub(super) fn prepare_host(&self, name: &str) -> io::Result<()> {
        let Some(host) = self.network.host(name) else { return Ok(()) };
        for (sysctl, value) in self.knobs.sysctls() {
            match host.set_sysctl(&sysctl, &value) {
                // Older kernels lack some.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.log.note(format!("{name}: this kernel has no {sysctl}"));
                }
                done => done?,
            }
        }
        for (sysctl, value) in &self.scenario.sysctls {
            host.set_sysctl(sysctl, value)?;
        }
        self.eyes.add(host)
    }

    /// Runs it, and judges.
    fn perform(mut self, began_at_ns: Nanos) -> io::Result<Outcome> {
        let mut missing = self.cast_all()?;
        let mut fault = None;
        if missing.is_none() {
            (fault, missing) = self.take_steps()?;
        }
        let steps_over = Instant::now();
        let mut probe = None;
        if missing.is_none() {
            if self.wants_probe() {
                self.start("probe")?;
            }
            self.look_on(steps_over);
            if self.part.whole && self.is_at_it() {
                let waited_s = steps_over.elapsed().as_secs();
                missing = Some(format!("the conversation was still going on after {waited_s} s"));
            } else if self.wants_probe() {
                probe = self.probe()?;
                let asks =
                    self.part.steps.iter().any(|step| step.action == Action::Start("probe".to_owned()));
                if probe.is_none() && asks {
                    missing =
                        Some("whether others are served cannot be told: it answers nobody at all".to_owned());
                }
            }
            if self.lacks_baseline() {
                missing = Some("what it does without a fault could not be seen".to_owned());
            }
        }
        let watched_s = steps_over.elapsed().as_secs_f64();
        let until_ns = crate::wire::now();
        let fed =
            self.program_player().and_then(|player| player.feed.as_ref()).map(Feed::fed).unwrap_or_default();
        let (mut events, roles) = self.log.close();
        let program = self.plan.program.as_ref().map(|_| judged(self.plan.cast, self.part));
        events.retain(|event| !is_runtime(event, program, &roles));
        let mut infos = self.network.infos();
        for info in &mut infos {
            let here = self.players.iter().find(|player| player.host == info.name && player.role != "probe");
            info.program = here.map(|player| self.command_of(&player.role).join(" "));
        }
        let Stage { plan, scenario, part, players, ledgers, signals, inapplicable, network, eyes, .. } = self;
        drop((players, eyes, network));
        // Sorting has moved events: the fault is known by its time.
        let fault = fault.and_then(|at: Nanos| events.iter().rposition(|event| event.at_ns <= at));
        let title = format!("{} ({})", scenario.title, plan.cast.name());
        let name = format!("{}:{}", scenario.id, plan.cast.name());
        let recording = log::recording(&name, &title, plan.seed, infos, events, began_at_ns);
        let unmet = expect::unmet(&part.expect, &recording.events, &roles);
        let mut outcome = Outcome {
            plan: plan.clone(),
            recording,
            verdicts: Vec::new(),
            differences: Vec::new(),
            facts: None,
            baseline: Baseline::default(),
            took_ms: 0,
            error: None,
            skipped: inapplicable,
        };
        let Some(program) = &plan.program else {
            outcome.differences = missing.into_iter().chain(unmet).collect();
            return Ok(outcome);
        };
        let role = judged(plan.cast, part);
        let uses_uring = outcome
            .recording
            .events
            .iter()
            .any(|event| matches!(&event.what, What::Note { text } if text.contains("io_uring")));
        if !unmet.is_empty()
            && uses_uring
            && part.steps.iter().any(|step| matches!(step.action, Action::Inject(_)))
        {
            outcome.skipped =
                Some("its calls go through io_uring, where the lab cannot change them".to_owned());
        }
        if missing.is_none() && !unmet.is_empty() {
            missing = Some(format!("the case did not come about: {}", unmet.join("; ")));
        }
        let peer = if plan.cast == Cast::Client { "server" } else { "client" };
        let talk = Talk::new(plan, fed, ledgers.read(peer), &outcome.recording.events, &roles);
        outcome.baseline = talk.baseline(role, &outcome.recording.events, &roles);
        let mut processes: Vec<i32> = roles.all(role).collect();
        let first = roles.first(role);
        processes.sort_by_key(|pid| (Some(*pid) != first, *pid));
        let facts = Facts {
            role: role.to_owned(),
            host: roles.host(role).unwrap_or(crate::record::HostId(0)),
            processes,
            must: part.must,
            fault,
            missing,
            until_ns,
            watched_s,
            signals,
            gives_up: scenario.default.by_default(),
            streams: talk.streams(plan, program, part),
            probe: probe.map(|(meanwhile, at_the_end)| Probe { meanwhile, at_the_end, patience_s: PROBE_S }),
            ends: plan.baseline.as_ref().map(|baseline| baseline.ended),
            datagrams: part.protocol == Protocol::Udp,
        };
        outcome.verdicts = judge::judge(&outcome.recording, &facts);
        outcome.facts = Some(facts);
        Ok(outcome)
    }

    /// Starts servers, waits until they are ready, then starts clients; those that a step starts are left alone.
    /// Returns what did not come about.
    fn cast_all(&mut self) -> io::Result<Option<String>> {
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
        let port = self.part.port.unwrap_or(PORT);
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

    fn command_of(&self, role: &str) -> Vec<String> {
        match &self.plan.program {
            Some(program) if self.plays_program(role) => {
                let host = if self.part.several { "several".to_owned() } else { self.server_address() };
                program.command(&host, self.part.port.unwrap_or(PORT), &self.part.own)
            }
            _ => vec!["(lab)".to_owned(), role.to_owned()],
        }
    }

    fn server_address(&self) -> String {
        Addresses::of(self.scenario.topology, self.plan.ipv6).server.to_owned()
    }

    /// Starts a role under watch.
    pub(super) fn start(&mut self, role: &str) -> io::Result<()> {
        let name = if role.starts_with("client") { "client" } else { "server" };
        let Some(host) = self.network.host(name) else {
            return Err(io::Error::other(format!("there is no host {name}")));
        };
        let ours = self.plan.program.as_ref().filter(|_| self.plays_program(role));
        let program = match ours {
            Some(program) => self.as_program(role, program),
            None => self.as_actor(role)?,
        };
        let mut settings = Settings { host: host.id(), rules: self.rules(role)?, ..Settings::default() };
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
        let id = host.id();
        let since = self.log.lock().events.len();
        let mut pid = 0;
        let (watched, mut child) =
            Watcher::new(settings, self.log.sink()).spawn_on_known(host, program, |number| {
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
        if ours.is_some() {
            self.eyes.follow(player.watched.clone(), id);
        }
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
        let hosts: Vec<String> = self
            .network
            .hosts()
            .iter()
            .filter_map(|host| Some(format!("{}={}", host.name(), host.address(self.plan.ipv6)?)))
            .chain([format!("nobody={}", Addresses::of(self.scenario.topology, self.plan.ipv6).nobody[0])])
            .collect();
        let executable = std::env::current_exe()?.into_os_string();
        let program = host::Program::new([executable, actor::ROLE.into(), script.into()])
            .env(actor::HOSTS, hosts.join(","))
            .env(actor::PORT, self.part.port.unwrap_or(PORT).to_string())
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

    fn wants_probe(&self) -> bool {
        self.plan.program.is_some()
            && self.plan.cast == Cast::Server
            && matches!(self.part.must, Must::Survive | Must::Recover)
    }

    /// Looks on after the last step, until all is seen. On a busy machine even a small conversation takes its time: who
    /// is still at it gets more.
    fn look_on(&self, since: Instant) {
        let last = since + super::longest_watch(self.part);
        let mut seen_all = self.look_until(since + self.part.watch);
        let mut longer = false;
        while !seen_all && Instant::now() < last && self.is_at_it() {
            longer = true;
            seen_all = self.look_until(Instant::now() + AFTERMATH);
        }
        if longer && !seen_all && self.plan.cast == Cast::Server {
            // What it leaves behind shows only some time after the end of the conversation.
            self.look_until(Instant::now() + self.part.watch);
        }
    }

    /// Whether a conversation that is to come to its end has not, and something of it happened a moment ago.
    fn is_at_it(&self) -> bool {
        let asked = match self.plan.cast {
            Cast::Client => self.part.must == Must::Survive,
            Cast::Server => self.part.whole,
            Cast::Kernel => false,
        };
        if !asked {
            return false;
        }
        let since_ns = crate::wire::now().saturating_sub(STILL.as_nanos() as Nanos);
        let state = self.log.lock();
        if state.roles.first("client").is_none_or(|client| has_ended(&state.events, client)) {
            return false;
        }
        let recent = state.events.iter().rev().take_while(|event| event.at_ns >= since_ns);
        recent.into_iter().any(|event| match &event.what {
            What::Output { pid, .. } => state.roles.is("client", *pid),
            What::Packet(packet) => {
                let segment = crate::segment::Segment::read(&packet.bytes, packet.length);
                packet.point == Point::Delivered && segment.is_some_and(|segment| segment.payload() > 0)
            }
            _ => false,
        })
    }

    /// Whether it can only be judged by comparing, and there is nothing to compare with.
    fn lacks_baseline(&self) -> bool {
        self.plan.baseline.is_none()
            && self.plan.scenario != super::NO_FAULT
            && self.plan.program.as_ref().is_some_and(|program| !program.udp)
            && (self.part.whole || self.part.must == Must::Recover || self.wants_probe())
    }

    /// Whether all was seen before this time.
    fn look_until(&self, deadline: Instant) -> bool {
        let role = judged(self.plan.cast, self.part);
        let first = self.log.lock().roles.first(role);
        let from = self
            .log
            .lock()
            .events
            .iter()
            .rposition(|event| matches!(event.what, What::Step { .. }))
            .unwrap_or(0);
        let seen_all = self.log.wait(deadline, |state| {
            if self.plan.cast == Cast::Kernel {
                let never = self.part.expect.iter().any(|pattern| pattern.never);
                let done = !never && expect::unmet(&self.part.expect, &state.events, &state.roles).is_empty();
                return done.then_some(());
            }
            let over = first.is_some_and(|first| has_ended(&state.events, first));
            let host = state.roles.host(role);
            let moved = || {
                let both = [true, false].map(|ours| {
                    state.events[from..].iter().any(|event| match &event.what {
                        What::Packet(packet) if packet.point == Point::Delivered => {
                            (packet.from == host) == ours
                                && crate::segment::Segment::read(&packet.bytes, packet.length)
                                    .is_some_and(|segment| segment.payload() > 0)
                        }
                        _ => false,
                    })
                });
                both == [true, true]
            };
            let recovered = self.part.must == Must::Recover
                && !watches_to_the_end(self.plan.cast, self.part.must)
                && moved();
            (over || recovered).then_some(())
        });
        if seen_all.is_some() {
            // What is already on its way.
            self.log.wait((Instant::now() + AFTERMATH).min(deadline.max(Instant::now())), |_| None::<()>);
        }
        seen_all.is_some()
    }

    /// Whether another client was served meanwhile, and whether one is at the end; nothing if that cannot be told.
    fn probe(&mut self) -> io::Result<Option<(bool, bool)>> {
        let Some(meanwhile) = self.probed("probe") else { return Ok(None) };
        let at_the_end = meanwhile || {
            self.start("probe-late")?;
            self.probed("probe-late") == Some(true)
        };
        Ok(Some((meanwhile, at_the_end)))
    }

    fn probed(&self, role: &str) -> Option<bool> {
        let player = self.players.iter().find(|player| player.role == role)?;
        player.watched.wait(PROBE);
        let [heard, _] = self.ledgers.read(role);
        if !heard.is_empty() {
            return Some(true);
        }
        match self.answers() {
            Answers::Words => Some(false),
            // What it has for an answer is the end.
            Answers::Silence => {
                let state = self.log.lock();
                Some(state.events.iter().any(|event| is_end_of_input(event, role, &state.roles)))
            }
            Answers::Unknown => None,
        }
    }

    /// How the program, a server, answers where nothing goes wrong. In that very case any answer is right.
    fn answers(&self) -> Answers {
        self.plan.baseline.as_ref().map_or(Answers::Unknown, |baseline| baseline.answers)
    }
}

/// What programs are told of addresses.
struct Addresses {
    server: &'static str,
    /// The first addresses of the name `several`, which nobody has. They are as near to the client as the server is, so
    /// that the resolver leaves them in their order (RFC 6724, rule 9).
    nobody: [&'static str; 2],
}

impl Addresses {
    fn of(topology: Topology, ipv6: bool) -> Addresses {
        match (topology, ipv6) {
            (Topology::Routed, false) => {
                Addresses { server: "10.0.2.1", nobody: ["10.0.200.1", "10.0.200.2"] }
            }
            (Topology::Lan, false) => Addresses { server: "10.0.0.2", nobody: ["10.0.0.201", "10.0.0.202"] },
            (Topology::Routed, true) => {
                Addresses { server: "fd00:0:0:2::1", nobody: ["fd00:0:0:3::1", "fd00:0:0:3::2"] }
            }
            (Topology::Lan, true) => Addresses { server: "fd00::2", nobody: ["fd00::c9", "fd00::ca"] },
        }
    }
}

/// What the runtime of the lab's own actors does besides the calls of their part: nothing that anybody asked for.
fn is_runtime(event: &Event, program: Option<&str>, roles: &Roles) -> bool {
    let (What::Call(call) | What::CallEntered(call)) = &event.what else { return false };
    if program.is_some_and(|role| roles.is(role, call.pid)) {
        return false;
    }
    let says = |value: &str| call.arguments.iter().any(|(_, said)| said == value);
    match call.name.as_str() {
        "fcntl" => true,
        "rt_sigaction" => ["SIGPIPE", "SIGSEGV", "SIGBUS"].iter().any(|signal| says(signal)),
        "poll" => says("[0:0, 1:0, 2:0]"),
        _ => false,
    }
}

/// Whether a role's first process has ended.
pub(super) fn has_ended(events: &[Event], first: i32) -> bool {
    events.iter().any(|event| match &event.what {
        What::Process(process) => {
            process.pid == first
                && process.tid == first
                && matches!(process.change, Change::Exited { .. } | Change::Killed { .. })
        }
        _ => false,
    })
}

/// Whether a role was told, in order, that its peer will say no more.
fn is_end_of_input(event: &Event, role: &str, roles: &Roles) -> bool {
    match &event.what {
        What::Call(call) => {
            roles.is(role, call.pid)
                && call.socket.is_some()
                && is_call(&call.name, "recv")
                && call.result == Some(Returned::Value(0))
        }
        _ => false,
    }
}

/// The role that is judged.
fn judged(cast: Cast, part: &Part) -> &'static str {
    match cast {
        Cast::Server if part.copies > 1 => "server-second",
        cast => cast.name(),
    }
}

fn lines_of(program: &Program) -> Vec<String> {
    match program.lines.as_slice() {
        [] => LINES.map(str::to_owned).to_vec(),
        lines => lines.to_vec(),
    }
}

/// What went in and came out, as both ends wrote it down.
struct Talk {
    /// For each direction: what went in, what came out.
    ways: [(Vec<u8>, Vec<u8>); 2],
}

impl Talk {
    fn new(plan: &Plan, fed: Vec<u8>, peer: [Vec<u8>; 2], events: &[Event], roles: &Roles) -> Talk {
        let [received, sent] = peer;
        if plan.cast == Cast::Client {
            let mut printed = Vec::new();
            for event in events {
                if let What::Output { pid, stream: 1, bytes } = &event.what
                    && roles.is("client", *pid)
                {
                    printed.extend_from_slice(bytes);
                }
            }
            Talk { ways: [(fed, received), (sent, printed)] }
        } else {
            Talk { ways: [(sent, received), (Vec::new(), Vec::new())] }
        }
    }

    fn baseline(&self, judged: &str, events: &[Event], roles: &Roles) -> Baseline {
        let verbatim = |way: &(Vec<u8>, Vec<u8>)| !way.0.is_empty() && way.0 == way.1;
        let ended = roles.first(judged).is_some_and(|first| has_ended(events, first));
        // A server that says nothing is known by ending a conversation all the same; before, it may yet answer.
        let (said, heard) = &self.ways[0];
        let answers = match (said.is_empty(), heard.is_empty()) {
            (_, false) => Answers::Words,
            (false, true) if events.iter().any(|event| is_end_of_input(event, "client", roles)) => {
                Answers::Silence
            }
            _ => Answers::Unknown,
        };
        Baseline {
            answers,
            verbatim: [verbatim(&self.ways[0]), verbatim(&self.ways[1])],
            ended,
            came: [self.ways[0].1.clone(), self.ways[1].1.clone()],
        }
    }

    /// What should have come out, by the conversation without a fault.
    fn streams(&self, plan: &Plan, program: &Program, part: &Part) -> Vec<Stream> {
        let names = match plan.cast {
            Cast::Client => ["from standard input to the server", "from the server to standard output"],
            _ => ["from the client and back", ""],
        };
        let mut streams = Vec::new();
        if let Some(baseline) = &plan.baseline
            && (part.whole || part.must == Must::Recover)
        {
            for (at, (went, came)) in self.ways.iter().enumerate() {
                let verbatim = baseline.verbatim[at];
                if verbatim || part.whole && !baseline.came[at].is_empty() {
                    streams.push(Stream {
                        name: names[at].to_owned(),
                        wanted: if verbatim { went.clone() } else { baseline.came[at].clone() },
                        got: came.clone(),
                        whole: part.whole,
                        length_only: !verbatim,
                    });
                }
            }
        }
        let answers = &self.ways[usize::from(plan.cast == Cast::Client)].1;
        if let Some(text) = program.expect.as_ref().filter(|_| part.whole)
            && !String::from_utf8_lossy(answers).contains(text.as_str())
        {
            streams.push(Stream {
                name: format!("the answer, which must contain `{}`", text.escape_debug()),
                wanted: text.clone().into_bytes(),
                got: Vec::new(),
                whole: true,
                length_only: false,
            });
        }
        streams
    }
}
