//! [`Sockets`]: every bound socket, held open here whatever becomes of workers and configurations.
//!
//! Opening is a transaction: what a plan needs is taken from the sockets that are there, from those that came from a
//! service manager or a predecessor, or bound anew; only when all of it is there does anything change.

use crate::exit::Exit;
use crate::plan::{Plan, ServicePlan};
use switchboard_net::sys::inherited::Inherited;
use switchboard_net::{
    Address, Endpoint, Error, Host, Listener, Place as At, Sharing, SocketOption, SocketOptions, Workers,
};

/// A socket's number; stays the same as long as it is open.
pub(super) type SocketId = u64;

/// Every bound socket.
#[derive(Default)]
pub(super) struct Sockets {
    bound: Vec<Bound>,
    last: SocketId,
}

pub(super) struct Bound {
    pub(super) id: SocketId,
    /// What was asked for: tells sockets apart across reloads and upgrades.
    name: String,
    pub(super) listener: Listener,
}

/// One address of a service: the sockets of its copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    /// Which of the unit's services.
    pub(super) service: usize,
    /// One for each copy of the worker.
    pub(super) sockets: Vec<SocketId>,
}

/// What a plan needs, all of it there.
pub(super) struct Opening {
    /// The seats of each service of the plan.
    pub(super) seats: Vec<Vec<Seat>>,
    new: Vec<Bound>,
    options: Vec<(SocketId, SocketOptions)>,
    /// What could not be bound and may be missing.
    pub(super) missed: Vec<String>,
}

/// Why nothing was changed.
pub(crate) type Complaint = (Exit, String);

impl Sockets {
    /// Finds or binds everything that `plan` needs, and changes nothing yet. `inherited` loses what is used.
    pub(super) fn open(&self, plan: &Plan, inherited: &mut Vec<Inherited>) -> Result<Opening, Complaint> {
        let mut opening =
            Opening { seats: Vec::new(), new: Vec::new(), options: Vec::new(), missed: Vec::new() };
        let mut last = self.last;
        for service in &plan.services {
            let mut seats = Vec::new();
            for place in &service.listen {
                let asked = place.endpoint.resolve().map_err(|error| (Exit::Name, error.to_string()))?;
                let several = asked.len() > 1;
                for address in asked {
                    let v6 = address.inet().is_some_and(|inet| inet.is_ipv6());
                    let options = socket_options(service, &place.options, &address, v6)
                        .map_err(|error| (Exit::Usage, error.to_string()))?;
                    match self.seat(service, &address, &options, inherited, &mut opening, &mut last) {
                        Ok(sockets) => seats.push(Seat { service: 0, sockets }),
                        // A machine without IPv6 has no ::1; nobody asked for it by name.
                        Err(error) if v6 && several && is_general(&place.endpoint) && is_absent(&error) => {}
                        Err(error @ Error::Config(_)) => return Err((Exit::Usage, error.to_string())),
                        Err(error) if service.optional => opening.missed.push(error.to_string()),
                        Err(error) => return Err((Exit::Failed, error.to_string())),
                    }
                }
            }
            // A service manager may give a service sockets that the plan does not name.
            while let Some(at) = inherited.iter().position(|one| one.name == service.id) {
                let one = inherited.remove(at);
                let Some(local) = Address::of_descriptor(&one.fd) else { continue };
                let options = socket_options(service, &[], &local, false)
                    .map_err(|error| (Exit::Usage, error.to_string()))?;
                let listener = Listener::adopt(one.fd, &local, &options)
                    .map_err(|error| (Exit::Failed, error.to_string()))?;
                last += 1;
                opening.new.push(Bound { id: last, name: name_of(service, &local, 0), listener });
                seats.push(Seat { service: 0, sockets: vec![last] });
            }
            opening.seats.push(seats);
        }
        Ok(opening)
    }

    /// The sockets of one address, one for each copy.
    fn seat(
        &self,
        service: &ServicePlan,
        address: &Address,
        options: &SocketOptions,
        inherited: &mut Vec<Inherited>,
        opening: &mut Opening,
        last: &mut SocketId,
    ) -> Result<Vec<SocketId>, Error> {
        let copies = service.action.copies();
        let mut sockets: Vec<SocketId> = Vec::new();
        let mut first: Option<Address> = None;
        for copy in 0..copies {
            let name = name_of(service, address, copy);
            let there = self.bound.iter().find(|bound| bound.name == name).or_else(|| {
                // A service that was renamed keeps its sockets, but for those whose port the kernel chose.
                let same = name.split_once(' ').map(|(_, rest)| rest);
                let chosen = address.inet().is_some_and(|inet| inet.port() == 0);
                self.bound
                    .iter()
                    .find(|bound| !chosen && bound.name.split_once(' ').map(|(_, rest)| rest) == same)
            });
            if let Some(bound) = there {
                opening.options.push((bound.id, options.clone()));
                first.get_or_insert_with(|| bound.listener.local().clone());
                sockets.push(bound.id);
                continue;
            }
            let given = inherited.iter().position(|one| one.name == name).or_else(|| {
                let fits = |one: &Inherited| {
                    Address::of_descriptor(&one.fd).is_some_and(|local| local.is_at(address))
                };
                let chosen = address.inet().is_some_and(|inet| inet.port() == 0);
                inherited.iter().position(|one| !chosen && !one.name.contains(' ') && fits(one))
            });
            let listener = match (given, &first) {
                (Some(at), _) => {
                    let mut listener =
                        Listener::adopt(inherited.remove(at).fd, address, &SocketOptions::default())?;
                    listener.change_options(options)?;
                    listener
                }
                // Fewer sockets than copies: those that are there are shared. A socket that was bound alone lets no
                // other join it, and it must not be closed.
                (None, Some(local)) if sockets_were_there(&sockets, self) || !local.kind.is_inet() => break,
                (None, Some(local)) => Listener::bind_with_mode(
                    &local.like(address),
                    options,
                    sharing(service),
                    service.file.mode,
                )?,
                (None, None) => {
                    Listener::bind_with_mode(address, options, sharing(service), service.file.mode)?
                }
            };
            service.file.give(&listener)?;
            first.get_or_insert_with(|| listener.local().clone());
            *last += 1;
            sockets.push(*last);
            opening.new.push(Bound { id: *last, name, listener });
        }
        Ok(sockets)
    }

    /// Makes an opening the truth. Sockets that it does not need are returned: whoever still serves them is to be told
    /// before they are closed.
    pub(super) fn commit(&mut self, opening: Opening, notices: &mut Vec<String>) -> Vec<Bound> {
        for (id, options) in opening.options {
            let bound = self.bound.iter_mut().find(|bound| bound.id == id);
            if let Some(Err(error)) = bound.map(|bound| bound.listener.change_options(&options)) {
                notices.push(error.to_string());
            }
        }
        self.last = self.last.max(opening.new.iter().map(|bound| bound.id).max().unwrap_or(0));
        self.bound.extend(opening.new);
        let needed = |id| opening.seats.iter().flatten().any(|seat| seat.sockets.contains(&id));
        let (kept, unneeded) =
            std::mem::take(&mut self.bound).into_iter().partition(|bound| needed(bound.id));
        self.bound = kept;
        unneeded
    }

    pub(super) fn listener(&self, id: SocketId) -> Option<&Listener> {
        self.bound.iter().find(|bound| bound.id == id).map(|bound| &bound.listener)
    }

    /// Every socket with the name under which a successor asks for it.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &Listener)> {
        self.bound.iter().map(|bound| (bound.name.as_str(), &bound.listener))
    }

    /// Takes a socket out, for a worker that was forked.
    pub(super) fn take(&mut self, id: SocketId) -> Option<Listener> {
        let at = self.bound.iter().position(|bound| bound.id == id)?;
        Some(self.bound.swap_remove(at).listener)
    }

    /// Closes everything here. What a successor has taken over keeps its file.
    pub(super) fn clear(&mut self, handed_over: bool) {
        if handed_over {
            self.bound.iter_mut().for_each(|bound| bound.listener.disown());
        }
        self.bound.clear();
    }
}

fn sockets_were_there(sockets: &[SocketId], store: &Sockets) -> bool {
    sockets.iter().any(|id| store.listener(*id).is_some())
}

fn sharing(service: &ServicePlan) -> Sharing {
    if service.action.copies() > 1 { Workers::ReusePort.sharing(2) } else { Sharing::Alone }
}

fn name_of(service: &ServicePlan, asked: &Address, copy: usize) -> String {
    let v6 = match &asked.place {
        switchboard_net::Location::Inet { only_v6: Some(true), .. } => " v6only",
        _ => "",
    };
    format!("{} {asked}{v6} {copy}", service.id.replace(' ', "_"))
}

fn socket_options(
    service: &ServicePlan,
    own: &[(String, String)],
    address: &Address,
    v6: bool,
) -> Result<SocketOptions, Error> {
    let mut options = SocketOptions::default();
    for (name, value) in service.options.iter().chain(own) {
        if SocketOption::find(name).is_some_and(|option| option.on.covers(address.kind, v6)) {
            options.set(name, value)?;
        }
    }
    Ok(options)
}

/// Whether the endpoint stands for addresses of both families that nobody named.
fn is_general(endpoint: &Endpoint) -> bool {
    matches!(&endpoint.place, At::Inet(Host::Loopback | Host::Any, _))
}

fn is_absent(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}
