//! TLS without I/O, for both sides: [`Codec`] turns ciphertext into plaintext and back; who reads and writes the
//! socket is the caller's business. rustls does the work, and no other crate of the workspace names it.
//!
//! ```text
//!            receive(cipher, plain, room)                    the peer's TCP end → receive_end()
//!   socket ──────────────────────────────▶ Codec ──▶ reader    Ok: close_notify came first
//!          ◀────────────────────────────── (rustls) ◀── writer Err(Failure::Truncated): it did not
//!            send(plain, cipher), close(cipher)
//! ```
//!
//! How to use it, on either side:
//!
//! 1. [`Codec::client`] or [`Codec::server`], then [`Codec::transmit`] (a client speaks first).
//! 2. Input from the socket → [`Codec::receive`]; then always [`Codec::transmit`], since an answer may be due
//!    (handshake, key update, alert), also after a [`Failure`]: the alert tells the peer why.
//! 3. At [`State::Open`] there are [`Codec::facts`], and [`Codec::send`] takes plaintext.
//! 4. [`State::PeerEnded`]: the peer's close_notify, its half-close. We may go on sending.
//! 5. Our own half-close is [`Codec::close`], followed by `shutdown(SHUT_WR)` when that is out.
//! 6. TCP's end of input → [`Codec::receive_end`]; without close_notify before it, what came may be cut short.
//!
//! Nothing here waits or loops for the peer: every call uses what is there and returns (rustls' `complete_io`,
//! which looped for ever on some peers, RUSTSEC-2024-0336, is never called).

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

mod authority;
mod certificate;
mod client;
mod codec;
mod facts;
mod failure;
mod identity;
mod layer;
mod roots;
mod server;
mod telling;

pub use authority::{Authority, Certified};
pub use certificate::{Certificate, San};
pub use client::{Client, Wishes};
pub use codec::{Codec, HANDSHAKE_BYTES, State};
pub use facts::Facts;
pub use failure::Failure;
pub use identity::Identity;
pub use layer::{Known, Layer, Witness};
pub use roots::Roots;
pub use server::{Clients, HANDSHAKE_TIMEOUT, Server, Settings, Version};

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("TLS needs cryptography: build with the feature `aws-lc-rs` (the default) or `ring`");

/// The cryptography: aws-lc-rs, or ring where only the feature `ring` is on.
pub fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}
