//! What this machine lets the lab do, why not more, and what would let it do more.

use std::fmt;
use std::fs;
use std::io;

/// How much of the lab can run here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Everything.
    Full(Full),
    /// No namespaces, but processes of ours may be traced: the cases that need one machine and no wire.
    Loopback(Blocked),
    /// Nothing.
    Skip(Blocked),
}

/// What there is beyond the least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// Whether hosts can have TUN interfaces; veth otherwise.
    pub tun: bool,
    /// Whether hosts have many users (the lab runs as root); only the invoking one otherwise.
    pub many_users: bool,
}

/// What is in the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// What was tried, and what the system said.
    pub reason: String,
    /// What would help: a command, or words.
    pub remedy: String,
}

impl Mode {
    /// Whether hosts can be made.
    pub fn is_full(&self) -> bool {
        matches!(self, Mode::Full(_))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Full(full) => {
                let carrier = if full.tun { "TUN" } else { "veth" };
                let users = if full.many_users { "root" } else { "an ordinary user" };
                write!(f, "full, as {users}, over {carrier}")
            }
            Mode::Loopback(blocked) => write!(f, "loopback only: {}; {}", blocked.reason, blocked.remedy),
            Mode::Skip(blocked) => write!(f, "nothing can run: {}; {}", blocked.reason, blocked.remedy),
        }
    }
}

/// Tries to make a host, and to trace a process if there can be none. Takes some milliseconds.
pub fn probe() -> Mode {
    match crate::host::probe() {
        Ok(full) => Mode::Full(full),
        Err(error) => {
            let blocked = explain(&error, &Machine::look());
            match crate::host::probe_tracing() {
                Ok(()) => Mode::Loopback(blocked),
                Err(tracing) => Mode::Skip(Blocked {
                    reason: format!("{}; and processes may not be traced: {tracing}", blocked.reason),
                    ..blocked
                }),
            }
        }
    }
}

/// What the machine says about namespaces, as far as it does.
#[derive(Debug, Default)]
struct Machine {
    /// `user.max_user_namespaces`.
    most_namespaces: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, of Ubuntu since 23.10.
    apparmor: bool,
    /// `kernel.unprivileged_userns_clone` is 0: Debian, Arch and others with that patch.
    patched_off: bool,
    /// A seccomp filter is on this process: a container, most likely.
    filtered: bool,
    /// This is root.
    root: bool,
}

impl Machine {
    fn look() -> Machine {
        let number = |name: &str| -> Option<u64> {
            fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let filter = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Machine {
            most_namespaces: number("user/max_user_namespaces"),
            apparmor: number("kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            patched_off: number("kernel/unprivileged_userns_clone") == Some(0),
            filtered: filter.is_some_and(|mode| mode.trim() == "2"),
            root: rustix::process::geteuid().is_root(),
        }
    }
}

fn explain(error: &io::Error, machine: &Machine) -> Blocked {
    let remedy = match machine {
        Machine { most_namespaces: Some(0), .. } => "sudo sysctl user.max_user_namespaces=15000",
        Machine { patched_off: true, root: false, .. } => "sudo sysctl kernel.unprivileged_userns_clone=1",
        Machine { filtered: true, .. } => {
            "in a container: start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined \
             --security-opt apparmor=unconfined (and --cap-add SYS_ADMIN if it runs as root)"
        }
        Machine { apparmor: true, root: false, .. } => {
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run this as root"
        }
        Machine { root: false, .. } => "run it as root",
        Machine { root: true, .. } => {
            "user, network, pid, mount and uts namespaces must be allowed (namespaces(7))"
        }
    };
    Blocked { reason: format!("a host cannot be made: {error}"), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_the_machine() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let remedy = |machine: Machine| explain(&error, &machine).remedy;
        assert!(
            remedy(Machine { most_namespaces: Some(0), ..Machine::default() })
                .contains("max_user_namespaces")
        );
        assert!(remedy(Machine { apparmor: true, ..Machine::default() }).contains("apparmor_restrict"));
        assert!(
            !remedy(Machine { apparmor: true, root: true, ..Machine::default() })
                .contains("apparmor_restrict")
        );
        assert!(
            remedy(Machine { filtered: true, apparmor: true, ..Machine::default() }).contains("container")
        );
        assert!(remedy(Machine { patched_off: true, ..Machine::default() }).contains("userns_clone=1"));
        let blocked = explain(&error, &Machine::default());
        assert!(blocked.reason.contains("Operation not permitted"), "{blocked:?}");
    }

    #[test]
    fn this_machine_can_be_asked() {
        assert!(!probe().to_string().is_empty());
    }
}
