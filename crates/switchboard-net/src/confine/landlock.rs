//! Rulesets of landlock(7) from lists of paths and ports.

use super::Landlock;
use crate::error::Error;
use crate::sys::confine::{BIND_TCP, CONNECT_TCP, Ruleset, landlock_version};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use std::path::{Path, PathBuf};

/// Whether this kernel can do what is asked.
pub(super) fn check(rules: &Landlock) -> Result<(), Error> {
    let version = landlock_version();
    if version == 0 {
        return Err(Error::Config(
            "this kernel has no Landlock, or it was not switched on (boot with lsm=landlock,…): leave landlock out"
                .into(),
        ));
    }
    if version < 4 && (rules.bind.is_some() || rules.connect.is_some()) {
        return Err(Error::Config(format!(
            "Landlock's rules for ports need Linux 6.7 (version 4, here {version}): leave bind and connect out"
        )));
    }
    Ok(())
}

/// The ruleset. Paths are those that the process will see: below `root`, if it gets one.
pub(super) fn prepare(rules: &Landlock, root: Option<&Path>) -> Result<OwnedFd, Error> {
    check(rules)?;
    let failed = |errno| Error::system("make a Landlock ruleset", errno);
    let net = if rules.bind.is_some() { BIND_TCP } else { 0 }
        | if rules.connect.is_some() { CONNECT_TCP } else { 0 };
    let ruleset = Ruleset::new(net).map_err(failed)?;
    for (paths, write) in [(&rules.read, false), (&rules.write, true)] {
        for path in paths {
            let path = root.map_or_else(|| path.clone(), |root| below(root, path));
            let what = |errno| Error::system(format!("let Landlock grant {}", path.display()), errno);
            let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(what)?;
            let stat = rustix::fs::fstat(&fd).map_err(what)?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            ruleset.grant(&fd, write, is_directory).map_err(what)?;
        }
    }
    for (ports, access) in [(&rules.bind, BIND_TCP), (&rules.connect, CONNECT_TCP)] {
        for port in ports.iter().flatten() {
            ruleset.grant_port(access, *port).map_err(failed)?;
        }
    }
    Ok(ruleset.into_fd())
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
