//! `connect --telnet`: a network virtual terminal (RFC 854) against a server that negotiates, sends urgent data and
//! floods; alone, and with system calls cut short. Row S5.

mod harness;

use harness::{PATIENCE, program, run_to_end, text};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use switchboard_net::sys::fault;

const FAULTS: [&str; 3] = ["", "seed=3,short=1,eintr=30", "seed=4,again=80"];

/// A client of this server, under each of the faults; `check` sees what came of it and what the server heard.
fn each(
    arguments: &[&str],
    input: &[u8],
    server: impl Fn(TcpStream) -> Vec<u8> + Sync,
    check: impl Fn(&Output, &[u8]),
) {
    for faults in FAULTS {
        if !faults.is_empty() && !fault::POSSIBLE {
            let _ = writeln!(std::io::stderr(), "SKIPPED: faults need a debug build");
            continue;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::scope(|scope| {
            let server = &server;
            let heard = scope.spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                server(stream)
            });
            let mut command = program();
            command.args(["connect", &address, "--telnet"]).args(arguments);
            if !faults.is_empty() {
                command.env("SWITCHBOARD_FAULT", faults);
            }
            let output = run_to_end(&mut command, Some(input), PATIENCE);
            check(&output, &heard.join().unwrap());
        });
    }
}

fn rest_of(mut stream: &TcpStream, heard: &mut Vec<u8>) {
    stream.read_to_end(heard).unwrap();
}

#[test]
fn text_is_dressed_for_the_wire_and_undressed() {
    each(
        &[],
        b"one\ntwo\r\nthree\rfour \xff\r",
        |stream| {
            let mut heard = Vec::new();
            rest_of(&stream, &mut heard);
            (&stream).write_all(&heard).unwrap();
            heard
        },
        |output, heard| {
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            assert_eq!(heard, b"one\r\ntwo\r\nthree\r\0four \xff\xff\r\0");
            assert_eq!(output.stdout, b"one\ntwo\nthree\rfour \xff\r");
        },
    );
}

#[test]
fn options_are_refused_and_not_shown() {
    // WILL ECHO, DO TERMINAL-TYPE, what it is all about, WONT and DONT, and the data mark as urgent data.
    each(
        &["-q", "10s"],
        b"",
        |stream| {
            let mut heard = Vec::new();
            let mut to = &stream;
            to.write_all(b"\xff\xfb\x01\xff\xfd\x18log\xff\xfa\x18\x01\xff\xf0in: \xff\xfc\x01\xff\xfe\x03")
                .unwrap();
            to.write_all(b"\xff").unwrap();
            let urgent = rustix::net::send(&stream, b"\xf2", rustix::net::SendFlags::OOB).unwrap();
            assert_eq!(urgent, 1);
            to.write_all(b"bye\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            rest_of(&stream, &mut heard);
            heard
        },
        |output, heard| {
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            assert_eq!(text(&output.stdout), "login: bye\n");
            // The end of the input may have been told before the first command came.
            assert!([&b""[..], b"\xff\xfe\x01\xff\xfc\x18"].contains(&heard), "{heard:?}");
        },
    );
}

#[test]
fn refusals_go_out_between_lines_and_without_input() {
    // With --recv-only nothing but the refusals is ever sent.
    each(
        &["--recv-only"],
        b"not read",
        |stream| {
            let mut to = &stream;
            to.write_all(b"\xff\xfd\x1f\xff\xfb\x03").unwrap();
            let mut heard = vec![0; 6];
            to.read_exact(&mut heard).unwrap();
            to.write_all(b"ok").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            rest_of(&stream, &mut heard);
            heard
        },
        |output, heard| {
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            assert_eq!(output.stdout, b"ok");
            let (mut all, mut wanted) = (heard.to_vec(), b"\xff\xfe\x03\xff\xfc\x1f".to_vec());
            all.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(all, wanted, "{heard:?}");
        },
    );
}

#[test]
fn a_flood_of_offers_does_not_stop_the_text() {
    // The server offers without reading the answers, more often than any buffer could hold them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let offers: Vec<u8> = (0..255).flat_map(|option| [255, 251, option]).collect();
        for _ in 0..20_000 {
            stream.write_all(&offers).unwrap();
        }
        stream.write_all(b"end").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        heard
    });
    let mut command = program();
    command.args(["connect", &address, "--telnet", "--recv-only", "--json"]);
    let output = run_to_end(&mut command, None, PATIENCE * 3);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(output.stdout, b"end");
    let heard = server.join().unwrap();
    assert!(heard.chunks(3).all(|answer| matches!(answer, [255, 254, _])));
}

#[test]
fn it_is_for_connections() {
    let output = run_to_end(program().args(["connect", "udp:127.0.0.1:9", "--telnet"]), None, PATIENCE);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--telnet"), "{}", text(&output.stderr));
}
