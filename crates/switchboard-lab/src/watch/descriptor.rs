//! What the descriptors of a process are. Looked at once and remembered until the program closes or replaces them,
//! so that reads and writes of files cost no look into `/proc`.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{SocketAddrAny, SocketAddrUnix, getpeername, getsockname};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use switchboard_net::Kind;
use switchboard_net::sys::sockopt;

/// A socket of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Socket {
    pub(super) inode: u64,
    family: i32,
    style: i32,
    protocol: i32,
}

impl Socket {
    /// What kind it is, as endpoints are written; none for those that they do not know (netlink, packet, …).
    pub(super) fn kind(&self) -> Option<Kind> {
        match (self.family, self.style, self.protocol) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP) => Some(Kind::Tcp),
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP) => Some(Kind::Udp),
            (libc::AF_UNIX, libc::SOCK_STREAM, _) => Some(Kind::Unix),
            (libc::AF_UNIX, libc::SOCK_DGRAM, _) => Some(Kind::UnixDatagram),
            (libc::AF_UNIX, libc::SOCK_SEQPACKET, _) => Some(Kind::UnixSeqpacket),
            _ => None,
        }
    }

    /// Whether it is for IPv6.
    pub(super) fn is_v6(&self) -> bool {
        self.family == libc::AF_INET6
    }

    fn of(fd: BorrowedFd<'_>, inode: u64) -> Socket {
        let option = |number| sockopt::get_int(fd, libc::SOL_SOCKET, number).unwrap_or(-1);
        Socket {
            inode,
            family: option(libc::SO_DOMAIN),
            style: option(libc::SO_TYPE),
            protocol: option(libc::SO_PROTOCOL),
        }
    }
}

/// The descriptors of a process as far as they were looked at: sockets, and others.
#[derive(Debug)]
pub(super) struct Descriptors {
    pid: i32,
    pidfd: Option<OwnedFd>,
    known: HashMap<i32, Option<Socket>>,
}

impl Descriptors {
    pub(super) fn of(pid: i32) -> Descriptors {
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Descriptors { pid, pidfd, known: HashMap::new() }
    }

    /// The socket behind `fd`, if it is one.
    pub(super) fn socket(&mut self, fd: i32) -> Option<Socket> {
        if fd < 0 {
            return None;
        }
        if let Some(known) = self.known.get(&fd) {
            return *known;
        }
        let looked = self.look(fd);
        self.known.insert(fd, looked);
        looked
    }

    fn look(&self, fd: i32) -> Option<Socket> {
        let inode = socket_inode(self.pid, fd)?;
        // Without permission for the descriptor it is a socket of no known kind.
        let unknown = Socket { inode, family: -1, style: -1, protocol: -1 };
        Some(self.borrow(fd).map_or(unknown, |copy| Socket::of(copy.as_fd(), inode)))
    }

    /// A copy of the program's descriptor, which shares everything with it. To be dropped at once: it keeps the
    /// socket open.
    pub(super) fn borrow(&self, fd: i32) -> io::Result<OwnedFd> {
        let pidfd = self.pidfd.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?)
    }

    /// `fd` is closed, or becomes something else.
    pub(super) fn forget(&mut self, fd: i32) {
        self.known.remove(&fd);
    }

    /// Descriptors `first` to `last` are.
    pub(super) fn forget_range(&mut self, first: u32, last: u32) {
        self.known.retain(|fd, _| !(first..=last).contains(&fd.cast_unsigned()));
    }

    /// Everything may have changed: the process became another program.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// The sockets that are open now, in words: `4 tcp 127.0.0.1:7007 → 127.0.0.1:51234 ESTABLISHED`.
    pub(super) fn open_sockets(&mut self) -> Vec<String> {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        let mut fds: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        fds.sort_unstable();
        self.known.clear();
        let sockets: Vec<(i32, Socket)> =
            fds.into_iter().filter_map(|fd| self.socket(fd).map(|socket| (fd, socket))).collect();
        sockets.into_iter().map(|(fd, socket)| self.words(fd, socket)).collect()
    }

    fn words(&self, fd: i32, socket: Socket) -> String {
        let kind = socket.kind().map_or("socket", Kind::name);
        let Ok(copy) = self.borrow(fd) else { return format!("{fd} {kind}") };
        let mut words = format!("{fd} {kind}");
        if let Some(local) = getsockname(&copy).ok().and_then(address) {
            words.push(' ');
            words.push_str(&local);
        }
        if let Some(peer) = getpeername(&copy).ok().flatten().and_then(address) {
            words.push_str(" → ");
            words.push_str(&peer);
        }
        if socket.kind() == Some(Kind::Tcp)
            && let Some(state) = tcp_state(copy.as_fd())
        {
            words.push(' ');
            words.push_str(state);
        }
        words
    }
}

/// The inode of the socket behind a descriptor of a process.
fn socket_inode(pid: i32, fd: i32) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn address(any: SocketAddrAny) -> Option<String> {
    if let Ok(inet) = SocketAddr::try_from(any.clone()) {
        return Some(inet.to_string());
    }
    let unix = SocketAddrUnix::try_from(any).ok()?;
    // rustix takes no name for an empty one.
    match (unix.path_bytes(), unix.abstract_name().filter(|name| !name.is_empty())) {
        (Some(path), _) => Some(path.escape_ascii().to_string()),
        (None, Some(name)) => Some(format!("@{}", name.escape_ascii())),
        (None, None) => None,
    }
}

/// The state of a TCP socket: the first byte of `struct tcp_info` (tcp(7)).
fn tcp_state(fd: BorrowedFd<'_>) -> Option<&'static str> {
    const STATES: [&str; 13] = [
        "?",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    let mut info = [0; 8];
    sockopt::get(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).ok()?;
    STATES.get(usize::from(info[0])).copied()
}
