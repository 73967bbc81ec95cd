//! Version 1: `PROXY TCP4 192.0.2.7 198.51.100.1 40000 7` and CRLF.

use super::{Carrier, Decoded, Extras, Header, MAX_V1, Malformed, Origin, Unencodable, Version};
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How every header of this version begins.
pub(super) const PREFIX: &[u8] = b"PROXY ";
const TCP4: &[u8] = b"TCP4";
const TCP6: &[u8] = b"TCP6";
const UNKNOWN: &[u8] = b"UNKNOWN";

/// Reads a header from the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Malformed> {
    let seen = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        could_become_one(seen)?;
        return if seen.len() < MAX_V1 { Ok(Decoded::More) } else { Err(Malformed::Endless) };
    };
    let origin = origin(&seen[..end])?;
    let header = Header { version: Version::V1, origin, carrier: Carrier::Stream, extras: Extras::default() };
    Ok(Decoded::Header(header, end + 2))
}

/// Whether a line without its end can still become a header.
fn could_become_one(seen: &[u8]) -> Result<(), Malformed> {
    if let Some(line) = seen.strip_suffix(b"\r") {
        // Half of the CRLF: what is before it has to be right already.
        return origin(line).map(drop);
    }
    let Some(rest) = seen.strip_prefix(PREFIX) else {
        return if PREFIX.starts_with(seen) { Ok(()) } else { Err(Malformed::NotV1) };
    };
    match word(rest) {
        (first, None) if [TCP4, TCP6, UNKNOWN].iter().any(|word| word.starts_with(first)) => Ok(()),
        (UNKNOWN, Some(_)) => Ok(()),
        (TCP4 | TCP6, Some(rest)) if rest.iter().any(|byte| matches!(byte, b'\r' | b'\n')) => {
            Err(Malformed::LoneLineEnd)
        }
        (TCP4 | TCP6, Some(_)) => Ok(()),
        _ => Err(Malformed::Protocol),
    }
}

/// Reads a line, which is whole.
fn origin(line: &[u8]) -> Result<Origin, Malformed> {
    match word(line.strip_prefix(PREFIX).ok_or(Malformed::NotV1)?) {
        // What follows is to be ignored, whatever it is.
        (UNKNOWN, _) => Ok(Origin::Unknown),
        (TCP4, Some(words)) => addresses(words, true),
        (TCP6, Some(words)) => addresses(words, false),
        (TCP4 | TCP6, None) => Err(Malformed::Words),
        _ => Err(Malformed::Protocol),
    }
}

/// The first word, and what follows the space behind it.
fn word(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == b' ') {
        Some(space) => (&bytes[..space], Some(&bytes[space + 1..])),
        None => (bytes, None),
    }
}

/// `192.0.2.7 198.51.100.1 40000 7`.
fn addresses(words: &[u8], four: bool) -> Result<Origin, Malformed> {
    let mut words = words.split(|byte| *byte == b' ');
    let mut word = || words.next().and_then(|word| str::from_utf8(word).ok()).ok_or(Malformed::Words);
    let [source, destination, source_port, destination_port] = [word()?, word()?, word()?, word()?];
    if words.next().is_some() {
        return Err(Malformed::Words);
    }
    // Both parsers refuse leading zeros, zones, and everything but one address.
    let address = |text: &str, n| {
        let parsed = if four { text.parse().map(Ipv4Addr::into) } else { text.parse().map(Ipv6Addr::into) };
        parsed.map_err(|_| Malformed::Address(n))
    };
    let source: IpAddr = address(source, 1)?;
    let destination: IpAddr = address(destination, 2)?;
    Ok(Origin::Inet {
        source: SocketAddr::new(source, port(source_port, 1)?),
        destination: SocketAddr::new(destination, port(destination_port, 2)?),
    })
}

fn port(text: &str, n: u8) -> Result<u16, Malformed> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| digits).ok_or(Malformed::Port(n))
}

/// Writes a header.
pub(super) fn encode(header: &Header) -> Result<Vec<u8>, Unencodable> {
    if header.extras != Extras::default() {
        return Err(Unencodable::ExtrasInV1);
    }
    if header.carrier == Carrier::Datagram {
        return Err(Unencodable::DatagramInV1);
    }
    let Origin::Inet { source, destination } = &header.origin else {
        // There is no LOCAL in this version, and no place for the name of a Unix socket.
        return Ok(b"PROXY UNKNOWN\r\n".to_vec());
    };
    let (source, destination) = super::v2::one_family(*source, *destination);
    let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    Ok(format!("PROXY {protocol} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes())
}
