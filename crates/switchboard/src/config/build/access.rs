//! Who may come in: addresses, names, users, times of day.

use super::super::complaint::Complaint;
use super::super::source::At;
use super::super::value::Many;
use super::{Draft, absolute};
use crate::plan::Place;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
            match span(&item.value) {
                Some(span) => spans.push(span),
                None => {
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
        let has_unix = listen.iter().any(|at| !at.value.endpoint.kind.is_inet());
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

/// One item of a list of clients, but for names of users and groups.
fn who(text: &str) -> Result<Who, String> {
    if text == "all" {
        return Ok(Who::All);
    }
    if let Some((kind @ ("uid" | "gid"), number)) = text.split_once(':') {
        let number = number.parse().map_err(|_| format!("`{}` is not a number", number.escape_debug()))?;
        return Ok(if kind == "uid" { Who::Uid(number) } else { Who::Gid(number) });
    }
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    let Ok(ip) = bare.parse::<IpAddr>() else {
        return name(text).ok_or_else(|| format!("`{}` is no client", text.escape_debug()));
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => most,
        Some(length) => prefix(length, ip).ok_or_else(|| {
            format!("`{}` is not the length of a prefix: 0 to {most}", length.escape_debug())
        })?,
    };
    // Clients of dual sockets come as mapped addresses, and are IPv4 ones to us.
    let (ip, length) = match ip {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) if length >= 96 => (IpAddr::V4(v4), length - 96),
            _ => (ip, length),
        },
        IpAddr::V4(_) => (ip, length),
    };
    let net = network(ip, length);
    if net != ip {
        return Err(format!("`{text}` has bits beyond its prefix; write {ip} or {net}/{length}"));
    }
    Ok(Who::Net(ip, length))
}

/// `8`, or `255.0.0.0` for IPv4.
fn prefix(text: &str, ip: IpAddr) -> Option<u8> {
    if let (Ok(mask), IpAddr::V4(_)) = (text.parse::<Ipv4Addr>(), ip) {
        let bits = u32::from(mask);
        return (bits.leading_ones() + bits.trailing_zeros().min(32 - bits.leading_ones()) == 32)
            .then(|| bits.leading_ones() as u8);
    }
    let most = if ip.is_ipv4() { 32 } else { 128 };
    text.parse().ok().filter(|length| *length <= most && text.bytes().all(|b| b.is_ascii_digit()))
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

/// A host name or `.domain`: letters, digits and hyphens, and one letter at least, or it is a broken address.
fn name(text: &str) -> Option<Who> {
    let labels = text.strip_prefix('.').unwrap_or(text);
    let label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits) && !label.starts_with('-')
    };
    let last = labels.rsplit('.').next()?;
    let fits =
        labels.len() <= 253 && labels.split('.').all(label) && last.bytes().any(|b| b.is_ascii_alphabetic());
    fits.then(|| Who::Name(text.to_ascii_lowercase()))
}

fn span(text: &str) -> Option<Span> {
    let minute = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let digits = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(hours) || !digits(minutes) || minutes.len() != 2 {
            return None;
        }
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60 || hours == 24 && minutes == 0).then_some(hours * 60 + minutes)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    // The day ends with its last minute.
    (from < 1_440).then(|| Span { from, to: to.min(1_439) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_addresses_prefixes_and_names() {
        let net = |ip: &str, length| Who::Net(ip.parse().unwrap(), length);
        for (text, expected) in [
            ("all", Who::All),
            ("10.0.0.0/8", net("10.0.0.0", 8)),
            ("10.0.0.0/255.255.0.0", net("10.0.0.0", 16)),
            ("0.0.0.0/0", net("0.0.0.0", 0)),
            ("0.0.0.0/0.0.0.0", net("0.0.0.0", 0)),
            ("::/0", net("::", 0)),
            ("[2001:db8::]/32", net("2001:db8::", 32)),
            ("::ffff:10.1.0.0/112", net("10.1.0.0", 16)),
            ("uid:1000", Who::Uid(1000)),
            (".Example.org", Who::Name(".example.org".into())),
        ] {
            assert_eq!(who(text), Ok(expected), "{text}");
        }
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/255.0.255.0",
            "10.0.0",
            "",
            ".",
            "a b",
            "uid:x",
            "-a",
            "1.2.3.400",
        ] {
            assert!(who(text).is_err(), "{text}: {:?}", who(text));
        }
    }

    #[test]
    fn spans_go_past_midnight_and_to_its_end() {
        assert_eq!(span("8:00-18:30"), Some(Span { from: 480, to: 1_110 }));
        assert_eq!(span("22:00-06:00"), Some(Span { from: 1_320, to: 360 }));
        assert_eq!(span("00:00-24:00"), Some(Span { from: 0, to: 1_439 }));
        for text in ["8-18", "08:00", "25:00-26:00", "08:60-09:00", "24:00-01:00", "+8:00-09:00"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
