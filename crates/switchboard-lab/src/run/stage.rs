//! A run from beginning to end: hosts and wire, actors and the program, the steps, and the judging.

use super::eyes::Eyes;
use super::feed::Feed;
use super::ground::{Ground, HOSTS};
use super::ledger::Ledgers;
use super::log::{self, Log};
use super::player::{PROBE_S, Player};
use super::talk::Talk;
use super::{Baseline, Cast, Outcome, Plan, expect, failed};
use crate::formula::Knobs;
use crate::judge::{self, Facts, Probe};
use crate::record::{Event, Nanos, What};
use crate::scenario::action::Action;
use crate::scenario::roles::Roles;
use crate::scenario::{Part, Protocol, Scenario};
use std::io;
use std::time::Instant;

/// A run while it lasts. Its parts are dropped in this order.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scenario: &'a Scenario,
    pub(super) part: &'a Part,
    pub(super) log: Log,
    pub(super) players: Vec<Player>,
    pub(super) eyes: Eyes,
    pub(super) ground: Ground,
    pub(super) signals: Vec<i32>,
    /// It does not apply to this program: why.
    pub(super) inapplicable: Option<String>,
    pub(super) ledgers: Ledgers,
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
        let log = Log::new(HOSTS.map(str::to_owned).to_vec());
        let ground = Ground::open(plan, scenario, log.sink())?;
        let stage = Stage {
            plan,
            scenario,
            part,
            players: Vec::new(),
            eyes: Eyes::open(log.clone()),
            log,
            ground,
            signals: Vec::new(),
            inapplicable: None,
            ledgers: Ledgers::new(plan.seed)?,
            knobs: scenario.knobs(plan.real),
        };
        if let Ground::Loopback { ports, .. } = &stage.ground {
            stage.eyes.add_loopback(ports.all())?;
            stage
                .log
                .note("client and server are on this machine: packets are not seen, and times are its own");
            return Ok(stage);
        }
        for name in HOSTS {
            stage.prepare_host(name)?;
        }
        stage.set_line()?;
        Ok(stage)
    }

    /// Sysctls, and somebody who looks at its sockets.
    pub(super) fn prepare_host(&self, name: &str) -> io::Result<()> {
        let host = self.ground.host(name)?;
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
            if self.part.whole && self.has_an_end() && self.is_at_it() {
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
        let mut infos = self.ground.infos();
        for info in &mut infos {
            let here = self.players.iter().find(|player| player.host == info.name && player.role != "probe");
            info.program = here.map(|player| self.command_of(&player.role).join(" "));
        }
        let Stage { plan, scenario, part, players, ledgers, signals, inapplicable, ground, eyes, .. } = self;
        if !ground.has_wire() {
            // No host ends with all that runs on it.
            players.iter().for_each(|player| player.watched.kill());
        }
        drop((players, eyes, ground));
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

/// The role that is judged.
pub(super) fn judged(cast: Cast, part: &Part) -> &'static str {
    match cast {
        Cast::Server if part.copies > 1 => "server-second",
        cast => cast.name(),
    }
}
