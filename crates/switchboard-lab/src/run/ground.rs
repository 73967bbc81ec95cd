//! [`Ground`]: where a run takes place: on simulated hosts with a wire between them, or on this machine's loopback.

use super::{PORT, Plan};
use crate::host::{self, Child, Host, Network, Program};
use crate::record::{HostId, HostInfo};
use crate::scenario::{Scenario, Topology};
use crate::watch::{Watched, Watcher};
use crate::wire::Sink;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod ports;

pub(super) use ports::Ports;

/// The hosts of every run, in the order of their numbers.
pub(super) const HOSTS: [&str; 2] = ["client", "server"];

/// So many addresses of the name `several` come before the server's, and nobody has them.
pub(super) const DEAD: u32 = 2;

/// See the module.
pub(super) enum Ground {
    Hosts {
        network: Network,
        addresses: Addresses,
        ipv6: bool,
    },
    /// Client and server are processes side by side; nobody else listens at these ports.
    Loopback {
        ports: Ports,
        address: IpAddr,
    },
}

impl Ground {
    pub(super) fn open(plan: &Plan, scenario: &Scenario, sink: Sink) -> io::Result<Ground> {
        let ipv6 = plan.ipv6;
        if plan.loopback {
            let address: IpAddr = if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
            return Ok(Ground::Loopback { ports: Ports::reserve(ipv6)?, address });
        }
        let topology = match scenario.topology {
            Topology::Routed => host::Topology::Routed,
            Topology::Lan => host::Topology::Lan,
        };
        let mut builder = Network::builder().topology(topology).seed(plan.seed).mtu(scenario.mtu);
        for name in HOSTS {
            builder = builder.host(name);
        }
        // Addresses that nobody has, and a name for them and the server together, in this order.
        let addresses = Addresses::of(scenario.topology, ipv6);
        for address in addresses.nobody.into_iter().chain([addresses.server]) {
            builder = builder.name("several", address.parse().map_err(io::Error::other)?);
        }
        Ok(Ground::Hosts { network: builder.start(sink)?, addresses, ipv6 })
    }

    /// The number of a host.
    pub(super) fn id(&self, name: &str) -> io::Result<HostId> {
        let place = HOSTS.iter().position(|host| *host == name).and_then(|place| u8::try_from(place).ok());
        place.map(HostId).ok_or_else(|| io::Error::other(format!("there is no host {name}")))
    }

    /// The simulated hosts. Scenarios that need them are not run without, so that the error is never seen.
    pub(super) fn network(&self) -> io::Result<&Network> {
        match self {
            Ground::Hosts { network, .. } => Ok(network),
            Ground::Loopback { .. } => Err(no_hosts()),
        }
    }

    /// See [`Ground::network`].
    pub(super) fn network_mut(&mut self) -> io::Result<&mut Network> {
        match self {
            Ground::Hosts { network, .. } => Ok(network),
            Ground::Loopback { .. } => Err(no_hosts()),
        }
    }

    /// A simulated host.
    pub(super) fn host(&self, name: &str) -> io::Result<&Host> {
        self.network()?.host(name).ok_or_else(|| io::Error::other(format!("there is no host {name}")))
    }

    /// Whether packets are seen.
    pub(super) fn has_wire(&self) -> bool {
        matches!(self, Ground::Hosts { .. })
    }

    /// What clients connect to.
    pub(super) fn server_address(&self) -> String {
        match self {
            Ground::Hosts { addresses, .. } => addresses.server.to_owned(),
            Ground::Loopback { address, .. } => address.to_string(),
        }
    }

    /// Names and addresses for actors: `client=10.0.1.1,server=10.0.2.1,nobody=…`.
    pub(super) fn directory(&self) -> String {
        let named: Vec<String> = match self {
            Ground::Hosts { network, addresses, ipv6 } => network
                .hosts()
                .iter()
                .filter_map(|host| Some(format!("{}={}", host.name(), host.address(*ipv6)?)))
                .chain([format!("nobody={}", addresses.nobody[0])])
                .collect(),
            Ground::Loopback { address, .. } => {
                HOSTS.iter().map(|name| format!("{name}={address}")).collect()
            }
        };
        named.join(",")
    }

    /// Where that port of the scenario is here.
    pub(super) fn port(&self, wanted: u16) -> u16 {
        match self {
            Ground::Hosts { .. } => wanted,
            Ground::Loopback { ports, .. } => ports.of(wanted),
        }
    }

    /// The port that takes the place of [`PORT`].
    pub(super) fn first_port(&self) -> u16 {
        self.port(PORT)
    }

    /// The hosts as a recording's header has them, without programs.
    pub(super) fn infos(&self) -> Vec<HostInfo> {
        match self {
            Ground::Hosts { network, .. } => network.infos(),
            Ground::Loopback { address, .. } => {
                let info = |name: &&str| HostInfo {
                    name: (*name).to_owned(),
                    addresses: vec![*address],
                    program: None,
                };
                HOSTS.iter().map(info).collect()
            }
        }
    }

    /// Starts a program on a host under watch; `known` is told its number before any event of it is seen.
    pub(super) fn spawn(
        &self,
        name: &str,
        watcher: Watcher,
        program: Program,
        known: impl FnOnce(i32),
    ) -> io::Result<(Watched, Child)> {
        match self {
            Ground::Hosts { .. } => watcher.spawn_on_known(self.host(name)?, program, known),
            Ground::Loopback { .. } => watcher.spawn_here_known(program, known),
        }
    }
}

fn no_hosts() -> io::Error {
    io::Error::other("there are no simulated hosts here")
}

/// What programs are told of addresses.
pub(super) struct Addresses {
    server: &'static str,
    /// The first addresses of the name `several`, which nobody has. They are as near to the client as the server is, so
    /// that the resolver leaves them in their order (RFC 6724, rule 9).
    nobody: [&'static str; DEAD as usize],
}

impl Addresses {
    fn of(topology: Topology, ipv6: bool) -> Addresses {
        match (topology, ipv6) {
            (Topology::Routed, false) => {
                Addresses { server: "10.0.2.1", nobody: ["10.0.200.1", "10.0.200.2"] }
            }
            (Topology::Lan, false) => Addresses { server: "10.0.0.2", nobody: ["10.0.0.201", "10.0.0.202"] },
            (Topology::Routed, true) => {
                Addresses { server: "fd00:0:0:2::1", nobody: ["fd00:0:0:3::1", "fd00:0:0:3::2"] }
            }
            (Topology::Lan, true) => Addresses { server: "fd00::2", nobody: ["fd00::c9", "fd00::ca"] },
        }
    }
}
