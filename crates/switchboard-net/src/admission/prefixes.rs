//! [`Prefixes`]: the longest of many prefixes that an address is in: one look into a hash table for each length
//! that occurs, however many prefixes there are.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// A set of prefixes; IPv4 and IPv6 apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefixes {
    v4: BTreeMap<u8, HashSet<u128>>,
    v6: BTreeMap<u8, HashSet<u128>>,
}

impl Prefixes {
    pub(super) fn insert(&mut self, address: IpAddr, len: u8) {
        let (address, len) = canonical(address, len);
        let (family, bits, width) = match address {
            IpAddr::V4(ip) => (&mut self.v4, u128::from(u32::from(ip)), 32),
            IpAddr::V6(ip) => (&mut self.v6, u128::from(ip), 128),
        };
        let len = len.min(width);
        family.entry(len).or_default().insert(cut(bits, len, width));
    }

    /// The length of the longest prefix that `address` is in.
    pub(super) fn longest(&self, address: IpAddr) -> Option<u8> {
        let (family, bits, width) = match address.to_canonical() {
            IpAddr::V4(ip) => (&self.v4, u128::from(u32::from(ip)), 32),
            IpAddr::V6(ip) => (&self.v6, u128::from(ip), 128),
        };
        let mut lengths = family.iter().rev();
        lengths.find(|(len, set)| set.contains(&cut(bits, **len, width))).map(|(len, _)| *len)
    }
}

/// A prefix of IPv4 addresses mapped into IPv6 as the IPv4 prefix that it is.
fn canonical(address: IpAddr, len: u8) -> (IpAddr, u8) {
    match address {
        IpAddr::V6(ip) if len >= 96 && ip.to_ipv4_mapped().is_some() => (address.to_canonical(), len - 96),
        _ => (address, len),
    }
}

/// The first `len` of `width` bits, the others zero.
pub(super) fn cut(bits: u128, len: u8, width: u8) -> u128 {
    let dropped = u32::from(width - len.min(width));
    bits.checked_shr(dropped).unwrap_or(0).checked_shl(dropped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use switchboard_proto::Random;

    #[test]
    fn agrees_with_looking_at_every_prefix() {
        for seed in 0..30 {
            let mut random = Random::new(seed);
            // Few bits vary, so that prefixes nest.
            let mut address = |wide: bool| {
                let bits = u128::from(random.bits() & 0x0303_0303);
                match wide {
                    true => IpAddr::V6(Ipv6Addr::from(bits << 96 | bits)),
                    false => IpAddr::V4(Ipv4Addr::from(bits as u32)),
                }
            };
            let mut list = Vec::new();
            let mut prefixes = Prefixes::default();
            for n in 0..300_u32 {
                let wide = n % 2 == 0;
                let ip = address(wide);
                let len = (n * 7 % if wide { 129 } else { 33 }) as u8;
                prefixes.insert(ip, len);
                list.push((ip, len));
            }
            for n in 0..300 {
                let ip = address(n % 2 == 0);
                let within = |(net, len): &&(IpAddr, u8)| match (net, ip) {
                    (IpAddr::V4(net), IpAddr::V4(ip)) => {
                        let bits = u32::from(*net) ^ u32::from(ip);
                        bits.leading_zeros() >= u32::from(*len)
                    }
                    (IpAddr::V6(net), IpAddr::V6(ip)) => {
                        let bits = u128::from(*net) ^ u128::from(ip);
                        bits.leading_zeros() >= u32::from(*len)
                    }
                    _ => false,
                };
                let expected = list.iter().filter(within).map(|(_, len)| *len).max();
                assert_eq!(prefixes.longest(ip), expected, "seed {seed}: {ip}");
            }
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4_on_both_sides() {
        let mut prefixes = Prefixes::default();
        prefixes.insert("::ffff:10.0.0.0".parse().unwrap(), 104);
        assert_eq!(prefixes.longest("10.1.2.3".parse().unwrap()), Some(8));
        assert_eq!(prefixes.longest("::ffff:10.1.2.3".parse().unwrap()), Some(8));
        prefixes.insert("::".parse().unwrap(), 0);
        assert_eq!(prefixes.longest("11.1.2.3".parse().unwrap()), None, "::/0 is all of IPv6 only");
    }
}
