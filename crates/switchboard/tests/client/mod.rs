//! The client as the tests run it: what it is given, what it did, and small servers for it.
#![allow(dead_code, reason = "each file of tests uses some of it")]

pub(crate) mod addresses;
pub(crate) mod sealed;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A client that takes longer than this has hung. Nothing waits for it to pass: a busy machine is no fault.
pub(crate) const HUNG: Duration = Duration::from_secs(60);
pub(crate) const MB: usize = 1_000_000;

/// Bytes that are different everywhere, so that a lost or doubled piece shows.
pub(crate) fn data(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub(crate) fn same(what: &str, got: &[u8], wanted: &[u8]) {
    if got != wanted {
        let at = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
        panic!("{what}: {} bytes instead of {}, different from byte {at}", got.len(), wanted.len());
    }
}

/// Where the client's input comes from.
pub(crate) enum Input {
    Nothing,
    /// A pipe in which these bytes are, and then the end.
    Pipe(Vec<u8>),
    /// A pipe that stays open until the client has ended.
    OpenPipe(Vec<u8>),
    File(Vec<u8>),
}

/// What the client did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "exit code; standard error:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn said(self, part: &str) -> Ran {
        assert!(self.stderr.contains(part), "`{part}` is not in standard error:\n{}", self.stderr);
        self
    }
}

/// A run that took less than this, of several: a busy machine makes one slow, a fault makes each of them slow.
#[track_caller]
pub(crate) fn quick(limit: Duration, run: impl Fn() -> Ran) -> Ran {
    let mut took = Vec::new();
    while took.len() < 10 {
        let ran = run();
        if ran.took < limit {
            return ran;
        }
        took.push(ran.took);
    }
    panic!("not once below {limit:?}: {took:?}");
}

pub(crate) fn client(arguments: &[&str], faults: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.arg("connect").args(arguments).env_remove("SWITCHBOARD_FAULT");
    if let Some(faults) = faults {
        command.env("SWITCHBOARD_FAULT", faults);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Kills the client if it hangs, so that a failure is a failure and not a wait.
pub(crate) fn watchdog(child: &Child) -> mpsc::Sender<()> {
    let (done, ended) = mpsc::channel::<()>();
    let pid = rustix::process::Pid::from_child(child);
    thread::spawn(move || {
        if ended.recv_timeout(HUNG) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    done
}

pub(crate) fn file_with(bytes: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

pub(crate) fn finish(mut child: Child, done: mpsc::Sender<()>, started: Instant) -> Ran {
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

pub(crate) fn run_with(faults: Option<&str>, arguments: &[&str], input: Input) -> Ran {
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

pub(crate) fn run(arguments: &[&str], input: Input) -> Ran {
    run_with(None, arguments, input)
}

/// A client whose input and output the test holds.
pub(crate) struct Held {
    pub(crate) child: Child,
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: ChildStdout,
    pub(crate) done: mpsc::Sender<()>,
    pub(crate) started: Instant,
}

pub(crate) fn hold(arguments: &[&str], faults: Option<&str>) -> Held {
    let started = Instant::now();
    let mut child = client(arguments, faults).spawn().unwrap();
    let done = watchdog(&child);
    let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
    Held { child, input, output, done, started }
}

impl Held {
    pub(crate) fn finish(mut self) -> Ran {
        drop(self.input);
        self.child.stdout = Some(self.output);
        finish(self.child, self.done, self.started)
    }
}

/// A server for one connection.
pub(crate) fn server<T: Send + 'static>(
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

pub(crate) fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}
