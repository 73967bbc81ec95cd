//! Looking on after the last step: until all is seen, the conversation is over, or the time is; and whether others are
//! served.

use super::log::State;
use super::player::PROBE_S;
use super::stage::{Stage, judged};
use super::talk::{has_ended, is_end_of_input, sender};
use super::{Answers, Cast, expect, span, watches_to_the_end};
use crate::record::{HostId, Nanos, What};
use crate::scenario::{Must, is_call};
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// A conversation in which nothing happened for so long is over, or stuck; actors pause for less.
const STILL: Duration = Duration::from_secs(4);
/// How long after a program's end its last packets and words may come.
const AFTERMATH: Duration = Duration::from_millis(200);
/// Who had no connection for so long is not between two attempts.
const ALONE: Duration = Duration::from_secs(2);
/// How long the probe is waited for: it may have to connect first.
const PROBE: Duration = Duration::from_secs(PROBE_S as u64 + 3);

impl Stage<'_> {
    pub(super) fn wants_probe(&self) -> bool {
        self.plan.program.is_some()
            && self.plan.cast == Cast::Server
            && matches!(self.part.must, Must::Survive | Must::Recover)
    }

    /// Looks on after the last step, until all is seen. On a busy machine even a small conversation takes its time: who
    /// is still at it gets more.
    pub(super) fn look_on(&self, since: Instant) {
        let last =
            since + if self.has_an_end() { span::longest_watch(self.part) } else { span::longest(self.part) };
        let brief = self.plan.cast.of(self.scenario).map_or(self.part.watch, |part| part.watch);
        let mut seen_all = self.look_until(since + brief.min(self.part.watch), false);
        if !seen_all && brief < self.part.watch {
            // In real time the rest is for connections that the kernel will give up.
            seen_all = self.look_until(since + self.part.watch, true);
        }
        let mut longer = false;
        while !seen_all && Instant::now() < last && self.is_at_it() {
            longer = true;
            seen_all = self.look_until(Instant::now() + AFTERMATH, false);
        }
        if longer && !seen_all && self.plan.cast == Cast::Server {
            // What it leaves behind shows only some time after the end of the conversation.
            self.look_until(Instant::now() + brief, false);
        }
    }

    /// Whether a conversation that is to come to its end has not, and something of it happened a moment ago.
    pub(super) fn is_at_it(&self) -> bool {
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
            _ => sender(event, self.ground.has_wire()).is_some(),
        })
    }

    /// Whether the conversation will come to its end by itself: a client that never looks at its input goes on for ever.
    pub(super) fn has_an_end(&self) -> bool {
        let state = self.log.lock();
        self.plan.cast != Cast::Client
            || state.events.iter().any(|event| match &event.what {
                What::Call(call) | What::CallEntered(call) => {
                    call.fd == Some(0) && is_call(&call.name, "recv") && state.roles.is("client", call.pid)
                }
                _ => false,
            })
    }

    /// Whether it can only be judged by comparing, and there is nothing to compare with.
    pub(super) fn lacks_baseline(&self) -> bool {
        self.plan.baseline.is_none()
            && self.plan.scenario != super::NO_FAULT
            && self.plan.program.as_ref().is_some_and(|program| !program.udp)
            && (self.part.whole || self.part.must == Must::Recover || self.wants_probe())
    }

    /// Whether all was seen before this time; if `connected`, also that no connection is left.
    fn look_until(&self, deadline: Instant, connected: bool) -> bool {
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
                    let mut senders =
                        state.events[from..].iter().filter_map(|event| sender(event, self.ground.has_wire()));
                    senders.any(|from| (Some(from) == host) == ours)
                });
                both == [true, true]
            };
            let recovered = self.part.must == Must::Recover
                && !watches_to_the_end(self.plan.cast, self.part.must)
                && moved();
            let alone =
                || connected && self.plan.program.is_some() && host.is_some_and(|host| is_alone(state, host));
            (over || recovered || alone()).then_some(())
        });
        if seen_all.is_some() {
            // What is already on its way.
            self.log.wait((Instant::now() + AFTERMATH).min(deadline.max(Instant::now())), |_| None::<()>);
        }
        seen_all.is_some()
    }

    /// Whether another client was served meanwhile, and whether one is at the end; nothing if that cannot be told.
    pub(super) fn probe(&mut self) -> io::Result<Option<(bool, bool)>> {
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
    pub(super) fn answers(&self) -> Answers {
        self.plan.baseline.as_ref().map_or(Answers::Unknown, |baseline| baseline.answers)
    }
}

/// Whether no connection was left on this host for a while: nothing that the kernel could give up.
fn is_alone(state: &State, host: HostId) -> bool {
    let mut sockets: HashMap<(u64, &str, Option<&str>), &str> = HashMap::new();
    let mut changed_ns = 0;
    for event in &state.events {
        if let What::Socket(socket) = &event.what
            && event.host == Some(host)
        {
            let key = (socket.inode, socket.local.as_str(), socket.peer.as_deref());
            sockets.insert(key, &socket.state);
            changed_ns = event.at_ns;
        }
    }
    // What no program has any more has no inode.
    let is_open = |inode: u64, state: &str| inode != 0 && !["LISTEN", "GONE", "CLOSE"].contains(&state);
    changed_ns + ALONE.as_nanos() as Nanos <= crate::wire::now()
        && !sockets.iter().any(|((inode, ..), state)| is_open(*inode, state))
}
