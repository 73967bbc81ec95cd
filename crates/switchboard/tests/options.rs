//! Every socket option takes effect, on the listener and on the connections it accepts, or is refused with the
//! manual page's reason; and the addresses that a listener covers. Rows S13, S16, S21.

mod harness;

use harness::{Server, Stream, has_ipv6, program, skip};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::Command;
use switchboard::{Endpoint, Kind, Listener, SOCKET_OPTIONS, SocketOptions};

/// What is set, and what a socket that took it has. `backlog` and a few more mean nothing on a connection.
struct Case {
    option: &'static str,
    value: &'static str,
    got: &'static str,
    /// Whether a connection inherits it.
    inherited: bool,
}

const fn case(option: &'static str, value: &'static str, got: &'static str) -> Case {
    Case { option, value, got, inherited: true }
}

const fn of_listener(option: &'static str, value: &'static str, got: &'static str) -> Case {
    Case { option, value, got, inherited: false }
}

/// Every option of the table at least once, with a value that is not the default.
const CASES: &[Case] = &[
    of_listener("backlog", "100", "100"),
    of_listener("reuse", "off", "off"),
    of_listener("v6only", "on", "on"),
    of_listener("freebind", "on", "on"),
    case("device", "lo", "lo"),
    case("mark", "0x2a", "42"),
    // The kernel doubles what it is asked for (socket(7)).
    case("sndbuf", "100k", "200000"),
    case("sndbuf", "bdp:8Mbit/s,100ms", "200000"),
    case("rcvbuf", "64KiB", "131072"),
    case("rcvbuf", "bdp:100Mbit/s,80ms", "2000000"),
    case("keepalive", "off", "off"),
    case("keepalive-idle", "77", "77"),
    case("keepalive-interval", "33s", "33"),
    case("keepalive-count", "4", "4"),
    case("nodelay", "off", "off"),
    case("user-timeout", "1500ms", "1500ms"),
    case("congestion", "reno", "reno"),
    // Rounded up to the times of retransmissions, 1, 3, 7… s.
    of_listener("defer-accept", "2", "3"),
    of_listener("fastopen", "16", "16"),
    case("tos", "0x10", "16"),
    case("ttl", "9", "9"),
    case("min-ttl", "2", "2"),
    case("broadcast", "on", "on"),
    case("debug", "on", "on"),
];

#[test]
fn every_option_of_the_table_has_a_case() {
    let tried: BTreeSet<&str> = CASES.iter().map(|case| case.option).collect();
    let rows: BTreeSet<&str> = SOCKET_OPTIONS.iter().map(|row| row.name).collect();
    assert_eq!(tried, rows);
}

/// Whether this user may set it; says so if not.
fn may_set(case: &Case) -> bool {
    let needs = match case.option {
        "mark" | "debug" => "CAP_NET_ADMIN",
        "device" => "CAP_NET_RAW",
        _ => return true,
    };
    if !rustix::process::geteuid().is_root() {
        skip(case.option, &format!("it may need {needs}"));
        return false;
    }
    true
}

#[test]
fn every_option_takes_effect_on_a_listener() {
    for (place, kind) in [
        ("tcp:127.0.0.1:0", Kind::Tcp),
        ("tcp:[::1]:0", Kind::Tcp),
        ("udp:127.0.0.1:0", Kind::Udp),
        ("udp:[::1]:0", Kind::Udp),
        ("unix:@switchboard-options", Kind::Unix),
    ] {
        let v6 = place.contains("::1");
        if v6 && !has_ipv6() {
            skip(place, "there is no ::1 here");
            continue;
        }
        for case in CASES {
            let row = SOCKET_OPTIONS.iter().find(|row| row.name == case.option).expect("a row");
            // A Unix socket's queue cannot be read back.
            let readable = kind != Kind::Unix || case.option != "backlog";
            if !row.on.covers(kind, v6) || !readable || !may_set(case) {
                continue;
            }
            let pair = format!("{}={}", case.option, case.value);
            // The server before may not have let go of its name yet.
            let unique = format!("{place}-{}-{}", std::process::id(), harness::unique());
            let at = if kind == Kind::Unix { &unique } else { place };
            let server = Server::start(&["echo", "--listen", at, "--option", &pair]);
            let options = &server.ready["listeners"][0]["options"];
            assert_eq!(options[case.option], case.got, "{pair} on {place}: {options}");
            if kind != Kind::Udp && case.option != "defer-accept" {
                let mut stream = Stream::connect(&server.endpoint()).expect("connect");
                assert_eq!(stream.converse(b"works").expect("served"), b"works", "{pair} on {place}");
            }
        }
    }
}

#[test]
fn connections_inherit_the_options_of_their_listener() {
    for place in ["tcp:127.0.0.1:0", "tcp:[::1]:0"] {
        let v6 = place.contains("::1");
        if v6 && !has_ipv6() {
            skip(place, "there is no ::1 here");
            continue;
        }
        let endpoint: Endpoint = place.parse().expect("an endpoint");
        for case in CASES.iter().filter(|case| case.inherited && may_set(case)) {
            let mut options = SocketOptions::default();
            options.set(case.option, case.value).expect("a valid option");
            let listener = Listener::bind(&endpoint, &options).expect("bind").remove(0);
            let _client = TcpStream::connect(listener.local().inet().expect("an address")).expect("connect");
            let accepted = rustix::net::accept(&listener).expect("a connection");
            let effects = SocketOptions::default().effects(&accepted, Kind::Tcp, v6);
            let effect = effects.iter().find(|effect| effect.name == case.option).expect("it can be read");
            assert_eq!(effect.got, case.got, "{}={} on {place}", case.option, case.value);
        }
    }
}

#[test]
fn what_the_kernel_set_is_shown_to_people_too() {
    let mut command = program();
    command.args(["serve", "echo", "--listen", "tcp:127.0.0.1:0", "--verbose", "--option", "sndbuf=100k"]);
    command.args(["--log", "none", "--idle-timeout", "1s"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("run");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let shown = lines.by_ref().map_while(Result::ok).find(|line| line.contains("nodelay="));
    child.kill().expect("kill");
    child.wait().expect("wait");
    let shown = shown.expect("a line with the options");
    assert!(shown.contains("sndbuf=200000") && shown.contains("nodelay=on"), "{shown}");
}

/// Runs `serve`, which is to end at once: its exit code and what it said.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    match Server::try_start(command) {
        Ok(server) => panic!("it serves: {}", server.ready),
        Err(_) => {
            let output = command.output().expect("run");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

fn serve(place: &str, options: &[&str]) -> Command {
    let mut command = program();
    command.args(["serve", "echo", "--format", "json", "--listen", place]);
    command.args(options.iter().flat_map(|option| ["--option", option]));
    command
}

fn sysctl(name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    text.trim().parse().unwrap_or(u64::MAX)
}

#[test]
fn a_refused_option_comes_with_the_reason() {
    let mut cases = vec![
        ("tcp:127.0.0.1:0", "congestion=nosuch", 1, vec!["congestion=nosuch", "tcp(7)", "must be loaded"]),
        ("tcp:127.0.0.1:0", "device=nosuch0", 1, vec!["device=nosuch0", "socket(7)", "interface must exist"]),
        ("tcp:127.0.0.1:0", "keepalive-idle=40000", 1, vec!["keepalive-idle", "tcp(7)", "32767"]),
        ("tcp:127.0.0.1:0", "ttl=0", 2, vec!["option ttl", "1..255"]),
        ("tcp:127.0.0.1:0", "nodelay=maybe", 2, vec!["option nodelay", "on|off"]),
        ("tcp:127.0.0.1:0", "sndbuf=bdp:1Gbit/s", 2, vec!["option sndbuf", "bdp:RATE,RTT"]),
        ("tcp:127.0.0.1:0", "nodelay", 2, vec!["NAME=VALUE"]),
        ("tcp:127.0.0.1:0", "nodeley=on", 2, vec!["nodeley", "did you mean `nodelay`"]),
        ("tcp:127.0.0.1:0", "xyzzy=1", 2, vec!["xyzzy", "list options"]),
        ("udp:127.0.0.1:0", "nodelay=on", 2, vec!["option nodelay", "none of the sockets"]),
        ("tcp:127.0.0.1:0", "v6only=on", 2, vec!["option v6only", "none of the sockets"]),
        ("udp:127.0.0.1:0", "backlog=5", 2, vec!["option backlog", "none of the sockets"]),
        ("unix:@switchboard-refused", "ttl=9", 2, vec!["option ttl", "none of the sockets"]),
    ];
    if sysctl("net/core/wmem_max") < 1 << 30 {
        cases.push((
            "tcp:127.0.0.1:0",
            "sndbuf=1GiB",
            2,
            vec!["sndbuf=1073741824", "the kernel set", "wmem_max"],
        ));
    } else {
        skip("sndbuf=1GiB", "net.core.wmem_max allows it");
    }
    if sysctl("net/core/rmem_max") < 1 << 30 {
        cases.push((
            "udp:127.0.0.1:0",
            "rcvbuf=1GiB",
            2,
            vec!["rcvbuf=1073741824", "the kernel set", "rmem_max"],
        ));
    } else {
        skip("rcvbuf=1GiB", "net.core.rmem_max allows it");
    }
    if sysctl("net/core/somaxconn") < 65_535 {
        cases.push(("tcp:127.0.0.1:0", "backlog=65535", 2, vec!["backlog=65535", "listen(2)", "somaxconn"]));
    } else {
        skip("backlog=65535", "net.core.somaxconn allows it");
    }
    let mut problems = Vec::new();
    for (place, option, code, parts) in cases {
        let (got, said) = refused(&mut serve(place, &[option]));
        if got != Some(code) || !parts.iter().all(|part| said.contains(part)) {
            problems
                .push(format!("{place} {option}: exit {got:?}, not {code}, or not all of {parts:?}: {said}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_mark_needs_a_capability() {
    let mut command = Command::new("setpriv");
    let drop = ["--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"];
    let probe = Command::new("setpriv").args(drop).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skip("mark without CAP_NET_ADMIN", "setpriv cannot drop capabilities here");
    }
    command.args(drop).arg(env!("CARGO_BIN_EXE_switchboard"));
    command.args(["serve", "echo", "--format", "json", "--listen", "tcp:127.0.0.1:0", "--option", "mark=1"]);
    let (code, said) = refused(&mut command);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("mark=1") && said.contains("CAP_NET_ADMIN") && said.contains("setcap"), "{said}");
}

#[test]
fn an_ipv6_wildcard_serves_ipv4_too_unless_it_is_told_not_to() {
    if !has_ipv6() {
        return skip("dual stack", "there is no ::1 here");
    }
    for (option, both) in [(None, true), (Some("v6only=off"), true), (Some("v6only=on"), false)] {
        let more: Vec<&str> = option.iter().flat_map(|option| ["--option", option]).collect();
        let server = Server::start(&[&["echo", "--listen", "tcp:[::]:0"][..], &more].concat());
        let port = server.endpoint().rsplit(':').next().expect("a port").to_owned();
        let mut six = Stream::connect(&format!("tcp:[::1]:{port}")).expect("connect");
        assert_eq!(six.converse(b"six").expect("served"), b"six");
        match Stream::connect(&format!("tcp:127.0.0.1:{port}")) {
            Ok(mut four) if both => assert_eq!(four.converse(b"four").expect("served"), b"four"),
            Err(error) if !both => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused),
            other => panic!("{option:?}: {:?}", other.map(|_| "connected")),
        }
    }
}

#[test]
fn a_star_is_every_address_of_both_families() {
    if !has_ipv6() {
        return skip("every address", "there is no ::1 here");
    }
    let server = Server::start(&["echo", "--listen", "tcp:*:0"]);
    let ports: Vec<String> = server
        .listeners()
        .into_iter()
        .map(|(_, endpoint)| endpoint.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]"))
        .collect();
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert!(ports.iter().any(|at| at.contains("[::1]")) && ports.iter().any(|at| at.contains("127.0.0.1")));
    for at in ports {
        assert_eq!(Stream::connect(&at).expect("connect").converse(b"here").expect("served"), b"here");
    }
}

#[test]
fn freebind_binds_an_address_that_is_not_there() {
    // TEST-NET-3 (RFC 5737) and the documentation prefix (RFC 3849) are nobody's.
    for (place, address) in [("tcp:203.0.113.7:0", "203.0.113.7"), ("tcp:[2001:db8::7]:0", "2001:db8::7")] {
        if place.contains("db8") && !has_ipv6() {
            skip(place, "there is no IPv6 here");
            continue;
        }
        let (code, said) = refused(&mut serve(place, &[]));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("freebind=on"), "the way out is named: {said}");
        let server = Server::start(&["echo", "--listen", place, "--option", "freebind=on"]);
        assert!(server.endpoint().contains(address), "{}", server.endpoint());
    }
}
