//! Taking the steps of a scenario: each waits for its event and does its deed.

use super::stage::Stage;
use super::talk::has_ended;
use crate::record::{Change, Nanos, Process, What};
use crate::scenario::action::{Action, Direction};
use crate::scenario::{Must, Pattern};
use crate::wire::{Act, Way};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// How long a step waits for its event, besides the part's own watch.
const PATIENCE: Duration = Duration::from_secs(12);
/// The same once the program that it is about has ended: what is still to come has been caused already.
const LAST_CALL: Duration = Duration::from_secs(2);
/// So often is looked whether the program is still there.
const LOOK: Duration = Duration::from_millis(250);
/// Who was asleep so many times rests; there are five looks a second, on a busy machine fewer.
const LOOKS: u32 = 5;
/// Between SIGTERM and SIGKILL at a shutdown.
const GRACE: Duration = Duration::from_millis(500);

impl Stage<'_> {
    /// Takes all steps. Returns when the fault happened, and which trigger never fired.
    pub(super) fn take_steps(&mut self) -> io::Result<(Option<Nanos>, Option<String>)> {
        let (mut from, mut since, mut fault) = (0, Instant::now(), None);
        for step in &self.part.steps {
            if matches!(step.action, Action::Inject(_)) {
                // The watcher was given it when the program was started.
                self.log.say(None, What::Step { text: step.text.replace("->", "").trim().to_owned() });
                continue;
            }
            if let Some(when) = &step.when {
                match self.wait_for(when, from, since) {
                    // What comes after this event is for the next step, whether it was already seen or not.
                    Some(index) => from = index + 1,
                    None => return Ok((fault, Some(format!("the trigger `{}` never fired", when.text)))),
                }
            }
            since = Instant::now();
            let text = step.text.split_once("->").map_or(step.text.as_str(), |(_, action)| action).trim();
            let at = crate::wire::now();
            self.log.say(None, What::Step { text: text.to_owned() });
            if fault.is_none() || step.action.is_fault() && !self.had_fault(step) {
                fault = Some(at);
            }
            if let Some(why) = self.act(&step.action)? {
                self.inapplicable = Some(why);
                return Ok((fault, None));
            }
        }
        Ok((fault, None))
    }

    /// Whether a step before this one was a fault.
    fn had_fault(&self, step: &crate::scenario::Step) -> bool {
        self.part.steps.iter().take_while(|other| *other != step).any(|other| other.action.is_fault())
    }

    /// The index of the event that fulfils a pattern, as they arrive.
    fn wait_for(&self, pattern: &Pattern, from: usize, since: Instant) -> Option<usize> {
        if let Some(time) = pattern.time() {
            self.log.wait(since + time, |_| None::<()>);
            return Some(self.log.lock().events.len().saturating_sub(1));
        }
        let mut deadline = Instant::now() + PATIENCE + self.part.watch;
        let (mut next, mut seen) = (from, 0);
        let role = self.plan.cast.name();
        let mut ended = false;
        let since_ns = crate::wire::now();
        loop {
            let found = self.log.wait(deadline.min(Instant::now() + LOOK), |state| {
                while next < state.events.len() {
                    let event = &state.events[next];
                    next += 1;
                    if pattern.matches(event, &state.roles) {
                        seen += 1;
                        if seen == pattern.count {
                            return Some(next - 1);
                        }
                    }
                }
                None
            });
            let rests = || pattern.or_rests.as_ref().is_some_and(|role| self.rests(role, since_ns));
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            let late = || {
                let waited_ns = crate::wire::now().saturating_sub(since_ns);
                pattern.or_after.is_some_and(|limit| Duration::from_nanos(waited_ns) >= limit)
            };
            if rests() || late() {
                return Some(self.log.lock().events.len().saturating_sub(1));
            }
            // The program is gone: it will cause nothing more.
            if self.plan.program.is_some() && !ended && self.part.must != Must::End {
                let state = self.log.lock();
                ended = state.roles.first(role).is_some_and(|first| has_ended(&state.events, first));
                if ended {
                    deadline = deadline.min(Instant::now() + LAST_CALL);
                }
            }
        }
    }

    /// Whether all processes of a role slept whenever they were looked at lately, since that moment.
    fn rests(&self, role: &str, since_ns: Nanos) -> bool {
        let state = self.log.lock();
        let mut looks: HashMap<i32, u32> = HashMap::new();
        for event in state.events.iter().rev().take_while(|event| event.at_ns >= since_ns) {
            if let What::Process(Process { pid, change: Change::Sampled { state: asleep, .. }, .. }) =
                &event.what
                && state.roles.is(role, *pid)
            {
                if *asleep != 'S' {
                    return false;
                }
                let looks = looks.entry(*pid).or_default();
                *looks += 1;
                if *looks == LOOKS {
                    return true;
                }
            }
        }
        false
    }

    /// The line as the scenario wants it at the beginning.
    pub(super) fn set_line(&self) -> io::Result<()> {
        for (name, value) in &self.scenario.line {
            self.ground.network()?.wire().act(Act::impair(Way::ALL, name, value).map_err(io::Error::other)?);
        }
        Ok(())
    }

    /// Does it. Returns why it cannot be done to this program.
    fn act(&mut self, action: &Action) -> io::Result<Option<String>> {
        match action {
            Action::Mark | Action::Inject(_) => {}
            Action::Start(role) => {
                if !self.players.iter().any(|player| player.role == *role) {
                    self.start(role)?;
                    // A second copy that cannot bind is what a case may be about; whoever comes next sees it.
                    if self.plays_program(role) && role.starts_with("server") {
                        self.is_ready(role);
                    }
                }
            }
            Action::Go(role) => self.feed(role, b"\n"),
            Action::Feed(role, text) => self.feed(role, text.as_bytes()),
            Action::EndInput(role) => {
                for player in self.players.iter_mut().filter(|player| player.role == *role) {
                    if let Some(feed) = &mut player.feed {
                        feed.end();
                    }
                }
            }
            Action::Kill(role, signal) => return self.kill(role, *signal),
            Action::Crash(host) => self.crash(host)?,
            Action::Reboot(host) => {
                if let Some(machine) = self.ground.network_mut()?.host_mut(host) {
                    machine.boot()?;
                }
                self.prepare_host(host)?;
            }
            Action::Shutdown(host) => self.shutdown(host),
            Action::Impair(direction, name, value) => {
                let act = Act::impair(self.way(direction)?, name, value).map_err(io::Error::other)?;
                self.ground.network()?.wire().act(act);
            }
            Action::Mend => {
                self.ground.network()?.wire().act(Act::heal(Way::ALL));
                self.set_line()?;
            }
            Action::Reset(host) => {
                let to = self.ground.id(host)?;
                self.ground.network()?.wire().act(Act::reset(Way::into(to)));
            }
            Action::Destroy(host) => self.destroy(host)?,
        }
        Ok(None)
    }

    fn feed(&self, role: &str, bytes: &[u8]) {
        if let Some(feed) =
            self.players.iter().rev().find(|player| player.role == role).and_then(|p| p.feed.as_ref())
        {
            feed.feed(bytes);
        }
    }

    fn kill(&mut self, role: &str, signal: i32) -> io::Result<Option<String>> {
        let name = role.strip_suffix(".child").unwrap_or(role);
        let pid = {
            let state = self.log.lock();
            if role == name { state.roles.first(role) } else { state.roles.newest(role) }
        };
        let Some(pid) = pid else {
            return Ok(Some("it has no process for each client".to_owned()));
        };
        if self.plays_program(name) {
            self.signals.push(signal);
        }
        // A process that has ended meanwhile is what the next trigger will not see.
        if let (Some(pid), Some(signal)) = (Pid::from_raw(pid), Signal::from_named_raw(signal)) {
            let _ = kill_process(pid, signal);
        }
        Ok(None)
    }

    fn crash(&mut self, host: &str) -> io::Result<()> {
        self.eyes.forget(self.ground.id(host)?);
        if let Some(machine) = self.ground.network_mut()?.host_mut(host) {
            machine.crash();
        }
        Ok(())
    }

    /// SIGTERM to all, a pause, SIGKILL: the network works until the end of the run, so that the kernel's farewells
    /// arrive.
    fn shutdown(&mut self, host: &str) {
        let pids: Vec<i32> =
            self.players.iter().filter(|player| player.host == host).map(|player| player.pid).collect();
        self.signals.extend([libc::SIGTERM, libc::SIGKILL]);
        for (signal, grace) in [(Signal::TERM, GRACE), (Signal::KILL, Duration::ZERO)] {
            for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                let _ = kill_process(pid, signal);
            }
            let deadline = Instant::now() + grace;
            for player in self.players.iter().filter(|player| player.host == host) {
                player.watched.wait(deadline.saturating_duration_since(Instant::now()));
            }
        }
        for player in self.players.iter().filter(|player| player.host == host) {
            player.watched.kill();
        }
    }

    /// What `ss -K` does, for every TCP connection of the host.
    fn destroy(&mut self, host: &str) -> io::Result<()> {
        let machine = self.ground.host(host)?;
        let socket =
            machine.socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG)?;
        crate::diag::Diag::on(socket).destroy_connections().map_err(io::Error::other)
    }

    fn way(&self, direction: &Direction) -> io::Result<Way> {
        Ok(match direction {
            Direction::Both => Way::ALL,
            Direction::Between(from, to) => Way::between(self.ground.id(from)?, self.ground.id(to)?),
            Direction::OutOf(host) => Way::out_of(self.ground.id(host)?),
        })
    }
}
