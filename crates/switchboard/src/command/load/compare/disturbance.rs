//! [`Disturbance`]: what others took of the processors while something was measured (proc_stat(5)).

use super::super::server;
use std::fs;
use std::time::Instant;

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
    ticks: Option<Ticks>,
    own_ns: u64,
    server_ns: Option<u64>,
}

/// Ticks that processors were busy, and that were stolen; and how many processors there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ticks {
    busy: u64,
    steal: u64,
    processors: u64,
}

impl Meter {
    pub(super) fn begin(processors: &[usize], pid: Option<i32>) -> Meter {
        Meter {
            processors: processors.to_vec(),
            pid,
            ticks: ticks(processors),
            own_ns: own_ns(),
            server_ns: pid.and_then(server::cpu_ns),
            began: Instant::now(),
        }
    }

    /// What others took, and what the server used if it can be seen. What cannot be seen was not there.
    pub(super) fn end(self) -> (Disturbance, Option<u64>) {
        let elapsed_ns = self.began.elapsed().as_nanos() as f64;
        let server_now = self.pid.and_then(server::cpu_ns);
        let server_ns = self.server_ns.zip(server_now).map(|(before, now)| now.saturating_sub(before));
        let own_ns = own_ns().saturating_sub(self.own_ns);
        let (Some(before), Some(now)) = (self.ticks, ticks(&self.processors)) else {
            return (Disturbance::default(), server_ns);
        };
        let tick_ns = 1e9 / rustix::param::clock_ticks_per_second() as f64;
        let whole_ns = elapsed_ns * now.processors.max(1) as f64;
        let busy_ns = now.busy.saturating_sub(before.busy) as f64 * tick_ns;
        let ours_ns = (own_ns + server_ns.unwrap_or(0)) as f64;
        let disturbance = Disturbance {
            // Ticks are coarse: a little less than nothing is nothing.
            foreign: ((busy_ns - ours_ns) / whole_ns).max(0.0),
            steal: now.steal.saturating_sub(before.steal) as f64 * tick_ns / whole_ns,
        };
        (disturbance, server_ns)
    }
}

/// Processor time of this process.
fn own_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn ticks(processors: &[usize]) -> Option<Ticks> {
    parse(&fs::read_to_string("/proc/stat").ok()?, processors)
}

fn parse(text: &str, processors: &[usize]) -> Option<Ticks> {
    let mut sum = Ticks { busy: 0, steal: 0, processors: 0 };
    for line in text.lines() {
        let Some((number, counts)) = line.strip_prefix("cpu").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else { continue };
        if !processors.is_empty() && !processors.contains(&number) {
            continue;
        }
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is part of user time.
        let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = counts[..] else { return None };
        sum.busy += user + nice + system + irq + softirq;
        sum.steal += steal;
        sum.processors += 1;
    }
    (sum.processors > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 100 5 6 7 8 0 0\ncpu1 10 0 0 100 0 0 0 1 0 0\nintr 5 1\n";

    #[test]
    fn only_the_processors_in_question_count() {
        assert_eq!(parse(STAT, &[0]), Some(Ticks { busy: 19, steal: 8, processors: 1 }));
        assert_eq!(parse(STAT, &[]), Some(Ticks { busy: 29, steal: 9, processors: 2 }));
        assert_eq!(parse(STAT, &[7]), None);
        assert_eq!(parse("cpu0 1 2\n", &[]), None);
    }

    #[test]
    fn others_and_the_hypervisor_disturb() {
        assert!(!Disturbance { foreign: 0.04, steal: 0.01 }.is_too_much());
        assert!(Disturbance { foreign: 0.06, steal: 0.0 }.is_too_much());
        assert!(Disturbance { foreign: 0.0, steal: 0.03 }.is_too_much());
    }
}
