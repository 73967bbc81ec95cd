//! Programs that ignore signals, fork away, close or flood what they were given; and clients who leave them.

use super::{connect, file, hear, is_gone, is_root, lines, script, serve, wait_until_gone};
use crate::harness;
use crate::harness::{Scratch, Server, end, number, skip};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::io::Read;
use std::process::Command;

#[test]
fn a_program_that_ignores_to_be_terminated_is_killed_after_its_grace() {
    let scratch = Scratch::new();
    let text = script(
        "trap '' TERM; echo $$; while :; do sleep 1; done",
        "when_gone = \"terminate\"\ngrace = \"200ms\"",
    );
    let server = serve(&scratch, &format!("drain_timeout = \"100ms\"\n{text}"));
    let mut client = connect(&server);
    let pid: i32 = lines(&mut client)().parse().expect("a number");
    // An orderly end may be that of one half only; a reset is the end of both.
    rustix::net::sockopt::set_socket_linger(client.fd(), Some(std::time::Duration::ZERO)).expect("a socket");
    drop(client);
    let record = server.records(1).remove(0);
    assert_eq!(record["signal"], 9, "{record}");
    wait_until_gone(pid, "the program is killed");
    // And the same when the server stops.
    let mut client = connect(&server);
    let pid: i32 = lines(&mut client)().parse().expect("a number");
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    wait_until_gone(pid, "the program is killed with the server");
}

#[test]
fn what_leaves_by_two_forks_ends_with_the_server() {
    let scratch = Scratch::new();
    let text = script("setsid sh -c 'sleep 1000 & echo $!' </dev/null; exit 0", "");
    let server = serve(&scratch, &format!("drain_timeout = \"100ms\"\n{text}"));
    let mut client = connect(&server);
    let pid: i32 = lines(&mut client)().parse().expect("a number");
    assert!(!is_gone(pid));
    assert_eq!(server.stop().code, Some(0));
    wait_until_gone(pid, "the daemon is not left behind");
}

#[test]
fn orphans_end_with_a_server_whose_process_group_is_outside_its_container() {
    if !is_root("a namespace of processes") {
        return;
    }
    let unshare = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let possible = Command::new("unshare").args(unshare).arg("true").output();
    if !possible.is_ok_and(|tried| tried.status.success()) {
        return skip("a namespace of processes", "unshare --pid --mount-proc is not permitted here");
    }
    // A shell is process 1, and passes the request to end on. Nobody below it has made a group, so theirs has no number.
    let scratch = Scratch::new();
    let text = script("sleep 1000 </dev/null >/dev/null 2>&1 & echo daemon", "");
    let file = file(&scratch, &format!("drain_timeout = \"100ms\"\n{text}"));
    let passes_on = "trap 'kill -TERM $server' TERM; \"$0\" \"$@\" & server=$!; wait; wait $server; exit $?";
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", passes_on]).arg(env!("CARGO_BIN_EXE_switchboard"));
    command.args(["serve", "--format", "json", "--config", &file]);
    let server = Server::try_start(&mut command).unwrap_or_else(|said| panic!("{said:?}"));
    assert_eq!(hear(&server, b""), "daemon\n");
    let init = harness::children_of(server.pid().as_raw_nonzero().get());
    let init = Pid::from_raw(init[0]).expect("process 1");
    rustix::process::kill_process(init, Signal::TERM).expect("it is there");
    let ended = server.wait();
    let panicked = ended.stderr.iter().any(|line| line.contains("panicked"));
    assert!(ended.code == Some(0) && !panicked, "{:?} {:?}", ended.code, ended.stderr);
}

#[test]
fn a_grandchild_with_the_socket_keeps_no_place_and_ends_with_the_server() {
    let scratch = Scratch::new();
    let text = script("sleep 1000 & echo $!", "max_connections = { most = 1, otherwise = \"close\" }");
    let server = serve(&scratch, &format!("drain_timeout = \"100ms\"\n{text}"));
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = connect(&server);
        let pid: i32 = lines(&mut client)().parse().expect("a place, although the last grandchild is there");
        assert_eq!(server.records(1)[0]["status"], 0);
        assert!(!is_gone(pid));
        held.push((client, pid));
    }
    assert_eq!(server.stop().code, Some(0));
    for (mut client, pid) in held {
        wait_until_gone(pid, "the grandchild");
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "the connection has ended");
    }
}

#[test]
fn a_program_that_closes_its_standard_output_is_waited_for() {
    let scratch = Scratch::new();
    let mark = scratch.path("mark");
    let server = serve(&scratch, &script(&format!("exec 0<&- 1>&-; read x <{mark}; exit 7"), ""));
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, mark.as_str(), fifo, 0o600.into(), 0).expect("a pipe");
    assert_eq!(hear(&server, b""), "", "the client sees the end at once");
    std::fs::write(&mark, "on\n").expect("somebody reads");
    assert_eq!(server.records(1)[0]["status"], 7);
    end(server);
}

#[test]
fn a_flood_of_standard_error_holds_nothing_up_and_fills_no_log() {
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("yes complaint | head -c 20000000 >&2; echo done", ""));
    assert_eq!(hear(&server, b""), "done\n");
    let seen = std::cell::Cell::new(0);
    server.wait_for_line("the connection", |line| {
        seen.set(seen.get() + usize::from(line.contains("\"event\":\"stderr\"")));
        line.contains("\"event\":\"connection\"")
    });
    assert!((1..1_000).contains(&seen.get()), "{} lines of two million", seen.get());
    end(server);
}

#[test]
fn what_a_program_complains_about_is_tagged_and_the_client_does_not_see_it() {
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("echo complaint >&2; echo answer", "id = \"tagged\""));
    assert_eq!(hear(&server, b""), "answer\n");
    let line = server.wait_for_line("the complaint", |line| line.contains("\"event\":\"stderr\""));
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let record = server.records(1).remove(0);
    assert_eq!((&line["text"], &line["service"]), (&"complaint".into(), &"tagged".into()));
    assert_eq!(line["id"], record["id"]);
    end(server);
    // The client gets it if that is asked for, and nobody otherwise.
    for (to, heard) in [("client", "complaint\nanswer\n"), ("null", "answer\n")] {
        let more = format!("stderr = \"{to}\"");
        let server = serve(&scratch, &script("echo complaint >&2; echo answer", &more));
        assert_eq!(hear(&server, b""), heard);
        server.records(1);
        assert!(!server.said().iter().any(|line| line.contains("complaint")));
        end(server);
    }
}

#[test]
fn nobody_is_left_of_a_thousand_connections() {
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("echo $$", ""));
    hear(&server, b"");
    server.records(1);
    let before = server.settled_footprint();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| assert_ne!(hear(&server, b""), "")));
        }
    });
    server.wait_for_footprint(before, "no process, no zombie and no descriptor is left");
    assert_eq!(number(&end(server), "accepted"), 1_001);
}

#[test]
fn running_programs_outlive_the_worker_that_started_them() {
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("echo $$; exec cat", ""));
    let mut client = connect(&server);
    let pid: i32 = lines(&mut client)().parse().expect("a number");
    let worker = harness::children_of(server.pid().as_raw_nonzero().get());
    let worker = worker.into_iter().find(|worker| harness::children_of(*worker).contains(&pid));
    let worker = Pid::from_raw(worker.expect("the program has a worker")).expect("a process");
    rustix::process::kill_process(worker, Signal::KILL).expect("it is there");
    Server::wait_until_gone(&[worker], "the worker");
    assert_eq!(client.converse(b"still here").expect("served on"), b"still here");
    wait_until_gone(pid, "the program ends with its client");
    assert_ne!(hear(&server, b""), "", "a new worker serves new clients");
    let ended = server.stop();
    assert_eq!((ended.code, &ended.summary["crashes"]), (Some(0), &1.into()), "{:?}", ended.stderr);
}

#[test]
fn a_program_may_be_left_alone_when_its_client_has_gone() {
    let scratch = Scratch::new();
    let (gate, mark) = (scratch.path("gate"), scratch.path("mark"));
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, gate.as_str(), fifo, 0o600.into(), 0).expect("a pipe");
    let text = script(&format!("echo $$; read x <{gate}; echo finished >{mark}"), "when_gone = \"leave\"");
    let server = serve(&scratch, &text);
    let mut client = connect(&server);
    lines(&mut client)();
    drop(client);
    std::fs::write(&gate, "on\n").expect("it still reads");
    assert_eq!(server.records(1)[0]["status"], 0);
    assert_eq!(std::fs::read_to_string(&mark).expect("written"), "finished\n");
    end(server);
}
