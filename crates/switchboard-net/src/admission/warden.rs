//! [`Warden`]: applies the rules of one service to those who come. Access first, then how loaded the machine is,
//! then rates and counts: whoever is denied costs no token, no ticket, no process.

use super::access::{Decision, Guest, Name, Rules};
use super::ledger::{Bounds, Ledger, Reached, ServiceNumber, Ticket};
use super::names::{Answer, Lookup, Names};
use super::notices::Notices;
use super::pace::Pace;
use super::prefixes::cut;
use super::pressure::Pressure;
use super::{Admission, Bound, Policy};
use crate::error::Error;
use crate::journal::{Journal, Warning};
use crate::peer::Peer;
use crate::sys::sockopt::peer_credentials;
use crate::sys::{clock, socket};
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use switchboard_proto::Instant;

/// The rules at the doors of one service, at work in one process. It may be used by several threads, and by
/// processes forked later.
#[derive(Debug)]
pub struct Warden {
    service: String,
    number: ServiceNumber,
    ledger: Ledger,
    admission: Admission,
    overall: Option<Bound>,
    bounds: Bounds,
    rules: Option<Mutex<Rules>>,
    names: Option<Arc<Names>>,
    pressure: Mutex<Pressure>,
    notices: Notices,
    counts_sources: bool,
}

/// Time after which a count that was at its limit is looked at again: those who leave may do so in another process.
const RECHECK: Duration = Duration::from_millis(20);
/// Time until a name that is being looked up is asked for again; doubled each time.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(50);
/// The prefix that one IPv6 host has to itself (RFC 4291 §2.5.1).
const IPV6_PREFIX: u8 = 64;

/// A client from his arrival until it is decided whether he may come in.
#[derive(Debug)]
pub struct Visit {
    peer: Peer,
    /// He has passed the rules of access, and his program is given these settings.
    passed: Option<Vec<(String, String)>>,
    /// He waits for room until then.
    give_up_at: Option<Instant>,
    /// What tells his source apart from others.
    source: Source,
    /// He waits as he would in the kernel's queue.
    queued: bool,
    /// Until his name is looked for again.
    patience: Duration,
}

/// A kind, and an address, network or user id in 16 bytes.
type Source = [u8; 17];

/// What becomes of a client now.
#[derive(Debug)]
pub enum Verdict {
    /// He comes in.
    Admit(Admitted),
    /// He is sent away: see [`Warden::turn_away`].
    Refuse(Refusal),
    /// He waits inside, and is judged again at this time.
    Wait(Instant),
}

/// What an admitted client brings along.
#[derive(Debug)]
pub struct Admitted {
    /// To be kept as long as he is inside, and dropped by the process that judged.
    pub ticket: Option<Ticket>,
    /// Settings that the rules give his program (tcprules).
    pub environment: Vec<(String, String)>,
}

/// Why and how a client is sent away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// How he is told.
    pub how: How,
    /// Why, in words, for the log.
    pub reason: &'static str,
    /// Access was denied; otherwise a limit was reached.
    pub denied: bool,
}

/// How a client is told that he may not come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By a reset.
    Reset,
    /// By an orderly end, after the message if there is one.
    Close,
}

/// Whether to accept at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollState {
    /// Yes.
    Open,
    /// Those who come wait in the kernel's queue until then at least; ask again at that time.
    ShutUntil(Instant),
}

impl Visit {
    /// `peer` has just been accepted.
    pub fn new(peer: Peer) -> Visit {
        Visit {
            peer,
            passed: None,
            give_up_at: None,
            source: [0; 17],
            queued: false,
            patience: Duration::ZERO,
        }
    }

    /// Who it is.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether he waits as he would in the kernel's queue, without an end, since a limit of the policy
    /// [`Policy::Queue`] was reached while he was being accepted. Others who wait may be sent away when there are
    /// too many.
    pub fn is_queued(&self) -> bool {
        self.queued
    }

    /// Whether both come from the same source, as limits tell sources apart.
    pub fn is_from_the_source_of(&self, other: &Visit) -> bool {
        self.source == other.source
    }
}

impl Warden {
    /// Whether there is anything to watch over: without rules there need be no warden.
    pub fn is_needed(admission: &Admission, overall: Option<Bound>) -> bool {
        let Admission { access, connections, per_source, rate, rate_per_source, load, memory, .. } =
            admission;
        !Rules::are_none(access)
            || connections.or(*per_source).or(overall).is_some()
            || rate.or(*rate_per_source).is_some()
            || load.is_some()
            || memory.is_some()
    }

    /// For the service called `service`, to be made in the process that serves; its
    /// connections are counted in `ledger`, which must be the same one in all of them; `overall` bounds those of all
    /// services together.
    ///
    /// # Errors
    /// Rules that cannot be: files that cannot be read, clients of one source that should wait in the queue that
    /// they share with others; too many services.
    pub fn new(
        service: &str,
        admission: &Admission,
        overall: Option<Bound>,
        ledger: &Ledger,
    ) -> Result<Warden, Error> {
        let per_source =
            [admission.per_source.map(|b| b.policy), admission.rate_per_source.map(|b| b.policy)];
        if per_source.contains(&Some(Policy::Queue)) {
            return Err(Error::Config(format!(
                "{service}: a limit of one source cannot use the policy queue, since others wait in the same \
                 queue. Use reset, close or delay"
            )));
        }
        let rules =
            (!Rules::are_none(&admission.access)).then(|| Rules::new(&admission.access)).transpose()?;
        let names =
            rules.as_ref().filter(|rules| rules.may_need_names()).map(|_| Names::system()).transpose()?;
        Ok(Warden {
            names,
            service: service.to_owned(),
            number: ledger.service(service)?,
            ledger: ledger.clone(),
            overall,
            bounds: Bounds {
                overall: overall.map(|bound| bound.most),
                service: admission.connections.map(|bound| bound.most),
                source: admission.per_source.map(|bound| bound.most),
                service_pace: admission.rate.map(|bound| Pace::from(bound.rate)),
                source_pace: admission.rate_per_source.map(|bound| Pace::from(bound.rate)),
            },
            rules: rules.map(Mutex::new),
            pressure: Mutex::default(),
            notices: Notices::default(),
            counts_sources: per_source.iter().any(Option::is_some),
            admission: admission.clone(),
        })
    }

    /// Where its connections are counted.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Whether to accept at `now`. Costs a few reads of shared memory.
    pub fn may_poll(&self, now: Instant) -> PollState {
        let queues = |bound: Option<Bound>| bound.filter(|bound| bound.policy == Policy::Queue);
        let Admission { connections, rate, .. } = &self.admission;
        let is_full = || {
            queues(*connections).is_some_and(|bound| self.ledger.inside(self.number) >= bound.most)
                || queues(self.overall).is_some_and(|bound| self.ledger.inside_in_all() >= bound.most)
        };
        if is_full() && (self.ledger.sweep_when_due(now) == 0 || is_full()) {
            return PollState::ShutUntil(now + RECHECK);
        }
        if rate.is_some_and(|bound| bound.policy == Policy::Queue)
            && let Some(pace) = self.bounds.service_pace
        {
            let ready_at = self.ledger.ready_at(self.number, pace);
            if ready_at > now {
                return PollState::ShutUntil(ready_at);
            }
        }
        match self.pressed(now) {
            Some((Policy::Queue, _, until)) => PollState::ShutUntil(until),
            _ => PollState::Open,
        }
    }

    /// Whether [`Warden::may_poll`] can ever say anything but [`PollState::Open`].
    pub fn may_shut(&self) -> bool {
        let Admission { connections, rate, load, memory, .. } = &self.admission;
        let bounds = [*connections, self.overall].into_iter().flatten().map(|bound| bound.policy);
        let others = [rate.map(|b| b.policy), load.map(|b| b.policy), memory.map(|b| b.policy)];
        bounds.chain(others.into_iter().flatten()).any(|policy| policy == Policy::Queue)
    }

    /// Decides about a client who has been accepted on `fd`; of one who was told to wait, again.
    pub fn judge(&self, visit: &mut Visit, fd: impl AsFd, now: Instant) -> Verdict {
        visit.source = self.source(visit.peer);
        visit.queued = false;
        if visit.passed.is_none() {
            match self.access(visit.peer, fd, now) {
                Decision::Allow(environment) => visit.passed = Some(environment),
                Decision::Deny(reason) => {
                    let how = if self.admission.message.is_some() { How::Close } else { How::Reset };
                    return Verdict::Refuse(Refusal { how, reason, denied: true });
                }
                Decision::AskName => {
                    visit.patience = (visit.patience * 2).clamp(FIRST_LOOK, LAST_LOOK);
                    return Verdict::Wait(now + visit.patience);
                }
            }
        }
        if let Some((policy, reason, until)) = self.pressed(now) {
            return beyond(policy, reason, until, visit, now);
        }
        let source = self.counts_sources.then_some(&visit.source[..]);
        match self.ledger.take(self.number, source, &self.bounds, now) {
            Ok(ticket) => Verdict::Admit(Admitted {
                ticket: Some(ticket),
                environment: visit.passed.take().unwrap_or_default(),
            }),
            Err(reached) => {
                let (policy, reason, until) = self.meaning(reached, now);
                beyond(policy, reason, until, visit, now)
            }
        }
    }

    /// Why a datagram from `peer` may not be looked at; `None`: it may. Rates count datagrams as they count
    /// connections, whatever their policy; a datagram never waits. One whose sender's name is not known yet is
    /// dropped: the next one may find it known. Who sent a datagram on a Unix socket is not known, so rules of
    /// access keep all of those out.
    pub fn judge_datagram(&self, peer: Peer, fd: impl AsFd, now: Instant) -> Option<Refusal> {
        let refuse = |reason, denied| Some(Refusal { how: How::Close, reason, denied });
        match self.access(peer, fd, now) {
            Decision::Allow(_) => {}
            Decision::Deny(reason) => return refuse(reason, true),
            Decision::AskName => return refuse("its name is not known yet", true),
        }
        let paced = self.bounds.service_pace.is_some() || self.bounds.source_pace.is_some();
        if !paced {
            return None;
        }
        let source = self.source(peer);
        let source = self.counts_sources.then_some(&source[..]);
        let reached = self.ledger.take(self.number, source, &self.bounds, now).err()?;
        refuse(self.meaning(reached, now).1, false)
    }

    /// Counts a client who is inside already, whatever the bounds: he was let in by a worker that has died.
    pub(crate) fn count(&self, peer: Peer, now: Instant) -> Option<Ticket> {
        let source = self.source(peer);
        let source = self.counts_sources.then_some(&source[..]);
        self.ledger.take(self.number, source, &Bounds::default(), now).ok()
    }

    /// Sends a client away: counts and logs it, and tells him. A descriptor that comes back should be kept open for
    /// a moment, about [`Warden::FAREWELL`], and then be read empty: closed at once with input on its way, the message
    /// would be destroyed by a reset.
    pub fn turn_away(
        &self,
        fd: OwnedFd,
        visit: &Visit,
        refusal: Refusal,
        journal: &Journal,
        counters: &Counters,
        now: Instant,
    ) -> Option<OwnedFd> {
        let (counter, warning, verdict) = match refusal.denied {
            true => (&counters.denied, Warning::Denied, "denied"),
            false => (&counters.limited, Warning::Limited, "refused"),
        };
        Counters::add(counter, 1);
        let text =
            || format!("{}: {} {verdict}: {}", self.service, journal.shown(visit.peer), refusal.reason);
        if self.notices.is_due(&visit.source, now) {
            journal.event(&text());
        } else {
            journal.warn(warning, now, &text);
        }
        if refusal.how == How::Reset {
            socket::reset_on_close(&fd);
            return None;
        }
        if let Some(message) = &self.admission.message {
            // A fresh socket has room for any message that makes sense; a part is better than a wait.
            let _ = socket::send(&fd, message, socket::Wait::No);
        }
        socket::shutdown_write(&fd);
        Some(fd)
    }

    /// See [`Warden::turn_away`].
    pub const FAREWELL: Duration = Duration::from_millis(500);

    /// For a client who would have to wait inside where too many wait already.
    pub const CROWDED: Refusal = Refusal { how: How::Reset, reason: "too many wait already", denied: false };

    fn access(&self, peer: Peer, fd: impl AsFd, now: Instant) -> Decision {
        let Some(rules) = &self.rules else { return Decision::Allow(Vec::new()) };
        let gid = match peer {
            Peer::Unix { .. } => peer_credentials(fd).ok().map(|peer| peer.gid),
            _ => None,
        };
        let wall = clock::wall();
        let decision = lock(rules).judge(&Guest { peer, gid, name: Name::Unasked }, wall, now);
        let (Decision::AskName, Peer::Inet(address), Some(names)) = (&decision, peer, &self.names) else {
            return decision;
        };
        let answer = names.ask(address.ip().to_canonical(), now);
        let name = match &answer {
            Answer::Pending => return Decision::AskName,
            Answer::Unknown => Name::Unknown,
            Answer::Forged => Name::Forged,
            Answer::Confirmed(name) => Name::Confirmed(name),
        };
        lock(rules).judge(&Guest { peer, gid, name }, wall, now)
    }

    /// What was found wrong with a file of rules that has changed, to be logged; each is said once.
    pub fn complaints(&self) -> Vec<String> {
        self.rules.as_ref().map(|rules| lock(rules).complaints()).unwrap_or_default()
    }

    /// Names are asked for in this way instead of the C library's.
    ///
    /// # Errors
    /// No memory, no descriptors.
    pub fn with_lookup(mut self, lookup: Arc<dyn Lookup>) -> Result<Warden, Error> {
        self.names = Some(Arc::new(Names::new(lookup)?));
        Ok(self)
    }

    /// Whether the machine is too loaded, what then, why, and until when at least.
    fn pressed(&self, now: Instant) -> Option<(Policy, &'static str, Instant)> {
        let Admission { load, memory, .. } = &self.admission;
        if load.is_none() && memory.is_none() {
            return None;
        }
        let (reading, until) = lock(&self.pressure).at(now);
        let by_load = load.filter(|bound| reading.load >= bound.most);
        let by_memory = memory.filter(|bound| reading.available < bound.least);
        by_load
            .map(|bound| (bound.policy, "the machine's load is too high", until))
            .or(by_memory.map(|bound| (bound.policy, "the machine has too little free memory", until)))
    }

    fn meaning(&self, reached: Reached, now: Instant) -> (Policy, &'static str, Instant) {
        let of = |bound: Option<Bound>| bound.map_or(Policy::Reset, |bound| bound.policy);
        let Admission { connections, per_source, rate, rate_per_source, .. } = &self.admission;
        let soon = now + RECHECK;
        match reached {
            Reached::Overall => (of(self.overall), "too many connections of all services", soon),
            Reached::Service => (of(*connections), "too many connections of the service", soon),
            Reached::Source => (of(*per_source), "too many connections from there", soon),
            Reached::ServiceRate(until) => {
                (rate.map_or(Policy::Reset, |bound| bound.policy), "connections come too fast", until)
            }
            Reached::SourceRate(until) => {
                let policy = rate_per_source.map_or(Policy::Reset, |bound| bound.policy);
                (policy, "connections come too fast from there", until)
            }
            Reached::Full => (Policy::Reset, "more connections than can be counted", soon),
        }
    }

    /// What tells this client's source apart from others.
    fn source(&self, peer: Peer) -> Source {
        let (kind, value) = match peer {
            Peer::Inet(address) => match address.ip().to_canonical() {
                IpAddr::V4(ip) => (b'4', u128::from(u32::from(ip))),
                IpAddr::V6(ip) => {
                    (b'6', cut(u128::from(ip), self.admission.ipv6_prefix.unwrap_or(IPV6_PREFIX), 128))
                }
            },
            Peer::Unix { uid, .. } => (b'u', u128::from(uid)),
            Peer::Vsock { cid, .. } => (b'v', u128::from(cid)),
            Peer::Unknown => (b'?', 0),
        };
        let mut source = [kind; 17];
        source[1..].copy_from_slice(&value.to_be_bytes());
        source
    }
}

/// What becomes of a client beyond a limit.
fn beyond(policy: Policy, reason: &'static str, until: Instant, visit: &mut Visit, now: Instant) -> Verdict {
    let refuse = |how| Verdict::Refuse(Refusal { how, reason, denied: false });
    match policy {
        Policy::Reset => refuse(How::Reset),
        Policy::Close => refuse(How::Close),
        // He was accepted before it could be seen that another process let in the last one.
        Policy::Queue => {
            visit.queued = true;
            Verdict::Wait(until)
        }
        Policy::Delay(most) => {
            let give_up_at = *visit.give_up_at.get_or_insert(now + most);
            if now >= give_up_at { refuse(How::Reset) } else { Verdict::Wait(until.min(give_up_at)) }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
