//! A port: its names, its range, and whether this machine wants privilege for it.

use super::number::bytes_as_hex;
use crate::SERVICES;
use crate::report::{Fact, Row, Sheet};
use switchboard_net::{Error, Kind, Port, services};

/// A number or a name of the services database; a name may mean different ports for TCP and UDP.
pub(super) fn explain(text: &str) -> Result<Vec<Sheet>, Error> {
    let port: Port = text.parse()?;
    let mut numbers = Vec::new();
    let mut unknown = None;
    for kind in [Kind::Tcp, Kind::Udp] {
        match port.number(kind) {
            Ok(number) if !numbers.contains(&number) => numbers.push(number),
            Ok(_) => {}
            Err(error) => unknown = unknown.or(Some(error)),
        }
    }
    match unknown {
        Some(error) if numbers.is_empty() => Err(error),
        _ => Ok(numbers.into_iter().map(sheet).collect()),
    }
}

pub(super) fn sheet(port: u16) -> Sheet {
    let mut sheet = Sheet::new("port", format!("{port}: a port"));
    sheet.add("port", u64::from(port));
    sheet.add("hexadecimal", format!("{port:#06x}"));
    sheet.add("network_order", bytes_as_hex(&port.to_be_bytes()));
    sheet.add("host_order_here", bytes_as_hex(&port.to_ne_bytes()));
    sheet.add("range", range(port));
    if port == 0 {
        sheet.add("meaning", "bind(2) chooses a free port; no packet can come from it or go to it");
    }
    let ephemeral = sysctl("ip_local_port_range");
    if let Some([first, last]) = ephemeral.as_deref() {
        let within = (*first..=*last).contains(&port);
        sheet.add("ephemeral_here", within);
        sheet.add(
            "ephemeral_range",
            format!("{first} to {last} (net.ipv4.ip_local_port_range): for sockets that ask for no port"),
        );
    }
    if let Some([start]) = sysctl("ip_unprivileged_port_start").as_deref() {
        let wanted = port != 0 && port < *start;
        let permitted = may_bind_privileged();
        sheet.add("privilege_needed_here", wanted);
        sheet.add(
            "privilege_reason",
            match (wanted, permitted) {
                (false, _) => format!("net.ipv4.ip_unprivileged_port_start is {start}"),
                (true, Some(true)) => {
                    format!("below net.ipv4.ip_unprivileged_port_start = {start}; this process has CAP_NET_BIND_SERVICE")
                }
                (true, _) => {
                    format!("below net.ipv4.ip_unprivileged_port_start = {start}: bind(2) wants CAP_NET_BIND_SERVICE")
                }
            },
        );
        sheet.add("may_bind_now", if wanted { Fact::from(permitted) } else { true.into() });
    }
    let names: Vec<Row> = services::of_port(port)
        .into_iter()
        .map(|entry| {
            let aliases = (!entry.aliases.is_empty()).then(|| entry.aliases.join(", "));
            vec![
                ("protocol", Fact::from(entry.protocol)),
                ("name", entry.name.into()),
                ("aliases", aliases.into()),
                ("source", "services(5)".into()),
            ]
        })
        .chain(ours(port))
        .collect();
    if names.is_empty() {
        sheet.add("known_as", "no name in the services database (services(5))");
    }
    sheet.add("names", names);
    sheet
}

/// What `serve` has on this port.
fn ours(port: u16) -> impl Iterator<Item = Row> {
    let here = move |protocol: &'static str, ports: &'static [u16], assigned: u16, name: &'static str| {
        let source = if assigned == port {
            "assigned; `switchboard serve`"
        } else {
            "the board of `switchboard serve`"
        };
        (port != 0 && (assigned == port || ports.contains(&port))).then(|| {
            vec![
                ("protocol", Fact::from(protocol)),
                ("name", name.into()),
                ("aliases", Fact::Nothing),
                ("source", source.into()),
            ]
        })
    };
    SERVICES.iter().flat_map(move |service| {
        [
            here("tcp", service.board.tcp, service.port, service.name),
            here("udp", service.board.udp, service.port, service.name),
        ]
        .into_iter()
        .flatten()
    })
}

/// The three ranges of RFC 6335 section 6.
fn range(port: u16) -> &'static str {
    match port {
        0 => "reserved",
        1..=1023 => "well-known: 0 to 1023, assigned by IETF review (RFC 6335 section 6: system ports)",
        1024..=49151 => "registered: 1024 to 49151, assigned on request (RFC 6335 section 6: user ports)",
        49152.. => "dynamic: 49152 to 65535, never assigned (RFC 6335 section 6)",
    }
}

/// The numbers of a sysctl of IPv4, which holds for IPv6 as well (ip(7)).
fn sysctl(name: &str) -> Option<Vec<u16>> {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
    text.split_whitespace().map(|number| number.parse().ok()).collect()
}

/// Whether this process has CAP_NET_BIND_SERVICE, which is bit 10 (capabilities(7), proc_pid_status(5)).
fn may_bind_privileged() -> Option<bool> {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(effective.trim(), 16).ok()?;
    Some(effective >> CAP_NET_BIND_SERVICE & 1 == 1)
}
