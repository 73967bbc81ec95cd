//! Packets that the wire makes itself: ICMP errors in the name of a router, resets in the name of an end.

use crate::wire::checksum;
use crate::wire::impairment::Icmp;
use crate::wire::segment::{ICMP, ICMPV6, Segment, TCP, Tcp, Transport};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The router that a wire pretends to be. On a LAN its address is one of the hosts' network, so that no filter on
/// sources (`rp_filter`) takes offence.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 255, 254);
/// See [`ROUTER_V4`].
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xffff, 0xfffe);

const HOPS: u8 = 64;
/// An ICMP error is no longer than this, so that it arrives anywhere (RFC 1812, section 4.3.2.3; RFC 4443, section 2.4).
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;

/// An ICMP error about `packet`, for its sender. None if nobody may be told: errors are never about ICMP errors, later
/// fragments or packets to many (RFC 1122, section 3.2.2).
pub(crate) fn icmp(packet: &[u8], segment: &Segment, error: Icmp) -> Option<Vec<u8>> {
    if matches!(segment.transport, Transport::Other(_))
        || is_error(segment)
        || segment.destination.is_multicast()
    {
        return None;
    }
    // A port or protocol is missed by the host itself, anything else by a router before it.
    let by_host = matches!(error, Icmp::Unreachable(2 | 3));
    match (segment.source, segment.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (code, rest) = match error {
                Icmp::Unreachable(code) => (code, [0; 4]),
                // Fragmentation needed and DF set, with the next hop's MTU (RFC 1191, section 4).
                Icmp::TooBig(mtu) => {
                    let [a, b] = mtu.to_be_bytes();
                    (4, [0, 0, a, b])
                }
            };
            let quote = &packet[..packet.len().min(LONGEST_V4 - 28)];
            let mut body = [&[3, code, 0, 0][..], &rest, quote].concat();
            let sum = checksum::of(&body, 0);
            body[2..4].copy_from_slice(&sum.to_be_bytes());
            Some(ip_v4(if by_host { destination } else { ROUTER_V4 }, source, ICMP, &body))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (kind, code, rest) = match error {
                Icmp::Unreachable(code) => (1, code_v6(code), [0; 4]),
                Icmp::TooBig(mtu) => (2, 0, u32::from(mtu).to_be_bytes()),
            };
            let quote = &packet[..packet.len().min(LONGEST_V6 - 48)];
            let mut body = [&[kind, code, 0, 0][..], &rest, quote].concat();
            let from = if by_host { destination } else { ROUTER_V6 };
            let start = checksum::pseudo_header(&from.octets(), &source.octets(), ICMPV6, body.len());
            let sum = checksum::of(&body, start);
            body[2..4].copy_from_slice(&sum.to_be_bytes());
            Some(ip_v6(from, source, ICMPV6, &body))
        }
        _ => None,
    }
}

/// The code of RFC 4443 that is nearest to one of RFC 792 and RFC 1812.
fn code_v6(code: u8) -> u8 {
    match code {
        0 | 6 | 11 => 0,       // no route
        9 | 10 | 13..=15 => 1, // prohibited
        3 => 4,                // port
        _ => 3,                // address
    }
}

fn is_error(segment: &Segment) -> bool {
    match (segment.source, segment.transport) {
        (IpAddr::V4(_), Transport::Icmp { kind, .. }) => !matches!(kind, 0 | 8 | 13 | 14),
        (IpAddr::V6(_), Transport::Icmp { kind, .. }) => kind < 128,
        _ => false,
    }
}

/// A TCP reset from one end to the other. `sequence` must be exactly what the other expects next, or it is only
/// challenged (RFC 5961, section 3.2).
pub(crate) fn reset(from: SocketAddr, to: SocketAddr, sequence: u32, acknowledgment: u32) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(20);
    body.extend_from_slice(&from.port().to_be_bytes());
    body.extend_from_slice(&to.port().to_be_bytes());
    body.extend_from_slice(&sequence.to_be_bytes());
    body.extend_from_slice(&acknowledgment.to_be_bytes());
    body.extend_from_slice(&[5 << 4, Tcp::RST | Tcp::ACK, 0, 0, 0, 0, 0, 0]);
    let start = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            checksum::pseudo_header(&from.octets(), &to.octets(), TCP, body.len())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            checksum::pseudo_header(&from.octets(), &to.octets(), TCP, body.len())
        }
        _ => return None,
    };
    let sum = checksum::of(&body, start);
    body[16..18].copy_from_slice(&sum.to_be_bytes());
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(ip_v4(from, to, TCP, &body)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(ip_v6(from, to, TCP, &body)),
        _ => None,
    }
}

fn ip_v4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, HOPS, protocol, 0, 0];
    packet[2..4].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum::of(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

fn ip_v6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, HOPS];
    packet[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(body);
    packet
}
