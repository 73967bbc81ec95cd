//! What `/proc` says of a process at one moment, watched or not.

use super::call;
use crate::record::Change;
use std::fs;
use std::io;

/// What `/proc` counts time in: USER_HZ is 100 on every architecture that this is made for.
const TICK_NS: u64 = 10_000_000;

/// CPU time, state, the call that the process (its first thread) sleeps in, and open descriptors.
///
/// # Errors
/// `NotFound` if there is no such process. What may not be read is left out: the call needs the right to trace.
pub fn sample(pid: i32) -> io::Result<Change> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has an unknown form"));
    // The second field is the name, in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(bad)?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = fields.first().and_then(|state| state.chars().next()).ok_or_else(bad)?;
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).ok_or_else(bad);
    let cpu_ns = (ticks(11)? + ticks(12)?) * TICK_NS;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let blocked_in = fs::read_to_string(format!("/proc/{pid}/syscall")).ok().and_then(|text| blocked(&text));
    Ok(Change::Sampled { cpu_ns, state, blocked_in, descriptors: descriptors as u32 })
}

/// `/proc/PID/syscall`: the number in decimal and the arguments in hexadecimal; `running`; or -1 outside of calls.
fn blocked(text: &str) -> Option<(String, i64)> {
    let mut fields = text.split_whitespace();
    let number: i64 = fields.next()?.parse().ok().filter(|number| *number >= 0)?;
    let first = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    let name = call::find(number).map_or_else(|| format!("call {number}"), |row| row.name.to_owned());
    // A descriptor is an int, and what is above it is not defined.
    Some((name, i64::from(first as i32)))
}

/// Children of a process that have ended and that it has not waited for.
pub fn zombies(parent: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let children: String =
        tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
    let state = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter(|pid| state(*pid) == Some(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_run_and_have_descriptors() {
        let Ok(Change::Sampled { state, descriptors, .. }) = sample(std::process::id() as i32) else {
            panic!("no sample");
        };
        assert!("RS".contains(state) && descriptors >= 3, "{state} {descriptors}");
        assert!(sample(i32::MAX).is_err());
    }

    #[test]
    fn a_child_that_nobody_waits_for_is_a_zombie() {
        let mut child = std::process::Command::new("true").spawn().expect("true runs");
        let pid = child.id() as i32;
        rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .expect("our child");
        assert!(zombies(std::process::id() as i32).contains(&pid));
        child.wait().expect("our child");
        assert!(!zombies(std::process::id() as i32).contains(&pid));
    }

    #[test]
    fn calls_that_are_slept_in() {
        let line = format!("{} 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f00\n", libc::SYS_accept4);
        assert_eq!(blocked(&line), Some(("accept4".to_owned(), 3)));
        assert_eq!(blocked("running\n"), None);
        assert_eq!(blocked("-1 0x7ffd 0x7f00\n"), None);
    }
}
