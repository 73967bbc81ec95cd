//! A bit is turned over behind the IP header, where a checksum finds it.

use super::{Fate, Impair, Impairment, Passing, probability};

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "corruption",
    summary: "a bit of the packet is turned over, with this probability; its checksum is left as it was",
    examples: &["1%"],
    make: |text| Ok(Box::new(Corruption(probability(text)?))),
};

/// In millionths.
struct Corruption(u32);

impl Impair for Corruption {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        if !passing.happens(self.0) {
            return Fate::Pass;
        }
        // Its checksum would only be computed by the receiver's network card, after the damage; a receiver whose
        // packets have checksums throws it away.
        if !passing.frame.is_complete() {
            return Fate::Drop("corrupted, which the checksum would show");
        }
        let first = passing.segment.transport_at;
        let packet = passing.frame.packet_mut();
        let Some(length @ 1..) = packet.len().checked_sub(first) else { return Fate::Pass };
        let (byte, bit) = (first + passing.random.below(length), passing.random.below(8));
        packet[byte] ^= 1 << bit;
        passing.changed = Some(format!("bit {bit} of byte {byte} turned over"));
        Fate::Pass
    }
}
