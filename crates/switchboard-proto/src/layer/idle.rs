//! Ends a conversation in which nothing moved for a while.

use crate::session::{Cause, Flow, Io, Session};
use crate::time::Instant;
use core::time::Duration;

/// Ends the session inside when no byte moved in either direction for `limit`: politely when everything was
/// sent, with a reset when the peer does not take what is queued for it.
pub struct Idle<S> {
    inside: S,
    limit: Duration,
    moved: u64,
    until: Instant,
}

impl<S> Idle<S> {
    /// Wraps `inside`, which starts at `now`.
    pub fn new(inside: S, limit: Duration, now: Instant) -> Idle<S> {
        Idle { inside, limit, moved: 0, until: now + limit }
    }
}

impl<S: Session> Session for Idle<S> {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        if io.moved != self.moved {
            self.moved = io.moved;
            self.until = io.now + self.limit;
        } else if io.now >= self.until {
            io.because(Cause::Idle);
            return if io.tx.pending() == 0 { Flow::Finish } else { Flow::Abort };
        }
        io.wake_at(self.until);
        self.inside.advance(io)
    }
}
