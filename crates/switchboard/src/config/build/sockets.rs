//! Where services listen: endpoints, options of sockets, files of Unix sockets, and addresses that two want.

use super::super::complaint::{Complaint, Complaints, near};
use super::super::load::ServiceWritten;
use super::super::source::{At, Span};
use super::Draft;
use crate::plan::{FilePlan, Place};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use switchboard_net::{
    Cid, ENGINES, Endpoint, EngineRow, Host, Kind, Place as Where, SOCKET_OPTIONS, SocketOption,
    SocketOptions,
};
use switchboard_proto::Service;

impl Draft<'_> {
    /// Where clients come in.
    pub(super) fn listen(&mut self) -> Vec<At<Place>> {
        let own = &self.service.own;
        let Some(listen) = &own.listen else {
            let service = own.builtin.as_ref().and_then(|at| Service::find(&at.value));
            let by_tcpmux = own.tcpmux.as_ref().is_some_and(|at| at.value);
            return service.filter(|_| !by_tcpmux).map(|row| self.board(row)).unwrap_or_default();
        };
        let mut places = Vec::new();
        for item in &listen.value.0 {
            let place = item.value.parse::<Place>().and_then(|place| {
                if let Where::Inet(_, port) = &place.endpoint.place {
                    port.number(place.endpoint.kind)?;
                }
                Ok(place)
            });
            match place {
                Ok(place) => places.push(At { value: place, span: item.span }),
                Err(error) => {
                    let label = "expected PORT, HOST:PORT, tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, …";
                    self.complain(Complaint::new(error.to_string()).at(item.span, label));
                }
            }
        }
        places
    }

    /// A built-in service's own ports, on loopback.
    fn board(&self, row: &Service) -> Vec<At<Place>> {
        let engine = self.service.all.engine.as_ref().and_then(|at| EngineRow::find(&at.value));
        let datagrams = engine.is_none_or(|row| row.datagrams);
        let at = |kind| move |port: &u16| At::from(Place::from(Endpoint::loopback(kind, *port)));
        let udp = row.board.udp.iter().filter(|_| datagrams).map(at(Kind::Udp));
        row.board.tcp.iter().map(at(Kind::Tcp)).chain(udp).collect()
    }

    /// Options of all its sockets: those that it says itself must be for one of them, defaults need not.
    pub(super) fn socket_options(&mut self, listen: &[At<Place>]) -> Vec<(String, String)> {
        let mut options = Vec::new();
        let pairs = self.service.all.socket_options.as_ref().map(|at| at.value.0.clone()).unwrap_or_default();
        let own = self.service.own.socket_options.as_ref();
        for (name, value) in pairs {
            let Some(row) = SocketOption::find(&name.value) else {
                let known = SOCKET_OPTIONS.iter().map(|row| row.name);
                let complaint =
                    Complaint::new(format!("there is no socket option `{}`", name.value.escape_debug()))
                        .at(name.span, "unknown option");
                let hint =
                    near(&name.value.replace('_', "-"), known).map(|near| format!("did you mean `{near}`?"));
                self.complain(
                    complaint.help(hint.unwrap_or_else(|| "`switchboard list options` shows all".into())),
                );
                continue;
            };
            if let Err(error) = SocketOptions::default().set(row.name, &value.value) {
                self.complain(
                    Complaint::new(error.to_string()).at(value.span, format!("expected {}", row.values)),
                );
                continue;
            }
            let covers =
                |at: &At<Place>| row.on.covers(at.value.endpoint.kind, at.value.endpoint.may_be_ipv6());
            let is_own = own.is_some_and(|own| own.value.0.iter().any(|(own, _)| own.value == name.value));
            if listen.iter().any(covers) {
                options.push((name.value, value.value));
            } else if is_own && !listen.is_empty() {
                let problem = format!("option `{}` applies to none of the sockets of this service", row.name);
                self.complain(Complaint::new(problem).at(name.span, "").at(listen[0].span, "they are here"));
            }
        }
        options
    }

    /// The files of its Unix sockets.
    pub(super) fn file(&mut self, listen: &[At<Place>]) -> FilePlan {
        if !listen.iter().any(|at| matches!(at.value.endpoint.place, Where::Path(_))) {
            self.useless(
                &["socket_mode", "socket_owner", "socket_group"],
                "it has no Unix socket with a path",
            );
        }
        let all = &self.service.all;
        let uid = all.socket_owner.clone().and_then(|at| self.uid(&at));
        let gid = all.socket_group.clone().and_then(|at| self.gid(&at));
        FilePlan { mode: all.socket_mode.as_ref().map(|at| at.value.0), uid, gid }
    }

    /// Datagrams need an engine that has them.
    pub(super) fn engine_fits(&mut self, engine: &EngineRow, written: Option<Span>, listen: &[At<Place>]) {
        let packets = listen.iter().filter(|at| at.value.endpoint.kind.is_datagram());
        let packets: Vec<Option<Span>> = packets.map(|at| at.span).collect();
        let busy = self.service.own.busy_poll.as_ref().and_then(|at| at.span);
        if !engine.spins && busy.is_some() {
            let able: Vec<&str> = ENGINES.iter().filter(|row| row.spins).map(|row| row.name).collect();
            let complaint = Complaint::new("`busy_poll` does nothing for this service")
                .at(busy, format!("engine {} has no loop that could look before it sleeps", engine.name))
                .help(format!("these have: {}", able.join(", ")));
            self.complain(complaint);
        }
        if engine.datagrams || packets.is_empty() {
            return;
        }
        let able: Vec<&str> = ENGINES.iter().filter(|row| row.datagrams).map(|row| row.name).collect();
        let complaint = Complaint::new(format!("engine {} serves streams only", engine.name))
            .at(packets[0], "these are datagrams")
            .at(written, "by this engine")
            .help(format!("datagrams are served by {}", able.join(", ")));
        self.complain(complaint);
    }
}

/// One address that a service binds.
struct Claim {
    kind: Kind,
    spot: Spot,
    device: Option<String>,
    span: Option<Span>,
}

/// What of the kernel's names it takes.
#[derive(PartialEq)]
enum Spot {
    Inet { ip: IpAddr, port: u16, dual: bool },
    Path(PathBuf),
    Abstract(Vec<u8>),
    Vsock(Cid, u32),
}

/// Where a claim is looked for: only those of the same shelf can collide.
#[derive(PartialEq, Eq, Hash)]
enum Shelf {
    /// A specific address and port.
    Address(Kind, u16, IpAddr),
    /// The wildcards of a port.
    Wildcard(Kind, u16),
    /// The specific addresses of a port.
    Port(Kind, u16),
    Name(Vec<u8>),
}

impl Claim {
    /// The shelves it lies on, and those where what it collides with would lie.
    fn shelves(&self) -> ([Option<Shelf>; 2], [Option<Shelf>; 2]) {
        let name = |name: &[u8]| {
            ([Some(Shelf::Name(name.to_vec())), None], [Some(Shelf::Name(name.to_vec())), None])
        };
        match &self.spot {
            Spot::Inet { ip, port, .. } => {
                let (address, wildcard) =
                    (|| Shelf::Address(self.kind, *port, *ip), || Shelf::Wildcard(self.kind, *port));
                let port = || Shelf::Port(self.kind, *port);
                if ip.is_unspecified() {
                    ([Some(wildcard()), None], [Some(wildcard()), Some(port())])
                } else {
                    ([Some(address()), Some(port())], [Some(address()), Some(wildcard())])
                }
            }
            Spot::Path(path) => name(path.as_os_str().as_bytes()),
            Spot::Abstract(bytes) => name(bytes),
            Spot::Vsock(_, port) => name(&port.to_ne_bytes()),
        }
    }

    fn collides(&self, other: &Claim) -> bool {
        if self.kind != other.kind && self.kind.is_inet()
            || (self.device.is_some() && other.device.is_some() && self.device != other.device)
        {
            return false;
        }
        match (&self.spot, &other.spot) {
            (Spot::Inet { ip: a, port: p, dual: a_dual }, Spot::Inet { ip: b, port: q, dual: b_dual }) => {
                // Only one can listen at a wildcard and the addresses that it stands for (ip(7), bind(2)).
                p == q && (a == b || covers(*a, *a_dual, *b) || covers(*b, *b_dual, *a))
            }
            // Unix names of different kinds are the same file, and apart in the abstract namespace.
            (Spot::Abstract(a), Spot::Abstract(b)) => a == b && self.kind == other.kind,
            (Spot::Vsock(a, p), Spot::Vsock(b, q)) => a == b && p == q,
            (a, b) => a == b,
        }
    }
}

fn covers(wildcard: IpAddr, dual: bool, ip: IpAddr) -> bool {
    wildcard.is_unspecified() && (wildcard.is_ipv4() == ip.is_ipv4() || dual && wildcard.is_ipv6())
}

/// Complains about addresses that are wanted twice; each service comes with its places.
pub(super) fn collisions(services: &[(&ServiceWritten, Vec<At<Place>>)], complaints: &mut Complaints) {
    let (mut claims, mut shelves): (Vec<Claim>, HashMap<Shelf, Vec<usize>>) = (Vec::new(), HashMap::new());
    for (service, places) in services {
        for place in places {
            let span = place.span.or(service.own.span);
            let fresh = claimed(&place.value, service, span);
            let taken = fresh.iter().find_map(|claim| {
                let near = claim.shelves().1.into_iter().flatten().filter_map(|shelf| shelves.get(&shelf));
                near.flatten().map(|at| &claims[*at]).find(|other| other.collides(claim))
            });
            if let Some(first) = taken {
                let complaint = Complaint::new(format!("{} is taken already", place.value.endpoint))
                    .at(span, "cannot be bound a second time")
                    .at(first.span, "bound here");
                complaints.push(complaint);
                continue;
            }
            for claim in fresh {
                for shelf in claim.shelves().0.into_iter().flatten() {
                    shelves.entry(shelf).or_default().push(claims.len());
                }
                claims.push(claim);
            }
        }
    }
}

fn claimed(place: &Place, service: &ServiceWritten, span: Option<Span>) -> Vec<Claim> {
    let kind = place.endpoint.kind;
    let option = |name: &str| {
        let own = place.options.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.clone());
        let pairs = service.all.socket_options.iter().flat_map(|at| &at.value.0);
        own.or_else(|| {
            pairs.into_iter().find(|(given, _)| given.value == name).map(|(_, value)| value.value.clone())
        })
    };
    let v6only = option("v6only").map(|value| matches!(value.as_str(), "on" | "yes" | "true" | "1"));
    let device = option("device");
    let claim = |spot| Claim { kind, spot, device: device.clone(), span };
    let (host, port) = match &place.endpoint.place {
        Where::Path(path) => return vec![claim(Spot::Path(path.clone()))],
        Where::Abstract(name) => return vec![claim(Spot::Abstract(name.clone()))],
        Where::Vsock(_, 0) => return Vec::new(),
        Where::Vsock(cid, port) => return vec![claim(Spot::Vsock(*cid, *port))],
        Where::Inet(host, port) => (host, port.number(kind).unwrap_or(0)),
    };
    if port == 0 {
        return Vec::new();
    }
    let at = |ip: IpAddr, dual| claim(Spot::Inet { ip, port, dual });
    match host {
        Host::Any => vec![at(Ipv4Addr::UNSPECIFIED.into(), false), at(Ipv6Addr::UNSPECIFIED.into(), false)],
        Host::Loopback => vec![at(Ipv4Addr::LOCALHOST.into(), false), at(Ipv6Addr::LOCALHOST.into(), false)],
        // Two interfaces may have the same link-local address.
        Host::Ip(_, Some(_)) | Host::Name(_) => Vec::new(),
        Host::Ip(ip, None) => {
            let dual = ip.is_ipv6() && ip.is_unspecified() && !v6only.unwrap_or(kind == Kind::Udp);
            vec![at(*ip, dual)]
        }
    }
}
