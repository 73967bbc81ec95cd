//! `connect` with sockets that keep boundaries, and with Unix sockets of every kind. Rows S16, S17, S24.

mod client;

use client::{Input, MB, data, quick, read_all, run, run_with, same};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::io::Write;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use switchboard_net::sys::fault;

// ── Datagrams ──

/// Answers each datagram after a delay that is part of its role.
fn udp_echo(datagrams: usize, delay: Duration) -> (String, JoinHandle<Vec<usize>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = format!("udp:{}", socket.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let mut room = vec![0; 65_536];
        let mut sizes = Vec::new();
        for _ in 0..datagrams {
            let (n, from) = socket.recv_from(&mut room).unwrap();
            thread::sleep(delay);
            socket.send_to(&room[..n], from).unwrap();
            sizes.push(n);
        }
        sizes
    });
    (name, thread)
}

/// As long as nothing is said otherwise, replies are awaited for two seconds after the last one. A reply that this machine
/// delays for longer than that is rightly not awaited, so one good run of several is enough.
#[test]
fn udp_replies_are_awaited() {
    let two = Duration::from_secs(2);
    for delay_ms in [0, 1_000] {
        let delay = Duration::from_millis(delay_ms);
        let heard = (0..10).any(|_| {
            let (name, server) = udp_echo(1, delay);
            let ran = run(&[&name], Input::Pipe(b"hello".to_vec())).ended(0);
            server.join().unwrap();
            assert!(ran.took >= two, "{:?}", ran.took);
            // The wait starts anew with each datagram.
            let whole = ran.stdout == b"hello";
            assert!(!whole || ran.took >= delay + two, "{:?}", ran.took);
            whole
        });
        assert!(heard, "not one reply after {delay:?} was awaited");
    }
    // Without any reply as well; and no longer than that.
    quick(Duration::from_secs(4), || {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let name = format!("udp:{}", silent.local_addr().unwrap());
        let ran = run(&[&name], Input::Pipe(b"hello".to_vec())).ended(0);
        assert!(ran.took >= two, "{:?}", ran.took);
        ran
    });
    quick(Duration::from_secs(1), || {
        let (name, server) = udp_echo(1, Duration::ZERO);
        let ran = run(&[&name, "-w", "100ms"], Input::Pipe(b"hello".to_vec())).ended(0);
        server.join().unwrap();
        ran
    });
}

#[test]
fn udp_count_ends_at_once_or_says_what_is_missing() {
    let (name, server) = udp_echo(1, Duration::ZERO);
    let ran = run(&[&name, "-n", "1", "-w", "1h"], Input::OpenPipe(b"hello".to_vec())).ended(0);
    same("reply", &ran.stdout, b"hello");
    server.join().unwrap();

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = format!("udp:{}", silent.local_addr().unwrap());
    run(&[&name, "-n", "1", "-w", "100ms"], Input::Pipe(b"hello".to_vec())).ended(6).said("0 of 1 replies");
}

#[test]
fn udp_sizes() {
    // One read is one datagram: a file is cut at the largest payload.
    let (name, server) = udp_echo(2, Duration::ZERO);
    let input = data(70_000);
    let ran = run(&[&name, "-n", "2", "-w", "50s"], Input::File(input.clone())).ended(0);
    assert_eq!(server.join().unwrap(), [65_507, 70_000 - 65_507]);
    same("replies", &ran.stdout, &input);

    // One line is one datagram; the last one may lack its line feed.
    let (name, server) = udp_echo(4, Duration::ZERO);
    let ran =
        run(&[&name, "--line", "-n", "4", "-w", "50s"], Input::Pipe(b"1 2\n\n33 4\nlast".to_vec())).ended(0);
    assert_eq!(server.join().unwrap(), [4, 1, 5, 4]);
    same("replies", &ran.stdout, b"1 2\n\n33 4\nlast");
}

#[test]
fn udp_empty_datagrams_count() {
    let (name, server) = udp_echo(1, Duration::ZERO);
    let ran = run(&[&name, "--send-empty", "-n", "1", "-w", "50s", "-v"], Input::Nothing).ended(0);
    assert!(ran.stdout.is_empty());
    ran.said("received 0 bytes in 1 messages");
    assert_eq!(server.join().unwrap(), [0]);
    // An empty answer is one, and not the end of the answers.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = format!("udp:{}", socket.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (_, from) = socket.recv_from(&mut [0; 100]).unwrap();
        for answer in ["", "one", "", "two"] {
            socket.send_to(answer.as_bytes(), from).unwrap();
        }
    });
    let ran = run(&[&name, "-n", "4", "-w", "50s", "-v"], Input::Pipe(b"hello".to_vec())).ended(0);
    same("answers", &ran.stdout, b"onetwo");
    ran.said("received 6 bytes in 4 messages");
    server.join().unwrap();
}

#[test]
fn udp_nobody_there() {
    // Its owner hears somebody else only, and nobody else can have it: to all others nobody is there.
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    deaf.connect("127.0.0.1:1").unwrap();
    let name = format!("udp:{}", deaf.local_addr().unwrap());
    run(&[&name, "-w", "1h"], Input::OpenPipe(b"hello".to_vec())).ended(4).said("refused");
}

#[test]
fn udp_with_faults() {
    if !fault::POSSIBLE {
        let _ = writeln!(std::io::stderr(), "SKIPPED: faults need a debug build");
        return;
    }
    for faults in ["short=1,eintr=50", "again=80"] {
        let (name, server) = udp_echo(3, Duration::ZERO);
        let input = Input::Pipe(b"one\ntwo\nthree\n".to_vec());
        let ran = run_with(Some(faults), &[&name, "--line", "-n", "3", "-w", "50s"], input).ended(0);
        same("replies", &ran.stdout, b"one\ntwo\nthree\n");
        assert_eq!(server.join().unwrap(), [4, 4, 6]);
    }
}

// ── Unix sockets ──

/// A name in the abstract namespace that no other test run has.
fn abstract_name(what: &str) -> String {
    format!("switchboard-{}-{what}", std::process::id())
}

#[test]
fn unix_streams() {
    let name = abstract_name("stream");
    let listener =
        UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let question = read_all(&mut stream);
        stream.write_all(&question).unwrap();
        drop(stream);
        // The second one ends without reading.
        drop(listener.accept().unwrap());
    });
    let question = data(2 * MB);
    let ran = run(&[&format!("unix:@{name}")], Input::File(question.clone())).ended(0);
    same("answer", &ran.stdout, &question);
    let ran = run(&[&format!("unix:@{name}")], Input::File(question));
    assert!([7, 8].contains(&ran.code), "{}: {}", ran.code, ran.stderr);
    server.join().unwrap();
}

#[test]
fn unix_datagrams_can_be_answered() {
    let path = std::env::temp_dir().join(abstract_name("dgram"));
    let socket = UnixDatagram::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let mut room = [0; 1_000];
        for _ in 0..2 {
            let (n, from) = socket.recv_from(&mut room).unwrap();
            assert!(!from.is_unnamed());
            socket.send_to_addr(&room[..n], &from).unwrap();
        }
        // Larger than the client's usual buffer.
        let (_, from) = socket.recv_from(&mut room).unwrap();
        socket.send_to_addr(&data(100_000), &from).unwrap();
    });
    let endpoint = format!("unix-dgram:{}", path.display());
    let ran = run(&[&endpoint, "--line", "-n", "3", "-w", "50s"], Input::Pipe(b"one\ntwo\nthree\n".to_vec()))
        .ended(0);
    same("replies", &ran.stdout, &[b"one\ntwo\n", &data(100_000)[..]].concat());
    server.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    run(&[&endpoint], Input::Nothing).ended(4);
}

#[test]
fn unix_seqpackets_keep_their_boundaries() {
    let name = abstract_name("seqpacket");
    let flags = SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
    rustix::net::listen(&listener, 5).unwrap();
    let server = thread::spawn(move || {
        let mut sizes = Vec::new();
        for _ in 0..2 {
            let connection = rustix::net::accept(&listener).unwrap();
            let mut room = vec![0; 100_000];
            loop {
                let (n, _) = rustix::net::recv(&connection, &mut room[..], RecvFlags::empty()).unwrap();
                sizes.push(n);
                if n == 0 {
                    break;
                }
            }
            // An empty message is not the end.
            for message in [&b"first "[..], b"", b"last"] {
                rustix::net::send(&connection, message, SendFlags::NOSIGNAL).unwrap();
            }
        }
        sizes
    });
    let endpoint = format!("unix-seqpacket:@{name}");
    let ran = run(&[&endpoint, "-v"], Input::File(data(70_000))).ended(0);
    same("answer", &ran.stdout, b"first last");
    ran.said("in 3 messages");
    let ran = run(&[&endpoint, "--line"], Input::Pipe(b"a\nbc\n".to_vec())).ended(0);
    same("answer", &ran.stdout, b"first last");
    assert_eq!(server.join().unwrap(), [65_536, 70_000 - 65_536, 0, 2, 3, 0]);
}
