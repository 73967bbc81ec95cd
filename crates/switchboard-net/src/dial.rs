//! From an endpoint to a connected socket: look the name up, race its addresses, remember why each failed.
//!
//! When which address is tried is decided by [`Race`] (RFC 8305); here are its sockets. They connect without blocking,
//! and one poll(2) waits for all of them, so that connecting never takes longer than asked.

mod failure;
mod pinned;

pub use failure::{DialError, Failure, Reason};
pub use pinned::Pinned;

use crate::endpoint::{Address, Cid, Endpoint, Host, Kind, Place, Port};
use crate::error::Error;
use crate::option::SocketOptions;
use crate::sys::watchlist::WatchList;
use crate::sys::{clock, sockaddr, socket, sockopt};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use switchboard_proto::Instant;
use switchboard_proto::race::{self, Fate, Race, Step, Timing};

/// After this long without anything happening, whoever waits is told for what.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Which internet protocol may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Family {
    /// Whichever the resolver gives, in its order.
    #[default]
    Either,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Dialing {
    /// Which addresses may be tried.
    pub family: Family,
    /// Where the connection comes from; port 0 lets the kernel choose. Internet endpoints only.
    pub source: Option<SocketAddr>,
    /// How long one address may take.
    pub connect_timeout: Duration,
    /// How long an address may be silent until the next one is tried as well; see [`Timing::attempt_delay`].
    pub attempt_delay: Duration,
    /// Names whose addresses are given.
    pub pinned: Vec<Pinned>,
    /// Options of the socket.
    pub options: SocketOptions,
    /// Datagram sockets of the internet are not connected: anybody may answer, and nobody is told of ICMP errors.
    pub unconnected: bool,
}

impl Default for Dialing {
    fn default() -> Dialing {
        Dialing {
            family: Family::Either,
            source: None,
            connect_timeout: Duration::from_secs(10),
            attempt_delay: Timing::default().attempt_delay,
            pinned: Vec::new(),
            options: SocketOptions::default(),
            unconnected: false,
        }
    }
}

/// Where a connection is to come from, as written: `ADDRESS`, `ADDRESS:PORT`, `[V6ADDRESS]:PORT`.
///
/// # Errors
/// What is not an address.
pub fn source(text: &str) -> Result<SocketAddr, Error> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)).or_else(|_| text.parse()).map_err(|_| {
        let text = text.escape_default();
        Error::Config(format!("`{text}` is not a source: use ADDRESS, ADDRESS:PORT or [V6ADDRESS]:PORT"))
    })
}

/// What happens while connecting.
#[derive(Debug)]
pub enum Attempt<'a> {
    /// A name is still being looked up after [`PATIENCE`].
    Resolving(&'a str),
    /// This address is tried now.
    Trying(&'a Address),
    /// It has not answered after [`PATIENCE`]; told once.
    Waiting(&'a Address),
    /// It failed.
    Failed(&'a Failure),
    /// Another one answered first; this one is closed.
    Outrun {
        /// The address.
        address: &'a Address,
        /// How long it had been tried.
        after: Duration,
    },
    /// It answered first.
    Connected {
        /// The other end.
        to: &'a Address,
        /// This end, if it has a name.
        from: Option<Address>,
    },
}

/// Connects to `endpoint`: its addresses race until one answers, and the others are closed (Happy Eyeballs, RFC 8305).
/// `tell` hears of every step. The socket is non-blocking and close-on-exec; a Unix datagram socket has a name, so that
/// it can be answered.
///
/// Looking a name up takes as long as the resolver likes; each address takes at most `how.connect_timeout`. A source
/// with a port has room for one attempt at a time, so then the addresses are tried in turn.
///
/// # Errors
/// No address, or every address with the reason why it failed.
pub fn dial(
    endpoint: &Endpoint,
    how: &Dialing,
    tell: &mut dyn FnMut(Attempt<'_>),
) -> Result<(OwnedFd, Address), DialError> {
    let addresses = addresses(endpoint, how, tell).map_err(DialError::Endpoint)?;
    let defaults = Timing::default();
    let mut dialer = Dialer {
        race: Race::new(Timing {
            attempt_delay: how.attempt_delay,
            attempt_timeout: how.connect_timeout,
            at_once: if how.source.is_some_and(|source| source.port() != 0) { 1 } else { defaults.at_once },
            ..defaults
        }),
        sockets: Vec::new(),
        how,
        tell,
        told: false,
    };
    let v6 = |address: &Address| address.family() == AddressFamily::INET6;
    let family = |address: &Address| if v6(address) { race::Family::V6 } else { race::Family::V4 };
    let sorted = addresses.into_iter().map(|address| (family(&address), address));
    dialer.race.answer_all(sorted, clock::now());
    match dialer.run() {
        Some((fd, address)) => Ok((fd, address)),
        None => Err(DialError::Unreached { endpoint: endpoint.to_string(), failures: dialer.failures() }),
    }
}

/// A race and its sockets.
struct Dialer<'a> {
    race: Race<Address, Failure>,
    /// Attempts under way and the one that won, in the order in which they started.
    sockets: Vec<(usize, OwnedFd)>,
    how: &'a Dialing,
    tell: &'a mut dyn FnMut(Attempt<'_>),
    /// Whether it was told that nothing answers.
    told: bool,
}

impl Dialer<'_> {
    /// Does what the race says, to its end; `None` if every address failed.
    fn run(&mut self) -> Option<(OwnedFd, Address)> {
        loop {
            let now = clock::now();
            match self.race.step(now) {
                Step::Start(attempt) => self.start(attempt),
                Step::Close(attempt) => self.close(attempt),
                Step::Wait(until) => self.wait(now, until),
                Step::Won(attempt) => {
                    let address = self.race.address(attempt).clone();
                    return self.take(attempt).map(|fd| (fd, address));
                }
                Step::Lost => return None,
            }
        }
    }

    fn start(&mut self, attempt: usize) {
        let address = self.race.address(attempt);
        (self.tell)(Attempt::Trying(address));
        match start(address, self.how) {
            Ok(Start::Connected(fd)) => {
                self.sockets.push((attempt, fd));
                self.connected(attempt);
            }
            Ok(Start::InProgress(fd)) => self.sockets.push((attempt, fd)),
            Err(reason) => self.failed(attempt, reason),
        }
    }

    /// The race wants no more of this attempt.
    fn close(&mut self, attempt: usize) {
        drop(self.take(attempt));
        let address = self.race.address(attempt);
        match self.race.fate(attempt) {
            Fate::Outrun(after) => (self.tell)(Attempt::Outrun { address, after: *after }),
            _ => {
                let reason = Reason::TimedOut(self.how.connect_timeout);
                (self.tell)(Attempt::Failed(&Failure { address: address.clone(), reason }));
            }
        }
    }

    /// Waits until then, or until an attempt has an answer.
    fn wait(&mut self, now: Instant, until: Instant) {
        let oldest = self.sockets.first().filter(|_| !self.told).map(|(attempt, _)| *attempt);
        let impatient = oldest.map_or(Instant::NEVER, |attempt| self.race.began(attempt) + PATIENCE);
        if let Some(attempt) = oldest.filter(|_| now >= impatient) {
            self.told = true;
            return (self.tell)(Attempt::Waiting(self.race.address(attempt)));
        }
        // Made anew, since the attempts change between any two calls, and are few.
        let mut list = WatchList::default();
        self.sockets.iter().for_each(|(_, fd)| list.push(fd.as_fd(), false, true));
        let answered: Vec<usize> = match list.wait(Some(until.min(impatient).since(now))) {
            Ok(()) => list.ready().map(|(place, _)| self.sockets[place].0).collect(),
            Err(Errno::INTR) => return,
            Err(errno) => {
                for attempt in self.race.running().collect::<Vec<_>>() {
                    self.failed(attempt, Reason::System(errno));
                }
                return;
            }
        };
        // The oldest first: of two that answer in the same moment it is the preferred one.
        for attempt in answered {
            let fd = self.sockets.iter().find(|(this, _)| *this == attempt).map(|(_, fd)| fd);
            match fd.map_or(Ok(()), finish) {
                Ok(()) => self.connected(attempt),
                // The kernel gave up first: net.ipv4.tcp_syn_retries.
                Err(Errno::TIMEDOUT) => {
                    let after = clock::now().since(self.race.began(attempt));
                    self.failed(attempt, Reason::TimedOut(after));
                }
                Err(errno) => {
                    let reason = Reason::of(errno, self.race.address(attempt).kind);
                    self.failed(attempt, reason);
                }
            }
        }
    }

    fn connected(&mut self, attempt: usize) {
        if self.race.connected(attempt) {
            let to = self.race.address(attempt);
            let socket = self.sockets.iter().find(|(this, _)| *this == attempt);
            let from = socket.and_then(|(_, fd)| net::getsockname(fd).ok());
            let from = from.and_then(|name| Address::of_socket(to.kind, &name));
            (self.tell)(Attempt::Connected { to, from });
        }
    }

    fn failed(&mut self, attempt: usize, reason: Reason) {
        drop(self.take(attempt));
        let failure = Failure { address: self.race.address(attempt).clone(), reason };
        (self.tell)(Attempt::Failed(&failure));
        self.race.failed(attempt, failure, clock::now());
    }

    fn take(&mut self, attempt: usize) -> Option<OwnedFd> {
        let place = self.sockets.iter().position(|(this, _)| *this == attempt)?;
        Some(self.sockets.remove(place).1)
    }

    /// Why each address failed, in the order in which they were tried.
    fn failures(self) -> Vec<Failure> {
        let failure = |(address, fate)| match fate {
            Fate::Failed(failure) => failure,
            _ => Failure { address, reason: Reason::TimedOut(self.how.connect_timeout) },
        };
        self.race.into_fates().map(failure).collect()
    }
}

/// Opens `count` more connections to an address that [`dial`] found, all at once. Each takes at most
/// `how.connect_timeout`.
///
/// # Errors
/// The first connection that could not be made; those that were are closed.
pub fn dial_more(address: &Address, count: usize, how: &Dialing) -> Result<Vec<OwnedFd>, DialError> {
    let failed = |reason| DialError::Unreached {
        endpoint: address.to_string(),
        failures: vec![Failure { address: address.clone(), reason }],
    };
    let until = clock::now() + how.connect_timeout;
    let mut connected = Vec::with_capacity(count);
    let mut waiting = Vec::new();
    let mut list = WatchList::default();
    for _ in 0..count {
        match start(address, how).map_err(failed)? {
            Start::Connected(fd) => connected.push(fd),
            Start::InProgress(fd) => {
                list.push(fd.as_fd(), false, true);
                waiting.push(fd);
            }
        }
    }
    while !waiting.is_empty() {
        let now = clock::now();
        if now >= until {
            return Err(failed(Reason::TimedOut(how.connect_timeout)));
        }
        let system = |errno| failed(Reason::System(errno));
        socket::retry(|| list.wait(Some(until.since(clock::now())))).map_err(system)?;
        let mut ready: Vec<usize> = list.ready().map(|(place, _)| place).collect();
        // From the end, because the last entry takes the place of a removed one.
        ready.reverse();
        for place in ready {
            list.swap_remove(place);
            let fd = waiting.swap_remove(place);
            finish(&fd).map_err(|errno| failed(Reason::of(errno, address.kind)))?;
            connected.push(fd);
        }
    }
    Ok(connected)
}

/// The addresses to try, in order; at least one.
fn addresses(
    endpoint: &Endpoint,
    how: &Dialing,
    tell: &mut dyn FnMut(Attempt<'_>),
) -> Result<Vec<Address>, Error> {
    let wrong = |problem: &str| Err(Error::Config(format!("cannot connect to {endpoint}: {problem}")));
    if let Some(name) = how.options.for_listeners() {
        return Err(Error::Config(format!("option {name}: it is for listening sockets")));
    }
    match &endpoint.place {
        Place::Inet(Host::Any, _) => return wrong("`*` is for listening; name one address"),
        Place::Inet(_, Port::Number(0)) => return wrong("port 0 is for listening; name the server's port"),
        Place::Vsock(Cid::ANY, _) => return wrong("`*` is for listening; name one machine"),
        Place::Vsock(_, 0) => return wrong("port 0 is for listening; name the server's port"),
        Place::Path(_) | Place::Abstract(_) | Place::Vsock(..)
            if how.source.is_some() || how.family != Family::Either =>
        {
            return wrong("a source address or an IP version is for TCP and UDP");
        }
        _ => {}
    }
    let mut addresses = Pinned::addresses(&how.pinned, endpoint)?;
    if addresses.is_empty() {
        addresses = resolve(endpoint, tell)?;
    }
    let source = how.source.map(|source| source.is_ipv4());
    addresses.retain(|address| match address.family() {
        AddressFamily::INET => how.family != Family::V6 && source != Some(false),
        AddressFamily::INET6 => how.family != Family::V4 && source != Some(true),
        _ => true,
    });
    if addresses.is_empty() {
        let wanted = if how.family == Family::V4 || source == Some(true) { "IPv4" } else { "IPv6" };
        return Err(Error::Name {
            name: endpoint.to_string(),
            reason: format!("it has no {wanted} address, which was asked for"),
        });
    }
    Ok(addresses)
}

/// Looks the name up, telling if that takes long: getaddrinfo(3) cannot be given a time limit, so it runs in a
/// thread.
fn resolve(endpoint: &Endpoint, tell: &mut dyn FnMut(Attempt<'_>)) -> Result<Vec<Address>, Error> {
    let Place::Inet(Host::Name(name), _) = &endpoint.place else { return endpoint.resolve() };
    let (answer, answered) = mpsc::channel();
    let asked = endpoint.clone();
    let thread = thread::Builder::new().name("resolver".into()).spawn(move || {
        let _ = answer.send(asked.resolve());
    });
    if thread.is_err() {
        return endpoint.resolve();
    }
    let found = match answered.recv_timeout(PATIENCE) {
        Ok(found) => Ok(found),
        Err(RecvTimeoutError::Timeout) => {
            tell(Attempt::Resolving(name));
            answered.recv().map_err(|_| ())
        }
        Err(RecvTimeoutError::Disconnected) => Err(()),
    };
    found.unwrap_or_else(|()| {
        Err(Error::Name { name: name.clone(), reason: "the resolver ended without an answer".into() })
    })
}

pub(crate) enum Start {
    Connected(OwnedFd),
    InProgress(OwnedFd),
}

/// Makes a socket and starts to connect it.
pub(crate) fn start(address: &Address, how: &Dialing) -> Result<Start, Reason> {
    let kind = address.kind;
    let v6 = address.family() == AddressFamily::INET6;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = net::socket_with(address.family(), kind.socket_type(), flags, None).map_err(Reason::System)?;
    how.options.apply(&fd, kind, v6).map_err(Reason::Unprepared)?;
    if let Some(source) = how.source {
        let failed = |errno| Reason::Unprepared(Error::system(format!("connect from {source}"), errno));
        if source.port() == 0 {
            // The port is chosen when the other end is known: as many connections as there are pairs.
            let _ = sockopt::set_int(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
        }
        net::bind(&fd, &source).map_err(failed)?;
    }
    let answer = match (address.inet(), address.unix_name().map_err(Reason::Unprepared)?) {
        (Some(_), _) if how.unconnected && kind.is_datagram() => Ok(()),
        (Some(inet), _) => socket::retry(|| net::connect(&fd, &inet)),
        (None, Some(name)) => {
            if kind == Kind::UnixDatagram {
                // unix(7) "autobind": without a name of its own the socket could not be answered.
                net::bind(&fd, &SocketAddrUnix::new_unnamed()).map_err(Reason::System)?;
            }
            connect_unix(&fd, &name, how.connect_timeout)
        }
        (None, None) => {
            let name = sockaddr::name(address).map_err(Reason::Unprepared)?;
            socket::retry(|| net::connect(&fd, &name))
        }
    };
    match answer {
        Ok(()) => match finish(&fd) {
            Ok(()) => Ok(Start::Connected(fd)),
            Err(errno) => Err(Reason::of(errno, kind)),
        },
        Err(Errno::INPROGRESS) => Ok(Start::InProgress(fd)),
        // Unix sockets whose accept queue stayed full; others have found no port.
        Err(Errno::AGAIN) if !kind.is_inet() => Err(Reason::TimedOut(how.connect_timeout)),
        Err(errno) => Err(Reason::System(errno)),
    }
}

/// A Unix socket whose accept queue is full cannot be polled for room (connect(2): `EAGAIN`), so the call waits,
/// with a limit; not at all if that is zero.
fn connect_unix(fd: &OwnedFd, name: &SocketAddrUnix, timeout: Duration) -> Result<(), Errno> {
    use net::sockopt::{Timeout, set_socket_timeout};
    if timeout.is_zero() {
        return socket::retry(|| net::connect(fd, name));
    }
    rustix::io::ioctl_fionbio(fd, false)?;
    set_socket_timeout(fd, Timeout::Send, Some(timeout.max(Duration::from_millis(1))))?;
    let answer = socket::retry(|| net::connect(fd, name));
    set_socket_timeout(fd, Timeout::Send, None)?;
    rustix::io::ioctl_fionbio(fd, true)?;
    answer
}

/// What became of a connect that was in progress.
pub(crate) fn finish(fd: &OwnedFd) -> Result<(), Errno> {
    if let Some(errno) = socket::take_error(fd) {
        return Err(errno);
    }
    // A TCP client whose kernel-chosen port happens to be the port it connects to meets itself (simultaneous
    // open): nobody listens there.
    match (net::getsockname(fd), net::getpeername(fd)) {
        (Ok(here), Ok(Some(there))) => {
            let same = SocketAddr::try_from(here).ok().zip(SocketAddr::try_from(there).ok());
            if same.is_some_and(|(here, there)| here == there) { Err(Errno::CONNREFUSED) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses_of(endpoint: &str, how: &Dialing) -> Result<Vec<String>, String> {
        let endpoint = endpoint.parse().unwrap();
        addresses(&endpoint, how, &mut |_| {})
            .map(|found| found.iter().map(Address::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn families_and_sources_choose_among_the_addresses() {
        let how = |family, from: Option<&str>| Dialing {
            family,
            source: from.map(|text| source(text).unwrap()),
            ..Dialing::default()
        };
        let both = ["tcp:127.0.0.1:7", "tcp:[::1]:7"];
        assert_eq!(addresses_of("tcp:7", &how(Family::Either, None)).unwrap(), both);
        assert_eq!(addresses_of("tcp:7", &how(Family::V4, None)).unwrap(), both[..1]);
        assert_eq!(addresses_of("tcp:7", &how(Family::V6, None)).unwrap(), both[1..]);
        assert_eq!(addresses_of("tcp:7", &how(Family::Either, Some("::1"))).unwrap(), both[1..]);
        for (endpoint, how, part) in [
            ("tcp:127.0.0.1:7", how(Family::V6, None), "no IPv6 address"),
            ("tcp:127.0.0.1:7", how(Family::Either, Some("[::1]:80")), "no IPv6 address"),
            ("tcp:*:7", how(Family::Either, None), "for listening"),
            ("tcp:127.0.0.1:0", how(Family::Either, None), "port 0"),
            ("unix:/x", how(Family::V4, None), "for TCP and UDP"),
        ] {
            let error = addresses_of(endpoint, &how).unwrap_err();
            assert!(error.contains(part), "{endpoint}: {error}");
        }
        assert!(source("localhost").is_err());
    }

    #[test]
    fn a_reset_before_it_is_noticed_is_no_refusal() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint: Endpoint = format!("tcp:{}", listener.local_addr().unwrap()).parse().unwrap();
        let address = endpoint.resolve().unwrap().remove(0);
        let (Start::Connected(fd) | Start::InProgress(fd)) = start(&address, &Dialing::default()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        socket::reset_on_close(&stream);
        drop(stream);
        let errno = finish(&fd).unwrap_err();
        assert!(matches!(Reason::of(errno, address.kind), Reason::Reset(Errno::CONNRESET)), "{errno}");
    }
}
