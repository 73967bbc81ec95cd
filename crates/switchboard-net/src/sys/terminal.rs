//! A terminal that gives every key at once and shows none by itself ([`Raw`]), and gets its old mode back whatever
//! happens but SIGKILL.
//!
//! Signals still come from the keyboard: Ctrl-C ends the program as it does without [`Raw`], and Ctrl-Z stops it; what the
//! shell finds then is its own mode.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Signals whose default action ends or stops a program, and that users send.
const SIGNALS: [i32; 5] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP];

/// The modes of the one terminal; written before the descriptor is, and not again before that was taken back.
struct Modes(UnsafeCell<MaybeUninit<[libc::termios; 2]>>);

// SAFETY: written only while DESCRIPTOR is -1, and read only while it is not.
unsafe impl Sync for Modes {}

/// Ours, and the one before.
static MODES: Modes = Modes(UnsafeCell::new(MaybeUninit::uninit()));
/// The terminal that is in our mode; -1: none.
static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
static RESUMED: AtomicBool = AtomicBool::new(false);

/// A terminal in raw mode, until it is dropped. There is one at a time.
#[derive(Debug)]
pub struct Raw {
    descriptor: i32,
}

impl Raw {
    /// Has the terminal give every key at once, and show none. Its output is made as before.
    ///
    /// # Errors
    /// `ENOTTY` if it is no terminal, `EBUSY` if one is in this mode already.
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<Raw> {
        let descriptor = terminal.as_raw_fd();
        if DESCRIPTOR.load(Ordering::SeqCst) != -1 {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the place is ours and large enough.
        if unsafe { libc::tcgetattr(descriptor, before.as_mut_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr has filled it.
        let before = unsafe { before.assume_init() };
        let mut ours = before;
        ours.c_lflag &= !(libc::ICANON | libc::ECHO | libc::IEXTEN);
        ours.c_cc[libc::VMIN] = 1;
        ours.c_cc[libc::VTIME] = 0;
        // SAFETY: nobody reads the modes before the descriptor is set, and threads do not race for a terminal: the
        // program has one conversation.
        unsafe { (*MODES.0.get()).write([ours, before]) };
        DESCRIPTOR.store(descriptor, Ordering::SeqCst);
        let raw = Raw { descriptor };
        for signal in SIGNALS {
            super::signal::install(signal, leave as *const () as libc::sighandler_t, libc::SA_NODEFER)?;
        }
        // SAFETY: the modes were written above; without effect on anything but the terminal.
        if unsafe { libc::tcsetattr(descriptor, libc::TCSADRAIN, mode(0)) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(raw)
    }

    /// Columns of the terminal, at least 2; 80 if it does not say.
    pub fn columns(&self) -> usize {
        // SAFETY: the descriptor was one when it was borrowed; one that was closed since makes the call fail.
        let terminal = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
        columns(terminal)
    }
}

/// Columns of a terminal, at least 2; 80 if it does not say.
pub fn columns(terminal: impl AsFd) -> usize {
    rustix::termios::tcgetwinsize(terminal)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns >= 2)
        .unwrap_or(80)
}

/// Whether the program was stopped and goes on since this was asked last: the screen may hold anything.
pub fn resumed() -> bool {
    RESUMED.swap(false, Ordering::SeqCst)
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the modes were written by `enter`.
        unsafe { libc::tcsetattr(self.descriptor, libc::TCSADRAIN, mode(1)) };
        DESCRIPTOR.store(-1, Ordering::SeqCst);
        for signal in SIGNALS {
            let _ = super::signal::default_action(signal);
        }
    }
}

/// Our mode (0), or the one before (1); only while a descriptor is set.
fn mode(which: usize) -> *const libc::termios {
    MODES.0.get().cast::<libc::termios>().cast_const().wrapping_add(which)
}

/// Gives the terminal its mode back and lets the signal do what it does without a handler; after a stop, goes on.
extern "C" fn leave(signal: libc::c_int) {
    let descriptor = DESCRIPTOR.load(Ordering::SeqCst);
    // SAFETY: all of these are async-signal-safe (signal-safety(7)); the modes are there while a descriptor is; errno is
    // put back for whoever was interrupted. SA_NODEFER: raise acts at once.
    unsafe {
        let errno = *libc::__errno_location();
        if descriptor != -1 {
            libc::tcsetattr(descriptor, libc::TCSANOW, mode(1));
            libc::write(descriptor, b"\n".as_ptr().cast(), 1);
        }
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        // Only a stop comes back.
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = leave as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_NODEFER;
        libc::sigaction(signal, &action, std::ptr::null_mut());
        if descriptor != -1 {
            libc::tcsetattr(descriptor, libc::TCSANOW, mode(0));
        }
        *libc::__errno_location() = errno;
    }
    RESUMED.store(true, Ordering::SeqCst);
}
