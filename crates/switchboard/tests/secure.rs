//! `connect tls:`: against our own server, openssl's and scripted ones: who is believed and who is not, half-close and
//! truncation, and never a success with a byte missing. Rows S5, B1.

mod client;
mod harness;

use client::sealed::{HOUSE, Scripted};
use harness::{PATIENCE, Server, program, run_to_end, text};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use switchboard_net::tls::{self, Clients, Roots, Settings};
use switchboard_net::{Channel, Kind};

/// Runs `connect` with the tests' authority; killed when it hangs.
fn connect(arguments: &[&str], input: &[u8]) -> Output {
    faulty_connect("", arguments, input)
}

fn faulty_connect(fault: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = program();
    command.args(["connect", "--ca", &HOUSE.ca]).args(arguments);
    if !fault.is_empty() {
        command.env("SWITCHBOARD_FAULT", fault);
    }
    run_to_end(&mut command, Some(input), PATIENCE)
}

#[track_caller]
fn complete(ran: &Output, what: &str) {
    assert_eq!(ran.status.code(), Some(0), "{what}: {}", text(&ran.stderr));
}

/// Bytes with a pattern that shows what is missing.
fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(4) as u32).flat_map(u32::to_be_bytes).take(bytes).collect()
}

#[test]
fn an_answer_after_the_end_of_the_input_arrives() {
    for fault in ["", "seed=5,eintr=50,again=80,short=1"] {
        let size = if fault.is_empty() { 1_000_000 } else { 2_000 };
        for versions in [("1.2", "1.2"), ("1.3", "1.3")] {
            let (address, server) = Scripted::plain(move |mut client| {
                assert_eq!(client.receive(), payload(size));
                client.send(&payload(size / 2));
                client.0.finish().unwrap();
            });
            let arguments = [&address, "--tls-min", versions.0, "--tls-max", versions.1];
            let ran = faulty_connect(fault, &arguments, &payload(size));
            complete(&ran, fault);
            assert!(ran.stdout == payload(size / 2), "{fault}: {} bytes", ran.stdout.len());
            server.join().unwrap();
        }
    }
}

#[test]
fn the_servers_end_does_not_end_our_half() {
    let (address, server) = Scripted::plain(|mut client| {
        client.send(&payload(300_000));
        client.0.finish().unwrap();
        assert!(client.receive() == payload(3_000_000));
    });
    let ran = connect(&[&address], &payload(3_000_000));
    complete(&ran, "");
    assert!(ran.stdout == payload(300_000));
    server.join().unwrap();
}

#[test]
fn a_connection_that_ends_without_close_notify_is_cut_short() {
    for fault in ["", "seed=9,again=80,short=1"] {
        let (address, server) = Scripted::plain(|mut client| {
            client.send(&payload(2_000));
            // TCP's end, without that of TLS.
            switchboard_net::sys::socket::shutdown_write(&client.0);
            client.receive();
        });
        let ran = faulty_connect(fault, &[&address, "--json"], b"hello");
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(7), "{said}");
        assert!(said.contains("cut short") && said.contains("2000 received"), "{said}");
        assert!(ran.stdout == payload(2_000), "{} bytes", ran.stdout.len());
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_takes_no_more_is_no_success() {
    let (address, server) = Scripted::plain(|mut client| {
        let mut room = [0; 1000];
        client.0.recv_within(&mut room, PATIENCE).unwrap();
        client.0.finish().unwrap();
        // The close resets: input is waiting.
    });
    let ran = connect(&[&address, "-v"], &payload(20_000_000));
    server.join().unwrap();
    assert!(matches!(ran.status.code(), Some(7 | 8)), "{:?}: {}", ran.status, text(&ran.stderr));
}

#[test]
fn certificates_are_believed_only_if_they_should_be() {
    for (certificate, part) in [
        ("other", "is for example.test, 192.0.2.1, and not for 127.0.0.1"),
        ("expired", "has expired, on 20"),
        ("early", "is not valid yet"),
        ("stranger", "issued by nobody who is trusted"),
    ] {
        let server = Server::start(&[
            "echo",
            "--listen",
            "tls:127.0.0.1:0",
            "--cert",
            &HOUSE.file(&format!("{certificate}.pem")),
            "--key",
            &HOUSE.file(&format!("{certificate}-key.pem")),
        ]);
        let at = server.endpoint();
        let at = if at.starts_with("tls:") { at } else { at.replace("tcp:", "tls:") };
        let ran = connect(&[&at], b"secret");
        let said = text(&ran.stderr);
        assert_eq!((ran.status.code(), ran.stdout.len()), (Some(9), 0), "{said}");
        assert!(said.contains(part), "{said}");
        // Not even then, if the system is asked.
        let ran = run_to_end(program().args(["connect", &at]), Some(b"secret"), PATIENCE);
        assert_ne!(ran.status.code(), Some(0));
        assert!(ran.stdout.is_empty());
        // Loud, and only if asked.
        let mut insecure = program();
        let ran =
            run_to_end(insecure.args(["connect", "--insecure", &at, "--json"]), Some(b"hello"), PATIENCE);
        complete(&ran, certificate);
        assert_eq!(ran.stdout, b"hello");
        let said = text(&ran.stderr);
        assert!(said.contains("WARNING: --insecure"), "{said}");
        let summary = said.lines().find(|line| line.starts_with('{')).expect("a summary");
        let summary: Value = serde_json::from_str(summary).expect("JSON");
        assert_eq!(summary["tls"]["verified"], false);
    }
    // The name that is wanted may be another one than that of the host.
    let (address, server) = Scripted::start(Settings::new(vec![HOUSE.identity("other")]), |mut client| {
        assert_eq!(client.receive(), b"x");
        client.0.finish().unwrap();
    });
    let ran = connect(&[&address, "--server-name", "example.test"], b"x");
    complete(&ran, "");
    server.join().unwrap();
}

#[test]
fn both_sides_show_certificates_and_agree_on_a_protocol() {
    let settings = || Settings {
        clients: Clients::Required(Roots::file(Path::new(&HOUSE.ca)).unwrap()),
        alpn: vec![b"h2".to_vec(), b"sb/1".to_vec()],
        ..Settings::new(vec![HOUSE.identity("good")])
    };
    let (address, server) = Scripted::start(settings(), |mut client| {
        let facts = client.0.facts().expect("facts");
        let said = client.receive();
        client.send(&said);
        client.0.finish().unwrap();
        facts
    });
    let (cert, key) = (HOUSE.file("client.pem"), HOUSE.file("client-key.pem"));
    let ran =
        connect(&[&address, "--cert", &cert, "--key", &key, "--alpn", "sb/1", "-v", "--json"], b"hello");
    complete(&ran, "");
    assert_eq!(ran.stdout, b"hello");
    let facts = server.join().unwrap();
    assert_eq!(facts.peer.expect("a certificate").name(), "email:me@example.test");
    assert_eq!(facts.alpn.as_deref(), Some(&b"sb/1"[..]));
    let said = text(&ran.stderr);
    for part in ["TLSv1.3", "ALPN sb/1", "certificate of DNS:localhost, IP:127.0.0.1", "\"alpn\":\"sb/1\""] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Without one: in TLS 1.3 the refusal comes after the handshake, with the first answer.
    for (version, arguments) in [("1.2", &[][..]), ("1.3", &[]), ("1.3", &["--alpn", "nonsense"])] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tls:{}", listener.local_addr().unwrap());
        let server = tls::Server::new(settings()).unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let codec = server.codec().unwrap();
            let copy = stream.try_clone().unwrap();
            let failed = Channel::secure(OwnedFd::from(stream), Kind::Tcp, codec, PATIENCE).err();
            // What the client has sent meanwhile is swallowed, so that the alert is not lost with a reset.
            let _ = copy.shutdown(std::net::Shutdown::Write);
            let _ = (&copy).read_to_end(&mut Vec::new());
            failed
        });
        let ran = connect(&[&[&address, "--tls-max", version][..], arguments].concat(), b"hello");
        assert_eq!(ran.status.code(), Some(9), "{version}: {}", text(&ran.stderr));
        let part = if arguments.is_empty() { "certificate" } else { "no_application_protocol" };
        assert!(text(&ran.stderr).contains(part), "{version}: {}", text(&ran.stderr));
        assert!(thread.join().unwrap().is_some());
    }
}

#[test]
fn every_client_mode_has_tls() {
    let (cert, key) = (HOUSE.file("good.pem"), HOUSE.file("good-key.pem"));
    let server = |service: &str| {
        Server::start(&[service, "--listen", "tls:127.0.0.1:0", "--cert", &cert, "--key", &key])
    };
    let at = |server: &Server| {
        let at = server.endpoint();
        if at.starts_with("tls:") { at } else { at.replace("tcp:", "tls:") }
    };
    let echo = server("echo");
    let ran = connect(&["echo", &at(&echo), "--verify", "--amount", "300KiB"], b"");
    complete(&ran, "echo");
    let ran = connect(&[&at(&echo), "--connections", "4", "-v"], &payload(100_000));
    complete(&ran, "companions");
    assert!(ran.stdout == payload(100_000));
    assert!(
        text(&ran.stderr).contains("3 other connections received 0 bytes, 0 were reset"),
        "{}",
        text(&ran.stderr)
    );
    let (host, port) = at(&echo)[4..].rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    let ran = connect(&["--tls", &host, &port, "--repeat", "3"], b"again");
    complete(&ran, "--repeat");
    assert_eq!(ran.stdout, b"againagainagain");
    let ran = connect(&["daytime", &at(&server("daytime"))], b"");
    complete(&ran, "daytime");
    let ran = connect(&["chargen", &at(&server("chargen")), "--verify", "--amount", "200KiB"], b"");
    complete(&ran, "chargen");
    for (arguments, part) in [
        (&["--tls", "udp:127.0.0.1:7"][..], "for streams"),
        (&["--alpn", "h2", "127.0.0.1:7"], "is for a server with TLS"),
        (&["tls:unix:/x"], "--server-name"),
        (&["tls:127.0.0.1:7", "--server-name", "a b"], "no name that a certificate"),
        (&["tls:127.0.0.1:7", "--tls-min", "1.3", "--tls-max", "1.2"], "no version"),
        (&["-z", "127.0.0.1", "7"], "is for a server with TLS"),
    ] {
        let ran = connect(arguments, b"");
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains(part), "{arguments:?}: {}", text(&ran.stderr));
    }
}

#[test]
fn two_ends_with_tls_between_lose_nothing_and_pass_a_cut_on() {
    for fault in ["", "seed=4,again=80,short=3"] {
        let size = if fault.is_empty() { 2_000_000 } else { 4_000 };
        for cut in [false, true] {
            let (address, server) = Scripted::plain(move |mut client| {
                let all = client.receive();
                assert!(all == payload(size), "{} bytes", all.len());
                client.send(&all);
                if cut {
                    switchboard_net::sys::socket::shutdown_write(&client.0);
                } else {
                    client.0.finish().unwrap();
                }
            });
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let plain = format!("tcp:{}", listener.local_addr().unwrap());
            let other = thread::spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let writer = stream.try_clone().unwrap();
                let writes = thread::spawn(move || {
                    (&writer).write_all(&payload(size)).unwrap();
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut all = Vec::new();
                let end = (&stream).read_to_end(&mut all);
                writes.join().unwrap();
                (all, end.is_ok())
            });
            let ran = faulty_connect(fault, &[&plain, &address], b"");
            let (all, whole) = other.join().unwrap();
            let said = text(&ran.stderr);
            assert_eq!(ran.status.code(), Some(if cut { 7 } else { 0 }), "{said}");
            if cut {
                // He must not take a part for the whole.
                assert!(!whole && said.contains("close_notify"), "{said}");
            } else {
                assert!(whole && all == payload(size), "{} bytes: {said}", all.len());
            }
            server.join().unwrap();
        }
    }
}

/// openssl s_server, killed when dropped.
struct Openssl(Child, u16);

impl Openssl {
    fn start(arguments: &[&str]) -> Option<Openssl> {
        let port = harness::free_port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        command.args(["-cert", &HOUSE.file("good.pem"), "-key", &HOUSE.file("good-key.pem")]).args(arguments);
        let mut child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        {
            Ok(child) => child,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "SKIPPED openssl s_server: {error}");
                return None;
            }
        };
        harness::wait_for_listener(([127, 0, 0, 1], port).into(), "tcp", Some(&mut child));
        Some(Openssl(child, port))
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn openssl_understands_us() {
    for (arguments, ours, code, part) in [
        (&["-rev", "-tls1_2"][..], &[][..], 0, "TLSv1.2"),
        (&["-rev", "-tls1_3"], &[], 0, "TLSv1.3"),
        (&["-rev", "-alpn", "sb/1,h2"], &["--alpn", "h2"], 0, "ALPN h2"),
        (&["-rev", "-Verify", "1", "-verify_return_error", "-CAfile", &HOUSE.ca], &["CLIENT"], 0, "TLSv1.3"),
        (
            &["-rev", "-tls1_2", "-Verify", "1", "-verify_return_error", "-CAfile", &HOUSE.ca],
            &[],
            9,
            "handshake_failure",
        ),
        (&["-rev", "-tls1_2"], &["--tls-min", "1.3"], 9, "version"),
    ] {
        let Some(server) = Openssl::start(arguments) else { return };
        let at = format!("tls:127.0.0.1:{}", server.1);
        let (cert, key) = (HOUSE.file("client.pem"), HOUSE.file("client-key.pem"));
        let ours = if ours == ["CLIENT"] { vec!["--cert", &cert, "--key", &key] } else { ours.to_vec() };
        let mut arguments = vec![&*at, "-v"];
        arguments.extend(&ours);
        let ran = connect(&arguments, b"hello\n");
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
        if code == 0 {
            assert_eq!(text(&ran.stdout), "olleh\n", "{said}");
        }
    }
}

#[test]
fn what_is_no_tls_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tls:{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        for answer in [&b"220 smtp.example.test ready\r\n"[..], b""] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        listener
    });
    for part in ["does not speak TLS", "ended before the TLS handshake"] {
        let ran = connect(&[&at], b"secret");
        assert_eq!(ran.status.code(), Some(9), "{}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains(part), "{}", text(&ran.stderr));
    }
    let _listener = server.join().unwrap();
    // Nobody accepts: silence.
    let ran = connect(&[&at, "--connect-timeout", "300ms"], b"secret");
    assert_eq!(ran.status.code(), Some(5), "{}", text(&ran.stderr));
}
