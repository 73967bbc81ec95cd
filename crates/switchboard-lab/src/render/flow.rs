//! [`Flows`]: what a segment means in its conversation: relative numbers, repetitions, probes, a closed window.

use super::wording::quoted;
use crate::record::Packet;
use crate::wire::segment::{Segment, Tcp, Transport};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// What a packet is, for its colour and its place among others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Opens a connection.
    Syn,
    /// Ends one direction.
    Fin,
    /// Breaks a connection.
    Reset,
    /// Carries data.
    Data,
    /// Only acknowledges.
    Ack,
    /// ICMP.
    Icmp,
    /// Anything else.
    Other,
}

impl Kind {
    /// One word, also as a CSS class.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Syn => "syn",
            Kind::Fin => "fin",
            Kind::Reset => "reset",
            Kind::Data => "data",
            Kind::Ack => "ack",
            Kind::Icmp => "icmp",
            Kind::Other => "other",
        }
    }
}

/// A packet in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    /// Short, for the arrow.
    pub(super) label: String,
    /// At length.
    pub(super) details: String,
    /// Sent before.
    pub(super) again: bool,
}

/// One direction of a connection, as far as it was seen.
#[derive(Clone, Copy, Debug)]
struct Direction {
    /// Sequence number that is shown as 0.
    first: u32,
    /// The furthest byte (or SYN or FIN) so far, relative to `first`.
    furthest: u32,
}

/// Every conversation so far.
#[derive(Debug, Default)]
pub(super) struct Flows(HashMap<(SocketAddr, SocketAddr), Direction>);

impl Flows {
    /// Puts a packet in words; to be called once a packet, in the order in which they were sent.
    pub(super) fn tell(&mut self, packet: &Packet) -> Told {
        let told = Segment::decode(&packet.bytes).map(|segment| self.segment(packet, &segment));
        told.unwrap_or_else(|| Told {
            kind: Kind::Other,
            label: format!("{} bytes", packet.length),
            details: format!("{} bytes that are no whole IP header", packet.length),
            again: false,
        })
    }

    fn segment(&mut self, packet: &Packet, segment: &Segment) -> Told {
        let (from, to) = segment.ends();
        // What follows all headers; a recording may have cut it off.
        let data = |header: usize| packet.bytes.get(segment.transport_at + header..).unwrap_or_default();
        match segment.transport {
            Transport::Tcp(tcp) => self.tcp(from, to, tcp, data(tcp.header_length)),
            Transport::Udp { length, .. } => Told {
                kind: Kind::Data,
                label: format!("{length} B {}", quoted(data(8), length, 12)),
                details: format!("UDP {from} → {to}, {length} bytes {}", quoted(data(8), length, 64)),
                again: false,
            },
            Transport::Icmp { kind, code } => {
                let (from, to) = (from.ip(), to.ip());
                let what = icmp(from, kind, code);
                let details = format!("ICMP {from} → {to}, type {kind} code {code}: {what}");
                Told { kind: Kind::Icmp, label: what, details, again: false }
            }
            Transport::Other(protocol) => Told {
                kind: Kind::Other,
                label: format!("{} bytes", packet.length),
                details: format!("{} → {}, protocol {protocol}, {} bytes", from.ip(), to.ip(), packet.length),
                again: false,
            },
        }
    }

    fn tcp(&mut self, from: SocketAddr, to: SocketAddr, tcp: Tcp, data: &[u8]) -> Told {
        const SYN: u8 = Tcp::SYN;
        const FIN: u8 = Tcp::FIN;
        const RST: u8 = Tcp::RST;
        const ACK: u8 = Tcp::ACK;
        let Tcp { sequence, acknowledgment, length: payload, window, .. } = tcp;
        let is = |flag| tcp.flags & flag != 0;
        if is(SYN) {
            // The same ports may be used again: a SYN with another number is another connection.
            let known = self.0.get(&(from, to)).is_some_and(|direction| direction.first == sequence);
            if !known {
                self.0.insert((from, to), Direction { first: sequence, furthest: 0 });
            }
        }
        let direction = self.0.entry((from, to)).or_insert(Direction { first: sequence, furthest: 0 });
        let begin = sequence.wrapping_sub(direction.first);
        let end = begin.wrapping_add(payload).wrapping_add(is(SYN).into()).wrapping_add(is(FIN).into());
        // A reset has data of its own making; it repeats nothing.
        let takes_room = (payload > 0 || is(SYN) || is(FIN)) && !is(RST);
        let again = takes_room && is_before(begin, direction.furthest);
        let probe = !takes_room && begin.wrapping_add(1) == direction.furthest && direction.furthest > 1;
        if !is(RST) && is_before(direction.furthest, end) {
            direction.furthest = end;
        }
        let relative =
            self.0.get(&(to, from)).map_or(acknowledgment, |other| acknowledgment.wrapping_sub(other.first));

        let mut words = Vec::new();
        words.extend(again.then_some("again:".to_owned()));
        words.extend(is(SYN).then_some("SYN".to_owned()));
        words.extend(is(RST).then_some("RST".to_owned()));
        if payload > 0 {
            words.push(format!("{payload} B {}", quoted(data, payload as usize, 12)));
        }
        words.extend(is(FIN).then_some("FIN".to_owned()));
        if is(ACK) && (is(SYN) || words.is_empty()) {
            words.push("ACK".to_owned());
        }
        words.extend(probe.then_some("probe".to_owned()));
        words.extend((window == 0 && !is(RST) && !is(SYN)).then_some("window 0".to_owned()));
        let kind = match () {
            () if is(RST) => Kind::Reset,
            () if is(SYN) => Kind::Syn,
            () if is(FIN) => Kind::Fin,
            () if payload > 0 => Kind::Data,
            () => Kind::Ack,
        };
        let names = tcp.flag_names();
        let details = format!(
            "TCP {from} → {to}, {}, sequence {begin}{}, acknowledges {}, window {window}{}{}",
            if names.is_empty() { "no flags".to_owned() } else { names },
            if payload > 0 { format!(" to {}", begin.wrapping_add(payload)) } else { String::new() },
            if is(ACK) { relative.to_string() } else { "nothing".to_owned() },
            if payload > 0 {
                format!(", data {}", quoted(data, payload as usize, 64))
            } else {
                String::new()
            },
            if again { "; sent before" } else { "" },
        );
        Told { kind, label: words.join(" "), details, again }
    }
}

/// Sequence numbers are compared around the corner (RFC 9293 §3.4).
fn is_before(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

fn icmp(source: IpAddr, kind: u8, code: u8) -> String {
    let text = match (source.is_ipv4(), kind, code) {
        (true, 3, 0) => "network unreachable",
        (true, 3, 1) => "host unreachable",
        (true, 3, 2) => "protocol unreachable",
        (true, 3, 3) => "port unreachable",
        (true, 3, 4) => "fragmentation needed",
        (true, 3, 5) => "source route failed",
        (true, 3, 9 | 10 | 13) => "administratively prohibited",
        (true, 3, _) => return format!("unreachable, code {code}"),
        (true, 0, _) | (false, 129, _) => "echo reply",
        (true, 8, _) | (false, 128, _) => "echo request",
        (true, 11, _) | (false, 3, _) => "time exceeded",
        (false, 1, 0) => "no route",
        (false, 1, 1) => "administratively prohibited",
        (false, 1, 3) => "address unreachable",
        (false, 1, 4) => "port unreachable",
        (false, 1, _) => return format!("unreachable, code {code}"),
        (false, 2, _) => "packet too big",
        (false, 135, _) => "who has this address?",
        (false, 136, _) => "that is mine",
        _ => return format!("type {kind} code {code}"),
    };
    text.to_owned()
}
