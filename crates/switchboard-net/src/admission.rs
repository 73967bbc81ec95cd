//! [`Admission`]: who may come in, how many at once, how fast; decided before anything is started for a client.

mod access;
mod farewells;
mod grammar;
mod holder;
mod hosts;
mod ledger;
mod lock;
mod names;
mod notices;
mod pace;
mod prefixes;
mod pressure;
mod reread;
mod tcprules;
mod waiting;
mod warden;

pub use crate::bucket::Answers;
pub(crate) use farewells::Farewells;
pub use grammar::rate;
pub(crate) use ledger::Table;
pub use ledger::{Ledger, SERVICES, ServiceNumber, TICKETS, Ticket};
pub use names::Lookup;
pub(crate) use names::Table as NameTable;
pub(crate) use names::{Answer, Names, helper as look_ups, is_host_name};
pub(crate) use pace::Pace;
pub(crate) use waiting::{Judged, WaitingRoom};
pub use warden::{Admitted, How, PollState, Refusal, Verdict, Visit, Warden};

use crate::limits::Rate;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The rules at the doors of one service. Access is checked before any rate is counted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Admission {
    /// Who.
    pub access: Access,
    /// Connections of this service at once.
    pub connections: Option<Bound>,
    /// Connections of one source at once (IPv4 address, IPv6 prefix, Unix uid).
    pub per_source: Option<Bound>,
    /// New connections of this service.
    pub rate: Option<RateBound>,
    /// New connections of one source.
    pub rate_per_source: Option<RateBound>,
    /// Load average of one minute (proc_loadavg(5)) from which on nobody is let in.
    pub load: Option<LoadBound>,
    /// Free memory (`MemAvailable`), bytes, below which nobody is let in.
    pub memory: Option<MemoryBound>,
    /// Length of the prefix by which IPv6 sources are told apart; 64 by default.
    pub ipv6_prefix: Option<u8>,
    /// What a client who is refused is sent first, if the refusal is a message.
    pub message: Option<Vec<u8>>,
}

/// What happens to a client who comes when a limit is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// He waits in the kernel's queue: the listener is not polled. Not for limits of one source.
    #[default]
    Queue,
    /// His connection is reset.
    Reset,
    /// His connection is closed, after the message if there is one.
    Close,
    /// He is accepted and waits inside for at most this long, then is refused with a reset.
    Delay(Duration),
}

/// At most so many, and what happens beyond it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// At most.
    pub most: u32,
    /// Beyond it.
    pub policy: Policy,
}

/// A token bucket, and what happens when it is empty.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RateBound {
    /// The bucket.
    pub rate: Rate,
    /// When it is empty.
    pub policy: Policy,
}

/// See [`Admission::load`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LoadBound {
    /// Load average.
    pub most: f64,
    /// Above it.
    pub policy: Policy,
}

/// See [`Admission::memory`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBound {
    /// Bytes.
    pub least: u64,
    /// Below it.
    pub policy: Policy,
}

/// Who may come in. With nothing said, everybody; with only `allow`, those alone; with only `deny`, all others.
/// The longest matching prefix decides; of an address that is allowed and denied by prefixes of the same length,
/// `deny` wins.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Access {
    /// Let in.
    pub allow: Vec<Who>,
    /// Kept out.
    pub deny: Vec<Who>,
    /// Times of day at which clients are let in, local time; none means always.
    pub times: Vec<Span>,
    /// hosts.allow and hosts.deny (hosts_access(5)), and the name of the service in them; read again when changed.
    pub hosts: Option<HostsFiles>,
    /// A database of tcprules(1) (`.cdb`), or its source; read again when changed.
    pub tcprules: Option<PathBuf>,
    /// xinetd's rule: matched by both `allow` and `deny` means kept out, however long the prefixes.
    pub both_deny: bool,
}

/// One item of a list of clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// Everybody.
    All,
    /// An address and the length of the prefix that counts. Addresses mapped into IPv6 are IPv4 ones here.
    Net(IpAddr, u8),
    /// A host name, or `.domain`: by reverse look-up that is confirmed by a forward one. A failed look-up never
    /// lets anybody in.
    Name(String),
    /// A user of this machine, on Unix sockets.
    Uid(u32),
    /// A group of this machine, on Unix sockets: the peer's primary group.
    Gid(u32),
}

/// A span of the day in minutes since midnight, local time, both ends included; one that ends before it begins goes past
/// midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First minute, 0 to 1439.
    pub from: u16,
    /// Last minute, 0 to 1439.
    pub to: u16,
}

/// See [`Access::hosts`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostsFiles {
    /// `/etc/hosts.allow`.
    pub allow: PathBuf,
    /// `/etc/hosts.deny`.
    pub deny: PathBuf,
    /// The daemon's name in them.
    pub daemon: String,
}
