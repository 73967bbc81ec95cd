//! `load tls:` (row S7 over the layer of B1): every workload against our own server, openssl's, and scripted ones that are
//! wrong in a known way. Handshakes have times of their own, are resumed only if asked, and what goes wrong with TLS is
//! counted as that. Nothing here asks that anything be fast.

mod harness;

use harness::{PATIENCE, Scratch, Server, has_answers, number, program, run_load, run_to_end, skip, text};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use switchboard_net::tls::{self, Authority, Identity, Settings};
use switchboard_net::{Channel, Kind};

/// An authority and what it has certified, in a folder of their own.
struct House {
    folder: Scratch,
    ca: String,
}

impl House {
    fn new() -> House {
        let folder = Scratch::new();
        let now = switchboard_net::sys::clock::realtime().0;
        let (authority, own) = Authority::make("these tests", now).expect("an authority");
        fs::write(folder.path("ca.pem"), &own.certificate).expect("a file");
        for (file, name) in [("good", "127.0.0.1"), ("other", "example.test"), ("client", "me@example.test")]
        {
            let made = authority.certify(&[name.to_owned()], now, 30).expect("a certificate");
            fs::write(folder.path(&format!("{file}.pem")), &made.certificate).expect("a file");
            fs::write(folder.path(&format!("{file}-key.pem")), &made.key).expect("a file");
        }
        House { ca: folder.path("ca.pem"), folder }
    }

    fn pair(&self, name: &str) -> (String, String) {
        (self.folder.path(&format!("{name}.pem")), self.folder.path(&format!("{name}-key.pem")))
    }

    fn serve(&self, service: &str, certificate: &str, more: &[&str]) -> (Server, String) {
        let (cert, key) = self.pair(certificate);
        let fixed = [service, "--listen", "tls:127.0.0.1:0", "--cert", &cert, "--key", &key];
        let server = Server::start(&[&fixed[..], more].concat());
        let at = server.endpoint();
        let at = if at.starts_with("tls:") { at } else { at.replace("tcp:", "tls:") };
        (server, at)
    }

    /// `load AT ARGUMENTS` with this authority, which must end with this code: its facts and what it said.
    fn load(&self, at: &str, arguments: &[&str], code: i32) -> (Value, String) {
        load(&[&[at, "--ca", &self.ca], arguments].concat(), code)
    }

    /// The same, for longer and longer until this has happened: a machine may be busy with something else.
    #[track_caller]
    fn load_until(
        &self,
        at: &str,
        arguments: &[&str],
        code: i32,
        has_happened: impl Fn(&Value) -> bool,
    ) -> (Value, String) {
        let arguments = [&[at, "--ca", &self.ca], arguments].concat();
        let mut last = None;
        for duration in ["300ms", "1s", "5s"] {
            let (ended, facts, said) = load_for(duration, &arguments);
            if facts.is_object() && has_happened(&facts) {
                assert_eq!(ended, Some(code), "{arguments:?}: {said}");
                return (facts, said);
            }
            last = Some((facts, said));
        }
        panic!("{arguments:?}: {last:?}")
    }
}

fn handshakes(facts: &Value) -> u64 {
    facts["handshake_ns"]["count"].as_u64().unwrap_or(0)
}

/// For so long, what it ended with, its facts, and what it said.
fn load_for(duration: &str, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let words = [arguments, &["--warm-up", "0s", "-d", duration, "-q", "--format", "json"]].concat();
    // It waits for its last answers by itself.
    let output = run_to_end(program().arg("load").args(words), None, PATIENCE * 3);
    let facts = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), facts, text(&output.stderr))
}

fn load(arguments: &[&str], code: i32) -> (Value, String) {
    let words = [arguments, &["--warm-up", "0s", "-d", "300ms", "-q", "--format", "json"]].concat();
    let output = run_load(&words, |output| code != 0 || has_answers(output));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), said)
}

#[track_caller]
fn no_errors(facts: &Value) {
    let errors = facts["errors"].as_object().expect("errors");
    assert!(errors.values().all(|count| count == 0), "{facts}");
}

#[test]
fn every_workload_of_streams_goes_over_tls() {
    let house = House::new();
    let (_echo, at) = house.serve("echo", "good", &[]);
    for arguments in [
        &["-s", "uniform:1-40000", "-c", "3", "--depth", "3"][..],
        &["--rate", "200", "-c", "2", "--workers", "2"],
        &["--workload", "connect", "-c", "2"],
        &["--workload", "idle", "-c", "20"],
        &["--workload", "stream", "-c", "2"],
    ] {
        for version in ["1.2", "1.3"] {
            let arguments = [arguments, &["--tls-max", version]].concat();
            let (facts, _) = house.load_until(&at, &arguments, 0, |facts| {
                handshakes(facts) > 0 && number(facts, "answers") > 0
            });
            no_errors(&facts);
            assert_eq!(facts["plan"]["tls"]["version"], format!("TLSv{version}"), "{facts}");
            assert_eq!(facts["plan"]["endpoint"], at.as_str());
            assert_eq!(number(&facts, "handshakes_resumed"), 0, "{facts}");
        }
    }
    let scratch = Scratch::new();
    let script = scratch.path("script");
    fs::write(&script, "send \"hello\\n\"\nexpect-line \"hello\"\n").expect("a script");
    let (facts, _) = house.load(&at, &["--script", &script], 0);
    no_errors(&facts);
    assert!(number(&facts, "answers") > 0, "{facts}");
    let (_sum, at) = house.serve("sum", "good", &[]);
    let (facts, _) = house.load(&at, &["--workload", "sum", "--depth", "4"], 0);
    no_errors(&facts);
    let (_discard, at) = house.serve("discard", "good", &[]);
    let up = ["--workload", "stream", "--direction", "up"];
    house.load_until(&at, &up, 0, |facts| number(facts, "bytes_up") > 0);
    let (_chargen, at) = house.serve("chargen", "good", &[]);
    let down = ["--workload", "stream", "--direction", "down"];
    house.load_until(&at, &down, 0, |facts| number(facts, "bytes_down") > 0);
}

#[test]
fn sessions_are_resumed_if_asked() {
    let house = House::new();
    let (_echo, at) = house.serve("echo", "good", &[]);
    for version in ["1.2", "1.3"] {
        // With a request, and with nothing but the handshake: tickets come behind that.
        for size in ["64", "0"] {
            let connect = ["--workload", "connect", "-s", size, "-c", "3", "--tls-max", version];
            let (facts, _) = house.load(&at, &connect, 0);
            no_errors(&facts);
            assert_eq!(number(&facts, "handshakes_resumed"), 0, "{facts}");
            let resume = [&connect[..], &["--resume"]].concat();
            let (facts, _) = house.load_until(&at, &resume, 0, |facts| handshakes(facts) > 3);
            no_errors(&facts);
            // All but the first of each connection.
            let resumed = number(&facts, "handshakes_resumed");
            assert!(resumed + 3 >= handshakes(&facts), "{version} {size}: {facts}");
        }
    }
}

#[test]
fn a_server_is_believed_only_if_it_should_be() {
    let house = House::new();
    let (_echo, at) = house.serve("echo", "other", &[]);
    let (_, said) = house.load(&at, &[], 9);
    assert!(said.contains("is for example.test, and not for 127.0.0.1"), "{said}");
    let (facts, _) = house.load(&at, &["--server-name", "example.test"], 0);
    no_errors(&facts);
    let (facts, said) = load(&[&at, "--insecure"], 0);
    no_errors(&facts);
    assert!(said.contains("WARNING: --insecure"), "{said}");
    let (_, said) = load(&[at.strip_prefix("tls:").expect("TLS"), "--insecure"], 2);
    assert!(said.contains("--insecure is for a server with TLS"), "{said}");
    let (_, said) = load(&["tls:unix:@nobody", "--insecure"], 2);
    assert!(said.contains("--server-name"), "{said}");
    // One who has no TLS.
    let plain = Server::start(&["daytime", "--listen", "127.0.0.1:0"]);
    let (_, said) = house.load(&plain.endpoint().replace("tcp:", "tls:"), &[], 9);
    assert!(said.contains("does not speak TLS"), "{said}");
    // One who has, and is not asked for it. His alert may be lost in a reset; then the next one is waited for.
    let plainly = at.strip_prefix("tls:").expect("TLS");
    let complaints = ["300ms", "1s", "5s"].iter().map(|duration| {
        let (ended, facts, said) = load_for(duration, &[plainly]);
        assert_eq!(ended, Some(1), "{said}");
        facts["first_wrong_answer"].as_str().unwrap_or_default().to_owned()
    });
    let complaint = complaints.into_iter().find(|complaint| !complaint.is_empty()).expect("an alert");
    assert!(complaint.contains("tls: before the address"), "{complaint}");
    // One who wants to know who we are.
    let (cert, key) = house.pair("client");
    let (_echo, at) =
        house.serve("echo", "good", &["--client-cert", "required", "--client-roots", &house.ca]);
    let (facts, _) = house.load(&at, &["--cert", &cert, "--key", &key], 0);
    no_errors(&facts);
    assert!(number(&facts, "answers") > 0, "{facts}");
}

/// A server of TLS whose connections go to `each` with their number, from 0; it ends with the process of the test.
fn scripted(house: &House, each: fn(usize, TcpStream, &tls::Server)) -> String {
    let (cert, key) = house.pair("good");
    let identity = Identity::read(Path::new(&cert), Path::new(&key), 0).expect("an identity");
    let server = tls::Server::new(Settings::new(vec![identity])).expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = format!("tls:{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for (index, stream) in listener.incoming().flatten().enumerate() {
            each(index, stream, &server);
        }
    });
    at
}

fn shake(stream: TcpStream, server: &tls::Server) -> Option<Channel> {
    Channel::secure(OwnedFd::from(stream), Kind::Tcp, server.codec().ok()?, PATIENCE).ok()
}

#[test]
fn what_goes_wrong_with_tls_is_counted_as_that() {
    let house = House::new();
    let mut last = None;
    for duration in ["500ms", "2s", "5s"] {
        let (ended, facts, said) = at_odds(&house, duration);
        let errors = &facts["errors"];
        if ["tls", "closed", "reset"].iter().any(|kind| errors[kind].as_u64().unwrap_or(0) == 0) {
            // A busy machine may need longer for three connections.
            last = Some((facts, said));
            continue;
        }
        assert_eq!(ended, Some(1), "{said}");
        assert!(said.contains("the first failure of TLS: the peer does not speak TLS"), "{said}");
        assert_eq!(number(&facts, "answers"), 0, "{facts}");
        return;
    }
    panic!("{last:?}");
}

/// Loads a server who is at odds with TLS in every way.
fn at_odds(house: &House, duration: &str) -> (Option<i32>, Value, String) {
    // After the first, which is there to find out whether there is TLS: no TLS at all, the end of everything, a reset.
    let at = scripted(house, |index, mut stream, server| match index {
        0 => drop(shake(stream, server)),
        _ if index % 3 == 1 => {
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        _ if index % 3 == 2 => {
            // Whatever the client said is taken, so that this is an end and no reset.
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        _ => {
            let socket = reset_at_close(&stream);
            assert!(socket.is_ok(), "{socket:?}");
        }
    });
    let limits =
        [&at, "--ca", &house.ca, "--workload", "connect", "--timeout", "5s", "--fail-if", "errors>0"];
    load_for(duration, &limits)
}

/// Closing it will be a reset.
fn reset_at_close(stream: &TcpStream) -> rustix::io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO))
}

#[test]
fn an_answer_that_is_cut_short_is_none() {
    let house = House::new();
    let scratch = Scratch::new();
    let script = scratch.path("script");
    fs::write(&script, "expect \"hello\"\nexpect-end\n").expect("a script");
    // Every other one ends without close_notify.
    let at = scripted(&house, |index, stream, server| {
        let Some(mut channel) = shake(stream, server) else { return };
        let _ = channel.send(b"hello");
        if index % 2 == 0 {
            let _ = channel.finish();
        } else {
            switchboard_net::sys::socket::shutdown_write(&channel);
        }
        // Its end, so that nothing is reset.
        let mut room = [0; 4_096];
        while matches!(channel.recv_within(&mut room, PATIENCE), Ok(1..)) {}
    });
    let arguments = ["--script", &script, "--fail-if", "errors>0"];
    let (_, said) = house.load_until(&at, &arguments, 1, |facts| {
        number(&facts["errors"], "tls") > 0 && number(facts, "answers") > 0
    });
    assert!(said.contains("the first failure of TLS"), "{said}");
}

/// openssl s_server, killed when dropped.
struct OpenSsl {
    child: Child,
    at: String,
}

impl OpenSsl {
    fn start(house: &House, arguments: &[&str]) -> Option<OpenSsl> {
        let (cert, key) = house.pair("good");
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", &cert, "-key", &key]).args(arguments);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                skip("openssl s_server", &error.to_string());
                return None;
            }
        };
        let (sender, receiver) = mpsc::channel();
        let stdout = child.stdout.take().expect("piped");
        // Read to its end: a full pipe would stop the server.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(at) = line.strip_prefix("ACCEPT ") {
                    let _ = sender.send(at.to_owned());
                }
            }
        });
        let at = receiver.recv_timeout(PATIENCE);
        let server = OpenSsl { child, at: format!("tls:{}", at.as_deref().unwrap_or_default()) };
        assert!(at.is_ok(), "openssl s_server does not listen");
        Some(server)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn openssl_is_loaded_like_ours() {
    let house = House::new();
    let scratch = Scratch::new();
    let script = scratch.path("script");
    // -rev sends lines back from their end to their beginning.
    fs::write(&script, "send \"hello\\n\"\nexpect-line \"olleh\"\n").expect("a script");
    let Some(server) = OpenSsl::start(&house, &["-rev", "-alpn", "sb/1"]) else { return };
    for version in ["1.2", "1.3"] {
        let arguments = ["--script", &script, "--alpn", "sb/1", "--tls-max", version];
        let (facts, _) = house.load(&server.at, &arguments, 0);
        no_errors(&facts);
        assert_eq!(facts["plan"]["tls"]["alpn"], "sb/1", "{facts}");
        assert!(number(&facts, "answers") > 0, "{facts}");
    }
    drop(server);
    fs::write(&script, "send \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect \"HTTP/1.0 200 ok\"\nexpect-end\n")
        .expect("a script");
    let (cert, key) = house.pair("client");
    let Some(server) = OpenSsl::start(&house, &["-www", "-Verify", "1", "-CAfile", &house.ca]) else {
        return;
    };
    for version in ["1.2", "1.3"] {
        let arguments =
            ["--script", &script, "--resume", "--cert", &cert, "--key", &key, "--tls-max", version];
        let (facts, _) = house.load_until(&server.at, &arguments, 0, |facts| handshakes(facts) > 1);
        no_errors(&facts);
        assert!(number(&facts, "handshakes_resumed") + 1 >= handshakes(&facts), "{version}: {facts}");
    }
}
