//! `sockets`: the table against `/proc/net/tcp`, against ss(8), and against sockets whose state is known. Rows S20,
//! S21.

mod harness;

use harness::{PATIENCE, program, skip, text, wait_until};
use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

fn run(arguments: &[&str]) -> Output {
    program().arg("sockets").args(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

/// The sockets that a look finds, as JSON.
fn listed(arguments: &[&str]) -> Vec<Value> {
    let output = run(&[arguments, &["--format", "json"]].concat());
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", text(&output.stderr)));
    assert_eq!(
        (document["schema"].as_str(), document["version"].as_u64()),
        (Some("switchboard.sockets"), Some(1))
    );
    let sockets = document["sockets"].as_array().expect("an array").clone();
    let found = if sockets.is_empty() { 1 } else { 0 };
    assert_eq!(output.status.code(), Some(found), "{arguments:?}: {}", text(&output.stderr));
    sockets
}

/// The lines for people.
fn told(arguments: &[&str]) -> Vec<String> {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

fn port(at: SocketAddr) -> String {
    at.port().to_string()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    (listener, at)
}

/// (local port, peer's port, inode): enough to name a socket, and written alike by everybody.
type Named = (u64, u64, u64);

/// The sockets of `/proc/net/tcp` and `tcp6` (proc_pid_net(5)).
fn of_proc() -> BTreeSet<Named> {
    let read = |file| std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
    let named = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |at: usize| u64::from_str_radix(words.get(at)?.rsplit(':').next()?, 16).ok();
        Some((port(1)?, port(2)?, words.get(9)?.parse().ok()?))
    };
    let lines = [read("tcp"), read("tcp6")].concat();
    lines.lines().filter_map(named).filter(|(_, _, inode)| *inode != 0).collect()
}

fn of_ss() -> Option<BTreeSet<Named>> {
    let output = Command::new("ss").args(["-Htane"]).stdin(Stdio::null()).output().ok()?;
    let named = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |at: usize| Some(words.get(at)?.rsplit(':').next()?.parse().unwrap_or(0));
        let inode = words.iter().find_map(|word| word.strip_prefix("ino:"))?.parse().ok()?;
        Some((port(3)?, port(4)?, inode))
    };
    let named: BTreeSet<Named> = text(&output.stdout).lines().filter_map(named).collect();
    Some(named.into_iter().filter(|(_, _, inode)| *inode != 0).collect())
}

fn of_ours() -> BTreeSet<Named> {
    let number = |socket: &Value, name: &str| socket[name].as_u64().unwrap_or(0);
    let sockets = listed(&["--tcp", "--all"]);
    let sockets = sockets.iter().filter(|socket| socket["state"] != "BOUND");
    let named = sockets.map(|it| (number(it, "local_port"), number(it, "peer_port"), number(it, "inode")));
    named.filter(|(_, _, inode)| *inode != 0).collect()
}

/// Other programs open and close sockets meanwhile: whatever was there before and after must be in the middle.
fn same(what: &str, look: impl Fn() -> BTreeSet<Named>) {
    let (listener, at) = listener();
    let clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(at).expect("it listens")).collect();
    let servers: Vec<_> = (0..20).map(|_| listener.accept().expect("a client")).collect();
    let (before, ours, after) = (look(), of_ours(), look());
    let stable: BTreeSet<Named> = before.intersection(&after).copied().collect();
    let missing: Vec<_> = stable.difference(&ours).collect();
    assert!(missing.is_empty(), "{what} has these, and `sockets` has not: {missing:?}");
    let mine = |all: &BTreeSet<Named>| {
        let of_test = |(local, peer, _): &&Named| [*local, *peer].contains(&at.port().into());
        all.iter().filter(of_test).count()
    };
    assert!(mine(&ours) >= 41 && mine(&ours) == mine(&before), "{what}: {} {}", mine(&ours), mine(&before));
    drop((clients, servers));
}

#[test]
fn the_table_has_what_proc_has() {
    same("/proc/net/tcp", of_proc);
}

#[test]
fn the_table_has_what_ss_has() {
    if of_ss().is_none() {
        return skip("the comparison with ss(8)", "it is not installed");
    }
    same("ss", || of_ss().expect("it is there"));
}

#[test]
fn filters_leave_what_they_say() {
    let (listener, at) = listener();
    let client = TcpStream::connect(at).expect("it listens");
    let (_server, _) = listener.accept().expect("a client");
    let (port, theirs) = (port(at), port(client.local_addr().expect("an address")));
    let me = std::process::id().to_string();
    let states = |arguments: &[&str]| -> Vec<String> {
        // A port may be that of other connections as well, of other programs or in TIME_WAIT.
        let sockets = listed(arguments);
        let mine = sockets.iter().filter(|socket| socket["owners"][0]["pid"] == std::process::id());
        mine.map(|socket| socket["state"].as_str().expect("a state").to_owned()).collect()
    };
    assert_eq!(states(&["--port", &port]), ["LISTEN", "ESTABLISHED", "ESTABLISHED"]);
    assert_eq!(states(&["--port", &port, "--listening"]), ["LISTEN"]);
    assert_eq!(states(&["--port", &port, "--state", "established"]).len(), 2);
    assert_eq!(states(&["--port", &port, "--state", "connected"]).len(), 2);
    assert_eq!(states(&["--port", &port, "--state", "listen,close-wait"]), ["LISTEN"]);
    assert_eq!(states(&["--sport", &port]), ["LISTEN", "ESTABLISHED"]);
    assert_eq!(states(&["--dport", &port]), ["ESTABLISHED"]);
    assert_eq!(states(&["--sport", &theirs, "--dport", &port]), ["ESTABLISHED"]);
    assert_eq!(states(&["--port", &port, "--program", &me]).len(), 3);
    assert_eq!(states(&["--port", &port, "--program", "sockets-of-nobody"]), [""; 0]);
    assert_eq!(states(&["--port", &port, "-6"]), [""; 0]);
    assert_eq!(states(&["--port", &port, "--udp"]), [""; 0]);
    let owned = listed(&["--sport", &theirs, "--dport", &port]);
    assert_eq!(owned[0]["owners"][0]["pid"], std::process::id());
    assert_eq!(owned[0]["peer"], at.to_string());

    let nobody = run(&["--port", &port, "--udp"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no socket is like that"), "{}", text(&nobody.stderr));
    assert!(nobody.stdout.is_empty());
}

#[test]
fn udp_and_unix_sockets_have_their_names_and_owners() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let found = listed(&["--udp", "--port", &port(socket.local_addr().expect("an address"))]);
    assert_eq!((found.len(), &found[0]["state"]), (1, &Value::from("UNCONNECTED")));
    assert_eq!(found[0]["owners"][0]["pid"], std::process::id());

    let scratch = harness::Scratch::new();
    let path = scratch.path("a\nsocket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a path");
    let me = std::process::id().to_string();
    let found = listed(&["--unix", "--listening", "--program", &me]);
    if found.is_empty() {
        return skip("Unix sockets", "this kernel does not list them");
    }
    let written = path.replace('\n', "\\n");
    assert!(found.iter().any(|socket| socket["local"] == *written), "{found:?}");
    let lines = told(&["--unix", "--program", &me]);
    assert!(lines.iter().any(|line| line.contains(&written)), "a name cannot break the line: {lines:?}");
}

/// S21: a queue that fills, is full, and drops, is seen to.
#[test]
fn a_full_queue_is_told_with_its_drops() {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    rustix::net::bind(&socket, &any).expect("a port");
    rustix::net::listen(&socket, 1).expect("bound");
    let listener = TcpListener::from(socket);
    let at = listener.local_addr().expect("an address");
    let queue = || listed(&["--listening", "--port", &port(at)]).remove(0);
    assert_eq!((&queue()["waiting_connections"], &queue()["backlog_connections"]), (&0.into(), &1.into()));
    let _first = TcpStream::connect(at).expect("room");
    assert_eq!((&queue()["waiting_connections"], &queue()["full"]), (&1.into(), &false.into()));
    let _second = TcpStream::connect(at).expect("room: Linux lets one more wait than was asked for");
    let late = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::io::ioctl_fionbio(&late, true).expect("a socket");
    assert_eq!(rustix::net::connect(&late, &at), Err(rustix::io::Errno::INPROGRESS));
    wait_until("a drop", || queue()["drops"].as_u64() > Some(0), || queue().to_string());
    assert_eq!((&queue()["waiting_connections"], &queue()["full"]), (&2.into(), &true.into()));
    let lines = told(&["--listening", "--port", &port(at)]);
    assert!(lines[1].contains("2 of 1") && lines[1].contains("QUEUE FULL"), "{lines:?}");
    assert!(lines[1].contains(" dropped"), "{lines:?}");
    let below = lines.last().expect("a line");
    assert!(below.contains("overflows") && !below.contains(" 0 overflows"), "{below}");
    // The client that is not answered sends its SYN again.
    let late = listed(&["--state", "syn-sent", "--dport", &port(at)]);
    assert_eq!(late[0]["timer"]["kind"], "retransmit");
    assert!(told(&["--dport", &port(at), "--state", "syn-sent"])[1].contains("retransmit in "));
}

/// S20: whoever does not wait for children is named.
#[test]
fn zombie_children_of_the_owner_are_told() {
    let (_listener, at) = listener();
    let mut child = Command::new("true").stdin(Stdio::null()).spawn().expect("true(1)");
    let pid = child.id();
    let zombies = || listed(&["--port", &port(at)])[0]["owners"][0]["zombie_children"].clone();
    let is_there = || zombies().as_array().is_some_and(|all| all.contains(&pid.into()));
    wait_until("a zombie", is_there, || zombies().to_string());
    let lines = told(&["--port", &port(at)]);
    assert!(lines[1].contains(" zombie"), "{lines:?}");
    let said = |line: &&String| line.starts_with("zombie children of ") && line.contains(&pid.to_string());
    assert!(lines.iter().any(|line| said(&line)), "{lines:?}");
    assert!(child.wait().expect("our child").success());
}

#[test]
fn tcp_tells_its_own_numbers_on_request() {
    let (listener, at) = listener();
    let mut client = TcpStream::connect(at).expect("it listens");
    client.write_all(b"0123456789").expect("connected");
    let (_server, _) = listener.accept().expect("a client");
    let lines = told(&["--port", &port(at), "--info"]);
    assert!(lines.iter().any(|line| line.contains("rtt ") && line.contains("path MTU")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("sent 10 B in")), "{lines:?}");
    let client = listed(&["--dport", &port(at), "--state", "established"]).remove(0);
    assert_eq!(client["tcp"]["sent_bytes"], 10);
    assert!(client["tcp"]["rtt_us"].as_u64() > Some(0), "{client}");
    let listening = listed(&["--listening", "--port", &port(at)]).remove(0);
    assert!(listening["tcp"].is_null(), "{listening}");
}

/// Not at a terminal, changes are told as they come.
#[test]
fn a_watch_tells_what_came_changed_and_went() {
    let (listener, at) = listener();
    let mut child = program()
        .args(["sockets", "--watch=10ms", "--tcp", "--state", "established,fin-wait2,close-wait", "--sport"])
        .arg(port(at))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let next = |what: &str, begin: &str, part: &str| {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = heard.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("nothing of {what}"));
            if line.starts_with(begin) && line.contains(part) {
                break line;
            }
        }
    };
    let client = TcpStream::connect(at).expect("it listens");
    let (server, _) = listener.accept().expect("a client");
    let came = next("a connection", "+ tcp ", "state ESTABLISHED");
    assert!(came.contains(&client.local_addr().expect("an address").to_string()), "{came}");
    (&client).write_all(b"12345").expect("connected");
    next("bytes", "~ tcp ", "recv-q 0 → 5");
    drop(client);
    next("the end", "~ tcp ", "state ESTABLISHED → CLOSE_WAIT");
    drop(server);
    next("the close", "- tcp ", "CLOSE_WAIT");
    child.kill().expect("our child");
    let _ = child.wait();
}

#[test]
fn a_count_ends_the_watch() {
    let (_listener, at) = listener();
    let port = port(at);
    let output = run(&["--port", &port, "--watch=10ms", "--count", "3", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 3);
}

/// What an ordinary user cannot see is said, with what it would take.
#[test]
fn what_is_hidden_is_said_with_the_capability() {
    if !rustix::process::geteuid().is_root() {
        return skip("hidden owners", "only root can become another user");
    }
    let (_listener, at) = listener();
    // The program may lie where another user cannot get at it.
    let scratch = harness::Scratch::new();
    let copy = scratch.path("switchboard");
    harness::make_executable(copy.as_ref(), None);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&scratch.0, open).expect("our folder");
    let mut command = Command::new(&copy);
    command.args(["sockets", "--port", &port(at)]).uid(65534).gid(65534).stdin(Stdio::null());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return skip("hidden owners", &format!("another user cannot run {copy}: {error}")),
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("? of uid 0"), "{stdout}");
    assert!(stderr.contains("CAP_SYS_PTRACE") && stderr.lines().count() == 1, "{stderr}");
}
