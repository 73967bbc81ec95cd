//! Processes: fork, wait, and the ties between parent and child.

use rustix::io::Errno;
use rustix::process::{self, Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getrlimit, setrlimit};
use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::time::Duration;

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
        0 => {
            KNOWN_ID.set(0);
            Ok(Fork::Child)
        }
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

thread_local! {
    /// What [`known_id`] found; 0 where nobody has asked yet. Beside what the kernel writes for each new process, so that
    /// no page is copied for it.
    static KNOWN_ID: Cell<u32> = const { Cell::new(0) };
}

/// This process's id, without a system call each time. For processes that [`fork`] or a program's start has made.
pub fn known_id() -> u32 {
    match KNOWN_ID.get() {
        0 => {
            let id = id().as_raw_pid().unsigned_abs();
            KNOWN_ID.set(id);
            id
        }
        id => id,
    }
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

/// Lets the orphans among this process's descendants become its children, so that it can collect them
/// (`PR_SET_CHILD_SUBREAPER`).
pub fn adopt_orphans() {
    let _ = process::set_child_subreaper(Some(process::getpid()));
}

/// What [`reap_or_idle`] found.
#[derive(Debug)]
pub enum Reaped {
    /// A child that has ended.
    One(Pid, WaitStatus),
    /// Children, and none of them has ended.
    Nobody,
    /// No children at all.
    NoChildren,
}

/// Collects one child that has ended, without waiting, or says whether there is any.
pub fn reap_or_idle() -> Reaped {
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Reaped::One(pid, status),
            Ok(None) => return Reaped::Nobody,
            Err(Errno::INTR) => {}
            Err(_) => return Reaped::NoChildren,
        }
    }
}

/// Sends `signal` to a process; that it has ended is no error.
pub fn send(pid: Pid, signal: super::signal::Signal) {
    if let Some(signal) = Signal::from_named_raw(signal as i32) {
        let _ = process::kill_process(pid, signal);
    }
}

/// In a forked child that leaves everything of its parent's alone from here on: closes every descriptor above 2 but
/// these (close_range(2)). Values that own the others must never be dropped here.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) {
    use std::os::fd::AsRawFd;
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    keep.sort_unstable();
    let mut from = 3;
    for kept in keep.into_iter().chain([u32::MAX]) {
        if from < kept {
            // SAFETY: the caller promises that nothing in this process uses these descriptors any more.
            unsafe { libc::syscall(libc::SYS_close_range, from, kept - 1, 0) };
        }
        from = from.max(kept.saturating_add(1));
    }
}

/// In a forked child: closes its copy of a descriptor whose owner is left alone, as one of its parent's, from here on and
/// must never be dropped here.
pub fn close_copy(fd: BorrowedFd<'_>) {
    use std::os::fd::AsRawFd;
    // SAFETY: the caller promises that nothing in this process uses the descriptor any more.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Waits until process `pid`, which need not be a child, has ended (pidfd_open(2)); no longer than `patience`.
///
/// # Errors
/// `EMFILE`, `ENFILE`. A process that is not there has ended.
pub fn wait_for_end(pid: u32, patience: Option<Duration>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = match process::pidfd_open(pid, process::PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    super::socket::retry(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], patience.as_ref()))?;
    Ok(())
}

/// Kills `pid`, which must be a child that was not reaped yet (its id cannot have been given to another).
pub fn kill(pid: Pid) {
    let _ = process::kill_process(pid, Signal::KILL);
}

/// `RLIMIT_NOFILE` as it was before [`raise_descriptor_limit`]; forked children inherit it with our memory.
static DESCRIPTORS_BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// The limit of descriptors that this program was started with: programs started from here get it back.
pub fn descriptor_limit_before() -> Rlimit {
    *DESCRIPTORS_BEFORE.get_or_init(|| getrlimit(Resource::Nofile))
}

/// How many descriptors this process may have open, after raising the soft limit to the hard one.
pub fn raise_descriptor_limit() -> usize {
    let limit = descriptor_limit_before();
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

/// What proc_pid_stat(5) says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its id.
    pub pid: Pid,
    /// `R`, `S`, `D`, `Z`, …
    pub state: char,
    /// Who started it, or adopted it since.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its own processor time in user mode, in hundredths of seconds; [`cpu_time`] is finer.
    pub user: Duration,
    /// The same in system mode.
    pub system: Duration,
    /// The same of children that have ended and been waited for.
    pub reaped_user: Duration,
    /// And in system mode.
    pub reaped_system: Duration,
    /// When it was started, `CLOCK_BOOTTIME`, ns; rounded down to a clock tick.
    pub started_ns: u64,
    /// Its pages in memory.
    pub resident_pages: u64,
}

impl Stat {
    /// Processor time of children that have ended and been waited for, in hundredths of seconds.
    pub fn reaped(&self) -> Duration {
        self.reaped_user + self.reaped_system
    }

    /// Reads the line of a process.
    fn parse(pid: Pid, line: &[u8]) -> Option<Stat> {
        // USER_HZ is part of the kernel's interface to programs: 100 on every architecture of this crate.
        const TICK: Duration = Duration::from_millis(10);
        // The second field is the program's name in parentheses, which may hold anything, text or not.
        let end = line.iter().rposition(|byte| *byte == b')')?;
        let fields: Vec<&str> =
            std::str::from_utf8(&line[end + 1..]).ok()?.split_ascii_whitespace().collect();
        // By the numbers of the manual page; the state is the third.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let time = |field: usize| TICK.checked_mul(u32::try_from(number(field)?).ok()?);
        Some(Stat {
            pid,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            user: time(14)?,
            system: time(15)?,
            reaped_user: time(16)?,
            reaped_system: time(17)?,
            started_ns: number(22)? * TICK.as_nanos() as u64,
            resident_pages: number(24)?,
        })
    }
}

/// Looks a process up.
pub fn stat(pid: Pid) -> Option<Stat> {
    Stat::parse(pid, &std::fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
}

/// This process's children, and orphans among its descendants if it is their subreaper.
pub fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        let pids: Vec<i32> = list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        pids
    });
    pids.filter_map(Pid::from_raw).collect()
}

/// The hard limit of a resource, by its number in setrlimit(2); none if there is no such resource.
pub fn hard_limit(resource: u32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: stores a structure; a number that the kernel does not know fails.
    (unsafe { libc::getrlimit(resource as _, &mut limit) } == 0).then_some(limit.rlim_max)
}

/// A child that has ended and is not reaped yet.
pub fn ended_child() -> Option<Pid> {
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: stores into `info`, which says 0 as the process id if there is none.
    let done = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) };
    // SAFETY: a structure that waitid filled in, or zeros.
    if done == -1 { None } else { Pid::from_raw(unsafe { info.si_pid() }) }
}

/// Reaps this child, which has ended.
pub fn reap_one(pid: Pid) -> Option<WaitStatus> {
    match process::waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Some(status),
        _ => None,
    }
}

/// Before many children are made: free memory is put together, and what is left of it given back. A child whose
/// allocator does so first writes to pages all over the heap, and each is copied for it.
pub fn tidy_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only memory that nobody holds.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Processor time that a process has used so far, all its threads, living and ended, user and system; none for one
/// that is gone.
pub fn cpu_time(pid: Pid) -> Duration {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write only to the variables they are given.
    let read = unsafe {
        libc::clock_getcpuclockid(pid.as_raw_pid(), &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    if read { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) } else { Duration::ZERO }
}

/// Every process that /proc shows.
pub fn all() -> impl Iterator<Item = Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| stat(Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let pid = Pid::from_raw(7).expect("positive");
        let line = b"7 (a) (b \xff) S 3 6 7 0 -1 4194304 1 2 3 4 50 60 1 2 20 0 1 0 99 1000 12 5";
        let stat = Stat::parse(pid, line).expect("right");
        assert_eq!((stat.state, stat.parent, stat.group, stat.resident_pages), ('S', 3, 6, 12));
        assert_eq!((stat.user, stat.system), (Duration::from_millis(500), Duration::from_millis(600)));
        assert_eq!((stat.reaped(), stat.started_ns), (Duration::from_millis(30), 990_000_000));
        assert!(Stat::parse(pid, b"nonsense").is_none() && Stat::parse(pid, b"7 (a) S 3").is_none());
    }
}
