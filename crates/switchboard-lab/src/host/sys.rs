//! The system calls of hosts and of their ports that have no safe wrapper elsewhere.
//!
//! Three kinds: `clone(2)` and what a fresh child does before it becomes a program or a host's first process;
//! `ioctl(2)` and `bind(2)` on devices; messages with descriptors.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use std::ffi::CStr;

/// Which side of a [`clone`] this is.
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The old one: the new one's number in this pid namespace, and its pidfd.
    Parent(i32, OwnedFd),
}

/// clone(2) without shared memory, as fork(2), into new `namespaces` (`CLONE_NEW…`); the child is a sibling, not a
/// child, of the caller if `sibling` is set.
///
/// # Errors
/// Those of clone(2); `EPERM` where user namespaces are forbidden, `ENOSPC` at `user.max_*_namespaces`.
///
/// # Safety
/// The child has one thread and a copy of all locks in the state they were in: until it calls execve or `_exit` it
/// must keep to what signal-safety(7) allows: system calls on memory that was prepared, no allocation, no panic.
pub(crate) unsafe fn clone(namespaces: i32, sibling: bool) -> Result<Side, Errno> {
    let parent = if sibling { libc::CLONE_PARENT } else { 0 };
    let flags = (namespaces | parent | libc::CLONE_PIDFD | libc::SIGCHLD) as libc::c_long;
    let mut pidfd: RawFd = -1;
    // SAFETY: no stack is given, so the child goes on with a copy of this one; the third argument is where CLONE_PIDFD
    // stores the descriptor, on every architecture. The rest is the caller's promise.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        -1 => Err(last()),
        0 => Ok(Side::Child),
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        pid => Ok(Side::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// The end of a child that does not become a program.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Lets the parent trace this process (ptrace(2), `PTRACE_TRACEME`).
pub(crate) fn be_traced() -> Result<(), Errno> {
    // SAFETY: this request ignores its other arguments.
    done(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } as i32)
}

/// Joins the namespaces of a process (setns(2) with a pidfd, Linux 5.8). Only for a process with one thread.
pub(crate) fn join(pidfd: BorrowedFd<'_>, namespaces: i32) -> Result<(), Errno> {
    // SAFETY: two integers; the descriptor table is not shared with other threads' view of memory.
    done(unsafe { libc::setns(pidfd.as_raw_fd(), namespaces) })
}

/// unshare(2). Only for a process with one thread.
pub(crate) fn unshare(namespaces: i32) -> Result<(), Errno> {
    // SAFETY: an integer; CLONE_FILES, which could take descriptors away from other threads, is never asked for.
    done(unsafe { libc::unshare(namespaces) })
}

/// Becomes another user with no supplementary groups. The system calls themselves, since those of the C library would
/// signal threads that this child does not have.
pub(crate) fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: integers and an empty list.
    unsafe {
        done(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) as i32)?;
        done(libc::syscall(libc::SYS_setresgid, gid, gid, gid) as i32)?;
        done(libc::syscall(libc::SYS_setresuid, uid, uid, uid) as i32)
    }
}

/// Closes all descriptors but the standard ones and these two.
pub(crate) fn close_all_but(a: BorrowedFd<'_>, b: BorrowedFd<'_>) {
    let (a, b) = (a.as_raw_fd() as u32, b.as_raw_fd() as u32);
    let (low, high) = (a.min(b), a.max(b));
    for (first, last) in [(3, low.saturating_sub(1)), (low + 1, high.saturating_sub(1)), (high + 1, u32::MAX)]
    {
        if first <= last {
            close_range(first, last, 0);
        }
    }
}

/// Marks all descriptors but the standard ones to be closed by execve.
pub(crate) fn close_on_exec() {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
}

/// close_range(2), Linux 5.9.
fn close_range(first: u32, last: u32, flags: u32) {
    // SAFETY: integers. Called in fresh children only, where no object that owns a closed descriptor is used after.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

/// Every signal as at the beginning of a program: its default action, and none blocked. Ignored signals would otherwise
/// stay ignored across execve, SIGPIPE above all, which Rust programs ignore.
pub(crate) fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL for a signal number; those that cannot be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero set is the empty one on Linux; it is only read.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Children that end leave no zombie (`SIGCHLD` ignored, wait(2)).
pub(crate) fn ignore_children() {
    // SAFETY: a valid signal and action.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// A list of C strings as execve(2) takes it: pointers, and a null one.
pub(crate) struct Strings {
    /// What the pointers point at; never touched again.
    _owned: Vec<std::ffi::CString>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers lead to heap memory that this value owns and that never changes.
unsafe impl Send for Strings {}

impl Strings {
    pub(crate) fn new(owned: Vec<std::ffi::CString>) -> Strings {
        let pointers = owned.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Strings { _owned: owned, pointers }
    }
}

/// execve(2); returns only if it failed.
pub(crate) fn execute(file: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    // SAFETY: strings that end in NUL, and lists that end in a null pointer (see `Strings`).
    unsafe { libc::execve(file.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last()
}

/// A name of an interface as the kernel's structures hold it.
pub(crate) type InterfaceName = [u8; libc::IFNAMSIZ];

/// Makes `fd`, an open `/dev/net/tun`, an interface called `name` (`TUNSETIFF`).
pub(crate) fn make_tun(fd: impl AsFd, name: InterfaceName, flags: i16) -> Result<(), Errno> {
    #[repr(C)]
    struct Request {
        name: InterfaceName,
        flags: i16,
        rest: [u8; 22],
    }
    let mut request = Request { name, flags, rest: [0; 22] };
    // SAFETY: `request` has the size and layout of `struct ifreq`, which the kernel reads and writes.
    done(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// What the reader of a TUN or TAP takes over from the kernel (`TUNSETOFFLOAD`): `TUN_F_…`.
pub(crate) fn set_tun_offload(fd: impl AsFd, features: u32) -> Result<(), Errno> {
    // SAFETY: the argument is an integer.
    done(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, features as libc::c_ulong) })
}

/// Sets one of the old ethtool settings that are a command and a value (`ETHTOOL_STSO`, …) through any socket of the
/// interface's network namespace.
pub(crate) fn set_ethtool(
    socket: impl AsFd,
    name: InterfaceName,
    command: u32,
    value: u32,
) -> Result<(), Errno> {
    #[repr(C)]
    struct Setting {
        command: u32,
        value: u32,
    }
    #[repr(C)]
    struct Request {
        name: InterfaceName,
        setting: *mut Setting,
        rest: [u8; 16],
    }
    let mut setting = Setting { command, value };
    let mut request = Request { name, setting: &raw mut setting, rest: [0; 16] };
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: `request` has the size and layout of `struct ifreq` with a pointer to a `struct ethtool_value`, and both
    // live until the call returns.
    done(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCETHTOOL, &raw mut request) })
}

/// Binds a packet socket to one interface, for all protocols (packet(7)).
pub(crate) fn bind_packet(socket: impl AsFd, interface: u32) -> Result<(), Errno> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: pointer and length describe `address`, which is only read.
    done(unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), len) })
}

/// A socket in this process's own network namespace.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers.
    let fd = unsafe { libc::socket(domain, kind, protocol) };
    done(fd)?;
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn done(returned: i32) -> Result<(), Errno> {
    if returned == -1 { Err(last()) } else { Ok(()) }
}

fn last() -> Errno {
    // SAFETY: errno is always there; no allocation, so that children may ask too.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
