//! The cases in which the classic clients hang or lose bytes: `connect` gets each right, also with system calls that are
//! interrupted, cut short, or not ready. Rows S5, S16, S18.

mod client;

use client::addresses::dead_and_alive;
use client::sealed::{HOUSE, Scripted};
use client::{
    Input, MB, client, data, file_with, finish, hold, read_all, reset, run_with, same, server, watchdog,
};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use switchboard_net::sys::{fault, socket};

/// How often each case runs with faults, unless `SWITCHBOARD_RUNS` says otherwise; `SWITCHBOARD_SEED` is that of the
/// first run (0), so that many runs can be done in pieces.
const RUNS: usize = 6;
/// Runs at a time: most wait for time to pass.
const AT_ONCE: usize = 4;

// ── TCP ──

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
    server.join().unwrap();
}

fn s4_reset_in_the_middle(faults: Option<&str>, len: usize) {
    let answer = data(len);
    let sent = answer.clone();
    let (address, server) = server(move |mut stream| {
        // The client knows that it is connected: it talks.
        stream.read_exact(&mut [0; 8]).unwrap();
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

/// More than fits into the buffers of both kernels, or nothing would be left over.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| data(20 * MB));

fn s6_server_leaves_with_input_unsent(faults: Option<&str>, _len: usize) {
    for input in [Input::File(LARGE.clone()), Input::Pipe(LARGE.clone())] {
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
    let ran = run_with(faults, &[&address.to_string()], Input::File(LARGE.clone()));
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
    // The input may pause for a second by itself; this process, for longer.
    let mut client = hold(&[&address.to_string(), "--after-eof", "15s"], faults);
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

/// Input and output are files, which need not pass through the client; what is appended to has to.
fn from_file_to_file(faults: Option<&str>, len: usize) {
    let question = data(len);
    for appends in [false, true] {
        let (address, server) = server(|stream| std::io::copy(&mut &stream, &mut &stream).unwrap());
        let whole = file_with(b"");
        let again = File::options().append(appends).write(true).open(path_of(&whole)).unwrap();
        let mut command = client(&[&address.to_string()], faults);
        let child = command.stdin(file_with(&question)).stdout(again).spawn().unwrap();
        let done = watchdog(&child);
        let ran = finish(child, done, Instant::now()).ended(0);
        assert_eq!(ran.stderr, "");
        same("output", &std::fs::read(path_of(&whole)).unwrap(), &question);
        assert_eq!(server.join().unwrap(), len as u64);
    }
}

fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

// ── UDP ──

/// A reply that takes its time. How long a reply is awaited is told in messages.rs; here the number of replies ends it,
/// so that no byte depends on how fast this machine is.
fn late_reply(faults: Option<&str>, len: usize, delay: Duration) {
    let (socket, question) = (UdpSocket::bind("127.0.0.1:0").unwrap(), data(len.min(60_000)));
    let name = format!("udp:{}", socket.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut room = vec![0; 65_536];
        let (n, from) = socket.recv_from(&mut room).unwrap();
        thread::sleep(delay);
        socket.send_to(&room[..n], from).unwrap();
    });
    let ran = run_with(faults, &[&name, "-n", "1", "-w", "50s"], Input::File(question.clone())).ended(0);
    same("reply", &ran.stdout, &question);
    server.join().unwrap();
}

fn reply_at_once(faults: Option<&str>, len: usize) {
    late_reply(faults, len, Duration::ZERO);
}

fn reply_after_a_while(faults: Option<&str>, len: usize) {
    late_reply(faults, len, Duration::from_millis(70));
}

fn reply_after_a_long_while(faults: Option<&str>, len: usize) {
    late_reply(faults, len, Duration::from_millis(200));
}

// ── TLS ──

fn sealed(faults: Option<&str>, address: &str, input: &[u8], code: i32) -> client::Ran {
    run_with(faults, &["--ca", &HOUSE.ca, address], Input::Pipe(input.to_vec())).ended(code)
}

fn tls_answer_after_the_end_of_input(faults: Option<&str>, len: usize) {
    let question = data(len);
    let (address, server) = Scripted::plain(move |mut client| {
        let question = client.receive();
        client.send(&question);
        client.0.finish().unwrap();
    });
    same("answer", &sealed(faults, &address, &question, 0).stdout, &question);
    server.join().unwrap();
}

fn tls_cut_short(faults: Option<&str>, len: usize) {
    let answer = data(len);
    let sent = answer.clone();
    let (address, server) = Scripted::plain(move |mut client| {
        client.send(&sent);
        // TCP's end, without that of TLS.
        socket::shutdown_write(&client.0);
        client.receive();
    });
    let ran = sealed(faults, &address, b"question", 7).said("cut short");
    same("what came before", &ran.stdout, &answer);
    server.join().unwrap();
}

fn tls_input_after_the_servers_end(faults: Option<&str>, len: usize) {
    let question = data(len);
    let wanted = question.clone();
    let (address, server) = Scripted::plain(move |mut client| {
        client.send(b"bye");
        client.0.finish().unwrap();
        same("input", &client.receive(), &wanted);
    });
    let ran = run_with(faults, &["--ca", &HOUSE.ca, &address], Input::File(question)).ended(0);
    same("answer", &ran.stdout, b"bye");
    server.join().unwrap();
}

// ── A name with two addresses, of which the first is silent ──

fn first_address_is_dead(faults: Option<&str>, len: usize) {
    let question = data(len);
    let (hole, listener) = dead_and_alive("127.0.0.1", "127.0.0.2");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let question = read_all(&mut stream);
        stream.write_all(&question).unwrap();
    });
    let name = format!("two.test:{}", hole.port);
    let pin = format!("{name}:127.0.0.1,127.0.0.2");
    let ran = run_with(faults, &[&name, "--resolve", &pin], Input::Pipe(question.clone())).ended(0);
    same("answer", &ran.stdout, &question);
    server.join().unwrap();
}

/// A case: with these faults, moving about so many bytes.
type Case = fn(Option<&str>, usize);

/// One run as it is, then many with faults: by turns one byte at a time and mostly not ready, and only the latter with
/// more bytes.
fn try_again_and_again(case: Case, len: usize) {
    case(None, len);
    if !fault::POSSIBLE {
        // There is no other way to say it: a test without output would look as if it had checked something.
        let _ = writeln!(std::io::stderr(), "SKIPPED: faults need a debug build");
        return;
    }
    let asked = |name, usual| std::env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let first = asked("SWITCHBOARD_SEED", 0);
    let end = first + asked("SWITCHBOARD_RUNS", RUNS);
    let next = AtomicUsize::new(first);
    let turn = || {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= end {
                return;
            }
            let (faults, len) = match run % 2 {
                0 => (format!("seed={run},short=1,again=80,eintr=20"), len.min(5_000)),
                _ => (format!("seed={run},again=80,eintr=20"), len.min(300_000)),
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(Some(&faults), len))) {
                let _ = writeln!(std::io::stderr(), "run {run}: SWITCHBOARD_FAULT={faults}");
                next.store(end, Ordering::Relaxed);
                resume_unwind(panic);
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(turn))));
}

macro_rules! cases {
    ($($name:ident: $case:ident, $len:expr;)*) => {
        $(#[test]
        fn $name() {
            try_again_and_again($case, $len);
        })*
    };
}

cases! {
    s1: s1_answer_after_the_end_of_input, 3 * MB;
    s2: s2_late_answer, MB;
    s3: s3_server_ends_first, MB;
    s4: s4_reset_in_the_middle, 100_000;
    s6: s6_server_leaves_with_input_unsent, MB;
    s7: s7_input_after_the_servers_end, 3 * MB;
    file_to_file: from_file_to_file, 3 * MB;
    udp_at_once: reply_at_once, 60_000;
    udp_late: reply_after_a_while, 60_000;
    udp_later: reply_after_a_long_while, 60_000;
    tls_answer: tls_answer_after_the_end_of_input, MB;
    tls_truncated: tls_cut_short, MB;
    tls_goes_on: tls_input_after_the_servers_end, MB;
    dead_first: first_address_is_dead, 300_000;
}
