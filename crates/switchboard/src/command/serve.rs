//! `serve`: services on sockets.

use crate::config::value::Pins;
use crate::exit::Exit;
use crate::plan::{LogPlan, Plan, Sink, unfit_for_introductions};
use crate::report::Output;
use crate::supervisor::{Complaint, Ending, Heritage, Loader, Supervisor};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::admission::{Access, Admission};
use switchboard_net::sys::inherited;
use switchboard_net::{ENGINES, Error, Format, Limits, Mask, Rate, Tally, quantity};
use switchboard_proto::SERVICES;

mod admission;
mod announcement;
mod builtins;
mod given;
mod options;
pub(crate) mod source;
mod tls;

use admission::AdmissionArguments;
use given::Given;

/// Serves protocols on sockets; without arguments: all of them on loopback
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// What to serve: names of services (`switchboard list services`); exec:'PROGRAM ARG…' starts a program for each
    /// connection; forward:ENDPOINT relays; tcpmux
    #[arg(value_name = "SERVICE", value_parser = service)]
    services: Vec<String>,

    /// Where to listen: tcp:HOST:PORT, tls:HOST:PORT, udp:HOST:PORT, unix:PATH, unix:@NAME, unix-dgram:…, unix-seqpacket:…, vsock:CID:PORT;
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

    /// Pin worker after worker to one of these processors, in turn: 0,2-3, or `all` that may be used; each takes the connections
    /// that arrive on its own, and without --workers there is one for each
    #[arg(long, value_name = "LIST")]
    pin: Option<Pins>,

    /// An option of the sockets or the services; see `switchboard list options`
    #[arg(short, long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// Exit if anything cannot be bound, not only if nothing can; also what a file calls optional
    #[arg(long)]
    strict: bool,

    /// Say what the kernel made of every socket option
    #[arg(short, long)]
    verbose: bool,

    /// How to print the table of services
    #[arg(long, value_enum, default_value_t = Shape::Human)]
    format: Shape,

    /// Answer `status`, `reload`, `upgrade`, `drain`, `stop` and `terminate` on this Unix socket [without a path:
    /// switchboard.sock in the user's run-time directory, or in /run]
    #[arg(long, value_name = "PATH", require_equals = true, num_args = 0..=1)]
    control: Option<Option<PathBuf>>,

    #[command(flatten)]
    source: source::SourceArguments,

    #[command(flatten)]
    limits: LimitArguments,

    #[command(flatten)]
    admission: AdmissionArguments,

    #[command(flatten)]
    tls: tls::TlsArguments,

    #[command(flatten)]
    log: LogArguments,

    #[arg(skip)]
    given: Given,
}

const EXAMPLES: &str = "\
Examples:
  switchboard serve
  switchboard serve echo --listen tcp:127.0.0.1:0 --engine uring --workers 2
  switchboard serve daytime --listen 'tcp:*:7013' --listen udp:0.0.0.0:7013 --option format=ctime
  switchboard serve chargen --listen unix:/tmp/chargen.sock --idle-timeout 30s
  switchboard serve echo --option sndbuf=bdp:20Mbit/s,40ms --verbose";

impl Arguments {
    /// Takes note of what was given, as opposed to what holds by default.
    pub(crate) fn note_what_was_given(&mut self, matches: &clap::ArgMatches) {
        self.given = Given::of(matches);
    }
}

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

    /// After a request to stop, let conversations go on for this long; wins over a file's
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "5s")]
    drain_timeout: Duration,

    /// Before it sleeps, a worker of poll, epoll or uring looks for events for up to this long [without a value:
    /// 200us], while they keep coming as quickly: faster answers to few clients, for a busy processor
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, require_equals = true, num_args = 0..=1,
          default_missing_value = "200us")]
    busy_poll: Option<Duration>,

    /// Datagrams answered per second to one source (IPv4 address, IPv6 /64), and how many at once;
    /// or `off`
    #[arg(long, value_name = "RATE/BURST", value_parser = rate, default_value = "100/2000")]
    udp_source_rate: RateLimit,

    /// Datagrams answered per second to all sources together, and how many at once; or `off`
    #[arg(long, value_name = "RATE/BURST", value_parser = rate, default_value = "20000/40000")]
    udp_total_rate: RateLimit,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Log (wins over a file's)")]
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

    /// Hide peers' addresses in the log: all but the network (IPv4 /24, IPv6 /48), or all
    #[arg(long, value_enum, default_value_t = MaskShape::None, value_name = "WHAT")]
    log_mask: MaskShape,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum MaskShape {
    None,
    Host,
    All,
}

impl From<MaskShape> for Mask {
    fn from(shape: MaskShape) -> Mask {
        match shape {
            MaskShape::None => Mask::Nothing,
            MaskShape::Host => Mask::Host,
            MaskShape::All => Mask::All,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Shape {
    Human,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum LogShape {
    Human,
    Logfmt,
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
    let show = Show::Board { format: arguments.format, verbose: arguments.verbose };
    let arguments = Rc::new(arguments);
    let done = plan(&arguments, out).and_then(|(plan, loader)| carry_out(plan, loader, show, out));
    done.unwrap_or_else(|(exit, problem)| {
        Heritage::refuse_for(&problem);
        out.talk(problem);
        exit
    })
}

/// Checks a positional argument.
fn service(text: &str) -> Result<String, String> {
    if source::is_action(text) || SERVICES.iter().any(|service| service.name == text) {
        return Ok(text.to_owned());
    }
    let names = SERVICES.iter().map(|service| service.name);
    let near = names.max_by(|a, b| strsim::jaro(a, text).total_cmp(&strsim::jaro(b, text)));
    let near = near.filter(|near| strsim::jaro(near, text) > 0.7);
    let hint = near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean `{near}`?"));
    let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
    Err(format!("there is no such service{hint} There are {}; programs are exec:'PROGRAM'", names.join(", ")))
}

/// What is to be served, from a file or from the command line.
fn plan(arguments: &Rc<Arguments>, out: &mut Output) -> Result<(Plan, Option<Loader>), Complaint> {
    let overrides = Overrides::of(arguments);
    let Some((plan, loader)) = source::from_file(arguments, out)? else {
        let plan = from_command_line(arguments)?;
        arguments.given.check_with(&plan)?;
        // The same words mean other things when their files have changed: certificates, rules, names.
        let (words, again) = (Rc::clone(arguments), overrides.clone());
        let loader = move || from_command_line(&words).map(|plan| again.apply(plan)).map_err(|(_, why)| why);
        return Ok((overrides.apply(plan), Some(Box::new(loader))));
    };
    // What the command line says holds after a reload too.
    let again = overrides.clone();
    let loader = loader.map(|load| -> Loader { Box::new(move || load().map(|plan| again.apply(plan))) });
    Ok((overrides.apply(plan), loader))
}

/// What the command line says of the server as a whole: it wins over the file.
#[derive(Clone, Debug)]
struct Overrides {
    control: Option<PathBuf>,
    drain_timeout: Option<Duration>,
    strict: bool,
    /// The log, and which parts of it were given: format, sink, names, mask.
    log: (LogPlan, [bool; 4]),
}

impl Overrides {
    fn of(arguments: &Arguments) -> Overrides {
        let given = |option: &str| arguments.given.has(option);
        let control = arguments.control.clone();
        Overrides {
            control: control.map(|path| path.unwrap_or_else(crate::control::default_path)),
            drain_timeout: given("drain_timeout").then_some(arguments.limits.drain_timeout),
            strict: arguments.strict,
            log: (arguments.log.plan(), ["shape", "log_file", "log_names", "log_mask"].map(given)),
        }
    }

    fn apply(&self, mut plan: Plan) -> Plan {
        plan.control = self.control.clone().or(plan.control);
        plan.drain_timeout = self.drain_timeout.unwrap_or(plan.drain_timeout);
        if self.strict {
            plan.services.iter_mut().for_each(|service| service.optional = false);
        }
        let (log, [format, sink, names, mask]) = &self.log;
        let file = plan.log;
        plan.log = LogPlan {
            format: if *format { log.format } else { file.format },
            sink: if *sink { log.sink.clone() } else { file.sink },
            names: if *names { log.names } else { file.names },
            mask: if *mask { log.mask } else { file.mask },
        };
        plan
    }
}

/// How to say what is served.
#[derive(Debug)]
pub(crate) enum Show {
    /// The table of services, on standard output; a summary at the end.
    Board { format: Shape, verbose: bool },
    /// The number of the first TCP port, on standard output.
    Port,
    /// Nothing, but whoever waits for the daemon is told.
    Nothing(Option<crate::daemon::Ready>),
}

/// Serves what `plan` says until asked to stop. `loader` reads it again for a reload.
pub(crate) fn carry_out(
    plan: Plan,
    loader: Option<Loader>,
    show: Show,
    out: &mut Output,
) -> Result<Exit, Complaint> {
    let heritage = Heritage::receive().map_err(|error| (Exit::Failed, error.to_string()))?;
    let logged = plan.log.format.is_some();
    let begun = std::time::Instant::now();
    let warning = plan.unsaid_users().filter(|_| matches!(show, Show::Board { .. }));
    let mut supervisor = Supervisor::new(plan, loader, inherited::listen_fds(), heritage, out)?;
    let mut summarises = None;
    match show {
        Show::Board { format, verbose } => {
            if !supervisor.is_successor() {
                warning.into_iter().for_each(|warning| out.talk(warning));
                out.line(announcement::announcement(&supervisor, format, verbose));
                out.flush();
            }
            summarises = (logged || format == Shape::Json).then_some(format);
        }
        Show::Port => {
            let port = supervisor.offers().find_map(|offer| offer.listener.local().inet());
            if let Some(address) = port.filter(|_| !supervisor.is_successor()) {
                out.line(address.port());
                out.flush();
            }
        }
        Show::Nothing(ready) => supervisor.when_ready(ready),
    }
    let ending = supervisor.run(out).map_err(|error| (Exit::Failed, error.to_string()))?;
    if let Some(format) = summarises {
        summary(supervisor.total(), begun.elapsed(), format, out);
    }
    Ok(match ending {
        Ending::Drained | Ending::Succeeded => Exit::Ok,
        Ending::Left(signal) => Exit::Signal(signal),
        Ending::Broken => Exit::Failed,
    })
}

fn usage(problem: impl ToString) -> Complaint {
    (Exit::Usage, problem.to_string())
}

/// What the command line asks for.
fn from_command_line(arguments: &Arguments) -> Result<Plan, Complaint> {
    let words = arguments.services.iter().any(|word| source::is_action(word));
    if arguments.source.sets() && !words {
        return Err(usage(
            "--set is for programs and relays: switchboard serve exec:'PROGRAM' --set KEY=VALUE",
        ));
    }
    let mut plan = if words {
        let mut plan = source::from_words(arguments)?;
        for service in &mut plan.services {
            let rules = &service.admission;
            let sources = rules.access != Access::default() || rules.per_source.is_some();
            if (sources || rules.rate_per_source.is_some())
                && service.action.accepts_by_itself(service.listen.iter())
            {
                return Err(usage(
                    "--allow, --deny and limits of one source cannot hold for a program that accepts by itself; use the \
                     mode nowait",
                ));
            }
        }
        plan
    } else {
        builtins::plan(arguments, &admission(arguments)?)?
    };
    if let Some(upstreams) = arguments.admission.upstreams().map_err(usage)? {
        let upstreams = Arc::new(upstreams);
        for service in &mut plan.services {
            let unfit = unfit_for_introductions(&service.action, service.listen.iter(), upstreams.versions);
            if let Some(why) = unfit {
                return Err(usage(format!("--accept-proxy: {}: {why}", service.id)));
            }
            service.upstreams = Some(Arc::clone(&upstreams));
        }
    }
    plan.drain_timeout = arguments.limits.drain_timeout;
    plan.log = arguments.log.plan();
    Ok(plan)
}

/// Who may come in to built-in services.
fn admission(arguments: &Arguments) -> Result<Admission, Complaint> {
    let most = arguments.limits.max_connections;
    let mut admission = arguments.admission.admission(most).map_err(usage)?;
    if arguments.admission.queues() {
        // The engines count their own conversations, and leave the others in the queue.
        admission.connections = None;
    }
    Ok(admission)
}

impl LogArguments {
    fn plan(&self) -> LogPlan {
        LogPlan {
            format: match self.shape {
                LogShape::None => None,
                LogShape::Human => Some(Format::Human),
                LogShape::Json => Some(Format::Json),
                LogShape::Logfmt => Some(Format::Logfmt),
            },
            sink: self.log_file.clone().map_or(Sink::Stderr, Sink::File),
            names: self.log_names,
            mask: self.log_mask.into(),
        }
    }
}

impl LimitArguments {
    /// What is given here, over what is written in `--set`. Relays and tcpmux heed these.
    fn over(&self, written: &mut Limits) {
        let own = self.limits();
        written.max_connections = own.max_connections;
        written.idle_timeout = own.idle_timeout.or(written.idle_timeout);
        written.lifetime = own.lifetime.or(written.lifetime);
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits {
            max_connections: self.max_connections,
            idle_timeout: self.idle_timeout.filter(|limit| !limit.is_zero()),
            lifetime: self.lifetime.filter(|limit| !limit.is_zero()),
            busy_poll: self.busy_poll.filter(|limit| !limit.is_zero()),
            drain_timeout: self.drain_timeout,
            ..Limits::default()
        };
        limits.datagrams.source = self.udp_source_rate.0;
        limits.datagrams.global = self.udp_total_rate.0;
        limits
    }
}

fn summary(tally: Tally, served: Duration, shape: Shape, out: &mut Output) {
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
