//! [`Watch`]: sees that a configuration's files have changed (inotify(7)). Directories are watched, not files: editors and
//! package managers rename new files into place, and a ConfigMap of Kubernetes changes by its link `..data`.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard_net::sys::clock;
use switchboard_proto::Instant;

/// Quiet after the last change before it is acted on: a change often comes in several steps.
const SETTLE: Duration = Duration::from_millis(100);
/// Links that are followed from one file, as path_resolution(7) does.
const LINKS: usize = 40;

/// The files of a configuration.
pub(super) struct Watch {
    inotify: OwnedFd,
    /// What they, and links on the way to them, are called.
    names: BTreeSet<OsString>,
    due: Instant,
}

impl Watch {
    /// Watches where `files` are. A directory that cannot be watched is left out.
    ///
    /// # Errors
    /// `EMFILE`: too many watchers of one user (`fs.inotify.max_user_instances`), or descriptors.
    pub(super) fn new(files: &[PathBuf]) -> Result<Watch, Errno> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut names = BTreeSet::new();
        let mut places = BTreeSet::new();
        for file in files {
            let mut path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            for _ in 0..LINKS {
                let Some((link, target)) = first_link(&path) else { break };
                note(&link, &mut names, &mut places);
                let rest = path.strip_prefix(&link).unwrap_or(Path::new("")).to_owned();
                note(&path, &mut names, &mut places);
                let at = link.parent().unwrap_or(Path::new("/")).join(target);
                path = if rest.as_os_str().is_empty() { at } else { at.join(rest) };
            }
            note(&path, &mut names, &mut places);
        }
        let what = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::DELETE;
        for place in places {
            let _ = add_watch(&inotify, &place, what | WatchFlags::ONLYDIR);
        }
        // They may have changed after they were read and before they were watched.
        Ok(Watch { inotify, names, due: clock::now() + SETTLE })
    }

    /// When what has changed is to be read.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Looks at what has happened; whether it is time to read the files again.
    pub(super) fn advance(&mut self) -> bool {
        let now = clock::now();
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut space);
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| std::ffi::OsStr::from_bytes(name.to_bytes()));
            // No name: events were lost, or a directory is gone.
            let ours = name.is_none_or(|name| {
                let new = name.as_bytes().ends_with(b".toml") && !name.as_bytes().starts_with(b".");
                new || self.names.contains(name)
            });
            if ours {
                self.due = now + SETTLE;
            }
        }
        let is_time = now >= self.due;
        if is_time {
            self.due = Instant::NEVER;
        }
        is_time
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn note(path: &Path, names: &mut BTreeSet<OsString>, places: &mut BTreeSet<PathBuf>) {
    names.extend(path.file_name().map(OsString::from));
    places.extend(path.parent().map(Path::to_owned));
}

/// The first part of `path` that is a symbolic link, and what it says.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    parts.into_iter().find_map(|part| Some((part.to_owned(), std::fs::read_link(part).ok()?)))
}
