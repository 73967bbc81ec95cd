//! The ends of `connect` that take TLS from whoever comes: one client or many, shown certificates, halves and cuts; with
//! our own client and openssl's. Rows S5, B1.

mod harness;

#[path = "tls/authority.rs"]
mod authority;
#[path = "ends/running.rs"]
mod running;

use authority::{Authority, Issued};
use harness::{PATIENCE, can_fault, program, run_to_end, skip, text};
use running::{Running, start, start_command};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::thread;

const HERE: &str = "listen:tls:127.0.0.1:0";

/// Bytes with a pattern that shows what is missing.
fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(4) as u32).flat_map(u32::to_be_bytes).take(bytes).collect()
}

fn listener(own: &Issued, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["connect", "-v", "--cert", &own.cert, "--key", &own.key]).args(more);
    command
}

/// Where it listens, as an endpoint.
#[track_caller]
fn door(running: &mut Running) -> String {
    format!("tls:{}", running.after("listening on tls:"))
}

fn client(authority: &Authority, at: &str, more: &[&str], input: &[u8]) -> Output {
    let mut command = program();
    command.args(["connect", "--ca", &authority.file, at]).args(more);
    run_to_end(&mut command, Some(input), PATIENCE)
}

#[track_caller]
fn complete(ran: &Output, wanted: &[u8]) {
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(ran.stdout == wanted, "{} of {} bytes", ran.stdout.len(), wanted.len());
}

fn both_halves(fault: &str, size: usize) {
    let authority = Authority::new();
    let own = authority.server("localhost");
    for version in ["1.2", "1.3"] {
        let mut command = listener(&own, &[HERE, "--tls-min", version, "--tls-max", version]);
        if !fault.is_empty() {
            command.env("SWITCHBOARD_FAULT", fault);
        }
        let (question, answer) = (payload(size), payload(2 * size));
        let mut running = Running::start(&mut command, Some(answer.clone()));
        let ran = client(&authority, &door(&mut running), &["-v"], &question);
        complete(&ran, &answer);
        assert!(text(&ran.stderr).contains(&format!("TLSv{version}")), "{}", text(&ran.stderr));
        let (heard, said) = running.ends_with_bytes(0);
        assert!(heard == question, "{} of {size} bytes: {said}", heard.len());
        assert!(said.contains(&format!("TLSv{version}")), "{said}");
    }
}

#[test]
fn one_client_with_tls_and_nothing_is_lost_either_way() {
    both_halves("", 700_000);
}

#[test]
fn one_byte_at_a_time_and_would_block_change_nothing() {
    if can_fault("a listening end with TLS") {
        both_halves("seed=3,short=1,again=80,eintr=20", 3_000);
    }
}

#[test]
fn openssl_comes_and_is_served() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let shown = authority.client("me");
    for version in ["-tls1_2", "-tls1_3"] {
        let more = [HERE, "exec:tr a-z A-Z", "--client-cert", "required", "--client-roots", &authority.file];
        let mut running = start_command(&mut listener(&own, &more));
        let at = door(&mut running);
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", at.strip_prefix("tls:").unwrap(), "-CAfile", &authority.file]);
        openssl.args(["-verify_return_error", "-quiet", "-no_ign_eof", "-cert", &shown.cert, "-key"]);
        if Command::new("openssl").arg("version").output().is_err() {
            return skip("openssl s_client", "it is not installed");
        }
        // It leaves at the end of its own input, without waiting for an answer: what it has said must have arrived.
        let ran = run_to_end(openssl.args([&shown.key, version]), Some(b"hello\n"), PATIENCE);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        running.after("certificate of DNS:me");
        drop(running);
    }
}

#[test]
fn tls_is_taken_off_and_put_on_between_two_ends() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    // tls → tls → plain → a program that answers after the end.
    let mut last = start(&["-v", "-k", "listen:127.0.0.1:0", "exec:cat"]);
    let plain = last.door().to_string();
    let mut second = start_command(&mut listener(&own, &["-k", HERE, &plain]));
    let inner = door(&mut second);
    let mut first = start_command(&mut listener(&own, &["--fork", "--ca", &authority.file, HERE, &inner]));
    let outer = door(&mut first);
    for size in [0, 1, 400_000] {
        complete(&client(&authority, &outer, &[], &payload(size)), &payload(size));
    }
    // And on a Unix socket.
    let path = authority.path("door.sock");
    let mut unix = start_command(&mut listener(&own, &[&format!("listen:tls:unix:{path}"), "exec:cat"]));
    unix.after("listening on tls:unix:");
    let at = format!("tls:unix:{path}");
    complete(&client(&authority, &at, &["--server-name", "localhost"], b"hello"), b"hello");
    unix.ends(0);
}

#[test]
fn many_at_once_and_one_who_says_nothing_holds_nobody_up() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let mut running = start_command(&mut listener(&own, &["--fork", HERE, "exec:cat"]));
    let at = door(&mut running);
    let silent = TcpStream::connect(at.strip_prefix("tls:").unwrap()).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| complete(&client(&authority, &at, &[], &payload(50_000)), &payload(50_000)));
        }
    });
    drop(silent);
}

#[test]
fn clients_show_certificates_or_are_told_that_they_must() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let own = authority.server("localhost");
    let more = ["-k", "--json", "--client-cert", "required", "--client-roots", &authority.file, HERE];
    let mut running = start_command(&mut listener(&own, &more));
    let at = door(&mut running);
    for (shown, part) in [
        (None, "certificate"),
        (Some(stranger.client("me")), "unknown"),
        (Some(authority.expired("me")), "expired"),
    ] {
        let shown: Vec<&str> =
            shown.iter().flat_map(|own| ["--cert", &own.cert, "--key", &own.key]).collect();
        for version in ["1.2", "1.3"] {
            let ran = client(&authority, &at, &[&shown[..], &["--tls-max", version]].concat(), b"secret");
            let said = text(&ran.stderr);
            assert_eq!((ran.status.code(), ran.stdout.len()), (Some(9), 0), "{version}: {said}");
            assert!(said.contains(part), "{part}, {version}: {said}");
            running.after("no TLS with tcp:127.0.0.1:");
        }
    }
    let me = authority.client("me");
    let ran = client(&authority, &at, &["--cert", &me.cert, "--key", &me.key], b"hello");
    complete(&ran, b"");
    running.after("certificate of DNS:me, URI:spiffe://test/me");
    assert!(running.after("\"tls\":").contains("\"verified\":true"));
}

#[test]
fn who_does_not_speak_tls_or_breaks_off_is_no_success() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let knock = |at: &str| {
        let mut plain = TcpStream::connect(at.strip_prefix("tls:").unwrap()).unwrap();
        plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut alert = Vec::new();
        plain.read_to_end(&mut alert).unwrap();
        assert_eq!(alert.first(), Some(&21), "no alert: {alert:?}");
    };
    // One client is all, and he was none.
    let mut running = start_command(&mut listener(&own, &[HERE]));
    knock(&door(&mut running));
    let (heard, said) = running.ends(9);
    assert!(heard.is_empty() && said.contains("does not speak TLS"), "{said}");
    // The next one is waited for.
    let mut running = start_command(&mut listener(&own, &["-k", HERE, "exec:cat"]));
    let at = door(&mut running);
    knock(&at);
    complete(&client(&authority, &at, &[], b"hello"), b"hello");
    drop(running);

    // Nobody takes more than the time for a handshake.
    let mut running = start_command(&mut listener(&own, &["--connect-timeout", "200ms", HERE]));
    let silent = TcpStream::connect(door(&mut running).strip_prefix("tls:").unwrap()).unwrap();
    let (_, said) = running.ends(6);
    assert!(said.contains("the TLS handshake was not done in 200ms"), "{said}");
    drop(silent);

    // A client behind a relay that is cut: TCP's end, without that of TLS.
    let mut running = start_command(&mut listener(&own, &[HERE]));
    let address = door(&mut running).strip_prefix("tls:").unwrap().to_owned();
    let middle = TcpListener::bind("127.0.0.1:0").unwrap();
    let through = format!("tls:{}", middle.local_addr().unwrap());
    let relay = thread::spawn(move || {
        let (up, _) = middle.accept().unwrap();
        let down = TcpStream::connect(address).unwrap();
        let (mut from, mut to) = (down.try_clone().unwrap(), up.try_clone().unwrap());
        let back = thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
        // The hello, the end of the handshake, and some of what is said.
        let mut room = [0; 4096];
        let mut passed = 0;
        while passed < 100_000 {
            let n = (&up).read(&mut room).unwrap();
            (&down).write_all(&room[..n]).unwrap();
            passed += n;
        }
        down.shutdown(Shutdown::Write).unwrap();
        let _ = up.shutdown(Shutdown::Read);
        back.join().unwrap();
    });
    let ran = client(&authority, &through, &[], &payload(20_000_000));
    assert_ne!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let (heard, said) = running.ends_with_bytes(7);
    assert!(said.contains("no close_notify"), "{said}");
    assert!(payload(100_000).starts_with(&heard), "{} bytes, and not those that were said", heard.len());
    relay.join().unwrap();
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of_on_either_side() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let shown = authority.client("me");
    for key in [&own.key, &shown.key] {
        fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut running = start_command(&mut listener(&own, &[HERE, "exec:cat"]));
    running.after(&format!("warning: key file {} can be read", own.key));
    let at = door(&mut running);
    let ran = client(&authority, &at, &["--cert", &shown.cert, "--key", &shown.key], b"hello");
    complete(&ran, b"hello");
    assert!(text(&ran.stderr).contains(&format!("warning: key file {}", shown.key)), "{}", text(&ran.stderr));
    running.ends(0);
}

#[test]
fn what_tls_cannot_be_is_said() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    for (arguments, part) in [
        (&[HERE][..], "--cert FILE --key FILE"),
        (&["listen:tls:udp:127.0.0.1:0", "--cert", &own.cert, "--key", &own.key], "TLS is for streams"),
        (&["listen:127.0.0.1:0", "--cert", &own.cert, "--key", &own.key], "listen:tls:HOST:PORT"),
        (&[HERE, "--cert", &own.cert, "--key", &own.key, "--ca", &own.cert], "--ca is for a server"),
        (
            &["tls:127.0.0.1:1", "--ca", &own.cert, "--client-cert", "optional"],
            "--client-cert is for clients",
        ),
        (&[HERE, "--cert", &own.cert, "--key", &own.key, "--tls-min", "1.1"], "no version of TLS"),
        (
            &[
                HERE,
                "--cert",
                &own.cert,
                "--key",
                &own.key,
                "--client-cert",
                "none",
                "--client-roots",
                &own.cert,
            ],
            "not asked for one",
        ),
    ] {
        let (_, said) = start(arguments).ends(2);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}
