//! The PROXY protocol, versions 1 and 2: what a proxy says of its client before the client's first byte.
//!
//! [`decode`] never guesses: bytes are a whole header, the beginning of one, or malformed, and which versions are
//! welcome is the caller's decision. Source: HAProxy, `doc/proxy-protocol.txt`.
//!
//! ```
//! use switchboard_proto::proxy_header::{Decoded, Header, Origin, Versions, decode};
//!
//! let bytes = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 7\r\nhello";
//! let Ok(Decoded::Header(header, length)) = decode(bytes, Versions::V1) else { panic!() };
//! assert_eq!(&bytes[length..], b"hello");
//! let Origin::Inet { source, .. } = header.origin else { panic!() };
//! assert_eq!(source.to_string(), "192.0.2.7:40000");
//!
//! assert!(matches!(decode(&bytes[..20], Versions::V1), Ok(Decoded::More)));
//! assert!(decode(bytes, Versions::V2).is_err());
//!
//! let header = Header::v2("192.0.2.7:40000".parse().unwrap(), "198.51.100.1:7".parse().unwrap());
//! assert_eq!(header.encode().unwrap().len(), 28);
//! ```

mod crc32c;
mod malformed;
mod tlv;
mod v1;
mod v2;

pub use malformed::{Malformed, Unencodable};
pub use tlv::{Certificate, Extras, Ssl, Tlv};

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Longest header of version 1, bytes, its CRLF included; the specification's number, and all that it allows.
pub const MAX_V1: usize = 107;
/// Longest header of version 2 that is taken, bytes. The format would allow 65 551; with a client's certificate in it
/// a header has some 4 KiB.
pub const MAX_V2: usize = 16 * 1024;
/// Longest unique id, bytes; the specification's number.
pub const MAX_UNIQUE_ID: usize = 128;

/// Which versions a receiver takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Versions {
    /// Version 1 only: one line of text.
    V1,
    /// Version 2 only: binary.
    V2,
    /// Either; which one shows in the first byte. That there is one is still required.
    Any,
}

/// The version in which a header was, or is to be, written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary, with room for more than addresses.
    V2,
}

/// What a proxy says of a connection, or of a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// How it is written.
    pub version: Version,
    /// Where the connection comes from.
    pub origin: Origin,
    /// What the client talked to the proxy.
    pub carrier: Carrier,
    /// What else was said; in version 2 only.
    pub extras: Extras,
}

/// Where a connection comes from, according to a proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// From the proxy itself (LOCAL): a health check. The connection's own addresses are the right ones.
    Local,
    /// From somebody whose address has no place in the header (`UNKNOWN`, `AF_UNSPEC`); the connection's own
    /// addresses are the only ones known.
    Unknown,
    /// From an IP address. Both are of one family once decoded; encoding maps IPv4 into IPv6 where they are not.
    Inet {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
    /// From a Unix socket. Names as in `sun_path`, up to 108 bytes, without the zeros that fill them up; those of the
    /// abstract namespace begin with a zero; without a name: empty.
    Unix {
        /// The client.
        source: Box<[u8]>,
        /// Where the client connected to.
        destination: Box<[u8]>,
    },
}

/// What a client talks to a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Carrier {
    /// A stream: TCP, a Unix stream socket.
    #[default]
    Stream,
    /// Datagrams: UDP, a Unix datagram socket. In version 2 only.
    Datagram,
}

/// What [`decode`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Every byte so far belongs to a header, and it is not whole yet.
    More,
    /// A whole header, and its length in bytes; what follows is the client's.
    Header(Header, usize),
}

impl Header {
    /// A header of version 1 for a TCP connection.
    pub fn v1(source: SocketAddr, destination: SocketAddr) -> Header {
        Header { version: Version::V1, ..Header::v2(source, destination) }
    }

    /// A header of version 2 for a TCP connection, without extras.
    pub fn v2(source: SocketAddr, destination: SocketAddr) -> Header {
        Header {
            version: Version::V2,
            origin: Origin::Inet { source, destination },
            carrier: Carrier::Stream,
            extras: Extras::default(),
        }
    }

    /// The header's bytes.
    ///
    /// # Errors
    /// What has no place in its version, or is longer than it may be.
    pub fn encode(&self) -> Result<Vec<u8>, Unencodable> {
        match self.version {
            Version::V1 => v1::encode(self),
            Version::V2 => v2::encode(self),
        }
    }
}

/// Reads a header of one of `versions` from the beginning of `bytes`, which may hold more, or less, than it.
///
/// Level-triggered: call it again with more bytes in the same place. What is malformed is said at the earliest byte at
/// which no continuation could be a header any more.
///
/// # Errors
/// [`Malformed`]: the connection must not be served.
pub fn decode(bytes: &[u8], versions: Versions) -> Result<Decoded, Malformed> {
    let second = match (versions, bytes.first()) {
        (_, None) => return Ok(Decoded::More),
        (Versions::V1, _) => false,
        (Versions::V2, _) => true,
        (Versions::Any, Some(first)) if *first == v1::PREFIX[0] => false,
        (Versions::Any, Some(first)) if *first == v2::SIGNATURE[0] => true,
        (Versions::Any, _) => return Err(Malformed::NoHeader),
    };
    if second { v2::decode(bytes) } else { v1::decode(bytes) }
}
