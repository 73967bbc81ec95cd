//! Starts the real program, talks to it over real sockets, and looks at what it leaves behind.
#![allow(dead_code, unreachable_pub)]

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest that anything in these tests may take; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running `switchboard serve`. It is killed when dropped.
pub struct Server {
    child: Child,
    /// The line that says what is served.
    pub ready: Value,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
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
        Ok(Server { child, ready, stdout, stderr })
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
        while let Ok(line) = self.stderr.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if wanted(&line) {
                return line;
            }
            seen.push(line);
        }
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
        self.stderr.try_iter().collect()
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
        let summary = self.stdout.iter().last();
        let summary = summary.and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
        Ended { code, summary, stderr: self.stderr.iter().collect() }
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

    /// The footprint once every worker has made what it needs: it is the same at several looks in a row.
    pub fn settled_footprint(&self) -> (usize, usize) {
        let (mut last, mut looks) = (self.footprint(), 0);
        wait_until(
            "the server settles",
            || {
                let now = self.footprint();
                looks = if now == last { looks + 1 } else { 0 };
                last = now;
                looks == 8
            },
            || "its footprint keeps changing".to_owned(),
        );
        last
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// `pid` and every process below it.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut parents: Vec<(i32, i32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        if let Some(parent) = after_name.split_whitespace().nth(1).and_then(|ppid| ppid.parse().ok()) {
            parents.push((child, parent));
        }
    }
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

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.read(bytes),
            Stream::Unix(socket) => socket.read(bytes),
            Stream::Seqpacket(socket) => {
                Ok(rustix::net::recv(&*socket, bytes, rustix::net::RecvFlags::empty()).map(|(n, _)| n)?)
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.fd(), bytes, rustix::net::SendFlags::NOSIGNAL)?)
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

/// Sends one datagram and returns the answer.
pub fn ask(socket: &OwnedFd, request: &[u8]) -> io::Result<Vec<u8>> {
    rustix::net::send(socket, request, rustix::net::SendFlags::empty())?;
    let mut answer = vec![0; 65_536];
    let (n, _) = rustix::net::recv(socket, &mut answer[..], rustix::net::RecvFlags::empty())?;
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

/// Says that something could not be tried here; a skipped case is never counted as passed in silence.
pub fn skip(what: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {what}: {reason}");
}

/// Whether this machine has the IPv6 loopback address.
pub fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
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
