//! The driver behind the engines that give each conversation a process or thread of its own. Sockets are blocking
//! ones: a conversation that only waits for input sleeps in recv(2), one that waits for both sides in poll(2).
//!
//! Whoever has to end it from outside sets `cut` and shuts the socket down, which wakes either call.

use super::conversation::Conversation;
use crate::sys::socket::{self, Wait};
use crate::sys::watchlist::WatchList;
use crate::sys::{clock, sockopt};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchboard_proto::{Buffer, Connection, Instant, Transport, Wants};

/// Storage for one read: a page and a little at first, since a process or thread for each connection pays for
/// every page; a stream's once a read has filled that.
const FIRST_SIZE: usize = 4_096 + 64;
const STREAM_SIZE: usize = 64 * 1024;

/// Storage kept from one read, and from one conversation, to the next.
pub(super) struct Lent {
    buffer: Buffer,
    size: usize,
}

impl Default for Lent {
    fn default() -> Lent {
        Lent { buffer: Buffer::new(), size: FIRST_SIZE }
    }
}

impl Lent {
    /// With its first storage, which no page of memory stands behind until it is used.
    pub(super) fn made() -> Lent {
        Lent { buffer: Buffer::with_capacity(FIRST_SIZE), size: FIRST_SIZE }
    }

    fn take(&mut self) -> Buffer {
        let kept = std::mem::take(&mut self.buffer);
        if kept.capacity() < self.size { Buffer::with_capacity(self.size) } else { kept }
    }

    fn keep(&mut self, buffer: Buffer) {
        if buffer.capacity() > self.buffer.capacity() {
            self.buffer = buffer;
        }
    }
}

/// Talks on `fd` until the conversation is over or `cut` is set, sleeping in between. `lent` is storage kept from
/// one conversation to the next. The caller closes `fd` and then the conversation.
pub(super) fn converse(
    fd: BorrowedFd<'_>,
    conversation: &mut Conversation,
    lent: &mut Lent,
    cut: &AtomicBool,
) {
    let mut timeout = None;
    if conversation.connection.transport() == Transport::Messages {
        // What does not fit one read of a message is lost.
        lent.size = STREAM_SIZE;
    }
    loop {
        let is_cut = cut.load(Ordering::Relaxed) || conversation.is_cut();
        let connection = &mut conversation.connection;
        if is_cut {
            connection.on_stop();
        }
        let wants = connection.wants();
        if wants.close {
            if wants.reset {
                socket::reset_on_close(fd);
            }
            return;
        }
        if wants.shutdown {
            socket::shutdown_write(fd);
            connection.on_shutdown(clock::now());
            continue;
        }
        if wants.write {
            let mut out = connection.take_write();
            match socket::send(fd, out.bytes(), Wait::No) {
                Ok(n) => out.consume(n),
                Err(Errno::AGAIN) => {}
                Err(_) => {
                    connection.on_error();
                    continue;
                }
            }
            let full = !out.is_empty();
            lent.keep(connection.on_write(out, clock::now()));
            if !full {
                // Endless output must not keep the peer from being heard.
                let wants = connection.wants();
                if wants.write && wants.read {
                    receive(fd, connection, lent, Wait::No, cut);
                }
                continue;
            }
        }
        let deadline = connection.deadline();
        if wants.read && !wants.write {
            if set_timeout(fd, deadline, &mut timeout) {
                receive(fd, connection, lent, Wait::Yes, cut);
            }
        } else {
            // Wait for room for output and, if there is room for it here, for input.
            match wait_both(fd, wants, deadline) {
                Some(true) => receive(fd, connection, lent, Wait::No, cut),
                Some(false) => {}
                None => connection.on_error(),
            }
        }
        if deadline != Instant::NEVER {
            connection.on_deadline(clock::now());
        }
    }
}

fn receive(fd: BorrowedFd<'_>, connection: &mut Connection, lent: &mut Lent, wait: Wait, cut: &AtomicBool) {
    let mut bytes = lent.take();
    match socket::recv(fd, bytes.spare(), wait) {
        // The end of input that a cut makes is not the peer's.
        Ok(0) if cut.load(Ordering::Relaxed) => {}
        Ok(n) => {
            if n == bytes.capacity() {
                lent.size = STREAM_SIZE;
            }
            bytes.commit(n);
            bytes = connection.on_read(bytes, clock::now());
        }
        // The time is over, or the wait was interrupted: the caller looks at the clock and starts anew.
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(_) => connection.on_error(),
    }
    lent.keep(bytes);
}

/// Limits the next recv(2) to end at `until`; false if that is now. The limit is set only when it changes: an
/// idle limit starts anew with every message and so is the same each time.
fn set_timeout(fd: BorrowedFd<'_>, until: Instant, current: &mut Option<Duration>) -> bool {
    let wanted = (until != Instant::NEVER).then(|| until.since(clock::now()));
    if wanted == Some(Duration::ZERO) {
        return false;
    }
    let close_enough = match (wanted, *current) {
        (None, None) => true,
        // A little early is harmless: the session is called once more. A little late is within 2 %.
        (Some(wanted), Some(current)) => wanted.abs_diff(current) <= current / 50,
        _ => false,
    };
    if !close_enough {
        let wanted = wanted.map(|wanted| wanted.max(Duration::from_millis(1)));
        let timeout = rustix::net::sockopt::Timeout::Recv;
        let _ = rustix::net::sockopt::set_socket_timeout(fd, timeout, wanted);
        *current = wanted;
    }
    true
}

/// Waits for what `wants` names, at most until `until`. Returns whether to read; `None` if the connection is
/// broken.
fn wait_both(fd: BorrowedFd<'_>, wants: Wants, until: Instant) -> Option<bool> {
    let mut list = WatchList::default();
    list.push(fd, wants.read, wants.write);
    let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
    match list.wait(timeout) {
        Ok(()) => {}
        // The time-out would start anew if the wait were repeated here.
        Err(Errno::INTR) => return Some(false),
        Err(_) => return None,
    }
    let ready = list.ready().next().map(|(_, ready)| ready);
    match ready {
        Some(ready) if ready.broken && !ready.readable => {
            let _ = sockopt::get_int(fd, libc::SOL_SOCKET, libc::SO_ERROR);
            None
        }
        Some(ready) => Some(ready.readable),
        None => Some(false),
    }
}
