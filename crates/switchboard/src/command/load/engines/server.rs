//! [`Server`]: one that was started, seen from outside: its processor time and its memory, with all its descendants.

use super::contestant::{Peer, Start};
use super::machine::Machine;
use crate::command::load::tether::{free_port, tethered};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use switchboard_net::sys::process::cpu_time;
use switchboard_net::{Address, Dialing, Endpoint, dial};

/// How long a server may take to be ready, and to leave when asked.
const READY: Duration = Duration::from_secs(10);
const LEAVE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What precedes the port in our own server's first lines.
const ENDPOINT: &str = "tcp:127.0.0.1:";

pub(super) struct Server {
    child: Child,
    pub(super) address: Address,
}

impl Server {
    /// Starts it on the servers' processors and waits until it lets a client in.
    pub(super) fn start(start: Start, machine: &Machine) -> Result<Server, String> {
        let (mut command, named, told) = match start {
            Start::Own(words) => {
                let program = std::env::current_exe().map_err(|error| error.to_string())?;
                let mut command = tethered(&program);
                command.args(words).stdout(Stdio::piped());
                (command, program.to_string_lossy().into_owned(), None)
            }
            Start::Told(words) => {
                let port = free_port().map_err(|error| format!("no free port: {error}"))?;
                let words = Peer::filled(&words, port);
                let mut command = tethered(&words[0]);
                command.args(&words[1..]).stdout(Stdio::null());
                (command, words[0].clone(), Some(port))
            }
        };
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let child = machine.on_servers(|| command.spawn());
        let child = child.map_err(|error| format!("cannot start {named}: {error}"))?;
        // From here on dropping it stops it.
        let mut starting = Starting(Some(child));
        let child = starting.0.as_mut().expect("it was just put there");
        let (sender, words) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || _ = sender.send(last_words(stderr)));
        }
        let started = Instant::now();
        let port = match (told, child.stdout.take()) {
            (Some(port), _) => Some(port),
            (None, Some(stdout)) => {
                let (sender, port) = mpsc::channel();
                thread::spawn(move || announce(BufReader::new(stdout), &sender));
                port.recv_timeout(READY).ok()
            }
            (None, None) => None,
        };
        let complaint = |starting: Starting, what: &str| {
            drop(starting);
            match words.recv_timeout(LEAVE).unwrap_or_default() {
                words if words.is_empty() => what.to_owned(),
                words => format!("{what}: {words}"),
            }
        };
        let Some(port) = port else { return Err(complaint(starting, "it named no port")) };
        let endpoint: Endpoint =
            format!("127.0.0.1:{port}").parse().map_err(|error: switchboard_net::Error| error.to_string())?;
        loop {
            if let Ok((_, address)) = dial(&endpoint, &Dialing::default(), &mut |_| {}) {
                let child = starting.0.take().expect("nobody took it");
                return Ok(Server { child, address });
            }
            let ended = starting.0.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || started.elapsed() > READY {
                return Err(complaint(starting, "it let nobody in"));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Processor time that it and its descendants have used so far. Of children that have ended only hundredths of
    /// seconds are known.
    pub(super) fn cpu(&self) -> Duration {
        tree(self.child.id()).iter().map(|process| cpu_time(process.pid) + process.reaped).sum()
    }

    /// Memory of its own making, in bytes: anonymous and shared pages, each counted once however many of its
    /// processes map it.
    pub(super) fn memory(&self) -> u64 {
        let mut sum_kib = 0;
        for process in tree(self.child.id()) {
            let path = format!("/proc/{}/smaps_rollup", process.pid.as_raw_pid());
            // One that has ended since has none.
            let text = fs::read_to_string(path).unwrap_or_default();
            for line in text.lines() {
                let number = line.strip_prefix("Pss_Anon:").or_else(|| line.strip_prefix("Pss_Shmem:"));
                let number = number.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
                sum_kib += number.unwrap_or(0);
            }
        }
        sum_kib * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is not known to serve yet.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Asks it to leave, and kills what is left of it then.
fn end(child: &mut Child) {
    let Some(pid) = Pid::from_raw(child.id() as i32) else { return };
    // The list is made while the parent lives: afterwards nothing tells whose children they were.
    let family = tree(child.id());
    if let Ok(None) = child.try_wait() {
        let _ = kill_process(pid, Signal::TERM);
    }
    let asked = Instant::now();
    while asked.elapsed() < LEAVE && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(LOOK_AGAIN);
    }
    // A number may be somebody else's by now: only who started when ours did is killed.
    for process in family {
        if stat(process.pid).is_some_and(|now| now.started == process.started) {
            let _ = kill_process(process.pid, Signal::KILL);
        }
    }
    let _ = child.wait();
}

struct Process {
    pid: Pid,
    parent: i32,
    /// Time of its children that have ended and been waited for.
    reaped: Duration,
    /// With its number a name that is never used twice.
    started: u64,
}

/// The process and all its descendants.
fn tree(root: u32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    let mut found = Vec::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    for process in pids.filter_map(stat) {
        if process.pid.as_raw_pid() as u32 == root {
            found.push(process);
        } else {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next].pid.as_raw_pid()).unwrap_or_default());
        next += 1;
    }
    found
}

fn stat(pid: Pid) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The name in parentheses may itself hold parentheses; fields are counted from its end.
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // USER_HZ is 100 on every architecture of this crate.
    let reaped = Duration::from_millis((number(13)? + number(14)?) * 10);
    Some(Process { pid, parent: number(1)? as i32, reaped, started: number(19)? })
}

/// Looks for the port in what our server says, and swallows the rest.
fn announce(mut lines: impl BufRead, sender: &mpsc::Sender<u16>) {
    let mut line = String::new();
    while let Ok(1..) = lines.read_line(&mut line) {
        let digits = line.find(ENDPOINT).map(|at| &line[at + ENDPOINT.len()..]);
        let port = digits.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        if let Some(port) = port {
            let _ = sender.send(port);
            break;
        }
        line.clear();
    }
    let _ = std::io::copy(&mut lines, &mut std::io::sink());
}

/// The last line of what it complains about.
fn last_words(stderr: impl Read) -> String {
    let mut last = String::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            last = line.trim().chars().take(200).collect();
        }
    }
    last
}
