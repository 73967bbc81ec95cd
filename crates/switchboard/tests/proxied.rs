//! Clients who come through a proxy (PROXY protocol): on every engine, to programs and through relays. The log, the
//! rules of access, the limits and a program's environment speak of the client. Rows B1, S14.

mod harness;

use harness::{PATIENCE, Scratch, Server, each_engine, end, engines, number, program, text};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use switchboard::EngineRow;
use switchboard_proto::proxy_header::{
    Carrier, Decoded, Extras, Header, Origin, Ssl, Version, Versions, decode,
};

const ANYWHERE: &str = "tcp:127.0.0.1:0";
/// Who is believed, and who is not.
const PROXY: u8 = 5;
const STRANGER: u8 = 6;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// What a proxy says of a client at `source`.
fn header(version: Version, source: &str) -> Vec<u8> {
    let header = Header { version, ..Header::v2(address(source), address("198.51.100.1:7")) };
    header.encode().expect("a header")
}

fn start(engine: &EngineRow, more: &[&str]) -> Server {
    let base = ["echo", "--engine", engine.name, "--listen", ANYWHERE, "--proxy-from", "127.0.0.5"];
    Server::start(&[&base[..], more].concat())
}

fn connect_from(host: u8, server: &Server) -> TcpStream {
    harness::connect_from(host, &server.endpoint()).expect("the listener is open")
}

/// Sends `pieces` one by one, ends, and hears what comes.
fn converse(stream: &mut TcpStream, pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
    stream.set_nodelay(true)?;
    for piece in pieces {
        stream.write_all(piece)?;
    }
    harness::finish_tcp(stream)
}

#[test]
fn the_client_is_who_the_proxy_says() {
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["--accept-proxy", "any"]);
        for (version, client) in [
            (Version::V1, "203.0.113.9:1234"),
            (Version::V2, "203.0.113.9:1234"),
            (Version::V1, "[2001:db8::7]:99"),
            (Version::V2, "[2001:db8::7]:99"),
        ] {
            let header = header(version, client);
            // In one segment with what follows, and byte by byte.
            let together = [&header[..], b"hello"].concat();
            let bytes: Vec<&[u8]> = header.chunks(1).chain([&b"hel"[..], b"lo"]).collect();
            for pieces in [&[&together[..]][..], &bytes[..]] {
                let mut proxy = connect_from(PROXY, &server);
                let own = proxy.local_addr().expect("bound").to_string();
                assert_eq!(converse(&mut proxy, pieces).expect("an answer"), b"hello");
                let record = &server.records(1)[0];
                assert_eq!((&record["peer"], &record["via"]), (&client.into(), &own.into()), "{record}");
                assert_eq!((number(record, "bytes_in"), number(record, "bytes_out")), (5, 5));
            }
        }
        // A health check: its own addresses are the right ones.
        let local =
            Header { origin: Origin::Local, ..Header::v2(address("1.2.3.4:5"), address("1.2.3.4:6")) };
        let mut check = connect_from(PROXY, &server);
        let own = check.local_addr().expect("bound").to_string();
        assert_eq!(converse(&mut check, &[&local.encode().unwrap(), b"up?"]).expect("an answer"), b"up?");
        assert_eq!(server.records(1)[0]["peer"], own);
        // From somebody who is no proxy not a byte is read as a header.
        let forged = header(Version::V1, "127.0.0.1:1");
        let mut stranger = connect_from(STRANGER, &server);
        let own = stranger.local_addr().expect("bound").to_string();
        assert_eq!(converse(&mut stranger, &[&forged]).expect("an answer"), forged);
        let record = &server.records(1)[0];
        assert_eq!((&record["peer"], &record["via"]), (&own.into(), &serde_json::Value::Null));
        end(server);
    });
}

#[test]
fn what_is_no_header_is_no_client() {
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["--accept-proxy", "v2", "--proxy-only", "--proxy-timeout", "10s"]);
        let mut sealed = Header::v2(address("192.0.2.1:1"), address("192.0.2.2:2"));
        sealed.extras.crc32c = true;
        let mut sealed = sealed.encode().unwrap();
        *sealed.last_mut().unwrap() ^= 1;
        let first = header(Version::V1, "192.0.2.1:1");
        let cut = &header(Version::V2, "192.0.2.1:1")[..20];
        let wrong: [(&[u8], &str); 4] = [
            (b"GET / HTTP/1.1\r\n\r\n", "what came first is no PROXY header of version 2"),
            (&first, "what came first is no PROXY header of version 2"),
            (&sealed, "CRC32c"),
            (cut, "the connection ended before the PROXY header did"),
        ];
        for (bytes, why) in wrong {
            let mut proxy = connect_from(PROXY, &server);
            let heard = converse(&mut proxy, &[bytes]);
            assert!(heard.as_ref().is_err() || heard.as_ref().is_ok_and(Vec::is_empty), "{why}: {heard:?}");
        }
        let mut stranger = connect_from(STRANGER, &server);
        assert!(converse(&mut stranger, &[b"hello"]).is_err(), "none of the proxies");
        // The first of them is said at once, the others perhaps as a number.
        server.wait_for_line("a client without a header", |line| line.contains(wrong[0].1));
        let mut fine = connect_from(PROXY, &server);
        let good = header(Version::V2, "192.0.2.1:1");
        assert_eq!(converse(&mut fine, &[&good, b"hello"]).expect("an answer"), b"hello");
        let summary = end(server);
        assert_eq!((number(&summary, "accepted"), number(&summary, "unintroduced")), (1, 5), "{summary}");
    });
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["--accept-proxy", "any", "--proxy-timeout", "100ms"]);
        let mut silent: Vec<TcpStream> = (0..20).map(|_| connect_from(PROXY, &server)).collect();
        let half = header(Version::V1, "192.0.2.1:1");
        for proxy in silent.iter_mut().step_by(2) {
            proxy.write_all(&half[..9]).expect("room");
        }
        // Meanwhile others are served: a place is taken only by those who are known.
        let mut stranger = connect_from(STRANGER, &server);
        assert_eq!(converse(&mut stranger, &[b"hello"]).expect("an answer"), b"hello");
        for proxy in &mut silent {
            assert!(proxy.read(&mut [0; 1]).is_err(), "reset");
        }
        assert_eq!(number(&end(server), "unintroduced"), 20);
    });
}

#[test]
fn rules_and_limits_are_for_the_client() {
    each_engine(engines().into_iter().filter(|row| row.name != "iterative"), 4, |engine| {
        let rules = ["--allow", "203.0.113.0/24", "--deny", "203.0.113.7"];
        let more = ["--accept-proxy", "v2", "--max-connections-per-source", "1"];
        let server = start(engine, &[&rules[..], &more].concat());
        let said = |client: &str| {
            let mut proxy = connect_from(PROXY, &server);
            let mut answer = [0; 2];
            // Whoever is sent away may be so before he has said all.
            let said = proxy.write_all(&[&header(Version::V2, client)[..], b"hi"].concat());
            let heard = said.and_then(|()| proxy.read_exact(&mut answer));
            let heard = heard.is_ok_and(|()| answer == *b"hi");
            (heard, proxy)
        };
        let (served, first) = said("203.0.113.9:1000");
        assert!(served, "allowed, although its proxy is not");
        assert!(!said("203.0.113.9:1001").0, "the second one from there");
        assert!(said("203.0.113.10:1000").0, "another client through the same proxy");
        assert!(!said("203.0.113.7:1000").0, "denied");
        assert!(!said("198.51.100.1:1000").0, "not allowed");
        let mut stranger = connect_from(STRANGER, &server);
        assert!(converse(&mut stranger, &[b"hi"]).is_err(), "not allowed either");
        drop(first);
        let summary = end(server);
        assert_eq!((number(&summary, "denied"), number(&summary, "limited")), (3, 1), "{summary}");
    });
}

#[test]
fn what_a_proxy_passes_on_is_logged_harmlessly() {
    let scratch = Scratch::new();
    let at = format!("unix:{}", scratch.path("echo"));
    let server = Server::start(&["echo", "--listen", &at, "--accept-proxy", "v2", "--proxy-from", "unix"]);
    let mut header = Header::v2(address("192.0.2.1:1"), address("192.0.2.2:2"));
    let ssl = Ssl { version: Some((*b"TLSv1.3").into()), ..Ssl::default() };
    header.extras = Extras {
        authority: Some("a\n\"b\u{202e}".as_bytes().into()),
        unique_id: Some((*b"id-1\xff").into()),
        alpn: Some((*b"h2").into()),
        ssl: Some(Box::new(ssl)),
        crc32c: true,
        ..Extras::default()
    };
    let mut stream = UnixStream::connect(at.trim_start_matches("unix:")).expect("there");
    stream.write_all(&header.encode().unwrap()).expect("room");
    stream.shutdown(Shutdown::Write).expect("open");
    stream.read_to_end(&mut Vec::new()).expect("the end");
    let record = &server.records(1)[0];
    assert_eq!(record["peer"], "192.0.2.1:1");
    assert!(record["via"].as_str().is_some_and(|via| via.starts_with("unix:pid=")), "{record}");
    assert_eq!(record["authority"], "a\\n\\\"b\\u{202e}");
    assert_eq!(record["unique_id"], "id-1\\xff");
    assert_eq!((&record["alpn"], &record["proxy_tls"]), (&"h2".into(), &"TLSv1.3".into()));
    end(server);
}

#[test]
fn a_program_finds_its_client_and_all_that_he_sends() {
    let more = ["--accept-proxy", "any", "--proxy-from", "127.0.0.5"];
    let server = Server::start(&[&["exec:sh -c 'env; cat'", "--listen", ANYWHERE], &more[..]].concat());
    let mut header = Header::v2(address("203.0.113.9:1234"), address("198.51.100.1:7"));
    header.extras.authority = Some((*b"() { :;}; x").into());
    header.extras.unique_id = Some((*b"-f/1").into());
    let pipelined = [&header.encode().unwrap()[..], b"what comes behind it\n"].concat();
    let mut proxy = connect_from(PROXY, &server);
    let own = proxy.local_addr().expect("bound");
    let heard = text(&converse(&mut proxy, &[&pipelined]).expect("an answer"));
    for line in [
        "PROTO=TCP",
        "TCPREMOTEIP=203.0.113.9",
        "TCPREMOTEPORT=1234",
        "TCPLOCALIP=198.51.100.1",
        "TCPLOCALPORT=7",
        "PROXY_VERSION=2",
        &format!("PROXY_REMOTEPORT={}", own.port()),
        "PROXY_REMOTEIP=127.0.0.5",
        "PROXY_LOCALIP=127.0.0.1",
        "PROXY_AUTHORITY=%28%29%20%7B%20:%3B%7D%3B%20x",
        "PROXY_UNIQUE_ID=%2Df/1",
    ] {
        assert!(heard.lines().any(|found| found == line), "{line} in {heard}");
    }
    assert!(heard.ends_with("what comes behind it\n"), "{heard}");
    assert_eq!(server.records(1)[0]["peer"], "203.0.113.9:1234");
    // Somebody else's environment is his own.
    let mut stranger = connect_from(STRANGER, &server);
    let heard = text(&converse(&mut stranger, &[b""]).expect("an answer"));
    assert!(heard.contains("TCPREMOTEIP=127.0.0.6\n") && !heard.contains("PROXY_"), "{heard}");
    end(server);
}

/// A server that keeps what the first client sends.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = format!("tcp:{}", listener.local_addr().expect("bound"));
    (listener, at)
}

#[test]
fn a_relay_introduces_its_clients() {
    let all = ["--set", "forward.proxy_crc32c=true", "--set", "forward.proxy_unique_id=true"];
    for (version, more) in [("v1", &[][..]), ("v2", &[]), ("v2", &all)] {
        let (target, to) = listener();
        let (word, set) = (format!("forward:{to}"), format!("forward.proxy_out={version}"));
        let server = Server::start(&[&[&word, "--listen", ANYWHERE, "--set", &set], more].concat());
        let mut client = connect_from(STRANGER, &server);
        let own = client.local_addr().expect("bound");
        client.write_all(b"hello").expect("room");
        client.shutdown(Shutdown::Write).expect("open");
        let (mut there, _) = target.accept().expect("the relay comes");
        there.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut bytes = Vec::new();
        there.read_to_end(&mut bytes).expect("all");
        drop(there);
        let Ok(Decoded::Header(header, length)) = decode(&bytes, Versions::Any) else { panic!("{bytes:?}") };
        assert_eq!(&bytes[length..], b"hello");
        assert_eq!(header.version == Version::V1, version == "v1");
        let served = address(server.endpoint().trim_start_matches("tcp:"));
        assert_eq!(header.origin, Origin::Inet { source: own, destination: served });
        let sealed = !more.is_empty();
        assert_eq!(header.extras.crc32c, sealed);
        let record = &server.records(1)[0];
        let id = header.extras.unique_id.map(|id| String::from_utf8(id.into()).expect("text"));
        assert_eq!(record["unique_id"].as_str(), id.as_deref(), "{record}");
        assert_eq!(id.is_some(), sealed);
        end(server);
    }
}

/// Two of ours, one behind the other: what the first was told, the second is told.
#[test]
fn an_introduction_goes_through_a_relay() {
    let believed = ["--accept-proxy", "any", "--proxy-from", "127.0.0.0/8"];
    let behind = Server::start(&[&["echo", "--listen", ANYWHERE], &believed[..]].concat());
    let word = format!("forward:{}", behind.endpoint());
    let sets =
        ["proxy_out=v2", "proxy_crc32c=true", "proxy_unique_id=true"].map(|set| format!("forward.{set}"));
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let front = Server::start(&[&[&word, "--listen", ANYWHERE], &sets[..], &believed].concat());
    let mut named = Header::v2(address("203.0.113.9:1234"), address("198.51.100.1:7"));
    named.extras.unique_id = Some((*b"from-the-first").into());
    for (header, expected) in
        [(header(Version::V1, "203.0.113.9:1234"), None), (named.encode().unwrap(), Some("from-the-first"))]
    {
        let mut proxy = connect_from(PROXY, &front);
        assert_eq!(converse(&mut proxy, &[&header, b"hello"]).expect("an answer"), b"hello");
        let (first, second) = (&front.records(1)[0], &behind.records(1)[0]);
        assert_eq!(
            (&first["peer"], &second["peer"]),
            (&"203.0.113.9:1234".into(), &"203.0.113.9:1234".into())
        );
        let ids = (first["unique_id"].as_str(), second["unique_id"].as_str());
        assert!(ids.0.is_some() && ids.0 == ids.1, "{first} {second}");
        assert!(expected.is_none_or(|expected| ids.0 == Some(expected)), "{first}");
    }
    end(front);
    end(behind);
}

#[test]
fn each_datagram_has_a_header_of_its_own() {
    let header = |source: &str| {
        let header = Header::v2(address(source), address("198.51.100.1:7"));
        Header { carrier: Carrier::Datagram, ..header }.encode().unwrap()
    };
    let socket = |host: u8| {
        let socket = UdpSocket::bind(("127.0.0.1".replace(".1", &format!(".{host}")), 0)).expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
        socket
    };
    let believed = ["--accept-proxy", "v2", "--proxy-from", "127.0.0.5", "--deny", "203.0.113.7"];
    for engine in engines().into_iter().filter(|row| row.datagrams) {
        let base = ["echo", "--engine", engine.name, "--listen", "udp:127.0.0.1:0"];
        let server = Server::start(&[&base[..], &believed].concat());
        let at = server.endpoint();
        let at = at.trim_start_matches("udp:");
        let (proxy, stranger) = (socket(PROXY), socket(STRANGER));
        let ask = |socket: &UdpSocket, bytes: &[u8]| {
            socket.send_to(bytes, at).expect("sent");
            let mut answer = [0; 100];
            let length = hear(socket, &mut answer);
            answer[..length].to_vec()
        };
        // Unanswered: no header, half of one, one for a stream, a client who is denied, and one who is a service.
        let stream = Header::v2(address("203.0.113.9:1"), address("198.51.100.1:7")).encode().unwrap();
        for bytes in [
            &b"hello"[..],
            &header("203.0.113.9:4000")[..20],
            &stream,
            &header("203.0.113.7:4000"),
            &header("203.0.113.9:7"),
        ] {
            proxy.send_to(bytes, at).expect("sent");
        }
        assert_eq!(ask(&proxy, &[&header("203.0.113.9:4000")[..], b"hello"].concat()), b"hello");
        assert_eq!(ask(&stranger, b"my own"), b"my own");
        let summary = end_datagrams(server);
        let numbers = ["datagrams_unintroduced", "datagrams_denied", "datagrams_filtered", "datagrams_out"];
        assert_eq!(numbers.map(|name| number(&summary, name)), [3, 1, 1, 2], "{}: {summary}", engine.name);
    }
    // To a program, and through a relay to a server that is told of each client.
    let program = Server::start(
        &[
            &[
                "exec:sh -c 'printf %s $UDPREMOTEIP-; cat'",
                "--set",
                "mode=per-datagram",
                "--listen",
                "udp:127.0.0.1:0",
            ],
            &believed[..],
        ]
        .concat(),
    );
    let word = format!("forward:{}", program.endpoint());
    let sets = ["--set", "forward.source=127.0.0.5", "--set", "forward.proxy_out=v2"];
    let relay = Server::start(&[&[&word, "--listen", "udp:127.0.0.1:0"], &sets[..], &believed].concat());
    for server in [&program, &relay] {
        let proxy = socket(PROXY);
        for client in ["203.0.113.9", "203.0.113.10"] {
            let bytes = [&header(&format!("{client}:4000"))[..], b"hello"].concat();
            proxy.send_to(&bytes, server.endpoint().trim_start_matches("udp:")).expect("sent");
            let mut answer = [0; 100];
            let length = hear(&proxy, &mut answer);
            assert_eq!(text(&answer[..length]), format!("{client}-hello"));
        }
    }
    end_datagrams(relay);
    end_datagrams(program);
}

/// One datagram. With a time limit recv(2) may be interrupted by any signal that is ignored (signal(7)).
fn hear(socket: &UdpSocket, answer: &mut [u8]) -> usize {
    loop {
        match socket.recv(answer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            heard => return heard.expect("an answer"),
        }
    }
}

fn end_datagrams(server: Server) -> serde_json::Value {
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    ended.summary
}

#[test]
fn what_would_be_a_guess_is_an_error() {
    let scratch = Scratch::new();
    let file = scratch.path("file.toml");
    for (service, expected) in [
        ("builtin = \"echo\"\nproxy_in = \"v2\"", "does not say which proxies are believed"),
        ("builtin = \"echo\"\nproxy_in = \"v2\"\nproxy_from = []", "does not say which proxies are believed"),
        ("builtin = \"echo\"\nproxy_in = \"v2\"\nproxy_from = \"example.org\"", "is no proxy"),
        ("builtin = \"echo\"\nproxy_from = \"::1\"", "does nothing for this service"),
        ("builtin = \"tcpmux\"\nlisten = \"0\"\nproxy_in = \"v2\"\nproxy_from = \"::1\"", "cannot hold here"),
        (
            "exec = \"cat\"\nmode = \"wait\"\nlisten = \"0\"\nproxy_in = \"v2\"\nproxy_from = \"::1\"",
            "cannot hold here",
        ),
        (
            "builtin = \"echo\"\nlisten = \"udp:127.0.0.1:0\"\nproxy_in = \"v1\"\nproxy_from = \"::1\"",
            "does not know datagrams",
        ),
        (
            "builtin = \"echo\"\nlisten = \"unix-seqpacket:@x\"\nproxy_in = \"v1\"\nproxy_from = \"unix\"",
            "no place for a header",
        ),
        (
            "listen = \"0\"\nforward = { to = \"tcp:127.0.0.1:1\", proxy_out = \"v1\", proxy_crc32c = true }",
            "has no place there",
        ),
        (
            "listen = \"0\"\nforward = { to = \"tcp:127.0.0.1:1\", proxy_unique_id = true }",
            "has no place there",
        ),
    ] {
        std::fs::write(&file, format!("version = 1\n[[service]]\n{service}\n")).expect("a file");
        let output = program().args(["check", &file]).output().expect("check runs");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(!output.status.success() && said.contains(expected), "{service}: {said}");
    }
    for arguments in [
        &["--accept-proxy", "any"][..],
        &["--proxy-from", "::1"],
        &["--accept-proxy", "any", "--proxy-from", "somebody"],
        &["--accept-proxy", "v1", "--proxy-from", "::1", "--listen", "udp:127.0.0.1:0"],
    ] {
        let output = program().args(["serve", "echo"]).args(arguments).output().expect("serve runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
}

/// However many half headers there are, descriptors are left for those who have something to say.
#[test]
fn half_headers_take_no_more_than_their_part() {
    let engine = engines().into_iter().find(|row| row.name == "epoll").expect("always there");
    let server = start(engine, &["--accept-proxy", "any", "--proxy-timeout", "20s"]);
    let half = header(Version::V1, "192.0.2.1:1");
    let mut crowd = Vec::new();
    while crowd.len() < 1_100 {
        let Ok(mut proxy) = harness::connect_from(PROXY, &server.endpoint()) else { break };
        // Those beyond the limit are reset, perhaps before they have said anything.
        let _ = proxy.write_all(&half[..9]);
        crowd.push(proxy);
    }
    if crowd.len() < 1_100 {
        return harness::skip("a crowd of half headers", "too few descriptors here");
    }
    server.wait_for_line("too many", |line| line.contains("too many wait for their PROXY header"));
    let mut fine = connect_from(PROXY, &server);
    assert_eq!(converse(&mut fine, &[&half, b"hello"]).expect("an answer"), b"hello");
    drop(crowd);
    let summary = end(server);
    assert_eq!(number(&summary, "accepted"), 1, "{summary}");
}
