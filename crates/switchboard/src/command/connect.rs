//! `connect`: standard input and output, joined to a socket.
//!
//! Data goes to standard output and nothing else does; what there is to say is said on standard error. The exit
//! code tells whether every byte arrived.

use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use rustix::io::Errno;
use std::fmt;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use switchboard_net::dial::{self, Attempt, DialError, Dialing, Family, Pinned, Reason, dial, dial_more};
use switchboard_net::sys::process;
use switchboard_net::talk::{AfterEof, End, Outcome, Rules, Waiting, talk};
use switchboard_net::{Address, Endpoint, Error, Kind, SocketOptions, quantity};

/// Connects standard input and output to a server
///
/// What is read from standard input goes to the server, and what the server sends goes to standard output, both at
/// the same time. At the end of the input the server is told (half-close), and its answer is awaited. The exit code
/// is 0 only if everything arrived.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
#[command(
    override_usage = "switchboard connect [OPTIONS] ENDPOINT\n       switchboard connect [OPTIONS] HOST PORT"
)]
pub(crate) struct Arguments {
    /// The server: HOST:PORT, udp:HOST:PORT, unix:PATH, unix:@NAME, unix-dgram:…, unix-seqpacket:…; or HOST
    ///
    /// HOST is an address or a name. Its addresses race: while one is silent the next is tried as well, IPv6 and IPv4 in
    /// turn, and the first that answers is the one (Happy Eyeballs, RFC 8305). PORT is a number or a name of the services
    /// database (services(5)). A PORT without HOST is on the loopback addresses. @NAME is a name in the abstract
    /// namespace (unix(7)).
    #[arg(value_name = "ENDPOINT")]
    target: String,

    /// The port, if the first argument is a HOST
    port: Option<String>,

    /// Say what is tried, what is connected, and how much went each way
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    connecting: Connecting,

    #[command(flatten)]
    ending: Ending,

    #[command(flatten)]
    messages: Messages,
}

const EXAMPLES: &str = "\
Examples:
  echo hello | switchboard connect 127.0.0.1 7007
  switchboard connect localhost:daytime -v
  switchboard connect udp:127.0.0.1:7013 --send-empty --count 1
  switchboard connect unix:/run/echo.sock < request.bin > answer.bin
  printf '3 4\\n5 6\\n' | switchboard connect 9878 --quit-after 2s
  switchboard connect 127.0.0.1 9877 --connections 5 --option sndbuf=64KiB";

#[derive(Args, Debug)]
#[command(next_help_heading = "Connecting")]
struct Connecting {
    /// How long each address may take to answer
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "10s")]
    connect_timeout: Duration,

    /// Take these addresses for this name and port, and do not look it up; may be given several times
    ///
    /// For example `--resolve example.test:80:[::1],127.0.0.1`. They are tried in this order, but IPv6 and IPv4 take turns. About any other name or port it says nothing.
    #[arg(long, value_name = "NAME:PORT:ADDRESS[,ADDRESS...]")]
    resolve: Vec<Pinned>,

    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Connect from this address of ours: ADDRESS, ADDRESS:PORT or [V6ADDRESS]:PORT
    #[arg(short, long, value_name = "ADDRESS", value_parser = dial::source)]
    source: Option<SocketAddr>,

    /// An option of the socket; see `switchboard list options`
    #[arg(short, long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// Open this many connections at once; the first one talks, the others are held open
    ///
    /// What the server sends on the others is counted and thrown away. All are half-closed together at the end of the
    /// input, and each one's end is awaited.
    #[arg(long, value_name = "N", value_parser = connections, default_value = "1")]
    connections: usize,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Ending")]
struct Ending {
    /// After the end of the input, wait at most this long for the server's end [default: no limit]
    #[arg(short, long, value_name = "DURATION", value_parser = quantity::duration)]
    quit_after: Option<Duration>,

    /// End with exit code 6 when nothing moves either way for this long
    ///
    /// For datagrams: how long to wait for replies after the end of the input, counted from the last datagram
    /// [default: 2s]; the exit code is then 0.
    #[arg(short = 'w', long, value_name = "DURATION", value_parser = quantity::duration)]
    idle_timeout: Option<Duration>,

    /// End with exit code 6 after this long, whatever happens
    #[arg(short = 'W', long, value_name = "DURATION", value_parser = quantity::duration)]
    timeout: Option<Duration>,

    /// Go on sending after the server's end: until the input pauses for a DURATION, `forever`, or `now` to stop
    ///
    /// By default a file is sent to its end, a terminal is left at once, and a pipe may pause for one second.
    #[arg(long, value_name = "DURATION|forever|now", value_parser = after_eof)]
    after_eof: Option<AfterEof>,

    /// Do not tell the server that the input has ended; wait for its end all the same
    #[arg(long)]
    no_half_close: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Messages (udp, unix-dgram, unix-seqpacket)")]
struct Messages {
    /// Send each line as one message, its line feed included; without it each read is one
    #[arg(long)]
    line: bool,

    /// End after this many messages from the server; exit code 6 if fewer came in time
    #[arg(short = 'n', long, value_name = "N", value_parser = replies)]
    count: Option<u64>,

    /// Send one empty datagram first, as daytime and time want it
    #[arg(long)]
    send_empty: bool,
}

fn connections(text: &str) -> Result<usize, Error> {
    match quantity::count(text)? {
        0 => Err(Error::Config("at least one connection is needed".into())),
        n => Ok(n),
    }
}

fn replies(text: &str) -> Result<u64, Error> {
    match quantity::count(text)? {
        0 => Err(Error::Config("waiting for no message would end at once; leave --count out".into())),
        n => Ok(n as u64),
    }
}

fn after_eof(text: &str) -> Result<AfterEof, Error> {
    match text {
        "now" => Ok(AfterEof::Now),
        "forever" => Ok(AfterEof::Forever),
        _ => quantity::duration(text).map(AfterEof::Pause),
    }
}

pub(crate) fn run(arguments: Arguments, out: &mut Output) -> Exit {
    let (endpoint, how) = match arguments.check() {
        Ok(checked) => checked,
        Err(error) => {
            out.talk(&error);
            return exit_for(&error);
        }
    };
    let verbose = arguments.verbose;
    let silent = !verbose && !std::io::stderr().is_terminal();
    let dialled = dial(&endpoint, &how, &mut |attempt| match attempt {
        Attempt::Resolving(_) | Attempt::Waiting(_) if silent => {}
        Attempt::Resolving(name) => out.talk(format_args!("still looking up {name}")),
        Attempt::Waiting(address) => {
            out.talk(format_args!(
                "still waiting for {address} to answer; it may take {:?}",
                how.connect_timeout
            ));
        }
        Attempt::Trying(address) if verbose => out.talk(format_args!("trying {address}")),
        Attempt::Failed(failure) if verbose => out.talk(failure),
        Attempt::Outrun { address, after } if verbose => {
            out.talk(format_args!("{address}: lost the race; given up after {after:.1?}"));
        }
        Attempt::Connected { to, from: Some(from) } if verbose => {
            out.talk(format_args!("connected to {to} from {from}"));
        }
        Attempt::Connected { to, from: None } if verbose => out.talk(format_args!("connected to {to}")),
        Attempt::Trying(_) | Attempt::Failed(_) | Attempt::Outrun { .. } | Attempt::Connected { .. } => {}
    });
    let more = arguments.connecting.connections - 1;
    let connected = dialled.and_then(|(socket, address)| {
        let companions = if more == 0 { Vec::new() } else { dial_more(&address, more, &how)? };
        Ok((socket, companions, address))
    });
    let (socket, companions, address) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            out.talk(&error);
            return exit_for_dialling(&error);
        }
    };
    if verbose && more > 0 {
        out.talk(format_args!("{} connections are open", more + 1));
    }
    let rules = arguments.rules();
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let told =
        talk(socket, companions, address.kind, input.as_fd(), output.as_fd(), &rules, &mut |waiting| {
            if !silent {
                match waiting {
                    Waiting::Answer => {
                        out.talk(format_args!("all input is sent; waiting for {address} to answer"))
                    }
                }
            }
        });
    match told {
        Ok(outcome) => {
            let report = Report { outcome: &outcome, address: &address, rules: &rules };
            // A reader who has seen enough (`| head`) wants no complaint; the exit code says it.
            let enough = matches!(&outcome.end,
                End::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe);
            if !matches!(outcome.end, End::Complete) && (verbose || !enough) {
                out.talk(&report);
            }
            if verbose {
                out.talk(Totals(&outcome, address.kind));
            }
            report.exit()
        }
        Err(error) => {
            out.talk(&error);
            Exit::Failed
        }
    }
}

impl Arguments {
    /// What the words of the command line mean together.
    fn check(&self) -> Result<(Endpoint, Dialing), Error> {
        let endpoint = match &self.port {
            // A lone word is a port on loopback, unless it can only be a host.
            None if self.target.parse::<IpAddr>().is_ok()
                || (self.target.contains('.') && !self.target.contains([':', '/'])) =>
            {
                let target = self.target.escape_default();
                return Err(Error::Config(format!("the port is missing: write `connect {target} PORT`")));
            }
            None => self.target.parse()?,
            Some(port) => {
                let (kind, host) = match self.target.split_once(':') {
                    Some(("tcp", host)) => (Kind::Tcp, host),
                    Some(("udp", host)) => (Kind::Udp, host),
                    _ => (Kind::Tcp, self.target.as_str()),
                };
                Endpoint::from_host_port(kind, host, port)?
            }
        };
        let kind = endpoint.kind;
        let streams = !kind.is_datagram();
        let messages = kind.is_datagram() || kind == Kind::UnixSeqpacket;
        let misplaced = [
            (self.messages.line && !messages, "--line", "sends lines as messages"),
            (self.messages.count.is_some() && !messages, "--count", "counts messages"),
            (self.messages.send_empty && streams, "--send-empty", "sends a datagram"),
            (self.connecting.connections > 1 && !streams, "--connections", "opens connections"),
            (self.ending.no_half_close && !streams, "--no-half-close", "is about connections"),
            (self.ending.after_eof.is_some() && !streams, "--after-eof", "is about connections"),
        ];
        if let Some((_, option, does)) = misplaced.iter().find(|(misplaced, ..)| *misplaced) {
            return Err(Error::Config(format!("{option} {does}; {} has none", kind.name())));
        }
        let mut options = SocketOptions::default();
        for given in &self.connecting.options {
            let wrong =
                || Error::Config(format!("`{}` is not an option: write NAME=VALUE", given.escape_default()));
            let (name, value) = given.split_once('=').ok_or_else(wrong)?;
            options.set(name, value)?;
        }
        if self.connecting.connections > 1 {
            check_descriptors(self.connecting.connections)?;
        }
        let how = Dialing {
            family: match (self.connecting.ipv4, self.connecting.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                _ => Family::Either,
            },
            source: self.connecting.source,
            connect_timeout: self.connecting.connect_timeout,
            pinned: self.connecting.resolve.clone(),
            options,
            ..Dialing::default()
        };
        Ok((endpoint, how))
    }

    fn rules(&self) -> Rules {
        Rules {
            half_close: !self.ending.no_half_close,
            quit_after: self.ending.quit_after,
            idle_timeout: self.ending.idle_timeout,
            timeout: self.ending.timeout,
            after_eof: self.ending.after_eof,
            by_line: self.messages.line,
            count: self.messages.count,
            empty_first: self.messages.send_empty,
        }
    }
}

/// Makes room for that many descriptors, or says how.
fn check_descriptors(connections: usize) -> Result<(), Error> {
    /// Standard ones, the resolver's, epoll's.
    const OTHERS: usize = 16;
    let limit = process::raise_descriptor_limit();
    if connections.saturating_add(OTHERS) <= limit {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{connections} connections need as many descriptors, and this process may have {limit}. Raise the hard \
         limit: `ulimit -Hn`"
    )))
}

fn exit_for(error: &Error) -> Exit {
    match error {
        Error::Config(_) => Exit::Usage,
        Error::Name { .. } => Exit::Name,
        _ => Exit::Failed,
    }
}

fn exit_for_dialling(error: &DialError) -> Exit {
    match (error, error.decisive()) {
        (DialError::Endpoint(error), _) | (_, Some(Reason::Unprepared(error))) => exit_for(error),
        (_, Some(Reason::TimedOut(_))) => Exit::ConnectTimeout,
        (_, Some(Reason::System(errno))) => match *errno {
            Errno::ACCESS | Errno::PERM => Exit::Permission,
            // Ours, not the peer's: no descriptor, memory or port is left.
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::ADDRNOTAVAIL => Exit::Failed,
            _ => Exit::Refused,
        },
        (_, None) => Exit::Failed,
    }
}

/// What there is to say about an end that is not a good one.
struct Report<'a> {
    outcome: &'a Outcome,
    address: &'a Address,
    rules: &'a Rules,
}

impl Report<'_> {
    fn exit(&self) -> Exit {
        match &self.outcome.end {
            End::Complete => Exit::Ok,
            End::Reset | End::CompanionsReset => Exit::Reset,
            End::Refused(_) => Exit::Refused,
            End::Broken(error) if error.kind() == std::io::ErrorKind::TimedOut => Exit::Timeout,
            End::Broken(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Exit::Undelivered,
            End::Broken(_) => Exit::Reset,
            End::IdleTimeout | End::Timeout => Exit::Timeout,
            End::Undelivered => Exit::Undelivered,
            End::Input(_) => Exit::Failed,
            End::Output(_) => Exit::Output,
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { sent, received, undelivered, .. } = self.outcome;
        let came = self.outcome.messages_received;
        write!(f, "{}: ", self.address)?;
        match &self.outcome.end {
            End::Complete => f.write_str("complete"),
            End::Reset => f.write_str("the peer reset the connection"),
            End::CompanionsReset => {
                let reset = self.outcome.companions_reset;
                write!(f, "the peer reset {reset} of the connections that were held open")
            }
            End::Refused(error) => write!(f, "{error}. Nothing answers there: is the server running?"),
            End::Broken(error) => write!(f, "the connection broke: {error}"),
            End::IdleTimeout => match self.rules.count {
                Some(count) => write!(f, "{came} of {count} replies came in time"),
                None => write!(f, "nothing moved for {:?}", self.rules.idle_timeout.unwrap_or_default()),
            },
            End::Timeout => write!(f, "not done after {:?}", self.rules.timeout.unwrap_or_default()),
            End::Undelivered => f.write_str("the peer did not take all input"),
            End::Input(error) => write!(f, "cannot read standard input: {error}"),
            End::Output(error) => write!(f, "cannot write standard output: {error}"),
        }?;
        write!(f, " ({sent} bytes sent, {received} received")?;
        if *undelivered > 0 {
            write!(f, "; {undelivered} bytes of the input not delivered, and what was not read yet")?;
        }
        let unwritten = received - self.outcome.written;
        if unwritten > 0 {
            write!(f, "; {unwritten} received bytes not written")?;
        }
        f.write_str(")")
    }
}

/// How much went each way.
struct Totals<'a>(&'a Outcome, Kind);

impl fmt::Display for Totals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals(outcome, kind) = self;
        let messages = |n: u64| match kind {
            Kind::Tcp | Kind::Unix => String::new(),
            _ => format!(" in {n} messages"),
        };
        write!(
            f,
            "sent {} bytes{}, received {} bytes{}, in {:.1?}",
            outcome.sent,
            messages(outcome.messages_sent),
            outcome.received,
            messages(outcome.messages_received),
            outcome.duration,
        )?;
        if outcome.companions > 0 {
            write!(
                f,
                "; {} other connections received {} bytes, {} were reset",
                outcome.companions, outcome.companions_received, outcome.companions_reset
            )?;
        }
        Ok(())
    }
}
