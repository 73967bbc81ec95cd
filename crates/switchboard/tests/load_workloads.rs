//! What the clients of `load` do (row S7): each workload against a server that is right, and against one that is wrong in
//! a known way. Nothing here asks that anything be fast.

mod harness;

use harness::{PATIENCE, Scratch, Server, has_answers, number, program, run_load, run_to_end, text};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// `switchboard load ARGUMENTS`, which must end with this code: its facts and what it said. In its time there are answers,
/// or where it must fail errors.
fn load(arguments: &[&str], code: i32) -> (Value, String) {
    let words = [arguments, &["--warm-up", "0s", "-q", "--format", "json"]].concat();
    let facts = |output: &Output| serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let output = run_load(&words, |output| match code {
        0 => has_answers(output),
        1 => errors(&facts(output)) > 0,
        _ => true,
    });
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    (facts(&output), said)
}

fn errors(facts: &Value) -> u64 {
    facts["errors"].as_object().expect("errors").values().filter_map(Value::as_u64).sum()
}

/// A server that does this with every connection; it ends with the process of the test.
fn serve(each: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || each(stream));
        }
    });
    endpoint
}

fn lines(stream: &TcpStream) -> impl Iterator<Item = String> + use<> {
    BufReader::new(stream.try_clone().expect("a descriptor")).lines().map_while(Result::ok)
}

#[test]
fn sizes_are_spread_and_every_one_is_checked() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    for size in ["uniform:1-3000", "zipf:1-64KiB", "mix:8*5,10000*1", "100KiB"] {
        let (facts, _) = load(&[&server.endpoint(), "-s", size, "-c", "3", "--depth", "3", "-d", "200ms"], 0);
        assert_eq!(errors(&facts), 0, "{size}: {facts}");
        assert!(number(&facts, "answers") > 0, "{size}: {facts}");
    }
    // A seqpacket socket keeps messages whole.
    let scratch = Scratch::new();
    let place = format!("unix-seqpacket:{}", scratch.path("echo"));
    let server = Server::start(&["echo", "--listen", &place]);
    let (facts, _) = load(&[&server.endpoint(), "-s", "uniform:1-9000", "-d", "200ms"], 0);
    assert!(errors(&facts) == 0 && number(&facts, "answers") > 0, "{facts}");
}

#[test]
fn streams_go_up_down_and_both_ways() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let (facts, _) = load(&[&server.endpoint(), "--workload", "stream", "-c", "2", "-d", "300ms"], 0);
    assert!(number(&facts, "bytes_up") > 0 && number(&facts, "bytes_down") > 0, "{facts}");
    assert_eq!(errors(&facts), 0, "{facts}");
    let server = Server::start(&["discard", "--listen", "127.0.0.1:0"]);
    let up = ["--workload", "stream", "--direction", "up", "-d", "300ms", "--size", "1000"];
    let (facts, _) = load(&[&[server.endpoint().as_str()], &up[..]].concat(), 0);
    assert!(number(&facts, "bytes_up") > 0 && number(&facts, "bytes_down") == 0, "{facts}");
    let server = Server::start(&["chargen", "--listen", "127.0.0.1:0"]);
    let down = ["--workload", "stream", "--direction", "down", "-d", "300ms"];
    let (facts, _) = load(&[&[server.endpoint().as_str()], &down[..]].concat(), 0);
    assert!(number(&facts, "bytes_up") == 0 && number(&facts, "bytes_down") > 0, "{facts}");
}

#[test]
fn a_stream_with_a_byte_too_few_is_wrong() {
    let endpoint = serve(|mut stream| {
        let mut bytes = vec![0; 65_536];
        let mut total = 0;
        while let Ok(n @ 1..) = stream.read(&mut bytes) {
            // The 100,000th byte gets lost.
            let skip = (100_000_usize).checked_sub(total).filter(|at| *at < n);
            total += n;
            let sent = match skip {
                Some(at) => stream.write_all(&[&bytes[..at], &bytes[at + 1..n]].concat()),
                None => stream.write_all(&bytes[..n]),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let limits = ["--workload", "stream", "-d", "400ms", "--fail-if", "errors>0"];
    let (facts, said) = load(&[&[endpoint.as_str()], &limits[..]].concat(), 1);
    assert!(number(&facts["errors"], "wrong_content") > 0, "{facts}");
    assert!(said.contains("of the stream is") && facts["first_wrong_answer"].is_string(), "{said}: {facts}");
}

#[test]
fn idle_connections_are_held_and_answer_at_the_end() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let (facts, _) = load(&[&server.endpoint(), "--workload", "idle", "-c", "200", "-d", "200ms"], 0);
    assert_eq!(number(&facts, "open_connections"), 200, "{facts}");
    assert_eq!(number(&facts, "answers"), 400, "each answers when it is new and again at the end: {facts}");
    let shape = ["--workload", "idle", "-c", "100", "-d", "200ms", "--workers", "3", "--interval", "20ms"];
    let part = ["--ramp", "100ms", "--shard", "2/2"];
    let (facts, _) = load(&[&[server.endpoint().as_str()], &shape[..], &part].concat(), 0);
    assert_eq!(number(&facts, "open_connections"), 50, "of every worker, whoever was over first: {facts}");
    // A server that lets some go: they are errors, though nothing was asked of them.
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let endpoint = serve(|mut stream| {
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {
            // Of those who ask; the connection that only chose the address does not.
            let turn = SEEN.fetch_add(1, Ordering::SeqCst);
            if turn < 20 && turn % 4 == 3 {
                return;
            }
        }
    });
    let limits = ["--workload", "idle", "-c", "20", "-d", "300ms", "--fail-if", "errors>0"];
    let (facts, _) = load(&[&[endpoint.as_str()], &limits[..]].concat(), 1);
    let closed = number(&facts["errors"], "closed") + number(&facts["errors"], "reset");
    assert_eq!(closed, 5, "{facts}");
    assert_eq!(number(&facts, "open_connections"), 15, "{facts}");
    assert_eq!(number(&facts, "answers"), 20 + 15, "{facts}");
}

#[test]
fn wrong_sums_are_found() {
    let server = Server::start(&["sum", "--listen", "127.0.0.1:0"]);
    let (facts, _) = load(&[&server.endpoint(), "--workload", "sum", "--depth", "5", "-d", "200ms"], 0);
    assert!(errors(&facts) == 0 && number(&facts, "answers") > 0, "{facts}");
    let endpoint = serve(|mut stream| {
        for (index, line) in lines(&stream).enumerate() {
            let sum: i64 = line.split_whitespace().filter_map(|n| n.parse::<i64>().ok()).sum();
            if writeln!(stream, "{}", sum + i64::from(index == 2)).is_err() {
                return;
            }
        }
    });
    let limits = ["--workload", "sum", "-d", "300ms", "--fail-if", "errors>0"];
    let (facts, said) = load(&[&[endpoint.as_str()], &limits[..]].concat(), 1);
    assert!(number(&facts["errors"], "wrong_content") > 0, "{facts}");
    assert!(said.contains(" is not "), "{said}");
}

#[test]
fn lost_doubled_reordered_and_damaged_datagrams_are_told_apart() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("udp:{}", socket.local_addr().expect("an address"));
    // What was done, by kind: lost, doubled, swapped, damaged.
    let done: Arc<[AtomicU64; 4]> = Arc::default();
    let counts = Arc::clone(&done);
    thread::spawn(move || {
        let mut bytes = [0; 2_048];
        let mut held: Option<(Vec<u8>, std::net::SocketAddr)> = None;
        for n in 0_u64.. {
            let Ok((length, from)) = socket.recv_from(&mut bytes) else { return };
            let mut answer = bytes[..length].to_vec();
            let count = |kind: usize| counts[kind].fetch_add(1, Ordering::SeqCst);
            match n % 10 {
                2 => _ = count(0),
                4 => {
                    count(1);
                    let _ = socket.send_to(&answer, from);
                    let _ = socket.send_to(&answer, from);
                }
                // It goes out behind the next one.
                6 => held = Some((answer, from)),
                7 => {
                    let _ = socket.send_to(&answer, from);
                    if let Some((before, from)) = held.take() {
                        count(2);
                        let _ = socket.send_to(&before, from);
                    }
                }
                8 => {
                    count(3);
                    answer[length - 1] ^= 1;
                    let _ = socket.send_to(&answer, from);
                }
                _ => _ = socket.send_to(&answer, from),
            }
        }
    });
    // As deep as there are datagrams: each is sent, however late.
    let limits = ["--rate", "400", "--depth", "200", "-d", "500ms", "--timeout", "2s"];
    let (facts, _) = load(&[&[endpoint.as_str()], &limits[..]].concat(), 0);
    let done = |kind: usize| done[kind].load(Ordering::SeqCst);
    assert_eq!(number(&facts, "offered"), 200, "{facts}");
    assert_eq!(number(&facts["errors"], "lost") + number(&facts, "unfinished"), done(0), "{facts}");
    assert_eq!(number(&facts, "doubled"), done(1), "{facts}");
    assert_eq!(number(&facts, "reordered"), done(2), "{facts}");
    assert_eq!(number(&facts["errors"], "wrong_content"), done(3), "{facts}");
    assert_eq!(number(&facts, "answers"), number(&facts, "started") - done(0) - done(3), "{facts}");
}

#[test]
fn datagrams_go_over_udp_and_unix_sockets() {
    let scratch = Scratch::new();
    let place = format!("unix-dgram:{}", scratch.path("echo"));
    for listen in ["udp:127.0.0.1:0", place.as_str()] {
        let server = Server::start(&["echo", "--listen", listen]);
        // The server answers so many datagrams of one source a second at least.
        let (facts, _) = load(&[&server.endpoint(), "--rate", "50", "-d", "400ms", "-s", "uniform:8-500"], 0);
        assert!(errors(&facts) == 0 && number(&facts, "answers") > 0, "{listen}: {facts}");
        assert_eq!(number(&facts, "answers"), number(&facts, "started"), "{listen}: {facts}");
    }
}

#[test]
fn a_script_speaks_any_protocol() {
    let scratch = Scratch::new();
    let path = scratch.path("smtp.txt");
    let script = "# greeting once, then NOOP after NOOP\nexpect \"220 \"\nexpect-to \"\\n\"\nsend \"HELO me\\r\\n\"\n\
                  expect-line \"250\"\nrepeat\nsend \"NOOP\\r\\n\"\nexpect-line \"250\"\n";
    std::fs::write(&path, script).expect("a scratch file");
    static GREETED: AtomicU64 = AtomicU64::new(0);
    let endpoint = serve(|mut stream| {
        let _ = stream.write_all(b"220 mail.example\r\n");
        for line in lines(&stream) {
            let answer = match line.as_str() {
                "HELO me" => {
                    GREETED.fetch_add(1, Ordering::SeqCst);
                    "250 hello\r\n"
                }
                "NOOP" => "250 ok\r\n",
                _ => "500 what?\r\n",
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let (facts, _) = load(&[&endpoint, "--script", &path, "-c", "3", "-d", "300ms"], 0);
    assert!(errors(&facts) == 0 && number(&facts, "answers") > 0, "{facts}");
    assert_eq!(GREETED.load(Ordering::SeqCst), 3, "once for each connection: {facts}");
    // A wrong answer is told with the line that expected another one.
    std::fs::write(&path, script.replace("NOOP", "NOPE")).expect("a scratch file");
    let (facts, said) = load(&[&endpoint, "--script", &path, "-d", "200ms"], 1);
    assert!(number(&facts["errors"], "wrong_content") > 0, "{facts}");
    assert!(said.contains("script line 8: expected \"250\", came \"500 what?"), "{said}");
    // A script that is wrong is refused, line by line, before anything is connected.
    std::fs::write(&path, "say \"x\"\nexpect y\n").expect("a scratch file");
    let (_, said) = load(&["127.0.0.1:1", "--script", &path], 2);
    assert!(said.contains("smtp.txt: line 1: `say`") && said.contains("line 2: a text in quotes"), "{said}");
}

#[test]
fn a_script_that_ends_with_the_connection_makes_many() {
    let scratch = Scratch::new();
    let path = scratch.path("http.txt");
    std::fs::write(&path, "send \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect \"HTTP/1.0 200\"\nexpect-end\n")
        .expect("a file");
    static SERVED: AtomicU64 = AtomicU64::new(0);
    let endpoint = serve(|mut stream| {
        if lines(&stream).any(|line| line.is_empty()) {
            SERVED.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello");
        }
    });
    let (facts, _) = load(&[&endpoint, "--script", &path, "-c", "2", "-d", "300ms"], 0);
    assert_eq!(errors(&facts), 0, "{facts}");
    assert_eq!(
        number(&facts, "answers") + number(&facts, "unfinished"),
        SERVED.load(Ordering::SeqCst),
        "{facts}"
    );
}

#[test]
fn connections_come_from_every_source() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    let seen: Arc<Mutex<HashSet<std::net::IpAddr>>> = Arc::default();
    let sources = Arc::clone(&seen);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let from = stream.peer_addr().expect("a peer").ip();
            sources.lock().expect("no panic inside").insert(from);
            thread::spawn(move || {
                let mut bytes = [0; 64];
                while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
            });
        }
    });
    // One of those that we may use.
    let allowed = sched_getaffinity(None).expect("our own");
    let pin = (0..CpuSet::MAX_CPU).find(|at| allowed.is_set(*at)).expect("one of them").to_string();
    let shape =
        ["-c", "8", "--source", "127.0.0.2-127.0.0.4", "--ramp", "100ms", "--workers", "2", "--pin", &pin];
    let (facts, _) =
        load(&[&[endpoint.as_str()], &shape[..], &["-d", "200ms", "--think-time", "5ms"]].concat(), 0);
    assert_eq!(errors(&facts), 0, "{facts}");
    // Shards have every N-th connection, and each of them uses every source.
    let shape = ["-c", "6", "--source", "127.0.0.5-127.0.0.7", "--shard", "3/3", "-d", "100ms"];
    let (facts, _) = load(&[&[endpoint.as_str()], &shape[..]].concat(), 0);
    assert_eq!(errors(&facts), 0, "{facts}");
    let seen = seen.lock().expect("no panic inside");
    for source in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6"] {
        assert!(seen.contains(&source.parse().expect("an address")), "{seen:?}");
    }
}

/// What is asked for in the measured time is sent in it, and what comes back is as much, but for the last answers.
#[test]
fn bytes_of_requests_are_those_that_the_server_got() {
    const MOST: u64 = 2_000;
    static CAME: AtomicU64 = AtomicU64::new(0);
    let tcp = serve(|mut stream| {
        let mut bytes = [0; MOST as usize];
        while let Ok(n @ 1..) = stream.read(&mut bytes) {
            CAME.fetch_add(n as u64, Ordering::SeqCst);
            if stream.write_all(&bytes[..n]).is_err() {
                return;
            }
        }
    });
    // The facts of a run that has answers, and the bytes that came in it.
    let run = |endpoint: &str, more: &[&str]| {
        let mut tried = ["300ms", "2s", "10s"].into_iter().map(|duration| {
            let before = CAME.load(Ordering::SeqCst);
            let shape = [
                "-c",
                "3",
                "-s",
                "uniform:8-2000",
                "--warm-up",
                "0s",
                "-q",
                "--format",
                "json",
                "-d",
                duration,
            ];
            let output =
                run_to_end(program().args(["load", endpoint]).args(shape).args(more), None, PATIENCE);
            (output, CAME.load(Ordering::SeqCst) - before)
        });
        let found = tried.find(|(output, _)| has_answers(output));
        let (output, came) = found.expect("answers in 10 s");
        (serde_json::from_slice::<Value>(&output.stdout).expect("JSON"), came, text(&output.stderr))
    };
    for workload in ["ping", "connect"] {
        let (facts, came, said) = run(&tcp, &["--workload", workload, "--fail-if", "throughput>1B"]);
        let (up, down) = (number(&facts, "bytes_up"), number(&facts, "bytes_down"));
        // A connection that is made before the end is asked on after it.
        let least = if workload == "ping" { came } else { came.saturating_sub(3 * MOST) };
        assert!((least..=came).contains(&up), "{came} bytes came: {facts}");
        assert!(down <= came && down + 3 * MOST >= up, "{came} bytes came: {facts}");
        let moved =
            facts["bytes_per_s"].as_f64().expect("a rate") * number(&facts, "measured_ns") as f64 / 1e9;
        assert!(
            (moved - (up + down) as f64).abs() < 1.0 && said.contains("throughput>1B"),
            "{said}: {facts}"
        );
    }
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let udp = format!("udp:{}", server.local_addr().expect("an address"));
    thread::spawn(move || {
        let mut bytes = [0; MOST as usize];
        while let Ok((n, from)) = server.recv_from(&mut bytes) {
            CAME.fetch_add(n as u64, Ordering::SeqCst);
            let _ = server.send_to(&bytes[..n], from);
        }
    });
    let (facts, came, _) = run(&udp, &["--timeout", "10s"]);
    let (up, down) = (number(&facts, "bytes_up"), number(&facts, "bytes_down"));
    assert!(up <= came && up + 3 * MOST >= came && down <= came, "{came} bytes came: {facts}");
}

/// Answers to what was sent in the warm-up are none of the measured time's, like those that lack there.
#[test]
fn a_late_answer_to_the_warm_up_is_not_counted() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let udp = format!("udp:{}", server.local_addr().expect("an address"));
    thread::spawn(move || {
        let mut bytes = [0; 64];
        let (n, from) = server.recv_from(&mut bytes).expect("the first one");
        // Later than its time-out, and then again and again; it ends with the process of the test.
        loop {
            thread::sleep(Duration::from_millis(300));
            let _ = server.send_to(&bytes[..n], from);
        }
    });
    let shape = ["--timeout", "50ms", "--warm-up", "1s", "-d", "1s", "-q", "--format", "json"];
    let output = run_to_end(program().args(["load", udp.as_str()]).args(shape), None, PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let facts: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(number(&facts["errors"], "lost") > 0, "{facts}");
    for name in ["too_late", "doubled", "answers"] {
        assert_eq!(number(&facts, name), 0, "{name}: {facts}");
    }
}

#[test]
fn what_cannot_be_done_is_said_with_the_way_out() {
    let scratch = Scratch::new();
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0", "--listen", "udp:127.0.0.1:0"]);
    let listeners = server.listeners();
    let of =
        |kind: &str| listeners.iter().find(|(_, at)| at.starts_with(kind)).expect("a listener").1.clone();
    let (tcp, udp, path) = (of("tcp"), of("udp"), scratch.path("none"));
    for (arguments, part) in [
        (vec![tcp.as_str(), "--workload", "datagram"], "for streams there is `ping`"),
        (vec![&udp, "--workload", "ping"], "for datagrams there is `datagram`"),
        (vec![&tcp, "--workload", "pong"], "there are ping, stream"),
        (vec![&tcp, "--size", "gauss:1-2"], "is not a distribution"),
        (vec![&tcp, "--source", "::1"], "the families differ"),
        (vec![&tcp, "--workload", "idle", "--rate", "5"], "no requests that a rate"),
        (vec![&tcp, "--shard", "3/2"], "use I/N"),
        (vec![&tcp, "--start-at", "noon"], "is no time"),
        (vec![&tcp, "--script", &path], "cannot read the script"),
        (vec![&tcp, "--server-pid", "2000000000"], "no such process"),
        (vec![&tcp, "--shard", "2/2"], "has none: use fewer shards"),
        (vec![&tcp, "--fail-if", "p99>5"], "a time needs its unit"),
        (vec![&tcp, "--workload", "stream", "--fail-if", "rate<5"], "a stream has no answers"),
        (
            vec![&tcp, "--workload", "stream", "--direction", "up", "--fail-if", "p99>1s"],
            "there is the throughput",
        ),
        (vec![&tcp, "--source", "192.0.2.1"], "cannot connect from 192.0.2.1"),
    ] {
        let (_, said) = load(&arguments, 2);
        // clap wraps its own messages.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[test]
fn the_use_of_the_server_is_found_by_its_port() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let (facts, _) = load(&[&server.endpoint(), "-d", "300ms", "-c", "4"], 0);
    let used = &facts["server"];
    assert_eq!(used["pid"].as_i64(), Some(i64::from(server.pid().as_raw_nonzero().get())), "{facts}");
    for name in ["memory_bytes", "descriptors", "switches_voluntary"] {
        assert!(number(used, name) > 0, "{name}: {facts}");
    }
}

#[test]
fn a_start_at_a_time_waits_for_it() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let at = now() + Duration::from_millis(700);
    let (facts, _) =
        load(&[&server.endpoint(), "-d", "50ms", "--start-at", &format!("@{}", at.as_secs_f64())], 0);
    let began = Duration::from_nanos(number(&facts["plan"], "began_unix_ns"));
    assert!(began + Duration::from_millis(1) >= at, "{began:?} is before {at:?}");
}
