//! A host's network interface, and the lab's end of it.
//!
//! TUN and TAP need `/dev/net/tun`, which on many machines is for root only. A veth pair needs nothing: its far end
//! stays in the network namespace that the host's first process was born in, where a packet socket of the lab's reads
//! and writes it, and the host moves on to a fresh namespace.

use crate::host::machine::{Machine, about};
use crate::host::netlink::Netlink;
use crate::host::sys::{self, InterfaceName};
use crate::wire::QUEUE;
use crate::wire::port::{Framing, Port};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::OFlags;
use std::io;
use std::net::IpAddr;

/// The interface's name on the host.
const NAME: &str = "wire0";
/// Its far end, where nobody looks.
const FAR: &str = "far0";

/// What kind of interface carries packets to the lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// A TUN (or TAP, on a LAN).
    Tun,
    /// A veth pair and a packet socket.
    Veth,
}

/// How packets look to the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Packets {
    /// Each as it would be on a cable: no longer than the MTU, with its checksum. For everything that is looked at.
    #[default]
    Exact,
    /// As the kernel likes them: up to 64 KiB, cut up nowhere. For speed.
    Segmented,
}

/// What to make.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// None: TUN if it can be had.
    pub(super) carrier: Option<Carrier>,
    pub(super) packets: Packets,
    /// Whether hosts find each other by ARP and neighbour discovery.
    pub(super) lan: bool,
    /// Hardware addresses: the host's, the wire's.
    pub(super) hardware: ([u8; 6], [u8; 6]),
    /// Addresses with the lengths of their networks.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    pub(super) mtu: u32,
}

impl Device {
    /// One that needs the least: what is to be seen is whether it can be made.
    pub(super) fn probe() -> Device {
        Device {
            carrier: Some(Carrier::Veth),
            packets: Packets::Exact,
            lan: false,
            hardware: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            addresses: vec![([10, 0, 0, 1].into(), 32)],
            mtu: 1500,
        }
    }

    /// Makes the interface on a machine that has none yet, and returns the lab's end.
    pub(super) fn connect(&self, machine: &Machine) -> io::Result<Port> {
        let tun = match self.carrier {
            Some(Carrier::Veth) => None,
            Some(Carrier::Tun) => Some(open_tun(machine).map_err(|e| about("opening /dev/net/tun", e))?),
            None => open_tun(machine).ok(),
        };
        let port = match tun {
            Some(tun) => self.tun(machine, tun)?,
            None => self.veth(machine)?,
        };
        self.address(machine).map_err(|e| about("giving the host its addresses", e))?;
        Ok(port)
    }

    fn tun(&self, machine: &Machine, tun: OwnedFd) -> io::Result<Port> {
        quiet(machine)?;
        let kind = if self.lan { libc::IFF_TAP } else { libc::IFF_TUN };
        let flags = kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        sys::make_tun(&tun, name(NAME), flags as i16)
            .map_err(|e| about("making a TUN interface", e.into()))?;
        let offload = match self.packets {
            Packets::Exact => 0,
            Packets::Segmented => {
                libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN
            }
        };
        sys::set_tun_offload(&tun, offload)?;
        if self.lan {
            let mut netlink = machine.netlink()?;
            let index = netlink.index(NAME)?;
            netlink.set_hardware(index, self.hardware.0)?;
        }
        Ok(Port::tun(tun, self.framing()))
    }

    fn veth(&self, machine: &Machine) -> io::Result<Port> {
        // What the first namespace has is the far side.
        quiet(machine)?;
        let _ = machine.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let mut far = machine.netlink()?;
        let far_control = machine.socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let packets = machine.socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
        machine.move_to_new_network()?;
        quiet(machine)?;
        let namespace = machine.open("/proc/self/ns/net", OFlags::RDONLY)?;
        far.add_veth(FAR, NAME, self.hardware.0, namespace.as_raw_fd())
            .map_err(|e| about("making a veth pair", e))?;
        let index = far.index(FAR)?;
        far.set_hardware(index, self.hardware.1)?;
        far.set_sizes(index, self.mtu, QUEUE as u32)?;
        far.set_flags(index, libc::IFF_UP, 0)?;
        if self.packets == Packets::Exact {
            let control = machine.socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            for (socket, interface) in [(&control, NAME), (&far_control, FAR)] {
                for command in OFFLOADS {
                    sys::set_ethtool(socket, name(interface), command, 0)
                        .map_err(|e| about("switching segmentation off", e.into()))?;
                }
            }
        }
        Port::packet(packets, index, Framing::Ethernet { host: self.hardware.0, wire: self.hardware.1 })
    }

    fn framing(&self) -> Framing {
        match self.lan {
            true => Framing::Ethernet { host: self.hardware.0, wire: self.hardware.1 },
            false => Framing::Bare,
        }
    }

    fn address(&self, machine: &Machine) -> io::Result<()> {
        let mut netlink = machine.netlink()?;
        let index = netlink.index(NAME)?;
        netlink.set_sizes(index, self.mtu, QUEUE as u32)?;
        // Routed hosts have one neighbour, the wire, and need not look for it.
        let (set, clear) = if self.lan { (0, libc::IFF_NOARP) } else { (libc::IFF_NOARP, 0) };
        netlink.set_flags(index, libc::IFF_UP | set, clear)?;
        for (address, prefix) in &self.addresses {
            netlink.add_address(index, *address, *prefix)?;
        }
        self.route(&mut netlink, index)
    }

    fn route(&self, netlink: &mut Netlink, index: u32) -> io::Result<()> {
        for v4 in [true, false] {
            let source = self.addresses.iter().find(|(address, _)| address.is_ipv4() == v4);
            if let Some((address, _)) = source.filter(|_| !self.lan) {
                netlink.add_default_route(index, *address)?;
            }
        }
        Ok(())
    }

    /// Takes the interface down, or up again with its routes, which the kernel forgets with it.
    pub(super) fn set_link(&self, machine: &Machine, up: bool) -> io::Result<()> {
        let mut netlink = machine.netlink()?;
        let index = netlink.index(NAME)?;
        if !up {
            return netlink.set_flags(index, 0, libc::IFF_UP);
        }
        netlink.set_flags(index, libc::IFF_UP, 0)?;
        match self.route(&mut netlink, index) {
            // It was up.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    }
}

/// `ETHTOOL_STSO`, `ETHTOOL_SGSO`, `ETHTOOL_SGRO`, `ETHTOOL_STXCSUM` (`linux/ethtool.h`).
const OFFLOADS: [u32; 4] = [0x1f, 0x24, 0x2c, 0x17];

fn open_tun(machine: &Machine) -> io::Result<OwnedFd> {
    machine.open("/dev/net/tun", OFlags::RDWR | OFlags::NONBLOCK)
}

/// IPv6 without the talk of its own accord: addresses are given, routers are not looked for.
fn quiet(machine: &Machine) -> io::Result<()> {
    for (setting, value) in [
        ("addr_gen_mode", "1"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        ("accept_dad", "0"),
        ("keep_addr_on_down", "1"),
    ] {
        match machine.write(&format!("/proc/sys/net/ipv6/conf/default/{setting}"), value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(about(setting, error)),
            _ => {}
        }
    }
    Ok(())
}

fn name(text: &str) -> InterfaceName {
    let mut name = [0; libc::IFNAMSIZ];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}
