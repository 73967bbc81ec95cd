//! Sum, as binary: two integers are answered by their sum.
//!
//! The original (UNP §5.18) sends `struct { long, long }` in the host's own byte order, which fails as soon as
//! the two hosts differ. The default here is a plain XDR structure (RFC 4506), most significant byte first:
//!
//! ```text
//!   request, 16 bytes   hyper first; hyper second;
//!   answer,  12 bytes   unsigned status (0 = ok, 1 = overflow); hyper sum (0 unless ok);
//! ```
//!
//! The original layouts remain for old clients; which one is never guessed. They have no place for a status, so
//! their sums wrap, as on the machines they come from.

use super::{Board, Datagram, Example, OptionError, Over, Service, ServiceOption, Settings, TryIt};
use crate::session::{Flow, Io, Session, Transport, Tx};
use alloc::boxed::Box;
use alloc::sync::Arc;

pub(super) const SERVICE: Service = Service {
    name: "sum-binary",
    summary: "answers two binary integers by their sum",
    source: "UNP section 5.18; RFC 4506",
    port: 0,
    board: Board { tcp: &[9879], udp: &[] },
    datagram: Datagram::Bounded,
    options: &[ServiceOption {
        name: "abi",
        values: "xdr|lp64-le|lp64-be|ilp32-le|ilp32-be",
        default: "xdr",
        summary: "layout of the integers: XDR with a status, or C's long as the named kind of machine stores it",
    }],
    try_it: TryIt { ask: "printf '\\0\\0\\0\\0\\0\\0\\0\\3\\0\\0\\0\\0\\0\\0\\0\\4'", show: "od -An -tu1" },
    examples: &[
        Example {
            title: "1 + 2 = 3, status 0",
            options: &[],
            unix_s: 0,
            input: b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02",
            output: b"\0\0\0\0\0\0\0\0\0\0\0\x03",
            over: Over::Both,
        },
        Example {
            title: "(2^63 - 1) + 1 does not fit: status 1, sum 0",
            options: &[],
            unix_s: 0,
            input: b"\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01",
            output: b"\0\0\0\x01\0\0\0\0\0\0\0\0",
            over: Over::Both,
        },
        Example {
            title: "-1 + -22 = -23, then 0 + 0 = 0: answers come in order",
            options: &[],
            unix_s: 0,
            input: b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xea\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            output: b"\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xe9\0\0\0\0\0\0\0\0\0\0\0\0",
            over: Over::Stream,
        },
        Example {
            title: "a request cut off by the end of input is not answered",
            options: &[],
            unix_s: 0,
            input: b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0",
            output: b"\0\0\0\0\0\0\0\0\0\0\0\x03",
            over: Over::Stream,
        },
        Example {
            title: "nor is a datagram that is not exactly one request",
            options: &[],
            unix_s: 0,
            input: b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0",
            output: b"",
            over: Over::Silence,
        },
        Example {
            title: "1 + 2 = 3 as an x86-64 machine stores it",
            options: &[("abi", "lp64-le")],
            unix_s: 0,
            input: b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0",
            output: b"\x03\0\0\0\0\0\0\0",
            over: Over::Stream,
        },
        Example {
            title: "-1 + -22 = -23",
            options: &[("abi", "lp64-le")],
            unix_s: 0,
            input: b"\xff\xff\xff\xff\xff\xff\xff\xff\xea\xff\xff\xff\xff\xff\xff\xff",
            output: b"\xe9\xff\xff\xff\xff\xff\xff\xff",
            over: Over::Stream,
        },
        Example {
            title: "(2^63 - 1) + 1 wraps: this layout cannot tell an error",
            options: &[("abi", "lp64-le")],
            unix_s: 0,
            input: b"\xff\xff\xff\xff\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0",
            output: b"\0\0\0\0\0\0\0\x80",
            over: Over::Stream,
        },
        Example {
            title: "1 + 2 = 3 as a 64-bit SPARC stores it",
            options: &[("abi", "lp64-be")],
            unix_s: 0,
            input: b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02",
            output: b"\0\0\0\0\0\0\0\x03",
            over: Over::Stream,
        },
        Example {
            title: "1 + 2 = 3 as a 32-bit x86 stores it; (2^31 - 1) + 1 wraps",
            options: &[("abi", "ilp32-le")],
            unix_s: 0,
            input: b"\x01\0\0\0\x02\0\0\0\xff\xff\xff\x7f\x01\0\0\0",
            output: b"\x03\0\0\0\0\0\0\x80",
            over: Over::Stream,
        },
        Example {
            title: "1 + 2 = 3 as a 32-bit SPARC stores it",
            options: &[("abi", "ilp32-be")],
            unix_s: 0,
            input: b"\0\0\0\x01\0\0\0\x02",
            output: b"\0\0\0\x03",
            over: Over::Stream,
        },
        Example {
            title: "datagrams carry the default layout only",
            options: &[("abi", "lp64-le")],
            unix_s: 0,
            input: b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0",
            output: b"",
            over: Over::Silence,
        },
    ],
    make: |settings| {
        let abi = Abi::new(settings)?;
        Ok(Arc::new(move |start| Box::new(SumBinary { abi, transport: start.transport })))
    },
};

/// How the integers lie in the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Abi {
    Xdr,
    /// C's `long` has 64 bits.
    Lp64(Order),
    /// C's `long` has 32 bits.
    Ilp32(Order),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Abi {
    fn new(settings: &Settings<'_>) -> Result<Abi, OptionError> {
        match settings.value("abi") {
            "xdr" => Ok(Abi::Xdr),
            "lp64-le" => Ok(Abi::Lp64(Order::Little)),
            "lp64-be" => Ok(Abi::Lp64(Order::Big)),
            "ilp32-le" => Ok(Abi::Ilp32(Order::Little)),
            "ilp32-be" => Ok(Abi::Ilp32(Order::Big)),
            _ => Err(settings.bad("abi")),
        }
    }

    /// Bytes of a request.
    fn request(self) -> usize {
        match self {
            Abi::Xdr | Abi::Lp64(_) => 16,
            Abi::Ilp32(_) => 8,
        }
    }

    /// Answers `request`, which has the length of one.
    fn answer(self, request: &[u8], tx: &mut Tx<'_>) {
        match self {
            Abi::Xdr => {
                let sum = Order::Big.i64(request, 0).checked_add(Order::Big.i64(request, 8));
                tx.push(&u32::from(sum.is_none()).to_be_bytes());
                tx.push(&sum.unwrap_or(0).to_be_bytes());
            }
            Abi::Lp64(order) => {
                let sum = order.i64(request, 0).wrapping_add(order.i64(request, 8));
                tx.push(&if order == Order::Big { sum.to_be_bytes() } else { sum.to_le_bytes() });
            }
            Abi::Ilp32(order) => {
                let sum = order.i32(request, 0).wrapping_add(order.i32(request, 4));
                tx.push(&if order == Order::Big { sum.to_be_bytes() } else { sum.to_le_bytes() });
            }
        }
    }
}

impl Order {
    fn i64(self, bytes: &[u8], at: usize) -> i64 {
        let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        if self == Order::Big { i64::from_be_bytes(field) } else { i64::from_le_bytes(field) }
    }

    fn i32(self, bytes: &[u8], at: usize) -> i32 {
        let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        if self == Order::Big { i32::from_be_bytes(field) } else { i32::from_le_bytes(field) }
    }
}

struct SumBinary {
    abi: Abi,
    transport: Transport,
}

impl Session for SumBinary {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        let length = self.abi.request();
        if self.transport == Transport::Datagram && (self.abi != Abi::Xdr || io.rx.len() != length) {
            return Flow::Abort;
        }
        // A peer that sends requests and reads no answers is held back here: what is not taken fills `rx`.
        while io.tx.room() > 0 {
            match io.rx.message(length) {
                Some(request) => {
                    self.abi.answer(request, &mut io.tx);
                    io.rx.consume(length);
                }
                None if io.rx_eof => {
                    if !io.rx.is_empty() {
                        io.note(b"the end of input cut off a request");
                    }
                    return Flow::Finish;
                }
                None => break,
            }
        }
        Flow::Continue
    }
}
