//! The items of `only_from` and `no_access`, in the five forms of xinetd.conf(5), as prefixes and names.

use crate::config::notes::{self, Note};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an item stands for, in the words of our `allow` and `deny`, and what is to be said about it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) clients: Vec<String>,
    /// As prefixes, where it is one: address and length.
    pub(super) nets: Vec<(IpAddr, u8)>,
    pub(super) notes: Vec<&'static Note>,
}

/// Reads an item.
///
/// # Errors
/// What was expected.
pub(super) fn item(text: &str, networks: &str) -> Result<Item, String> {
    if let Some(open) = text.find('{') {
        return factorised(text, open);
    }
    if text.contains(',') {
        return Err("expected blanks between addresses; a comma belongs into braces: `10.0.0.{1,2}`".into());
    }
    if let Some((address, length)) = text.split_once('/') {
        return prefix(address, length);
    }
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Ok(Item {
            notes: if ip.is_unspecified() { vec![&notes::XINETD_V6_ANY] } else { Vec::new() },
            ..nets(vec![(ip.into(), 128)])
        });
    }
    if text.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
        return dotted(text);
    }
    if let Some(ip) = network(networks, text) {
        return Ok(Item { notes: vec![&notes::XINETD_NETWORK_NAME], ..nets(vec![trailing_zeros(ip)]) });
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || name.len() > 253 || !name.chars().all(fits) {
        return Err("expected an address, a prefix, a host name, `.domain`, or a network's name".into());
    }
    Ok(Item {
        clients: vec![text.to_ascii_lowercase()],
        nets: Vec::new(),
        notes: vec![&notes::XINETD_HOST_NAME],
    })
}

fn nets(nets: Vec<(IpAddr, u8)>) -> Item {
    let clients = nets.iter().map(|(ip, length)| written(*ip, *length)).collect();
    Item { clients, nets, notes: Vec::new() }
}

fn written(ip: IpAddr, length: u8) -> String {
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    if length == whole { ip.to_string() } else { format!("{ip}/{length}") }
}

/// `a.b.c.d`, where zeros at the end stand for anything; fewer numbers as inet_aton(3) takes them.
fn dotted(text: &str) -> Result<Item, String> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    let wrong = || format!("`{text}` is not an IPv4 address");
    let parts = parts.filter(|parts| parts.len() <= 4).ok_or_else(wrong)?;
    let (last, firsts) = parts.split_last().ok_or_else(wrong)?;
    let mut number = u64::from(*last);
    if number >= 1 << (8 * (4 - firsts.len())) || firsts.iter().any(|part| *part > 255) {
        return Err(wrong());
    }
    for (at, part) in firsts.iter().enumerate() {
        number |= u64::from(*part) << (24 - 8 * at);
    }
    let ip = Ipv4Addr::from(number as u32);
    let mut notes = Vec::new();
    if parts.len() < 4 {
        notes.push(&notes::XINETD_SHORT_ADDRESS);
    }
    let (ip, length) = trailing_zeros(ip);
    if length < 32 {
        notes.push(&notes::XINETD_ZERO_OCTETS);
    }
    Ok(Item { notes, ..nets(vec![(ip, length)]) })
}

fn trailing_zeros(ip: Ipv4Addr) -> (IpAddr, u8) {
    let zeros = ip.octets().iter().rev().take_while(|octet| **octet == 0).count();
    (ip.into(), 32 - 8 * zeros as u8)
}

fn prefix(address: &str, length: &str) -> Result<Item, String> {
    let wrong = || "expected ADDRESS/LENGTH, such as 10.0.0.0/8 or 2001:db8::/32".to_owned();
    let ip: IpAddr = address.parse().map_err(|_| wrong())?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    if length > if ip.is_ipv4() { 32 } else { 128 } {
        return Err(wrong());
    }
    let notes = if ip.is_ipv6() && length == 128 { vec![&notes::XINETD_V6_HOST] } else { Vec::new() };
    Ok(Item { notes, ..nets(vec![(masked(ip, length), length)]) })
}

/// The address with everything after the prefix zero.
pub(super) fn masked(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

/// `a.b.{c,d}`: the braces come last, and what is not written is anything.
fn factorised(text: &str, open: usize) -> Result<Item, String> {
    let wrong = || "expected `a.b.c.{d,e}`: numbers in the braces, nothing after them".to_owned();
    let inner = text[open + 1..].strip_suffix('}').ok_or_else(wrong)?;
    let before = text[..open].strip_suffix('.').ok_or_else(wrong)?;
    let octet = |part: &str| part.trim().parse::<u8>().map_err(|_| wrong());
    let firsts = before.split('.').map(octet).collect::<Result<Vec<u8>, String>>()?;
    if firsts.len() > 3 {
        return Err(wrong());
    }
    let mut list = Vec::new();
    for part in inner.split(',') {
        let mut octets = [0; 4];
        octets[..firsts.len()].copy_from_slice(&firsts);
        octets[firsts.len()] = octet(part)?;
        list.push((IpAddr::from(octets), 8 * (firsts.len() as u8 + 1)));
    }
    Ok(nets(list))
}

/// A network by its name, in text of the form of networks(5).
fn network(database: &str, name: &str) -> Option<Ipv4Addr> {
    database.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let official = words.next()?;
        let number = words.next()?;
        (official == name || words.any(|alias| alias == name)).then(|| {
            let mut octets = [0; 4];
            for (octet, part) in octets.iter_mut().zip(number.split('.')) {
                *octet = part.parse().ok()?;
            }
            Some(Ipv4Addr::from(octets))
        })?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORKS: &str = "loopback 127.0.0.0\noffice 192.168.7 work # here\n";

    #[test]
    fn every_form_becomes_prefixes_and_names() {
        let cases: [(&str, &[&str], &[&str]); 18] = [
            ("128.138.209.10", &["128.138.209.10"], &[]),
            ("128.138.209.0", &["128.138.209.0/24"], &["xinetd-zero-octets"]),
            ("127.0.0.0", &["127.0.0.0/8"], &["xinetd-zero-octets"]),
            ("0.0.0.0", &["0.0.0.0/0"], &["xinetd-zero-octets"]),
            ("10.1", &["10.0.0.1"], &["xinetd-short-address"]),
            ("2130706433", &["127.0.0.1"], &["xinetd-short-address"]),
            ("10.0.0.0/8", &["10.0.0.0/8"], &[]),
            ("10.1.2.3/16", &["10.1.0.0/16"], &[]),
            ("1.2.3.4/32", &["1.2.3.4"], &[]),
            ("10.1.{2,3}", &["10.1.2.0/24", "10.1.3.0/24"], &[]),
            ("10.1.2.{0,5}", &["10.1.2.0", "10.1.2.5"], &[]),
            ("2001:db8::1", &["2001:db8::1"], &[]),
            ("2001:db8::/32", &["2001:db8::/32"], &[]),
            ("::", &["::"], &["xinetd-v6-any"]),
            ("2001:db8::1/128", &["2001:db8::1"], &["xinetd-v6-host"]),
            ("office", &["192.168.7.0/24"], &["xinetd-network-name"]),
            ("Host.Example.org", &["host.example.org"], &["xinetd-host-name"]),
            (".example.org", &[".example.org"], &["xinetd-host-name"]),
        ];
        for (text, clients, notes) in cases {
            let item = item(text, NETWORKS).unwrap_or_else(|error| panic!("{text}: {error}"));
            let said: Vec<&str> = item.notes.iter().map(|note| note.id).collect();
            assert_eq!((item.clients.join(" "), said.as_slice()), (clients.join(" "), notes), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", ".", "1.2.3.4.5", "256.1.1.1", "1.2.3.4/33", "::/129", "10.{1,2}.3", "10.1,10.2", "a b", "#"]
        {
            assert!(item(text, NETWORKS).is_err(), "{text:?}");
        }
    }
}
