//! Echo (RFC 862): sends back what it receives, until the peer has ended its input.

use super::{Board, Datagram, Example, Over, Service, TryIt};
use crate::session::{Flow, Io, Session};
use alloc::boxed::Box;
use alloc::sync::Arc;

pub(super) const SERVICE: Service = Service {
    name: "echo",
    summary: "sends everything back",
    source: "RFC 862",
    port: 7,
    board: Board { tcp: &[7007, 9877], udp: &[7007] },
    datagram: Datagram::Bounded,
    options: &[],
    try_it: TryIt { ask: "echo hello", show: "" },
    examples: &[
        Example {
            title: "bytes come back unchanged, line feeds or not",
            options: &[],
            unix_s: 0,
            input: b"hello\nworld\0\xff",
            output: b"hello\nworld\0\xff",
            over: Over::Both,
        },
        Example {
            title: "an empty datagram is answered by an empty one",
            options: &[],
            unix_s: 0,
            input: b"",
            output: b"",
            over: Over::Both,
        },
    ],
    make: |_| Ok(Arc::new(|_| Box::new(Echo))),
};

struct Echo;

impl Session for Echo {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        io.tx.append(io.rx);
        if io.rx_eof && io.rx.is_empty() { Flow::Finish } else { Flow::Continue }
    }
}
