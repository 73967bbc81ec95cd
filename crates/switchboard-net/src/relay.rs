//! The relay: what comes in here goes to another address, and back. Streams keep their halves: whoever finishes
//! sending is told on, and the other direction goes on. One process, one epoll loop; the bytes stay in the kernel
//! (splice(2)) where both ends allow it.
//!
//! A client whose target cannot be reached, or breaks off, is reset: he must not take a part for the whole.

mod call;
mod datagram;
pub(crate) mod direction;
pub(crate) mod secure;
mod stream;

use crate::admission::Warden;
use crate::dial::Dialing;
use crate::endpoint::{Address, Endpoint};
use crate::engine::epoll::Waiting;
use crate::engine::readiness::{Event, Interest, Waiter};
use crate::engine::timers::Timers;
use crate::error::Error;
use crate::guests::{Arrival, Guests, House};
use crate::introduction::{Introduction, Outward, Upstreams};
use crate::journal::{Journal, Warning};
use crate::listener::Listener;
use crate::passing;
use crate::peer::Peer;
use crate::program::service_key;
use crate::stop::Stop;
use crate::sys::clock;
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use crate::tls::Server;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_proto::Instant;
use switchboard_proto::proxy_header::{Carrier, Unencodable};

/// All that a relay needs.
pub struct RelaySite<'a> {
    /// The service's id.
    pub id: &'a str,
    /// Where clients come in; all of one kind, streams or datagrams, like the target.
    pub listeners: Vec<Listener>,
    /// How TLS is spoken at those listeners, one for one; a listener that has none here speaks none.
    pub tls: Vec<Option<Server>>,
    /// Where connections come in that another worker has accepted; see [`crate::passing`].
    pub door: Option<OwnedFd>,
    /// Where they go.
    pub to: Target,
    /// How to get there: source address, time for connecting, options.
    pub dialing: Dialing,
    /// Who may come in, how many, how fast; none: everybody.
    pub warden: Option<Arc<Warden>>,
    /// Who introduces clients, before the warden judges them; none: they come by themselves.
    pub upstreams: Option<Arc<Upstreams>>,
    /// How clients are introduced to the target; none: not at all.
    pub outward: Option<Outward>,
    /// Connections, or senders of datagrams, at once.
    pub most: usize,
    /// A connection in which nothing moves for this long is ended. Datagrams: 60 s if nothing is said.
    pub idle_timeout: Option<Duration>,
    /// A connection, or a sender of datagrams, that lasts longer than this is ended.
    pub lifetime: Option<Duration>,
    /// After a request to stop, connections may go on for this long.
    pub drain_timeout: Duration,
    /// The request to stop.
    pub stop: &'a Stop,
    /// One record per connection.
    pub journal: &'a Journal,
    /// Counted as it happens, shared with other processes.
    pub counters: &'a Counters,
    /// Gives connections their numbers; may be the same as `counters`.
    pub numbers: &'a Counters,
}

/// Where connections go.
#[derive(Debug)]
pub enum Target {
    /// To another address.
    Endpoint(Endpoint),
    /// To the worker of a service, at the other end of this: it gets one end of a pair for each client with whom TLS is
    /// spoken here ([`passing::pass_escorted`]). Clients without TLS have no business here.
    Worker(OwnedFd),
}

impl Target {
    fn is_datagram(&self) -> bool {
        matches!(self, Target::Endpoint(endpoint) if endpoint.kind.is_datagram())
    }

    /// The addresses that it stands for now.
    fn resolve(&self) -> Result<Vec<Address>, Error> {
        match self {
            Target::Endpoint(endpoint) => resolve(endpoint),
            Target::Worker(_) => Ok(Vec::new()),
        }
    }
}

/// Addresses of a target that are tried at most.
const ADDRESSES: usize = 32;
/// Connections accepted at one door before others get their turn.
const ACCEPTS: usize = 64;
/// Pause when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// A name is looked up again after this long.
const FRESH: Duration = Duration::from_secs(30);
/// A name that nobody knew is looked up again after this long, when somebody comes.
const UNKNOWN: Duration = Duration::from_secs(1);

mod tag {
    pub(super) const STOP: u8 = 1;
    pub(super) const DOOR: u8 = 2;
    pub(super) const PASSED: u8 = 3;
    /// A client's socket.
    pub(super) const CLIENT: u8 = 4;
    /// A target's socket.
    pub(super) const TARGET: u8 = 5;
    /// A socket that is being connected: the flow's number and the attempt's.
    pub(super) const ATTEMPT: u8 = 6;
    /// A sender of datagrams: his socket to the target.
    pub(super) const UPSTREAM: u8 = 7;
    /// Clients who are introduced.
    pub(super) const FORECOURT: u8 = 8;
}

fn token(tag: u8, number: u64) -> u64 {
    u64::from(tag) << 56 | number
}

const READ: Interest = Interest { read: true, write: false };

/// Serves until asked to stop.
///
/// # Errors
/// A target that cannot be one, or whose name is not known; no descriptors or no memory to begin with.
pub fn serve(site: RelaySite<'_>) -> Result<(), Error> {
    let mut relay = Relay::new(site)?;
    relay.run().map_err(|errno| Error::system("wait for clients", errno))
}

/// Looks a name up where it may take its time.
struct Resolver {
    answers: std::sync::mpsc::Receiver<Vec<Address>>,
    questions: std::sync::mpsc::SyncSender<()>,
    asked_at: Instant,
}

struct Relay<'a> {
    site: RelaySite<'a>,
    key: u64,
    waiting: Waiting,
    addresses: Vec<Address>,
    resolver: Option<Resolver>,
    guests: Guests,
    flows: HashMap<u64, stream::Flow>,
    senders: datagram::Senders,
    pipes: direction::Pipes,
    timers: Timers,
    last: u64,
    open: bool,
    starved_until: Instant,
    end_at: Option<Instant>,
    now: Instant,
}

impl<'a> Relay<'a> {
    fn new(site: RelaySite<'a>) -> Result<Relay<'a>, Error> {
        let failed = |errno: Errno| Error::system("watch the listeners", errno);
        if site.listeners.iter().any(|from| from.local().kind.is_datagram() != site.to.is_datagram()) {
            return Err(Error::Config(format!(
                "{}: streams cannot be relayed as datagrams, nor datagrams as streams: forward to an endpoint of \
                 the same sort",
                site.id
            )));
        }
        // A name that nobody knows now, since the network is not there yet or its server is down, is asked for again.
        let addresses = match (site.to.resolve(), &site.to) {
            (Ok(addresses), _) => addresses,
            (Err(error), Target::Endpoint(to)) if is_named(to) => {
                site.journal
                    .event(&format!("{}: {error}; it is looked up again for those who come", site.id));
                Vec::new()
            }
            (Err(error), _) => return Err(error),
        };
        let mut waiting = Waiting::new().map_err(failed)?;
        waiting.add(site.stop.as_fd(), token(tag::STOP, 0), READ).map_err(failed)?;
        if let Some(door) = &site.door {
            rustix::io::ioctl_fionbio(door, true).map_err(failed)?;
            waiting.add(door.as_fd(), token(tag::PASSED, 0), READ).map_err(failed)?;
        }
        for listener in &site.listeners {
            rustix::io::ioctl_fionbio(listener, true).map_err(failed)?;
        }
        let guests = Guests::new(site.upstreams.is_some())?;
        if let Some(watched) = guests.watched() {
            waiting.add(watched, token(tag::FORECOURT, 0), READ).map_err(failed)?;
        }
        Ok(Relay {
            resolver: match &site.to {
                Target::Endpoint(endpoint) => Resolver::start(endpoint),
                Target::Worker(door) => {
                    // A worker that takes nothing must not keep others waiting.
                    rustix::io::ioctl_fionbio(door, true).map_err(failed)?;
                    None
                }
            },
            key: service_key(site.id),
            site,
            waiting,
            addresses,
            guests,
            flows: HashMap::new(),
            senders: datagram::Senders::default(),
            pipes: direction::Pipes::default(),
            timers: Timers::default(),
            last: 0,
            open: false,
            starved_until: Instant::default(),
            end_at: None,
            now: clock::now(),
        })
    }

    fn run(&mut self) -> Result<(), Errno> {
        let mut events: Vec<Event> = Vec::new();
        while !(self.end_at.is_some() && self.flows.is_empty() && self.guests.is_empty()) {
            self.guests.look(&house(&self.site), self.now);
            while self.has_room()
                && let Some(arrival) = self.next_guest()
            {
                self.begin(arrival);
            }
            self.watch_doors()?;
            self.site.journal.flush();
            let until = self.wakes_at();
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            events.clear();
            self.waiting.wait(timeout, &mut events)?;
            self.now = clock::now();
            for event in &events {
                self.on_event(event);
            }
            while let Some(number) = self.timers.due(self.now) {
                self.on_time(number);
                self.sender_due(number);
            }
            if self.end_at.is_some_and(|at| at <= self.now) {
                self.cut();
            }
        }
        self.site.journal.finish();
        Ok(())
    }

    fn on_event(&mut self, event: &Event) {
        let number = event.token & !(0xff << 56);
        match (event.token >> 56) as u8 {
            tag::STOP => self.stop(),
            tag::DOOR if self.site.to.is_datagram() => self.on_datagrams(number as usize),
            tag::DOOR => self.accept(number as usize),
            tag::PASSED => self.on_passed(),
            tag::CLIENT => self.on_client(number, event.broken),
            tag::TARGET => self.pump(number),
            tag::ATTEMPT => self.attempt_answered(number),
            tag::UPSTREAM => self.on_replies(number),
            _ => {}
        }
    }

    fn next_guest(&mut self) -> Option<Arrival> {
        self.guests.next(&house(&self.site), self.now)
    }

    fn has_room(&self) -> bool {
        self.flows.len() < self.site.most.max(1)
    }

    fn watch_doors(&mut self) -> Result<(), Errno> {
        let shut = self.shut_until();
        let datagrams = self.site.to.is_datagram();
        let room = datagrams || self.has_room();
        let open = self.end_at.is_none() && room && shut == Instant::NEVER && self.starved_until <= self.now;
        if open == self.open {
            return Ok(());
        }
        self.open = open;
        for (number, listener) in self.site.listeners.iter().enumerate() {
            let token = token(tag::DOOR, number as u64);
            if open {
                self.waiting.add(listener.as_fd(), token, READ)?;
            } else {
                self.waiting.remove(listener.as_fd(), token);
            }
        }
        Ok(())
    }

    /// Until when a limit keeps the doors shut; [`Instant::NEVER`] if they are open.
    fn shut_until(&self) -> Instant {
        use crate::admission::PollState;
        match self.site.warden.as_ref().map(|warden| warden.may_poll(self.now)) {
            Some(PollState::ShutUntil(until)) if self.end_at.is_none() => until,
            _ => Instant::NEVER,
        }
    }

    fn wakes_at(&self) -> Instant {
        let starved = if self.starved_until > self.now { self.starved_until } else { Instant::NEVER };
        let end = self.end_at.unwrap_or(Instant::NEVER);
        let guests = self.guests.wakes_at(self.has_room());
        self.timers.next().min(starved).min(end).min(guests).min(self.shut_until())
    }

    fn accept(&mut self, door: usize) {
        for _ in 0..ACCEPTS {
            if !self.has_room() || self.end_at.is_some() {
                return;
            }
            match socket::accept(&self.site.listeners[door], Wait::No) {
                Ok((fd, peer)) => {
                    let local = self.site.listeners[door].local().clone();
                    let tls = self.site.tls.get(door).cloned().flatten();
                    let arrival = Arrival { tls, ..Arrival::new(fd, peer, local, self.now) };
                    if let Some(arrival) = self.guests.arrive(&house(&self.site), arrival, self.now) {
                        self.begin(arrival);
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                    self.starve();
                    return;
                }
                Err(_) => Counters::add(&self.site.counters.accept_aborted, 1),
            }
        }
    }

    fn starve(&mut self) {
        Counters::add(&self.site.counters.accept_starved, 1);
        self.starved_until = self.now + PAUSE;
        self.site.journal.warn(Warning::Accept, self.now, &|| {
            format!(
                "{}: no descriptors; {} connections are open, clients wait",
                self.site.id,
                self.flows.len()
            )
        });
    }

    fn on_passed(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(door) = &self.site.door else { return };
            match passing::receive(door) {
                Ok(Some(passed)) => {
                    let _ = rustix::io::ioctl_fionbio(&passed.fd, true);
                    let arrival = Arrival::new(passed.fd, passed.peer, passed.local, self.now);
                    self.let_in(Arrival { multiplexed: passed.multiplexed, ..arrival });
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::BADMSG) => {}
                Ok(None) | Err(_) => {
                    self.waiting.remove(door.as_fd(), token(tag::PASSED, 0));
                    self.site.door = None;
                    return;
                }
            }
        }
    }

    fn let_in(&mut self, arrival: Arrival) {
        if let Some(arrival) = self.guests.judge(&house(&self.site), arrival, self.now) {
            self.begin(arrival);
        }
    }

    fn stop(&mut self) {
        self.waiting.remove(self.site.stop.as_fd(), token(tag::STOP, 0));
        // Whoever is in a queue has been told by the kernel that he is connected.
        if !self.site.to.is_datagram() {
            (0..self.site.listeners.len()).for_each(|door| self.accept(door));
        }
        self.forget_senders();
        self.end_at = Some(self.site.stop.cut_at(self.now, self.site.drain_timeout));
        if self.open {
            for (number, listener) in self.site.listeners.iter().enumerate() {
                self.waiting.remove(listener.as_fd(), token(tag::DOOR, number as u64));
            }
            self.open = false;
        }
        self.site.listeners.iter_mut().for_each(|listener| drop(listener.take()));
    }

    fn number(&self) -> u64 {
        let number = self.site.numbers.accept();
        if !std::ptr::eq(self.site.numbers, self.site.counters) {
            self.site.counters.accept();
        }
        number
    }

    /// The target's addresses; asks for fresh ones if these are old.
    fn addresses(&mut self) -> Vec<Address> {
        if let Some(resolver) = &mut self.resolver {
            if let Some(fresh) = resolver.answers.try_iter().last() {
                self.addresses = fresh;
            }
            let fresh = if self.addresses.is_empty() { UNKNOWN } else { FRESH };
            if self.now.since(resolver.asked_at) >= fresh && resolver.questions.try_send(()).is_ok() {
                resolver.asked_at = self.now;
            }
        }
        self.addresses.clone()
    }
}

impl Resolver {
    /// A thread for a name; nothing for what needs no looking up.
    fn start(to: &Endpoint) -> Option<Resolver> {
        if !is_named(to) {
            return None;
        }
        let (questions, asked) = std::sync::mpsc::sync_channel(1);
        let (answer, answers) = std::sync::mpsc::channel();
        let to = to.clone();
        let look_up = move || {
            while asked.recv().is_ok() {
                // A name that is not known at the moment keeps its addresses.
                if let Ok(addresses) = resolve(&to)
                    && answer.send(addresses).is_err()
                {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("resolver".into()).spawn(look_up).ok()?;
        Some(Resolver { answers, questions, asked_at: clock::now() })
    }
}

/// Whether its addresses are those of a name, which may be others tomorrow.
fn is_named(to: &Endpoint) -> bool {
    use crate::endpoint::{Host, Place};
    matches!(&to.place, Place::Inet(Host::Name(_), _))
}

fn resolve(to: &Endpoint) -> Result<Vec<Address>, Error> {
    let mut addresses = to.resolve()?;
    addresses.truncate(ADDRESSES);
    Ok(addresses)
}

fn house<'s>(site: &'s RelaySite<'_>) -> House<'s> {
    House {
        id: site.id,
        upstreams: site.upstreams.as_deref(),
        warden: site.warden.as_deref(),
        journal: site.journal,
        counters: site.counters,
    }
}

/// Who a client is, for the log.
#[derive(Clone)]
struct Who {
    id: u64,
    peer: Peer,
    local: Address,
    came: Instant,
    introduction: Option<Box<Introduction>>,
    /// The name under which he is introduced to the target, if it is ours.
    unique_id: Option<Box<[u8]>>,
}

impl Relay<'_> {
    /// A client, with a name of his own if he is to be introduced by one and has none.
    fn who(&self, peer: Peer, local: Address, came: Instant, introduction: Option<Box<Introduction>>) -> Who {
        let id = self.number();
        let named = introduction.as_ref().is_some_and(|said| said.extras().unique_id.is_some());
        let wanted = self.site.outward.is_some_and(|outward| outward.unique_id) && !named;
        let unique_id = wanted.then(|| Outward::new_id(id));
        Who { id, peer, local, came, introduction, unique_id }
    }

    /// The header that introduces a client to the target.
    fn header(&self, who: &Who, local: Option<SocketAddr>, carrier: Carrier) -> Result<Vec<u8>, Unencodable> {
        let Some(outward) = self.site.outward else { return Ok(Vec::new()) };
        let local = local.or_else(|| who.local.inet());
        outward.header(who.peer, local, carrier, who.introduction.as_deref(), who.unique_id.as_deref())
    }
}
