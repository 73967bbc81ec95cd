//! What a server must survive: interruptions, short and refused calls, peers that reset, do not read, do not write
//! or leave early, a lack of descriptors, the death of its processes; and how it stops. Each with a test that
//! provokes it, on every engine. Rows S11, S12, S16–S19, S22, S24.

#[path = "survive/calls.rs"]
mod calls;
#[path = "survive/ending.rs"]
mod ending;
mod harness;
#[path = "survive/peers.rs"]
mod peers;
#[path = "survive/processes.rs"]
mod processes;
#[path = "survive/shortage.rs"]
mod shortage;

use harness::{Server, Stream, each_engine, end, engines, is_ring_of_characters};
use std::io::Read;
use switchboard::{EngineRow, Random};

const ANYWHERE: &str = "tcp:127.0.0.1:0";
const TALKERS: [&str; 3] = ["echo", "sum", "chargen"];

/// A server with these services on ports of their own, and where each is.
fn start(engine: &EngineRow, services: &[&str], more: &[&str]) -> Server {
    Server::start(&arguments(engine, services, more))
}

fn arguments<'a>(engine: &EngineRow, services: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [services, &["--engine", engine.name, "--listen", ANYWHERE], more].concat()
}

fn endpoint_of(server: &Server, service: &str) -> String {
    let found = server.listeners().into_iter().find(|(name, _)| name == service);
    found.unwrap_or_else(|| panic!("{service} is not served")).1
}

/// One conversation with each of the three talkers, its content checked. `size`: bytes, roughly.
fn talk(server: &Server, size: usize, seed: u64) {
    let mut random = Random::new(seed);
    let connect = |service| Stream::connect(&endpoint_of(server, service)).expect("connect");

    let said: Vec<u8> = (0..size).map(|_| random.bits() as u8).collect();
    let heard = connect("echo").converse(&said).expect("echo");
    assert!(heard == said, "echo: {} of {} bytes, or other ones, came back", heard.len(), said.len());

    let pairs: Vec<(i32, i32)> =
        (0..size / 20).map(|_| (random.bits() as i32, random.bits() as i32)).collect();
    let said: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let sums: String = pairs.iter().map(|(a, b)| format!("{}\n", i64::from(*a) + i64::from(*b))).collect();
    let heard = connect("sum").converse(said.as_bytes()).expect("sum");
    assert_eq!(String::from_utf8_lossy(&heard), sums, "sum");

    let mut stream = connect("chargen");
    let mut heard = vec![0; size];
    stream.read_exact(&mut heard).expect("chargen");
    assert!(is_ring_of_characters(&heard), "chargen: {}", heard[..size.min(80)].escape_ascii());
}

/// Half-closes, reads to the end, and wants `heard`.
fn expect_rest(stream: &mut Stream, heard: &[u8], context: &str) {
    stream.finish();
    let mut rest = Vec::new();
    let result = stream.take(1 << 24).read_to_end(&mut rest);
    result.unwrap_or_else(|error| panic!("{context}: {error} after {} bytes", rest.len()));
    assert_eq!(rest.escape_ascii().to_string(), heard.escape_ascii().to_string(), "{context}");
}

#[test]
fn a_port_in_use_is_one_clear_line_and_the_others_are_served() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = format!("tcp:{}", holder.local_addr().expect("an address"));
    let arguments = ["echo", "--listen", &taken, "--listen", ANYWHERE];
    let server = Server::start(&arguments);
    assert_eq!(server.listeners().len(), 1);
    let said = server.wait_for_line("the port", |_| true);
    assert!(said.contains(&taken) && said.contains("Another socket has that port"), "{said}");
    assert_eq!(Stream::connect(&server.endpoint()).expect("connect").converse(b"1").expect("served"), b"1");
    server.records(1);
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.is_empty(), "that was the only line: {:?}", ended.stderr);
    for arguments in [&arguments[..3], &[&arguments[..], &["--strict"]].concat()] {
        let output = harness::program().arg("serve").args(arguments).output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.matches(&taken).count(), 1, "{said}");
    }
    drop(holder);
}

#[test]
fn names_of_peers_are_added_to_the_log_on_request() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let line = hosts.lines().find(|line| line.split_whitespace().next() == Some("127.0.0.1"));
    let Some(name) = line.and_then(|line| line.split_whitespace().nth(1)) else {
        return harness::skip("names in the log", "/etc/hosts has no name for 127.0.0.1");
    };
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["echo"], &["--log-names"]);
        for round in 0..3 {
            let said = format!("hello {round}");
            let heard = Stream::connect(&server.endpoint()).expect("connect").converse(said.as_bytes());
            assert_eq!(heard.expect("served"), said.as_bytes());
        }
        // Also the records of those who left just before the end are written, with the name.
        for record in server.records(3) {
            assert_eq!(record["peer_name"], name, "{record}");
            assert_eq!(record["bytes_in"], 7, "{record}");
        }
        assert_eq!(end(server)["accepted"], 3);
    });
}
