//! The flags of `connect`, a group a struct, and the words that they take.

use super::typed::Abi;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::dial::{self, Pinned};
use switchboard_net::talk::AfterEof;
use switchboard_net::{Error, quantity};

#[derive(Args, Debug)]
#[command(next_help_heading = "Services (daytime, qotd, time, sum, sum-binary, echo, chargen)")]
pub(super) struct Typed {
    /// echo, chargen: compare what comes with what should come
    #[arg(long)]
    pub(super) verify: bool,

    /// echo, chargen: compare so many bytes [default: 1MiB, in one datagram 1KiB]
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, requires = "verify")]
    pub(super) amount: Option<usize>,

    /// sum-binary: how the integers lie in the bytes
    #[arg(long, value_enum, default_value = "xdr")]
    pub(super) abi: Abi,

    /// sum-binary: show request and answer byte by byte, and what a machine of the other byte order reads
    #[arg(long)]
    pub(super) show_bytes: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Connecting")]
pub(super) struct Connecting {
    /// How long each address may take to answer [default: 10s; with --scan 2s]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    pub(super) connect_timeout: Option<Duration>,

    /// Do not talk: tell which ports are open; PORTS are 22,daytime,7000-7100; exit code 0 if all are open
    ///
    /// A UDP port gets three empty datagrams. One that stays silent may be open or filtered, and counts as not open.
    #[arg(short = 'z', long)]
    pub(super) scan: bool,

    /// Take these addresses for this name and port, and do not look it up; may be given several times
    ///
    /// For example `--resolve example.test:80:[::1],127.0.0.1`. They are tried in this order, but IPv6 and IPv4 take turns. About any other name or port it says nothing.
    #[arg(long, value_name = "NAME:PORT:ADDRESS[,ADDRESS...]")]
    pub(super) resolve: Vec<Pinned>,

    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(super) ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6', long)]
    pub(super) ipv6: bool,

    /// Connect from this address of ours: ADDRESS, ADDRESS:PORT or [V6ADDRESS]:PORT
    #[arg(short, long, value_name = "ADDRESS", value_parser = dial::source)]
    pub(super) source: Option<SocketAddr>,

    /// Connect by this network interface (SO_BINDTODEVICE)
    #[arg(long, value_name = "NAME")]
    pub(super) interface: Option<String>,

    /// An option of the socket; see `switchboard list options`
    #[arg(short, long = "option", value_name = "NAME=VALUE")]
    pub(super) options: Vec<String>,

    /// Open this many connections at once; the first one talks, the others are held open
    ///
    /// What the server sends on the others is counted and thrown away. All are half-closed together at the end of the
    /// input, and each one's end is awaited.
    #[arg(long, value_name = "N", value_parser = connections, default_value = "1")]
    pub(super) connections: usize,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Listening (listen:ENDPOINT)")]
pub(super) struct Listening {
    /// After one client, wait for the next; the other end is opened anew for each
    ///
    /// A sender of datagrams is a client too. His conversation ends with silence: two seconds after the end of the input,
    /// or as --idle-timeout says. What others send meanwhile waits for its turn; see also --unconnected.
    #[arg(short, long)]
    pub(super) keep_open: bool,

    /// Serve all clients at once, each in a process of its own
    #[arg(long)]
    pub(super) fork: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Ending")]
pub(super) struct Ending {
    /// After the end of the input, wait at most this long for the server's end [default: no limit]
    #[arg(short, long, value_name = "DURATION", value_parser = quantity::duration)]
    pub(super) quit_after: Option<Duration>,

    /// End with exit code 6 when nothing moves either way for this long
    ///
    /// For datagrams: how long to wait for replies after the end of the input, counted from the last datagram
    /// [default: 2s]; the exit code is then 0.
    #[arg(short = 'w', long, value_name = "DURATION", value_parser = quantity::duration)]
    pub(super) idle_timeout: Option<Duration>,

    /// The end by --idle-timeout is a good one (exit code 0) if everything that was read was delivered
    #[arg(long, requires = "idle_timeout")]
    pub(super) end_on_silence: bool,

    /// End with exit code 6 after this long, whatever happens
    #[arg(short = 'W', long, value_name = "DURATION", value_parser = quantity::duration)]
    pub(super) timeout: Option<Duration>,

    /// Go on sending after the server's end: until the input pauses for a DURATION, `forever`, or `now` to stop
    ///
    /// By default a file is sent to its end, a terminal is left at once, and a pipe may pause for one second.
    #[arg(long, value_name = "DURATION|forever|now", value_parser = after_eof)]
    pub(super) after_eof: Option<AfterEof>,

    /// Do not tell the server that the input has ended; wait for its end all the same
    #[arg(long)]
    pub(super) no_half_close: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "What passes")]
pub(super) struct Scripting {
    /// Send CR LF at the end of each line; a CR that is there already is not doubled
    #[arg(short = 'C', long)]
    pub(super) crlf: bool,

    /// Talk as a network virtual terminal (telnet, RFC 854): lines end with CR LF, 255 is doubled, options are refused
    #[arg(long, conflicts_with = "crlf")]
    pub(super) telnet: bool,

    /// Send only: what comes is thrown away, and when all was delivered the conversation is over
    #[arg(long, conflicts_with = "recv_only")]
    pub(super) send_only: bool,

    /// Receive only: the input is not read, and the server is not told that there is none
    #[arg(long)]
    pub(super) recv_only: bool,

    /// Hand the connected socket to whoever holds the other end of standard output, a Unix socket, and leave
    ///
    /// As OpenSSH's ProxyUseFdpass and `nc -F` have it: one byte with the descriptor (unix(7), SCM_RIGHTS). Nothing is copied.
    #[arg(long, conflicts_with_all = ["send_only", "recv_only", "telnet", "crlf", "hex", "repeat"])]
    pub(super) pass_socket: bool,

    /// At a terminal: send each line as it is typed, without editing, history, or a place of its own for it
    ///
    /// Editing is on when standard input and output are a terminal, and TERM is not dumb. What arrives goes above the line.
    #[arg(long)]
    pub(super) no_edit: bool,

    /// At a terminal: keep the lines that are sent in FILE, and find them again [FILE: ~/.local/state/switchboard/history]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with = "no_edit")]
    pub(super) history: Option<PathBuf>,

    /// Send this many bytes in a second at most, for example 64KiB
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub(super) rate: Option<u64>,

    /// Wait so long after each line
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    pub(super) delay_line: Option<Duration>,

    /// Show every byte both ways with its time, on standard error or in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(super) hex: Option<PathBuf>,

    /// Sum up as one line of JSON on standard error; with --scan: the ports, on standard output
    #[arg(long)]
    pub(super) json: bool,

    /// Do it N times, with the same input
    #[arg(long, value_name = "N", value_parser = connections, default_value = "1")]
    pub(super) repeat: usize,

    /// With --repeat: begin once in every DURATION
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, requires = "repeat")]
    pub(super) every: Option<Duration>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Messages (udp, unix-dgram, unix-seqpacket)")]
pub(super) struct Messages {
    /// Send each line as one message, its line feed included; without it each read is one
    #[arg(long)]
    pub(super) line: bool,

    /// End after this many messages from the server; exit code 6 if fewer came in time
    #[arg(short = 'n', long, value_name = "N", value_parser = replies)]
    pub(super) count: Option<u64>,

    /// UDP: do not connect the socket; answers from elsewhere are heard too, and their source is told
    ///
    /// Nobody tells such a socket that there is no server (ECONNREFUSED), and every datagram says where it goes (sendto).
    /// With `listen:` and --recv-only: all senders are heard at once, and with --keep-open for ever.
    #[arg(long, conflicts_with_all = ["connections", "pass_socket"])]
    pub(super) unconnected: bool,

    /// Send one empty datagram first, as daytime and time want it
    #[arg(long)]
    pub(super) send_empty: bool,
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
