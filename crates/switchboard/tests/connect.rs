//! `switchboard connect` against small servers: the program itself, real sockets, every byte compared.
//!
//! S1 to S7 are the cases in which the classic clients hang or lose bytes. The last tests run the cases again with
//! system calls that are interrupted, cut short, or not ready.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use switchboard_net::sys::{fault, socket};

/// A client that takes longer than this has hung.
const HUNG: Duration = Duration::from_secs(20);
const MB: usize = 1_000_000;

/// Bytes that are different everywhere, so that a lost or doubled piece shows.
fn data(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn same(what: &str, got: &[u8], wanted: &[u8]) {
    if got != wanted {
        let at = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
        panic!("{what}: {} bytes instead of {}, different from byte {at}", got.len(), wanted.len());
    }
}

/// Where the client's input comes from.
enum Input {
    Nothing,
    /// A pipe in which these bytes are, and then the end.
    Pipe(Vec<u8>),
    /// A pipe that stays open until the client has ended.
    OpenPipe(Vec<u8>),
    File(Vec<u8>),
}

/// What the client did.
struct Ran {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
    took: Duration,
}

impl Ran {
    #[track_caller]
    fn ended(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "exit code; standard error:\n{}", self.stderr);
        self
    }

    #[track_caller]
    fn said(self, part: &str) -> Ran {
        assert!(self.stderr.contains(part), "`{part}` is not in standard error:\n{}", self.stderr);
        self
    }
}

fn client(arguments: &[&str], faults: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.arg("connect").args(arguments).env_remove("SWITCHBOARD_FAULT");
    if let Some(faults) = faults {
        command.env("SWITCHBOARD_FAULT", faults);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Kills the client if it hangs, so that a failure is a failure and not a wait.
fn watchdog(child: &Child) -> mpsc::Sender<()> {
    let (done, ended) = mpsc::channel::<()>();
    let pid = rustix::process::Pid::from_child(child);
    thread::spawn(move || {
        if ended.recv_timeout(HUNG) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    done
}

fn file_with(bytes: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn finish(mut child: Child, done: mpsc::Sender<()>, started: Instant) -> Ran {
    let stdout = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_end(&mut bytes).unwrap();
        }
        bytes
    });
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    let took = started.elapsed();
    drop(done);
    let code = status.code().unwrap_or_else(|| panic!("ended by a signal ({status}); it said:\n{stderr}"));
    Ran { code, stdout: reader.join().unwrap(), stderr, took }
}

fn run_with(faults: Option<&str>, arguments: &[&str], input: Input) -> Ran {
    let mut command = client(arguments, faults);
    match &input {
        Input::Nothing => drop(command.stdin(Stdio::null())),
        Input::File(bytes) => drop(command.stdin(file_with(bytes))),
        Input::Pipe(_) | Input::OpenPipe(_) => {}
    }
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let done = watchdog(&child);
    let mut pipe = child.stdin.take();
    let (keep, kept) = mpsc::channel::<()>();
    let writer = thread::spawn(move || match input {
        // The client may end before it has read everything.
        Input::Pipe(bytes) => drop(pipe.take().unwrap().write_all(&bytes)),
        Input::OpenPipe(bytes) => {
            let mut pipe = pipe.take().unwrap();
            let _ = pipe.write_all(&bytes);
            let _ = kept.recv();
        }
        Input::Nothing | Input::File(_) => {}
    });
    let ran = finish(child, done, started);
    drop(keep);
    writer.join().unwrap();
    ran
}

fn run(arguments: &[&str], input: Input) -> Ran {
    run_with(None, arguments, input)
}

/// A client whose input and output the test holds.
struct Held {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    done: mpsc::Sender<()>,
    started: Instant,
}

fn hold(arguments: &[&str], faults: Option<&str>) -> Held {
    let started = Instant::now();
    let mut child = client(arguments, faults).spawn().unwrap();
    let done = watchdog(&child);
    let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
    Held { child, input, output, done, started }
}

impl Held {
    fn finish(mut self) -> Ran {
        drop(self.input);
        self.child.stdout = Some(self.output);
        finish(self.child, self.done, self.started)
    }
}

/// A server for one connection.
fn server<T: Send + 'static>(
    talk: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        talk(stream)
    });
    (address, thread)
}

fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

// ── The six TCP cases, each with faults or without ──

fn s1_answer_after_the_end_of_input(faults: Option<&str>, len: usize) {
    let question = data(len);
    for input in [Input::Pipe(question.clone()), Input::File(question.clone())] {
        let (address, server) = server(|mut stream| {
            let question = read_all(&mut stream);
            stream.write_all(&question).unwrap();
            stream.write_all(b"answer").unwrap();
        });
        let ran = run_with(faults, &[&address.to_string()], input).ended(0);
        same("answer", &ran.stdout, &[&question[..], b"answer"].concat());
        assert_eq!(ran.stderr, "");
        server.join().unwrap();
    }
}

fn s2_late_answer(faults: Option<&str>, len: usize) {
    let answer = data(len);
    let sent = answer.clone();
    let (address, server) = server(move |mut stream| {
        assert_eq!(read_all(&mut stream), b"question");
        // The server's work takes longer than the patience of clients that give up.
        thread::sleep(Duration::from_millis(700));
        stream.write_all(&sent).unwrap();
    });
    let ran = run_with(faults, &[&address.to_string()], Input::Pipe(b"question".to_vec())).ended(0);
    same("answer", &ran.stdout, &answer);
    server.join().unwrap();
}

fn s3_server_ends_first(faults: Option<&str>, len: usize) {
    let answer = data(len);
    let sent = answer.clone();
    let (address, server) = server(move |mut stream| stream.write_all(&sent).unwrap());
    let ran = run_with(faults, &[&address.to_string()], Input::OpenPipe(Vec::new())).ended(0);
    same("answer", &ran.stdout, &answer);
    assert!(ran.took < Duration::from_secs(10), "the input's pause ends after a second: {:?}", ran.took);
    server.join().unwrap();
}

fn s4_reset_in_the_middle(faults: Option<&str>, len: usize) {
    let answer = data(len);
    let sent = answer.clone();
    let (address, server) = server(move |mut stream| {
        stream.write_all(&sent).unwrap();
        // A reset throws away what is still to be sent; what the client's kernel has is the client's.
        while socket::unacknowledged(&stream) > 0 {
            thread::yield_now();
        }
        reset(stream);
    });
    let ran = run_with(faults, &[&address.to_string()], Input::OpenPipe(b"question".to_vec())).ended(7);
    same("bytes before the reset", &ran.stdout, &answer);
    let ran = ran.said("the peer reset the connection").said(&format!("{len} received"));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    server.join().unwrap();
}

fn s6_server_leaves_with_input_unsent(faults: Option<&str>, len: usize) {
    for input in [Input::File(data(len)), Input::Pipe(data(len))] {
        let (address, server) = server(|mut stream| {
            stream.write_all(b"enough").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Some of the input has come by then, and the rest meets a closed socket.
            stream.read_exact(&mut [0; 100]).unwrap();
        });
        let ran = run_with(faults, &[&address.to_string()], input).ended(8).said("not delivered");
        same("answer", &ran.stdout, b"enough");
        server.join().unwrap();
    }
    // The server closes at once, with input unread: reset or end, depending on what came first; never success.
    let (address, server) = server(drop);
    let ran = run_with(faults, &[&address.to_string()], Input::File(data(len)));
    assert!([7, 8].contains(&ran.code), "{}: {}", ran.code, ran.stderr);
    server.join().unwrap();
}

fn s7_input_after_the_servers_end(faults: Option<&str>, len: usize) {
    let question = data(len);
    let start = |stream: &mut TcpStream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    let (address, server_thread) = server(move |mut stream| {
        start(&mut stream);
        read_all(&mut stream)
    });
    let mut client = hold(&[&address.to_string()], faults);
    let mut bye = [0; 3];
    client.output.read_exact(&mut bye).unwrap();
    client.input.take().unwrap().write_all(&question).unwrap();
    client.finish().ended(0);
    same("input", &server_thread.join().unwrap(), &question);

    let (address, server_thread) = server(move |mut stream| {
        start(&mut stream);
        read_all(&mut stream)
    });
    run_with(faults, &[&address.to_string()], Input::File(question.clone())).ended(0);
    same("input", &server_thread.join().unwrap(), &question);
}

#[test]
fn s1() {
    s1_answer_after_the_end_of_input(None, 3 * MB);
}

#[test]
fn s2() {
    s2_late_answer(None, MB);
}

#[test]
fn s3() {
    s3_server_ends_first(None, MB);
}

#[test]
fn s4() {
    s4_reset_in_the_middle(None, 100_000);
}

#[test]
fn s6() {
    s6_server_leaves_with_input_unsent(None, 20 * MB);
}

#[test]
fn s7() {
    s7_input_after_the_servers_end(None, 3 * MB);
}

fn with_faults(faults: &str, scale: usize) {
    if !fault::POSSIBLE {
        // There is no other way to say it: a test without output would look as if it had checked something.
        let _ = writeln!(std::io::stderr(), "SKIPPED: faults need a debug build");
        return;
    }
    s1_answer_after_the_end_of_input(Some(faults), scale);
    s2_late_answer(Some(faults), scale);
    s3_server_ends_first(Some(faults), scale);
    s4_reset_in_the_middle(Some(faults), scale.min(100_000));
    // More than fits into the buffers of both kernels, or nothing would be left over.
    s6_server_leaves_with_input_unsent(Some(faults), 20 * MB);
    s7_input_after_the_servers_end(Some(faults), scale);
}

#[test]
fn faults_interrupted_and_one_byte_at_a_time() {
    with_faults("seed=7,short=1,eintr=50", 60_000);
}

#[test]
fn faults_not_ready() {
    with_faults("seed=8,again=80,eintr=20", MB);
}

// ── Independence, output, time limits ──

#[test]
fn a_stopped_output_does_not_stop_the_input() {
    let input = data(3 * MB);
    let output = data(5 * MB);
    let (received, seen) = mpsc::channel();
    let to_send = output.clone();
    let (address, server) = server(move |mut stream| {
        let mut sending = stream.try_clone().unwrap();
        let sender = thread::spawn(move || sending.write_all(&to_send).unwrap());
        received.send(read_all(&mut stream)).unwrap();
        sender.join().unwrap();
    });
    let mut client = hold(&[&address.to_string()], None);
    client.input.take().unwrap().write_all(&input).unwrap();
    // Nobody has read the output yet, which is more than its pipe and both sockets' buffers can hold at first.
    same("input", &seen.recv_timeout(HUNG).unwrap(), &input);
    let ran = client.finish().ended(0);
    same("output", &ran.stdout, &output);
    server.join().unwrap();
}

#[test]
fn shared_descriptors_stay_blocking() {
    use rustix::fs::{OFlags, fcntl_getfl};
    let (address, server) = server(|mut stream| drop(read_all(&mut stream)));
    let (input, mut feed) = std::io::pipe().unwrap();
    let (_drain, output) = std::io::pipe().unwrap();
    let mut command = client(&[&address.to_string()], None);
    command.stdin(input.try_clone().unwrap()).stdout(output.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    feed.write_all(b"hello").unwrap();
    drop(feed);
    assert!(child.wait().unwrap().success());
    server.join().unwrap();
    for fd in [OwnedFd::from(input), OwnedFd::from(output)] {
        assert!(!fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
    }
}

#[test]
fn output_closed_early() {
    let (address, server) = server(|mut stream| {
        // Until the client has gone; it takes no more than a few buffers.
        let piece = data(64 * 1024);
        while stream.write_all(&piece).is_ok() {}
    });
    let mut client = hold(&[&address.to_string()], None);
    client.output.read_exact(&mut [0; 10]).unwrap();
    let Held { mut child, output, done, input, started } = client;
    drop(output);
    let (nothing, closed) = std::io::pipe().unwrap();
    drop((nothing, closed));
    child.stdout = None;
    // The exit code says it; a reader who has seen enough wants no complaint.
    let ran = finish(child, done, started).ended(10);
    assert_eq!(ran.stderr, "");
    drop(input);
    server.join().unwrap();
}

#[test]
fn output_full_device() {
    let (address, server) = server(|mut stream| drop(stream.write_all(b"lost")));
    let mut command = client(&[&address.to_string()], None);
    command.stdin(Stdio::null()).stdout(File::options().write(true).open("/dev/full").unwrap());
    let child = command.spawn().unwrap();
    let done = watchdog(&child);
    finish(child, done, Instant::now()).ended(10).said("No space left");
    server.join().unwrap();
}

#[test]
fn time_limits() {
    let (address, server_thread) = server(|mut stream| drop(read_all(&mut stream)));
    run(&[&address.to_string(), "-w", "200ms"], Input::OpenPipe(b"x".to_vec()))
        .ended(6)
        .said("nothing moved");
    server_thread.join().unwrap();

    // A stream that never pauses has a total limit all the same, and what came is written.
    let (address, server_thread) = server(|mut stream| while stream.write_all(&[b'x'; 8192]).is_ok() {});
    let ran =
        run(&[&address.to_string(), "-W", "300ms"], Input::OpenPipe(Vec::new())).ended(6).said("not done");
    assert!(!ran.stdout.is_empty());
    server_thread.join().unwrap();

    // The wait for the server's end can be limited; that is not an error.
    let (address, server_thread) = server(|mut stream| {
        assert_eq!(read_all(&mut stream), b"x");
        let _ = stream.read(&mut [0]);
        let until = Instant::now() + Duration::from_secs(5);
        while stream.write_all(b"y").is_ok() && Instant::now() < until {}
    });
    let ran = run(&[&address.to_string(), "-q", "300ms"], Input::Pipe(b"x".to_vec())).ended(0);
    assert!(ran.took < Duration::from_secs(4));
    server_thread.join().unwrap();

    // Input that goes on after the server's end can be cut at once.
    let (address, server_thread) = server(drop);
    let ran = run(&[&address.to_string(), "--after-eof", "now"], Input::OpenPipe(Vec::new())).ended(0);
    assert!(ran.took < Duration::from_millis(900), "{:?}", ran.took);
    server_thread.join().unwrap();
}

#[test]
fn without_half_close_the_server_ends_first() {
    let (address, server) = server(|mut stream| {
        let mut question = [0; 8];
        stream.read_exact(&mut question).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // No end of input comes.
        assert!(stream.read(&mut [0]).is_err());
        stream.write_all(&question).unwrap();
    });
    let input = Input::Pipe(b"question".to_vec());
    let ran = run(&[&address.to_string(), "--no-half-close"], input).ended(0);
    same("answer", &ran.stdout, b"question");
    server.join().unwrap();
}

// ── Who cannot be reached ──

#[test]
fn every_way_not_to_connect_has_its_exit_code() {
    // A port that was free a moment ago: bound, but not listening, so that nobody else gets it.
    let bound = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&bound, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let port = SocketAddr::try_from(rustix::net::getsockname(&bound).unwrap()).unwrap().port();
    let closed = format!("127.0.0.1:{port}");
    run(&[&closed], Input::Nothing).ended(4).said(&closed).said("refused").said("is the server running");
    run(&["127.0.0.1", &port.to_string()], Input::Nothing).ended(4);
    run(&[&format!("tcp:{port}"), "-4", "-v"], Input::Nothing).ended(4).said("trying tcp:127.0.0.1");
    run(&["unix:/nonexistent/socket"], Input::Nothing).ended(4).said("No such file");
    run(&["unix:@switchboard-test-nobody"], Input::Nothing).ended(4);
    run(&["name.invalid:7"], Input::Nothing).ended(3).said("name.invalid");
    run(&["127.0.0.1:no-such-service"], Input::Nothing).ended(3).said("no-such-service");
    run(&["127.0.0.1:7", "-6"], Input::Nothing).ended(3).said("no IPv6 address");
    for wrong in [
        &["127.0.0.1:99999"][..],
        &["tpc:127.0.0.1:7"],
        &["127.0.0.1:7", "--line"],
        &["127.0.0.1:7", "--count", "1"],
        &["udp:127.0.0.1:7", "--connections", "2"],
        &["127.0.0.1:7", "--connections", "0"],
        &["127.0.0.1:7", "--option", "nodelay=perhaps"],
        &["127.0.0.1:7", "--option", "backlog=5"],
        &["127.0.0.1:7", "--idle-timeout", "soon"],
        &["127.0.0.1:7", "--no-such-option"],
        &["*:7"],
        &[],
    ] {
        run(wrong, Input::Nothing).ended(2);
    }
}

#[test]
fn a_full_queue_is_a_connect_timeout() {
    // The queue of a listener that never accepts is filled; further connections get no answer.
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let _first = TcpStream::connect(address).unwrap();
    let arguments = [&*address.to_string(), "--connect-timeout", "300ms"];
    run(&arguments, Input::Nothing).ended(5).said("no answer within 300");
}

#[test]
fn all_addresses_are_tried() {
    // `tcp:PORT` is 127.0.0.1 and then ::1; only the second has a server.
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no IPv6 here");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"six").unwrap());
    let ran = run(&[&port.to_string(), "-v"], Input::Nothing).ended(0);
    same("answer", &ran.stdout, b"six");
    ran.said("tcp:127.0.0.1").said("refused").said("connected to tcp:[::1]").said("received 3 bytes");
    server.join().unwrap();
}

// ── Several addresses: the race ──

/// A TCP socket that is bound and does not listen: whoever connects is refused, and nobody else gets the port.
fn refusing(address: &str) -> Option<(OwnedFd, u16)> {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::bind(&socket, &address).ok()?;
    let port = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap().port();
    Some((socket, port))
}

/// An address that never answers: the queue of a listener is full, so that it drops what comes (listen(2)).
struct BlackHole {
    _listener: OwnedFd,
    _queued: TcpStream,
    port: u16,
}

fn black_hole(address: &str) -> Option<BlackHole> {
    let (listener, port) = refusing(address)?;
    rustix::net::listen(&listener, 0).unwrap();
    let whole = SocketAddr::new(address.parse::<SocketAddr>().unwrap().ip(), port);
    Some(BlackHole { _listener: listener, _queued: TcpStream::connect(whole).unwrap(), port })
}

/// A black hole at one address, and at the same port of `alive` a server.
fn dead_and_alive(dead: &str, alive: &str) -> (BlackHole, TcpListener) {
    let found = (0..50).find_map(|_| {
        let listener = TcpListener::bind((alive, 0)).unwrap();
        // Somebody may have that port at the other address.
        let hole = black_hole(&format!("{dead}:{}", listener.local_addr().unwrap().port()))?;
        Some((hole, listener))
    });
    found.expect("a port that is free at both addresses")
}

fn says_hello(listener: TcpListener) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        drop(read_all(&mut stream));
    })
}

/// The lines of standard error that begin like one of `starts`, without the program's name.
fn lines_like<'a>(ran: &'a Ran, starts: &[&str]) -> Vec<&'a str> {
    let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("switchboard: "));
    lines.filter(|line| starts.iter().any(|start| line.starts_with(start))).collect()
}

#[test]
fn a_dead_first_address_costs_a_quarter_of_a_second() {
    let (hole, listener) = dead_and_alive("127.0.0.1", "127.0.0.2");
    let port = hole.port;
    let server = says_hello(listener);
    let (name, pin) = (format!("two.test:{port}"), format!("two.test:{port}:127.0.0.1,127.0.0.2"));
    let ran = run(&[&name, "--resolve", &pin, "-v"], Input::Nothing).ended(0);
    same("answer", &ran.stdout, b"hello");
    assert!(ran.took < Duration::from_secs(2), "{:?}", ran.took);
    let dead = format!("tcp:127.0.0.1:{port}");
    let alive = format!("tcp:127.0.0.2:{port}");
    let lines = lines_like(&ran, &["trying", "connected", "tcp:"]);
    let starts =
        [format!("trying {dead}"), format!("trying {alive}"), format!("connected to {alive} from"), dead];
    assert_eq!(lines.len(), starts.len(), "{}", ran.stderr);
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start), "`{start}` is not where it should be:\n{}", ran.stderr);
    }
    ran.said("lost the race; given up after ");
    server.join().unwrap();
}

#[test]
fn losers_are_closed() {
    let (hole, listener) = dead_and_alive("127.0.0.1", "127.0.0.2");
    let server = says_hello(listener);
    let name = format!("two.test:{}", hole.port);
    let mut client = hold(&[&name, "--resolve", &format!("{name}:127.0.0.1,127.0.0.2")], None);
    client.output.read_exact(&mut [0; 5]).unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", client.child.id())).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
    assert_eq!(sockets, 1, "only the winner is open");
    client.finish().ended(0);
    server.join().unwrap();
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    // IPv6 is tried first and refuses; IPv4 has the server.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some((_refusing, _)) = refusing(&format!("[::1]:{port}")) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no IPv6 here");
        return;
    };
    let server = says_hello(listener);
    let name = format!("both.test:{port}");
    let arguments = [&*name, "--resolve", &format!("{name}:::1,127.0.0.1"), "-v"];
    let ran = run(&arguments, Input::Nothing).ended(0);
    same("answer", &ran.stdout, b"hello");
    let (first, second) = (format!("tcp:[::1]:{port}"), format!("tcp:127.0.0.1:{port}"));
    let lines = lines_like(&ran, &["trying", "connected", "tcp:"]);
    assert_eq!(lines[0], format!("trying {first}"), "{}", ran.stderr);
    assert!(lines[1].starts_with(&format!("{first}: ")) && lines[1].contains("refused"), "{}", ran.stderr);
    assert_eq!(lines[2], format!("trying {second}"), "{}", ran.stderr);
    assert!(lines[3].starts_with(&format!("connected to {second}")), "{}", ran.stderr);
    server.join().unwrap();
}

#[test]
fn families_take_turns_and_every_refusal_is_told() {
    // One socket for both families: all of these addresses refuse.
    let Some((_refusing, port)) = refusing("[::]:0") else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no IPv6 here");
        return;
    };
    let name = format!("Many.Test:{port}");
    let arguments = [&*name, "--resolve", &format!("many.test:{port}:127.0.0.1,127.0.0.2"), "--resolve"];
    let more = format!("many.test:{port}:127.0.0.3,127.0.0.1,[::1]");
    let ran = run(&[&arguments[..], &[&more, "-v"]].concat(), Input::Nothing).ended(4);
    let tried: Vec<String> = ["127.0.0.1", "[::1]", "127.0.0.2", "127.0.0.3"]
        .map(|address| format!("trying tcp:{address}:{port}"))
        .into();
    assert_eq!(lines_like(&ran, &["trying"]), tried);
    let ran = ran.said(&format!("cannot connect to tcp:{name}: tcp:127.0.0.1:{port}: "));
    assert_eq!(lines_like(&ran, &["tcp:"]).len(), 4, "each is told when it happens:\n{}", ran.stderr);
    assert_eq!(ran.stderr.matches("refused").count(), 2 * 4, "and all of them at the end:\n{}", ran.stderr);
}

#[test]
fn silence_everywhere_is_a_time_out_and_a_refusal_says_more() {
    // One address is a black hole; the other one of the same port is bound and refuses.
    let found = (0..50).find_map(|_| {
        let (refusing, port) = refusing("127.0.0.3:0")?;
        Some((refusing, black_hole(&format!("127.0.0.1:{port}"))?))
    });
    let (_refusing, hole) = found.expect("a port that is free at both addresses");
    let port = hole.port;
    let name = format!("silent.test:{port}");
    let resolve = |addresses: &str| format!("{name}:{addresses}");
    let limit = ["--connect-timeout", "400ms"];
    let pin = resolve("127.0.0.1");
    let ran = run(&[&[&*name, "--resolve", &pin], &limit[..]].concat(), Input::Nothing).ended(5);
    ran.said("no answer within 400");
    let pin = resolve("127.0.0.1,127.0.0.3");
    let ran = run(&[&[&*name, "-v", "--resolve", &pin], &limit[..]].concat(), Input::Nothing).ended(4);
    ran.said("refused").said(&format!("tcp:127.0.0.1:{port}: no answer within 400"));
}

#[test]
fn a_source_port_has_room_for_one_attempt() {
    let (hole, listener) = dead_and_alive("127.0.0.1", "127.0.0.2");
    let server = says_hello(listener);
    let name = format!("two.test:{}", hole.port);
    let (bound, source) = refusing("127.0.0.1:0").unwrap();
    drop(bound);
    let pin = format!("{name}:127.0.0.1,127.0.0.2");
    let source = format!("127.0.0.1:{source}");
    let arguments = [&*name, "--resolve", &pin, "--source", &source, "--connect-timeout", "400ms", "-v"];
    let ran = run(&arguments, Input::Nothing).ended(0).said("no answer within 400").said(&source);
    same("answer", &ran.stdout, b"hello");
    server.join().unwrap();
}

#[test]
fn pins_that_cannot_be_read_are_usage_errors() {
    for pin in ["one.test", "one.test:7", "one.test:7:", "one.test:7:two.test", "127.0.0.1:7:127.0.0.1"] {
        run(&["one.test:7", "--resolve", pin], Input::Nothing).ended(2).said("NAME:PORT:ADDRESS");
    }
    // About another port it says nothing, and the name is looked up.
    run(&["one.invalid:7", "--resolve", "one.invalid:8:127.0.0.1"], Input::Nothing).ended(3);
}

#[test]
fn source_and_options_are_set() {
    let (address, server) = server(|stream| stream.peer_addr().unwrap());
    let arguments =
        [&*address.to_string(), "--source", "127.0.0.9", "--option", "ttl=9", "--option", "sndbuf=64KiB"];
    run(&arguments, Input::Nothing).ended(0);
    assert_eq!(server.join().unwrap().ip().to_string(), "127.0.0.9");
}

// ── Datagrams ──

/// Answers each datagram after a delay that is part of its role.
fn udp_echo(datagrams: usize, delay: Duration) -> (String, JoinHandle<Vec<usize>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = format!("udp:{}", socket.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let mut room = vec![0; 65_536];
        let mut sizes = Vec::new();
        for _ in 0..datagrams {
            let (n, from) = socket.recv_from(&mut room).unwrap();
            thread::sleep(delay);
            socket.send_to(&room[..n], from).unwrap();
            sizes.push(n);
        }
        sizes
    });
    (name, thread)
}

#[test]
fn udp_replies_are_awaited() {
    for delay_ms in [0, 700, 2_000] {
        let (name, server) = udp_echo(1, Duration::from_millis(delay_ms));
        let ran = run(&[&name], Input::Pipe(b"hello".to_vec())).ended(0);
        same("reply", &ran.stdout, b"hello");
        assert!(ran.took > Duration::from_secs(2), "the wait starts anew with each datagram: {:?}", ran.took);
        server.join().unwrap();
    }
    let (name, server) = udp_echo(1, Duration::ZERO);
    let ran = run(&[&name, "-w", "100ms"], Input::Pipe(b"hello".to_vec())).ended(0);
    assert!(ran.took < Duration::from_secs(1), "{:?}", ran.took);
    server.join().unwrap();
}

#[test]
fn udp_count_ends_at_once_or_says_what_is_missing() {
    let (name, server) = udp_echo(1, Duration::ZERO);
    let ran = run(&[&name, "-n", "1"], Input::OpenPipe(b"hello".to_vec())).ended(0);
    same("reply", &ran.stdout, b"hello");
    assert!(ran.took < Duration::from_secs(1), "{:?}", ran.took);
    server.join().unwrap();

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = format!("udp:{}", silent.local_addr().unwrap());
    run(&[&name, "-n", "1", "-w", "100ms"], Input::Pipe(b"hello".to_vec())).ended(6).said("0 of 1 replies");
}

#[test]
fn udp_sizes() {
    // One read is one datagram: a file is cut at the largest payload.
    let (name, server) = udp_echo(2, Duration::ZERO);
    let input = data(70_000);
    let ran = run(&[&name, "-n", "2"], Input::File(input.clone())).ended(0);
    assert_eq!(server.join().unwrap(), [65_507, 70_000 - 65_507]);
    same("replies", &ran.stdout, &input);

    // One line is one datagram; the last one may lack its line feed.
    let (name, server) = udp_echo(4, Duration::ZERO);
    let ran = run(&[&name, "--line", "-n", "4"], Input::Pipe(b"1 2\n\n33 4\nlast".to_vec())).ended(0);
    assert_eq!(server.join().unwrap(), [4, 1, 5, 4]);
    same("replies", &ran.stdout, b"1 2\n\n33 4\nlast");
}

#[test]
fn udp_empty_datagrams_count() {
    let (name, server) = udp_echo(1, Duration::ZERO);
    let ran = run(&[&name, "--send-empty", "-n", "1", "-v"], Input::Nothing).ended(0);
    assert!(ran.stdout.is_empty());
    ran.said("received 0 bytes in 1 messages");
    assert_eq!(server.join().unwrap(), [0]);
}

#[test]
fn udp_nobody_there() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = format!("udp:{}", gone.local_addr().unwrap());
    drop(gone);
    let ran = run(&[&name], Input::OpenPipe(b"hello".to_vec())).ended(4).said("refused");
    assert!(ran.took < Duration::from_secs(1), "{:?}", ran.took);
}

#[test]
fn udp_with_faults() {
    if !fault::POSSIBLE {
        let _ = writeln!(std::io::stderr(), "SKIPPED: faults need a debug build");
        return;
    }
    for faults in ["short=1,eintr=50", "again=80"] {
        let (name, server) = udp_echo(3, Duration::ZERO);
        let input = Input::Pipe(b"one\ntwo\nthree\n".to_vec());
        let ran = run_with(Some(faults), &[&name, "--line", "-n", "3"], input).ended(0);
        same("replies", &ran.stdout, b"one\ntwo\nthree\n");
        assert_eq!(server.join().unwrap(), [4, 4, 6]);
    }
}

// ── Unix sockets ──

/// A name in the abstract namespace that no other test run has.
fn abstract_name(what: &str) -> String {
    format!("switchboard-{}-{what}", std::process::id())
}

#[test]
fn unix_streams() {
    let name = abstract_name("stream");
    let listener =
        UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let question = read_all(&mut stream);
        stream.write_all(&question).unwrap();
        drop(stream);
        // The second one ends without reading.
        drop(listener.accept().unwrap());
    });
    let question = data(2 * MB);
    let ran = run(&[&format!("unix:@{name}")], Input::File(question.clone())).ended(0);
    same("answer", &ran.stdout, &question);
    let ran = run(&[&format!("unix:@{name}")], Input::File(question));
    assert!([7, 8].contains(&ran.code), "{}: {}", ran.code, ran.stderr);
    server.join().unwrap();
}

#[test]
fn unix_datagrams_can_be_answered() {
    let path = std::env::temp_dir().join(abstract_name("dgram"));
    let socket = UnixDatagram::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let mut room = [0; 1_000];
        for _ in 0..2 {
            let (n, from) = socket.recv_from(&mut room).unwrap();
            assert!(!from.is_unnamed());
            socket.send_to_addr(&room[..n], &from).unwrap();
        }
        // Larger than the client's usual buffer.
        let (_, from) = socket.recv_from(&mut room).unwrap();
        socket.send_to_addr(&data(100_000), &from).unwrap();
    });
    let endpoint = format!("unix-dgram:{}", path.display());
    let ran = run(&[&endpoint, "--line", "-n", "3"], Input::Pipe(b"one\ntwo\nthree\n".to_vec())).ended(0);
    same("replies", &ran.stdout, &[b"one\ntwo\n", &data(100_000)[..]].concat());
    server.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    run(&[&endpoint], Input::Nothing).ended(4);
}

#[test]
fn unix_seqpackets_keep_their_boundaries() {
    let name = abstract_name("seqpacket");
    let flags = SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
    rustix::net::listen(&listener, 5).unwrap();
    let server = thread::spawn(move || {
        let mut sizes = Vec::new();
        for _ in 0..2 {
            let connection = rustix::net::accept(&listener).unwrap();
            let mut room = vec![0; 100_000];
            loop {
                let (n, _) = rustix::net::recv(&connection, &mut room[..], RecvFlags::empty()).unwrap();
                sizes.push(n);
                if n == 0 {
                    break;
                }
            }
            // An empty message is not the end.
            for message in [&b"first "[..], b"", b"last"] {
                rustix::net::send(&connection, message, SendFlags::NOSIGNAL).unwrap();
            }
        }
        sizes
    });
    let endpoint = format!("unix-seqpacket:@{name}");
    let ran = run(&[&endpoint, "-v"], Input::File(data(70_000))).ended(0);
    same("answer", &ran.stdout, b"first last");
    ran.said("in 3 messages");
    let ran = run(&[&endpoint, "--line"], Input::Pipe(b"a\nbc\n".to_vec())).ended(0);
    same("answer", &ran.stdout, b"first last");
    assert_eq!(server.join().unwrap(), [65_536, 70_000 - 65_536, 0, 2, 3, 0]);
}

// ── Many connections ──

#[test]
fn fifty_connections_end_together() {
    const COUNT: usize = 50;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (all_here, here) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut streams: Vec<TcpStream> = (0..COUNT).map(|_| listener.accept().unwrap().0).collect();
        for stream in &mut streams {
            stream.write_all(b"welcome").unwrap();
        }
        let mut first = [0; 5];
        streams[0].read_exact(&mut first).unwrap();
        for stream in &streams {
            // All are open, and nothing came on the others.
            stream.set_nonblocking(true).unwrap();
            let mut stream = stream;
            let answer = stream.read(&mut [0]);
            assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            stream.set_nonblocking(false).unwrap();
        }
        all_here.send(()).unwrap();
        for stream in &mut streams {
            assert_eq!(read_all(stream), b"");
            stream.write_all(b"!").unwrap();
        }
        first
    });
    let mut client = hold(&[&address.to_string(), "--connections", "50", "-v"], None);
    client.input.as_mut().unwrap().write_all(b"hello").unwrap();
    here.recv_timeout(HUNG).unwrap();
    let ran = client.finish().ended(0).said("50 connections are open");
    same("answer", &ran.stdout, b"welcome!");
    ran.said(&format!("49 other connections received {} bytes, 0 were reset", 49 * 8));
    assert_eq!(&server.join().unwrap(), b"hello");
}

#[test]
fn a_companion_that_is_reset_is_not_overlooked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let (second, _) = listener.accept().unwrap();
        // The conversation starts when all connections are made.
        let mut question = [0; 5];
        first.read_exact(&mut question).unwrap();
        reset(second);
        assert_eq!(read_all(&mut first), b"");
        first.write_all(&question).unwrap();
    });
    let arguments = [&*address.to_string(), "--connections", "2"];
    let ran = run(&arguments, Input::Pipe(b"hello".to_vec())).ended(7).said("the peer reset 1");
    same("answer", &ran.stdout, b"hello");
    server.join().unwrap();
}
