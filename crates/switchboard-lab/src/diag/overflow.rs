//! [`Overflow`]: how often connections did not fit into a listener's queue, counted for a whole network namespace
//! since it was made (`/proc/net/netstat`).

use std::fs;
use std::io;

/// Counters of `TcpExt` that speak of listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overflow {
    /// Handshakes that were complete while the queue was full (`ListenOverflows`).
    pub overflows: u64,
    /// Connection requests that were thrown away for any reason, a full queue included (`ListenDrops`).
    pub drops: u64,
    /// SYN cookies sent instead of remembering a request (`SyncookiesSent`).
    pub cookies_sent: u64,
}

impl Overflow {
    /// The counters of this thread's network namespace, or of that of a process.
    ///
    /// # Errors
    /// `/proc` cannot be read, or has no such counters.
    pub fn look(pid: Option<i32>) -> io::Result<Overflow> {
        let who = pid.map_or("thread-self".to_owned(), |pid| pid.to_string());
        let path = format!("/proc/{who}/net/netstat");
        Overflow::parse(&fs::read_to_string(&path)?)
            .ok_or_else(|| io::Error::other(format!("{path} has no counters of listeners")))
    }

    /// From the text of `/proc/net/netstat`: a line of names and a line of numbers for each group.
    pub fn parse(text: &str) -> Option<Overflow> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
        let (names, values) = (lines.next()?, lines.next()?);
        let value = |wanted: &str| {
            let mut pairs = names.split(' ').zip(values.split(' '));
            pairs.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok())
        };
        Some(Overflow {
            overflows: value("ListenOverflows")?,
            drops: value("ListenDrops")?,
            cookies_sent: value("SyncookiesSent").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent ListenDrops ListenOverflows\nTcpExt: 1 22 3\nIpExt: A\nIpExt: 7\n";
        let overflow = Overflow { overflows: 3, drops: 22, cookies_sent: 1 };
        assert_eq!(Overflow::parse(text), Some(overflow));
        assert_eq!(Overflow::parse("TcpExt: ListenDrops\nTcpExt: 1\n"), None);
        assert_eq!(Overflow::parse(""), None);
    }
}
