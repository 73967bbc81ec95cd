//! What the server's processes use while they are loaded: processor time, memory, context switches, descriptors.
//!
//! A server is a process and all that it started. Processor time is in ticks of proc_pid_stat(5), usually 10 ms, so it
//! is exact only over some seconds; that of children who have ended is there once their parent has waited for them.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use switchboard_lab::diag::{Diag, Owners, State, Wanted};
use switchboard_net::{Address, Kind};

/// What was used between two looks.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Used {
    pub(super) pid: i32,
    pub(super) name: String,
    pub(super) processes: usize,
    pub(super) cpu_user_ns: u64,
    pub(super) cpu_system_ns: u64,
    /// Resident memory at the end.
    pub(super) memory_bytes: u64,
    pub(super) switches_voluntary: u64,
    pub(super) switches_involuntary: u64,
    /// Open descriptors at the end.
    pub(super) descriptors: u64,
}

/// A server that is looked at.
pub(super) struct Watched {
    pid: i32,
    before: Used,
}

impl Watched {
    /// Begins; `None` if there is no such process.
    pub(super) fn begin(pid: i32) -> Option<Watched> {
        look(pid).map(|before| Watched { pid, before })
    }

    /// What was used since the beginning; `None` if the process has ended.
    pub(super) fn used(&self) -> Option<Used> {
        let now = look(self.pid)?;
        let before = &self.before;
        Some(Used {
            cpu_user_ns: now.cpu_user_ns.saturating_sub(before.cpu_user_ns),
            cpu_system_ns: now.cpu_system_ns.saturating_sub(before.cpu_system_ns),
            switches_voluntary: now.switches_voluntary.saturating_sub(before.switches_voluntary),
            switches_involuntary: now.switches_involuntary.saturating_sub(before.switches_involuntary),
            ..now
        })
    }
}

/// Who listens at an address of this machine: the oldest of the processes that hold the socket. `None` if that cannot be
/// seen, or nobody of this machine does.
pub(super) fn owner(address: &Address) -> Option<i32> {
    if address.kind != Kind::Tcp && address.kind != Kind::Udp {
        return None;
    }
    let inet = address.inet()?;
    let wanted = Wanted { raw: false, ..Wanted::inet() };
    let sockets = Diag::open().ok()?.sockets(&wanted).ok()?;
    let is_it = |entry: &&switchboard_lab::diag::Entry| {
        let is_listener = match address.kind {
            Kind::Tcp => entry.state == State::Listen,
            _ => entry.peer.is_none(),
        };
        let here = entry.local.ip();
        let fits = here.is_none_or(|ip| ip.is_unspecified() || ip == inet.ip());
        is_listener && entry.local.port() == Some(inet.port()) && fits
    };
    let listener = sockets.iter().find(is_it)?;
    let owners = Owners::look().ok()?;
    // Children inherit a listener, so its owner is the one whose parent does not hold it.
    let holders: HashSet<i32> = owners.of(listener.inode).iter().map(|holder| holder.pid).collect();
    let is_top = |pid: &&i32| owners.program(**pid).is_some_and(|program| !holders.contains(&program.parent));
    holders.iter().filter(is_top).min().copied().filter(|pid| *pid != std::process::id() as i32)
}

/// Processor time of a process and all below it since they began, by the scheduler's own count (proc_pid_schedstat(5)),
/// which is finer than ticks; of threads and processes that are there.
pub(super) fn cpu_ns(pid: i32) -> Option<u64> {
    let of_thread = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let members = family(pid)?;
    let threads =
        members.iter().flat_map(|member| fs::read_dir(format!("/proc/{}/task", member.pid))).flatten();
    Some(threads.flatten().filter_map(|thread| of_thread(thread.path())).sum())
}

/// The sums over a process and all below it.
fn look(pid: i32) -> Option<Used> {
    let stat = Stat::read(pid)?;
    let mut used = Used { pid, name: stat.name, ..Used::default() };
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    for member in family(pid)? {
        used.processes += 1;
        used.cpu_user_ns += member.user_ticks * tick_ns;
        used.cpu_system_ns += member.system_ticks * tick_ns;
        used.memory_bytes += member.resident_pages * rustix::param::page_size() as u64;
        // The counts of a process's own status file are those of its first thread.
        for thread in fs::read_dir(format!("/proc/{}/task", member.pid)).into_iter().flatten().flatten() {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let number = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            used.switches_voluntary += number("voluntary_ctxt_switches:");
            used.switches_involuntary += number("nonvoluntary_ctxt_switches:");
        }
        used.descriptors +=
            fs::read_dir(format!("/proc/{}/fd", member.pid)).map_or(0, |fds| fds.count() as u64);
    }
    Some(used)
}

/// A process and all below it.
fn family(pid: i32) -> Option<Vec<Stat>> {
    let mut all: Vec<Stat> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| Stat::read(entry.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut family = HashSet::from([pid]);
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|s| family.contains(&s.parent) && !family.contains(&s.pid))
            .map(|s| s.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    all.retain(|s| family.contains(&s.pid));
    Some(all)
}

struct Stat {
    pid: i32,
    parent: i32,
    name: String,
    /// With those of children that were waited for.
    user_ticks: u64,
    system_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        Stat::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, text: &str) -> Option<Stat> {
        // The name may hold spaces and parentheses; its end is the last of them.
        let (head, tail) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        // Field 3, the state, is the first of these; proc_pid_stat(5) counts from 1.
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        Some(Stat {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            name,
            user_ticks: number(14)? + number(16)?,
            system_ticks: number(15)? + number(17)?,
            resident_pages: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "7 (a) (b c) S 3 7 7 0 -1 4194304 1 2 3 4 50 60 1 2 20 0 1 0 99 1000 12 5";
        let stat = Stat::parse(7, text).unwrap();
        assert_eq!((stat.parent, stat.name.as_str()), (3, "a) (b c"));
        assert_eq!((stat.user_ticks, stat.system_ticks, stat.resident_pages), (51, 62, 12));
        assert!(Stat::parse(7, "nonsense").is_none());
    }

    #[test]
    fn this_process_uses_memory_and_descriptors() {
        let used = look(std::process::id() as i32).unwrap();
        assert!(used.memory_bytes > 0 && used.descriptors > 0 && used.processes >= 1, "{used:?}");
        assert!(look(i32::MAX).is_none());
    }
}
