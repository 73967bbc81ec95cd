//! What is said of a conversation's end, and with which exit code.

use crate::exit::Exit;
use rustix::io::Errno;
use std::fmt;
use std::io;
use switchboard_net::dial::{DialError, Reason};
use switchboard_net::join::{Joined, Parting, Way};
use switchboard_net::talk::{End, Outcome, Rules};
use switchboard_net::tls::{Facts, Failure};
use switchboard_net::{Error, Escaped, Kind};

pub(super) fn exit_for(error: &Error) -> Exit {
    match error {
        Error::Config(_) => Exit::Usage,
        Error::Name { .. } => Exit::Name,
        _ => Exit::Failed,
    }
}

pub(in crate::command) fn exit_for_dialling(error: &DialError) -> Exit {
    match (error, error.decisive()) {
        (DialError::Endpoint(error), _) | (_, Some(Reason::Unprepared(error))) => exit_for(error),
        (_, Some(Reason::TimedOut(_))) => Exit::ConnectTimeout,
        (_, Some(Reason::Reset(_))) => Exit::Reset,
        (_, Some(Reason::System(errno))) => match *errno {
            Errno::ACCESS | Errno::PERM => Exit::Permission,
            // Ours, not the peer's: no descriptor, memory or port is left.
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::ADDRNOTAVAIL => Exit::Failed,
            _ => Exit::Refused,
        },
        (_, None) => Exit::Failed,
    }
}

/// What there is to say about an end that is not a good one.
pub(super) struct Report<'a> {
    pub(super) outcome: &'a Outcome,
    /// The other end.
    pub(super) name: &'a str,
    pub(super) rules: &'a Rules,
    /// The end by silence is a good one if nothing is missing.
    pub(super) silence_is_good: bool,
    /// What TLS has agreed on.
    pub(super) facts: Option<&'a Facts>,
    /// Whether TLS has verified who the peer is.
    pub(super) verified: bool,
}

impl Report<'_> {
    /// A reader who has seen enough (`| head`) wants no complaint; the exit code says it.
    pub(super) fn is_worth_saying(&self, verbose: bool) -> bool {
        match &self.outcome.end {
            End::Complete => false,
            End::IdleTimeout if self.is_good_silence() => verbose,
            End::Output(error) => verbose || error.kind() != io::ErrorKind::BrokenPipe,
            _ => true,
        }
    }

    /// Nothing is missing of what was read on either side.
    fn is_good_silence(&self) -> bool {
        let outcome = self.outcome;
        self.silence_is_good
            && outcome.undelivered == 0
            && outcome.written == outcome.received
            && self.rules.count.is_none()
    }

    pub(super) fn exit(&self) -> Exit {
        match &self.outcome.end {
            End::Complete => Exit::Ok,
            End::Reset | End::CompanionsReset | End::Truncated => Exit::Reset,
            End::Tls(_) => Exit::Tls,
            End::Refused(_) => Exit::Refused,
            End::Broken(error) if error.kind() == io::ErrorKind::TimedOut => Exit::Timeout,
            End::Broken(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Exit::Undelivered,
            End::Broken(_) => Exit::Reset,
            End::IdleTimeout if self.is_good_silence() => Exit::Ok,
            End::IdleTimeout | End::Timeout => Exit::Timeout,
            End::Undelivered => Exit::Undelivered,
            End::Input(_) => Exit::Failed,
            End::Output(_) => Exit::Output,
        }
    }
}

/// The `schema` of the JSON summary.
const SCHEMA: &str = "switchboard-connect";

impl Report<'_> {
    /// The summary for programs.
    pub(super) fn json(&self) -> serde_json::Value {
        let outcome = self.outcome;
        let mut summary = serde_json::json!({
            "schema": SCHEMA,
            "version": 1,
            "peer": self.name,
            "exit": self.exit().code(),
            "complete": matches!(outcome.end, End::Complete),
            "end": self.to_string(),
            "sent": outcome.sent,
            "received": outcome.received,
            "written": outcome.written,
            "undelivered": outcome.undelivered,
            "messages_sent": outcome.messages_sent,
            "messages_received": outcome.messages_received,
            "duration_s": outcome.duration.as_secs_f64(),
        });
        if let Some(facts) = self.facts {
            let certificate = facts.peer.as_ref();
            summary["tls"] = serde_json::json!({
                "version": facts.version,
                "suite": facts.suite,
                "group": facts.group,
                "alpn": facts.alpn.as_deref().map(String::from_utf8_lossy),
                "resumed": facts.resumed,
                "verified": self.verified,
                "subject": certificate.map(|own| &own.subject),
                "names": certificate.map(|own| own.sans.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "issuer": certificate.map(|own| &own.issuer),
                "not_after_unix_s": certificate.map(|own| own.not_after_unix_s),
            });
        }
        summary
    }
}

/// What TLS has agreed on, and who the peer says he is.
pub(super) struct Agreed<'a>(pub(super) &'a Facts);

impl fmt::Display for Agreed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { version, suite, group, alpn, resumed, peer, .. } = self.0;
        write!(f, "{version}, {suite}")?;
        if let Some(group) = group {
            write!(f, ", {group}")?;
        }
        if let Some(alpn) = alpn {
            write!(f, ", ALPN {}", Escaped(alpn))?;
        }
        if *resumed {
            f.write_str(", resumed")?;
        }
        let Some(own) = peer else { return Ok(()) };
        let names: Vec<String> = own.sans.iter().map(ToString::to_string).collect();
        let names = if names.is_empty() { own.name() } else { names.join(", ") };
        write!(f, "; certificate of {}", Escaped(names.as_bytes()))?;
        write!(f, ", issued by {}, valid until {}", Escaped(own.issuer.as_bytes()), own.not_after())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { sent, received, undelivered, .. } = self.outcome;
        let came = self.outcome.messages_received;
        write!(f, "{}: ", self.name)?;
        match &self.outcome.end {
            End::Complete => f.write_str("complete"),
            End::Reset => f.write_str("the peer reset the connection"),
            End::Truncated => {
                f.write_str("cut short: the peer ended the connection without ending TLS (no close_notify)")
            }
            End::Tls(failure) => failure.fmt(f),
            End::CompanionsReset => {
                let reset = self.outcome.companions_reset;
                write!(f, "the peer reset {reset} of the connections that were held open")
            }
            End::Refused(error) => write!(f, "{error}. Nothing answers there: is the server running?"),
            End::Broken(error) => write!(f, "the connection broke: {error}"),
            End::IdleTimeout => match self.rules.count {
                Some(count) => write!(f, "{came} of {count} replies came in time"),
                None => write!(f, "nothing moved for {:?}", self.rules.idle_timeout.unwrap_or_default()),
            },
            End::Timeout => write!(f, "not done after {:?}", self.rules.timeout.unwrap_or_default()),
            End::Undelivered => f.write_str("the peer did not take all input"),
            End::Input(error) => write!(f, "cannot read standard input: {error}"),
            End::Output(error) => write!(f, "cannot write standard output: {error}"),
        }?;
        write!(f, " ({sent} bytes sent, {received} received")?;
        if *undelivered > 0 {
            write!(f, "; {undelivered} bytes of the input not delivered, and what was not read yet")?;
        }
        let unwritten = received - self.outcome.written;
        if unwritten > 0 {
            write!(f, "; {unwritten} received bytes not written")?;
        }
        f.write_str(")")
    }
}

/// How much went each way.
pub(super) struct Totals<'a>(pub(super) &'a Outcome, pub(super) Kind);

impl fmt::Display for Totals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals(outcome, kind) = self;
        let messages = |n: u64| match kind {
            _ if kind.is_stream() => String::new(),
            _ => format!(" in {n} messages"),
        };
        write!(
            f,
            "sent {} bytes{}, received {} bytes{}, in {:.1?}",
            outcome.sent,
            messages(outcome.messages_sent),
            outcome.received,
            messages(outcome.messages_received),
            outcome.duration,
        )?;
        if outcome.companions > 0 {
            write!(
                f,
                "; {} other connections received {} bytes, {} were reset",
                outcome.companions, outcome.companions_received, outcome.companions_reset
            )?;
        }
        Ok(())
    }
}

/// What became of two sockets that were joined.
pub(super) struct JoinReport<'a> {
    pub(super) joined: &'a Joined,
    pub(super) first: &'a str,
    pub(super) second: &'a str,
}

impl JoinReport<'_> {
    pub(super) fn exit(&self) -> Exit {
        let broke = |error: &io::Error| match error.raw_os_error() {
            Some(libc::ETIMEDOUT) => Exit::Timeout,
            Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => Exit::Refused,
            Some(libc::EMSGSIZE) => Exit::Undelivered,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Exit::Failed,
            _ => Exit::Reset,
        };
        match &self.joined.end {
            Parting::Complete => Exit::Ok,
            Parting::First(error) | Parting::Second(error) => broke(error),
            Parting::FirstTls(Failure::Truncated) | Parting::SecondTls(Failure::Truncated) => Exit::Reset,
            Parting::FirstTls(_) | Parting::SecondTls(_) => Exit::Tls,
            Parting::FirstMissed | Parting::SecondMissed => Exit::Undelivered,
            Parting::IdleTimeout | Parting::Timeout => Exit::Timeout,
        }
    }
}

impl JoinReport<'_> {
    /// The summary for programs.
    pub(super) fn json(&self) -> serde_json::Value {
        let way = |way: Way| serde_json::json!({ "bytes": way.bytes, "undelivered": way.undelivered });
        serde_json::json!({
            "schema": SCHEMA,
            "version": 1,
            "first": self.first,
            "second": self.second,
            "exit": self.exit().code(),
            "complete": matches!(self.joined.end, Parting::Complete),
            "end": self.to_string(),
            "forth": way(self.joined.forth),
            "back": way(self.joined.back),
            "duration_s": self.joined.duration.as_secs_f64(),
        })
    }
}

impl fmt::Display for JoinReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JoinReport { joined, first, second } = self;
        match &joined.end {
            Parting::Complete => write!(f, "complete")?,
            Parting::First(error) => write!(f, "{first} broke: {error}")?,
            Parting::Second(error) => write!(f, "{second} broke: {error}")?,
            Parting::FirstTls(failure) => write!(f, "{first}: {failure}")?,
            Parting::SecondTls(failure) => write!(f, "{second}: {failure}")?,
            Parting::FirstMissed => write!(f, "{first} did not take everything")?,
            Parting::SecondMissed => write!(f, "{second} did not take everything")?,
            Parting::IdleTimeout => f.write_str("nothing moved for too long")?,
            Parting::Timeout => f.write_str("not done in time")?,
        }
        write!(f, " ({first} to {second}: {} bytes", joined.forth.bytes)?;
        if joined.forth.undelivered > 0 {
            write!(f, ", {} not delivered", joined.forth.undelivered)?;
        }
        write!(f, "; back: {} bytes", joined.back.bytes)?;
        if joined.back.undelivered > 0 {
            write!(f, ", {} not delivered", joined.back.undelivered)?;
        }
        write!(f, "; in {:.1?})", joined.duration)
    }
}
