//! Time (RFC 868): the seconds since 1900 as four bytes, most significant first, then the end.
//!
//! The counter has 32 bits and wraps on 2036-02-07 at 06:28:16 UTC; a client chooses the era nearest to its own
//! clock.

use super::{Board, Datagram, Example, Over, Service, TryIt};
use crate::session::{Flow, Io, Session};
use alloc::boxed::Box;
use alloc::sync::Arc;

pub(super) const SERVICE: Service = Service {
    name: "time",
    summary: "tells the seconds since 1900 as four bytes",
    source: "RFC 868",
    port: 37,
    board: Board { tcp: &[7037], udp: &[7037] },
    datagram: Datagram::Fixed(64),
    options: &[],
    try_it: TryIt { ask: "", show: "od -An -tx1" },
    examples: &[
        Example {
            title: "1970-01-01T00:00:00Z is 2,208,988,800",
            options: &[],
            unix_s: 0,
            input: b"",
            output: b"\x83\xaa\x7e\x80",
            over: Over::Both,
        },
        Example {
            title: "1980-01-01T00:00:00Z is 2,524,521,600, as RFC 868 has it; input is thrown away",
            options: &[],
            unix_s: 315_532_800,
            input: b"?",
            output: b"\x96\x79\x24\x80",
            over: Over::Both,
        },
        Example {
            title: "2036-02-07T06:28:15Z is the last second of the era",
            options: &[],
            unix_s: 2_085_978_495,
            input: b"",
            output: b"\xff\xff\xff\xff",
            over: Over::Both,
        },
        Example {
            title: "2036-02-07T06:28:16Z is the first of the next",
            options: &[],
            unix_s: 2_085_978_496,
            input: b"",
            output: b"\0\0\0\0",
            over: Over::Both,
        },
        Example {
            title: "1968-01-01T00:00:00Z is 2,145,916,800: clocks before 1970 count too",
            options: &[],
            unix_s: -63_072_000,
            input: b"",
            output: b"\x7f\xe8\x17\x80",
            over: Over::Both,
        },
    ],
    make: |_| Ok(Arc::new(|start| Box::new(Time { unix_s: start.wall.unix_s }))),
};

/// Seconds from 1900-01-01 to 1970-01-01, both at midnight UTC.
const UNIX_EPOCH_S: i64 = 2_208_988_800;

struct Time {
    unix_s: i64,
}

impl Session for Time {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        // Cut to the low 32 bits on purpose: that is the protocol's wrap.
        let seconds = self.unix_s.wrapping_add(UNIX_EPOCH_S) as u32;
        io.tx.push(&seconds.to_be_bytes());
        Flow::Finish
    }
}
