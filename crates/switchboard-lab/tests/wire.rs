//! The wire: its rules in virtual time, where the same seed is the same fate, and what real kernels make of them.

mod harness;

use harness::{PATIENCE, connect, host, listen, pair};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use switchboard_lab::host::{Network, Packets, Topology};
use switchboard_lab::record::{Event, HostId, Packet, Point, What};
use switchboard_lab::wire::fabric::Fabric;
use switchboard_lab::wire::frame::Frame;
use switchboard_lab::wire::impairment::{IMPAIRMENTS, find};
use switchboard_lab::wire::segment::{Segment, Transport};
use switchboard_lab::wire::{Act, Kind, Pattern, Way};
use switchboard_proto::Random;

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const MS: u64 = 1_000_000;

// Virtual time.

fn address(host: HostId, v6: bool) -> IpAddr {
    match v6 {
        false => Ipv4Addr::new(10, 0, host.0 + 1, 1).into(),
        true => Ipv6Addr::new(0xfd00, 0, 0, u16::from(host.0) + 1, 0, 0, 0, 1).into(),
    }
}

fn fabric(seed: u64, acts: &[(Way, &str, &str)]) -> Fabric {
    let mut fabric = Fabric::new([A, B].map(|host| vec![address(host, false), address(host, true)]), seed);
    fabric.up(A);
    fabric.up(B);
    for (way, name, value) in acts {
        fabric.act(0, &Act::impair(*way, name, value).expect("it is one"));
    }
    fabric
}

/// A UDP datagram; checksums are not looked at here.
fn datagram(from: HostId, to: HostId, v6: bool, length: usize) -> Frame {
    let (whole, body) =
        (8 + length, [&[0, 7, 0, 7][..], &((8 + length) as u16).to_be_bytes(), &[0; 2]].concat());
    let mut packet = match (address(from, v6), address(to, v6)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (20 + whole) as u16;
            let head = [&[0x45, 0][..], &total.to_be_bytes(), &[0, 0, 0x40, 0, 64, 17, 0, 0]].concat();
            [&head[..], &from.octets(), &to.octets()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let head = [&[0x60, 0, 0, 0][..], &(whole as u16).to_be_bytes(), &[17, 64]].concat();
            [&head[..], &from.octets(), &to.octets()].concat()
        }
        _ => unreachable!("one family"),
    };
    packet.extend_from_slice(&body);
    packet.resize(packet.len() + length, 0x5a);
    Frame::new(&packet)
}

/// Lets everything that is due by `until` arrive; who got what, when.
fn deliver(fabric: &mut Fabric, until: u64) -> Vec<(u64, HostId, usize)> {
    let mut arrived = Vec::new();
    while let Some(now) = fabric.due().filter(|due| *due <= until) {
        while let Some(arriving) = fabric.deliver(now) {
            arrived.push((now, arriving.to, arriving.frame.packet().len()));
            fabric.delivered(now, &arriving, None);
        }
    }
    arrived
}

fn packets(events: &[Event]) -> impl Iterator<Item = &Packet> {
    events.iter().filter_map(|event| match &event.what {
        What::Packet(packet) => Some(packet),
        _ => None,
    })
}

/// A thousand packets, both ways, at random moments, over a bad wire.
fn bad_day(seed: u64, traffic: u64) -> Vec<Event> {
    let acts = [
        (Way::ALL, "loss", "5%"),
        (Way::ALL, "corruption", "5%"),
        (Way::ALL, "duplication", "5%"),
        (Way::ALL, "delay", "3ms"),
        (Way::between(A, B), "jitter", "4ms"),
        (Way::ALL, "reordering", "10% 5ms"),
        (Way::between(B, A), "rate", "2Mbit/s 4kB"),
        (Way::ALL, "mtu", "1000"),
    ];
    let mut fabric = fabric(seed, &acts);
    let mut random = Random::new(traffic);
    let mut now = 0;
    for _ in 0..1000 {
        now += random.below(2 * MS as usize) as u64;
        deliver(&mut fabric, now);
        let (from, to) = if random.one_in(2) { (A, B) } else { (B, A) };
        fabric.send(now, from, datagram(from, to, random.one_in(2), random.below(1200)));
    }
    deliver(&mut fabric, u64::MAX);
    fabric.events()
}

#[test]
fn the_same_seed_is_the_same_fate() {
    for seed in 0..5 {
        assert_eq!(bad_day(seed, 7), bad_day(seed, 7));
        assert_ne!(bad_day(seed, 7), bad_day(seed + 1, 7));
    }
}

#[test]
fn every_packet_has_one_beginning_and_one_end() {
    let mut causes = BTreeMap::new();
    for seed in 0..5 {
        let events = bad_day(seed, seed);
        let mut ways: BTreeMap<u64, Vec<&Point>> = BTreeMap::new();
        for packet in packets(&events) {
            ways.entry(packet.id).or_default().push(&packet.point);
            if let Point::Dropped(cause) | Point::Forged(cause) = &packet.point {
                let kind: String = cause.chars().filter(|c| !c.is_ascii_digit()).collect();
                *causes.entry(kind).or_insert(0) += 1;
            }
        }
        for (id, way) in ways {
            let fits = matches!(
                way[..],
                [Point::Sent | Point::Forged(_), Point::Delivered]
                    | [Point::Sent, Point::Dropped(_)]
                    | [Point::Sent, Point::Forged(_), Point::Delivered]
            );
            assert!(fits, "seed {seed}, packet {id}: {way:?}");
        }
        assert!(events.is_sorted_by_key(|event| event.at_ns), "seed {seed}: out of order");
    }
    // Whatever can happen did.
    assert_eq!(causes.len(), 6, "{causes:?}");
}

#[test]
fn delay_is_exact_and_only_where_it_was_asked_for() {
    let mut fabric = fabric(1, &[(Way::between(A, B), "delay", "20ms")]);
    fabric.send(5, A, datagram(A, B, false, 10));
    fabric.send(6, B, datagram(B, A, false, 11));
    assert_eq!(deliver(&mut fabric, u64::MAX), [(6, A, 39), (20 * MS + 5, B, 38)]);
}

#[test]
fn a_rate_makes_packets_wait_for_each_other_and_its_queue_overflows() {
    // 1,000 bytes take 8 ms; 2,500 bytes may wait.
    let mut fabric = fabric(1, &[(Way::ALL, "rate", "1Mbit/s 2500B")]);
    for _ in 0..5 {
        fabric.send(0, A, datagram(A, B, false, 972));
    }
    let arrived: Vec<u64> = deliver(&mut fabric, u64::MAX).iter().map(|(at, ..)| *at).collect();
    assert_eq!(arrived, [8 * MS, 16 * MS]);
    fabric.send(100 * MS, A, datagram(A, B, false, 972));
    assert_eq!(deliver(&mut fabric, u64::MAX), [(108 * MS, B, 1000)]);
    let dropped = fabric.events();
    let dropped = packets(&dropped).filter(|packet| matches!(packet.point, Point::Dropped(_))).count();
    assert_eq!(dropped, 3);
}

#[test]
fn jitter_keeps_the_order_and_reordering_does_not() {
    let order = |name: &str, value: &str| {
        let mut fabric = fabric(3, &[(Way::ALL, name, value)]);
        for number in 0..200 {
            fabric.send(number * 1000, A, datagram(A, B, false, number as usize));
        }
        deliver(&mut fabric, u64::MAX).iter().map(|(.., length)| *length).collect::<Vec<usize>>()
    };
    assert!(order("jitter", "5ms").is_sorted());
    let reordered = order("reordering", "10%");
    assert!(!reordered.is_sorted() && reordered.len() == 200);
}

#[test]
fn icmp_tells_the_sender_what_was_wrong() {
    for (name, value, v6, expected) in [
        ("unreachable", "host", false, (3, 1)),
        ("unreachable", "9", false, (3, 9)),
        ("unreachable", "port", true, (1, 4)),
        ("unreachable", "net", true, (1, 0)),
        ("mtu", "1000", false, (3, 4)),
        ("mtu", "1280", true, (2, 0)),
    ] {
        let mut fabric = fabric(1, &[(Way::ALL, name, value)]);
        fabric.send(0, A, datagram(A, B, v6, 1400));
        let arriving = fabric.deliver(0).expect("an answer");
        assert_eq!((arriving.from, arriving.to), (None, A));
        let answer = Segment::decode(arriving.frame.packet()).expect("a packet");
        let (kind, code) = expected;
        assert_eq!(answer.transport, Transport::Icmp { kind, code }, "{name} {value}");
        // What is quoted is the packet, and answers to answers there are none.
        let quoted = Segment::decode(&arriving.frame.packet()[answer.transport_at + 8..]).expect("a packet");
        assert_eq!((quoted.source, quoted.destination), (address(A, v6), address(B, v6)));
        fabric.send(1, B, arriving.frame);
        let events = fabric.events();
        let forged = packets(&events).filter(|packet| matches!(packet.point, Point::Forged(_)));
        assert_eq!(forged.count(), 1, "{name} {value}");
    }
}

#[test]
fn what_was_asked_for_is_dropped_and_no_more() {
    let mut fabric = fabric(1, &[(Way::between(A, B), "drop-next", "2 UDP")]);
    for _ in 0..3 {
        fabric.send(0, A, datagram(A, B, false, 1));
        fabric.send(0, B, datagram(B, A, false, 1));
    }
    assert_eq!(deliver(&mut fabric, 0).len(), 4);
    fabric.act(0, &Act::cut(Way::into(B)));
    fabric.send(0, A, datagram(A, B, false, 1));
    assert_eq!(deliver(&mut fabric, 0).len(), 0);
    fabric.act(0, &Act::heal(Way::ALL));
    fabric.send(0, A, datagram(A, B, false, 1));
    assert_eq!(deliver(&mut fabric, 0).len(), 1);
    // A host that dies takes what is on its way with it.
    fabric.act(0, &Act::impair(Way::ALL, "delay", "1s").expect("it is one"));
    fabric.send(0, A, datagram(A, B, false, 1));
    fabric.down(B, 1);
    assert_eq!(fabric.due(), None);
}

#[test]
fn the_table_takes_its_examples_and_refuses_nonsense() {
    for row in &IMPAIRMENTS {
        for example in row.examples {
            assert!((row.make)(example).is_ok(), "{}: {example}", row.name);
        }
        for nonsense in ["-1", "nonsense", "1 2 3", "200%", "9999999999999999999999"] {
            assert!((row.make)(nonsense).is_err(), "{}: {nonsense}", row.name);
        }
    }
    assert!(find("gremlins").err().expect("there are none").contains("black-hole"));
    assert!(Act::impair(Way::ALL, "loss", "much").expect_err("no number").starts_with("loss: "));
}

#[test]
fn decoding_never_panics_and_cut_packets_keep_their_length() {
    let frame = datagram(A, B, true, 1000);
    let whole = Segment::decode(frame.packet()).expect("a packet");
    assert_eq!(Segment::decode(&frame.packet()[..64]), Some(whole));
    assert_eq!((whole.kind(), whole.data_length()), (Kind::Udp, 1000));
    let seed = switchboard_net::sys::clock::seed();
    let mut random = Random::new(seed);
    for round in 0..20_000 {
        let mut bytes: Vec<u8> = (0..random.below(80)).map(|_| random.bits() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = if random.one_in(2) { 0x45 } else { 0x60 };
        }
        if let Some(segment) = Segment::decode(&bytes) {
            assert!(segment.kind().name() != "", "seed {seed}, round {round}");
        }
        let mut fabric = fabric(seed, &[(Way::ALL, "corruption", "100%"), (Way::ALL, "duplication", "50%")]);
        fabric.send(0, A, Frame::new(&bytes));
        if round % 100 == 0 {
            deliver(&mut fabric, 1);
        }
    }
}

// Real kernels.

/// A million bytes from client to server; every one arrives.
fn transfer(what: &str, client: TcpStream, mut server: TcpStream) {
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let copy = sent.clone();
    let mut client = client;
    let writer = std::thread::spawn(move || client.write_all(&copy));
    let mut received = Vec::new();
    let read = server.read_to_end(&mut received);
    writer.join().expect("no panic").unwrap_or_else(|error| panic!("{what}: {error}"));
    read.unwrap_or_else(|error| panic!("{what}: {error} after {} bytes", received.len()));
    assert!(received == sent, "{what}: {} of {} bytes, or others", received.len(), sent.len());
}

fn refused(value: io::Result<usize>) -> ErrorKind {
    value.expect_err("an error").kind()
}

#[test]
fn tcp_survives_a_bad_wire() {
    for packets in [Packets::Exact, Packets::Segmented] {
        let what = format!("{packets:?}");
        let Some((network, seen)) = harness::start(&what, Network::builder().packets(packets).seed(5)) else {
            return;
        };
        for (name, value) in [
            ("loss", "1%"),
            ("corruption", "1%"),
            ("duplication", "5%"),
            ("delay", "1ms"),
            ("jitter", "1ms"),
            ("reordering", "5%"),
        ] {
            network.wire().act(Act::impair(Way::ALL, name, value).expect("it is one"));
        }
        for v6 in [false, true] {
            let (client, server) = pair(&network, v6);
            transfer(&what, client, server);
        }
        let seen = seen.packets();
        assert!(
            seen.iter().any(|packet| matches!(packet.point, Point::Dropped(_))),
            "{what}: nothing was lost"
        );
        let long = seen.iter().any(|packet| packet.length > 1500);
        assert_eq!(long, packets == Packets::Segmented, "{what}");
    }
}

#[test]
fn a_narrow_link_is_found_out_by_icmp_and_not_without() {
    for topology in [Topology::Routed, Topology::Lan] {
        let Some((network, _)) = harness::start("MTU", Network::builder().topology(topology)) else { return };
        for v6 in [false, true] {
            network.wire().act(Act::impair(Way::ALL, "mtu", "1300").expect("it is one"));
            let (client, server) = pair(&network, v6);
            transfer(&format!("MTU 1300, {topology:?}, IPv6 {v6}"), client, server);
        }
        network.wire().act(Act::impair(Way::ALL, "mtu", "1290 silent").expect("it is one"));
        let fired = network.wire().when_seen(
            |sight| matches!(&sight.packet.point, Point::Dropped(cause) if cause.contains("ICMP is lost")),
            3,
            Vec::new(),
        );
        let (mut client, mut server) = pair(&network, true);
        client.write_all(b"small").expect("taken");
        server.read_exact(&mut [0; 5]).expect("small ones arrive");
        client.write_all(&[0; 5000]).expect("taken");
        assert!(fired.wait(PATIENCE).is_some(), "large ones are not dropped");
    }
}

/// Datagrams whose sender leaves cutting up to the routers: the host cuts them for its own MTU, the wire for a narrower.
#[test]
fn datagrams_without_df_arrive_in_pieces_and_are_put_together() {
    let Some((network, seen)) = harness::start("fragments", Network::builder()) else { return };
    network.wire().act(Act::impair(Way::ALL, "mtu", "600").expect("it is one"));
    network.wire().act(Act::impair(Way::ALL, "duplication", "100%").expect("it is one"));
    // Otherwise Linux sets DF.
    host(&network, "client").set_sysctl("net.ipv4.ip_no_pmtu_disc", "1").expect("a host's own");
    let socket = |name: &str| {
        let fd = host(&network, name).socket(libc::AF_INET, libc::SOCK_DGRAM, 0).expect("a socket");
        UdpSocket::from(fd)
    };
    let (client, server) = (socket("client"), socket("server"));
    let address = SocketAddr::new(host(&network, "server").address(false).expect("an address"), 7007);
    rustix::net::bind(&server, &address).expect("free");
    server.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let data: Vec<u8> = (0..4000_u32).map(|at| (at * 7) as u8).collect();
    client.send_to(&data, address).expect("taken");
    let mut buffer = [0; 5000];
    let (size, _) = server.recv_from(&mut buffer).expect("put together");
    assert!(buffer[..size] == data, "{size} bytes, and others than were sent");
    let seen = seen.packets();
    let arrived = seen.iter().filter(|packet| packet.point == Point::Delivered);
    let lengths: Vec<u32> = arrived.map(|packet| packet.length).collect();
    assert!(lengths.len() >= 7 && lengths.iter().all(|length| *length <= 600), "{lengths:?}");
}

#[test]
fn an_icmp_error_ends_a_connect_at_once() {
    let Some((network, _)) = harness::start("ICMP", Network::builder()) else { return };
    let (_listener, v4) = listen(host(&network, "server"), false);
    let (_listener6, v6) = listen(host(&network, "server"), true);
    for (code, to, expected) in [
        ("net", v4, libc::ENETUNREACH),
        ("host", v4, libc::EHOSTUNREACH),
        ("protocol", v4, libc::ENOPROTOOPT),
        ("port", v4, libc::ECONNREFUSED),
        ("7", v4, libc::EHOSTDOWN),
        ("13", v4, libc::EHOSTUNREACH),
        ("net", v6, libc::ENETUNREACH),
        ("host", v6, libc::EHOSTUNREACH),
        ("port", v6, libc::ECONNREFUSED),
        ("prohibited", v6, libc::EACCES),
    ] {
        network.wire().act(Act::impair(Way::into(B), "unreachable", code).expect("it is one"));
        let error = connect(host(&network, "client"), to).expect_err("unreachable");
        assert_eq!(error.raw_os_error(), Some(expected), "{code} {to}: {error}");
    }
}

#[test]
fn an_injected_reset_is_believed_by_both_ends() {
    let Some((network, _)) = harness::start("resets", Network::builder()) else { return };
    for v6 in [false, true] {
        let (mut client, mut server) = pair(&network, v6);
        // Data that is not acknowledged yet (delayed ACK) must not make the reset one of the past.
        client.write_all(b"hello").expect("taken");
        server.read_exact(&mut [0; 5]).expect("arrived");
        network.wire().act(Act::reset(Way::ALL));
        assert_eq!(refused(client.read(&mut [0; 9])), ErrorKind::ConnectionReset);
        assert_eq!(refused(server.read(&mut [0; 9])), ErrorKind::ConnectionReset);

        let (mut client, mut server) = pair(&network, v6);
        network.wire().act(Act::impair(Way::into(B), "reset-next", "DATA").expect("it is one"));
        client.write_all(b"hello").expect("taken");
        assert_eq!(refused(client.read(&mut [0; 9])), ErrorKind::ConnectionReset);
        assert_eq!(refused(server.read(&mut [0; 9])), ErrorKind::ConnectionReset);

        network.wire().act(Act::impair(Way::into(B), "reset-next", "SYN").expect("it is one"));
        let (_listener, address) = listen(host(&network, "server"), v6);
        let error = connect(host(&network, "client"), address).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_lost_syn_ack_costs_a_second_try() {
    let Some((network, seen)) = harness::start("drop-next", Network::builder()) else { return };
    network.wire().act(Act::impair(Way::ALL, "drop-next", "SYN-ACK").expect("it is one"));
    let _pair = pair(&network, false);
    let seen = seen.packets();
    let count = |kind: Kind, point: &Point| {
        let like = |packet: &&Packet| {
            packet.point == *point
                && Segment::decode(&packet.bytes).is_some_and(|segment| segment.kind() == kind)
        };
        seen.iter().filter(like).count()
    };
    assert_eq!(count(Kind::SynAck, &Point::Dropped("dropped on purpose".into())), 1);
    assert!(count(Kind::SynAck, &Point::Sent) >= 2);
}

#[test]
fn the_third_packet_can_be_the_last() {
    for carrier in harness::carriers() {
        let what = format!("triggers, {carrier:?}");
        let Some((network, seen)) = harness::start(&what, Network::builder().carrier(carrier)) else {
            continue;
        };
        let (mut client, mut server) = pair(&network, false);
        let pattern = Pattern::delivered(Way::between(A, B), Kind::Data);
        let fired = network.wire().when(pattern, 3, vec![Act::cut(Way::ALL)]);
        let too_early = fired.wait(Duration::ZERO);
        assert_eq!(too_early, None);
        for _ in 0..3 {
            client.write_all(b"ping").expect("taken");
            server.read_exact(&mut [0; 4]).expect("arrived");
        }
        let at_ns = fired.wait(PATIENCE).expect("it fires");
        assert!(at_ns > 0);
        client.write_all(b"ping").expect("taken");
        let lost =
            network.wire().when_seen(|sight| matches!(sight.packet.point, Point::Dropped(_)), 1, Vec::new());
        assert!(lost.wait(PATIENCE).is_some(), "{what}: the fourth arrives");
        let delivered = seen.packets();
        let delivered = delivered.iter().filter(|packet| {
            packet.point == Point::Delivered
                && packet.to == B
                && Segment::decode(&packet.bytes).is_some_and(|segment| segment.kind() == Kind::Data)
        });
        assert_eq!(delivered.count(), 3, "{what}");
        network.wire().act(Act::heal(Way::ALL));
        server.read_exact(&mut [0; 4]).expect("the retransmission arrives");
    }
}

#[test]
fn a_cut_lan_is_a_dead_lan() {
    let builder = Network::builder().topology(Topology::Lan);
    let Some((network, _)) = harness::start("a cut LAN", builder) else { return };
    network.wire().act(Act::cut(Way::into(B)));
    let address = host(&network, "server").address(false).expect("it has one");
    let error = connect(host(&network, "client"), (address, 7).into()).expect_err("nobody answers ARP");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
}
