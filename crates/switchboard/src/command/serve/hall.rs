//! [`Hall`]: everything that was bound, and how it is shared out to worker processes.

use super::options::Options;
use super::{Arguments, Complaint, Offer, usage};
use crate::exit::Exit;
use crate::plan::Place;
use crate::report::Output;
use crate::supervisor::Work;
use std::sync::Arc;
use switchboard_net::admission::Warden;
use switchboard_net::{Address, Door, EngineRow, Error, Kind, Limits, Listener, SocketOptions};
use switchboard_proto::Service;

/// The doors of every copy of the worker.
pub(super) struct Hall {
    pub(super) engine: &'static EngineRow,
    pub(super) copies: usize,
    pub(super) doors: Vec<Vec<(Door, &'static Service)>>,
    /// Addresses that could not be bound.
    pub(super) missed: usize,
}

impl Hall {
    /// Binds every address of `endpoint`, once per copy. What cannot be bound is said and counted.
    pub(super) fn open(
        &mut self,
        offer: &Offer,
        place: &Place,
        warden: Option<&Arc<Warden>>,
        options: &Options,
        board: bool,
        out: &mut Output,
    ) -> Result<(), Complaint> {
        let addresses = place.endpoint.resolve().map_err(|error| (Exit::Name, error.to_string()))?;
        for address in addresses {
            let v6 = address.inet().is_some_and(|inet| inet.is_ipv6());
            let options = options.for_socket(place, v6).map_err(usage)?;
            match self.bind(address, &options) {
                Ok(listeners) => {
                    for (doors, listener) in self.doors.iter_mut().zip(listeners) {
                        doors.push((
                            Door { listener, recipe: offer.recipe.clone(), warden: warden.cloned() },
                            offer.service,
                        ));
                    }
                }
                // A machine without IPv6 has no ::1; nobody asked for it by name.
                Err(error) if v6 && board && is_absent(&error) => {}
                Err(error @ Error::Config(_)) => return Err(usage(error)),
                Err(error) => {
                    self.missed += 1;
                    out.talk(error);
                }
            }
        }
        Ok(())
    }

    fn bind(&self, address: Address, options: &SocketOptions) -> Result<Vec<Listener>, Error> {
        let sharing = self.engine.workers.sharing(self.copies);
        let first = Listener::bind_address(&address, options, sharing)?;
        // Port 0 was decided by the first one; a Unix name can be bound only once and is shared.
        let bound = first.local().clone();
        let mut listeners = vec![first];
        for _ in 1..self.copies {
            let next = if bound.kind.is_inet() {
                Listener::bind_address(&bound.like(&address), options, sharing)?
            } else {
                listeners[0].share()?
            };
            listeners.push(next);
        }
        Ok(listeners)
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// Shares the doors out: one worker for all services if its engine can, otherwise one for each service.
pub(super) fn works(hall: Hall, arguments: &Arguments) -> Vec<Work> {
    let Hall { engine, copies, doors, .. } = hall;
    let own_ports: Vec<u16> = doors
        .iter()
        .flatten()
        .filter(|(door, _)| door.listener.local().kind == Kind::Udp)
        .filter_map(|(door, _)| door.listener.local().inet())
        .map(|inet| inet.port())
        .collect();
    let tasks = arguments.workers.map_or_else(|| engine.workers.default_count(), usize::from);
    let given = &arguments.limits;
    let mut works = Vec::new();
    for (copy, doors) in doors.into_iter().enumerate() {
        let mut limits = Limits {
            // Every copy gets its share, the first ones the remainder; none gets nothing.
            max_connections: given
                .max_connections
                // Otherwise it is the warden who counts.
                .filter(|_| arguments.admission.queues())
                .map(|n| (n / copies + usize::from(copy < n % copies)).max(1)),
            idle_timeout: given.idle_timeout.filter(|limit| !limit.is_zero()),
            lifetime: given.lifetime.filter(|limit| !limit.is_zero()),
            drain_timeout: given.drain_timeout,
            reserved_ports: own_ports.clone(),
            ..Limits::default()
        };
        limits.datagrams.source = given.udp_source_rate.0;
        limits.datagrams.global = given.udp_total_rate.0;
        let work = |doors| Work { engine, doors, tasks, limits: limits.clone() };
        if engine.many_services {
            works.push(work(doors.into_iter().map(|(door, _)| door).collect()));
            continue;
        }
        let mut groups: Vec<(&str, Vec<Door>)> = Vec::new();
        for (door, service) in doors {
            match groups.iter_mut().find(|(name, _)| *name == service.name) {
                Some((_, group)) => group.push(door),
                None => groups.push((service.name, vec![door])),
            }
        }
        works.extend(groups.into_iter().map(|(_, doors)| work(doors)));
    }
    works
}
