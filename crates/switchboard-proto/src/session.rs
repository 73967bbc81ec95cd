//! [`Session`]: a protocol's side of one conversation, and [`Io`]: all that it may see and touch.

use crate::buffer::Buffer;
use crate::time::{Instant, Wall};
use alloc::boxed::Box;
use core::fmt;

/// A protocol's side of one conversation.
///
/// [`advance`](Session::advance) is called after every change: input arrived, input ended, output drained, a
/// wake time passed. It is level-triggered: the session looks at the whole state each time, so there is no
/// event to miss, and a spurious call is harmless. A session takes from `io.rx` what it can use and leaves the
/// rest; what stays there holds the peer back (backpressure) once the buffer's limit is reached.
///
/// ```
/// use switchboard_proto::{Flow, Io, Session};
///
/// /// Sends everything back in capitals.
/// struct Shout;
///
/// impl Session for Shout {
///     fn advance(&mut self, io: &mut Io<'_>) -> Flow {
///         let n = io.rx.len().min(io.tx.room());
///         io.tx.push(&io.rx.bytes()[..n].to_ascii_uppercase());
///         io.rx.consume(n);
///         if io.rx_eof && io.rx.is_empty() { Flow::Finish } else { Flow::Continue }
///     }
/// }
/// ```
pub trait Session: Send {
    /// Makes all the progress that is possible now, and says how to go on.
    fn advance(&mut self, io: &mut Io<'_>) -> Flow;
}

impl<S: Session + ?Sized> Session for Box<S> {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        (**self).advance(io)
    }
}

/// How a conversation goes on after [`Session::advance`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Call again after the next change.
    Continue,
    /// The session has said all it has to say: send what is queued, half-close, swallow the peer's rest.
    Finish,
    /// Break off: what is queued is thrown away and the connection is reset. In a datagram: no answer.
    Abort,
}

/// Why a conversation was ended by a layer and not by the protocol or the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Nothing moved in either direction for the idle limit.
    Idle,
    /// The conversation lasted longer than it may.
    Lifetime,
    /// Something else, in a word for the log (`tls-handshake`): what the layer reads was not as it must be.
    Layer(&'static str),
}

/// All that a session may see and touch: no socket, clock, thread, environment or log.
pub struct Io<'a> {
    /// The time of this call; monotonic.
    pub now: Instant,
    /// Bytes from the peer that were not taken yet.
    pub rx: &'a mut Buffer,
    /// The peer has ended its input (a FIN, or the end of the datagram): `rx` holds the last of it.
    pub rx_eof: bool,
    /// Where output is queued, up to a limit.
    pub tx: Tx<'a>,
    /// Bytes moved so far in both directions, as the transport counts them: a change means progress.
    pub moved: u64,
    pub(crate) wake: &'a mut Instant,
    pub(crate) peer_ended: &'a mut bool,
    pub(crate) said: &'a mut Option<Box<Said>>,
}

/// What a session said for the log.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) cause: Option<Cause>,
    pub(crate) note: Option<Box<[u8]>>,
}

impl Io<'_> {
    /// Asks to be called at `at` even if nothing else happens. The earliest of the times asked for in one call
    /// of [`Session::advance`] counts, and only until the next call: ask again each time.
    pub fn wake_at(&mut self, at: Instant) {
        *self.wake = (*self.wake).min(at);
    }

    /// Says why the session is about to be ended, for the log.
    pub fn because(&mut self, cause: Cause) {
        self.said.get_or_insert_default().cause = Some(cause);
    }

    /// Says that the peer has ended its side within what a layer carries (TLS's close_notify), for the log.
    pub fn peer_ended(&mut self) {
        *self.peer_ended = true;
    }

    /// The earliest time asked for so far in this call; [`Instant::NEVER`] if none was.
    pub fn wakes_at(&self) -> Instant {
        *self.wake
    }

    /// What a session inside a layer sees: other bytes than those of the transport, and the rest as it is. What it
    /// says goes to `tx`; how much that may be is what there is room for here.
    pub fn inside<'b>(&'b mut self, rx: &'b mut Buffer, rx_eof: bool, tx: &'b mut Buffer) -> Io<'b> {
        let (pending, room) = (self.tx.pending(), self.tx.room());
        // A little room, while output waits, would be filled with little pieces, each with a cost of its own.
        let scarce = pending > 0 && room < (self.tx.limit / 4).min(4_096);
        Io {
            now: self.now,
            rx,
            rx_eof,
            tx: Tx { buffer: tx, limit: if scarce { pending } else { pending + room }, outside: pending },
            moved: self.moved,
            wake: self.wake,
            peer_ended: self.peer_ended,
            said: self.said,
        }
    }

    /// Leaves a few bytes (at most 256 are kept) for the connection's log record.
    pub fn note(&mut self, bytes: &[u8]) {
        self.said.get_or_insert_default().note = Some(Box::from(&bytes[..bytes.len().min(256)]));
    }
}

/// Output queue with a limit.
///
/// A session should produce no more than [`room`](Tx::room); a single push beyond it is taken all the same
/// (an answer in one piece never has to be cut), so the queue is bounded by the limit plus one answer.
pub struct Tx<'a> {
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) limit: usize,
    /// Bytes taken from the queue by the engine but not delivered to the kernel yet.
    pub(crate) outside: usize,
}

impl Tx<'_> {
    /// How many bytes may still be queued.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.buffer.len() + self.outside)
    }

    /// Bytes that were produced and not delivered to the kernel yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() + self.outside
    }

    /// Queues a copy of `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// Makes storage for `bytes` more at once, where pushes in small pieces would let it grow step by step.
    pub fn reserve(&mut self, bytes: usize) {
        self.buffer.reserve(bytes);
    }

    /// Queues all of `from`, moving the storage instead of copying when it can: for what cannot wait, and is bounded
    /// otherwise.
    pub fn append_all(&mut self, from: &mut Buffer) {
        self.buffer.append(from);
    }

    /// Queues as many of `from`'s bytes as there is room for, moving the storage instead of copying when it can.
    pub fn append(&mut self, from: &mut Buffer) {
        let room = self.room();
        self.buffer.append_up_to(from, room);
    }
}

/// `writeln!(io.tx, "{sum}")` queues text; it never fails.
impl fmt::Write for Tx<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// What is known when a conversation starts; the only source of date and randomness of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Whether one packet or a stream is talked over.
    pub transport: Transport,
    /// The wall clock, as read by the caller.
    pub wall: Wall,
    /// Seed of all randomness of this conversation.
    pub seed: u64,
}

/// What carries the conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// A byte stream: boundaries between writes mean nothing (TCP, Unix stream).
    #[default]
    Stream,
    /// A connection whose messages keep their boundaries (Unix seqpacket).
    Messages,
    /// One packet in, at most one packet out (UDP, Unix datagram).
    Datagram,
}
