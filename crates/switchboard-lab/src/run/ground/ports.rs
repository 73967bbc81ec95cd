//! [`Ports`]: ten ports of this machine in a row that nobody else uses while they are reserved.

use crate::run::{PORT, PORTS as COUNT};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, ipproto, socket, socket_with, sockopt,
};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;

/// Where they are looked for: above the well-known ones. Those that the kernel gives to clients are left out.
const SPAN: Range<u16> = 10_000..60_000;

/// See the module.
pub(in crate::run) struct Ports {
    base: u16,
    /// A name in the abstract namespace, which is as wide as that of the ports: other runs of the lab look for it.
    _reservation: OwnedFd,
}

impl Ports {
    /// Finds them. Programs that are no lab's may take them all the same: a run that meets one does not come about.
    ///
    /// # Errors
    /// There are none left; what the system refuses.
    pub(super) fn reserve(ipv6: bool) -> io::Result<Ports> {
        let clients = client_ports();
        let steps = (SPAN.end - SPAN.start) / COUNT;
        // Runs that begin at the same time begin to look at different places.
        let first = (std::process::id() % u32::from(steps)) as u16;
        for step in 0..steps {
            let base = SPAN.start + (first + step) % steps * COUNT;
            if base < clients.end && clients.start < base + COUNT {
                continue;
            }
            if let Some(reservation) = reservation(base)?
                && (base..base + COUNT).all(|port| is_free(port, ipv6))
            {
                return Ok(Ports { base, _reservation: reservation });
            }
        }
        Err(io::Error::other(format!("no {COUNT} ports in a row are free")))
    }

    /// Where a scenario's port is. One that a scenario names for its number stays what it is.
    pub(super) fn of(&self, wanted: u16) -> u16 {
        let moves = (PORT..PORT + COUNT).contains(&wanted);
        if moves { self.base + (wanted - PORT) } else { wanted }
    }

    /// All of them.
    pub(in crate::run) fn all(&self) -> Range<u16> {
        self.base..self.base + COUNT
    }
}

/// The name that says that they are in use; none if it is taken.
fn reservation(base: u16) -> io::Result<Option<OwnedFd>> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let name = SocketAddrUnix::new_abstract_name(format!("switchboard-lab-ports-{base}").as_bytes())?;
    match bind(&fd, &name) {
        Ok(()) => Ok(Some(fd)),
        Err(rustix::io::Errno::ADDRINUSE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether nobody has it, not even a connection in TIME_WAIT.
fn is_free(port: u16, ipv6: bool) -> bool {
    let can = |address: SocketAddr, kind, protocol| {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let Ok(fd) = socket(family, kind, Some(protocol)) else { return false };
        if address.is_ipv6() && sockopt::set_ipv6_v6only(&fd, true).is_err() {
            return false;
        }
        bind(&fd, &address).is_ok()
    };
    let everywhere = |address: SocketAddr| {
        can(address, SocketType::STREAM, ipproto::TCP) && can(address, SocketType::DGRAM, ipproto::UDP)
    };
    everywhere((Ipv4Addr::UNSPECIFIED, port).into())
        && (!ipv6 || everywhere((Ipv6Addr::UNSPECIFIED, port).into()))
}

/// What the kernel gives to those who ask for none (ip(7)): `net.ipv4.ip_local_port_range`.
fn client_ports() -> Range<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => first..u16::saturating_add(last, 1),
        _ => 32_768..61_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_do_not_overlap_and_well_known_ports_stay() {
        let many: Vec<Ports> = (0..5).map(|_| Ports::reserve(false).expect("free ports")).collect();
        let mut all: Vec<u16> = many.iter().flat_map(Ports::all).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5 * usize::from(COUNT));
        let clients = client_ports();
        assert!(all.iter().all(|port| !clients.contains(port)), "{all:?} {clients:?}");
        let ports = &many[0];
        assert_eq!(ports.of(PORT + 2), ports.all().start + 2);
        assert_eq!(ports.of(999), 999);
    }

    #[test]
    fn a_port_that_somebody_has_is_not_free() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        assert!(!is_free(port, false));
    }
}
