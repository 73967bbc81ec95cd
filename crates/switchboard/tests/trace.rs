//! `switchboard trace`: what the server does and what the client does, call by call (row S20); the traced program's
//! output, signals and exit code are its own; calls can be changed; and what strace(1) sees is seen.

mod harness;

use harness::{PATIENCE, Scratch, Server, Stream, engines, has_io_uring, program, skip, text, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

const SWITCHBOARD: &str = env!("CARGO_BIN_EXE_switchboard");

/// `switchboard trace ARGUMENTS` with this input, to its end.
fn trace(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = begin(arguments, Stdio::piped());
    child.stdin.take().expect("piped").write_all(input).expect("it may not read, but a pipe holds this");
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("our child").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("trace {arguments:?} did not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.wait_with_output().expect("our child")
}

fn begin(arguments: &[&str], stdin: Stdio) -> Child {
    let mut command = program();
    command.arg("trace").args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program can be started")
}

fn echo() -> (Server, String) {
    let server = Server::start(&["echo", "--listen", "tcp:127.0.0.1:0"]);
    let endpoint = server.endpoint();
    (server, endpoint)
}

/// The events of a trace in JSON Lines.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// Names of the calls that returned, in order.
fn calls(events: &[Value]) -> Vec<&str> {
    let returned = events.iter().filter(|event| event["event"] == "call");
    returned.filter_map(|event| event["name"].as_str()).collect()
}

#[test]
fn the_clients_calls_in_order_and_its_output_untouched() {
    let (_server, endpoint) = echo();
    let done = trace(&["--", SWITCHBOARD, "connect", &endpoint], b"hello\n");
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(0), "hello\n".to_owned()));
    let trace = text(&done.stderr);
    let port = endpoint.rsplit(':').next().expect("a port");
    let mut rest = &*trace;
    for part in [
        "+++ runs ",
        "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0) = ",
        "IPPROTO_TCP, TCP_NODELAY, 1) = 0",
        &format!(", 127.0.0.1:{port}) = -1 EINPROGRESS (Operation now in progress)"),
        "SOL_SOCKET, SO_ERROR, 0, 4) = 0",
        "\"hello\\n\", 6, MSG_DONTWAIT|MSG_NOSIGNAL, NULL) = 6",
        "recvfrom(",
        "+++ exited 0 +++\n",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("no `{part}` (in this order) in\n{trace}"));
        rest = &rest[at + part.len()..];
    }
    assert!(!trace.contains('\x1b'), "colours are for terminals");
}

#[test]
fn the_servers_calls_on_every_engine() {
    for row in engines() {
        let scratch = Scratch::new();
        let file = scratch.path("trace.json");
        let mut command = program();
        command.args(["trace", "--format", "json", "-o", &file, "--", SWITCHBOARD, "serve", "echo"]);
        command.args(["--engine", row.name, "--listen", "tcp:127.0.0.1:0", "--format", "json"]);
        let server = Server::try_start(&mut command).unwrap_or_else(|said| panic!("{}: {said:?}", row.name));
        let mut stream = Stream::connect(&server.endpoint()).expect("connected");
        assert_eq!(stream.converse(b"hello\n").expect("echoed"), b"hello\n", "{}", row.name);
        drop(stream);
        // A request to end goes on to the program, which drains as ever; its exit code is passed on.
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code, Some(0), "{}", row.name);
        let events = events(&std::fs::read_to_string(&file).expect("the trace"));
        let calls = calls(&events);
        let says = |part: &str| events.iter().any(|event| event.to_string().contains(part));
        for call in ["bind", "listen"] {
            assert!(calls.contains(&call), "{}: no {call} in {calls:?}", row.name);
        }
        if row.name == "uring" {
            assert!(says("uses io_uring"), "{calls:?}");
        } else {
            assert!(calls.iter().any(|call| call.starts_with("accept")), "{}: {calls:?}", row.name);
            assert!(says("68656c6c6f0a"), "{}: the data is not there", row.name);
        }
        let ends = events.iter().filter(|event| event["change"]["exited"]["status"] == 0);
        assert!(ends.count() >= 2, "{}: supervisor and worker", row.name);
    }
    if !has_io_uring() {
        skip("tracing a server on io_uring", "there is none here");
    }
}

#[test]
fn the_end_of_the_program_is_passed_on() {
    for (script, code) in [("exit 3", 3), ("kill -PIPE $$", 128 + 13), ("exit 0", 0)] {
        let done = trace(&["sh", "-c", script], b"");
        assert_eq!(done.status.code(), Some(code), "{script}: {}", text(&done.stderr));
    }
    let done = trace(&["sh", "-c", "kill -PIPE $$"], b"");
    let said = text(&done.stderr);
    assert!(said.contains("--- SIGPIPE from itself: default action ---"), "{said}");
    assert!(said.contains("+++ killed by SIGPIPE +++"), "{said}");
    let done = trace(&["/nonexistent/program"], b"");
    assert_eq!(done.status.code(), Some(127));
    assert!(text(&done.stderr).contains("there is no such program"));
}

#[test]
fn a_summary_adds_up() {
    let (_server, endpoint) = echo();
    let connect = [SWITCHBOARD, "connect", &endpoint];
    let done = trace(&[&["--summary", "--quiet", "--"][..], &connect].concat(), b"hello\n");
    let table = text(&done.stderr);
    let row = |name: &str| {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{table}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let all: Vec<String> = row("all");
    assert_eq!((&*all[3], &*all[4]), ("6", "6"), "{table}");
    let connects: Vec<String> = row("connect");
    assert_eq!((&*connects[1], &*connects[2]), ("1", "1"), "one call, in progress: {table}");
    let done = trace(&[&["--summary", "--quiet", "--format", "json", "--"][..], &connect].concat(), b"");
    let only = events(&text(&done.stderr));
    assert_eq!((only.len(), only[0]["event"].as_str()), (1, Some("summary")));
}

#[test]
fn reads_that_fall_short_do_not_hurt_our_client() {
    let (_server, endpoint) = echo();
    let rules = ["--inject", "recv:short=1:nth=2..", "--inject", "send:short=2", "--"];
    let done = trace(&[&rules[..], &[SWITCHBOARD, "connect", &endpoint]].concat(), b"one two three\n");
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(0), "one two three\n".to_owned()));
    let said = text(&done.stderr);
    assert!(said.contains("[first 2 of 14 bytes]") && said.contains("[first 1 of "), "{said}");
}

#[test]
fn options_are_set_and_rules_are_checked_first() {
    let (_server, endpoint) = echo();
    let connect = [SWITCHBOARD, "connect", &endpoint];
    let done = trace(&[&["--with", "user_timeout=5s", "--"][..], &connect].concat(), b"");
    assert!(text(&done.stderr).contains("[set user-timeout=5000ms]"), "{}", text(&done.stderr));
    for (arguments, reason) in [
        (&["--with", "usertimeout=5s", "true"][..], "there is no socket option `usertimeout`"),
        (&["--with", "keepalive", "true"], "OPTION=VALUE"),
        (&["--inject", "recv:errno=EWHAT", "true"], "not an errno"),
        (&["--quiet", "true"], "--summary"),
        (&[], "PROGRAM"),
    ] {
        let done = trace(arguments, b"");
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        assert!(text(&done.stderr).contains(reason), "{arguments:?}: {}", text(&done.stderr));
    }
}

/// A program that says its number, and then writes to a socket for each byte of its input.
const TALKER: &str = "import os,socket,sys\na,b=socket.socketpair()\nprint(os.getpid(),flush=True)\n\
    while True:\n c=os.read(0,1)\n if not c: break\n a.send(c)\n";

#[test]
fn a_running_program_is_attached_to_once_and_let_go() {
    let Ok(mut talker) = Command::new("python3")
        .args(["-I", "-S", "-c", TALKER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        return skip("attaching", "there is no python3");
    };
    let mut said = BufReader::new(talker.stdout.take().expect("piped"));
    let mut pid = String::new();
    said.read_line(&mut pid).expect("it says its number");
    let pid = pid.trim();
    let mut input = talker.stdin.take().expect("piped");

    let mut tracer = begin(&["--pid", pid], Stdio::null());
    let mut lines = BufReader::new(tracer.stderr.take().expect("piped"));
    let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let traced = || !status().contains("TracerPid:\t0\n");
    wait_until("the tracer is there", traced, status);
    let second = trace(&["--pid", pid], b"");
    assert_eq!(second.status.code(), Some(77));
    assert!(text(&second.stderr).contains("traces it already"), "{}", text(&second.stderr));

    input.write_all(b"x").expect("it reads");
    let mut line = String::new();
    while !line.contains("sendto(") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "the trace ended early");
    }
    assert!(line.contains("\"x\", 1, 0"), "{line}");

    // Ctrl-C ends the look, and not the program.
    kill_process(Pid::from_child(&tracer), Signal::INT).expect("it runs");
    assert_eq!(tracer.wait().expect("our child").code(), Some(0));
    wait_until("the tracer is gone", || !traced(), status);
    input.write_all(b"y").expect("it lives");
    drop(input);
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("it ends");
    assert_eq!(talker.wait().expect("our child").code(), Some(0));
    let gone = trace(&["--pid", pid], b"");
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("there is no process"), "{}", text(&gone.stderr));
}

#[test]
fn a_call_that_hangs_is_told_of_while_it_does() {
    let script = "import socket; a,b=socket.socketpair(); a.recv(10)";
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("a call that hangs", "there is no python3");
    }
    let mut tracer = begin(&["python3", "-I", "-S", "-c", script], Stdio::null());
    let mut lines = BufReader::new(tracer.stderr.take().expect("piped"));
    let mut line = String::new();
    while !(line.contains("recvfrom(") && line.contains("… blocked for 1.00 s")) {
        line.clear();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "the trace ended early");
    }
    // A request to end goes to the program, whose end is passed on.
    kill_process(Pid::from_child(&tracer), Signal::TERM).expect("it runs");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("to its end");
    assert!(rest.contains("--- SIGTERM from "), "{rest}");
    assert_eq!(tracer.wait().expect("our child").code(), Some(128 + 15));
}

#[test]
fn what_strace_sees_is_seen() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("a comparison with strace", "it is not installed");
    }
    let (_server, endpoint) = echo();
    let connect = [SWITCHBOARD, "connect", &endpoint];
    const SHARED: [&str; 10] = [
        "socket",
        "connect",
        "getsockopt",
        "setsockopt",
        "getsockname",
        "getpeername",
        "sendto",
        "recvfrom",
        "shutdown",
        "ppoll",
    ];
    let scratch = Scratch::new();
    let file = scratch.path("strace");
    let mut strace = Command::new("strace");
    strace.args(["-o", &file, "-e", &format!("trace={}", SHARED.join(","))]).args(connect);
    let done = strace.stdin(Stdio::null()).output().expect("strace runs");
    if !done.status.success() {
        return skip("a comparison with strace", &text(&done.stderr));
    }
    let theirs = std::fs::read_to_string(&file).expect("what strace saw");
    let theirs: Vec<(&str, i64)> = theirs
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once('(')?;
            let result = rest.rsplit_once(" = ")?.1.split(' ').next()?.parse().ok()?;
            Some((name, result))
        })
        .filter(|(name, _)| *name != "ppoll")
        .collect();
    let ours = trace(&[&["--format", "json", "--"][..], &connect].concat(), b"");
    let ours = events(&text(&ours.stderr));
    let ours: Vec<(&str, i64)> = ours
        .iter()
        .filter(|event| event["event"] == "call")
        .filter_map(|event| {
            let name = event["name"].as_str().filter(|name| SHARED.contains(name) && *name != "ppoll")?;
            Some((name, event["result"]["value"].as_i64().unwrap_or(-1)))
        })
        .collect();
    assert_eq!(ours, theirs);
    assert!(ours.len() > 8, "{ours:?}");
}
