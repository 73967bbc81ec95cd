//! Who has this address? ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861), as questions to be answered by the wire
//! in the name of a host that is up.

use crate::wire::checksum;
use crate::wire::segment::ICMPV6;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A question and what is needed to answer it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    /// The address that is looked for.
    pub(crate) wanted: IpAddr,
    /// Who asks.
    asker: IpAddr,
    /// Its hardware address, if it said so.
    hardware: [u8; 6],
}

/// An ARP request, from its first byte on.
pub(crate) fn arp_question(packet: &[u8]) -> Option<Question> {
    let packet: &[u8; 28] = packet.first_chunk()?;
    // Ethernet, IPv4, six and four bytes, request.
    if packet[..8] != [0, 1, 8, 0, 6, 4, 0, 1] {
        return None;
    }
    let address = |at: usize| -> IpAddr {
        Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]).into()
    };
    let mut hardware = [0; 6];
    hardware.copy_from_slice(&packet[8..14]);
    let question = Question { wanted: address(24), asker: address(14), hardware };
    // Whoever asks for his own address announces it.
    (question.wanted != question.asker).then_some(question)
}

/// The ARP reply: the address is at `hardware`.
pub(crate) fn arp_answer(question: Question, hardware: [u8; 6]) -> Option<Vec<u8>> {
    let (IpAddr::V4(wanted), IpAddr::V4(asker)) = (question.wanted, question.asker) else { return None };
    Some(
        [&[0, 1, 8, 0, 6, 4, 0, 2][..], &hardware, &wanted.octets(), &question.hardware, &asker.octets()]
            .concat(),
    )
}

/// Types of RFC 4861, section 4.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const IPV6_HEADER: usize = 40;

/// A neighbour solicitation, from the IPv6 header on.
pub(crate) fn solicitation(packet: &[u8]) -> Option<Question> {
    let body = packet.get(IPV6_HEADER..)?;
    if packet.first()? >> 4 != 6 || *packet.get(6)? != ICMPV6 || *body.first()? != SOLICITATION {
        return None;
    }
    let address = |bytes: &[u8]| -> Option<Ipv6Addr> { Some(<[u8; 16]>::try_from(bytes).ok()?.into()) };
    let asker = address(packet.get(8..24)?)?;
    let wanted = address(body.get(8..24)?)?;
    // From the unspecified address it is duplicate address detection, to which silence is the right answer.
    (!asker.is_unspecified()).then_some(Question {
        wanted: wanted.into(),
        asker: asker.into(),
        hardware: [0; 6],
    })
}

/// The neighbour advertisement, an IPv6 packet: the address is at `hardware`.
pub(crate) fn advertisement(question: Question, hardware: [u8; 6]) -> Option<Vec<u8>> {
    let (IpAddr::V6(wanted), IpAddr::V6(asker)) = (question.wanted, question.asker) else { return None };
    /// Solicited, and to override what was known.
    const FLAGS: [u8; 4] = [0x60, 0, 0, 0];
    /// Option: the target's link-layer address, in units of eight bytes.
    const TARGET_HARDWARE: [u8; 2] = [2, 1];
    let mut body =
        [&[ADVERTISEMENT, 0, 0, 0][..], &FLAGS, &wanted.octets(), &TARGET_HARDWARE, &hardware].concat();
    let start = checksum::pseudo_header(&wanted.octets(), &asker.octets(), ICMPV6, body.len());
    let sum = checksum::of(&body, start);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, body.len() as u8, ICMPV6, 255];
    packet.extend_from_slice(&wanted.octets());
    packet.extend_from_slice(&asker.octets());
    packet.extend_from_slice(&body);
    Some(packet)
}
