//! A server under measurement: a process of its own, with whatever processes it starts, seen from outside.
//!
//! CPU time and memory are those of the whole process tree. Live processes are read through their CPU clock,
//! which counts nanoseconds and includes threads that have ended; children that have ended and been waited
//! for are known only in clock ticks, which is why a forking server's time per connection is coarse.

use crate::interrupt;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use switchboard_net::sys::family::Family;

/// How long a server may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to leave when asked, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// What precedes the port in a server's first lines, whatever else they hold.
const ENDPOINT: &str = "127.0.0.1:";

pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    errors: Arc<Mutex<String>>,
}

impl Server {
    /// Starts the program on the given processor and waits until it names the port it listens on.
    pub(crate) fn start(mut command: Command, processors: Vec<usize>) -> io::Result<Server> {
        interrupt::check()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: both calls are bare system calls, which a forked child may make before it becomes the
        // program.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::TERM))?;
                if !processors.is_empty() {
                    pin(&processors)?;
                }
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let errors = Arc::new(Mutex::new(String::new()));
        // From here on, dropping it stops the process.
        let mut server = Server { child, port: 0, errors: Arc::clone(&errors) };
        // Both pipes are read to their end, so that a server that talks is never stopped by a full pipe.
        let (sender, receiver) = mpsc::channel();
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            std::thread::spawn(move || announce(stdout, &sender));
            std::thread::spawn(move || remember(stderr, &errors));
        }
        let Ok(port) = receiver.recv_timeout(READY_TIMEOUT) else {
            return Err(io::Error::other(server.complaint("named no port")));
        };
        server.port = port;
        Ok(server)
    }

    /// Asks it to leave and waits until it has; valgrind writes then what it counted.
    pub(crate) fn leave(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < READY_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What went wrong, with the server's own last words.
    pub(crate) fn complaint(&mut self, what: &str) -> String {
        // The reader of its standard error may be a moment behind.
        std::thread::sleep(Duration::from_millis(50));
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("{what} ({status})"),
            _ => what.to_owned(),
        };
        let words = self.errors.lock().map(|words| words.clone()).unwrap_or_default();
        if words.is_empty() { state } else { format!("{state}: {words}") }
    }

    /// The process and all its descendants.
    fn family(&self) -> Family {
        Family::of(Pid::from_child(&self.child))
    }

    /// CPU time the tree has used so far, user and kernel, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.family().cpu().as_nanos() as u64
    }

    /// Memory of the tree's own making, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.family().own_memory_bytes()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The list is made while the parent lives: afterwards nothing tells whose children they were.
        let family = self.family();
        let Some(pid) = Pid::from_raw(self.child.id() as i32) else { return };
        let asked = Instant::now();
        if let Ok(None) = self.child.try_wait() {
            _ = kill_process(pid, Signal::TERM);
        }
        while asked.elapsed() < STOP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        family.kill();
        _ = self.child.wait();
    }
}

/// Binds the calling thread, and what it starts, to these processors.
pub(crate) fn pin(processors: &[usize]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    sched_setaffinity(None, &set)
}

/// Raises the limit on descriptors to `wanted` where that is allowed, and at least the soft one to the hard one;
/// tells what was reached.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).max(wanted);
    for maximum in [most, limit.maximum.unwrap_or(u64::MAX)] {
        let raised = Rlimit { current: Some(maximum), maximum: Some(maximum) };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return maximum;
        }
    }
    limit.current.unwrap_or(u64::MAX)
}

/// Looks for the port in the server's first lines, then swallows the rest.
fn announce(stdout: ChildStdout, sender: &mpsc::Sender<u16>) {
    let mut lines = BufReader::new(stdout);
    let mut line = String::new();
    while let Ok(1..) = lines.read_line(&mut line) {
        if let Some(port) = port(&line) {
            _ = sender.send(port);
            break;
        }
        line.clear();
    }
    _ = io::copy(&mut lines, &mut io::sink());
}

fn port(line: &str) -> Option<u16> {
    let digits = &line[line.find(ENDPOINT)? + ENDPOINT.len()..];
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().ok()
}

/// Keeps the last line a server wrote to standard error: its reason, if it failed.
fn remember(stderr: ChildStderr, errors: &Mutex<String>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let (false, Ok(mut last)) = (line.trim().is_empty(), errors.lock()) {
            *last = line.trim().chars().take(200).collect();
        }
    }
}
