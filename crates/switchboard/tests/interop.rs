//! `connect` and the clients that others have: nc, ncat, socat and curl, each in both roles, megabytes both ways, every byte
//! compared. What is not installed is skipped aloud. Rows S5, S16, S17.

mod harness;

use harness::{PATIENCE, free_port, program, skip, text, wait_for_listener, wait_until};
use rustix::process::{Pid, Signal};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

const MB: usize = 1_000_000;

fn data(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The first of these that is here; says so if none is.
fn installed(names: &[&'static str]) -> Option<&'static str> {
    let is_here = |name: &&&str| {
        let asked = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", name]).status();
        asked.is_ok_and(|status| status.success())
    };
    let found = names.iter().find(is_here).copied();
    if found.is_none() {
        skip(&names.join(", "), "not installed");
    }
    found
}

/// An address that nobody else uses: one of this process's own, with a port that is free. Whole, and as the two words of a
/// command line.
fn place() -> (SocketAddr, String, String) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let host = [127, 64 + high % 128, low, NEXT.fetch_add(1, Ordering::Relaxed)];
    let at = SocketAddr::from((host, free_port()));
    (at, at.ip().to_string(), at.port().to_string())
}

/// A program with this as its input; it is killed when it hangs.
struct Running {
    child: Child,
    output: thread::JoinHandle<Vec<u8>>,
    _alive: std::sync::mpsc::Sender<()>,
    name: String,
}

/// `end`: the input ends.
fn start(command: &mut Command, input: Vec<u8>) -> Running {
    let name = format!("{command:?}");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = Pid::from_child(&child);
    let (alive, watched) = channel::<()>();
    thread::spawn(move || {
        if watched.recv_timeout(PATIENCE * 3) == Err(RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
    });
    let mut pipe = child.stdin.take().unwrap();
    thread::spawn(move || pipe.write_all(&input));
    let mut stdout = child.stdout.take().unwrap();
    let output = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    Running { child, output, _alive: alive, name }
}

impl Running {
    /// What it has written, if it ended well.
    #[track_caller]
    fn good(mut self) -> Vec<u8> {
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut said);
        assert!(status.success(), "{}: {status}: {said}", self.name);
        self.output.join().unwrap()
    }
}

#[track_caller]
fn same(what: &str, got: &[u8], wanted: &[u8]) {
    let at = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
    assert!(got == wanted, "{what}: {} bytes instead of {}, different from {at}", got.len(), wanted.len());
}

/// They listen with this command, we connect.
#[track_caller]
fn we_connect(listener: &mut Command, address: SocketAddr) {
    let (ours, theirs) = (data(3 * MB, 1), data(2 * MB, 2));
    let peer = start(listener, theirs.clone());
    wait_for_listener(address, "tcp", None);
    let client = start(program().args(["connect", &address.to_string()]), ours.clone());
    same("from them", &client.good(), &theirs);
    same("from us", &peer.good(), &ours);
}

/// The same for those who leave at the end of what their client sends, whatever they have to say themselves: one way at a
/// time. The last argument of `listener`: whether it only receives.
#[track_caller]
fn one_way_each(listener: &dyn Fn(&str, &str, bool) -> Command) {
    for receives in [false, true] {
        let (at, host, port) = place();
        let all = data(3 * MB, 10);
        let (theirs, ours) = if receives { (Vec::new(), all.clone()) } else { (all.clone(), Vec::new()) };
        let peer = start(&mut listener(&host, &port, receives), theirs);
        wait_for_listener(at, "tcp", None);
        // Some end their own half at once (ncat does with --recv-only), after which input may pause only so long; and
        // this process, which writes it, may be kept waiting.
        let way = if receives { &["--after-eof", "15s"][..] } else { &["--recv-only"] };
        let came = start(program().args(["connect", &at.to_string()]).args(way), ours).good();
        let went = peer.good();
        match receives {
            true => same("from us", &went, &all),
            false => same("from them", &came, &all),
        }
    }
}

/// We listen, they connect with this command.
#[track_caller]
fn they_connect(client: &mut Command, address: SocketAddr) {
    let (ours, theirs) = (data(3 * MB, 3), data(2 * MB, 4));
    let peer = start(program().args(["connect", &format!("listen:{address}")]), ours.clone());
    wait_for_listener(address, "tcp", None);
    let client = start(client, theirs.clone());
    same("from them", &peer.good(), &theirs);
    same("from us", &client.good(), &ours);
}

#[test]
fn with_nc() {
    let Some(nc) = installed(&["nc.openbsd"]) else { return };
    one_way_each(&|host, port, receives| {
        let mut command = Command::new(nc);
        command.args(receives.then_some("-d")).args(["-N", "-l", host, port]);
        command
    });
    let (at, host, port) = place();
    they_connect(Command::new(nc).args(["-N", &host, &port]), at);
    // And with our nc at the other end, as scripts would.
    let (at, host, port) = place();
    let ours = data(MB, 5);
    let peer = start(program().args(["nc", "-l", &host, &port]), ours.clone());
    wait_for_listener(at, "tcp", None);
    let client = start(Command::new(nc).args(["-N", &host, &port]), b"hello".to_vec());
    same("from us", &client.good(), &ours);
    same("from them", &peer.good(), b"hello");
}

#[test]
fn with_nc_traditional() {
    let Some(nc) = installed(&["nc.traditional"]) else { return };
    // It knows no half-close: only one way has an end that it tells.
    let (at, host, port) = place();
    let theirs = data(MB, 6);
    let peer = start(program().args(["connect", &format!("listen:{at}"), "--recv-only"]), Vec::new());
    wait_for_listener(at, "tcp", None);
    let client = start(Command::new(nc).args(["-q", "0", &host, &port]), theirs.clone());
    same("from them", &peer.good(), &theirs);
    client.good();
}

#[test]
fn with_ncat() {
    let Some(ncat) = installed(&["ncat"]) else { return };
    one_way_each(&|host, port, receives| {
        let mut command = Command::new(ncat);
        command.args(receives.then_some("--recv-only")).args(["-l", host, port]);
        command
    });
    let (at, host, port) = place();
    they_connect(Command::new(ncat).args([&host, &port]), at);
}

#[test]
fn with_socat() {
    let Some(socat) = installed(&["socat"]) else { return };
    // -t: socat leaves half a second after the first half has ended, unless told otherwise.
    let (at, host, port) = place();
    let listen = format!("TCP-LISTEN:{port},bind={host}");
    we_connect(Command::new(socat).args(["-t", "50", "-", &listen]), at);
    let (at, ..) = place();
    they_connect(Command::new(socat).args(["-t", "50", "-", &format!("TCP:{at}")]), at);
}

#[test]
fn with_socat_over_unix_sockets() {
    let Some(socat) = installed(&["socat"]) else { return };
    for (ours, theirs, listening) in [
        ("unix", "ABSTRACT-CONNECT", false),
        ("unix", "ABSTRACT-LISTEN", true),
        ("unix-seqpacket", "ABSTRACT-LISTEN", true),
    ] {
        let name = format!("switchboard-interop-{}-{ours}-{theirs}", std::process::id());
        let kind = if ours == "unix-seqpacket" { ",type=5" } else { "" };
        let (sent, answered) = (data(60_000, 7), data(50_000, 8));
        let end = format!("{ours}:@{name}");
        let them = format!("{theirs}:{name}{kind}");
        let (first, second) = if listening {
            (start(Command::new(socat).args(["-b", "70000", "-t", "50", "-", &them]), answered.clone()), None)
        } else {
            let listen = format!("listen:{end}");
            (start(program().args(["connect", &listen]), answered.clone()), Some(&them))
        };
        let listens = || fs::read_to_string("/proc/net/unix").unwrap().contains(&name);
        wait_until(&format!("somebody listens at {name}"), listens, String::new);
        let second = match second {
            Some(them) => {
                start(Command::new(socat).args(["-b", "70000", "-t", "50", "-", them]), sent.clone())
            }
            None => start(program().args(["connect", &end]), sent.clone()),
        };
        same(&them, &second.good(), &answered);
        same(&them, &first.good(), &sent);
    }
}

#[test]
fn with_datagrams() {
    if let Some(nc) = installed(&["nc.openbsd"]) {
        // nc never leaves by itself: it is killed when both have heard each other.
        let (at, host, port) = place();
        let mut command = Command::new(nc);
        command.args(["-u", "-l", &host, &port]);
        let mut peer =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_listener(at, "udp", None);
        let client = start(
            program().args(["connect", &format!("udp:{at}"), "-n", "1", "--line"]),
            b"question\n".to_vec(),
        );
        // nc leaves as soon as nobody reads its output: the reader stays to the end.
        let mut said = BufReader::new(peer.stdout.take().unwrap());
        let mut heard = String::new();
        said.read_line(&mut heard).unwrap();
        assert_eq!(heard, "question\n");
        peer.stdin.take().unwrap().write_all(b"answer\n").unwrap();
        assert_eq!(text(&client.good()), "answer\n");
        let _ = peer.kill();
        peer.wait().unwrap();
    }
    if let Some(socat) = installed(&["socat"]) {
        let (at, ..) = place();
        let peer =
            start(program().args(["connect", &format!("listen:udp:{at}"), "-w", "1s"]), b"answer\n".to_vec());
        wait_for_listener(at, "udp", None);
        let client =
            start(Command::new(socat).args(["-t", "5", "-", &format!("UDP:{at}")]), b"question\n".to_vec());
        assert_eq!(text(&peer.good()), "question\n");
        assert_eq!(text(&client.good()), "answer\n");
    }
    // A socket of the standard library, which is neither.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = format!("udp:{}", socket.local_addr().unwrap());
    let client = start(program().args(["connect", &to, "-n", "1"]), b"hello".to_vec());
    let mut room = [0; 100];
    let (n, from) = socket.recv_from(&mut room).unwrap();
    socket.send_to(&room[..n], from).unwrap();
    assert_eq!(client.good(), b"hello");
}

#[test]
fn with_curl() {
    let Some(curl) = installed(&["curl"]) else { return };
    // A page that we serve as it is.
    let (at, ..) = place();
    let page = data(2 * MB, 9);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
    let server =
        start(program().args(["connect", &format!("listen:{at}")]), [head.as_bytes(), &page].concat());
    wait_for_listener(at, "tcp", None);
    let url = format!("http://{at}/page");
    let client =
        start(Command::new(curl).args(["-sS", "--noproxy", "*", "--max-time", "50", &url]), Vec::new());
    same("the page", &client.good(), &page);
    let request = server.good();
    assert!(text(&request).starts_with("GET /page HTTP/1.1\r\n"), "{}", text(&request));

    // What is sent to us, whole.
    let (at, ..) = place();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_vec();
    let server = start(program().args(["connect", &format!("listen:{at}")]), answer);
    wait_for_listener(at, "tcp", None);
    let body = "0123456789".repeat(1_000);
    let url = format!("http://{at}/");
    let mut command = Command::new(curl);
    command.args([
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "15",
        "-H",
        "Expect:",
        "--data-binary",
        &body,
        &url,
    ]);
    assert_eq!(start(&mut command, Vec::new()).good(), b"ok");
    let heard = server.good();
    assert!(heard.ends_with(body.as_bytes()), "{} bytes", heard.len());
}
