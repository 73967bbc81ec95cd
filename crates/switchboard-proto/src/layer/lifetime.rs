//! Ends a conversation that lasts too long, however busy it is.

use crate::session::{Cause, Flow, Io, Session};
use crate::time::Instant;
use core::time::Duration;

/// Ends the session inside at a fixed time: politely when everything was sent, with a reset otherwise.
pub struct Lifetime<S> {
    inside: S,
    until: Instant,
}

impl<S> Lifetime<S> {
    /// Wraps `inside`, which starts at `now` and may last for `limit`.
    pub fn new(inside: S, limit: Duration, now: Instant) -> Lifetime<S> {
        Lifetime { inside, until: now + limit }
    }
}

impl<S: Session> Session for Lifetime<S> {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        if io.now >= self.until {
            io.because(Cause::Lifetime);
            return if io.tx.pending() == 0 { Flow::Finish } else { Flow::Abort };
        }
        io.wake_at(self.until);
        self.inside.advance(io)
    }
}
