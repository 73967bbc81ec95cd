//! The loop of the watcher thread: what each thread of the program did, one report at a time.

use super::inject::Rules;
use super::ptrace::{self, At, Report, Resume};
use super::task::{self, Open, Process, Thread};
use super::{Settings, Shared, Sink, Watcher};
use crate::record::{Change, Disposition, Event, Nanos, Process as ProcessEvent, Signal, What};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

mod calls;

use calls::{ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTSYS};

/// Processes that have ended and are remembered.
const GONE: usize = 4096;

/// A process that has ended.
struct Gone {
    pid: i32,
    /// Its number in its own pid namespace.
    inner: i32,
    parent: i32,
    /// Its parent has waited for it.
    reaped: bool,
}

/// Everything about a program and its descendants.
pub(super) struct Tracer {
    settings: Settings,
    sink: Sink,
    shared: Arc<Shared>,
    rules: Rules,
    /// The generation of the rules that were taken from `shared`.
    rules_seen: u64,
    threads: HashMap<i32, Thread>,
    processes: HashMap<i32, Process>,
    /// Threads that came before their parent told of them.
    early: HashSet<i32>,
    /// The last processes that have ended: they may still be waited for, and signals of theirs arrive after them.
    gone: VecDeque<Gone>,
    root: i32,
    /// Nothing is recorded before the program itself runs.
    recording: bool,
    /// Without a filter (attached to), every call stops.
    filtered: bool,
    warned: bool,
}

impl Tracer {
    /// For a process that was seized: a new one, which will install the filter and is recorded from exec on; or one
    /// that runs already.
    pub(super) fn new(root: i32, new: bool, watcher: Watcher, shared: Arc<Shared>) -> Tracer {
        Tracer {
            settings: watcher.settings,
            sink: watcher.sink,
            shared,
            rules: Rules::default(),
            rules_seen: 0,
            threads: HashMap::new(),
            processes: HashMap::new(),
            early: HashSet::new(),
            gone: VecDeque::new(),
            root,
            recording: !new,
            filtered: new,
            warned: false,
        }
    }

    /// Until nothing is left to watch.
    pub(super) fn run(&mut self) -> io::Result<()> {
        while let Some((tid, report)) = ptrace::wait()? {
            let now = now();
            match report {
                Report::Exited(status) => self.on_end(tid, now, End::Exited(status)),
                Report::Killed { signal, core } => self.on_end(tid, now, End::Killed(signal, core)),
                stopped => {
                    if self.ensure(tid, now) {
                        self.early.insert(tid);
                    }
                    match self.on_stop(tid, now, stopped) {
                        Some((how, signal)) => ptrace::resume(tid, how, signal),
                        None => ptrace::detach(tid),
                    }
                }
            }
        }
        Ok(())
    }

    /// What to do with a stopped thread, after looking at why it stopped: how it goes on and with which signal, or none
    /// if it is to be let go.
    fn on_stop(&mut self, tid: i32, now: Nanos, report: Report) -> Option<(Resume, i32)> {
        let mut signal = 0;
        match report {
            Report::Syscall | Report::Event(libc::PTRACE_EVENT_SECCOMP, _) => match ptrace::at(tid) {
                // With a filter, the stop at the entry of a call that is followed to its end has told already.
                Ok(At::Entry { .. }) if self.filtered && report == Report::Syscall => {}
                Ok(At::Entry { number, arguments }) => self.on_entry(tid, now, number, arguments),
                Ok(At::Exit { result }) => self.on_exit(tid, now, result),
                Ok(At::Elsewhere) => self.on_foreign(tid, now),
                // It was killed meanwhile.
                Err(_) => {}
            },
            Report::Signal(number) => {
                self.on_signal(tid, now, number);
                signal = number;
            }
            Report::Event(
                libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE,
                _,
            ) => {
                // It may have come, and even gone, before its parent could tell.
                if let Ok(child) = ptrace::event_message(tid)
                    && !self.early.remove(&child)
                {
                    self.ensure(child, now);
                }
            }
            Report::Event(libc::PTRACE_EVENT_EXEC, _) => self.on_exec(tid, now),
            // It never became the program. Whoever started it waits for it to learn why, and would find nobody if it
            // were ours to the end.
            Report::Event(libc::PTRACE_EVENT_EXIT, _) if !self.recording => {
                self.threads.remove(&tid);
                return None;
            }
            Report::Event(libc::PTRACE_EVENT_EXIT, _) => self.on_exiting(tid),
            Report::Event(libc::PTRACE_EVENT_STOP, number) => {
                if number != libc::SIGTRAP {
                    self.on_stopped(tid, now, true);
                    return Some((Resume::Listen, 0));
                }
                self.on_stopped(tid, now, false);
            }
            _ => {}
        }
        let followed = self.threads.get(&tid).is_some_and(|thread| thread.open.is_some());
        let how = if followed || !self.filtered { Resume::ToSyscall } else { Resume::Run };
        Some((how, signal))
    }

    /// Makes a thread known; whether it was not. Its own first stop and its parent's report come in any order.
    fn ensure(&mut self, tid: i32, now: Nanos) -> bool {
        if self.threads.contains_key(&tid) {
            return false;
        }
        let thread = Thread::of(tid);
        let pid = thread.pid;
        let is_thread = self.processes.contains_key(&pid);
        if !is_thread {
            let parent = thread.parent;
            let actions =
                self.processes.get(&parent).map(|parent| parent.actions.clone()).unwrap_or_default();
            let process = Process::of(pid, parent, thread.inner, actions);
            self.shared.began(pid);
            self.processes.insert(pid, process);
        }
        let parent = if is_thread { pid } else { thread.parent };
        if let Some(process) = self.processes.get_mut(&pid) {
            process.alive.insert(tid);
        }
        self.threads.insert(tid, thread);
        if pid != self.root || is_thread {
            self.change(pid, tid, now, Change::Started { parent, thread: is_thread });
        }
        true
    }

    fn on_reaped(&mut self, parent: i32, child: i32, now: Nanos) {
        let is_it = |gone: &&mut Gone| (gone.inner, gone.parent, gone.reaped) == (child, parent, false);
        if let Some(gone) = self.gone.iter_mut().rev().find(is_it) {
            gone.reaped = true;
            let pid = gone.pid;
            self.change(pid, pid, now, Change::Reaped);
        }
    }

    fn on_signal(&mut self, tid: i32, now: Nanos, number: i32) {
        let Some(thread) = self.threads.get(&tid) else { return };
        let pid = thread.pid;
        let disposition = task::disposition(pid, number);
        let sender = ptrace::origin(tid).ok().and_then(|origin| origin.sender);
        let sender = sender.and_then(|sender| self.outer(pid, sender));
        if self.recording {
            let signal = Signal { pid, tid, signal: number, sender, disposition };
            self.tell(now, What::Signal(signal));
        }
        if disposition != Disposition::Handled {
            return;
        }
        let action = self.processes.get(&pid).and_then(|process| process.actions.get(&number));
        let restarts = action.map(|action| action.restarts);
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        // signal(7), "Interruption of system calls": with a handler, some are never started again. One that was
        // interrupted twice has been decided before.
        let ends = |open: &mut Open| match open.code {
            ERESTARTSYS => restarts == Some(false),
            ERESTARTNOHAND | ERESTART_RESTARTBLOCK => true,
            _ => false,
        };
        if let Some(open) = thread.suspended.pop_if(ends) {
            self.finish(open, now, -i64::from(libc::EINTR));
        }
    }

    /// A number in the namespace of a process, as our namespace has it.
    fn outer(&self, pid: i32, inner: i32) -> Option<i32> {
        let same = self.processes.get(&pid).is_none_or(|process| process.inner == pid);
        if same {
            return Some(inner);
        }
        let lives = self.processes.iter().find(|(_, process)| process.inner == inner).map(|(pid, _)| *pid);
        lives.or_else(|| self.gone.iter().rev().find(|gone| gone.inner == inner).map(|gone| gone.pid))
    }

    fn on_exec(&mut self, tid: i32, now: Nanos) {
        // The thread that called it has taken the number of the first thread, and is the only one left.
        let former = ptrace::event_message(tid).unwrap_or(tid);
        if former != tid
            && let Some(mut thread) = self.threads.remove(&former)
        {
            if let Some(open) = &mut thread.open {
                open.call.tid = tid;
            }
            self.threads.insert(tid, thread);
        }
        self.threads.retain(|other, thread| *other == tid || thread.pid != tid);
        if let Some(process) = self.processes.get_mut(&tid) {
            process.became_another(tid);
        }
        if tid == self.root && !self.recording {
            self.recording = true;
            let parent = self.processes.get(&tid).map_or(0, |process| process.parent);
            self.change(tid, tid, now, Change::Started { parent, thread: false });
        }
        let command = task::command_line(tid);
        self.change(tid, tid, now, Change::Executed { command });
    }

    /// The last moment at which the descriptors of a process can be seen.
    fn on_exiting(&mut self, tid: i32) {
        let Some(thread) = self.threads.get(&tid) else { return };
        let Some(process) = self.processes.get_mut(&thread.pid) else { return };
        process.alive.remove(&tid);
        if process.alive.is_empty() && self.recording {
            process.sockets_at_exit = process.descriptors.open_sockets();
        }
    }

    fn on_stopped(&mut self, tid: i32, now: Nanos, stopped: bool) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        // A new child and an attached thread report a stop that no signal made.
        if thread.stopped != stopped {
            thread.stopped = stopped;
            let pid = thread.pid;
            if tid == pid {
                self.change(pid, tid, now, Change::Stopped(stopped));
            }
        }
    }

    fn on_end(&mut self, tid: i32, now: Nanos, end: End) {
        let pid = self.threads.remove(&tid).map_or(tid, |thread| thread.pid);
        let mut open_sockets = Vec::new();
        let mut gone = None;
        if tid == pid
            && let Some(process) = self.processes.remove(&pid)
        {
            open_sockets = process.sockets_at_exit;
            gone = Some(Gone { pid, inner: process.inner, parent: process.parent, reaped: false });
        }
        self.change(
            pid,
            tid,
            now,
            match end {
                End::Exited(status) => Change::Exited { status, open_sockets },
                End::Killed(signal, core) => Change::Killed { signal, core, open_sockets },
            },
        );
        if let Some(mut gone) = gone {
            let parent = self.processes.get(&gone.parent);
            gone.reaped = parent.is_some_and(|parent| parent.forgets_children(gone.parent));
            if gone.reaped {
                self.change(pid, pid, now, Change::Reaped);
            }
            if self.gone.len() == GONE {
                self.gone.pop_front();
            }
            self.gone.push_back(gone);
        }
        if tid == pid {
            self.shared.ended(pid, pid == self.root, end);
        }
    }

    /// A call of the 32-bit interface.
    fn on_foreign(&mut self, tid: i32, now: Nanos) {
        if self.recording && !self.warned {
            self.warned = true;
            let pid = self.threads.get(&tid).map_or(tid, |thread| thread.pid);
            self.note(now, format!("process {pid} is a 32-bit program: its calls are not decoded"));
        }
    }

    fn note(&mut self, now: Nanos, text: String) {
        self.tell(now, What::Note { text });
    }

    fn change(&mut self, pid: i32, tid: i32, now: Nanos, change: Change) {
        if self.recording {
            self.tell(now, What::Process(ProcessEvent { pid, tid, change }));
        }
    }

    fn tell(&mut self, at_ns: Nanos, what: What) {
        (self.sink)(Event { at_ns, host: Some(self.settings.host), what });
    }
}

/// How a thread ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Exited(i32),
    Killed(i32, bool),
}

/// `CLOCK_MONOTONIC`.
fn now() -> Nanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
