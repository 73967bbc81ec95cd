//! A server that runs from a file and is changed while it runs: it has a control socket, and its process may be
//! succeeded by another one.

use crate::harness::{PATIENCE, Scratch, program, state_of, wait_until};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// A running server. Whatever process it is by now is killed when this is dropped.
pub struct House {
    pub scratch: Scratch,
    pub first: Child,
    /// Lines of standard error.
    pub said: Mutex<Receiver<String>>,
    pid: AtomicI32,
}

impl House {
    /// `switchboard serve --config FILE --control=PATH`, ready to be talked to.
    pub fn start(text: &str) -> House {
        House::start_by(text, |_, _| {})
    }

    /// The same; `change` may alter the command that is run.
    pub fn start_by(text: &str, change: impl FnOnce(&mut Command, &Scratch)) -> House {
        let scratch = Scratch::new();
        write(&scratch, text);
        let mut command = program();
        change(&mut command, &scratch);
        command.args(["serve", "--format", "json", "--config", &scratch.path("file.toml")]);
        command.arg(format!("--control={}", scratch.path("control")));
        House::run(scratch, &mut command)
    }

    /// Runs `command`, which must serve with a control socket called `control` in `scratch`.
    pub fn run(scratch: Scratch, command: &mut Command) -> House {
        House::run_with(scratch, Stdio::null(), command)
    }

    pub fn run_with(scratch: Scratch, stdin: Stdio, command: &mut Command) -> House {
        let mut first = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let (to, said) = channel();
        let stderr = BufReader::new(first.stderr.take().expect("piped"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| to.send(line).is_ok()));
        let mut ready = BufReader::new(first.stdout.take().expect("piped"));
        let mut line = String::new();
        ready.read_line(&mut line).expect("it says what is served");
        assert!(!line.is_empty(), "it did not start: {:?}", said.iter().collect::<Vec<_>>());
        // Nobody else reads it; the last line needs a place to go.
        std::thread::spawn(move || std::io::copy(&mut ready, &mut std::io::sink()));
        let pid = i32::try_from(first.id()).expect("a process number").into();
        House { scratch, first, said: Mutex::new(said), pid }
    }

    pub fn path(&self) -> PathBuf {
        self.scratch.0.join("file.toml")
    }

    /// Writes the file anew, in one step.
    pub fn write(&self, text: &str) {
        write(&self.scratch, text);
    }

    /// Asks over the control socket.
    pub fn ask(&self, request: &Value) -> Value {
        self.try_ask(request).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    pub fn try_ask(&self, request: &Value) -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(self.scratch.0.join("control"))?;
        stream.set_read_timeout(Some(PATIENCE * 2))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| std::io::Error::other(format!("{line:?}: {error}")))
    }

    /// Does what must succeed; what was said.
    pub fn must(&self, verb: &str) -> String {
        let reply = self.ask(&json!({ "do": verb }));
        assert_eq!(reply["ok"], true, "{verb}: {reply}");
        reply["text"].to_string()
    }

    /// Asks for what must be refused; why.
    pub fn must_not(&self, verb: &str) -> String {
        let reply = self.ask(&json!({ "do": verb }));
        assert_eq!(reply["ok"], false, "{verb}: {reply}");
        reply["text"].to_string()
    }

    /// Upgrades, and waits until the predecessor has ended.
    pub fn upgrade(&self) {
        let before = self.pid();
        self.must("upgrade");
        self.succeeded(before);
    }

    /// Waits until another process than `before` answers, and `before` has ended.
    pub fn succeeded(&self, before: Pid) {
        let gone = || matches!(state_of(before), None | Some('Z' | 'X'));
        wait_until("the predecessor ends", gone, || format!("{before:?} is {:?}", state_of(before)));
        assert_ne!(self.pid(), before);
    }

    pub fn status(&self) -> Value {
        let reply = self.ask(&json!({ "do": "status" }));
        let pid = reply["status"]["pid"].as_i64().expect("a process number");
        self.pid.store(i32::try_from(pid).expect("a process number"), Ordering::SeqCst);
        reply["status"].clone()
    }

    /// The process that serves now.
    pub fn pid(&self) -> Pid {
        self.status();
        Pid::from_raw(self.pid.load(Ordering::SeqCst)).expect("a process number")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid.load(Ordering::SeqCst)).expect("a process number");
        rustix::process::kill_process(pid, signal).expect("the server is there");
    }

    /// The first endpoint of every service.
    pub fn endpoints(&self) -> BTreeMap<String, String> {
        let status = self.status();
        let listeners = status["services"].as_array().expect("services").iter();
        let listeners = listeners.flat_map(|service| service["listeners"].as_array().expect("listeners"));
        let mut endpoints = BTreeMap::new();
        for at in listeners {
            let text = |name: &str| at[name].as_str().expect("a string").to_owned();
            endpoints.entry(text("service")).or_insert_with(|| text("endpoint"));
        }
        endpoints
    }

    /// What `status` says of one service.
    pub fn service(&self, id: &str) -> Value {
        let status = self.status();
        let mut services = status["services"].as_array().expect("services").iter();
        services.find(|service| service["id"] == id).unwrap_or_else(|| panic!("no {id}")).clone()
    }

    /// The workers of one service.
    pub fn workers(&self, id: &str) -> Vec<Pid> {
        let pids = self.service(id)["workers"].as_array().expect("workers").clone();
        pids.iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid.as_i64()?).ok()?)).collect()
    }

    /// `switchboard VERB …` against this server.
    pub fn verb(&self, words: &[&str]) -> Output {
        let control = self.scratch.path("control");
        program().args(words).args(["--control", &control]).output().expect("a verb")
    }

    /// The next line of standard error with `word`.
    pub fn wait_for(&self, word: &str) -> String {
        let mut seen = Vec::new();
        let said = self.said.lock().expect("no panic inside");
        while let Ok(line) = said.recv_timeout(PATIENCE) {
            if line.contains(word) {
                return line;
            }
            seen.push(line);
        }
        panic!("nothing about {word:?} in {seen:?}");
    }
}

/// Writes `file.toml`; SCRATCH in the text stands for the directory.
pub fn write(scratch: &Scratch, text: &str) {
    let text = text.replace("SCRATCH", scratch.0.to_str().expect("UTF-8"));
    std::fs::write(scratch.0.join("file.new"), text).expect("a file");
    std::fs::rename(scratch.0.join("file.new"), scratch.0.join("file.toml")).expect("renamed");
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.pid.load(Ordering::SeqCst)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

/// Inodes of the sockets bound at a local port, in the order of the kernel's list (`/proc/net/tcp`, `udp`).
pub fn inodes(endpoint: &str) -> Vec<u64> {
    let (kind, place) = endpoint.split_once(':').expect("kind:place");
    let port: u16 = place.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let table = std::fs::read_to_string(format!("/proc/net/{kind}")).expect("/proc/net");
    let mut inodes = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let listens = kind == "udp" || words[3] == "0A";
        if listens && words[1].ends_with(&format!(":{port:04X}")) {
            inodes.push(words[9].parse().expect("a number"));
        }
    }
    inodes.sort_unstable();
    inodes
}
