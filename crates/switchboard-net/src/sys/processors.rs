//! [`Busy`]: how long processors have worked, for whomever (proc_stat(5)); how long a thread has waited for one, and which
//! ones it may use.

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::time::Duration;

/// Time since the system was started, in the kernel's ticks (usually 10 ms), of some processors together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Busy {
    /// User, nice, system, interrupts and soft interrupts.
    pub busy: Duration,
    /// What the hypervisor gave to others.
    pub stolen: Duration,
    /// How many processors there are of those that were asked for.
    pub processors: usize,
}

impl Busy {
    /// Of these processors, by number; of all, if none is named. `None` if there is no such processor, or nothing to
    /// read.
    pub fn of(processors: &[usize]) -> Option<Busy> {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        parse(&fs::read_to_string("/proc/stat").ok()?, processors, ticks)
    }
}

/// How long this thread has been ready to run without a processor since it was started, nanoseconds
/// (`/proc/thread-self/schedstat`, the kernel's Documentation/scheduler/sched-stats.rst). `None` where the kernel does not
/// count it.
pub fn waited_ns() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// The processors that this thread may use, by number (sched_getaffinity(2)).
///
/// # Errors
/// `EINVAL` where the kernel has more processors than a set of 1,024 holds.
pub fn allowed() -> Result<Vec<usize>, Errno> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect())
}

/// Lets this thread, and those that it makes from now on, use one processor only (sched_setaffinity(2)).
///
/// # Errors
/// `EINVAL` if there is no such processor, or a cpuset(7) forbids it.
pub fn pin(processor: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set)
}

fn parse(text: &str, processors: &[usize], ticks_per_second: u64) -> Option<Busy> {
    let (mut busy, mut stolen, mut count) = (0, 0, 0);
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
        busy += user + nice + system + irq + softirq;
        stolen += steal;
        count += 1;
    }
    let time = |ticks: u64| Duration::from_nanos(ticks * (1_000_000_000 / ticks_per_second));
    (count > 0).then_some(Busy { busy: time(busy), stolen: time(stolen), processors: count })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 100 5 6 7 8 0 0\ncpu1 10 0 0 100 0 0 0 1 0 0\nintr 5 1\n";

    #[test]
    fn only_the_processors_in_question_count() {
        let of = |busy: u64, stolen: u64, processors: usize| {
            let time = |ticks: u64| Duration::from_millis(10 * ticks);
            Some(Busy { busy: time(busy), stolen: time(stolen), processors })
        };
        assert_eq!(parse(STAT, &[0], 100), of(19, 8, 1));
        assert_eq!(parse(STAT, &[], 100), of(29, 9, 2));
        assert_eq!(parse(STAT, &[7], 100), None);
        assert_eq!(parse("cpu0 1 2\n", &[], 100), None);
    }
}
