//! An address in every notation, with its class, its scope and its bytes.

use super::number::bytes_as_hex;
use super::sockaddr;
use crate::report::Sheet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use switchboard_net::class::{Class, embedded};
use switchboard_net::{Endpoint, Error, Host, Kind, Place, Port};

/// An address, as written.
#[derive(Debug)]
pub(super) struct Written {
    ip: IpAddr,
    interface: Option<String>,
}

/// The address that `text` is: IPv6 with or without brackets, with or without an interface; IPv4 as inet_aton(3)
/// takes it.
pub(super) fn read(text: &str) -> Option<Written> {
    match text.parse::<Host>() {
        Ok(Host::Ip(ip, interface)) => Some(Written { ip, interface }),
        _ => Some(Written { ip: inet_aton(text)?.into(), interface: None }),
    }
}

/// One to four numbers in decimal, octal (0…) or hexadecimal (0x…): the last one fills the bytes that are left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(c_number).collect::<Option<_>>()?;
    let (last, before) = numbers.split_last()?;
    let left = 32_u32.checked_sub(8 * before.len() as u32).filter(|left| *left >= 8)?;
    if before.iter().any(|byte| *byte > 255) || last.checked_shr(left).unwrap_or(0) != 0 {
        return None;
    }
    let high = before.iter().fold(0_u32, |high, byte| high << 8 | byte);
    Some(Ipv4Addr::from_bits(high.checked_shl(left).unwrap_or(0) | last))
}

/// A number as C reads it.
fn c_number(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (digits, base) = match lower.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        None => (lower.as_str(), 10),
    };
    // from_str_radix would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| u32::from_str_radix(digits, base).ok())?
}

pub(super) fn explain(text: &str) -> Result<Vec<Sheet>, Error> {
    let written = read(text).ok_or_else(|| {
        Error::Config(format!(
            "`{}` is not an address; what a name stands for is told by `switchboard resolve`",
            text.escape_default()
        ))
    })?;
    sheets(text, &written)
}

pub(super) fn sheets(text: &str, written: &Written) -> Result<Vec<Sheet>, Error> {
    let class = Class::of(written.ip);
    let family = if written.ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut sheet = Sheet::new("address", format!("{text}: an {family} address"));
    sheet.add("address", written.ip.to_string());
    sheet.add("family", family);
    sheet.add("class", class.name);
    sheet.add("scope", class.scope);
    sheet.add("block", format!("{}/{}", class.first, class.bits));
    sheet.add("source", class.source);
    match written.ip {
        IpAddr::V4(ip) => ipv4(&mut sheet, ip, text),
        IpAddr::V6(ip) => ipv6(&mut sheet, ip, class),
    }
    let host = Host::Ip(written.ip, written.interface.clone());
    let endpoint = Endpoint { kind: Kind::Tcp, place: Place::Inet(host, Port::Number(0)) };
    for address in endpoint.resolve()? {
        if let (Some(interface), Some(std::net::SocketAddr::V6(inet))) = (&written.interface, address.inet())
        {
            sheet.add("interface", format!("{interface}, index {}", inet.scope_id()));
        }
        sockaddr::add(&mut sheet, &address)?;
    }
    Ok(vec![sheet])
}

fn ipv4(sheet: &mut Sheet, ip: Ipv4Addr, text: &str) {
    let bits = ip.to_bits();
    let [a, b, c, d] = ip.octets();
    if ip.to_string() != text {
        sheet.add(
            "written",
            "in a form that inet_aton(3) and getaddrinfo(3) take, and inet_pton(3) does not: 0 begins octal",
        );
    }
    sheet.add("decimal", u64::from(bits));
    sheet.add("hexadecimal", format!("{bits:#010x}"));
    sheet.add("octal", format!("{bits:#o}").replace("0o", "0"));
    sheet.add("dotted_hexadecimal", format!("{a:#04x}.{b:#04x}.{c:#04x}.{d:#04x}"));
    sheet.add("binary", binary(&ip.octets(), '.'));
    let classful = match a {
        0..128 => "A: 0 and 7 bits of network",
        128..192 => "B: 10 and 14 bits of network",
        192..224 => "C: 110 and 21 bits of network",
        224..240 => "D: 1110, multicast",
        240.. => "E: 1111, reserved",
    };
    sheet.add("classful", format!("{classful} (RFC 791; replaced by prefixes, RFC 4632)"));
    sheet.add("reverse_name", format!("{d}.{c}.{b}.{a}.in-addr.arpa"));
    sheet.add("mapped", ip.to_ipv6_mapped().to_string());
}

fn ipv6(sheet: &mut Sheet, ip: Ipv6Addr, class: Class) {
    let octets = ip.octets();
    let full: Vec<String> = ip.segments().iter().map(|part| format!("{part:04x}")).collect();
    sheet.add("full", full.join(":"));
    sheet.add("in_a_url", format!("[{ip}] (RFC 3986 section 3.2.2)"));
    sheet.add("decimal", ip.to_bits().to_string());
    sheet.add("hexadecimal", format!("{:#034x}", ip.to_bits()));
    sheet.add("bytes", bytes_as_hex(&octets));
    // The whole would be 128 digits: the block's bits, to the end of their byte, tell what it is.
    let shown = usize::from(class.bits).div_ceil(8).clamp(1, 16);
    sheet.add("binary_of_the_block", binary(&octets[..shown], ' '));
    let mut reverse = String::new();
    for byte in octets.iter().rev() {
        let _ = write!(reverse, "{:x}.{:x}.", byte & 15, byte >> 4);
    }
    sheet.add("reverse_name", reverse + "ip6.arpa");
    if let Some(within) = embedded(ip) {
        let of = Class::of(within.into());
        sheet.add("ipv4_within", format!("{within}: {}, {} ({})", of.name, of.scope, of.source));
    }
    if ip.is_multicast() {
        let flags = octets[1] >> 4;
        let mut says = vec![if flags & 1 == 0 { "assigned by IANA" } else { "transient" }];
        says.extend((flags & 2 != 0).then_some("holds a unicast prefix (RFC 3306)"));
        says.extend((flags & 4 != 0).then_some("holds a rendezvous point (RFC 3956)"));
        sheet.add("multicast_flags", says.join(", "));
    }
    if let [.., a, b, c, 0xff, 0xfe, d, e, f] = octets
        && !ip.is_multicast()
        && embedded(ip).is_none()
    {
        // The bit that says "universal" is turned over (RFC 4291 appendix A).
        let a = a ^ 2;
        sheet.add("made_from_mac", format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"));
    }
}

fn binary(octets: &[u8], between: char) -> String {
    let bytes: Vec<String> = octets.iter().map(|byte| format!("{byte:08b}")).collect();
    bytes.join(&between.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_inet_aton_is_read() {
        for text in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0177.0.0.1",
            "2130706433",
            "0x7F000001",
            "017700000001",
        ] {
            assert_eq!(inet_aton(text), Some(Ipv4Addr::LOCALHOST), "{text}");
        }
        assert_eq!(inet_aton("1.65535"), Some(Ipv4Addr::new(1, 0, 255, 255)));
        assert_eq!(inet_aton("0"), Some(Ipv4Addr::UNSPECIFIED));
        assert_eq!(inet_aton("0xffffffff"), Some(Ipv4Addr::BROADCAST));
        for text in [
            "",
            ".",
            "1.",
            "256.1",
            "1.2.3.256",
            "1.2.3.4.5",
            "08",
            "0x",
            "1.16777216",
            "4294967296",
            "+1",
            "a.b",
        ] {
            assert_eq!(inet_aton(text), None, "{text}");
        }
    }

    #[test]
    fn ipv6_is_read_with_brackets_and_interface() {
        for text in ["::1", "[::1]", "0:0:0:0:0:0:0:1"] {
            assert_eq!(read(text).map(|written| written.ip), Some(Ipv6Addr::LOCALHOST.into()), "{text}");
        }
        assert_eq!(read("fe80::1%eth0").and_then(|written| written.interface).as_deref(), Some("eth0"));
        assert!(read("localhost").is_none());
    }
}
