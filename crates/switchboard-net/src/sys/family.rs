//! [`Family`]: a process, all that it started, and they in turn: what a server is to those who look at it from outside.

use super::process::{Stat, all, cpu_time, stat};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::time::Duration;

/// A process and all below it, as they were when it was asked for.
#[derive(Clone, Debug, Default)]
pub struct Family {
    members: Vec<Stat>,
}

impl Family {
    /// That of `root`, which is its first member; nobody if there is no such process. Orphans are not found: nothing
    /// tells any more whose children they were.
    pub fn of(root: Pid) -> Family {
        let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
        let mut members = Vec::new();
        for process in all() {
            if process.pid == root {
                members.push(process);
            } else {
                children.entry(process.parent).or_default().push(process);
            }
        }
        let mut next = 0;
        while let Some(member) = members.get(next) {
            members.extend(children.remove(&member.pid.as_raw_pid()).unwrap_or_default());
            next += 1;
        }
        Family { members }
    }

    /// Its members, parents before their children.
    pub fn members(&self) -> &[Stat] {
        &self.members
    }

    /// Whether this process belongs to it.
    pub fn has(&self, pid: Pid) -> bool {
        self.members.iter().any(|member| member.pid == pid)
    }

    /// Processor time that they have used up to now: to the nanosecond that of all threads, living and ended, and to
    /// hundredths of seconds that of children who have ended and were waited for.
    pub fn cpu(&self) -> Duration {
        self.members.iter().map(|member| cpu_time(member.pid) + member.reaped()).sum()
    }

    /// The same by user and system. How the kernel shares it out is told in hundredths of seconds only, and is a guess by
    /// the kind of the moment at each of its ticks: what is not known counts as system.
    pub fn cpu_by_mode(&self) -> (Duration, Duration) {
        let user: Duration = self.members.iter().map(|member| member.user + member.reaped_user).sum();
        let system: Duration = self.members.iter().map(|member| member.system + member.reaped_system).sum();
        let known = user + system;
        let cpu = self.cpu();
        let share = if known.is_zero() { 0.0 } else { user.as_secs_f64() / known.as_secs_f64() };
        let user = cpu.mul_f64(share.min(1.0)).min(cpu);
        (user, cpu - user)
    }

    /// Pages in memory, in bytes; one that several map counts for each of them.
    pub fn resident_bytes(&self) -> u64 {
        let pages: u64 = self.members.iter().map(|member| member.resident_pages).sum();
        pages * rustix::param::page_size() as u64
    }

    /// Memory of its own making, in bytes: anonymous and shared pages, each counted once however many of its
    /// processes map it. Pages of program files are left out; they do not grow with connections.
    pub fn own_memory_bytes(&self) -> u64 {
        let mut sum_kib = 0;
        for member in &self.members {
            let path = format!("/proc/{}/smaps_rollup", member.pid.as_raw_pid());
            // One that has ended since has none.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            for line in text.lines() {
                let number = line.strip_prefix("Pss_Anon:").or_else(|| line.strip_prefix("Pss_Shmem:"));
                let number = number.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
                sum_kib += number.unwrap_or(0);
            }
        }
        sum_kib * 1024
    }

    /// Kills those who still are there. A number may be somebody else's by now: only who started when the member did is
    /// killed.
    pub fn kill(&self) {
        for member in &self.members {
            if stat(member.pid).is_some_and(|now| now.started_ns == member.started_ns) {
                let _ = kill_process(member.pid, Signal::KILL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_family_has_its_children_and_is_killed_with_them() {
        // The shell waits for its child, and that for input that never comes; by itself, so that nobody is forked once
        // it has spoken.
        let mut command = Command::new("sh");
        command
            .args(["-c", "sh -c 'echo; read line; true'; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = command.spawn().expect("a shell");
        let mut line = [0; 1];
        std::io::Read::read_exact(shell.stdout.as_mut().expect("piped"), &mut line).expect("a line");
        let pid = Pid::from_child(&shell);
        let family = Family::of(pid);
        assert!(family.members().len() >= 2, "{family:?}");
        assert_eq!(family.members()[0].pid, pid);
        assert_eq!(family.members()[1].parent, pid.as_raw_pid());
        assert!(family.has(family.members()[1].pid) && family.resident_bytes() > 0, "{family:?}");
        let (user, system) = family.cpu_by_mode();
        assert!(user + system <= Family::of(pid).cpu() && !(user + system).is_zero(), "{user:?} {system:?}");
        family.kill();
        // Everybody held the other end of this pipe.
        let mut rest = Vec::new();
        std::io::Read::read_to_end(shell.stdout.as_mut().expect("piped"), &mut rest).expect("its end");
        shell.wait().expect("our child");
        assert!(Family::of(pid).members().is_empty());
    }
}
