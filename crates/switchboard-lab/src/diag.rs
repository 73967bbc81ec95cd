//! [`Diag`]: every socket of a network namespace as the kernel knows it, through sock_diag(7).
//!
//! One request for each family and protocol, one answer of many messages. What `/proc/net/tcp` does not have comes
//! with it: backlog and its fill, drops of one socket, memory, timers, `struct tcp_info`, control group.
//!
//! ```no_run
//! use switchboard_lab::diag::{Diag, Wanted};
//! for socket in Diag::open()?.sockets(&Wanted::inet())? {
//!     let sample = socket.sample(); // as the lab records it
//! }
//! # Ok::<(), switchboard_lab::diag::Error>(())
//! ```

mod destroy;
mod entry;
mod inet;
mod netlink;
mod overflow;
mod owner;
mod proc_net;
mod tcp_info;
mod unix;

pub use entry::{End, Entry, Memory, Protocol, STATES, State, Timer, TimerKind};
pub use netlink::Malformed;
pub use overflow::Overflow;
pub use owner::{Holder, Owners, Program};
pub use tcp_info::TcpInfo;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink as address, sockopt,
};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The longest wait for a part of an answer: the kernel answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for one part of an answer; the kernel sends 32 KiB at most (`NLMSG_GOODSIZE`, netlink_dump).
const PART: usize = 64 * 1024;
/// How often a listing is begun anew because the kernel says that it changed under its hands.
const ATTEMPTS: u32 = 4;
/// The most sockets in one listing: some 4 GiB of them.
const MOST: usize = 8 << 20;

/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST | NLM_F_DUMP` and the kinds of messages in an answer.
const BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const INTERRUPTED: u16 = 0x10;

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{call} for sock_diag(7) failed: {source}")]
    System {
        /// Which.
        call: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel does not list sockets of this kind.
    #[error("this kernel does not list {what} sockets ({source}): it may lack its {module} module")]
    Refused {
        /// Which kind.
        what: &'static str,
        /// The kernel module that lists them.
        module: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
    /// The answer is not understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There are more sockets than a listing may have.
    #[error("there are more than {MOST} sockets of one kind")]
    TooMany,
}

/// Which sockets to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
    /// Raw IP.
    pub raw: bool,
    /// Unix, of every type.
    pub unix: bool,
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
    /// Only in these states; empty for any.
    pub states: Vec<State>,
    /// With [`Entry::tcp`] and the congestion control's name.
    pub tcp_info: bool,
    /// Only internet sockets at one of these ports, or connected to one: the kernel leaves the others out.
    pub ports: Option<RangeInclusive<u16>>,
}

impl Wanted {
    /// TCP, UDP and raw, of both families, in any state.
    pub fn inet() -> Wanted {
        let states = Vec::new();
        Wanted {
            tcp: true,
            udp: true,
            raw: true,
            unix: false,
            v4: true,
            v6: true,
            states,
            tcp_info: false,
            ports: None,
        }
    }

    /// All there are.
    pub fn all() -> Wanted {
        Wanted { unix: true, ..Wanted::inet() }
    }

    fn states_mask(&self) -> u32 {
        match &*self.states {
            [] => u32::MAX,
            // A SYN_RECV without a whole socket has a number of its own.
            some => some.iter().fold(0, |mask, state| {
                let bit = 1 << *state as u8;
                mask | if *state == State::SynReceived { bit | 1 << 12 } else { bit }
            }),
        }
    }
}

/// A netlink socket to ask of sockets.
#[derive(Debug)]
pub struct Diag {
    socket: OwnedFd,
    part: Vec<u8>,
    sequence: u32,
    /// The socket is of the network namespace that this thread is in.
    here: bool,
}

impl Diag {
    /// For the network namespace that this thread is in.
    ///
    /// # Errors
    /// No netlink socket can be had.
    pub fn open() -> Result<Diag, Error> {
        let kind = SocketType::RAW;
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(address::SOCK_DIAG))
            .map(|socket| Diag { here: true, ..Diag::on(socket) })
            .map_err(|errno| Error::System { call: "socket", source: errno.into() })
    }

    /// For the network namespace in which this `NETLINK_SOCK_DIAG` socket was made, wherever its descriptor is now.
    pub fn on(socket: OwnedFd) -> Diag {
        Diag { socket, part: vec![0; PART], sequence: 0, here: false }
    }

    /// The sockets, as they are now.
    ///
    /// # Errors
    /// See [`Error`]; a kernel without a module that lists these sockets is one of them, unless they are UDP or raw
    /// sockets of this thread's namespace: then `/proc/net` stands in.
    pub fn sockets(&mut self, wanted: &Wanted) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for listing in listings(wanted) {
            self.list(&listing, &mut entries)?;
        }
        // A socket that changes its place in the kernel's tables meanwhile is met twice.
        let mut known = HashSet::new();
        entries.retain(|entry| entry.cookie == 0 || known.insert(entry.cookie));
        unix::name_peers(&mut entries);
        Ok(entries)
    }

    fn list(&mut self, listing: &Listing, entries: &mut Vec<Entry>) -> Result<(), Error> {
        let before = entries.len();
        for attempt in 1..=ATTEMPTS {
            entries.truncate(before);
            match self.ask(listing, entries) {
                Ok(whole) if whole || attempt == ATTEMPTS => break,
                Ok(_) => {}
                Err(error @ Error::Refused { .. }) if self.here && listing.is_in_proc() => {
                    let listed = proc_net::list(listing.protocol, listing.v6).map_err(|_| error)?;
                    entries.extend(listed.into_iter().filter(|entry| listing.wants(entry.state)));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One request and its whole answer; whether the listing is of one moment.
    fn ask(&mut self, listing: &Listing, entries: &mut Vec<Entry>) -> Result<bool, Error> {
        let system = |call| move |errno: Errno| Error::System { call, source: errno.into() };
        self.sequence = self.sequence.wrapping_add(1);
        let request = netlink::request(BY_FAMILY, REQUEST_DUMP, self.sequence, &listing.request);
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(system("setsockopt"))?;
        rustix::net::send(&self.socket, &request, SendFlags::empty()).map_err(system("send"))?;
        let mut whole = true;
        loop {
            let part = loop {
                match rustix::net::recv(&self.socket, &mut self.part[..], RecvFlags::empty()) {
                    Ok((length, _)) => break &self.part[..length],
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(system("recv")(errno)),
                }
            };
            let progress = parse(part, self.sequence, listing.protocol, entries)?;
            whole &= progress.whole;
            if entries.len() > MOST {
                return Err(Error::TooMany);
            }
            match progress.end {
                None => {}
                Some(Ok(())) => return Ok(whole),
                Some(Err(errno)) => {
                    let Listing { what, module, .. } = *listing;
                    let source = std::io::Error::from_raw_os_error(errno);
                    return Err(Error::Refused { what, module, source });
                }
            }
        }
    }
}

/// One request.
struct Listing {
    what: &'static str,
    module: &'static str,
    protocol: Protocol,
    v6: bool,
    states: u32,
    request: Vec<u8>,
}

impl Listing {
    /// Whether `/proc/net` tells enough of these sockets to stand in.
    fn is_in_proc(&self) -> bool {
        matches!(self.protocol, Protocol::Udp | Protocol::Raw(_))
    }

    fn wants(&self, state: State) -> bool {
        self.states & 1 << state as u8 != 0
    }
}

fn listings(wanted: &Wanted) -> Vec<Listing> {
    /// `IPPROTO_TCP`, `IPPROTO_UDP`, `IPPROTO_RAW`.
    const KINDS: [(Protocol, u8, &str, &str); 3] = [
        (Protocol::Tcp, 6, "TCP", "tcp_diag"),
        (Protocol::Udp, 17, "UDP", "udp_diag"),
        (Protocol::Raw(0), 255, "raw", "raw_diag"),
    ];
    let states = wanted.states_mask();
    let mut listings = Vec::new();
    for (protocol, number, what, module) in KINDS {
        let asked = match protocol {
            Protocol::Tcp => wanted.tcp,
            Protocol::Udp => wanted.udp,
            _ => wanted.raw,
        };
        for (family, of_family) in [(inet::V4, wanted.v4), (inet::V6, wanted.v6)] {
            if asked && of_family {
                let request = inet::request(family, number, states, wanted.tcp_info, wanted.ports.as_ref());
                let v6 = family == inet::V6;
                listings.push(Listing { what, module, protocol, v6, states, request });
            }
        }
    }
    if wanted.unix {
        let request = unix::request(states);
        let (what, module, protocol) = ("Unix", "unix_diag", Protocol::Unix(1));
        listings.push(Listing { what, module, protocol, v6: false, states, request });
    }
    listings
}

/// How far an answer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The kernel has not said that the listing changed under its hands.
    pub whole: bool,
    /// The answer has ended, well or with an errno.
    pub end: Option<Result<(), i32>>,
}

/// Reads one datagram of an answer to the request numbered `sequence`; sockets are appended to `entries`. Messages
/// that answer something else are passed over.
///
/// # Errors
/// Bytes that are no such answer.
pub fn parse(
    bytes: &[u8],
    sequence: u32,
    protocol: Protocol,
    entries: &mut Vec<Entry>,
) -> Result<Progress, Malformed> {
    let mut progress = Progress { whole: true, end: None };
    for message in netlink::messages(bytes) {
        let message = message?;
        if message.sequence != sequence {
            continue;
        }
        progress.whole &= message.flags & INTERRUPTED == 0;
        // Both begin with the errno as a negative number; the end of a good listing has 0, or nothing.
        let errno = || netlink::Fields(message.body).u32(0).unwrap_or(0).cast_signed().wrapping_neg();
        match message.kind {
            DONE | ERROR => {
                progress.end = Some(if errno() == 0 { Ok(()) } else { Err(errno()) });
                break;
            }
            BY_FAMILY if protocol.is_unix() => entries.push(unix::entry(message.body)?),
            BY_FAMILY => entries.push(inet::entry(protocol, message.body)?),
            _ => {}
        }
    }
    Ok(progress)
}
