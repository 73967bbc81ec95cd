//! Starting programs at the price that the kernel asks.
//!
//! The new process allocates nothing, takes no lock, and makes plain system calls with what was prepared before, on a
//! stack of its own; all signals are blocked until our handlers are gone from it.
//!
//! It shares memory with us until it is a program (`CLONE_VM | CLONE_VFORK`, as vfork(2) and posix_spawn(3) do it), and
//! this thread waits that long: nothing is copied, whatever our size. The benchmark `spawn` compares it with a minimal
//! loop that does the same. A chain-loading role of our own binary would pay for a second execve(2) and the start of a
//! Rust program on top.
//!
//! Only a process that becomes another user's is made by a plain fork. Its new owner could otherwise stop it with
//! SIGSTOP, and us with it, for as long as he likes; and a change of user would make the shared memory undumpable, which
//! is ours.

use super::confine::{Step, Steps};
use super::process;
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// A list of strings as execve(2) takes it: arguments, or an environment.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// Adds a string made of parts; none of them may have a NUL in it, and what comes after one is left out.
    pub fn push(&mut self, parts: &[&[u8]]) {
        self.starts.push(self.bytes.len());
        for part in parts {
            let end = part.iter().position(|byte| *byte == 0).unwrap_or(part.len());
            self.bytes.extend_from_slice(&part[..end]);
        }
        self.bytes.push(0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Takes away all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        if let Some(end) = self.starts.get(len) {
            self.bytes.truncate(*end);
            self.starts.truncate(len);
        }
    }

    /// Each string, without its NUL.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|start| {
            let rest = &self.bytes[*start..];
            &rest[..rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len())]
        })
    }

    fn pointers(&mut self) -> *const *const c_char {
        self.pointers.clear();
        let base: *const c_char = self.bytes.as_ptr().cast();
        self.pointers.extend(self.starts.iter().map(|start| base.wrapping_add(*start)));
        self.pointers.push(ptr::null());
        self.pointers.as_ptr()
    }
}

/// What a new process does before it becomes the program, and the program.
pub struct Orders<'a> {
    /// The file to execute.
    pub file: &'a CStr,
    /// Its arguments, with `argv[0]`.
    pub arguments: &'a mut Strings,
    /// Its environment. If the last string is `LISTEN_PID=` followed by ten blanks, the process's id is filled in.
    pub environment: &'a mut Strings,
    /// Its working directory.
    pub directory: &'a CStr,
    /// Its descriptors 0, 1, 2 and so on; all of them numbers from 3 upwards here. All others are closed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// Identity, limits, confinement.
    pub steps: &'a Steps,
}

/// Makes processes; has the stack that each uses until it is a program.
pub struct Spawner {
    stack: *mut c_void,
    /// Signals whose action here is not the default one.
    disposed: Vec<c_int>,
    descriptors: libc::rlimit,
}

/// Bytes of the stack: what is called there uses a few hundred, and setgroups(2) is verified with an array.
const STACK: usize = 64 * 1024;
/// The exit status of a process that did not become a program; shells use it for "not found".
pub const NOT_STARTED: i32 = 127;

/// Signals that the kernel knows.
const SIGNALS: c_int = 64;
/// Words of the kernel's `struct sigaction`: the handler first, then flags, on some architectures a restorer, and the
/// mask. All zeros are the default action. The C library's calls refuse the two signals that it keeps for itself,
/// which somebody may have set to be ignored before we were started.
const ACTION: usize = 4;
/// Bytes of the kernel's signal set.
const MASK_SIZE: usize = 8;

/// Everything that the new process looks at.
struct Job {
    file: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    directory: *const c_char,
    descriptors: [RawFd; 4],
    count: usize,
    listen_pid: *mut u8,
    disposed: *const c_int,
    disposed_count: usize,
    limit: libc::rlimit,
    steps: *const Steps,
    failure: *const AtomicU32,
}

impl Spawner {
    /// Looks at the signals of this process; call it when all handlers are in place.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> io::Result<Spawner> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let flags = MapFlags::PRIVATE | MapFlags::STACK;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice overlaps nothing.
        let stack =
            unsafe { mmap_anonymous(ptr::null_mut(), STACK, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        // SAFETY: one past the end of the mapping made above; stacks grow downwards from there.
        let stack = unsafe { stack.byte_add(STACK) };
        let disposed = (1..=SIGNALS).filter(|signal| {
            let mut action = [0; ACTION];
            // SAFETY: only stores the action in force, which is not longer than `action`; see there.
            let known = unsafe {
                let none = ptr::null::<u64>();
                libc::syscall(libc::SYS_rt_sigaction, *signal, none, action.as_mut_ptr(), MASK_SIZE)
            };
            known == 0 && action[0] != libc::SIG_DFL as u64
        });
        let before = process::descriptor_limit_before();
        let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
        let descriptors = libc::rlimit { rlim_cur: number(before.current), rlim_max: number(before.maximum) };
        Ok(Spawner { stack, disposed: disposed.collect(), descriptors })
    }

    /// Makes a process that becomes the program; it may not be one yet when this returns. The kernel stores its id in
    /// `pid` before it runs; if it cannot become the program it stores why in `failure` ([`failure`]) and ends with
    /// [`NOT_STARTED`].
    ///
    /// # Errors
    /// `EAGAIN` at the limit of processes, `ENOMEM`; `EBADF` for a descriptor below 3.
    pub fn spawn(
        &mut self,
        orders: &mut Orders<'_>,
        pid: &AtomicI32,
        failure: &AtomicU32,
    ) -> Result<Pid, Errno> {
        let mut descriptors = [0; 4];
        for (to, from) in descriptors.iter_mut().zip(orders.descriptors) {
            *to = from.as_raw_fd();
        }
        if orders.descriptors.len() > 4 || orders.descriptors.iter().any(|fd| fd.as_raw_fd() < 3) {
            return Err(Errno::BADF);
        }
        let arguments = orders.arguments.pointers();
        let environment = orders.environment.pointers();
        let mut job = Job {
            file: orders.file.as_ptr(),
            arguments,
            environment,
            directory: orders.directory.as_ptr(),
            descriptors,
            count: orders.descriptors.len(),
            listen_pid: orders.environment.blanks(),
            disposed: self.disposed.as_ptr(),
            disposed_count: self.disposed.len(),
            limit: self.descriptors,
            steps: orders.steps,
            failure,
        };
        let shared = libc::CLONE_VM | libc::CLONE_VFORK;
        let shared = if orders.steps.changes_identity() { 0 } else { shared };
        let flags = libc::CLONE_PARENT_SETTID | libc::SIGCHLD | shared;
        // SAFETY: all-zero bytes are a valid signal set, filled by the next call.
        let (mut all, mut before) = unsafe { std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>() };
        // SAFETY: both sets are valid; the mask is put back below, in this thread.
        unsafe {
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        }
        // SAFETY: the child runs `become_program` on a stack that nobody else uses: without CLONE_VM it has a copy, with
        // CLONE_VFORK this thread waits until it is a program or has ended. `job` and all that it points at live until
        // this function returns, which is after that. The kernel stores an int at `pid`, which is an atomic int in
        // memory that outlives the call.
        let made =
            unsafe { libc::clone(become_program, self.stack, flags, (&raw mut job).cast(), pid.as_ptr()) };
        let made = if made > 0 { Ok(made) } else { Err(last()) };
        // SAFETY: the mask that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
        made.map(|pid| Pid::from_raw(pid).expect("it is positive"))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`; no process uses it any more, since `spawn` has returned.
        let _ = unsafe { rustix::mm::munmap(self.stack.byte_sub(STACK), STACK) };
    }
}

impl Strings {
    /// Where the process's id belongs: the ten blanks of `LISTEN_PID=`; null if there are none.
    fn blanks(&mut self) -> *mut u8 {
        const LISTEN_PID: &[u8] = b"LISTEN_PID=          \0";
        let Some(start) = self.starts.last() else { return ptr::null_mut() };
        if &self.bytes[*start..] != LISTEN_PID {
            return ptr::null_mut();
        }
        let at = *start + LISTEN_PID.len() - 11;
        self.bytes[at..].as_mut_ptr()
    }
}

/// What `failure` holds, in parts: the step that failed, and why. `None`: nothing did.
pub fn failure(failure: &AtomicU32) -> Option<(Step, Errno)> {
    let value = failure.load(Ordering::SeqCst);
    let step = Step::from_number(value >> 16)?;
    Some((step, Errno::from_raw_os_error((value & 0xffff) as i32)))
}

/// In the new process. Nothing here allocates, locks, panics or returns to Rust code of the old process.
extern "C" fn become_program(job: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a `Job` that outlives this process's use of it.
    let job = unsafe { &*job.cast::<Job>() };
    let (step, errno) = try_become(job);
    // SAFETY: in memory that is shared by all processes, and stays mapped.
    let failure = unsafe { &*job.failure };
    failure.store((step as u32) << 16 | (errno.raw_os_error() as u32 & 0xffff), Ordering::SeqCst);
    process::exit_now(NOT_STARTED)
}

fn last() -> Errno {
    // SAFETY: __errno_location points at this thread's errno; the thread that shares it sleeps meanwhile.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

fn try_become(job: &Job) -> (Step, Errno) {
    // SAFETY: system calls with what `spawn` prepared, whose pointers live as long as `job`; those of the C library
    // that are used are plain system calls.
    unsafe {
        // Handlers must be gone before signals are let in: they would run on the other process's memory. Ignored
        // signals would stay ignored in the program.
        let default = [0_u64; ACTION];
        for n in 0..job.disposed_count {
            let (signal, none) = (*job.disposed.add(n), ptr::null_mut::<u64>());
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, MASK_SIZE);
        }
        if libc::setsid() == -1 {
            return (Step::Session, last());
        }
        for (to, from) in job.descriptors.iter().enumerate().take(job.count) {
            // A descriptor that is where it belongs already would stay close-on-exec: the fourth, which is the same
            // as the first.
            let from = if to == 3 { 0 } else { *from };
            if libc::dup2(from, to as c_int) == -1 {
                return (Step::Descriptors, last());
            }
        }
        // All of ours are close-on-exec already; whatever else was inherited is now. A kernel before 5.11 has no such
        // flag, and for it the worker has gone through its descriptors when it started.
        libc::syscall(libc::SYS_close_range, job.count as libc::c_uint, libc::c_uint::MAX, CLOEXEC);
        if libc::setrlimit(libc::RLIMIT_NOFILE, &job.limit) == -1 {
            return (Step::Limits, last());
        }
        if let Err(failed) = (*job.steps).take(Some(CStr::from_ptr(job.directory))) {
            return failed;
        }
        if !job.listen_pid.is_null() {
            write_number(job.listen_pid, libc::getpid().unsigned_abs());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        libc::execve(job.file, job.arguments, job.environment);
        (Step::Execute, last())
    }
}

/// `CLOSE_RANGE_CLOEXEC`.
const CLOEXEC: libc::c_uint = 1 << 2;

/// Writes a decimal number and a NUL at `at`, where there is room for ten digits and the NUL.
///
/// # Safety
/// Eleven bytes at `at` are writable.
unsafe fn write_number(at: *mut u8, mut number: u32) {
    let mut digits = [0; 10];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        (number, count) = (number / 10, count + 1);
        if number == 0 || count == digits.len() {
            break;
        }
    }
    for n in 0..count {
        // SAFETY: `count` is at most 10, see above.
        unsafe { at.add(n).write(digits[count - 1 - n]) };
    }
    // SAFETY: the eleventh byte at most.
    unsafe { at.add(count).write(0) };
}

/// Marks every descriptor from 3 upwards as close-on-exec, whatever `RLIMIT_NOFILE` is.
pub fn close_others_on_exec() {
    // SAFETY: only marks descriptors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOEXEC) };
    if done == 0 {
        return;
    }
    // A kernel before 5.11: one by one, those that are open.
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    for fd in open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<c_int>().ok()) {
        if fd >= 3 {
            // SAFETY: sets a flag of a descriptor, or fails.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}
