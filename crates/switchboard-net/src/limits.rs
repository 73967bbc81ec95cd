//! [`Limits`]: the named bounds of everything an engine serves.

use std::time::Duration;
use switchboard_proto::{Bounds, Instant, Session, layer};

/// Bounds of what is served.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Conversations at once; beyond it clients wait in the listeners' queues. `None`: as many as there are
    /// descriptors, less a reserve.
    pub max_connections: Option<usize>,
    /// A conversation in which nothing moves for this long is ended.
    pub idle_timeout: Option<Duration>,
    /// A conversation that lasts longer than this is ended.
    pub lifetime: Option<Duration>,
    /// A loop looks for events for up to this long, awake, before it sleeps: quicker answers to few clients who ask
    /// often, for a processor that is busy meanwhile. Only engines with [`crate::EngineRow::spins`].
    pub busy_poll: Option<Duration>,
    /// After a request to stop, conversations may go on for this long.
    pub drain_timeout: Duration,
    /// Buffers of one conversation, and how it lingers.
    pub bounds: Bounds,
    /// How many datagrams are answered.
    pub datagrams: Rates,
    /// UDP ports served elsewhere by the same user of this program: datagrams from them are not answered.
    pub reserved_ports: Vec<u16>,
}

/// Token buckets for datagrams, per second; a rate of `None` means no limit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    /// Answers to one source (an IPv4 address, an IPv6 /64): rate and burst.
    pub source: Option<Rate>,
    /// Answers to all.
    pub global: Option<Rate>,
}

/// A token bucket: refilled at `per_second`, holding at most `burst`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Tokens per second.
    pub per_second: f64,
    /// Tokens at most.
    pub burst: f64,
}

/// Descriptors kept free for the log, name look-ups and a few more.
const RESERVE: usize = 32;

impl Default for Limits {
    /// No idle limit, no lifetime, 5 s to drain; 100 answers a second to one source after a burst of 2,000, and
    /// 20,000 a second to all after a burst of 40,000.
    fn default() -> Limits {
        Limits {
            max_connections: None,
            idle_timeout: None,
            lifetime: None,
            busy_poll: None,
            drain_timeout: Duration::from_secs(5),
            bounds: Bounds::default(),
            datagrams: Rates {
                source: Some(Rate { per_second: 100.0, burst: 2_000.0 }),
                global: Some(Rate { per_second: 20_000.0, burst: 40_000.0 }),
            },
            reserved_ports: Vec::new(),
        }
    }
}

impl Limits {
    /// Conversations at once for an engine that keeps them all in one process.
    pub(crate) fn connections(&self) -> usize {
        let descriptors = crate::sys::process::raise_descriptor_limit();
        let possible = descriptors.saturating_sub(RESERVE).max(1);
        self.max_connections.map_or(possible, |asked| asked.clamp(1, possible))
    }

    /// Conversations at once for an engine that gives each a process or thread of its own: a default that a
    /// machine bears, since nothing else bounds them.
    pub(crate) fn tasks(&self) -> usize {
        const DEFAULT_TASKS: usize = 1_024;
        self.max_connections.unwrap_or(DEFAULT_TASKS).min(self.connections())
    }

    /// Wraps a session in the layers that these limits ask for.
    pub(crate) fn layered(&self, session: Box<dyn Session>, now: Instant) -> Box<dyn Session> {
        let session = match self.idle_timeout {
            Some(limit) => Box::new(layer::Idle::new(session, limit, now)),
            None => session,
        };
        match self.lifetime {
            Some(limit) => Box::new(layer::Lifetime::new(session, limit, now)),
            None => session,
        }
    }
}
