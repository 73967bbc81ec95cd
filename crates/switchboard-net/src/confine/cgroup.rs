//! A cgroup for the processes of one service, in the unified hierarchy (cgroups(7), version 2).
//!
//! A cgroup that bounds its children may have no processes of its own (the root excepted), so that of a service cannot
//! be below the one that we are in. Where the server was put into a cgroup called [`OWN`] of what is delegated to it
//! (systemd.resource-control(5): `Delegate=yes`, `DelegateSubgroup=supervisor`), those of services are beside it.

use super::Cgroup;
use crate::error::Error;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};

/// What the server's own cgroup is called, if those of services can be beside it.
const OWN: &str = "supervisor";

/// Makes the cgroup, writes its bounds, and opens the file by which a process enters it.
pub(super) fn prepare(bounds: &Cgroup, service: &str) -> Result<OwnedFd, Error> {
    let ours = ours().ok_or_else(|| {
        Error::Config(
            "bounds by cgroup need cgroup version 2 mounted on /sys/fs/cgroup: leave them out".into(),
        )
    })?;
    let home = home(&ours);
    let name: String = service.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let directory = home.join(format!("switchboard-{name}"));
    let hint = || {
        Some(format!(
            "{} must be delegated to this program, which must be in a cgroup `{OWN}` below it (systemd: Delegate=yes \
             and DelegateSubgroup={OWN}), and have the controllers memory, pids and cpu",
            home.display()
        ))
    };
    let failed = |what: String, source| Error::System { what, source, hint: hint() };
    if let Err(error) = std::fs::create_dir(&directory)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(failed(format!("make the cgroup {}", directory.display()), error));
    }
    let wanted = [
        ("memory", bounds.memory_bytes.is_some()),
        ("pids", bounds.processes.is_some()),
        ("cpu", bounds.cpu_percent.is_some()),
    ];
    for (controller, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        // It may be there already, and if it cannot be, its file is missing below.
        let _ = std::fs::write(home.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    /// `cpu.max` counts in this period, µs.
    const PERIOD_US: u64 = 100_000;
    let settings = [
        ("memory.max", bounds.memory_bytes.map(|bytes| bytes.to_string())),
        ("pids.max", bounds.processes.map(|most| most.to_string())),
        (
            "cpu.max",
            bounds.cpu_percent.map(|percent| format!("{} {PERIOD_US}", u64::from(percent) * PERIOD_US / 100)),
        ),
    ];
    for (file, value) in settings {
        let Some(value) = value else { continue };
        let path = directory.join(file);
        std::fs::write(&path, value).map_err(|error| failed(format!("write {}", path.display()), error))?;
    }
    let procs = directory.join("cgroup.procs");
    rustix::fs::open(&procs, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(format!("open {}", procs.display()), errno.into()))
}

/// Where the cgroups of services are made.
fn home(ours: &Path) -> &Path {
    ours.parent().filter(|_| ours.ends_with(OWN)).unwrap_or(ours)
}

/// The directory of the cgroup that we are in.
fn ours() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let directory = PathBuf::from("/sys/fs/cgroup").join(path);
    directory.join("cgroup.controllers").exists().then_some(directory)
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
