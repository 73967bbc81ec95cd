//! Connections that only have to be there while another one carries the conversation.
//!
//! They are watched by an epoll descriptor of their own, so that a thousand of them cost the conversation one
//! entry in its poll list.

use crate::channel::Channel;
use crate::tls::Failure;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// Connections looked at in one go.
const EVENTS: usize = 64;
/// Storage for input that is thrown away.
const SCRATCH: usize = 16 * 1024;

/// Connections held open; their input is counted and thrown away.
pub(super) struct Companions {
    epoll: Option<OwnedFd>,
    /// Each until both sides have ended, or it broke.
    connections: Vec<Option<Channel>>,
    /// Those whose peer has not ended its side yet.
    open: usize,
    half_closed: bool,
    received: u64,
    reset: usize,
    scratch: Vec<u8>,
}

impl Companions {
    pub(super) fn new(connections: Vec<Channel>) -> Result<Companions, Errno> {
        let open = connections.len();
        let epoll = match open {
            0 => None,
            _ => Some(epoll::create(epoll::CreateFlags::CLOEXEC)?),
        };
        for (index, fd) in connections.iter().enumerate() {
            if let Some(epoll) = &epoll {
                epoll::add(epoll, fd, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            }
        }
        let scratch = if open == 0 { Vec::new() } else { vec![0; SCRATCH] };
        let connections = connections.into_iter().map(Some).collect();
        Ok(Companions { epoll, connections, open, half_closed: false, received: 0, reset: 0, scratch })
    }

    pub(super) fn count(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn reset(&self) -> usize {
        self.reset
    }

    /// Whether any peer has not ended its side yet.
    pub(super) fn are_open(&self) -> bool {
        self.open > 0
    }

    /// Readable when [`swallow`](Companions::swallow) has something to do.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().filter(|_| self.are_open()).map(AsFd::as_fd)
    }

    /// Ends our side of all of them, one right after the other.
    pub(super) fn half_close(&mut self) {
        if !std::mem::replace(&mut self.half_closed, true) {
            for connection in self.connections.iter_mut().flatten() {
                // It never sent anything else: there is room for this much.
                let _ = connection.finish();
            }
        }
    }

    /// Closes all of them without waiting for their peers.
    pub(super) fn abandon(&mut self) {
        self.connections.iter_mut().for_each(|connection| *connection = None);
        self.open = 0;
    }

    /// Reads and counts what has come.
    pub(super) fn swallow(&mut self) {
        let Some(epoll) = &self.epoll else { return };
        let mut room = [const { std::mem::MaybeUninit::uninit() }; EVENTS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Interrupted or out of memory: the descriptor stays readable, and this is called again.
        let Ok((ready, _)) = epoll::wait(epoll, &mut room, Some(&at_once)) else { return };
        for event in ready.iter() {
            let index = event.data.u64() as usize;
            let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { continue };
            // To the end of what is there: what TLS has decrypted already, epoll(7) does not know of.
            let ended = loop {
                match connection.recv(&mut self.scratch) {
                    Ok(0) => break true,
                    Ok(n) => self.received += n as u64,
                    Err(Errno::AGAIN) => break false,
                    Err(_) => {
                        self.reset += 1;
                        break true;
                    }
                }
                if !connection.has_input() {
                    break false;
                }
            };
            if !ended {
                continue;
            }
            self.reset += usize::from(matches!(connection.failure(), Some(Failure::Truncated)));
            self.open -= 1;
            let _ = epoll::delete(epoll, &*connection);
        }
    }
}
