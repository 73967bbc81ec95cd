//! A cgroup for the processes of one service, next to ours, in the unified hierarchy (cgroups(7), version 2).

use super::Cgroup;
use crate::error::Error;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::path::PathBuf;

/// Makes the cgroup, writes its bounds, and opens the file by which a process enters it.
pub(super) fn prepare(bounds: &Cgroup, service: &str) -> Result<OwnedFd, Error> {
    let ours = ours().ok_or_else(|| {
        Error::Config(
            "bounds by cgroup need cgroup version 2 mounted on /sys/fs/cgroup: leave them out".into(),
        )
    })?;
    let name: String = service.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let directory = ours.join(format!("switchboard-{name}"));
    let hint = || {
        Some(format!(
            "{} must be delegated to this program (systemd: Delegate=yes), with the controllers memory, pids and \
             cpu enabled for its children",
            ours.display()
        ))
    };
    let failed = |what: String, source| Error::System { what, source, hint: hint() };
    if let Err(error) = std::fs::create_dir(&directory)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(failed(format!("make the cgroup {}", directory.display()), error));
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

/// The directory of the cgroup that we are in.
fn ours() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let directory = PathBuf::from("/sys/fs/cgroup").join(path);
    directory.join("cgroup.controllers").exists().then_some(directory)
}
