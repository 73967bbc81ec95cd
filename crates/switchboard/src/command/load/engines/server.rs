//! [`Server`]: one that was started, seen from outside: its processor time and its memory, with all its descendants.

use super::contestant::Start;
use super::machine::Machine;
use crate::command::load::started::{READY, Started};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use switchboard_net::Address;

/// What precedes the port in our own server's first lines.
const ENDPOINT: &str = "tcp:127.0.0.1:";

pub(super) struct Server {
    started: Started,
    pub(super) address: Address,
}

impl Server {
    /// Starts it on the servers' processors and waits until it lets a client in.
    pub(super) fn start(
        start: Start,
        machine: &Machine,
        say: &mut dyn FnMut(&str),
    ) -> Result<Server, String> {
        let (started, address) = match start {
            Start::Own(words) => Server::own(words, machine)?,
            Start::Told(words) => Started::told(&words, &machine.servers, say)?,
        };
        Ok(Server { started, address })
    }

    /// This program, with a port that the kernel chooses and that it names.
    fn own(words: Vec<OsString>, machine: &Machine) -> Result<(Started, Address), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let words = [vec![program.into_os_string()], words].concat();
        let mut started = Started::spawn(&words, &machine.servers)
            .map_err(|error| format!("cannot start {}: {error}", words[0].display()))?;
        let (sender, port) = mpsc::channel();
        let stdout = started.stdout().expect("nobody took it");
        thread::spawn(move || announce(BufReader::new(stdout), &sender));
        let Ok(port) = port.recv_timeout(READY) else { return Err(started.complaint("it named no port")) };
        match started.answers(port) {
            Ok(address) => Ok((started, address)),
            Err(why) => Err(started.complaint(&why)),
        }
    }

    /// Why its numbers are not to be had any more, if so.
    pub(super) fn is_lost(&self) -> Option<String> {
        self.started.has_ended().then(|| "its process has ended, or went into the background".to_owned())
    }

    /// Processor time that it and its descendants have used so far. Of children that have ended only hundredths of
    /// seconds are known.
    pub(super) fn cpu(&self) -> Duration {
        self.started.family().cpu()
    }

    /// Memory of its own making, in bytes: anonymous and shared pages, each counted once however many of its
    /// processes map it.
    pub(super) fn memory(&self) -> u64 {
        self.started.family().own_memory_bytes()
    }
}

/// Looks for the port in what our server says, and swallows the rest.
fn announce(mut lines: impl BufRead, sender: &mpsc::Sender<u16>) {
    let mut line = String::new();
    while let Ok(1..) = lines.read_line(&mut line) {
        let digits = line.find(ENDPOINT).map(|at| &line[at + ENDPOINT.len()..]);
        let port = digits.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        if let Some(port) = port {
            let _ = sender.send(port);
            break;
        }
        line.clear();
    }
    let _ = std::io::copy(&mut lines, &mut std::io::sink());
}
