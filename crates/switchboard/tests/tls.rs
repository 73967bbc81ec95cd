//! TLS in front of everything that is served: every engine, real clients, certificates and names, and what happens
//! when it fails. Rows S12, S14, S25, B1.

mod harness;

#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/client.rs"]
mod client;

use authority::{Authority, Issued};
use client::{Client, How};
use harness::{
    PATIENCE, Scratch, Server, can_fault, each_engine, end, engines, is_ring_of_characters, number, program,
    run_to_end, skip, text, wait_until,
};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use switchboard::Random;

const HERE: &str = "tls:127.0.0.1:0";

fn serve<'a>(service: &'a str, own: &'a Issued, more: &[&'a str]) -> Server {
    Server::start(&arguments(service, own, more))
}

fn arguments<'a>(service: &'a str, own: &'a Issued, more: &[&'a str]) -> Vec<&'a str> {
    [&[service, "--listen", HERE, "--cert", &own.cert, "--key", &own.key], more].concat()
}

fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..size).map(|_| random.bits() as u8).collect()
}

/// A client of no library at all, which says these bytes and hears what comes.
fn raw(endpoint: &str, said: &[u8], ends: bool) -> Vec<u8> {
    let mut socket = TcpStream::connect(endpoint.strip_prefix("tls:").expect("TLS")).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.write_all(said).expect("room for a few bytes");
    if ends {
        socket.shutdown(std::net::Shutdown::Write).expect("connected");
    }
    let mut heard = Vec::new();
    // A reset is an end too.
    let _ = socket.read_to_end(&mut heard);
    heard
}

// B1, S12: the same bytes come back, whatever the kernel's calls do with them.
#[test]
fn every_engine_speaks_tls() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let how = How::new(&authority, None);
    each_engine(engines(), 2, |engine| {
        let server = serve("echo", &own, &["--engine", engine.name]);
        let said = noise(300_000, 1);
        let heard = Client::connect(&server.endpoint(), &how).converse(&said);
        heard.must_be(&said);
        let record = &server.records(1)[0];
        assert_eq!(
            (&record["end"], &record["tls"]["version"]),
            (&"peer".into(), &"TLSv1.3".into()),
            "{record}"
        );
        assert_eq!(record["tls"]["sni"], "localhost");
        end(server);
    });
}

#[test]
fn one_byte_at_a_time_and_would_block_change_nothing() {
    if !can_fault("short and refused calls") {
        return;
    }
    let authority = Authority::new();
    let own = authority.server("localhost");
    let mut how = How::new(&authority, None);
    each_engine(engines(), 2, |engine| {
        let arguments = arguments("echo", &own, &["--engine", engine.name]);
        let server = Server::start_faulty("seed=3,short=1,again=80,eintr=20", &arguments);
        let said = noise(3_000, 2);
        let heard = Client::connect(&server.endpoint(), &how).converse(&said);
        heard.must_be(&said);
        assert_eq!(server.records(1)[0]["end"], "peer");
        end(server);
    });
    how.piece = 1;
    let server = serve("echo", &own, &[]);
    let said = noise(3_000, 3);
    let heard = Client::connect(&server.endpoint(), &how).converse(&said);
    heard.must_be(&said);
    end(server);
}

#[test]
fn services_that_speak_first_and_without_end_do_so_in_tls() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let how = How::new(&authority, None);
    let server = serve("chargen", &own, &[]);
    let mut client = Client::connect(&server.endpoint(), &how);
    assert!(is_ring_of_characters(&client.exchange(b"", 500_000)[..500_000]));
    drop(client);
    end(server);
    let server = serve("daytime", &own, &[]);
    let heard = Client::connect(&server.endpoint(), &how).converse(b"");
    assert!(heard.bytes.ends_with(b"\r\n") && heard.failure.is_none(), "{heard:?}");
    end(server);
}

#[test]
fn openssl_and_curl_are_served() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let server = serve("daytime", &own, &["--alpn", "http/1.1"]);
    let endpoint = server.endpoint();
    let address = endpoint.strip_prefix("tls:").expect("TLS");
    let port = address.rsplit_once(':').expect("a port").1;
    for version in ["-tls1_2", "-tls1_3"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", address, "-CAfile", &authority.file, "-verify_return_error"]);
        openssl.args(["-servername", "localhost", "-quiet", version]);
        if openssl.arg("-no_ign_eof").output().is_err() {
            return skip("openssl s_client", "it is not installed");
        }
        let output = run_to_end(&mut openssl, Some(b""), PATIENCE);
        let said = (text(&output.stdout), text(&output.stderr));
        let record = &server.records(2)[1];
        assert!(
            record["tls"]["version"]
                .as_str()
                .is_some_and(|got| version.ends_with(&got[5..].replace('.', "_"))),
            "{record} {said:?}"
        );
        assert_eq!(record["tls"]["sni"], "localhost", "{said:?}");
    }
    let url = format!("https://localhost:{port}/");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http0.9", "--http1.1", "--cacert", &authority.file, &url]);
    curl.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
    let output = run_to_end(&mut curl, None, PATIENCE);
    assert!(output.status.success() && output.stdout.ends_with(b"\r\n"), "{output:?}");
    assert_eq!(server.records(1)[0]["tls"]["alpn"], "http/1.1");
    end(server);
}

#[test]
fn certificates_are_chosen_by_name_and_protocols_by_alpn() {
    let authority = Authority::new();
    let (first, second) = (authority.server("first.test"), authority.server("*.second.test"));
    let more = ["--cert", &second.cert, "--key", &second.key, "--alpn", "imap,pop3"];
    let server = serve("echo", &first, &more);
    let mut how = How::new(&authority, None).alpn(&["pop3", "imap"]);
    for (name, serial_of) in [("first.test", "first.test"), ("a.second.test", "*.second.test")] {
        how.name = name;
        let heard = Client::connect(&server.endpoint(), &how).converse(b"x");
        let facts = heard.facts.expect("a session");
        let peer = facts.peer.expect("a certificate");
        assert_eq!(peer.sans[0].to_string(), format!("DNS:{serial_of}"));
        assert_eq!(
            (facts.alpn.as_deref(), heard.failure),
            (Some(&b"imap"[..]), None),
            "the server's first choice"
        );
    }
    // Who asks for no name that is known gets the first, and may not like it.
    how.name = "127.0.0.1";
    assert_eq!(Client::connect(&server.endpoint(), &how).converse(b"x").bytes, b"x");
    how.name = "first.test";
    let refused = Client::connect(&server.endpoint(), &how.clone().alpn(&["gopher"])).converse(b"x");
    assert!(refused.failure.is_some_and(|why| why.contains("no_application_protocol")));
    let records = server.records(4);
    assert_eq!(
        (&records[3]["end"], &records[3]["tls"]["failure"]),
        (&"tls-handshake".into(), &"protocol".into())
    );
    assert_eq!(number(&end(server), "malformed"), 1);
}

#[test]
fn clients_show_certificates_as_they_must() {
    let authority = Authority::new();
    let strangers = Authority::new();
    let own = authority.server("localhost");
    let (alice, mallory) = (authority.client("alice"), strangers.client("mallory"));
    let expired = authority.expired("bob");
    let ask = |demand: &str, shown: Option<&Issued>| {
        let server = serve("echo", &own, &["--client-cert", demand, "--client-roots", &authority.file]);
        let heard = Client::connect(&server.endpoint(), &How::new(&authority, shown)).converse(b"hello");
        let record = server.records(1).remove(0);
        end(server);
        (heard, record)
    };
    for demand in ["optional", "required"] {
        let (heard, record) = ask(demand, Some(&alice));
        heard.must_be(b"hello");
        assert_eq!(record["tls"]["client"], "DNS:alice,URI:spiffe://test/alice");
        assert_eq!(record["tls"]["client_subject"], "CN=alice");
        for (bad, why) in [(&mallory, "issued by nobody who is trusted here"), (&expired, "has expired")] {
            let (heard, record) = ask(demand, Some(bad));
            assert!(heard.bytes.is_empty() && heard.failure.is_some(), "{demand}: {record}");
            assert_eq!(
                (&record["end"], &record["tls"]["failure"]),
                (&"tls-handshake".into(), &"certificate".into())
            );
            assert!(record["tls"]["why"].as_str().is_some_and(|said| said.contains(why)), "{record}");
        }
    }
    let (heard, _) = ask("optional", None);
    heard.must_be(b"hello");
    let (heard, record) = ask("required", None);
    assert!(heard.bytes.is_empty() && heard.failure.is_some());
    assert!(record["tls"]["why"].as_str().is_some_and(|why| why.contains("no certificate")), "{record}");
}

#[test]
fn a_truncation_is_told_and_what_came_whole_is_answered() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let mut how = How::new(&authority, None);
    how.truncates = true;
    each_engine(engines(), 2, |engine| {
        let server = serve("sum", &own, &["--engine", engine.name]);
        let heard = Client::connect(&server.endpoint(), &how).converse(b"1 2\n3 4\n5 6");
        // The last line has no end, and might have gone on.
        assert_eq!(text(&heard.bytes), "3\n7\n");
        let record = &server.records(1)[0];
        assert_eq!(
            (&record["end"], &record["tls"]["failure"]),
            (&"tls-truncated".into(), &"truncated".into())
        );
        end(server);
    });
}

// RUSTSEC-2024-0336: an end, or close_notify, in the middle of a handshake must not keep a server busy.
#[test]
fn a_peer_that_leaves_early_or_talks_nonsense_is_seen_off() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    let hello = {
        // The first flight of a real client, as a server sees it.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("tls:{}", listener.local_addr().expect("an address"));
        let (how, accepted) = (How::new(&authority, None), std::thread::spawn(move || listener.accept()));
        let client = std::thread::spawn(move || Client::connect(&endpoint, &how).converse(b""));
        let (mut socket, _) = accepted.join().expect("no panic").expect("a client");
        let mut hello = vec![0; 5];
        socket.read_exact(&mut hello).expect("a record");
        let mut body = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
        socket.read_exact(&mut body).expect("its body");
        drop(socket);
        assert!(client.join().expect("no panic").failure.is_some(), "a client whose server leaves");
        hello.extend(body);
        hello
    };
    let alert = [21, 3, 3, 0, 2, 1, 0];
    each_engine(engines(), 2, |engine| {
        let server = serve("echo", &own, &["--engine", engine.name]);
        let cut = [&hello[..0], &hello[..1], &hello[..7], &hello[..hello.len() - 1], &hello];
        let mut sent = 0;
        for bytes in cut {
            raw(&server.endpoint(), bytes, true);
            // Behind a part of a record it is that record's next part, of which there could be more.
            let is_whole = bytes.is_empty() || bytes.len() == hello.len();
            raw(&server.endpoint(), &[bytes, &alert].concat(), !is_whole);
            sent += 2;
        }
        let heard = raw(&server.endpoint(), b"GET / HTTP/1.1\r\n\r\n", false);
        assert_eq!(heard.first(), Some(&21), "an alert tells him");
        let records = server.records(sent + 1);
        for record in &records {
            assert_eq!(record["end"], "tls-handshake", "{record}");
        }
        let is_told = |record: &serde_json::Value| {
            let why = record["tls"]["why"].as_str().unwrap_or_default();
            why.contains("does not speak TLS: it began with GET / ")
        };
        assert!(records.iter().any(is_told), "{records:?}");
        server.wait_until_quiet("nobody is there");
        end(server);
    });
}

#[test]
fn a_handshake_has_its_time_and_its_bytes() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    each_engine(engines(), 2, |engine| {
        let server = serve("echo", &own, &["--engine", engine.name, "--handshake-timeout", "200ms"]);
        raw(&server.endpoint(), b"\x16", false);
        let record = &server.records(1)[0];
        assert_eq!((&record["end"], &record["tls"]["failure"]), (&"tls-handshake".into(), &"late".into()));
        end(server);
    });
    let config = Scratch::new();
    let file = config.path("a.toml");
    let (cert, key) = (&own.cert, &own.key);
    let written = format!(
        "version = 1\n[[service]]\nbuiltin = \"echo\"\nlisten = \"{HERE}\"\n\
         tls = {{ cert = \"{cert}\", key = \"{key}\", handshake_bytes = 100 }}\n[log]\nformat = \"json\"\n"
    );
    fs::write(&file, written).expect("written");
    let server =
        Server::try_start(program().args(["serve", "--format", "json", "--config", &file])).expect("started");
    let heard = Client::connect(&server.endpoint(), &How::new(&authority, None)).converse(b"x");
    assert!(heard.failure.is_some());
    assert_eq!(server.records(1)[0]["tls"]["failure"], "budget");
    end(server);
}

#[test]
fn versions_are_those_asked_for() {
    let authority = Authority::new();
    let own = authority.server("localhost");
    for (option, version, refused) in [("--tls-min", "1.3", "-tls1_2"), ("--tls-max", "1.2", "-tls1_3")] {
        let server = serve("daytime", &own, &[option, version]);
        let endpoint = server.endpoint();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &endpoint["tls:".len()..], refused]);
        if Command::new("openssl").arg("version").output().is_err() {
            return skip("openssl s_client", "it is not installed");
        }
        assert!(!run_to_end(&mut openssl, Some(b""), PATIENCE).status.success(), "{option} {version}");
        let record = &server.records(1)[0];
        assert_eq!(record["end"], "tls-handshake");
        assert!(record["tls"]["why"].as_str().is_some_and(|why| why.contains("no TLS version")), "{record}");
        let heard = Client::connect(&endpoint, &How::new(&authority, None)).converse(b"");
        assert_eq!(heard.facts.expect("a session").version, format!("TLSv{version}"));
        end(server);
    }
}

// S14, S25: new certificates for those who come, nothing for those who are there.
#[test]
fn a_reload_brings_new_certificates_and_a_bad_file_changes_nothing() {
    let authority = Authority::new();
    let (old, new) = (authority.server("localhost"), authority.server("new.test"));
    let (cert, key, file) =
        (authority.path("in-use.pem"), authority.path("in-use.key"), authority.path("a.toml"));
    let put = |from: &Issued| {
        fs::copy(&from.cert, &cert).expect("copied");
        fs::copy(&from.key, &key).expect("copied");
    };
    put(&old);
    let written = format!(
        "version = 1\n[[service]]\nbuiltin = \"echo\"\nlisten = \"{HERE}\"\n[service.tls]\ncert = \"{cert}\"\nkey = \
         \"{key}\"\n[log]\nformat = \"json\"\n"
    );
    fs::write(&file, written).expect("written");
    let server =
        Server::try_start(program().args(["serve", "--format", "json", "--config", &file])).expect("started");
    let how = How::new(&authority, None);
    let mut there = Client::connect(&server.endpoint(), &how);
    assert_eq!(there.exchange(b"before", 6), b"before");
    fs::write(&key, "no key at all").expect("written");
    server.signal(Signal::HUP);
    let refused = server.wait_for_line("the refusal", |line| line.contains("reload refused"));
    assert!(refused.contains("in-use.key") && refused.contains("no private key"), "{refused}");
    assert_eq!(Client::connect(&server.endpoint(), &how).converse(b"old").bytes, b"old");
    put(&new);
    server.signal(Signal::HUP);
    server.wait_for_line("the reload", |line| line.contains("changed tls"));
    let mut how = how;
    how.name = "new.test";
    wait_until(
        "the new certificate",
        || Client::connect(&server.endpoint(), &how).converse(b"new").failure.is_none(),
        || "still the old one".to_owned(),
    );
    assert_eq!(there.exchange(b"after", 5), b"after");
    assert_eq!(
        there.facts().expect("open").peer.expect("a certificate").sans[0].to_string(),
        "DNS:localhost"
    );
    drop(there);
    end(server);
}

#[test]
fn a_renewed_certificate_is_read_without_a_file_of_configuration_too() {
    let (old, new) = (Authority::new(), Authority::new());
    let (own, renewed) = (old.server("localhost"), new.server("localhost"));
    for service in ["echo", "exec:cat"] {
        // Renewed in place, as certbot and its kin do.
        let place = Issued { cert: old.path("live.pem"), key: old.path("live.key") };
        let put = |issued: &Issued| {
            fs::copy(&issued.cert, &place.cert).expect("written");
            fs::copy(&issued.key, &place.key).expect("written");
        };
        put(&own);
        let server = serve(service, &place, &[]);
        let mut stays = Client::connect(&server.endpoint(), &How::new(&old, None));
        assert_eq!(stays.exchange(b"before", 6), b"before");
        put(&renewed);
        server.signal(Signal::HUP);
        server.wait_for_line("the reload", |line| line.contains("changed tls"));
        // The worker before may still let in who comes now, until it has been told.
        let shown = || Client::connect(&server.endpoint(), &How::new(&new, None)).converse(b"hello");
        wait_until("the new certificate is shown", || shown().failure.is_none(), String::new);
        // Whoever was there goes on.
        assert_eq!(stays.exchange(b"and after", 9), b"and after");
        // Half a file changes nothing.
        fs::write(&place.cert, "-----BEGIN").expect("written");
        server.signal(Signal::HUP);
        server.wait_for_line("the refusal", |line| line.contains("reload refused"));
        let heard = Client::connect(&server.endpoint(), &How::new(&new, None)).converse(b"hello");
        heard.must_be(b"hello");
        drop(stays);
        server.stop();
    }
}

#[test]
fn the_key_is_read_before_rights_are_given_up() {
    if !rustix::process::geteuid().is_root() {
        return skip("a key that the worker cannot read", "only root can give up rights");
    }
    let authority = Authority::new();
    let own = authority.server("localhost");
    let file = authority.path("a.toml");
    let (cert, key) = (&own.cert, &own.key);
    let written = format!(
        "version = 1\n[[service]]\nbuiltin = \"echo\"\nlisten = \"{HERE}\"\nuser = \"nobody\"\n\
         tls = {{ cert = \"{cert}\", key = \"{key}\" }}\n[log]\nformat = \"json\"\n"
    );
    fs::write(&file, written).expect("written");
    let server =
        Server::try_start(program().args(["serve", "--format", "json", "--config", &file])).expect("started");
    for _ in 0..2 {
        let heard = Client::connect(&server.endpoint(), &How::new(&authority, None)).converse(b"hello");
        heard.must_be(b"hello");
        // A worker that is started anew has it too.
        server.workers().into_iter().for_each(|pid| {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        });
    }
    server.stop();
}

#[test]
fn what_is_wrong_with_files_is_said_before_anything_is_served() {
    let authority = Authority::new();
    let (own, other) = (authority.server("localhost"), authority.server("other.test"));
    let missing = authority.path("missing.pem");
    let refused = |cert: &str, key: &str| {
        let mut command = program();
        command.args(["serve", "echo", "--listen", HERE, "--cert", cert, "--key", key]);
        let output = run_to_end(&mut command, None, PATIENCE);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        text(&output.stderr)
    };
    let said = refused(&missing, &own.key);
    assert!(said.contains("cannot read certificate file") && said.contains(&missing), "{said}");
    let said = refused(&own.cert, &other.key);
    assert!(said.contains("is not the key of the certificate") && said.contains("DNS:localhost"), "{said}");
    let said = refused(&own.key, &own.cert);
    assert!(said.contains("it holds a private key"), "{said}");
    let said = text(&run_to_end(program().args(["serve", "echo", "--listen", HERE]), None, PATIENCE).stderr);
    assert!(said.contains("TLS needs a certificate"), "{said}");
    let udp = ["serve", "echo", "--listen", "tls:udp:127.0.0.1:0", "--cert", &own.cert];
    let said = text(&run_to_end(program().args(udp), None, PATIENCE).stderr);
    assert!(said.contains("TLS is for streams"), "{said}");
    let expired = authority.expired("localhost");
    fs::set_permissions(&expired.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("our file");
    let server = serve("echo", &expired, &[]);
    server.wait_for_line("the mode", |line| {
        line.contains("warning") && line.contains("can be read or changed")
    });
    server
        .wait_for_line("the date", |line| line.contains("warning") && line.contains("expired on 2020-01-01"));
    end(server);
}

// S14: a relay takes TLS off, and keeps both halves.
#[test]
fn a_relay_speaks_tls_with_its_clients() {
    let authority = Authority::new();
    let (own, alice) = (authority.server("localhost"), authority.client("alice"));
    let target = Server::start(&["echo", "--listen", "tcp:127.0.0.1:0"]);
    let word = format!("forward:{}", target.endpoint());
    let more = ["--client-cert", "optional", "--client-roots", &authority.file, "--handshake-timeout", "2s"];
    let relay = serve(&word, &own, &more);
    let how = How::new(&authority, Some(&alice));
    let said = noise(1_000_000, 5);
    let heard = Client::connect(&relay.endpoint(), &how).converse(&said);
    heard.must_be(&said);
    let record = &relay.records(1)[0];
    assert_eq!(
        (&record["end"], &record["tls"]["client_subject"]),
        (&"done".into(), &"CN=alice".into()),
        "{record}"
    );
    assert_eq!((number(record, "bytes_in"), number(record, "bytes_out")), (1_000_000, 1_000_000));
    // An end that is none is not told on as one.
    let mut truncated = how;
    truncated.truncates = true;
    Client::connect(&relay.endpoint(), &truncated).converse(b"cut");
    assert_eq!(relay.records(1)[0]["end"], "tls-truncated");
    assert_eq!(target.records(2)[1]["end"], "reset");
    assert_eq!(raw(&relay.endpoint(), b"GET / HTTP/1.0\r\n\r\n", false).first(), Some(&21));
    assert_eq!(relay.records(1)[0]["end"], "tls-handshake");
    raw(&relay.endpoint(), b"", false);
    assert_eq!(relay.records(1)[0]["tls"]["failure"], "late");
    assert_eq!(number(&end(relay), "malformed"), 3);
    end(target);
}

// S14: the program sees plaintext, halves, and who is there; it never sees the key.
#[test]
fn programs_are_behind_tls() {
    let authority = Authority::new();
    let (own, alice) = (authority.server("localhost"), authority.client("alice"));
    let more = ["--client-cert", "optional", "--client-roots", &authority.file, "--alpn", "text"];
    let how = How::new(&authority, Some(&alice)).alpn(&["text"]);
    let server = serve("exec:cat", &own, &more);
    let said = noise(400_000, 6);
    let heard = Client::connect(&server.endpoint(), &how).converse(&said);
    heard.must_be(&said);
    let record = &server.records(1)[0];
    assert_eq!((&record["engine"], &record["status"]), (&"program".into(), &0.into()), "{record}");
    assert_eq!(
        (&record["tls"]["client_subject"], &record["tls"]["alpn"]),
        (&"CN=alice".into(), &"text".into())
    );
    assert!(record["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{record}");
    raw(&server.endpoint(), b"HELO here\r\n", false);
    let record = &server.records(1)[0];
    assert_eq!((&record["end"], &record["service"]), (&"tls-handshake".into(), &"cat".into()), "{record}");
    end(server);

    let server = serve("exec:env", &own, &more);
    let heard = Client::connect(&server.endpoint(), &how).converse(b"");
    let variables = text(&heard.bytes);
    for wanted in [
        "SSL_PROTOCOL=TLSv1.3",
        "SSL_TLS_SNI=localhost",
        "SSL_CLIENT_S_DN=CN=alice",
        "SSL_CLIENT_VERIFY=SUCCESS",
        "SSL_CLIENT_SAN_DNS_0=alice",
        "SSL_CLIENT_SAN_URI_0=spiffe://test/alice",
        "SSL_ALPN=text",
        "TCPREMOTEIP=127.0.0.1",
        "TCPLOCALIP=127.0.0.1",
        "PROTO=TCP",
    ] {
        assert!(variables.lines().any(|line| line == wanted), "{wanted} is not in {variables}");
    }
    assert_eq!(heard.failure, None);
    end(server);

    // The answer comes after the end of the input.
    let server = serve("exec:sort", &own, &[]);
    let heard = Client::connect(&server.endpoint(), &How::new(&authority, None)).converse(b"b\na\n");
    assert_eq!((text(&heard.bytes), heard.failure), ("a\nb\n".to_owned(), None));
    end(server);

    // A client who is cut off: what came is read, and the answer fails, as it would not at a good end.
    let (script, told) = (authority.path("answer.sh"), authority.path("told"));
    let lines = format!(
        "trap '' PIPE\ncat > {told}.input\necho answer 2> /dev/null && echo sent > {told} || echo failed > {told}\n"
    );
    fs::write(&script, lines).expect("written");
    let command = format!("exec:sh {script}");
    let server = serve(&command, &own, &[]);
    let mut how = How::new(&authority, None);
    for (truncates, fate) in [(true, "failed\n"), (false, "sent\n")] {
        how.truncates = truncates;
        let heard = Client::connect(&server.endpoint(), &how).converse(b"half an input");
        assert_eq!(text(&heard.bytes), if truncates { "" } else { "answer\n" });
        wait_until(
            "the program has said it",
            || fs::read_to_string(&told).is_ok_and(|said| said == fate),
            String::new,
        );
        assert_eq!(fs::read_to_string(format!("{told}.input")).expect("a file"), "half an input");
    }
    end(server);

    // A program that has left is not waited for, though the client stays.
    let server = serve("exec:echo here", &own, &[]);
    let before = server.settled_footprint();
    let mut stays = Client::connect(&server.endpoint(), &How::new(&authority, None));
    assert_eq!(stays.exchange(b"", 5), b"here\n");
    server.wait_for_footprint(before, "the program has left");
    drop(stays);
    end(server);

    let mode = ["--set", "mode=wait"];
    let mut command = program();
    command.arg("serve").args(arguments("exec:cat", &own, &mode));
    let output = run_to_end(&mut command, None, PATIENCE);
    assert!(text(&output.stderr).contains("has to speak TLS itself"), "{output:?}");
}
