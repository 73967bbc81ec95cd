//! Which of many ports answer: TCP by connecting, UDP by an empty datagram. Nothing is guessed: a UDP port that is
//! silent may be open, and that is what is said.

use crate::dial::{Dialing, Reason, Start, finish, start};
use crate::endpoint::{Address, Kind};
use crate::error::Error;
use crate::sys::watchlist::WatchList;
use crate::sys::{clock, socket};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::time::Duration;
use switchboard_proto::Instant;

/// What is known of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// TCP: the connection was made. UDP: something answered.
    Open,
    /// TCP: the connection was refused. UDP: ICMP said that nobody listens there.
    Closed,
    /// TCP: no answer in time, as when a filter drops the SYN. UDP: no answer, which an open port may give as well as a
    /// filtered one.
    Silent,
    /// A router, or this machine, says that there is no way.
    Unreachable(Errno),
}

/// What became of one address.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The address, with its port.
    pub address: Address,
    /// What is known of it.
    pub state: State,
    /// How long that took.
    pub after: Duration,
}

/// A datagram may be lost on the way: so many are sent, spread over the time.
const PROBES: u32 = 3;

/// Probes every address, at most `at_once` at the same time, each for at most `how.connect_timeout`; `tell` hears of each
/// as it is known.
///
/// # Errors
/// A socket that cannot be made or prepared; poll(2) itself.
pub fn scan(
    addresses: impl IntoIterator<Item = Address>,
    how: &Dialing,
    at_once: usize,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), Error> {
    let mut left: VecDeque<Address> = addresses.into_iter().collect();
    let mut probes: Vec<Probe> = Vec::new();
    let mut list = WatchList::default();
    while !left.is_empty() || !probes.is_empty() {
        while probes.len() < at_once.max(1)
            && let Some(address) = left.pop_front()
        {
            match Probe::begin(address, how) {
                Ok(probe) => probes.push(probe),
                Err(Begun::Known(finding)) => tell(finding),
                // Others will give their descriptors and ports back.
                Err(Begun::Starved(address, _)) if !probes.is_empty() => {
                    left.push_front(address);
                    break;
                }
                Err(Begun::Starved(address, errno)) => {
                    return Err(Error::system(format!("probe {address}"), errno));
                }
                Err(Begun::Failed(error)) => return Err(error),
            }
        }
        let Some(until) = probes.iter().map(Probe::wakes_at).min() else { continue };
        list.clear();
        for probe in &probes {
            let datagram = probe.address.kind.is_datagram();
            list.push(probe.fd.as_fd(), datagram, !datagram);
        }
        socket::retry(|| list.wait(Some(until.since(clock::now()))))
            .map_err(|errno| Error::system("wait for the ports (poll)", errno))?;
        let mut ready = vec![false; probes.len()];
        list.ready().for_each(|(place, _)| ready[place] = true);
        let now = clock::now();
        for place in (0..probes.len()).rev() {
            let probe = &mut probes[place];
            let state = if ready[place] { probe.look() } else { None };
            if let Some(state) = state.or_else(|| probe.on_time(now)) {
                let Probe { address, started, .. } = probes.swap_remove(place);
                tell(Finding { address, state, after: now.since(started) });
            }
        }
    }
    Ok(())
}

/// An address that is being probed.
struct Probe {
    fd: OwnedFd,
    address: Address,
    started: Instant,
    until: Instant,
    /// When the next datagram goes out.
    next: Instant,
    pause: Duration,
}

/// Why there is no probe under way.
enum Begun {
    Known(Finding),
    Starved(Address, Errno),
    Failed(Error),
}

impl Probe {
    fn begin(address: Address, how: &Dialing) -> Result<Probe, Begun> {
        let started = clock::now();
        let known = |address: Address, state| {
            Err(Begun::Known(Finding { address, state, after: clock::now().since(started) }))
        };
        let fd = match start(&address, how) {
            Ok(Start::Connected(_)) if !address.kind.is_datagram() => return known(address, State::Open),
            Ok(Start::Connected(fd) | Start::InProgress(fd)) => fd,
            Err(Reason::Reset(_)) => return known(address, State::Open),
            Err(Reason::TimedOut(_)) => return known(address, State::Silent),
            Err(Reason::Unprepared(error)) => return Err(Begun::Failed(error)),
            Err(Reason::System(
                errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::ADDRNOTAVAIL),
            )) => return Err(Begun::Starved(address, errno)),
            Err(Reason::System(errno)) => return known(address, state_of(errno)),
        };
        let pause = how.connect_timeout / PROBES;
        let datagram = address.kind.is_datagram();
        let next = if datagram { started } else { Instant::NEVER };
        let mut probe = Probe { fd, address, started, until: started + how.connect_timeout, next, pause };
        match probe.on_time(started) {
            Some(state) => known(probe.address, state),
            None => Ok(probe),
        }
    }

    fn wakes_at(&self) -> Instant {
        self.until.min(self.next)
    }

    /// What poll(2) has noticed.
    fn look(&mut self) -> Option<State> {
        if self.address.kind.is_datagram() {
            return match socket::recv_message(&self.fd, &mut [0; 1]) {
                Ok(_) => Some(State::Open),
                Err(Errno::AGAIN) => None,
                Err(errno) => Some(state_of(errno)),
            };
        }
        Some(match finish(&self.fd) {
            Ok(()) => State::Open,
            // Whoever resets a connection has taken it.
            Err(Errno::CONNRESET | Errno::PIPE) if self.address.kind != Kind::Vsock => State::Open,
            Err(errno) => state_of(errno),
        })
    }

    /// Sends what is due; [`State::Silent`] when the time is over.
    fn on_time(&mut self, now: Instant) -> Option<State> {
        if now >= self.until {
            return Some(State::Silent);
        }
        if now < self.next {
            return None;
        }
        self.next = now + self.pause;
        match socket::send_message(&self.fd, &[]) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => None,
            // The answer to the datagram before this one.
            Err(errno) => Some(state_of(errno)),
        }
    }
}

fn state_of(errno: Errno) -> State {
    match errno {
        Errno::CONNREFUSED | Errno::CONNRESET => State::Closed,
        Errno::TIMEDOUT => State::Silent,
        errno => State::Unreachable(errno),
    }
}

impl State {
    /// In words, for a port of this kind.
    pub fn words(self, kind: Kind) -> String {
        match self {
            State::Open => "open".into(),
            State::Closed if kind.is_datagram() => "closed (ICMP says so)".into(),
            State::Closed => "closed".into(),
            State::Silent if kind.is_datagram() => "no answer: open or filtered".into(),
            State::Silent => "no answer: filtered or down".into(),
            State::Unreachable(errno) => format!("unreachable: {errno}"),
        }
    }

    /// One word, for programs.
    pub fn name(self, kind: Kind) -> &'static str {
        match self {
            State::Open => "open",
            State::Closed => "closed",
            State::Silent if kind.is_datagram() => "open|filtered",
            State::Silent => "filtered",
            State::Unreachable(_) => "unreachable",
        }
    }
}
