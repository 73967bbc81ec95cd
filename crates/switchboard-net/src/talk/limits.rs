//! The time limits of a conversation: each is the moment at which it passes, [`Instant::NEVER`] while it does not
//! apply.

use super::{AfterEof, Cut, Receiving, Sending, Talk, Waiting, Way, Ways};
use crate::sys::local::Nature;
use std::time::Duration;
use switchboard_proto::Instant;

/// How long replies to datagrams are awaited after the last one, unless asked otherwise: a server that takes two seconds
/// is heard.
const REPLY_WAIT: Duration = Duration::from_secs(2);
/// How long input that goes on after the peer's end may pause, unless asked otherwise.
const AFTER_EOF: Duration = Duration::from_secs(1);
/// How long the rest of the input may take to leave after the output failed: the run has failed already.
pub(super) const AFTER_OUTPUT: Duration = Duration::from_millis(500);
/// After this long without an answer, whoever waits is told.
const PATIENCE: Duration = crate::dial::PATIENCE;

impl Talk<'_> {
    pub(super) fn after_eof(&self) -> AfterEof {
        self.rules.after_eof.unwrap_or(match self.input_nature {
            Nature::Regular => AfterEof::Forever,
            Nature::Terminal => AfterEof::Now,
            // Also of a peer whose kernel is known to take nothing any more: whoever fills the pipe may be slow, and the
            // loss of what he writes must be noticed.
            _ => AfterEof::Pause(AFTER_EOF),
        })
    }

    /// When input that goes on after the peer's end has paused for too long.
    pub(super) fn pause_ends(&self) -> Instant {
        match self.after_eof() {
            AfterEof::Pause(pause)
                if self.input_open
                    && self.receiving == Receiving::Ended
                    && self.up.is_empty()
                    && (self.way_up != Way::Short || !self.net_full) =>
            {
                self.peer_ended.max(self.input_moved) + pause
            }
            _ => Instant::NEVER,
        }
    }

    pub(super) fn limit(&self, from: Instant, limit: Option<Duration>) -> Instant {
        match limit {
            Some(limit) if from != Instant::NEVER => from + limit,
            _ => Instant::NEVER,
        }
    }

    pub(super) fn total_ends(&self) -> Instant {
        self.limit(self.started, self.rules.timeout)
    }

    /// When silence has lasted too long. While the output takes nothing, the silence is not the peer's.
    pub(super) fn silence_ends(&self) -> Instant {
        if !self.down.is_empty() {
            return Instant::NEVER;
        }
        if self.kind.is_datagram() {
            let wait = self.rules.idle_timeout.unwrap_or(REPLY_WAIT);
            let from =
                if self.finished == Instant::NEVER { Instant::NEVER } else { self.finished.max(self.moved) };
            return self.limit(from, Some(wait));
        }
        // Nor is it while input waits for its time.
        self.limit(self.moved.max(self.paced_until()), self.rules.idle_timeout)
    }

    pub(super) fn quit_ends(&self) -> Instant {
        if self.receiving == Receiving::Stopped && !self.companions.are_open() {
            return Instant::NEVER;
        }
        self.limit(self.finished, self.rules.quit_after)
    }

    pub(super) fn output_failure_ends(&self) -> Instant {
        let from = if self.sending == Sending::Open { self.output_failed } else { Instant::NEVER };
        self.limit(from, Some(AFTER_OUTPUT))
    }

    /// When input that waits for its time may leave: [`Instant`] 0 if none does.
    pub(super) fn paced_until(&self) -> Instant {
        let paced = self.pace.is_set() && !self.up.is_empty() && self.sending == Sending::Open;
        if paced { self.pace.next() } else { Instant(0) }
    }

    /// When input that waits for its time may leave, as a time limit.
    pub(super) fn pace_ends(&self) -> Instant {
        match self.paced_until() {
            Instant(0) => Instant::NEVER,
            _ if self.net_full => Instant::NEVER,
            next => next,
        }
    }

    pub(super) fn start_patience_ends(&self) -> Instant {
        let waits = !self.start_told
            && self.sent == 0
            && self.received == 0
            && self.receiving == Receiving::Open
            && (self.sending == Sending::Open || self.rules.ways == Ways::Receive)
            && !self.kind.is_datagram();
        self.limit(if waits { self.started } else { Instant::NEVER }, Some(PATIENCE))
    }

    pub(super) fn patience_ends(&self) -> Instant {
        let waits = !self.told
            && self.receiving == Receiving::Open
            && self.sending == Sending::Finished
            && self.rules.ways == Ways::Both
            && self.received == self.received_when_finished
            && !self.kind.is_datagram();
        self.limit(if waits { self.finished } else { Instant::NEVER }, Some(PATIENCE))
    }

    pub(super) fn deadline(&self) -> Instant {
        self.total_ends()
            .min(self.silence_ends())
            .min(self.quit_ends())
            .min(self.pause_ends())
            .min(self.output_failure_ends())
            .min(self.patience_ends())
            .min(self.start_patience_ends())
            .min(self.pace_ends())
    }

    /// Applies the time limits that have passed.
    /// `quiet`: poll has found nothing. What waits for silence does not end while there is something to move, even
    /// if this process was stopped for so long that the limit has passed.
    pub(super) fn on_time(&mut self, now: Instant, quiet: bool) -> Option<Cut> {
        if now >= self.total_ends() {
            return Some(Cut::Timeout);
        }
        if quiet && now >= self.silence_ends() {
            if !self.kind.is_datagram() || self.rules.count.is_some() {
                return Some(Cut::Idle);
            }
            self.receiving = Receiving::Stopped;
        }
        if now >= self.quit_ends() {
            self.receiving = Receiving::Stopped;
            self.companions.abandon();
        }
        if quiet && now >= self.pause_ends() {
            self.input_open = false;
        }
        if now >= self.output_failure_ends() {
            self.sending = Sending::Broken;
        }
        if now >= self.patience_ends() {
            self.told = true;
            self.witness.waiting(Waiting::Answer);
        }
        if now >= self.start_patience_ends() {
            self.start_told = true;
            self.witness.waiting(Waiting::Start);
        }
        None
    }
}
