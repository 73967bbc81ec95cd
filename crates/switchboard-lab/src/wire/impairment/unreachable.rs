//! Every packet is answered by ICMP: destination unreachable.

use super::{Fate, Icmp, Impair, Impairment, Passing, Reply};

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "unreachable",
    summary: "nothing arrives, and the sender is told by ICMP, with this code of RFC 792",
    examples: &["host", "net", "port", "prohibited", "9"],
    make: |text| Ok(Box::new(Unreachable(code(text)?))),
};

/// Codes with names (RFC 792; RFC 1812, section 5.2.7.1).
const NAMES: [(&str, u8); 5] = [("net", 0), ("host", 1), ("protocol", 2), ("port", 3), ("prohibited", 13)];
/// The last code of RFC 1812.
const LAST: u8 = 15;

struct Unreachable(u8);

fn code(text: &str) -> Result<u8, String> {
    let named = NAMES.iter().find(|(name, _)| *name == text.trim()).map(|(_, code)| *code);
    let code = named.or_else(|| text.trim().parse().ok()).filter(|code| *code <= LAST);
    code.ok_or_else(|| format!("`{text}` is no code: net, host, protocol, port, prohibited, or 0 to {LAST}"))
}

impl Impair for Unreachable {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        passing.replies.push(Reply::Icmp(Icmp::Unreachable(self.0)));
        Fate::Drop("unreachable, said ICMP")
    }
}
