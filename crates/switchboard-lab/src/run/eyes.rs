//! [`Eyes`]: socket tables of the hosts and processes of the program, looked at again and again.

use super::log::Log;
use crate::diag::{Diag, Entry, Wanted};
use crate::host::Host;
use crate::record::{Change, Event, HostId, Nanos, Process, Socket, What};
use crate::watch::{self, Watched};
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the sockets. A state that lasts shorter may be missed; the packets tell of it all the same.
const EVERY: Duration = Duration::from_millis(8);
/// Between two looks at the processes.
const PROCESSES: Duration = Duration::from_millis(200);

/// A thread that looks. It ends when dropped.
pub(super) struct Eyes {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    hosts: Mutex<Vec<Seen>>,
    /// Everybody whose processes are known, and whether they are to be looked at.
    programs: Mutex<Vec<(Watched, HostId, bool)>>,
    /// Ended, and not waited for, when last looked at.
    zombies: Mutex<HashSet<i32>>,
    over: AtomicBool,
}

/// Sockets as they were last.
struct Seen {
    place: Place,
    diag: Diag,
    sockets: HashMap<Key, Socket>,
}

/// Whose sockets they are.
enum Place {
    /// All of this host's.
    Host(HostId),
    /// This machine's: those at these ports are the server's, and whoever is connected to them is a client.
    Loopback(Range<u16>),
}

/// A socket keeps its number; one without number is known by its addresses.
type Key = (u64, String, Option<String>);

impl Eyes {
    pub(super) fn open(log: Log) -> Eyes {
        let shared = Arc::new(Shared {
            hosts: Mutex::new(Vec::new()),
            programs: Mutex::new(Vec::new()),
            zombies: Mutex::new(HashSet::new()),
            over: AtomicBool::new(false),
        });
        let looking = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut sampled: Option<Instant> = None;
            while !looking.over.load(Ordering::Relaxed) {
                for seen in lock(&looking.hosts).iter_mut() {
                    seen.look(&log, &looking.programs);
                }
                if sampled.is_none_or(|last| last.elapsed() >= PROCESSES) {
                    sampled = Some(Instant::now());
                    looking.sample(&log);
                }
                std::thread::sleep(EVERY);
            }
        });
        Eyes { shared, thread: Some(thread) }
    }

    /// Looks at this host's sockets from now on.
    pub(super) fn add(&self, host: &Host) -> io::Result<()> {
        let socket =
            host.socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG)?;
        let seen = Seen { place: Place::Host(host.id()), diag: Diag::on(socket), sockets: HashMap::new() };
        lock(&self.shared.hosts).push(seen);
        Ok(())
    }

    /// Looks at the sockets of this machine that have to do with these ports.
    pub(super) fn add_loopback(&self, ports: Range<u16>) -> io::Result<()> {
        let diag = Diag::open().map_err(io::Error::other)?;
        lock(&self.shared.hosts).push(Seen { place: Place::Loopback(ports), diag, sockets: HashMap::new() });
        Ok(())
    }

    /// Lets go of this host: what is open to it would keep its network stack alive.
    pub(super) fn forget(&self, host: HostId) {
        lock(&self.shared.hosts).retain(|seen| !matches!(seen.place, Place::Host(known) if known == host));
    }

    /// Knows this program's processes from now on, and looks at them if they are to be judged.
    pub(super) fn follow(&self, watched: Watched, host: HostId, judged: bool) {
        lock(&self.shared.programs).push((watched, host, judged));
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn sample(&self, log: &Log) {
        let tell = |at_ns: Nanos, pid: i32, host: HostId, change: Change| {
            let what = What::Process(Process { pid, tid: pid, change });
            log.add(Event { at_ns, host: Some(host), what });
        };
        let mut zombies = HashSet::new();
        for (watched, host, _) in lock(&self.programs).iter().filter(|(.., judged)| *judged) {
            for pid in watched.processes() {
                // Whatever is seen was so at this moment or later: who is waited for while we look must not come to life as
                // a zombie afterwards.
                let at_ns = crate::wire::now();
                if let Ok(change) = watch::sample(pid) {
                    tell(at_ns, pid, *host, change);
                }
                for child in watch::zombies(pid) {
                    zombies.insert(child);
                    if !lock(&self.zombies).contains(&child) {
                        tell(at_ns, child, *host, Change::Zombie);
                    }
                }
            }
        }
        *lock(&self.zombies) = zombies;
    }
}

impl Seen {
    fn look(&mut self, log: &Log, programs: &Mutex<Vec<(Watched, HostId, bool)>>) {
        let ports = match &self.place {
            Place::Host(_) => None,
            Place::Loopback(ports) => Some(ports.start..=ports.end - 1),
        };
        let wanted = Wanted { raw: false, ports, ..Wanted::inet() };
        let at_ns = crate::wire::now();
        // A host that crashes at this moment has no answer.
        let Ok(entries) = self.diag.sockets(&wanted) else { return };
        let tell = |host: HostId, socket: Socket| {
            log.add(Event { at_ns, host: Some(host), what: What::Socket(socket) });
        };
        let mut present = HashSet::new();
        for socket in entries.iter().map(Entry::sample) {
            let Some(host) = self.place.host_of(&socket) else { continue };
            let key = (socket.inode, socket.local.clone(), socket.peer.clone());
            present.insert(key.clone());
            let known = self.sockets.get(&key);
            if known.is_none_or(|known| differs(known, &socket)) {
                tell(host, socket.clone());
                self.sockets.insert(key, socket);
            }
        }
        let place = &self.place;
        self.sockets.retain(|key, socket| {
            let there = present.contains(key);
            if !there && let Some(host) = place.host_of(socket) {
                // The kernel lists no connection that is over, though a program may still have it. On a host the packets
                // tell what has ended it.
                let held = matches!(place, Place::Loopback(_)) && is_held(socket.inode, programs);
                let state = if held { "CLOSE" } else { "GONE" }.to_owned();
                tell(host, Socket { state, receive_queue: 0, send_queue: 0, timer: None, ..socket.clone() });
            }
            there
        });
    }
}

impl Place {
    fn host_of(&self, socket: &Socket) -> Option<HostId> {
        let ports = match self {
            Place::Host(host) => return Some(*host),
            Place::Loopback(ports) => ports,
        };
        let ours = |address: &str| {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            port.is_some_and(|port| ports.contains(&port))
        };
        if ours(&socket.local) {
            Some(HostId(1))
        } else {
            socket.peer.as_deref().is_some_and(ours).then_some(HostId(0))
        }
    }
}

/// Whether one of our processes has this socket open.
fn is_held(inode: u64, programs: &Mutex<Vec<(Watched, HostId, bool)>>) -> bool {
    let name = format!("socket:[{inode}]");
    let processes: Vec<i32> = lock(programs).iter().flat_map(|(watched, ..)| watched.processes()).collect();
    inode != 0
        && processes.iter().any(|pid| {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            open.into_iter().any(|fd| {
                std::fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == name.as_str())
            })
        })
}

/// Whether it is worth telling: another state, or a queue that begins or ends to be empty.
fn differs(known: &Socket, now: &Socket) -> bool {
    known.state != now.state
        || (known.receive_queue == 0) != (now.receive_queue == 0)
        || (known.send_queue == 0) != (now.send_queue == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
