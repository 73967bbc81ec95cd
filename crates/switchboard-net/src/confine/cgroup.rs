//! [`Group`]: a cgroup for the processes of one service, in the unified hierarchy (cgroups(7), version 2).
//!
//! ```text
//! what is delegated to us      memory, pids and cpu are given to what is below
//! ├── supervisor               the server and its workers
//! └── switchboard-SERVICE      bounds; a worker that serves by itself
//!     └── CONNECTION-WORKER    a program and all that it makes: a Tree
//! ```
//!
//! A cgroup that gives controllers to its children may have no processes of its own (the root excepted), so that of a
//! service cannot be below the one that the server is in. Where the server was put into a cgroup called [`OWN`]
//! (systemd.resource-control(5): `Delegate=yes`, `DelegateSubgroup=supervisor`), those of services are beside it; where
//! it is alone in what was delegated, it moves there by itself ([`settle`]).
//!
//! A service's cgroup is shared by its workers, also by one that leaves and its successor. Whoever leaves removes it,
//! which the kernel permits if it is empty, and whoever needs it makes it again.

use super::Cgroup;
use super::tree::Tree;
use crate::error::Error;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What the server's own cgroup is called, if those of services can be beside it.
const OWN: &str = "supervisor";

/// What the cgroups of services begin with.
const PREFIX: &str = "switchboard-";

/// Bounds, and who keeps them.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// How often a cgroup is made again that somebody else has removed meanwhile.
const ATTEMPTS: usize = 5;

/// A service's cgroup.
#[derive(Debug)]
pub(crate) struct Group {
    directory: PathBuf,
    bounds: Cgroup,
    /// Processes that were killed, and forks that were refused, as far as they were told.
    told: [u64; 2],
}

impl Group {
    /// Makes the cgroup, and writes its bounds.
    ///
    /// # Errors
    /// There are no cgroups of version 2, or none is delegated to us; what a bound cannot be.
    pub(crate) fn make(bounds: &Cgroup, service: &str) -> Result<Group, Error> {
        let ours = ours().ok_or_else(|| {
            Error::Config(
                "bounds by cgroup need cgroup version 2 mounted on /sys/fs/cgroup: leave them out".into(),
            )
        })?;
        let directory = of_service(&ours, service);
        let mut group = Group { directory, bounds: *bounds, told: [0; 2] };
        group.fill()?;
        group.told = group.counts();
        for tree in group.abandoned() {
            tree.remove();
        }
        Ok(group)
    }

    /// Makes the directory, unless it is there, and writes its bounds.
    fn fill(&self) -> Result<(), Error> {
        let directory = &self.directory;
        if let Err(error) = std::fs::create_dir(directory)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(self.failed(format!("make the cgroup {}", directory.display()), error));
        }
        /// `cpu.max` counts in this period, µs.
        const PERIOD_US: u64 = 100_000;
        let settings = [
            ("memory.max", self.bounds.memory_bytes.map(|bytes| bytes.to_string())),
            ("pids.max", self.bounds.processes.map(|most| most.to_string())),
            (
                "cpu.max",
                self.bounds
                    .cpu_percent
                    .map(|percent| format!("{} {PERIOD_US}", u64::from(percent) * PERIOD_US / 100)),
            ),
        ];
        for (controller, (file, value)) in CONTROLLERS.into_iter().zip(settings) {
            // A bound that was taken away from the configuration is still there in a cgroup that is used on.
            let Some(value) = value.or_else(|| directory.join(file).exists().then(|| "max".to_owned()))
            else {
                continue;
            };
            let path = directory.join(file);
            if !path.exists() {
                let control = self.home().join("cgroup.subtree_control");
                std::fs::write(control, format!("+{controller}")).map_err(|error| {
                    self.failed(format!("give the controller {controller} to {}", directory.display()), error)
                })?;
            }
            std::fs::write(&path, value)
                .map_err(|error| self.failed(format!("write {}", path.display()), error))?;
        }
        Ok(())
    }

    fn home(&self) -> &Path {
        self.directory.parent().unwrap_or(&self.directory)
    }

    fn failed(&self, what: String, source: io::Error) -> Error {
        let hint = format!(
            "{} must be delegated to this program, which must be alone in it or in a cgroup `{OWN}` below it (systemd: \
             Delegate=yes and DelegateSubgroup={OWN}), and have the controllers memory, pids and cpu",
            self.home().display()
        );
        Error::System { what, source, hint: Some(hint) }
    }

    /// The file by which a process enters the cgroup itself.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn entrance(&self) -> Result<OwnedFd, Error> {
        self.attempt(|| entrance(&self.directory))
            .map_err(|error| self.failed(format!("enter {}", self.directory.display()), error))
    }

    /// A cgroup for the program of a connection, and the file by which a process enters it.
    ///
    /// # Errors
    /// `EAGAIN`: there are as many as `cgroup.max.descendants` permits; `ENOMEM`, `EMFILE`.
    pub(crate) fn plant(&self, connection: u64) -> io::Result<OwnedFd> {
        let tree = self.tree(connection);
        self.attempt(|| {
            std::fs::create_dir(tree.directory())?;
            entrance(tree.directory()).inspect_err(|_| {
                tree.remove();
            })
        })
    }

    /// That cgroup.
    pub(crate) fn tree(&self, connection: u64) -> Tree {
        Tree::new(&self.directory, connection)
    }

    /// Does something in the cgroup, which a worker that leaves may just have removed.
    fn attempt<T>(&self, what: impl Fn() -> io::Result<T>) -> io::Result<T> {
        for _ in 1..ATTEMPTS {
            match what() {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.fill().map_err(|_| io::Error::from(ErrorKind::NotFound))?;
                }
                outcome => return outcome,
            }
        }
        what()
    }

    /// What workers that are no more have left behind.
    pub(crate) fn abandoned(&self) -> Vec<Tree> {
        Tree::all_below(&self.directory).filter(Tree::is_abandoned).collect()
    }

    /// Removes the cgroup, if nobody uses it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir(&self.directory);
    }

    /// What a bound has done to the service since the last time, in words.
    pub(crate) fn news(&mut self) -> Vec<String> {
        let counts = self.counts();
        let [killed, refused] = [0, 1].map(|at| counts[at].saturating_sub(self.told[at]));
        self.told = counts;
        let memory = self.bounds.memory_bytes.filter(|_| killed > 0).map(|most| {
            format!(
                "memory = {most} bytes is reached: the kernel has killed {}",
                many(killed, "process", "es")
            )
        });
        let processes = self.bounds.processes.filter(|_| refused > 0).map(|most| {
            format!("processes = {most} is reached: the kernel has refused {}", many(refused, "more", ""))
        });
        memory.into_iter().chain(processes).collect()
    }

    fn counts(&self) -> [u64; 2] {
        let has = [self.bounds.memory_bytes.is_some(), self.bounds.processes.is_some()];
        let events = [("memory.events", "oom_kill "), ("pids.events", "max ")];
        [0, 1].map(|at| {
            let (file, name) = events[at];
            if !has[at] {
                return 0;
            }
            let text = std::fs::read_to_string(self.directory.join(file)).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            count.and_then(|count| count.parse().ok()).unwrap_or(0)
        })
    }
}

fn many(n: u64, what: &str, plural: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { plural })
}

fn entrance(directory: &Path) -> io::Result<OwnedFd> {
    let procs = directory.join("cgroup.procs");
    Ok(rustix::fs::open(&procs, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Moves this process, which has no children yet, to a cgroup `OWN` below its own if it is alone there, so that those
/// of services can be beside it: as process 1 of a container, or where systemd delegates and knows no
/// `DelegateSubgroup=` (before 254). Where that cannot be, everything stays as it was, and making a service's cgroup
/// tells why.
pub fn settle() {
    let Some(home) = ours() else { return };
    // Only the root has no type, and only there processes do not matter.
    let is_root = !home.join("cgroup.type").exists();
    let procs = std::fs::read_to_string(home.join("cgroup.procs")).unwrap_or_default();
    let me = std::process::id().to_string();
    let alone = procs.split_ascii_whitespace().all(|pid| pid == me);
    if home.ends_with(OWN) || is_root || !alone {
        return;
    }
    let own = home.join(OWN);
    let _ = std::fs::create_dir(&own);
    if std::fs::write(own.join("cgroup.procs"), "0").is_err() {
        let _ = std::fs::remove_dir(&own);
    }
}

/// Removes the cgroup of a service that is not served any more, if nobody is left in it.
pub fn forget(service: &str) {
    if let Some(ours) = ours() {
        let _ = std::fs::remove_dir(of_service(&ours, service));
    }
}

/// The cgroup of a service of the server that is in `ours`.
fn of_service(ours: &Path, service: &str) -> PathBuf {
    let name: String = service.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    home(ours).join(format!("{PREFIX}{name}"))
}

/// Where the cgroups of services are made.
fn home(ours: &Path) -> &Path {
    ours.parent().filter(|_| ours.ends_with(OWN)).unwrap_or(ours)
}

/// Whether this is a cgroup of ours for a service.
pub(super) fn is_of_service(directory: &Path) -> bool {
    directory.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

/// The directory of the cgroup that we are in.
fn ours() -> Option<PathBuf> {
    let directory = of_process("self")?;
    directory.join("cgroup.controllers").exists().then_some(directory)
}

/// The directory of the cgroup that a process is in (proc_pid_cgroup(5)).
pub(super) fn of_process(pid: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(PathBuf::from("/sys/fs/cgroup").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_beside_the_supervisor() {
        let at = |path: &'static str| home(Path::new(path)).to_str().unwrap();
        assert_eq!(
            at("/sys/fs/cgroup/system.slice/a.service/supervisor"),
            "/sys/fs/cgroup/system.slice/a.service"
        );
        assert_eq!(at("/sys/fs/cgroup/user.slice"), "/sys/fs/cgroup/user.slice");
        assert_eq!(at("/sys/fs/cgroup/not-a-supervisor"), "/sys/fs/cgroup/not-a-supervisor");
    }
}
