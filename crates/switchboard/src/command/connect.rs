//! `connect`: standard input and output, joined to a socket.
//!
//! Data goes to standard output and nothing else does; what there is to say is said on standard error. The exit
//! code tells whether every byte arrived.

mod door;
mod end;
mod program;
mod report;
mod scan;
mod task;
mod typed;
mod witness;

use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, Parser};
use end::End;
pub(super) use report::exit_for_dialling;
use scan::Scan;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::dial::{self, Dialing, Family, Pinned};
use switchboard_net::scan::Finding;
use switchboard_net::sys::process;
use switchboard_net::talk::{AfterEof, Rules, Ways};
use switchboard_net::{Endpoint, Error, Host, Kind, SocketOptions, quantity};
use task::Task;
use typed::{Abi, Question};

/// How long an address may be silent, unless asked otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the largest datagram (UDP over IPv4).
const LARGEST_DATAGRAM: usize = switchboard_net::talk::DATAGRAM;

/// Connects standard input and output to a server, or any two ends to each other
///
/// What is read from standard input goes to the server, and what the server sends goes to standard output, both at
/// the same time. At the end of the input the server is told (half-close), and its answer is awaited. The exit code
/// is 0 only if everything arrived. With two ends, what comes from one goes to the other, and each half ends by itself.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
#[command(
    override_usage = "switchboard connect [OPTIONS] ENDPOINT\n       switchboard connect [OPTIONS] HOST PORT\n       switchboard connect [OPTIONS] END END\n       switchboard connect [OPTIONS] SERVICE HOST [NUMBER NUMBER]"
)]
pub(crate) struct Arguments {
    /// The server: HOST:PORT, udp:HOST:PORT, unix:PATH, unix:@NAME, unix-dgram:…, unix-seqpacket:…; or HOST
    ///
    /// HOST is an address or a name. Its addresses race: while one is silent the next is tried as well, IPv6 and IPv4 in
    /// turn, and the first that answers is the one (Happy Eyeballs, RFC 8305). PORT is a number or a name of the services
    /// database (services(5)). A PORT without HOST is on the loopback addresses. @NAME is a name in the abstract
    /// namespace (unix(7)).
    ///
    /// Other ends: `-`, standard input and output; `fd:N`, a descriptor that is open already; `exec:'PROGRAM ARGUMENTS'`,
    /// a program with a socket as its standard input and output (no shell); `listen:ENDPOINT`, whoever connects there.
    #[arg(value_name = "ENDPOINT")]
    target: String,

    /// The port, if the first argument is a HOST; or the other end [default: -]
    ///
    /// If the first argument is daytime, qotd, time, sum, sum-binary, echo or chargen, this is a HOST (or an endpoint), and
    /// that service is used and its answer understood. A host of such a name is written tcp:NAME:PORT.
    #[arg(value_name = "PORT|END")]
    port: Option<String>,

    /// Say what is tried, what is connected, and how much went each way
    #[arg(short, long)]
    verbose: bool,

    /// The numbers for `sum` and `sum-binary`; before negative ones comes `--`
    #[arg(value_name = "NUMBER")]
    operands: Vec<i64>,

    #[command(flatten)]
    typed: Typed,

    #[command(flatten)]
    connecting: Connecting,

    #[command(flatten)]
    listening: Listening,

    #[command(flatten)]
    ending: Ending,

    #[command(flatten)]
    scripting: Scripting,

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
  switchboard connect 127.0.0.1 9877 --connections 5 --option sndbuf=64KiB
  printf hello | switchboard connect exec:'tr a-z A-Z'
  switchboard connect 127.0.0.1:7013 exec:'sort -o daytime.txt'
  switchboard connect sum-binary 127.0.0.1:9879 3 4 --abi xdr --show-bytes
  switchboard connect echo 127.0.0.1:7007 --verify --amount 256KiB
  switchboard connect -z 127.0.0.1 daytime
  printf '3 4\\n5 6\\n' | switchboard connect 127.0.0.1 9878 --hex --json --rate 1KiB";

#[derive(Args, Debug)]
#[command(next_help_heading = "Services (daytime, qotd, time, sum, sum-binary, echo, chargen)")]
struct Typed {
    /// echo, chargen: compare what comes with what should come
    #[arg(long)]
    verify: bool,

    /// echo, chargen: compare so many bytes
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, default_value = "1MiB", requires = "verify")]
    amount: usize,

    /// sum-binary: how the integers lie in the bytes
    #[arg(long, value_enum, default_value = "xdr")]
    abi: Abi,

    /// sum-binary: show request and answer byte by byte, and what a machine of the other byte order reads
    #[arg(long)]
    show_bytes: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Connecting")]
struct Connecting {
    /// How long each address may take to answer [default: 10s; with --scan 2s]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    connect_timeout: Option<Duration>,

    /// Do not talk: tell which ports are open; PORTS are 22,daytime,7000-7100; exit code 0 if all are open
    ///
    /// A UDP port gets three empty datagrams. One that stays silent may be open or filtered, and counts as not open.
    #[arg(short = 'z', long)]
    scan: bool,

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

    /// Connect by this network interface (SO_BINDTODEVICE)
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,

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
#[command(next_help_heading = "Listening (listen:ENDPOINT)")]
struct Listening {
    /// After one client, wait for the next; the other end is opened anew for each
    #[arg(short, long)]
    keep_open: bool,

    /// Serve all clients at once, each in a process of its own
    #[arg(long)]
    fork: bool,
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

    /// The end by --idle-timeout is a good one (exit code 0) if everything that was read was delivered
    #[arg(long, requires = "idle_timeout")]
    end_on_silence: bool,

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
#[command(next_help_heading = "What passes")]
struct Scripting {
    /// Send CR LF at the end of each line; a CR that is there already is not doubled
    #[arg(short = 'C', long)]
    crlf: bool,

    /// Send only: what comes is thrown away, and when all was delivered the conversation is over
    #[arg(long, conflicts_with = "recv_only")]
    send_only: bool,

    /// Receive only: the input is not read, and the server is not told that there is none
    #[arg(long)]
    recv_only: bool,

    /// Send this many bytes in a second at most, for example 64KiB
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    rate: Option<u64>,

    /// Wait so long after each line
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    delay_line: Option<Duration>,

    /// Show every byte both ways with its time, on standard error or in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    hex: Option<PathBuf>,

    /// Sum up as one line of JSON on standard error; with --scan: the ports, on standard output
    #[arg(long)]
    json: bool,

    /// Do it N times, with the same input
    #[arg(long, value_name = "N", value_parser = connections, default_value = "1")]
    repeat: usize,

    /// With --repeat: begin once in every DURATION
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, requires = "repeat")]
    every: Option<Duration>,
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

fn rate(text: &str) -> Result<u64, Error> {
    match quantity::bytes(text)? {
        0 => Err(Error::Config("at a rate of 0 nothing would ever be sent".into())),
        n => Ok(n as u64),
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
    let done = if let Some(service) = arguments.service() {
        arguments.question(service).map(|(question, task)| question.ask(&task, out))
    } else if arguments.connecting.scan {
        arguments.scan().and_then(|scan| Ok(scan.carry_out(&arguments.dialing(scan::TIMEOUT)?, out)))
    } else {
        arguments.check().map(|task| task.carry_out(out))
    };
    done.unwrap_or_else(|error| {
        out.talk(&error);
        report::exit_for(&error)
    })
}

/// `connect` for another command line: a word an argument. The exit code.
pub(crate) fn run_words(words: &[String], out: &mut Output) -> u8 {
    match Alone::try_parse_from(words) {
        Ok(alone) => run(alone.arguments, out).code(),
        Err(error) => {
            let _ = error.print();
            Exit::Usage.code()
        }
    }
}

/// The ports of `connect --scan`, and what is known of each.
pub(crate) fn scan_words(words: &[String]) -> Result<Vec<Finding>, String> {
    let arguments = Alone::try_parse_from(words).map_err(|error| error.to_string())?.arguments;
    let scan = arguments.scan().map_err(|error| error.to_string())?;
    let findings = arguments.dialing(scan::TIMEOUT).and_then(|how| scan.findings(&how));
    findings.map_err(|error| error.to_string())
}

/// `connect` without a program around it.
#[derive(Parser, Debug)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    arguments: Arguments,
}

impl Arguments {
    /// What the words of the command line mean together.
    fn check(&self) -> Result<Task, Error> {
        if let Some(number) = self.operands.first() {
            return Err(Error::Config(format!(
                "what is {number} for? Only `connect sum HOST 3 4` takes numbers"
            )));
        }
        let ends = self.ends()?;
        self.check_places(&ends)?;
        if self.connecting.connections > 1 {
            check_descriptors(self.connecting.connections)?;
        }
        Ok(Task {
            ends,
            dialing: self.dialing(CONNECT_TIMEOUT)?,
            rules: self.rules(),
            silence_is_good: self.ending.end_on_silence,
            connections: self.connecting.connections,
            keep_open: self.listening.keep_open,
            fork: self.listening.fork,
            verbose: self.verbose,
            repeat: self.scripting.repeat,
            every: self.scripting.every,
            hex: self.scripting.hex.clone(),
            json: self.scripting.json,
        })
    }

    /// The service whose client is wanted.
    fn service(&self) -> Option<&'static str> {
        let named = typed::NAMES.into_iter().find(|name| *name == self.target);
        named.filter(|_| self.port.is_some() && !self.connecting.scan)
    }

    /// What is to be asked of a service, and how to get there.
    fn question(&self, service: &str) -> Result<(Question, Task), Error> {
        let text = self.port.as_deref().unwrap_or_default();
        let endpoint = typed::server(text, service)?;
        let kind = endpoint.kind;
        let operands = || {
            <[i64; 2]>::try_from(&self.operands[..]).map_err(|_| {
                Error::Config(format!("{service} needs two numbers: write `connect {service} HOST 3 4`"))
            })
        };
        let amount = || match self.typed.verify {
            true if service == "chargen" && kind != Kind::Tcp => {
                Err(Error::Config("chargen --verify needs an endless stream: use TCP".into()))
            }
            true if kind.is_datagram() && self.typed.amount > LARGEST_DATAGRAM => {
                Err(Error::Config(format!("a datagram has up to {LARGEST_DATAGRAM} bytes: lower --amount")))
            }
            true => Ok(self.typed.amount),
            false => {
                let host = text.escape_default();
                Err(Error::Config(format!(
                    "write `connect {service} {host} --verify`; or, to talk yourself, HOST PORT"
                )))
            }
        };
        let question = match service {
            "time" => Question::Time,
            "sum" => Question::Sum(operands()?),
            "sum-binary" => Question::SumBinary {
                abi: self.typed.abi,
                operands: operands()?,
                show: self.typed.show_bytes,
            },
            "echo" => Question::Echo { amount: amount()? },
            "chargen" => Question::Chargen { amount: amount()? },
            _ => Question::Text,
        };
        let unasked = matches!(question, Question::Text | Question::Time);
        let datagram = kind.is_datagram();
        let rules = Rules { count: datagram.then_some(1), empty_first: datagram && unasked, ..self.rules() };
        let task = Task {
            ends: [End::Remote(endpoint), End::Standard],
            dialing: self.dialing(CONNECT_TIMEOUT)?,
            rules,
            silence_is_good: self.ending.end_on_silence,
            connections: 1,
            keep_open: false,
            fork: false,
            verbose: self.verbose,
            repeat: 1,
            every: None,
            hex: self.scripting.hex.clone(),
            json: self.scripting.json,
        };
        Ok((question, task))
    }

    /// What is to be scanned.
    fn scan(&self) -> Result<Scan, Error> {
        let (kind, host) = match self.target.split_once(':') {
            Some(("tcp", host)) => (Kind::Tcp, host),
            Some(("udp", host)) => (Kind::Udp, host),
            _ => (Kind::Tcp, self.target.as_str()),
        };
        let whole =
            || Error::Config("--scan needs a host and ports: write `connect -z [udp:]HOST PORTS`".into());
        let (host, ports) = match &self.port {
            Some(ports) => (host, ports.as_str()),
            None => host.rsplit_once(':').ok_or_else(whole)?,
        };
        let host = if host.is_empty() { Host::Loopback } else { host.parse()? };
        if host == Host::Any {
            return Err(Error::Config("`*` is for listening; name one host to scan".into()));
        }
        let ports = scan::ports(ports, kind)?;
        Ok(Scan { kind, host, ports, json: self.scripting.json, verbose: self.verbose })
    }

    /// How to connect.
    fn dialing(&self, timeout: Duration) -> Result<Dialing, Error> {
        let mut options = SocketOptions::default();
        for given in &self.connecting.options {
            let wrong =
                || Error::Config(format!("`{}` is not an option: write NAME=VALUE", given.escape_default()));
            let (name, value) = given.split_once('=').ok_or_else(wrong)?;
            options.set(name, value)?;
        }
        if let Some(interface) = &self.connecting.interface {
            options.set("device", interface)?;
        }
        Ok(Dialing {
            family: match (self.connecting.ipv4, self.connecting.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                _ => Family::Either,
            },
            source: self.connecting.source,
            connect_timeout: self.connecting.connect_timeout.unwrap_or(timeout),
            pinned: self.connecting.resolve.clone(),
            options,
            ..Dialing::default()
        })
    }

    /// The two ends; the second one is standard input and output if only one is named.
    fn ends(&self) -> Result<[End; 2], Error> {
        let first = &self.target;
        let remote = |endpoint| Ok([End::Remote(endpoint), End::Standard]);
        match &self.port {
            None if End::parse(first).is_ok_and(|end| matches!(end, End::Standard)) => {
                Err(Error::Config("`-` needs another end: write `connect - ENDPOINT`".into()))
            }
            // A lone word is a port on loopback, unless it can only be a host.
            None if first.parse::<IpAddr>().is_ok()
                || (first.contains('.') && !first.contains([':', '/'])) =>
            {
                let first = first.escape_default();
                Err(Error::Config(format!("the port is missing: write `connect {first} PORT`")))
            }
            None => Ok([End::parse(first)?, End::Standard]),
            Some(second) => {
                let is_end = |word: &str| {
                    word == "-" || ["fd:", "exec:", "listen:"].iter().any(|kind| word.starts_with(kind))
                };
                if End::is_meant_by(second) || is_end(first) {
                    return Ok([End::parse(first)?, End::parse(second)?]);
                }
                let (kind, host) = match first.split_once(':') {
                    Some(("tcp", host)) => (Kind::Tcp, host),
                    Some(("udp", host)) => (Kind::Udp, host),
                    _ => (Kind::Tcp, first.as_str()),
                };
                remote(Endpoint::from_host_port(kind, host, second)?)
            }
        }
    }

    /// Options that have no meaning between these ends.
    fn check_places(&self, ends: &[End; 2]) -> Result<(), Error> {
        let listens = ends.iter().any(|end| matches!(end, End::Listening(_)));
        if ends.iter().all(|end| matches!(end, End::Standard)) {
            return Err(Error::Config("one of the two ends must be a socket or a program".into()));
        }
        if (self.listening.keep_open || self.listening.fork) && !listens {
            return Err(Error::Config(
                "--keep-open and --fork are for an end that listens: write `listen:ENDPOINT`".into(),
            ));
        }
        if self.listening.fork && ends.iter().any(End::is_local) {
            return Err(Error::Config(
                "--fork needs two ends: several conversations would share standard input".into(),
            ));
        }
        let kind = ends.iter().find_map(|end| match end {
            End::Remote(endpoint) | End::Listening(endpoint) => Some(endpoint.kind),
            End::Program(_) => Some(Kind::Unix),
            End::Standard | End::Descriptor(_) => None,
        });
        let joined = !ends.iter().any(End::is_local);
        let streams = kind.is_none_or(|kind| !kind.is_datagram()) && !joined;
        let messages = kind.is_none_or(|kind| kind.is_datagram() || kind == Kind::UnixSeqpacket) && !joined;
        let datagrams = kind.is_none_or(Kind::is_datagram) && !joined;
        let dialled = ends.iter().any(|end| matches!(end, End::Remote(_)));
        let scripting = &self.scripting;
        let shapes = scripting.crlf
            || scripting.send_only
            || scripting.recv_only
            || scripting.rate.is_some()
            || scripting.delay_line.is_some()
            || scripting.hex.is_some();
        if shapes && joined {
            return Err(Error::Config(
                "the options under \"What passes\" are for standard input and output as one end".into(),
            ));
        }
        if scripting.repeat > 1 && listens {
            return Err(Error::Config(
                "--repeat is for an end to connect to; --keep-open is its like here".into(),
            ));
        }
        let misplaced = [
            (self.messages.line && !messages, "--line", "sends lines as messages"),
            (self.messages.count.is_some() && !messages, "--count", "counts messages"),
            (self.messages.send_empty && !datagrams, "--send-empty", "sends a datagram"),
            (self.connecting.connections > 1 && !(streams && dialled), "--connections", "opens connections"),
            (self.ending.no_half_close && !streams, "--no-half-close", "is about connections"),
            (self.ending.after_eof.is_some() && !streams, "--after-eof", "is about connections"),
        ];
        let Some((_, option, does)) = misplaced.iter().find(|(misplaced, ..)| *misplaced) else {
            return Ok(());
        };
        Err(Error::Config(match kind {
            Some(kind) if !joined => format!("{option} {does}; {} has none", kind.name()),
            _ => format!("{option} {does} with standard input and output as the other end"),
        }))
    }

    fn rules(&self) -> Rules {
        let scripting = &self.scripting;
        Rules {
            ways: match (scripting.send_only, scripting.recv_only) {
                (true, _) => Ways::Send,
                (_, true) => Ways::Receive,
                _ => Ways::Both,
            },
            rate: scripting.rate,
            delay_line: scripting.delay_line,
            crlf: scripting.crlf,
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
