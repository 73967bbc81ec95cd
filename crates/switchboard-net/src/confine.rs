//! [`Confinement`]: who a process is and what it may do: identity, limits, capabilities, Landlock, seccomp, cgroup.

use crate::error::Error;
use crate::sys::confine::{Steps, capabilities, landlock_version};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

mod cgroup;
mod filter;
mod landlock;
mod tree;

pub(crate) use cgroup::Group;
pub use cgroup::{forget, settle};
pub use tree::Tree;

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
    /// A cgroup of its own, perhaps with bounds (cgroups(7), version 2, where delegated).
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

impl Landlock {
    /// Nothing but these files, to be read, and no TCP port: as much of that as this kernel can forbid, and none where it
    /// has no Landlock. A file that is not there is left out.
    pub fn only(read: &[&str]) -> Option<Landlock> {
        let ports = match landlock_version() {
            0 => return None,
            1..4 => None,
            _ => Some(Vec::new()),
        };
        let read = read.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
        Some(Landlock { read, write: Vec::new(), bind: ports.clone(), connect: ports })
    }
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

/// Capabilities by their numbers (linux/capability.h), without `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Capabilities by number (capabilities(7)) that confining takes.
const SETGID: u8 = 6;
const SETUID: u8 = 7;
const SETPCAP: u8 = 8;
const SYS_CHROOT: u8 = 18;
const SYS_ADMIN: u8 = 21;
const SYS_NICE: u8 = 23;
const SYS_RESOURCE: u8 = 24;

impl Confinement {
    /// Whether this process could confine another one so.
    ///
    /// # Errors
    /// What it has no right to, naming the capability, or what this kernel does not have.
    pub fn check(&self) -> Result<(), Error> {
        let has = capabilities().map_or(0, |sets| sets.effective);
        let needs = |what: &str, capability: u8, name: &str, out: &str| {
            if has & (1 << capability) != 0 {
                return Ok(());
            }
            Err(Error::Config(format!("{what} needs CAP_{name}: run as root, or leave {out} out")))
        };
        if let Some(identity) = &self.identity
            && !is_ours(identity)
        {
            let user = identity.login.as_ref().map_or(identity.uid.to_string(), |login| login.name.clone());
            needs(&format!("user = {user}"), SETUID, "SETUID", "user")?;
            needs(&format!("group = {}", identity.gid), SETGID, "SETGID", "user and group")?;
        }
        if let Some(root) = &self.root {
            needs(&format!("chroot = {}", root.display()), SYS_CHROOT, "SYS_CHROOT", "chroot")?;
        }
        if let Some(nice) = self.nice {
            let now = rustix::process::getpriority_process(None).unwrap_or(0);
            if nice < now {
                needs(&format!("nice = {nice}"), SYS_NICE, "SYS_NICE", "nice")?;
            }
        }
        for (resource, soft, hard) in &self.limits {
            if soft > hard {
                return Err(Error::Config(format!("limit {resource}: its soft limit is above its hard one")));
            }
            let most = crate::sys::process::hard_limit(*resource).ok_or_else(|| {
                Error::Config(format!("there is no resource limit with the number {resource}"))
            })?;
            if *hard > most {
                needs("raising a hard limit", SYS_RESOURCE, "SYS_RESOURCE", "it")?;
            }
        }
        for capability in &self.capabilities {
            let name = CAPABILITIES.get(usize::from(*capability)).map_or("?", |name| *name);
            let what = format!("capabilities = {name}, which the server has not itself,");
            needs(&what, *capability, &name.to_ascii_uppercase(), "it")?;
        }
        if !self.no_new_privs && (self.landlock.is_some() || self.seccomp != Seccomp::None) {
            needs("confining without no_new_privs", SYS_ADMIN, "SYS_ADMIN", "no_new_privs = false")?;
        }
        if let Some(rules) = &self.landlock {
            landlock::check(rules)?;
        }
        Ok(())
    }

    /// Confines this process, which must have one thread, for good. For workers that serve by themselves.
    ///
    /// # Errors
    /// The step that failed. The process must then end: it is neither what it was nor what it should be.
    pub fn apply_to_self(&self, service: &str) -> Result<(), Error> {
        let mut steps = prepare(self, service)?;
        steps.cgroup = self.group(service)?.map(|group| group.entrance()).transpose()?;
        steps
            .take(None)
            .map_err(|(step, errno)| Error::system(format!("confine {service} ({step:?})"), errno))
    }

    /// The cgroup of this service, made.
    pub(crate) fn group(&self, service: &str) -> Result<Option<Group>, Error> {
        self.cgroup.as_ref().map(|bounds| Group::make(bounds, service)).transpose()
    }
}

/// Whether this process already is who it is to become; then nothing is to be changed.
fn is_ours(identity: &Identity) -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    let ids = [getuid(), geteuid()].iter().all(|id| id.as_raw() == identity.uid)
        && [getgid(), getegid()].iter().all(|id| id.as_raw() == identity.gid);
    ids && rustix::process::getgroups().is_ok_and(|now| {
        sorted(now.iter().map(|group| group.as_raw())) == sorted(identity.groups.iter().copied())
    })
}

fn sorted(groups: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut groups: Vec<u32> = groups.collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Makes everything that the steps need, so that taking them is system calls only. The cgroup comes later.
pub(crate) fn prepare(confinement: &Confinement, service: &str) -> Result<Steps, Error> {
    let has = capabilities().map_or(0, |sets| sets.effective);
    let root = confinement.root.as_ref().map(|root| CString::new(root.as_os_str().as_bytes()));
    let keep = confinement.capabilities.iter().fold(0_u64, |bits, capability| bits | 1 << (capability & 63));
    let rules = confinement.landlock.as_ref();
    let rules = rules.map(|rules| landlock::prepare(rules, confinement.root.as_deref())).transpose()?;
    Ok(Steps {
        cgroup: None,
        limits: confinement.limits.clone(),
        nice: confinement.nice,
        umask: confinement.umask,
        root: root
            .transpose()
            .map_err(|_| Error::Config(format!("{service}: the root directory has a NUL byte in it")))?,
        identity: confinement
            .identity
            .as_ref()
            .filter(|identity| !is_ours(identity))
            .map(|identity| (identity.uid, identity.gid, sorted(identity.groups.iter().copied()))),
        capabilities: Some(keep),
        cut_bounding: has & (1 << SETPCAP) != 0,
        no_new_privs: confinement.no_new_privs,
        landlock: rules,
        seccomp: filter::program(confinement.seccomp),
    })
}
