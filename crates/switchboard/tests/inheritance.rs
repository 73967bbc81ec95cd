//! What those who are started from here find: the limit of descriptors that we were started with, in programs and in a
//! successor; nothing made up about clients on Unix sockets; and a warning for those that would run as root. Rows S13, S14.

#![allow(dead_code, unreachable_pub)]

#[path = "harness/mod.rs"]
mod harness;
#[path = "life/house.rs"]
mod house;

use harness::{PATIENCE, Scratch, Server, Stream, end, program, run_to_end, skip, wait_until};
use house::House;
use std::collections::BTreeSet;
use std::process::Command;

/// Soft and hard limit of descriptors, from the text of proc_pid_limits(5).
fn descriptors(limits: &str) -> (String, String) {
    let line =
        limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of descriptors");
    let words: Vec<&str> = line.split_whitespace().collect();
    (words[3].to_owned(), words[4].to_owned())
}

fn heard(endpoint: &str) -> String {
    let mut client = Stream::connect(endpoint).expect("the listener is open");
    String::from_utf8(client.converse(b"").expect("an answer")).expect("UTF-8")
}

#[test]
fn programs_and_successors_have_the_limit_of_descriptors_that_we_were_started_with() {
    let possible = Command::new("prlimit").args(["--nofile=200:400", "true"]).output();
    if !possible.is_ok_and(|tried| tried.status.success()) {
        return skip("the limit of descriptors", "prlimit(1) is not there, or the limit here is below 400");
    }
    let file = "version = 1\nlog = { format = \"none\" }\n\
                [[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n\
                [[service]]\nid = \"limits\"\nexec = \"cat /proc/self/limits\"\nlisten = \"tcp:127.0.0.1:0\"\n";
    let house = House::start_by(file, |command, _| {
        let own = std::mem::replace(command, Command::new("prlimit"));
        command.args(["--nofile=200:400", "--"]).arg(own.get_program());
    });
    let ours = ("200".to_owned(), "400".to_owned());
    for upgrades in 0..3 {
        let endpoints = house.endpoints();
        assert_eq!(descriptors(&heard(&endpoints["limits"])), ours, "the program, after {upgrades} upgrades");
        let of = |pid: rustix::process::Pid| {
            let path = format!("/proc/{}/limits", pid.as_raw_nonzero());
            descriptors(&std::fs::read_to_string(path).expect("it is there"))
        };
        assert_eq!(of(house.pid()), ours, "the supervisor, after {upgrades} upgrades");
        // A worker that holds connections takes what it may.
        let worker = house.workers("echo")[0];
        wait_until("the worker raises its limit", || of(worker).0 == "400", || format!("{:?}", of(worker)));
        house.upgrade();
    }
}

#[test]
fn a_client_on_a_unix_socket_is_told_of_in_words_that_mean_something() {
    let scratch = Scratch::new();
    let at = format!("unix:{}", scratch.path("socket"));
    let server = Server::start(&["exec:env", "--listen", &at]);
    let told = heard(&server.endpoint());
    let names: BTreeSet<&str> = told.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let expected = "PATH PROTO SWITCHBOARD_CONNECTION SWITCHBOARD_SERVICE TZ UNIXLOCALPATH UNIXREMOTEEGID \
                    UNIXREMOTEEUID UNIXREMOTEPID";
    assert_eq!(names.into_iter().collect::<Vec<_>>().join(" "), expected, "{told}");
    let own = format!("UNIXREMOTEEUID={}\n", rustix::process::geteuid().as_raw());
    assert!(
        told.contains(&own) && told.contains(&format!("UNIXREMOTEPID={}\n", std::process::id())),
        "{told}"
    );
    end(server);
}

#[test]
fn a_program_that_runs_as_root_because_nobody_said_otherwise_is_warned_of_once() {
    let scratch = Scratch::new();
    let file = scratch.path("file.toml");
    let service = |id: &str, more: &str| {
        format!("[[service]]\nid = \"{id}\"\nexec = \"cat\"\nlisten = \"tcp:127.0.0.1:0\"\n{more}\n")
    };
    let root = rustix::process::geteuid().is_root();
    let own = if root { "user = \"root\"" } else { "" };
    std::fs::write(&file, format!("version = 1\n{}{}", service("meant", own), service("unsaid", "")))
        .expect("a file");
    let mut command = program();
    command.args(["serve", "--config", &file, "--format", "json", "--log", "json"]);
    let server = Server::try_start(&mut command).expect("it starts");
    let ended = server.stop();
    let warnings: Vec<&String> = ended.stderr.iter().filter(|line| line.contains("warning: ")).collect();
    if !root {
        assert!(warnings.is_empty(), "{warnings:?}");
        return skip("a warning for root", "needs root");
    }
    let [warning] = warnings[..] else { panic!("not one warning: {:?}", ended.stderr) };
    assert!(warning.contains("the program of service unsaid runs as root: set `user`"), "{warning}");
    // Nothing of the kind where nothing can be served.
    let done = run_to_end(program().args(["check", &file]), None, PATIENCE);
    assert!(done.status.success());
}
