//! Processes: fork, wait, and the ties between parent and child.

use rustix::io::Errno;
use rustix::process::{self, Pid, Signal, WaitOptions, WaitStatus};
use std::io;

/// Which side of a [`fork`] this is.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, and the new one's id.
    Parent(Pid),
}

/// fork(2), for processes with one thread.
///
/// # Errors
/// `EAGAIN` at the limit of processes, `ENOMEM`; and an error of kind [`io::ErrorKind::Unsupported`] when the
/// process has more than one thread: the child would inherit the locks that the others hold.
pub fn fork() -> io::Result<Fork> {
    if !is_single_threaded()? {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "fork needs a process with a single thread: run this engine in a process of its own",
        ));
    }
    // SAFETY: the process has one thread, so no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(pid).expect("fork returns a positive process id"))),
    }
}

/// The end of a forked child: no destructors or exit handlers of the parent's run (`_exit(2)`).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Lets this process be killed when its parent dies (`PR_SET_PDEATHSIG`), and ends at once if `parent` is
/// already gone.
pub fn die_with(parent: Pid) {
    let _ = process::set_parent_process_death_signal(Some(Signal::KILL));
    if process::getppid() != Some(parent) {
        exit_now(0);
    }
}

/// This process's id.
pub fn id() -> Pid {
    process::getpid()
}

/// Collects one child that has ended, without waiting.
pub fn reap() -> Option<(Pid, WaitStatus)> {
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(ended) => return ended,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Kills `pid`, which must be a child that was not reaped yet (its id cannot have been given to another).
pub fn kill(pid: Pid) {
    let _ = process::kill_process(pid, Signal::KILL);
}

/// How many descriptors this process may have open, after raising the soft limit to the hard one.
pub fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Whether this process has one thread only. The C library knows for free as long as there never was a second one;
/// after that, or if it does not say, the kernel is asked.
fn is_single_threaded() -> io::Result<bool> {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            static __libc_single_threaded: std::ffi::c_char;
        }
        // SAFETY: a variable of glibc since 2.32 that any thread may read; were there another thread that is just
        // being started, it would be this one that starts it.
        if unsafe { std::ptr::read_volatile(&raw const __libc_single_threaded) } != 0 {
            return Ok(true);
        }
    }
    Ok(std::fs::read_dir("/proc/self/task")?.count() == 1)
}
