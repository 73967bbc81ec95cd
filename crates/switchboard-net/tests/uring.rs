//! What is particular to io_uring: operations stay in flight, buffers are lent to the kernel, and more may have
//! been done than was still wanted. Every engine's common behaviour is tested where they are all tested.

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use switchboard_net::roster::{self, Cut, Roster};
use switchboard_net::{
    Counters, Door, ENGINES, Endpoint, Error, Journal, Limits, Listener, Site, SocketOptions, Stop, Tally,
};
use switchboard_proto::{Flow, Io, Random, Recipe, Service, Session};

/// One server at a time, since descriptors are counted.
static ALONE: Mutex<()> = Mutex::new(());

struct Server {
    stop: &'static Stop,
    counters: &'static Counters,
    addresses: Vec<SocketAddr>,
    thread: JoinHandle<Result<(), Error>>,
    descriptors: usize,
    _alone: MutexGuard<'static, ()>,
}

fn recipe(service: &str) -> Recipe {
    Service::find(service).unwrap().recipe(&[]).unwrap()
}

fn site() -> Site<'static> {
    let row = ENGINES.iter().find(|row| row.name == "uring").unwrap();
    let stop = Box::leak(Box::new(Stop::new().unwrap()));
    let journal = Box::leak(Box::new(Journal::silent()));
    Site::new(row, Vec::new(), &recipe("echo"), stop, journal, Box::leak(Box::default()))
}

fn engine(site: Site<'_>) -> Result<(), Error> {
    ENGINES.iter().find(|row| row.name == "uring").unwrap().engine.serve(site)
}

/// Whether there is an io_uring here; says so if not.
fn available() -> bool {
    let site = site();
    site.stop.set();
    // In a thread of its own: taking a ring down interrupts system calls of the thread that had it.
    let Err(error) = thread::spawn(move || engine(site)).join().unwrap() else { return true };
    assert!(error.to_string().contains("use --engine epoll"), "{error}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {error}");
    false
}

/// Serves these (service, endpoint); `None` where there is no io_uring.
fn serve(doors: &[(&str, &str)], limits: Limits) -> Option<Server> {
    let doors: Vec<_> = doors.iter().map(|(service, endpoint)| (recipe(service), *endpoint)).collect();
    serve_recipes(alone(), &doors, limits)
}

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve_recipes(alone: MutexGuard<'static, ()>, doors: &[(Recipe, &str)], limits: Limits) -> Option<Server> {
    if !available() {
        return None;
    }
    let mut site = Site { limits, ..site() };
    let (stop, counters, descriptors) = (site.stop, site.counters, descriptors());
    for (recipe, endpoint) in doors {
        let endpoint: Endpoint = endpoint.parse().unwrap();
        for listener in Listener::bind(&endpoint, &SocketOptions::default()).unwrap() {
            site.doors.push(Door {
                listener,
                recipe: recipe.clone(),
                warden: None,
                upstreams: None,
                tls: None,
            });
        }
    }
    let addresses = site.doors.iter().filter_map(|door| door.listener.local().inet()).collect();
    let thread = thread::Builder::new().name("engine".into()).spawn(move || engine(site)).unwrap();
    Some(Server { stop, counters, addresses, thread, descriptors, _alone: alone })
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Drains, and checks that nothing is left behind. The test's own sockets are closed by then.
    fn end(self) -> Tally {
        self.stop.set();
        self.thread.join().unwrap().unwrap();
        // io_uring puts its last descriptors away after the ring was closed.
        until("descriptors are closed", || descriptors() <= self.descriptors);
        let tally = self.counters.read();
        assert_eq!(tally.accepted, tally.ended);
        tally
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < late, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn resident_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..len.div_ceil(8)).flat_map(|_| random.bits().to_ne_bytes()).take(len).collect()
}

/// Sends messages of many sizes, each echoed before the next; then half-closes and sees the end.
fn converse<S: Read + Write>(mut stream: S, seed: u64, half_close: impl Fn(&S)) {
    let mut random = Random::new(seed);
    for round in 0..20 {
        let len = [1, 64, 4_096, 4_160, 4_161, 70_000, random.below(20_000) + 1][random.below(7)];
        let sent = bytes(seed ^ round, len);
        let mut back = vec![0; len];
        stream.write_all(&sent).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert!(sent == back, "seed {seed}, round {round}, {len} bytes");
    }
    half_close(&stream);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn many_clients_at_once_are_answered_each_in_full() {
    let doors = [("echo", "tcp:127.0.0.1:0"), ("echo", "unix:@switchboard-uring")];
    let Some(server) = serve(&doors, Limits::default()) else { return };
    thread::scope(|scope| {
        for seed in 0..200 {
            let server = &server;
            scope.spawn(move || match seed % 2 {
                0 => converse(server.connect(), seed, |stream| stream.shutdown(Shutdown::Write).unwrap()),
                _ => {
                    let name =
                        std::os::unix::net::SocketAddr::from_abstract_name("switchboard-uring").unwrap();
                    let stream = UnixStream::connect_addr(&name).unwrap();
                    converse(stream, seed, |stream| stream.shutdown(Shutdown::Write).unwrap());
                }
            });
        }
    });
    let tally = server.end();
    assert_eq!((tally.accepted, tally.reset, tally.bytes_in), (200, 0, tally.bytes_out));
}

#[test]
fn messages_keep_their_boundaries() {
    let doors = [("echo", "unix-seqpacket:@switchboard-uring-messages")];
    let Some(server) = serve(&doors, Limits::default()) else { return };
    let name = SocketAddrUnix::new_abstract_name(b"switchboard-uring-messages").unwrap();
    let socket = net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    net::connect(&socket, &name).unwrap();
    let messages: Vec<Vec<u8>> = (0..200).map(|n| bytes(n, 1 + n as usize * 160)).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for message in &messages {
                assert_eq!(net::send(&socket, message, SendFlags::NOSIGNAL).unwrap(), message.len());
            }
        });
        let mut room = vec![0; 65_536];
        for message in &messages {
            let (n, _) = net::recv(&socket, &mut room[..], RecvFlags::empty()).unwrap();
            assert!(room[..n] == message[..], "{n} bytes for {}", message.len());
        }
    });
    drop(socket);
    server.end();
}

#[test]
fn a_peer_that_does_not_read_costs_little_and_loses_nothing() {
    const LEN: usize = 16 << 20;
    let Some(server) = serve(&[("echo", "tcp:127.0.0.1:0")], Limits::default()) else { return };
    let sent = bytes(7, LEN);
    let mut back = vec![1; LEN];
    let before = resident_kib();
    let mut writers = Vec::new();
    for _ in 0..8 {
        let stream = server.connect();
        let mut writer = stream.try_clone().unwrap();
        writer.set_nonblocking(true).unwrap();
        // As much as everything in between holds.
        let mut written = 0;
        let mut last = Instant::now();
        while last.elapsed() < Duration::from_millis(100) {
            match writer.write(&sent[written..]) {
                Ok(n) => (written, last) = (written + n, Instant::now()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(written < LEN, "the client was never held back");
        writers.push((stream, written));
    }
    // Eight times what may be in flight (both buffers, and what a receive brought before it was called off), and
    // what the pools keep.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 8 * 600 + 4_096, "{grown} KiB for 8 clients who do not read");
    for (mut stream, written) in writers {
        stream.set_nonblocking(false).unwrap();
        thread::scope(|scope| {
            let mut writer = stream.try_clone().unwrap();
            let rest = &sent[written..];
            scope.spawn(move || {
                writer.write_all(rest).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            stream.read_exact(&mut back).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        assert!(sent == back);
    }
    assert_eq!(server.end().bytes_out, 8 * LEN as u64);
}

#[test]
fn connections_broken_with_operations_in_flight_are_freed() {
    const IDLE: Duration = Duration::from_secs(1);
    let doors = [("chargen", "tcp:127.0.0.1:0"), ("discard", "tcp:127.0.0.1:0")];
    let limits = Limits { idle_timeout: Some(IDLE), ..Limits::default() };
    let Some(server) = serve(&doors, limits) else { return };
    // Chargen's sends are in flight; the peer resets, or reads no more and meets the idle limit.
    let (mut silent, mut in_time) = (Vec::new(), 0);
    for n in 0..100 {
        let begin = Instant::now();
        let mut stream = server.connect();
        stream.read_exact(&mut [0; 1_000]).unwrap();
        if n % 2 == 0 {
            net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            drop(stream);
            // Whom a busy machine keeps waiting may meet the limit himself.
            in_time += u64::from(begin.elapsed() < IDLE / 2);
        } else {
            silent.push(stream);
        }
    }
    let mut discarded = TcpStream::connect(server.addresses[1]).unwrap();
    discarded.write_all(&[0; 100]).unwrap();
    until("everybody is cut off", || server.counters.read().ended == 101);
    assert_eq!(discarded.read(&mut [0]).unwrap(), 0);
    drop((silent, discarded));
    let tally = server.end();
    assert_eq!(tally.reset + tally.timed_out, 101);
    assert!(tally.reset >= in_time && tally.timed_out >= 51, "{in_time} in time, {tally:?}");
}

#[test]
fn clients_beyond_the_limit_wait_and_none_is_dropped() {
    let limits = Limits { max_connections: Some(3), ..Limits::default() };
    let doors = [("echo", "tcp:127.0.0.1:0"), ("echo", "tcp:127.0.0.1:0")];
    let Some(server) = serve(&doors, limits) else { return };
    thread::scope(|scope| {
        for n in 0..50_usize {
            let server = &server;
            scope.spawn(move || {
                let mut stream = TcpStream::connect(server.addresses[n % 2]).unwrap();
                stream.write_all(b"hello").unwrap();
                stream.read_exact(&mut [0; 5]).unwrap();
                // Read one after the other: of those who were inside at the first, some may have left by the second.
                let tally = server.counters.read();
                assert!(tally.accepted.saturating_sub(tally.ended) <= 3);
            });
        }
    });
    assert_eq!(server.end().accepted, 50);
}

#[test]
fn more_clients_at_once_than_may_come_in_are_served_in_turn() {
    let limits = Limits { max_connections: Some(260), ..Limits::default() };
    let Some(server) = serve(&[("echo", "tcp:127.0.0.1:0")], limits) else { return };
    let mut streams: Vec<TcpStream> = (0..600).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"hello").unwrap();
    }
    for mut stream in streams {
        stream.read_exact(&mut [0; 5]).unwrap();
    }
    assert_eq!(server.end().accepted, 600);
}

#[test]
fn draining_serves_to_the_end_and_cuts_what_takes_too_long() {
    // Who is polite may be late himself on a busy machine, and so may the end: then with more time.
    let limits = [300, 1_200, 4_800].map(Duration::from_millis);
    assert!(limits.into_iter().any(drains), "who goes on is cut at once, or nobody is in the end");
}

/// Whether a conversation that went on at the stop was served, and the others were cut after this time and not much later.
fn drains(drain_timeout: Duration) -> bool {
    let limits = Limits { drain_timeout, ..Limits::default() };
    let doors = [("echo", "tcp:127.0.0.1:0"), ("chargen", "tcp:127.0.0.1:0"), ("echo", "udp:127.0.0.1:0")];
    let Some(server) = serve(&doors, limits) else { return true };
    let mut polite = server.connect();
    let idle = server.connect();
    let mut stuck = TcpStream::connect(server.addresses[1]).unwrap();
    stuck.read_exact(&mut [0; 1_000]).unwrap();
    polite.write_all(b"before").unwrap();
    polite.read_exact(&mut [0; 6]).unwrap();
    let begin = Instant::now();
    server.stop.set();
    let is_served = polite.write_all(b"after").and_then(|()| polite.read_exact(&mut [0; 5])).is_ok();
    drop(polite);
    until("the engine ends", || server.thread.is_finished());
    let took = begin.elapsed();
    assert!(took >= drain_timeout, "{took:?}");
    drop((idle, stuck));
    let tally = server.end();
    assert_eq!((tally.accepted, tally.stopped), (3, if is_served { 2 } else { 3 }));
    is_served && took < drain_timeout + Duration::from_millis(1_700)
}

#[test]
fn connections_come_and_go_without_a_trace() {
    let Some(server) = serve(&[("daytime", "tcp:127.0.0.1:0")], Limits::default()) else { return };
    let mut text = String::new();
    for n in 0..10_000 {
        let mut stream = server.connect();
        if n % 3 > 0 {
            text.clear();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.ends_with("\r\n"), "{text:?}");
        }
        if n % 3 == 2 {
            net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    }
    let tally = server.end();
    assert_eq!(tally.accepted, 10_000);
}

#[test]
fn a_burst_of_datagrams_is_answered_and_an_idle_server_sleeps() {
    let doors = [("echo", "udp:127.0.0.1:0"), ("echo", "tcp:127.0.0.1:0")];
    let Some(server) = serve(&doors, Limits::default()) else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.connect(server.addresses[0]).unwrap();
    for _ in 0..10 {
        for n in 0..100_u32 {
            socket.send(&n.to_ne_bytes()).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 4);
        }
    }
    let switches = || {
        let text = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default());
        text.filter(|text| text.contains("Name:\tengine"))
            .flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>())
            .filter(|line| line.contains("ctxt_switches"))
            .collect::<Vec<_>>()
    };
    // It may not have gone to sleep yet.
    let mut before = switches();
    until("the server is idle", || {
        thread::sleep(Duration::from_millis(300));
        let now = switches();
        let slept = now == before;
        before = now;
        slept
    });
    assert_eq!(before.len(), 2);
    drop(socket);
    assert_eq!(server.end().datagrams_out, 1_000);
}

/// Takes nothing of what it is sent, and says nothing.
struct Deaf {
    is_full: &'static AtomicBool,
}

impl Session for Deaf {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        self.is_full.store(io.rx.len() >= Limits::default().bounds.rx as usize, Ordering::SeqCst);
        Flow::Continue
    }
}

#[test]
fn a_conversation_that_neither_reads_nor_writes_is_ended_from_outside() {
    static IS_FULL: AtomicBool = AtomicBool::new(false);
    // Before the first descriptor: whoever is at it counts them.
    let alone = alone();
    let (_file, roster) = Roster::create().unwrap();
    roster::begin(roster).unwrap();
    let deaf = Recipe::new("deaf", |_| Deaf { is_full: &IS_FULL });
    let Some(server) = serve_recipes(alone, &[(deaf, "tcp:127.0.0.1:0")], Limits::default()) else { return };
    let client = server.connect();
    client.set_nonblocking(true).unwrap();
    until("nothing more is read", || {
        let _ = (&client).write(&[0; 4_096]);
        IS_FULL.load(Ordering::SeqCst)
    });
    let entry = roster.entries().next().unwrap();
    assert!(roster.cut(&entry, Cut::Terminated));
    until("it is ended", || server.counters.read().terminated == 1);
    drop(client);
    assert_eq!(server.end().terminated, 1);
}
