//! A signal that asks the benchmark to leave: noted, and looked at between messages, so that the servers and
//! all their descendants are taken down the usual way. Those killed without being asked leave their servers
//! to the kernel, which asks each to leave when its parent dies.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// Notes interrupt, termination and hang-up instead of dying of them.
pub(crate) fn watch() {
    let handler = note as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// An error once the benchmark was asked to leave.
pub(crate) fn check() -> io::Result<()> {
    if ASKED.load(Ordering::Relaxed) { Err(io::Error::other("interrupted")) } else { Ok(()) }
}
