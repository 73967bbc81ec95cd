//! Hosts, with real namespaces: names, addresses, users, sysctls; crash, reboot, shutdown; and what is left when the lab
//! itself is killed.

mod harness;

use harness::{PATIENCE, Seen, connect, host, listen, pair, run};
use rustix::process::Signal;
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;
use switchboard_lab::host::{Ended, Network, Program, Stream, Topology, User};
use switchboard_lab::record::Point;
use switchboard_lab::wire::{Act, Way};

fn two(what: &str) -> Option<(Network, Seen)> {
    harness::start(what, Network::builder())
}

#[test]
fn a_host_has_a_name_and_knows_the_others() {
    let Some((network, _)) = two("names") else { return };
    let server = host(&network, "server");
    let (out, ended) =
        run(server, "hostname; grep client /etc/hosts; echo $$; ls /proc | grep -c '^[0-9]'", User::Plain);
    assert_eq!(ended, Some(Ended::Exited(0)));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..3], ["server", "10.0.1.1 client", "fd00:0:0:1::1 client"]);
    let pid: u32 = lines[3].parse().expect("a number");
    let processes: u32 = lines[4].parse().expect("a number");
    assert!(pid < 10 && processes < 10, "process {pid}, one of {processes}: not a process table of its own");
}

#[test]
fn every_carrier_and_topology_carries_both_families() {
    for carrier in harness::carriers() {
        for topology in [Topology::Routed, Topology::Lan] {
            let what = format!("{carrier:?}, {topology:?}");
            let builder = Network::builder().carrier(carrier).topology(topology);
            let Some((network, seen)) = harness::start(&what, builder) else { return };
            for v6 in [false, true] {
                let (mut client, mut server) = pair(&network, v6);
                let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
                let (mut received, copy) = (Vec::new(), sent.clone());
                let writer = std::thread::spawn(move || {
                    client.write_all(&copy).expect("written");
                });
                server.read_to_end(&mut received).expect("read");
                writer.join().expect("no panic");
                assert!(received == sent, "{what}: {} of {} bytes", received.len(), sent.len());
            }
            let packets = seen.packets();
            assert!(packets.iter().all(|packet| packet.length <= 1500), "{what}: a packet beyond the MTU");
            let lost: Vec<&Point> = packets
                .iter()
                .map(|packet| &packet.point)
                .filter(|point| matches!(point, Point::Dropped(_)))
                .collect();
            assert!(lost.is_empty(), "{what}: {lost:?}");
        }
    }
}

#[test]
fn a_program_is_nobody_special() {
    let Some((network, _)) = two("users") else { return };
    let server = host(&network, "server");
    let own = rustix::process::getuid().as_raw();
    let expected = if own == 0 { 65_534 } else { own };
    let (out, _) = run(
        server,
        "id -u; cat /proc/self/status | grep CapEff; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        User::Plain,
    );
    assert_eq!(out, format!("{expected}\nCapEff:\t0000000000000000\n1024\n"));
    let (out, _) = run(server, "id -u", User::Root);
    assert_eq!(out, "0\n");
    let program = Program::new(["true"]).user(User::Id(4242));
    match server.spawn(program) {
        Ok(_) => assert_eq!(own, 0, "a user that does not exist"),
        Err(error) => assert!(own != 0 && error.to_string().contains("4242"), "{error}"),
    }
}

#[test]
fn a_program_that_cannot_start_says_why() {
    let Some((network, _)) = two("failing to start") else { return };
    let server = host(&network, "server");
    let error = |program: Program| server.spawn(program).expect_err("it cannot start").to_string();
    assert!(error(Program::new(["no-such-program-here"])).contains("not found in PATH"));
    assert!(error(Program::new(["/no/such/file"])).starts_with("executing the program"));
    assert!(
        error(Program::new(["true"]).directory("/no/such/folder")).starts_with("changing to the working")
    );
    assert!(error(Program::new(Vec::<String>::new())).contains("no program"));
}

#[test]
fn sysctls_are_the_hosts_own() {
    let Some((mut network, _)) = two("sysctls") else { return };
    let name = "net.ipv4.tcp_syn_retries";
    let before = host(&network, "client").sysctl(name).expect("readable");
    host(&network, "server").set_sysctl(name, "2").expect("settable");
    assert_eq!(host(&network, "server").sysctl(name).expect("readable"), "2");
    assert_eq!(host(&network, "client").sysctl(name).expect("readable"), before);
    network.host_mut("server").expect("it is there").reboot().expect("it boots");
    assert_eq!(host(&network, "server").sysctl(name).expect("readable"), before);
    let error =
        host(&network, "server").set_sysctl("net.ipv4.no_such_thing", "1").expect_err("there is none");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_crash_is_silence_and_a_reboot_answers_with_a_reset() {
    let Some((mut network, seen)) = two("crash and reboot") else { return };
    let (mut client, _server) = pair(&network, false);
    let program = Program::new(["sleep", "1000"]).directory("/");
    let sleeper = host(&network, "server").spawn(program).expect("sleep runs");
    network.host_mut("server").expect("it is there").crash();
    assert_eq!(sleeper.wait(PATIENCE).expect("waitable"), Some(Ended::Killed(Signal::KILL.as_raw())));
    let before = seen.packets().len();
    client.write_all(b"hello?").expect("the kernel takes it");
    let error = host(&network, "server").sysctl("net.ipv4.tcp_sack").expect_err("it is down");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    network.host_mut("server").expect("it is there").reboot().expect("it boots");
    // The retransmission meets a stack that knows nothing.
    let error = client.read(&mut [0; 10]).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let after = seen.packets();
    assert!(after[before..].iter().any(|packet| packet.point == Point::Dropped("host is down".into())));
    assert!(!after[..before].iter().any(|packet| matches!(packet.point, Point::Dropped(_))));
}

#[test]
fn a_shutdown_says_goodbye() {
    let Some((mut network, _)) = two("shutdown") else { return };
    network.wire().act(Act::impair(Way::ALL, "delay", "20ms").expect("it is one"));
    let (mut client, server) = pair(&network, false);
    let holder = Program::new(["sleep", "1000"]).directory("/").stdin(Stream::File(server.into()));
    let _holder = host(&network, "server").spawn(holder).expect("sleep runs");
    let (_, address) = listen(host(&network, "server"), false);
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let program = Program::new(["sh", "-c", script]).directory("/").stdout(Stream::Pipe);
    let mut child = host(&network, "server").spawn(program).expect("sh runs");
    let mut out = std::fs::File::from(child.stdout.take().expect("piped"));
    let mut ready = [0; 6];
    out.read_exact(&mut ready).expect("it begins");
    network.host_mut("server").expect("it is there").shutdown(PATIENCE).expect("it ends");
    assert_eq!(child.wait(PATIENCE).expect("waitable"), Some(Ended::Exited(3)));
    assert_eq!(client.read(&mut [0]).expect("an end of file, and no error"), 0);
    host(&network, "client").set_sysctl("net.ipv4.tcp_syn_retries", "1").expect("settable");
    host(&network, "client").set_sysctl("net.ipv4.tcp_syn_linear_timeouts", "0").expect("settable");
    let error = connect(host(&network, "client"), address).expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // Who does not heed the request is killed when his time is over: on another host, so that no time is short for those
    // who do.
    let stubborn =
        Program::new(["sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"]).stdout(Stream::Pipe);
    let mut stubborn = host(&network, "client").spawn(stubborn.directory("/")).expect("sh runs");
    std::fs::File::from(stubborn.stdout.take().expect("piped")).read_exact(&mut [0]).expect("it begins");
    network.host_mut("client").expect("it is there").shutdown(Duration::from_millis(100)).expect("it ends");
    assert_eq!(stubborn.wait(PATIENCE).expect("waitable"), Some(Ended::Killed(9)));
}

#[test]
fn a_program_gets_the_limit_the_variables_and_the_streams_it_was_given() {
    let Some((network, _)) = two("limits and streams") else { return };
    let program = Program::new(["sh", "-c", "ulimit -n; pwd; echo $COLOUR; cat; echo oops >&2"])
        .descriptor_limit(17)
        .directory("/usr")
        .env("COLOUR", "blue")
        .stdin(Stream::Pipe)
        .stdout(Stream::Pipe)
        .stderr(Stream::Pipe);
    let mut child = host(&network, "client").spawn(program).expect("sh runs");
    let mut stdin = std::fs::File::from(child.stdin.take().expect("piped"));
    stdin.write_all(b"typed\n").expect("written");
    drop(stdin);
    assert_eq!(harness::text(child.stdout.take().expect("piped")), "17\n/usr\nblue\ntyped\n");
    assert_eq!(harness::text(child.stderr.take().expect("piped")), "oops\n");
    assert_eq!(child.wait(PATIENCE).expect("waitable"), Some(Ended::Exited(0)));
}

#[test]
fn an_interface_can_be_taken_down() {
    for topology in [Topology::Routed, Topology::Lan] {
        let Some((network, _)) = harness::start("links", Network::builder().topology(topology)) else {
            return;
        };
        let client = host(&network, "client");
        for v6 in [false, true] {
            let (_listener, address) = listen(host(&network, "server"), v6);
            connect(client, address).expect("connected");
            client.set_link(false).expect("down");
            let error = connect(client, address).expect_err("no route");
            assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
            client.set_link(true).expect("up");
            connect(client, address).expect("connected");
        }
    }
}

#[test]
fn a_prepared_program_waits_for_its_release() {
    let Some((network, _)) = two("release") else { return };
    let server = host(&network, "server");
    let program = || Program::new(["sh", "-c", "echo here"]).directory("/").stdout(Stream::Pipe);
    let mut first = server.prepare(program()).expect("prepared");
    let second = server.prepare(program()).expect("prepared");
    let file = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).expect("it lives");
    assert_eq!(file(&first.pid().to_string()), file("self"), "no program yet");
    let pid = first.pid();
    first.release();
    let mut child = first.confirm().expect("it runs");
    assert_eq!(child.pid(), pid);
    // The other one, unreleased, keeps nothing of this one open.
    assert_eq!(harness::text(child.stdout.take().expect("piped")), "here\n");
    assert_eq!(child.wait(PATIENCE).expect("waitable"), Some(Ended::Exited(0)));
    let pid = second.pid();
    drop(second);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "it is killed and collected");
}

#[test]
fn on_a_lan_a_dead_host_is_unreachable() {
    let builder = Network::builder().topology(Topology::Lan).host("client").dead_host("server");
    let Some((network, _)) = harness::start("a dead host on a LAN", builder) else { return };
    for v6 in [false, true] {
        let address = host(&network, "server").address(v6).expect("it has one");
        let error = connect(host(&network, "client"), (address, 7).into()).expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    }
}

/// Set in the process that is to be killed.
const VICTIM: &str = "SWITCHBOARD_LAB_VICTIM";

#[test]
fn the_death_of_the_lab_is_the_end_of_everything_in_it() {
    if std::env::var_os(VICTIM).is_some() {
        return be_killed();
    }
    let mode = switchboard_lab::mode::probe();
    if !mode.is_full() {
        return harness::skip("the lab's death", &mode.to_string());
    }
    let myself = std::env::current_exe().expect("this program has a file");
    let mut lab = std::process::Command::new(myself)
        .args(["--exact", "the_death_of_the_lab_is_the_end_of_everything_in_it", "--nocapture"])
        .env(VICTIM, "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("this program runs");
    let mut out = io::BufReader::new(lab.stdout.take().expect("piped"));
    let spaces = loop {
        let mut line = String::new();
        assert!(out.read_line(&mut line).expect("readable") > 0, "the lab says nothing");
        if let Some((_, list)) = line.split_once("spaces ") {
            break list.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
        }
    };
    let inhabitants = inhabitants(&spaces);
    // Two first processes, a shell, and what it left in the background.
    assert!(inhabitants.len() >= 4, "{inhabitants:?}");
    lab.kill().expect("it can be killed");
    lab.wait().expect("it can be waited for");
    for (pid, pidfd) in inhabitants {
        let mut on = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut on, Some(&patience)), Ok(1), "process {pid} lives on");
    }
    assert!(self::inhabitants(&spaces).is_empty(), "somebody is in the namespaces still");
}

/// The lab that will be killed: hosts, a connection, a program with a child that has left its session.
fn be_killed() {
    let (network, _) = two("a victim").expect("it was possible a moment ago");
    let _pair = pair(&network, false);
    let script = "setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000' & echo; exec sleep 1000";
    let program = Program::new(["sh", "-c", script]).directory("/").stdout(Stream::Pipe);
    let mut child = host(&network, "server").spawn(program).expect("sh runs");
    std::fs::File::from(child.stdout.take().expect("piped")).read_exact(&mut [0]).expect("it begins");
    let space = |host: &switchboard_lab::host::Host| {
        let init = host.init_pid().expect("it is up");
        let link = std::fs::read_link(format!("/proc/{init}/ns/pid")).expect("it is ours");
        link.to_string_lossy().into_owned()
    };
    let spaces: Vec<String> = network.hosts().iter().map(space).collect();
    let _ = writeln!(io::stdout(), "spaces {}", spaces.join(" "));
    let _ = io::stdin().read(&mut [0]);
}

/// Everybody in these pid namespaces who has not ended, with a descriptor for each.
fn inhabitants(spaces: &[String]) -> Vec<(i32, rustix::fd::OwnedFd)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(link) = std::fs::read_link(entry.path().join("ns/pid")) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
        if !zombie && spaces.iter().any(|space| *space == link.to_string_lossy()) {
            let known = rustix::process::Pid::from_raw(pid).expect("a number");
            if let Ok(pidfd) = rustix::process::pidfd_open(known, rustix::process::PidfdFlags::empty()) {
                found.push((pid, pidfd));
            }
        }
    }
    found
}
