//! The whole super-server against programs that misbehave, machines that lack something, and clients that leave; who a
//! program is and what it finds; and what users of older ones complained about (docs/complaints.md). Rows S13, S14.

#[path = "superserver/bounds.rs"]
mod bounds;
#[path = "superserver/doors.rs"]
mod doors;
#[path = "superserver/environment.rs"]
mod environment;
mod harness;
#[path = "superserver/identity.rs"]
mod identity;
#[path = "superserver/machine.rs"]
mod machine;
#[path = "superserver/misbehaviour.rs"]
mod misbehaviour;
#[path = "superserver/starting.rs"]
mod starting;
#[path = "superserver/tcpmux.rs"]
mod tcpmux;

use harness::{Scratch, Server, Stream, has_ended, skip, wait_until};
use rustix::process::Pid;
use std::io::Read;
use std::process::{Command, Output};

/// A file with these services; they listen on ports of loopback that the kernel chooses.
fn file(scratch: &Scratch, text: &str) -> String {
    let file = scratch.path("switchboard.toml");
    std::fs::write(&file, format!("version = 1\nlog = {{ format = \"json\" }}\n{text}")).expect("a file");
    file
}

fn serve(scratch: &Scratch, text: &str) -> Server {
    Server::start(&["--config", &file(scratch, text)])
}

/// `[[service]]` with a script for the shell, and more keys.
fn script(script: &str, more: &str) -> String {
    assert!(!script.contains("'''"));
    format!(
        "[[service]]\nlisten = \"tcp:127.0.0.1:0\"\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n{more}\n"
    )
}

fn connect(server: &Server) -> Stream {
    Stream::connect(&server.endpoint()).expect("the listener is open")
}

/// All that a client of the first service hears; what was heard before a reset counts too.
fn hear(server: &Server, said: &[u8]) -> String {
    String::from_utf8_lossy(&connect(server).converse(said).unwrap_or_default()).into_owned()
}

fn is_gone(pid: i32) -> bool {
    has_ended(Pid::from_raw(pid).expect("a process"))
}

fn wait_until_gone(pid: i32, what: &str) {
    wait_until(what, || is_gone(pid), || format!("process {pid} is still there"));
}

fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(what, "needs root");
    }
    root
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it can be started")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

// --- Who a program is, and what it may do ------------------------------------------------------------------------

/// A line of proc_pid_status(5), its words joined by one blank.
fn line_of(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = line.unwrap_or_else(|| panic!("no {name} in {status}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lines(stream: &mut impl Read) -> impl FnMut() -> String {
    move || {
        let mut line = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).expect("a line") == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("UTF-8")
    }
}
