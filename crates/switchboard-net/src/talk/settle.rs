//! The end: what the peer has of what was sent.

use super::limits::AFTER_OUTPUT;
use super::{Receiving, Sending, Talk};
use crate::endpoint::Kind;
use crate::sys::{clock, socket};
use rustix::io::Errno;
use std::thread;
use std::time::Duration;

/// How long the peer may take to acknowledge any of the last bytes: one who reads slowly is given the time he needs.
const SETTLE: Duration = Duration::from_secs(5);

impl Talk<'_> {
    pub(super) fn is_over(&mut self) -> bool {
        let sent = self.sending != Sending::Open;
        let unaware = !self.rules.half_close && self.receiving != Receiving::Open;
        if sent && (unaware || self.output_error.is_some()) {
            // They do not know that it is over, or nobody wants to wait for them.
            self.companions.abandon();
        }
        let out = self.sending == Sending::Broken || !self.net.has_output();
        sent && out
            && self.receiving != Receiving::Open
            && self.down.is_empty()
            && !self.companions.are_open()
    }

    /// Bytes of the input that the peer is not known to have.
    pub(super) fn outstanding(&mut self) -> u64 {
        (self.up.len() + self.net.outstanding()) as u64
    }

    /// Waits until the peer's kernel has everything, at most [`SETTLE`] without any progress: a close before that could lose bytes
    /// without anybody being told. Returns the number of bytes that it does not have.
    pub(super) fn settle(&mut self) -> u64 {
        if self.net.is_secure() && self.sending == Sending::Finished {
            // Whoever was not told of the end of the input is told now: without close_notify he would have to take what
            // he got for a part.
            let _ = self.net.finish();
        }
        let mut until = clock::now() + if self.output_error.is_some() { AFTER_OUTPUT } else { SETTLE };
        let mut pause = Duration::from_micros(200);
        let mut least = u64::MAX;
        loop {
            // In this order: what is acknowledged between the two looks is not missing.
            let hopeless = self.net.unacknowledged() == 0 || socket::is_closed(&self.net);
            let left = self.outstanding();
            if left < least && self.output_error.is_none() {
                until = (clock::now() + SETTLE).min(self.total_ends());
            }
            least = least.min(left);
            if hopeless || clock::now() >= until {
                // A reset may have come between the two looks, or while nobody was looking.
                if self.kind == Kind::Tcp
                    && self.receiving != Receiving::Ended
                    && let Some(errno) = socket::take_error(&self.net)
                    && errno != Errno::PIPE
                {
                    self.error.get_or_insert(errno);
                }
                return left;
            }
            // No event tells of an acknowledgement, so the queue is looked at ever more slowly.
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}
