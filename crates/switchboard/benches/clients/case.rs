//! The cases: a server that does what servers do, a client, and whether everything arrived.

use crate::run::{Ran, all_of, open_after, run};
use crate::say;
use crate::secure;
use crate::subject::Subject;
use rustix::net::{AddressFamily, SocketType};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// Who takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(9);
pub(crate) const MB: usize = 1_000_000;

/// Bytes that are different everywhere.
pub(crate) fn data(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What came of a case.
pub(crate) enum Verdict {
    Right,
    /// It said that it was done, and bytes are missing.
    Lost(i32),
    /// All is there, or it was to fail, and the exit code does not say so.
    WrongCode(i32),
    Hangs,
    /// It cannot do this, or could not be run.
    Failed(i32),
}

pub(crate) type Case = fn(&Subject) -> io::Result<(Verdict, Duration)>;

const CASES: [(&str, Case); 13] = [
    ("answer after the end of input", answer_after_end),
    ("1 MB, 2 s after the end of input", late_answer),
    ("server ends first, input stays open", server_ends_first),
    ("reset in the middle", reset_in_the_middle),
    ("server leaves, 20 MB unsent", server_leaves),
    ("3 MB of input after the server's end", input_after_end),
    ("UDP, reply at once", |subject| datagram(subject, Duration::ZERO)),
    ("UDP, reply after 0.7 s", |subject| datagram(subject, Duration::from_millis(700))),
    ("UDP, reply after 2 s", |subject| datagram(subject, Duration::from_secs(2))),
    ("TLS, answer after the end of input", secure::answer_after_end),
    ("TLS, cut short", secure::cut_short),
    ("TLS, input after the server's end", secure::input_after_end),
    ("first address of a name is dead", dead_first),
];

/// Every case with this in its name, with every client.
pub(crate) fn table(subjects: &[Subject], part: &str) {
    let heads: String = subjects.iter().map(|subject| format!(" {:<15}", subject.name)).collect();
    say(format_args!("{:<37}{heads}", "case"));
    let mut right = vec![(0, 0); subjects.len()];
    let cases: Vec<(&str, Case)> = CASES.into_iter().filter(|(name, _)| name.contains(part)).collect();
    for (name, case) in &cases {
        let mut row = String::new();
        for (at, subject) in subjects.iter().enumerate() {
            let cell = match case(subject) {
                Ok((verdict, took)) => {
                    right[at].0 += usize::from(matches!(verdict, Verdict::Right));
                    right[at].1 += 1;
                    let took = took.as_secs_f64();
                    match verdict {
                        Verdict::Right => format!("right {took:.2} s"),
                        Verdict::Lost(code) => format!("LOST, exit {code}"),
                        Verdict::WrongCode(code) => format!("WRONG exit {code}"),
                        Verdict::Failed(code) => format!("fails, exit {code}"),
                        Verdict::Hangs => "HANGS".to_owned(),
                    }
                }
                // It does not speak that.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => "-".to_owned(),
                Err(error) => {
                    say(format_args!("SKIPPED {name}: {error}"));
                    "-".to_owned()
                }
            };
            row.push_str(&format!(" {cell:<15}"));
        }
        say(format_args!("{name:<37}{row}"));
    }
    let sums: String =
        right.iter().map(|(right, tried)| format!(" {:<15}", format!("{right} of {tried}"))).collect();
    say(format_args!("{:<37}{sums}", "right"));
}

/// A case in which everything is to arrive.
pub(crate) fn whole(ran: &Ran, arrived: bool) -> Verdict {
    match (ran.code, arrived) {
        (None, _) => Verdict::Hangs,
        (Some(0), true) => Verdict::Right,
        (Some(0), false) => Verdict::Lost(0),
        (Some(code), true) => Verdict::WrongCode(code),
        (Some(code), false) => Verdict::Failed(code),
    }
}

/// A case that cannot end well, and of which the exit code must say so.
pub(crate) fn broken(ran: &Ran, arrived: bool) -> Verdict {
    match (ran.code, arrived) {
        (None, _) => Verdict::Hangs,
        (Some(0), _) => Verdict::WrongCode(0),
        (Some(_), true) => Verdict::Right,
        (Some(code), false) => Verdict::Lost(code),
    }
}

/// A server for one connection, in a thread of its own.
fn serve<T: Send + 'static>(
    talk: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> io::Result<(u16, thread::JoinHandle<Option<T>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = thread::spawn(move || {
        // Nobody may come.
        let mut events = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        if !matches!(rustix::event::poll(&mut events, Some(&patience)), Ok(1)) {
            return None;
        }
        let (stream, _) = listener.accept().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(talk(stream))
    });
    Ok((port, server))
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn answer_after_end(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (port, server) = serve(|mut stream| {
        let question = read_all(&stream);
        let _ = stream.write_all(&question);
        question.len()
    })?;
    let question = data(MB);
    let ran = run(subject.tcp("127.0.0.1", port), PATIENCE, all_of(&question))?;
    let _ = server.join();
    Ok((whole(&ran, ran.stdout == question), ran.took))
}

fn late_answer(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (port, server) = serve(|mut stream| {
        read_all(&stream);
        thread::sleep(Duration::from_secs(2));
        let _ = stream.write_all(&data(MB));
    })?;
    let ran = run(subject.tcp("127.0.0.1", port), PATIENCE, all_of(b"question\n"))?;
    let _ = server.join();
    Ok((whole(&ran, ran.stdout == data(MB)), ran.took))
}

fn server_ends_first(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (port, server) = serve(|mut stream| {
        let _ = stream.write_all(&data(MB));
    })?;
    let ran = run(subject.tcp("127.0.0.1", port), PATIENCE, open_after(b""))?;
    let _ = server.join();
    Ok((whole(&ran, ran.stdout == data(MB)), ran.took))
}

fn reset_in_the_middle(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (port, server) = serve(|mut stream| {
        let _ = stream.write_all(&data(100_000));
        // A reset throws away what the client's kernel does not have yet.
        while switchboard_net::sys::socket::unacknowledged(&stream) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        switchboard_net::sys::socket::reset_on_close(&stream);
    })?;
    let ran = run(subject.tcp("127.0.0.1", port), PATIENCE, open_after(b""))?;
    let _ = server.join();
    Ok((broken(&ran, ran.stdout == data(100_000)), ran.took))
}

fn server_leaves(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (port, server) = serve(|mut stream| {
        let _ = stream.write_all(b"enough");
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_exact(&mut [0; 100]);
    })?;
    let ran = run(subject.tcp("127.0.0.1", port), PATIENCE, all_of(&data(20 * MB)))?;
    let _ = server.join();
    Ok((broken(&ran, ran.stdout == b"enough"), ran.took))
}

fn input_after_end(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (port, server) = serve(|mut stream| {
        let _ = stream.write_all(b"bye");
        let _ = stream.shutdown(Shutdown::Write);
        read_all(&stream)
    })?;
    let ran = run(subject.tcp("127.0.0.1", port), PATIENCE, |mut pipe, _| {
        // The server's end has come by then.
        thread::sleep(Duration::from_millis(300));
        let _ = pipe.write_all(&data(3 * MB));
    })?;
    let heard = server.join().ok().flatten().unwrap_or_default();
    Ok((whole(&ran, heard == data(3 * MB) && ran.stdout == b"bye"), ran.took))
}

fn datagram(subject: &Subject, delay: Duration) -> io::Result<(Verdict, Duration)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    socket.set_read_timeout(Some(PATIENCE))?;
    let server = thread::spawn(move || {
        let mut bytes = [0; 2048];
        if let Ok((n, from)) = socket.recv_from(&mut bytes) {
            thread::sleep(delay);
            let _ = socket.send_to(&bytes[..n], from);
        }
    });
    let ran = run(subject.udp("127.0.0.1", port), PATIENCE, all_of(b"question\n"))?;
    let _ = server.join();
    let verdict = match ran.code {
        // It has the answer, and does not know when to leave.
        None if ran.stdout == b"question\n" => Verdict::Hangs,
        _ => whole(&ran, ran.stdout == b"question\n"),
    };
    Ok((verdict, ran.took))
}

/// A name that is [::1] and 127.0.0.1, and nobody answers at the first one: a listener there whose queue is full drops
/// what comes, as a host does that is not there.
fn dead_first(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let alive = TcpListener::bind("127.0.0.1:0")?;
    let port = alive.local_addr()?.port();
    let dead = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None)?;
    let at: SocketAddr = format!("[::1]:{port}").parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    rustix::net::sockopt::set_ipv6_v6only(&dead, true)?;
    rustix::net::bind(&dead, &at)?;
    rustix::net::listen(&dead, 0)?;
    let mut fill = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(300)) {
        fill.push(stream);
        if fill.len() > 64 {
            return Err(io::Error::other("a queue cannot be filled here"));
        }
    }
    let server = thread::spawn(move || {
        let _ = alive.set_nonblocking(true);
        let begin = std::time::Instant::now();
        while begin.elapsed() < PATIENCE {
            match alive.accept() {
                Ok((mut stream, _)) => return drop(stream.write_all(b"hello\n")),
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    });
    let (command, start) = with_hosts(subject.tcp(TWO, port))?;
    let began = thread::spawn(move || {
        // Opened when the namespace is there and its shell waits for this: only the client's own time counts.
        let gate = std::fs::File::options().write(true).open(start);
        let now = std::time::Instant::now();
        gate.map(|_| now)
    });
    let mut ran = run(command, PATIENCE, all_of(b""))?;
    let ended = std::time::Instant::now();
    if let Ok(Ok(began)) = began.join() {
        ran.took = ended - began;
    }
    let _ = server.join();
    Ok((whole(&ran, ran.stdout == b"hello\n"), ran.took))
}

/// The name with two addresses.
const TWO: &str = "two.switchboard.test";

/// The same command where [`TWO`] is known: a mount namespace with a file of hosts of its own. It starts when somebody
/// opens the FIFO of that name for writing.
fn with_hosts(command: std::process::Command) -> io::Result<(std::process::Command, std::path::PathBuf)> {
    let start = std::env::temp_dir().join(format!("switchboard-start-{}", std::process::id()));
    let _ = std::fs::remove_file(&start);
    rustix::fs::mkfifoat(rustix::fs::CWD, &start, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    let hosts = std::env::temp_dir().join(format!("switchboard-hosts-{}", std::process::id()));
    std::fs::write(&hosts, format!("127.0.0.1 localhost {TWO}\n::1 {TWO}\n"))?;
    let mut around = std::process::Command::new("unshare");
    around.args(["--map-root-user", "--mount", "sh", "-c"]);
    around.arg("mount --bind \"$0\" /etc/hosts; read go <\"$1\"; shift; exec \"$@\"").arg(hosts).arg(&start);
    around.env_remove("SWITCHBOARD_FAULT").arg(command.get_program()).args(command.get_args());
    let mut trial = std::process::Command::new("unshare");
    match trial.args(["--map-root-user", "--mount", "true"]).status() {
        Ok(status) if status.success() => Ok((around, start)),
        _ => Err(io::Error::other("a name of two addresses needs a mount namespace")),
    }
}
