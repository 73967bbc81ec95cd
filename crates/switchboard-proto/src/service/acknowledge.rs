//! Acknowledge: takes one message, leaves it for the log and answers `I got your message` (the server of many
//! introductions to sockets).
//!
//! The original takes whatever one `read(2)` of 255 bytes happens to return. Here a message ends with a line
//! feed, with the end of input, after 255 bytes, or when half a second passes in which nothing more comes.

use super::{Board, Datagram, Example, Over, Service, TryIt};
use crate::buffer::Line;
use crate::session::{Flow, Io, Session};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

pub(super) const SERVICE: Service = Service {
    name: "acknowledge",
    summary: "takes one message and says that it got it",
    source: "the server of introductory socket courses",
    port: 0,
    board: Board { tcp: &[3490], udp: &[] },
    datagram: Datagram::Fixed(64),
    options: &[],
    try_it: TryIt { ask: "echo hello", show: "" },
    examples: &[
        Example {
            title: "a line is answered, without a line feed",
            options: &[],
            unix_s: 0,
            input: b"hello\n",
            output: ANSWER,
            over: Over::Both,
        },
        Example {
            title: "once; the rest is thrown away",
            options: &[],
            unix_s: 0,
            input: b"hello\r\nhello again\r\n",
            output: ANSWER,
            over: Over::Both,
        },
        Example {
            title: "the end of input ends a message too",
            options: &[],
            unix_s: 0,
            input: b"no line feed",
            output: ANSWER,
            over: Over::Both,
        },
        Example {
            title: "255 bytes are a message",
            options: &[],
            unix_s: 0,
            input: &[b'm'; 300],
            output: ANSWER,
            over: Over::Both,
        },
        Example {
            title: "an empty message is one",
            options: &[],
            unix_s: 0,
            input: b"",
            output: ANSWER,
            over: Over::Both,
        },
    ],
    make: |_| Ok(Arc::new(|_| Box::new(Acknowledge { seen: 0, quiet_at: Instant::NEVER }))),
};

const ANSWER: &[u8] = b"I got your message";
/// Longest message, bytes.
const MAX_MESSAGE: usize = 255;
/// A message that has begun is over when nothing came for this long.
const QUIET: Duration = Duration::from_millis(500);

struct Acknowledge {
    /// Bytes of the message that had come at the last call.
    seen: usize,
    /// When the message is over if nothing more comes.
    quiet_at: Instant,
}

impl Session for Acknowledge {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        if io.rx.len() != self.seen {
            self.seen = io.rx.len();
            self.quiet_at = io.now + QUIET;
        }
        let length = match io.rx.line(MAX_MESSAGE) {
            Line::Complete(length) => length,
            Line::TooLong => MAX_MESSAGE,
            Line::Partial if io.rx_eof || io.now >= self.quiet_at => io.rx.len(),
            Line::Partial => {
                io.wake_at(self.quiet_at);
                return Flow::Continue;
            }
        };
        let message = &io.rx.bytes()[..length];
        let message = message.strip_suffix(b"\n").unwrap_or(message);
        // The note must outlive the buffer it is taken from.
        let message: Box<[u8]> = Box::from(message.strip_suffix(b"\r").unwrap_or(message));
        io.note(&message);
        io.tx.push(ANSWER);
        Flow::Finish
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use crate::connection::{Bounds, Connection};
    use crate::session::Transport;

    const MS: u64 = 1_000_000;

    fn connection() -> Connection {
        let session = Box::new(Acknowledge { seen: 0, quiet_at: Instant::NEVER });
        Connection::new(session, Transport::Stream, Bounds::default(), Instant(0))
    }

    #[test]
    fn half_a_second_of_silence_ends_a_message() {
        let mut connection = connection();
        assert_eq!(connection.deadline(), Instant::NEVER);
        connection.on_read(Buffer::from(&b"no line"[..]), Instant(100 * MS));
        assert_eq!(connection.deadline(), Instant(600 * MS));
        connection.on_read(Buffer::from(&b" feed"[..]), Instant(599 * MS));
        assert_eq!(connection.deadline(), Instant(1_099 * MS));
        connection.on_deadline(Instant(600 * MS));
        assert_eq!(connection.pending(), 0);
        connection.on_deadline(Instant(1_099 * MS));
        assert_eq!(connection.take_write().bytes(), ANSWER);
        assert_eq!(connection.note(), Some(&b"no line feed"[..]));
    }

    #[test]
    fn the_message_is_noted_without_its_line_end() {
        let mut connection = connection();
        connection.on_read(Buffer::from(&b"hel"[..]), Instant(0));
        connection.on_read(Buffer::from(&b"lo\r\nmore"[..]), Instant(0));
        assert_eq!(connection.note(), Some(&b"hello"[..]));
        assert_eq!(connection.take_write().bytes(), ANSWER);
    }
}
