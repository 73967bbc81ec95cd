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
use crate::session::{Cause, Flow, Io, Session, Transport, Tx};
use crate::time::Instant;
use alloc::boxed::Box;
use core::mem;
use core::time::Duration;

/// Bounds of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Input not taken by the session, bytes; from there on the connection stops wanting to read. A session that
    /// waits for more than this never gets it: see [`Bounds::LEAST_RX`].
    pub rx: u32,
    /// Output not delivered to the kernel, bytes.
    pub tx: u32,
    /// Lingering close: after the last byte is out, wait this long for more input before closing, milliseconds.
    /// The wait in all, and a peer that takes no more output, are given [`Bounds::PATIENCE`] times as much.
    pub linger_ms: u32,
}

impl Bounds {
    /// How many times `linger_ms` a peer may go on sending to, or not reading from, a session that has ended.
    pub const PATIENCE: u32 = 15;
    /// The smallest [`rx`](Bounds::rx), bytes, with which every service works: the longest line that one reads.
    pub const LEAST_RX: u32 = 4_096;

    fn linger(&self) -> Duration {
        Duration::from_millis(u64::from(self.linger_ms))
    }
}

impl Default for Bounds {
    /// 64 KiB each way; 2 s of silence.
    fn default() -> Bounds {
        Bounds { rx: 65_536, tx: 65_536, linger_ms: 2_000 }
    }
}

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

/// How a conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer ended its input first, and everything was answered.
    Peer,
    /// The session finished first.
    Service,
    /// The session broke off, and the peer was sent a reset.
    Refused,
    /// A layer ended it.
    Cause(Cause),
    /// The peer or the network broke the connection.
    Reset,
    /// The engine had to stop.
    Stopped,
}

impl End {
    /// One word for logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            End::Peer => "peer",
            End::Service => "service",
            End::Refused => "refused",
            End::Cause(Cause::Idle) => "idle",
            End::Cause(Cause::Lifetime) => "lifetime",
            End::Cause(Cause::Layer(word)) => word,
            End::Reset => "reset",
            End::Stopped => "stopped",
        }
    }
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
    end: Option<End>,
    cause: Option<Cause>,
    /// The peer has ended its side of what a layer carries.
    peer_ended: bool,
    deadline: Instant,
    /// When swallowing the peer's input ends at the latest.
    linger_end: Instant,
    received: u64,
    sent: u64,
    note: Option<Box<[u8]>>,
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
            end: None,
            cause: None,
            peer_ended: false,
            deadline: Instant::NEVER,
            linger_end: Instant::NEVER,
            received: 0,
            sent: 0,
            note: None,
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
                let rest = self.rx.settle();
                if rest.capacity() > bytes.capacity() {
                    bytes = rest;
                }
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
        self.close(End::Reset, false);
    }

    /// The engine has to stop: what was not sent is lost, and the log says so.
    pub fn on_stop(&mut self) {
        let loses = self.pending() > 0;
        self.close(End::Stopped, loses);
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
            Phase::Flush => self.close(End::Reset, self.pending() > 0),
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
        self.end.unwrap_or(End::Peer)
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
        self.note.as_deref()
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
        [spare, rest, unused].into_iter().max_by_key(Buffer::capacity).unwrap_or_default()
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
            cause: &mut self.cause,
            peer_ended: &mut self.peer_ended,
            note: &mut self.note,
        });
        match flow {
            // Input ended, nothing to send, no time to wait for: nothing can ever change again.
            Flow::Continue if self.rx_eof && self.pending() == 0 && self.deadline == Instant::NEVER => {
                self.finish(now);
            }
            Flow::Continue => {}
            Flow::Finish => self.finish(now),
            Flow::Abort => self.close(self.cause.map_or(End::Refused, End::Cause), true),
        }
    }

    fn finish(&mut self, now: Instant) {
        self.end = Some(match self.cause {
            Some(cause) => End::Cause(cause),
            None if self.rx_eof || self.peer_ended => End::Peer,
            None => End::Service,
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

    fn close(&mut self, end: End, reset: bool) {
        if self.phase == Phase::Closed {
            return;
        }
        self.end = match self.end {
            // A session that had ended well keeps its end, unless its last bytes are lost.
            Some(earlier) if self.pending() == 0 => Some(earlier),
            _ => Some(end),
        };
        self.phase = Phase::Closed;
        self.reset = reset;
        self.session = None;
        (self.rx, self.tx, self.unsent) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use alloc::vec;
    use core::sync::atomic::{AtomicUsize, Ordering};

    const MS: u64 = 1_000_000;
    const BOUNDS: Bounds = Bounds { rx: 16, tx: 16, linger_ms: 2_000 };

    /// A session that is a closure.
    struct Does<F>(F);

    impl<F: FnMut(&mut Io<'_>) -> Flow + Send> Session for Does<F> {
        fn advance(&mut self, io: &mut Io<'_>) -> Flow {
            (self.0)(io)
        }
    }

    fn does<F: FnMut(&mut Io<'_>) -> Flow + Send + 'static>(transport: Transport, f: F) -> Connection {
        Connection::new(Box::new(Does(f)), transport, BOUNDS, Instant(0))
    }

    fn echo(transport: Transport) -> Connection {
        does(transport, |io| {
            io.tx.append(io.rx);
            if io.rx_eof && io.rx.is_empty() { Flow::Finish } else { Flow::Continue }
        })
    }

    /// Says `bye` and finishes at once.
    fn bye() -> Connection {
        does(Transport::Stream, |io| {
            io.tx.push(b"bye");
            Flow::Finish
        })
    }

    fn buffer(bytes: &[u8]) -> Buffer {
        Buffer::from(bytes)
    }

    /// Sends at most `n` bytes of what is to be sent and returns them.
    fn send(connection: &mut Connection, n: usize, now: Instant) -> vec::Vec<u8> {
        let mut out = connection.take_write();
        let sent = out.bytes()[..n.min(out.len())].to_vec();
        out.consume(n);
        connection.on_write(out, now);
        sent
    }

    fn wants(connection: &Connection) -> &'static str {
        match connection.wants() {
            Wants { close: true, reset: true, .. } => "reset",
            Wants { close: true, .. } => "close",
            Wants { read: true, write: true, .. } => "read, write",
            Wants { read: true, shutdown: true, .. } => "read, shutdown",
            Wants { read: true, .. } => "read",
            Wants { write: true, .. } => "write",
            Wants { shutdown: true, .. } => "shutdown",
            _ => "nothing",
        }
    }

    #[test]
    fn the_peer_half_closes_and_gets_the_rest_of_its_answer() {
        let mut c = echo(Transport::Stream);
        assert_eq!(wants(&c), "read");
        c.on_read(buffer(b"hello"), Instant(0));
        c.on_read(Buffer::new(), Instant(0));
        assert_eq!(wants(&c), "write");
        assert_eq!(send(&mut c, 2, Instant(0)), b"he");
        assert_eq!((wants(&c), c.pending()), ("write", 3));
        assert_eq!(send(&mut c, 9, Instant(0)), b"llo");
        // Both directions have ended: close(2) sends the FIN.
        assert_eq!((wants(&c), c.end(), c.received(), c.sent()), ("close", End::Peer, 5, 5));
        assert_eq!(c.deadline(), Instant::NEVER);
    }

    #[test]
    fn a_session_that_ends_first_shuts_down_and_lingers_until_the_peer_ends() {
        let mut c = bye();
        assert_eq!(wants(&c), "read, write");
        c.on_read(buffer(b"ignored"), Instant(0));
        assert_eq!(send(&mut c, 9, Instant(0)), b"bye");
        assert_eq!(wants(&c), "read, shutdown");
        c.on_shutdown(Instant(0));
        assert_eq!(wants(&c), "read");
        c.on_read(buffer(b"ignored too"), Instant(0));
        assert_eq!((wants(&c), c.untaken()), ("read", 0));
        c.on_read(Buffer::new(), Instant(0));
        assert_eq!((wants(&c), c.end(), c.received()), ("close", End::Service, 18));
    }

    #[test]
    fn lingering_ends_after_silence() {
        let mut c = bye();
        send(&mut c, 9, Instant(0));
        c.on_shutdown(Instant(1_000 * MS));
        assert_eq!(c.deadline(), Instant(3_000 * MS));
        c.on_read(buffer(b"x"), Instant(2_500 * MS));
        assert_eq!(c.deadline(), Instant(4_500 * MS));
        c.on_deadline(Instant(4_499 * MS));
        assert_eq!(wants(&c), "read");
        c.on_deadline(Instant(4_500 * MS));
        assert_eq!((wants(&c), c.end()), ("close", End::Service));
    }

    #[test]
    fn lingering_ends_even_if_the_peer_never_stops_sending() {
        let mut c = bye();
        send(&mut c, 9, Instant(0));
        c.on_shutdown(Instant(0));
        let mut now = Instant(0);
        while !c.is_closed() {
            now = now + Duration::from_millis(100);
            c.on_read(buffer(b"more"), now);
            c.on_deadline(now);
            assert!(now <= Instant(30_000 * MS));
        }
        assert_eq!((now, wants(&c)), (Instant(30_000 * MS), "close"));
    }

    #[test]
    fn a_peer_that_does_not_take_the_last_bytes_is_reset() {
        let mut c = bye();
        assert_eq!(c.deadline(), Instant(30_000 * MS));
        // Input is no sign that output is taken; output is.
        c.on_read(buffer(b"x"), Instant(5_000 * MS));
        assert_eq!(c.deadline(), Instant(30_000 * MS));
        send(&mut c, 0, Instant(6_000 * MS));
        assert_eq!(c.deadline(), Instant(30_000 * MS));
        send(&mut c, 1, Instant(10_000 * MS));
        assert_eq!(c.deadline(), Instant(40_000 * MS));
        c.on_deadline(Instant(40_000 * MS));
        assert_eq!((wants(&c), c.end(), c.pending()), ("reset", End::Reset, 0));
    }

    #[test]
    fn a_premature_shutdown_loses_nothing() {
        let mut c = bye();
        c.on_shutdown(Instant(0));
        assert_eq!(wants(&c), "read, write");
        let out = c.take_write();
        c.on_shutdown(Instant(0));
        c.on_write(out, Instant(0));
        assert_eq!(send(&mut c, 9, Instant(0)), b"bye");
    }

    #[test]
    fn the_end_of_input_while_the_last_bytes_are_in_flight() {
        let mut c = bye();
        let mut out = c.take_write();
        assert_eq!((wants(&c), c.pending()), ("read", 3));
        c.on_read(Buffer::new(), Instant(0));
        assert_eq!(wants(&c), "nothing");
        out.consume(1);
        c.on_write(out, Instant(0));
        assert_eq!(wants(&c), "write");
        send(&mut c, 9, Instant(0));
        assert_eq!((wants(&c), c.end()), ("close", End::Service));
    }

    #[test]
    fn untaken_output_stops_the_input() {
        let mut c = echo(Transport::Stream);
        c.on_read(buffer(&[1; 16]), Instant(0));
        assert_eq!((wants(&c), c.pending(), c.untaken()), ("read, write", 16, 0));
        c.on_read(buffer(&[2; 16]), Instant(0));
        assert_eq!((wants(&c), c.pending(), c.untaken()), ("write", 16, 16));
        assert_eq!(send(&mut c, 4, Instant(0)), [1; 4]);
        assert_eq!((wants(&c), c.pending(), c.untaken()), ("read, write", 16, 12));
        assert_eq!(send(&mut c, 99, Instant(0)), [1; 12]);
        assert_eq!(send(&mut c, 99, Instant(0)), [2; 16]);
        assert_eq!((wants(&c), c.pending(), c.untaken()), ("read", 0, 0));
    }

    #[test]
    fn input_is_read_while_output_is_in_flight() {
        let mut c = echo(Transport::Stream);
        c.on_read(buffer(b"one"), Instant(0));
        let out = c.take_write();
        assert_eq!(wants(&c), "read");
        c.on_read(buffer(b"two"), Instant(0));
        assert_eq!((wants(&c), c.pending()), ("read", 6));
        c.on_write(out, Instant(0));
        // What came back unsent goes before what was produced meanwhile.
        assert_eq!(send(&mut c, 9, Instant(0)), b"one");
        assert_eq!(send(&mut c, 9, Instant(0)), b"two");
    }

    #[test]
    fn messages_are_answered_one_by_one() {
        let mut c = echo(Transport::Messages);
        c.on_read(buffer(b"one"), Instant(0));
        assert_eq!(wants(&c), "read, write");
        c.on_read(buffer(b"two"), Instant(0));
        assert_eq!((wants(&c), c.untaken()), ("write", 3));
        let out = c.take_write();
        assert_eq!(wants(&c), "nothing");
        c.on_deadline(Instant(0));
        c.on_write(out, Instant(0));
        assert_eq!(send(&mut c, 9, Instant(0)), b"one");
        c.on_read(Buffer::new(), Instant(0));
        assert_eq!(send(&mut c, 9, Instant(0)), b"two");
        assert_eq!((wants(&c), c.end()), ("close", End::Peer));
    }

    #[test]
    fn a_session_with_endless_messages_sees_the_end_of_its_input() {
        let mut c = does(Transport::Messages, |io| {
            io.rx.clear();
            io.tx.push(b"more");
            if io.rx_eof { Flow::Finish } else { Flow::Continue }
        });
        for _ in 0..3 {
            assert_eq!(wants(&c), "read, write");
            c.on_read(buffer(b"input"), Instant(0));
            send(&mut c, 99, Instant(0));
            assert_eq!(c.untaken(), 0);
        }
        c.on_read(Buffer::new(), Instant(0));
        while !c.is_closed() {
            send(&mut c, 99, Instant(0));
        }
        assert_eq!(c.end(), End::Peer);
    }

    #[test]
    fn wake_times_last_for_one_call() {
        let mut c = does(Transport::Stream, |io| {
            if io.rx.is_empty() {
                io.wake_at(Instant(7 * MS));
                io.wake_at(Instant(9 * MS));
            }
            Flow::Continue
        });
        assert_eq!(c.deadline(), Instant(7 * MS));
        c.on_read(buffer(b"x"), Instant(MS));
        assert_eq!(c.deadline(), Instant::NEVER);
        c.on_deadline(Instant(8 * MS));
        assert_eq!(c.deadline(), Instant::NEVER);
    }

    #[test]
    fn an_early_deadline_is_ignored() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let mut c = does(Transport::Stream, move |io| {
            counter.fetch_add(1, Ordering::Relaxed);
            io.wake_at(Instant(5));
            Flow::Continue
        });
        c.on_deadline(Instant(4));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        c.on_deadline(Instant(5));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_session_that_waits_for_nothing_is_over() {
        let mut c = does(Transport::Stream, |_| Flow::Continue);
        c.on_read(buffer(b"half a request"), Instant(0));
        c.on_read(Buffer::new(), Instant(0));
        assert_eq!((wants(&c), c.end()), ("close", End::Peer));
        let mut c = does(Transport::Stream, |io| {
            io.wake_at(Instant(MS));
            if io.now >= Instant(MS) { Flow::Finish } else { Flow::Continue }
        });
        c.on_read(Buffer::new(), Instant(0));
        assert_eq!(wants(&c), "nothing");
        c.on_deadline(Instant(MS));
        assert_eq!(wants(&c), "close");
    }

    #[test]
    fn breaking_off_throws_output_away() {
        let mut c = does(Transport::Stream, |io| {
            io.tx.push(b"half");
            if io.rx.is_empty() { Flow::Continue } else { Flow::Abort }
        });
        let out = c.take_write();
        c.on_read(buffer(b"nonsense"), Instant(0));
        assert_eq!((wants(&c), c.end()), ("reset", End::Refused));
        // The engine may learn only now what became of the bytes in flight.
        c.on_write(out, Instant(0));
        c.on_read(buffer(b"late"), Instant(0));
        c.on_deadline(Instant::NEVER);
        assert_eq!((wants(&c), c.pending(), c.deadline()), ("reset", 0, Instant::NEVER));
    }

    #[test]
    fn errors_and_stops_are_told_apart_from_good_ends() {
        let mut c = echo(Transport::Stream);
        c.on_read(buffer(b"x"), Instant(0));
        c.on_error();
        assert_eq!((wants(&c), c.end()), ("close", End::Reset));

        let mut c = bye();
        send(&mut c, 9, Instant(0));
        c.on_shutdown(Instant(0));
        c.on_error();
        assert_eq!((wants(&c), c.end()), ("close", End::Service));

        let mut c = bye();
        c.on_stop();
        assert_eq!((wants(&c), c.end()), ("reset", End::Stopped));

        let mut c = echo(Transport::Stream);
        c.on_stop();
        assert_eq!((wants(&c), c.end()), ("close", End::Stopped));
    }

    #[test]
    fn an_idle_connection_owns_no_storage() {
        let mut c = echo(Transport::Stream);
        let mut bytes = Buffer::with_capacity(65_536);
        bytes.push(&[7; 20]);
        assert_eq!(c.on_read(bytes, Instant(0)).capacity(), 65_536);
        while c.pending() > 0 {
            send(&mut c, 5, Instant(0));
        }
        assert_eq!(c.rx.capacity() + c.tx.capacity() + c.unsent.capacity(), 0);
    }

    #[test]
    fn storage_that_was_sent_is_written_into_again() {
        let mut c = does(Transport::Stream, |io| {
            io.tx.reserve(io.tx.room());
            io.tx.push(&[7; 16][..io.tx.room()]);
            Flow::Continue
        });
        let mut out = c.take_write();
        let at = out.bytes().as_ptr();
        for _ in 0..9 {
            out.clear();
            assert_eq!(c.on_write(out, Instant(0)).capacity(), 0);
            out = c.take_write();
            assert_eq!((out.bytes().as_ptr(), out.len()), (at, 16));
        }
    }
}
