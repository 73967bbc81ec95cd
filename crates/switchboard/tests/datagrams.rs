//! What a datagram service must do beyond answering, on every engine that serves datagrams: answer from the address
//! that was asked, answer everything that is queued and every length, and never answer a service, amplify, loop, or
//! let one peer hold up the others. Rows S4, S18, S19; CERT CA-1996-01, CVE-2024-2169.

mod harness;

use harness::{
    Over, PATIENCE, Scratch, Server, Stream, ask, can_fault, datagram_socket, each_engine, end, engines,
    has_ipv6, is_ring_of_characters, number, skip,
};
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, sockopt};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use switchboard::EngineRow;

const ANYWHERE: &str = "udp:127.0.0.1:0";

fn packet_engines() -> impl Iterator<Item = &'static EngineRow> {
    engines().into_iter().filter(|row| row.datagrams)
}

fn start(engine: &EngineRow, services: &[&str], more: &[&str]) -> Server {
    Server::start(&[services, &["--engine", engine.name], more].concat())
}

/// The UDP address of a service.
fn address_of(server: &Server, service: &str) -> SocketAddr {
    let found = server.listeners().into_iter().find(|(name, at)| name == service && at.starts_with("udp:"));
    let (_, endpoint) = found.unwrap_or_else(|| panic!("{service} is not served"));
    endpoint["udp:".len()..].parse().expect("an address")
}

/// A socket bound to `at` that waits for answers, but not for ever.
fn bind(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap_or_else(|error| panic!("bind {at}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
    socket
}

/// One that takes and gives only what goes to and comes from `peer`.
fn connected(at: &str, peer: SocketAddr) -> UdpSocket {
    let socket = bind(at);
    socket.connect(peer).unwrap_or_else(|error| panic!("connect to {peer}: {error}"));
    socket
}

fn question(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).expect("send");
    next(socket)
}

fn next(socket: &UdpSocket) -> Vec<u8> {
    let mut answer = vec![0; 65_536];
    let n = socket.recv(&mut answer).unwrap_or_else(|error| panic!("no answer: {error}"));
    answer.truncate(n);
    answer
}

/// Whether nothing is there.
fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).expect("non-blocking");
    let nothing = matches!(socket.recv(&mut [0; 16]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("blocking");
    nothing
}

/// A queue that holds `n` small answers; false if this machine does not give one.
fn has_room(socket: &UdpSocket, n: usize) -> bool {
    let wanted = n * 2_048;
    if sockopt::set_socket_recv_buffer_size_force(socket, wanted).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, wanted);
    }
    let enough = sockopt::socket_recv_buffer_size(socket).is_ok_and(|got| got >= wanted);
    if !enough {
        skip(&format!("a burst of {n}"), "net.core.rmem_max is too small for the client's queue");
    }
    enough
}

/// Sends `n` numbered requests while the server stands still, so that all are queued; the answers' numbers.
fn burst(server: &Server, socket: &UdpSocket, n: u32, answers: usize) -> Vec<u32> {
    server.freeze();
    (0..n).for_each(|i| assert_eq!(socket.send(&i.to_be_bytes()).expect("send"), 4));
    server.thaw();
    let word = |bytes: Vec<u8>| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    (0..answers).map(|_| word(next(socket))).collect()
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    each_engine(packet_engines(), 2, |engine| {
        let server = start(engine, &["echo"], &["--listen", "udp:0.0.0.0:0"]);
        let port = address_of(&server, "echo").port();
        // A connected socket takes nothing that comes from another address.
        for local in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.255.255.1"] {
            let socket = connected("127.0.0.1:0", SocketAddr::new(local.parse().expect("an address"), port));
            assert_eq!(question(&socket, local.as_bytes()), local.as_bytes());
        }
        end(server);
        if !has_ipv6() {
            return skip("IPv6", "there is no ::1 here");
        }
        let server = start(engine, &["echo"], &["--listen", "udp:[::]:0"]);
        let port = address_of(&server, "echo").port();
        let socket = connected("[::]:0", SocketAddr::new("::1".parse().expect("an address"), port));
        assert_eq!(question(&socket, b"six"), b"six");
        end(server);
    });
}

#[test]
fn every_length_is_echoed_whole() {
    each_engine(packet_engines(), 2, |engine| {
        let server = start(engine, &["echo"], &["--listen", ANYWHERE]);
        let socket = connected("127.0.0.1:0", address_of(&server, "echo"));
        for length in [0, 1, 511, 512, 513, 1_472, 4_096, 8_192, 65_506, 65_507, 0, 65_507, 3] {
            let said: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            assert!(question(&socket, &said) == said, "{length} bytes");
        }
        assert_eq!(number(&end(server), "datagrams_out"), 13);
    });
}

#[test]
fn a_burst_of_1000_gets_1000_answers() {
    each_engine(packet_engines(), 1, |engine| {
        for fault in ["", "again=80", "eintr=50"] {
            if !fault.is_empty() && !can_fault(fault) {
                continue;
            }
            let server =
                Server::start_faulty(fault, &["echo", "--engine", engine.name, "--listen", ANYWHERE]);
            let socket = connected("127.0.0.1:0", address_of(&server, "echo"));
            if !has_room(&socket, 1_000) {
                return;
            }
            question(&socket, b"warm");
            let answers = burst(&server, &socket, 1_000, 1_000);
            assert!(answers.into_iter().eq(0..1_000), "one answer to each, in order");
            let summary = end(server);
            assert_eq!(number(&summary, "datagrams_out"), 1_001, "{summary}");
        }
    });
}

#[test]
fn services_are_not_answered() {
    each_engine(packet_engines(), 1, |engine| {
        let server = start(engine, &["echo", "daytime"], &["--listen", ANYWHERE]);
        let (echo, daytime) = (address_of(&server, "echo"), address_of(&server, "daytime"));
        let client = connected("127.0.0.1:0", echo);
        let mut dropped = 0;
        let mut places: Vec<String> = [7, 9, 13, 17, 19, 37, 53, 69, 123, 1_023, 2_049]
            .map(|port| format!("127.0.0.6:{port}"))
            .to_vec();
        places.extend([echo, daytime].map(|own| format!("127.0.0.5:{}", own.port())));
        for place in places {
            let service = match UdpSocket::bind(&place) {
                Ok(socket) => socket,
                Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::AddrInUse) => {
                    skip(&format!("a datagram from {place}"), &error.to_string());
                    continue;
                }
                Err(error) => panic!("bind {place}: {error}"),
            };
            service.connect(echo).expect("connect");
            service.send(b"answer me").expect("send");
            dropped += 1;
            // The server takes one after the other: when this is answered, that was decided.
            assert_eq!(question(&client, place.as_bytes()), place.as_bytes(), "after {place}");
            assert!(is_silent(&service), "{place} was answered");
        }
        assert!(dropped >= 3, "hardly anything could be tried");
        let allowed = connected("127.0.0.6:0", echo);
        assert_eq!(question(&allowed, b"a client"), b"a client");
        let summary = end(server);
        assert_eq!(number(&summary, "datagrams_filtered"), dropped, "{summary}");
    });
}

#[test]
fn who_asks_many_at_once_is_not_answered() {
    each_engine(packet_engines(), 1, |engine| {
        let server = start(engine, &["echo"], &["--listen", "udp:0.0.0.0:0"]);
        let port = address_of(&server, "echo").port();
        let client = connected("127.0.0.1:0", SocketAddr::from(([127, 0, 0, 1], port)));
        let group = Ipv4Addr::new(239, 255, 83, 66);
        let asker = bind("127.0.0.1:0");
        asker.set_broadcast(true).expect("broadcast");
        // Somebody must be in the group, or the kernel drops it; then every wildcard socket hears it (ip(7)).
        let member = bind("0.0.0.0:0");
        let joined = member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST);
        let interface = rustix::net::sockopt::set_ip_multicast_if(&asker, &Ipv4Addr::LOCALHOST);
        let mut sent = 0;
        for (what, to) in [("broadcast", Ipv4Addr::new(127, 255, 255, 255)), ("multicast", group)] {
            let ready = joined.is_ok() && interface.is_ok() || what == "broadcast";
            match asker.send_to(b"everybody", (to, port)) {
                Ok(_) if ready => sent += 1,
                outcome => skip(&format!("{} {what}", engine.name), &format!("{outcome:?}, {joined:?}")),
            }
            assert_eq!(question(&client, b"alone"), b"alone");
            assert!(is_silent(&asker), "a {what} was answered");
        }
        let summary = end(server);
        assert_eq!(number(&summary, "datagrams_in"), sent + 2, "all arrived: {summary}");
        assert_eq!(number(&summary, "datagrams_filtered"), sent, "{summary}");
    });
}

#[test]
fn an_ipv4_address_inside_ipv6_is_not_answered() {
    if !has_ipv6() {
        return skip("IPv4 in IPv6", "there is no ::1 here");
    }
    each_engine(packet_engines(), 2, |engine| {
        let server = start(engine, &["echo"], &["--listen", "udp:[::]:0", "--option", "v6only=off"]);
        let port = address_of(&server, "echo").port();
        let mapped = connected("127.0.0.1:0", SocketAddr::from(([127, 0, 0, 1], port)));
        let client = connected("[::1]:0", format!("[::1]:{port}").parse().expect("an address"));
        mapped.send(b"four").expect("send");
        assert_eq!(question(&client, b"six"), b"six");
        assert!(is_silent(&mapped), "a mapped address was answered");
        assert_eq!(number(&end(server), "datagrams_filtered"), 1);
    });
}

#[test]
fn one_source_has_its_limit_and_the_others_theirs() {
    each_engine(packet_engines(), 2, |engine| {
        // A rate so low that nothing is refilled while a slow machine runs this test.
        let rate = ["--listen", ANYWHERE, "--udp-source-rate", "0/20"];
        let server = start(engine, &["echo"], &rate);
        let flood = connected("127.0.0.1:0", address_of(&server, "echo"));
        let other = connected("127.0.0.2:0", address_of(&server, "echo"));
        let answers = burst(&server, &flood, 200, 20);
        assert!(answers.into_iter().eq(0..20), "the first twenty");
        assert_eq!(question(&other, b"me too"), b"me too");
        // Another port is not another source.
        let again = connected("127.0.0.1:0", address_of(&server, "echo"));
        again.send(b"again").expect("send");
        assert_eq!(question(&other, b"and again"), b"and again");
        assert!(is_silent(&flood) && is_silent(&again), "more than twenty answers");
        let summary = end(server);
        assert_eq!(number(&summary, "datagrams_in"), 203, "{summary}");
        assert_eq!(number(&summary, "datagrams_out"), 22, "{summary}");
        assert_eq!(number(&summary, "datagrams_limited"), 181, "{summary}");
    });
}

#[test]
fn a_source_is_answered_again_at_its_rate() {
    each_engine(packet_engines(), 4, |engine| {
        let server = start(engine, &["echo"], &["--listen", ANYWHERE, "--udp-source-rate", "10/20"]);
        let socket = connected("127.0.0.1:0", address_of(&server, "echo"));
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("time-out");
        let (began, mut answers) = (Instant::now(), 0);
        while answers < 25 {
            assert!(began.elapsed() < PATIENCE, "{answers} answers");
            socket.send(b"?").expect("send");
            answers += usize::from(socket.recv(&mut [0; 8]).is_ok());
        }
        // Twenty at once, five more in half a second.
        assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
        end(server);
    });
}

#[test]
fn all_together_have_a_limit_and_limits_can_be_off() {
    each_engine(packet_engines(), 2, |engine| {
        let total = ["--listen", ANYWHERE, "--udp-source-rate", "off", "--udp-total-rate", "0/30"];
        let server = start(engine, &["echo"], &total);
        let flood = connected("127.0.0.1:0", address_of(&server, "echo"));
        let answers = burst(&server, &flood, 100, 30);
        assert!(answers.into_iter().eq(0..30), "the first thirty");
        let summary = end(server);
        assert_eq!(number(&summary, "datagrams_out"), 30, "{summary}");
        assert_eq!(number(&summary, "datagrams_limited"), 70, "{summary}");

        let off = ["--listen", ANYWHERE, "--udp-source-rate", "off", "--udp-total-rate", "off"];
        let server = start(engine, &["echo"], &off);
        let socket = connected("127.0.0.1:0", address_of(&server, "echo"));
        // More than the default burst of one source.
        for i in 0_u32..2_200 {
            assert_eq!(question(&socket, &i.to_be_bytes()), i.to_be_bytes());
        }
        assert_eq!(number(&end(server), "datagrams_limited"), 0);
    });
}

#[test]
fn nothing_is_amplified_unless_the_operator_asks_for_it() {
    each_engine(packet_engines(), 2, |engine| {
        let server = start(engine, &["chargen", "qotd", "daytime", "time"], &["--listen", ANYWHERE]);
        for service in ["chargen", "qotd"] {
            let socket = connected("127.0.0.1:0", address_of(&server, service));
            for size in (0..=1_472).step_by(23) {
                let answer = question(&socket, &vec![b'?'; size]);
                assert!(answer.len() <= size && answer.len() <= 512, "{service}: {size} → {}", answer.len());
                assert!(service == "qotd" || is_ring_of_characters(&answer), "{}", answer.escape_ascii());
            }
        }
        for (service, lengths) in [("daytime", 20..=64), ("time", 4..=4)] {
            let socket = connected("127.0.0.1:0", address_of(&server, service));
            let answer = question(&socket, b"");
            assert!(lengths.contains(&answer.len()), "{service}: {}", answer.escape_ascii());
        }
        end(server);
        let server = start(engine, &["chargen", "qotd"], &["--listen", ANYWHERE, "--option", "amplify=on"]);
        for service in ["chargen", "qotd"] {
            let socket = connected("127.0.0.1:0", address_of(&server, service));
            let longest = (0..50).map(|_| question(&socket, b"").len()).max();
            assert!(longest.is_some_and(|n| (20..=512).contains(&n)), "{service}: {longest:?}");
        }
        end(server);
    });
}

/// A UDP datagram with a source of our choice (raw(7), `IP_HDRINCL`).
fn spoof(raw: &std::os::fd::OwnedFd, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { panic!("IPv4 only") };
    let udp_len = (8 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    // No checksum: IPv4 allows that, and the kernel fills in those of the IP header.
    packet.extend([0, 0]);
    packet.extend(payload);
    rustix::net::sendto(raw, &packet, SendFlags::empty(), &SocketAddr::V4(to)).expect("send");
}

#[test]
fn a_forged_datagram_does_not_make_two_services_talk() {
    let raw = Protocol::from_raw(std::num::NonZeroU32::new(255).expect("IPPROTO_RAW"));
    let raw =
        match rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(raw))
        {
            Ok(raw) => raw,
            Err(error) => return skip("forged datagrams", &error.to_string()),
        };
    let services = ["echo", "chargen", "daytime", "qotd", "time", "sum", "acknowledge"];
    each_engine(packet_engines(), 1, |engine| {
        let server = start(engine, &services, &["--listen", ANYWHERE]);
        let addresses = services.map(|service| address_of(&server, service));
        let mut forged = 0;
        for from in addresses {
            for to in addresses {
                spoof(&raw, from, to, b"1 2");
                forged += 1;
            }
        }
        // Every service has decided when it answers this.
        for (service, address) in services.iter().zip(addresses) {
            let answer = question(&connected("127.0.0.1:0", address), b"20 22");
            assert!(!answer.is_empty(), "{service}");
        }
        let summary = end(server);
        assert_eq!(number(&summary, "datagrams_in"), forged + services.len() as u64, "{summary}");
        assert_eq!(number(&summary, "datagrams_filtered"), forged, "{summary}");
        assert_eq!(number(&summary, "datagrams_out"), services.len() as u64, "{summary}");
    });
}

// A relay hides from each service that the other one is a service: only the limit stops the loop.
#[test]
fn a_loop_through_a_relay_ends_with_the_bucket() {
    each_engine(packet_engines(), 4, |engine| {
        let rate = ["--listen", ANYWHERE, "--udp-source-rate", "0/50"];
        let server = start(engine, &["echo", "chargen"], &rate);
        let (echo, chargen) = (address_of(&server, "echo"), address_of(&server, "chargen"));
        let relay = bind("127.0.0.1:0");
        relay.set_read_timeout(Some(Duration::from_millis(500))).expect("time-out");
        relay.send_to(&[b'x'; 400], echo).expect("send");
        let (mut relayed, mut bytes) = (0, [0; 1_000]);
        loop {
            let next = relay.recv_from(&mut bytes).or_else(|_| {
                // Nothing for a while: it is over, or the machine has other things to do.
                server.wait_until_quiet("nobody has anything to say");
                relay.recv_from(&mut bytes)
            });
            let Ok((n, from)) = next else { break };
            relayed += 1;
            assert!(relayed <= 100, "the two go on for ever");
            relay.send_to(&bytes[..n], if from == echo { chargen } else { echo }).expect("send");
        }
        let out = number(&end(server), "datagrams_out");
        assert_eq!(out, relayed);
        // An engine that gives each service a worker of its own gives each worker its own bucket.
        let buckets = if engine.many_services { 1 } else { 2 };
        assert!((50..=50 * buckets + 1).contains(&out), "{out} datagrams");
    });
}

// Datagrams alone first, so that a loop which treats that as a case of its own is in it when a connection comes; then
// more of them than can be answered, while the connection is served, and a few when it is gone.
#[test]
fn a_flood_of_datagrams_holds_up_no_connection() {
    const ALONE: u32 = 200;
    const CONNECTIONS: u32 = 20;
    each_engine(packet_engines().filter(|engine| engine.many_services), 1, |engine| {
        let more = ["--listen", ANYWHERE, "--listen", "tcp:127.0.0.1:0"];
        let limits = ["--udp-source-rate", "off", "--udp-total-rate", "off"];
        let server = start(engine, &["echo"], &[&more[..], &limits].concat());
        let address = address_of(&server, "echo");
        let socket = connected("127.0.0.1:0", address);
        let questions =
            || (0..ALONE).for_each(|i| assert_eq!(question(&socket, &i.to_be_bytes()), i.to_be_bytes()));
        questions();
        let tcp = server
            .listeners()
            .into_iter()
            .find(|(_, at)| at.starts_with("tcp:"))
            .expect("a stream listener")
            .1;
        let flood = connected("127.0.0.1:0", address);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Whatever happens below, the flood ends.
            let _over = Over(&is_over);
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // A full queue is what it is about.
                    let _ = flood.send(&[b'x'; 64]);
                }
            });
            for i in 0..CONNECTIONS {
                let mut stream = Stream::connect(&tcp).expect("connect");
                assert_eq!(stream.converse(&i.to_be_bytes()).expect("an answer"), i.to_be_bytes());
            }
        });
        // What is still in its queue would leave no room for more.
        server.wait_until_quiet("the flood is over");
        questions();
        let summary = end(server);
        assert_eq!(number(&summary, "accepted"), u64::from(CONNECTIONS), "{summary}");
    });
}

#[test]
fn nonsense_is_met_with_silence() {
    each_engine(packet_engines(), 2, |engine| {
        let server = start(engine, &["sum", "sum-binary", "discard"], &["--listen", ANYWHERE]);
        let good = [&20_i64.to_be_bytes()[..], &22_i64.to_be_bytes()].concat();
        let lines =
            [&b""[..], b"input error\n", b"1 2\n3 4\n", b"\xff\xfe", b"overflow error\n", &[b'9'; 5_000]];
        let numbers = [&b""[..], b"1234567", &good[..15], &[0xff; 4]];
        let cases = [("sum", &lines[..], &b"20 22"[..]), ("sum-binary", &numbers, &good)];
        let mut answered = 0;
        for (service, nonsense, sense) in cases {
            let socket = connected("127.0.0.1:0", address_of(&server, service));
            for request in nonsense {
                socket.send(request).expect("send");
                let answer = question(&socket, sense);
                let right = if service == "sum" {
                    answer == b"42\n"
                } else {
                    answer.ends_with(&42_i64.to_be_bytes())
                };
                assert!(right, "{service} answered {}: {}", request.escape_ascii(), answer.escape_ascii());
                answered += 1;
            }
        }
        connected("127.0.0.1:0", address_of(&server, "discard")).send(b"hello").expect("send");
        assert_eq!(number(&end(server), "datagrams_out"), answered);
    });
}

#[test]
fn a_unix_peer_that_never_reads_or_has_no_name_holds_up_nobody() {
    const MOST: usize = 2_000;
    each_engine(packet_engines(), 2, |engine| {
        let scratch = Scratch::new();
        let place = format!("unix-dgram:{}", scratch.path("echo"));
        let server = start(engine, &["echo"], &["--listen", &place]);
        let client = datagram_socket(&place);
        assert_eq!(ask(&client, b"hello").expect("an answer"), b"hello");

        let nameless = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        nameless.connect(scratch.path("echo")).expect("connect");
        nameless.send(b"who am I?").expect("send");
        assert_eq!(ask(&client, b"again").expect("an answer"), b"again");

        // His queue is full long before he has sent so much; he does not read any of it. He is not connected: the
        // kernel puts no bound to the queue of a peer who is, and charges it to our socket (unix(7)).
        let mute = std::os::unix::net::UnixDatagram::bind(scratch.path("mute")).expect("a socket");
        for i in 0..MOST as u32 {
            mute.send_to(&i.to_be_bytes(), scratch.path("echo")).expect("the server goes on reading");
        }
        assert_eq!(ask(&client, b"and I?").expect("an answer"), b"and I?");
        server.wait_until_quiet("nobody waits for the mute one");
        let summary = end(server);
        assert_eq!(number(&summary, "datagrams_filtered"), 1, "{summary}");
        assert_eq!(number(&summary, "datagrams_in"), MOST as u64 + 4, "{summary}");
        let (out, unsent) = (number(&summary, "datagrams_out"), number(&summary, "datagrams_unsent"));
        assert_eq!(out + unsent, MOST as u64 + 3, "{summary}");
        assert!(unsent > 0, "the mute one's queue never filled: {summary}");
    });
}
