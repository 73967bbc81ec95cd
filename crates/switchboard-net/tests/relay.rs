//! The relay: halves stay halves, what breaks on one side breaks on the other, and bytes are counted.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use switchboard_net::relay::{self, RelaySite, Target};
use switchboard_net::{
    Counters, Dialing, Endpoint, Error, Format, Journal, Listener, SocketOptions, Stop, Tally,
};
use switchboard_proto::Random;

const PATIENCE: Duration = Duration::from_secs(20);

struct Relay {
    address: SocketAddr,
    stop: &'static Stop,
    counters: &'static Counters,
    log: UnixStream,
    thread: JoinHandle<Result<(), Error>>,
}

fn start(listen: &str, to: &str, change: impl FnOnce(&mut RelaySite<'_>) + Send + 'static) -> Relay {
    let listeners = Listener::bind(&listen.parse::<Endpoint>().unwrap(), &SocketOptions::default()).unwrap();
    let address = listeners[0].local().inet().unwrap_or("0.0.0.0:0".parse().unwrap());
    let stop: &'static Stop = Box::leak(Box::new(Stop::new().unwrap()));
    let counters = Counters::shared().unwrap();
    let (log, sink) = UnixStream::pair().unwrap();
    let to: Endpoint = to.parse().unwrap();
    let thread = thread::spawn(move || {
        let journal = Journal::new(sink.into(), Format::Human);
        let mut site = RelaySite {
            upstreams: None,
            outward: None,
            id: "relay",
            listeners,
            tls: Vec::new(),
            door: None,
            to: Target::Endpoint(to),
            dialing: Dialing { connect_timeout: Duration::from_secs(2), ..Dialing::default() },
            warden: None,
            most: 100,
            idle_timeout: None,
            lifetime: None,
            drain_timeout: Duration::from_millis(100),
            stop,
            journal: &journal,
            counters,
            numbers: counters,
        };
        change(&mut site);
        relay::serve(site)
    });
    Relay { address, stop, counters, log, thread }
}

impl Relay {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn end(mut self) -> (String, Tally) {
        self.stop.set();
        self.thread.join().unwrap().unwrap();
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (log, self.counters.read())
    }
}

/// One client: everything is read to its end, then it is answered, in the other order than usual.
fn after_the_end(stream: impl Read + Write, finish: impl FnOnce()) -> usize {
    let mut stream = stream;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all.reverse();
    stream.write_all(&all).unwrap();
    finish();
    all.len()
}

fn bytes(len: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    (0..len.div_ceil(8)).flat_map(|_| random.bits().to_ne_bytes()).take(len).collect()
}

#[test]
fn halves_stay_halves() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", server.local_addr().unwrap());
    let serving = thread::spawn(move || after_the_end(server.accept().unwrap().0, || {}));
    let relay = start("tcp:127.0.0.1:0", &to, |_| {});
    let mut stream = relay.connect();
    let mut sent = bytes(3_000_001);
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    sent.reverse();
    assert!(got == sent);
    assert_eq!(serving.join().unwrap(), sent.len());
    let (log, tally) = relay.end();
    assert!(log.contains("in=3000001 out=3000001") && log.contains("end=done"), "{log}");
    assert_eq!((tally.accepted, tally.ended, tally.bytes_in), (1, 1, 3_000_001));
}

#[test]
fn unix_sockets_are_relayed_too() {
    let path = std::env::temp_dir().join(format!("switchboard-relay-{}", std::process::id()));
    let server = UnixListener::bind(&path).unwrap();
    let serving = thread::spawn(move || after_the_end(server.accept().unwrap().0, || {}));
    let relay = start("tcp:127.0.0.1:0", &format!("unix:{}", path.display()), |_| {});
    let mut stream = relay.connect();
    stream.write_all(b"abc").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    assert_eq!(got, "cba");
    serving.join().unwrap();
    std::fs::remove_file(path).unwrap();
    relay.end();
}

#[test]
fn a_target_that_breaks_off_is_told_as_a_break() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", server.local_addr().unwrap());
    let relay = start("tcp:127.0.0.1:0", &to, |_| {});
    let mut stream = relay.connect();
    let (mut target, _) = server.accept().unwrap();
    target.write_all(b"par").unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    rustix::net::sockopt::set_socket_linger(&target, Some(Duration::ZERO)).unwrap();
    drop(target);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (log, _) = relay.end();
    assert!(log.contains("end=target-reset"), "{log}");
}

#[test]
fn a_target_that_is_not_there_is_no_empty_answer() {
    // Bound, so that nobody else gets the port, and not listening.
    let gone =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&gone, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let at = std::net::SocketAddr::try_from(rustix::net::getsockname(&gone).unwrap()).unwrap();
    let relay = start("tcp:127.0.0.1:0", &format!("tcp:{at}"), |_| {});
    let mut stream = relay.connect();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (log, _) = relay.end();
    assert!(log.contains("end=unreachable"), "{log}");
}

#[test]
fn idle_connections_are_ended() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", server.local_addr().unwrap());
    let relay = start("tcp:127.0.0.1:0", &to, |site| site.idle_timeout = Some(Duration::from_millis(50)));
    let mut stream = relay.connect();
    let _target = server.accept().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (log, _) = relay.end();
    assert!(log.contains("end=idle"), "{log}");
}

#[test]
fn connections_that_last_too_long_are_ended_whatever_moves() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", server.local_addr().unwrap());
    let relay = start("tcp:127.0.0.1:0", &to, |site| site.lifetime = Some(Duration::from_millis(50)));
    let mut stream = relay.connect();
    let (mut target, _) = server.accept().unwrap();
    while target.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok() {}
    let (log, _) = relay.end();
    assert!(log.contains("end=lifetime"), "{log}");
}

#[test]
fn a_client_who_does_not_read_holds_up_nobody_else() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", server.local_addr().unwrap());
    let relay = start("tcp:127.0.0.1:0", &to, |_| {});
    let _deaf = relay.connect();
    let (mut endless, _) = server.accept().unwrap();
    endless.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let block = vec![0; 1 << 20];
    while endless.write(&block).is_ok() {}
    let mut other = relay.connect();
    let (mut target, _) = server.accept().unwrap();
    target.write_all(b"x").unwrap();
    other.read_exact(&mut [0]).unwrap();
    relay.end();
}

#[test]
fn datagrams_find_their_senders() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = format!("udp:{}", server.local_addr().unwrap());
    let relay = start("udp:127.0.0.1:0", &to, |site| site.most = 2);
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let clients: Vec<UdpSocket> = (0..3)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(relay.address).unwrap();
            socket
        })
        .collect();
    let mut room = [0; 100];
    for (n, client) in clients.iter().enumerate().cycle().take(9) {
        client.send(format!("from {n}").as_bytes()).unwrap();
        let (len, sender) = server.recv_from(&mut room).unwrap();
        assert_eq!(room[..len], *format!("from {n}").as_bytes());
        server.send_to(format!("to {n}").as_bytes(), sender).unwrap();
        let len = client.recv(&mut room).unwrap();
        assert_eq!(room[..len], *format!("to {n}").as_bytes());
    }
    let (log, tally) = relay.end();
    // Two at once: each of the three has pushed another one out.
    assert!(log.contains("end=crowded") && log.contains("end=stopped"), "{log}");
    assert_eq!((tally.datagrams_in, tally.datagrams_out), (9, 9));
    assert_eq!(tally.accepted, tally.ended);
}
