//! Discard (RFC 863): throws away what it receives and never answers, until the peer has ended its input.

use super::{Board, Datagram, Example, Over, Service, TryIt};
use crate::session::{Flow, Io, Session};
use alloc::boxed::Box;
use alloc::sync::Arc;

pub(super) const SERVICE: Service = Service {
    name: "discard",
    summary: "takes everything, answers nothing",
    source: "RFC 863",
    port: 9,
    board: Board { tcp: &[7009], udp: &[7009] },
    datagram: Datagram::Silent,
    options: &[],
    try_it: TryIt { ask: "echo hello", show: "" },
    examples: &[
        Example {
            title: "whatever is sent, nothing comes back but the end",
            options: &[],
            unix_s: 0,
            input: b"is anybody there?\r\n\0\xff",
            output: b"",
            over: Over::Stream,
        },
        Example {
            title: "a datagram is never answered",
            options: &[],
            unix_s: 0,
            input: b"is anybody there?",
            output: b"",
            over: Over::Silence,
        },
        Example {
            title: "neither is an empty one",
            options: &[],
            unix_s: 0,
            input: b"",
            output: b"",
            over: Over::Silence,
        },
    ],
    make: |_| Ok(Arc::new(|_| Box::new(Discard))),
};

struct Discard;

impl Session for Discard {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        io.rx.clear();
        if io.rx_eof { Flow::Finish } else { Flow::Continue }
    }
}
