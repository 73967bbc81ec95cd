//! Protocols without I/O.
//!
//! ```text
//!   engine (crate switchboard-net)          this crate
//!   ─────────────────────────────   ──────────────────────────────────────────
//!   recv ── Buffer ──▶ Connection::on_read ──▶ Session::advance(&mut Io) ──▶ Flow
//!   send ◀─ Buffer ─── Connection::take_write ◀── io.tx
//! ```
//!
//! * [`Session`]: a protocol's side of one conversation; [`Io`] is all it may see, [`Flow`] its verdict.
//! * [`Connection`], [`Wants`]: buffers, half-close, backpressure, lingering close, deadlines.
//! * [`Service`], [`SERVICES`]: the table of protocols; [`Recipe`] is a configured one.
//! * [`layer`]: sessions made of a session; [`datagram`]: a conversation that lasts one packet.
//! * [`proxy_header`]: what a proxy says of its client (PROXY protocol v1, v2).
//! * [`prelude`]: what is said before a conversation; [`tunnel`]: to a proxy; [`starttls`]: to a server with TLS.
//! * [`race`]: which of several addresses to try when (Happy Eyeballs).
//! * [`Workload`], [`WORKLOADS`]: what load clients do; [`Errand`] is a configured one, [`Dialogue`] one connection of it.
//! * [`sim`]: one conversation in virtual time, replayable from one seed.
//!
//! `no_std`, no unsafe code, no dependencies, no clock, no randomness, no I/O: everything is an argument.
//!
//! ```
//! use switchboard_proto::{Bounds, Buffer, Connection, Instant, Service, Start, Transport, Wall};
//!
//! let echo = Service::find("echo").unwrap().recipe(&[]).unwrap();
//! let start = Start { transport: Transport::Stream, wall: Wall::utc(0), seed: 1 };
//! let now = Instant(0);
//! let mut connection = Connection::new(echo.session(&start), start.transport, Bounds::default(), now);
//! connection.on_read(Buffer::from(&b"hello"[..]), now);
//! assert_eq!(connection.take_write().bytes(), b"hello");
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod buffer;
mod connection;
pub mod datagram;
mod dialogue;
pub mod layer;
pub mod prelude;
pub mod proxy_header;
pub mod race;
mod random;
mod service;
mod session;
pub mod sim;
mod size;
pub mod starttls;
mod telnet;
mod time;
pub mod tunnel;
pub mod workload;

pub use buffer::{Buffer, Line};
pub use connection::{Bounds, Connection, End, Wants};
pub use dialogue::{Dialogue, WrongContent};
pub use random::Random;
pub use service::{
    AMPLIFY, Board, Condition, Datagram, Example, Maker, OptionError, Over, Recipe, SERVICES, Service,
    ServiceOption, Settings, TryIt, Watched,
};
pub use session::{Cause, Flow, Io, Session, Start, Transport, Tx};
pub use size::Sizes;
pub use telnet::Telnet;
pub use time::{Civil, Instant, Wall, Zone};
pub use workload::{Errand, Shape, WORKLOADS, Workload};
