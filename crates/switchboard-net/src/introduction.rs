//! Clients who come through a proxy, and are introduced by it: [`Upstreams`] says who is such a proxy and must say whom
//! it speaks for; an [`Introduction`] is what it said (PROXY protocol, [`switchboard_proto::proxy_header`]).
//!
//! Nothing is guessed: a listed upstream must introduce its client before anything else, and nobody else's bytes are
//! looked at. From then on the log, the rules of access, the limits and a program's environment speak of the client.

mod forecourt;
mod outward;
mod shown;
mod variables;

pub(crate) use forecourt::{Forecourt, Introduced, Told};
pub use outward::Outward;
pub(crate) use shown::Shown;

use crate::peer::{Peer, canonical};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use switchboard_proto::Buffer;
use switchboard_proto::proxy_header::{
    Carrier, Decoded, Extras, Header, Malformed, Origin, Versions, decode,
};

/// Who is a proxy at the doors of a service, and what is expected of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstreams {
    /// The versions that are taken.
    pub versions: Versions,
    /// The proxies. Nothing is expected of anybody else.
    pub from: Vec<Upstream>,
    /// Whether those who are no proxies may come in as clients of their own.
    pub others: Others,
    /// Time for the header, from the moment the connection is accepted.
    pub timeout: Duration,
}

/// A proxy, or many of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// An address and the length of the prefix that counts.
    Net(IpAddr, u8),
    /// Whoever may connect to the Unix socket.
    Unix,
}

/// What becomes of those who are not listed as proxies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Others {
    /// They are clients of their own: not a byte is read as a header.
    #[default]
    Serve,
    /// They are sent away: clients come through a proxy only.
    Refuse,
}

/// Time for the header unless something else is said; the specification asks for three seconds at least, so that one
/// lost packet is no end.
pub const TIMEOUT: Duration = Duration::from_secs(3);

impl Upstreams {
    /// Whether `peer` is one of them.
    pub fn lists(&self, peer: Peer) -> bool {
        self.from.iter().any(|upstream| match (upstream, peer) {
            (Upstream::Net(net, len), Peer::Inet(address)) => is_in(address.ip(), *net, *len),
            (Upstream::Unix, Peer::Unix { .. }) => true,
            _ => false,
        })
    }

    /// Takes the header from the beginning of a datagram, if one is expected of its sender. There is no memory: each
    /// datagram has one of its own.
    ///
    /// # Errors
    /// Why it cannot be served.
    pub(crate) fn take_from(
        &self,
        datagram: &mut Buffer,
        sender: Peer,
    ) -> Result<Option<Box<Introduction>>, Unfit> {
        if !self.lists(sender) {
            return if self.others == Others::Serve { Ok(None) } else { Err(Unfit::Stranger) };
        }
        match decode(datagram.bytes(), self.versions)? {
            Decoded::More => Err(Unfit::Short),
            Decoded::Header(header, length) => {
                datagram.consume(length);
                Ok(Some(Box::new(Introduction::new(header, sender, Carrier::Datagram)?)))
            }
        }
    }
}

fn is_in(address: IpAddr, net: IpAddr, len: u8) -> bool {
    let (bits, net, width) = match (address.to_canonical(), net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            (u128::from(u32::from(address)), u128::from(u32::from(net)), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => (u128::from(address), u128::from(net), 128),
        _ => return false,
    };
    let rest = width - u32::from(len).min(width);
    (bits ^ net).checked_shr(rest).unwrap_or(0) == 0
}

impl std::str::FromStr for Upstream {
    type Err = String;

    /// `10.0.0.0/8`, `2001:db8::1`, `unix`.
    fn from_str(text: &str) -> Result<Upstream, String> {
        let wrong = || format!("`{text}` is no proxy: write an address, a prefix like 10.0.0.0/8, or unix");
        if text == "unix" {
            return Ok(Upstream::Unix);
        }
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Ok(width), |len| len.parse().map_err(|_| wrong()))?;
        if len > width {
            return Err(format!("`{text}`: the prefix of such an address has at most {width} bits"));
        }
        match address {
            IpAddr::V6(six) if len >= 96 && six.to_ipv4_mapped().is_some() => {
                Ok(Upstream::Net(address.to_canonical(), len - 96))
            }
            _ => Ok(Upstream::Net(address, len)),
        }
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Upstream::Unix => f.write_str("unix"),
            Upstream::Net(address, len) if *len == if address.is_ipv4() { 32 } else { 128 } => address.fmt(f),
            Upstream::Net(address, len) => write!(f, "{address}/{len}"),
        }
    }
}

/// What a proxy said of its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// The proxy's own address.
    pub upstream: Peer,
    /// The header.
    pub header: Header,
}

/// Why a client is sent away before anybody knows who he is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unfit {
    /// What came is no header.
    Malformed(Malformed),
    /// A header for a stream before a datagram, or the other way round.
    Carrier,
    /// A datagram that ends before its header does.
    Short,
    /// The connection ended, or broke, before the header did.
    Ended,
    /// The header took too long.
    Late,
    /// Nobody listed is at the other end, and others may not come in.
    Stranger,
    /// Too many wait already.
    Crowded,
}

impl From<Malformed> for Unfit {
    fn from(malformed: Malformed) -> Unfit {
        Unfit::Malformed(malformed)
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfit::Malformed(malformed) => malformed.fmt(f),
            Unfit::Carrier => f.write_str("PROXY header: streams and datagrams are confused"),
            Unfit::Short => f.write_str("PROXY header: the datagram is shorter"),
            Unfit::Ended => f.write_str("the connection ended before the PROXY header did"),
            Unfit::Late => f.write_str("no PROXY header in time"),
            Unfit::Stranger => f.write_str("it is none of the proxies in proxy_from"),
            Unfit::Crowded => f.write_str("too many wait for their PROXY header"),
        }
    }
}

impl Introduction {
    /// Of a header that came from `upstream` over `carrier`.
    fn new(header: Header, upstream: Peer, carrier: Carrier) -> Result<Introduction, Unfit> {
        let says = matches!(header.origin, Origin::Inet { .. } | Origin::Unix { .. });
        if says && header.carrier != carrier {
            return Err(Unfit::Carrier);
        }
        Ok(Introduction { upstream, header })
    }

    /// Who the client is. Without an address in the header it is the proxy itself; a socket of the proxy's machine
    /// tells nothing that could be compared here.
    pub fn client(&self) -> Peer {
        match self.header.origin {
            Origin::Inet { source, .. } => Peer::Inet(canonical(source)),
            Origin::Unix { .. } => Peer::Unknown,
            Origin::Local | Origin::Unknown => self.upstream,
        }
    }

    /// Where the client connected to, if the proxy said so.
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.header.origin {
            Origin::Inet { destination, .. } => Some(canonical(destination)),
            _ => None,
        }
    }

    /// What else it said, as it came: whoever is before the proxy has chosen most of it.
    pub fn extras(&self) -> &Extras {
        &self.header.extras
    }

    /// What else it said, by the names that the log has for it; only what is there.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let Extras { alpn, authority, unique_id, ssl, netns, .. } = self.extras();
        let ssl = ssl.as_deref();
        let of_unix = match &self.header.origin {
            Origin::Unix { source, .. } => Some(source),
            _ => None,
        };
        let said = [
            ("proxy_path", of_unix),
            ("unique_id", unique_id.as_ref()),
            ("authority", authority.as_ref()),
            ("alpn", alpn.as_ref()),
            ("proxy_tls", ssl.and_then(|ssl| ssl.version.as_ref())),
            ("proxy_tls_cipher", ssl.and_then(|ssl| ssl.cipher.as_ref())),
            ("proxy_tls_name", ssl.and_then(|ssl| ssl.common_name.as_ref())),
            ("netns", netns.as_ref()),
        ];
        said.into_iter().filter_map(|(name, value)| value.map(|value| (name, &value[..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_who_they_are_said_to_be() {
        let upstreams = |texts: &[&str]| Upstreams {
            versions: Versions::Any,
            from: texts.iter().map(|text| text.parse().unwrap()).collect(),
            others: Others::Serve,
            timeout: TIMEOUT,
        };
        let inet = |text: &str| Peer::Inet(SocketAddr::new(text.parse().unwrap(), 1));
        let some = upstreams(&["10.0.0.0/8", "::ffff:192.0.2.0/120", "2001:db8::/32", "::1", "unix"]);
        for (peer, listed) in [
            (inet("10.255.0.1"), true),
            (inet("11.0.0.1"), false),
            (inet("::ffff:10.1.1.1"), true),
            (inet("192.0.2.77"), true),
            (inet("192.0.3.1"), false),
            (inet("2001:db8:ffff::"), true),
            (inet("2001:db9::"), false),
            (inet("::1"), true),
            (inet("::2"), false),
            (Peer::Unix { pid: 1, uid: 0 }, true),
            (Peer::Unknown, false),
        ] {
            assert_eq!(some.lists(peer), listed, "{peer}");
        }
        assert!(upstreams(&["0.0.0.0/0"]).lists(inet("203.0.113.9")));
        assert!(!upstreams(&["0.0.0.0/0"]).lists(inet("2001:db8::1")));
        for wrong in ["", "10.0.0.0/33", "all", "example.org", "10.0.0.0/", "::1/129", "Unix"] {
            assert!(wrong.parse::<Upstream>().is_err(), "{wrong}");
        }
        for text in ["10.0.0.0/8", "unix", "::1", "192.0.2.7"] {
            assert_eq!(text.parse::<Upstream>().unwrap().to_string(), text);
        }
    }
}
