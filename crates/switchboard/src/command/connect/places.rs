//! Which flag has a meaning between which ends, and whether this machine has room for what was asked.

use super::Arguments;
use super::end::End;
use switchboard_net::sys::process;
use switchboard_net::{Error, Kind};

impl Arguments {
    /// Options that have no meaning between these ends.
    pub(super) fn check_places(&self, ends: &[End; 2]) -> Result<(), Error> {
        let listens = ends.iter().any(|end| matches!(end, End::Listening(_)));
        if ends.iter().all(|end| matches!(end, End::Standard)) {
            return Err(Error::Config("one of the two ends must be a socket or a program".into()));
        }
        if (self.listening.keep_open || self.listening.fork) && !listens {
            return Err(Error::Config(
                "--keep-open and --fork are for an end that listens: write `listen:ENDPOINT`".into(),
            ));
        }
        if self.listening.fork && ends.iter().any(End::is_local) {
            return Err(Error::Config(
                "--fork needs two ends: several conversations would share standard input".into(),
            ));
        }
        let kind = ends.iter().find_map(|end| match end {
            End::Remote(spot) | End::Listening(spot) => Some(spot.endpoint.kind),
            End::Program(_) => Some(Kind::Unix),
            End::Standard | End::Descriptor(_) => None,
        });
        let joined = !ends.iter().any(End::is_local);
        let streams = kind.is_none_or(|kind| !kind.is_datagram()) && !joined;
        let messages = kind.is_none_or(|kind| kind.is_datagram() || kind == Kind::UnixSeqpacket) && !joined;
        let datagrams = kind.is_none_or(Kind::is_datagram) && !joined;
        let dialled = ends.iter().any(|end| matches!(end, End::Remote(_)));
        let scripting = &self.scripting;
        let shapes = scripting.crlf
            || scripting.telnet
            || scripting.pass_socket
            || scripting.send_only
            || scripting.recv_only
            || scripting.rate.is_some()
            || scripting.delay_line.is_some()
            || scripting.hex.is_some();
        if shapes && joined {
            return Err(Error::Config(
                "the options under \"What passes\" are for standard input and output as one end".into(),
            ));
        }
        if self.messages.unconnected && listens && !scripting.recv_only {
            return Err(Error::Config(
                "--unconnected hears every sender at once, and so has nobody to answer: add --recv-only"
                    .into(),
            ));
        }
        if scripting.repeat > 1 && listens {
            return Err(Error::Config(
                "--repeat is for an end to connect to; --keep-open is its like here".into(),
            ));
        }
        let misplaced = [
            (self.messages.line && !messages, "--line", "sends lines as messages"),
            (self.messages.count.is_some() && !messages, "--count", "counts messages"),
            (self.messages.send_empty && !datagrams, "--send-empty", "sends a datagram"),
            (
                self.messages.unconnected
                    && !(kind == Some(Kind::Udp) && dialled && !joined)
                    && !(kind.is_some_and(Kind::is_datagram) && listens && !joined),
                "--unconnected",
                "is for datagrams, and to connect only for UDP",
            ),
            (self.connecting.connections > 1 && !(streams && dialled), "--connections", "opens connections"),
            (self.ending.no_half_close && !streams, "--no-half-close", "is about connections"),
            (scripting.telnet && !streams, "--telnet", "is a protocol over connections"),
            (self.ending.after_eof.is_some() && !streams, "--after-eof", "is about connections"),
        ];
        let Some((_, option, does)) = misplaced.iter().find(|(misplaced, ..)| *misplaced) else {
            return Ok(());
        };
        Err(Error::Config(match kind {
            Some(kind) if !joined => format!("{option} {does}; {} has none", kind.name()),
            _ => format!("{option} {does} with standard input and output as the other end"),
        }))
    }
}

/// Makes room for that many descriptors, or says how.
pub(super) fn check_descriptors(connections: usize) -> Result<(), Error> {
    /// Standard ones, the resolver's, epoll's.
    const OTHERS: usize = 16;
    let limit = process::raise_descriptor_limit();
    if connections.saturating_add(OTHERS) <= limit {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{connections} connections need as many descriptors, and this process may have {limit}. Raise the hard \
         limit: `ulimit -Hn`"
    )))
}
