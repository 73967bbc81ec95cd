//! Machines that lack something: room on the disk, descriptors.

use super::{connect, file, hear, run, script};
use crate::harness::{Scratch, Server, Stream, end, number, skip};
use rustix::process::{Resource, Signal};
use std::os::unix::fs::FileTypeExt;
use std::process::Command;

#[test]
fn a_full_disk_costs_the_log_and_nothing_else() {
    if !std::fs::metadata("/dev/full").is_ok_and(|meta| meta.file_type().is_char_device()) {
        return skip("a full disk", "there is no /dev/full");
    }
    let scratch = Scratch::new();
    let file = scratch.path("switchboard.toml");
    let log = "log = { format = \"json\", to = \"/dev/full\" }\n";
    std::fs::write(&file, format!("version = 1\n{log}{}", script("echo oops >&2; exec cat", "")))
        .expect("a file");
    let server = Server::start(&["--config", &file]);
    for _ in 0..50 {
        assert_eq!(hear(&server, b"served"), "served");
    }
    end(server);
}

#[test]
fn few_descriptors_serve_many_clients() {
    const CLIENTS: usize = 150;
    let scratch = Scratch::new();
    let file = file(&scratch, &script("exec cat", ""));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_switchboard")]);
    command.args(["serve", "--format", "json", "--config", &file]);
    let server = Server::try_start(&mut command).unwrap_or_else(|said| panic!("{said:?}"));
    let clients: Vec<Stream> = (0..CLIENTS).map(|_| connect(&server)).collect();
    for (client, mut stream) in clients.into_iter().enumerate() {
        let said = format!("client {client}");
        assert_eq!(stream.converse(said.as_bytes()).expect("served"), said.as_bytes());
    }
    assert_eq!(number(&end(server), "accepted"), CLIENTS as u64);
}

// Old daemons close every number up to the limit, one call for each.
#[test]
fn the_limit_of_descriptors_costs_no_calls() {
    if run(Command::new("sh").args(["-c", "strace -V"])).status.code() != Some(0) {
        return skip("calls at the start", "strace is not installed");
    }
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(1_048_576);
    let scratch = Scratch::new();
    let file = file(&scratch, &script("exec cat", ""));
    let calls = |limit: u64| {
        let out = scratch.path(&format!("calls-{limit}"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\""), "strace", "-f", "-qq"]);
        command.args(["-e", "trace=close,close_range,fcntl,dup2,dup3,openat,mmap", "-o", &out]);
        command.args([env!("CARGO_BIN_EXE_switchboard"), "serve", "--format", "json", "--config", &file]);
        let server = match Server::try_start(&mut command) {
            Ok(server) => server,
            Err(said) => {
                skip("calls at the start", &format!("strace cannot: {said:?}"));
                return None;
            }
        };
        assert_eq!(hear(&server, b"served"), "served");
        drop(server.records(1));
        // strace passes no signal on to what it traces; the program itself is asked to end.
        for pid in server.workers().iter().take(1) {
            let _ = rustix::process::kill_process(*pid, Signal::TERM);
        }
        server.wait();
        Some(std::fs::read_to_string(&out).expect("written").lines().count())
    };
    let (Some(few), Some(many)) = (calls(256), calls(most)) else { return };
    assert!(many < few + 100, "{few} calls with 256 descriptors, {many} with {most}");
}
