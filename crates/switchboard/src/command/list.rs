//! `list`: what can be served, how, and with which options.

use crate::exit::Exit;
use crate::report::{Output, Row, Sheet, Table};
use crate::{ENGINES, SERVICES, SOCKET_OPTIONS};
use clap::{Args, ValueEnum};
use switchboard_net::{Endpoint, Kind, Listener, SocketOption, SocketOptions};
use switchboard_proto::{AMPLIFY, Datagram, Service, WORKLOADS};

/// Lists services, engines, workloads or options
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  switchboard list services\n  switchboard list engines\n  switchboard list workloads\n  switchboard list options     with what a fresh socket has on this machine"
)]
pub(crate) struct Arguments {
    /// What to list
    what: What,

    /// With `options`: compute the buffers that keep a path of this bandwidth and round-trip time full
    #[arg(long, value_name = "RATE,RTT")]
    bdp: Option<String>,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum What {
    /// The protocols
    Services,
    /// The concurrency models
    Engines,
    /// What `load` does on its connections
    Workloads,
    /// Options of sockets and services
    Options,
}

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match (arguments.what, &arguments.bdp) {
        (What::Options, Some(path)) => return buffers(path, out),
        (_, Some(_)) => {
            out.talk("--bdp goes with `list options`");
            return Exit::Usage;
        }
        (What::Services, None) => services(out),
        (What::Engines, None) => engines(out),
        (What::Workloads, None) => workloads(out),
        (What::Options, None) => options(out),
    }
    Exit::Ok
}

/// What `explain bdp` says.
fn buffers(path: &str, out: &mut Output) -> Exit {
    match super::explain::path::explain(&[path]) {
        Ok(sheet) => {
            out.line(sheet);
            Exit::Ok
        }
        Err(error) => {
            out.talk(format_args!("--bdp: {error}"));
            Exit::Usage
        }
    }
}

fn services(out: &mut Output) {
    let mut table = Table::new(&["service", "port", "board tcp", "board udp", "source", "what it does"]);
    for service in SERVICES {
        let Service { name, port, board, source, summary, .. } = service;
        table.row([name, &dash(&[*port]), &dash(board.tcp), &dash(board.udp), source, summary]);
    }
    out.line(table);
}

/// Ports with commas, or a dash if there are none.
fn dash(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().filter(|port| **port != 0).map(u16::to_string).collect();
    if ports.is_empty() { "-".to_owned() } else { ports.join(", ") }
}

fn engines(out: &mut Output) {
    let mut table = Table::new(&["engine", "serves", "workers", "source", "how it serves"]);
    for engine in ENGINES {
        let serves = if engine.datagrams { "streams, datagrams" } else { "streams" };
        let workers = match engine.workers {
            crate::Workers::ReusePort => "processes, SO_REUSEPORT",
            crate::Workers::Children => "children, one listener",
            crate::Workers::Threads => "threads, one listener",
        };
        table.row([&engine.name, &serves, &workers, &engine.source, &engine.summary]);
    }
    out.line(table);
}

fn workloads(out: &mut Output) {
    let mut table = Table::new(&["workload", "answered by", "bytes", "what its clients do"]);
    for workload in WORKLOADS {
        let service = if workload.service.is_empty() { "any" } else { workload.service };
        let bytes = if workload.size_bytes == 0 { "-".to_owned() } else { workload.size_bytes.to_string() };
        table.row([&workload.name, &service, &bytes, &workload.summary]);
    }
    out.line(table);
}

/// Every option of sockets, with what the kernel gives a socket before anything of ours is set.
fn defaults() -> Vec<(&'static SocketOption, Option<String>)> {
    let fresh = |kind, v6| {
        let bare = Endpoint::loopback(kind, 0).resolve().ok()?;
        let address =
            bare.into_iter().find(|address| address.inet().is_some_and(|inet| inet.is_ipv6() == v6))?;
        let listener =
            Listener::bind_address(&address, &SocketOptions::default(), crate::Sharing::Alone).ok()?;
        Some(listener.effects())
    };
    let effects: Vec<_> = [fresh(Kind::Tcp, false), fresh(Kind::Tcp, true), fresh(Kind::Udp, false)]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let default = |option: &SocketOption| {
        let effect = effects.iter().find(|effect| effect.name == option.name)?;
        (!effect.got.is_empty()).then(|| effect.got.clone())
    };
    SOCKET_OPTIONS.iter().map(|option| (option, default(option))).collect()
}

/// The options of sockets and services, for programs.
pub(super) fn option_sheets() -> Vec<Sheet> {
    let mut sockets = Sheet::new("socket_options", "options of sockets");
    let row = |(option, default): (&SocketOption, Option<String>)| -> Row {
        vec![
            ("name", option.name.into()),
            ("values", option.values.into()),
            ("default_here", default.into()),
            ("source", option.source.into()),
            ("summary", option.summary.into()),
        ]
    };
    sockets.add("options", defaults().into_iter().map(row).collect::<Vec<Row>>());
    let mut services = Sheet::new("service_options", "options of services");
    let of_services =
        SERVICES.iter().flat_map(|service| service.options.iter().map(|option| (service.name, option)));
    let row = |(of, option): (&str, &switchboard_proto::ServiceOption)| -> Row {
        vec![
            ("name", option.name.into()),
            ("of", of.into()),
            ("values", option.values.into()),
            ("default", option.default.into()),
            ("summary", option.summary.into()),
        ]
    };
    let answering = answering().join(", ");
    services.add("options", of_services.chain([(&*answering, &AMPLIFY)]).map(row).collect::<Vec<Row>>());
    vec![sockets, services]
}

/// The services that answer a datagram by no more than it brought, unless asked to.
fn answering() -> Vec<&'static str> {
    let bounded = SERVICES.iter().filter(|service| service.datagram == Datagram::Bounded);
    bounded.map(|service| service.name).collect()
}

/// The options of sockets and services, for people.
pub(super) fn options(out: &mut Output) {
    let mut table = Table::new(&["socket option", "values", "default here", "source", "what it does"]);
    for (option, default) in defaults() {
        let default = default.unwrap_or_else(|| "-".to_owned());
        table.row([&option.name, &option.values, &default, &option.source, &option.summary]);
    }
    out.line(table);
    out.line("");
    let mut table = Table::new(&["service option", "of", "values", "default", "what it does"]);
    for service in SERVICES {
        for option in service.options {
            table.row([&option.name, &service.name, &option.values, &option.default, &option.summary]);
        }
    }
    table.row([&AMPLIFY.name, &answering().join(", "), &AMPLIFY.values, &AMPLIFY.default, &AMPLIFY.summary]);
    out.line(table);
}
