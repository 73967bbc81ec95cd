//! The watcher: every system call of an unmodified program that concerns sockets, waiting, processes and signals, as
//! it is made; and the door through which calls are made to fail or fall short and options are set from outside.
//!
//! ```text
//! child: waits ──▶ watcher thread: seize ──▶ child: filter, exec ──▶ stops ──▶ watcher: events ──▶ sink
//! ```
//!
//! ptrace(2) follows the program, its threads and all that it forks; a seccomp(2) filter makes the kernel stop it at
//! the calls of the table (`call`) only, so that everything else runs at full speed. One thread follows one program
//! and makes all ptrace calls, since the kernel takes the tracer for a thread. The program may live in other
//! namespaces: numbers of processes are those of our own.
//!
//! What is not seen: io_uring (its set-up is, and is noted), 32-bit programs, and what a program does that was
//! started with `CLONE_UNTRACED`. A watched program cannot be debugged at the same time.

use crate::host::{Child, Host, Prepared, Program};
use crate::record::{Event, HostId};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use switchboard_net::SocketOptions;
use tracer::Tracer;

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

pub use inject::{Rule, RuleError};
pub use sample::{sample, zombies};

/// Where events go, in the order in which they happen; `at_ns` never goes back. It runs on the watcher's thread while
/// a thread of the program is stopped: it should be quick.
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
    /// The watcher could not begin, or failed, or the program never came to exec: errno.
    Unwatched(i32),
}

/// What a new process calls last before exec, when it is traced ([`Watcher::adopt`]): it installs the filter that makes
/// the kernel stop it at the calls that are watched.
///
/// Async-signal-safe: it neither allocates nor locks, and needs no descriptor. What the process does from there to exec
/// is not recorded; if nobody traces it, the calls that are watched fail with `ENOSYS`.
///
/// The function's errors are those of seccomp(2): `EINVAL` from a kernel without it.
pub fn child_hook() -> impl Fn() -> io::Result<()> + Clone + Send + Sync + 'static {
    let filter = Arc::new(filter::Filter::new());
    move || filter.install()
}

/// A watcher that has no program yet. A program gets a thread of ours that follows it, and all that it forks.
pub struct Watcher {
    settings: Settings,
    sink: Sink,
}

impl Watcher {
    /// What to watch for, and where events go.
    pub fn new(settings: Settings, sink: impl FnMut(Event) + Send + 'static) -> Watcher {
        Watcher { settings, sink: Box::new(sink) }
    }

    /// Starts `command` under watch. If this process ends, the program is killed.
    ///
    /// The watcher's thread waits for the program, and nobody else can: see [`Watched::wait`].
    ///
    /// # Errors
    /// Those of starting a program; `EPERM` or `EINVAL` if the kernel refuses to trace or to filter.
    pub fn spawn(self, mut command: Command) -> io::Result<Watched> {
        let (child, door) = door::pair()?;
        let (watched, _) = self.follow(true, move |shared| {
            door.admit(|pid| {
                shared.began(pid);
                ptrace::seize(pid, ptrace::OPTIONS | libc::PTRACE_O_EXITKILL)
            })
        })?;
        door::before_exec(&mut command, child, child_hook());
        // The handle is of no use: the status goes to the watcher's thread.
        command.spawn()?;
        Ok(watched)
    }

    /// Watches a new process that waits, under its final number, to be let on to [`child_hook`] and exec. It is traced
    /// when this returns, and recorded from exec on. If this process ends, the program is killed.
    ///
    /// The process may live in any namespaces that descend from ours. If it is a child of this very process, the
    /// watcher's thread collects its status and nobody else can, unless it ends before exec; other parents see their
    /// children as if nobody watched.
    ///
    /// # Errors
    /// `ESRCH`: no such process. `EPERM`: not ours, traced by another, or forbidden by Yama's `ptrace_scope`.
    pub fn adopt(self, pid: i32) -> io::Result<Watched> {
        let (watched, seized) = self.follow(true, move |shared| {
            ptrace::seize(pid, ptrace::OPTIONS | libc::PTRACE_O_EXITKILL)?;
            shared.began(pid);
            Ok(pid)
        })?;
        seized.recv().map_err(io::Error::other)??;
        Ok(watched)
    }

    /// Starts `program` on a simulated host under watch. The child is there for its pipes and signals; how it ended is
    /// told by what is watched.
    ///
    /// # Errors
    /// Those of [`Host::prepare`], of [`Watcher::adopt`] and of becoming the program.
    pub fn spawn_on(self, host: &Host, program: Program) -> io::Result<(Watched, Child)> {
        self.spawn_on_known(host, program, |_| {})
    }

    /// The same; `known` is told the program's number before any event of it is seen.
    ///
    /// # Errors
    /// As for [`Watcher::spawn_on`].
    pub fn spawn_on_known(
        self,
        host: &Host,
        program: Program,
        known: impl FnOnce(i32),
    ) -> io::Result<(Watched, Child)> {
        self.begin(host.prepare(door::filtered(program))?, known)
    }

    /// Starts `program` on this machine, as [`Watcher::spawn_on_known`] does on a host.
    ///
    /// # Errors
    /// Those of [`crate::host::prepare_here`], of [`Watcher::adopt`] and of becoming the program.
    pub fn spawn_here_known(self, program: Program, known: impl FnOnce(i32)) -> io::Result<(Watched, Child)> {
        self.begin(crate::host::prepare_here(door::filtered(program))?, known)
    }

    fn begin(self, mut prepared: Prepared, known: impl FnOnce(i32)) -> io::Result<(Watched, Child)> {
        known(prepared.pid());
        let watched = self.adopt(prepared.pid())?;
        prepared.release();
        Ok((watched, prepared.confirm()?))
    }

    /// Watches a process that runs already, and what it forks from now on. When this process ends, the other one is
    /// let go and lives on.
    ///
    /// Calls in which it sleeps at that moment are interrupted and started again, but for the few that never are
    /// (signal(7): epoll_wait, semop and others fail with `EINTR`). Every call stops it, since a filter can only be
    /// installed by the program itself.
    ///
    /// # Errors
    /// As for [`Watcher::adopt`].
    pub fn attach(self, pid: i32) -> io::Result<Watched> {
        let (watched, seized) = self.follow(false, move |shared| {
            seize_all(pid)?;
            shared.began(pid);
            Ok(pid)
        })?;
        seized.recv().map_err(io::Error::other)??;
        Ok(watched)
    }

    /// Starts the thread that seizes a program and follows it to its end; and tells whether it was seized.
    fn follow(
        self,
        new: bool,
        seize: impl FnOnce(&Shared) -> io::Result<i32> + Send + 'static,
    ) -> io::Result<(Watched, Receiver<io::Result<()>>)> {
        let shared = Arc::new(Shared::new(self.settings.rules.clone()));
        let seen = Arc::clone(&shared);
        let (tell, told) = sync_channel(1);
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let root = match seize(&seen) {
                Ok(root) => root,
                Err(error) => {
                    seen.over(Some(&error));
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            let _ = tell.send(Ok(()));
            let mut tracer = Tracer::new(root, new, self, Arc::clone(&seen));
            let followed = tracer.run();
            // The sink goes before the news that all is over.
            drop(tracer);
            seen.over(followed.as_ref().err());
        })?;
        Ok((Watched { shared }, told))
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
    fn over(&self, error: Option<&io::Error>) {
        let mut state = self.lock();
        if state.root_ended.is_none() {
            let errno = error.and_then(io::Error::raw_os_error).unwrap_or(libc::ECHILD);
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
