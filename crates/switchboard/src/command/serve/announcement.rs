//! What `serve` says when it is ready: what is served where, and how to try it.

use super::hall::Hall;
use super::{Arguments, Shape};
use crate::report::Table;
use switchboard_net::{Address, Door, Json, Kind};
use switchboard_proto::{Datagram, Service, TryIt};

/// The text for people or for programs, without its last line end.
pub(super) fn announcement(hall: &Hall, arguments: &Arguments) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "switchboard".into());
    let engine = hall.engine.name;
    match arguments.format {
        Shape::Human => {
            let mut table = Table::new(&["service", "address", "try it"]);
            for (door, service) in &hall.doors[0] {
                let local = door.listener.local();
                table.row([&service.name, local, &try_it(&program, service, local)]);
            }
            let mut lines = vec![table.to_string()];
            if arguments.verbose {
                for (door, service) in &hall.doors[0] {
                    let effects: Vec<String> =
                        door.listener.effects().iter().map(ToString::to_string).collect();
                    lines.push(format!("{} {}: {}", service.name, door.listener.local(), effects.join(" ")));
                }
            }
            let n = hall.doors[0].len();
            let ports: Vec<String> = {
                let of =
                    |(door, _): &(Door, _)| door.listener.local().inet().map(|inet| inet.port().to_string());
                let mut ports: Vec<String> = hall.doors[0].iter().filter_map(of).collect();
                ports.dedup();
                ports
            };
            match ports.as_slice() {
                [port] => lines.push(format!("server ready on port {port} (engine {engine})")),
                _ => lines.push(format!("server ready on {n} addresses (engine {engine}); Ctrl-C stops it")),
            }
            lines.join("\n")
        }
        Shape::Json => {
            let listener = |(door, service): &(Door, &Service)| {
                let options = door.listener.effects();
                let options: Vec<String> = options
                    .iter()
                    .map(|effect| format!("{}:{}", Json(effect.name), Json(&effect.got)))
                    .collect();
                format!(
                    "{{\"service\":\"{}\",\"engine\":\"{engine}\",\"endpoint\":{},\"options\":{{{}}}}}",
                    service.name,
                    Json(&door.listener.local().to_string()),
                    options.join(",")
                )
            };
            let listeners: Vec<String> = hall.doors[0].iter().map(listener).collect();
            format!("{{\"event\":\"ready\",\"version\":1,\"listeners\":[{}]}}", listeners.join(","))
        }
    }
}

/// A command line that talks to `service` at `local`.
fn try_it(program: &str, service: &Service, local: &Address) -> String {
    let connect = match local.inet() {
        Some(inet) if local.kind == Kind::Tcp && !inet.ip().is_unspecified() => {
            format!("{program} connect {} {}", inet.ip(), inet.port())
        }
        _ => format!("{program} connect '{}'", local.reachable()),
    };
    let TryIt { ask, show } = service.try_it;
    let ask = match (ask, service.datagram, local.kind.is_datagram()) {
        ("", Datagram::Bounded, true) => "echo 'as many bytes as the answer may have'",
        _ => ask,
    };
    let before = if ask.is_empty() { String::new() } else { format!("{ask} | ") };
    let empty = if ask.is_empty() && local.kind.is_datagram() { " --send-empty" } else { "" };
    let after = if show.is_empty() { String::new() } else { format!(" | {show}") };
    format!("{before}{connect}{empty}{after}")
}
