//! [`Machine`]: which processors are whose, and how much of them went to work that is not ours.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{Duration, Instant};
use switchboard_net::Error;
use switchboard_net::sys::processors::{Busy, allowed};

/// The share of the processors that may go to other work, or to other guests of the host, before nothing is concluded.
pub(super) const MOST_FOREIGN: f64 = 0.1;

pub(super) struct Machine {
    pub(super) kernel: String,
    /// Processors of the servers, and of the clients; the same one where there is no other.
    pub(super) servers: Vec<usize>,
    pub(super) clients: Vec<usize>,
}

/// What happened to the processors while something was measured.
#[derive(Clone, Copy, Default)]
pub(super) struct Disturbance {
    /// Share of their time that other processes had.
    pub(super) foreign: f64,
    /// Share that the host did not give.
    pub(super) stolen: f64,
}

impl Disturbance {
    pub(super) fn is_too_much(self) -> bool {
        self.foreign > MOST_FOREIGN || self.stolen > MOST_FOREIGN
    }
}

impl Machine {
    /// This machine: the first half of the processors we may use is for servers, the rest for clients.
    pub(super) fn here() -> Result<Machine, Error> {
        let allowed = allowed().map_err(|errno| Error::system("read the allowed processors", errno))?;
        let (servers, clients) = match allowed.len() {
            0 | 1 => (allowed.clone(), allowed),
            count => (allowed[..count / 2].to_vec(), allowed[count / 2..].to_vec()),
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        Ok(Machine { kernel, servers, clients })
    }

    /// Whether servers and clients share a processor.
    pub(super) fn is_shared(&self) -> bool {
        self.servers == self.clients
    }

    /// A reading of the clocks, to be compared with a later one.
    pub(super) fn reading(&self) -> Reading {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec as u64, own.tv_nsec as u32);
        let ours = [&self.servers[..], &self.clients].concat();
        Reading { at: Instant::now(), busy: Busy::of(&ours).unwrap_or_default(), own }
    }

    /// What was lost from then to now, if the servers have used `servers` meanwhile.
    pub(super) fn disturbance(&self, since: &Reading, servers: Duration) -> Disturbance {
        let now = self.reading();
        let count = self.servers.len() + if self.is_shared() { 0 } else { self.clients.len() };
        let elapsed = (now.at - since.at).as_secs_f64() * count as f64;
        let ours = (now.own - since.own) + servers;
        Disturbance {
            foreign: (now.busy.busy - since.busy.busy).saturating_sub(ours).as_secs_f64() / elapsed,
            stolen: (now.busy.stolen - since.busy.stolen).as_secs_f64() / elapsed,
        }
    }
}

pub(super) struct Reading {
    at: Instant,
    busy: Busy,
    own: Duration,
}
