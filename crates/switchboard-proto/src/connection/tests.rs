//! Conversations, step by step.

use super::*;
use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

const MS: u64 = 1_000_000;
const BOUNDS: Bounds = Bounds { rx: 16, tx: 16, linger_ms: 2_000 };

#[test]
fn an_idle_connection_takes_few_bytes() {
    let bytes = size_of::<Connection>();
    assert!(bytes <= 104, "a connection takes {bytes} bytes");
}

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
