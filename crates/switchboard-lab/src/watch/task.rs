//! What is known of a thread, a process, and a call that has not returned.

use super::call::{Form, Row};
use super::descriptor::{Descriptors, Socket};
use super::memory::Memory;
use super::shape;
use crate::record::{Call, Disposition, Nanos};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use switchboard_net::SocketOptions;

/// A thread.
pub(super) struct Thread {
    /// Its process.
    pub(super) pid: i32,
    /// The parent of its process, when it was first seen.
    pub(super) parent: i32,
    /// Its process's number in the innermost pid namespace that it lives in.
    pub(super) inner: i32,
    /// The call that it is in.
    pub(super) open: Option<Open>,
    /// Calls that a signal has interrupted, and that the kernel will start again when its handler is done.
    pub(super) suspended: Vec<Open>,
    pub(super) stopped: bool,
}

impl Thread {
    /// As `/proc` tells; one that is gone already is its own process.
    pub(super) fn of(tid: i32) -> Thread {
        let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
        let number =
            |field| value(&status, field).and_then(|text| text.split_whitespace().last()?.parse().ok());
        let pid = number("Tgid:").unwrap_or(tid);
        let inner = number("NStgid:").unwrap_or(pid);
        let parent = number("PPid:").unwrap_or(0);
        Thread { pid, parent, inner, open: None, suspended: Vec::new(), stopped: false }
    }
}

/// A call that was entered and has not returned.
pub(super) struct Open {
    pub(super) row: &'static Row,
    pub(super) arguments: [u64; 6],
    pub(super) call: Call,
    pub(super) entered_ns: Nanos,
    /// What was changed about it, and is put back at its return.
    pub(super) shape: Option<shape::Change>,
    /// It was made to fall short, and is again when it is started again.
    pub(super) short: Option<u64>,
    /// What the kernel returned inside of itself when a signal interrupted it.
    pub(super) code: i64,
    /// For rt_sigaction: what it sets for which signal.
    pub(super) action: Option<(i32, Action)>,
}

impl Open {
    /// Whether the call that begins with these registers is this one, started again.
    pub(super) fn is_continued_by(&self, number: i64, arguments: &[u64; 6]) -> bool {
        let used = self.row.arguments.len();
        number == libc::SYS_restart_syscall
            || number == self.row.number && arguments[..used] == self.arguments[..used]
    }
}

/// What a program does with a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Action {
    handler: u64,
    /// Calls that it interrupts are started again (`SA_RESTART`).
    pub(super) restarts: bool,
    /// For SIGCHLD: children that end are not waited for (`SA_NOCLDWAIT`).
    no_wait: bool,
}

/// A process.
pub(super) struct Process {
    pub(super) parent: i32,
    pub(super) inner: i32,
    pub(super) descriptors: Descriptors,
    /// Actions of signals that were set while we looked.
    pub(super) actions: HashMap<i32, Action>,
    /// Threads that have not begun to exit.
    pub(super) alive: BTreeSet<i32>,
    pub(super) sockets_at_exit: Vec<String>,
}

impl Process {
    pub(super) fn of(pid: i32, parent: i32, inner: i32, actions: HashMap<i32, Action>) -> Process {
        Process {
            parent,
            inner,
            descriptors: Descriptors::of(pid),
            actions,
            alive: BTreeSet::new(),
            sockets_at_exit: Vec::new(),
        }
    }

    /// The descriptor that a call is about and the socket behind it; none if the call is not to be recorded.
    pub(super) fn about(
        &mut self,
        row: &Row,
        arguments: &[u64; 6],
        stdio: bool,
    ) -> Option<(Option<i32>, Option<Socket>)> {
        let forms = row.arguments.iter().zip(arguments);
        let mut fds = forms.filter(|((_, form), _)| *form == Form::Fd).map(|(_, value)| *value as i32);
        let first = fds.clone().next();
        let found = fds.find_map(|fd| Some((fd, self.descriptors.socket(fd)?)));
        if let Some((fd, socket)) = found {
            return Some((Some(fd), Some(socket)));
        }
        let standard = stdio && first.is_some_and(|fd| (0..3).contains(&fd));
        (!row.sockets_only || standard).then_some((first, None))
    }

    /// For a call that changes a signal's action: what it sets for which signal. Interpreters set many actions to what
    /// they are; that is none.
    pub(super) fn action(&self, row: &Row, arguments: &[u64; 6], memory: Memory) -> Option<(i32, Action)> {
        let [signal, action, ..] = *arguments;
        if row.number != libc::SYS_rt_sigaction || action == 0 {
            return None;
        }
        let flags = memory.long(action + 8)?;
        let handler = memory.long(action)?;
        let set = |flag: i32| flags & flag as u64 != 0;
        let (restarts, no_wait) = (set(libc::SA_RESTART), set(libc::SA_NOCLDWAIT));
        let action = Action { handler, restarts, no_wait };
        let known = self.actions.get(&(signal as i32));
        let same = known.map_or(handler == libc::SIG_DFL as u64, |known| *known == action);
        (!same).then_some((signal as i32, action))
    }

    /// Brings what is known up to date after a call that succeeded.
    pub(super) fn after(&mut self, open: &mut Open, result: i64, options: &SocketOptions) {
        let descriptors = &mut self.descriptors;
        let [first, second, ..] = open.arguments;
        match open.row.number {
            libc::SYS_close => descriptors.forget(first as i32),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_dup2 if first as i32 != second as i32 => descriptors.forget(second as i32),
            libc::SYS_dup3 => descriptors.forget(second as i32),
            libc::SYS_close_range => descriptors.forget_range(first as u32, second as u32),
            libc::SYS_socket | libc::SYS_accept | libc::SYS_accept4 => {
                let fd = result as i32;
                descriptors.forget(fd);
                let Some(socket) = descriptors.socket(fd) else { return };
                if open.row.number == libc::SYS_socket {
                    (open.call.fd, open.call.socket) = (Some(fd), Some(socket.inode));
                }
                if !options.is_empty()
                    && let Some(kind) = socket.kind()
                {
                    open.call.injected = Some(impose(descriptors, fd, kind, socket.is_v6(), options));
                }
            }
            libc::SYS_rt_sigaction => {
                if let Some((signal, action)) = open.action {
                    self.actions.insert(signal, action);
                }
            }
            _ => {}
        }
    }

    /// Whether its children leave no zombies, since it has said that it will not wait for them (wait(2), NOTES).
    pub(super) fn forgets_children(&self, pid: i32) -> bool {
        let no_wait = self.actions.get(&libc::SIGCHLD).is_some_and(|action| action.no_wait);
        no_wait || disposition(pid, libc::SIGCHLD) == Disposition::Ignored
    }

    /// After exec: descriptors may have been closed, and handlers are gone.
    pub(super) fn became_another(&mut self, pid: i32) {
        self.descriptors.forget_all();
        self.actions.retain(|_, action| action.handler == libc::SIG_IGN as u64);
        self.alive = BTreeSet::from([pid]);
    }
}

/// Sets options on the program's socket, through a copy of its descriptor; says what came of it.
fn impose(
    descriptors: &Descriptors,
    fd: i32,
    kind: switchboard_net::Kind,
    v6: bool,
    options: &SocketOptions,
) -> String {
    let copy = match descriptors.borrow(fd) {
        Ok(copy) => copy,
        Err(error) => return format!("no option was set: cannot reach the socket: {error}"),
    };
    match options.impose(copy, kind, v6) {
        Ok(set) if set.is_empty() => format!("no option is for {} sockets", kind.name()),
        Ok(set) => format!("set {}", set.join(", ")),
        Err(error) => error.to_string(),
    }
}

/// What a process does with a signal.
pub(super) fn disposition(pid: i32, signal: i32) -> Disposition {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let has = |field| {
        let set = value(&status, field).and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        set.is_some_and(|set| set >> (signal - 1) & 1 == 1)
    };
    if has("SigCgt:") {
        Disposition::Handled
    } else if has("SigIgn:") {
        Disposition::Ignored
    } else {
        Disposition::Default
    }
}

fn value<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(field))
}

/// The command line of a process.
pub(super) fn command_line(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}
