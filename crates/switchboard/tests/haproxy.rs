//! HAProxy in front of ours: its PROXY headers of each kind, its health checks, and its agent-check; two servers behind
//! it, of which one is drained, upgraded, or killed under load. Rows B1, B2, S14, S25.

mod harness;

#[path = "tls/authority.rs"]
#[allow(dead_code, unreachable_pub)]
mod authority;
#[path = "life/house.rs"]
#[allow(dead_code, unreachable_pub)]
mod house;

use harness::{Over, PATIENCE, Scratch, Server, end, finish_tcp, number, skip, text, wait_until};
use house::House;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A running HAProxy; it is killed when dropped.
struct Haproxy {
    child: Child,
    scratch: Scratch,
    /// Where clients come in.
    front: SocketAddr,
}

impl Haproxy {
    /// With these servers in its backend; nothing if there is no HAProxy here.
    fn start(servers: &str, what: &str) -> Option<Haproxy> {
        if Command::new("haproxy").arg("-v").output().is_err() {
            skip(what, "there is no haproxy here");
            return None;
        }
        let scratch = Scratch::new();
        // It takes no port 0 that it would tell: the listener is ours, and it inherits it.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let front = listener.local_addr().expect("bound");
        let fd = std::os::fd::OwnedFd::from(listener);
        let number = rustix::io::fcntl_dupfd_cloexec(&fd, 50).expect("a descriptor");
        rustix::io::fcntl_setfd(&number, rustix::io::FdFlags::empty()).expect("kept");
        let inherited = std::os::fd::AsRawFd::as_raw_fd(&number);
        let stats = scratch.path("stats");
        let file = scratch.path("haproxy.cfg");
        let text = format!(
            "global\n  stats socket {stats} level admin\n  nbthread 1\n  maxconn 100\n  unix-bind mode 600\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n  retries 5\n  \
             option redispatch 1\n\
             frontend front\n  bind fd@{inherited}\n  unique-id-format c-%pid-%rt\n  default_backend back\n\
             backend back\n  balance roundrobin\n{servers}"
        );
        std::fs::write(&file, text).expect("a file");
        let child = Command::new("haproxy")
            .args(["-db", "-f", &file])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("haproxy starts");
        drop(number);
        let mut haproxy = Haproxy { child, scratch, front };
        let there = || {
            let ended = haproxy.child.try_wait().expect("our child");
            assert!(ended.is_none(), "haproxy ended: {}", haproxy.said());
            UnixStream::connect(&stats).is_ok()
        };
        wait_until("haproxy is there", there, || "no statistics socket".to_owned());
        Some(haproxy)
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        let _ = self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut said));
        said
    }

    fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.scratch.path("stats")).expect("the statistics socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(format!("{command}\n").as_bytes()).expect("room");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    /// What the statistics say of a server.
    fn field(&self, server: &str, field: &str) -> String {
        let text = self.ask("show stat");
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().expect("a head").trim_start_matches("# ").split(',').collect();
        let at = names.iter().position(|name| *name == field).unwrap_or_else(|| panic!("{names:?}"));
        let line = lines.find(|line| line.starts_with(&format!("back,{server},"))).expect("the server");
        line.split(',').nth(at).expect("the field").to_owned()
    }

    fn wait_for(&self, server: &str, field: &str, wanted: &str) {
        let last = std::cell::RefCell::new(String::new());
        wait_until(
            &format!("{server}'s {field} is {wanted}"),
            || {
                *last.borrow_mut() = self.field(server, field);
                last.borrow().starts_with(wanted)
            },
            || format!("it is {}", last.borrow()),
        );
    }

    fn converse(&self, text: &[u8]) -> std::io::Result<(SocketAddr, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.front)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let own = stream.local_addr()?;
        stream.write_all(text)?;
        let answer = finish_tcp(&mut stream)?;
        Ok((own, answer))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The record of the client at `own`; somebody else on this machine may have knocked at the same door.
fn record_of(own: SocketAddr, server: &Server) -> serde_json::Value {
    let peer = format!("\"peer\":\"{own}\"");
    let line = server.wait_for_line(&peer, |line| line.contains(&peer));
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn port(endpoint: &str) -> &str {
    endpoint.trim_start_matches("tcp:")
}

#[test]
fn clients_are_introduced_by_every_kind_of_header() {
    for (versions, options, has_id) in [
        ("v1", "send-proxy", false),
        ("v2", "send-proxy-v2", false),
        ("v2", "send-proxy-v2 proxy-v2-options crc32c", false),
        ("any", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority", true),
    ] {
        let believed = ["--accept-proxy", versions, "--proxy-from", "127.0.0.1", "--proxy-only"];
        let base = ["echo", "--listen", "tcp:127.0.0.1:0"];
        let server = Server::start(&[&base[..], &believed].concat());
        let line = format!("  server a {} {options}\n", port(&server.endpoint()));
        let Some(haproxy) = Haproxy::start(&line, "PROXY headers of HAProxy") else { return };
        for _ in 0..5 {
            let (own, answer) = haproxy.converse(b"hello").expect("an answer");
            assert_eq!(answer, b"hello", "{options}");
            let record = record_of(own, &server);
            assert!(record["via"].as_str().is_some_and(|via| via.starts_with("127.0.0.1:")), "{record}");
            let id = record["unique_id"].as_str();
            assert_eq!(id.is_some_and(|id| id.starts_with("c-")), has_id, "{options}: {record}");
        }
        drop(haproxy);
        assert_eq!(number(&end(server), "unintroduced"), 0);
    }
}

/// The header comes before TLS: HAProxy sends it, and then speaks TLS to a service and to a program.
#[test]
fn the_header_comes_before_tls() {
    let authority = authority::Authority::new();
    let own = authority.server("localhost");
    let believed = ["--accept-proxy", "v2", "--proxy-from", "127.0.0.1", "--proxy-only"];
    let certified = ["--listen", "tls:127.0.0.1:0", "--cert", &own.cert, "--key", &own.key];
    for service in ["echo", "exec:sh -c 'env; cat'"] {
        let server = Server::start(&[&[service], &certified[..], &believed].concat());
        let at = server.endpoint();
        let at = at.trim_start_matches("tls:");
        let line =
            format!("  server a {at} send-proxy-v2 proxy-v2-options crc32c,unique-id ssl verify none\n");
        let Some(haproxy) = Haproxy::start(&line, "PROXY headers before TLS") else { return };
        let (own, answer) = haproxy.converse(b"hello").expect("an answer");
        let answer = harness::text(&answer);
        assert!(answer.ends_with("hello"), "{answer}");
        if service != "echo" {
            let front = haproxy.front.port();
            for line in [
                format!("TCPREMOTEPORT={}", own.port()),
                format!("TCPLOCALPORT={front}"),
                "PROXY_VERSION=2".to_owned(),
                "SSL_PROTOCOL=TLSv1.3".to_owned(),
            ] {
                assert!(answer.lines().any(|found| found == line), "{line} in {answer}");
            }
        }
        let record = record_of(own, &server);
        assert!(record["unique_id"].as_str().is_some_and(|id| id.starts_with("c-")), "{record}");
        assert!(record["via"].as_str().is_some_and(|via| via.starts_with("127.0.0.1:")), "{record}");
        drop(haproxy);
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(server.wait().code, Some(0));
    }
}

#[test]
fn health_checks_are_the_proxys_own() {
    let believed = ["--accept-proxy", "any", "--proxy-from", "127.0.0.1", "--proxy-only"];
    let server = Server::start(&[&["echo", "--listen", "tcp:127.0.0.1:0"], &believed[..]].concat());
    let line = format!(
        "  server a {} send-proxy-v2 proxy-v2-options crc32c check check-send-proxy inter 50ms\n",
        port(&server.endpoint())
    );
    let Some(haproxy) = Haproxy::start(&line, "health checks of HAProxy") else { return };
    haproxy.wait_for("a", "status", "UP");
    // LOCAL: the addresses are those of the connection itself, so nobody else is believed to be there. A check leaves as
    // soon as it is connected, with or without a header.
    let record = loop {
        let line =
            server.wait_for_line("a check", |line| line.contains("\"via\"") || line.contains("PROXY header"));
        if let Ok(record) = serde_json::from_str::<serde_json::Value>(&line)
            && record["event"] == "connection"
        {
            break record;
        }
    };
    assert_eq!(record["peer"], record["via"], "{record}");
    drop(haproxy);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait().code, Some(0));
}

const HOUSE: &str = "\
version = 1
drain_timeout = \"10s\"
[[service]]
builtin = \"echo\"
listen = \"tcp:127.0.0.1:0\"
max_connections = 4
proxy_in = \"v2\"
proxy_from = \"127.0.0.1\"
[[service]]
builtin = \"agent\"
listen = \"tcp:127.0.0.1:0\"
options = { of = \"echo\" }
";

/// A server's line; `weight 100`, so that a percentage of it is not nothing.
fn line(name: &str, house: &House) -> String {
    let endpoints = house.endpoints();
    let (echo, agent) = (port(&endpoints["echo"]), port(&endpoints["agent"]));
    let agent = agent.rsplit(':').next().expect("a port");
    format!(
        "  server {name} {echo} weight 100 send-proxy-v2 proxy-v2-options crc32c,unique-id \
         check check-send-proxy inter 50ms fall 2 rise 1 agent-check agent-port {agent} agent-inter 50ms\n"
    )
}

#[test]
fn an_agent_says_how_much_work_is_wanted() {
    let house = House::start(HOUSE);
    let Some(haproxy) = Haproxy::start(&line("a", &house), "agent-check of HAProxy") else { return };
    haproxy.wait_for("a", "agent_status", "L7OK");
    haproxy.wait_for("a", "weight", "100");
    // Half of the connections that it may have, and the half of the work.
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(haproxy.front).expect("haproxy is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(b"x").expect("room");
        stream.read_exact(&mut [0; 1]).expect("an answer");
        held.push(stream);
    }
    haproxy.wait_for("a", "weight", "50");
    drop(held);
    haproxy.wait_for("a", "weight", "100");
    // What the operator says, and takes back.
    for (option, status) in [
        ("state = \"maint\"", "MAINT"),
        ("state = \"drain\"", "DRAIN"),
        ("state = \"auto\"", "UP"),
        ("state = \"down\", reason = \"the disk is full\"", "DOWN"),
        ("state = \"auto\"", "UP"),
    ] {
        house.write(&HOUSE.replace("of = \"echo\"", &format!("of = \"echo\", {option}")));
        house.must("reload");
        haproxy.wait_for("a", "status", status);
        if status == "DOWN" {
            let said = haproxy.ask("show stat");
            assert!(said.contains("the disk is full"), "{said}");
        }
    }
    // The same by a verb, which a reload does not take back; who comes all the same is served.
    house.write(HOUSE);
    for (arguments, status) in [
        (&["drain", "echo"][..], "DRAIN"),
        (&["drain", "echo", "--maintenance"], "MAINT"),
        (&["resume", "echo"], "UP"),
    ] {
        let done = house.verb(arguments);
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        haproxy.wait_for("a", "status", status);
        house.must("reload");
        haproxy.wait_for("a", "status", status);
    }
    let done = house.verb(&["drain", "nowhere"]);
    assert!(!done.status.success() && text(&done.stderr).contains("there are echo, agent"), "{done:?}");
    // A server that is about to end says so while it still serves.
    let reply = house.ask(&json!({ "do": "drain", "notice_ms": 60_000 }));
    assert_eq!(reply["ok"], true, "{reply}");
    haproxy.wait_for("a", "status", "DRAIN");
}

/// Sends requests through `haproxy` from several clients as long as `work` takes: how many went well, and what failed.
fn under_load(haproxy: &Haproxy, work: impl FnOnce()) -> (u64, Vec<String>) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = |n: u32| {
            let (mut good, mut bad) = (0, Vec::new());
            while !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
                let text = format!("{n} {good} {}", "x".repeat(300));
                match haproxy.converse(text.as_bytes()) {
                    Ok((_, answer)) if answer == text.as_bytes() => good += 1,
                    Ok((_, answer)) => bad.push(format!("{} of {} bytes", answer.len(), text.len())),
                    Err(error) => bad.push(error.to_string()),
                }
            }
            (good, bad)
        };
        let threads: Vec<_> = (0..3).map(|n| scope.spawn(move || client(n))).collect();
        let end = Over(&over);
        work();
        drop(end);
        let (mut good, mut bad) = (0, Vec::new());
        for thread in threads {
            let (fine, failed) = thread.join().expect("no panic");
            good += fine;
            bad.extend(failed);
        }
        (good, bad)
    })
}

/// Waits until `server` has had `more` requests than now.
fn served_again(haproxy: &Haproxy, server: &str, more: u64) {
    let count = || haproxy.field(server, "stot").parse::<u64>().expect("a number");
    let before = count();
    wait_until(
        &format!("{server} is asked"),
        || count() >= before + more,
        || format!("{} of {more}", count() - before),
    );
}

#[test]
fn two_behind_it_and_one_is_upgraded_drained_or_killed() {
    let mut first = House::start(HOUSE);
    let second = House::start(HOUSE);
    let lines = line("a", &first) + &line("b", &second);
    let Some(haproxy) = Haproxy::start(&lines, "two servers behind HAProxy") else { return };
    for server in ["a", "b"] {
        haproxy.wait_for(server, "status", "UP");
        haproxy.wait_for(server, "agent_status", "L7OK");
    }
    // Upgraded: clients come all the time, and nobody notices.
    let (good, bad) = under_load(&haproxy, || {
        served_again(&haproxy, "a", 20);
        first.upgrade();
        served_again(&haproxy, "a", 20);
    });
    assert_eq!(bad, [""; 0], "upgraded, {good} requests went well");
    // Drained: the agent says so first, the balancer stops asking, and then the server ends.
    let (good, bad) = under_load(&haproxy, || {
        let notice = json!({ "do": "drain", "notice_ms": 60_000 });
        assert_eq!(first.ask(&notice)["ok"], true);
        haproxy.wait_for("a", "status", "DRAIN");
        wait_until(
            "a has no more to do",
            || haproxy.field("a", "scur") == "0",
            || haproxy.field("a", "scur"),
        );
        assert_eq!(first.ask(&json!({ "do": "drain", "notice_ms": 0 }))["ok"], true);
        haproxy.wait_for("a", "check_status", "L4CON");
        served_again(&haproxy, "b", 20);
    });
    assert_eq!(bad, [""; 0], "drained, {good} requests went well");
    // Killed: whoever it was talking to has lost; everybody after them is served by the other one.
    let third = House::start(HOUSE);
    let lines = line("b", &second) + &line("c", &third);
    drop(haproxy);
    let haproxy = Haproxy::start(&lines, "two servers behind HAProxy").expect("it was there before");
    for server in ["b", "c"] {
        haproxy.wait_for(server, "status", "UP");
    }
    let (good, bad) = under_load(&haproxy, || {
        served_again(&haproxy, "c", 20);
        third.signal(rustix::process::Signal::KILL);
        haproxy.wait_for("c", "status", "DOWN");
        served_again(&haproxy, "b", 20);
    });
    let told = format!("killed under load: {good} requests went well, {} failed: {bad:?}", bad.len());
    let _ = writeln!(std::io::stderr(), "{told}");
    // One request for each client that was inside, and no more than those that the balancer had on their way.
    assert!(good > 0 && bad.len() <= 30, "{told}");
    let _ = first.first.try_wait();
}
