//! `connect --proxy` against ncat, microsocks and Dante, and against proxies that do as they are told here: not a byte that follows
//! an answer is lost, and a refusal is told in words. Row S5.

mod harness;

use harness::{PATIENCE, Scratch, Server, free_port, program, run_to_end, text, wait_for_listener};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};

/// Runs `connect`; killed when it hangs.
fn connect(arguments: &[&str], input: &[u8]) -> Output {
    run_to_end(program().arg("connect").args(arguments), Some(input), PATIENCE)
}

/// One client of a proxy that reads this many bytes before each answer; the socket, and what it was asked.
fn proxy(steps: Vec<(usize, Vec<u8>)>) -> (String, JoinHandle<(TcpStream, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let proxy = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut asked = Vec::new();
        for (bytes, answer) in steps {
            let mut request = vec![0; bytes];
            stream.read_exact(&mut request).unwrap();
            asked.extend(request);
            stream.write_all(&answer).unwrap();
        }
        (stream, asked)
    });
    (address, proxy)
}

const SOCKS5_GRANTED: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 7];

#[test]
fn what_follows_an_answer_in_the_same_segment_arrives() {
    let payload: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let with = |answer: &[u8]| [answer, &payload].concat();
    let request = b"CONNECT nowhere.invalid:7 HTTP/1.1\r\nHost: nowhere.invalid:7\r\n\r\n";
    for (scheme, steps) in [
        ("http", vec![(request.len(), with(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"))]),
        ("socks4a", vec![(9 + 16, with(&[0, 90, 0, 7, 127, 0, 0, 1]))]),
        ("socks5", vec![(3, vec![5, 0]), (7 + 15, with(SOCKS5_GRANTED))]),
        ("socks5", vec![(3, vec![5, 0]), (7 + 15, with(&[&[5, 0, 0, 3, 4][..], b"host", &[0, 7]].concat()))]),
    ] {
        for fault in ["", "seed=3,eintr=50,again=80,short=1"] {
            // A byte a call: less of them.
            let keep = if fault.is_empty() { payload.len() } else { 20_000 };
            let mut steps = steps.clone();
            if let Some((_, answer)) = steps.last_mut() {
                answer.truncate(answer.len() - (payload.len() - keep));
            }
            let (address, proxy) = proxy(steps);
            let mut command = program();
            if !fault.is_empty() {
                command.env("SWITCHBOARD_FAULT", fault);
            }
            let url = format!("{scheme}://{address}");
            let ran = thread::spawn(move || {
                let arguments = ["connect", "--proxy", &url, "tcp:nowhere.invalid:7"];
                run_to_end(command.args(arguments), Some(b"what is sent"), PATIENCE)
            });
            let (mut stream, _) = proxy.join().unwrap();
            let mut sent = Vec::new();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut sent).unwrap();
            let ran = ran.join().unwrap();
            assert_eq!(ran.status.code(), Some(0), "{scheme} {fault}: {}", text(&ran.stderr));
            assert!(ran.stdout == payload[..keep], "{scheme} {fault}: {} bytes of {keep}", ran.stdout.len());
            assert_eq!(sent, b"what is sent", "{scheme} {fault}");
        }
    }
}

#[test]
fn refusals_are_told_in_words_and_by_exit_codes() {
    for (scheme, steps, code, part) in [
        (
            "http",
            vec![(10, b"HTTP/1.1 503 Service Unavailable\r\n\r\n".to_vec())],
            4,
            "503 Service Unavailable",
        ),
        (
            "http",
            vec![(10, b"HTTP/1.1 407 \x1b[1mno\r\nProxy-Authenticate: Basic\r\n\r\n".to_vec())],
            11,
            "407 \\x1b[1mno",
        ),
        ("http", vec![(10, b"220 smtp.example.test\r\n".to_vec())], 11, "no answer of an HTTP proxy"),
        ("socks4a", vec![(10, vec![0, 91, 0, 0, 0, 0, 0, 0])], 4, "rejected or failed"),
        ("socks5", vec![(3, vec![5, 0xff])], 11, "wants to know who asks"),
        ("socks5", vec![(3, vec![5, 0]), (10, vec![5, 5, 0, 1, 0, 0, 0, 0, 0, 0])], 4, "connection refused"),
        ("socks5", vec![(3, vec![5, 0]), (10, vec![5, 2, 0, 1, 0, 0, 0, 0, 0, 0])], 11, "rules"),
        ("socks5", vec![(3, vec![5])], 11, "closed the connection before"),
    ] {
        let (address, proxy) = proxy(steps);
        let ran = thread::spawn(move || {
            connect(&["--proxy", &format!("{scheme}://{address}"), "tcp:somewhere.invalid:7"], b"unsent")
        });
        let (stream, _) = proxy.join().unwrap();
        // Whoever was refused may have left already.
        let _ = stream.shutdown(Shutdown::Write);
        let ran = ran.join().unwrap();
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{said}");
        assert!(said.contains(part) && said.contains("somewhere.invalid:7 through the proxy"), "{said}");
        assert!(ran.stdout.is_empty());
    }
    // One that is silent, and one that is not there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("socks5://{}", listener.local_addr().unwrap());
    let ran = connect(&["--proxy", &url, "tcp:127.0.0.1:7", "--connect-timeout", "300ms"], b"");
    assert_eq!(ran.status.code(), Some(5), "{}", text(&ran.stderr));
    drop(listener);
    let ran = connect(&["--proxy", &url, "tcp:127.0.0.1:7"], b"");
    assert_eq!(ran.status.code(), Some(4), "{}", text(&ran.stderr));
    let said = text(&ran.stderr);
    assert!(said.contains(&format!("the proxy {url} is out of reach")), "{said}");
}

#[test]
fn who_asks_is_told_and_passwords_are_not_shown() {
    let (address, asked) =
        proxy(vec![(4, vec![5, 2]), (3 + 4 + 6, vec![1, 0]), (10, SOCKS5_GRANTED.to_vec())]);
    let url = format!("socks5://user:s%40cret@{address}");
    let ran = thread::spawn(move || connect(&["-v", "--proxy", &url, "tcp:192.0.2.1:7", "--json"], b""));
    let (stream, request) = asked.join().unwrap();
    drop(stream);
    let ran = ran.join().unwrap();
    assert_eq!(
        request,
        [&[5, 2, 0, 2, 1, 4][..], b"user\x06s@cret", &[5, 1, 0, 1, 192, 0, 2, 1, 0, 7]].concat()
    );
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.contains("tcp:192.0.2.1:7 through socks5://127.0.0.1:") && !said.contains("cret"), "{said}");

    for (arguments, part) in [
        (&["--proxy", "ftp://h:1", "tcp:h:7"][..], "none of http, socks4, socks4a, socks5"),
        (&["--proxy", "socks5://h:1", "udp:h:7"], "is for TCP"),
        (&["--proxy", "socks5://h:1", "unix:/x"], "is for TCP"),
        (&["--proxy", "socks5://h:1", "-z", "h", "7"], "--scan"),
        (&["--proxy", "socks4://h:1", "tcp:[::1]:7"], "IPv6"),
    ] {
        let ran = connect(arguments, b"");
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        assert!(text(&ran.stderr).contains(part), "{}", text(&ran.stderr));
    }
}

/// A server that sends so many bytes back, and ends.
fn echo_once(bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp:{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = vec![0; bytes];
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    endpoint
}

/// A real proxy, killed when dropped; and its port.
struct Proxy(Child, u16);

impl Proxy {
    /// ncat, which is an HTTP proxy if asked.
    fn ncat(credentials: &str) -> Option<Proxy> {
        let port = free_port();
        let mut command = Command::new("ncat");
        command.args(["-l", "-k", "127.0.0.1", &port.to_string(), "--proxy-type", "http"]);
        if !credentials.is_empty() {
            command.args(["--proxy-auth", credentials]);
        }
        Proxy::start(command, port)
    }

    /// microsocks, a SOCKS5 proxy.
    fn microsocks(credentials: &str) -> Option<Proxy> {
        let port = free_port();
        let mut command = Command::new("microsocks");
        command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        if let Some((user, password)) = credentials.split_once(':') {
            command.args(["-u", user, "-P", password]);
        }
        Proxy::start(command, port)
    }

    /// Dante, which speaks SOCKS4, SOCKS4a and SOCKS5, and waits for the end of each half.
    fn dante(scratch: &Scratch) -> Option<Proxy> {
        let (port, file) = (free_port(), scratch.path("danted.conf"));
        let rules = "from: 127.0.0.0/8 to: 0.0.0.0/0";
        let written = format!(
            "logoutput: /dev/null\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nsocksmethod: none\n\
             clientmethod: none\nclient pass {{ {rules} }}\nsocks pass {{ {rules}\n protocol: tcp\n\
             proxyprotocol: socks_v4 socks_v5\n}}\n"
        );
        std::fs::write(&file, written).unwrap();
        let mut command = Command::new("danted");
        command.args(["-f", &file, "-p", &scratch.path("danted.pid")]);
        Proxy::start(command, port)
    }

    fn start(mut command: Command, port: u16) -> Option<Proxy> {
        let mut child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        {
            Ok(child) => child,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "SKIPPED {command:?}: {error}");
                return None;
            }
        };
        wait_for_listener(([127, 0, 0, 1], port).into(), "tcp", Some(&mut child));
        Some(Proxy(child, port))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked first, since some have processes of their own to end.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let _ = switchboard_net::sys::process::wait_for_end(self.0.id(), Some(PATIENCE));
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn real_proxies_are_understood() {
    let server = Server::start(&["daytime", "--listen", "tcp:127.0.0.1:0"]);
    let daytime = &server.endpoint();
    let input: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    for credentials in ["", "user:secret"] {
        let proxies = [("http", Proxy::ncat(credentials)), ("socks5", Proxy::microsocks(credentials))];
        for (scheme, proxy) in proxies.iter().filter_map(|(scheme, proxy)| Some((*scheme, proxy.as_ref()?))) {
            let url = |credentials: &str| {
                let at = if credentials.is_empty() { "" } else { "@" };
                format!("{scheme}://{credentials}{at}127.0.0.1:{}", proxy.1)
            };
            // Both take a half-close for the end of both halves, so the server is the one who ends.
            let echo = echo_once(input.len());
            let ran = connect(&["--proxy", &url(credentials), &echo, "--no-half-close"], &input);
            assert_eq!(ran.status.code(), Some(0), "{scheme}: {}", text(&ran.stderr));
            assert!(ran.stdout == input, "{scheme}: {} bytes", ran.stdout.len());
            // The server speaks first, and ends.
            let arguments = ["daytime", daytime, "--no-half-close", "--proxy", &url(credentials)];
            let ran = connect(&arguments, b"");
            assert_eq!(ran.status.code(), Some(0), "{scheme}: {}", text(&ran.stderr));
            assert!(text(&ran.stdout).ends_with("UTC\n"), "{}", text(&ran.stdout));
            if !credentials.is_empty() {
                let ran = connect(&["--proxy", &url("user:wrong"), daytime], b"");
                assert_eq!(ran.status.code(), Some(11), "{scheme}: {}", text(&ran.stderr));
            }
        }
    }
}

#[test]
fn every_socks_is_understood_by_dante_and_halves_pass() {
    let scratch = Scratch::new();
    let Some(dante) = Proxy::dante(&scratch) else { return };
    let input: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    for scheme in ["socks4", "socks4a", "socks5"] {
        let url = format!("{scheme}://127.0.0.1:{}", dante.1);
        let server = Server::start(&["echo", "--listen", "tcp:127.0.0.1:0"]);
        let ran = connect(&["--proxy", &url, &server.endpoint()], &input);
        assert_eq!(ran.status.code(), Some(0), "{scheme}: {}", text(&ran.stderr));
        assert!(ran.stdout == input, "{scheme}: {} bytes", ran.stdout.len());
        let nobody = format!("tcp:127.0.0.1:{}", free_port());
        let ran = connect(&["--proxy", &url, &nobody], b"");
        assert_eq!(ran.status.code(), Some(4), "{scheme}: {}", text(&ran.stderr));
    }
}

#[test]
fn several_connections_and_the_flags_of_nc() {
    let server = Server::start(&["daytime", "--listen", "tcp:127.0.0.1:0"]);
    let daytime = server.endpoint();
    let Some(ncat) = Proxy::ncat("") else { return };
    let place = format!("127.0.0.1:{}", ncat.1);
    let ran = connect(
        &["--proxy", &format!("http://{place}"), &daytime, "--connections", "3", "-v", "--no-half-close"],
        b"",
    );
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("2 other connections received"), "{}", text(&ran.stderr));
    let port = daytime.rsplit_once(':').unwrap().1;
    let nc = |arguments: &[&str]| {
        run_to_end(program().arg("nc").args(arguments).args(["127.0.0.1", port]), Some(b""), PATIENCE)
    };
    let ran = nc(&["-d", "-X", "connect", "-x", &place]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).ends_with("UTC\r\n"), "{}", text(&ran.stdout));
    for wrong in [&["-X", "6", "-x", &place][..], &["-X", "5"], &["-u", "-x", &place]] {
        assert_eq!(nc(wrong).status.code(), Some(1), "{wrong:?}");
    }
}
