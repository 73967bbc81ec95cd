//! [`Origin`]: what this machine says of an address of its own that rules 3, 4 and 7 of RFC 6724 section 6 want to know.
//!
//! The flags of IPv6 addresses stand in /proc/net/if_inet6, which everybody may read; the kind of an interface in
//! /sys/class/net. IPv4 addresses have flags as well, but only rtnetlink(7) tells them, and nothing deprecates IPv4 by
//! itself: they count as neither deprecated nor a home.

use std::net::{IpAddr, Ipv6Addr};

/// linux/if_addr.h
const IFA_F_HOMEADDRESS: u32 = 0x10;
/// linux/if_addr.h
const IFA_F_DEPRECATED: u32 = 0x20;
/// linux/if_arp.h: ARPHRD_TUNNEL, ARPHRD_TUNNEL6, ARPHRD_SIT, ARPHRD_IPGRE, as glibc's getaddrinfo has them.
const TUNNELS: [u32; 4] = [768, 769, 776, 778];

/// What is known of an address that would be sent from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Origin {
    /// Its preferred lifetime is over (RFC 4862 section 5.5.4).
    pub deprecated: bool,
    /// It is the home address of a mobile node (RFC 6275).
    pub home: bool,
    /// It belongs to a tunnel: packets are encapsulated.
    pub tunnelled: bool,
}

impl Origin {
    /// What is known of this address of ours now; nothing speaks against one that is not found.
    pub fn of(ip: IpAddr) -> Origin {
        let IpAddr::V6(v6) = ip else { return Origin::default() };
        let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let kind = |interface: &str| {
            let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/type")).ok()?;
            text.trim().parse().ok()
        };
        Origin::within(&table, v6, kind).unwrap_or_default()
    }

    /// The same from the text of /proc/net/if_inet6: address, interface's number, bits, scope, flags, interface's name.
    fn within(table: &str, ip: Ipv6Addr, kind: impl Fn(&str) -> Option<u32>) -> Option<Origin> {
        let wanted = format!("{:032x}", ip.to_bits());
        let mut words = table
            .lines()
            .map(str::split_whitespace)
            .find_map(|mut words| (words.next()? == wanted).then_some(words))?;
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        let interface = words.next()?;
        Some(Origin {
            deprecated: flags & IFA_F_DEPRECATED != 0,
            home: flags & IFA_F_HOMEADDRESS != 0,
            tunnelled: kind(interface).is_some_and(|kind| TUNNELS.contains(&kind)),
        })
    }

    /// In words; empty if there is nothing to say.
    pub fn words(self) -> String {
        let all = [(self.deprecated, "deprecated"), (self.home, "home address"), (self.tunnelled, "tunnel")];
        let said: Vec<&str> = all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_the_kernels_table() {
        let table = "\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000002 02 40 00 a0     eth0
20010db8000000000000000000000003 02 40 00 10     eth0
20010db8000000000000000000000004 0a 40 00 80     sit1
";
        let kind = |name: &str| Some(if name == "sit1" { 776 } else { 1 });
        for (ip, wanted) in [
            ("::1", Some("")),
            ("2001:db8::2", Some("deprecated")),
            ("2001:db8::3", Some("home address")),
            ("2001:db8::4", Some("tunnel")),
            ("2001:db8::5", None),
        ] {
            let found = Origin::within(table, ip.parse().unwrap(), kind).map(Origin::words);
            assert_eq!(found.as_deref(), wanted, "{ip}");
        }
        assert_eq!(Origin::within("garbage", Ipv6Addr::LOCALHOST, kind), None);
        assert!(!Origin::of(IpAddr::V6(Ipv6Addr::LOCALHOST)).deprecated);
    }
}
