//! [`Tree`]: a program and all processes that it makes, in a cgroup of their own, which none of them can leave: not by a
//! session of its own, not by forking twice.

use super::cgroup::{is_of_service, of_process};
use crate::sys::process;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::path::{Path, PathBuf};

/// The processes of one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree(PathBuf);

impl Tree {
    /// Of a connection that this process, a worker, serves.
    pub(super) fn new(service: &Path, connection: u64) -> Tree {
        Tree(service.join(format!("{connection}-{}", process::id().as_raw_pid())))
    }

    /// That which a process is in, if it is one of ours.
    pub fn of(pid: Pid) -> Option<Tree> {
        let directory = of_process(&pid.as_raw_pid().to_string())?;
        Tree::found(directory)
    }

    /// The cgroup in this directory, if its name and the one above are as we give them: others are not ours to kill.
    fn found(directory: PathBuf) -> Option<Tree> {
        let ours = is_of_service(directory.parent()?) && numbers(&directory).is_some();
        ours.then_some(Tree(directory))
    }

    /// All of a service.
    pub(super) fn all_below(service: &Path) -> impl Iterator<Item = Tree> {
        let entries = std::fs::read_dir(service).into_iter().flatten().flatten();
        entries.filter_map(|entry| Tree::found(entry.path()))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.0
    }

    /// Whether the worker that made it is no more.
    pub(super) fn is_abandoned(&self) -> bool {
        numbers(&self.0).is_some_and(|(_, worker)| process::stat(worker).is_none_or(|stat| stat.state == 'Z'))
    }

    /// Sends a signal to all but a process group that has got it already; SIGKILL as [`kill`](Tree::kill) does.
    pub fn signal(&self, signal: Signal, but: Option<Pid>) {
        if signal == Signal::KILL {
            return self.kill();
        }
        for pid in self.members() {
            // First the descriptor, then the look at where it is: from here on it stays with this process.
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            let told =
                process::stat(pid).is_none_or(|stat| but.is_some_and(|but| but.as_raw_pid() == stat.group));
            if !told && Tree::of(pid).as_ref() == Some(self) {
                let _ = pidfd_send_signal(&pidfd, signal);
            }
        }
    }

    /// Kills everybody in it at once (`cgroup.kill`, Linux 5.14; before that one by one until nobody is left).
    pub fn kill(&self) {
        /// A fork that goes on while others are killed takes one more turn.
        const TURNS: usize = 100;
        if std::fs::write(self.0.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for _ in 0..TURNS {
            let members = self.members();
            if members.is_empty() {
                break;
            }
            members.into_iter().for_each(process::kill);
        }
    }

    /// Removes the cgroup; false if somebody is left in it.
    pub fn remove(&self) -> bool {
        std::fs::remove_dir(&self.0)
            .map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |()| true)
    }

    fn members(&self) -> Vec<Pid> {
        let text = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

/// The connection, and the worker that served it.
fn numbers(directory: &Path) -> Option<(u64, Pid)> {
    let (connection, worker) = directory.file_name()?.to_str()?.split_once('-')?;
    Some((connection.parse().ok()?, Pid::from_raw(worker.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_as_we_do_is_ours() {
        let is_ours = |path: &str| Tree::found(PathBuf::from(path)).is_some();
        assert!(is_ours("/sys/fs/cgroup/a.service/switchboard-echo/17-4711"));
        for others in [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/system.slice/switchboard-a.service/supervisor",
            "/sys/fs/cgroup/a.service/switchboard-echo",
            "/sys/fs/cgroup/a.service/echo/17-4711",
            "/sys/fs/cgroup/switchboard-echo/17-4711-1",
            "/sys/fs/cgroup/switchboard-echo/17-0",
        ] {
            assert!(!is_ours(others), "{others}");
        }
    }
}
