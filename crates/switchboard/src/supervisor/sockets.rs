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
    /// Clients speak TLS here.
    pub(super) tls: bool,
}

/// What a plan needs, all of it there.
pub(super) struct Opening {
    /// The seats of each service of the plan.
    pub(super) seats: Vec<Vec<Seat>>,
    new: Vec<Bound>,
    kept: Vec<Kept>,
    /// What could not be bound and may be missing.
    pub(super) missed: Vec<String>,
    /// A name among them could not be resolved.
    pub(super) unnamed: bool,
}

/// A socket that was there, with what it is called and set to from now on.
struct Kept {
    id: SocketId,
    name: String,
    options: SocketOptions,
}

/// Why nothing was changed.
pub(crate) type Complaint = (Exit, String);

impl Sockets {
    /// Finds or binds everything that `plan` needs, and changes nothing yet. `inherited` loses what is used.
    pub(super) fn open(&self, plan: &Plan, inherited: &mut Vec<Inherited>) -> Result<Opening, Complaint> {
        let mut opening = Opening {
            seats: Vec::new(),
            new: Vec::new(),
            kept: Vec::new(),
            missed: Vec::new(),
            unnamed: false,
        };
        let mut last = self.last;
        for service in &plan.services {
            let mut seats = Vec::new();
            for place in &service.listen {
                let asked = match place.endpoint.resolve() {
                    Ok(asked) => asked,
                    Err(error) if service.optional => {
                        opening.unnamed = true;
                        opening.missed.push(error.to_string());
                        continue;
                    }
                    Err(error) => return Err((Exit::Name, error.to_string())),
                };
                let several = asked.len() > 1;
                for address in asked {
                    let v6 = address.inet().is_some_and(|inet| inet.is_ipv6());
                    let options = socket_options(service, &place.options, &address, v6)
                        .map_err(|error| (Exit::Usage, error.to_string()))?;
                    match self.seat(service, &address, &options, inherited, &mut opening, &mut last) {
                        Ok(sockets) => seats.push(Seat { service: 0, sockets, tls: place.tls }),
                        // A machine without IPv6 has no ::1; nobody asked for it by name.
                        Err(error) if v6 && several && is_general(&place.endpoint) && is_absent(&error) => {}
                        Err(error @ Error::Config(_)) => return Err((Exit::Usage, error.to_string())),
                        Err(error) if service.optional => opening.missed.push(error.to_string()),
                        Err(error) => return Err((Exit::Failed, error.to_string())),
                    }
                }
            }
            self.extra(service, inherited, &mut opening, &mut seats, &mut last)?;
            opening.seats.push(seats);
        }
        Ok(opening)
    }

    /// The sockets of one address, one for each copy. Those that are there are enough: one that was bound alone lets no
    /// other join it, and where there are more than copies, closing one would reset whoever is in its queue.
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
        let mut found = false;
        for copy in 0.. {
            let name = name_of(service, address, copy);
            if let Some(bound) = self.there(&name, address, opening) {
                opening.kept.push(Kept { id: bound.id, name, options: options.clone() });
                first.get_or_insert_with(|| bound.listener.local().clone());
                sockets.push(bound.id);
                found = true;
                continue;
            }
            let listener = match (given(&name, address, inherited), &first) {
                (Some(one), _) => {
                    let mut listener = Listener::adopt(one.fd, address, &SocketOptions::default())?;
                    listener.change_options(options)?;
                    found = true;
                    listener
                }
                (None, _) if found || copy >= copies => break,
                (None, Some(local)) if !local.kind.is_inet() => break,
                (None, first) => {
                    let at = first.as_ref().map_or_else(|| address.clone(), |local| local.like(address));
                    Listener::bind_with_mode(&at, options, sharing(service), service.file.mode)?
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

    /// Sockets that a service manager has given a service by its name, and that the plan does not speak of. They stay
    /// with it over reloads and upgrades.
    fn extra(
        &self,
        service: &ServicePlan,
        inherited: &mut Vec<Inherited>,
        opening: &mut Opening,
        seats: &mut Vec<Seat>,
        last: &mut SocketId,
    ) -> Result<(), Complaint> {
        // Nothing is said of them by themselves: they are like the others.
        let tls = service.tls.is_some() && service.listen.iter().all(|place| place.tls);
        let prefix = format!("{} given ", service.id.replace(' ', "_"));
        let options = |local: &Address| {
            socket_options(service, &[], local, false).map_err(|error| (Exit::Usage, error.to_string()))
        };
        for bound in self.bound.iter().filter(|bound| bound.name.starts_with(&prefix)) {
            let options = options(bound.listener.local())?;
            opening.kept.push(Kept { id: bound.id, name: bound.name.clone(), options });
            seats.push(Seat { service: 0, sockets: vec![bound.id], tls });
        }
        let theirs = |one: &Inherited| one.name == service.id || one.name.starts_with(&prefix);
        while let Some(at) = inherited.iter().position(theirs) {
            let one = inherited.remove(at);
            let Some(local) = Address::of_descriptor(&one.fd) else { continue };
            let listener = Listener::adopt(one.fd, &local, &options(&local)?)
                .map_err(|error| (Exit::Failed, error.to_string()))?;
            *last += 1;
            opening.new.push(Bound { id: *last, name: format!("{prefix}{local}"), listener });
            seats.push(Seat { service: 0, sockets: vec![*last], tls });
        }
        Ok(())
    }

    /// The socket called `name` that is bound already. A service that was renamed keeps its sockets, but for those
    /// whose port the kernel chose.
    fn there(&self, name: &str, address: &Address, opening: &Opening) -> Option<&Bound> {
        let free = |bound: &&Bound| opening.kept.iter().all(|kept| kept.id != bound.id);
        let of_name = self.bound.iter().find(|bound| bound.name == name && free(bound));
        of_name.or_else(|| {
            let renamed = |bound: &&Bound| is_renamed(&bound.name, name, address) && free(bound);
            self.bound.iter().find(renamed)
        })
    }

    /// Makes an opening the truth. Sockets that it does not need are returned: whoever still serves them is to be told
    /// before they are closed.
    pub(super) fn commit(&mut self, opening: Opening, notices: &mut Vec<String>) -> Vec<Bound> {
        for kept in opening.kept {
            let Some(bound) = self.bound.iter_mut().find(|bound| bound.id == kept.id) else { continue };
            bound.name = kept.name;
            if let Err(error) = bound.listener.change_options(&kept.options) {
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

/// Takes from what was handed over the socket called `name`, or else one at `address`.
fn given(name: &str, address: &Address, inherited: &mut Vec<Inherited>) -> Option<Inherited> {
    let by_name = || inherited.iter().position(|one| one.name == name);
    let renamed = || inherited.iter().position(|one| is_renamed(&one.name, name, address));
    // A service manager's names have no spaces.
    let by_address = || {
        let fits =
            |one: &Inherited| Address::of_descriptor(&one.fd).is_some_and(|local| local.is_at(address));
        inherited.iter().position(|one| !is_chosen(address) && !one.name.contains(' ') && fits(one))
    };
    let at = by_name().or_else(renamed).or_else(by_address)?;
    Some(inherited.remove(at))
}

/// Whether the socket called `old` is the one called `new`, of a service that has another id now.
fn is_renamed(old: &str, new: &str, address: &Address) -> bool {
    let place = |name: &str| name.split_once(' ').map(|(_, place)| place.to_owned());
    !is_chosen(address) && place(new).is_some() && place(old) == place(new)
}

/// Whether the kernel chooses the port.
fn is_chosen(address: &Address) -> bool {
    address.inet().is_some_and(|inet| inet.port() == 0)
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
