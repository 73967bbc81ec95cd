//! [`Verdict`]: one word, the facts behind it, and a remedy.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It did what it would have done without the fault.
    Survived,
    /// It stopped, and went on when the fault was over.
    Recovered,
    /// It learnt of the fault and ended or went on without the connection.
    Noticed,
    /// The case did not come about, or could not be seen.
    Inconclusive,
    /// It waits for something that will not come.
    Hangs,
    /// It was killed for writing to a connection that is gone.
    KilledBySigpipe,
    /// It ended in a way that nobody wanted.
    Crashed,
    /// Children that ended and were not waited for.
    Zombies,
    /// Connections that the peer has closed and the program has not.
    Leaked,
    /// Bytes are missing in the middle, or are others.
    DataLost,
    /// Bytes came twice.
    DataDuplicated,
    /// The end is missing.
    DataTruncated,
    /// It uses the processor and gets nowhere.
    Spins,
    /// Others are not served.
    Starves,
    /// It goes on as if a call had not failed.
    IgnoredError,
}

/// All of them, in the order in which they are explained.
pub const KINDS: [Kind; 15] = [
    Kind::Survived,
    Kind::Recovered,
    Kind::Noticed,
    Kind::Inconclusive,
    Kind::Hangs,
    Kind::KilledBySigpipe,
    Kind::Crashed,
    Kind::Zombies,
    Kind::Leaked,
    Kind::DataLost,
    Kind::DataTruncated,
    Kind::DataDuplicated,
    Kind::Spins,
    Kind::Starves,
    Kind::IgnoredError,
];

impl Kind {
    /// The word in capitals.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Survived => "SURVIVED",
            Kind::Recovered => "RECOVERED",
            Kind::Noticed => "NOTICED",
            Kind::Inconclusive => "INCONCLUSIVE",
            Kind::Hangs => "HANGS",
            Kind::KilledBySigpipe => "KILLED BY SIGPIPE",
            Kind::Crashed => "CRASHED",
            Kind::Zombies => "ZOMBIES",
            Kind::Leaked => "DESCRIPTORS LEAKED",
            Kind::DataLost => "DATA LOST",
            Kind::DataDuplicated => "DATA DUPLICATED",
            Kind::DataTruncated => "DATA TRUNCATED",
            Kind::Spins => "SPINS",
            Kind::Starves => "STARVES OTHERS",
            Kind::IgnoredError => "IGNORED ERROR",
        }
    }

    /// Whether it is a fault of the program's.
    pub fn is_bad(self) -> bool {
        !matches!(self, Kind::Survived | Kind::Recovered | Kind::Noticed | Kind::Inconclusive)
    }

    /// What helps against it, in one line.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Kind::Survived | Kind::Recovered | Kind::Noticed | Kind::Inconclusive => return None,
            Kind::Hangs => {
                "give the wait a limit: SO_KEEPALIVE while idle, TCP_USER_TIMEOUT while sending, a time-out in poll; \
                 and watch the socket and standard input at the same time"
            }
            Kind::KilledBySigpipe => {
                "send with MSG_NOSIGNAL or ignore SIGPIPE, and treat EPIPE as the peer's end"
            }
            Kind::Crashed => "treat this error as an event: close this connection and go on with the others",
            Kind::Zombies => {
                "call waitpid(-1, …, WNOHANG) in a loop until it returns 0: signals do not queue"
            }
            Kind::Leaked => "close the descriptor when recv returns 0 or an error",
            Kind::DataLost | Kind::DataTruncated => {
                "use what send and recv return: call again for the rest until all of it has moved"
            }
            Kind::DataDuplicated => "send again only what send did not take, and never what may have arrived",
            Kind::Spins => {
                "stop waiting for what cannot be served now: on EMFILE leave the listener alone until a descriptor is \
                 free or a pause is over; on an error close the descriptor"
            }
            Kind::Starves => {
                "serve clients at the same time (processes, threads, or an event loop with non-blocking sockets), and \
                 give a silent one a time-out"
            }
            Kind::IgnoredError => {
                "look at every return value: after a fatal errno the only thing left is close"
            }
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What became of a program, in one respect.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The word.
    pub kind: Kind,
    /// The facts: `after 0.4 s, recv said ECONNRESET`.
    pub text: String,
    /// Events that show it, by index.
    pub cites: Vec<usize>,
}

impl Verdict {
    /// A verdict.
    pub fn new(kind: Kind, text: String, cites: Vec<usize>) -> Verdict {
        Verdict { kind, text, cites }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}
