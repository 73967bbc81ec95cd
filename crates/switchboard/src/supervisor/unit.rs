//! [`Unit`]: what is served together: one service, or the whole board of the command line; and its worker processes.

use super::agent::View;
use super::sockets::{Opening, Seat, SocketId, Sockets};
use crate::plan::{Action, Plan, ServicePlan};
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::admission::{Answers, Bound, Ledger, Warden};
use switchboard_net::sys::{parcel, process};
use switchboard_net::tls::Server;
use switchboard_net::{Door, Error, Kind, Listener, Stop};
use switchboard_proto::Instant;

/// Pause before a worker that died is started again; doubled up to the longest while it keeps dying.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A worker that lived this long before it died starts over with the first pause.
const STEADY: Duration = Duration::from_secs(10);

/// Services that one set of workers serves.
pub(super) struct Unit {
    pub(super) services: Vec<ServicePlan>,
    pub(super) seats: Vec<Seat>,
    /// Who decides about the clients of each service.
    pub(super) wardens: Vec<Option<Arc<Warden>>>,
    /// Where their answers to datagrams are counted.
    pub(super) answers: Answers,
    /// Its counters, by their place on the scoreboard.
    pub(super) slot: usize,
    pub(super) stop: Stop,
    /// How its worker hands running programs over to the next one of the same service.
    pub(super) bequest: Option<Bequest>,
    /// From the last worker of this service.
    pub(super) legacy: Option<OwnedFd>,
    /// How connections come in that another worker has accepted.
    pub(super) door: Option<PassedDoor>,
    pub(super) workers: Vec<Worker>,
    /// It could not serve at all, and is not tried again.
    pub(super) failed: bool,
    /// Workers that died and were started again.
    pub(super) restarts: u64,
}

/// Two ends of a socket between one worker of a service and the next.
pub(super) struct Bequest {
    pub(super) from: OwnedFd,
    pub(super) to: OwnedFd,
}

/// Two ends of a socket between the worker that chooses by name and that of the service that was chosen.
pub(super) struct PassedDoor {
    pub(super) outside: OwnedFd,
    pub(super) inside: OwnedFd,
}

/// A worker process, or the place of one.
pub(super) struct Worker {
    pub(super) pid: Option<Pid>,
    started: Instant,
    pause: Duration,
    pub(super) start_at: Instant,
}

/// A process that serves on without its listeners, after its unit was changed or removed.
pub(super) struct Retired {
    pub(super) pid: Pid,
    pub(super) unit: String,
    /// Whether programs are its business: they go on without it.
    pub(super) programs: bool,
    /// Whether its conversations are in the roster: they can be cut one by one.
    pub(super) listed: bool,
}

impl Unit {
    /// What belongs together in `plan`. A file's services have workers of their own, so that one can be changed, or
    /// crash, while the others go on; the services of a command line share one where their engine serves many.
    pub(super) fn groups(plan: &Plan, opening: &Opening) -> Vec<(Vec<ServicePlan>, Vec<Seat>)> {
        let mut groups: Vec<(Vec<ServicePlan>, Vec<Seat>)> = Vec::new();
        let together = |service: &ServicePlan| {
            plan.files.is_empty()
                && matches!(&service.action, Action::Builtin { engine, .. } if engine.many_services)
        };
        for (service, seats) in plan.services.iter().zip(&opening.seats) {
            if seats.is_empty() && !service.tcpmux && !service.escorted {
                continue;
            }
            let group = match groups.last_mut() {
                Some(group) if together(service) && group.0.iter().all(together) => group,
                _ => {
                    groups.push((Vec::new(), Vec::new()));
                    groups.last_mut().expect("one was pushed")
                }
            };
            let number = group.0.len();
            group.0.push(service.clone());
            group.1.extend(seats.iter().map(|seat| Seat { service: number, ..seat.clone() }));
        }
        groups
    }

    /// A unit whose workers are not started yet.
    ///
    /// # Errors
    /// No descriptors, no memory; rules of admission that cannot be.
    pub(super) fn new(
        services: Vec<ServicePlan>,
        seats: Vec<Seat>,
        overall: Option<Bound>,
        ledger: &Ledger,
    ) -> Result<Unit, Error> {
        let warden = |service: &ServicePlan| {
            let needed = Warden::is_needed(&service.admission, overall);
            needed
                .then(|| Warden::new(counted_as(service), &service.admission, overall, ledger).map(Arc::new))
                .transpose()
        };
        let wardens = services.iter().map(warden).collect::<Result<_, _>>()?;
        let copies = services.iter().map(|service| service.action.copies()).max().unwrap_or(1);
        let worker = || Worker {
            pid: None,
            started: Instant::default(),
            pause: FIRST_PAUSE,
            start_at: Instant::default(),
        };
        let pair = || parcel::pair().map_err(|errno| Error::system("make a pair of sockets", errno));
        let is_program = matches!(services.first().map(|one| &one.action), Some(Action::Program(_)));
        let by_others = services.iter().any(|service| service.tcpmux || service.escorted);
        let bequest = is_program.then(pair).transpose()?.map(|(from, to)| Bequest { from, to });
        let door = by_others.then(pair).transpose()?.map(|(outside, inside)| PassedDoor { outside, inside });
        Ok(Unit {
            answers: ledger.answers(&name_of(&services)),
            bequest,
            legacy: None,
            door,
            services,
            seats,
            wardens,
            slot: 0,
            stop: Stop::new()?,
            workers: (0..copies).map(|_| worker()).collect(),
            failed: false,
            restarts: 0,
        })
    }

    /// What people call it.
    pub(super) fn name(&self) -> String {
        name_of(&self.services)
    }

    /// Every address with its service, the first of its sockets, and whether TLS is spoken there.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&ServicePlan, SocketId, bool)> {
        self.seats
            .iter()
            .filter_map(|seat| Some((&self.services[seat.service], *seat.sockets.first()?, seat.tls)))
    }

    /// The sockets of one worker: each is served by one worker, and each worker has one of each address.
    pub(super) fn share(&self, copy: usize) -> Vec<(&Seat, SocketId)> {
        let copies = self.workers.len();
        let mut share = Vec::new();
        for seat in &self.seats {
            let there = seat.sockets.len();
            let mine = (0..there).filter(|at| at % copies == copy);
            let before = share.len();
            share.extend(mine.map(|at| (seat, seat.sockets[at])));
            if share.len() == before && there > 0 {
                share.push((seat, seat.sockets[copy % there]));
            }
        }
        share
    }

    /// The doors of one worker, in that worker: the sockets move out of the store.
    pub(super) fn doors(&self, copy: usize, sockets: &mut Sockets, view: &View) -> Vec<Door> {
        let doors = self.share(copy).into_iter().filter_map(|(seat, socket)| {
            let service = &self.services[seat.service];
            let Action::Builtin { recipe, settings, service: row, .. } = &service.action else { return None };
            let mut recipe = view.recipe(row, settings).unwrap_or_else(|| recipe.clone());
            // Of several services that do the same the log tells which it was.
            recipe.name = service.id.as_str().into();
            Some(Door {
                listener: sockets.take(socket)?,
                recipe,
                warden: self.wardens[seat.service].clone(),
                upstreams: service.upstreams.clone(),
                tls: service.tls.clone().filter(|_| seat.tls),
            })
        });
        doors.collect()
    }

    /// The listeners of one worker, in that worker, and how TLS is spoken there: the sockets move out of the store.
    pub(super) fn listeners(&self, copy: usize, sockets: &mut Sockets) -> Vec<(Listener, Option<Server>)> {
        let listeners = self.share(copy).into_iter().filter_map(|(seat, socket)| {
            let tls = self.services[seat.service].tls.clone().filter(|_| seat.tls);
            Some((sockets.take(socket)?, tls))
        });
        listeners.collect()
    }
}

fn name_of(services: &[ServicePlan]) -> String {
    match services {
        [one] => one.id.clone(),
        [first, .., last] => format!("{}…{}", first.id, last.id),
        [] => "nothing".into(),
    }
}

/// Under whose name the clients of a service are counted: whoever speaks TLS for another one counts his.
fn counted_as(service: &ServicePlan) -> &str {
    match &service.action {
        Action::Escort { of } => of,
        _ => &service.id,
    }
}

impl Worker {
    /// It was started now.
    pub(super) fn begin(&mut self, pid: Pid, now: Instant) {
        (self.pid, self.started) = (Some(pid), now);
    }

    /// It is to be started again, after a pause.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.pid = None;
        if now.since(self.started) >= STEADY {
            self.pause = FIRST_PAUSE;
        }
        self.start_at = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    pub(super) fn kill(&self) {
        self.pid.into_iter().for_each(process::kill);
    }
}

/// UDP ports that are served here: datagrams from them are not answered.
pub(super) fn own_ports(units: &[Unit], sockets: &Sockets) -> Vec<u16> {
    let ids = units.iter().flat_map(|unit| &unit.seats).flat_map(|seat| &seat.sockets);
    let listeners = ids.filter_map(|id| sockets.listener(*id)).map(Listener::local);
    let udp = listeners.filter(|local| local.kind == Kind::Udp);
    udp.filter_map(|local| local.inet()).map(|inet| inet.port()).collect()
}
