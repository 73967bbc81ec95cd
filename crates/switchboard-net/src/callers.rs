//! [`Callers`]: who sends datagrams to a bound socket. Each sender becomes a conversation of his own, and what the others
//! have sent meanwhile waits for its turn.
//!
//! ```text
//!   door, bound and never connected ──▶ first datagram of a sender ──▶ a second socket at the same address, connected to
//!         │                                                            him: from now on the kernel gives it what is his
//!         └─▶ what others sent: kept in order, a conversation each, when they are asked for
//! ```
//!
//! To connect the door itself, as nc and socat do, mixes whatever was queued into the first conversation, and nobody else
//! is heard until it is over. A Unix datagram socket has to be connected itself, since its clients hear nobody but their
//! server: then the kernel tells the others so (`EPERM`).

use crate::channel::Channel;
use crate::endpoint::{Address, Kind};
use crate::error::Error;
use crate::listener::{Listener, Sharing, enlarge_queue};
use crate::option::SocketOptions;
use crate::sys::mmsg::{Asked, Batch};
use crate::sys::watchlist::WatchList;
use crate::sys::{socket, sockopt};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::thread;
use std::time::Duration;

/// Bytes of datagrams that are kept for later conversations, each counted with [`OVERHEAD`]; what comes beyond stays in
/// the kernel's queue, which drops what does not fit, as UDP does.
const KEPT: usize = 4 * 1024 * 1024;
/// What keeping a datagram costs besides its payload.
const OVERHEAD: usize = 128;
/// How long to wait when no descriptor or memory is left for a conversation.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Who sent a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Sender {
    Inet(SocketAddr),
    Unix(SocketAddrUnix),
    /// A Unix socket without a name: it can be heard, and not answered.
    Nameless,
}

/// A datagram that waits for its conversation.
struct Kept {
    /// At which door it came.
    place: usize,
    from: Sender,
    /// Where it was sent to, if a wildcard was told so.
    to: Option<SocketAddr>,
    bytes: Vec<u8>,
}

impl Kept {
    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    /// Whether both belong to one conversation.
    fn is_like(&self, other: &Kept) -> bool {
        (self.place, &self.from, self.to) == (other.place, &other.from, other.to)
    }
}

/// Who sends datagrams to these sockets.
pub struct Callers {
    doors: Vec<Listener>,
    options: SocketOptions,
    /// All senders are one conversation, in which nothing can be answered.
    together: bool,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    batch: Batch,
}

impl Callers {
    /// `together`: there is one conversation, with everybody, and it is heard only.
    ///
    /// # Errors
    /// A kernel that shares no addresses.
    pub fn new(doors: Vec<Listener>, options: &SocketOptions, together: bool) -> Result<Callers, Error> {
        for door in doors.iter().filter(|door| door.local().kind == Kind::Udp) {
            // Only now: whoever binds this address for himself still finds it taken.
            sockopt::set_int(door, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
                .map_err(|errno| Error::system(format!("share {}", door.local()), errno))?;
        }
        let (kept, batch) = (VecDeque::new(), Batch::one());
        Ok(Callers { doors, options: options.clone(), together, kept, kept_bytes: 0, batch })
    }

    /// The sockets themselves.
    pub fn doors(&self) -> &[Listener] {
        &self.doors
    }

    /// Datagrams of others that wait for their conversations.
    pub fn waiting(&self) -> usize {
        self.kept.len()
    }

    /// Waits for somebody with whom there is no conversation: a channel to him, in which his first datagrams are
    /// already, and his name.
    ///
    /// # Errors
    /// poll(2) itself; an address that cannot be shared. Senders to whom the kernel knows no way are passed over.
    pub fn wait(&mut self) -> Result<(Channel, String), Error> {
        let mut list = WatchList::default();
        loop {
            if let Some(first) = self.kept.pop_front() {
                self.kept_bytes -= first.cost();
                if let Some(caller) = self.meet(first)? {
                    return Ok(caller);
                }
                continue;
            }
            list.clear();
            self.doors.iter().for_each(|door| list.push(door.as_fd(), true, false));
            socket::retry(|| list.wait(None))
                .map_err(|errno| Error::system("wait for a datagram (poll)", errno))?;
            for place in list.ready().map(|(place, _)| place).collect::<Vec<_>>() {
                self.empty(place);
            }
        }
    }

    /// After a conversation: a Unix door listens to everybody again. `forked`: the conversation goes on elsewhere, with
    /// the door itself.
    ///
    /// # Errors
    /// A door that cannot be bound anew.
    pub fn renew(&mut self, forked: bool) -> Result<(), Error> {
        for place in 0..self.doors.len() {
            if self.doors[place].local().kind == Kind::Udp || self.together {
                continue;
            }
            if forked {
                let local = self.doors[place].local().clone();
                // Its file goes with it.
                drop(self.doors.remove(place));
                self.doors.insert(place, Listener::bind_address(&local, &self.options, Sharing::Alone)?);
            } else {
                // The kernel throws away what is queued when a peer is given up.
                self.empty(place);
                let _ = net::connect_unspec(&self.doors[place]);
            }
        }
        Ok(())
    }

    /// A conversation with whoever sent this; none if there is no way to him.
    fn meet(&mut self, first: Kept) -> Result<Option<(Channel, String)>, Error> {
        let place = first.place;
        let local = self.doors[place].local().clone();
        let failed = |errno| Error::system(format!("talk to a sender on {local}"), errno);
        let door = |doors: &[Listener]| {
            rustix::io::fcntl_dupfd_cloexec(&doors[place], 3)
                .map_err(|errno| Error::system("duplicate a socket", errno))
        };
        if self.together {
            let early = std::iter::once(first).chain(self.kept.drain(..)).map(|kept| kept.bytes).collect();
            self.kept_bytes = 0;
            let name = format!("{}:anybody", local.kind.name());
            return Ok(Some((Channel::of_caller(door(&self.doors)?, local.kind, early, None), name)));
        }
        let (socket, peer, name) = match first.from.clone() {
            Sender::Inet(from) => {
                let socket = loop {
                    match self.second(&local, first.to, from)? {
                        Ok(socket) => break socket,
                        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                            thread::sleep(SHORTAGE);
                        }
                        // Nobody can have sent that from there: port 0, a broadcast address.
                        Err(_) => return Ok(None),
                    }
                };
                // What came before the kernel knew of the second socket; then what it got before it was connected.
                self.empty(place);
                while is_readable(socket.as_fd())
                    && let Some(kept) = take(&mut self.batch, socket.as_fd(), &local, place)
                {
                    let to = first.to;
                    self.keep(Kept { to, ..kept });
                }
                (socket, Some(from), format!("{}:{from}", local.kind.name()))
            }
            Sender::Unix(from) => {
                let name = Address::of_socket(local.kind, &from.clone().into());
                let name = name.map_or_else(|| "unix-dgram peer".into(), |name| name.to_string());
                // Before and after: connected to another one, the kernel refuses others, and keeps what they have sent.
                self.empty(place);
                if net::connect(&self.doors[place], &from).is_ok() {
                    self.empty(place);
                    (door(&self.doors)?, None, name)
                } else {
                    (nobody().map_err(failed)?, None, format!("{name}, which is gone"))
                }
            }
            Sender::Nameless => {
                self.empty(place);
                (door(&self.doors)?, None, "unix-dgram:anybody, since the first one has no name".into())
            }
        };
        let mut early = VecDeque::new();
        let kept = std::mem::take(&mut self.kept);
        for next in kept {
            if next.is_like(&first) {
                self.kept_bytes -= next.cost();
                early.push_back(next.bytes);
            } else {
                self.kept.push_back(next);
            }
        }
        early.push_front(first.bytes);
        Ok(Some((Channel::of_caller(socket, local.kind, early, peer), name)))
    }

    /// Another socket at the address of a door, connected to one sender.
    fn second(
        &self,
        local: &Address,
        to: Option<SocketAddr>,
        from: SocketAddr,
    ) -> Result<Result<OwnedFd, Errno>, Error> {
        let v6 = from.is_ipv6();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let fd = match net::socket_with(family, SocketType::DGRAM, flags, None) {
            Ok(fd) => fd,
            Err(errno) => return Ok(Err(errno)),
        };
        self.options.apply(&fd, Kind::Udp, v6)?;
        enlarge_queue(&fd, &self.options);
        let Some(own) = to.or(local.inet()) else { return Ok(Err(Errno::ADDRNOTAVAIL)) };
        let bound = (|| {
            sockopt::set_int(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            if v6 {
                sockopt::set_int(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            }
            net::bind(&fd, &own)
        })();
        bound.map_err(|errno| Error::system(format!("answer from {own} as well as {local}"), errno))?;
        Ok(net::connect(&fd, &from).map(|()| fd))
    }

    /// Takes everything out of a door's queue, as long as there is room for it here.
    fn empty(&mut self, place: usize) {
        while self.kept_bytes < KEPT && is_readable(self.doors[place].as_fd()) {
            let door = &self.doors[place];
            match take(&mut self.batch, door.as_fd(), door.local(), place) {
                Some(kept) => self.keep(kept),
                None => return,
            }
        }
    }

    fn keep(&mut self, kept: Kept) {
        self.kept_bytes += kept.cost();
        self.kept.push_back(kept);
    }
}

/// Whether a datagram is there. Asked before each is taken, since a debug build may say of any call that it would block.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut list = WatchList::default();
    list.push(fd, true, false);
    socket::retry(|| list.wait(Some(Duration::ZERO))).is_ok() && list.ready().next().is_some()
}

/// Takes one datagram; none if there is only an error, which has been taken then.
fn take(batch: &mut Batch, fd: BorrowedFd<'_>, local: &Address, place: usize) -> Option<Kept> {
    if local.kind != Kind::Udp {
        let mut bytes = vec![0; socket::queued(fd).max(1)];
        let (n, _, from) = socket::retry(|| net::recvfrom(fd, &mut bytes[..], RecvFlags::DONTWAIT)).ok()?;
        bytes.truncate(n);
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        let from = from.filter(|from| !from.is_unnamed()).map_or(Sender::Nameless, Sender::Unix);
        return Some(Kept { place, from, to: None, bytes });
    }
    loop {
        match batch.receive(fd) {
            Ok(_) => break,
            // It is there: this was said to test us.
            Err(Errno::AGAIN) if is_readable(fd) => {}
            Err(_) => return None,
        }
    }
    let slot = &mut batch.slots(1)[0];
    let port = local.inet().map_or(0, |own| own.port());
    let to = match slot.asked {
        Asked::Unknown => None,
        Asked::V4 { to, .. } => Some(SocketAddr::new(IpAddr::V4(to), port)),
        Asked::V6 { to, interface } => {
            let is_of_link = to.is_unicast_link_local() || to.is_multicast();
            let scope = if is_of_link { interface } else { 0 };
            Some(SocketAddr::V6(SocketAddrV6::new(to, port, 0, scope)))
        }
    };
    let from = slot.source().map_or(Sender::Nameless, Sender::Inet);
    Some(Kept { place, from, to, bytes: slot.request.bytes().to_vec() })
}

/// A datagram socket to which nobody sends.
fn nobody() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).map(|(end, _)| end)
}
