//! [`Confinement`]: who a process is and what it may do: identity, limits, capabilities, Landlock, seccomp, cgroup.

use std::path::PathBuf;

/// Who a process is and what it may do. The default changes nothing but `no_new_privs` and capabilities.
#[derive(Clone, PartialEq, Debug)]
pub struct Confinement {
    /// Whose it is; none keeps ours.
    pub identity: Option<Identity>,
    /// A new root directory (chroot(2), needs CAP_SYS_CHROOT).
    pub root: Option<PathBuf>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Nice value, −20 to 19.
    pub nice: Option<i32>,
    /// Resource limits: setrlimit(2) number, soft, hard; `u64::MAX` is no limit.
    pub limits: Vec<(u32, u64, u64)>,
    /// Capabilities that are kept, by number; all others are dropped from every set.
    pub capabilities: Vec<u8>,
    /// `PR_SET_NO_NEW_PRIVS`: no set-user-ID programs from here on.
    pub no_new_privs: bool,
    /// What of the file system and of the net may be used (landlock(7)); none leaves all.
    pub landlock: Option<Landlock>,
    /// Which system calls are permitted.
    pub seccomp: Seccomp,
    /// Bounds in a cgroup of its own (cgroups(7), version 2, where delegated).
    pub cgroup: Option<Cgroup>,
}

/// User and groups, as numbers; the names are for messages and the environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Login name, home directory and shell, if the user has an entry.
    pub login: Option<Login>,
}

/// What the user database says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// `USER`, `LOGNAME`.
    pub name: String,
    /// `HOME`.
    pub home: PathBuf,
    /// `SHELL`.
    pub shell: PathBuf,
}

/// What may be used; everything else is forbidden.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Landlock {
    /// Files and directories (with all below) that may be read, and executed.
    pub read: Vec<PathBuf>,
    /// Files and directories that may be written too.
    pub write: Vec<PathBuf>,
    /// TCP ports that may be bound; none means all.
    pub bind: Option<Vec<u16>>,
    /// TCP ports that may be connected to; none means all.
    pub connect: Option<Vec<u16>>,
}

/// Which system calls are permitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Seccomp {
    /// All.
    #[default]
    None,
    /// Not those that change the machine: mounting, modules, clocks, tracing, keys, reboot, bpf, …
    Service,
    /// Besides, nothing that opens sockets or starts programs.
    Strict,
}

/// Bounds in a cgroup of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cgroup {
    /// `memory.max`, bytes.
    pub memory_bytes: Option<u64>,
    /// `pids.max`.
    pub processes: Option<u64>,
    /// `cpu.max`, per cent of one processor.
    pub cpu_percent: Option<u32>,
}

impl Default for Confinement {
    fn default() -> Confinement {
        Confinement {
            identity: None,
            root: None,
            umask: None,
            nice: None,
            limits: Vec::new(),
            capabilities: Vec::new(),
            no_new_privs: true,
            landlock: None,
            seccomp: Seccomp::None,
            cgroup: None,
        }
    }
}
