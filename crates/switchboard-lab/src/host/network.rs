//! [`Network`]: hosts and the wire between them.

use crate::host::Host;
use crate::host::device::{Carrier, Device, Packets};
use crate::host::machine::Etc;
use crate::record::{HostId, HostInfo};
use crate::wire::fabric::Fabric;
use crate::wire::{self, Sink, WIRE_HARDWARE, Wire};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most hosts at one wire.
pub const MOST_HOSTS: usize = 32;

/// How hosts are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Topology {
    /// Each in a network of its own, with a route to everywhere: a dead host is silence.
    #[default]
    Routed,
    /// All on one Ethernet: a dead host is one that ARP does not find.
    Lan,
}

/// A network to be built.
#[derive(Debug, Default)]
pub struct Builder {
    topology: Topology,
    packets: Packets,
    carrier: Option<Carrier>,
    mtu: Option<u32>,
    seed: u64,
    hosts: Vec<(String, usize, bool)>,
    names: Vec<(String, IpAddr)>,
}

/// Hosts and the wire between them.
pub struct Network {
    hosts: Vec<Host>,
    wire: Wire,
}

impl Builder {
    /// How hosts are joined.
    #[must_use]
    pub fn topology(mut self, topology: Topology) -> Builder {
        self.topology = topology;
        self
    }

    /// How packets look to the wire.
    #[must_use]
    pub fn packets(mut self, packets: Packets) -> Builder {
        self.packets = packets;
        self
    }

    /// What kind of interface the hosts get; TUN if it can be had, by default.
    #[must_use]
    pub fn carrier(mut self, carrier: Carrier) -> Builder {
        self.carrier = Some(carrier);
        self
    }

    /// The greatest length of an IP packet; 1,500 by default.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Builder {
        self.mtu = Some(bytes);
        self
    }

    /// Seed of all that is random on the wire.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = seed;
        self
    }

    /// One more host.
    #[must_use]
    pub fn host(self, name: &str) -> Builder {
        self.host_with_addresses(name, 1)
    }

    /// One more host with several addresses of each family.
    #[must_use]
    pub fn host_with_addresses(mut self, name: &str, count: usize) -> Builder {
        self.hosts.push((name.to_owned(), count, true));
        self
    }

    /// One more host that is down until [`Host::boot`].
    #[must_use]
    pub fn dead_host(mut self, name: &str) -> Builder {
        self.hosts.push((name.to_owned(), 1, false));
        self
    }

    /// One more line in every `/etc/hosts`; in the order given.
    #[must_use]
    pub fn name(mut self, name: &str, address: IpAddr) -> Builder {
        self.names.push((name.to_owned(), address));
        self
    }

    /// Builds it and boots the hosts. What the wire sees goes to `sink`.
    ///
    /// # Errors
    /// More than [`MOST_HOSTS`] hosts, names that are no host names, and what the system refuses.
    pub fn start(mut self, sink: Sink) -> io::Result<Network> {
        if self.hosts.is_empty() {
            self = self.host("client").host("server");
        }
        self.check()?;
        let addresses: Vec<Vec<(IpAddr, u8)>> = self
            .hosts
            .iter()
            .enumerate()
            .map(|(at, (_, count, _))| self.topology.addresses(at, *count))
            .collect();
        let fabric = Fabric::new(
            addresses.iter().map(|list| list.iter().map(|(address, _)| *address).collect()),
            self.seed,
        );
        let wire = Wire::start(fabric, self.packets == Packets::Exact, sink)?;
        let mut hosts = Vec::new();
        for (at, (name, ..)) in self.hosts.iter().enumerate() {
            let id = HostId(at as u8);
            hosts.push(Host {
                id,
                etc: Etc { hostname: name.clone(), hosts: self.etc_hosts(&addresses) },
                device: Device {
                    carrier: self.carrier,
                    packets: self.packets,
                    lan: self.topology == Topology::Lan,
                    hardware: (wire::hardware(id), WIRE_HARDWARE),
                    addresses: addresses[at].clone(),
                    mtu: self.mtu.unwrap_or(1500),
                },
                wire: wire.clone(),
                machine: None,
            });
        }
        let mut network = Network { hosts, wire };
        for (host, (.., boot)) in network.hosts.iter_mut().zip(&self.hosts) {
            if *boot {
                host.boot()?;
            }
        }
        Ok(network)
    }

    fn check(&self) -> io::Result<()> {
        let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if self.hosts.len() > MOST_HOSTS {
            return wrong(format!("{} hosts: at most {MOST_HOSTS} can be at one wire", self.hosts.len()));
        }
        for (name, count, _) in &self.hosts {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
                return wrong(format!(
                    "`{name}` is no name of a host: letters, digits and hyphens, at most 63"
                ));
            }
            if !(1..=200).contains(count) {
                return wrong(format!("{count} addresses for {name}: a host has 1 to 200 of each family"));
            }
        }
        Ok(())
    }

    fn etc_hosts(&self, addresses: &[Vec<(IpAddr, u8)>]) -> String {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for ((name, ..), addresses) in self.hosts.iter().zip(addresses) {
            text.extend(addresses.iter().map(|(address, _)| format!("{address} {name}\n")));
        }
        text.extend(self.names.iter().map(|(name, address)| format!("{address} {name}\n")));
        text
    }
}

impl Topology {
    /// Addresses of the host at a place of the list, with the lengths of their networks.
    fn addresses(self, at: usize, count: usize) -> Vec<(IpAddr, u8)> {
        let (place, mut list) = (at as u8 + 1, Vec::new());
        for number in 1..=count as u8 {
            let v4 = match self {
                Topology::Routed => (Ipv4Addr::new(10, 0, place, number), 32),
                Topology::Lan => (Ipv4Addr::new(10, 0, number - 1, place), 16),
            };
            list.push((v4.0.into(), v4.1));
        }
        for number in 1..=u16::from(count as u8) {
            let v6 = match self {
                Topology::Routed => (Ipv6Addr::new(0xfd00, 0, 0, place.into(), 0, 0, 0, number), 128),
                Topology::Lan => (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, number - 1, place.into()), 64),
            };
            list.push((v6.0.into(), v6.1));
        }
        list
    }
}

impl Network {
    /// A network to be built: two routed hosts, `client` and `server`, unless it is told of others.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The hosts, in the order in which they were given.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host with this name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name() == name)
    }

    /// The host with this name, to crash or boot it.
    pub fn host_mut(&mut self, name: &str) -> Option<&mut Host> {
        self.hosts.iter_mut().find(|host| host.name() == name)
    }

    /// The wire.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The hosts as a recording's header has them, without programs.
    pub fn infos(&self) -> Vec<HostInfo> {
        let info = |host: &Host| HostInfo {
            name: host.name().to_owned(),
            addresses: host.addresses().collect(),
            program: None,
        };
        self.hosts.iter().map(info).collect()
    }
}
