//! [`Segment`]: what scenarios and verdicts want to know of a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of the TCP header (RFC 9293 3.1).
pub const FIN: u8 = 1;
/// See [`FIN`].
pub const SYN: u8 = 2;
/// See [`FIN`].
pub const RST: u8 = 4;
/// See [`FIN`].
pub const ACK: u8 = 16;

/// A packet, read as far as the transport header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Who sent it.
    pub source: IpAddr,
    /// For whom.
    pub destination: IpAddr,
    /// What it carries.
    pub carries: Carries,
}

/// See [`Segment`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carries {
    /// TCP.
    Tcp {
        /// Source and destination.
        ports: (u16, u16),
        /// Sequence number of the first byte.
        sequence: u32,
        /// Next byte awaited.
        acknowledged: u32,
        /// [`FIN`], [`SYN`], [`RST`], [`ACK`], …
        flags: u8,
        /// Bytes of data.
        payload: u32,
        /// Window as written, not scaled.
        window: u16,
    },
    /// UDP, with its bytes of data.
    Udp {
        /// Source and destination.
        ports: (u16, u16),
        /// Bytes of data.
        payload: u32,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Something else, or cut too short to tell.
    Other,
}

impl Segment {
    /// Reads an IP packet of which `bytes` were recorded and that was `length` bytes long. `None` if it is none.
    pub fn read(bytes: &[u8], length: u32) -> Option<Segment> {
        let (source, destination, protocol, header): (IpAddr, IpAddr, u8, usize) = match bytes.first()? >> 4 {
            4 => {
                let address = |at: usize| -> Option<Ipv4Addr> {
                    Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into())
                };
                (address(12)?.into(), address(16)?.into(), *bytes.get(9)?, usize::from(bytes[0] & 15) * 4)
            }
            6 => {
                let address = |at: usize| -> Option<Ipv6Addr> {
                    Some(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?.into())
                };
                (address(8)?.into(), address(24)?.into(), *bytes.get(6)?, 40)
            }
            _ => return None,
        };
        let inside = length.saturating_sub(u32::try_from(header).unwrap_or(0));
        let carries = read_inside(protocol, bytes.get(header..).unwrap_or(&[]), inside);
        Some(Segment { source, destination, carries: carries.unwrap_or(Carries::Other) })
    }

    /// TCP flags, 0 if it is not TCP.
    pub fn flags(&self) -> u8 {
        if let Carries::Tcp { flags, .. } = self.carries { flags } else { 0 }
    }

    /// Bytes of data in TCP or UDP.
    pub fn payload(&self) -> u32 {
        match self.carries {
            Carries::Tcp { payload, .. } | Carries::Udp { payload, .. } => payload,
            Carries::Icmp { .. } | Carries::Other => 0,
        }
    }
}

fn read_inside(protocol: u8, bytes: &[u8], length: u32) -> Option<Carries> {
    let word = |at: usize| -> Option<u16> {
        Some(u16::from_be_bytes(<[u8; 2]>::try_from(bytes.get(at..at + 2)?).ok()?))
    };
    let long = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?))
    };
    Some(match protocol {
        6 => Carries::Tcp {
            ports: (word(0)?, word(2)?),
            sequence: long(4)?,
            acknowledged: long(8)?,
            flags: *bytes.get(13)?,
            payload: length.saturating_sub(u32::from(bytes.get(12)? >> 4) * 4),
            window: word(14)?,
        },
        17 => Carries::Udp { ports: (word(0)?, word(2)?), payload: length.saturating_sub(8) },
        1 | 58 => Carries::Icmp { kind: *bytes.first()?, code: *bytes.get(1)? },
        _ => Carries::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 TCP packet from 10.0.0.1:1000 to 10.0.0.2:7.
    pub(crate) fn tcp(flags: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        bytes.extend([3, 232, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn tcp_is_read_and_its_payload_counted_from_the_whole_length() {
        let segment = Segment::read(&tcp(ACK | FIN), 140).expect("a packet");
        assert_eq!(segment.source.to_string(), "10.0.0.1");
        assert_eq!((segment.flags(), segment.payload()), (ACK | FIN, 100));
        let Carries::Tcp { ports, sequence, window, .. } = segment.carries else { panic!("{segment:?}") };
        assert_eq!((ports, sequence, window), ((1000, 7), 1, 256));
    }

    #[test]
    fn what_is_cut_or_foreign_is_no_error() {
        for length in 0..40 {
            let _ = Segment::read(&tcp(SYN)[..length], 40);
        }
        assert_eq!(Segment::read(&[0x10; 64], 64), None);
        let mut icmp = tcp(0);
        icmp[9] = 1;
        icmp[20..22].copy_from_slice(&[3, 1]);
        let read = Segment::read(&icmp, 40).map(|segment| segment.carries);
        assert_eq!(read, Some(Carries::Icmp { kind: 3, code: 1 }));
    }
}
