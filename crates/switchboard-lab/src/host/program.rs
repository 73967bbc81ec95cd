//! [`Program`]: what to run on a host, and how; with the place for a hook before its first instruction.

use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// What runs in the new process just before execve; see [`Program::before_exec`].
pub type Hook = Box<dyn FnMut() -> io::Result<()> + Send>;

/// Where a standard stream leads.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// The same as the lab's.
    Inherit,
    /// A pipe to the lab; its end is in `Child::stdin`, `Child::stdout`, `Child::stderr`.
    Pipe,
    /// This file, socket or pipe.
    File(OwnedFd),
}

/// As whom a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum User {
    /// Whoever runs the lab; if that is root, `nobody` (65534). In no case somebody with rights on the host, so that
    /// bind(2) to port 80 fails as on any machine.
    #[default]
    Plain,
    /// The host's administrator, who may do to the host's network what he likes.
    Root,
    /// A user by number. Others than root and the invoking one exist only if the lab itself runs as root.
    Id(u32),
}

/// What to run on a host, and how.
pub struct Program {
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) directory: Option<PathBuf>,
    pub(super) streams: [Stream; 3],
    pub(super) user: User,
    pub(super) descriptor_limit: Option<u64>,
    pub(super) hook: Option<Hook>,
}

impl Program {
    /// A program: the first argument is its file, sought in `PATH` if it has no slash.
    pub fn new<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Program {
        Program {
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: std::env::vars_os().collect(),
            directory: None,
            streams: Default::default(),
            user: User::Plain,
            descriptor_limit: None,
            hook: None,
        }
    }

    /// Sets a variable of its environment, which begins as a copy of the lab's.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Program {
        let name = name.into();
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
        self
    }

    /// Its working directory; the lab's by default.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Program {
        self.directory = Some(path.into());
        self
    }

    /// Its standard input.
    #[must_use]
    pub fn stdin(mut self, stream: Stream) -> Program {
        self.streams[0] = stream;
        self
    }

    /// Its standard output.
    #[must_use]
    pub fn stdout(mut self, stream: Stream) -> Program {
        self.streams[1] = stream;
        self
    }

    /// Its standard error.
    #[must_use]
    pub fn stderr(mut self, stream: Stream) -> Program {
        self.streams[2] = stream;
        self
    }

    /// As whom it runs.
    #[must_use]
    pub fn user(mut self, user: User) -> Program {
        self.user = user;
        self
    }

    /// How many descriptors it may have open (`RLIMIT_NOFILE`, soft and hard); the lab's limit by default.
    #[must_use]
    pub fn descriptor_limit(mut self, descriptors: u64) -> Program {
        self.descriptor_limit = Some(descriptors);
        self
    }

    /// What the new process does last before execve: `ptrace(PTRACE_TRACEME)`, installing a seccomp filter. At that
    /// moment it is already the user it will be, in its directory, with its streams, signals and limits, in all
    /// namespaces of the host, and `Prepared::release` was called; none of the lab's descriptors is open any more
    /// but the standard streams. An error ends it and is what
    /// `Prepared::confirm` returns.
    ///
    /// # Safety
    /// The hook runs in a clone of a process that may have had other threads: it must keep to signal-safety(7), that
    /// is, system calls on memory that was prepared before; no allocation, no locks, no panic. An
    /// [`io::Error::from_raw_os_error`] allocates nothing.
    #[must_use]
    #[allow(unsafe_code, reason = "a promise that the caller must make, as with CommandExt::pre_exec")]
    pub unsafe fn before_exec(mut self, hook: impl FnMut() -> io::Result<()> + Send + 'static) -> Program {
        self.hook = Some(Box::new(hook));
        self
    }
}
