//! `resolve`: what a name stands for, in which order, and why in that order.

use crate::exit::Exit;
use crate::report::{Fact, Output, Row, Sheet};
use clap::Args;
use std::cmp::Ordering;
use std::net::SocketAddr;
use std::time::Instant;
use switchboard_net::class::Class;
use switchboard_net::preference::{Candidate, deciding};
use switchboard_net::sys::names;
use switchboard_net::{Endpoint, Error, Host, Kind, Place, Port, services};

/// Tells the addresses of a name, in the resolver's order, and why it is that order
///
/// They are those that getaddrinfo(3) returns, and so those that `connect` would try. The order is explained by the
/// rules of RFC 6724: for each address the one is found that this machine would send from (nothing is sent), and the
/// two are compared. Where the resolver's own table (gai.conf(5)) or the source of the name overrides a rule, that is
/// said.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// A host name, or an address
    name: String,

    /// A port, or a name of the services database (services(5))
    service: Option<String>,

    /// IPv4 addresses only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// IPv6 addresses only
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Numbers only: names of the addresses and of the port are not looked up
    #[arg(short, long)]
    numeric: bool,

    /// One JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  switchboard resolve localhost
  switchboard resolve localhost 7 -4
  switchboard resolve ::1 --numeric     which address of ours would be used?
  switchboard resolve localhost --json";

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let (sheet, addresses) = match answer(arguments) {
        Ok(answer) => answer,
        Err(error) => {
            out.talk(&error);
            return if matches!(error, Error::Name { .. }) { Exit::Name } else { Exit::Usage };
        }
    };
    if arguments.json {
        out.line(format_args!("{{\"schema\":\"switchboard.resolve\",\"version\":1,{}}}", sheet.members()));
    } else {
        out.line(sheet);
        if addresses == 1 {
            out.line("  a single address: there is nothing to order");
        }
    }
    Exit::Ok
}

/// What there is to say, and how many addresses it is about.
fn answer(arguments: &Arguments) -> Result<(Sheet, usize), Error> {
    let name = &arguments.name;
    let host: Host = name.parse()?;
    if !matches!(host, Host::Ip(..) | Host::Name(_)) {
        return Err(Error::Config(format!("`{}` is not a name to look up", name.escape_default())));
    }
    let port: Port = arguments.service.as_deref().unwrap_or("0").parse()?;
    // Some services are there for datagrams only.
    let number = port.number(Kind::Tcp).or_else(|error| port.number(Kind::Udp).map_err(|_| error))?;
    let endpoint = Endpoint { kind: Kind::Tcp, place: Place::Inet(host, Port::Number(number)) };
    let begun = Instant::now();
    let found = endpoint.resolve()?;
    let elapsed = begun.elapsed();
    let wanted = |at: &SocketAddr| if at.is_ipv4() { !arguments.ipv6 } else { !arguments.ipv4 };
    let addresses: Vec<SocketAddr> = found.iter().filter_map(|at| at.inet()).filter(wanted).collect();
    if addresses.is_empty() {
        let family = if arguments.ipv4 { "IPv4" } else { "IPv6" };
        return Err(Error::Name { name: name.clone(), reason: format!("it has no {family} address") });
    }

    let count = addresses.len();
    let title = format!("{name}: {count} address{}", if count == 1 { "" } else { "es" });
    let mut sheet = Sheet::new("name", title);
    sheet.add("name", name.as_str());
    sheet.add("elapsed_us", elapsed.as_micros() as u64);
    if arguments.service.is_some() {
        sheet.add("port", u64::from(number));
        if !arguments.numeric {
            sheet.add("service", service(number));
        }
    }
    let candidates: Vec<Candidate> = addresses.iter().map(|address| Candidate::of(*address)).collect();
    let rows = addresses.iter().zip(&candidates).enumerate();
    let rows: Vec<Row> = rows
        .map(|(index, (address, candidate))| row(index + 1, *address, candidate, arguments.numeric))
        .collect();
    sheet.add("addresses", rows);
    let reasons = candidates.windows(2).enumerate();
    let reasons: Vec<Row> = reasons
        .filter_map(|(index, pair)| match pair {
            [a, b] => Some(reason(index + 1, a, b)),
            _ => None,
        })
        .collect();
    sheet.add("order", reasons);
    Ok((sheet, count))
}

fn row(number: usize, address: SocketAddr, candidate: &Candidate, numeric: bool) -> Row {
    let ip = address.ip();
    let written = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{ip}%{}", v6.scope_id()),
        _ => ip.to_string(),
    };
    let mut row: Row = vec![
        ("number", Fact::from(number as u64)),
        ("address", written.into()),
        ("family", if ip.is_ipv4() { "IPv4" } else { "IPv6" }.into()),
    ];
    if !numeric {
        let reverse = names::of(ip).map(|name| switchboard_net::Escaped(name.to_bytes()).to_string());
        row.push(("reverse_name", reverse.into()));
    }
    let source = match candidate.source {
        Ok(source) => source.to_string(),
        Err(errno) => format!("none: {}", short(errno)),
    };
    row.extend([
        ("sent_from", Fact::from(source)),
        ("source_is", Some(candidate.origin.words()).filter(|words| !words.is_empty()).into()),
        ("scope", candidate.scope.name().into()),
        ("label", u64::from(candidate.label).into()),
        ("precedence", u64::from(candidate.precedence).into()),
        ("class", Class::of(ip).name.into()),
    ]);
    row
}

fn short(errno: rustix::io::Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.rsplit_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

/// Why `a` stands before `b`.
fn reason(before: usize, a: &Candidate, b: &Candidate) -> Row {
    let (rule, order) = deciding(a, b);
    let numbers = match rule.number {
        6 => format!(" ({} and {})", a.precedence, b.precedence),
        8 => format!(" ({} and {})", a.scope.name(), b.scope.name()),
        _ => String::new(),
    };
    let says = match order {
        Ordering::Greater => format!(
            "against this rule, which speaks for the other: {}{numbers}; the resolver's table (gai.conf(5)) or \
             source (nsswitch.conf(5)) has its own order",
            rule.says
        ),
        Ordering::Less | Ordering::Equal => format!("{}{numbers}", rule.says),
    };
    vec![
        ("before", Fact::from(before as u64)),
        ("after", (before as u64 + 1).into()),
        ("rule", u64::from(rule.number).into()),
        ("as_expected", order.is_le().into()),
        ("because", says.into()),
    ]
}

/// The names of a port in the services database.
fn service(port: u16) -> String {
    let entries = services::of_port(port);
    let entries: Vec<String> =
        entries.into_iter().map(|entry| format!("{}/{}", entry.name, entry.protocol)).collect();
    if entries.is_empty() { "no name in the services database".to_owned() } else { entries.join(", ") }
}
