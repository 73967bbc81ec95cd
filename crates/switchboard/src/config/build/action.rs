//! What is done with a connection: a built-in service, a program, a relay, or tcpmux.

use super::super::complaint::{Complaint, near};
use super::super::document::ForwardTable;
use super::super::read::Table as _;
use super::super::source::At;
use super::super::value::{Pins, ProxyOut, one_for_each, why_not_pinned};
use super::Draft;
use crate::plan::{Action, Forward, Place};
use std::time::Duration;
use switchboard_net::introduction::Outward;
use switchboard_net::{ENGINES, Endpoint, EngineRow, Limits, Place as Where, Port, Rates, SocketOption};
use switchboard_proto::proxy_header::Version;
use switchboard_proto::{AMPLIFY, Datagram, SERVICES, Service};

/// Keys that only programs heed.
const FOR_PROGRAMS: &[&str] = &[
    "mode",
    "pool",
    "argv0",
    "stderr",
    "env",
    "pass_env",
    "resolve_names",
    "directory",
    "when_gone",
    "grace",
];
/// Keys that only built-in services heed.
pub(super) const FOR_BUILTINS: &[&str] = &["engine", "workers", "pin", "options", "busy_poll"];
/// Keys that programs do not heed: they look after their conversations themselves.
pub(super) const NOT_FOR_PROGRAMS: &[&str] =
    &["idle_timeout", "lifetime", "udp_source_rate", "udp_total_rate"];
/// Keys that relays do not heed.
const NOT_FOR_RELAYS: &[&str] = &["udp_source_rate", "udp_total_rate"];
/// For connecting, if nothing is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Processes of a pool, children or threads of an engine.
const MOST_WORKERS: u32 = 1_024;

/// Whether the key makes a difference to what is done.
pub(crate) fn heeds(action: &Action, key: &str) -> bool {
    let key = key.split('.').next().unwrap_or_default();
    match action {
        _ if OTHER_ACTIONS.contains(&key) => deed(action) == key,
        Action::Program(_) => !FOR_BUILTINS.contains(&key) && !NOT_FOR_PROGRAMS.contains(&key),
        Action::Builtin { .. } => !FOR_PROGRAMS.contains(&key),
        Action::Forward(_) | Action::Escort { .. } => {
            let lists = [FOR_PROGRAMS, FOR_BUILTINS, NOT_FOR_RELAYS];
            !lists.iter().any(|list| list.contains(&key))
        }
        Action::Tcpmux => {
            let lists = [FOR_PROGRAMS, FOR_BUILTINS, NOT_FOR_PROGRAMS];
            !lists.iter().any(|list| list.contains(&key))
        }
    }
}

/// The keys of which a service has one.
const OTHER_ACTIONS: [&str; 3] = ["builtin", "exec", "forward"];

fn deed(action: &Action) -> &'static str {
    match action {
        Action::Builtin { .. } | Action::Tcpmux => "builtin",
        Action::Program(_) | Action::Escort { .. } => "exec",
        Action::Forward(_) => "forward",
    }
}

impl Draft<'_> {
    /// What is done with a connection.
    pub(super) fn action(&mut self, listen: &[At<Place>]) -> Option<Action> {
        let own = &self.service.own;
        let said = [
            own.builtin.as_ref().map(|at| ("builtin", at.span)),
            own.exec.as_ref().map(|at| ("exec", at.span)),
            own.forward.as_ref().map(|at| ("forward", at.span)),
        ];
        let said: Vec<_> = said.into_iter().flatten().collect();
        if let [(first, at), (second, again), ..] = said.as_slice() {
            let complaint = Complaint::new(format!("a service cannot have both `{first}` and `{second}`"))
                .at(*again, "either this")
                .at(*at, "or this");
            self.complain(complaint);
            return None;
        }
        let by_tcpmux = own.tcpmux.as_ref().is_some_and(|at| at.value);
        let is_mux = own.builtin.as_ref().is_some_and(|at| at.value == "tcpmux");
        let nowhere = own.listen.as_ref().map_or(own.builtin.is_none() || is_mux, |at| at.value.0.is_empty());
        if nowhere && !by_tcpmux && !own.broken.contains(&"listen") {
            let span = own.listen.as_ref().and_then(|at| at.span).or(self.span());
            let complaint = Complaint::new("the service does not say where it listens");
            self.complain(complaint.at(span, "").help("add `listen`, such as `listen = \"tcp:*:7000\"`"));
        }
        if let Some(packets) = listen.iter().find(|at| by_tcpmux && at.value.endpoint.kind.is_datagram()) {
            let tcpmux = own.tcpmux.as_ref().and_then(|at| at.span);
            let complaint = Complaint::new("a service of datagrams cannot be offered by tcpmux");
            self.complain(complaint.at(tcpmux, "").at(packets.span, "these are datagrams"));
        }
        match (&own.builtin, &own.exec, &own.forward) {
            (Some(at), ..) if at.value == "tcpmux" => self.mux(listen),
            (Some(at), ..) => self.builtin(at, listen),
            (_, Some(at), _) => self.program(at, listen),
            (.., Some(at)) => self.forward(at, listen),
            // What it says could not be read.
            _ if OTHER_ACTIONS.iter().any(|key| own.said(key)) => None,
            _ => {
                let complaint = Complaint::new("the service does not say what is done with a connection")
                    .at(self.span(), "")
                    .help(
                        "add one of `builtin = \"NAME\"`, `exec = \"PROGRAM ARG\"`, `forward = \"ENDPOINT\"`",
                    );
                self.complain(complaint);
                None
            }
        }
    }

    fn mux(&mut self, listen: &[At<Place>]) -> Option<Action> {
        self.useless(FOR_PROGRAMS, "it is for `exec`");
        self.useless(FOR_BUILTINS, "tcpmux has none");
        self.useless(NOT_FOR_PROGRAMS, "it holds where the connection is passed on to");
        if let Some(packets) = listen.iter().find(|at| at.value.endpoint.kind.is_datagram()) {
            self.complain(
                Complaint::new("tcpmux serves streams only").at(packets.span, "these are datagrams"),
            );
        }
        Some(Action::Tcpmux)
    }

    fn builtin(&mut self, name: &At<String>, listen: &[At<Place>]) -> Option<Action> {
        self.useless(FOR_PROGRAMS, "it is for `exec`");
        let all = &self.service.all;
        let engine = match &all.engine {
            None => EngineRow::find("epoll"),
            Some(at) => {
                let found = EngineRow::find(&at.value);
                if found.is_none() {
                    self.unknown(
                        "engine",
                        at,
                        ENGINES.iter().map(|row| row.name),
                        "switchboard list engines",
                    );
                }
                found
            }
        };
        if let Some(engine) = engine {
            self.engine_fits(engine, all.engine.as_ref().and_then(|at| at.span), listen);
        }
        let workers = all.workers.as_ref().and_then(|at| self.workers(at));
        let pins =
            all.pin.as_ref().zip(engine).and_then(|(at, engine)| self.pins(at, engine)).unwrap_or_default();
        let workers = workers.or_else(|| one_for_each(&pins));
        if let Some(at) = all.tcpmux.as_ref().filter(|at| at.value) {
            let complaint = Complaint::new("a built-in service cannot be offered by tcpmux")
                .at(at.span, "its engine accepts clients by itself, and cannot be handed one who has chosen a name")
                .help(
                    "let it listen at an address of its own, such as `listen = \"unix:@NAME\"`, and offer a second service with \
                     `forward = \"unix:@NAME\"`, `tcpmux = true`",
                );
            self.complain(complaint);
            return None;
        }
        let Some(service) = Service::find(&name.value) else {
            let known = SERVICES.iter().map(|row| row.name).chain(["tcpmux"]);
            self.unknown("built-in service", name, known, "switchboard list services");
            return None;
        };
        let settings = self.settings(service);
        let pairs: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // What is wrong with one option was said before; this is about them together.
        let recipe = service.recipe(&pairs).map_err(|error| {
            let span = all.options.as_ref().and_then(|at| at.span);
            self.complain(Complaint::new(error.to_string()).at(span, ""));
        });
        Some(Action::Builtin { service, recipe: recipe.ok()?, settings, engine: engine?, workers, pins })
    }

    /// The options of a built-in service; those under `[defaults]` need not be its own.
    fn settings(&mut self, service: &'static Service) -> Vec<(String, String)> {
        let has = |row: &Service, name: &str| {
            let amplifies = row.datagram == Datagram::Bounded && name == AMPLIFY.name;
            amplifies || row.options.iter().any(|option| option.name == name)
        };
        let mut settings = Vec::new();
        let pairs = self.service.all.options.as_ref().map(|at| at.value.0.clone()).unwrap_or_default();
        for (name, value) in pairs {
            let own = self.service.own.options.iter().flat_map(|at| &at.value.0);
            let is_own = own.into_iter().any(|(own, _)| own.value == name.value);
            if has(service, &name.value) {
                let value = At { value: switched(service, &name.value, value.value), span: value.span };
                match service.recipe(&[(&name.value, &value.value)]) {
                    Ok(_) => settings.push((name.value, value.value)),
                    Err(error) => self.complain(Complaint::new(error.to_string()).at(value.span, "")),
                }
            } else if is_own || !SERVICES.iter().any(|row| has(row, &name.value)) {
                let complaint = Complaint::new(format!(
                    "service {} has no option `{}`",
                    service.name,
                    name.value.escape_debug()
                ))
                .at(name.span, "unknown option");
                let known = service.options.iter().map(|option| option.name);
                let known: Vec<&str> =
                    known.chain((service.datagram == Datagram::Bounded).then_some(AMPLIFY.name)).collect();
                let help = if SocketOption::find(&name.value).is_some() {
                    "this is an option of sockets: write it under `socket_options`".to_owned()
                } else if let Some(near) = near(&name.value, known.iter().copied()) {
                    format!("did you mean `{near}`?")
                } else if known.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("it has {}", known.join(", "))
                };
                self.complain(complaint.help(help));
            }
        }
        settings
    }

    fn unknown<'k>(
        &mut self,
        what: &str,
        at: &At<String>,
        known: impl Iterator<Item = &'k str> + Clone,
        list: &str,
    ) {
        let complaint = Complaint::new(format!("there is no {what} `{}`", at.value.escape_debug()));
        let names: Vec<&str> = known.clone().collect();
        let complaint = complaint.at(at.span, format!("expected one of {}", names.join(", ")));
        self.complain(complaint.help(match near(&at.value, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`{list}` says what each of them does"),
        }));
    }

    pub(super) fn workers(&mut self, at: &At<super::super::value::Count>) -> Option<u16> {
        let count = u16::try_from(at.value.0).ok().filter(|n| (1..=MOST_WORKERS).contains(&u32::from(*n)));
        if count.is_none() {
            let problem = format!("{} is out of range", at.value.0);
            self.complain(Complaint::new(problem).at(at.span, format!("expected 1 to {MOST_WORKERS}")));
        }
        count
    }

    /// The processors that its workers are pinned to.
    fn pins(&mut self, at: &At<Pins>, engine: &EngineRow) -> Option<Vec<usize>> {
        let why_not = why_not_pinned(engine);
        if let Some((why, able)) = why_not {
            if self.service.own.pin.is_some() {
                let complaint = Complaint::new("`pin` does nothing for this service");
                self.complain(
                    complaint.at(at.span, why).help(format!("those of these have their own: {able}")),
                );
            }
            return None;
        }
        at.value.here().map_err(|problem| self.complain(Complaint::new(problem).at(at.span, ""))).ok()
    }

    fn forward(&mut self, at: &At<ForwardTable>, listen: &[At<Place>]) -> Option<Action> {
        self.useless(FOR_PROGRAMS, "it is for `exec`");
        self.useless(FOR_BUILTINS, "it is for `builtin`");
        self.useless(
            NOT_FOR_RELAYS,
            "it is for `builtin`; a relay's senders are bounded by `rate_per_source`",
        );
        let table = &at.value;
        let Some(to) = &table.to else {
            if !table.said("to") {
                self.complain(Complaint::new("the relay does not say where to").at(at.span, "expected `to`"));
            }
            return None;
        };
        let endpoint = match to.value.parse::<Endpoint>() {
            Ok(endpoint) => endpoint,
            Err(error) => {
                self.complain(Complaint::new(error.to_string()).at(to.span, "expected an endpoint"));
                return None;
            }
        };
        // A host's name may be unknown now and known later; what is no port will never be one.
        if let Where::Inet(_, port) = &endpoint.place {
            let (problem, help) = match (port.number(endpoint.kind), port) {
                (Ok(0), _) => (Some("nobody can be connected to at port 0".to_owned()), None),
                (Ok(_), _) => (None, None),
                (Err(_), Port::Name(name)) if name.parse::<std::net::IpAddr>().is_ok() => {
                    let help = format!("write it behind the address: `{}:PORT`", to.value);
                    (Some("the target has no port".to_owned()), Some(help))
                }
                (Err(error), _) => (Some(error.to_string()), None),
            };
            if let Some(problem) = problem {
                let mut complaint = Complaint::new(problem).at(to.span, "expected an endpoint with its port");
                complaint = help.into_iter().fold(complaint, Complaint::help);
                self.complain(complaint);
                return None;
            }
        }
        let datagrams = endpoint.kind.is_datagram();
        if let Some(other) = listen.iter().find(|at| at.value.endpoint.kind.is_datagram() != datagrams) {
            let complaint = Complaint::new("streams and datagrams cannot be relayed to each other");
            let (here, there) = if datagrams { ("a stream", "datagrams") } else { ("datagrams", "a stream") };
            self.complain(complaint.at(other.span, here).at(to.span, there));
        }
        if let Some(same) = listen.iter().find(|at| at.value.endpoint == endpoint) {
            let complaint = Complaint::new("the relay would connect to itself, without end");
            self.complain(complaint.at(to.span, "the same address").at(same.span, "as this"));
        }
        let source = table.source.as_ref().and_then(|source| match source.value.parse() {
            Ok(ip) if matches!(endpoint.place, Where::Inet(..)) => Some(ip),
            Ok(_) => {
                self.complain(Complaint::new("a Unix socket has no source address").at(source.span, ""));
                None
            }
            Err(_) => {
                let problem = format!("`{}` is not an address", source.value.escape_debug());
                self.complain(
                    Complaint::new(problem)
                        .at(source.span, "expected an IPv4 or IPv6 address of this machine"),
                );
                None
            }
        });
        let connect_timeout = table.connect_timeout.as_ref().map_or(CONNECT_TIMEOUT, |at| at.value.0);
        let outward = self.outward(table, datagrams);
        Some(Action::Forward(Forward { to: endpoint, source, connect_timeout, outward }))
    }

    /// How clients are introduced to the far side.
    fn outward(&mut self, table: &ForwardTable, datagrams: bool) -> Option<Outward> {
        let asked = |at: &Option<At<bool>>| at.as_ref().is_some_and(|at| at.value);
        let (crc32c, unique_id) = (asked(&table.proxy_crc32c), asked(&table.proxy_unique_id));
        let version = match table.proxy_out.as_ref().map(|at| at.value) {
            Some(ProxyOut::V1) => Some(Version::V1),
            Some(ProxyOut::V2) => Some(Version::V2),
            None | Some(ProxyOut::Off) => None,
        };
        let extras = [("proxy_crc32c", &table.proxy_crc32c), ("proxy_unique_id", &table.proxy_unique_id)];
        for (key, at) in extras.into_iter().filter_map(|(key, at)| Some((key, at.as_ref()?))) {
            if at.value && version != Some(Version::V2) {
                let complaint = Complaint::new(format!("`{key}` has no place there"));
                self.complaints.push(complaint.at(at.span, "only a header of version 2 has one"));
            }
        }
        if datagrams && version == Some(Version::V1) {
            let span = table.proxy_out.as_ref().and_then(|at| at.span);
            let complaint = Complaint::new("version 1 of the PROXY header does not know datagrams");
            self.complaints.push(complaint.at(span, "expected `v2`"));
        }
        version.map(|version| Outward { version, crc32c, unique_id })
    }

    /// How many datagrams are answered.
    pub(super) fn rates(&self) -> Rates {
        let all = &self.service.all;
        let usual = Limits::default().datagrams;
        let rate = |at: &Option<At<super::super::value::Speed>>, usual| {
            at.as_ref().map_or(usual, |at| at.value.0.map(super::super::value::Frequency::bucket))
        };
        Rates {
            source: rate(&all.udp_source_rate, usual.source),
            global: rate(&all.udp_total_rate, usual.global),
        }
    }
}

/// TOML's words for a switch are `true` and `false`, those of options `on` and `off`.
fn switched(service: &Service, name: &str, value: String) -> String {
    let row = service.options.iter().chain([&AMPLIFY]).find(|option| option.name == name);
    match (row.is_some_and(|row| row.values == "on|off"), value.as_str()) {
        (true, "true") => "on".into(),
        (true, "false") => "off".into(),
        _ => value,
    }
}
