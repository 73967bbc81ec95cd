//! What an address is: the block it is in, how far it reaches, and the RFC that says so.
//!
//! The tables are those of RFC 6890 (special-purpose registries, with what was registered since), RFC 4291 and
//! RFC 7346 (IPv6 scopes), RFC 5771 and RFC 2365 (IPv4 multicast). The first row that contains an address counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses that have something in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// The first address of the block.
    pub first: IpAddr,
    /// How many leading bits the block's addresses share.
    pub bits: u8,
    /// What they are.
    pub name: &'static str,
    /// How far they reach.
    pub scope: &'static str,
    /// Where that is written.
    pub source: &'static str,
}

const GLOBAL: &str = "global";
const LINK: &str = "link";
const HOST: &str = "this machine";
const SITE: &str = "organization";
const NOWHERE: &str = "none: not to be used on a network";

const fn v4(
    first: [u8; 4],
    bits: u8,
    name: &'static str,
    scope: &'static str,
    source: &'static str,
) -> Class {
    let [a, b, c, d] = first;
    Class { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits, name, scope, source }
}

const fn v6(first: u128, bits: u8, name: &'static str, scope: &'static str, source: &'static str) -> Class {
    Class { first: IpAddr::V6(Ipv6Addr::from_bits(first << (128 - HEAD))), bits, name, scope, source }
}

/// Blocks of IPv6 are written by their first 64 bits, which is enough for all but those made by `low`.
const HEAD: u32 = 64;

const fn low(first: u128, bits: u8, name: &'static str, scope: &'static str, source: &'static str) -> Class {
    Class { first: IpAddr::V6(Ipv6Addr::from_bits(first)), bits, name, scope, source }
}

const V4: [Class; 26] = [
    v4(
        [0, 0, 0, 0],
        32,
        "unspecified: no address yet, or every address of this machine",
        HOST,
        "RFC 1122 3.2.1.3",
    ),
    v4([0, 0, 0, 0], 8, "this network", HOST, "RFC 791 3.2"),
    v4([10, 0, 0, 0], 8, "private", SITE, "RFC 1918"),
    v4([100, 64, 0, 0], 10, "shared with a provider's address translator (CGNAT)", "provider", "RFC 6598"),
    v4([127, 0, 0, 0], 8, "loopback", HOST, "RFC 1122 3.2.1.3"),
    v4([169, 254, 0, 0], 16, "link-local", LINK, "RFC 3927"),
    v4([172, 16, 0, 0], 12, "private", SITE, "RFC 1918"),
    v4([192, 0, 0, 0], 24, "protocol assignments", "as assigned", "RFC 6890 2.1"),
    v4([192, 0, 2, 0], 24, "documentation (TEST-NET-1)", NOWHERE, "RFC 5737"),
    v4([192, 88, 99, 0], 24, "6to4 relay anycast, withdrawn", GLOBAL, "RFC 7526"),
    v4([192, 168, 0, 0], 16, "private", SITE, "RFC 1918"),
    v4([198, 18, 0, 0], 15, "benchmarking", SITE, "RFC 2544"),
    v4([198, 51, 100, 0], 24, "documentation (TEST-NET-2)", NOWHERE, "RFC 5737"),
    v4([203, 0, 113, 0], 24, "documentation (TEST-NET-3)", NOWHERE, "RFC 5737"),
    v4([224, 0, 0, 0], 24, "multicast, local network control", LINK, "RFC 5771 4"),
    v4([224, 0, 1, 0], 24, "multicast, internetwork control", GLOBAL, "RFC 5771 5"),
    v4([232, 0, 0, 0], 8, "multicast, source-specific", GLOBAL, "RFC 4607"),
    v4([233, 252, 0, 0], 24, "multicast, documentation (MCAST-TEST-NET)", NOWHERE, "RFC 6676"),
    v4([233, 0, 0, 0], 8, "multicast, by autonomous system (GLOP)", GLOBAL, "RFC 3180"),
    v4(
        [239, 255, 0, 0],
        16,
        "multicast, administratively scoped",
        "local (an administrator's)",
        "RFC 2365 6.1",
    ),
    v4([239, 192, 0, 0], 14, "multicast, administratively scoped", SITE, "RFC 2365 6.2"),
    v4([239, 0, 0, 0], 8, "multicast, administratively scoped", "an administrator's", "RFC 2365"),
    v4([224, 0, 0, 0], 4, "multicast", GLOBAL, "RFC 5771"),
    v4([255, 255, 255, 255], 32, "limited broadcast", LINK, "RFC 919 7"),
    v4([240, 0, 0, 0], 4, "reserved", NOWHERE, "RFC 1112 4"),
    v4([0, 0, 0, 0], 0, "global unicast", GLOBAL, "RFC 1122 3.2.1.3"),
];

const V6: [Class; 24] = [
    low(0, 128, "unspecified: no address yet, or every address of this machine", HOST, "RFC 4291 2.5.2"),
    low(1, 128, "loopback", HOST, "RFC 4291 2.5.3"),
    low(
        0xffff_0000_0000,
        96,
        "IPv4-mapped: an IPv4 peer of an IPv6 socket",
        "that of the IPv4 address",
        "RFC 4291 2.5.5.2",
    ),
    low(0, 96, "IPv4-compatible, withdrawn", NOWHERE, "RFC 4291 2.5.5.1"),
    v6(0x64_ff9b << 32, 96, "IPv4 behind a translator (NAT64), well-known prefix", GLOBAL, "RFC 6052 2.1"),
    v6(0x64_ff9b_0001 << 16, 48, "IPv4 behind a translator (NAT64), local prefix", SITE, "RFC 8215"),
    v6(0x100 << 48, 64, "discard", NOWHERE, "RFC 6666"),
    v6(0x2001_0000 << 32, 32, "Teredo: IPv6 in UDP over IPv4", GLOBAL, "RFC 4380 2.6"),
    v6(0x2001_0002_0000 << 16, 48, "benchmarking", SITE, "RFC 5180 8"),
    v6(0x2001_0020 << 32, 28, "cryptographic identifiers (ORCHIDv2), not routed", NOWHERE, "RFC 7343"),
    v6(0x2001_0000 << 32, 23, "protocol assignments", "as assigned", "RFC 2928"),
    v6(0x2001_0db8 << 32, 32, "documentation", NOWHERE, "RFC 3849"),
    v6(0x2002 << 48, 16, "6to4: IPv6 over IPv4", GLOBAL, "RFC 3056 2"),
    v6(0x3fff << 48, 20, "documentation", NOWHERE, "RFC 9637"),
    v6(0x5f00 << 48, 16, "segment routing identifiers", "a provider's domain", "RFC 9602"),
    v6(0xfc00 << 48, 8, "unique local, reserved half", SITE, "RFC 4193 3.1"),
    v6(0xfd00 << 48, 8, "unique local (ULA)", SITE, "RFC 4193 3.1"),
    v6(0xfe80 << 48, 10, "link-local", LINK, "RFC 4291 2.5.6"),
    v6(0xfec0 << 48, 10, "site-local, withdrawn", "site", "RFC 3879"),
    v6(0xff02_0000_0000_0000, 120, "multicast, link, assigned for every node's use", LINK, "RFC 4291 2.7.1"),
    low(
        0xff02 << 112 | 0x1_ff00_0000,
        104,
        "multicast, solicited node (neighbour discovery)",
        LINK,
        "RFC 4291 2.7.1",
    ),
    v6(0xff00 << 48, 8, "multicast", "by its fourth digit", "RFC 4291 2.7"),
    v6(0x2000 << 48, 3, "global unicast", GLOBAL, "RFC 4291 2.4"),
    low(0, 0, "unassigned", NOWHERE, "RFC 4291 2.4"),
];

impl Class {
    /// The block that `ip` is in, and how far it reaches.
    pub fn of(ip: IpAddr) -> Class {
        let rows: &[Class] = if ip.is_ipv4() { &V4 } else { &V6 };
        // The last row of either table is the whole address space.
        let mut class = *rows.iter().find(|row| row.contains(ip)).unwrap_or(&rows[rows.len() - 1]);
        if let IpAddr::V6(ip) = ip
            && ip.is_multicast()
        {
            class.scope = multicast_scope(ip);
        }
        class
    }

    /// Whether the block has `ip`.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (bits, width) = (u32::from(self.bits), if ip.is_ipv4() { 32 } else { 128 });
        // A shift by the whole width would overflow: nothing is left to differ.
        let differing = match (self.first, ip) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => u128::from(first.to_bits() ^ ip.to_bits()),
            (IpAddr::V6(first), IpAddr::V6(ip)) => first.to_bits() ^ ip.to_bits(),
            _ => return false,
        };
        differing.checked_shr(width - bits).unwrap_or(0) == 0
    }
}

/// The scope in the fourth digit of a multicast address (RFC 7346 section 2).
fn multicast_scope(ip: Ipv6Addr) -> &'static str {
    match ip.octets()[1] & 15 {
        1 => "interface",
        2 => LINK,
        3 => "realm",
        4 => "an administrator's",
        5 => "site",
        8 => SITE,
        14 => GLOBAL,
        0 | 15 => "reserved",
        _ => "unassigned",
    }
}

/// What the IPv4 address within an IPv6 address is, where the block says that it has one.
pub fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = ip.to_bits();
    let last = Ipv4Addr::from_bits(bits as u32);
    match Class::of(ip.into()).source {
        "RFC 4291 2.5.5.2" | "RFC 4291 2.5.5.1" | "RFC 6052 2.1" => Some(last),
        "RFC 3056 2" => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        // The client's address, with every bit turned over so that translators leave it alone.
        "RFC 4380 2.6" => Some(Ipv4Addr::from_bits(!(bits as u32))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Class {
        Class::of(text.parse().unwrap())
    }

    #[test]
    fn addresses_are_in_their_blocks() {
        for (text, name, scope, source) in [
            ("0.0.0.0", "unspecified", HOST, "RFC 1122"),
            ("10.255.0.1", "private", SITE, "RFC 1918"),
            ("100.64.0.1", "CGNAT", "provider", "RFC 6598"),
            ("100.128.0.1", "global", GLOBAL, ""),
            ("127.255.255.255", "loopback", HOST, "RFC 1122"),
            ("169.254.1.1", "link-local", LINK, "RFC 3927"),
            ("172.31.255.255", "private", SITE, "RFC 1918"),
            ("172.32.0.0", "global", GLOBAL, ""),
            ("192.0.2.1", "documentation", NOWHERE, "RFC 5737"),
            ("198.19.0.1", "benchmarking", SITE, "RFC 2544"),
            ("224.0.0.251", "multicast", LINK, "RFC 5771"),
            ("239.255.255.250", "multicast", "local", "RFC 2365"),
            ("255.255.255.255", "broadcast", LINK, "RFC 919"),
            ("250.0.0.1", "reserved", NOWHERE, "RFC 1112"),
            ("8.8.8.8", "global", GLOBAL, ""),
            ("::", "unspecified", HOST, "RFC 4291"),
            ("::1", "loopback", HOST, "RFC 4291"),
            ("::ffff:10.0.0.1", "mapped", "IPv4", "RFC 4291"),
            ("64:ff9b::1.2.3.4", "NAT64", GLOBAL, "RFC 6052"),
            ("64:ff9b:1::1", "NAT64", SITE, "RFC 8215"),
            ("100::1", "discard", NOWHERE, "RFC 6666"),
            ("2001::1", "Teredo", GLOBAL, "RFC 4380"),
            ("2001:db8::1", "documentation", NOWHERE, "RFC 3849"),
            ("2001:4860::1", "global", GLOBAL, "RFC 4291"),
            ("2002:c000:201::1", "6to4", GLOBAL, "RFC 3056"),
            ("3fff:fff::1", "documentation", NOWHERE, "RFC 9637"),
            ("fd12::1", "unique local", SITE, "RFC 4193"),
            ("fe80::1", "link-local", LINK, "RFC 4291"),
            ("ff02::fb", "multicast", LINK, "RFC 4291"),
            ("ff02::1:ff00:1", "solicited", LINK, "RFC 4291"),
            ("ff0e::1", "multicast", GLOBAL, "RFC 4291"),
            ("4000::1", "unassigned", NOWHERE, "RFC 4291"),
        ] {
            let class = class(text);
            assert!(class.name.contains(name), "{text}: {class:?}");
            assert!(class.scope.contains(scope) && class.source.starts_with(source), "{text}: {class:?}");
        }
    }

    #[test]
    fn every_row_is_reached_by_its_first_or_last_address() {
        for row in V4.iter().chain(&V6) {
            let last = match row.first {
                IpAddr::V4(ip) => {
                    Ipv4Addr::from_bits(ip.to_bits() | u32::MAX.checked_shr(row.bits.into()).unwrap_or(0))
                        .into()
                }
                IpAddr::V6(ip) => {
                    Ipv6Addr::from_bits(ip.to_bits() | u128::MAX.checked_shr(row.bits.into()).unwrap_or(0))
                        .into()
                }
            };
            // Rows whose ends belong to narrower ones.
            let middle = [[8, 8, 8, 8], [225, 1, 1, 1]].map(IpAddr::from);
            let other = IpAddr::V6(Ipv6Addr::from_bits(0x4000 << 112));
            let [middle, multicast] = middle;
            let found = [row.first, last, middle, multicast, other]
                .map(|ip| (Class::of(ip).first, Class::of(ip).bits));
            assert!(found.contains(&(row.first, row.bits)), "{row:?}");
        }
    }

    #[test]
    fn ipv4_is_found_within_ipv6() {
        for (text, within) in [
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("64:ff9b::192.0.2.33", Some("192.0.2.33")),
            ("2002:c000:204::1", Some("192.0.2.4")),
            // The example of RFC 4380 section 4.
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Some("192.0.2.45")),
            ("2001:db8::c000:201", None),
        ] {
            let found = embedded(text.parse().unwrap()).map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), within, "{text}");
        }
    }
}
