//! [`Connection`]: everything about a conversation that is not the protocol and not the kernel: buffers,
//! half-close, backpressure, lingering close and deadlines. It is the only caller of [`Session`].
//!
//! An engine asks [`wants`](Connection::wants), does that with the kernel, and reports what came of it:
//!
//! ```text
//!   read    recv → on_read(bytes), on_read(empty) at end of input
//!   write   take_write() → send → on_write(rest)
//!   shutdown  shutdown(SHUT_WR) → on_shutdown()
//!   close   close(2); with reset: SO_LINGER 0 first
//! ```
//!
//! Read and write halves are independent, so output goes on while input is swallowed.

use crate::buffer::Buffer;
use crate::session::{Cause, Flow, Io, Said, Session, Transport, Tx};
use crate::time::Instant;
use alloc::boxed::Box;
use core::mem;

mod bounds;
mod end;
#[cfg(test)]
mod tests;

pub use bounds::Bounds;
pub use end::End;
use end::Ending;

/// What a connection wants from its engine now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wants {
    /// Receive, and report with [`Connection::on_read`].
    pub read: bool,
    /// [`Connection::take_write`], send, and report with [`Connection::on_write`].
    pub write: bool,
    /// Shut down the writing half, and report with [`Connection::on_shutdown`].
    pub shutdown: bool,
    /// Close; nothing else is wanted any more.
    pub close: bool,
    /// Close with a reset.
    pub reset: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The session is alive.
    Open,
    /// The session finished; its output is being flushed.
    Flush,
    /// Output is out and shut down; the peer's input is swallowed until it ends.
    Linger,
    /// Over.
    Closed,
}

/// One conversation without I/O. A resting connection owns only the bytes that it holds; an idle one none.
pub struct Connection {
    session: Option<Box<dyn Session>>,
    rx: Buffer,
    tx: Buffer,
    /// What the kernel did not take of the last write.
    unsent: Buffer,
    /// Bytes handed out by `take_write` and not reported yet.
    in_flight: u32,
    bounds: Bounds,
    transport: Transport,
    phase: Phase,
    rx_eof: bool,
    /// Messages: input came while output was pending. The session is shown it when that is out, so that the
    /// answers to two messages never become one.
    held: bool,
    reset: bool,
    ending: Option<Ending>,
    /// The peer has ended its side of what a layer carries.
    peer_ended: bool,
    deadline: Instant,
    /// When swallowing the peer's input ends at the latest.
    linger_end: Instant,
    received: u64,
    sent: u64,
    /// For the log; most sessions never say anything.
    said: Option<Box<Said>>,
}

impl Connection {
    /// A conversation about to start: the session is called once at once, since it may speak first.
    pub fn new(session: Box<dyn Session>, transport: Transport, bounds: Bounds, now: Instant) -> Connection {
        let mut connection = Connection {
            session: Some(session),
            rx: Buffer::new(),
            tx: Buffer::new(),
            unsent: Buffer::new(),
            in_flight: 0,
            bounds,
            transport,
            phase: Phase::Open,
            rx_eof: false,
            held: false,
            reset: false,
            ending: None,
            peer_ended: false,
            deadline: Instant::NEVER,
            linger_end: Instant::NEVER,
            received: 0,
            sent: 0,
            said: None,
        };
        connection.advance(now);
        connection
    }

    /// What to do with the kernel now.
    pub fn wants(&self) -> Wants {
        let unsent = !self.unsent.is_empty() || !self.tx.is_empty();
        match self.phase {
            Phase::Open => Wants {
                read: !self.rx_eof
                    && self.rx.len() < self.bounds.rx as usize
                    // Messages keep their boundaries by being answered one at a time; one is read ahead, or a
                    // session that always has output would never see its input end.
                    && (self.transport == Transport::Stream || self.pending() == 0 || self.rx.is_empty()),
                write: unsent && self.in_flight == 0,
                ..Wants::default()
            },
            Phase::Flush => Wants {
                read: !self.rx_eof,
                write: unsent && self.in_flight == 0,
                shutdown: !unsent && self.in_flight == 0,
                ..Wants::default()
            },
            Phase::Linger => Wants { read: true, ..Wants::default() },
            Phase::Closed => Wants { close: true, reset: self.reset, ..Wants::default() },
        }
    }

    /// Input arrived; an empty buffer says that it ended. Returns storage that the connection does not need.
    pub fn on_read(&mut self, mut bytes: Buffer, now: Instant) -> Buffer {
        self.received += bytes.len() as u64;
        match self.phase {
            Phase::Open => {
                self.held |= self.transport != Transport::Stream && self.pending() > 0 && self.rx.is_empty();
                if bytes.is_empty() {
                    self.rx_eof = true;
                } else {
                    self.rx.append(&mut bytes);
                }
                self.advance(now);
                bytes = larger(bytes, self.rx.settle());
            }
            Phase::Flush | Phase::Linger => {
                if bytes.is_empty() {
                    self.rx_eof = true;
                    self.close_if_done();
                } else if self.phase == Phase::Linger {
                    self.deadline = self.linger_end.min(now + self.bounds.linger());
                }
            }
            Phase::Closed => {}
        }
        bytes.clear();
        bytes
    }

    /// The next piece of output, moved out; give back with [`on_write`](Connection::on_write) what was not sent
    /// before taking another.
    pub fn take_write(&mut self) -> Buffer {
        let out = mem::take(if self.unsent.is_empty() { &mut self.tx } else { &mut self.unsent });
        self.in_flight = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out
    }

    /// Output went to the kernel, all but `rest`. Returns storage that the connection does not need.
    pub fn on_write(&mut self, mut rest: Buffer, now: Instant) -> Buffer {
        let sent = (self.in_flight as usize).saturating_sub(rest.len());
        self.sent += sent as u64;
        self.in_flight = 0;
        if self.phase == Phase::Closed {
            rest.clear();
        }
        let spare = if rest.is_empty() {
            rest
        } else {
            let spare = rest.settle();
            self.unsent = rest;
            spare
        };
        match self.phase {
            Phase::Open if sent > 0 => return self.advance_into(spare, now),
            Phase::Flush => {
                if sent > 0 {
                    self.deadline = now + self.bounds.linger() * Bounds::PATIENCE;
                }
                self.close_if_done();
            }
            _ => {}
        }
        spare
    }

    /// The writing half was shut down. Ignored while there is output to send.
    pub fn on_shutdown(&mut self, now: Instant) {
        if self.phase == Phase::Flush && self.pending() == 0 {
            self.phase = Phase::Linger;
            self.linger_end = now + self.bounds.linger() * Bounds::PATIENCE;
            self.deadline = now + self.bounds.linger();
        }
    }

    /// The connection broke: nothing can be sent or received any more.
    pub fn on_error(&mut self) {
        self.close(Ending::Reset, false);
    }

    /// The engine has to stop: what was not sent is lost, and the log says so.
    pub fn on_stop(&mut self) {
        let loses = self.pending() > 0;
        self.close(Ending::Stopped, loses);
    }

    /// When [`on_deadline`](Connection::on_deadline) wants to be called; [`Instant::NEVER`] if not at all.
    pub fn deadline(&self) -> Instant {
        if self.phase == Phase::Closed { Instant::NEVER } else { self.deadline }
    }

    /// The deadline may have passed; harmless when it has not.
    pub fn on_deadline(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        match self.phase {
            Phase::Open => self.advance(now),
            // Output that the peer does not take, or input that never ends: nothing more can be done for it.
            Phase::Flush => self.close(Ending::Reset, self.pending() > 0),
            Phase::Linger => self.phase = Phase::Closed,
            Phase::Closed => {}
        }
    }

    /// What carries the conversation.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// How it ended; while it has not, as if the peer had ended it now.
    pub fn end(&self) -> End {
        match self.ending {
            None | Some(Ending::Peer) => End::Peer,
            Some(Ending::Service) => End::Service,
            Some(Ending::Refused) => End::Refused,
            Some(Ending::Caused) => self.cause().map_or(End::Refused, End::Cause),
            Some(Ending::Reset) => End::Reset,
            Some(Ending::Stopped) => End::Stopped,
        }
    }

    /// Bytes received from the peer.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that the kernel took.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Output produced and not taken by the kernel, bytes.
    pub fn pending(&self) -> usize {
        self.tx.len() + self.unsent.len() + self.in_flight as usize
    }

    /// Input received and not taken by the session, bytes.
    pub fn untaken(&self) -> usize {
        self.rx.len()
    }

    /// What the session noted for the log.
    pub fn note(&self) -> Option<&[u8]> {
        self.said.as_ref().and_then(|said| said.note.as_deref())
    }

    /// Why a layer ended it, or is about to.
    fn cause(&self) -> Option<Cause> {
        self.said.as_ref().and_then(|said| said.cause)
    }

    /// Tells whether the next piece of input may be left in the kernel, unread: the connection is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Advances the session and lets it write into `spare`; returns the storage that is not needed.
    fn advance_into(&mut self, mut spare: Buffer, now: Instant) -> Buffer {
        spare.clear();
        if self.tx.is_empty() {
            mem::swap(&mut self.tx, &mut spare);
        }
        self.advance(now);
        // A session that moves its input to its output leaves the empty storage behind as input.
        let rest = self.rx.settle();
        let unused = if self.tx.is_empty() { mem::take(&mut self.tx) } else { Buffer::new() };
        larger(larger(spare, rest), unused)
    }

    fn advance(&mut self, now: Instant) {
        self.held &= self.pending() > 0;
        let mut nothing = Buffer::new();
        let Some(session) = self.session.as_mut() else { return };
        self.deadline = Instant::NEVER;
        let flow = session.advance(&mut Io {
            now,
            rx: if self.held { &mut nothing } else { &mut self.rx },
            rx_eof: self.rx_eof && !self.held,
            tx: Tx {
                buffer: &mut self.tx,
                // No room either, or the output might never be out.
                limit: if self.held { 0 } else { self.bounds.tx as usize },
                outside: self.unsent.len() + self.in_flight as usize,
            },
            moved: self.received + self.sent,
            wake: &mut self.deadline,
            peer_ended: &mut self.peer_ended,
            said: &mut self.said,
        });
        match flow {
            // Input ended, nothing to send, no time to wait for: nothing can ever change again.
            Flow::Continue if self.rx_eof && self.pending() == 0 && self.deadline == Instant::NEVER => {
                self.finish(now);
            }
            Flow::Continue => {}
            Flow::Finish => self.finish(now),
            Flow::Abort => {
                let caused = self.cause().is_some();
                self.close(if caused { Ending::Caused } else { Ending::Refused }, true);
            }
        }
    }

    fn finish(&mut self, now: Instant) {
        self.ending = Some(match self.cause() {
            Some(_) => Ending::Caused,
            None if self.rx_eof || self.peer_ended => Ending::Peer,
            None => Ending::Service,
        });
        self.session = None;
        self.rx = Buffer::new();
        self.phase = Phase::Flush;
        self.deadline = now + self.bounds.linger() * Bounds::PATIENCE;
        self.close_if_done();
    }

    /// Both directions ended: close(2) sends the FIN, so the extra call for a half-close is spared.
    fn close_if_done(&mut self) {
        if self.rx_eof && self.pending() == 0 {
            self.phase = Phase::Closed;
        }
    }

    fn close(&mut self, ending: Ending, reset: bool) {
        if self.phase == Phase::Closed {
            return;
        }
        self.ending = match self.ending {
            // A session that had ended well keeps its end, unless its last bytes are lost.
            Some(earlier) if self.pending() == 0 => Some(earlier),
            _ => Some(ending),
        };
        self.phase = Phase::Closed;
        self.reset = reset;
        self.session = None;
        (self.rx, self.tx, self.unsent) = Default::default();
    }
}

/// Of two pieces of storage the one to keep.
fn larger(one: Buffer, other: Buffer) -> Buffer {
    if other.capacity() > one.capacity() { other } else { one }
}
