//! `connect` before it is connected: who cannot be reached and how that is told, and the race of a name's addresses. Rows
//! S5, S18, S21.

mod client;

use client::addresses::{black_hole, dead_and_alive, refusing, says_hello};
use client::{Input, Ran, hold, quick, run, same, server};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

#[test]
fn every_way_not_to_connect_has_its_exit_code() {
    // A port that was free a moment ago: bound, but not listening, so that nobody else gets it.
    let (_bound, port) = refusing("127.0.0.1:0").unwrap();
    let closed = format!("127.0.0.1:{port}");
    run(&[&closed], Input::Nothing).ended(4).said(&closed).said("refused").said("is the server running");
    run(&["127.0.0.1", &port.to_string()], Input::Nothing).ended(4);
    run(&[&format!("tcp:{port}"), "-4", "-v"], Input::Nothing).ended(4).said("trying tcp:127.0.0.1");
    run(&["unix:/nonexistent/socket"], Input::Nothing).ended(4).said("No such file");
    run(&["unix:@switchboard-test-nobody"], Input::Nothing).ended(4);
    run(&["name.invalid:7"], Input::Nothing).ended(3).said("name.invalid");
    run(&["127.0.0.1:no-such-service"], Input::Nothing).ended(3).said("no-such-service");
    run(&["127.0.0.1:7", "-6"], Input::Nothing).ended(3).said("no IPv6 address");
    for wrong in [
        &["127.0.0.1:99999"][..],
        &["tpc:127.0.0.1:7"],
        &["127.0.0.1:7", "--line"],
        &["127.0.0.1:7", "--count", "1"],
        &["udp:127.0.0.1:7", "--connections", "2"],
        &["127.0.0.1:7", "--connections", "0"],
        &["127.0.0.1:7", "--option", "nodelay=perhaps"],
        &["127.0.0.1:7", "--option", "backlog=5"],
        &["127.0.0.1:7", "--idle-timeout", "soon"],
        &["127.0.0.1:7", "--no-such-option"],
        &["*:7"],
        &[],
    ] {
        run(wrong, Input::Nothing).ended(2);
    }
}

/// Whether the client has noticed that it was connected before it is reset, is chance; what it is called must not be.
#[test]
fn a_reset_is_one_whenever_it_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        for _ in 0..20 {
            client::reset(listener.accept().unwrap().0);
        }
    });
    for _ in 0..20 {
        run(&[&address, "--recv-only"], Input::Nothing).ended(7).said("reset");
    }
    server.join().unwrap();
}

#[test]
fn a_full_queue_is_a_connect_timeout() {
    // The queue of a listener that never accepts is filled; further connections get no answer.
    let hole = black_hole("127.0.0.1:0").unwrap();
    let arguments = [&*format!("127.0.0.1:{}", hole.port), "--connect-timeout", "300ms"];
    run(&arguments, Input::Nothing).ended(5).said("no answer within 300");
}

#[test]
fn all_addresses_are_tried() {
    // `tcp:PORT` is 127.0.0.1 and then ::1; only the second has a server.
    if TcpListener::bind("[::1]:0").is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no IPv6 here");
        return;
    }
    let found = (0..50).find_map(|_| {
        let (refusing, port) = refusing("127.0.0.1:0")?;
        Some((refusing, TcpListener::bind(("::1", port)).ok()?, port))
    });
    let (_refusing, listener, port) = found.expect("a port that is free at both addresses");
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"six").unwrap());
    let ran = run(&[&port.to_string(), "-v"], Input::Nothing).ended(0);
    same("answer", &ran.stdout, b"six");
    ran.said("tcp:127.0.0.1").said("refused").said("connected to tcp:[::1]").said("received 3 bytes");
    server.join().unwrap();
}

// ── Several addresses: the race ──

/// The lines of standard error that begin like one of `starts`, without the program's name.
fn lines_like<'a>(ran: &'a Ran, starts: &[&str]) -> Vec<&'a str> {
    let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("switchboard: "));
    lines.filter(|line| starts.iter().any(|start| line.starts_with(start))).collect()
}

#[test]
fn a_dead_first_address_costs_a_quarter_of_a_second() {
    let port = std::cell::Cell::new(0);
    let ran = quick(Duration::from_secs(2), || {
        let (hole, listener) = dead_and_alive("127.0.0.1", "127.0.0.2");
        port.set(hole.port);
        let server = says_hello(listener);
        let name = format!("two.test:{}", hole.port);
        let ran = run(&[&name, "--resolve", &format!("{name}:127.0.0.1,127.0.0.2"), "-v"], Input::Nothing);
        let ran = ran.ended(0);
        same("answer", &ran.stdout, b"hello");
        server.join().unwrap();
        ran
    });
    let port = port.get();
    let dead = format!("tcp:127.0.0.1:{port}");
    let alive = format!("tcp:127.0.0.2:{port}");
    let lines = lines_like(&ran, &["trying", "connected", "tcp:"]);
    let starts =
        [format!("trying {dead}"), format!("trying {alive}"), format!("connected to {alive} from"), dead];
    assert_eq!(lines.len(), starts.len(), "{}", ran.stderr);
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start), "`{start}` is not where it should be:\n{}", ran.stderr);
    }
    ran.said("lost the race; given up after ");
}

#[test]
fn losers_are_closed() {
    let (hole, listener) = dead_and_alive("127.0.0.1", "127.0.0.2");
    let server = says_hello(listener);
    let name = format!("two.test:{}", hole.port);
    let mut client = hold(&[&name, "--resolve", &format!("{name}:127.0.0.1,127.0.0.2")], None);
    client.output.read_exact(&mut [0; 5]).unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", client.child.id())).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
    assert_eq!(sockets, 1, "only the winner is open");
    client.finish().ended(0);
    server.join().unwrap();
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    // IPv6 is tried first and refuses; IPv4 has the server.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some((_refusing, _)) = refusing(&format!("[::1]:{port}")) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no IPv6 here");
        return;
    };
    let server = says_hello(listener);
    let name = format!("both.test:{port}");
    let arguments = [&*name, "--resolve", &format!("{name}:::1,127.0.0.1"), "-v"];
    let ran = run(&arguments, Input::Nothing).ended(0);
    same("answer", &ran.stdout, b"hello");
    let (first, second) = (format!("tcp:[::1]:{port}"), format!("tcp:127.0.0.1:{port}"));
    let lines = lines_like(&ran, &["trying", "connected", "tcp:"]);
    assert_eq!(lines[0], format!("trying {first}"), "{}", ran.stderr);
    assert!(lines[1].starts_with(&format!("{first}: ")) && lines[1].contains("refused"), "{}", ran.stderr);
    assert_eq!(lines[2], format!("trying {second}"), "{}", ran.stderr);
    assert!(lines[3].starts_with(&format!("connected to {second}")), "{}", ran.stderr);
    server.join().unwrap();
}

#[test]
fn families_take_turns_and_every_refusal_is_told() {
    // One socket for both families: all of these addresses refuse.
    let Some((_refusing, port)) = refusing("[::]:0") else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no IPv6 here");
        return;
    };
    let name = format!("Many.Test:{port}");
    let arguments = [&*name, "--resolve", &format!("many.test:{port}:127.0.0.1,127.0.0.2"), "--resolve"];
    let more = format!("many.test:{port}:127.0.0.3,127.0.0.1,[::1]");
    let ran = run(&[&arguments[..], &[&more, "-v"]].concat(), Input::Nothing).ended(4);
    let tried: Vec<String> = ["127.0.0.1", "[::1]", "127.0.0.2", "127.0.0.3"]
        .map(|address| format!("trying tcp:{address}:{port}"))
        .into();
    assert_eq!(lines_like(&ran, &["trying"]), tried);
    let ran = ran.said(&format!("cannot connect to tcp:{name}: tcp:127.0.0.1:{port}: "));
    assert_eq!(lines_like(&ran, &["tcp:"]).len(), 4, "each is told when it happens:\n{}", ran.stderr);
    assert_eq!(ran.stderr.matches("refused").count(), 2 * 4, "and all of them at the end:\n{}", ran.stderr);
}

#[test]
fn silence_everywhere_is_a_time_out_and_a_refusal_says_more() {
    // One address is a black hole; the other one of the same port is bound and refuses.
    let found = (0..50).find_map(|_| {
        let (refusing, port) = refusing("127.0.0.3:0")?;
        Some((refusing, black_hole(&format!("127.0.0.1:{port}"))?))
    });
    let (_refusing, hole) = found.expect("a port that is free at both addresses");
    let port = hole.port;
    let name = format!("silent.test:{port}");
    let resolve = |addresses: &str| format!("{name}:{addresses}");
    let limit = ["--connect-timeout", "400ms"];
    let pin = resolve("127.0.0.1");
    let ran = run(&[&[&*name, "--resolve", &pin], &limit[..]].concat(), Input::Nothing).ended(5);
    ran.said("no answer within 400");
    let pin = resolve("127.0.0.1,127.0.0.3");
    let ran = run(&[&[&*name, "-v", "--resolve", &pin], &limit[..]].concat(), Input::Nothing).ended(4);
    ran.said("refused").said(&format!("tcp:127.0.0.1:{port}: no answer within 400"));
}

#[test]
fn a_source_port_has_room_for_one_attempt() {
    let (hole, listener) = dead_and_alive("127.0.0.1", "127.0.0.2");
    let server = says_hello(listener);
    let name = format!("two.test:{}", hole.port);
    let (bound, source) = refusing("127.0.0.1:0").unwrap();
    drop(bound);
    let pin = format!("{name}:127.0.0.1,127.0.0.2");
    let source = format!("127.0.0.1:{source}");
    let arguments = [&*name, "--resolve", &pin, "--source", &source, "--connect-timeout", "400ms", "-v"];
    let ran = run(&arguments, Input::Nothing).ended(0).said("no answer within 400").said(&source);
    same("answer", &ran.stdout, b"hello");
    server.join().unwrap();
}

#[test]
fn pins_that_cannot_be_read_are_usage_errors() {
    for pin in ["one.test", "one.test:7", "one.test:7:", "one.test:7:two.test", "127.0.0.1:7:127.0.0.1"] {
        run(&["one.test:7", "--resolve", pin], Input::Nothing).ended(2).said("NAME:PORT:ADDRESS");
    }
    // About another port it says nothing, and the name is looked up.
    run(&["one.invalid:7", "--resolve", "one.invalid:8:127.0.0.1"], Input::Nothing).ended(3);
}

#[test]
fn source_and_options_are_set() {
    let (address, server) = server(|stream| stream.peer_addr().unwrap());
    let arguments =
        [&*address.to_string(), "--source", "127.0.0.9", "--option", "ttl=9", "--option", "sndbuf=64KiB"];
    run(&arguments, Input::Nothing).ended(0);
    assert_eq!(server.join().unwrap().ip().to_string(), "127.0.0.9");
}
