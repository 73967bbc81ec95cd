//! What the load generator costs itself: processor time per request, against a client written by hand, and against wrk
//! and sockperf where they are installed. Everybody loads a server of the same kind on a processor of its own, from the
//! other one, in turn; a ratio is that of one round, and of all rounds the median counts.
//!
//! `cargo bench --bench load`; `-- --rounds N` and `-- --slice-ms N` change how long it takes.

mod server;
mod yardstick;

use rustix::thread::{CpuSet, sched_setaffinity};
use server::Kind;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchboard_net::load::{self, Plan, Spread};
use switchboard_net::{Endpoint, Stop};
use switchboard_proto::workload::Script;
use switchboard_proto::{Sizes, Workload};

/// The processor of servers, and that of clients.
const SERVER: usize = 0;
const CLIENT: usize = 1;

const BYTES: usize = 64;
const REQUEST: &str = "send \"GET / HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n\"\nexpect \"HTTP/1.1 200 OK\\r\\n\"\n\
                       expect-to \"\\r\\n\\r\\n\"\nexpect \"hello\"\n";

/// Processor time of this thread.
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Puts this thread on a processor; on a machine without it, it stays where it is.
fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    let _ = sched_setaffinity(None, &set);
}

/// Processor time of ended children, nanoseconds.
fn children_cpu_ns() -> u64 {
    // SAFETY: all-zero bytes are a valid rusage, which the call fills.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// Nanoseconds of processor for a request.
type Cost = f64;

fn plan(to: SocketAddr, connections: usize, slice: Duration) -> io::Result<Plan> {
    let endpoint: Endpoint = format!("tcp:{to}").parse().map_err(io::Error::other)?;
    let address = endpoint.resolve().map_err(io::Error::other)?.remove(0);
    let plan = Plan::ping(address);
    let errand = plan.errand.clone().sized(Sizes::Fixed(BYTES));
    let warm_up = Duration::from_millis(30);
    Ok(Plan { errand, connections, warm_up, duration: slice, processors: vec![CLIENT], ..plan })
}

fn ours(plan: &Plan) -> io::Result<Cost> {
    let stop = Stop::new().map_err(io::Error::other)?;
    let tally = load::run(plan, &stop).map_err(io::Error::other)?;
    if tally.failed() > 0 || tally.in_time == 0 {
        return Err(io::Error::other(format!("{} errors, {:?}", tally.failed(), tally.complaint)));
    }
    Ok(tally.cpu_ns as f64 / tally.in_time as f64)
}

fn by_hand(to: SocketAddr, connections: usize, slice: Duration) -> io::Result<Cost> {
    let run = std::thread::spawn(move || {
        pin(CLIENT);
        yardstick::run(to, connections, BYTES, slice)
    });
    let (answers, cpu_ns) = run.join().map_err(|_| io::Error::other("the yardstick panicked"))??;
    Ok(cpu_ns as f64 / answers.max(1) as f64)
}

/// What wrk did in all: `1234 requests in 1.00s, …`.
fn of_wrk(text: &str) -> Option<u64> {
    let (before, _) = text.split_once(" requests in ")?;
    before.rsplit(char::is_whitespace).next()?.parse().ok()
}

/// What sockperf did in all. What it calls observations is without its own warm-up, which costs processor time too.
fn of_sockperf(text: &str) -> Option<u64> {
    let (_, total) = text.split_once("[Total Run]")?;
    let (_, number) = total.lines().next()?.split_once("ReceivedMessages=")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A program on the clients' processor: its cost by the count that it prints.
fn program(words: &[&str], count: fn(&str) -> Option<u64>) -> io::Result<Cost> {
    let before = children_cpu_ns();
    let processor = CLIENT.to_string();
    let output =
        Command::new("taskset").args(["-c", &processor]).args(words).stdin(Stdio::null()).output()?;
    let used_ns = children_cpu_ns() - before;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let requests = count(&text).filter(|n| *n > 0);
    let requests = requests.ok_or_else(|| io::Error::other(format!("{} said: {text}", words[0])))?;
    Ok(used_ns as f64 / requests as f64)
}

fn is_installed(name: &str) -> bool {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok() && Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok()
}

/// Runs both in turn and tells what the first costs against the second.
fn compare(
    out: &mut impl Write,
    what: &str,
    names: [&str; 2],
    rounds: usize,
    mut one: impl FnMut() -> io::Result<Cost>,
    mut other: impl FnMut() -> io::Result<Cost>,
) -> io::Result<()> {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            ones.push(one()?);
            others.push(other()?);
        } else {
            others.push(other()?);
            ones.push(one()?);
        }
    }
    let spread = |values: Vec<f64>| Spread::of(values).ok_or_else(|| io::Error::other("not one round"));
    let Spread { low, median: ratio, high } =
        spread(ones.iter().zip(&others).map(|(one, other)| one / other).collect())?;
    let (one, other) = (spread(ones)?.median / 1e3, spread(others)?.median / 1e3);
    writeln!(
        out,
        "{what:<28} {:<10} {one:6.2} µs  {:<10} {other:6.2} µs  ratio {ratio:.3} ({low:.3} – {high:.3})",
        names[0], names[1]
    )
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, usual: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(usual)
    };
    // `cargo test --benches` only wants to see that it works.
    let is_test = !words.iter().any(|word| word == "--bench");
    let rounds = if is_test { 1 } else { number("--rounds", 15) as usize };
    let slice = Duration::from_millis(if is_test { 50 } else { number("--slice-ms", 300) });
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "processor time of the client per request, {rounds} rounds of {slice:?}; quartiles of the ratio"
    )?;
    let echo = server::start(Kind::Echo)?;
    for connections in [1, 50, 1_000] {
        let plan = plan(echo, connections, slice)?;
        let what = format!("echo of 64 B, {connections} connections");
        compare(
            &mut out,
            &what,
            ["load", "by hand"],
            rounds,
            || ours(&plan),
            || by_hand(echo, connections, slice),
        )?;
    }
    if is_test {
        return Ok(());
    }
    let seconds = slice.as_secs().max(1).to_string();
    if is_installed("wrk") {
        let page = server::start(Kind::Page)?;
        let url = format!("http://{page}/");
        let script = Script::read(REQUEST).map_err(|problems| io::Error::other(problems.join("; ")))?;
        let plan = plan(page, 50, slice)?;
        let mut errand = Workload::find("script").expect("a row").errand(1);
        errand.script = Some(Arc::new(script));
        let plan = Plan { errand, ..plan };
        let wrk = || program(&["wrk", "-t", "1", "-c", "50", "-d", &seconds, &url], of_wrk);
        compare(&mut out, "HTTP, 50 connections", ["load", "wrk"], rounds.min(7), || ours(&plan), wrk)?;
    } else {
        writeln!(out, "SKIPPED wrk: it is not installed")?;
    }
    if is_installed("sockperf") {
        // Its server answers only its own clients.
        let at = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = at.port().to_string();
        let mut server = Command::new("taskset")
            .args(["-c", &SERVER.to_string(), "sockperf", "server", "--tcp", "-i", "127.0.0.1", "-p", &port])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let patience = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(at).is_err() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(50));
        }
        let plan = plan(echo, 1, slice)?;
        let words =
            ["sockperf", "ping-pong", "--tcp", "-i", "127.0.0.1", "-p", &port, "-m", "64", "-t", &seconds];
        let sockperf = || program(&words, of_sockperf);
        let told = compare(
            &mut out,
            "ping-pong, 1 connection",
            ["load", "sockperf"],
            rounds.min(7),
            || ours(&plan),
            sockperf,
        );
        let _ = server.kill();
        let _ = server.wait();
        told?;
    } else {
        writeln!(out, "SKIPPED sockperf: it is not installed")?;
    }
    Ok(())
}
