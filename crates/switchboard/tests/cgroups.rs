//! Cgroups of version 2: bounds that the kernel keeps for a service, trees of processes that are ended whole, and what is
//! left of all that in the end: nothing. Real programs try what is forbidden. Skipped aloud where the kernel has none; run
//! by `.ci/guest` on one that has. Rows S13, S14.

#![allow(dead_code, unreachable_pub)]

#[path = "cgroups/delegated.rs"]
mod delegated;
mod harness;
#[path = "life/house.rs"]
mod house;

use delegated::{Delegated, delegated};
use harness::{PATIENCE, Scratch, Server, Stream, program, run_to_end, skip, text, wait_until};
use house::House;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::Command;

/// A file with these services.
fn file(services: &str) -> String {
    format!("version = 1\ndrain_timeout = \"1s\"\nlog = {{ format = \"json\" }}\n{services}")
}

/// A service called `it` that starts a shell, with more keys.
fn shell(script: &str, more: &str) -> String {
    file(&format!(
        "[[service]]\nid = \"it\"\nlisten = \"tcp:127.0.0.1:0\"\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n\
         stderr = \"client\"\n{more}\n"
    ))
}

fn come(house: &House) -> Stream {
    Stream::connect(&house.endpoints()["it"]).expect("the listener is open")
}

fn hear(house: &House) -> String {
    String::from_utf8_lossy(&come(house).converse(b"").unwrap_or_default()).into_owned()
}

/// Asks it to stop, which must go well.
fn stop(house: &mut House) {
    house.signal(Signal::TERM);
    let mut code = None;
    let done = || {
        code = house.first.try_wait().expect("our child");
        code.is_some()
    };
    wait_until("the server ends", done, || "it does not".to_owned());
    assert_eq!(code.and_then(|status| status.code()), Some(0), "it ends well");
}

/// A script that leaves a daemon behind: it has forked twice, is in a session of its own and heeds no SIGTERM. The daemon's
/// process is written to the file.
fn daemon(scratch: &Scratch, then: &str) -> String {
    let file = scratch.path("daemon");
    let inner = format!("trap \"\" TERM; echo $$ >{file}.new; mv {file}.new {file}; exec sleep 1000");
    format!(
        "(setsid sh -c '{inner}' </dev/null >/dev/null 2>&1 &); while [ ! -e {file} ]; do sleep 0.1; done; {then}"
    )
}

/// The daemon, once its client has heard that it is there.
fn daemon_of(scratch: &Scratch, client: &mut Stream) -> Pid {
    let mut line = [0; 6];
    client.read_exact(&mut line).expect("a line");
    assert_eq!(&line, b"ready\n");
    let path = scratch.path("daemon");
    let pid = std::fs::read_to_string(&path).expect("its number").trim().parse().expect("a number");
    std::fs::remove_file(path).expect("ours");
    Pid::from_raw(pid).expect("a process")
}

const STAY: &str = "echo ready; exec cat";

fn is_alive(pid: Pid) -> bool {
    !harness::has_ended(pid)
}

fn wait_until_gone(pid: Pid) {
    Server::wait_until_gone(&[pid], "a daemon is killed");
}

// --- Bounds --------------------------------------------------------------------------------------------------------

#[test]
fn processes_beyond_the_bound_are_refused_and_that_is_said() {
    let Some(delegated) = delegated("a bound of processes") else { return };
    let forks =
        "n=0; while [ $n -lt 20 ]; do sleep 1000 </dev/null >/dev/null 2>&1 & n=$((n+1)); done; echo all";
    let mut house = delegated.serve("supervisor", &shell(forks, "cgroup = { processes = 4 }"));
    let heard = hear(&house);
    assert!(heard.to_lowercase().contains("fork") && !heard.contains("all"), "{heard}");
    assert_eq!(delegated.read("switchboard-it/pids.max"), "4");
    let there: u32 = delegated.read("switchboard-it/pids.current").parse().expect("a number");
    assert!((1..=4).contains(&there), "{there}");
    house.wait_for("it: cgroup: processes = 4 is reached");
    stop(&mut house);
    assert_eq!(delegated.below(""), ["supervisor"]);
}

#[test]
fn a_program_beyond_the_bound_of_memory_is_killed_and_that_is_said() {
    let Some(delegated) = delegated("a bound of memory") else { return };
    if std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1) {
        return skip("a bound of memory", "this machine has swap, to which the program would go");
    }
    let hog = "exec dd if=/dev/zero of=/dev/null bs=200000000 count=1";
    let mut house = delegated.serve("supervisor", &shell(hog, "cgroup = { memory = \"16MiB\" }"));
    assert_eq!(hear(&house), "");
    let record: Value = serde_json::from_str(&house.wait_for("\"event\":\"connection\"")).expect("JSON");
    assert_eq!(record["signal"], 9, "{record}");
    house.wait_for("it: cgroup: memory = 16777216 bytes is reached: the kernel has killed 1 process");
    assert_eq!(hear(&house), "", "the next one is served, and killed as well");
    stop(&mut house);
    assert_eq!(delegated.below(""), ["supervisor"]);
}

#[test]
fn a_worker_that_serves_by_itself_is_bounded_too() {
    let Some(delegated) = delegated("bounds of a worker") else { return };
    for engine in ["epoll", "fork", "uring"] {
        if engine == "uring" && !harness::has_io_uring() {
            skip("bounds of a worker on uring", "there is none here");
            continue;
        }
        let bounds = "cgroup = { memory = \"256MiB\", processes = 64, cpu = \"50%\" }";
        let listen = "id = \"it\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"";
        let text = file(&format!("[[service]]\n{listen}\nengine = \"{engine}\"\n{bounds}\n"));
        let mut house = delegated.serve("supervisor", &text);
        let mut client = come(&house);
        client.write_all(b"hello").expect("sent");
        client.read_exact(&mut [0; 5]).expect("an answer");
        for (name, value) in [("memory.max", "268435456"), ("pids.max", "64"), ("cpu.max", "50000 100000")] {
            assert_eq!(delegated.read(&format!("switchboard-it/{name}")), value);
        }
        let there = delegated.members("switchboard-it");
        assert!(house.workers("it").iter().all(|worker| there.contains(worker)), "{there:?}");
        assert!(!there.contains(&house.pid()), "the supervisor is not bounded");
        drop(client);
        stop(&mut house);
        assert_eq!(delegated.below(""), ["supervisor"], "{engine}");
    }
}

// --- Trees ---------------------------------------------------------------------------------------------------------

fn terminate(house: &House) {
    let all = house.status();
    let id = &all["programs"][0]["connection"];
    let said = house.ask(&json!({ "do": "terminate", "connection": id.to_string() }));
    assert_eq!(said["ok"], true, "{said} {all}");
}

#[test]
fn whoever_is_terminated_takes_his_daemons_along() {
    let Some(delegated) = delegated("a tree that is terminated") else { return };
    let scratch = Scratch::new();
    let script = daemon(&scratch, STAY);
    let mut house = delegated.serve("supervisor", &shell(&script, "cgroup = {}\ngrace = \"0.2s\""));
    let mut client = come(&house);
    let pid = daemon_of(&scratch, &mut client);
    assert_eq!(delegated.below("switchboard-it").len(), 1);
    terminate(&house);
    wait_until_gone(pid);
    assert_eq!(client.read(&mut [0; 1]).expect("the end"), 0);
    delegated.wait_until_only("switchboard-it", &[]);
    stop(&mut house);
    assert_eq!(delegated.below(""), ["supervisor"]);
}

#[test]
fn a_client_who_goes_takes_them_along_if_asked_and_otherwise_the_server_does() {
    let Some(delegated) = delegated("a tree whose client has gone") else { return };
    let scratch = Scratch::new();
    for policy in ["terminate", "leave"] {
        // The program itself ends as soon as its client does.
        let more = format!("cgroup = {{}}\ngrace = \"0.2s\"\nwhen_gone = \"{policy}\"");
        let script = daemon(&scratch, "echo ready; cat >/dev/null");
        let mut house = delegated.serve("supervisor", &shell(&script, &more));
        let mut client = come(&house);
        let pid = daemon_of(&scratch, &mut client);
        drop(client);
        house.wait_for("\"event\":\"connection\"");
        if policy == "terminate" {
            wait_until_gone(pid);
            delegated.wait_until_only("switchboard-it", &[]);
        } else {
            assert!(is_alive(pid) && delegated.below("switchboard-it").len() == 1, "it is left alone");
        }
        stop(&mut house);
        wait_until_gone(pid);
        assert_eq!(delegated.below(""), ["supervisor"], "{policy}");
    }
}

#[test]
fn what_a_dead_worker_has_left_is_found_again() {
    let Some(delegated) = delegated("trees of a worker that was killed") else { return };
    let scratch = Scratch::new();
    let script = daemon(&scratch, "echo ready; read line; [ \"$line\" = stay ] && exec cat");
    let mut house = delegated.serve("supervisor", &shell(&script, "cgroup = {}\ngrace = \"0.2s\""));
    // Of one only the daemon is left, the other one is being served.
    let mut gone = come(&house);
    let orphan = daemon_of(&scratch, &mut gone);
    gone.write_all(b"go\n").expect("sent");
    assert_eq!(gone.read(&mut [0; 1]).expect("the end"), 0);
    house.wait_for("\"event\":\"connection\"");
    let mut client = come(&house);
    let served = daemon_of(&scratch, &mut client);
    client.write_all(b"stay\n").expect("sent");
    let before = house.workers("it");
    before.iter().for_each(|worker| rustix::process::kill_process(*worker, Signal::KILL).expect("a worker"));
    let again = || house.workers("it").iter().all(|worker| !before.contains(worker));
    wait_until("there is another worker", || again() && !house.workers("it").is_empty(), String::new);
    client.write_all(b"hello").expect("sent");
    let mut answer = [0; 5];
    client.read_exact(&mut answer).expect("the program goes on");
    assert!(is_alive(orphan) && is_alive(served));
    terminate(&house);
    wait_until_gone(served);
    stop(&mut house);
    wait_until_gone(orphan);
    assert_eq!(delegated.below(""), ["supervisor"]);
}

#[test]
fn bounds_change_at_a_reload_and_trees_go_on_over_it_and_over_an_upgrade() {
    let Some(delegated) = delegated("a reload that changes bounds") else { return };
    let scratch = Scratch::new();
    let script = daemon(&scratch, STAY);
    let with = |bounds: &str| shell(&script, &format!("grace = \"0.2s\"\ncgroup = {bounds}"));
    let house = delegated.serve("supervisor", &with("{ processes = 50, memory = \"64MiB\" }"));
    let mut client = come(&house);
    let pid = daemon_of(&scratch, &mut client);
    for (bounds, most) in [("{ processes = 60 }", "60"), ("{ processes = 70 }", "70")] {
        house.write(&with(bounds));
        house.must("reload");
        let is_in_force = || delegated.read("switchboard-it/pids.max") == most;
        wait_until("the bound changes", is_in_force, || delegated.read("switchboard-it/pids.max"));
        assert_eq!(delegated.read("switchboard-it/memory.max"), "max", "a bound that was taken away");
    }
    house.upgrade();
    client.write_all(b"hello").expect("sent");
    client.read_exact(&mut [0; 5]).expect("the program goes on");
    assert!(is_alive(pid));
    terminate(&house);
    wait_until_gone(pid);
    delegated.wait_until_only("switchboard-it", &[]);
    house.signal(Signal::TERM);
    delegated.wait_until_only("", &["supervisor"]);
}

// --- Where ---------------------------------------------------------------------------------------------------------

#[test]
fn a_server_that_is_alone_in_its_cgroup_makes_room_by_itself() {
    let Some(delegated) = delegated("a cgroup without one for the server") else { return };
    std::fs::remove_dir(delegated.at("supervisor")).expect("ours");
    let mut house = delegated.serve("", &shell("echo $$; cat", "cgroup = { processes = 10 }"));
    let mut client = come(&house);
    client.read_exact(&mut [0; 2]).expect("it is served");
    assert!(delegated.members("supervisor").contains(&house.pid()));
    assert!(delegated.members("").is_empty());
    assert_eq!(delegated.read("switchboard-it/pids.max"), "10");
    drop(client);
    stop(&mut house);
    assert_eq!(delegated.below(""), ["supervisor"], "where it was itself");
}

#[test]
fn a_cgroup_with_others_in_it_is_left_as_it_is_and_that_is_said() {
    let Some(delegated) = delegated("a cgroup with others in it") else { return };
    std::fs::remove_dir(delegated.at("supervisor")).expect("ours");
    let mut other = other(&delegated);
    let scratch = Scratch::new();
    house::write(&scratch, &shell("cat", "cgroup = { memory = \"64MiB\" }"));
    let mut command = program();
    command.args(["serve", "--config", &scratch.path("file.toml")]);
    let ran = run_to_end(&mut delegated.within("", &command), None, PATIENCE);
    let said = text(&ran.stderr);
    assert_ne!(ran.status.code(), Some(0), "{said}");
    assert!(said.contains("give the controller memory") && said.contains("alone in it"), "{said}");
    assert!(delegated.below("").iter().all(|name| name != "supervisor"), "{:?}", delegated.below(""));
    other.kill().expect("ours");
    other.wait().expect("ours");
}

/// Somebody else in the cgroup.
fn other(delegated: &Delegated) -> std::process::Child {
    let mut sleep = Command::new("sleep");
    let child = delegated.within("", sleep.arg("1000")).spawn().expect("sh");
    wait_until("somebody is there", || !delegated.members("").is_empty(), String::new);
    child
}
