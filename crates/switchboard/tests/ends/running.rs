//! `connect` while it runs: what it says can be waited for, and it is killed when it hangs or is not wanted any more.
#![allow(dead_code, reason = "not every test needs all of it")]

use crate::harness::{PATIENCE, program, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// The program under test while it runs.
pub(crate) struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: BufReader<ChildStderr>,
    said: String,
    _alive: mpsc::Sender<()>,
}

/// `connect ARGUMENTS` without input.
pub(crate) fn start(arguments: &[&str]) -> Running {
    start_command(program().arg("connect").args(arguments))
}

/// A command without input.
pub(crate) fn start_command(command: &mut Command) -> Running {
    Running::start(command, None)
}

impl Running {
    /// A command with this input; it comes through a pipe, which is closed behind it.
    pub(crate) fn start(command: &mut Command, input: Option<Vec<u8>>) -> Running {
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let command = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (alive, done) = mpsc::channel::<()>();
        thread::spawn(move || {
            if done.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            // Whoever has heard enough may leave before the end of it.
            thread::spawn(move || drop(pipe.write_all(&input)));
        }
        let mut pipe = child.stdout.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut all = Vec::new();
            let _ = pipe.read_to_end(&mut all);
            all
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running { child, stdout: Some(stdout), stderr, said: String::new(), _alive: alive }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// The rest of a line on standard error after `words`.
    #[track_caller]
    pub(crate) fn after(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "no `{words}` in:\n{}", self.said);
            self.said += &line;
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim_end().to_owned();
            }
        }
    }

    /// Where it listens on TCP.
    #[track_caller]
    pub(crate) fn door(&mut self) -> SocketAddr {
        self.after("listening on tcp:").parse().unwrap()
    }

    /// Waits for the end: what was written and said.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> (String, String) {
        let (stdout, said) = self.ends_with_bytes(code);
        (text(&stdout), said)
    }

    /// The same with every byte as it is.
    #[track_caller]
    pub(crate) fn ends_with_bytes(mut self, code: i32) -> (Vec<u8>, String) {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.said);
        (stdout, std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
