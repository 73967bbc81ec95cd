//! What a run needs of this machine, looked for before it begins: descriptors, source addresses, ports.

use super::Plan;
use crate::endpoint::Address;
use crate::error::Error;
use crate::sys::process::raise_descriptor_limit;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::net::{IpAddr, SocketAddr};

/// Descriptors that a run needs beside one for each connection.
const SPARE_DESCRIPTORS: usize = 32;
/// What is said when the kernel gives no descriptor.
pub(super) const NO_DESCRIPTOR: &str =
    "no descriptor is left for another connection: raise the limit (`ulimit -n`, or `fs.file-max`)";

/// Raises the limit of descriptors, and looks whether all that is needed is there.
///
/// # Errors
/// What is missing, and where more of it is to be had.
pub(super) fn check(plan: &Plan) -> Result<(), Error> {
    let connections = plan.own_connections();
    let descriptors = raise_descriptor_limit();
    let needed = connections + 2 * plan.workers + SPARE_DESCRIPTORS;
    if descriptors < needed {
        return Err(Error::Config(format!(
            "{connections} connections need {needed} descriptors and the limit is {descriptors}: raise it (`ulimit -Hn`, \
             or LimitNOFILE= of a systemd unit), or share the run out with --shard"
        )));
    }
    for source in &plan.sources {
        check_source(*source)?;
    }
    let Some(there) = plan.address.inet() else { return Ok(()) };
    let Some(ports) = ports() else { return Ok(()) };
    let sources = plan.sources.len().max(1);
    if connections.div_ceil(sources) > ports {
        let example = example(there.ip(), connections.div_ceil(ports));
        return Err(Error::Config(format!(
            "{connections} connections need as many ports, and a source address has {ports} \
             (net.ipv4.ip_local_port_range): give more addresses, {example}"
        )));
    }
    Ok(())
}

/// How a user asks for so many source addresses of connections to this one.
fn example(to: IpAddr, wanted: usize) -> String {
    if to.is_loopback() && to.is_ipv4() && wanted <= 254 {
        return format!("--source 127.0.0.1-127.0.0.{wanted}");
    }
    format!("--source with {wanted} of this machine's")
}

/// What is said when the kernel has no port for a connection there.
pub(super) fn no_port(to: &Address) -> String {
    let each = ports().map(|ports| format!(" {ports}")).unwrap_or_default();
    format!(
        "no local port is left for another connection to {to}: a source address has{each} \
         (net.ipv4.ip_local_port_range), those of others and of connections that have just ended among them; give more \
         addresses with --source"
    )
}

/// Whether this machine has the address.
fn check_source(source: IpAddr) -> Result<(), Error> {
    let family = if source.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(|errno| Error::system("make a socket", errno))?;
    net::bind(&socket, &SocketAddr::new(source, 0)).map_err(|errno| {
        let error = std::io::Error::from(errno);
        Error::Config(format!(
            "cannot connect from {source}: {error}; `ip address` shows the addresses that this machine has"
        ))
    })
}

/// Ports that the kernel gives to clients (ip(7)); `None` if it does not say.
fn ports() -> Option<usize> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<usize>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    last.checked_sub(first).map(|more| more + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sources;

    #[test]
    fn what_is_proposed_is_understood_and_enough() {
        for wanted in [2, 9, 10, 19, 100, 254] {
            let said = example("127.0.0.1".parse().unwrap(), wanted);
            let range = said.strip_prefix("--source ").unwrap();
            assert_eq!(sources(range).unwrap().len(), wanted, "{said}");
        }
        assert_eq!(example("127.0.0.1".parse().unwrap(), 255), "--source with 255 of this machine's");
        assert_eq!(example("192.0.2.1".parse().unwrap(), 3), "--source with 3 of this machine's");
    }
}
