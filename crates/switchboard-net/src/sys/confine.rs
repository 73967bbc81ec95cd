//! The steps by which a process gives its rights away, prepared beforehand: plain system calls in a fixed order,
//! each looked at afterwards, safe in a process that has just been made.
//!
//! The system calls are made directly where the C library would do more: its `setresuid` and its like change all
//! threads of a process (by signals that it sends them), which a process that shares its creator's memory must not.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::ptr;

/// What is done between the making of a process and its program; or where that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Step {
    /// setsid(2).
    Session = 1,
    /// dup2(2).
    Descriptors,
    /// Entering the cgroup.
    Cgroup,
    /// setrlimit(2).
    Limits,
    /// setpriority(2).
    Nice,
    /// chroot(2).
    Root,
    /// chdir(2).
    Directory,
    /// setgroups(2).
    Groups,
    /// setresgid(2).
    Group,
    /// setresuid(2).
    User,
    /// capset(2), the bounding and the ambient set.
    Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// landlock_restrict_self(2).
    Landlock,
    /// seccomp(2).
    Seccomp,
    /// execve(2).
    Execute,
}

impl Step {
    const ALL: [Step; 15] = [
        Step::Session,
        Step::Descriptors,
        Step::Cgroup,
        Step::Limits,
        Step::Nice,
        Step::Root,
        Step::Directory,
        Step::Groups,
        Step::Group,
        Step::User,
        Step::Capabilities,
        Step::NoNewPrivs,
        Step::Landlock,
        Step::Seccomp,
        Step::Execute,
    ];

    pub(super) fn from_number(number: u32) -> Option<Step> {
        Step::ALL.into_iter().find(|step| *step as u32 == number)
    }
}

/// What is to be done, as the kernel takes it. The default does nothing.
#[derive(Debug, Default)]
pub struct Steps {
    /// `cgroup.procs`, open for writing.
    pub cgroup: Option<OwnedFd>,
    /// Numbers of setrlimit(2), soft, hard.
    pub limits: Vec<(u32, u64, u64)>,
    /// Nice value.
    pub nice: Option<i32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// New root directory.
    pub root: Option<CString>,
    /// User, group, and supplementary groups in rising order.
    pub identity: Option<(u32, u32, Vec<u32>)>,
    /// The capabilities that are kept, as bits; none changes nothing.
    pub capabilities: Option<u64>,
    /// Whether the bounding set may be cut: it takes `CAP_SETPCAP`.
    pub cut_bounding: bool,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// A ruleset.
    pub landlock: Option<OwnedFd>,
    /// A filter program; empty is none.
    pub seccomp: Vec<libc::sock_filter>,
}

type Failed = (Step, Errno);

/// Takes all but these capabilities out of the bounding set of this process and its children.
fn cut_bounding(keep: u64) -> Result<(), Failed> {
    for number in (0..64).filter(|number| keep & (1 << number) == 0) {
        // SAFETY: plain numbers. EINVAL: the kernel has no more of them.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } == -1 {
            if last() == Errno::INVAL {
                break;
            }
            return Err((Step::Capabilities, last()));
        }
    }
    Ok(())
}

fn last() -> Errno {
    // SAFETY: __errno_location points at this thread's errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// -1 is a failure of this step.
fn done(step: Step, answer: libc::c_long) -> Result<libc::c_long, Failed> {
    if answer == -1 { Err((step, last())) } else { Ok(answer) }
}

fn verify(step: Step, holds: bool) -> Result<(), Failed> {
    // The kernel said yes and did not: a policy or an emulation that lies. Not to be trusted with the rest.
    if holds { Ok(()) } else { Err((step, Errno::PERM)) }
}

impl Steps {
    /// Whether another user's process comes out.
    pub fn changes_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Takes all steps, in order, in this process. Safe in a process that shares its creator's memory: nothing is
    /// allocated or locked.
    ///
    /// # Errors
    /// The step that failed, and why. The process must then end: it is neither what it was nor what it should be.
    pub fn take(&self, directory: Option<&CStr>) -> Result<(), Failed> {
        self.bound()?;
        self.enter(directory)?;
        self.change_identity()?;
        self.drop_capabilities()?;
        self.shut()
    }

    /// Cuts the bounding set of this process, which never executes a program itself and so loses nothing: processes
    /// made from it find it cut, and are spared forty system calls each.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn cut_bounding_here(&mut self) -> Result<(), Errno> {
        if let Some(keep) = self.capabilities.filter(|_| self.cut_bounding) {
            cut_bounding(keep).map_err(|(_, errno)| errno)?;
            self.cut_bounding = false;
        }
        Ok(())
    }

    fn bound(&self) -> Result<(), Failed> {
        if let Some(cgroup) = &self.cgroup {
            // SAFETY: two bytes of a constant.
            let written = unsafe { libc::write(cgroup.as_raw_fd(), c"0\n".as_ptr().cast(), 2) };
            done(Step::Cgroup, written as libc::c_long)?;
        }
        for (resource, soft, hard) in &self.limits {
            let limit = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
            // SAFETY: a valid limit; a number that the kernel does not know fails.
            done(Step::Limits, unsafe { libc::syscall(libc::SYS_setrlimit, *resource, &limit) })?;
        }
        if let Some(nice) = self.nice {
            // SAFETY: plain numbers; 0 means this process.
            done(Step::Nice, unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) })?;
        }
        if let Some(umask) = self.umask {
            // SAFETY: cannot fail.
            unsafe { libc::umask(umask as libc::mode_t) };
        }
        Ok(())
    }

    fn enter(&self, directory: Option<&CStr>) -> Result<(), Failed> {
        if let Some(root) = &self.root {
            // SAFETY: two valid strings.
            unsafe {
                done(Step::Root, libc::chroot(root.as_ptr()).into())?;
                // A working directory outside would be a way out.
                done(Step::Root, libc::chdir(c"/".as_ptr()).into())?;
            }
        }
        if let Some(directory) = directory {
            // SAFETY: a valid string.
            done(Step::Directory, unsafe { libc::chdir(directory.as_ptr()) }.into())?;
        }
        Ok(())
    }

    fn change_identity(&self) -> Result<(), Failed> {
        let Some((uid, gid, groups)) = &self.identity else { return Ok(()) };
        // SAFETY: the pointers lead to `groups` and to locals that live through the calls.
        unsafe {
            // Otherwise the change of user takes all capabilities along, also the one that the bounding set needs.
            done(Step::User, libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
            done(Step::Groups, libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
            done(Step::Group, libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid))?;
            done(Step::User, libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid))?;
            let mut now = [u32::MAX; 3];
            let [real, effective, saved] = &mut now;
            libc::syscall(libc::SYS_getresuid, &raw mut *real, &raw mut *effective, &raw mut *saved);
            verify(Step::User, now == [*uid; 3])?;
            let [real, effective, saved] = &mut now;
            libc::syscall(libc::SYS_getresgid, &raw mut *real, &raw mut *effective, &raw mut *saved);
            verify(Step::Group, now == [*gid; 3])?;
            const SEEN: usize = 256;
            let count = libc::syscall(libc::SYS_getgroups, 0, ptr::null_mut::<u32>());
            verify(Step::Groups, usize::try_from(count) == Ok(groups.len()))?;
            if groups.len() <= SEEN {
                let mut seen = [0_u32; SEEN];
                libc::syscall(libc::SYS_getgroups, SEEN, seen.as_mut_ptr());
                // The kernel keeps them in order.
                verify(Step::Groups, seen[..groups.len()] == groups[..])?;
            }
        }
        Ok(())
    }

    fn drop_capabilities(&self) -> Result<(), Failed> {
        let Some(keep) = self.capabilities else { return Ok(()) };
        let failed = |step| move |errno| (step, errno);
        let had = capabilities().map_err(failed(Step::Capabilities))?;
        if self.cut_bounding {
            // After a change of user they are only permitted, not effective.
            set_capabilities(&Sets { effective: had.permitted, ..had })
                .map_err(failed(Step::Capabilities))?;
            cut_bounding(keep)?;
        }
        // SAFETY: plain numbers. A kernel before 4.3 has no ambient set, and then there is nothing to clear.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
        let kept = had.permitted & keep;
        verify(Step::Capabilities, kept == keep)?;
        let sets = Sets { effective: kept, permitted: kept, inheritable: kept };
        set_capabilities(&sets).map_err(failed(Step::Capabilities))?;
        for number in (0..64).filter(|number| kept & (1 << number) != 0) {
            // Only the ambient set outlives execve(2) in a process that is not root's.
            // SAFETY: plain numbers.
            let raised =
                unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) };
            done(Step::Capabilities, raised.into())?;
        }
        verify(Step::Capabilities, capabilities() == Ok(sets))
    }

    fn shut(&self) -> Result<(), Failed> {
        if self.no_new_privs {
            // SAFETY: plain numbers.
            unsafe {
                done(Step::NoNewPrivs, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
                verify(Step::NoNewPrivs, libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)?;
            }
        }
        if let Some(ruleset) = &self.landlock {
            // SAFETY: a descriptor and a number.
            let shut = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
            done(Step::Landlock, shut)?;
        }
        if !self.seccomp.is_empty() {
            let program =
                libc::sock_fprog { len: self.seccomp.len() as u16, filter: self.seccomp.as_ptr().cast_mut() };
            // SAFETY: the program lives through the call, and the kernel only reads it.
            let shut = unsafe {
                libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
            };
            done(Step::Seccomp, shut)?;
        }
        Ok(())
    }
}

/// The three sets that capget(2) knows, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sets {
    /// In force.
    pub effective: u64,
    /// May be in force.
    pub permitted: u64,
    /// Outlive execve(2) if the file agrees.
    pub inheritable: u64,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION: u32 = 0x2008_0522;

/// The capabilities of this thread.
///
/// # Errors
/// None on a kernel since 2.6.26.
pub fn capabilities() -> Result<Sets, Errno> {
    let header = [VERSION, 0];
    let mut data = [[0_u32; 3]; 2];
    // SAFETY: the layouts of `__user_cap_header_struct` (version, pid) and of two `__user_cap_data_struct`.
    if unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) } == -1 {
        return Err(last());
    }
    let bits = |n: usize| u64::from(data[0][n]) | u64::from(data[1][n]) << 32;
    Ok(Sets { effective: bits(0), permitted: bits(1), inheritable: bits(2) })
}

fn set_capabilities(sets: &Sets) -> Result<(), Errno> {
    let header = [VERSION, 0];
    let word = |high: u32| {
        [sets.effective, sets.permitted, sets.inheritable].map(|bits| (bits >> (32 * high)) as u32)
    };
    let data = [word(0), word(1)];
    // SAFETY: as in `capabilities`; the kernel only reads.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } == -1 {
        return Err(last());
    }
    Ok(())
}

/// Rights on files that a ruleset of landlock(7) can grant.
pub mod files {
    /// Execute, read files, read directories.
    pub const READ: u64 = 1 | 1 << 2 | 1 << 3;
    /// Those that make sense for a file that is no directory: execute, write, read, truncate, device control.
    pub const ON_FILE: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;
}

/// What this kernel's Landlock knows: its version, 0 without it.
pub fn landlock_version() -> i64 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no structure and returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0_usize, VERSION) };
    version.max(0)
}

/// A ruleset in the making.
pub struct Ruleset {
    fd: OwnedFd,
    handled: u64,
}

/// Landlock's network rights: bind and connect of TCP.
pub const BIND_TCP: u64 = 1;
/// See [`BIND_TCP`].
pub const CONNECT_TCP: u64 = 2;

impl Ruleset {
    /// One that forbids whatever of the file system this kernel knows to forbid, and of the net what `net` says.
    ///
    /// # Errors
    /// `EOPNOTSUPP` and `ENOSYS` without Landlock; `EINVAL` for network rights before version 4.
    pub fn new(net: u64) -> Result<Ruleset, Errno> {
        let known = match landlock_version() {
            ..=0 => return Err(Errno::OPNOTSUPP),
            1 => (1 << 13) - 1,
            2 => (1 << 14) - 1,
            3 | 4 => (1 << 15) - 1,
            _ => (1 << 16) - 1,
        };
        let attributes = [known, net];
        // Older kernels know the first field only, and refuse a longer structure unless the rest is zero.
        let size = if net == 0 { 8 } else { 16 };
        // SAFETY: `struct landlock_ruleset_attr` begins with these two fields.
        let fd = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, attributes.as_ptr(), size as usize, 0_u32)
        };
        if fd == -1 {
            return Err(last());
        }
        // SAFETY: a descriptor that the kernel has just made for us.
        let fd = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd as i32) };
        Ok(Ruleset { fd, handled: known })
    }

    /// Grants rights below a directory, or on a file.
    ///
    /// # Errors
    /// Those of landlock_add_rule(2).
    pub fn grant(&self, path: &OwnedFd, write: bool, is_directory: bool) -> Result<(), Errno> {
        #[repr(C, packed)]
        struct PathBeneath {
            access: u64,
            parent: i32,
        }
        let access = if write { self.handled } else { files::READ };
        let access = if is_directory { access } else { access & files::ON_FILE } & self.handled;
        let rule = PathBeneath { access, parent: path.as_raw_fd() };
        const PATH_BENEATH: libc::c_uint = 1;
        // SAFETY: `struct landlock_path_beneath_attr`, packed as the kernel has it.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0_u32,
            )
        };
        if added == -1 { Err(last()) } else { Ok(()) }
    }

    /// Grants the use of a TCP port.
    ///
    /// # Errors
    /// Those of landlock_add_rule(2).
    pub fn grant_port(&self, access: u64, port: u16) -> Result<(), Errno> {
        let rule = [access, u64::from(port)];
        const NET_PORT: libc::c_uint = 2;
        // SAFETY: `struct landlock_net_port_attr` is these two fields.
        let added = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, self.fd.as_raw_fd(), NET_PORT, rule.as_ptr(), 0_u32)
        };
        if added == -1 { Err(last()) } else { Ok(()) }
    }

    /// The finished ruleset.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}
