//! Starts the real program, talks to it over real sockets, and looks at what it leaves behind.
#![allow(dead_code, unreachable_pub)]

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The longest that anything in these tests may take; a test that needs it has failed. Nothing waits for it to pass, so it
/// may be long: a busy machine is no fault.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `switchboard serve`. It is killed when dropped.
pub struct Server {
    child: Child,
    /// The line that says what is served.
    pub ready: Value,
    stdout: Mutex<Receiver<String>>,
    stderr: Mutex<Receiver<String>>,
}

/// How a server ended.
pub struct Ended {
    pub code: Option<i32>,
    /// The last line of standard output: the summary.
    pub summary: Value,
    /// Lines of standard error that nobody had read yet.
    pub stderr: Vec<String>,
}

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.env("TZ", "UTC").env_remove("SWITCHBOARD_FAULT");
    command
}

/// Runs a command to its end, with this on standard input (none: it is empty from the start); it is killed when it
/// takes longer than `patience`.
pub fn run_to_end(command: &mut Command, input: Option<&[u8]>, patience: Duration) -> Output {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let process = Pid::from_child(&child);
    let (alive, done) = channel::<()>();
    std::thread::spawn(move || {
        if done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
    });
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A program that has heard enough may leave before the end of it.
        scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(input.unwrap_or_default())));
        child.wait_with_output().expect("its output")
    });
    drop(alive);
    output
}

/// `load ARGUMENTS`, run to its end; again with more time (`-d`) as long as there is not enough of what it has done: a
/// machine may be busy with something else for all of a short time.
pub fn run_load(arguments: &[&str], is_enough: impl Fn(&Output) -> bool) -> Output {
    let duration = arguments.windows(2).position(|pair| ["-d", "--duration"].contains(&pair[0]));
    let run = |arguments: &[&str]| run_to_end(program().arg("load").args(arguments), None, PATIENCE * 3);
    let mut output = run(arguments);
    for more in ["2s", "10s"] {
        let Some(at) = duration.filter(|_| !is_enough(&output)) else { break };
        let mut arguments = arguments.to_vec();
        arguments[at + 1] = more;
        output = run(&arguments);
    }
    output
}

/// Whether a run of `load` got any answer.
pub fn has_answers(output: &Output) -> bool {
    !text(&output.stderr).contains("nothing that began in the measured time was answered")
}

/// A connection to an address of this machine from 127.0.0.`host`, which waits [`PATIENCE`] for an answer. One that was
/// reset at once is a connection too.
pub fn connect_from(host: u8, endpoint: &str) -> io::Result<TcpStream> {
    use rustix::net;
    let port = endpoint.rsplit_once(':').expect("an address").1.parse().expect("a port");
    let fd = net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    net::bind(&fd, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
    match net::connect(&fd, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(rustix::io::Errno::CONNRESET) => {}
        Err(errno) => return Err(errno.into()),
    }
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl Server {
    /// `switchboard serve ARGUMENTS`, ready to be talked to; its log is JSON unless the arguments say otherwise.
    pub fn start(arguments: &[&str]) -> Server {
        Server::try_start(program().args(["serve", "--format", "json", "--log", "json"]).args(arguments))
            .unwrap_or_else(|stderr| panic!("serve {arguments:?} did not start: {stderr:?}"))
    }

    /// The same, with an environment of the caller's making; what it said if it ended at once.
    pub fn try_start(command: &mut Command) -> Result<Server, Vec<String>> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let stdout = lines(child.stdout.take().expect("piped"));
        let stderr = lines(child.stderr.take().expect("piped"));
        let Ok(first) = stdout.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(stderr.iter().collect());
        };
        let ready = serde_json::from_str(&first).unwrap_or_else(|error| panic!("{first}: {error}"));
        Ok(Server { child, ready, stdout: Mutex::new(stdout), stderr: Mutex::new(stderr) })
    }

    /// The endpoints served, with their services, as the program names them.
    pub fn listeners(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let listeners = self.ready["listeners"].as_array().expect("listeners");
        listeners.iter().map(|at| (text(&at["service"]), text(&at["endpoint"]))).collect()
    }

    /// The first endpoint.
    pub fn endpoint(&self) -> String {
        self.listeners()[0].1.clone()
    }

    /// The engine's name.
    pub fn engine(&self) -> String {
        self.ready["listeners"][0]["engine"].as_str().expect("a name").to_owned()
    }

    /// Process id of the supervisor.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the server is there");
    }

    /// The next line of the log (or of what is said to the user) for which `wanted` holds.
    pub fn wait_for_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        let stderr = self.stderr.lock().expect("no panic inside");
        while let Ok(line) = stderr.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if wanted(&line) {
                return line;
            }
            seen.push(line);
        }
        drop(stderr);
        panic!("no line about {what}; there were {seen:?}");
    }

    /// The next `n` connection records of the log.
    pub fn records(&self, n: usize) -> Vec<Value> {
        let record = || {
            let line = self.wait_for_line("a connection", |line| line.contains("\"event\":\"connection\""));
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
        };
        (0..n).map(|_| record()).collect()
    }

    /// Lines that are there already.
    pub fn said(&self) -> Vec<String> {
        self.stderr.lock().expect("no panic inside").try_iter().collect()
    }

    /// Waits for the end after a signal was sent.
    pub fn wait(mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        let code = loop {
            match self.child.try_wait().expect("our child") {
                Some(status) => {
                    use std::os::unix::process::ExitStatusExt;
                    break status.code().or(status.signal().map(|signal| 128 + signal));
                }
                None if Instant::now() > until => panic!("the server did not end"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let lines = |from: &mut Mutex<Receiver<String>>| -> Vec<String> {
            from.get_mut().expect("no panic inside").iter().collect()
        };
        let summary = lines(&mut self.stdout).pop();
        let summary = summary.and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
        Ended { code, summary, stderr: lines(&mut self.stderr) }
    }

    /// `switchboard serve ARGUMENTS` with a plan of faults (debug builds only).
    pub fn start_faulty(fault: &str, arguments: &[&str]) -> Server {
        let mut command = program();
        command.args(["serve", "--format", "json", "--log", "json"]).args(arguments);
        Server::try_start(command.env("SWITCHBOARD_FAULT", fault))
            .unwrap_or_else(|stderr| panic!("serve {arguments:?} with {fault} did not start: {stderr:?}"))
    }

    /// Every process but the supervisor that has not ended: one that did may not be collected yet.
    pub fn workers(&self) -> Vec<Pid> {
        let pids = self.processes().into_iter().skip(1).filter_map(Pid::from_raw);
        pids.filter(|pid| !has_ended(*pid)).collect()
    }

    /// Stops all workers and their children (`SIGSTOP`) and returns when they stand still.
    pub fn freeze(&self) {
        let workers = self.workers();
        for pid in &workers {
            let _ = rustix::process::kill_process(*pid, Signal::STOP);
        }
        workers.iter().for_each(|pid| suspend(*pid));
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        for pid in self.workers() {
            let _ = rustix::process::kill_process(pid, Signal::CONT);
        }
    }

    /// CPU time of all processes and threads so far.
    pub fn cpu_time(&self) -> Duration {
        let ns = |task: &PathBuf| -> u64 {
            let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(self.processes().iter().flat_map(|pid| tasks(*pid)).map(|task| ns(&task)).sum())
    }

    /// How often each process and thread was switched away from so far: it grows with every wake-up.
    pub fn switches(&self) -> Vec<(PathBuf, u64)> {
        let count = |task: &PathBuf| -> u64 {
            let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
            let switches = status.lines().filter(|line| line.contains("ctxt_switches:"));
            switches.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
        };
        let all = self.processes().into_iter().flat_map(tasks);
        all.map(|task| (count(&task), task)).map(|(count, task)| (task, count)).collect()
    }

    /// Whether every thread waits for something to happen. One that could run and gets no processor is not asleep.
    fn is_asleep(&self) -> bool {
        self.processes().into_iter().flat_map(tasks).all(|task| matches!(state_in(&task), None | Some('S')))
    }

    /// Waits until nothing has run in this server for a while: everybody sleeps, and nobody spins.
    pub fn wait_until_quiet(&self, what: &str) {
        self.wait_for_silence(Duration::from_millis(60), what);
    }

    fn wait_for_silence(&self, how_long: Duration, what: &str) {
        let (mut last, mut since) = (self.switches(), Instant::now());
        wait_until(
            what,
            || {
                // On a busy machine who has work to do may stand still as long as who has none.
                let (asleep, now) = (self.is_asleep(), self.switches());
                if !asleep || now != last {
                    (last, since) = (now, Instant::now());
                }
                since.elapsed() > how_long
            },
            || "the server does not come to rest".to_owned(),
        );
    }

    /// Waits until no process of this list is there any more.
    pub fn wait_until_gone(pids: &[Pid], what: &str) {
        let left = || pids.iter().filter(|pid| !has_ended(**pid)).count();
        wait_until(what, || left() == 0, || format!("{} of {} processes are left", left(), pids.len()));
    }

    /// Asks it to stop, and waits for that.
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// This process and all below it.
    pub fn processes(&self) -> Vec<i32> {
        descendants(self.child.id() as i32)
    }

    /// Descriptors open in all processes, and the number of processes, zombies included.
    pub fn footprint(&self) -> (usize, usize) {
        let processes = self.processes();
        let open = |pid: &i32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        (processes.iter().map(open).sum(), processes.len())
    }

    /// The footprint once every worker has made what it needs, and sleeps.
    pub fn settled_footprint(&self) -> (usize, usize) {
        self.wait_for_silence(Duration::from_millis(16), "the server settles");
        self.footprint()
    }

    /// Waits until [`footprint`](Server::footprint) is `before` again.
    pub fn wait_for_footprint(&self, before: (usize, usize), what: &str) {
        wait_until(what, || self.footprint() == before, || format!("{:?} != {before:?}", self.footprint()));
    }
}

/// Looks again and again until `done`; for what gives no sign when it happens.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool, mut state: impl FnMut() -> String) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}: {}", state());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says when it is dropped that something is over: whoever goes on until then ends, also if a test panics.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directories of a process's threads.
fn tasks(pid: i32) -> Vec<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    tasks.map(|tasks| tasks.flatten().map(|task| task.path()).collect()).unwrap_or_default()
}

/// The letter that stands for a process's state in proc(5); `None` if there is no such process.
pub fn state_of(pid: Pid) -> Option<char> {
    state_in(&PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero())))
}

/// The same for the directory of a process or of a thread.
fn state_in(task: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(task.join("stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Whether a process has ended, although perhaps nobody has collected it yet.
pub fn has_ended(pid: Pid) -> bool {
    matches!(state_of(pid), None | Some('Z' | 'X'))
}

/// Stops a process and returns when all its threads stand still, or when it has ended.
pub fn suspend(pid: Pid) {
    if rustix::process::kill_process(pid, Signal::STOP).is_err() {
        return;
    }
    let stopped = |task: PathBuf| matches!(state_in(&task), None | Some('T' | 'Z' | 'X'));
    let done = || tasks(pid.as_raw_nonzero().get()).into_iter().all(stopped);
    wait_until("a process is stopped", done, || format!("{pid:?} is {:?}", state_of(pid)));
}

/// Memory that a process has to itself, bytes (proc(5) `RssAnon`).
pub fn own_memory(pid: Pid) -> usize {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).map_or(0, |kib| kib * 1024)
}

/// The engines that can be tried here; those that cannot are named aloud.
pub fn engines() -> Vec<&'static switchboard::EngineRow> {
    let here = |row: &&switchboard::EngineRow| {
        let here = row.name != "uring" || has_io_uring();
        if !here {
            skip("engine uring", "this kernel has no io_uring, or forbids it");
        }
        here
    };
    switchboard::ENGINES.iter().filter(here).collect()
}

/// Runs `case` for every one of `engines`, a few at a time; a panic names the engine. For a closer look at one
/// engine its name can be given in the environment variable SWITCHBOARD_TEST_ENGINE.
pub fn each_engine(
    engines: impl IntoIterator<Item = &'static switchboard::EngineRow>,
    at_once: usize,
    case: impl Fn(&'static switchboard::EngineRow) + Sync,
) {
    let mut engines: Vec<_> = engines.into_iter().collect();
    assert!(!engines.is_empty(), "no engine to try");
    if let Ok(only) = std::env::var("SWITCHBOARD_TEST_ENGINE") {
        engines.retain(|row| row.name == only);
        skip("every other engine", &format!("only {only} was asked for"));
    }
    let left = Mutex::new(engines);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some(row) = left.lock().expect("no panic inside").pop() else { break };
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(row)));
                    if let Err(panic) = outcome {
                        let said = panic.downcast_ref::<String>().map(String::as_str);
                        let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned();
                        failed.lock().expect("no panic inside").push(format!("{}: {said}", row.name));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic inside");
    assert!(failed.is_empty(), "{} engines failed:\n{}", failed.len(), failed.join("\n"));
}

/// Whether `bytes` are those of the RFC 864 ring from its beginning.
pub fn is_ring_of_characters(bytes: &[u8]) -> bool {
    let expected = |at: usize| match (at / 74, at % 74) {
        (_, 72) => b'\r',
        (_, 73) => b'\n',
        (line, column) => 32 + ((line + column) % 95) as u8,
    };
    bytes.iter().enumerate().all(|(at, byte)| *byte == expected(at))
}

/// Whether faults can be asked for in this build; says so if not.
pub fn can_fault(what: &str) -> bool {
    // The program under test is built with the same profile as this test.
    if !cfg!(debug_assertions) {
        skip(what, "release builds have no faults to inject");
    }
    cfg!(debug_assertions)
}

/// Reads lines in a thread, so that the program never waits for the test.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// The processes that `pid` made itself.
pub fn children_of(pid: i32) -> Vec<i32> {
    parents().into_iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child).collect()
}

/// Every process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// `pid` and every process below it.
pub fn descendants(pid: i32) -> Vec<i32> {
    let parents = parents();
    let mut found = vec![pid];
    let mut known: HashSet<i32> = HashSet::from([pid]);
    let mut at = 0;
    while at < found.len() {
        for (child, parent) in &parents {
            if *parent == found[at] && known.insert(*child) {
                found.push(*child);
            }
        }
        at += 1;
    }
    found
}

/// A connection of any kind of stream.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Seqpacket(OwnedFd),
}

impl Stream {
    /// Connects to an endpoint as `serve` prints it.
    pub fn connect(endpoint: &str) -> io::Result<Stream> {
        let stream = match endpoint.split_once(':').expect("kind:place") {
            ("tcp", address) => {
                Stream::Tcp(TcpStream::connect(address.parse::<SocketAddr>().expect("address"))?)
            }
            ("unix", path) => {
                let fd = unix_connect(SocketType::STREAM, path)?;
                Stream::Unix(UnixStream::from(fd))
            }
            ("unix-seqpacket", path) => Stream::Seqpacket(unix_connect(SocketType::SEQPACKET, path)?),
            (kind, _) => panic!("{kind} is no stream"),
        };
        stream.set_timeout(PATIENCE);
        Ok(stream)
    }

    pub fn set_timeout(&self, limit: Duration) {
        for which in [rustix::net::sockopt::Timeout::Recv, rustix::net::sockopt::Timeout::Send] {
            rustix::net::sockopt::set_socket_timeout(self.fd(), which, Some(limit)).expect("a socket");
        }
    }

    pub fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        use rustix::fd::AsFd;
        match self {
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Unix(socket) => socket.as_fd(),
            Stream::Seqpacket(socket) => socket.as_fd(),
        }
    }

    /// Ends our output.
    pub fn finish(&self) {
        let _ = rustix::net::shutdown(self.fd(), rustix::net::Shutdown::Write);
    }

    /// Sends `input`, ends it, and returns all that comes back. Sends from a thread, so that neither side can be
    /// held up by the other's full buffers.
    pub fn converse(&mut self, input: &[u8]) -> io::Result<Vec<u8>> {
        let out = self.fd().try_clone_to_owned()?;
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let mut rest = input;
                while !rest.is_empty() {
                    // A service that has said its last word may close before it was sent everything.
                    match rustix::net::send(&out, rest, rustix::net::SendFlags::NOSIGNAL) {
                        Ok(n) => rest = &rest[n..],
                        Err(rustix::io::Errno::INTR) => {}
                        Err(_) => break,
                    }
                }
                let _ = rustix::net::shutdown(&out, rustix::net::Shutdown::Write);
            });
            let mut answer = Vec::new();
            let result = self.read_to_end(&mut answer);
            let _ = sender.join();
            result.map(|_| answer)
        })
    }
}

/// With a time limit a call does not go on by itself when this process was stopped meanwhile (signal(7)).
impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let flags = rustix::net::RecvFlags::empty();
        let (n, _) = rustix::io::retry_on_intr(|| rustix::net::recv(self.fd(), &mut *bytes, flags))?;
        Ok(n)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        Ok(rustix::io::retry_on_intr(|| rustix::net::send(self.fd(), bytes, flags))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unix_name(place: &str) -> SocketAddrUnix {
    match place.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a short name"),
        None => SocketAddrUnix::new(place).expect("a short path"),
    }
}

fn unix_connect(kind: SocketType, place: &str) -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&fd, &unix_name(place))?;
    Ok(fd)
}

/// A datagram socket connected to an endpoint as `serve` prints it. A Unix one is bound, so that it can be answered.
pub fn datagram_socket(endpoint: &str) -> OwnedFd {
    let (kind, place) = endpoint.split_once(':').expect("kind:place");
    let fd = if kind == "udp" {
        let address: SocketAddr = place.parse().expect("address");
        let (family, any) = match address {
            SocketAddr::V4(_) => (AddressFamily::INET, "127.0.0.1:0"),
            SocketAddr::V6(_) => (AddressFamily::INET6, "[::1]:0"),
        };
        let fd =
            rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).expect("socket");
        rustix::net::bind(&fd, &any.parse::<SocketAddr>().expect("address")).expect("bind");
        rustix::net::connect(&fd, &address).expect("connect");
        fd
    } else {
        assert_eq!(kind, "unix-dgram");
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .expect("socket");
        let name = format!("switchboard-test-{}-{}", std::process::id(), unique());
        rustix::net::bind(&fd, &unix_name(&format!("@{name}"))).expect("bind");
        rustix::net::connect(&fd, &unix_name(place)).expect("connect");
        fd
    };
    let limit = rustix::net::sockopt::Timeout::Recv;
    rustix::net::sockopt::set_socket_timeout(&fd, limit, Some(PATIENCE)).expect("timeout");
    fd
}

/// Sends one datagram and returns the answer. A recv(2) with a time limit does not go on by itself when this process was
/// stopped meanwhile (signal(7)).
pub fn ask(socket: &OwnedFd, request: &[u8]) -> io::Result<Vec<u8>> {
    rustix::net::send(socket, request, rustix::net::SendFlags::empty())?;
    let mut answer = vec![0; 65_536];
    let mut receive = || rustix::net::recv(socket, &mut answer[..], rustix::net::RecvFlags::empty());
    let (n, _) = rustix::io::retry_on_intr(&mut receive)?;
    answer.truncate(n);
    Ok(answer)
}

/// A number that no other test of this process gets.
pub fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A directory of this test's own, removed when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let path = std::env::temp_dir().join(format!("switchboard-{}-{}", std::process::id(), unique()));
        std::fs::create_dir_all(&path).expect("a scratch directory");
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes a program: this text, or a copy of the program under test. Another process writes it. While this one has a file
/// open for writing, a child of another thread may have it, too, for a moment, and then nobody can execute it (ETXTBSY,
/// execve(2)).
pub fn make_executable(path: &Path, text: Option<&str>) {
    let mut command = Command::new("sh");
    match text {
        Some(text) => {
            command.args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""]).arg(path).arg(text)
        }
        None => command.args(["-c", "cp \"$1\" \"$0\""]).arg(path).arg(env!("CARGO_BIN_EXE_switchboard")),
    };
    let made = command.stdin(Stdio::null()).output().expect("sh can be started");
    assert!(made.status.success(), "{}: {made:?}", path.display());
}

/// A port that nobody has, for programs that take no port 0. It is below those that the kernel gives to whoever does not
/// ask for one (ip(7)), so nobody gets it by chance before it is used, and nobody listens there if it is not.
pub fn free_port() -> u16 {
    const LOWEST: u32 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let given = range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap_or(32_768);
    let room = u32::max(given, LOWEST + 1_000) - LOWEST;
    // Several processes run tests at once, each of which begins somewhere else.
    let begin = std::process::id().wrapping_mul(97);
    let mut ports =
        (0..room).map(|_| LOWEST + begin.wrapping_add(unique() as u32) % room).map(|port| port as u16);
    // Looked up, and not tried out: what a child of another thread has of ours until its execve(2) would be in the way of
    // whoever is to have the port.
    let taken = ["tcp", "tcp6", "udp", "udp6"].map(|protocol| {
        let table = std::fs::read_to_string(format!("/proc/net/{protocol}")).unwrap_or_default();
        let local = |line: &str| line.split_whitespace().nth(1)?.rsplit_once(':').map(|at| at.1.to_owned());
        table.lines().filter_map(local).collect::<HashSet<String>>()
    });
    ports.find(|port| taken.iter().all(|taken| !taken.contains(&format!("{port:04X}")))).expect("a free port")
}

/// Waits until `protocol` (tcp, udp) has a socket bound there, or at every address, that listens or takes datagrams. Asked without connecting,
/// since that would use up who listens for one client only. `child`, who is to listen, must not end before that.
pub fn wait_for_listener(address: SocketAddr, protocol: &str, mut child: Option<&mut Child>) {
    let SocketAddr::V4(v4) = address else { panic!("IPv4") };
    let host = u32::from_ne_bytes(v4.ip().octets());
    let there = [host, 0].map(|host| format!("{host:08X}:{:04X}", v4.port()));
    wait_until(
        &format!("somebody listens on {address}"),
        || {
            if let Some(child) = &mut child {
                let ended = child.try_wait().expect("our child");
                assert!(ended.is_none(), "{child:?} ended before it listened on {address}: {ended:?}");
            }
            // proc_pid_net(5): 0A is LISTEN, 07 what a socket for datagrams is in.
            let table = std::fs::read_to_string(format!("/proc/net/{protocol}")).expect("/proc/net");
            let mut lines = table.lines().skip(1).map(|line| line.split_whitespace());
            lines.any(|mut words| {
                words.nth(1).is_some_and(|at| there.iter().any(|there| there == at))
                    && words.nth(1).is_some_and(|state| ["0A", "07"].contains(&state))
            })
        },
        || "nobody does".to_owned(),
    );
}

/// Says that something could not be tried here; a skipped case is never counted as passed in silence.
pub fn skip(what: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {what}: {reason}");
}

/// Whether this machine has the IPv6 loopback address.
pub fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Whether io_uring can be used here.
pub fn has_io_uring() -> bool {
    io_uring::IoUring::new(2).is_ok()
}

/// Half-closes and reads to the end, for a plain TCP stream.
pub fn finish_tcp(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    Ok(rest)
}

/// A figure of a record or a summary.
pub fn number(value: &serde_json::Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Stops the server, which must end well; its summary, in which everybody who came has left.
pub fn end(server: Server) -> serde_json::Value {
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert_eq!(ended.summary["crashes"], 0, "{:?}", ended.stderr);
    assert_eq!(ended.summary["accepted"], ended.summary["ended"], "{}", ended.summary);
    ended.summary
}

/// What a program said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
