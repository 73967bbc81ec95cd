//! Layers: sessions made of a session. A layer sees the same [`Io`](crate::Io) before and after the session that
//! it wraps, so it works under every engine and over every transport.

mod idle;
mod lifetime;

pub use idle::Idle;
pub use lifetime::Lifetime;
