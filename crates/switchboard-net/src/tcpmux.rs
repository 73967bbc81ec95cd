//! tcpmux (RFC 1078): the client names a service, and gets it on the same connection.
//!
//! The worker here is the only one that reads bytes of strangers before it is known what they want, and so it should
//! have no rights at all. It reads exactly the line with the name, never a byte more, since what comes behind it
//! belongs to the service; then the connection is passed to the worker of that service, whose identity, limits and
//! rules of access apply, and which answers with `+` or `-`.

use crate::admission::{Farewells, Verdict, Visit, Warden};
use crate::engine::epoll::Waiting;
use crate::engine::readiness::{Event, Interest, Waiter};
use crate::engine::timers::Timers;
use crate::error::Error;
use crate::journal::{Journal, Record};
use crate::listener::Listener;
use crate::passing;
use crate::peer::Peer;
use crate::stop::Stop;
use crate::sys::clock;
use crate::sys::socket::{self, Wait};
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use switchboard_proto::Instant;

/// All that a tcpmux worker needs.
pub struct MuxSite<'a> {
    /// The service's id.
    pub id: &'a str,
    /// Where clients come in; stream sockets.
    pub listeners: Vec<Listener>,
    /// What can be chosen.
    pub offers: Vec<Offer>,
    /// Who may come in at all; the offered services have rules of their own.
    pub warden: Option<Arc<Warden>>,
    /// The request to stop.
    pub stop: &'a Stop,
    /// Records of those who got no service.
    pub journal: &'a Journal,
    /// Counted as it happens, shared with other processes.
    pub counters: &'a Counters,
    /// Gives connections their numbers.
    pub numbers: &'a Counters,
}

/// A service that can be chosen.
pub struct Offer {
    /// By this name, in any case.
    pub name: String,
    /// To its worker.
    pub door: OwnedFd,
}

/// Bytes of a line with a name at most, with its end.
pub const LONGEST: usize = 256;
/// Clients whose names are awaited at most; beyond it clients wait in the listeners' queues.
pub const MOST: usize = 1_024;
/// Time for the name.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Connections accepted at one door before others get their turn.
const ACCEPTS: usize = 64;
/// Pause when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

const STOP: u64 = u64::MAX;
const DOOR: u64 = 1 << 63;
const READ: Interest = Interest { read: true, write: false };

struct Client {
    fd: OwnedFd,
    peer: Peer,
    door: usize,
    came: Instant,
    line: Vec<u8>,
}

struct Mux<'a> {
    site: MuxSite<'a>,
    waiting: Waiting,
    clients: HashMap<u64, Client>,
    timers: Timers,
    farewells: Farewells,
    last: u64,
    open: bool,
    shut_until: Instant,
    stopping: bool,
    now: Instant,
}

/// Serves names until asked to stop.
///
/// # Errors
/// No descriptors or no memory to begin with.
pub fn serve(site: MuxSite<'_>) -> Result<(), Error> {
    let failed = |errno: Errno| Error::system("watch the listeners", errno);
    let mut waiting = Waiting::new().map_err(failed)?;
    waiting.add(site.stop.as_fd(), STOP, READ).map_err(failed)?;
    for offer in &site.offers {
        // A worker that does not take what it is passed must not keep the others' clients waiting.
        rustix::io::ioctl_fionbio(&offer.door, true).map_err(failed)?;
    }
    let mut mux = Mux {
        site,
        waiting,
        clients: HashMap::new(),
        timers: Timers::default(),
        farewells: Farewells::new(MOST),
        last: 0,
        open: false,
        shut_until: Instant::default(),
        stopping: false,
        now: clock::now(),
    };
    mux.run().map_err(failed)
}

impl Mux<'_> {
    fn run(&mut self) -> Result<(), Errno> {
        let mut events: Vec<Event> = Vec::new();
        while !(self.stopping && self.clients.is_empty() && self.farewells.is_empty()) {
            self.watch_doors()?;
            self.site.journal.flush();
            let shut = if self.open || self.stopping { Instant::NEVER } else { self.shut_until };
            let until = self.timers.next().min(self.farewells.wakes_at()).min(shut);
            events.clear();
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            self.waiting.wait(timeout, &mut events)?;
            self.now = clock::now();
            for event in &events {
                match event.token {
                    STOP => self.stop(),
                    door if door & DOOR != 0 => self.accept((door & !DOOR) as usize),
                    number => self.read(number),
                }
            }
            while let Some(number) = self.timers.due(self.now) {
                if let Some(client) = self.take(number) {
                    self.record(&client, "timed-out", None);
                }
            }
            self.farewells.finish_due(self.now);
        }
        self.site.journal.finish();
        Ok(())
    }

    fn watch_doors(&mut self) -> Result<(), Errno> {
        use crate::admission::PollState;
        if let Some(warden) = &self.site.warden
            && let PollState::ShutUntil(until) = warden.may_poll(self.now)
        {
            self.shut_until = until;
        }
        let open = !self.stopping && self.clients.len() < MOST && self.shut_until <= self.now;
        if open == self.open {
            return Ok(());
        }
        self.open = open;
        for (number, listener) in self.site.listeners.iter().enumerate() {
            let token = DOOR | number as u64;
            if open {
                self.waiting.add(listener.as_fd(), token, READ)?;
            } else {
                self.waiting.remove(listener.as_fd(), token);
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.waiting.remove(self.site.stop.as_fd(), STOP);
        // Whoever is in a queue has been told by the kernel that he is connected.
        (0..self.site.listeners.len()).for_each(|door| self.accept(door));
        self.stopping = true;
        if self.open {
            for (number, listener) in self.site.listeners.iter().enumerate() {
                self.waiting.remove(listener.as_fd(), DOOR | number as u64);
            }
            self.open = false;
        }
        self.site.listeners.iter_mut().for_each(|listener| drop(listener.take()));
    }

    fn accept(&mut self, door: usize) {
        for _ in 0..ACCEPTS {
            if self.clients.len() >= MOST || self.stopping {
                return;
            }
            match socket::accept(&self.site.listeners[door], Wait::No) {
                Ok((fd, peer)) => self.let_in(fd, peer, door),
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                    Counters::add(&self.site.counters.accept_starved, 1);
                    self.shut_until = self.now + PAUSE;
                    return;
                }
                Err(_) => Counters::add(&self.site.counters.accept_aborted, 1),
            }
        }
    }

    fn let_in(&mut self, fd: OwnedFd, peer: Peer, door: usize) {
        if let Some(warden) = &self.site.warden {
            let mut visit = Visit::new(peer);
            let refusal = match warden.judge(&mut visit, &fd, self.now) {
                // The ticket is given back at once: whoever is inside is counted by the service that he gets.
                Verdict::Admit(_) => None,
                Verdict::Refuse(refusal) => Some(refusal),
                Verdict::Wait(_) => Some(Warden::CROWDED),
            };
            if let Some(refusal) = refusal {
                let (journal, counters) = (self.site.journal, self.site.counters);
                let left = warden.turn_away(fd, &visit, refusal, journal, counters, self.now);
                self.see_off(left);
                return;
            }
        }
        self.last += 1;
        if self.waiting.add(fd.as_fd(), self.last, READ).is_err() {
            return;
        }
        self.timers.schedule(self.last, self.now + PATIENCE);
        self.clients.insert(self.last, Client { fd, peer, door, came: self.now, line: Vec::new() });
        self.read(self.last);
    }

    /// Reads as far as the end of the line, and not a byte beyond it.
    fn read(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let mut bytes = [0; LONGEST];
        let room = LONGEST - client.line.len();
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen = match socket::retry(|| recv(&client.fd, &mut bytes[..room], flags)) {
            Ok((seen @ 1.., _)) => seen,
            Err(Errno::AGAIN) => return,
            Ok(_) | Err(_) => {
                if let Some(client) = self.take(number) {
                    self.record(&client, "no-name", None);
                }
                return;
            }
        };
        let end = bytes[..seen].iter().position(|byte| *byte == b'\n');
        // Taken in one piece: they are there, nobody else reads, and a stream socket does not cut what it has.
        let wanted = end.map_or(seen, |end| end + 1);
        let Ok(taken) = socket::recv(&client.fd, &mut bytes[..wanted], Wait::No) else { return };
        client.line.extend_from_slice(&bytes[..taken]);
        let is_whole = client.line.last() == Some(&b'\n');
        if (is_whole || client.line.len() >= LONGEST)
            && let Some(client) = self.take(number)
        {
            self.choose(client, is_whole);
        }
    }

    /// The line is there.
    fn choose(&mut self, client: Client, is_whole: bool) {
        let name = client.line.trim_ascii_end();
        if !is_whole {
            return self.refuse(client, "Name too long", "name-too-long");
        }
        if name.eq_ignore_ascii_case(b"help") {
            let mut list: Vec<&str> = self.site.offers.iter().map(|offer| offer.name.as_str()).collect();
            list.sort_unstable();
            let text: String = list.iter().flat_map(|name| [*name, "\r\n"]).collect();
            let _ = socket::send(&client.fd, text.as_bytes(), Wait::No);
            self.record(&client, "help", None);
            return self.leave(client.fd);
        }
        let offer = self.site.offers.iter().find(|offer| offer.name.as_bytes().eq_ignore_ascii_case(name));
        let Some(offer) = offer else {
            return self.refuse(client, "Service name not found", "unknown-service");
        };
        if passing::pass(&offer.door, &client.fd, true).is_err() {
            self.refuse(client, "Service not available now", "unavailable");
        }
    }

    fn refuse(&mut self, client: Client, why: &str, end: &str) {
        passing::refuse(&client.fd, why);
        self.record(&client, end, Some(&client.line));
        self.leave(client.fd);
    }

    fn leave(&mut self, fd: OwnedFd) {
        socket::shutdown_write(&fd);
        self.see_off(Some(fd));
    }

    fn see_off(&mut self, fd: Option<OwnedFd>) {
        if let Some(fd) = fd {
            self.farewells.begin(fd, self.now);
        }
    }

    /// Takes a client out of the loop; what is passed must not be watched any more.
    fn take(&mut self, number: u64) -> Option<Client> {
        let client = self.clients.remove(&number)?;
        self.waiting.remove(client.fd.as_fd(), number);
        Some(client)
    }

    fn record(&self, client: &Client, end: &str, note: Option<&[u8]>) {
        let id = self.site.numbers.accept();
        if !std::ptr::eq(self.site.numbers, self.site.counters) {
            self.site.counters.accept();
        }
        Counters::add(&self.site.counters.ended, 1);
        self.site.journal.record(&Record {
            id,
            service: self.site.id,
            engine: "tcpmux",
            local: self.site.listeners[client.door].local(),
            peer: client.peer,
            received: client.line.len() as u64,
            sent: 0,
            duration: self.now.since(client.came),
            end,
            note,
            tls: None,
            ran: None,
            introduction: None,
            unique_id: None,
        });
    }
}
