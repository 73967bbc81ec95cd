//! [`Entry`]: one socket with everything that sock_diag(7) tells of it.

use super::tcp_info::TcpInfo;
use crate::record;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Which kind of socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Raw IP, with the protocol number it is for.
    Raw(u8),
    /// Unix, by the kernel's number of the type: 1 stream, 2 datagram, 5 seqpacket.
    Unix(u8),
}

impl Protocol {
    /// One word: `tcp`, `udp`, `raw`, `unix`, `unix-datagram`, `unix-seqpacket`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Raw(_) => "raw",
            Protocol::Unix(2) => "unix-datagram",
            Protocol::Unix(5) => "unix-seqpacket",
            Protocol::Unix(_) => "unix",
        }
    }

    /// Whether it is a Unix socket of any type.
    pub fn is_unix(self) -> bool {
        matches!(self, Protocol::Unix(_))
    }
}

/// A socket's state: those of TCP (RFC 9293 §3.3.2), which the kernel uses for all others as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of RFC 9293, and the kernel's numbers (linux/tcp_states.h)")]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
    /// Bound, and neither listening nor connected; the kernel tells of it since Linux 6.8.
    Bound = 13,
}

/// Every [`State`] with the name in a [`record::Socket`].
pub const STATES: [(State, &str); 12] = [
    (State::Established, "ESTABLISHED"),
    (State::SynSent, "SYN_SENT"),
    (State::SynReceived, "SYN_RECV"),
    (State::FinWait1, "FIN_WAIT1"),
    (State::FinWait2, "FIN_WAIT2"),
    (State::TimeWait, "TIME_WAIT"),
    (State::Closed, "CLOSE"),
    (State::CloseWait, "CLOSE_WAIT"),
    (State::LastAck, "LAST_ACK"),
    (State::Listen, "LISTEN"),
    (State::Closing, "CLOSING"),
    (State::Bound, "BOUND"),
];

impl State {
    pub(super) fn of(number: u8) -> Option<State> {
        // 12 is a SYN_RECV that has no whole socket yet.
        let number = if number == 12 { 3 } else { number };
        STATES.iter().map(|(state, _)| *state).find(|state| *state as u8 == number)
    }

    /// The name that netstat(8) gives it.
    pub fn name(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("?", |(_, name)| name)
    }
}

/// An end of a socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum End {
    /// Address and port; with the interface that it is bound to, if any.
    Inet(SocketAddr, Option<u32>),
    /// A wildcard for both families: an IPv6 socket without `IPV6_V6ONLY`.
    Any(u16),
    /// A Unix socket's path, or (after a NUL byte) its abstract name.
    Unix(Vec<u8>),
    /// A Unix socket without name, by its inode number.
    Unnamed(u64),
}

impl End {
    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            End::Inet(address, _) => Some(address.port()),
            End::Any(port) => Some(*port),
            End::Unix(_) | End::Unnamed(_) => None,
        }
    }

    /// The address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            End::Inet(address, _) => Some(address.ip()),
            _ => None,
        }
    }

    /// Whether it stands for nobody: no address and no port.
    pub fn is_nobody(&self) -> bool {
        matches!(self, End::Inet(at, _) if at.port() == 0 && at.ip().is_unspecified())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Inet(at, _) if at.port() == 0 => match at.ip() {
                IpAddr::V4(ip) => write!(f, "{ip}:*"),
                IpAddr::V6(ip) => write!(f, "[{ip}]:*"),
            },
            End::Inet(at, _) => write!(f, "{at}"),
            End::Any(port) => write!(f, "*:{port}"),
            End::Unix(name) => match name.split_first() {
                Some((0, name)) => write!(f, "@{}", switchboard_net::Escaped(name)),
                _ => write!(f, "{}", switchboard_net::Escaped(name)),
            },
            End::Unnamed(inode) => write!(f, "#{inode}"),
        }
    }
}

/// The timer that runs for a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    /// What happens when it expires.
    pub kind: TimerKind,
    /// Until it expires.
    pub expires_ms: u32,
    /// How often it has expired already without an answer.
    pub retries: u8,
}

/// See [`Timer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerKind {
    /// Data, a SYN or a FIN is sent again.
    Retransmit,
    /// A keepalive probe is sent; or an orphan is given up.
    Keepalive,
    /// The end of TIME_WAIT (or of FIN_WAIT2 without owner).
    TimeWait,
    /// The peer's closed window is probed.
    WindowProbe,
}

impl TimerKind {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            TimerKind::Retransmit => "retransmit",
            TimerKind::Keepalive => "keepalive",
            TimerKind::TimeWait => "time-wait",
            TimerKind::WindowProbe => "window-probe",
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            TimerKind::Retransmit => "retransmit",
            TimerKind::Keepalive => "keepalive",
            TimerKind::TimeWait => "gone",
            TimerKind::WindowProbe => "window probe",
        };
        write!(f, "{what} in {}", Seconds(self.expires_ms))?;
        let next = u32::from(self.retries) + 1;
        match (self.kind, self.retries) {
            (_, 0) | (TimerKind::TimeWait, _) => Ok(()),
            _ => write!(f, ", {next}{}", ordinal(next)),
        }
    }
}

/// Milliseconds as people say them: `0.4 s`, `12 s`, `2 h 0 min`.
struct Seconds(u32);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        match seconds {
            0..10 => write!(f, "{seconds}.{} s", self.0 % 1000 / 100),
            10..120 => write!(f, "{seconds} s"),
            120..7200 => write!(f, "{} min", seconds / 60),
            _ => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
        }
    }
}

fn ordinal(number: u32) -> &'static str {
    match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

/// A socket's memory (`SK_MEMINFO_VARS`, linux/sock_diag.h), in bytes but for the drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Taken by what was received.
    pub receive_bytes: u32,
    /// Bound of it (`SO_RCVBUF`).
    pub receive_limit_bytes: u32,
    /// Taken by what is being sent.
    pub send_bytes: u32,
    /// Bound of it (`SO_SNDBUF`).
    pub send_limit_bytes: u32,
    /// Packets that were thrown away here: for a listener, connections that did not fit its queue.
    pub drops: u32,
}

/// One socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Which kind.
    pub protocol: Protocol,
    /// Its state.
    pub state: State,
    /// Its own end.
    pub local: End,
    /// The other end, if it is connected.
    pub peer: Option<End>,
    /// Inode number; 0 for one that no process holds any more (TIME_WAIT, orphans, unaccepted connections).
    pub inode: u64,
    /// The kernel's number of it, never used twice; 0 if unknown.
    pub cookie: u64,
    /// User who made it.
    pub uid: Option<u32>,
    /// Bytes that nobody has read; for a listener, connections that nobody has accepted.
    pub receive_queue: u32,
    /// Bytes that the peer has not acknowledged; for a listener, its backlog.
    pub send_queue: u32,
    /// The timer that runs.
    pub timer: Option<Timer>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// Which directions were shut down: 1 receiving, 2 sending.
    pub shutdown: u8,
    /// Name of the congestion control.
    pub congestion_control: Option<String>,
    /// TCP's own numbers, if they were asked for.
    pub tcp: Option<TcpInfo>,
    /// Number of the control group it was made in.
    pub cgroup: Option<u64>,
}

impl Entry {
    /// The state's name: a socket without connections is not `CLOSE`.
    pub fn state_name(&self) -> &'static str {
        match (self.state, self.protocol) {
            (State::Closed, Protocol::Tcp) => "CLOSE",
            (State::Closed, _) => "UNCONNECTED",
            (state, _) => state.name(),
        }
    }

    /// For a listener: how many wait to be accepted, and how many may.
    ///
    /// Linux lets one more than the backlog of a TCP listener wait.
    pub fn backlog(&self) -> Option<(u32, u32)> {
        (self.state == State::Listen).then_some((self.receive_queue, self.send_queue))
    }

    /// Whether it is a listener whose queue takes nobody more.
    pub fn is_full(&self) -> bool {
        self.backlog().is_some_and(|(waiting, most)| waiting > most)
    }

    /// As the lab records it.
    pub fn sample(&self) -> record::Socket {
        record::Socket {
            inode: self.inode,
            protocol: self.protocol.name().to_owned(),
            local: self.local.to_string(),
            peer: self.peer.as_ref().map(End::to_string),
            state: self.state_name().to_owned(),
            receive_queue: self.receive_queue,
            send_queue: self.send_queue,
            timer: self.timer.map(|timer| timer.to_string()),
        }
    }
}
