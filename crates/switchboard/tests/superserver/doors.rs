//! Who comes in and where: floods, datagrams of those who are kept out, both families, pools, relays without a target.

use super::{connect, lines, run, script, serve};
use crate::harness;
use crate::harness::{Scratch, Server, Stream, connect_from, end, number, skip};
use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

#[test]
fn a_relay_to_a_name_that_nobody_knows_leaves_the_others_served() {
    let scratch = Scratch::new();
    // A label of 64 letters is refused by every resolver without asking anybody.
    let unknown = format!("{}.invalid", "x".repeat(64));
    let relay = format!("[[service]]\nforward = \"{unknown}:7\"\nlisten = \"tcp:127.0.0.1:0\"\n");
    let server = serve(&scratch, &(script("cat", "id = \"own\"") + &relay));
    let places = server.listeners();
    let ask = |id: &str| {
        let (_, place) = places.iter().find(|(name, _)| name == id).expect("it is served");
        let mut stream = Stream::connect(place).expect("the listener is open");
        stream.converse(b"hello").unwrap_or_default()
    };
    for _ in 0..3 {
        assert_eq!(ask("forward"), b"");
        assert_eq!(ask("own"), b"hello");
    }
    let records = server.records(6);
    assert_eq!(records.iter().filter(|record| record["end"] == "unreachable").count(), 3, "{records:?}");
    end(server);
}

#[test]
fn a_flood_from_one_address_leaves_the_programs_of_others_alone() {
    const CONVERSATIONS: usize = 60;
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("exec cat", "per_source = 4\nrate_per_source = \"40/s:60\""));
    let endpoint = server.endpoint();
    let (over, floods) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    drop(connect_from(66, &endpoint));
                    floods.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let others = scope.spawn(|| {
            (0..CONVERSATIONS)
                .filter(|n| {
                    // Each from an address of its own, so that none has a limit to mind.
                    let Ok(mut stream) = connect_from(100 + *n as u8, &endpoint) else { return false };
                    let mut heard = String::new();
                    stream.write_all(b"served").is_ok()
                        && stream.shutdown(std::net::Shutdown::Write).is_ok()
                        && stream.read_to_string(&mut heard).is_ok()
                        && heard == "served"
                })
                .count()
        });
        let served = others.join();
        over.store(true, Ordering::SeqCst);
        assert_eq!(
            served.expect("no panic"),
            CONVERSATIONS,
            "during {} others",
            floods.load(Ordering::SeqCst)
        );
    });
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert!(number(&ended.summary, "limited") > 0, "{}", ended.summary);
}

#[test]
fn datagrams_of_those_who_are_kept_out_start_nothing() {
    if run(Command::new("python3").arg("-V")).status.code() != Some(0) {
        return skip("access with wait", "python3 is not installed");
    }
    let scratch = Scratch::new();
    let program = scratch.path("answer.py");
    let code = "import socket\nsock = socket.socket(fileno=3)\nsaid, who = sock.recvfrom(99)\nsock.sendto(said, who)\n";
    std::fs::write(&program, code).expect("a file");
    let text = format!(
        "[[service]]\nexec = [\"python3\", \"{program}\"]\nmode = \"wait\"\nlisten = \"udp:127.0.0.1:0\"\n\
         access.deny = [\"127.0.0.9\"]\n"
    );
    let server = serve(&scratch, &text);
    let port = server.endpoint().rsplit_once(':').expect("an address").1.to_owned();
    let other = std::net::UdpSocket::bind("127.0.0.9:0").expect("loopback");
    for _ in 0..200 {
        other.send_to(b"no", format!("127.0.0.1:{port}")).expect("sent");
    }
    let socket = harness::datagram_socket(&server.endpoint());
    assert_eq!(harness::ask(&socket, b"yes").expect("answered"), b"yes");
    let summary = end(server);
    assert_eq!((number(&summary, "accepted"), number(&summary, "datagrams_denied")), (1, 200), "{summary}");
}

#[test]
fn a_star_is_every_address_of_both_families() {
    if !harness::has_ipv6() {
        return skip("both families", "no IPv6 here");
    }
    let scratch = Scratch::new();
    let text = script("echo $REMOTE_ADDR", "").replace("tcp:127.0.0.1:0", "tcp:*:0");
    let server = serve(&scratch, &text);
    let mut seen = BTreeSet::new();
    for (_, endpoint) in server.listeners() {
        let reachable = endpoint.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        let mut stream = Stream::connect(&reachable).expect("it is served");
        seen.insert(harness::text(&stream.converse(b"").expect("answered")));
    }
    assert_eq!(seen, ["127.0.0.1\n", "::1\n"].map(str::to_owned).into());
    end(server);
}

#[test]
fn a_pool_shares_one_socket_and_heals() {
    let scratch = Scratch::new();
    if run(Command::new("python3").arg("-V")).status.code() != Some(0) {
        return skip("a pool", "python3 is not installed");
    }
    let program = scratch.path("accept.py");
    let code = "import os, socket\nlistener = socket.socket(fileno=3)\nwhile True:\n    \
                connection, _ = listener.accept()\n    connection.sendall(b'%d\\n' % os.getpid())\n    \
                connection.recv(1)\n    connection.close()\n";
    std::fs::write(&program, code).expect("a file");
    let text = format!(
        "drain_timeout = \"100ms\"\n[[service]]\nexec = [\"python3\", \"{program}\"]\npool = 3\ngrace = \"1s\"\n\
         listen = \"tcp:127.0.0.1:0\"\n"
    );
    let server = serve(&scratch, &text);
    let three = |server: &Server| {
        let mut clients: Vec<Stream> = (0..3).map(|_| connect(server)).collect();
        // Each keeps its process until all three have been answered.
        clients.iter_mut().map(|client| lines(client)()).collect::<BTreeSet<String>>()
    };
    let first = three(&server);
    assert_eq!(first.len(), 3, "one process each");
    let pids: Vec<Pid> =
        first.iter().filter_map(|pid| Pid::from_raw(pid.parse().expect("a number"))).collect();
    for pid in &pids {
        rustix::process::kill_process(*pid, Signal::KILL).expect("it is there");
    }
    // Who is woken up in accept(2) by his end may take a client with him.
    Server::wait_until_gone(&pids, "the killed programs");
    let second = three(&server);
    assert_eq!((second.len(), first.intersection(&second).count()), (3, 0));
    assert_eq!(server.stop().code, Some(0));
}
