//! `list`: what can be served, how, and with which options.

use crate::exit::Exit;
use crate::report::{Output, Table};
use crate::{ENGINES, SERVICES, SOCKET_OPTIONS, quantity};
use clap::{Args, ValueEnum};
use switchboard_net::{Endpoint, Kind, Listener, SocketOptions};
use switchboard_proto::{AMPLIFY, Datagram, Service};

/// Lists services, engines or options
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  switchboard list services\n  switchboard list engines\n  switchboard list options     with what a fresh socket has on this machine"
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
        (What::Options, None) => options(out),
    }
    Exit::Ok
}

/// The bandwidth-delay product of a path, and whether this machine lets a socket have it.
fn buffers(path: &str, out: &mut Output) -> Exit {
    let parsed = path.split_once(',').ok_or_else(|| "write RATE,RTT, for example 100Mbit/s,80ms".to_owned());
    let product = parsed.and_then(|(rate, rtt)| {
        let rate = quantity::bit_rate(rate.trim()).map_err(|error| error.to_string())?;
        let rtt = quantity::duration(rtt.trim()).map_err(|error| error.to_string())?;
        Ok(quantity::bandwidth_delay_product(rate, rtt))
    });
    let bytes = match product {
        Ok(bytes) => bytes,
        Err(problem) => {
            out.talk(format_args!("--bdp {path}: {problem}"));
            return Exit::Usage;
        }
    };
    out.line(format_args!(
        "bandwidth × delay = {bytes} bytes: --option sndbuf={bytes} --option rcvbuf={bytes}"
    ));
    for (option, sysctl) in [("sndbuf", "wmem_max"), ("rcvbuf", "rmem_max")] {
        let limit = std::fs::read_to_string(format!("/proc/sys/net/core/{sysctl}"));
        let Some(limit) = limit.ok().and_then(|text| text.trim().parse::<usize>().ok()) else { continue };
        let verdict = if limit >= bytes { "is enough" } else { "is too small: raise it first" };
        out.line(format_args!("{option}: net.core.{sysctl} = {limit} {verdict}"));
    }
    Exit::Ok
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

fn options(out: &mut Output) {
    // What the kernel gives a socket before anything of ours is set.
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
    let mut table = Table::new(&["socket option", "values", "default here", "source", "what it does"]);
    for option in SOCKET_OPTIONS {
        let default = effects.iter().find(|effect| effect.name == option.name);
        let default = default.map_or("-", |effect| if effect.got.is_empty() { "-" } else { &effect.got });
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
    let answering: Vec<&str> = SERVICES
        .iter()
        .filter(|service| service.datagram == Datagram::Bounded)
        .map(|service| service.name)
        .collect();
    table.row([&AMPLIFY.name, &answering.join(", "), &AMPLIFY.values, &AMPLIFY.default, &AMPLIFY.summary]);
    out.line(table);
}
