//! The watcher: every system call of an unmodified program that concerns sockets, waiting, processes and signals, as
//! it is made; and the door through which calls are made to fail or fall short and options are set from outside.
//!
//! ```text
//! child: hook ── pid ──▶ watcher thread: seize ── go ──▶ filter, exec ──▶ stops ──▶ events ──▶ sink
//! ```
//!
//! ptrace(2) follows the program, its threads and all that it forks; a seccomp(2) filter makes the kernel stop it at
//! the calls of the table ([`call`]) only, so that everything else runs at full speed. One thread follows one program
//! and makes all ptrace calls, since the kernel takes the tracer for a thread. The program may live in other
//! namespaces: numbers of processes are those of our own.
//!
//! What is not seen: io_uring (its set-up is, and is noted), 32-bit programs, and what a program does that was
//! started with `CLONE_UNTRACED`. A watched program cannot be debugged at the same time.

use crate::record::{Event, HostId};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use switchboard_net::SocketOptions;

mod call;
mod decode;
mod descriptor;
mod door;
mod filter;
mod inject;
mod memory;
pub mod name;
mod ptrace;
mod sample;
mod shape;
mod task;
mod tracer;

pub use door::Hook;
pub use inject::{Rule, RuleError};
pub use sample::{sample, zombies};

/// Where events go, in the order in which they happen. It runs on the watcher's thread while the program is stopped:
/// it should be quick.
pub type Sink = Box<dyn FnMut(Event) + Send>;

/// What to watch for, and what to change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host that events are said to happen on.
    pub host: HostId,
    /// Calls that fail or fall short.
    pub rules: Vec<Rule>,
    /// Set on every socket that the program makes or accepts and that they are for.
    pub options: SocketOptions,
    /// Also record reads and writes of descriptors 0 to 2 that are no sockets.
    pub stdio: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { host: HostId(0), rules: Vec::new(), options: SocketOptions::default(), stdio: false }
    }
}

/// How a watched program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By exit, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// The watcher could not begin, or failed: errno. A program that was begun has been killed.
    Unwatched(i32),
}

/// A watcher that waits for its program to come to [`Watcher::hook`].
#[derive(Debug)]
pub struct Watcher {
    hook: Hook,
    watched: Watched,
}

impl Watcher {
    /// Starts the watcher's thread.
    ///
    /// # Errors
    /// Those of socketpair(2) and of starting a thread.
    pub fn new(settings: Settings, sink: Sink) -> io::Result<Watcher> {
        let (hook, door) = door::pair()?;
        let shared = Arc::new(Shared::new(settings.rules.clone()));
        let seen = Arc::clone(&shared);
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let root = door.admit(|pid| {
                seen.began(pid);
                ptrace::seize(pid, ptrace::OPTIONS | libc::PTRACE_O_EXITKILL)
            });
            let followed =
                root.and_then(|root| tracer::Tracer::of_new(root, settings, sink, Arc::clone(&seen)).run());
            seen.over(followed);
        })?;
        Ok(Watcher { hook, watched: Watched { shared } })
    }

    /// What the child calls, once, just before exec: it waits until it is traced and installs the filter.
    ///
    /// It is async-signal-safe, and works in any namespaces that descend from ours. The program must not have lost the
    /// descriptor of the hook ([`Hook::descriptor`]; it is closed by exec) until then. What is called between the hook
    /// and exec is not recorded.
    pub fn hook(&self) -> Hook {
        self.hook.clone()
    }

    /// To be called when the child was forked: what is known of the program from now on.
    ///
    /// If the program is a child of this very process, the watcher reaps it: do not wait for it otherwise. Children of
    /// other processes are seen by their parents as if nobody watched.
    pub fn started(self) -> Watched {
        self.watched
    }

    /// Starts `command` under watch.
    ///
    /// # Errors
    /// Those of starting a program; `EPERM` or `EINVAL` if the kernel refuses to trace or to filter.
    pub fn spawn(mut command: Command, settings: Settings, sink: Sink) -> io::Result<Watched> {
        let watcher = Watcher::new(settings, sink)?;
        let hook = watcher.hook();
        door::before_exec(&mut command, hook);
        // The child is left to the watcher's thread: it is the one that waits for it.
        command.spawn()?;
        drop(command);
        Ok(watcher.started())
    }

    /// Watches a process that runs already, and what it forks from now on. When this process ends, the other one is
    /// let go and lives on.
    ///
    /// Calls in which it sleeps at that moment are interrupted and started again, but for the few that never are
    /// (signal(7): epoll_wait, semop and others fail with `EINTR`).
    ///
    /// # Errors
    /// `ESRCH`: no such process. `EPERM`: not ours, traced by another, or forbidden by Yama's `ptrace_scope`.
    pub fn attach(pid: i32, settings: Settings, sink: Sink) -> io::Result<Watched> {
        let shared = Arc::new(Shared::new(settings.rules.clone()));
        let seen = Arc::clone(&shared);
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            seen.began(pid);
            let seized = seize_all(pid);
            let failed = seized.is_err();
            let _ = tell.send(seized);
            if !failed {
                seen.over(tracer::Tracer::of_running(pid, settings, sink, Arc::clone(&seen)).run());
            }
        })?;
        told.recv().map_err(io::Error::other)??;
        Ok(Watched { shared })
    }
}

/// Seizes all threads of a process, also those that begin meanwhile.
fn seize_all(pid: i32) -> io::Result<()> {
    let mut seized = std::collections::BTreeSet::new();
    ptrace::seize(pid, ptrace::OPTIONS)?;
    ptrace::interrupt(pid)?;
    seized.insert(pid);
    loop {
        let before = seized.len();
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let tid: Option<i32> = task.file_name().to_str().and_then(|name| name.parse().ok());
            // A thread of a seized one is seized with it; one that ended meanwhile is none.
            if let Some(tid) = tid
                && seized.insert(tid)
                && ptrace::seize(tid, ptrace::OPTIONS).is_ok()
            {
                ptrace::interrupt(tid)?;
            }
        }
        if seized.len() == before {
            return Ok(());
        }
    }
}

/// A program under watch. It goes on when this is dropped.
#[derive(Clone, Debug)]
pub struct Watched {
    shared: Arc<Shared>,
}

impl Watched {
    /// The program's number, once it is known: in our pid namespace.
    pub fn pid(&self) -> Option<i32> {
        self.shared.lock().root
    }

    /// Processes that live: the program, and what it has forked.
    pub fn processes(&self) -> Vec<i32> {
        self.shared.lock().alive.keys().copied().collect()
    }

    /// From the next call on, these rules hold, and count from 1.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        let mut state = self.shared.lock();
        state.generation += 1;
        state.rules = rules;
    }

    /// Waits until the program has ended, at most for `timeout`; its children may live on.
    pub fn wait(&self, timeout: Duration) -> Option<Ended> {
        self.shared.wait(timeout, |state| state.root_ended)
    }

    /// Waits until nothing that is watched is alive and every event was given to the sink, which is then dropped.
    pub fn wait_for_all(&self, timeout: Duration) -> Option<Ended> {
        self.shared.wait(timeout, |state| state.root_ended.filter(|_| state.over))
    }

    /// Kills the program and everything that it has started.
    pub fn kill(&self) {
        for process in self.shared.lock().alive.values().flatten() {
            let _ = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
        }
    }
}

/// What the watcher's thread and its owner both see.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    root: Option<i32>,
    /// By descriptors, so that a number that is used again is not taken for the old process.
    alive: BTreeMap<i32, Option<OwnedFd>>,
    root_ended: Option<Ended>,
    over: bool,
    rules: Vec<Rule>,
    generation: u64,
}

impl Shared {
    fn new(rules: Vec<Rule>) -> Shared {
        let state = State { rules, generation: 1, ..State::default() };
        Shared { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The state; a thread that panicked with it leaves numbers that are still true.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, timeout: Duration, answer: impl Fn(&State) -> Option<Ended>) -> Option<Ended> {
        let until = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        loop {
            if let Some(ended) = answer(&state) {
                return Some(ended);
            }
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            let left = left.min(Duration::from_secs(3600));
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A process is watched; the first one is the program.
    fn began(&self, pid: i32) {
        let descriptor = rustix::process::Pid::from_raw(pid)
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
        let mut state = self.lock();
        state.root.get_or_insert(pid);
        state.alive.insert(pid, descriptor);
        self.changed.notify_all();
    }

    fn ended(&self, pid: i32, root: bool, end: tracer::End) {
        let mut state = self.lock();
        state.alive.remove(&pid);
        if root {
            state.root_ended = Some(match end {
                tracer::End::Exited(status) => Ended::Exited(status),
                tracer::End::Killed(signal, _) => Ended::Killed(signal),
            });
        }
        self.changed.notify_all();
    }

    /// The watcher's thread has nothing left to do.
    fn over(&self, how: io::Result<()>) {
        let mut state = self.lock();
        if state.root_ended.is_none() {
            let errno = how.err().and_then(|error| error.raw_os_error()).unwrap_or(libc::ECHILD);
            state.root_ended = Some(Ended::Unwatched(errno));
        }
        state.alive.clear();
        state.over = true;
        self.changed.notify_all();
    }

    /// The rules, if they are newer than generation `seen`.
    fn newer_rules(&self, seen: &mut u64) -> Option<Vec<Rule>> {
        let state = self.lock();
        let newer = state.generation > *seen;
        *seen = state.generation;
        newer.then(|| state.rules.clone())
    }
}
