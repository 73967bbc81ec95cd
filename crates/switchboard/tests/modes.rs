//! `connect` in scripts: line ends, one way only, dumps, summaries, pace, repetition, and the scan. Rows S5, S16, S22.

mod harness;

use harness::{PATIENCE, Scratch, free_port, program, run_to_end, text};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `connect` with this input to its end; it is killed when that takes too long.
fn run(arguments: &[&str], input: &[u8]) -> Ran {
    let output = run_to_end(program().arg("connect").args(arguments), Some(input), PATIENCE);
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[track_caller]
fn good(arguments: &[&str], input: &[u8]) -> Ran {
    let ran = run(arguments, input);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    ran
}

/// Serves `n` clients: `answer` first, then reads to the end; what each has sent.
fn server(n: usize, answer: &'static [u8]) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let serve = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(answer).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        };
        (0..n).map(serve).collect()
    });
    (address, thread)
}

#[test]
fn line_feeds_get_their_carriage_return_once() {
    let (address, server) = server(1, b"");
    good(&[&address.to_string(), "--crlf"], b"one\ntwo\r\n\n");
    assert_eq!(server.join().unwrap(), [b"one\r\ntwo\r\n\r\n"]);
}

#[test]
fn one_way_only() {
    let (address, served) = server(1, b"unwanted");
    let ran = good(&[&address.to_string(), "--send-only", "-v"], b"wanted");
    assert_eq!(ran.stdout, "");
    assert_eq!(served.join().unwrap(), [b"wanted"]);

    // The server is not told of an end, so it is he who ends.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"wanted").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // Nothing, not even an end: a time-out.
        let heard = stream.read(&mut [0; 10]).map_err(|error| error.kind());
        stream.shutdown(Shutdown::Both).unwrap();
        heard
    });
    let ran = good(&[&address.to_string(), "--recv-only"], b"unwanted");
    assert_eq!(ran.stdout, "wanted");
    assert_eq!(served.join().unwrap(), Err(std::io::ErrorKind::WouldBlock));
}

#[test]
fn every_byte_is_shown_and_summed_up() {
    let scratch = Scratch::new();
    let (address, served) = server(2, b"answer\n");
    let file = scratch.path("dump");
    let ran = good(&[&address.to_string(), "--json", &format!("--hex={file}")], b"question\n");
    assert_eq!(ran.stdout, "answer\n");
    let dump = std::fs::read_to_string(&file).unwrap();
    assert!(dump.contains("00000000  71 75 65 73 74 69 6f 6e 0a "), "{dump}");
    assert!(dump.lines().any(|line| line.starts_with("< ") && line.ends_with("  answer.")), "{dump}");
    let summary: Value = serde_json::from_str(ran.stderr.trim()).unwrap();
    assert_eq!(summary["schema"], "switchboard-connect");
    for (key, wanted) in [("version", 1), ("exit", 0), ("sent", 9), ("received", 7), ("undelivered", 0)] {
        assert_eq!(summary[key], wanted, "{key}: {summary}");
    }
    let ran = good(&[&address.to_string(), "--hex"], b"question\n");
    assert!(ran.stderr.starts_with("< ") || ran.stderr.starts_with("> "), "{}", ran.stderr);
    served.join().unwrap();
}

#[test]
fn paced_and_repeated_nothing_is_lost() {
    let (address, served) = server(4, b"");
    let input: Vec<u8> = (0..2_000_u32).map(|n| n as u8).collect();
    good(&[&address.to_string(), "--rate", "10KB"], &input);
    good(&[&address.to_string(), "--delay-line", "20ms", "-w", "10s"], b"a\nb\nc");
    let ran = good(&[&address.to_string(), "--repeat", "2", "--every", "10ms", "-v"], b"again");
    assert!(ran.stderr.contains("2 of 2 times complete"), "{}", ran.stderr);
    assert_eq!(served.join().unwrap(), [&input[..], b"a\nb\nc", b"again", b"again"]);
}

#[test]
fn who_says_nothing_at_first_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = program()
        .args(["connect", "-v", &address.to_string()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (_stream, _) = listener.accept().unwrap();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let (said, told) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = std::io::BufRead::lines(stderr).map_while(Result::ok);
        let _ = said.send(lines.any(|line| line.contains("connected; waiting for input, and for tcp:")));
    });
    let told = told.recv_timeout(PATIENCE);
    let _ = child.kill();
    child.wait().unwrap();
    assert_eq!(told, Ok(true));
}

#[test]
fn a_scan_tells_open_from_closed_and_from_what_it_cannot_know() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free_port();
    let open_port = open.local_addr().unwrap().port();
    let ran = good(&["-z", "127.0.0.1", &open_port.to_string()], b"");
    assert!(ran.stdout.contains(&format!("tcp:127.0.0.1:{open_port}")) && ran.stdout.contains(" open "));

    let ran = run(&["-z", "127.0.0.1", &format!("{open_port},{closed}"), "--json"], b"");
    assert_eq!(ran.code, Some(1));
    let scan: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(scan["schema"], "switchboard-scan");
    assert_eq!([&scan["ports"][0]["state"], &scan["ports"][1]["state"]], ["open", "closed"]);

    // Both addresses of loopback.
    let ran = run(&["-z", "localhost", &format!("{closed},{open_port}"), "--connect-timeout", "60s"], b"");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!(":{open_port} ")), "{}", ran.stdout);

    // A range, at an address of loopback where nobody else listens: some would take the scan for their client.
    let open = TcpListener::bind("127.77.66.55:0").unwrap();
    let open_port = open.local_addr().unwrap().port();
    let (low, high) = (open_port.saturating_sub(150), open_port.saturating_add(150));
    let ran = run(&["-z", "127.77.66.55", &format!("{low}-{high}"), "--connect-timeout", "60s"], b"");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!(":{open_port} ")), "{}", ran.stdout);

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answering = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let ports = format!("{},{},{closed}", port(&answering), port(&silent));
    // It ends with the process of the test.
    thread::spawn(move || {
        while let Ok((_, from)) = answering.recv_from(&mut [0; 1]) {
            let _ = answering.send_to(b"here", from);
        }
    });
    // The answer may be late on a busy machine; one that is never heard is not.
    let states = |limit: &str| -> Vec<String> {
        let ran = run(&["-z", "udp:127.0.0.1", &ports, "--json", "--connect-timeout", limit], b"");
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        let scan: Value = serde_json::from_str(&ran.stdout).unwrap();
        (0..3).map(|at| scan["ports"][at]["state"].as_str().unwrap().to_owned()).collect()
    };
    let wanted = ["open", "open|filtered", "closed"];
    let is_right = ["600ms", "5s", "20s"].into_iter().any(|limit| states(limit) == wanted);
    assert!(is_right, "{:?}", states("600ms"));
}

#[test]
fn what_makes_no_sense_is_said() {
    for (arguments, part) in [
        (&["-z", "127.0.0.1"][..], "--scan needs a host and ports"),
        (&["-z", "127.0.0.1", "9-7"], "no range of ports"),
        (&["7", "--rate", "0"], "nothing would ever be sent"),
        (&["7", "--every", "1s"], "--repeat"),
        (&["listen:0", "--repeat", "2"], "--keep-open is its like"),
        (&["listen:0", "exec:cat", "--hex"], "for standard input"),
        (&["127.0.0.1", "7", "--send-only", "--recv-only"], "cannot be used with"),
    ] {
        let ran = run(arguments, b"");
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
    }
    // Nobody listens: the connection is not needed to say so.
    assert!(TcpStream::connect("127.0.0.1:1").is_err());
}

/// A UDP service that hears on one port and answers from another one, as some TFTP servers do.
#[test]
fn answers_from_elsewhere_are_for_sockets_that_are_not_connected() {
    let heard = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answering = UdpSocket::bind("127.0.0.1:0").unwrap();
    heard.set_read_timeout(Some(PATIENCE)).unwrap();
    let (door, elsewhere) = (heard.local_addr().unwrap(), answering.local_addr().unwrap());
    let service = thread::spawn(move || {
        let mut bytes = [0; 100];
        for _ in 0..2 {
            let (n, from) = heard.recv_from(&mut bytes).unwrap();
            answering.send_to(&bytes[..n], from).unwrap();
        }
    });
    let to = format!("udp:{door}");
    // A connected socket hears its peer only.
    let ran = run(&[&to, "-w", "300ms"], b"to be lost");
    assert_eq!((ran.code, &*ran.stdout), (Some(0), ""), "{}", ran.stderr);
    let ran = run(&[&to, "--unconnected", "-n", "1", "-w", "60s"], b"to be heard");
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "to be heard"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("comes from udp:{elsewhere}, and not from {to}")), "{}", ran.stderr);
    service.join().unwrap();
}

/// The other difference: who is told that nobody is there.
#[test]
fn only_a_connected_socket_learns_that_nobody_is_there() {
    // Its owner hears somebody else only, and nobody else can have it.
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    deaf.connect("127.0.0.1:1").unwrap();
    let port = deaf.local_addr().unwrap().port();
    let to = format!("udp:127.0.0.1:{port}");
    let ran = run(&[&to, "-w", "60s"], b"hello");
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    let ran = run(&[&to, "--unconnected", "-w", "300ms"], b"hello");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let ran = run(&[&to, "--unconnected", "-w", "300ms", "-n", "1"], b"hello");
    assert_eq!(ran.code, Some(6), "{}", ran.stderr);
}

#[test]
fn an_interface_is_the_way_out() {
    let (address, server) = server(1, b"by lo");
    let ran = good(&[&address.to_string(), "--interface", "lo"], b"hello");
    assert_eq!(ran.stdout, "by lo");
    assert_eq!(server.join().unwrap(), [b"hello"]);
    let ran = run(&["127.0.0.1:9", "--interface", "nowhere0"], b"");
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("device") && ran.stderr.contains("nowhere0"), "{}", ran.stderr);
}
