//! The Internet checksum (RFC 1071).

/// The ones' complement sum of 16-bit words, folded; not yet complemented.
pub(crate) fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut total = u64::from(start);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let [a, b, c, d] = *word else { continue };
        total += u64::from(u32::from_be_bytes([a, b, c, d]));
    }
    let mut rest = [0; 4];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    total += u64::from(u32::from_be_bytes(rest));
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The checksum of `bytes`, in which its own field is zero; `start` is the sum of a pseudo header.
pub(crate) fn of(bytes: &[u8], start: u32) -> u16 {
    !sum(bytes, start)
}

/// Finishes the checksum at `start + offset` over everything from `start`: the field holds the sum of the pseudo header
/// (as the kernel leaves it for network cards). Does nothing if that is beyond the packet.
pub(crate) fn fill(packet: &mut [u8], start: usize, offset: usize) {
    let Some(part) = packet.get_mut(start..) else { return };
    let value = match of(part, 0) {
        // In UDP, zero says that there is no checksum (RFC 768).
        0 => 0xffff,
        value => value,
    };
    if let Some(field) = part.get_mut(offset..offset + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// The sum of the pseudo header of TCP, UDP and ICMPv6 (RFC 9293, section 3.1; RFC 8200, section 8.1).
pub(crate) fn pseudo_header(source: &[u8], destination: &[u8], protocol: u8, length: usize) -> u32 {
    let addresses = u32::from(sum(source, 0)) + u32::from(sum(destination, 0));
    addresses + u32::from(protocol) + (length as u32 >> 16) + (length as u32 & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0), 0xddf2);
    }

    #[test]
    fn odd_lengths_are_padded_with_zero() {
        assert_eq!(sum(&[1, 2, 3], 0), 0x0402);
        assert_eq!(sum(&[], 7), 7);
    }

    #[test]
    fn what_is_filled_sums_to_all_ones() {
        let mut packet = vec![9, 9, 1, 2, 3, 4, 0, 0, 5];
        fill(&mut packet, 2, 4);
        assert_eq!(sum(&packet[2..], 0), 0xffff);
        fill(&mut packet, 100, 4);
        fill(&mut packet, 8, 4);
    }
}
