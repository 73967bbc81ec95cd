//! `sockets`: every socket of this network namespace, its queues, timers and owners.

use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, ValueEnum};
use std::time::Duration;
use switchboard_lab::diag::State;
use switchboard_net::{Error, Kind, Port, quantity};

mod filter;
mod json;
mod snapshot;
mod view;
mod watch;

use filter::Filter;
use snapshot::{Looker, Snapshot};

/// Shows sockets with their queues, timers and owners
///
/// What `netstat -a` and `ss` show: TCP, UDP and raw sockets, listeners first, straight from the kernel
/// (sock_diag(7)). For a listener the receive queue is how many clients wait to be accepted, and of how many; its
/// drops are those that found no room. Who holds a socket is looked up in /proc, and so are zombie children that the
/// owner has not waited for.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// TCP; kinds add up, and without any it is TCP, UDP and raw
    #[arg(short, long)]
    tcp: bool,

    /// UDP
    #[arg(short, long)]
    udp: bool,

    /// Raw IP
    #[arg(short = 'w', long)]
    raw: bool,

    /// Unix: streams, datagrams, seqpackets
    #[arg(short = 'x', long)]
    unix: bool,

    /// Every kind, and connections in TIME_WAIT, which are only counted otherwise
    #[arg(short, long)]
    all: bool,

    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Listeners only: short for --state listen
    #[arg(short, long, conflicts_with = "state")]
    listening: bool,

    /// In one of these states: listen, established, close-wait, …; or connected: any but listen, close and bound
    #[arg(short, long, value_name = "STATE,…", value_delimiter = ',', value_parser = filter::states)]
    state: Vec<filter::States>,

    /// With this port, or name of a port, at either end
    #[arg(short, long)]
    port: Option<String>,

    /// With this port of its own
    #[arg(long, value_name = "PORT")]
    sport: Option<String>,

    /// With this port of the peer's
    #[arg(long, value_name = "PORT")]
    dport: Option<String>,

    /// Held by this program, by name or process number
    #[arg(short = 'P', long, value_name = "NAME|PID")]
    program: Option<String>,

    /// Names of ports in the place of numbers (services(5))
    #[arg(short, long)]
    names: bool,

    /// TCP's own numbers: round-trip time, windows, retransmissions, rates
    #[arg(short, long)]
    info: bool,

    /// Look again and again; at a terminal the table is drawn anew, otherwise changes are told: + new, - gone,
    /// ~ changed
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "1s")]
    watch: Option<String>,

    /// With --watch: end after so many looks
    #[arg(long, value_name = "LOOKS", requires = "watch")]
    count: Option<u64>,

    /// For people, or one JSON object a look
    #[arg(long, value_enum, default_value = "human")]
    format: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Form {
    /// A table
    Human,
    /// JSON, with units in the names
    Json,
}

const EXAMPLES: &str = "\
Examples:
  switchboard sockets                        listeners and connections, TCP, UDP, raw
  switchboard sockets --tcp --listening      who listens, and how full the queues are
  switchboard sockets --port 7007 --info     both ends, with TCP's own numbers
  switchboard sockets --program switchboard --all
  switchboard sockets --format json
  switchboard sockets --port 7007 --watch=100ms --count 3";

/// The shortest interval of `--watch`: a look costs some milliseconds of CPU time.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let (mut looker, interval) = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(error) => {
            out.talk(&error);
            return if matches!(error, Error::Name { .. }) { Exit::Name } else { Exit::Usage };
        }
    };
    let names = if arguments.names { view::Names::of_this_machine() } else { view::Names::default() };
    match interval {
        Some(interval) => watch::run(&mut looker, &names, interval, arguments, out),
        None => once(&mut looker, &names, arguments, out),
    }
}

fn once(looker: &mut Looker, names: &view::Names, arguments: &Arguments, out: &mut Output) -> Exit {
    let snapshot = match looker.look() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            out.talk(error);
            return Exit::Failed;
        }
    };
    match arguments.format {
        Form::Human => view::lines(&snapshot, names, arguments.info).iter().for_each(|line| out.line(line)),
        Form::Json => out.line(json::document(&snapshot)),
    }
    remarks(&snapshot, out);
    verdict(!snapshot.rows.is_empty(), &looker.filter, out)
}

/// What is missing from the picture, and what it would take.
fn remarks(snapshot: &Snapshot, out: &mut Output) {
    for refused in &snapshot.refused {
        out.talk(refused);
    }
    if let Some(remark) = snapshot.unseen() {
        out.talk(remark);
    }
}

fn verdict(found: bool, filter: &Filter, out: &mut Output) -> Exit {
    if found || filter.is_open() {
        return Exit::Ok;
    }
    out.talk("no socket is like that");
    Exit::Failed
}

fn prepare(arguments: &Arguments) -> Result<(Looker, Option<Duration>), Error> {
    let port = |text: &Option<String>| text.as_deref().map(number).transpose();
    let mut states: Vec<State> = arguments.state.iter().flat_map(|some| some.0.clone()).collect();
    if arguments.listening {
        states.push(State::Listen);
    }
    let filter = Filter {
        states,
        port: port(&arguments.port)?,
        sport: port(&arguments.sport)?,
        dport: port(&arguments.dport)?,
        program: arguments.program.clone(),
    };
    let interval = arguments.watch.as_deref().map(quantity::duration).transpose()?;
    if interval.is_some_and(|interval| interval < LEAST_INTERVAL) {
        return Err(Error::Config(
            "--watch: looking more often than every 10 ms would be all it shows".into(),
        ));
    }
    let any_kind = arguments.tcp || arguments.udp || arguments.raw || arguments.unix;
    let kind = |asked: bool, by_default: bool| arguments.all || asked || !any_kind && by_default;
    let looker = Looker {
        tcp: kind(arguments.tcp, true),
        udp: kind(arguments.udp, true),
        raw: kind(arguments.raw, true),
        unix: kind(arguments.unix, false),
        asked: any_kind,
        v4: !arguments.ipv6,
        v6: !arguments.ipv4,
        // Whoever asks for a port or a program wants all of it; a plain look would drown in what is over.
        time_wait: arguments.all || !filter.is_open(),
        tcp_info: arguments.info || arguments.format == Form::Json,
        filter,
    };
    Ok((looker, interval))
}

/// A port by number or name. Some services are there for datagrams only.
fn number(text: &str) -> Result<u16, Error> {
    let port: Port = text.parse()?;
    port.number(Kind::Tcp).or_else(|error| port.number(Kind::Udp).map_err(|_| error))
}
