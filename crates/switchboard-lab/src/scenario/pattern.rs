//! [`Pattern`]: a line of a scenario that some event fulfils. Steps wait for patterns and expectations name them.
//!
//! ```text
//! client connect = ECONNREFUSED in 0s..1s      a call returned, and how long it took
//! client send > 0 x3                           the third such event
//! client enters recv                           a call was entered, and blocks
//! client recv = 0 after 4s..9s                 this long after the last step or the pattern before
//! packet server RST+ACK dropped                sent (or forged) unless it says: delivered, dropped, forged
//! client gets SIGPIPE · client killed SIGPIPE · client exits 1 · client ends · client forks
//! client says "refused"                        on standard output or error
//! client socket CLOSE_WAIT                     a state in the socket table
//! 2s pass                                      the length of an outage, counted from the step before
//! server accept = EMFILE x40 or server rests   as a trigger: or it sleeps whenever it is looked at
//! server.child exits x5 or 2s                 as a trigger: or so much time has passed
//! never packet client DATA                     in expectations: no such event from here on
//! ```

use super::roles::Roles;
use crate::names;
use crate::record::{Call, Change, Event, Packet, Point, Returned, What};
use crate::wire::segment::{Segment, Tcp, Transport};
use std::ops::RangeInclusive;
use std::time::Duration;
use switchboard_net::quantity;

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Pattern {
    /// As it was written.
    pub text: String,
    /// No such event may come.
    pub never: bool,
    /// The how manieth such event it is.
    pub count: u32,
    /// How long the call took.
    pub took: Option<RangeInclusive<Duration>>,
    /// How long after the moment before.
    pub after: Option<RangeInclusive<Duration>>,
    /// A trigger is fulfilled, too, when this role does nothing any more.
    pub or_rests: Option<String>,
    /// A trigger is fulfilled, too, after this time: when nothing of the kind will come from this program.
    pub or_after: Option<Duration>,
    kind: Kind,
}

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Call {
        role: String,
        name: String,
        entered: bool,
        result: Option<Test>,
    },
    Packet {
        host: String,
        kind: PacketKind,
        point: Option<String>,
    },
    /// Whoever is on that host has sent data: what a data packet is where no wire is seen.
    Sends {
        host: String,
    },
    Signal {
        role: String,
        number: i32,
    },
    Ends {
        role: String,
        how: End,
    },
    Forks {
        role: String,
    },
    Says {
        role: String,
        text: String,
    },
    Socket {
        role: String,
        state: String,
    },
    Time(Duration),
}

#[derive(Clone, PartialEq, Debug)]
enum Test {
    Equals(i64),
    Above(i64),
    Below(i64),
    Fails(i32),
}

#[derive(Clone, PartialEq, Debug)]
enum End {
    Anyhow,
    Exit(Option<i32>),
    Killed(Option<i32>),
}

#[derive(Clone, PartialEq, Debug)]
enum PacketKind {
    Any,
    /// These flags are set, and those are not.
    Tcp {
        set: u8,
        unset: u8,
    },
    Data,
    Udp,
    Icmp {
        kind: Option<u8>,
        code: Option<u8>,
    },
}

/// Names of calls that do the same thing to a socket, as scenarios name them.
const FAMILIES: [(&str, &[&str]); 7] = [
    ("send", &["sendto", "send", "write", "sendmsg", "writev", "sendmmsg", "sendfile", "splice"]),
    ("recv", &["recvfrom", "recv", "read", "recvmsg", "readv", "recvmmsg"]),
    ("accept", &["accept4"]),
    ("poll", &["ppoll"]),
    ("select", &["pselect6", "_newselect"]),
    ("epoll_wait", &["epoll_pwait", "epoll_pwait2"]),
    ("wait", &["wait4", "waitid", "waitpid"]),
];

/// Whether the system call `called` is what scenarios name `family`.
pub fn is_call(called: &str, family: &str) -> bool {
    called == family || FAMILIES.iter().any(|(name, members)| *name == family && members.contains(&called))
}

/// Whether this call has sent something to a peer.
pub fn has_sent(call: &Call) -> bool {
    call.socket.is_some()
        && is_call(&call.name, "send")
        && matches!(call.result, Some(Returned::Value(sent)) if sent > 0)
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut words = words(text)?;
        let never = words.first().is_some_and(|word| word == "never");
        if never {
            words.remove(0);
        }
        let (mut count, mut took, mut after, mut point) = (1, None, None, None);
        let (mut or_rests, mut or_after) = (None, None);
        if let [.., or, role, rests] = words.as_slice()
            && (or, rests) == (&"or".to_owned(), &"rests".to_owned())
        {
            or_rests = Some(role.clone());
            words.truncate(words.len() - 3);
        } else if let [.., or, time] = words.as_slice()
            && or == "or"
        {
            or_after = Some(quantity::duration(time).map_err(|error| error.to_string())?);
            words.truncate(words.len() - 2);
        }
        // Suffixes, from the end.
        loop {
            let last = words.last().map_or("", String::as_str);
            let before = words.len().checked_sub(2).map_or("", |at| words[at].as_str());
            if let Some(times) = last.strip_prefix('x').and_then(|times| times.parse().ok()) {
                count = times;
                words.pop();
            } else if before == "in" || before == "after" {
                let range = Some(range(last)?);
                if before == "in" {
                    took = range
                } else {
                    after = range
                }
                words.truncate(words.len() - 2);
            } else if words.first().is_some_and(|word| word == "packet")
                && ["sent", "delivered", "dropped", "forged"].contains(&last)
            {
                point = words.pop();
            } else {
                break;
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let kind = kind(&words, point).map_err(|why| format!("`{text}`: {why}"))?;
        Ok(Pattern { text: text.to_owned(), never, count, took, after, or_rests, or_after, kind })
    }

    /// A pattern that is nothing but time: how much.
    pub fn time(&self) -> Option<Duration> {
        if let Kind::Time(time) = self.kind { Some(time) } else { None }
    }

    /// The same where packets are not seen; none if only they would show it.
    pub fn without_wire(&self) -> Option<Pattern> {
        match &self.kind {
            Kind::Packet { host, kind: PacketKind::Data | PacketKind::Udp, point }
                if !matches!(point.as_deref(), Some("dropped" | "forged")) =>
            {
                Some(Pattern { kind: Kind::Sends { host: host.clone() }, ..self.clone() })
            }
            Kind::Packet { .. } => None,
            _ => Some(self.clone()),
        }
    }

    /// The role or host it speaks of.
    pub fn subject(&self) -> Option<&str> {
        match &self.kind {
            Kind::Call { role, .. }
            | Kind::Signal { role, .. }
            | Kind::Ends { role, .. }
            | Kind::Forks { role }
            | Kind::Says { role, .. }
            | Kind::Socket { role, .. } => Some(role),
            Kind::Packet { host, .. } | Kind::Sends { host } => Some(host),
            Kind::Time(_) => None,
        }
    }

    /// What happens in one order: a role's doings, or the packets of a host. `client recv`, `packet client DATA`.
    pub fn line(&self) -> String {
        let kind = match self.kind {
            Kind::Packet { .. } | Kind::Sends { .. } => "packet ",
            Kind::Socket { .. } => "socket ",
            _ => "",
        };
        format!("{kind}{}", self.subject().unwrap_or(""))
    }

    /// Whether this event is one of those meant, whatever its count and time.
    pub fn matches(&self, event: &Event, roles: &Roles) -> bool {
        let by = |role: &str, pid: i32| roles.is(role, pid);
        match (&self.kind, &event.what) {
            (Kind::Call { role, name, entered: true, .. }, What::CallEntered(call)) => {
                by(role, call.pid) && is_call(&call.name, name)
            }
            (Kind::Call { role, name, entered: false, result }, What::Call(call)) => {
                by(role, call.pid)
                    && is_call(&call.name, name)
                    && result.as_ref().is_none_or(|test| test.holds(call.result))
                    && self
                        .took
                        .as_ref()
                        .is_none_or(|range| range.contains(&Duration::from_nanos(call.took_ns)))
                    && (name != "recv" && name != "send" || call.socket.is_some())
            }
            (Kind::Packet { host, kind, point }, What::Packet(packet)) => {
                packet.from.is_some_and(|from| roles.host_is(host, from))
                    && is_point(&packet.point, point.as_deref())
                    && kind.matches(packet)
            }
            (Kind::Sends { host }, What::Call(call)) => {
                event.host.is_some_and(|on| roles.host_is(host, on)) && has_sent(call)
            }
            (Kind::Signal { role, number }, What::Signal(signal)) => {
                by(role, signal.pid) && signal.signal == *number
            }
            (Kind::Ends { role, how }, What::Process(process)) => {
                // A role ends with its first process; its children are `ROLE.child`.
                by(role, process.pid)
                    && process.pid == process.tid
                    && (role.ends_with(".child") || roles.is_first(process.pid))
                    && how.matches(&process.change)
            }
            (Kind::Forks { role }, What::Process(process)) => {
                by(role, process.pid)
                    && matches!(process.change, Change::Started { thread: false, .. })
                    && !roles.is_first(process.pid)
            }
            (Kind::Says { role, text }, What::Output { pid, stream: 1 | 2, bytes }) => {
                by(role, *pid) && String::from_utf8_lossy(bytes).contains(text.as_str())
            }
            (Kind::Socket { role, state }, What::Socket(socket)) => {
                event.host.is_some_and(|host| roles.host_is(role, host)) && socket.state == *state
            }
            _ => false,
        }
    }
}

impl Test {
    fn holds(&self, result: Option<Returned>) -> bool {
        match (self, result) {
            (Test::Equals(wanted), Some(Returned::Value(value))) => value == *wanted,
            (Test::Above(wanted), Some(Returned::Value(value))) => value > *wanted,
            (Test::Below(wanted), Some(Returned::Value(value))) => value < *wanted,
            (Test::Fails(wanted), Some(Returned::Errno(errno))) => errno == *wanted,
            _ => false,
        }
    }
}

impl End {
    fn matches(&self, change: &Change) -> bool {
        match (self, change) {
            (End::Anyhow, Change::Exited { .. } | Change::Killed { .. }) => true,
            (End::Exit(wanted), Change::Exited { status, .. }) => {
                wanted.is_none_or(|wanted| wanted == *status)
            }
            (End::Killed(wanted), Change::Killed { signal, .. }) => {
                wanted.is_none_or(|wanted| wanted == *signal)
            }
            _ => false,
        }
    }
}

impl PacketKind {
    fn matches(&self, packet: &Packet) -> bool {
        let Some(segment) = Segment::decode(&packet.bytes) else { return false };
        match (self, segment.transport) {
            (PacketKind::Any, _) | (PacketKind::Udp, Transport::Udp { .. }) => true,
            (PacketKind::Tcp { set, unset }, Transport::Tcp(tcp)) => {
                tcp.flags & set == *set && tcp.flags & unset == 0
            }
            (PacketKind::Data, Transport::Tcp(tcp)) => tcp.length > 0,
            (PacketKind::Icmp { kind, code }, Transport::Icmp { kind: is, code: with }) => {
                kind.is_none_or(|kind| kind == is) && code.is_none_or(|code| code == with)
            }
            _ => false,
        }
    }
}

fn is_point(point: &Point, wanted: Option<&str>) -> bool {
    match wanted {
        None => matches!(point, Point::Sent | Point::Forged(_)),
        Some("sent") => *point == Point::Sent,
        Some("delivered") => *point == Point::Delivered,
        Some("dropped") => matches!(point, Point::Dropped(_)),
        Some(_) => matches!(point, Point::Forged(_)),
    }
}

fn kind(words: &[&str], point: Option<String>) -> Result<Kind, String> {
    match *words {
        [time, "pass"] => {
            let time = quantity::duration(time).map_err(|error| error.to_string())?;
            Ok(Kind::Time(time))
        }
        ["packet", host] => Ok(Kind::Packet { host: host.to_owned(), kind: PacketKind::Any, point }),
        ["packet", host, kind] => Ok(Kind::Packet { host: host.to_owned(), kind: packet_kind(kind)?, point }),
        [role, "enters", name] => {
            Ok(Kind::Call { role: role.to_owned(), name: name.to_owned(), entered: true, result: None })
        }
        [role, "gets", signal] => {
            let number = names::signal(signal).ok_or_else(|| format!("no signal is named `{signal}`"))?;
            Ok(Kind::Signal { role: role.to_owned(), number })
        }
        [role, "ends"] => Ok(Kind::Ends { role: role.to_owned(), how: End::Anyhow }),
        [role, "exits"] => Ok(Kind::Ends { role: role.to_owned(), how: End::Exit(None) }),
        [role, "exits", status] => {
            let status = status.parse().map_err(|_| format!("`{status}` is no exit status"))?;
            Ok(Kind::Ends { role: role.to_owned(), how: End::Exit(Some(status)) })
        }
        [role, "killed"] => Ok(Kind::Ends { role: role.to_owned(), how: End::Killed(None) }),
        [role, "killed", signal] => {
            let number = names::signal(signal).ok_or_else(|| format!("no signal is named `{signal}`"))?;
            Ok(Kind::Ends { role: role.to_owned(), how: End::Killed(Some(number)) })
        }
        [role, "forks"] => Ok(Kind::Forks { role: role.to_owned() }),
        [role, "says", text] => Ok(Kind::Says { role: role.to_owned(), text: text.to_owned() }),
        [role, "socket", state] => Ok(Kind::Socket { role: role.to_owned(), state: state.to_owned() }),
        [role, call, operator, result] => {
            let result = Some(test(operator, result)?);
            Ok(Kind::Call { role: role.to_owned(), name: call.to_owned(), entered: false, result })
        }
        [role, call] => {
            Ok(Kind::Call { role: role.to_owned(), name: call.to_owned(), entered: false, result: None })
        }
        _ => Err(
            "neither a call (`client send > 0`), a packet (`packet server RST`), an end (`client exits`), \
                  a state (`client socket CLOSE_WAIT`) nor a time (`2s pass`)"
                .to_owned(),
        ),
    }
}

fn test(operator: &str, result: &str) -> Result<Test, String> {
    let number = || result.parse::<i64>().map_err(|_| format!("`{result}` is neither a number nor an errno"));
    match operator {
        "=" => match names::errno(result) {
            Some(errno) => Ok(Test::Fails(errno)),
            None => number().map(Test::Equals),
        },
        ">" => number().map(Test::Above),
        "<" => number().map(Test::Below),
        _ => Err(format!("`{operator}` is none of = > <")),
    }
}

fn packet_kind(word: &str) -> Result<PacketKind, String> {
    let (name, rest) = word.split_once(':').map_or((word, None), |(name, rest)| (name, Some(rest)));
    Ok(match name {
        "DATA" => PacketKind::Data,
        "UDP" => PacketKind::Udp,
        // A bare SYN: with an acknowledgement it is `SYN+ACK`. An acknowledgement alone carries nothing else.
        "SYN" => PacketKind::Tcp { set: Tcp::SYN, unset: Tcp::ACK },
        "ACK" => PacketKind::Tcp { set: Tcp::ACK, unset: Tcp::SYN | Tcp::FIN | Tcp::RST },
        "ICMP" => {
            let mut numbers = rest.unwrap_or("").splitn(2, '.').map(str::parse::<u8>);
            let mut next = || numbers.next().and_then(Result::ok);
            PacketKind::Icmp { kind: next(), code: next() }
        }
        _ => {
            let mut set = 0;
            for flag in name.split('+') {
                set |= match flag {
                    "SYN" => Tcp::SYN,
                    "FIN" => Tcp::FIN,
                    "RST" => Tcp::RST,
                    "ACK" => Tcp::ACK,
                    _ => {
                        return Err(format!(
                            "`{word}` is no kind of packet: SYN, SYN+ACK, FIN, RST, ACK, DATA, UDP, ICMP:3.1"
                        ));
                    }
                };
            }
            PacketKind::Tcp { set, unset: 0 }
        }
    })
}

/// `1s..2s`, `5s..`
fn range(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (from, to) = text.split_once("..").ok_or_else(|| format!("`{text}` is no range such as 1s..2s"))?;
    let end = |text: &str, otherwise: Duration| {
        if text.is_empty() {
            Ok(otherwise)
        } else {
            quantity::duration(text).map_err(|error| error.to_string())
        }
    };
    Ok(end(from, Duration::ZERO)?..=end(to, Duration::MAX)?)
}

/// Words, where `"…"` is one.
pub(crate) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or_else(|| format!("`{text}`: a quote is not closed"))?;
            words.push(quoted[..end].replace("\\n", "\n"));
            rest = quoted[end + 1..].trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = rest[end..].trim_start();
        }
    }
    Ok(words)
}
