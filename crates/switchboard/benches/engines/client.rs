//! The load: one thread, closed loop, every echoed byte compared with what was sent.
//!
//! A client keeps its connections from slice to slice, so that many servers can be up at once and take turns.
//! It begins and ends every slice with nothing in flight: the server's CPU time read around a slice is that
//! of whole messages.

use crate::interrupt;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrV4, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt,
};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// What a cell asks of its servers.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Messages of one size on open connections, one in flight on each.
    Echo { connections: usize, bytes: usize },
    /// The same on one connection, by a client who looks for the answer without ever sleeping.
    Awake { bytes: usize },
    /// Blocks of `STREAM_BYTES` on one connection, written while reading.
    Stream,
    /// Connect, `CONNECT_BYTES`, answer, close; with so many workers on the server's side.
    Connect { at_once: usize, workers: usize },
    /// Datagrams of one size, one in flight from each client.
    Datagram { clients: usize, bytes: usize },
}

impl Load {
    /// Whether there is one client, who waits for each answer.
    pub(crate) fn is_alone(self) -> bool {
        matches!(self, Load::Echo { connections: 1, .. } | Load::Awake { .. })
    }

    /// How many workers the server should have.
    pub(crate) fn workers(self) -> usize {
        if let Load::Connect { workers, .. } = self { workers } else { 1 }
    }
}

/// One write of a stream.
pub(crate) const STREAM_BYTES: usize = 64 * 1024;
pub(crate) const CONNECT_BYTES: usize = 64;
/// How much a stream has under way: the least that keeps both ends busy. With several times as much the
/// sockets' queues outgrow the processor's cache, and the stream falls, at random, into a state in which both
/// ends keep putting each other to sleep: three times slower, whoever serves.
const IN_FLIGHT_BYTES: u64 = 256 * 1024;
/// How many connections are opened before any is waited for: below the shortest usual backlog.
const OPEN_AT_ONCE: usize = 32;
/// Silence after which a server counts as broken.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pattern's period: prime, so that bytes lost, doubled or swapped by whole blocks do not fit it again.
const PERIOD: usize = 65_521;

/// What a slice brought. For a stream a message is a block of `STREAM_BYTES`.
pub(crate) struct Work {
    /// Messages of the whole slice, its start and end included.
    pub(crate) messages: f64,
    /// Messages per second while nothing but the load went on.
    pub(crate) rate: f64,
}

pub(crate) struct Client {
    load: Load,
    port: u16,
    others: usize,
    poller: OwnedFd,
    events: Vec<Event>,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

struct Connection {
    socket: OwnedFd,
    /// Where in the pattern the message under way starts.
    start: usize,
    /// How much of it has come back.
    received: usize,
}

/// When a slice starts to count, and when it stops.
struct Clock {
    warm_until: Instant,
    window: Duration,
    /// When counting began, and what had been done before.
    began: Option<(Instant, u64)>,
    rate: Option<f64>,
}

impl Clock {
    fn start(warm: Duration, window: Duration) -> Clock {
        Clock { warm_until: Instant::now() + warm, window, began: None, rate: None }
    }

    /// Whether the load should go on, given what has been done so far.
    fn runs(&mut self, done: u64) -> bool {
        let now = Instant::now();
        match self.began {
            None if now >= self.warm_until => self.began = Some((now, done)),
            Some((began, before)) if self.rate.is_none() && now - began >= self.window => {
                self.rate = Some((done - before) as f64 / (now - began).as_secs_f64());
            }
            _ => {}
        }
        self.rate.is_none()
    }
}

impl Client {
    /// Opens the load's connections, each proved by one 64-byte echo.
    pub(crate) fn open(load: Load, port: u16) -> io::Result<Client> {
        Client::open_after(0, load, port)
    }

    /// The same, with so many connections before them in other processes: those have ports of their own.
    pub(crate) fn open_after(others: usize, load: Load, port: u16) -> io::Result<Client> {
        let mut client = Client {
            load,
            port,
            others,
            poller: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(512),
            connections: Vec::new(),
            buffer: vec![0; STREAM_BYTES],
        };
        let wanted = match load {
            Load::Echo { connections, .. } => connections,
            Load::Stream | Load::Awake { .. } => 1,
            Load::Connect { .. } => 0,
            Load::Datagram { clients, .. } => clients,
        };
        while client.connections.len() < wanted {
            interrupt::check()?;
            client.open_some(OPEN_AT_ONCE.min(wanted - client.connections.len()))?;
        }
        Ok(client)
    }

    fn open_some(&mut self, count: usize) -> io::Result<()> {
        let first = self.connections.len();
        for index in first..first + count {
            // Ports of one source address would run short at tens of thousands of connections.
            let source = Ipv4Addr::new(127, 0, 0, 1 + ((self.others + index) / 8_192) as u8);
            let kind = match self.load {
                Load::Datagram { .. } => SocketType::DGRAM,
                _ => SocketType::STREAM,
            };
            let socket = dial(self.port, source, kind)?;
            let mut connection = Connection { socket, start: 0, received: 0 };
            begin(&mut connection, index, CONNECT_BYTES)?;
            self.connections.push(connection);
        }
        for (index, connection) in self.connections.iter_mut().enumerate().skip(first) {
            sockopt::set_socket_timeout(&connection.socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
            while connection.received < CONNECT_BYTES {
                let silent = |error| match error {
                    Errno::AGAIN => broken(&format!("no answer on connection {}", index + 1)),
                    other => other.into(),
                };
                let socket = &connection.socket;
                let (count, _) = recv(socket, &mut self.buffer[..], RecvFlags::empty()).map_err(silent)?;
                check(connection, &self.buffer[..count])?;
            }
            rustix::io::ioctl_fionbio(&connection.socket, true)?;
            epoll::add(&self.poller, &connection.socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        }
        Ok(())
    }

    /// Lets every connection echo one message more, all at once.
    pub(crate) fn ask_all(&mut self) -> io::Result<()> {
        for (index, connection) in self.connections.iter_mut().enumerate() {
            begin(connection, index + 13, CONNECT_BYTES)?;
        }
        let mut waiting = self.connections.len();
        while waiting > 0 {
            self.wait()?;
            for event in &self.events {
                let connection = &mut self.connections[event.data.u64() as usize];
                if read(connection, &mut self.buffer)? && connection.received == CONNECT_BYTES {
                    waiting -= 1;
                }
            }
        }
        Ok(())
    }

    /// Loads the server for a while; `source` is where new connections come from.
    pub(crate) fn slice(&mut self, warm: Duration, window: Duration, source: Ipv4Addr) -> io::Result<Work> {
        let clock = Clock::start(warm, window);
        match self.load {
            Load::Echo { bytes, .. } | Load::Awake { bytes } | Load::Datagram { bytes, .. } => {
                self.echo(clock, bytes)
            }
            Load::Stream => self.stream(clock),
            Load::Connect { at_once, .. } => self.connect(clock, at_once, source),
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        interrupt::check()?;
        self.events.clear();
        let awake = matches!(self.load, Load::Awake { .. });
        let timeout = timespec(if awake { Duration::ZERO } else { PATIENCE });
        let began = Instant::now();
        loop {
            match epoll::wait(&self.poller, spare_capacity(&mut self.events), Some(&timeout)) {
                Ok(0) if awake && began.elapsed() < PATIENCE => std::hint::spin_loop(),
                Ok(0) => return Err(broken("no answer")),
                Ok(_) | Err(Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn echo(&mut self, mut clock: Clock, bytes: usize) -> io::Result<Work> {
        let mut done = 0_u64;
        for (index, connection) in self.connections.iter_mut().enumerate() {
            begin(connection, index, bytes)?;
        }
        let mut waiting = self.connections.len();
        while waiting > 0 {
            self.wait()?;
            let more = clock.runs(done);
            for event in &self.events {
                let connection = &mut self.connections[event.data.u64() as usize];
                if !read(connection, &mut self.buffer)? || connection.received < bytes {
                    continue;
                }
                done += 1;
                if more {
                    // A step that is not a multiple of the message lets no stale answer pass.
                    let next = connection.start + bytes + 7;
                    begin(connection, next, bytes)?;
                } else {
                    waiting -= 1;
                }
            }
        }
        Ok(Work { messages: done as f64, rate: clock.rate.unwrap_or_default() })
    }

    fn stream(&mut self, mut clock: Clock) -> io::Result<Work> {
        let [connection] = &mut self.connections[..] else { return Err(broken("no connection")) };
        let (mut sent, mut received) = (0_u64, 0_u64);
        let mut last = Instant::now();
        loop {
            interrupt::check()?;
            let more = clock.runs(received);
            if !more && received == sent {
                break;
            }
            let mut moved = 0;
            if more && sent - received < IN_FLIGHT_BYTES {
                let start = (sent % PERIOD as u64) as usize;
                let count =
                    send(&connection.socket, &PATTERN[start..start + STREAM_BYTES], SendFlags::NOSIGNAL);
                moved += transferred(count)?;
                sent += moved as u64;
            }
            let answer = recv(&connection.socket, &mut self.buffer[..], RecvFlags::empty());
            let count = match answer {
                Ok((0, _)) => return Err(broken("closed by the server")),
                other => transferred(other.map(|(count, _)| count))?,
            };
            let start = (received % PERIOD as u64) as usize;
            if self.buffer[..count] != PATTERN[start..start + count] {
                return Err(broken("wrong bytes came back"));
            }
            received += count as u64;
            if moved + count == 0 {
                if last.elapsed() > PATIENCE {
                    return Err(broken("the stream stands still"));
                }
                // Sleeping here would measure how fast a processor is woken.
                std::hint::spin_loop();
            } else {
                last = Instant::now();
            }
        }
        let blocks = |bytes: f64| bytes / STREAM_BYTES as f64;
        Ok(Work { messages: blocks(received as f64), rate: blocks(clock.rate.unwrap_or_default()) })
    }

    fn connect(&mut self, mut clock: Clock, at_once: usize, source: Ipv4Addr) -> io::Result<Work> {
        let (mut begun, mut done) = (0, 0);
        let mut slots: Vec<Option<Connection>> = (0..at_once).map(|_| None).collect();
        for (index, slot) in slots.iter_mut().enumerate() {
            *slot = Some(self.begin_new(index, &mut begun, source)?);
        }
        while done < begun {
            self.wait()?;
            let more = clock.runs(done);
            for at in 0..self.events.len() {
                let index = self.events[at].data.u64() as usize;
                let Some(connection) = &mut slots[index] else { continue };
                if !read(connection, &mut self.buffer)? || connection.received < CONNECT_BYTES {
                    continue;
                }
                done += 1;
                // Closed before the next one is opened: never more than `at_once` at a time.
                slots[index] = None;
                if more {
                    slots[index] = Some(self.begin_new(index, &mut begun, source)?);
                }
            }
        }
        Ok(Work { messages: done as f64, rate: clock.rate.unwrap_or_default() })
    }

    fn begin_new(&self, index: usize, begun: &mut u64, source: Ipv4Addr) -> io::Result<Connection> {
        let mut connection =
            Connection { socket: dial(self.port, source, SocketType::STREAM)?, start: 0, received: 0 };
        rustix::io::ioctl_fionbio(&connection.socket, true)?;
        begin(&mut connection, *begun as usize * 71, CONNECT_BYTES)?;
        epoll::add(&self.poller, &connection.socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        *begun += 1;
        Ok(connection)
    }
}

/// A connected socket; on loopback a blocking connect returns as soon as the listener's queue has room.
fn dial(port: u16, source: Ipv4Addr, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_tcp_nodelay(&socket, true)?;
    }
    if source != Ipv4Addr::LOCALHOST {
        // Without it bind(2) takes a port that nobody else on this address may have, whomever he talks to.
        let (yes, level, option) = (1_i32, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
        // SAFETY: the pointer and the length describe `yes`.
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const yes).cast(), 4) };
        bind(&socket, &SocketAddrV4::new(source, 0))?;
    }
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket)
}

/// Sends a message whole: with nothing else in flight it always fits into the socket.
fn begin(connection: &mut Connection, start: usize, bytes: usize) -> io::Result<()> {
    connection.start = start % PERIOD;
    connection.received = 0;
    let message = &PATTERN[connection.start..connection.start + bytes];
    if send(&connection.socket, message, SendFlags::NOSIGNAL)? != bytes {
        return Err(broken("a message did not fit into an empty socket"));
    }
    Ok(())
}

/// Reads once and compares; false if there was nothing to read.
fn read(connection: &mut Connection, buffer: &mut [u8]) -> io::Result<bool> {
    match recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
        Ok((count, _)) => check(connection, &buffer[..count]).map(|()| true),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn check(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Err(broken("closed by the server"));
    }
    let from = connection.start + connection.received;
    if PATTERN.get(from..from + bytes.len()) != Some(bytes) {
        return Err(broken("wrong bytes came back"));
    }
    connection.received += bytes.len();
    Ok(())
}

fn transferred(result: rustix::io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Pseudo-random bytes of one period, and enough of the next that any block can be sliced out of it.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes: Vec<u8> = (0..PERIOD)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    bytes.extend_from_within(..);
    bytes.extend_from_within(..STREAM_BYTES);
    bytes
});

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

fn broken(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}
