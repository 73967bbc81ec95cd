//! Cutting up an IPv4 packet for a link that is narrower (RFC 791, section 3.2), as a router does; IPv6 routers never do.

use crate::wire::checksum;

/// Bits of the word with the fragment's offset.
const DONT: u16 = 0x4000;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Offsets count in so many bytes.
const UNIT: usize = 8;
/// Fixed part of the header.
const HEADER: usize = 20;

/// The packet in pieces of at most `mtu` bytes, each a packet of its own. None if it must not be cut up, fits, or is no
/// whole IPv4 packet.
pub(super) fn fragments(packet: &[u8], mtu: u16) -> Option<Vec<Vec<u8>>> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (version, header) = (packet.first()? >> 4, usize::from(packet.first()? & 15) * 4);
    let (whole, place) = (usize::from(word(2)?), word(6)?);
    if version != 4 || header < HEADER || place & DONT != 0 || whole <= usize::from(mtu) {
        return None;
    }
    let first = packet.get(..header)?;
    let data = packet.get(header..whole)?;
    let later = later_header(first);
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let head = if at == 0 { first } else { &later };
        let room = usize::from(mtu).checked_sub(head.len())? / UNIT * UNIT;
        let end = if data.len() - at <= usize::from(mtu) - head.len() { data.len() } else { at + room };
        if end == at {
            return None;
        }
        let more = if end < data.len() { MORE } else { place & MORE };
        // A fragment may be cut up once more.
        let offset = (place & OFFSET) + u16::try_from(at / UNIT).ok()?;
        pieces.push(piece(head, &data[at..end], more | offset));
        at = end;
    }
    Some(pieces)
}

fn piece(header: &[u8], data: &[u8], place: u16) -> Vec<u8> {
    let mut piece = [header, data].concat();
    let length = piece.len() as u16;
    piece[0] = 0x40 | (header.len() / 4) as u8;
    piece[2..4].copy_from_slice(&length.to_be_bytes());
    piece[6..8].copy_from_slice(&place.to_be_bytes());
    piece[10..12].fill(0);
    let sum = checksum::of(&piece[..header.len()], 0);
    piece[10..12].copy_from_slice(&sum.to_be_bytes());
    piece
}

/// The header of all pieces but the first: of the options only those that are copied (RFC 791, section 3.1).
fn later_header(first: &[u8]) -> Vec<u8> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const COPIED: u8 = 0x80;
    let (fixed, mut options) = first.split_at(HEADER);
    let mut header = fixed.to_vec();
    while let [kind, rest @ ..] = options {
        let length = match *kind {
            END => break,
            NOTHING => 1,
            _ => usize::from(rest.first().copied().unwrap_or(0)),
        };
        let Some(option) = options.get(..length).filter(|option| !option.is_empty()) else { break };
        if kind & COPIED != 0 {
            header.extend_from_slice(option);
        }
        options = &options[length..];
    }
    header.resize(header.len().next_multiple_of(4), END);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_proto::Random;

    fn offset(packet: &[u8]) -> usize {
        usize::from(u16::from_be_bytes([packet[6], packet[7]]) & OFFSET) * UNIT
    }

    fn header(packet: &[u8]) -> usize {
        usize::from(packet[0] & 15) * 4
    }

    fn has_more(packet: &[u8]) -> bool {
        packet[6] & 0x20 != 0
    }

    /// A packet with these options and so much data, of which all bytes are random.
    fn packet(random: &mut Random, options: &[u8], data: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..data).map(|_| random.bits() as u8).collect();
        let head = [0, 0, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 1, 1, 10, 0, 2, 1];
        piece(&[&head, options].concat(), &data, 0)
    }

    #[test]
    fn pieces_fit_sum_up_and_make_the_whole_again() {
        let seed = switchboard_net::sys::clock::seed();
        let mut random = Random::new(seed);
        // A record of the route, which only the first piece has; a security option, which all have.
        let all: [&[u8]; 4] = [
            &[],
            &[7, 7, 4, 0, 0, 0, 0, 0],
            &[1, 0x82, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            &[0x82, 3, 9, 7, 3, 4, 0, 0],
        ];
        for round in 0..2000 {
            let what = format!("seed {seed}, round {round}");
            let length = 1 + random.below(4000);
            let options = all[random.below(all.len())];
            let whole = packet(&mut random, options, length);
            let mtu = 68 + random.below(1500) as u16;
            let Some(mut pieces) = fragments(&whole, mtu) else {
                assert!(whole.len() <= usize::from(mtu), "{what}");
                continue;
            };
            // Some meet a link that is narrower still.
            let narrower = 68 + random.below(500) as u16;
            pieces = pieces
                .into_iter()
                .flat_map(|piece| fragments(&piece, narrower).unwrap_or_else(|| vec![piece]))
                .collect();
            let mut data = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                assert!(piece.len() <= usize::from(mtu), "{what}: {} bytes", piece.len());
                assert_eq!(usize::from(u16::from_be_bytes([piece[2], piece[3]])), piece.len(), "{what}");
                assert_eq!(checksum::sum(&piece[..header(piece)], 0), 0xffff, "{what}");
                assert_eq!((&piece[4..6], &piece[8..10]), (&whole[4..6], &whole[8..10]), "{what}");
                assert_eq!(piece[12..20], whole[12..20], "{what}");
                assert_eq!(offset(piece), data.len(), "{what}");
                assert_eq!(has_more(piece), index + 1 < pieces.len(), "{what}");
                data.extend_from_slice(&piece[header(piece)..]);
            }
            assert_eq!(data, whole[header(&whole)..], "{what}");
        }
    }

    #[test]
    fn only_options_that_are_to_be_copied_are_in_later_pieces() {
        let mut random = Random::new(1);
        let options = [7, 7, 4, 0, 0, 0, 0, 1, 0x82, 3, 9, 0];
        let pieces = fragments(&packet(&mut random, &options, 200), 100).expect("it is longer");
        assert_eq!(pieces[0][HEADER..header(&pieces[0])], options);
        assert_eq!(pieces[1][HEADER..header(&pieces[1])], [0x82, 3, 9, 0]);
    }

    #[test]
    fn what_must_not_be_cut_up_or_is_broken_is_left_alone() {
        let mut random = Random::new(1);
        let whole = packet(&mut random, &[], 500);
        assert_eq!(fragments(&whole, 520), None);
        let mut forbidden = whole.clone();
        forbidden[6] |= 0x40;
        assert_eq!(fragments(&forbidden, 100), None);
        assert_eq!(fragments(&whole[..300], 100), None);
        let seed = switchboard_net::sys::clock::seed();
        let mut random = Random::new(seed);
        for _ in 0..5000 {
            let mut bytes: Vec<u8> = (0..random.below(300)).map(|_| random.bits() as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first = 0x40 | *first & 15;
            }
            if let Some(pieces) = fragments(&bytes, 68) {
                assert!(pieces.iter().all(|piece| piece.len() <= 68), "seed {seed}");
            }
        }
    }
}
