//! [`Rules`]: when a conversation ends, and how input is cut into messages.

use std::net::SocketAddr;
use std::time::Duration;

/// When a conversation ends, and how input is cut into messages.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which ways bytes go.
    pub ways: Ways,
    /// Send this many bytes in a second, no more.
    pub rate: Option<u64>,
    /// Wait so long after each line that was sent.
    pub delay_line: Option<Duration>,
    /// Send a carriage return before each line feed that has none.
    pub crlf: bool,
    /// The stream is a network virtual terminal: see [`Telnet`](switchboard_proto::Telnet).
    pub telnet: bool,
    /// Tell the peer that input has ended (shutdown(2)); without it the peer learns of it by the close.
    pub half_close: bool,
    /// After the end of input, wait at most this long for the peer's end; `None`: without limit.
    pub quit_after: Option<Duration>,
    /// Streams: end when nothing moves either way for this long. Datagrams: after the end of input, wait for
    /// replies until none has come for this long; `None`: two seconds.
    pub idle_timeout: Option<Duration>,
    /// End after this long, whatever happens.
    pub timeout: Option<Duration>,
    /// How long input goes on after the peer's end; `None`: as its nature suggests. A file is sent to its end, a
    /// terminal is left at once, a pipe may pause for one second.
    pub after_eof: Option<AfterEof>,
    /// Messages: one line each, its line feed included; otherwise what one read gives.
    pub by_line: bool,
    /// Messages: end after this many from the peer.
    pub count: Option<u64>,
    /// Datagrams: the socket is not connected, and they go there; whoever answers is heard.
    pub addressee: Option<SocketAddr>,
    /// Datagrams: send an empty one first.
    pub empty_first: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            ways: Ways::Both,
            rate: None,
            delay_line: None,
            crlf: false,
            telnet: false,
            half_close: true,
            quit_after: None,
            idle_timeout: None,
            timeout: None,
            after_eof: None,
            by_line: false,
            count: None,
            addressee: None,
            empty_first: false,
        }
    }
}

/// Which ways bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ways {
    /// Input to the peer, and what comes from it to the output.
    #[default]
    Both,
    /// Input to the peer; what comes is counted and thrown away, and when all was delivered the conversation is over.
    Send,
    /// What comes from the peer to the output; the input is not read, and the peer is not told that there is none.
    Receive,
}

/// How long input goes on after the peer has ended its side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterEof {
    /// What was read already is sent, no more.
    Now,
    /// Until none has come for this long.
    Pause(Duration),
    /// To its end.
    Forever,
}
