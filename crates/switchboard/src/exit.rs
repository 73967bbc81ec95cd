//! [`Exit`]: one scheme of exit codes for every verb, so that scripts can trust them.

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// It ran, but the answer is no; or an error without a code of its own.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A name could not be resolved.
    Name,
    /// Refused or unreachable.
    Refused,
    /// Connecting took too long.
    ConnectTimeout,
    /// Silence, or the whole, took too long.
    Timeout,
    /// The peer reset the connection.
    Reset,
    /// Not everything was delivered to the peer.
    Undelivered,
    /// TLS: the peer is not who he should be, or the two do not agree.
    Tls,
    /// Standard output failed.
    Output,
    /// The proxy refused, or did not speak its protocol.
    Proxy,
    /// The system does not permit it.
    Permission,
    /// The configuration is wrong; systemd does not start such a service again (`RestartPreventExitStatus=78`).
    Config,
    /// Ended by this signal.
    Signal(u8),
    /// With the status of a program that was run.
    Passed(u8),
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Name => 3,
            Exit::Refused => 4,
            Exit::ConnectTimeout => 5,
            Exit::Timeout => 6,
            Exit::Reset => 7,
            Exit::Undelivered => 8,
            Exit::Tls => 9,
            Exit::Output => 10,
            Exit::Proxy => 11,
            Exit::Permission => 77,
            Exit::Config => 78,
            Exit::Signal(number) => 128 + number,
            Exit::Passed(status) => status,
        }
    }
}

/// What `--help` says of the codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0 success                     8 input not fully delivered
  1 the answer is no, or other  9 TLS: verification, handshake
  2 usage                      10 standard output failed
  3 name resolution            11 the proxy failed
  4 refused or unreachable     77 not permitted
  5 connect time-out           78 configuration is wrong
  6 idle or total time-out  128+n ended by signal n
  7 peer reset, or TLS cut short";
