//! A link on the way that is too narrow for long packets.
//!
//! IPv4 packets that may be cut up (no DF) arrive in pieces. Linux sets DF for TCP, and for UDP unless told otherwise.

use super::{Fate, Icmp, Impair, Impairment, Passing, Reply};

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "mtu",
    summary: "longer packets do not arrive; the sender is told by ICMP, or not (silent); without DF they come in pieces",
    examples: &["1000", "1280 silent"],
    make: |text| Ok(Box::new(parse(text)?)),
};

/// Every link carries so much (RFC 791, section 3.2).
const LEAST: u16 = 68;

struct Mtu {
    bytes: u16,
    silent: bool,
}

fn parse(text: &str) -> Result<Mtu, String> {
    let wrong = || format!("`{text}` is no MTU: {LEAST} to 65535 bytes, and `silent` if ICMP is lost");
    let mut words = text.split_whitespace();
    let bytes = words.next().and_then(|word| word.parse().ok()).filter(|bytes| *bytes >= LEAST);
    let silent = match words.next() {
        None => false,
        Some("silent") => true,
        Some(_) => return Err(wrong()),
    };
    if words.next().is_some() {
        return Err(wrong());
    }
    Ok(Mtu { bytes: bytes.ok_or_else(wrong)?, silent })
}

impl Impair for Mtu {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        if passing.frame.longest_packet() <= self.bytes.into() {
            return Fate::Pass;
        }
        if passing.segment.may_fragment {
            passing.pieces = Some(self.bytes);
            return Fate::Pass;
        }
        if self.silent {
            return Fate::Drop("longer than the MTU, and ICMP is lost");
        }
        passing.replies.push(Reply::Icmp(Icmp::TooBig(self.bytes)));
        Fate::Drop("longer than the MTU, said ICMP")
    }
}
