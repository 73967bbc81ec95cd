//! Many machines load one server (row S7): each is a host with a network of its own, all begin at the same time, and
//! their logs, merged, are the union.

mod harness;

use harness::{PATIENCE, Scratch, number, program, run_to_end, skip, text};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard_lab::host::{Ended, Host, Network, Program, Stream, Topology};

const SHARDS: usize = 3;
/// Until all have started; who is late begins late, and nothing here asks when.
const LEAD: Duration = Duration::from_secs(1);

/// The program on a host.
fn on(host: &Host, arguments: &[&str]) -> switchboard_lab::host::Child {
    let own = program().get_program().to_str().expect("UTF-8").to_owned();
    let program = Program::new([&[own.as_str()], arguments].concat())
        .stdout(Stream::Pipe)
        .stderr(Stream::Inherit)
        .directory("/");
    host.spawn(program).expect("a host runs programs")
}

/// A network with these hosts and a server; aloud nothing where that cannot be made.
fn network(what: &str, clients: &[String]) -> Option<Network> {
    let builder =
        clients.iter().fold(Network::builder().topology(Topology::Lan), |builder, name| builder.host(name));
    match builder.host("server").start(Box::new(drop)) {
        Ok(network) => Some(network),
        Err(error) if switchboard_lab::mode::probe().is_full() => panic!("{error}"),
        Err(error) => {
            skip(what, &error.to_string());
            None
        }
    }
}

/// An echo server there, and its endpoint.
fn echo(host: &Host) -> (switchboard_lab::host::Child, String) {
    let address = host.address(false).expect("an address");
    let mut server = on(host, &["serve", "echo", "--listen", &format!("{address}:0"), "--format", "json"]);
    let mut ready = String::new();
    let mut said = BufReader::new(File::from(server.stdout.take().expect("piped")));
    said.read_line(&mut ready).expect("a line");
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    let endpoint = ready["listeners"][0]["endpoint"].as_str().expect("an endpoint").to_owned();
    (server, endpoint)
}

/// What it printed, and how it ended.
fn result(child: &mut switchboard_lab::host::Child) -> (String, Option<Ended>) {
    let mut out = String::new();
    let stdout = File::from(child.stdout.take().expect("piped"));
    (&stdout).read_to_string(&mut out).expect("its result");
    (out, child.wait(PATIENCE).expect("our child"))
}

#[test]
fn ports_that_run_out_are_told_with_the_way_out() {
    let Some(network) = network("ports that run out", &["client".to_owned()]) else { return };
    let host = |name: &str| network.host(name).expect("there is such a host");
    let (_server, endpoint) = echo(host("server"));
    host("client").set_sysctl("net.ipv4.ip_local_port_range", "40000 40009").expect("a parameter");
    // More than there can be: nothing is begun.
    let mut child = on(host("client"), &["load", &endpoint, "-c", "11", "-d", "1s", "-q"]);
    assert_eq!(result(&mut child).1, Some(Ended::Exited(2)));
    // Each port is kept for a minute after its connection (tcp(7), TIME_WAIT), so the eleventh finds none.
    let what = ["load", &endpoint, "--workload", "connect", "-c", "10", "--warm-up", "0s", "-d", "3s"];
    let mut child = on(host("client"), &[&what[..], &["-q", "--format", "json"]].concat());
    let (out, _) = result(&mut child);
    let facts: Value = serde_json::from_str(&out).expect("JSON");
    let obstacle = facts["first_obstacle"].as_str().unwrap_or_default();
    assert!(obstacle.contains("no local port") && obstacle.contains("--source"), "{facts}");
    assert!(number(&facts["errors"], "exhausted") > 0, "{facts}");
}

#[test]
fn hosts_that_load_one_server_together_are_merged() {
    let names: Vec<String> = (1..=SHARDS).map(|shard| format!("client{shard}")).collect();
    let Some(network) = network("shards in namespaces", &names) else { return };
    let host = |name: &str| network.host(name).expect("there is such a host");
    let (_server, endpoint) = echo(host("server"));
    // On hosts programs are nobody.
    let scratch = Scratch::new();
    std::fs::set_permissions(&scratch.0, PermissionsExt::from_mode(0o777)).expect("our directory");
    let start = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock") + LEAD;
    let start = format!("@{}", start.as_secs_f64());
    let logs: Vec<String> = (1..=SHARDS).map(|shard| scratch.path(&format!("{shard}.hlog"))).collect();
    let mut children: Vec<_> = names
        .iter()
        .zip(&logs)
        .enumerate()
        .map(|(index, (name, log))| {
            let shard = format!("{}/{SHARDS}", index + 1);
            let what = ["load", &endpoint, "-c", "6", "--rate", "300", "-d", "500ms", "--warm-up", "100ms"];
            let part = ["--shard", &shard, "--start-at", &start, "--hlog", log, "--format", "json", "-q"];
            on(host(name), &[&what[..], &part].concat())
        })
        .collect();
    let parts: Vec<Value> = children
        .iter_mut()
        .map(|child| {
            let (out, ended) = result(child);
            assert_eq!(ended, Some(Ended::Exited(0)), "{out}");
            serde_json::from_str(&out).expect("JSON")
        })
        .collect();
    let merge = |logs: &[String]| {
        let mut command = program();
        command.args(["load", "merge", "--format", "json"]).args(logs);
        run_to_end(&mut command, None, PATIENCE)
    };
    let merged = merge(&logs);
    assert!(merged.status.success(), "{}", text(&merged.stderr));
    let merged: Value = serde_json::from_slice(&merged.stdout).expect("JSON");
    for name in ["answers", "offered", "started", "answers_in_time", "open_connections"] {
        let sum: u64 = parts.iter().map(|part| number(part, name)).sum();
        assert_eq!(number(&merged, name), sum, "{name}: {merged}");
    }
    assert_eq!(number(&merged, "offered"), 150, "300/s for half a second, shared out: {merged}");
    let times = |part: &Value, name: &str| number(&part["latency_since_due_ns"], name);
    assert_eq!(times(&merged, "max"), parts.iter().map(|part| times(part, "max")).max().unwrap_or(0));
    assert_eq!(times(&merged, "min"), parts.iter().map(|part| times(part, "min")).min().unwrap_or(0));
    // One that is missing is missed.
    let without = merge(&logs[1..]);
    assert!(
        !without.status.success() && text(&without.stderr).contains("shard"),
        "{}",
        text(&without.stderr)
    );
}
