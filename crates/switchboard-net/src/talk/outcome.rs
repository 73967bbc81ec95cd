//! [`Outcome`]: what came of a conversation.

use super::{Cut, Talk};
use crate::sys::clock;
use crate::tls::Failure;
use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// What came of a conversation.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Bytes that the kernel took for the peer.
    pub sent: u64,
    /// Bytes that came from the peer.
    pub received: u64,
    /// Of those, bytes that the output took.
    pub written: u64,
    /// Bytes read from the input that the peer is not known to have: not sent, or not acknowledged.
    pub undelivered: u64,
    /// Messages sent, for kinds that have them.
    pub messages_sent: u64,
    /// Messages received, for kinds that have them; empty ones count.
    pub messages_received: u64,
    /// From the start to the end.
    pub duration: Duration,
    /// Connections held open beside this one.
    pub companions: usize,
    /// Bytes that came on those, and were thrown away.
    pub companions_received: u64,
    /// Of those, how many were reset.
    pub companions_reset: usize,
}

/// How a conversation ended.
#[derive(Debug)]
pub enum End {
    /// Everything was delivered both ways, as far as can be known.
    Complete,
    /// The peer reset the connection; what came before is written.
    Reset,
    /// The connection ended without TLS' close_notify: what came before is written, but it may be a part.
    Truncated,
    /// TLS failed, or the peer ended it with an alert; what came before is written.
    Tls(Failure),
    /// All is well with the conversation, but some of the companions were reset.
    CompanionsReset,
    /// A datagram's addressee is not there, or there is no way to it.
    Refused(io::Error),
    /// The connection broke in another way: no acknowledgement for too long, a route that vanished.
    Broken(io::Error),
    /// Nothing moved for `idle_timeout`; or fewer than `count` replies came.
    IdleTimeout,
    /// `timeout` passed.
    Timeout,
    /// The peer ended the connection, or did not acknowledge in time, and bytes are left over.
    Undelivered,
    /// The input could not be read; what had been read is delivered.
    Input(io::Error),
    /// The output could not be written, so the rest of the peer's bytes is lost.
    Output(io::Error),
}

impl Talk<'_> {
    pub(super) fn outcome(self, cut: Cut, undelivered: u64) -> Outcome {
        let failed = |errno: Errno| io::Error::from(errno);
        let end = if let Some(errno) = self.output_error {
            End::Output(failed(errno))
        } else if cut == Cut::Timeout {
            End::Timeout
        } else if cut == Cut::Idle {
            End::IdleTimeout
        } else if let Some(failure) = self.net.failure() {
            match failure {
                Failure::Truncated => End::Truncated,
                failure => End::Tls(failure.clone()),
            }
        } else if let Some(errno) = self.error {
            match errno {
                Errno::CONNRESET if !self.kind.is_datagram() => End::Reset,
                Errno::CONNREFUSED
                | Errno::CONNRESET
                | Errno::PIPE
                | Errno::NOTCONN
                | Errno::HOSTUNREACH
                | Errno::HOSTDOWN
                | Errno::NETUNREACH
                    if self.kind.is_datagram() =>
                {
                    End::Refused(failed(errno))
                }
                errno => End::Broken(failed(errno)),
            }
        } else if undelivered > 0 {
            End::Undelivered
        } else if let Some(errno) = self.input_error {
            End::Input(failed(errno))
        } else if self.companions.reset() > 0 {
            End::CompanionsReset
        } else {
            End::Complete
        };
        Outcome {
            end,
            sent: self.sent,
            received: self.received,
            written: self.written,
            undelivered,
            messages_sent: self.messages_sent,
            messages_received: self.messages_received,
            duration: clock::now().since(self.started),
            companions: self.companions.count(),
            companions_received: self.companions.received(),
            companions_reset: self.companions.reset(),
        }
    }
}
