//! [`End`]: how a conversation ended.

use crate::session::Cause;

/// How a conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer ended its input first, and everything was answered.
    Peer,
    /// The session finished first.
    Service,
    /// The session broke off, and the peer was sent a reset.
    Refused,
    /// A layer ended it.
    Cause(Cause),
    /// The peer or the network broke the connection.
    Reset,
    /// The engine had to stop.
    Stopped,
}

/// [`End`], where it takes one byte: the cause that a layer gave is in what the session said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Peer,
    Service,
    Refused,
    Caused,
    Reset,
    Stopped,
}

impl End {
    /// One word for logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            End::Peer => "peer",
            End::Service => "service",
            End::Refused => "refused",
            End::Cause(Cause::Idle) => "idle",
            End::Cause(Cause::Lifetime) => "lifetime",
            End::Cause(Cause::Layer(word)) => word,
            End::Reset => "reset",
            End::Stopped => "stopped",
        }
    }
}
