//! The first process of a host: it furnishes the host's namespaces, holds them, and opens things there for the lab.
//!
//! It is a clone of the lab that never becomes another program, so everything here keeps to signal-safety(7): system
//! calls on memory prepared before, no allocation. It answers requests on a socket: *open a socket*, *open a file*.
//! The descriptor goes to the lab, which acts on it as owner of the host's user namespace; so all that is more than a
//! system call (netlink, devices, sysctls) is ordinary code in the lab.
//!
//! When this process ends, the kernel kills every process of the host's pid namespace (pid_namespaces(7)). It ends when
//! the lab does: it polls the lab's pidfd. `PR_SET_PDEATHSIG` would not do, since it fires when the *thread* ends that
//! made the child (prctl(2)).

use crate::host::sys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, write};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg};
use std::ffi::CStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;

/// Length of the longest request: a head of 13 bytes and a path that ends in NUL.
pub(super) const LONGEST_REQUEST: usize = 512;
/// Length of a request without its path.
pub(super) const HEAD: usize = 13;

/// Socket: domain, type, protocol.
pub(super) const SOCKET: u8 = 1;
/// Open: flags, mode, 0; path.
pub(super) const OPEN: u8 = 2;
/// Move on to a fresh network namespace.
pub(super) const NEW_NETWORK: u8 = 3;

/// What a host's first process needs, prepared by the lab.
pub(super) struct Furniture<'a> {
    pub(super) hostname: &'a [u8],
    /// Text of `/etc/hosts`.
    pub(super) hosts: &'a [u8],
    /// Text of `/etc/resolv.conf`.
    pub(super) resolver: &'a [u8],
    /// The lab's end of the socket is elsewhere; this is ours.
    pub(super) requests: BorrowedFd<'a>,
    /// A pidfd of the lab.
    pub(super) lab: BorrowedFd<'a>,
}

/// Runs as the host's first process until the lab ends or lets go.
pub(super) fn run(furniture: &Furniture<'_>) -> ! {
    let (requests, lab) = (furniture.requests, furniture.lab);
    sys::default_signals();
    sys::ignore_children();
    leave_the_lab(requests, lab);
    // The lab writes our user and group maps before it says go.
    let mut go = [0_u8; 1];
    if !wait(requests, lab) || recv(requests, &mut go[..], RecvFlags::empty()) != Ok((1, 1)) {
        sys::exit_now(0);
    }
    let (stage, done) = furnish(furniture);
    answer(requests, stage, done.err(), None);
    if done.is_err() {
        sys::exit_now(1);
    }
    while wait(requests, lab) {
        let mut request = [0_u8; LONGEST_REQUEST];
        match recv(requests, &mut request[..LONGEST_REQUEST - 1], RecvFlags::empty()) {
            Ok((0, _)) => break,
            Ok((length, _)) => serve(requests, &request, length),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    forget_quickly();
    sys::exit_now(0)
}

/// Keeps two descriptors only, so that nothing of the lab's stays open because of this process, and leaves its
/// session, so that Ctrl-C is for the lab.
fn leave_the_lab(requests: BorrowedFd<'_>, lab: BorrowedFd<'_>) {
    sys::close_all_but(requests, lab);
    if let Ok(null) = open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
        drop(null);
    }
    let _ = rustix::process::setsid();
}

/// Waits for a request; false when the lab has ended.
fn wait(requests: BorrowedFd<'_>, lab: BorrowedFd<'_>) -> bool {
    loop {
        let mut on =
            [PollFd::from_borrowed_fd(requests, PollFlags::IN), PollFd::from_borrowed_fd(lab, PollFlags::IN)];
        match poll(&mut on, None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return on[1].revents().is_empty(),
        }
    }
}

/// Mounts and names. Returns the step it came to, for the error message, see [`STAGES`].
fn furnish(furniture: &Furniture<'_>) -> (u8, Result<(), Errno>) {
    // Whatever is mounted here must not appear outside.
    if let Err(error) = mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC) {
        return (0, Err(error));
    }
    if let Err(error) = rustix::system::sethostname(furniture.hostname) {
        return (1, Err(error));
    }
    // Our own files come from a file system in memory that is mounted for a moment at a place that is sure to exist,
    // and lives on below the names that are bound to it.
    if let Err(error) = mount(c"tmpfs", c"/proc", c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None) {
        return (2, Err(error));
    }
    let files = [
        (c"/proc/hosts", c"/etc/hosts", furniture.hosts),
        (c"/proc/resolv.conf", c"/etc/resolv.conf", furniture.resolver),
    ];
    for (source, target, text) in files {
        match replace(source, target, text) {
            // A machine without such a file does without.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return (3, Err(error)),
        }
    }
    if let Err(error) = unmount(c"/proc", UnmountFlags::DETACH) {
        return (4, Err(error));
    }
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    (5, mount(c"proc", c"/proc", c"proc", quiet, None))
}

/// What [`furnish`] was about to do.
pub(super) const STAGES: [&str; 6] = [
    "making the mounts private",
    "setting the host's name",
    "mounting a file system in memory",
    "replacing /etc/hosts and /etc/resolv.conf",
    "unmounting the file system in memory",
    "mounting the host's /proc (a container that masks parts of /proc forbids this)",
];

fn replace(source: &CStr, target: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = open(source, OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
    let mut rest = text;
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    mount_bind(source, target)
}

fn serve(requests: BorrowedFd<'_>, request: &[u8; LONGEST_REQUEST], length: usize) {
    let number = |at: usize| match request.get(at..at + 4) {
        Some(&[a, b, c, d]) => i32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    };
    if length < HEAD {
        return answer(requests, 0, Some(Errno::INVAL), None);
    }
    let (a, b, c) = (number(1), number(5), number(9));
    let opened = match request[0] {
        SOCKET => sys::socket(a, b | libc::SOCK_CLOEXEC, c).map(Some),
        OPEN => match CStr::from_bytes_until_nul(&request[HEAD..]) {
            Ok(path) => {
                let flags = OFlags::from_bits_retain(a as u32) | OFlags::CLOEXEC;
                open(path, flags, Mode::from_bits_retain(b as u32)).map(Some)
            }
            Err(_) => Err(Errno::NAMETOOLONG),
        },
        NEW_NETWORK => sys::unshare(libc::CLONE_NEWNET).map(|()| None),
        _ => Err(Errno::NOSYS),
    };
    match opened {
        Ok(fd) => answer(requests, request[0], None, fd.as_ref().map(|fd| fd.as_fd())),
        Err(error) => answer(requests, request[0], Some(error), None),
    }
}

fn answer(requests: BorrowedFd<'_>, about: u8, error: Option<Errno>, fd: Option<BorrowedFd<'_>>) {
    let mut text = [about, 0, 0, 0, 0];
    text[1..].copy_from_slice(&error.map_or(0, Errno::raw_os_error).to_ne_bytes());
    let fds = fd.as_slice();
    if fds.is_empty() {
        let _ = send(requests, &text, SendFlags::NOSIGNAL);
        return;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    let _ = sendmsg(requests, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL);
}

/// Sockets that are closed with the processes go on saying goodbye for minutes to peers that are no longer there, and
/// keep the network namespace alive as long. These limits end that within seconds.
fn forget_quickly() {
    for path in [c"/proc/sys/net/ipv4/tcp_orphan_retries", c"/proc/sys/net/ipv4/tcp_fin_timeout"] {
        if let Ok(file) = open(path, OFlags::WRONLY, Mode::empty()) {
            let _ = write(&file, b"1\n");
        }
    }
}
