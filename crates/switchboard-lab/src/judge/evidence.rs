//! [`Evidence`]: the questions that verdicts ask of a recording.

use super::Facts;
use crate::record::{Call, Change, Event, Nanos, Recording, Returned, Socket, What};
use std::collections::{HashMap, HashSet};

pub(super) struct Evidence<'a> {
    pub(super) events: &'a [Event],
    pub(super) facts: &'a Facts,
    processes: HashSet<i32>,
    /// Calls, by index, on sockets that are not of the conversation: those of name services and loggers.
    foreign: HashSet<usize>,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(recording: &'a Recording, facts: &'a Facts) -> Evidence<'a> {
        let processes: HashSet<i32> = facts.processes.iter().copied().collect();
        let foreign = foreign(&recording.events, facts.datagrams);
        Evidence { events: &recording.events, facts, processes, foreign }
    }

    /// The first event after the fault.
    pub(super) fn fault(&self) -> usize {
        self.facts.fault.map_or(0, |fault| fault + 1)
    }

    /// When the fault happened.
    pub(super) fn fault_ns(&self) -> Nanos {
        let began = || self.events.first().map_or(0, |event| event.at_ns);
        self.facts.fault.and_then(|at| self.events.get(at)).map_or_else(began, |event| event.at_ns)
    }

    /// Seconds from the fault to this event.
    pub(super) fn since_fault_s(&self, index: usize) -> f64 {
        let at = self.events.get(index).map_or(0, |event| event.at_ns);
        at.saturating_sub(self.fault_ns()) as f64 / 1e9
    }

    pub(super) fn is_ours(&self, pid: i32) -> bool {
        self.processes.contains(&pid)
    }

    /// The program's calls that returned, from this event on.
    pub(super) fn calls(&self, from: usize) -> impl Iterator<Item = (usize, &'a Call)> {
        let events = self.events.iter().enumerate().skip(from);
        events.filter_map(move |(index, event)| match &event.what {
            What::Call(call) if self.is_ours(call.pid) && !self.foreign.contains(&index) => {
                Some((index, call))
            }
            _ => None,
        })
    }

    /// Changes of the program's processes (not of single threads), from this event on.
    pub(super) fn changes(&self, from: usize) -> impl Iterator<Item = (usize, i32, &'a Change)> {
        let events = self.events.iter().enumerate().skip(from);
        events.filter_map(move |(index, event)| match &event.what {
            What::Process(process) if self.is_ours(process.pid) && process.pid == process.tid => {
                Some((index, process.pid, &process.change))
            }
            _ => None,
        })
    }

    /// How the program's first process ended, if it did.
    pub(super) fn end(&self) -> Option<(usize, &'a Change)> {
        let first = *self.facts.processes.first()?;
        let ends = |change: &Change| matches!(change, Change::Exited { .. } | Change::Killed { .. });
        self.changes(0)
            .find(|(_, pid, change)| *pid == first && ends(change))
            .map(|(index, _, change)| (index, change))
    }

    /// Calls that were entered and have not returned, of threads that live on.
    pub(super) fn pending(&self) -> Vec<(usize, &'a Call)> {
        let mut entered: HashMap<i32, (usize, &Call)> = HashMap::new();
        for (index, event) in self.events.iter().enumerate() {
            match &event.what {
                What::CallEntered(call) if self.is_ours(call.pid) => {
                    entered.insert(call.tid, (index, call));
                }
                What::Call(call) => drop(entered.remove(&call.tid)),
                What::Process(process)
                    if matches!(process.change, Change::Exited { .. } | Change::Killed { .. }) =>
                {
                    entered.retain(|tid, (_, call)| {
                        *tid != process.tid && (process.tid != process.pid || call.pid != process.pid)
                    });
                }
                _ => {}
            }
        }
        let mut pending: Vec<(usize, &Call)> = entered.into_values().collect();
        pending.sort_by_key(|(index, _)| *index);
        pending
    }

    /// Sockets of the program's host as they were seen last, with the time since when.
    pub(super) fn sockets(&self) -> Vec<(usize, &'a Socket)> {
        let mut last: HashMap<(u64, &str, Option<&str>), (usize, &Socket)> = HashMap::new();
        for (index, event) in self.events.iter().enumerate() {
            if let What::Socket(socket) = &event.what
                && event.host == Some(self.facts.host)
            {
                let key = (socket.inode, socket.local.as_str(), socket.peer.as_deref());
                match last.get_mut(&key) {
                    // The event at which the state began is the one to cite.
                    Some((_, known)) if known.state == socket.state => *known = socket,
                    Some(entry) => *entry = (index, socket),
                    None => drop(last.insert(key, (index, socket))),
                }
            }
        }
        let mut sockets: Vec<_> = last.into_values().collect();
        sockets.sort_by_key(|(index, _)| *index);
        sockets
    }

    /// Inode numbers of the sockets that the program's calls were about.
    pub(super) fn inodes(&self) -> HashSet<u64> {
        self.calls(0).filter_map(|(_, call)| call.socket).collect()
    }

    /// The state of the socket with this inode number, as seen last.
    pub(super) fn state(&self, inode: u64) -> Option<&'a str> {
        self.events.iter().rev().find_map(|event| match &event.what {
            What::Socket(socket) if socket.inode == inode => Some(socket.state.as_str()),
            _ => None,
        })
    }

    /// The first event after the fault at which a call of the program's told it that its connection is over: an errno
    /// that ends it, or the end of input.
    pub(super) fn told(&self) -> Option<(usize, String)> {
        self.calls(self.fault()).find_map(|(index, call)| {
            let says = news(call)?;
            Some((index, format!("{} said {says}", plain(&call.name))))
        })
    }

    /// The same, but only an errno.
    pub(super) fn failed(&self) -> Option<(usize, String)> {
        self.calls(self.fault()).find_map(|(index, call)| {
            let says = news(call).filter(|says| says.starts_with('E'))?;
            Some((index, format!("{} said {says}", plain(&call.name))))
        })
    }

    /// Whether anything was written on standard output or error from this event on.
    pub(super) fn spoke(&self, from: usize) -> Option<usize> {
        self.events.iter().enumerate().skip(from).find_map(|(index, event)| match &event.what {
            What::Output { pid, stream: 1 | 2, .. } if self.is_ours(*pid) => Some(index),
            _ => None,
        })
    }
}

/// Calls on sockets of another kind than the conversation's: Unix and netlink sockets, and in a conversation over TCP
/// datagram sockets.
fn foreign(events: &[Event], datagrams: bool) -> HashSet<usize> {
    let mut sockets: HashSet<(i32, i32)> = HashSet::new();
    let mut calls = HashSet::new();
    for (index, event) in events.iter().enumerate() {
        let What::Call(call) = &event.what else { continue };
        if let ("socket", Some(Returned::Value(fd))) = (call.name.as_str(), call.result) {
            let other = call.arguments.iter().any(|(name, value)| match name.as_str() {
                "domain" => !value.starts_with("AF_INET"),
                "type" => value.starts_with("SOCK_DGRAM") && !datagrams,
                _ => false,
            });
            let key = (call.pid, i32::try_from(fd).unwrap_or(-1));
            if other {
                sockets.insert(key)
            } else {
                sockets.remove(&key)
            };
        } else if let Some(fd) = call.fd
            && sockets.contains(&(call.pid, fd))
        {
            calls.insert(index);
            if call.name == "close" {
                sockets.remove(&(call.pid, fd));
            }
        }
    }
    calls
}

/// What a call on a socket says of the connection's end.
pub(super) fn news(call: &Call) -> Option<String> {
    if call.name == "getsockopt" {
        // How a connect that did not wait has ended.
        let value = |name: &str| {
            call.arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        let says = value("value").filter(|value| value.starts_with('E'));
        return says.filter(|_| value("option") == Some("SO_ERROR")).map(str::to_owned);
    }
    match call.result? {
        Returned::Errno(errno) if is_fatal(errno) && is_about_sockets(call) => {
            Some(crate::names::of_errno(errno))
        }
        Returned::Value(0) if call.socket.is_some() && is_receive(&call.name) && !asked_for_nothing(call) => {
            Some("0, the end of input".to_owned())
        }
        _ => None,
    }
}

/// A length of zero is no end of input.
fn asked_for_nothing(call: &Call) -> bool {
    call.arguments
        .iter()
        .any(|(name, value)| ["len", "size", "count"].contains(&name.as_str()) && value == "0")
}

pub(super) fn is_about_sockets(call: &Call) -> bool {
    call.socket.is_some()
        || ["connect", "accept", "accept4", "bind", "listen", "socket", "sendto", "recvfrom"]
            .contains(&call.name.as_str())
}

pub(super) fn is_receive(name: &str) -> bool {
    crate::scenario::is_call(name, "recv")
}

pub(super) fn is_send(name: &str) -> bool {
    crate::scenario::is_call(name, "send")
}

/// Errors after which the socket is of no use; the others mean "not now" or "go on".
pub(super) fn is_fatal(errno: i32) -> bool {
    const GO_ON: [i32; 9] = [
        libc::EAGAIN,
        libc::EINTR,
        libc::EINPROGRESS,
        libc::EALREADY,
        libc::EISCONN,
        libc::ENOPROTOOPT,
        libc::ENOBUFS,
        libc::EMFILE,
        libc::ENFILE,
    ];
    !GO_ON.contains(&errno) && errno < 512
}

/// `recvfrom` as people say it.
pub(super) fn plain(name: &str) -> &str {
    match name {
        "recvfrom" => "recv",
        "sendto" => "send",
        "accept4" => "accept",
        "ppoll" => "poll",
        "pselect6" => "select",
        name => name,
    }
}
