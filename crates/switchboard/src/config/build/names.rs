//! Ids of services: given or found; and who is reached by tcpmux.

use super::super::complaint::{Complaint, Complaints};
use super::super::load::ServiceWritten;
use super::super::source::Span;
use std::collections::HashMap;
use std::path::Path;

/// Bytes of an id.
const MOST: usize = 64;

/// The id of every service, in their order; they are unique unless there was something to complain about.
pub(super) fn ids(services: &[ServiceWritten], complaints: &mut Complaints) -> Vec<String> {
    let mut taken: HashMap<String, Option<Span>> = HashMap::new();
    for at in services.iter().filter_map(|service| service.own.id.as_ref()) {
        let fits = |c: char| c.is_ascii_graphic() && !"\"'`,;={}\\".contains(c);
        if at.value.is_empty() || at.value.len() > MOST || !at.value.chars().all(fits) {
            let complaint = Complaint::new(format!("`{}` cannot be an id", at.value.escape_debug())).at(
                at.span,
                format!("expected 1 to {MOST} letters, digits and signs such as - _ . / :, without blanks"),
            );
            complaints.push(complaint);
        } else if let Some(first) = taken.insert(at.value.clone(), at.span) {
            let complaint = Complaint::new(format!("two services are called `{}`", at.value))
                .at(at.span, "again here")
                .at(first, "first here");
            complaints.push(complaint);
        }
    }
    let mut ids = Vec::new();
    for service in services {
        let id = match &service.own.id {
            Some(at) => at.value.clone(),
            None => found(service, |id| taken.contains_key(id)),
        };
        taken.entry(id.clone()).or_insert(service.own.span);
        ids.push(id);
    }
    ids
}

/// A name for a service that has none: what it does, and its port or a number if that is taken.
fn found(service: &ServiceWritten, taken: impl Fn(&str) -> bool) -> String {
    let own = &service.own;
    let program = own.exec.as_ref().and_then(|at| at.value.0.first());
    let name = match (&own.builtin, program) {
        (Some(at), _) => at.value.clone(),
        (None, Some(file)) => Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (None, None) => "forward".into(),
    };
    let name: String = name.chars().filter(char::is_ascii_graphic).take(MOST / 2).collect();
    if !taken(&name) {
        return name;
    }
    let port = own.listen.as_ref().and_then(|at| at.value.0.first()).and_then(|first| {
        let endpoint = first.value.split(',').next().unwrap_or_default();
        endpoint.rsplit(':').next().filter(|port| port.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned)
    });
    let by_port = port.map(|port| format!("{name}-{port}")).filter(|id| !taken(id));
    by_port.unwrap_or_else(|| {
        let mut numbered = (2_u32..).map(|n| format!("{name}-{n}"));
        numbered.find(|id| !taken(id)).unwrap_or(name)
    })
}

/// The service that an agent speaks of is there.
pub(super) fn agents(services: &[ServiceWritten], ids: &[String], complaints: &mut Complaints) {
    let agents =
        services.iter().filter(|service| service.own.builtin.as_ref().is_some_and(|at| at.value == "agent"));
    for (name, value) in agents.flat_map(|service| &service.own.options).flat_map(|at| &at.value.0) {
        if name.value == "of" && !value.value.is_empty() && !ids.contains(&value.value) {
            let problem =
                format!("there is no service `{}` for an agent to speak of", value.value.escape_debug());
            let complaint =
                Complaint::new(problem).at(value.span, format!("expected one of {}", ids.join(", ")));
            complaints.push(complaint);
        }
    }
}

/// What is offered by tcpmux must be reachable by it, and the other way round.
pub(super) fn tcpmux(services: &[ServiceWritten], complaints: &mut Complaints) {
    let is_mux =
        |service: &&ServiceWritten| service.own.builtin.as_ref().is_some_and(|at| at.value == "tcpmux");
    let offered = |service: &&ServiceWritten| service.own.tcpmux.as_ref().is_some_and(|at| at.value);
    let mut muxes = services.iter().filter(is_mux);
    let (mux, second) = (muxes.next(), muxes.next());
    for (service, what) in services.iter().filter(offered).zip(std::iter::repeat("")) {
        let span = service.own.tcpmux.as_ref().and_then(|at| at.span);
        if mux.is_none() {
            let complaint = Complaint::new("no service of this configuration is tcpmux")
                .at(span, what)
                .help("add one: `[[service]]`, `builtin = \"tcpmux\"`, `listen = \"tcp:*:1\"`");
            complaints.push(complaint);
        }
        if is_mux(&service) {
            complaints.push(Complaint::new("tcpmux cannot be offered by itself").at(span, what));
        }
    }
    if let Some(second) = second {
        let span = |service: &ServiceWritten| service.own.builtin.as_ref().and_then(|at| at.span);
        let complaint = Complaint::new("there are two tcpmux services, which would offer the same")
            .at(span(second), "again here")
            .at(mux.and_then(span), "first here")
            .help("one service may listen at several addresses: `listen = [\"…\", \"…\"]`");
        complaints.push(complaint);
    }
    if let (Some(mux), false) = (mux, services.iter().any(|service| offered(&service))) {
        let span = mux.own.builtin.as_ref().and_then(|at| at.span);
        let complaint =
            Complaint::new("tcpmux has nothing to offer").at(span, "").help("give a service `tcpmux = true`");
        complaints.push(complaint);
    }
}
