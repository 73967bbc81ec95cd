//! Calls from entry to return: decoded, changed if a rule says so, and kept together when a signal interrupts them.

use super::Tracer;
use crate::record::{Call, Nanos, Returned, What};
use crate::watch::call;
use crate::watch::decode::Decoder;
use crate::watch::inject::{Action, Rules};
use crate::watch::memory::Memory;
use crate::watch::name;
use crate::watch::shape::Change as Shape;
use crate::watch::task::Open;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers calls over all watchers of this process, so that a run with several programs numbers each call once.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Calls of one thread that signal handlers may interrupt one within the other and that are remembered.
const NESTED: usize = 8;

/// What the kernel returns inside of itself when a signal interrupts a call (include/linux/errno.h).
pub(super) const ERESTARTSYS: i64 = -512;
pub(super) const ERESTARTNOINTR: i64 = -513;
pub(super) const ERESTARTNOHAND: i64 = -514;
pub(super) const ERESTART_RESTARTBLOCK: i64 = -516;

impl Tracer {
    pub(super) fn on_entry(&mut self, tid: i32, now: Nanos, number: i64, arguments: [u64; 6]) {
        if !self.recording {
            return;
        }
        let Some(row) = call::find(number) else { return };
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let resumed = thread.suspended.pop_if(|open| open.is_continued_by(number, &arguments));
        if let Some(mut open) = resumed {
            open.call.restarted = true;
            open.shape = open.short.and_then(|most| Shape::short(tid, open.row, &open.arguments, most));
            thread.open = Some(open);
            return;
        }
        let pid = thread.pid;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some((fd, socket)) = process.about(row, &arguments, self.settings.stdio) else { return };
        if row.number == libc::SYS_close {
            // From here on the number may become somebody else's.
            process.descriptors.forget(arguments[0] as i32);
        }
        let action = process.action(row, &arguments, Memory(pid));
        if row.number == libc::SYS_rt_sigaction && action.is_none() {
            return;
        }
        let decoder = Decoder { memory: Memory(pid), row, arguments };
        let (shown, data) = decoder.entered();
        let call = Call {
            pid,
            tid,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            name: row.name.to_owned(),
            arguments: shown,
            fd,
            socket: socket.map(|socket| socket.inode),
            data,
            ..Call::default()
        };
        let mut open =
            Open { row, arguments, call, entered_ns: now, shape: None, short: None, code: 0, action };
        self.inject(tid, &mut open, socket.and_then(|socket| socket.kind()));
        if row.may_block(&arguments) || row.number == libc::SYS_exit_group {
            self.tell(now, What::CallEntered(open.call.clone()));
        }
        if row.number == 425 && !self.warned {
            self.warned = true;
            self.note(
                now,
                format!("process {pid} uses io_uring: what goes through the ring cannot be seen here"),
            );
        }
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.open = Some(open);
        }
    }

    /// Makes the call fail or fall short if a rule says so.
    fn inject(&mut self, tid: i32, open: &mut Open, kind: Option<switchboard_net::Kind>) {
        if let Some(rules) = self.shared.newer_rules(&mut self.rules_seen) {
            self.rules = Rules::new(rules);
        }
        match self.rules.due(open.row.name, kind) {
            Some(Action::Errno(errno)) => {
                open.shape = Shape::fail(tid, errno);
                if open.shape.is_some() {
                    let name = name::errno(errno).map_or_else(|| errno.to_string(), str::to_owned);
                    open.call.injected = Some(format!("{name} injected"));
                }
            }
            Some(Action::Short(most)) => {
                open.shape = Shape::short(tid, open.row, &open.arguments, most);
                if let Some(shape) = &open.shape {
                    open.call.injected = Some(shape.words());
                    open.short = Some(most);
                }
            }
            None => {}
        }
    }

    pub(super) fn on_exit(&mut self, tid: i32, now: Nanos, result: i64) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let Some(mut open) = thread.open.take() else { return };
        let result = open.shape.take().and_then(|shape| shape.undo(tid)).unwrap_or(result);
        if matches!(result, ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK) {
            open.code = result;
            if thread.suspended.len() == NESTED {
                thread.suspended.remove(0);
            }
            thread.suspended.push(open);
            return;
        }
        self.finish(open, now, result);
    }

    /// A call has returned to the program.
    pub(super) fn finish(&mut self, mut open: Open, now: Nanos, result: i64) {
        let pid = open.call.pid;
        let decoder = Decoder { memory: Memory(pid), row: open.row, arguments: open.arguments };
        let returned = if (-4095..0).contains(&result) {
            open.call.data.clear();
            Returned::Errno(-result as i32)
        } else {
            decoder.returned(result, &mut open.call.arguments, &mut open.call.data);
            Returned::Value(result)
        };
        open.call.result = Some(returned);
        open.call.took_ns = now.saturating_sub(open.entered_ns);
        if let (Some(process), Returned::Value(_)) = (self.processes.get_mut(&pid), returned) {
            process.after(&mut open, result, &self.settings.options);
        }
        let child = waited_for(&open, result);
        self.tell(now, What::Call(open.call));
        if let Some(child) = child {
            self.on_reaped(pid, child, now);
        }
    }
}

/// The child that a call has collected, as its namespace numbers it.
fn waited_for(open: &Open, result: i64) -> Option<i32> {
    let [_, id, info, options, ..] = open.arguments;
    let child = match open.row.number {
        libc::SYS_wait4 => result as i32,
        // The child is looked at only.
        libc::SYS_waitid if options as i32 & libc::WNOWAIT != 0 => 0,
        libc::SYS_waitid if result == 0 && info == 0 => id as i32,
        // si_pid of the siginfo_t.
        libc::SYS_waitid if result == 0 => Memory(open.call.pid).int(info + 16).unwrap_or(0),
        _ => 0,
    };
    (child > 0).then_some(child)
}
