//! What the words of a part do. Every one is the system call of that name and nothing else, so that the kernel's answer
//! can be read off the watcher's record; the few that do more (`echo`, `say`, `pour`, …) are for peers of programs.

use super::{Actor, Next, pattern, peer_of};
use crate::names;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType, accept, bind, connect, getpeername, ipproto,
    listen, recv, recvfrom, send, sendto, shutdown, socket,
};
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use switchboard_net::sys::{process, signal, sockopt};

/// Bytes asked for by one `recv` that names no number.
const READ: usize = 4096;
/// How long `hear` and `answer` wait before they take silence for the answer.
const PATIENCE_MS: u64 = 3000;
/// Bytes in one `send` of `pour`.
const POUR: usize = 16 * 1024;

impl Actor {
    pub(super) fn call(&mut self, words: &[String]) -> Next {
        let argument = |n: usize| words.get(n).map(String::as_str);
        match words[0].as_str() {
            "socket" => self.open(argument(1).unwrap_or("tcp")),
            "set" => self.set(argument(1).unwrap_or("")),
            "nonblock" => self.with(|fd, _| rustix::io::ioctl_fionbio(fd, true)),
            "bind" => {
                self.need("tcp");
                let address = self.address(argument(1), &self.port.to_string());
                self.with(|fd, _| bind(fd, &address))
            }
            "listen" => self.listen(argument(1)),
            "accept" => self.accept(),
            "connect" => {
                self.need("tcp");
                let address = self.address(argument(1), "server");
                self.with(|fd, _| connect(fd, &address))
            }
            "send" => self.send(argument(1).unwrap_or("0"), argument(2).unwrap_or("")),
            "send-all" => self.send_all(number(argument(1), 0)),
            "sendto" => {
                self.need("udp");
                let (size, address) = (number(argument(1), 0), self.address(argument(2), "server"));
                let bytes = pattern(0, size);
                self.with(|fd, _| sendto(fd, &bytes, SendFlags::empty(), &address))
            }
            "recv" => self.recv(number(argument(1), READ), argument(2).unwrap_or("")),
            "recv-all" => self.recv_all(number(argument(1), usize::MAX)),
            "recvfrom" => {
                let mut buffer = vec![0; number(argument(1), READ)];
                self.with(|fd, _| recvfrom(fd, &mut buffer[..], RecvFlags::empty()).map(drop))
            }
            "answer" => self.answer(),
            "poll" => {
                let events = poll_flags(argument(1).unwrap_or("in"));
                let wait = argument(2).map(|ms| time(number(Some(ms), 0) as u64));
                self.with(|fd, _| poll(&mut [PollFd::new(fd, events)], wait.as_ref()))
            }
            "error" => self.with(|fd, _| rustix::net::sockopt::socket_error(fd)),
            "peername" => self.with(|fd, _| getpeername(fd).map(drop)),
            "shutdown" => {
                let how = match argument(1) {
                    Some("rd") => Shutdown::Read,
                    Some("wr") => Shutdown::Write,
                    _ => Shutdown::Both,
                };
                self.with(|fd, _| shutdown(fd, how))
            }
            "close" => {
                if self.socket.take().is_none() {
                    self.listener = None;
                }
                Next::Go
            }
            "keep" => {
                if let (Some(name), Some(fd)) = (argument(1), self.socket.take()) {
                    self.shelf.insert(name.to_owned(), fd);
                }
                Next::Go
            }
            "use" => {
                self.socket = argument(1).and_then(|name| self.shelf.remove(name));
                Next::Go
            }
            "pile" => {
                self.pile.extend(self.socket.take());
                Next::Go
            }
            "drop-pile" => {
                self.pile.clear();
                Next::Go
            }
            "wait" => wait_for_a_line(),
            "sleep" => {
                let time = Duration::from_millis(number(argument(1), 0) as u64);
                let time = rustix::thread::Timespec {
                    tv_sec: time.as_secs() as i64,
                    tv_nsec: i64::from(time.subsec_nanos()),
                };
                let _ = rustix::thread::nanosleep(&time);
                Next::Go
            }
            "handle" | "ignore" | "default" | "block" | "unblock" => {
                let number = argument(1).and_then(names::signal).unwrap_or(0);
                let _ = match words[0].as_str() {
                    "handle" => signal::interrupt(number, argument(2) == Some("restart")),
                    "ignore" => signal::ignore_number(number),
                    "block" => signal::block(number, true),
                    "unblock" => signal::block(number, false),
                    _ => signal::default_action(number),
                };
                Next::Go
            }
            "waitpid" => {
                use rustix::process::{WaitOptions, wait};
                let options =
                    if argument(1) == Some("nohang") { WaitOptions::NOHANG } else { WaitOptions::empty() };
                if matches!(wait(options), Ok(Some(_))) { Next::Go } else { Next::Stop }
            }
            "limit" => {
                use rustix::process::{Resource, Rlimit, setrlimit};
                let most = Some(number(argument(1), 16) as u64);
                let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
                Next::Go
            }
            "exit" => process::exit_now(number(argument(1), 0) as i32),
            "echo" => self.echo(number(argument(1), usize::MAX)),
            "say" => self.say(),
            "hear" => self.hear(number(argument(1), PATIENCE_MS as usize) as u64),
            "pour" => self.pour(),
            _ => Next::Go,
        }
    }

    /// A socket, if there is none yet.
    fn need(&mut self, kind: &str) {
        if self.socket.is_none() {
            self.open(kind);
        }
    }

    fn open(&mut self, kind: &str) -> Next {
        let v6 = self.wants_v6();
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let (of, protocol) = match kind {
            "udp" => (SocketType::DGRAM, ipproto::UDP),
            _ => (SocketType::STREAM, ipproto::TCP),
        };
        self.socket = socket(family, of, Some(protocol)).ok();
        self.begin();
        if self.socket.is_some() { Next::Go } else { Next::Stop }
    }

    /// A new connection: its stream starts anew.
    fn begin(&mut self) {
        self.sent = 0;
        self.said = 0;
        if let Some(ledger) = &mut self.ledger {
            ledger.turn();
        }
    }

    /// Makes a call on the current socket, or on the listener if there is none.
    fn with<T>(&self, call: impl FnOnce(&OwnedFd, &Actor) -> Result<T, Errno>) -> Next {
        let Some(fd) = self.socket.as_ref().or(self.listener.as_ref()) else { return Next::Stop };
        if call(fd, self).is_ok() { Next::Go } else { Next::Stop }
    }

    fn listen(&mut self, backlog: Option<&str>) -> Next {
        if self.socket.is_none() {
            self.open("tcp");
            self.set("reuseaddr");
            let address = self.address(None, &self.port.to_string());
            if self.with(|fd, _| bind(fd, &address)) == Next::Stop {
                return Next::Stop;
            }
        }
        let backlog = i32::try_from(number(backlog, 128)).unwrap_or(i32::MAX);
        let done = self.with(|fd, _| listen(fd, backlog));
        self.listener = self.socket.take();
        done
    }

    fn accept(&mut self) -> Next {
        let Some(listener) = &self.listener else { return Next::Stop };
        match accept(listener) {
            Ok(connection) => {
                self.socket = Some(connection);
                self.begin();
                Next::Go
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {
                self.socket = None;
                Next::Go
            }
            Err(_) => Next::Stop,
        }
    }

    /// `NAME` or `NAME=VALUE`; times in milliseconds where the kernel takes milliseconds or a timeval.
    fn set(&mut self, option: &str) -> Next {
        self.need("tcp");
        let (name, value) = option
            .split_once('=')
            .map_or((option, 1), |(name, value)| (name, value.parse::<i32>().unwrap_or(1)));
        let timeval = || {
            let value = i64::from(value);
            let mut bytes = (value / 1000).to_ne_bytes().to_vec();
            bytes.extend((value % 1000 * 1000).to_ne_bytes());
            bytes
        };
        self.with(|fd, _| match name {
            "sndtimeo" => sockopt::set(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &timeval()),
            "rcvtimeo" => sockopt::set(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeval()),
            "linger" => {
                let mut bytes = 1_i32.to_ne_bytes().to_vec();
                bytes.extend(value.to_ne_bytes());
                sockopt::set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &bytes)
            }
            _ => {
                let (level, option) = match name {
                    "reuseaddr" => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
                    "reuseport" => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
                    "keepalive" => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
                    "sndbuf" => (libc::SOL_SOCKET, libc::SO_SNDBUF),
                    "rcvbuf" => (libc::SOL_SOCKET, libc::SO_RCVBUF),
                    "keepidle" => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
                    "keepintvl" => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
                    "keepcnt" => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
                    "user_timeout" => (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
                    "syncnt" => (libc::IPPROTO_TCP, libc::TCP_SYNCNT),
                    "nodelay" => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
                    "recverr" => (libc::IPPROTO_IP, libc::IP_RECVERR),
                    "mtu_discover" => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
                    _ => return Err(Errno::INVAL),
                };
                sockopt::set_int(fd, level, option, value)
            }
        })
    }

    /// `send 6`, `send "text"`, `send 6 nosignal`, `send 6 dontwait`.
    fn send(&mut self, what: &str, flag: &str) -> Next {
        let bytes = match what.parse() {
            Ok(size) => pattern(self.sent, size),
            Err(_) => hexadecimal(what).unwrap_or_else(|| what.as_bytes().to_vec()),
        };
        let flags = match flag {
            "nosignal" => SendFlags::NOSIGNAL,
            "dontwait" => SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            _ => SendFlags::empty(),
        };
        let Some(fd) = &self.socket else { return Next::Stop };
        match send(fd, &bytes, flags) {
            Ok(size) => {
                self.sent += size;
                self.account(true, &bytes[..size]);
                Next::Go
            }
            Err(_) => Next::Stop,
        }
    }

    /// Sends that many bytes, however many calls it takes.
    fn send_all(&mut self, size: usize) -> Next {
        let bytes = pattern(self.sent, size);
        let done = self.send_bytes(&bytes);
        self.sent += size;
        done
    }

    fn send_bytes(&mut self, bytes: &[u8]) -> Next {
        let mut done = 0;
        while done < bytes.len() {
            let Some(fd) = &self.socket else { return Next::Stop };
            match send(fd, &bytes[done..], SendFlags::NOSIGNAL) {
                Ok(size) => {
                    self.account(true, &bytes[done..done + size]);
                    done += size;
                }
                Err(Errno::INTR) => {}
                Err(_) => return Next::Stop,
            }
        }
        Next::Go
    }

    fn recv(&mut self, size: usize, flag: &str) -> Next {
        let flags = match flag {
            "dontwait" => RecvFlags::DONTWAIT,
            "trunc" => RecvFlags::TRUNC,
            "peek" => RecvFlags::PEEK,
            _ => RecvFlags::empty(),
        };
        let mut buffer = vec![0; size];
        let Some(fd) = &self.socket else { return Next::Stop };
        match recv(fd, &mut buffer[..], flags) {
            Ok((0, _)) | Err(_) => Next::Stop,
            Ok((size, _)) => {
                let size = size.min(buffer.len());
                self.account(false, &buffer[..size]);
                Next::Go
            }
        }
    }

    /// Receives until the peer has ended or that many bytes came.
    fn recv_all(&mut self, size: usize) -> Next {
        let mut left = size;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let Some(fd) = &self.socket else { return Next::Stop };
            let room = left.min(buffer.len());
            match recv(fd, &mut buffer[..room], RecvFlags::empty()) {
                Ok((0, _)) => return Next::Stop,
                Ok((size, _)) => {
                    left -= size;
                    self.account(false, &buffer[..size]);
                }
                Err(Errno::INTR) => {}
                Err(_) => return Next::Stop,
            }
        }
        Next::Go
    }

    /// Every byte back as it comes, so many times or until the peer has ended.
    fn echo(&mut self, times: usize) -> Next {
        let mut buffer = vec![0; READ];
        let mut left = times;
        while left > 0 {
            let Some(fd) = &self.socket else { return Next::Stop };
            match recv(fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return Next::Go,
                Ok((size, _)) => {
                    left -= 1;
                    self.account(false, &buffer[..size]);
                    let bytes = buffer[..size].to_vec();
                    if self.send_bytes(&bytes) == Next::Stop {
                        return Next::Stop;
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return Next::Stop,
            }
        }
        Next::Go
    }

    /// The next line of the conversation; from the beginning again after the last.
    fn say(&mut self) -> Next {
        let line = match self.lines.len() {
            0 => "hello\n".to_owned(),
            lines => self.lines[self.said % lines].clone(),
        };
        self.said += 1;
        self.send_bytes(line.as_bytes())
    }

    /// What the peer answers: whatever comes, until it pauses.
    fn hear(&mut self, patience_ms: u64) -> Next {
        let mut wait = patience_ms;
        let mut heard = false;
        loop {
            let Some(fd) = &self.socket else { return Next::Stop };
            let ready = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&time(wait)));
            match ready {
                Ok(0) => return if heard { Next::Go } else { Next::Stop },
                Err(Errno::INTR) => continue,
                Err(_) => return Next::Stop,
                Ok(_) => {}
            }
            if self.recv(READ, "") == Next::Stop {
                return Next::Stop;
            }
            heard = true;
            // The rest of an answer follows within a moment.
            wait = 60;
        }
    }

    /// One datagram, sent back to where it came from.
    fn answer(&mut self) -> Next {
        let mut buffer = vec![0; 64 * 1024];
        let Some(fd) = &self.socket else { return Next::Stop };
        let (size, source): (usize, Option<SocketAddr>) =
            match recvfrom(fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((size, _, source)) => (size, peer_of(source)),
                Err(Errno::INTR) => return Next::Go,
                Err(_) => return Next::Stop,
            };
        let bytes = buffer[..size].to_vec();
        if let (Some(source), Some(fd)) = (source, &self.socket) {
            let _ = sendto(fd, &bytes, SendFlags::empty(), &source);
        }
        self.account(false, &bytes);
        self.account(true, &bytes);
        Next::Go
    }

    /// Sends and never reads, until the connection fails.
    fn pour(&mut self) -> Next {
        loop {
            let bytes = pattern(self.sent, POUR);
            self.sent += POUR;
            if self.send_bytes(&bytes) == Next::Stop {
                return Next::Stop;
            }
        }
    }

    fn account(&mut self, sent: bool, bytes: &[u8]) {
        if let Some(ledger) = &mut self.ledger {
            ledger.note(sent, bytes);
        }
    }
}

/// The lab says when to go on, by a line on standard input.
fn wait_for_a_line() -> Next {
    let mut byte = [0];
    let mut input = std::io::stdin();
    loop {
        match input.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' => return Next::Go,
            Ok(1) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            _ => return Next::Stop,
        }
    }
}

/// `x0001ff`
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('x')?;
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

fn number(text: Option<&str>, otherwise: usize) -> usize {
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn time(ms: u64) -> Timespec {
    Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 }
}

fn poll_flags(text: &str) -> PollFlags {
    let flag = |name| match name {
        "out" => PollFlags::OUT,
        "rdhup" => PollFlags::RDHUP,
        "pri" => PollFlags::PRI,
        "none" => PollFlags::empty(),
        _ => PollFlags::IN,
    };
    text.split('+').map(flag).fold(PollFlags::empty(), PollFlags::union)
}

#[cfg(test)]
mod tests {
    use crate::actor::script::CALLS;

    #[test]
    fn every_call_in_the_table_is_known_here() {
        let source = include_str!("calls.rs");
        for (name, ..) in CALLS {
            assert!(
                source.contains(&format!("\"{name}\"")),
                "{name} is in the table and nothing performs it"
            );
        }
    }
}
