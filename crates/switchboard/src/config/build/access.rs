//! Who may come in: addresses, names, users, times of day.

use super::super::complaint::Complaint;
use super::super::source::At;
use super::super::value::Many;
use super::{Draft, absolute};
use crate::plan::Place;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use switchboard_net::Error;
use switchboard_net::admission::{Access, HostsFiles, Span, Who};

impl Draft<'_> {
    /// Who may come in.
    pub(super) fn access(&mut self, listen: &[At<Place>]) -> Access {
        let Some(table) = self.service.all.access.as_ref().map(|at| &at.value) else {
            return Access::default();
        };
        let allow = self.clients(table.allow.as_ref());
        let deny = self.clients(table.deny.as_ref());
        if let Some(at) = table.allow.as_ref().filter(|at| at.value.0.is_empty()) {
            let complaint = Complaint::new("an empty list of those who are let in lets nobody in");
            self.complain(
                complaint
                    .at(at.span, "")
                    .help("to serve nobody, say `disabled = true`; to serve everybody, leave it out"),
            );
        }
        self.people(listen);
        let times = table.times.iter().flat_map(|at| &at.value.0);
        let mut spans = Vec::new();
        for item in times {
            match item.value.parse::<Span>() {
                Ok(span) => spans.push(span),
                Err(_) => {
                    let problem = format!("`{}` is not a span of the day", item.value.escape_debug());
                    let complaint = Complaint::new(problem)
                        .at(item.span, "expected HH:MM-HH:MM, such as 08:00-18:00 or 22:00-06:00");
                    self.complaints.push(complaint);
                }
            }
        }
        let hosts = table.hosts_files.as_ref().map(|at| {
            let files = &at.value;
            let mut path = |at: &Option<At<std::path::PathBuf>>, usual: &str| match at {
                Some(at) => absolute(at, self.complaints).unwrap_or_default(),
                None => usual.into(),
            };
            HostsFiles {
                allow: path(&files.allow, "/etc/hosts.allow"),
                deny: path(&files.deny, "/etc/hosts.deny"),
                daemon: files.daemon.as_ref().map_or_else(|| self.id.to_owned(), |at| at.value.clone()),
            }
        });
        let tcprules = table.tcprules.as_ref().and_then(|at| {
            absolute(at, self.complaints).filter(|path| {
                let there = path.is_file();
                if !there {
                    let complaint = Complaint::new(format!("there is no file {}", path.display()));
                    self.complaints.push(complaint.at(at.span, "without its rules nobody would be let in"));
                }
                there
            })
        });
        Access {
            allow,
            deny,
            times: spans,
            hosts,
            tcprules,
            both_deny: table.both_deny.as_ref().is_some_and(|at| at.value),
        }
    }

    fn clients(&mut self, list: Option<&At<Many<String>>>) -> Vec<Who> {
        let mut clients = Vec::new();
        for item in list.iter().flat_map(|at| &at.value.0) {
            match item.value.split_once(':') {
                Some(("user", name)) => {
                    clients.extend(self.uid(&At { value: name.to_owned(), span: item.span }).map(Who::Uid))
                }
                Some(("group", name)) => {
                    clients.extend(self.gid(&At { value: name.to_owned(), span: item.span }).map(Who::Gid))
                }
                _ => match who(&item.value) {
                    Ok(who) => clients.push(who),
                    Err(problem) => {
                        let label = "expected `all`, an address, a prefix, a host name, `.domain`, `user:NAME` or `group:NAME`";
                        self.complain(Complaint::new(problem).at(item.span, label));
                    }
                },
            }
        }
        clients
    }

    /// Users and groups are known on Unix sockets, addresses elsewhere.
    fn people(&mut self, listen: &[At<Place>]) {
        let own = self.service.own.access.as_ref().map(|at| &at.value);
        let items =
            own.into_iter().flat_map(|own| own.allow.iter().chain(&own.deny)).flat_map(|at| &at.value.0);
        let has_unix = listen.iter().any(|at| at.value.endpoint.kind.is_unix());
        for item in items {
            let is_person =
                ["user:", "group:", "uid:", "gid:"].iter().any(|prefix| item.value.starts_with(prefix));
            if is_person && !has_unix && !listen.is_empty() {
                let complaint = Complaint::new("who the client is can be known on Unix sockets only")
                    .at(item.span, "")
                    .at(listen[0].span, "this is none");
                self.complaints.push(complaint);
            }
        }
    }
}

/// One item of a list of clients, but for names of users and groups. Bits beyond a prefix are likely a mistake.
fn who(text: &str) -> Result<Who, String> {
    let Who::Net(ip, length) = text.parse().map_err(|error: Error| error.to_string())? else {
        return text.parse().map_err(|error: Error| error.to_string());
    };
    // Clients of dual sockets come as mapped addresses, and are IPv4 ones to us.
    let mapped = match ip {
        IpAddr::V6(v6) if length >= 96 => v6.to_ipv4_mapped(),
        _ => None,
    };
    let (ip, length) = mapped.map_or((ip, length), |v4| (v4.into(), length - 96));
    let net = network(ip, length);
    if net != ip {
        return Err(format!("`{text}` has bits beyond its prefix; write {ip} or {net}/{length}"));
    }
    Ok(Who::Net(ip, length))
}

fn network(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_and_mapped_addresses_are_those_they_stand_for() {
        let net = |ip: &str, length| Who::Net(ip.parse().unwrap(), length);
        for (text, expected) in [
            ("all", Who::All),
            ("10.0.0.0/8", net("10.0.0.0", 8)),
            ("0.0.0.0/0", net("0.0.0.0", 0)),
            ("::/0", net("::", 0)),
            ("[2001:db8::]/32", net("2001:db8::", 32)),
            ("::ffff:10.1.0.0/112", net("10.1.0.0", 16)),
            ("::ffff:10.1.2.3", net("10.1.2.3", 32)),
            (".Example.org", Who::Name(".example.org".into())),
        ] {
            assert_eq!(who(text), Ok(expected), "{text}");
        }
        for text in ["10.0.0.1/8", "10.0.0.0/33", "2001:db8::1/32", "a b", ""] {
            assert!(who(text).is_err(), "{text}");
        }
    }
}
