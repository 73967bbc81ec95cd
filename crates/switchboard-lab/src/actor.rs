//! The built-in actors of the lab: a process that makes exactly the system calls that a scenario lists, one after the
//! other, and goes on whatever they return. What they returned is seen by the watcher; an actor says nothing itself.
//!
//! The program that embeds the lab becomes an actor when it is started with [`ROLE`] as its first argument; see
//! [`main`]. What an actor must know besides its calls is in its environment, by the names below.

use crate::names;
use rustix::net::SocketAddrAny;
use script::{Op, Script};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use switchboard_net::sys::{process, signal};

mod calls;
mod ledger;
mod script;

pub use script::check;

/// First argument of a program that is to be an actor; the second is the list of calls.
pub const ROLE: &str = "lab-actor";
/// `client=10.0.0.1,server=10.0.0.2`.
pub const HOSTS: &str = "SWITCHBOARD_LAB_HOSTS";
/// The port that `bind` and `connect` mean when they name none.
pub const PORT: &str = "SWITCHBOARD_LAB_PORT";
/// Where the lab's first port is; those that calls name by number move with it.
pub const BASE: &str = "SWITCHBOARD_LAB_BASE";
/// Where `echo`, `say` and their like keep account of every byte: the beginning of file names.
pub const LEDGER: &str = "SWITCHBOARD_LAB_LEDGER";
/// Lines for `say`, as they go over the wire, joined.
pub const LINES: &str = "SWITCHBOARD_LAB_LINES";

/// What actors need to know.
struct Actor {
    hosts: HashMap<String, IpAddr>,
    port: u16,
    base: u16,
    ledger: Option<ledger::Ledger>,
    lines: Vec<String>,
    /// Sockets that are kept while others are used.
    shelf: HashMap<String, OwnedFd>,
    /// Sockets that are only held open.
    pile: Vec<OwnedFd>,
    listener: Option<OwnedFd>,
    socket: Option<OwnedFd>,
    /// How far into [`pattern`] this connection has sent.
    sent: usize,
    said: usize,
}

/// What a loop does after a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Go,
    /// The peer has ended, or the call failed: a loop ends.
    Stop,
}

/// Plays the part that the arguments describe; returns the exit status. `arguments` are those after [`ROLE`].
///
/// It ends with status 2 when the list of calls cannot be read; scenarios are checked before, with [`check`].
pub fn main(arguments: &[String]) -> i32 {
    let Some(Ok(script)) = arguments.first().map(|text| script::parse(text)) else { return 2 };
    // Rust programs start with SIGPIPE ignored; the calls of a scenario are those of a plain C program.
    let _ = signal::default_action(names::signal("SIGPIPE").unwrap_or(0));
    let mut actor = Actor::from_environment();
    actor.play(&script);
    0
}

impl Actor {
    fn from_environment() -> Actor {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let hosts = text(HOSTS);
        let hosts = hosts.split(',').filter_map(|host| host.split_once('='));
        Actor {
            hosts: hosts.filter_map(|(name, at)| Some((name.to_owned(), at.parse().ok()?))).collect(),
            port: text(PORT).parse().unwrap_or(7),
            base: text(BASE).parse().unwrap_or(crate::run::PORT),
            ledger: std::env::var(LEDGER).ok().map(ledger::Ledger::new),
            lines: text(LINES).split_inclusive('\n').map(str::to_owned).collect(),
            shelf: HashMap::new(),
            pile: Vec::new(),
            listener: None,
            socket: None,
            sent: 0,
            said: 0,
        }
    }

    fn play(&mut self, script: &Script) -> Next {
        for op in script {
            if self.perform(op) == Next::Stop && matches!(op, Op::Loop(..)) {
                continue;
            }
        }
        Next::Go
    }

    /// One op; blocks are played here, calls in `calls`.
    fn perform(&mut self, op: &Op) -> Next {
        match op {
            Op::Loop(times, body) => {
                for _ in 0..*times {
                    if body.iter().any(|op| self.perform(op) == Next::Stop) {
                        return Next::Stop;
                    }
                }
                Next::Go
            }
            Op::Fork(body) => {
                if matches!(process::fork(), Ok(process::Fork::Child)) {
                    for op in body {
                        self.perform(op);
                    }
                    process::exit_now(0);
                }
                Next::Go
            }
            Op::Call(words) => self.call(words),
        }
    }

    /// `7`, `server:7`, `10.0.0.9:7`, `server`, `[fd00::1]:7`.
    fn address(&self, text: Option<&str>, default: &str) -> SocketAddr {
        let text = text.unwrap_or(default);
        if let Ok(address) = text.parse() {
            return address;
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_or(self.port, |port| self.here(port))),
            None => text.parse().map_or((text, self.port), |port| ("*", self.here(port))),
        };
        let any = if self.hosts.values().any(IpAddr::is_ipv6) {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        let host = self.hosts.get(host).copied().or_else(|| host.parse().ok()).unwrap_or(any);
        SocketAddr::new(host, port)
    }

    /// Where a port that a scenario names is: the lab's ports are others where they are taken.
    fn here(&self, port: u16) -> u16 {
        match port.checked_sub(crate::run::PORT) {
            Some(place) if place < crate::run::PORTS => self.base + place,
            _ => port,
        }
    }

    fn wants_v6(&self) -> bool {
        self.hosts.values().any(IpAddr::is_ipv6)
    }
}

/// The next `n` bytes of a stream whose bytes tell their place: lines of counting numbers.
fn pattern(from: usize, n: usize) -> Vec<u8> {
    const LINE: usize = 10;
    let mut bytes = Vec::with_capacity(n + LINE);
    let mut line = from / LINE;
    while bytes.len() < n + from % LINE {
        bytes.extend(format!("{:09}\n", line % 1_000_000_000).into_bytes());
        line += 1;
    }
    bytes[from % LINE..from % LINE + n].to_vec()
}

fn peer_of(address: Option<SocketAddrAny>) -> Option<SocketAddr> {
    address.and_then(|address| SocketAddr::try_from(address).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_one_stream_however_it_is_cut() {
        let whole = pattern(0, 100);
        assert_eq!(&whole[..20], b"000000000\n000000001\n");
        for cut in 0..100 {
            let mut parts = pattern(0, cut);
            parts.extend(pattern(cut, 100 - cut));
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }
}
