//! ptrace(2) and the waiting that belongs to it. All of it acts for the calling thread only: the kernel knows the
//! tracer as a thread, not as a process.
#![allow(unsafe_code)]

use std::io;

/// What a watched program is followed with. `EXITKILL` is added for those that were started here.
pub(super) const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEEXIT
    | libc::PTRACE_O_TRACESECCOMP;

/// How a stopped thread goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resume {
    /// Until the filter, a signal or an event stops it.
    Run,
    /// The same, and at the next entry to or return from a system call.
    ToSyscall,
    /// It stays stopped by a job-control signal, and reports when it is continued.
    Listen,
}

/// What a thread did, from waitpid(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Report {
    Exited(i32),
    Killed {
        signal: i32,
        core: bool,
    },
    /// At the entry to or return from a system call.
    Syscall,
    /// About to get this signal.
    Signal(i32),
    /// One of `PTRACE_EVENT_*`, with the signal that the status shows.
    Event(i32, i32),
}

/// Where in a system call a thread is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    Entry {
        number: i64,
        arguments: [u64; 6],
    },
    Exit {
        result: i64,
    },
    /// A call of another architecture's interface (32-bit), which is not decoded; or no call at all.
    Elsewhere,
}

/// Who sent a signal, as the receiver's pid namespace numbers processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) sender: Option<i32>,
}

fn request(request: libc::c_uint, tid: i32, address: usize, data: usize) -> io::Result<i64> {
    // SAFETY: every caller passes what its request asks for: numbers, or pointers to storage that outlives the call.
    // The kernel checks the thread and changes no memory of ours but through `data`.
    let done = unsafe { libc::ptrace(request as _, tid, address, data) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// Begins to trace a thread without stopping it.
pub(super) fn seize(tid: i32, options: i32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, tid, 0, options as usize).map(drop)
}

/// Stops a thread; it reports `PTRACE_EVENT_STOP`.
pub(super) fn interrupt(tid: i32) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets a stopped thread go on, with a signal if `signal` is not 0. One that was killed meanwhile is no error.
pub(super) fn resume(tid: i32, how: Resume, signal: i32) {
    let what = match how {
        Resume::Run => libc::PTRACE_CONT,
        Resume::ToSyscall => libc::PTRACE_SYSCALL,
        Resume::Listen => libc::PTRACE_LISTEN,
    };
    let _ = request(what, tid, 0, signal as usize);
}

/// Lets a stopped thread go for good.
pub(super) fn detach(tid: i32) {
    let _ = request(libc::PTRACE_DETACH, tid, 0, 0);
}

/// The number that belongs to an event: the new child's, or the former thread's at exec; in our pid namespace.
pub(super) fn event_message(tid: i32) -> io::Result<i32> {
    let mut message: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, &raw mut message as usize)?;
    Ok(message as i32)
}

/// Where the signal comes from that a thread is about to get.
pub(super) fn origin(tid: i32) -> io::Result<Origin> {
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETSIGINFO, tid, 0, &raw mut info as usize)?;
    // sigaction(2): codes up to 0 come from processes, and a SIGCHLD names the child.
    let named = info.si_code <= 0 || info.si_signo == libc::SIGCHLD;
    // SAFETY: for these codes the kernel fills the member that si_pid reads.
    let sender = named.then(|| unsafe { info.si_pid() }).filter(|pid| *pid > 0);
    Ok(Origin { sender })
}

/// `struct ptrace_syscall_info` of ptrace(2), Linux 5.3; the same on every architecture.
#[repr(C)]
#[derive(Default)]
struct SyscallInfo {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// entry, seccomp: number and six arguments; exit: result and whether it is an error.
    words: [u64; 8],
}

#[cfg(target_arch = "x86_64")]
pub(super) const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Where a thread that reported a call is.
pub(super) fn at(tid: i32) -> io::Result<At> {
    let mut info = SyscallInfo::default();
    request(libc::PTRACE_GET_SYSCALL_INFO, tid, size_of::<SyscallInfo>(), &raw mut info as usize)?;
    let [number, a, b, c, d, e, f, _] = info.words;
    Ok(match info.op {
        // An x32 call has bit 30 set in its number and is found in no table.
        1 | 3 if info.arch == AUDIT_ARCH => {
            At::Entry { number: number as i64, arguments: [a, b, c, d, e, f] }
        }
        2 if info.arch == AUDIT_ARCH => At::Exit { result: number as i64 },
        _ => At::Elsewhere,
    })
}

/// The next report of any thread that the calling thread traces; `None` when there is none left to wait for.
/// Children of other threads of this process are left to them (`__WNOTHREAD`).
pub(super) fn wait() -> io::Result<Option<(i32, Report)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable for the duration of the call.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if tid != -1 {
            return Ok(report(status).map(|report| (tid, report)).or(Some((tid, Report::Event(0, 0)))));
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINTR) => {}
            error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            error => return Err(error),
        }
    }
}

fn report(status: i32) -> Option<Report> {
    if libc::WIFEXITED(status) {
        return Some(Report::Exited(libc::WEXITSTATUS(status)));
    }
    if libc::WIFSIGNALED(status) {
        return Some(Report::Killed { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) });
    }
    let signal = libc::WIFSTOPPED(status).then(|| libc::WSTOPSIG(status))?;
    Some(match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Report::Syscall,
        0 => Report::Signal(signal),
        event => Report::Event(event, signal),
    })
}

/// The registers of a stopped thread that carry a call's number, arguments and result.
mod registers {
    use super::{io, request};

    const NT_PRSTATUS: usize = 1;

    fn with(tid: i32, change: impl FnOnce(&mut libc::user_regs_struct)) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid set of registers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let mut vector = libc::iovec {
            iov_base: (&raw mut registers).cast(),
            iov_len: size_of::<libc::user_regs_struct>(),
        };
        request(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, &raw mut vector as usize)?;
        change(&mut registers);
        request(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, &raw mut vector as usize).map(drop)
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn set_argument(tid: i32, index: usize, value: u64) -> io::Result<()> {
        with(tid, |of| {
            let register = match index {
                0 => &mut of.rdi,
                1 => &mut of.rsi,
                2 => &mut of.rdx,
                3 => &mut of.r10,
                4 => &mut of.r8,
                _ => &mut of.r9,
            };
            *register = value;
        })
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn skip(tid: i32) -> io::Result<()> {
        with(tid, |of| of.orig_rax = u64::MAX)
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn set_result(tid: i32, value: i64) -> io::Result<()> {
        with(tid, |of| of.rax = value as u64)
    }

    #[cfg(target_arch = "aarch64")]
    pub(crate) fn set_argument(tid: i32, index: usize, value: u64) -> io::Result<()> {
        with(tid, |of| of.regs[index] = value)
    }

    /// The number is no register there: it has a set of its own (arch/arm64/kernel/ptrace.c).
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn skip(tid: i32) -> io::Result<()> {
        const NT_ARM_SYSTEM_CALL: usize = 0x404;
        let mut number: i32 = -1;
        let mut vector = libc::iovec { iov_base: (&raw mut number).cast(), iov_len: size_of::<i32>() };
        request(libc::PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &raw mut vector as usize).map(drop)
    }

    #[cfg(target_arch = "aarch64")]
    pub(crate) fn set_result(tid: i32, value: i64) -> io::Result<()> {
        with(tid, |of| of.regs[0] = value as u64)
    }
}

/// Sets argument `index` of a call at whose entry a thread is; or gives it back at the return, since compilers
/// trust that a call leaves the registers of its arguments alone.
pub(super) use registers::set_argument;
/// Sets what a call returns, at its return.
pub(super) use registers::set_result;
/// Makes the call at whose entry a thread is do nothing.
pub(super) use registers::skip;
