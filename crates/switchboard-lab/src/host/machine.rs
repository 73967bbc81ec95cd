//! The running part of a host: its namespaces, held by their first process, and the requests to that process.

use crate::host::birth::{self, Prepared};
use crate::host::child::{self, Process};
use crate::host::init::{self, Furniture};
use crate::host::netlink::Netlink;
use crate::host::program::Program;
use crate::host::sys::{self, Side};
use crate::host::user::Users;
use rustix::cmsg_space;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::{Errno, read, write};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recvmsg, send, socketpair,
};
use rustix::process::{PidfdFlags, Signal};
use std::ffi::CString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A set of namespaces that is alive.
#[derive(Debug)]
pub(super) struct Machine {
    /// The first process; its number in the lab's pid namespace.
    pid: i32,
    pidfd: OwnedFd,
    requests: Mutex<OwnedFd>,
    users: Users,
    processes: Mutex<Vec<Weak<Process>>>,
}

/// What a machine is called, and what its `/etc` says.
#[derive(Debug)]
pub(super) struct Etc {
    pub(super) hostname: String,
    pub(super) hosts: String,
}

impl Machine {
    /// Makes the namespaces, with loopback up and nothing else on the network.
    #[allow(unsafe_code, reason = "clone(2)")]
    pub(super) fn boot(etc: &Etc) -> io::Result<Machine> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let lab = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        let furniture = Furniture {
            hostname: etc.hostname.as_bytes(),
            hosts: etc.hosts.as_bytes(),
            // Nobody answers: a name that /etc/hosts does not know fails at once, on loopback.
            resolver: b"nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
            requests: theirs.as_fd(),
            lab: lab.as_fd(),
        };
        let namespaces = libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWNET;
        // SAFETY: `init::run` makes system calls on memory that `furniture` points at, and never returns.
        let (pid, pidfd) = match unsafe { sys::clone(namespaces, false) } {
            Ok(Side::Parent(pid, pidfd)) => (pid, pidfd),
            Ok(Side::Child) => init::run(&furniture),
            Err(error) => return Err(about("making namespaces", error.into())),
        };
        drop((theirs, lab));
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let users = Users { many: false, own };
        let mut machine =
            Machine { pid, pidfd, requests: Mutex::new(ours), users, processes: Mutex::default() };
        machine.users.many = map_users(pid, own).map_err(|e| about("mapping users", e))?;
        machine.furnish()?;
        let mut netlink = machine.netlink()?;
        netlink.set_flags(1, libc::IFF_UP, 0).map_err(|e| about("setting loopback up", e))?;
        Ok(machine)
    }

    /// Lets the first process begin, and hears how it went.
    fn furnish(&self) -> io::Result<()> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        send(&*requests, b"!", SendFlags::NOSIGNAL)?;
        let (stage, error, _) = hear(requests.as_fd())?;
        match error {
            None => Ok(()),
            Some(error) => {
                let stage = init::STAGES.get(usize::from(stage)).copied().unwrap_or("furnishing the host");
                Err(about(stage, error.into()))
            }
        }
    }

    /// A socket of this machine's network.
    pub(super) fn socket(&self, domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
        let fd = self.ask(init::SOCKET, [domain, kind, protocol], &[])?;
        fd.ok_or_else(|| io::Error::other("the host's first process sent no descriptor"))
    }

    /// A file as this machine sees it.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let path = CString::new(path).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fd = self.ask(init::OPEN, [flags.bits() as i32, 0o600, 0], path.as_bytes_with_nul())?;
        fd.ok_or_else(|| io::Error::other("the host's first process sent no descriptor"))
    }

    /// Moves the first process, and all that is started from now on, to a fresh network namespace with loopback up.
    pub(super) fn move_to_new_network(&self) -> io::Result<()> {
        self.ask(init::NEW_NETWORK, [0; 3], &[])?;
        self.netlink()?.set_flags(1, libc::IFF_UP, 0)
    }

    /// Routing's door.
    pub(super) fn netlink(&self) -> io::Result<Netlink> {
        self.socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).map(Netlink::new)
    }

    /// Writes a file of `/proc/sys`.
    pub(super) fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let file = self.open(path, OFlags::WRONLY)?;
        write(&file, text.as_bytes())?;
        Ok(())
    }

    /// Reads a file, such as one of `/proc/sys`.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let file = self.open(path, OFlags::RDONLY)?;
        let mut all = Vec::new();
        let mut piece = [0_u8; 4096];
        loop {
            match read(&file, &mut piece)? {
                0 => return Ok(String::from_utf8_lossy(&all).into_owned()),
                count => all.extend_from_slice(&piece[..count]),
            }
        }
    }

    fn ask(&self, what: u8, numbers: [i32; 3], path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let mut request = vec![what];
        request.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        request.extend_from_slice(path);
        if request.len() >= init::LONGEST_REQUEST {
            return Err(Errno::NAMETOOLONG.into());
        }
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        send(&*requests, &request, SendFlags::NOSIGNAL)?;
        match hear(requests.as_fd())? {
            (_, None, fd) => Ok(fd),
            (_, Some(error), _) => Err(error.into()),
        }
    }

    /// See [`birth::prepare`].
    pub(super) fn prepare(&self, program: Program) -> io::Result<Prepared> {
        let prepared = birth::prepare(self.pidfd.as_fd(), self.users, program)?;
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.retain(|process| process.strong_count() > 0);
        processes.push(Arc::downgrade(prepared.process()));
        Ok(prepared)
    }

    /// Who there is.
    pub(super) fn users(&self) -> Users {
        self.users
    }

    /// Whether `/dev/net/tun` can be opened here.
    pub(super) fn has_tun(&self) -> bool {
        self.open("/dev/net/tun", OFlags::RDWR).is_ok()
    }

    /// The first process's number in the lab's pid namespace.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// The programs that were started and not dropped.
    pub(super) fn processes(&self) -> Vec<Arc<Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl Drop for Machine {
    /// Kills every process. Until it returns, what they held (sockets, and so packets of farewell) may still speak.
    fn drop(&mut self) {
        let _ = self.write("/proc/sys/net/ipv4/tcp_orphan_retries", "1");
        let _ = self.write("/proc/sys/net/ipv4/tcp_fin_timeout", "1");
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        // The first process ends when the last of the others has been collected.
        for process in self.processes() {
            process.kill();
        }
        child::reap(self.pidfd.as_fd());
    }
}

/// An answer of the first process: about what, whether it failed, and the descriptor.
fn hear(requests: BorrowedFd<'_>) -> io::Result<(u8, Option<Errno>, Option<OwnedFd>)> {
    let mut text = [0_u8; 5];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        match recvmsg(requests, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if length != text.len() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the host's first process has ended"));
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let [about, a, b, c, d] = text;
    let error = i32::from_ne_bytes([a, b, c, d]);
    Ok((about, (error != 0).then(|| Errno::from_raw_os_error(error)), fd))
}

/// Writes the user and group maps of a new user namespace; true if all users of the lab's own are in it.
fn map_users(pid: i32, (uid, gid): (u32, u32)) -> io::Result<bool> {
    let put = |file: &str, text: &str| std::fs::write(format!("/proc/{pid}/{file}"), text);
    if uid == 0 {
        let mapped = put("uid_map", &same_numbers("/proc/self/uid_map")?)
            .and_then(|()| put("gid_map", &same_numbers("/proc/self/gid_map")?));
        match mapped {
            Ok(()) => return Ok(true),
            // Root without rights, as in some containers.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    // Those without rights may map themselves only, and must give up setgroups(2) first (user_namespaces(7)).
    put("setgroups", "deny")?;
    put("uid_map", &format!("0 {uid} 1\n"))?;
    put("gid_map", &format!("0 {gid} 1\n"))?;
    Ok(false)
}

/// A map that gives everybody his own number.
fn same_numbers(own_map: &str) -> io::Result<String> {
    let text = std::fs::read_to_string(own_map)?;
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (inside, length) = (words.next()?, words.nth(1)?);
        Some(format!("{inside} {inside} {length}\n"))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// An error with what was being done.
pub(super) fn about(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
