//! Programs that outlive the worker that started them: what they say is still logged, and that their clients go is still
//! noticed.

use crate::harness::{skip, wait_until};
use crate::house::House;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open, test_kill_process,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn text(script: &str, keys: &str) -> String {
    format!(
        "version = 1\ndrain_timeout = \"100ms\"\nupgrade_timeout = \"30s\"\nlog = {{ format = \"json\" }}\n\
         [[service]]\nid = \"script\"\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n{keys}\n"
    )
}

type Event = (&'static str, fn(&House, &str));

/// What a program is taken from its worker by. Afterwards another worker looks after it.
const EVENTS: [Event; 3] = [
    ("its worker is killed", |house, _| {
        let before = house.workers("script");
        before.iter().for_each(|pid| kill_process(*pid, Signal::KILL).expect("a worker"));
        let others = || house.workers("script").first().is_some_and(|pid| !before.contains(pid));
        wait_until("another worker", others, || format!("{:?}", house.workers("script")));
    }),
    ("a reload", |house, file| {
        let before = house.workers("script");
        house.write(&format!("{file}nice = 1\n"));
        house.must("reload");
        let gone = || before.iter().all(|pid| test_kill_process(*pid).is_err());
        wait_until("the old worker ends", gone, || house.status().to_string());
    }),
    ("an upgrade", |house, _| house.upgrade()),
];

/// Whether a process may ask the kernel for the descriptors of one that is not its child.
fn may_take_descriptors() -> bool {
    const SYS_PTRACE: u64 = 1 << 19;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    let taken = pidfd_open(pid, PidfdFlags::empty())
        .and_then(|pidfd| pidfd_getfd(pidfd, 0, PidfdGetfdFlags::empty()));
    child.kill().and_then(|()| child.wait()).expect("killed");
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let status = std::fs::read_to_string("/proc/self/status").expect("proc(5)");
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let rights = u64::from_str_radix(rights.trim(), 16).expect("a number");
    taken.is_ok() && (scope.map_or(true, |scope| scope.trim() == "0") || rights & SYS_PTRACE != 0)
}

/// Whoever answers has looked at the register, and taken over what was given to him before.
fn is_served(house: &House) {
    let mut client = TcpStream::connect(&house.endpoints()["script"]["tcp:".len()..]).expect("there");
    client.set_read_timeout(Some(PATIENCE)).expect("time-out");
    client.write_all(b"once\n").expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "ready\n");
}

#[test]
fn what_a_program_says_is_logged_whoever_looks_after_it() {
    let file = text(
        "echo ready; read word; test $word = once && exit; echo said $word >&2; read end",
        "listen = \"tcp:127.0.0.1:0\"",
    );
    for (event, happens) in EVENTS {
        let house = House::start(&file);
        let mut client = TcpStream::connect(&house.endpoints()["script"]["tcp:".len()..]).expect("there");
        client.set_read_timeout(Some(PATIENCE)).expect("time-out");
        let mut line = String::new();
        BufReader::new(client.try_clone().expect("a copy")).read_line(&mut line).expect("it runs");
        let program = house.status()["programs"][0].clone();
        happens(&house, &file);
        is_served(&house);
        client.write_all(b"afterwards\n").expect("sent");
        let said: serde_json::Value =
            serde_json::from_str(&house.wait_for("said afterwards")).expect("a record");
        assert_eq!(said["id"], program["connection"], "{event}: {said}");
        client.write_all(b"end\n").expect("sent");
        assert_eq!(client.read(&mut [0; 1]).expect("the end"), 0, "{event}");
    }
}

#[test]
fn a_client_who_goes_ends_his_program_whoever_looks_after_it() {
    let keys = "listen = \"unix:SCRATCH/socket\"\nwhen_gone = \"terminate\"\ngrace = \"60s\"";
    let file = text("echo ready; exec sleep 600", keys);
    for (event, happens) in EVENTS {
        if event == EVENTS[0].0 && !may_take_descriptors() {
            skip("a worker that is killed", "processes may not take each other's descriptors (ptrace(2))");
            continue;
        }
        let house = House::start(&file);
        let connect = || {
            let client = UnixStream::connect(house.scratch.0.join("socket")).expect("there");
            client.set_read_timeout(Some(PATIENCE)).expect("time-out");
            BufReader::new(&client).read_line(&mut String::new()).expect("it runs");
            client
        };
        let client = connect();
        let program = house.status()["programs"][0]["pid"].as_i64().expect("a process");
        let program = Pid::from_raw(i32::try_from(program).expect("a process")).expect("a process");
        happens(&house, &file);
        // Whoever serves another client has taken over the first one.
        drop(connect());
        assert!(test_kill_process(program).is_ok(), "{event}: the program goes on");
        drop(client);
        let gone = || test_kill_process(program).is_err();
        wait_until("the program is asked to end", gone, || {
            format!("{event}: {}", house.status()["programs"])
        });
    }
}
