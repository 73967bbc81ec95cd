//! Signals as a readable descriptor.
//!
//! signalfd(2) needs the signals blocked in every thread, and programs started from here would inherit that. A handler
//! that writes into an eventfd has no such effect, and a forked child installs its own. Where there is one thread and no
//! program, and children end by the thousand, [`Ended`] is cheaper: nothing is interrupted.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// Signals that can be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Signal {
    /// Terminal interrupt (Ctrl-C).
    Interrupt = libc::SIGINT,
    /// Request to end.
    Terminate = libc::SIGTERM,
    /// A child ended.
    Child = libc::SIGCHLD,
    /// The terminal hung up; to daemons: read the configuration again.
    Hangup = libc::SIGHUP,
    /// For the program to define; here: open the log files again.
    User1 = libc::SIGUSR1,
    /// For the program to define; here: upgrade.
    User2 = libc::SIGUSR2,
}

const ALL: [Signal; 6] =
    [Signal::Interrupt, Signal::Terminate, Signal::Child, Signal::Hangup, Signal::User1, Signal::User2];

static EVENT: AtomicI32 = AtomicI32::new(-1);
/// One bit per signal number that came since the last look.
static CAME: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(signal: libc::c_int) {
    // Only async-signal-safe work: two atomics and write(2), errno kept.
    // SAFETY: __errno_location points at this thread's errno.
    let errno = unsafe { *libc::__errno_location() };
    CAME.fetch_or(1 << (signal as u32 & 63), Ordering::SeqCst);
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight bytes of `one` are readable; a closed or foreign descriptor cannot be here, since `Signals`
    // clears EVENT before it closes its eventfd.
    unsafe { libc::write(EVENT.load(Ordering::SeqCst), one.as_ptr().cast(), one.len()) };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// A set of watched signals. One set per process: a second one replaces the first.
pub struct Signals {
    event: OwnedFd,
}

impl Signals {
    /// Catches `signals` from now on. System calls in progress are restarted (`SA_RESTART`) where signal(7) says
    /// that they can be.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM` from eventfd(2).
    pub fn watch(signals: &[Signal]) -> io::Result<Signals> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        CAME.store(0, Ordering::SeqCst);
        EVENT.store(event.as_raw_fd(), Ordering::SeqCst);
        for signal in signals {
            dispose(*signal as i32, handler as *const () as libc::sighandler_t)?;
        }
        Ok(Signals { event })
    }

    /// In a forked child: the handlers of this set write to nobody any more.
    pub fn close_in_child(&self) {
        EVENT.store(-1, Ordering::SeqCst);
    }

    /// The signals that came since the last call, each once.
    pub fn take(&self) -> impl Iterator<Item = Signal> + use<> {
        let mut count = [0; 8];
        while rustix::io::read(&self.event, &mut count) == Err(Errno::INTR) {}
        let came = CAME.swap(0, Ordering::SeqCst);
        ALL.into_iter().filter(move |signal| came & (1 << (*signal as u32)) != 0)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = EVENT.compare_exchange(self.event.as_raw_fd(), -1, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Becomes readable when a child has ended (signalfd(2)). For a process with one thread, which holds SIGCHLD back until
/// this is dropped; children that are forked meanwhile hold it back too.
pub struct Ended {
    fd: OwnedFd,
}

impl Ended {
    /// From now on.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM` from signalfd(2).
    pub fn watch() -> io::Result<Ended> {
        let set = only(libc::SIGCHLD)?;
        block(libc::SIGCHLD, true)?;
        // SAFETY: a set for reading; a fresh descriptor is asked for.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd == -1 {
            let error = io::Error::last_os_error();
            block(libc::SIGCHLD, false)?;
            return Err(error);
        }
        // SAFETY: signalfd(2) has just made it, and nobody else knows it.
        Ok(Ended { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Forgets that children have ended. Call it before they are collected: one that ends later is told of anew.
    pub fn take(&self) {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.fd, &mut info) == Err(Errno::INTR) {}
    }
}

impl AsFd for Ended {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = block(libc::SIGCHLD, false);
    }
}

/// Ignores `signal` in this process.
///
/// # Errors
/// None that a valid signal can cause.
pub fn ignore(signal: Signal) -> io::Result<()> {
    dispose(signal as i32, libc::SIG_IGN)
}

/// Gives `signal` its default action back.
///
/// # Errors
/// None that a valid signal can cause.
pub fn reset(signal: Signal) -> io::Result<()> {
    dispose(signal as i32, libc::SIG_DFL)
}

extern "C" fn nothing(_signal: libc::c_int) {}

/// Handles signal `number` with a handler that does nothing, so that it interrupts the call it finds (`EINTR`) or,
/// with `restart` (`SA_RESTART`), has it started again where signal(7) says so.
///
/// # Errors
/// `EINVAL` for a number that is no signal, or SIGKILL, or SIGSTOP.
pub fn interrupt(number: i32, restart: bool) -> io::Result<()> {
    install(number, nothing as *const () as libc::sighandler_t, if restart { libc::SA_RESTART } else { 0 })
}

/// Ignores signal `number`, of any kind.
///
/// # Errors
/// As [`interrupt`].
pub fn ignore_number(number: i32) -> io::Result<()> {
    dispose(number, libc::SIG_IGN)
}

/// Holds signal `number` back in this thread, or lets it come.
///
/// # Errors
/// As [`interrupt`].
pub fn block(number: i32, held: bool) -> io::Result<()> {
    let set = only(number)?;
    let how = if held { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: a set for reading, and no place for the old one.
    if unsafe { libc::sigprocmask(how, &set, std::ptr::null_mut()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The set of this signal alone.
fn only(number: i32) -> io::Result<libc::sigset_t> {
    // SAFETY: all-zero bytes are a valid sigset; it is made empty all the same.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours and initialised.
    if unsafe { libc::sigemptyset(&mut set) | libc::sigaddset(&mut set, number) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(set)
}

/// Gives signal `number`, of any kind, its default action.
///
/// # Errors
/// As [`interrupt`].
pub fn default_action(number: i32) -> io::Result<()> {
    dispose(number, libc::SIG_DFL)
}

fn dispose(signal: i32, action: libc::sighandler_t) -> io::Result<()> {
    install(signal, action, libc::SA_RESTART)
}

pub(super) fn install(signal: i32, action: libc::sighandler_t, flags: i32) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sigaction: empty mask, no flags.
    let mut act: libc::sigaction = unsafe { std::mem::zeroed() };
    act.sa_sigaction = action;
    act.sa_flags = flags;
    // SAFETY: `act` is initialised, and the action is a default, ignore, or an async-signal-safe handler.
    if unsafe { libc::sigaction(signal, &act, std::ptr::null_mut()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

static ON_URGENT: OnceLock<fn()> = OnceLock::new();

extern "C" fn urgent(_signal: libc::c_int) {
    // SAFETY: __errno_location points at this thread's errno.
    let errno = unsafe { *libc::__errno_location() };
    if let Some(answer) = ON_URGENT.get() {
        answer();
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Calls `answer` whenever SIGURG comes, in whichever thread it interrupts; it may do only what signal-safety(7) allows.
/// The first `answer` of a process stays. Nobody else uses this signal here, and by default it is ignored.
///
/// # Errors
/// None that a valid signal can cause.
pub(crate) fn on_urgent(answer: fn()) -> io::Result<()> {
    let _ = ON_URGENT.set(answer);
    dispose(libc::SIGURG, urgent as *const () as libc::sighandler_t)
}

static CUT: AtomicBool = AtomicBool::new(false);
static CURRENT: AtomicI32 = AtomicI32::new(-1);

extern "C" fn cut(_signal: libc::c_int) {
    CUT.store(true, Ordering::SeqCst);
    let fd = CURRENT.load(Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: shutdown(2) is async-signal-safe; the descriptor is open while it is current. It may fail, and
        // the errno it leaves behind is seen by nobody: the interrupted call is made again and fails or ends.
        unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
    }
}

/// For a process that talks to one client at a time: the signal that [`ask_to_cut`] sends shuts the current
/// connection down, so that whatever waits on it wakes. Returns the flag that says so.
///
/// # Errors
/// None that a valid signal can cause.
pub fn cut_on_request() -> io::Result<&'static AtomicBool> {
    dispose(libc::SIGUSR1, cut as *const () as libc::sighandler_t)?;
    Ok(&CUT)
}

/// Names the connection that a cut shuts down; `None` if there is none. Named before a fork, it is the child's too, and
/// nothing is written in either if the number is the same again.
pub fn set_current(fd: Option<BorrowedFd<'_>>) {
    let number = fd.map_or(-1, |fd| fd.as_raw_fd());
    if CURRENT.load(Ordering::SeqCst) != number {
        CURRENT.store(number, Ordering::SeqCst);
    }
}

/// Asks a child that has called [`cut_on_request`] to end its conversation now.
pub fn ask_to_cut(child: rustix::process::Pid) {
    let _ = rustix::process::kill_process(child, rustix::process::Signal::USR1);
}
