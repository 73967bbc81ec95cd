//! `serve`: services on sockets.

use crate::exit::Exit;
use crate::report::{Output, Table};
use crate::supervisor::{Ending, Supervisor, Work};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use rustix::fd::OwnedFd;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use switchboard_net::{
    Address, Counters, Door, ENGINES, Endpoint, EngineRow, Error, Format, Journal, Json, Kind, Limits,
    Listener, Rate, SocketOption, SocketOptions, quantity,
};
use switchboard_proto::{AMPLIFY, Datagram, Recipe, SERVICES, Service, TryIt};

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
    #[arg(short, long, value_name = "N")]
    workers: Option<usize>,

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
    log: LogArguments,
}

const EXAMPLES: &str = "\
Examples:
  switchboard serve
  switchboard serve echo --listen tcp:127.0.0.1:0 --engine uring --workers 2
  switchboard serve daytime --listen 'tcp:*:7013' --listen udp:0.0.0.0:7013 --option format=ctime
  switchboard serve chargen --listen unix:/tmp/chargen.sock --idle-timeout 30s
  switchboard serve echo --option sndbuf=bdp:100Mbit/s,40ms --verbose";

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

    /// Datagrams answered per second to one source (IPv4 address, IPv6 /64), and how many at once; or `off`
    #[arg(long, value_name = "RATE/BURST", value_parser = rate, default_value = "100/2000")]
    udp_source_rate: RateLimit,

    /// Datagrams answered per second to all sources together, and how many at once; or `off`
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

/// Where to listen, with the options of that socket alone.
#[derive(Clone)]
struct Place {
    endpoint: Endpoint,
    options: Vec<(String, String)>,
}

impl FromStr for Place {
    type Err = Error;

    /// `ENDPOINT,NAME=VALUE,…`; a piece without `=` belongs to the one before it (`sndbuf=bdp:RATE,RTT`).
    fn from_str(text: &str) -> Result<Place, Error> {
        let mut pieces: Vec<String> = Vec::new();
        for piece in text.split(',') {
            match pieces.last_mut() {
                Some(before) if !piece.contains('=') => {
                    before.push(',');
                    before.push_str(piece);
                }
                _ => pieces.push(piece.to_owned()),
            }
        }
        let mut pieces = pieces.into_iter();
        let endpoint: Endpoint = pieces.next().unwrap_or_default().parse()?;
        let mut options = Vec::new();
        for piece in pieces {
            let (name, value) = piece.split_once('=').unwrap_or((&piece, ""));
            let v6 = true;
            if SocketOption::find(name).is_some_and(|option| !option.on.covers(endpoint.kind, v6)) {
                return Err(Error::Config(format!(
                    "--listen {text}: option {name} does not apply to that socket"
                )));
            }
            SocketOptions::default().set(name, value)?;
            options.push((name.to_owned(), value.to_owned()));
        }
        Ok(Place { endpoint, options })
    }
}

impl From<Endpoint> for Place {
    fn from(endpoint: Endpoint) -> Place {
        Place { endpoint, options: Vec::new() }
    }
}

fn serve(arguments: Arguments, out: &mut Output) -> Result<Exit, Complaint> {
    let engine = EngineRow::find(&arguments.engine).ok_or_else(|| usage("no such engine"))?;
    let options = Options::sort(&arguments.options, &arguments.services).map_err(usage)?;
    let offers = offers(&arguments, engine, &options)?;
    options.check_sockets(&offers).map_err(usage)?;
    let copies = match engine.workers {
        switchboard_net::Workers::ReusePort => arguments.workers.unwrap_or(1).max(1),
        _ => 1,
    };
    let mut hall = Hall { engine, copies, doors: (0..copies).map(|_| Vec::new()).collect(), missed: 0 };
    for offer in &offers {
        for place in &offer.places {
            hall.open(offer, place, &options, arguments.services.is_empty(), out)?;
        }
    }
    if hall.doors[0].is_empty() || (arguments.strict && hall.missed > 0) {
        return Err((Exit::Failed, "nothing is served".into()));
    }
    announce(&hall, &arguments, out);
    let journal = journal(&arguments.log)?;
    let counters = Counters::shared().map_err(|error| (Exit::Failed, error.to_string()))?;
    let works = works(hall, &arguments);
    let begun = std::time::Instant::now();
    let supervisor =
        Supervisor::new(works, journal, counters).map_err(|error| (Exit::Failed, error.to_string()))?;
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

/// The options given, sorted into those of sockets and those of services.
struct Options {
    sockets: Vec<(String, String)>,
    services: Vec<(String, String)>,
}

impl Options {
    fn sort(given: &[String], services: &[String]) -> Result<Options, String> {
        let mut options = Options { sockets: Vec::new(), services: Vec::new() };
        for text in given {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("option `{text}`: write it as NAME=VALUE, for example nodelay=off"))?;
            let pair = (name.to_owned(), value.to_owned());
            if SocketOption::find(name).is_some() {
                options.sockets.push(pair);
            } else if chosen(services).any(|service| has_option(service, name)) {
                options.services.push(pair);
            } else {
                let known = known_options(services);
                let near =
                    known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
                let hint = near.filter(|near| strsim::jaro(near, name) > 0.7);
                let hint = hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(format!(
                    "option `{name}` is neither one of sockets nor of the services served{hint} \
                     (`switchboard list options` shows all)"
                ));
            }
        }
        Ok(options)
    }

    /// The service options that `service` has.
    fn of(&self, service: &Service) -> Vec<(&str, &str)> {
        let pairs = self.services.iter().filter(|(name, _)| has_option(service, name));
        pairs.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The socket options that apply to a socket at `place`; its own ones win.
    fn for_socket(&self, place: &Place, v6: bool) -> Result<SocketOptions, Error> {
        let mut options = SocketOptions::default();
        let kind = place.endpoint.kind;
        for (name, value) in self.sockets.iter().chain(&place.options) {
            if SocketOption::find(name).is_some_and(|option| option.on.covers(kind, v6)) {
                options.set(name, value)?;
            }
        }
        Ok(options)
    }

    /// Every socket option must be valid, and apply to one of the sockets.
    fn check_sockets(&self, offers: &[Offer]) -> Result<(), String> {
        let kinds: Vec<Kind> =
            offers.iter().flat_map(|offer| &offer.places).map(|at| at.endpoint.kind).collect();
        for (name, value) in &self.sockets {
            SocketOptions::default().set(name, value).map_err(|error| error.to_string())?;
            let applies =
                |kind: &Kind| SocketOption::find(name).is_some_and(|option| option.on.covers(*kind, true));
            if !kinds.iter().any(applies) {
                return Err(format!("option {name}: it applies to none of the sockets served"));
            }
        }
        Ok(())
    }
}

fn chosen(names: &[String]) -> impl Iterator<Item = &'static Service> {
    SERVICES.iter().filter(|service| names.is_empty() || names.iter().any(|name| name == service.name))
}

fn has_option(service: &Service, name: &str) -> bool {
    let amplifies = service.datagram == Datagram::Bounded && name == AMPLIFY.name;
    amplifies || service.options.iter().any(|option| option.name == name)
}

fn known_options(services: &[String]) -> Vec<&'static str> {
    let sockets = switchboard_net::SOCKET_OPTIONS.iter().map(|option| option.name);
    sockets.chain(chosen(services).flat_map(|service| service.options).map(|option| option.name)).collect()
}

fn offers(arguments: &Arguments, engine: &EngineRow, options: &Options) -> Result<Vec<Offer>, Complaint> {
    let listen = arguments.listen.iter().map(|text| text.parse()).collect::<Result<Vec<Place>, Error>>();
    let listen = listen.map_err(usage)?;
    if arguments.services.is_empty() && !listen.is_empty() {
        return Err(usage("--listen needs a service: switchboard serve echo --listen …"));
    }
    if arguments.services.len() > 1 {
        let free = |at: &&Place| {
            !matches!(&at.endpoint.place, switchboard_net::Place::Inet(_, switchboard_net::Port::Number(0)))
        };
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

/// The doors of every copy of the worker.
struct Hall {
    engine: &'static EngineRow,
    copies: usize,
    doors: Vec<Vec<(Door, &'static Service)>>,
    /// Addresses that could not be bound.
    missed: usize,
}

impl Hall {
    /// Binds every address of `endpoint`, once per copy. What cannot be bound is said and counted.
    fn open(
        &mut self,
        offer: &Offer,
        place: &Place,
        options: &Options,
        board: bool,
        out: &mut Output,
    ) -> Result<(), Complaint> {
        let addresses = place.endpoint.resolve().map_err(|error| (Exit::Name, error.to_string()))?;
        for address in addresses {
            let v6 = address.inet().is_some_and(|inet| inet.is_ipv6());
            let options = options.for_socket(place, v6).map_err(usage)?;
            match self.bind(address, &options) {
                Ok(listeners) => {
                    for (doors, listener) in self.doors.iter_mut().zip(listeners) {
                        doors.push((Door { listener, recipe: offer.recipe.clone() }, offer.service));
                    }
                }
                // A machine without IPv6 has no ::1; nobody asked for it by name.
                Err(error) if v6 && board && is_absent(&error) => {}
                Err(error @ Error::Config(_)) => return Err(usage(error)),
                Err(error) => {
                    self.missed += 1;
                    out.talk(error);
                }
            }
        }
        Ok(())
    }

    fn bind(&self, address: Address, options: &SocketOptions) -> Result<Vec<Listener>, Error> {
        let sharing = self.engine.workers.sharing(self.copies);
        let first = Listener::bind_address(&address, options, sharing)?;
        // Port 0 was decided by the first one; a Unix name can be bound only once and is shared.
        let bound = first.local().clone();
        let mut listeners = vec![first];
        for _ in 1..self.copies {
            let next = if bound.kind.is_inet() {
                Listener::bind_address(&bound.like(&address), options, sharing)?
            } else {
                listeners[0].share()?
            };
            listeners.push(next);
        }
        Ok(listeners)
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// Says what is served, and how to try it.
fn announce(hall: &Hall, arguments: &Arguments, out: &mut Output) {
    let program = std::env::args().next().unwrap_or_else(|| "switchboard".into());
    let engine = hall.engine.name;
    match arguments.format {
        Shape::Human => {
            let mut table = Table::new(&["service", "address", "try it"]);
            for (door, service) in &hall.doors[0] {
                let local = door.listener.local();
                table.row([&service.name, local, &try_it(&program, service, local)]);
            }
            out.line(table);
            if arguments.verbose {
                for (door, service) in &hall.doors[0] {
                    let effects: Vec<String> =
                        door.listener.effects().iter().map(ToString::to_string).collect();
                    out.line(format_args!(
                        "{} {}: {}",
                        service.name,
                        door.listener.local(),
                        effects.join(" ")
                    ));
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
                [port] => out.line(format_args!("server ready on port {port} (engine {engine})")),
                _ => {
                    out.line(format_args!("server ready on {n} addresses (engine {engine}); Ctrl-C stops it"))
                }
            }
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
            out.line(format_args!(
                "{{\"event\":\"ready\",\"version\":1,\"listeners\":[{}]}}",
                listeners.join(",")
            ));
        }
    }
    out.flush();
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

/// Shares the doors out: one worker for all services if its engine can, otherwise one for each service.
fn works(hall: Hall, arguments: &Arguments) -> Vec<Work> {
    let Hall { engine, copies, doors, .. } = hall;
    let own_ports: Vec<u16> = doors
        .iter()
        .flatten()
        .filter(|(door, _)| door.listener.local().kind == Kind::Udp)
        .filter_map(|(door, _)| door.listener.local().inet())
        .map(|inet| inet.port())
        .collect();
    let tasks = arguments.workers.unwrap_or_else(|| engine.workers.default_count()).max(1);
    let given = &arguments.limits;
    let mut works = Vec::new();
    for (copy, doors) in doors.into_iter().enumerate() {
        let mut limits = Limits {
            // Every copy gets its share, the first ones the remainder; none gets nothing.
            max_connections: given
                .max_connections
                .map(|n| (n / copies + usize::from(copy < n % copies)).max(1)),
            idle_timeout: given.idle_timeout.filter(|limit| !limit.is_zero()),
            lifetime: given.lifetime.filter(|limit| !limit.is_zero()),
            drain_timeout: given.drain_timeout,
            reserved_ports: own_ports.clone(),
            ..Limits::default()
        };
        limits.datagrams.source = given.udp_source_rate.0;
        limits.datagrams.global = given.udp_total_rate.0;
        let work = |doors| Work { engine, doors, tasks, limits: limits.clone() };
        if engine.many_services {
            works.push(work(doors.into_iter().map(|(door, _)| door).collect()));
            continue;
        }
        let mut groups: Vec<(&str, Vec<Door>)> = Vec::new();
        for (door, service) in doors {
            match groups.iter_mut().find(|(name, _)| *name == service.name) {
                Some((_, group)) => group.push(door),
                None => groups.push((service.name, vec![door])),
            }
        }
        works.extend(groups.into_iter().map(|(_, doors)| work(doors)));
    }
    works
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
