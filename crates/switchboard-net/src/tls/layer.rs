//! [`Layer`]: a session that speaks TLS with the peer and lets the session inside see plaintext. It is a
//! [`Session`] itself, so every engine has TLS and none knows it.
//!
//! | the peer | the session inside |
//! |---|---|
//! | shakes hands | does not exist yet for anybody: it is first called when that is done |
//! | says close_notify | sees the end of its input, and goes on |
//! | ends the transport without it | never sees an end: what it had answered is sent, and the log says `tls-truncated` |
//! | does not shake hands in time, in bounds or at all | is never called: `tls-handshake` |

use super::{Codec, Facts, Failure, State};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchboard_proto::{Buffer, Cause, Flow, Instant, Io, Session};

/// Plaintext that the session inside has not taken, bytes; from there on ciphertext is left to the transport.
const ROOM: usize = 64 * 1024;

/// What became known of a session, for the log record of its connection. Shared, because a session is gone by then.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Known>>);

/// See [`Witness`].
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What was agreed on, once the handshake was done.
    pub facts: Option<Facts>,
    /// The name that the client asked for, also if the handshake failed.
    pub server_name: Option<String>,
    /// Why the session ended, if it ended badly.
    pub failure: Option<Failure>,
}

impl Witness {
    /// What is known so far.
    pub fn known(&self) -> Known {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn opened(&self, codec: &Codec) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.facts = codec.facts();
        known.server_name = codec.server_name().map(str::to_owned);
    }

    pub(crate) fn failed(&self, codec: &Codec, failure: Failure) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.server_name.is_none() {
            known.server_name = codec.server_name().map(str::to_owned);
        }
        known.failure = Some(failure);
    }
}

/// TLS around a session.
pub struct Layer {
    codec: Codec,
    inside: Box<dyn Session>,
    plain: Buffer,
    handshake_until: Instant,
    handshake_timeout: Duration,
    witness: Witness,
    /// The handshake is done, and the session inside was called.
    open: bool,
}

impl Layer {
    /// Wraps `inside`; a handshake that is not done `handshake_timeout` after `now` ends the connection.
    pub fn new(
        codec: Codec,
        inside: Box<dyn Session>,
        handshake_timeout: Duration,
        witness: Witness,
        now: Instant,
    ) -> Layer {
        Layer {
            codec,
            inside,
            plain: Buffer::new(),
            handshake_until: now + handshake_timeout,
            handshake_timeout,
            witness,
            open: false,
        }
    }

    /// Ends the connection: the peer gets what was answered, and an alert where TLS has one.
    fn fail(&mut self, failure: Failure, io: &mut Io<'_>) -> Flow {
        io.because(Cause::Layer(match (&failure, self.open) {
            (Failure::Truncated, _) => "tls-truncated",
            (_, false) => "tls-handshake",
            (_, true) => "tls-broken",
        }));
        self.witness.failed(&self.codec, failure);
        self.transmit(io);
        Flow::Finish
    }

    fn transmit(&mut self, io: &mut Io<'_>) {
        let mut cipher = Buffer::new();
        self.codec.transmit(&mut cipher);
        io.tx.append_all(&mut cipher);
    }

    /// Lets the session inside do what it can with the plaintext that is there.
    fn advance_inside(&mut self, io: &mut Io<'_>) -> Flow {
        let ended = self.codec.state() == State::PeerEnded;
        let (mut out, mut cipher) = (Buffer::new(), Buffer::new());
        let mut flow = self.inside.advance(&mut io.inside(&mut self.plain, ended, &mut out));
        self.codec.send(&mut out, &mut cipher);
        io.tx.append_all(&mut cipher);
        if ended {
            io.peer_ended();
            // Nothing to send, no time to wait for, no more input: nothing can ever change again.
            if flow == Flow::Continue && io.tx.pending() == 0 && io.wakes_at() == Instant::NEVER {
                flow = Flow::Finish;
            }
        }
        if flow == Flow::Finish {
            self.codec.close(&mut cipher);
            io.tx.append_all(&mut cipher);
        }
        flow
    }
}

impl Session for Layer {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        loop {
            let room = ROOM.saturating_sub(self.plain.len());
            if let Err(failure) = self.codec.receive(io.rx, &mut self.plain, room) {
                return self.fail(failure, io);
            }
            self.transmit(io);
            if self.codec.state() == State::Handshake {
                if io.rx_eof {
                    return self.fail(Failure::Unfinished, io);
                }
                if io.now >= self.handshake_until {
                    let limit_ms = u64::try_from(self.handshake_timeout.as_millis()).unwrap_or(u64::MAX);
                    return self.fail(Failure::Late { limit_ms }, io);
                }
                io.wake_at(self.handshake_until);
                return Flow::Continue;
            }
            if !self.open {
                self.open = true;
                self.witness.opened(&self.codec);
            }
            match self.advance_inside(io) {
                Flow::Continue => {}
                end => return end,
            }
            // More ciphertext is there, and by now room for it too.
            if io.rx.is_empty() || self.plain.len() >= ROOM {
                break;
            }
        }
        if io.rx_eof && io.rx.is_empty() && self.codec.state() == State::Open {
            // What came whole is still answered, as long as that goes on.
            if self.plain.is_empty() || io.tx.pending() == 0 {
                let _ = self.codec.receive_end();
                return self.fail(Failure::Truncated, io);
            }
        }
        drop(self.plain.settle());
        Flow::Continue
    }
}

/// A connection that cannot even begin to speak TLS.
pub(super) struct Broken(pub(super) Option<Failure>, pub(super) Witness);

impl Session for Broken {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        io.because(Cause::Layer("tls-handshake"));
        self.1.0.lock().unwrap_or_else(PoisonError::into_inner).failure = self.0.take();
        Flow::Finish
    }
}
