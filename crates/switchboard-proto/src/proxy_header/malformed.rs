//! What can be wrong with a header, in words.

use super::{MAX_UNIQUE_ID, MAX_V1, MAX_V2};
use core::fmt;

/// Why bytes are no header. They come from outside, so none of them is repeated here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Malformed {
    /// Neither version begins like this.
    NoHeader,
    /// This is not how version 1 begins.
    NotV1,
    /// This is not how version 2 begins.
    NotV2,
    /// Version 1: no CRLF within the length that there is.
    Endless,
    /// Version 1: a CR or LF that is not part of the CRLF at the end.
    LoneLineEnd,
    /// Version 1: neither TCP4 nor TCP6 nor UNKNOWN.
    Protocol,
    /// Version 1: not five words with one space between them.
    Words,
    /// Version 1: an address that is not one of its family; counted from 1.
    Address(u8),
    /// Version 1: a port that is not a number from 0 to 65535 without leading zeros; counted from 1.
    Port(u8),
    /// Version 2: another version.
    VersionNumber(u8),
    /// Version 2: neither LOCAL nor PROXY.
    Command(u8),
    /// Version 2: a family and protocol that it does not have.
    Family(u8),
    /// Version 2: longer than is taken, bytes.
    TooLong(usize),
    /// Version 2: less than the addresses need; bytes that are there.
    NoRoomForAddresses(usize),
    /// Version 2: an extra (TLV) that does not fit where it stands; its offset from the header's beginning.
    Cut(usize),
    /// Version 2: an extra of this type has a length that it cannot have.
    Length(u8),
    /// Version 2: an extra of this type is there twice.
    Twice(u8),
    /// Version 2: the checksum is wrong.
    Checksum {
        /// What the header says.
        said: u32,
        /// What its bytes come to.
        computed: u32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Malformed::NoHeader => f.write_str("what came first is no PROXY header"),
            Malformed::NotV1 => f.write_str("what came first is no PROXY header of version 1"),
            Malformed::NotV2 => f.write_str("what came first is no PROXY header of version 2"),
            Malformed::Endless => write!(f, "PROXY header: no CRLF within {MAX_V1} bytes"),
            Malformed::LoneLineEnd => f.write_str("PROXY header: a CR or LF that is not part of a CRLF"),
            Malformed::Protocol => f.write_str("PROXY header: the protocol is none of TCP4, TCP6, UNKNOWN"),
            Malformed::Words => {
                f.write_str("PROXY header: not two addresses and two ports with one space between them")
            }
            Malformed::Address(n) => write!(f, "PROXY header: address {n} is not one of its family"),
            Malformed::Port(n) => {
                write!(f, "PROXY header: port {n} is not a number from 0 to 65535 without leading zeros")
            }
            Malformed::VersionNumber(n) => write!(f, "PROXY header: version {n} in the form of version 2"),
            Malformed::Command(n) => {
                write!(f, "PROXY header: command {n}; there are 0 (LOCAL) and 1 (PROXY)")
            }
            Malformed::Family(n) => {
                write!(f, "PROXY header: {n:#04x} is no family and protocol of version 2")
            }
            Malformed::TooLong(bytes) => {
                write!(f, "PROXY header: {bytes} bytes long; at most {MAX_V2} are taken")
            }
            Malformed::NoRoomForAddresses(bytes) => {
                write!(f, "PROXY header: {bytes} bytes are less than its addresses need")
            }
            Malformed::Cut(at) => write!(f, "PROXY header: the extra at offset {at} does not fit"),
            Malformed::Length(kind) => {
                write!(f, "PROXY header: the extra of type {kind:#04x} cannot have its length")
            }
            Malformed::Twice(kind) => write!(f, "PROXY header: two extras of type {kind:#04x}"),
            Malformed::Checksum { said, computed } => {
                write!(f, "PROXY header: CRC32c is {said:#010x}, but the bytes come to {computed:#010x}")
            }
        }
    }
}

impl core::error::Error for Malformed {}

/// Why a header cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unencodable {
    /// Version 1 has no place for extras or a checksum.
    ExtrasInV1,
    /// Version 1 has no word for datagrams.
    DatagramInV1,
    /// A Unix socket's name is longer than 108 bytes.
    LongPath,
    /// The unique id is longer than [`MAX_UNIQUE_ID`].
    LongUniqueId,
    /// The whole is longer than [`MAX_V2`]; bytes.
    TooLong(usize),
}

impl fmt::Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Unencodable::ExtrasInV1 => {
                f.write_str("version 1 of the PROXY header carries addresses only; use version 2")
            }
            Unencodable::DatagramInV1 => {
                f.write_str("version 1 of the PROXY header does not know datagrams; use version 2")
            }
            Unencodable::LongPath => f.write_str("a Unix socket's name has at most 108 bytes"),
            Unencodable::LongUniqueId => write!(f, "a unique id has at most {MAX_UNIQUE_ID} bytes"),
            Unencodable::TooLong(bytes) => {
                write!(f, "a PROXY header has at most {MAX_V2} bytes; this one would have {bytes}")
            }
        }
    }
}

impl core::error::Error for Unencodable {}
