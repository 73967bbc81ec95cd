//! [`Segment`]: the headers of a packet, decoded; also of one that was cut to the recorded length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Protocol numbers (IANA).
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// What a packet is, in the words of scenarios.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// TCP: SYN without ACK.
    Syn,
    /// TCP: SYN and ACK.
    SynAck,
    /// TCP: ACK and nothing else: no data, SYN, FIN or RST.
    Ack,
    /// TCP: with data and without FIN, SYN, RST.
    Data,
    /// TCP: FIN, with data or without.
    Fin,
    /// TCP: RST.
    Rst,
    /// A UDP datagram, or the first fragment of one.
    Udp,
    /// ICMP or ICMPv6.
    Icmp,
    /// Anything else, such as a later fragment.
    Other,
}

/// All kinds with the names that scenarios use.
pub const KINDS: [(Kind, &str); 9] = [
    (Kind::Syn, "SYN"),
    (Kind::SynAck, "SYN-ACK"),
    (Kind::Ack, "ACK"),
    (Kind::Data, "DATA"),
    (Kind::Fin, "FIN"),
    (Kind::Rst, "RST"),
    (Kind::Udp, "UDP"),
    (Kind::Icmp, "ICMP"),
    (Kind::Other, "OTHER"),
];

impl Kind {
    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("OTHER", |(_, name)| name)
    }

    /// The kind with this name, in any case.
    pub fn parse(name: &str) -> Option<Kind> {
        KINDS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(kind, _)| *kind)
    }
}

/// The headers of an IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// Where the transport header begins.
    pub transport_at: usize,
    /// The time to live, or hop limit.
    pub hops: u8,
    /// Whether the packet may be cut up on its way (IPv4 without DF).
    pub may_fragment: bool,
    /// What it carries.
    pub transport: Transport,
}

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// From port.
        source_port: u16,
        /// To port.
        destination_port: u16,
        /// Bytes of data.
        length: usize,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type: of RFC 792 if the addresses are IPv4, of RFC 4443 if IPv6.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another protocol, by number; or a fragment that is not the first.
    Other(u8),
}

/// A TCP header (RFC 9293, section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// From port.
    pub source_port: u16,
    /// To port.
    pub destination_port: u16,
    /// Sequence number of the first byte, or of SYN.
    pub sequence: u32,
    /// The number expected next from the other side, if `flags` has [`Tcp::ACK`].
    pub acknowledgment: u32,
    /// Bits of this header: [`Tcp::FIN`], …
    pub flags: u8,
    /// The window as it stands there, not scaled.
    pub window: u16,
    /// Length of the header with its options.
    pub header_length: usize,
    /// Bytes of data.
    pub length: u32,
}

impl Tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;

    /// How many sequence numbers it takes: data, SYN and FIN.
    pub fn sequence_length(&self) -> u32 {
        let flag = |bit: u8| u32::from(self.flags & bit != 0);
        self.length.wrapping_add(flag(Tcp::SYN)).wrapping_add(flag(Tcp::FIN))
    }

    /// Names of the flags that are set, such as `SYN,ACK`.
    pub fn flag_names(&self) -> String {
        const NAMES: [(u8, &str); 6] = [
            (Tcp::SYN, "SYN"),
            (Tcp::FIN, "FIN"),
            (Tcp::RST, "RST"),
            (Tcp::PSH, "PSH"),
            (Tcp::ACK, "ACK"),
            (Tcp::URG, "URG"),
        ];
        let set: Vec<&str> =
            NAMES.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| *name).collect();
        set.join(",")
    }
}

impl Segment {
    /// Decodes a packet from its IP header on. None for what is no IP packet, or is cut within a header.
    pub fn decode(packet: &[u8]) -> Option<Segment> {
        match packet.first()? >> 4 {
            4 => decode_v4(packet),
            6 => decode_v6(packet),
            _ => None,
        }
    }

    /// What it is, in the words of scenarios.
    pub fn kind(&self) -> Kind {
        match self.transport {
            Transport::Tcp(tcp) => match tcp.flags {
                flags if flags & Tcp::RST != 0 => Kind::Rst,
                flags if flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN | Tcp::ACK => Kind::SynAck,
                flags if flags & Tcp::SYN != 0 => Kind::Syn,
                flags if flags & Tcp::FIN != 0 => Kind::Fin,
                _ if tcp.length > 0 => Kind::Data,
                _ => Kind::Ack,
            },
            Transport::Udp { .. } => Kind::Udp,
            Transport::Icmp { .. } => Kind::Icmp,
            Transport::Other(_) => Kind::Other,
        }
    }

    /// The TCP header, if it has one.
    pub fn tcp(&self) -> Option<Tcp> {
        match self.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// Bytes of data in TCP or UDP.
    pub fn data_length(&self) -> usize {
        match self.transport {
            Transport::Tcp(tcp) => tcp.length as usize,
            Transport::Udp { length, .. } => length,
            _ => 0,
        }
    }

    /// Addresses with ports: from and to; port 0 where there are none.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        let (from, to) = match self.transport {
            Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Transport::Udp { source_port, destination_port, .. } => (source_port, destination_port),
            _ => (0, 0),
        };
        (SocketAddr::new(self.source, from), SocketAddr::new(self.destination, to))
    }
}

fn decode_v4(packet: &[u8]) -> Option<Segment> {
    let head: &[u8; 20] = packet.first_chunk()?;
    let header = usize::from(head[0] & 15) * 4;
    let whole = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let fragment = u16::from_be_bytes([head[6], head[7]]);
    let payload = whole.checked_sub(header)?;
    if header < 20 {
        return None;
    }
    Some(Segment {
        source: Ipv4Addr::new(head[12], head[13], head[14], head[15]).into(),
        destination: Ipv4Addr::new(head[16], head[17], head[18], head[19]).into(),
        transport_at: header,
        hops: head[8],
        may_fragment: fragment & 0x4000 == 0,
        transport: match fragment & 0x1fff {
            0 => transport(head[9], packet.get(header..)?, payload)?,
            _ => Transport::Other(head[9]),
        },
    })
}

fn decode_v6(packet: &[u8]) -> Option<Segment> {
    /// Extension headers that may stand before the transport's (RFC 8200, section 4.1), and the most of them.
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const OPTIONS: u8 = 60;
    const MOST_EXTENSIONS: usize = 8;
    let head: &[u8; 40] = packet.first_chunk()?;
    let address = |at: usize| -> Option<Ipv6Addr> {
        let octets: [u8; 16] = head.get(at..at + 16)?.try_into().ok()?;
        Some(octets.into())
    };
    let end = 40 + usize::from(u16::from_be_bytes([head[4], head[5]]));
    let (mut next, mut at) = (head[6], 40);
    let mut later_fragment = false;
    for _ in 0..MOST_EXTENSIONS {
        let length = match next {
            HOP_BY_HOP | ROUTING | OPTIONS => (usize::from(*packet.get(at + 1)?) + 1) * 8,
            FRAGMENT => {
                later_fragment |=
                    u16::from_be_bytes([*packet.get(at + 2)?, *packet.get(at + 3)?]) & 0xfff8 != 0;
                8
            }
            _ => break,
        };
        next = *packet.get(at)?;
        at += length;
        if later_fragment {
            break;
        }
    }
    Some(Segment {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        transport_at: at,
        hops: head[7],
        may_fragment: false,
        transport: match later_fragment {
            true => Transport::Other(next),
            false => transport(next, packet.get(at..)?, end.checked_sub(at)?)?,
        },
    })
}

/// `length` is that of the whole packet's payload, of which `bytes` may be a beginning.
fn transport(protocol: u8, bytes: &[u8], length: usize) -> Option<Transport> {
    let short = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let long = |at: usize| Some(u32::from(short(at)?) << 16 | u32::from(short(at + 2)?));
    Some(match protocol {
        TCP => {
            let header = usize::from(*bytes.get(12)? >> 4) * 4;
            if header < 20 {
                return None;
            }
            Transport::Tcp(Tcp {
                source_port: short(0)?,
                destination_port: short(2)?,
                sequence: long(4)?,
                acknowledgment: long(8)?,
                flags: *bytes.get(13)? & 0x3f,
                window: short(14)?,
                header_length: header,
                length: length.checked_sub(header)? as u32,
            })
        }
        UDP => Transport::Udp {
            source_port: short(0)?,
            destination_port: short(2)?,
            length: usize::from(short(4)?).saturating_sub(8),
        },
        ICMP | ICMPV6 => Transport::Icmp { kind: *bytes.first()?, code: *bytes.get(1)? },
        other => Transport::Other(other),
    })
}
