//! `serve`: services on sockets.

use crate::exit::Exit;
use crate::report::Output;
use crate::supervisor::{Ending, Supervisor};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use rustix::fd::OwnedFd;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::admission::{Admission, Ledger, Warden};
use switchboard_net::{
    Counters, ENGINES, Endpoint, EngineRow, Error, Format, Journal, Kind, Port, Rate, Workers, quantity,
};
use switchboard_proto::{Recipe, SERVICES, Service};

mod admission;
mod announcement;
mod hall;
mod options;

use crate::plan::Place;
use admission::AdmissionArguments;
use hall::Hall;
use options::{Options, chosen};

/// Serves protocols on sockets; without arguments: all of them on loopback
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Services to serve; see `switchboard list services`
    #[arg(value_parser = PossibleValuesParser::new(SERVICES.iter().map(|service| service.name)), hide_possible_values = true)]
    services: Vec<String>,

    /// Where to listen: tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, unix:@NAME, unix-dgram:…, unix-seqpacket:…;
    /// HOST may be * for every address, PORT 0 for any free port; options of this socket alone may follow after
    /// commas [default: the service's board ports on loopback]
    #[arg(short, long, value_name = "ENDPOINT[,NAME=VALUE…]")]
    listen: Vec<String>,

    /// Concurrency model; see `switchboard list engines`
    #[arg(short, long, default_value = "epoll", value_parser = PossibleValuesParser::new(ENGINES.iter().map(|engine| engine.name)), hide_possible_values = true)]
    engine: String,

    /// Processes, children or threads, as the engine's row says [default: 1; prefork 8; pool 64]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// An option of the sockets or the services; see `switchboard list options`
    #[arg(short, long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// Exit if anything cannot be bound, not only if nothing can
    #[arg(long)]
    strict: bool,

    /// Say what the kernel made of every socket option
    #[arg(short, long)]
    verbose: bool,

    /// How to print the table of services
    #[arg(long, value_enum, default_value_t = Shape::Human)]
    format: Shape,

    #[command(flatten)]
    limits: LimitArguments,

    #[command(flatten)]
    admission: AdmissionArguments,

    #[command(flatten)]
    log: LogArguments,
}

const EXAMPLES: &str = "\
Examples:
  switchboard serve
  switchboard serve echo --listen tcp:127.0.0.1:0 --engine uring --workers 2
  switchboard serve daytime --listen 'tcp:*:7013' --listen udp:0.0.0.0:7013 --option format=ctime
  switchboard serve chargen --listen unix:/tmp/chargen.sock --idle-timeout 30s
  switchboard serve echo --option sndbuf=bdp:20Mbit/s,40ms --verbose";

#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Conversations at once; more wait in the queue [default: what the descriptor limit allows; 1024 for
    /// engines that need a process or thread for each]
    #[arg(long, value_name = "N", value_parser = quantity::count)]
    max_connections: Option<usize>,

    /// End a conversation in which nothing moves for this long
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    idle_timeout: Option<Duration>,

    /// End a conversation that lasts longer than this
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    lifetime: Option<Duration>,

    /// After a request to stop, let conversations go on for this long
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "5s")]
    drain_timeout: Duration,

    /// Datagrams that each worker answers per second to one source (IPv4 address, IPv6 /64), and how many at once;
    /// or `off`
    #[arg(long, value_name = "RATE/BURST", value_parser = rate, default_value = "100/2000")]
    udp_source_rate: RateLimit,

    /// Datagrams that each worker answers per second to all sources together, and how many at once; or `off`
    #[arg(long, value_name = "RATE/BURST", value_parser = rate, default_value = "20000/40000")]
    udp_total_rate: RateLimit,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Log")]
struct LogArguments {
    /// One record per connection, for people or for programs
    #[arg(long = "log", value_enum, default_value_t = LogShape::Human, value_name = "FORMAT")]
    shape: LogShape,

    /// Append the log to this file [default: standard error]
    #[arg(long, value_name = "PATH")]
    log_file: Option<PathBuf>,

    /// Add the peers' names, looked up after the fact
    #[arg(long)]
    log_names: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Shape {
    Human,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum LogShape {
    Human,
    Json,
    None,
}

#[derive(Clone, Copy, Debug)]
struct RateLimit(Option<Rate>);

fn rate(text: &str) -> Result<RateLimit, Error> {
    if text == "off" {
        return Ok(RateLimit(None));
    }
    let parts = text.split_once('/');
    let wrong =
        || Error::Config(format!("`{text}` is not a rate: write RATE/BURST such as 100/2000, or off"));
    let (per_second, burst) = parts.ok_or_else(wrong)?;
    let (per_second, burst) = (quantity::count(per_second)? as f64, quantity::count(burst)? as f64);
    Ok(RateLimit(Some(Rate { per_second, burst })))
}

pub(crate) fn run(arguments: Arguments, out: &mut Output) -> Exit {
    match serve(arguments, out) {
        Ok(exit) => exit,
        Err((exit, problem)) => {
            out.talk(problem);
            exit
        }
    }
}

type Complaint = (Exit, String);

fn usage(problem: impl ToString) -> Complaint {
    (Exit::Usage, problem.to_string())
}

/// A service, and where it is to be found.
struct Offer {
    recipe: Recipe,
    service: &'static Service,
    places: Vec<Place>,
}

fn serve(arguments: Arguments, out: &mut Output) -> Result<Exit, Complaint> {
    let engine = EngineRow::find(&arguments.engine).ok_or_else(|| usage("no such engine"))?;
    let options = Options::sort(&arguments.options, &arguments.services).map_err(usage)?;
    let offers = offers(&arguments, engine, &options)?;
    options.check_sockets(&offers).map_err(usage)?;
    let copies = match engine.workers {
        Workers::ReusePort => arguments.workers.unwrap_or(1).into(),
        _ => 1,
    };
    let mut hall = Hall { engine, copies, doors: (0..copies).map(|_| Vec::new()).collect(), missed: 0 };
    let rules = arguments.admission.admission(arguments.limits.max_connections).map_err(usage)?;
    let ledger = Ledger::create().map_err(|error| (Exit::Failed, error.to_string()))?;
    let needed = !arguments.admission.queues()
        || Warden::is_needed(&Admission { connections: None, ..rules.clone() }, None);
    for offer in &offers {
        let warden = needed.then(|| Warden::new(offer.service.name, &rules, None, &ledger)).transpose();
        let warden = warden.map_err(usage)?.map(Arc::new);
        for place in &offer.places {
            hall.open(offer, place, warden.as_ref(), &options, arguments.services.is_empty(), out)?;
        }
    }
    if hall.doors[0].is_empty() || (arguments.strict && hall.missed > 0) {
        return Err((Exit::Failed, "nothing is served".into()));
    }
    let journal = journal(&arguments.log)?;
    let counters = Counters::shared().map_err(|error| (Exit::Failed, error.to_string()))?;
    let ready = announcement::announcement(&hall, &arguments);
    let works = hall::works(hall, &arguments);
    let begun = std::time::Instant::now();
    let supervisor =
        Supervisor::new(works, journal, counters).map_err(|error| (Exit::Failed, error.to_string()))?;
    out.line(ready);
    out.flush();
    let ending = supervisor.run(out).map_err(|error| (Exit::Failed, error.to_string()))?;
    if arguments.log.shape != LogShape::None || arguments.format == Shape::Json {
        summary(counters, begun.elapsed(), arguments.format, out);
    }
    Ok(match ending {
        Ending::Drained => Exit::Ok,
        Ending::Left(signal) => Exit::Signal(signal),
        Ending::Broken => Exit::Failed,
    })
}

fn offers(arguments: &Arguments, engine: &EngineRow, options: &Options) -> Result<Vec<Offer>, Complaint> {
    let listen = arguments.listen.iter().map(|text| text.parse()).collect::<Result<Vec<Place>, Error>>();
    let listen = listen.map_err(usage)?;
    if arguments.services.is_empty() && !listen.is_empty() {
        return Err(usage("--listen needs a service: switchboard serve echo --listen …"));
    }
    if arguments.services.len() > 1 {
        let free =
            |at: &&Place| !matches!(&at.endpoint.place, switchboard_net::Place::Inet(_, Port::Number(0)));
        if let Some(taken) = listen.iter().find(free) {
            return Err(usage(format!(
                "--listen {}: {} services cannot share it; give each its own `switchboard serve`, or port 0",
                taken.endpoint,
                arguments.services.len()
            )));
        }
    }
    let mut offers = Vec::new();
    for service in chosen(&arguments.services) {
        let recipe = service.recipe(&options.of(service)).map_err(usage)?;
        let mut places = listen.clone();
        if places.is_empty() {
            let at = |kind| move |port: &u16| Place::from(Endpoint::loopback(kind, *port));
            places.extend(service.board.tcp.iter().map(at(Kind::Tcp)));
            if engine.datagrams {
                places.extend(service.board.udp.iter().map(at(Kind::Udp)));
            }
        }
        let kinds = places.iter().map(|at| &at.endpoint);
        if let Some(packets) = kinds.into_iter().find(|at| at.kind.is_datagram() && !engine.datagrams) {
            let able: Vec<&str> = ENGINES.iter().filter(|row| row.datagrams).map(|row| row.name).collect();
            return Err(usage(format!(
                "--listen {packets}: engine {} serves streams only; datagrams are served by {}",
                engine.name,
                able.join(", ")
            )));
        }
        offers.push(Offer { recipe, service, places });
    }
    Ok(offers)
}

fn journal(log: &LogArguments) -> Result<Journal, Complaint> {
    let format = match log.shape {
        LogShape::None => return Ok(Journal::silent()),
        LogShape::Human => Format::Human,
        LogShape::Json => Format::Json,
    };
    let sink: OwnedFd = match &log.log_file {
        Some(path) => OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
            .map_err(|error| (Exit::Failed, format!("cannot open the log {}: {error}", path.display())))?
            .into(),
        None => rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3)
            .map_err(|error| (Exit::Failed, format!("cannot use standard error for the log: {error}")))?,
    };
    let journal = Journal::new(sink, format);
    Ok(if log.log_names { journal.with_names() } else { journal })
}

fn summary(counters: &Counters, served: Duration, shape: Shape, out: &mut Output) {
    let tally = counters.read();
    let figures = tally.figures();
    match shape {
        Shape::Human => {
            let told: Vec<String> =
                figures.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name}={n}")).collect();
            let told = if told.is_empty() { "nobody came".to_owned() } else { told.join(" ") };
            out.talk(format_args!("served for {:.1} s: {told}", served.as_secs_f64()));
        }
        Shape::Json => {
            let figures: Vec<String> = figures.iter().map(|(name, n)| format!("\"{name}\":{n}")).collect();
            out.line(format_args!(
                "{{\"event\":\"summary\",\"version\":1,\"served_s\":{:.3},{}}}",
                served.as_secs_f64(),
                figures.join(",")
            ));
        }
    }
}
