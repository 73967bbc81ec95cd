//! Host names in the environment of programs that ask for them, in a mount namespace with a hosts file of its own and a
//! name server that never answers. Row S13.

mod harness;

use harness::{Scratch, Server, connect_from, end, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

/// What a command sees as its /etc.
struct Etc {
    scratch: Scratch,
    /// It takes questions and answers none.
    _silent: UdpSocket,
}

impl Etc {
    /// Nothing, said aloud, where no such namespace can be made.
    fn new(what: &str) -> Option<Etc> {
        if !rustix::process::geteuid().is_root() {
            skip(what, "it takes root to make a namespace of mounts");
            return None;
        }
        let possible = Command::new("unshare").args(["--mount", "true"]).output();
        if !possible.is_ok_and(|tried| tried.status.success()) {
            skip(what, "unshare --mount is not permitted here");
            return None;
        }
        // One address for each process that runs these tests.
        let host = 2 + std::process::id() % 250;
        let server = format!("127.53.{}.{host}", harness::unique() % 250);
        let silent = match UdpSocket::bind(format!("{server}:53")) {
            Ok(socket) => socket,
            Err(error) => {
                skip(what, &format!("no name server of our own: {error}"));
                return None;
            }
        };
        let scratch = Scratch::new();
        let hosts = "127.0.0.1 good.example\n127.0.0.2 under_score.example\n127.0.0.3 -x.example\n";
        for (name, text) in [
            ("hosts", hosts.to_owned()),
            ("resolv.conf", format!("nameserver {server}\noptions timeout:30 attempts:1\n")),
            ("nsswitch.conf", "hosts: files dns\n".to_owned()),
        ] {
            std::fs::write(scratch.path(name), text).expect("a file");
        }
        Some(Etc { scratch, _silent: silent })
    }

    /// A command that runs this program with that /etc.
    fn command(&self) -> Command {
        const SCRIPT: &str = "for file in hosts resolv.conf nsswitch.conf; do \
                              mount --bind \"$0/$file\" \"/etc/$file\" || exit 9; done; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.env("TZ", "UTC").args(["--mount", "sh", "-c", SCRIPT, &self.scratch.path("")]);
        command.arg(env!("CARGO_BIN_EXE_switchboard"));
        command
    }
}

/// The environment that a client from 127.0.0.`host` is told.
fn environment(mut client: TcpStream) -> BTreeMap<String, String> {
    let mut text = String::new();
    client.read_to_string(&mut text).expect("an environment");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn names_that_lead_back_and_are_host_names_are_told_and_nobody_waits_for_the_others() {
    let Some(etc) = Etc::new("names for programs") else { return };
    let mut command = etc.command();
    command.args(["serve", "exec:env", "--listen", "tcp:127.0.0.1:0", "--set", "resolve_names=true"]);
    let server = Server::try_start(command.args(["--format", "json", "--log", "json"])).expect("it starts");
    let at = server.endpoint();
    let from = |host| connect_from(host, &at).expect("the listener is open");
    // The name server is silent about this one.
    let nameless = from(9);
    let told = environment(from(1));
    assert_eq!(told["TCPREMOTEHOST"], "good.example", "{told:?}");
    assert_eq!(told["REMOTE_HOST"], "good.example");
    assert_eq!(told["TCPLOCALHOST"], "good.example");
    assert_eq!((told["REMOTE_ADDR"].as_str(), told["TCPREMOTEIP"].as_str()), ("127.0.0.1", "127.0.0.1"));
    // What is no host name is not told, whoever vouches for it.
    for host in [2, 3] {
        let told = environment(from(host));
        assert!(!told.contains_key("TCPREMOTEHOST"), "{told:?}");
        assert_eq!(told["REMOTE_HOST"], format!("127.0.0.{host}"));
        assert_eq!(told["TCPLOCALHOST"], "good.example");
    }
    let told = environment(nameless);
    assert!(!told.contains_key("TCPREMOTEHOST"), "{told:?}");
    assert_eq!(told["REMOTE_HOST"], "127.0.0.9");
    let records: Vec<Value> = server.records(4);
    let waited = |host: u8| {
        let peer = format!("127.0.0.{host}:");
        let mut his =
            records.iter().filter(|one| one["peer"].as_str().is_some_and(|at| at.starts_with(&peer)));
        his.next().and_then(|one| one["waited_s"].as_f64()).expect("a record")
    };
    assert!(waited(9) >= 4.9, "he was waited for until the time was over: {records:?}");
    assert!(waited(1) < waited(9), "and nobody waited for him: {records:?}");
    end(server);
}

#[test]
fn a_server_that_stops_does_not_wait_for_names() {
    let Some(etc) = Etc::new("stopping while names are looked up") else { return };
    let mut command = etc.command();
    command.args(["serve", "exec:env", "--listen", "tcp:127.0.0.1:0", "--set", "resolve_names=true"]);
    command.args(["--drain-timeout", "0s", "--set", "grace=600s", "--format", "json", "--log", "json"]);
    let server = Server::try_start(&mut command).expect("it starts");
    let at = server.endpoint();
    let mut nameless = connect_from(9, &at).expect("the listener is open");
    // He has come before this one, who is answered.
    assert_eq!(environment(connect_from(1, &at).expect("open"))["TCPREMOTEHOST"], "good.example");
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let mut text = String::new();
    let heard = nameless.read_to_string(&mut text);
    assert!(heard.is_err() || text.is_empty() || !text.contains("TCPREMOTEHOST"), "{text}");
}

#[test]
fn tcpserver_looks_names_up_unless_told_not_to() {
    let Some(etc) = Etc::new("names for tcpserver's programs") else { return };
    for (flags, name) in
        [(&[][..], Some("good.example")), (&["-H"], None), (&["-l", "me"], Some("good.example"))]
    {
        let mut command = etc.command();
        command.args(["tcpserver", "-1q"]).args(flags).args(["127.0.0.1", "0", "env"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it can be started");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut port).expect("its port");
        let told = environment(connect_from(1, &format!("127.0.0.1:{}", port.trim())).expect("open"));
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        );
        let _ = child.wait();
        assert_eq!(told.get("TCPREMOTEHOST").map(String::as_str), name, "{flags:?}");
        let local = if flags.contains(&"-l") { Some("me") } else { name };
        assert_eq!(told.get("TCPLOCALHOST").map(String::as_str), local, "{flags:?}");
    }
}

#[test]
fn a_program_without_a_client_cannot_ask_for_names() {
    let scratch = Scratch::new();
    let file = scratch.path("file.toml");
    for mode in ["mode = \"wait\"", "pool = 2"] {
        let text = format!(
            "version = 1\n[[service]]\nexec = \"cat\"\nlisten = \"tcp:127.0.0.1:0\"\n{mode}\nresolve_names = true\n"
        );
        std::fs::write(&file, text).expect("a file");
        let done = harness::program().args(["check", &file]).output().expect("it runs");
        assert_eq!(done.status.code(), Some(78));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("names are looked up for programs that get a connection"), "{said}");
    }
}
