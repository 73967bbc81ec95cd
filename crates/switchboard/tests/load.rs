//! `switchboard load` (row S7): servers with known delays, stalls and faults are measured as what they are. Nothing
//! here asks that anything be fast: delays are known from below, and faults are counted at both ends.

mod harness;

use harness::{
    Over, PATIENCE, Scratch, Server, free_port, has_answers, number, program, run_load, text, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use switchboard_net::sys::processors::waited_ns;

/// Bytes of a request in these tests.
const SIZE: usize = 32;

fn begin(arguments: &[&str]) -> Child {
    begin_as(program(), arguments)
}

/// As a command that begins the program.
fn begin_as(mut command: Command, arguments: &[&str]) -> Child {
    command.arg("load").args(arguments).args(["--size", "32", "--format", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program runs")
}

/// The end of it; it is killed, and the test fails, when that takes too long. What it says fits in the pipes.
fn end(mut child: Child) -> Output {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("our child").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("load did not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("our child")
}

/// A run in whose time there are answers, if it must go well.
fn load(arguments: &[&str], code: i32) -> Value {
    let words = [arguments, &["--size", "32", "--format", "json"]].concat();
    let output = run_load(&words, |output| code != 0 || has_answers(output));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    facts(&output)
}

fn facts(output: &Output) -> Value {
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr));
    });
    assert_eq!(facts["schema"], "switchboard.load");
    // Every request that was due is sent or counted as unsent.
    if facts["open_loop"] == true && facts["ended_early"] == false {
        assert_eq!(
            number(&facts, "started") + number(&facts, "unsent"),
            number(&facts, "offered"),
            "{facts}"
        );
    }
    // Every request that was started is an answer, an error or unfinished.
    let errors: u64 = facts["errors"].as_object().expect("errors").values().filter_map(Value::as_u64).sum();
    let sum = number(&facts, "answers") + number(&facts, "unfinished") + errors;
    assert!(number(&facts, "started") <= sum, "{facts}");
    facts
}

/// What a server of this test does with its n-th request, counted from 0 over all connections.
#[derive(Clone, Copy)]
enum Deed {
    Answer,
    After(Duration),
    Damage,
    Reset,
    Close,
    Ignore,
}

/// A server that does what it is told, and counts the requests and what it did to them.
struct Peer {
    endpoint: String,
    requests: Arc<AtomicU64>,
    /// Requests that were damaged, reset, closed or ignored.
    faults: Arc<AtomicU64>,
}

impl Peer {
    fn start(deed: fn(u64) -> Deed) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        let (requests, faults) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = (Arc::clone(&requests), Arc::clone(&faults));
        // It ends with the process of the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, faults) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
                thread::spawn(move || serve(stream, deed, &requests, &faults));
            }
        });
        Peer { endpoint, requests, faults }
    }

    fn faults(&self) -> u64 {
        self.faults.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, deed: fn(u64) -> Deed, requests: &AtomicU64, faults: &AtomicU64) {
    let mut request = [0; SIZE];
    while stream.read_exact(&mut request).is_ok() {
        let deed = deed(requests.fetch_add(1, Ordering::SeqCst));
        if !matches!(deed, Deed::Answer | Deed::After(_)) {
            faults.fetch_add(1, Ordering::SeqCst);
        }
        match deed {
            Deed::Answer => {}
            Deed::After(delay) => thread::sleep(delay),
            Deed::Damage => request[SIZE - 1] ^= 1,
            Deed::Reset => {
                let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
                return;
            }
            Deed::Close => {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            Deed::Ignore => continue,
        }
        if stream.write_all(&request).is_err() {
            return;
        }
    }
}

const DELAY: Duration = Duration::from_millis(20);
const STALL: Duration = Duration::from_millis(400);

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("short")
}

#[test]
fn a_known_distribution_of_delays_has_its_percentiles() {
    // Every fourth answer is late: three quarters of the way up, the delay begins.
    // On a busy machine no late one may come in a short time.
    let mut tries = ["600ms", "5s", "20s"].into_iter().map(|duration| {
        let peer = Peer::start(|n| if n % 4 == 3 { Deed::After(DELAY) } else { Deed::Answer });
        (load(&[&peer.endpoint, "--duration", duration, "--warm-up", "0s"], 0), peer)
    });
    let found = tries.find(|(facts, _)| number(facts, "answers") >= 4);
    let (facts, peer) = found.expect("four answers in 20 s");
    let times = &facts["latency_since_sent_ns"];
    for above in ["p90", "p99", "p99.999", "max"] {
        assert!(number(times, above) >= ns(DELAY), "{above}: {facts}");
    }
    assert_eq!(facts["latency_since_due_ns"], Value::Null, "a closed loop has no due times: {facts}");
    assert_eq!(number(&facts, "answers"), peer.requests.load(Ordering::SeqCst), "{facts}");
}

#[test]
fn a_stall_is_seen_for_as_long_as_it_lasted() {
    let peer = Peer::start(|n| if n == 20 { Deed::After(STALL) } else { Deed::Answer });
    let facts = load(&[&peer.endpoint, "--duration", "1s", "--warm-up", "0s", "--rate", "200"], 0);
    let (due, sent) = (&facts["latency_since_due_ns"], &facts["latency_since_sent_ns"]);
    assert_eq!(number(&facts, "offered"), 200, "{facts}");
    // Requests are due every 5 ms, so at least 40 of 200 have waited for 200 ms of the stall or more: the 80th
    // percentile is above that, whatever else happens.
    assert_eq!(number(due, "count"), 200, "{facts}");
    assert!(number(due, "p90") >= ns(STALL) / 2, "{facts}");
    // Only one request was sent into the stall, so without correction almost nothing of it is seen ...
    assert!(number(sent, "max") >= ns(STALL), "{facts}");
    // ... and every answer takes at least as long since it was due as since it was sent.
    let total = |times: &Value| times["mean"].as_f64().expect("a mean") * number(times, "count") as f64;
    // 80 requests wait for 400, 395, 390 ... ms since they were due; one since it was sent.
    assert!(total(due) - total(sent) >= ns(STALL) as f64 * 20.0, "{facts}");
}

#[test]
fn what_a_server_that_stands_still_leaves_unsent_is_counted_with_its_wait() {
    const ANSWERED: u64 = 5;
    let peer = Peer::start(|n| if n < ANSWERED { Deed::Answer } else { Deed::Ignore });
    // Requests are due every 10 ms. The only connection waits for the sixth answer until after the end.
    let shape = ["--rate", "100", "--duration", "1s", "--warm-up", "0s", "--timeout", "2s"];
    let output = end(begin(&[&[peer.endpoint.as_str(), "--fail-if", "unsent>0"], &shape[..]].concat()));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    for said in ["had not been sent at the end", "--fail-if unsent>0"] {
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
    let facts = facts(&output);
    let (started, unsent) = (number(&facts, "started"), number(&facts, "unsent"));
    assert_eq!((number(&facts, "offered"), started + unsent), (100, 100), "{facts}");
    assert!((1..=ANSWERED + 1).contains(&started), "{facts}");
    // Nothing comes afterwards, neither on that connection nor on one that takes its place.
    assert_eq!(peer.requests.load(Ordering::SeqCst), started, "{facts}");
    assert_eq!(number(&facts["errors"], "timeout"), started - number(&facts, "answers"), "{facts}");
    let (due, sent) = (&facts["latency_since_due_ns"], &facts["latency_since_sent_ns"]);
    assert_eq!(number(due, "count"), number(&facts, "answers") + unsent, "{facts}");
    assert_eq!(number(sent, "count"), number(&facts, "answers"), "{facts}");
    // The k-th from the end had waited for k times 10 ms, and no answer is faster than the fastest.
    let waited = (1..=unsent).map(|k| k * 10_000_000);
    assert!(number(due, "max") >= unsent * 10_000_000, "{facts}");
    assert!(number(due, "min") >= number(sent, "min"), "{facts}");
    let mean = due["mean"].as_f64().expect("a mean") * number(due, "count") as f64;
    assert!(mean >= waited.sum::<u64>() as f64 * 0.999, "three digits are kept: {facts}");
}

#[test]
fn a_rate_that_is_impossible_ends_with_its_time_and_forgets_nothing() {
    let peer = Peer::start(|_| Deed::Answer);
    // Longer than anybody waits for this test: as long might go on what would still send what it owes.
    let shape = ["-c", "2", "--rate", "10M", "-d", "300ms", "--warm-up", "0s", "--timeout", "1h"];
    let facts = load(&[&[peer.endpoint.as_str()], &shape[..]].concat(), 0);
    let (started, unsent) = (number(&facts, "started"), number(&facts, "unsent"));
    assert_eq!((number(&facts, "offered"), started + unsent), (3_000_000, 3_000_000), "{facts}");
    assert_eq!(
        (number(&facts, "answers"), peer.requests.load(Ordering::SeqCst)),
        (started, started),
        "{facts}"
    );
    assert_eq!(number(&facts["latency_since_due_ns"], "count"), 3_000_000, "{facts}");
}

#[test]
fn faults_are_counted_one_by_one_and_never_as_answers() {
    for (name, deed) in [
        ("wrong_content", (|n| if n % 3 == 2 { Deed::Damage } else { Deed::Answer }) as fn(u64) -> Deed),
        ("reset", |n| if n % 3 == 2 { Deed::Reset } else { Deed::Answer }),
        ("closed", |n| if n % 3 == 2 { Deed::Close } else { Deed::Answer }),
    ] {
        for workload in ["ping", "connect"] {
            let peer = Peer::start(deed);
            let limits = ["--duration", "600ms", "--warm-up", "0s", "--workload", workload];
            let arguments =
                [&[peer.endpoint.as_str(), "-c", "3", "--fail-if", "errors>0"], &limits[..]].concat();
            let facts = load(&arguments, 1);
            assert!(peer.faults() > 0, "{name}, {workload}: {facts}");
            assert_eq!(number(&facts["errors"], name), peer.faults(), "{name}, {workload}: {facts}");
            let right = peer.requests.load(Ordering::SeqCst) - peer.faults();
            assert_eq!(number(&facts, "answers"), right, "{name}, {workload}: {facts}");
        }
    }
}

#[test]
fn silence_is_a_time_out() {
    let peer = Peer::start(|_| Deed::Ignore);
    let limits = ["--duration", "300ms", "--warm-up", "0s", "--timeout", "1s"];
    let facts = load(&[&[peer.endpoint.as_str()], &limits[..]].concat(), 1);
    assert!(number(&facts["errors"], "timeout") > 0, "{facts}");
    assert_eq!(number(&facts, "answers"), 0, "{facts}");
    assert_eq!(facts["latency_since_sent_ns"], Value::Null, "{facts}");
}

#[test]
fn refusals_are_counted_and_a_server_that_is_not_there_is_said() {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    let child = begin(&[&endpoint, "--duration", "2s", "--warm-up", "0s"]);
    // The first connection chooses the address; then nobody listens any more.
    listener.set_nonblocking(true).expect("a socket");
    let mut first = None;
    let mut accept = || {
        first = listener.accept().ok();
        first.is_some()
    };
    wait_until("a connection", &mut accept, || "nobody comes".to_owned());
    drop(listener);
    let output = end(child);
    drop(first);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let facts = facts(&output);
    assert!(number(&facts["errors"], "refused") > 0, "{facts}");
    assert_eq!(number(&facts, "answers"), 0, "{facts}");
    let output = end(begin(&[&endpoint, "--duration", "500ms"]));
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("refused"), "{}", text(&output.stderr));
}

#[test]
fn a_first_interrupt_reports_what_there_is() {
    let peer = Peer::start(|_| Deed::Answer);
    let child = begin(&[&peer.endpoint, "--duration", "1h", "--warm-up", "0s"]);
    let asked = || peer.requests.load(Ordering::SeqCst);
    wait_until("requests", || asked() > 10, || format!("{} requests", asked()));
    kill_process(Pid::from_child(&child), Signal::INT).expect("our child");
    let output = end(child);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let facts = facts(&output);
    assert_eq!(facts["ended_early"], true, "{facts}");
    assert!(number(&facts, "answers") > 0, "{facts}");
}

/// Ends a run that would last for an hour when so many requests have come.
fn interrupted(child: Child, peer: &Peer, requests: u64) -> Value {
    let asked = || peer.requests.load(Ordering::SeqCst);
    wait_until("requests", || asked() >= requests, || format!("{} requests", asked()));
    kill_process(Pid::from_child(&child), Signal::INT).expect("our child");
    facts(&end(child))
}

#[test]
fn a_rate_is_of_what_came_whenever_it_was_asked_for() {
    // The first request is asked for in the warm-up, the last one has no answer: by those that began and ended within
    // the measured time a slow server looks slower than it is.
    let peer = Peer::start(|n| if n == 0 { Deed::After(STALL) } else { Deed::Ignore });
    let child = begin(&[&peer.endpoint, "--duration", "1h", "--warm-up", "10ms"]);
    let facts = interrupted(child, &peer, 2);
    assert_eq!(number(&facts, "answers_in_time"), 1, "{facts}");
    assert!(facts["rate_per_s"].as_f64().expect("a rate") > 0.0, "{facts}");
}

#[test]
fn what_the_warm_up_could_not_start_is_forgotten() {
    // The only connection is kept busy for longer than the warm-up; 40 more requests were due in that.
    let peer = Peer::start(|n| if n == 0 { Deed::After(STALL) } else { Deed::Answer });
    let facts = load(&[&peer.endpoint, "--duration", "1s", "--warm-up", "200ms", "--rate", "200"], 0);
    assert_eq!(number(&facts, "offered"), 200, "{facts}");
    let came = peer.requests.load(Ordering::SeqCst);
    assert!(came <= 1 + number(&facts, "started"), "{came} requests came: {facts}");
}

#[test]
fn a_generator_that_slept_blames_itself() {
    const PER_S: u64 = 500;
    // A server so far behind that every connection waits for it may have been the reason as well: then it is tried
    // again.
    let late = (0..5).map(|_| {
        let peer = Peer::start(|_| Deed::Answer);
        let rate = PER_S.to_string();
        let child =
            begin(&[&peer.endpoint, "--duration", "1h", "--warm-up", "0s", "-c", "50", "--rate", &rate]);
        let asked = || peer.requests.load(Ordering::SeqCst);
        wait_until("requests", || asked() > 10, || format!("{} requests", asked()));
        kill_process(Pid::from_child(&child), Signal::STOP).expect("our child");
        thread::sleep(STALL);
        let before = asked();
        kill_process(Pid::from_child(&child), Signal::CONT).expect("our child");
        // All that was due meanwhile, and a little more.
        let due = PER_S * ns(STALL) / 1_000_000_000;
        let facts = interrupted(child, &peer, before + due + 10);
        assert!(number(&facts, "started") >= due, "{facts}");
        (number(&facts["generator"], "late"), facts)
    });
    // Those that were due in the last millisecond were not late, whoever slept.
    let least = PER_S * ns(STALL - Duration::from_millis(20)) / 1_000_000_000;
    let mut late = late.skip_while(|(late, _)| *late < least);
    let (_, facts) = late.next().expect("a generator that knows that it slept");
    assert!(!facts["generator"]["saturated"].as_array().expect("reasons").is_empty(), "{facts}");
}

/// Nobody else has let the generator run: what it took for the server's delay was its own.
#[test]
fn a_generator_that_waits_for_a_processor_says_so() {
    if waited_ns().is_none() {
        return harness::skip("waiting for a processor", "this kernel does not count it (schedstat)");
    }
    let allowed = sched_getaffinity(None).expect("our own");
    let processor = (0..CpuSet::MAX_CPU).find(|processor| allowed.is_set(*processor)).expect("one of them");
    let peer = Peer::start(|_| Deed::Answer);
    let is_over = AtomicBool::new(false);
    let facts = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut only = CpuSet::new();
                only.set(processor);
                sched_setaffinity(None, &only).expect("one of those we may use");
                while !is_over.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
            });
        }
        // The lowest of priorities (nice(1)): who else is ready to run comes first.
        let _over = Over(&is_over);
        let mut command = Command::new("nice");
        command.args(["-n", "19", env!("CARGO_BIN_EXE_switchboard")]);
        let pin = processor.to_string();
        facts(&end(begin_as(command, &[&peer.endpoint, "--pin", &pin, "-d", "1s", "--warm-up", "0s"])))
    });
    let generator = &facts["generator"];
    assert!(generator["waited"].as_f64().expect("a share") > 0.2, "{facts}");
    assert!(generator["saturated"][0].as_str().expect("a reason").contains("waited"), "{facts}");
}

/// connect(2) at a Unix socket whose accept queue is full waits, and a server that has one client at a time goes on only
/// when that one asks.
#[test]
fn a_full_accept_queue_keeps_nobody_else_waiting() {
    let scratch = Scratch::new();
    let path = scratch.path("one");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    rustix::net::listen(&listener, 1).expect("a listener");
    let requests = Arc::new(AtomicU64::new(0));
    let peer = Peer { endpoint: format!("unix:{path}"), requests, faults: Arc::default() };
    let requests = Arc::clone(&peer.requests);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, mut bytes) = (stream, [0; SIZE]);
            while stream.read_exact(&mut bytes).is_ok() {
                requests.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&bytes);
            }
        }
    });
    let child = begin(&[&peer.endpoint, "-c", "10", "-d", "1h", "--warm-up", "0s", "--timeout", "1h"]);
    let facts = interrupted(child, &peer, 20);
    assert!(number(&facts, "answers_in_time") > 0, "{facts}");
}

#[test]
fn our_own_server_gives_every_answer_over_tcp_and_unix() {
    let scratch = Scratch::new();
    let path = format!("unix:{}", scratch.path("echo"));
    for listen in ["127.0.0.1:0", path.as_str()] {
        let server = Server::start(&["echo", "--listen", listen]);
        let endpoint = server.endpoint();
        let limits = ["--duration", "600ms", "--warm-up", "50ms", "-c", "6", "--workers", "2"];
        for more in [&["--depth", "4"][..], &["--workload", "connect"], &["--rate", "300"]] {
            let facts = load(&[&[endpoint.as_str()], &limits[..], more].concat(), 0);
            let errors = facts["errors"].as_object().expect("errors");
            assert!(errors.values().all(|count| count == 0), "{more:?}: {facts}");
            assert!(number(&facts, "answers") > 0, "{more:?}: {facts}");
            assert!(number(&facts["generator"], "cpu_ns") > 0, "{more:?}: {facts}");
        }
        assert_eq!(server.stop().code, Some(0));
    }
}

#[test]
fn thresholds_set_the_exit_code() {
    let peer = Peer::start(|_| Deed::After(Duration::from_millis(1)));
    let limits = ["--duration", "500ms", "--warm-up", "0s", "--fail-if"];
    for (condition, code) in
        [("min<1ms", 0), ("errors>0", 0), ("min>=1ms", 1), ("rate>0", 1), ("p50>soon", 2)]
    {
        let words = [&[peer.endpoint.as_str()], &limits[..], &[condition]].concat();
        let output = run_load(&words, has_answers);
        assert_eq!(output.status.code(), Some(code), "{condition}: {}", text(&output.stderr));
    }
}
