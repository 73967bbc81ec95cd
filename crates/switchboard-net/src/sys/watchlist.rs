//! poll(2) over a list that outlives each call.
//!
//! The list holds bare descriptor numbers: whoever closes a descriptor takes it off the list first. A number that
//! is no descriptor any more would be reported as broken, not touched.

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::time::Duration;

/// Descriptors and what each is watched for.
#[derive(Default)]
pub struct WatchList {
    entries: Vec<libc::pollfd>,
    ready: usize,
}

/// What poll(2) said of one entry.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Data or the end of input can be read.
    pub readable: bool,
    /// There is room for output.
    pub writable: bool,
    /// Error, hang-up of both halves, or no descriptor.
    pub broken: bool,
}

fn events(read: bool, write: bool) -> i16 {
    (if read { libc::POLLIN } else { 0 }) | (if write { libc::POLLOUT } else { 0 })
}

impl WatchList {
    /// Removes every entry.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ready = 0;
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, fd: BorrowedFd<'_>, read: bool, write: bool) {
        self.entries.push(libc::pollfd { fd: fd.as_raw_fd(), events: events(read, write), revents: 0 });
    }

    /// Changes what the entry at `place` is watched for.
    pub fn set(&mut self, place: usize, read: bool, write: bool) {
        self.entries[place].events = events(read, write);
    }

    /// The entries in their order: the descriptor, and whether it is watched for reading and for writing.
    pub fn entries(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool, bool)> {
        self.entries.iter().map(|entry| {
            let has = |flag| entry.events & flag != 0;
            // SAFETY: a descriptor is open while it is on the list: whoever closes it takes it off first (see the module).
            (unsafe { BorrowedFd::borrow_raw(entry.fd) }, has(libc::POLLIN), has(libc::POLLOUT))
        })
    }

    /// Removes the entry at `place`; the last one takes its place.
    pub fn swap_remove(&mut self, place: usize) {
        self.entries.swap_remove(place);
    }

    /// Waits until an entry is ready or `timeout` has passed; `None`: for ever.
    ///
    /// # Errors
    /// `EINTR` and the others of poll(2).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        });
        let at = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        self.ready = 0;
        // SAFETY: pointer and length describe `entries`; the time-out is null or valid; no signal mask is given.
        let n = unsafe {
            libc::ppoll(self.entries.as_mut_ptr(), self.entries.len() as libc::nfds_t, at, std::ptr::null())
        };
        self.ready = usize::try_from(n)
            .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))?;
        Ok(())
    }

    /// The entries that the last [`wait`](WatchList::wait) found ready.
    pub fn ready(&self) -> impl Iterator<Item = (usize, Ready)> + '_ {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.revents != 0).take(self.ready).map(
            |(place, entry)| {
                let has = |flag| entry.revents & flag != 0;
                let ready = Ready {
                    readable: has(libc::POLLIN),
                    writable: has(libc::POLLOUT),
                    broken: has(libc::POLLERR | libc::POLLHUP | libc::POLLNVAL),
                };
                (place, ready)
            },
        )
    }
}
