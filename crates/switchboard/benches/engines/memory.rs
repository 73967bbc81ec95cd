//! Memory per idle connection: many connections that have each echoed once, and then say nothing.

use crate::client::{Client, Load};
use crate::interrupt;
use crate::report::{Table, number, say};
use crate::server::Server;
use crate::statistics::{Spread, Verdict};
use crate::subject::Subject;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Wanted of the engines that wait for events.
pub(crate) const LIMIT_BYTES: f64 = 300.0;
const MANY: usize = 10_000;
/// For those that give every connection a thread or a process.
const FEW: usize = 1_000;
/// Opened and closed before the baseline is read: what a first connection costs is not charged to every one.
const FIRST: usize = 16;
const SETTLE: Duration = Duration::from_millis(200);

/// Measures every subject this question makes sense for, prints the table, and returns what it gave for each.
pub(crate) fn run(subjects: &[Subject], descriptors: u64, processor: usize) -> Vec<(Subject, Option<f64>)> {
    let affordable = (descriptors.saturating_sub(100) as usize).min(MANY);
    if affordable < MANY {
        say(&format!("  {descriptors} descriptors hold {affordable} connections, not {MANY}: scaled down"));
    }
    let mut table = Table::new(&["server", "connections", "KiB before", "KiB idle", "bytes each"]);
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for subject in subjects {
        let connections = match subject {
            Subject::Yardstick("mmsg") => continue,
            Subject::Yardstick("epoll" | "uring") | Subject::Peer(_) => affordable,
            Subject::Yardstick(_) => affordable.min(FEW),
            Subject::Engine(engine) => match engine.name {
                "epoll-busy" | "uring-busy" => continue,
                "epoll" | "poll" | "uring" => affordable,
                "threads" | "fork" => affordable.min(FEW),
                _ => {
                    say(&format!("  {} is left out: its memory is that of its workers", subject.title()));
                    continue;
                }
            },
        };
        let (before, after) = match measure(*subject, connections, processor) {
            Ok(measured) => measured,
            Err(error) => {
                failures.push(format!("  {} failed: {error}", subject.title()));
                found.push((*subject, None));
                continue;
            }
        };
        let each = (after as f64 - before as f64) / connections as f64;
        let [before, after] = [before, after].map(|bytes| number(bytes as f64 / 1024.0));
        table.row(vec![subject.title(), connections.to_string(), before, after, number(each)]);
        found.push((*subject, Some(each)));
    }
    table.print();
    failures.iter().for_each(|failure| say(failure));
    say("  anonymous and shared pages of the whole process tree; the kernel's own memory is not in it");
    say("");
    found
}

fn measure(subject: Subject, connections: usize, processor: usize) -> io::Result<(u64, u64)> {
    let mut server = Server::start(subject.command(None)?, vec![processor])?;
    drop(open(&mut server, FIRST)?);
    std::thread::sleep(SETTLE);
    let before = server.memory_bytes();
    let client = open(&mut server, connections)?;
    let after = server.memory_bytes();
    drop(client);
    Ok((before, after))
}

fn open(server: &mut Server, connections: usize) -> io::Result<Client> {
    let client = Client::open(Load::Echo { connections, bytes: 64 }, server.port)
        .map_err(|error| io::Error::other(server.complaint(&error.to_string())))?;
    std::thread::sleep(SETTLE);
    Ok(client)
}

/// Opens very many connections to each engine that could hold them, lets all of them talk once more at the end, and
/// says what they take: of the server's memory, and of the machine's.
pub(crate) fn crowd(subjects: &[Subject], wanted: usize, descriptors: u64, processor: usize) {
    let room = (descriptors.saturating_sub(100) as usize).clamp(1, wanted);
    if room < wanted {
        say(&format!(
            "  a process has {descriptors} descriptors: several clients, and several workers of each server"
        ));
    }
    let mut table = Table::new(&[
        "server",
        "connections",
        "opened in s",
        "all answered in s",
        "user bytes each",
        "machine bytes each",
        "machine GiB for 1,000,000",
    ]);
    let mut failures = Vec::new();
    // The engines first, should there be no time for all.
    let is_engine = |subject: &&Subject| matches!(subject, Subject::Engine(_));
    let engines = subjects.iter().filter(is_engine);
    for subject in engines.chain(subjects.iter().filter(|subject| !is_engine(subject))) {
        let able = match subject {
            Subject::Yardstick(name) => ["epoll", "uring"].contains(name),
            Subject::Engine(engine) => ["epoll", "uring"].contains(&engine.name),
            Subject::Peer(_) => false,
        };
        if !able {
            continue;
        }
        match hold(*subject, wanted, room, processor) {
            Ok([opened_s, answered_s, user, machine]) => {
                say(&format!(
                    "  {}: opened in {opened_s:.1} s, all answered in {answered_s:.1} s",
                    subject.title()
                ));
                let gib = machine * 1e6 / f64::from(1 << 30);
                let mut row = vec![subject.title(), wanted.to_string()];
                row.extend([opened_s, answered_s, user, machine, gib].map(number));
                table.row(row);
            }
            Err(error) => failures.push(format!("  {} failed: {error}", subject.title())),
        }
    }
    table.print();
    failures.iter().for_each(|failure| say(failure));
    say("  the machine's bytes are of both ends, kernel and all: what free memory fell by");
    say("");
}

fn hold(subject: Subject, connections: usize, room: usize, processor: usize) -> io::Result<[f64; 4]> {
    // The kernel deals connections out to workers by chance: a few more of them, so that none is full.
    let workers = if connections > room { connections.div_ceil(room * 9 / 10) } else { 1 };
    let load = Load::Connect { at_once: 1, workers };
    let mut server = Server::start(subject.command(Some(load))?, vec![processor])?;
    drop(open(&mut server, FIRST)?);
    let (before, free_before) = (server.memory_bytes(), free_bytes());
    let started = Instant::now();
    let mut holders = Vec::new();
    for first in (0..connections).step_by(room) {
        holders.push(Holder::start(server.port, room.min(connections - first), first)?);
    }
    let complain =
        |error: io::Error, server: &mut Server| io::Error::other(server.complaint(&error.to_string()));
    for holder in &mut holders {
        holder.heard().map_err(|error| complain(error, &mut server))?;
    }
    let opened = started.elapsed();
    std::thread::sleep(SETTLE);
    let (after, free_after) = (server.memory_bytes(), free_bytes());
    let started = Instant::now();
    for holder in &mut holders {
        writeln!(holder.orders, "ask")?;
    }
    for holder in &mut holders {
        holder.heard().map_err(|error| complain(error, &mut server))?;
    }
    let answered = started.elapsed();
    let each = |bytes: u64| bytes as f64 / connections as f64;
    let (user, machine) = (after.saturating_sub(before), free_before.saturating_sub(free_after));
    Ok([opened.as_secs_f64(), answered.as_secs_f64(), each(user), each(machine)])
}

/// A process that holds connections: one alone has too few descriptors.
struct Holder {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Holder {
    fn start(port: u16, connections: usize, first: usize) -> io::Result<Holder> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--hold", &format!("{port},{connections},{first}")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        Ok(Holder { child, orders, answers: BufReader::new(answers) })
    }

    /// Waits until it has done what it was asked for.
    fn heard(&mut self) -> io::Result<()> {
        let mut line = String::new();
        // One answer for each order: what is read ahead is never more than this line.
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        loop {
            interrupt::check()?;
            match poll(&mut [PollFd::new(self.answers.get_ref(), PollFlags::IN)], Some(&second)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        match self.answers.read_line(&mut line)? {
            0 => Err(io::Error::other("a client that holds connections has failed")),
            _ => Ok(()),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The role of such a process: `PORT,CONNECTIONS,FIRST`. It says when they are open, and lets all of them talk whenever
/// it is asked; it leaves when nobody can ask any more.
pub(crate) fn holder(order: &str) -> io::Result<()> {
    let numbers: Vec<usize> = order.split(',').filter_map(|number| number.parse().ok()).collect();
    let [port, connections, first] = numbers[..] else {
        return Err(io::Error::other("PORT,CONNECTIONS,FIRST"));
    };
    crate::server::raise_descriptor_limit(0);
    let port = u16::try_from(port).map_err(io::Error::other)?;
    let mut client = Client::open_after(first, Load::Echo { connections, bytes: 64 }, port)?;
    say("open");
    for line in io::stdin().lines() {
        line?;
        client.ask_all()?;
        say("answered");
    }
    Ok(())
}

/// Memory of the machine that is free or could be, in bytes.
fn free_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Whether a measured number of bytes is what was wanted.
pub(crate) fn verdict(bytes: Option<f64>) -> Verdict {
    Verdict::at_most(Spread::of(bytes), LIMIT_BYTES)
}
