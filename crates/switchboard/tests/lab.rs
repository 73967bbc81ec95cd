//! The fault lab as a whole: the kernel against the catalogue, our own programs in every case, and programs with one
//! known fault each, which must be called by its name. Row S15.

mod harness;

use harness::{Scratch, program, run_to_end, skip, text};
use serde_json::Value;
use std::process::{Command, Output};
use std::time::Duration;

/// The longest that one run of the lab may take here, on a machine with other things to do.
const LIMIT: Duration = Duration::from_secs(400);

/// Runs `switchboard lab ARGUMENTS`; none, said aloud, where the lab cannot run.
fn lab(arguments: &[&str]) -> Option<(i32, Value)> {
    told(&finish(&[&["run", "--format", "json"], arguments].concat()), arguments)
}

fn told(output: &Output, arguments: &[&str]) -> Option<(i32, Value)> {
    let code = output.status.code().expect("an exit code");
    if code == 77 && output.stdout.is_empty() {
        skip(&format!("lab run {}", arguments.join(" ")), &text(&output.stderr));
        return None;
    }
    let stdout = text(&output.stdout);
    let value = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stdout} {}", text(&output.stderr)));
    Some((code, value))
}

fn finish(arguments: &[&str]) -> Output {
    run_to_end(program().arg("lab").args(arguments), None, LIMIT)
}

/// The words of a case's verdicts, and all that is said of it.
fn verdicts(run: &Value) -> (Vec<String>, String) {
    let list = run["verdicts"].as_array().expect("verdicts");
    let words = list.iter().map(|verdict| verdict["word"].as_str().expect("a word").to_owned());
    (words.collect(), run.to_string())
}

/// What `lab run` says of one case.
fn of<'a>(value: &'a Value, scenario: &str) -> &'a Value {
    let runs = value["runs"].as_array().expect("runs");
    runs.iter().find(|run| run["scenario"] == scenario).unwrap_or_else(|| panic!("{scenario}: {value}"))
}

#[test]
fn the_kernel_does_what_the_catalogue_says() {
    all_is_well(lab, &["--kernel"], 32);
}

#[test]
fn our_own_programs_cope_with_everything() {
    all_is_well(lab, &[], 32);
}

/// Programs whose only fault is known: lists of calls, played by the lab's own actor as if it were a user's program.
#[test]
fn faults_are_called_by_their_names() {
    let actor = env!("CARGO_BIN_EXE_switchboard").to_owned() + " lab-actor";
    let cases = [
        (
            "--client",
            "connect {host}:{port}; loop { send 6; sleep 100 }",
            "14",
            "14-child-killed",
            "KILLED BY SIGPIPE",
        ),
        ("--client", "connect {host}:{port}; send 6; recv; recv", "6", "06-idle-host-crash", "HANGS"),
        (
            "--client",
            "connect {host}:{port}; send 60; sleep 300; shutdown wr; recv-all",
            "19",
            "19-short-io",
            "DATA TRUNCATED",
        ),
        (
            "--server",
            "bind {port}; listen; loop { accept; echo; close }",
            "30",
            "30-silent-peer",
            "STARVES OTHERS",
        ),
        (
            "--server",
            "bind {port}; listen; loop { accept; fork { echo }; close }",
            "17",
            "17-zombies",
            "ZOMBIES",
        ),
        (
            "--server",
            "bind {port}; listen; loop { accept; echo; pile }",
            "4",
            "04-inactive-ctrl-c",
            "DESCRIPTORS LEAKED",
        ),
    ];
    std::thread::scope(|scope| {
        for (flag, script, id, scenario, wanted) in cases {
            let command = format!("{actor} '{script}'");
            scope.spawn(move || {
                let Some((code, value)) = lab(&[flag, &command, id]) else { return };
                let (words, all) = verdicts(of(&value, scenario));
                assert!(words.iter().any(|word| word == wanted), "{script}: {wanted} was expected: {all}");
                assert_eq!(code, 1, "{script}: {all}");
            });
        }
    });
}

#[test]
fn ipv6_is_no_other_story() {
    let Some((code, value)) = lab(&["-6", "1", "9", "14", "20", "24", "--kernel"]) else { return };
    assert_eq!(code, 0, "{value}");
    let Some((code, value)) = lab(&["-6", "1", "14", "27"]) else { return };
    assert_eq!(code, 0, "{value}");
}

/// A remedy is proven from outside before the code is changed.
#[test]
fn an_option_set_from_outside_turns_the_verdict() {
    let client = env!("CARGO_BIN_EXE_switchboard").to_owned()
        + " lab-actor 'connect {host}:{port}; send 6; recv; recv'";
    let Some((code, value)) = lab(&["6", "--client", &client]) else { return };
    assert_eq!(
        (code, verdicts(of(&value, "06-idle-host-crash")).0),
        (1, vec!["HANGS".to_owned()]),
        "{value}"
    );
    let with = "keepalive=on,keepalive-idle=1,keepalive-interval=1,keepalive-count=2";
    let (code, value) = lab(&["6", "--client", &client, "--with", with]).expect("it ran before");
    assert_eq!(
        (code, verdicts(of(&value, "06-idle-host-crash")).0),
        (0, vec!["NOTICED".to_owned()]),
        "{value}"
    );
}

/// The same without root: in user namespaces, over veth where TUN is not for everybody.
#[test]
fn an_ordinary_user_sees_the_same() {
    for what in [&["--kernel"][..], &[]] {
        all_is_well(as_somebody, what, 32);
    }
}

/// Runs the lab as an ordinary user; none, said aloud, where that cannot be.
fn as_somebody(arguments: &[&str]) -> Option<(i32, Value)> {
    use std::os::unix::process::CommandExt;
    const SOMEBODY: u32 = 12_345;
    if !rustix::process::getuid().is_root() {
        skip("the lab as an ordinary user", "this is one already: the other tests are that");
        return None;
    }
    let mut command = program();
    command.args(["lab", "run", "--format", "json"]).args(arguments);
    command.uid(SOMEBODY).gid(SOMEBODY).current_dir("/");
    if let Err(error) = Command::new(command.get_program()).arg("--version").uid(SOMEBODY).output() {
        skip("the lab as an ordinary user", &format!("the program is not for him: {error}"));
        return None;
    }
    told(&run_to_end(&mut command, None, LIMIT), arguments)
}

/// The runs that are neither as they should be nor do not apply.
fn others(value: &Value) -> Vec<Value> {
    let runs = value["runs"].as_array().expect("runs").iter();
    runs.filter(|run| run["grade"] != "good" && run["grade"] != "skipped").cloned().collect()
}

/// Runs every case: at least so many apply here, and each of them is as it should be. What is told of all of them.
///
/// Cases go by the clock of the machine: when that has other things to do, what should be at the same moment is not. So one
/// that went otherwise is run again by itself; what is wrong is wrong each time.
fn all_is_well(
    run: impl Fn(&[&str]) -> Option<(i32, Value)>,
    arguments: &[&str],
    least: usize,
) -> Option<Value> {
    let (code, value) = run(&[&["--all", "--jobs", "4"], arguments].concat())?;
    let mut other = others(&value);
    assert_eq!(code == 0, other.is_empty(), "{other:#?}");
    for _ in 0..2 {
        let again = |other: &Value| {
            let scenario = other["scenario"].as_str().expect("its name");
            let (_, value) = run(&[&[scenario], arguments].concat()).expect("it ran before");
            others(&value)
        };
        other = other.iter().flat_map(again).collect();
    }
    assert!(other.is_empty(), "{other:#?}");
    let runs = value["runs"].as_array().expect("runs");
    let apply = runs.iter().filter(|run| run["grade"] != "skipped").count();
    assert!(apply >= least, "{apply} cases: {value}");
    Some(value)
}

/// Without hosts and wire: what can be shown on one machine is, and the rest is named with the reason.
#[test]
fn one_machine_without_namespaces_shows_what_it_can() {
    let Some(value) = all_is_well(lab, &["--kernel", "--mode", "loopback"], 19) else { return };
    let not = value["not_run"].as_array().expect("the rest");
    let why = |id: &str| {
        let found = not.iter().find(|not| not["scenario"] == id).unwrap_or_else(|| panic!("{id}: {value}"));
        found.to_string()
    };
    assert!(why("09-crash-reboot").contains("`crash server` needs simulated hosts"), "{value}");
    assert!(why("31-bad-line").contains("the line between two machines"), "{value}");
    all_is_well(lab, &["--mode", "loopback"], 25);
}

#[test]
fn one_machine_is_the_same_for_an_ordinary_user() {
    for what in [&["--kernel"][..], &[]] {
        all_is_well(as_somebody, &[&["--mode", "loopback"], what].concat(), 19);
    }
}

/// Runs that share the machine and its ports do not meet.
#[test]
fn runs_on_one_machine_do_not_disturb_each_other() {
    let actor = env!("CARGO_BIN_EXE_switchboard").to_owned() + " lab-actor";
    let server = format!("{actor} 'bind {{port}}; listen; loop {{ accept; echo; close }}'");
    let client = format!("{actor} 'connect {{host}}:{{port}}; loop {{ send 6; sleep 100 }}'");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            for (id, side, command, wanted) in [
                ("30-silent-peer", "--server", &server, "STARVES OTHERS"),
                ("14-child-killed", "--client", &client, "KILLED BY SIGPIPE"),
            ] {
                scope.spawn(move || {
                    let Some((code, value)) = lab(&[id, side, command, "--mode", "loopback"]) else { return };
                    let (words, all) = verdicts(of(&value, id));
                    assert_eq!((code, words), (1, vec![wanted.to_owned()]), "{all}");
                });
            }
        }
    });
}

/// Where the system refuses namespaces, one machine is what there is; hosts are asked for in vain, with the remedy.
#[test]
fn refused_namespaces_leave_one_machine() {
    // A limit holds for a user namespace and below: in one of its own it harms nobody (user_namespaces(7)).
    let refused = |arguments: &str| {
        let switchboard = env!("CARGO_BIN_EXE_switchboard");
        let script = format!(
            "echo 0 >/proc/sys/user/max_user_namespaces && exec {switchboard} lab run 14 30 --kernel {arguments}"
        );
        run_to_end(Command::new("unshare").args(["-U", "-r", "sh", "-c", &script]), None, LIMIT)
    };
    let probe = Command::new("unshare").args(["-U", "-r", "true"]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        return skip(
            "refused namespaces",
            &format!("there is no user namespace to refuse them in: {probe:?}"),
        );
    }
    let output = refused("--format json");
    let stderr = text(&output.stderr);
    if output.status.code() == Some(77) && stderr.contains("may not be traced") {
        return skip("refused namespaces", &stderr);
    }
    assert!(stderr.contains("loopback only") && stderr.contains("max_user_namespaces"), "{stderr}");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(value["runs"].as_array().is_some_and(|runs| runs.len() >= 2), "{value}");
    assert_eq!((output.status.code(), others(&value)), (Some(0), vec![]));
    let output = refused("--mode full");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{stderr}");
    assert!(stderr.contains("sysctl user.max_user_namespaces"), "{stderr}");
}

#[test]
fn files_are_written_and_two_runs_compared() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name);
    let (before, after) = (path("before"), path("after"));
    let actor = env!("CARGO_BIN_EXE_switchboard").to_owned() + " lab-actor";
    let run = |client: &str, jsonl: &str| {
        let (report, junit) = (path("report.html"), path("junit.xml"));
        let (svg, pcap) = (path("svg"), path("pcap"));
        let client = format!("{actor} '{client}'");
        lab(&[
            "14", "--client", &client, "--jsonl", jsonl, "-o", &report, "--junit", &junit, "--svg", &svg,
            "--pcap", &pcap,
        ])
    };
    let Some((code, all)) = run("connect {host}:{port}; loop { send 6; sleep 100 }", &before) else { return };
    assert_eq!(code, 1, "{all}");
    let (code, all) =
        run("connect {host}:{port}; loop { send 6 nosignal; sleep 100 }", &after).expect("it ran before");
    assert_eq!(code, 0, "{all}");
    let read =
        |name: &str| std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(read("report.html").contains("NOTICED"));
    assert!(read("junit.xml").contains("<testsuite"));
    assert!(read("svg/14-child-killed-client.svg").starts_with("<svg"));
    assert!(read("before/14-child-killed-client.jsonl").lines().count() > 20);
    assert!(
        std::fs::metadata(path("pcap/14-child-killed-client-at-server.pcapng")).expect("packets").len() > 200
    );
    let better = finish(&["diff", &before, &after]);
    assert_eq!(better.status.code(), Some(0), "{}", text(&better.stderr));
    assert!(text(&better.stdout).contains("better"), "{}", text(&better.stdout));
    let worse = finish(&["diff", &after, &before]);
    assert_eq!(worse.status.code(), Some(1));
}

#[test]
fn wrong_command_lines_name_the_part() {
    for (arguments, wanted) in [
        (&["run"][..], "--all"),
        (&["run", "no-such-case"], "lab list"),
        (&["run", "child"], "14-child-killed"),
        (&["run", "1", "--engine", "nosuch"], "epoll"),
        (&["run", "1", "--client", "nc '{host}"], "not closed"),
        (&["run", "1", "--client", "nc", "--with", "nodely=on"], "nodely"),
        (&["run", "1", "--client", "nc", "--env", "X"], "NAME=VALUE"),
        (&["diff", "/nonexistent", "/nonexistent"], "/nonexistent"),
    ] {
        let output = finish(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
    }
}
