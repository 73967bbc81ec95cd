//! From what is written to a [`Plan`]: names looked up, defaults filled in, and everything checked that can be known
//! before a socket is opened. Nothing stops at the first mistake.

use super::complaint::{Complaint, Complaints};
use super::load::{ServiceWritten, Written};
use super::read::Table;
use super::source::{At, Sources, Span};
use super::value::{FACILITIES, Logging, Masking, Shape};
use crate::plan::{Action, LogPlan, Place, Plan, ServicePlan, Sink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard_net::{Endpoint, Format, Host, Limits, MAX_SERVICES, Mask, Place as Where};

pub(crate) use action::heeds;

mod access;
mod action;
mod admission;
mod confinement;
mod identity;
mod introduction;
mod names;
mod program;
mod sockets;
mod tls;

/// Until conversations are cut, if nothing is said.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Until a new program must be ready, if nothing is said.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks all that is written. The plan is whole only if there was nothing to complain about.
pub(crate) fn build(written: &Written, sources: &Sources, complaints: &mut Complaints) -> Plan {
    if written.services.len() > MAX_SERVICES {
        let span = written.services.get(MAX_SERVICES).and_then(|service| service.own.span);
        let problem = format!("there are {} services, {MAX_SERVICES} is the most", written.services.len());
        complaints.push(Complaint::new(problem).at(span, "one too many"));
        return global(written, sources, complaints);
    }
    let ids = names::ids(&written.services, complaints);
    names::agents(&written.services, &ids, complaints);
    let (mut services, mut places) = (Vec::new(), Vec::new());
    for (service, id) in written.services.iter().zip(ids) {
        let mut draft = Draft { service, complaints, id: &id };
        let listen = draft.listen();
        services.extend(draft.plan(&listen, sources));
        places.push((service, listen));
    }
    names::tcpmux(&written.services, complaints);
    sockets::collisions(&places, complaints);
    let mut plan = global(written, sources, complaints);
    for service in &mut services {
        service.limits.drain_timeout = plan.drain_timeout;
    }
    plan.services = services;
    plan
}

fn global(written: &Written, sources: &Sources, complaints: &mut Complaints) -> Plan {
    let global = &written.global;
    let time =
        |at: &Option<At<super::value::Time>>, otherwise| at.as_ref().map_or(otherwise, |at| at.value.0);
    if let Some(at) = global.max_connections.as_ref().filter(|at| at.value.0 == 0) {
        complaints.push(
            Complaint::new("with `max_connections = 0` nobody could come in")
                .at(at.span, "expected at least 1"),
        );
    }
    let control = global.control.as_ref().and_then(|at| absolute(at, complaints));
    let metrics = global.metrics.as_ref().and_then(|at| match at.value.parse::<Endpoint>() {
        Ok(endpoint) if is_private(&endpoint) => Some(endpoint),
        Ok(_) => {
            let complaint = Complaint::new("metrics are for this machine only")
                .at(at.span, "expected a Unix stream socket or TCP on a loopback address")
                .help("to show them elsewhere, put a server in front that asks who is there");
            complaints.push(complaint);
            None
        }
        Err(error) => {
            complaints.push(Complaint::new(error.to_string()).at(at.span, "expected an endpoint"));
            None
        }
    });
    Plan {
        services: Vec::new(),
        max_connections: global.max_connections.as_ref().map(|at| at.value.0),
        drain_timeout: time(&global.drain_timeout, DRAIN_TIMEOUT),
        upgrade_timeout: time(&global.upgrade_timeout, UPGRADE_TIMEOUT),
        log: log(written, complaints),
        control,
        metrics,
        watch: global.watch.as_ref().is_some_and(|at| at.value),
        files: sources.paths(),
        pid_file: None,
        may_be_empty: false,
    }
}

fn is_private(endpoint: &Endpoint) -> bool {
    match &endpoint.place {
        Where::Inet(host, _) if endpoint.kind == switchboard_net::Kind::Tcp => {
            matches!(host, Host::Loopback) || matches!(host, Host::Ip(ip, _) if ip.is_loopback())
        }
        Where::Inet(..) | Where::Vsock(..) => false,
        Where::Path(_) | Where::Abstract(_) => endpoint.kind == switchboard_net::Kind::Unix,
    }
}

fn log(written: &Written, complaints: &mut Complaints) -> LogPlan {
    let log = written.global.log.as_ref().map(|at| at.value.clone()).unwrap_or_default();
    let format = match log.format.as_ref().map_or(Shape::Human, |at| at.value) {
        Shape::Human => Some(Format::Human),
        Shape::Logfmt => Some(Format::Logfmt),
        Shape::Json => Some(Format::Json),
        Shape::None => None,
    };
    let sink = match &log.to {
        None => Sink::Stderr,
        Some(at) => match &at.value {
            Logging::Stderr => Sink::Stderr,
            Logging::Journald => Sink::Journald,
            Logging::Syslog(name) => {
                let facility = FACILITIES.iter().find(|(known, _)| known == name);
                Sink::Syslog { facility: facility.map_or(3, |(_, code)| *code) }
            }
            Logging::File(path) => Sink::File(
                absolute(&At { value: path.clone(), span: at.span }, complaints).unwrap_or_default(),
            ),
        },
    };
    let mask = match log.mask.as_ref().map_or(Masking::Nothing, |at| at.value) {
        Masking::Nothing => Mask::Nothing,
        Masking::Host => Mask::Host,
        Masking::All => Mask::All,
    };
    LogPlan { format, sink, names: log.names.is_some_and(|at| at.value), mask }
}

/// A path that means the same wherever the program is started.
fn absolute(at: &At<PathBuf>, complaints: &mut Complaints) -> Option<PathBuf> {
    if at.value.is_absolute() {
        return Some(at.value.clone());
    }
    let complaint =
        Complaint::new(format!("`{}` depends on where the program is started", at.value.display()))
            .at(at.span, "expected a path that begins with `/`");
    complaints.push(complaint);
    None
}

/// A service that is being checked.
struct Draft<'a> {
    service: &'a ServiceWritten,
    complaints: &'a mut Complaints,
    id: &'a str,
}

impl Draft<'_> {
    fn complain(&mut self, complaint: Complaint) {
        self.complaints.push(complaint);
    }

    /// Where the service stands.
    fn span(&self) -> Option<Span> {
        self.service.own.span
    }

    /// Complains about those of `keys` that the service itself has: they do nothing for it. As defaults they are for others.
    fn useless(&mut self, keys: &[&str], why: &str) {
        let own = &self.service.own;
        for key in keys.iter().filter(|key| own.has(key)) {
            let complaint = Complaint::new(format!("`{key}` does nothing for this service"))
                .at(own.span_of(key), why.to_owned());
            self.complaints.push(complaint);
        }
    }

    /// Rules that a program would never hear of are an error, wherever they stand: somebody relies on them.
    fn heeded(&mut self, action: Option<&Action>, listen: &[At<Place>]) {
        if !action.is_some_and(|action| action.accepts_by_itself(listen.iter().map(|at| &at.value))) {
            return;
        }
        let all = &self.service.all;
        let written = [
            ("access", all.access.as_ref().map(|at| at.span)),
            ("per_source", all.per_source.as_ref().map(|at| at.span)),
            ("rate_per_source", all.rate_per_source.as_ref().map(|at| at.span)),
        ];
        for (key, span) in written.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            let complaint =
                Complaint::new(format!("`{key}` cannot hold for a program that accepts by itself"))
                    .at(span, "")
                    .help("use the mode `nowait`, or let the program ask who its clients are");
            self.complaints.push(complaint);
        }
    }

    fn plan(&mut self, listen: &[At<Place>], sources: &Sources) -> Option<ServicePlan> {
        let action = self.action(listen);
        let all = &self.service.all;
        let limits = Limits {
            idle_timeout: all.idle_timeout.as_ref().map(|at| at.value.0).filter(|time| !time.is_zero()),
            lifetime: all.lifetime.as_ref().map(|at| at.value.0).filter(|time| !time.is_zero()),
            busy_poll: all.busy_poll.as_ref().map(|at| at.value.0).filter(|time| !time.is_zero()),
            datagrams: self.rates(),
            ..Limits::default()
        };
        let options = self.socket_options(listen);
        let file = self.file(listen);
        let admission = self.admission(listen);
        self.heeded(action.as_ref(), listen);
        let tls = self.tls(action.as_ref(), listen);
        let upstreams = self.upstreams(action.as_ref(), listen);
        let confinement = match &action {
            Some(Action::Program(program)) => program.confinement.clone(),
            _ => self.confinement(),
        };
        Some(ServicePlan {
            id: self.id.to_owned(),
            action: action?,
            listen: listen.iter().map(|at| at.value.clone()).collect(),
            options,
            file,
            admission,
            upstreams,
            limits,
            tls,
            escorted: false,
            confinement,
            tcpmux: all.tcpmux.as_ref().is_some_and(|at| at.value),
            optional: all.optional.as_ref().is_some_and(|at| at.value),
            origin: self.span().map(|span| sources.place(span)).unwrap_or_default(),
        })
    }
}

/// Whether somebody may execute the file at `path`.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
