//! Why there is no connection: of one address, and of the whole.

use crate::endpoint::{Address, Cid, Kind, Location, vsock};
use crate::error::Error;
use rustix::io::Errno;
use std::fmt;
use std::time::Duration;

/// Why one address could not be connected.
#[derive(Debug)]
pub struct Failure {
    /// The address.
    pub address: Address,
    /// Why.
    pub reason: Reason,
}

/// Why a connection was not made.
#[derive(Debug)]
pub enum Reason {
    /// No answer within this time.
    TimedOut(Duration),
    /// The kernel's answer, or that of the peer's kernel.
    System(Errno),
    /// The peer took the connection and reset it before this end had seen that it was there.
    Reset(Errno),
    /// The socket could not be prepared: an option or the source.
    Unprepared(Error),
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The endpoint cannot be connected at all, or its name has no address.
    Endpoint(Error),
    /// Every address was tried, and failed.
    Unreached {
        /// What was to be reached.
        endpoint: String,
        /// Each address in the order in which it was tried; at least one.
        failures: Vec<Failure>,
    },
}

impl Reason {
    /// What the error means with which a connect ended that was under way.
    pub(super) fn of(errno: Errno, kind: Kind) -> Reason {
        match errno {
            // Who refuses a TCP connection is ECONNREFUSED; vsock has no other word for it than this.
            Errno::CONNRESET | Errno::PIPE if kind != Kind::Vsock => Reason::Reset(errno),
            errno => Reason::System(errno),
        }
    }

    /// The way out, where one is known.
    fn hint(&self, address: &Address) -> Option<&'static str> {
        let errno = match self {
            Reason::System(errno) => errno,
            Reason::Reset(_) => {
                return Some("Somebody listens there and took the connection: does he want this client?");
            }
            // Without a transport of its own the question goes to the host, who does not answer.
            Reason::TimedOut(_) if matches!(address.place, Location::Vsock(Cid::LOCAL, _)) => {
                return Some(vsock::ELSEWHERE);
            }
            Reason::TimedOut(_) | Reason::Unprepared(_) => return None,
        };
        Some(match *errno {
            Errno::AFNOSUPPORT if address.kind == Kind::Vsock => vsock::WITHOUT,
            Errno::NODEV | Errno::ADDRNOTAVAIL | Errno::NETUNREACH if address.kind == Kind::Vsock => {
                vsock::ELSEWHERE
            }
            // A machine refuses like that, and so does a host that has none of this number.
            Errno::CONNRESET if address.kind == Kind::Vsock => {
                "Nothing listens there, or there is no such machine"
            }
            Errno::CONNREFUSED => "Nothing listens there: is the server running, and is that its port?",
            Errno::NOENT => "There is no such socket: is the server running?",
            Errno::PROTOTYPE => {
                "The socket there is of another kind: unix:, unix-dgram: or unix-seqpacket: may fit"
            }
            Errno::NETUNREACH | Errno::HOSTUNREACH if address.kind.is_inet() => {
                "There is no route: see `ip route get ADDRESS`"
            }
            Errno::ACCESS | Errno::PERM if address.kind.is_inet() => {
                "A firewall rule or a broadcast address may be the reason"
            }
            Errno::ACCESS => {
                "Connecting needs write permission on the socket's file and search on its folders"
            }
            Errno::MFILE => "Raise the limit of open descriptors: `ulimit -n`",
            _ => return None,
        })
    }
}

impl DialError {
    /// The one failure that decides what to call the whole: a peer who took the connection says more than one who
    /// refused it, and that more than one who did not answer.
    pub fn decisive(&self) -> Option<&Reason> {
        let DialError::Unreached { failures, .. } = self else { return None };
        let reasons = || failures.iter().map(|failure| &failure.reason);
        reasons()
            .find(|reason| matches!(reason, Reason::Reset(_)))
            .or_else(|| reasons().find(|reason| matches!(reason, Reason::System(Errno::CONNREFUSED))))
            .or_else(|| reasons().find(|reason| matches!(reason, Reason::TimedOut(_))))
            .or_else(|| reasons().next())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TimedOut(after) => write!(f, "no answer within {after:.1?}"),
            Reason::System(errno) => errno.fmt(f),
            Reason::Reset(errno) => write!(f, "the peer took the connection and reset it at once: {errno}"),
            Reason::Unprepared(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.reason)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (endpoint, failures) = match self {
            DialError::Endpoint(error) => return error.fmt(f),
            DialError::Unreached { endpoint, failures } => (endpoint, failures),
        };
        write!(f, "cannot connect to {endpoint}")?;
        match failures.as_slice() {
            [only] if only.address.to_string() == *endpoint => write!(f, ": {}", only.reason)?,
            several => {
                for (index, failure) in several.iter().enumerate() {
                    write!(f, "{} {failure}", if index == 0 { ":" } else { ";" })?;
                }
            }
        }
        let hint = failures.iter().find_map(|failure| failure.reason.hint(&failure.address));
        hint.map_or(Ok(()), |hint| write!(f, ". {hint}"))
    }
}

impl std::error::Error for DialError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    #[test]
    fn a_refusal_says_more_than_silence() {
        let address = |text: &str| text.parse::<Endpoint>().unwrap().resolve().unwrap().remove(0);
        let silent = || Failure {
            address: address("tcp:192.0.2.1:7"),
            reason: Reason::TimedOut(Duration::from_secs(10)),
        };
        let refused =
            || Failure { address: address("tcp:[::1]:7"), reason: Reason::System(Errno::CONNREFUSED) };
        let error = |failures| DialError::Unreached { endpoint: "tcp:somewhere:7".into(), failures };
        let reset =
            || Failure { address: address("tcp:[::1]:7"), reason: Reason::of(Errno::CONNRESET, Kind::Tcp) };
        let all = error(vec![silent(), refused(), reset()]);
        assert!(matches!(all.decisive(), Some(Reason::Reset(Errno::CONNRESET))));
        assert!(matches!(Reason::of(Errno::CONNRESET, Kind::Vsock), Reason::System(_)));
        let both = error(vec![silent(), refused()]);
        assert!(matches!(both.decisive(), Some(Reason::System(Errno::CONNREFUSED))));
        assert!(matches!(error(vec![silent()]).decisive(), Some(Reason::TimedOut(_))));
        let text = both.to_string();
        for part in ["tcp:somewhere:7", "tcp:192.0.2.1:7: no answer within 10.0s", "tcp:[::1]:7: ", "Nothing"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
