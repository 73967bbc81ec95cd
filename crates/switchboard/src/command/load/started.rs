//! [`Started`]: a server that was started to be measured, and that ends with all that it started.
//!
//! Nothing keeps a port free for a program that binds it by itself: whoever asks the kernel for one in between may be
//! given the same. So it is looked who listens in the end: if that is somebody else, the server is ended and started
//! again with another port, and that is said.

use super::server::owner;
use super::tether::{free_port, tethered};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use switchboard_net::sys::family::Family;
use switchboard_net::sys::process::{adopt_orphans, children, id, stat, wait_for_end};
use switchboard_net::{Address, Dialing, Endpoint, Kind, Location, dial};

/// How long a server may take to be ready, and to leave when asked.
pub(super) const READY: Duration = Duration::from_secs(10);
const LEAVE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Ports that are tried, one after the other.
const MOST_PORTS: usize = 5;
/// Characters that are kept of what a server complains about.
const MOST_SAID: usize = 200;

/// Stands in a command where the port belongs.
pub(super) const PORT: &str = "{port}";

pub(super) struct Started {
    child: Child,
    /// What it complains about, once it says no more.
    last_words: Receiver<String>,
}

/// Why a server cannot be measured.
enum Miss {
    /// Somebody else has its port.
    Taken(String),
    Other(String),
}

impl Started {
    /// Starts a program with its arguments on these processors; none: on all of ours. What it prints can be read.
    pub(super) fn spawn(words: &[OsString], processors: &[usize]) -> io::Result<Started> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = tethered(program);
        // A group of its own, so that what it starts ends with it, and an interrupt at the terminal is ours alone.
        command.args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = on_processors(processors, || command.spawn())?;
        let (sender, last_words) = channel();
        if let Some(stderr) = child.stderr.take() {
            // A full pipe would stop the server, and its log would cost the terminal's time.
            thread::spawn(move || _ = sender.send(complaint_in(stderr)));
        }
        Ok(Started { child, last_words })
    }

    /// Starts a program that is told its port wherever `{port}` stands, and waits until it lets a client in there.
    ///
    /// # Errors
    /// Why it cannot be measured.
    pub(super) fn told(
        words: &[String],
        processors: &[usize],
        say: &mut dyn FnMut(&str),
    ) -> Result<(Started, Address), String> {
        let mut taken = String::new();
        for _ in 0..MOST_PORTS {
            let port = free_port().map_err(|error| format!("no free port: {error}"))?;
            let words: Vec<OsString> =
                words.iter().map(|word| word.replace(PORT, &port.to_string()).into()).collect();
            let mut started =
                Started::spawn(&words, processors).map_err(|error| format!("cannot be started: {error}"))?;
            _ = started.stdout().map(|stdout| thread::spawn(move || swallow(stdout)));
            match started.wait(port) {
                Ok(address) => return Ok((started, address)),
                Err(Miss::Other(why)) => return Err(started.complaint(&why)),
                Err(Miss::Taken(by)) => {
                    taken = started.complaint(&format!("port {port} was taken meanwhile by {by}"));
                    say(&format!("{taken}; trying another"));
                }
            }
        }
        Err(format!("{MOST_PORTS} ports in turn were not to be had: {taken}"))
    }

    /// What it prints; once.
    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// It and all that it has started.
    pub(super) fn family(&self) -> Family {
        Family::of(self.pid())
    }

    /// Whether it has ended. It is not waited for, so that its id stays its own.
    pub(super) fn has_ended(&self) -> bool {
        stat(self.pid()).is_none_or(|stat| stat.state == 'Z')
    }

    /// Waits until it lets a client in.
    ///
    /// # Errors
    /// It ended, or let nobody in.
    pub(super) fn answers(&self, port: u16) -> Result<Address, String> {
        let endpoint: Endpoint = format!("127.0.0.1:{port}").parse().expect("an address and a port");
        let since = Instant::now();
        loop {
            if let Ok((_, address)) = dial(&endpoint, &Dialing::default(), &mut |_| {}) {
                return Ok(address);
            }
            if self.has_ended() {
                return Err("it ended before it listened".to_owned());
            }
            if since.elapsed() > READY {
                return Err(format!("it did not listen on port {port} within {READY:?}"));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// The same, and that it is nobody else who answers.
    fn wait(&self, port: u16) -> Result<Address, Miss> {
        let answer = match self.answers(port) {
            Err(_) if self.has_ended() && is_taken(port) => None,
            Err(why) => return Err(Miss::Other(why)),
            Ok(address) => Some(address),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let place = Address { kind: Kind::Tcp, place: Location::Inet { address, only_v6: None } };
        let owner = owner(answer.as_ref().unwrap_or(&place)).and_then(Pid::from_raw);
        match (answer, owner) {
            // Where it cannot be seen who listens, it is who was to.
            (Some(address), None) => Ok(address),
            (Some(address), Some(owner)) if self.family().has(owner) => Ok(address),
            // We adopt the orphans of those we start.
            (_, Some(owner)) if stat(owner).is_some_and(|stat| stat.parent == id().as_raw_pid()) => {
                Family::of(owner).kill();
                Err(Miss::Other(format!(
                    "it went into the background (process {}): it must stay where it is started (`nginx -g 'daemon \
                     off;'`, `xinetd -dontfork`)",
                    owner.as_raw_pid()
                )))
            }
            (_, Some(owner)) => Err(Miss::Taken(format!("process {}", owner.as_raw_pid()))),
            (None, None) => Err(Miss::Taken("somebody else".to_owned())),
        }
    }

    /// Ends it; what went wrong, with its own last words.
    pub(super) fn complaint(self, what: &str) -> String {
        let Started { ref last_words, .. } = self;
        self.end();
        match last_words.recv_timeout(LEAVE).unwrap_or_default() {
            words if words.is_empty() => what.to_owned(),
            words => format!("{what}: {words}"),
        }
    }

    /// Asks it to leave, and kills what is left of it then.
    fn end(&self) {
        // The list is made while the parent lives: afterwards nothing tells whose children they were.
        let family = self.family();
        let _ = kill_process(self.pid(), Signal::TERM);
        let _ = wait_for_end(self.child.id(), Some(LEAVE));
        let _ = kill_process_group(self.pid(), Signal::KILL);
        family.kill();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}

/// Orphans of servers that were started. While this lives they become children of this process, so that one that went
/// into the background is found; what is left of them ends with it.
pub(super) struct Orphans(());

impl Orphans {
    pub(super) fn adopt() -> Orphans {
        adopt_orphans();
        Orphans(())
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        for child in children() {
            Family::of(child).kill();
        }
    }
}

/// Whether somebody has it now.
fn is_taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Does it with this thread on these processors, which children inherit.
fn on_processors<T>(processors: &[usize], act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if processors.is_empty() {
        return act();
    }
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    sched_setaffinity(None, &set)?;
    let done = act();
    sched_setaffinity(None, &before)?;
    done
}

fn swallow(mut from: impl Read) {
    let _ = io::copy(&mut from, &mut io::sink());
}

/// The first and the last line that say anything: programs differ in which of them is the complaint.
fn complaint_in(from: impl Read) -> String {
    let (mut first, mut last) = (String::new(), String::new());
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line: String = line.trim().chars().take(MOST_SAID).collect();
        match (line.is_empty(), first.is_empty()) {
            (true, _) => {}
            (false, true) => first = line,
            (false, false) => last = line,
        }
    }
    if last.is_empty() { first } else { format!("{first} … {last}") }
}

#[cfg(test)]
mod tests {
    use super::complaint_in;

    #[test]
    fn a_complaint_stands_first_or_last() {
        for (said, told) in [
            ("", ""),
            ("\n one \n\n", "one"),
            ("error: no such option\n\nUsage: x\n\nmore: --help\n", "error: no such option … more: --help"),
        ] {
            assert_eq!(complaint_in(said.as_bytes()), told);
        }
    }
}
