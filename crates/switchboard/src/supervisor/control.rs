//! The server's end of the control socket: a Unix socket that only its owner (and root) may use.

use crate::control::{LONGEST_REQUEST, Reply, Request};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use switchboard_net::sys::clock;
use switchboard_net::sys::socket::{self, Wait};
use switchboard_net::{Address, Endpoint, Error, Kind, Listener, Peer, Sharing, SocketOptions};
use switchboard_proto::Instant;

/// Clients at once; more wait in the queue.
const MOST_CLIENTS: usize = 16;
/// A client that has not asked, or not taken his answer, within this time is sent away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control socket and its clients.
pub(super) struct Control {
    listener: Listener,
    clients: Vec<Client>,
    next: u64,
}

struct Client {
    number: u64,
    stream: UnixStream,
    asked: Vec<u8>,
    answer: Vec<u8>,
    until: Instant,
    waiting: bool,
}

impl Control {
    /// Binds the socket; its file can be used by its owner only.
    pub(super) fn bind(path: &Path) -> Result<Control, Error> {
        let address = address(path)?;
        let listener =
            Listener::bind_with_mode(&address, &SocketOptions::default(), Sharing::Alone, Some(0o600))?;
        Ok(Control { listener, clients: Vec::new(), next: 0 })
    }

    /// Takes over a predecessor's socket.
    pub(super) fn adopt(fd: OwnedFd, path: &Path) -> Result<Control, Error> {
        let listener = Listener::adopt(fd, &address(path)?, &SocketOptions::default())?;
        Ok(Control { listener, clients: Vec::new(), next: 0 })
    }

    /// Whether `fd` is bound at `path`.
    pub(super) fn fits(fd: &OwnedFd, path: &Path) -> bool {
        address(path).is_ok_and(|asked| Address::of_descriptor(fd).is_some_and(|local| local.is_at(&asked)))
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// The socket's file stays when this goes: a successor has it.
    pub(super) fn disown(&mut self) {
        self.listener.disown();
    }

    /// What to watch: a descriptor, whether for input and for room.
    pub(super) fn watch(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool, bool)> {
        let door = (self.clients.len() < MOST_CLIENTS).then(|| (self.listener.as_fd(), true, false));
        let clients = self
            .clients
            .iter()
            .map(|client| (client.stream.as_fd(), client.answer.is_empty(), !client.answer.is_empty()));
        door.into_iter().chain(clients)
    }

    /// When the first client is to be sent away.
    pub(super) fn until(&self) -> Instant {
        self.clients
            .iter()
            .filter(|client| !client.waiting)
            .map(|client| client.until)
            .min()
            .unwrap_or(Instant::NEVER)
    }

    /// Moves what can be moved; returns what was asked, and by whom.
    pub(super) fn advance(&mut self) -> Vec<(u64, Result<Request, String>)> {
        let now = clock::now();
        while self.clients.len() < MOST_CLIENTS
            && let Ok((fd, peer)) = socket::accept(&self.listener, Wait::No)
        {
            let ours = rustix::process::geteuid().as_raw();
            // The file's mode says the same; a socket handed around might be reached in other ways.
            if matches!(peer, Peer::Unix { uid, .. } if uid == ours || uid == 0) {
                self.next += 1;
                self.clients.push(Client {
                    number: self.next,
                    stream: fd.into(),
                    asked: Vec::new(),
                    answer: Vec::new(),
                    until: now + PATIENCE,
                    waiting: false,
                });
            }
        }
        let mut asked = Vec::new();
        self.clients.retain_mut(|client| client.advance(now, &mut asked));
        asked
    }

    /// Answers a client, if he is still there.
    pub(super) fn answer(&mut self, number: u64, reply: &Reply) {
        let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else { return };
        client.waiting = false;
        client.until = clock::now() + PATIENCE;
        client.answer = serde_json::to_vec(reply).unwrap_or_default();
        client.answer.push(b'\n');
        let stays = client.flush(clock::now());
        self.clients.retain(|client| client.number != number || stays);
    }
}

impl Client {
    /// Whether he stays.
    fn advance(&mut self, now: Instant, asked: &mut Vec<(u64, Result<Request, String>)>) -> bool {
        if !self.answer.is_empty() {
            return self.flush(now);
        }
        let mut bytes = [0; LONGEST_REQUEST];
        match self.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) if self.waiting => return false,
            Ok(n) => self.asked.extend_from_slice(&bytes[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return self.waiting || now < self.until,
            Err(_) => return false,
        }
        if let Some(end) = self.asked.iter().position(|byte| *byte == b'\n') {
            let request = serde_json::from_slice(&self.asked[..end])
                .map_err(|error| format!("that is no request of this version: {error}"));
            asked.push((self.number, request));
            self.waiting = true;
            return true;
        }
        self.asked.len() < LONGEST_REQUEST
    }

    /// Sends what is left of the answer; whether there is more to send.
    fn flush(&mut self, now: Instant) -> bool {
        match self.stream.write(&self.answer) {
            Ok(n) if n == self.answer.len() => false,
            Ok(n) => {
                self.answer.drain(..n);
                now < self.until
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock && now < self.until,
        }
    }
}

fn address(path: &Path) -> Result<Address, Error> {
    let endpoint = Endpoint { kind: Kind::Unix, place: switchboard_net::Place::Path(path.into()) };
    endpoint.resolve()?.into_iter().next().ok_or_else(|| Error::Config("no address".into()))
}
