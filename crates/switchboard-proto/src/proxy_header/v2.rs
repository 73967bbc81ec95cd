//! Version 2: twelve bytes that no other protocol begins with, two bytes of what, two of length, addresses, extras.

use super::tlv::{self, Extras};
use super::{Carrier, Decoded, Header, MAX_V2, Malformed, Origin, Unencodable, Version};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// How every header of this version begins: text protocols stop at it, binary ones do not know it.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length of the rest.
pub(super) const FIXED: usize = 16;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
/// `sun_path`.
const UNIX_NAME: usize = 108;

/// What the fourteenth byte says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Four,
    Six,
    Unix,
}

impl Family {
    /// The family's number, in the upper half of the byte.
    fn number(self) -> u8 {
        match self {
            Family::Unspecified => 0,
            Family::Four => 1,
            Family::Six => 2,
            Family::Unix => 3,
        }
    }

    /// Length of both addresses and ports, bytes.
    fn length(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::Four => 12,
            Family::Six => 36,
            Family::Unix => 2 * UNIX_NAME,
        }
    }

    fn read(byte: u8) -> Result<(Family, Carrier), Malformed> {
        let carrier = if byte & 0xf == 2 { Carrier::Datagram } else { Carrier::Stream };
        let family = match byte {
            0x00 => Family::Unspecified,
            0x11 | 0x12 => Family::Four,
            0x21 | 0x22 => Family::Six,
            0x31 | 0x32 => Family::Unix,
            _ => return Err(Malformed::Family(byte)),
        };
        Ok((family, carrier))
    }
}

/// Reads a header from the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Malformed> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(Malformed::NotV2);
    }
    let Some(what) = bytes.get(12) else { return Ok(Decoded::More) };
    let command = what & 0xf;
    if what >> 4 != 2 {
        return Err(Malformed::VersionNumber(what >> 4));
    }
    if command > PROXY {
        return Err(Malformed::Command(command));
    }
    let Some(family) = bytes.get(13) else { return Ok(Decoded::More) };
    // LOCAL: the receiver must take the connection as its own, and throw away the rest, the family included.
    let (family, carrier) = match command {
        LOCAL => (Family::Unspecified, Carrier::Stream),
        _ => Family::read(*family)?,
    };
    let Some(length) = bytes.get(14..FIXED) else { return Ok(Decoded::More) };
    let length = FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > MAX_V2 {
        return Err(Malformed::TooLong(length));
    }
    let extras_at = FIXED + family.length();
    if length < extras_at {
        return Err(Malformed::NoRoomForAddresses(length));
    }
    let Some(whole) = bytes.get(..length) else { return Ok(Decoded::More) };
    let (origin, extras) = match command {
        LOCAL => (Origin::Local, Extras::default()),
        _ => (origin(family, &whole[FIXED..extras_at]), tlv::read(whole, extras_at)?),
    };
    Ok(Decoded::Header(Header { version: Version::V2, origin, carrier, extras }, length))
}

/// Reads the addresses, of which there are as many bytes as the family has.
fn origin(family: Family, bytes: &[u8]) -> Origin {
    let (hosts, ports) = bytes.split_at(bytes.len().saturating_sub(4));
    match family {
        Family::Unspecified => Origin::Unknown,
        Family::Unix => {
            let (source, destination) = bytes.split_at(UNIX_NAME);
            Origin::Unix { source: name(source), destination: name(destination) }
        }
        Family::Four => inet::<4>(hosts, ports),
        Family::Six => inet::<16>(hosts, ports),
    }
}

fn inet<const N: usize>(hosts: &[u8], ports: &[u8]) -> Origin
where
    IpAddr: From<[u8; N]>,
{
    let at = |from: usize, port: usize| {
        let host: [u8; N] = core::array::from_fn(|i| hosts[from + i]);
        SocketAddr::new(IpAddr::from(host), u16::from_be_bytes([ports[port], ports[port + 1]]))
    };
    Origin::Inet { source: at(0, 0), destination: at(N, 2) }
}

/// A Unix socket's name: up to the first zero, or, in the abstract namespace, without the zeros at the end, since its
/// length is not told.
fn name(path: &[u8]) -> Box<[u8]> {
    let length = match path.first() {
        Some(0) => path.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
        _ => path.iter().position(|byte| *byte == 0).unwrap_or(path.len()),
    };
    Box::from(&path[..length])
}

/// Both addresses in one family: the clients of a socket for both may come mapped, or be at home in the other.
pub(super) fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (from, to) = (canonical(source), canonical(destination));
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(source), mapped(destination)) }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(four) => SocketAddr::new(four.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Writes a header.
pub(super) fn encode(header: &Header) -> Result<Vec<u8>, Unencodable> {
    let mut addresses = Vec::new();
    let family = match &header.origin {
        Origin::Local | Origin::Unknown => Family::Unspecified,
        Origin::Unix { source, destination } => {
            for name in [source, destination] {
                let zeros = UNIX_NAME.checked_sub(name.len()).ok_or(Unencodable::LongPath)?;
                addresses.extend_from_slice(name);
                addresses.resize(addresses.len() + zeros, 0);
            }
            Family::Unix
        }
        Origin::Inet { source, destination } => {
            let (source, destination) = one_family(*source, *destination);
            for address in [source, destination] {
                match address.ip() {
                    IpAddr::V4(four) => addresses.extend_from_slice(&four.octets()),
                    IpAddr::V6(six) => addresses.extend_from_slice(&six.octets()),
                }
            }
            addresses.extend_from_slice(&source.port().to_be_bytes());
            addresses.extend_from_slice(&destination.port().to_be_bytes());
            if source.is_ipv4() { Family::Four } else { Family::Six }
        }
    };
    let command = if header.origin == Origin::Local { LOCAL } else { PROXY };
    let protocol = match (family, header.carrier) {
        (Family::Unspecified, _) => 0,
        (_, Carrier::Stream) => 1,
        (_, Carrier::Datagram) => 2,
    };
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[2 << 4 | command, family.number() << 4 | protocol, 0, 0]);
    bytes.extend_from_slice(&addresses);
    if command == PROXY {
        tlv::write(&header.extras, &mut bytes)?;
    }
    if bytes.len() > MAX_V2 {
        return Err(Unencodable::TooLong(bytes.len()));
    }
    let length = (bytes.len() - FIXED) as u16;
    bytes[14..FIXED].copy_from_slice(&length.to_be_bytes());
    if header.extras.crc32c && command == PROXY {
        tlv::seal(&mut bytes);
    }
    Ok(bytes)
}
