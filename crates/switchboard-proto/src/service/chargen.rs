//! Character generator (RFC 864): sends a pattern without end and throws away what it receives.
//!
//! The 95 printing characters of ASCII, space to tilde, form a ring. Line N is the 72 characters that start with
//! the ring's Nth, and CR LF; after 95 lines of 74 bytes the pattern repeats.

use super::{Board, Datagram, Example, Over, Service, TryIt};
use crate::random::Random;
use crate::session::{Flow, Io, Session, Start, Transport};
use alloc::boxed::Box;
use alloc::sync::Arc;

pub(super) const SERVICE: Service = Service {
    name: "chargen",
    summary: "sends a pattern of characters without end",
    source: "RFC 864",
    port: 19,
    board: Board { tcp: &[7019], udp: &[7019] },
    // RFC 864 answers any datagram with 0 to 512 bytes: up to 512 times what a forger had to send.
    datagram: Datagram::Bounded,
    options: &[],
    try_it: TryIt { ask: "", show: "head -3" },
    examples: &[
        Example {
            title: "each line starts one character further along the ring",
            options: &[],
            unix_s: 0,
            input: b"",
            output: b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n\
                !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n\
                \"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghi\r\n",
            over: Over::Endless,
        },
        Example {
            title: "input is thrown away meanwhile",
            options: &[],
            unix_s: 0,
            input: b"stop!\r\n",
            output: b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n",
            over: Over::Endless,
        },
    ],
    make: |_| Ok(Arc::new(|start| Box::new(Chargen::new(start)))),
};

/// Printing characters in the ring.
const RING: usize = 95;
/// Characters of a line, CR LF not counted.
const WIDTH: usize = 72;
/// Bytes after which the pattern repeats.
const PERIOD: usize = RING * (WIDTH + 2);
/// Longest answer to a datagram, bytes.
const MAX_ANSWER: usize = 512;

static CYCLE: [u8; PERIOD] = cycle();

const fn cycle() -> [u8; PERIOD] {
    let mut cycle = [0; PERIOD];
    let mut at = 0;
    while at < PERIOD {
        let (line, column) = (at / (WIDTH + 2), at % (WIDTH + 2));
        cycle[at] = match column {
            WIDTH => b'\r',
            // The two columns after the last character are the line's end.
            c if c > WIDTH => b'\n',
            _ => b' ' + ((line + column) % RING) as u8,
        };
        at += 1;
    }
    cycle
}

struct Chargen {
    /// Where in the cycle the next byte is.
    at: usize,
    /// How long the answer to a datagram is, bytes.
    datagram: Option<usize>,
}

impl Chargen {
    fn new(start: &Start) -> Chargen {
        // RFC 864 allows an answer of no bytes as well; it would pass for a lost one.
        let length = || 1 + Random::new(start.seed).below(MAX_ANSWER);
        Chargen { at: 0, datagram: (start.transport == Transport::Datagram).then(length) }
    }
}

impl Session for Chargen {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        // Input that stayed here would stop the peer from sending, and a peer that sends before it reads would
        // then wait for ever.
        io.rx.clear();
        if let Some(length) = self.datagram {
            io.tx.push(&CYCLE[..length]);
            return Flow::Finish;
        }
        if io.rx_eof {
            return Flow::Finish;
        }
        let mut room = io.tx.room();
        io.tx.reserve(room);
        while room > 0 {
            let piece = &CYCLE[self.at..PERIOD.min(self.at + room)];
            io.tx.push(piece);
            room -= piece.len();
            self.at = (self.at + piece.len()) % PERIOD;
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Bounds, Connection};
    use crate::time::{Instant, Wall};

    #[test]
    fn the_cycle_is_the_one_of_the_rfc() {
        assert_eq!(CYCLE.len(), 7_030);
        for (number, line) in CYCLE.chunks(74).enumerate() {
            for (column, byte) in line[..72].iter().enumerate() {
                assert_eq!(usize::from(*byte), 0x20 + (number + column) % 95);
            }
            assert_eq!(&line[72..], b"\r\n");
        }
        assert!(CYCLE.starts_with(b" !\"#") && CYCLE[..74].ends_with(b"^_`abcdefg\r\n"));
        assert!(CYCLE[7_030 - 74..].starts_with(b"~ !\"#") && CYCLE.ends_with(b"^_`abcdef\r\n"));
    }

    #[test]
    fn a_stream_goes_round_and_round() {
        let start = Start { transport: Transport::Stream, wall: Wall::utc(0), seed: 0 };
        let bounds = Bounds { tx: 1_000, ..Bounds::default() };
        let mut connection =
            Connection::new(Box::new(Chargen::new(&start)), start.transport, bounds, Instant(0));
        let mut expected = CYCLE.iter().cycle();
        for n in 0..200 {
            let mut out = connection.take_write();
            assert!(out.len() <= 1_000);
            let sent = out.len().saturating_sub(n % 7).max(1);
            assert!(out.bytes()[..sent].iter().eq(expected.by_ref().take(sent)));
            out.consume(sent);
            connection.on_write(out, Instant(0));
        }
    }

    #[test]
    fn the_cycle_has_the_known_checksum() {
        // CRC-32 (ISO-HDLC) of the file whose SHA-256 is
        // 3cdea95b39ae39243127adde7cd303a8b8c9f25248a3fc0c483ba70b00fb8f19.
        let crc = CYCLE.iter().fold(u32::MAX, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        });
        assert_eq!(!crc, 0x35ff_b035);
    }
}
