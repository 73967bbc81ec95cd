//! The whole super-server against programs that misbehave, machines that lack something, and clients that leave; who a
//! program is and what it finds; and what users of older ones complained about (docs/complaints.md). Rows S13, S14.

#[path = "superserver/bounds.rs"]
mod bounds;
mod harness;

use harness::{
    Scratch, Server, Stream, connect_from, end, has_ended, make_executable, number, skip, wait_until,
};
use rustix::process::{Pid, Resource, Signal};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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

// --- Programs that are not there, or cannot be started -----------------------------------------------------------

#[test]
fn a_program_that_is_missing_is_said_before_anything_is_served() {
    let scratch = Scratch::new();
    let file = file(&scratch, "[[service]]\nexec = \"/nonexistent/program\"\nlisten = \"tcp:127.0.0.1:0\"\n");
    for arguments in [["check", &file].as_slice(), &["serve", "--config", &file]] {
        let done = run(harness::program().args(arguments));
        let said = said(&done);
        assert_eq!(done.status.code(), Some(78), "{said}");
        assert!(said.contains("/nonexistent/program: no such file") && said.contains(":4:8"), "{said}");
    }
}

#[test]
fn a_program_that_is_taken_away_and_put_back_is_served_again() {
    let scratch = Scratch::new();
    let (here, away) = (scratch.path("program"), scratch.path("away"));
    make_executable(Path::new(&here), Some("#!/bin/sh\necho served\n"));
    // Two places for this source: what failed must not keep one.
    let more = "per_source = 2\n";
    let text = format!("[[service]]\nexec = [\"{here}\"]\nlisten = \"tcp:127.0.0.1:0\"\n{more}");
    let server = serve(&scratch, &text);
    assert_eq!(hear(&server, b""), "served\n");
    assert_eq!(server.records(1)[0]["status"], 0);
    std::fs::rename(&here, &away).expect("ours");
    (0..10).for_each(|_| assert_eq!(hear(&server, b""), ""));
    server.wait_for_line("what is missing", |line| {
        line.contains("cannot execute") && line.contains("There is no such file")
    });
    std::fs::rename(&away, &here).expect("ours");
    // The places of the last ones are free a moment after they have heard their end.
    wait_until("it is served again", || hear(&server, b"") == "served\n", || "it is not".to_owned());
    end(server);
}

#[test]
fn no_process_for_the_server_itself_passes_by_itself() {
    if !is_root("no processes") {
        return;
    }
    // A user of its own, since the limit counts all processes of a user; root may always start more.
    let user = (3_000_000_000 + u64::from(std::process::id())).to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    command.arg(env!("CARGO_BIN_EXE_switchboard")).args(["serve", "exec:/bin/cat"]);
    command.args(["--listen", "tcp:127.0.0.1:0", "--format", "json", "--log", "json"]);
    let server = match Server::try_start(&mut command) {
        Ok(server) => server,
        Err(said) => return skip("no processes", &format!("another user cannot start this build: {said:?}")),
    };
    assert_eq!(hear(&server, b"before"), "before");
    server.records(1);
    let limit = |soft: &str| {
        for pid in server.workers() {
            // By that user: even root may be without the capability for the limits of others.
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit"]);
            let done =
                run(command.args(["--pid", &pid.as_raw_nonzero().to_string(), &format!("--nproc={soft}:")]));
            assert!(done.status.success(), "{}", said(&done));
        }
    };
    let normal = rustix::process::getrlimit(Resource::Nproc).current;
    let normal = normal.map_or("unlimited".to_owned(), |limit| limit.to_string());
    limit("1");
    let mut waiting = connect(&server);
    waiting.write_all(b"waiting").expect("connected");
    waiting.finish();
    let line = server.wait_for_line("no process", |line| line.contains("rocess"));
    assert!(line.contains("EAGAIN") || line.contains("temporarily") || line.contains("NPROC"), "{line}");
    limit(&normal);
    let mut rest = String::new();
    waiting.read_to_string(&mut rest).expect("served in the end, or closed");
    assert!(rest.is_empty() || rest == "waiting", "{rest}");
    assert_eq!(hear(&server, b"after"), "after");
    end(server);
}

// --- Programs that misbehave -------------------------------------------------------------------------------------

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

// --- Machines that lack something --------------------------------------------------------------------------------

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

// --- What a program finds ----------------------------------------------------------------------------------------

#[test]
fn a_program_has_three_descriptors() {
    let scratch = Scratch::new();
    let text = "[[service]]\nexec = [\"/bin/ls\", \"/proc/self/fd\"]\nlisten = \"tcp:127.0.0.1:0\"\n";
    let server = serve(&scratch, text);
    // The fourth is that of the directory which ls reads.
    assert_eq!(hear(&server, b""), "0\n1\n2\n3\n");
    end(server);
}

/// The names in the environment of a program; the server's own has something secret in it.
fn environment(scratch: &Scratch, listen: &str, more: &str) -> (BTreeSet<String>, String) {
    let env = format!("[[service]]\nexec = \"/usr/bin/env\"\nlisten = \"{listen}\"\n{more}\n");
    let file = file(scratch, &env);
    let mut command = harness::program();
    command.args(["serve", "--format", "json", "--config", &file]).env("SECRET", "leaks");
    let server = Server::try_start(&mut command).unwrap_or_else(|said| panic!("{said:?}"));
    let heard = if listen.contains("udp") {
        let socket = harness::datagram_socket(&server.endpoint());
        String::from_utf8(harness::ask(&socket, b"?").expect("answered")).expect("UTF-8")
    } else {
        hear(&server, b"")
    };
    end(server);
    let names = heard.lines().filter_map(|line| line.split_once('='));
    (names.map(|(name, _)| name.to_owned()).collect(), heard)
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_environment_is_a_list_of_names() {
    const ALWAYS: &str = "PATH TZ PROTO SWITCHBOARD_CONNECTION SWITCHBOARD_SERVICE ";
    const INET: &str = "NCAT_LOCAL_ADDR NCAT_LOCAL_PORT NCAT_PROTO NCAT_REMOTE_ADDR NCAT_REMOTE_PORT REMOTE_ADDR \
                        REMOTE_HOST REMOTE_PORT SOCAT_PEERADDR SOCAT_PEERPORT SOCAT_SOCKADDR SOCAT_SOCKPORT ";
    let scratch = Scratch::new();
    let own = "TCPLOCALIP TCPLOCALPORT TCPREMOTEIP TCPREMOTEPORT";
    let (names, _) = environment(&scratch, "tcp:127.0.0.1:0", "");
    assert_eq!(names, words(&[ALWAYS, INET, own].concat()));
    let more = "env = { OWN = \"x\" }\npass_env = [\"SECRET\"]";
    let (names, text) = environment(&scratch, "tcp:127.0.0.1:0", more);
    assert_eq!(names, words(&[&ALWAYS.replace("TZ ", ""), INET, own, " OWN SECRET"].concat()));
    assert!(text.contains("OWN=x\n") && text.contains("SECRET=leaks\n"), "{text}");
}

#[test]
fn a_program_for_a_datagram_knows_who_sent_it() {
    let scratch = Scratch::new();
    let (names, text) = environment(&scratch, "udp:127.0.0.1:0", "mode = \"per-datagram\"");
    assert!(names.is_superset(&words("PROTO REMOTE_ADDR REMOTE_PORT UDPREMOTEIP UDPREMOTEPORT")), "{text}");
    assert!(text.contains("REMOTE_ADDR=127.0.0.1\n") && text.contains("PROTO=UDP\n"), "{text}");
}

#[test]
fn a_program_knows_the_user_at_the_other_end_of_a_unix_socket() {
    let scratch = Scratch::new();
    let at = format!("unix:{}", scratch.path("socket"));
    let (names, text) = environment(&scratch, &at, "");
    let expected = "PATH TZ PROTO SWITCHBOARD_CONNECTION SWITCHBOARD_SERVICE UNIXLOCALPATH UNIXREMOTEPID \
                    UNIXREMOTEEUID UNIXREMOTEEGID";
    assert_eq!(names, words(expected));
    let (pid, uid) = (std::process::id(), rustix::process::getuid().as_raw());
    assert!(text.contains(&format!("UNIXREMOTEPID={pid}\n")), "{text}");
    assert!(text.contains(&format!("UNIXREMOTEEUID={uid}\n")), "{text}");
}

// --- Who a program is, and what it may do ------------------------------------------------------------------------

/// A line of proc_pid_status(5), its words joined by one blank.
fn line_of(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = line.unwrap_or_else(|| panic!("no {name} in {status}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_program_is_who_it_was_told_to_be() {
    if !is_root("identities") {
        return;
    }
    let scratch = Scratch::new();
    let server = serve(
        &scratch,
        &script(
            "cat /proc/self/status; echo Nice: $(nice); echo Files: $(ulimit -n); echo Hard: $(ulimit -Hn)",
            "user = \"65534\"\ngroup = \"61111\"\ngroups = [\"62222\", \"63333\"]\numask = \"027\"\nnice = 5\n\
             rlimits = { nofile = [100, 200] }\ncapabilities = [\"net_raw\"]\nseccomp = \"service\"",
        ),
    );
    let status = hear(&server, b"");
    let expected = [
        ("Uid", "65534 65534 65534 65534"),
        ("Gid", "61111 61111 61111 61111"),
        ("Groups", "62222 63333"),
        ("Umask", "0027"),
        ("Nice", "5"),
        ("Files", "100"),
        ("Hard", "200"),
        ("CapEff", "0000000000002000"),
        ("CapPrm", "0000000000002000"),
        ("CapBnd", "0000000000002000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ];
    for (name, value) in expected {
        assert_eq!(line_of(&status, name), value, "{name}");
    }
    end(server);
}

#[test]
fn a_program_of_root_has_none_of_roots_privileges() {
    if !is_root("capabilities") {
        return;
    }
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("cat /proc/self/status", ""));
    let status = hear(&server, b"");
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(line_of(&status, name), "0000000000000000", "{name}");
    }
    assert_eq!(line_of(&status, "NoNewPrivs"), "1");
    end(server);
}

#[test]
fn a_program_sees_its_root_and_what_landlock_leaves() {
    if !is_root("roots") {
        return;
    }
    let scratch = Scratch::new();
    let (jail, secret) = (scratch.0.join("jail"), scratch.path("secret"));
    std::fs::create_dir(&jail).expect("a directory");
    std::fs::write(&secret, "secret").expect("a file");
    let landlock = "landlock = { read = [\"/bin\", \"/usr\", \"/lib\", \"/lib64\", \"/etc\"], write = [] }";
    let text = script(&format!("cat {secret} || echo no; cat /etc/passwd | head -n 1"), landlock);
    let file = file(
        &scratch,
        &text.replace("\"/lib64\", ", if Path::new("/lib64").exists() { "\"/lib64\", " } else { "" }),
    );
    let mut command = harness::program();
    let server = Server::try_start(command.args(["serve", "--format", "json", "--config", &file]));
    match server {
        Ok(server) => {
            let heard = hear(&server, b"");
            assert!(heard.starts_with("no\nroot:"), "{heard}");
            end(server);
        }
        Err(said) if said.iter().any(|line| line.contains("this kernel")) => {
            skip("Landlock", &format!("{said:?}"));
        }
        Err(said) => panic!("{said:?}"),
    }
    // Nothing can be executed in an empty root: the step that fails is in the log, and nothing runs outside it.
    let text = script("echo outside", &format!("chroot = \"{}\"", jail.display()));
    let file = self::file(&scratch, &text);
    let mut command = harness::program();
    match Server::try_start(command.args(["serve", "--format", "json", "--config", &file])) {
        Ok(server) => {
            assert_eq!(hear(&server, b""), "");
            server.wait_for_line("the step", |line| line.contains("cannot execute"));
            end(server);
        }
        Err(said) => assert!(said.iter().any(|line| line.contains("/bin/sh")), "{said:?}"),
    }
}

#[test]
fn a_step_that_fails_is_said_and_the_program_is_not_started() {
    let scratch = Scratch::new();
    let place = scratch.0.join("place");
    std::fs::create_dir(&place).expect("a directory");
    let text = script("echo started", &format!("directory = \"{}\"", place.display()));
    let server = serve(&scratch, &text);
    assert_eq!(hear(&server, b""), "started\n");
    server.records(1);
    std::fs::remove_dir(&place).expect("ours");
    assert_eq!(hear(&server, b""), "");
    server.wait_for_line("the step", |line| line.contains("cannot chdir"));
    end(server);
}

#[test]
fn an_ordinary_user_is_told_which_capability_is_missing() {
    let scratch = Scratch::new();
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o755)).expect("ours");
    for (keys, capability) in [
        ("user = \"root\"", "CAP_SETUID"),
        ("chroot = \"/usr\"", "CAP_SYS_CHROOT"),
        ("nice = -5", "CAP_SYS_NICE"),
    ] {
        let file = file(&scratch, &script("exec cat", keys));
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
            command.arg(env!("CARGO_BIN_EXE_switchboard"));
            command
        } else {
            harness::program()
        };
        let done = run(command.args(["serve", "--config", &file]));
        let said = said(&done);
        if matches!(done.status.code(), Some(126 | 127)) {
            return skip("an ordinary user", &format!("cannot start this build: {said}"));
        }
        assert_eq!(done.status.code(), Some(78), "{said}");
        assert!(said.contains(capability), "{keys}: {said}");
    }
}

// --- Who comes in ------------------------------------------------------------------------------------------------

#[test]
fn tcpmux_passes_every_byte_and_obeys_the_services_rules() {
    let scratch = Scratch::new();
    let text = "[[service]]\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
                [[service]]\nid = \"mirror\"\nexec = \"/bin/cat\"\ntcpmux = true\naccess.deny = [\"127.0.0.7\"]\n";
    let server = serve(&scratch, text);
    let ask = |host: u8, said: &[u8]| {
        let mut stream = connect_from(host, &server.endpoint()).expect("connect");
        stream.write_all(said).expect("connected");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        String::from_utf8(heard).expect("UTF-8")
    };
    let payload = "pipelined\0payload\r\n".repeat(5_000);
    let heard = ask(1, format!("mirror\r\n{payload}").as_bytes());
    assert!(heard == format!("+Go\r\n{payload}"), "{} of {} bytes", heard.len(), payload.len() + 5);
    let refused = ask(7, b"mirror\r\npayload");
    assert!(refused.starts_with('-') && !refused.contains("payload"), "{refused}");
    assert!(ask(7, b"nothing\r\n").starts_with('-'));
    assert_eq!(ask(7, b"help\r\n"), "mirror\r\n");
    end(server);
}

#[test]
fn who_reads_names_for_tcpmux_has_no_privileges() {
    if !is_root("rights of tcpmux") {
        return;
    }
    let scratch = Scratch::new();
    let text = "[[service]]\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
                [[service]]\nid = \"far\"\nforward = \"tcp:127.0.0.1:1\"\ntcpmux = true\n";
    let server = serve(&scratch, text);
    // Both have answered, and so are what they are to be.
    assert_eq!(hear(&server, b"help\r\n"), "far\r\n");
    assert_eq!(hear(&server, b"far\r\n"), "-Not reachable now\r\n");
    for pid in server.workers() {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("it runs");
        assert_eq!(line_of(&status, "CapEff"), "0000000000000000");
        assert_eq!(line_of(&status, "NoNewPrivs"), "1");
    }
    end(server);
}

#[test]
fn a_relay_to_a_name_that_nobody_knows_leaves_the_others_served() {
    let scratch = Scratch::new();
    // A label of 64 letters is refused by every resolver without asking anybody.
    let unknown = format!("{}.invalid", "x".repeat(64));
    let relay = format!("[[service]]\nforward = \"{unknown}:7\"\nlisten = \"tcp:127.0.0.1:0\"\n");
    let server = serve(&scratch, &(script("cat", "id = \"own\"") + &relay));
    let places = server.listeners();
    let ask = |id: &str| {
        let (_, place) = places.iter().find(|(name, _)| name == id).expect("it is served");
        let mut stream = Stream::connect(place).expect("the listener is open");
        stream.converse(b"hello").unwrap_or_default()
    };
    for _ in 0..3 {
        assert_eq!(ask("forward"), b"");
        assert_eq!(ask("own"), b"hello");
    }
    let records = server.records(6);
    assert_eq!(records.iter().filter(|record| record["end"] == "unreachable").count(), 3, "{records:?}");
    end(server);
}

#[test]
fn a_listener_blocks_whatever_the_program_before_has_left() {
    let scratch = Scratch::new();
    let out = scratch.path("flags");
    // dd(1) makes its input non-blocking, and fails to read from a listener; the client stays in the queue.
    let text =
        script(&format!("grep flags /proc/self/fdinfo/0 >> {out}; dd iflag=nonblock of=/dev/null"), "");
    let server = serve(&scratch, &format!("{text}mode = \"wait\"\nstderr = \"null\"\n"));
    let _waits = connect(&server);
    let seen = || std::fs::read_to_string(&out).unwrap_or_default();
    wait_until("three programs", || seen().lines().count() >= 3, seen);
    let seen = seen();
    let flags: BTreeSet<&str> = seen.lines().take(3).collect();
    assert_eq!(flags.len(), 1, "{seen}");
    let first = flags.first().and_then(|line| line.split_whitespace().last()).expect("a line");
    assert_eq!(u32::from_str_radix(first, 8).expect("octal") & 0o4000, 0, "{seen}");
    end(server);
}

// Its engine accepts by itself: `check` says so, and this way out.
#[test]
fn a_builtin_service_is_offered_by_tcpmux_through_a_relay() {
    let scratch = Scratch::new();
    let socket = scratch.path("echo");
    let server = serve(
        &scratch,
        &format!(
            "[[service]]\nid = \"mux\"\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
             [[service]]\nid = \"inside\"\nbuiltin = \"echo\"\nlisten = \"unix:{socket}\"\n\
             [[service]]\nid = \"echo\"\nforward = \"unix:{socket}\"\ntcpmux = true\n"
        ),
    );
    assert_eq!(hear(&server, b"ECHO\r\nand more"), "+Go\r\nand more");
    end(server);
}

#[test]
fn a_flood_from_one_address_leaves_the_programs_of_others_alone() {
    const CONVERSATIONS: usize = 60;
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("exec cat", "per_source = 4\nrate_per_source = \"40/s:60\""));
    let endpoint = server.endpoint();
    let (over, floods) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    drop(connect_from(66, &endpoint));
                    floods.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let others = scope.spawn(|| {
            (0..CONVERSATIONS)
                .filter(|n| {
                    // Each from an address of its own, so that none has a limit to mind.
                    let Ok(mut stream) = connect_from(100 + *n as u8, &endpoint) else { return false };
                    let mut heard = String::new();
                    stream.write_all(b"served").is_ok()
                        && stream.shutdown(std::net::Shutdown::Write).is_ok()
                        && stream.read_to_string(&mut heard).is_ok()
                        && heard == "served"
                })
                .count()
        });
        let served = others.join();
        over.store(true, Ordering::SeqCst);
        assert_eq!(
            served.expect("no panic"),
            CONVERSATIONS,
            "during {} others",
            floods.load(Ordering::SeqCst)
        );
    });
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert!(number(&ended.summary, "limited") > 0, "{}", ended.summary);
}

#[test]
fn datagrams_of_those_who_are_kept_out_start_nothing() {
    if run(Command::new("python3").arg("-V")).status.code() != Some(0) {
        return skip("access with wait", "python3 is not installed");
    }
    let scratch = Scratch::new();
    let program = scratch.path("answer.py");
    let code = "import socket\nsock = socket.socket(fileno=3)\nsaid, who = sock.recvfrom(99)\nsock.sendto(said, who)\n";
    std::fs::write(&program, code).expect("a file");
    let text = format!(
        "[[service]]\nexec = [\"python3\", \"{program}\"]\nmode = \"wait\"\nlisten = \"udp:127.0.0.1:0\"\n\
         access.deny = [\"127.0.0.9\"]\n"
    );
    let server = serve(&scratch, &text);
    let port = server.endpoint().rsplit_once(':').expect("an address").1.to_owned();
    let other = std::net::UdpSocket::bind("127.0.0.9:0").expect("loopback");
    for _ in 0..200 {
        other.send_to(b"no", format!("127.0.0.1:{port}")).expect("sent");
    }
    let socket = harness::datagram_socket(&server.endpoint());
    assert_eq!(harness::ask(&socket, b"yes").expect("answered"), b"yes");
    let summary = end(server);
    assert_eq!((number(&summary, "accepted"), number(&summary, "datagrams_denied")), (1, 200), "{summary}");
}

#[test]
fn a_star_is_every_address_of_both_families() {
    if !harness::has_ipv6() {
        return skip("both families", "no IPv6 here");
    }
    let scratch = Scratch::new();
    let text = script("echo $REMOTE_ADDR", "").replace("tcp:127.0.0.1:0", "tcp:*:0");
    let server = serve(&scratch, &text);
    let mut seen = BTreeSet::new();
    for (_, endpoint) in server.listeners() {
        let reachable = endpoint.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        let mut stream = Stream::connect(&reachable).expect("it is served");
        seen.insert(harness::text(&stream.converse(b"").expect("answered")));
    }
    assert_eq!(seen, ["127.0.0.1\n", "::1\n"].map(str::to_owned).into());
    end(server);
}

#[test]
fn a_pool_shares_one_socket_and_heals() {
    let scratch = Scratch::new();
    if run(Command::new("python3").arg("-V")).status.code() != Some(0) {
        return skip("a pool", "python3 is not installed");
    }
    let program = scratch.path("accept.py");
    let code = "import os, socket\nlistener = socket.socket(fileno=3)\nwhile True:\n    \
                connection, _ = listener.accept()\n    connection.sendall(b'%d\\n' % os.getpid())\n    \
                connection.recv(1)\n    connection.close()\n";
    std::fs::write(&program, code).expect("a file");
    let text = format!(
        "drain_timeout = \"100ms\"\n[[service]]\nexec = [\"python3\", \"{program}\"]\npool = 3\ngrace = \"1s\"\n\
         listen = \"tcp:127.0.0.1:0\"\n"
    );
    let server = serve(&scratch, &text);
    let three = |server: &Server| {
        let mut clients: Vec<Stream> = (0..3).map(|_| connect(server)).collect();
        // Each keeps its process until all three have been answered.
        clients.iter_mut().map(|client| lines(client)()).collect::<BTreeSet<String>>()
    };
    let first = three(&server);
    assert_eq!(first.len(), 3, "one process each");
    for pid in &first {
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
        rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
    }
    let second = three(&server);
    assert_eq!((second.len(), first.intersection(&second).count()), (3, 0));
    assert_eq!(server.stop().code, Some(0));
}
