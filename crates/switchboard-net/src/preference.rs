//! Why a resolver prefers one address of a name to another: the rules of RFC 6724 section 6.
//!
//! getaddrinfo(3) has sorted its answer already. [`Candidate`] gathers what the rules look at, and [`deciding`] says
//! which of them tells two candidates apart; the precedences are those of the RFC, which an administrator can replace
//! (gai.conf(5)). What rules 3, 4 and 7 want to know of our own addresses is in [`Origin`].

mod origin;

use crate::class::Class;
use crate::sys::socket::retry;
pub use origin::Origin;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A destination, and what the rules look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The destination.
    pub destination: IpAddr,
    /// The address that this machine would send from; the errno if it has no way there.
    pub source: Result<IpAddr, Errno>,
    /// What this machine says of that address of its own.
    pub origin: Origin,
    /// Of the destination.
    pub scope: Scope,
    /// Of the destination: addresses with the same label go together.
    pub label: u8,
    /// Of the destination: more is better.
    pub precedence: u8,
}

/// How far an address reaches, as RFC 6724 section 3 counts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Scope(u8);

/// A rule of RFC 6724 section 6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its number there.
    pub number: u8,
    /// Its title there, in other words.
    pub says: &'static str,
}

const USABLE: Rule = Rule { number: 1, says: "an address that can be reached comes first" };
const SCOPE: Rule = Rule { number: 2, says: "its scope is that of the address we would send from" };
const DEPRECATED: Rule = Rule { number: 3, says: "the address we would send from is not deprecated" };
const HOME: Rule = Rule { number: 4, says: "the address we would send from is a mobile node's home" };
const NATIVE: Rule = Rule { number: 7, says: "no tunnel leads there" };
const LABEL: Rule = Rule { number: 5, says: "its label is that of the address we would send from" };
const PRECEDENCE: Rule = Rule { number: 6, says: "higher precedence" };
const SMALLER: Rule = Rule { number: 8, says: "smaller scope" };
const PREFIX: Rule = Rule { number: 9, says: "shares more leading bits with the address we would send from" };
const UNCHANGED: Rule =
    Rule { number: 10, says: "nothing tells them apart: left as the name's source gave them" };

/// The default policy table (RFC 6724 section 2.1): first address, bits, precedence, label.
const POLICY: [(Ipv6Addr, u8, u8, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

impl Candidate {
    /// What the rules look at for `destination`, with the source that the kernel chooses now.
    pub fn of(destination: SocketAddr) -> Candidate {
        Candidate::with_source(destination.ip(), source_for(destination))
    }

    /// The same with a source that is known.
    pub fn with_source(destination: IpAddr, source: Result<IpAddr, Errno>) -> Candidate {
        let (precedence, label) = policy(destination);
        let origin = source.map(Origin::of).unwrap_or_default();
        Candidate { destination, source, origin, scope: Scope::of(destination), label, precedence }
    }
}

impl Scope {
    /// The scope of an address; IPv4 loopback and link-local addresses have that of a link (section 3.2).
    pub fn of(ip: IpAddr) -> Scope {
        Scope(match ip {
            IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() => 2,
            IpAddr::V4(_) => 14,
            IpAddr::V6(ip) if ip.is_multicast() => ip.octets()[1] & 15,
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => return Scope::of(v4.into()),
                // The loopback address is treated as link-local (RFC 4291 section 2.5.3).
                None if v6.is_loopback() || v6.is_unicast_link_local() => 2,
                None if Class::of(ip).source == "RFC 3879" => 5,
                None => 14,
            },
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "interface",
            2 => "link",
            5 => "site",
            8 => "organization",
            14 => "global",
            _ => "other",
        }
    }
}

/// Precedence and label.
fn policy(ip: IpAddr) -> (u8, u8) {
    let v6 = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let row = POLICY.iter().find(|(first, bits, ..)| shared_bits(*first, v6) >= u32::from(*bits));
    row.map_or((40, 1), |(.., precedence, label)| (*precedence, *label))
}

fn shared_bits(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

/// The address that the kernel would send from: a datagram socket is connected, which sends nothing, and asked.
///
/// # Errors
/// That of connect(2): `ENETUNREACH` where no route leads, `EAFNOSUPPORT` without IPv6.
pub fn source_for(destination: SocketAddr) -> Result<IpAddr, Errno> {
    let family = if destination.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut there = destination;
    if there.port() == 0 {
        // Any port will do; 9 is what resolvers take, since nobody minds what is discarded.
        there.set_port(9);
    }
    retry(|| net::connect(&socket, &there))?;
    let name = net::getsockname(&socket)?;
    SocketAddr::try_from(name).map(|name| name.ip())
}

/// The rule that tells two candidates apart, and which of them it prefers: `Less` is the first.
pub fn deciding(a: &Candidate, b: &Candidate) -> (Rule, Ordering) {
    /// Bits beyond this name the interface and not the network.
    const NETWORK: u32 = 64;
    let better = |a: bool, b: bool| b.cmp(&a);
    let (from_a, from_b) = match (&a.source, &b.source) {
        (Ok(from_a), Ok(from_b)) => (*from_a, *from_b),
        (Err(_), Err(_)) => return (UNCHANGED, Ordering::Less),
        (from_a, from_b) => return (USABLE, better(from_a.is_ok(), from_b.is_ok())),
    };
    let same_scope = |of: &Candidate, from| Scope::of(from) == of.scope;
    let same_label = |of: &Candidate, from| policy(from).1 == of.label;
    let shared = |of: &Candidate, from| match (of.destination, from) {
        (IpAddr::V6(to), IpAddr::V6(from)) => shared_bits(to, from).min(NETWORK),
        _ => 0,
    };
    let rules = [
        (SCOPE, better(same_scope(a, from_a), same_scope(b, from_b))),
        (DEPRECATED, better(!a.origin.deprecated, !b.origin.deprecated)),
        (HOME, better(a.origin.home, b.origin.home)),
        (LABEL, better(same_label(a, from_a), same_label(b, from_b))),
        (PRECEDENCE, b.precedence.cmp(&a.precedence)),
        (NATIVE, better(!a.origin.tunnelled, !b.origin.tunnelled)),
        (SMALLER, a.scope.cmp(&b.scope)),
        // Only within a family, and not for IPv4, where it would defeat names with many addresses.
        (PREFIX, shared(b, from_b).cmp(&shared(a, from_a))),
    ];
    rules.into_iter().find(|(_, order)| order.is_ne()).unwrap_or((UNCHANGED, Ordering::Less))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(destination: &str, source: &str) -> Candidate {
        let source = source.parse().map_err(|_| Errno::NETUNREACH);
        Candidate::with_source(destination.parse().unwrap(), source)
    }

    /// The examples of RFC 6724 section 10.2, without those that need flags: the first of each pair is preferred.
    #[test]
    fn the_examples_of_the_rfc_come_out() {
        for (rule, a, b) in [
            (2, ("2001:db8:1::1", "2001:db8:1::2"), ("198.51.100.121", "169.254.13.78")),
            (2, ("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", "fe80::1")),
            (6, ("2001:db8:1::1", "2001:db8:1::2"), ("10.1.2.3", "10.1.2.4")),
            (8, ("fe80::1", "fe80::2"), ("2001:db8:1::1", "2001:db8:1::2")),
            (5, ("2002:c633:6401::1", "2002:c633:6401::2"), ("2001:db8:1::1", "2002:c633:6401::2")),
            (6, ("2001:db8:1::1", "2001:db8:1::2"), ("2002:c633:6401::1", "2002:c633:6401::2")),
            (9, ("2001:db8:1::1", "2001:db8:1::2"), ("2001:db8:3ffe::1", "2001:db8:1::2")),
            (1, ("127.0.0.1", "127.0.0.1"), ("2001:db8::1", "none")),
            (6, ("::1", "::1"), ("127.0.0.1", "127.0.0.1")),
        ] {
            let (a, b) = (candidate(a.0, a.1), candidate(b.0, b.1));
            let (found, order) = deciding(&a, &b);
            assert_eq!((found.number, order), (rule, Ordering::Less), "{a:?} {b:?}");
            let (found, order) = deciding(&b, &a);
            assert_eq!((found.number, order), (rule, Ordering::Greater), "{b:?} {a:?}");
        }
        let (a, b) = (candidate("192.0.2.1", "192.0.2.9"), candidate("192.0.2.200", "192.0.2.9"));
        assert_eq!(deciding(&a, &b).0.number, 10);
    }

    #[test]
    fn flags_of_our_own_addresses_decide_where_they_are_asked() {
        let plain = candidate("2001:db8:1::1", "2001:db8:1::2");
        for (rule, better, worse) in [
            (3, Origin::default(), Origin { deprecated: true, ..Origin::default() }),
            (4, Origin { home: true, ..Origin::default() }, Origin::default()),
            (7, Origin::default(), Origin { tunnelled: true, ..Origin::default() }),
        ] {
            let (a, b) =
                (Candidate { origin: better, ..plain.clone() }, Candidate { origin: worse, ..plain.clone() });
            let (found, order) = deciding(&a, &b);
            assert_eq!((found.number, order), (rule, Ordering::Less));
            assert_eq!(deciding(&b, &a).1, Ordering::Greater);
        }
    }

    #[test]
    fn the_kernel_names_the_source() {
        let loopback = "127.0.0.1:0".parse().unwrap();
        assert_eq!(source_for(loopback), Ok(IpAddr::from([127, 0, 0, 1])));
    }
}
