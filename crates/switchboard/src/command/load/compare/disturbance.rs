//! [`Disturbance`]: what others took of the processors while something was measured (proc_stat(5)).

use super::super::server;
use std::time::Instant;
use switchboard_net::sys::processors::Busy;

/// Others may take this part of the processors' time, and the hypervisor; more, and a run is disturbed.
const MOST_FOREIGN: f64 = 0.05;
const MOST_STEAL: f64 = 0.02;

/// Parts of the time of the processors that were looked at.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Disturbance {
    /// Neither this process nor the server.
    pub(super) foreign: f64,
    /// Taken by the hypervisor.
    pub(super) steal: f64,
}

impl Disturbance {
    pub(super) fn is_too_much(&self) -> bool {
        self.foreign > MOST_FOREIGN || self.steal > MOST_STEAL
    }
}

/// Looks from its beginning to its end.
pub(super) struct Meter {
    /// Empty: all.
    processors: Vec<usize>,
    pid: Option<i32>,
    began: Instant,
    busy: Option<Busy>,
    own_ns: u64,
    server_ns: Option<u64>,
}

impl Meter {
    pub(super) fn begin(processors: &[usize], pid: Option<i32>) -> Meter {
        Meter {
            processors: processors.to_vec(),
            pid,
            busy: Busy::of(processors),
            own_ns: own_ns(),
            server_ns: pid.and_then(server::cpu_ns),
            began: Instant::now(),
        }
    }

    /// What others took. What cannot be seen was not there.
    pub(super) fn end(self) -> Disturbance {
        let elapsed_ns = self.began.elapsed().as_nanos() as f64;
        let server_now = self.pid.and_then(server::cpu_ns);
        let server_ns = self.server_ns.zip(server_now).map(|(before, now)| now.saturating_sub(before));
        let own_ns = own_ns().saturating_sub(self.own_ns);
        let (Some(before), Some(now)) = (self.busy, Busy::of(&self.processors)) else {
            return Disturbance::default();
        };
        let whole_ns = elapsed_ns * now.processors as f64;
        let busy_ns = now.busy.saturating_sub(before.busy).as_nanos() as f64;
        let ours_ns = (own_ns + server_ns.unwrap_or(0)) as f64;
        Disturbance {
            // Ticks are coarse: a little less than nothing is nothing.
            foreign: ((busy_ns - ours_ns) / whole_ns).max(0.0),
            steal: now.stolen.saturating_sub(before.stolen).as_nanos() as f64 / whole_ns,
        }
    }
}

/// Processor time of this process.
fn own_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_and_the_hypervisor_disturb() {
        assert!(!Disturbance { foreign: 0.04, steal: 0.01 }.is_too_much());
        assert!(Disturbance { foreign: 0.06, steal: 0.0 }.is_too_much());
        assert!(Disturbance { foreign: 0.0, steal: 0.03 }.is_too_much());
    }
}
