//! From a client's arrival to his record in the log, for the blocking engines: in a thread among others, or alone
//! in a process. The difference is how the conversation can be cut from outside.

use super::Site;
use super::blocking::{Lent, converse};
use super::conversation::Conversation;
use super::porch::Arrival;
use crate::stop::Stop;
use crate::sys::watchlist::WatchList;
use crate::sys::{clock, signal, socket};
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use switchboard_proto::Instant;

/// The conversations that threads of this process are having.
#[derive(Default)]
pub(super) struct Inside {
    cut: AtomicBool,
    sockets: Mutex<HashMap<RawFd, Arc<OwnedFd>>>,
}

impl Inside {
    /// Serves one client to the end.
    pub(super) fn attend(&self, site: &Site<'_>, arrival: Arrival, lent: &mut Lent) {
        let (fd, mut conversation) = Conversation::open(site, arrival, clock::now());
        let fd = Arc::new(fd);
        let number = fd.as_raw_fd();
        self.lock().insert(number, Arc::clone(&fd));
        converse(fd.as_fd(), &mut conversation, lent, &self.cut);
        self.lock().remove(&number);
        conversation.close(site, fd, clock::now());
        // This thread may sleep next where nobody flushes for it.
        site.journal.flush();
    }

    /// Whether everything was cut: nobody is to be let in any more.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Cuts every conversation: whoever waits in recv(2) or poll(2) wakes and sees why.
    pub(super) fn cut(&self) {
        let sockets = self.lock();
        self.cut.store(true, Ordering::SeqCst);
        sockets.values().for_each(socket::shutdown_both);
    }

    /// For a thread of its own beside threads that do not look at the request to stop while they serve: waits
    /// for that request, gives them the time that draining may take, and cuts what is left. Ends when `ended`.
    pub(super) fn cut_when_late(&self, site: &Site<'_>, ended: &Stop) {
        let mut list = WatchList::default();
        list.push(ended.as_fd(), true, false);
        list.push(site.stop.as_fd(), true, false);
        if socket::retry(|| list.wait(None)).is_ok() && !ended.is_set() {
            list.swap_remove(1);
            let cut_at = site.stop.cut_at(clock::now(), site.limits.drain_timeout);
            // However often it is interrupted, the wait ends at the same time.
            let left = || (cut_at != Instant::NEVER).then(|| cut_at.since(clock::now()));
            let _ = socket::retry(|| list.wait(left()));
            self.cut();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RawFd, Arc<OwnedFd>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one client to the end, in a process that has no other. `cut` is what [`signal::cut_on_request`] gave.
pub(super) fn attend_alone(site: &Site<'_>, arrival: Arrival, lent: &mut Lent, cut: &AtomicBool) {
    let (fd, mut conversation) = Conversation::open(site, arrival, clock::now());
    signal::set_current(Some(fd.as_fd()));
    converse(fd.as_fd(), &mut conversation, lent, cut);
    if site.journal.looks_names_up() {
        // The question for a name may get this number for its socket. Otherwise the number stays: it is the next
        // client's, and nobody's in a process that ends, for which a page would be copied.
        signal::set_current(None);
    }
    conversation.close(site, fd, clock::now());
}
