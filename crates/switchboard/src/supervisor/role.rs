//! What a forked worker does for the rest of its life: it lets go of what is not its business, and serves its unit.

use super::agent;
use super::unit::{self, Unit};
use super::{CANNOT_SERVE, Supervisor, logger::Logger, metrics};
use crate::plan::{Action, ServicePlan};
use crate::report::Output;
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use switchboard_net::admission::Admission;
use switchboard_net::program::{self, ProgramSite};
use switchboard_net::relay::{self, RelaySite, Target};
use switchboard_net::roster;
use switchboard_net::sys::process;
use switchboard_net::sys::processors;
use switchboard_net::sys::signal::{self, Signal};
use switchboard_net::tcpmux::{self, MuxSite};
use switchboard_net::tls::Server;
use switchboard_net::{Dialing, Door, Error, Limits, Listener, Site};

/// Programs of one service at once, if nothing else is said.
const MOST_PROGRAMS: usize = 1_024;
/// Connections, or senders of datagrams, of one relay at once, if nothing else is said.
const MOST_RELAYED: usize = 4_096;

impl Supervisor {
    /// The rest of a forked child's life.
    pub(super) fn become_worker(&mut self, unit: usize, worker: usize, parent: Pid) -> ! {
        process::die_with(parent);
        // Ctrl-C goes to the whole group, and service managers signal every process: only the supervisor acts.
        let quiet = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::User1, Signal::User2];
        let quiet = quiet.into_iter().map(signal::ignore).all(|done| done.is_ok());
        debug_assert!(quiet, "ignoring a signal cannot fail");
        let _ = signal::reset(Signal::Child);
        self.signals.close_in_child();
        // What the others serve, and the supervisor's own affairs, are not this one's business.
        let reserved_ports = unit::own_ports(&self.units, &self.sockets);
        let mut sockets = std::mem::take(&mut self.sockets);
        let services = self.units.iter().map(|unit| (unit.name(), unit.slot)).collect();
        let unit = self.units.swap_remove(unit);
        let (listeners, mut doors) = match unit.services[0].action {
            Action::Builtin { .. } => {
                let view = agent::View::new(self.board.scores, &self.plan, &self.units, &unit);
                (Vec::new(), unit.doors(worker, &mut sockets, &view))
            }
            _ => (unit.listeners(worker, &mut sockets), Vec::new()),
        };
        if unit.services[0].id == metrics::ID {
            let (scores, register) = (Some(self.board.scores), Some(self.programs.register));
            let recipe = metrics::recipe(metrics::Numbers { scores, register, services });
            doors.iter_mut().for_each(|door| door.recipe = recipe.clone());
        }
        let offers = self.offered(&unit);
        drop(self.watch.take());
        drop((sockets, std::mem::take(&mut self.units), self.control.take(), self.upgrading.take()));
        drop(self.heritage.take());
        self.logger.iter_mut().chain(&mut self.old_loggers).for_each(Logger::leave);
        // Before there are threads, and before there are children: they answer as well.
        let begun = roster::begin(self.connections.roster);
        debug_assert!(begun.is_ok(), "catching a signal cannot fail");
        let status = match self.serve(&unit, worker, listeners, doors, offers, reserved_ports) {
            Ok(()) => 0,
            Err(error) => {
                let service = &unit.services[0];
                Output::default().talk(format_args!(
                    "{} {}: {error}",
                    service.action.kind(),
                    service.action.by()
                ));
                CANNOT_SERVE
            }
        };
        process::exit_now(status)
    }

    /// What a worker that chooses by name can choose from.
    fn offered(&self, unit: &Unit) -> Vec<tcpmux::Offer> {
        let is_offered = |other: &Unit| match &unit.services[0].action {
            Action::Tcpmux => other.services[0].tcpmux,
            Action::Escort { of } => other.services[0].id == *of,
            _ => false,
        };
        let offers = self.units.iter().filter(|other| is_offered(other)).filter_map(|other| {
            let door = share(&other.door.as_ref()?.outside).ok()?;
            Some(tcpmux::Offer { name: other.services[0].id.clone(), door })
        });
        offers.collect()
    }

    /// Serves, in a worker.
    fn serve(
        &self,
        unit: &Unit,
        worker: usize,
        listeners: Vec<(Listener, Option<Server>)>,
        doors: Vec<Door>,
        offers: Vec<tcpmux::Offer>,
        reserved_ports: Vec<u16>,
    ) -> Result<(), Error> {
        let service = &unit.services[0];
        let (listeners, tls): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let copies = unit.workers.len();
        // Every copy gets its share, the first ones the remainder; none gets nothing.
        let part = |n: usize| (n / copies + usize::from(worker < n % copies)).max(1);
        // Before it loses the right to.
        if let Action::Builtin { pins, .. } = &service.action {
            self.pin(service, pins.get(worker % pins.len().max(1)).copied(), &doors);
        }
        // A worker of programs needs its rights to give theirs away.
        if !matches!(service.action, Action::Program(_)) {
            service.confinement.apply_to_self(&service.id)?;
        }
        let limits = Limits {
            max_connections: service.limits.max_connections.map(part),
            drain_timeout: self.plan.drain_timeout,
            reserved_ports,
            ..service.limits.clone()
        };
        match &service.action {
            Action::Builtin { engine, workers, .. } => engine.engine.serve(Site {
                doors,
                limits,
                answers: Some(unit.answers),
                workers: workers.map_or_else(|| engine.workers.default_count(), usize::from),
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
                engine: engine.name,
            }),
            Action::Program(what) => program::serve(ProgramSite {
                id: &service.id,
                listeners,
                door: unit.door.as_ref().map(|door| share(&door.inside)).transpose()?,
                program: (**what).clone(),
                warden: unit.wardens[0].clone(),
                upstreams: service.upstreams.clone(),
                most: room(&limits, &service.admission, MOST_PROGRAMS),
                drain_timeout: limits.drain_timeout,
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
                register: self.programs.register,
                heir: unit.bequest.as_ref().map(|bequest| share(&bequest.from)).transpose()?,
                legacy: unit.legacy.as_ref().map(share).transpose()?,
            }),
            Action::Forward(forward) => relay::serve(RelaySite {
                id: &service.id,
                listeners,
                tls,
                door: unit.door.as_ref().map(|door| share(&door.inside)).transpose()?,
                to: Target::Endpoint(forward.to.clone()),
                outward: forward.outward,
                dialing: Dialing {
                    source: forward.source.map(|ip| std::net::SocketAddr::new(ip, 0)),
                    connect_timeout: forward.connect_timeout,
                    ..Dialing::default()
                },
                warden: unit.wardens[0].clone(),
                upstreams: service.upstreams.clone(),
                most: room(&limits, &service.admission, MOST_RELAYED),
                idle_timeout: limits.idle_timeout,
                lifetime: limits.lifetime,
                drain_timeout: limits.drain_timeout,
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
            }),
            Action::Escort { of } => relay::serve(RelaySite {
                id: of,
                listeners,
                tls,
                door: None,
                to: Target::Worker(offers.into_iter().next().map(|offer| offer.door).ok_or_else(|| {
                    Error::Config(format!("{of}: there is no worker to whom clients could be handed"))
                })?),
                outward: None,
                dialing: Dialing::default(),
                warden: unit.wardens[0].clone(),
                upstreams: service.upstreams.clone(),
                most: room(&limits, &service.admission, MOST_RELAYED),
                idle_timeout: None,
                lifetime: None,
                drain_timeout: limits.drain_timeout,
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
            }),
            Action::Tcpmux => tcpmux::serve(MuxSite {
                id: &service.id,
                listeners,
                offers,
                warden: unit.wardens[0].clone(),
                stop: &unit.stop,
                journal: &self.journal,
                counters: self.board.of(unit.slot),
                numbers: &self.board.scores.numbers,
            }),
        }
    }

    /// Lets this worker run on one processor and take what arrives there; or, if none is named, take its share of all, also
    /// where one was named before. A worker serves all the same if that cannot be.
    fn pin(&self, service: &ServicePlan, processor: Option<usize>, doors: &[Door]) {
        if let Some(number) = processor
            && let Err(errno) = processors::pin(number)
        {
            self.journal
                .event(&format!("{}: a worker cannot be pinned to processor {number}: {errno}", service.id));
        }
        let preferred = doors.iter().try_for_each(|door| door.listener.prefer_processor(processor));
        if let (Some(number), Err(errno)) = (processor, preferred) {
            self.journal.event(&format!(
                "{}: what arrives on processor {number} is not preferred: {errno}",
                service.id
            ));
        }
    }
}

/// For how many a worker has room, if `usual` is what it has when nothing is said. A rule of admission sees to it that no
/// more come in, by its own policy: for that there must be room for one more than it allows.
fn room(limits: &Limits, admission: &Admission, usual: usize) -> usize {
    let allowed = admission.connections.map_or(0, |bound| bound.most as usize);
    limits.max_connections.unwrap_or_else(|| usual.max(allowed.saturating_add(1)))
}

fn share(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    fd.try_clone().map_err(|error| Error::system("share a socket", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_net::admission::{Bound, Policy};

    #[test]
    fn a_rule_may_allow_more_than_is_usual() {
        let rule = |most| {
            let connections = Some(Bound { most, policy: Policy::Reset });
            Admission { connections, ..Admission::default() }
        };
        let (open, two) = (Limits::default(), Limits { max_connections: Some(2), ..Limits::default() });
        assert_eq!(room(&open, &Admission::default(), MOST_PROGRAMS), 1_024);
        assert_eq!(room(&open, &rule(3), MOST_PROGRAMS), 1_024);
        assert_eq!(room(&open, &rule(5_000), MOST_PROGRAMS), 5_001);
        assert_eq!(room(&two, &rule(5_000), MOST_PROGRAMS), 2);
    }
}
