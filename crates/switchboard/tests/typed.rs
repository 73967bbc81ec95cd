//! `connect SERVICE HOST`: every built-in service used by a client that understands it, and answers that are wrong told
//! from right ones. Rows S1, S10.

mod harness;

use harness::{Server, program, text};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Output;
use std::thread::{self, JoinHandle};

/// Runs `connect`; its own limit ends it when something hangs.
fn run(arguments: &[&str]) -> Output {
    program().arg("connect").args(["-W", "15s"]).args(arguments).output().unwrap()
}

#[track_caller]
fn good(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Where a service listens on TCP.
fn tcp(server: &Server) -> String {
    server.endpoint().trim_start_matches("tcp:").to_owned()
}

#[test]
fn texts_and_times() {
    for service in ["daytime", "qotd", "time"] {
        let server = Server::start(&[service, "--listen", "tcp:127.0.0.1:0", "--listen", "udp:127.0.0.1:0"]);
        for (_, endpoint) in server.listeners() {
            if service == "qotd" && endpoint.starts_with("udp:") {
                // A datagram is not answered by a longer one than `amplify` allows, and to an empty one that is nothing.
                continue;
            }
            let said = good(&[service, &endpoint]);
            let right = match service {
                "daytime" => said.ends_with(" UTC\n"),
                "time" => said[..20].ends_with('Z') && (said.contains("+0 s") || said.contains(" s")),
                _ => said.len() > 5,
            };
            assert!(right, "{service} {endpoint}: {said}");
        }
    }
}

#[test]
fn sums_as_text() {
    let server = Server::start(&["sum", "--listen", "tcp:127.0.0.1:0"]);
    assert_eq!(good(&["sum", &tcp(&server), "3", "4"]), "7\n");
    assert_eq!(good(&["sum", &tcp(&server), "--", "-3", "1"]), "-2\n");
    assert_eq!(run(&["sum", &tcp(&server), "3"]).status.code(), Some(2));
}

#[test]
fn s10_sums_as_binary_and_the_wrong_byte_order() {
    for abi in ["xdr", "lp64-le", "lp64-be", "ilp32-le", "ilp32-be"] {
        let option = format!("abi={abi}");
        let server = Server::start(&["sum-binary", "--option", &option, "--listen", "tcp:127.0.0.1:0"]);
        assert_eq!(good(&["sum-binary", &tcp(&server), "--abi", abi, "--", "-1", "-22"]), "-23\n", "{abi}");
    }
    let server = Server::start(&["sum-binary", "--option", "abi=lp64-be", "--listen", "tcp:127.0.0.1:0"]);
    let shown = good(&["sum-binary", &tcp(&server), "1", "2", "--abi", "lp64-be", "--show-bytes"]);
    let row = "   8  00 00 00 00 00 00 00 02  second = 2; the other byte order reads 144115188075855872\n";
    assert!(shown.contains(row), "{shown}");
    assert!(shown.ends_with("sum = 3\n"), "{shown}");
    // Bytes that carry over show that the other side has added other numbers.
    let output = run(&["sum-binary", &tcp(&server), "255", "1", "--abi", "lp64-le"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the other byte order; see --abi"), "{}", text(&output.stderr));
}

/// A server that answers one client with this, and ends.
fn answerer(answer: Vec<u8>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(&answer);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    (address, thread)
}

#[test]
fn echo_and_chargen_are_compared() {
    let server = Server::start(&["echo", "chargen", "--listen", "tcp:127.0.0.1:0"]);
    let at = |name: &str| server.listeners().into_iter().find(|(service, _)| service == name).unwrap().1;
    assert!(good(&["echo", &at("echo"), "--verify", "--amount", "3MB"]).contains("all came back"));
    let said = good(&["chargen", &at("chargen"), "--verify", "--amount", "1MB"]);
    assert!(said.contains("1000000 bytes are those of RFC 864"), "{said}");
    let packets = Server::start(&["echo", "--listen", "udp:127.0.0.1:0"]);
    assert!(good(&["echo", &packets.endpoint(), "--verify"]).contains("1024 bytes"));

    for (arguments, answer, part) in [
        (["echo", "--verify"], b"not that".to_vec(), "8 bytes came back, different from byte 0 on"),
        (["chargen", "--verify"], b" !\"x".to_vec(), "byte 3 is 0x78 and should be 0x23"),
        (["chargen", "--verify"], b" !\"#".to_vec(), "the server ended after 4 bytes"),
        (["time", "-v"], b"123".to_vec(), "3 bytes came, and a time has 4"),
    ] {
        let (address, thread) = answerer(answer);
        let output = run(&[arguments[0], &address, arguments[1]]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
        thread.join().unwrap();
    }
}
