//! What the server's processes use while they are loaded: processor time, memory, context switches, descriptors.
//!
//! A server is a process and all that it started. Processor time is exact, but that of children who have ended: it is
//! there, to 10 ms, once their parent has waited for them. Context switches are of those who live at the end.
//! Memory and descriptors are looked at shortly before the clients go: afterwards the server has none of them any more.

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::time::Duration;
use switchboard_lab::diag::{Diag, Owners, State, Wanted};
use switchboard_net::sys::family::Family;
use switchboard_net::{Address, Kind};

/// How long before the end of a run the server is looked at, if the run is not shorter than twenty times that.
const BEFORE_THE_END: Duration = Duration::from_millis(50);

/// What was used between two looks.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Used {
    pub(super) pid: i32,
    pub(super) name: String,
    pub(super) processes: usize,
    pub(super) cpu_user_ns: u64,
    pub(super) cpu_system_ns: u64,
    /// Resident memory, shortly before the clients go.
    pub(super) memory_bytes: u64,
    pub(super) switches_voluntary: u64,
    pub(super) switches_involuntary: u64,
    /// Open descriptors, shortly before the clients go.
    pub(super) descriptors: u64,
}

/// A server that is looked at.
pub(super) struct Watched {
    pid: i32,
}

impl Watched {
    /// Begins; `None` if there is no such process.
    pub(super) fn begin(pid: i32) -> Option<Watched> {
        look(pid).map(|_| Watched { pid })
    }

    /// When to look for what it has while it is loaded, in a run that lasts so long.
    pub(super) fn late_in(duration: Duration) -> Duration {
        duration - BEFORE_THE_END.min(duration / 20)
    }

    /// What it has now.
    pub(super) fn look(&self) -> Option<Used> {
        look(self.pid)
    }

    /// What was used since the first of two looks: when the measuring began, and shortly before its end; `None` if the
    /// process has ended.
    pub(super) fn used(&self, looks: Option<(Used, Used)>) -> Option<Used> {
        let now = look(self.pid)?;
        let (before, loaded) = looks?;
        Some(Used {
            cpu_user_ns: now.cpu_user_ns.saturating_sub(before.cpu_user_ns),
            cpu_system_ns: now.cpu_system_ns.saturating_sub(before.cpu_system_ns),
            // Who has left took his count along.
            switches_voluntary: now
                .switches_voluntary
                .max(loaded.switches_voluntary)
                .saturating_sub(before.switches_voluntary),
            switches_involuntary: now
                .switches_involuntary
                .max(loaded.switches_involuntary)
                .saturating_sub(before.switches_involuntary),
            processes: loaded.processes,
            memory_bytes: loaded.memory_bytes,
            descriptors: loaded.descriptors,
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

/// Processor time of a process and all below it since they began; `None` if there is no such process.
pub(super) fn cpu_ns(pid: i32) -> Option<u64> {
    Some(super::record::ns(family(pid)?.cpu()))
}

/// The sums over a process and all below it.
fn look(pid: i32) -> Option<Used> {
    let family = family(pid)?;
    let (user, system) = family.cpu_by_mode();
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut used = Used {
        pid,
        name: String::from_utf8_lossy(&name).trim_end().to_owned(),
        processes: family.members().len(),
        cpu_user_ns: super::record::ns(user),
        cpu_system_ns: super::record::ns(system),
        memory_bytes: family.resident_bytes(),
        ..Used::default()
    };
    for member in family.members() {
        let place = format!("/proc/{}", member.pid.as_raw_pid());
        // The counts of a process's own status file are those of its first thread.
        for thread in fs::read_dir(format!("{place}/task")).into_iter().flatten().flatten() {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let number = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            used.switches_voluntary += number("voluntary_ctxt_switches:");
            used.switches_involuntary += number("nonvoluntary_ctxt_switches:");
        }
        used.descriptors += fs::read_dir(format!("{place}/fd")).map_or(0, |fds| fds.count() as u64);
    }
    Some(used)
}

/// A process and all below it.
fn family(pid: i32) -> Option<Family> {
    Some(Family::of(Pid::from_raw(pid)?)).filter(|family| !family.members().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_descriptors() {
        let used = look(std::process::id() as i32).unwrap();
        assert!(used.memory_bytes > 0 && used.descriptors > 0 && used.processes >= 1, "{used:?}");
        assert!(used.cpu_user_ns + used.cpu_system_ns > 0 && !used.name.is_empty(), "{used:?}");
        assert!(look(i32::MAX).is_none());
    }

    #[test]
    fn it_is_looked_at_before_the_end() {
        assert_eq!(Watched::late_in(Duration::from_secs(10)), Duration::from_millis(9_950));
        assert_eq!(Watched::late_in(Duration::from_millis(100)), Duration::from_millis(95));
        assert_eq!(Watched::late_in(Duration::ZERO), Duration::ZERO);
    }
}
