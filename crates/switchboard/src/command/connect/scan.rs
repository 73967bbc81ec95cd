//! `connect -z`: which ports of a host are open.

use super::report::exit_for;
use crate::exit::Exit;
use crate::report::{Output, Table};
use std::time::Duration;
use switchboard_net::dial::{Dialing, Family};
use switchboard_net::scan::{Finding, State, scan};
use switchboard_net::sys::process;
use switchboard_net::{Address, Endpoint, Error, Host, Kind, Location, Place, Port, services};

/// Probes under way at the same time.
const AT_ONCE: usize = 256;
/// How long a port may be silent, unless asked otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// The `schema` of the JSON document.
const SCHEMA: &str = "switchboard-scan";

/// What is to be scanned.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) kind: Kind,
    pub(super) host: Host,
    pub(super) ports: Vec<u16>,
    pub(super) json: bool,
    /// Say closed ones too, whatever their number.
    pub(super) verbose: bool,
}

/// Closed ports are listed up to so many; more are counted.
const FEW: usize = 25;

impl Scan {
    pub(super) fn carry_out(&self, how: &Dialing, out: &mut Output) -> Exit {
        match self.findings(how) {
            Ok(findings) => {
                self.show(&findings, out);
                let all_open = findings.iter().all(|finding| finding.state == State::Open);
                if all_open { Exit::Ok } else { Exit::Failed }
            }
            Err(error) => {
                out.talk(&error);
                exit_for(&error)
            }
        }
    }

    /// One for each port, in the order in which they were named. What is not open at the host's first address is tried at
    /// the others.
    pub(super) fn findings(&self, how: &Dialing) -> Result<Vec<Finding>, Error> {
        let endpoint =
            Endpoint { kind: self.kind, place: Place::Inet(self.host.clone(), Port::Number(self.ports[0])) };
        let mut hosts = endpoint.resolve()?;
        hosts.retain(|host| match host.inet().map(|inet| inet.is_ipv4()) {
            Some(true) => how.family != Family::V6 && how.source.is_none_or(|source| source.is_ipv4()),
            _ => how.family != Family::V4 && how.source.is_none_or(|source| source.is_ipv6()),
        });
        if hosts.is_empty() {
            return Err(Error::Name {
                name: endpoint.to_string(),
                reason: "it has no address of the kind that was asked for".into(),
            });
        }
        let limit = process::raise_descriptor_limit();
        let mut known: Vec<Option<Finding>> = vec![None; self.ports.len()];
        for host in hosts {
            let open = |finding: &Option<Finding>| {
                finding.as_ref().is_some_and(|finding| finding.state == State::Open)
            };
            let places: Vec<usize> = (0..known.len()).filter(|place| !open(&known[*place])).collect();
            let addresses: Vec<Address> =
                places.iter().filter_map(|place| at_port(&host, self.ports[*place])).collect();
            scan(addresses, how, AT_ONCE.min(limit / 2), &mut |finding| {
                let port = finding.address.inet().map(|inet| inet.port());
                let Some(place) = self.ports.iter().position(|one| Some(*one) == port) else { return };
                let better = known[place].is_none() || finding.state == State::Open;
                if better {
                    known[place] = Some(finding);
                }
            })?;
        }
        Ok(known.into_iter().flatten().collect())
    }

    fn show(&self, findings: &[Finding], out: &mut Output) {
        if self.json {
            let ports: Vec<serde_json::Value> = findings
                .iter()
                .map(|finding| {
                    serde_json::json!({
                        "endpoint": finding.address.to_string(),
                        "port": finding.address.inet().map(|inet| inet.port()),
                        "state": finding.state.name(self.kind),
                        "after_s": finding.after.as_secs_f64(),
                    })
                })
                .collect();
            return out.line(serde_json::json!({ "schema": SCHEMA, "version": 1, "ports": ports }));
        }
        let shown =
            |finding: &&Finding| self.verbose || findings.len() <= FEW || finding.state == State::Open;
        let database = services::entries();
        let mut table = Table::new(&["endpoint", "state", "after", "service"]);
        for finding in findings.iter().filter(shown) {
            let port = finding.address.inet().map_or(0, |inet| inet.port());
            let service = database
                .iter()
                .find(|entry| entry.port == port && entry.protocol == self.kind.name())
                .map_or("", |entry| &entry.name);
            let after = format!("{:.1?}", finding.after);
            table.row([&finding.address, &finding.state.words(self.kind), &after, &service]);
        }
        out.line(table);
        let count =
            |name: &str| findings.iter().filter(|finding| finding.state.name(self.kind) == name).count();
        if findings.len() > FEW {
            let states = ["open", "closed", "open|filtered", "filtered", "unreachable"];
            let counts: Vec<String> = states
                .into_iter()
                .filter(|state| count(state) > 0)
                .map(|state| format!("{} {state}", count(state)))
                .collect();
            out.line(format_args!("{} ports: {}", findings.len(), counts.join(", ")));
        }
    }
}

fn at_port(host: &Address, port: u16) -> Option<Address> {
    let mut address = host.inet()?;
    address.set_port(port);
    Some(Address { kind: host.kind, place: Location::Inet { address, only_v6: None } })
}

/// Ports as written: `22`, `daytime`, `1-1024`, and several of these with commas between them.
pub(super) fn ports(text: &str, kind: Kind) -> Result<Vec<u16>, Error> {
    let mut ports = Vec::new();
    for part in text.split(',') {
        let range = part.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        match range {
            Some((from, to)) if from == 0 || from > to => {
                return Err(Error::Config(format!("{part} is no range of ports: write LOW-HIGH, from 1 on")));
            }
            Some((from, to)) => ports.extend::<std::ops::RangeInclusive<u16>>(from..=to),
            None => ports.push(part.parse::<Port>()?.number(kind)?),
        }
    }
    if ports.contains(&0) {
        return Err(Error::Config("port 0 is for listening; ports are 1 to 65535".into()));
    }
    let mut seen = std::collections::HashSet::new();
    ports.retain(|port| seen.insert(*port));
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::ports;
    use switchboard_net::Kind;

    #[test]
    fn ports_and_ranges() {
        for (text, wanted) in [
            ("7", Ok(vec![7])),
            ("7,9-11,9", Ok(vec![7, 9, 10, 11])),
            ("65535-65535", Ok(vec![65535])),
            ("9-7", Err(())),
            ("0-3", Err(())),
            ("0", Err(())),
            ("1-65536", Err(())),
            ("", Err(())),
            ("7,,8", Err(())),
        ] {
            assert_eq!(ports(text, Kind::Tcp).map_err(drop), wanted, "{text}");
        }
    }
}
