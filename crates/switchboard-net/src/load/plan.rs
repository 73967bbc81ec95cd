//! [`Plan`]: what a run of load is to do.

use super::{Secure, Shard};
use crate::dial::Dialing;
use crate::endpoint::{Address, Kind};
use crate::error::Error;
use crate::sys::clock;
use std::net::IpAddr;
use std::time::Duration;
use switchboard_proto::workload::Direction;
use switchboard_proto::{Errand, Shape, Workload};

/// Most connections of one run.
pub const MOST_CONNECTIONS: usize = 4_000_000;
/// Most workers of one run.
pub const MOST_WORKERS: usize = 256;
/// Most requests that wait for their answers on one connection.
pub const MOST_DEPTH: usize = 1_024;
/// Most bytes of a request.
pub const MOST_BYTES: usize = 16 << 20;
/// Most requests per second that can be asked for.
pub const MOST_RATE: f64 = 1e8;

/// What to do. Made by [`Plan::new`] and changed where the defaults do not fit; [`run`](super::run) does it.
///
/// ```no_run
/// use switchboard_net::load::{self, Plan};
/// use switchboard_net::{Dialing, Endpoint, Stop, dial};
/// use switchboard_proto::{Sizes, Workload};
/// use std::time::Duration;
///
/// let endpoint: Endpoint = "127.0.0.1:7007".parse()?;
/// let (_, address) = dial(&endpoint, &Dialing::default(), &mut |_| {}).expect("a server");
/// let errand = Workload::find("ping").expect("a row").errand(1).sized(Sizes::Fixed(4_096));
/// let plan = Plan { connections: 50, duration: Duration::from_secs(3), ..Plan::new(address, errand) };
/// let tally = load::run(&plan, &Stop::new()?)?;
/// let p99_ns = tally.service.value_at_quantile(0.99);
/// # Ok::<(), switchboard_net::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub address: Address,
    /// How to connect. [`Plan::sources`] goes before its source.
    pub dialing: Dialing,
    /// TLS on every connection.
    pub secure: Option<Secure>,
    /// What clients do there.
    pub errand: Errand,
    /// Connections at a time, of all workers and shards together.
    pub connections: usize,
    /// Threads.
    pub workers: usize,
    /// Requests that may wait for their answers on one connection.
    pub depth: usize,
    /// Requests per second of all workers and shards together; `None`: a closed loop.
    pub rate_per_s: Option<f64>,
    /// How long a connection rests between an answer and its next request. Closed loop only.
    pub think_time: Duration,
    /// Connections begin one by one during this time, not all at once. It comes before the warm-up.
    pub ramp: Duration,
    /// What comes before it is counted.
    pub warm_up: Duration,
    /// What is measured. Connections that are held are held for so long after the last one was made.
    pub duration: Duration,
    /// How long an answer may take; as long is waited for the last ones. Nothing is sent meanwhile.
    pub timeout: Duration,
    /// Where connections come from, in turn; empty: the kernel chooses. An address is good for about 28,000
    /// connections to one port (ip(7) `ip_local_port_range`). Internet endpoints only.
    pub sources: Vec<IpAddr>,
    /// Processors that workers are pinned to, in turn; empty: the kernel chooses.
    pub processors: Vec<usize>,
    /// Which part of it is done here.
    pub shard: Shard,
    /// How long a slice is that [`watch`](super::watch) tells.
    pub interval: Duration,
}

impl Plan {
    /// One connection, one worker, a closed loop; 500 ms of warm-up, 10 s measured, 10 s of patience (1 s for
    /// datagrams), slices of 1 s.
    pub fn new(address: Address, errand: Errand) -> Plan {
        let is_datagram = errand.shape() == Shape::Packets;
        Plan {
            address,
            dialing: Dialing::default(),
            secure: None,
            errand,
            connections: 1,
            workers: 1,
            depth: 1,
            rate_per_s: None,
            think_time: Duration::ZERO,
            ramp: Duration::ZERO,
            warm_up: Duration::from_millis(500),
            duration: Duration::from_secs(10),
            timeout: Duration::from_secs(if is_datagram { 1 } else { 10 }),
            sources: Vec::new(),
            processors: Vec::new(),
            shard: Shard::WHOLE,
            interval: Duration::from_secs(1),
        }
    }

    /// `ping` with requests of the usual size and content of its own.
    pub fn ping(address: Address) -> Plan {
        let ping = Workload::find("ping").expect("it is in the table");
        Plan::new(address, ping.errand(clock::seed()))
    }

    /// Connections of this shard.
    pub fn own_connections(&self) -> usize {
        self.shard.own(self.connections).len()
    }

    /// Looks for what cannot be done.
    ///
    /// # Errors
    /// The first thing, and what would be right.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        let within = |what: &str, n: usize, least: usize, most: usize| {
            if (least..=most).contains(&n) {
                return Ok(());
            }
            Err(Error::Config(format!("{n} {what}: it must be {least} to {most}")))
        };
        let name = self.errand.workload.name;
        let shape = self.errand.shape();
        self.errand.check().map_err(Error::Config)?;
        let fits = match shape {
            Shape::Packets => matches!(self.address.kind, Kind::Udp | Kind::UnixDatagram),
            Shape::Flow(_) => self.address.kind.is_stream(),
            _ => !self.address.kind.is_datagram(),
        };
        if !fits {
            let kinds = match shape {
                Shape::Packets => "udp: and unix-dgram:; for streams there is `ping`",
                Shape::Flow(_) => "tcp: and unix:",
                _ => "tcp:, unix: and unix-seqpacket:; for datagrams there is `datagram`",
            };
            return wrong(format!("{}: the workload `{name}` is for {kinds}", self.address));
        }
        if let Some(secure) = &self.secure {
            secure.check(&self.address)?;
        }
        within("connections", self.connections, 1, MOST_CONNECTIONS)?;
        if self.own_connections() == 0 {
            let (shard, connections) = (self.shard, self.connections);
            return wrong(format!("shard {shard} of {connections} connections has none: use fewer shards"));
        }
        within("workers", self.workers, 1, MOST_WORKERS.min(self.own_connections()))?;
        within("requests deep", self.depth, 1, MOST_DEPTH)?;
        within("bytes", self.errand.sizes.bounds().1, 0, MOST_BYTES)?;
        if self.depth > 1 && !self.errand.can_be_deep() {
            return wrong(format!("a connection of `{name}` has no depth: leave it at 1"));
        }
        if self.duration.is_zero() || self.timeout.is_zero() || self.interval.is_zero() {
            return wrong("the duration, the time-out and the interval must be more than 0".into());
        }
        if matches!(shape, Shape::Hold | Shape::Flow(_)) {
            if self.rate_per_s.is_some() {
                return wrong(format!("`{name}` has no requests that a rate could be kept of"));
            }
            if !self.think_time.is_zero() {
                return wrong(format!("`{name}` has no requests to rest between"));
            }
        }
        if !self.sources.is_empty() && !self.address.kind.is_inet() {
            return wrong(format!("{}: sources are for tcp: and udp:", self.address));
        }
        let is_v6 = self.address.inet().is_some_and(|inet| inet.is_ipv6());
        if let Some(source) = self.sources.iter().find(|source| source.is_ipv6() != is_v6) {
            return wrong(format!("from {source} there is no way to {}: the families differ", self.address));
        }
        match self.rate_per_s {
            Some(rate) if !(rate > 0.0 && rate <= MOST_RATE) => wrong(format!(
                "{rate} requests per second: it must be more than 0 and at most {MOST_RATE:.0}"
            )),
            Some(_) if !self.think_time.is_zero() => {
                wrong("with a rate the rate says when to ask: there is no think time".into())
            }
            _ => Ok(()),
        }
    }

    /// Whether latency counts from when requests were due.
    pub fn is_open_loop(&self) -> bool {
        self.rate_per_s.is_some()
    }

    /// Whether what comes is only counted in bytes.
    pub fn is_flow(&self) -> bool {
        matches!(self.errand.shape(), Shape::Flow(_))
    }

    /// Which way bytes are counted, for streams.
    pub fn direction(&self) -> Option<Direction> {
        match self.errand.shape() {
            Shape::Flow(direction) => Some(direction),
            _ => None,
        }
    }
}
