//! [`Eyes`]: socket tables of the hosts and processes of the program, looked at again and again.

use super::log::Log;
use crate::diag::{Diag, Entry, Wanted};
use crate::host::Host;
use crate::record::{Change, Event, HostId, Process, Socket, What};
use crate::watch::{self, Watched};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at the sockets. A state that lasts shorter may be missed; the packets tell of it all the same.
const EVERY: Duration = Duration::from_millis(8);
/// So many looks at the sockets between two at the processes.
const PROCESSES: u32 = 25;

/// A thread that looks. It ends when dropped.
pub(super) struct Eyes {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    hosts: Mutex<Vec<Seen>>,
    programs: Mutex<Vec<(Watched, HostId)>>,
    /// Ended, and not waited for, when last looked at.
    zombies: Mutex<HashSet<i32>>,
    over: AtomicBool,
}

/// A host, and its sockets as they were last.
struct Seen {
    host: HostId,
    diag: Diag,
    sockets: HashMap<Key, Socket>,
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
            for turn in 0_u32.. {
                if looking.over.load(Ordering::Relaxed) {
                    return;
                }
                for seen in lock(&looking.hosts).iter_mut() {
                    seen.look(&log);
                }
                if turn % PROCESSES == 0 {
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
        let seen = Seen { host: host.id(), diag: Diag::on(socket), sockets: HashMap::new() };
        lock(&self.shared.hosts).push(seen);
        Ok(())
    }

    /// Lets go of this host: what is open to it would keep its network stack alive.
    pub(super) fn forget(&self, host: HostId) {
        lock(&self.shared.hosts).retain(|seen| seen.host != host);
    }

    /// Looks at this program's processes from now on.
    pub(super) fn follow(&self, watched: Watched, host: HostId) {
        lock(&self.shared.programs).push((watched, host));
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
        let tell = |pid: i32, host: HostId, change: Change| {
            let what = What::Process(Process { pid, tid: pid, change });
            log.add(Event { at_ns: crate::wire::now(), host: Some(host), what });
        };
        let mut zombies = HashSet::new();
        for (watched, host) in lock(&self.programs).iter() {
            for pid in watched.processes() {
                if let Ok(change) = watch::sample(pid) {
                    tell(pid, *host, change);
                }
                for child in watch::zombies(pid) {
                    zombies.insert(child);
                    if !lock(&self.zombies).contains(&child) {
                        tell(child, *host, Change::Zombie);
                    }
                }
            }
        }
        *lock(&self.zombies) = zombies;
    }
}

impl Seen {
    fn look(&mut self, log: &Log) {
        let wanted = Wanted { raw: false, ..Wanted::inet() };
        let at_ns = crate::wire::now();
        // A host that crashes at this moment has no answer.
        let Ok(entries) = self.diag.sockets(&wanted) else { return };
        let tell = |socket: Socket| {
            log.add(Event { at_ns, host: Some(self.host), what: What::Socket(socket) });
        };
        let mut present = HashSet::new();
        for socket in entries.iter().map(Entry::sample) {
            let key = (socket.inode, socket.local.clone(), socket.peer.clone());
            present.insert(key.clone());
            let known = self.sockets.get(&key);
            if known.is_none_or(|known| differs(known, &socket)) {
                tell(socket.clone());
                self.sockets.insert(key, socket);
            }
        }
        self.sockets.retain(|key, socket| {
            let there = present.contains(key);
            if !there {
                tell(Socket {
                    state: "GONE".to_owned(),
                    receive_queue: 0,
                    send_queue: 0,
                    timer: None,
                    ..socket.clone()
                });
            }
            there
        });
    }
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
