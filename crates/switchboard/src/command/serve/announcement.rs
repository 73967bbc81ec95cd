//! What `serve` says when it is ready: what is served where, and how to try it.

use super::Shape;
use crate::plan::{Action, secured};
use crate::report::Table;
use crate::supervisor::{Offer, Supervisor};
use switchboard_net::{Json, Kind};
use switchboard_proto::{Datagram, Service, TryIt};

/// The text for people or for programs, without its last line end.
pub(super) fn announcement(supervisor: &Supervisor, format: Shape, verbose: bool) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "switchboard".into());
    let offers: Vec<Offer<'_>> = supervisor.offers().collect();
    match format {
        Shape::Human => {
            let mut table = Table::new(&["service", "address", "try it"]);
            for offer in &offers {
                let try_it = match &offer.service.action {
                    Action::Builtin { service, .. } => try_it(&program, service, offer),
                    _ => connect(&program, offer),
                };
                table.row([&offer.service.id, &offer.address(), &try_it]);
            }
            let mut lines = vec![table.to_string()];
            if verbose {
                for offer in &offers {
                    let effects: Vec<String> =
                        offer.listener.effects().iter().map(ToString::to_string).collect();
                    lines.push(format!("{} {}: {}", offer.service.id, offer.address(), effects.join(" ")));
                }
            }
            lines.push(summary(&offers));
            lines.join("\n")
        }
        Shape::Json => {
            let listener = |offer: &Offer<'_>| {
                let options = offer.listener.effects();
                let options: Vec<String> = options
                    .iter()
                    .map(|effect| format!("{}:{}", Json(effect.name), Json(&effect.got)))
                    .collect();
                format!(
                    "{{\"service\":{},\"engine\":\"{}\",\"endpoint\":{},\"options\":{{{}}}}}",
                    Json(&offer.service.id),
                    offer.service.action.by(),
                    Json(&offer.address()),
                    options.join(",")
                )
            };
            let listeners: Vec<String> = offers.iter().map(listener).collect();
            format!("{{\"event\":\"ready\",\"version\":1,\"listeners\":[{}]}}", listeners.join(","))
        }
    }
}

/// The line that says that clients may come.
fn summary(offers: &[Offer<'_>]) -> String {
    let mut by: Vec<&str> = offers.iter().map(|offer| offer.service.action.by()).collect();
    by.sort_unstable();
    by.dedup();
    let by = match (by.as_slice(), &offers[0].service.action) {
        ([engine], Action::Builtin { .. }) => format!("engine {engine}"),
        _ => by.join(", "),
    };
    let ports = offers.iter().filter_map(|offer| offer.listener.local().inet()).map(|inet| inet.port());
    let mut ports: Vec<u16> = ports.collect();
    ports.dedup();
    match ports.as_slice() {
        [port] => format!("server ready on port {port} ({by})"),
        _ => format!("server ready on {} addresses ({by}); Ctrl-C stops it", offers.len()),
    }
}

/// A command line that connects to an address that is served.
fn connect(program: &str, offer: &Offer<'_>) -> String {
    let local = offer.listener.local();
    match local.inet() {
        _ if offer.tls => format!("{program} connect '{}'", secured(&local.reachable().to_string(), true)),
        Some(inet) if local.kind == Kind::Tcp && !inet.ip().is_unspecified() => {
            format!("{program} connect {} {}", inet.ip(), inet.port())
        }
        _ => format!("{program} connect '{}'", local.reachable()),
    }
}

/// A command line that talks to `service` where it is offered.
fn try_it(program: &str, service: &Service, offer: &Offer<'_>) -> String {
    let (connect, local) = (connect(program, offer), offer.listener.local());
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
