//! The structure that a socket call gets for an address, field by field.
//!
//! Layouts are those of ip(7), ipv6(7), unix(7) and vsock(7) on Linux. The family is in host order, port and internet address
//! in network order: that is why a port that was not passed through htons(3) is another port.

use super::number::{bytes_as_hex, orders};
use crate::report::{Fact, Row, Sheet};
use switchboard_net::sys::sockaddr;
use switchboard_net::{Address, Error, Escaped, Kind, Location};

/// The arguments of socket(2) for an address.
pub(super) fn socket(address: &Address) -> String {
    let domain = match address.inet() {
        Some(inet) if inet.is_ipv4() => "AF_INET",
        Some(_) => "AF_INET6",
        None if address.kind == Kind::Vsock => "AF_VSOCK",
        None => "AF_UNIX",
    };
    let (kind, protocol) = match address.kind.name() {
        "tcp" => ("SOCK_STREAM", "IPPROTO_TCP"),
        "udp" => ("SOCK_DGRAM", "IPPROTO_UDP"),
        "unix-dgram" => ("SOCK_DGRAM", "0"),
        "unix-seqpacket" => ("SOCK_SEQPACKET", "0"),
        _ => ("SOCK_STREAM", "0"),
    };
    format!("socket({domain}, {kind}, {protocol})")
}

/// Adds the structure's length, bytes and fields.
pub(super) fn add(sheet: &mut Sheet, address: &Address) -> Result<(), Error> {
    let bytes = sockaddr::bytes(address)?;
    let field = Fields { bytes: &bytes };
    const HOST: &str = "host order";
    const NETWORK: &str = "network order";
    let family = |name: &'static str, macro_name: &str| {
        let number = bytes.first_chunk().map_or(0, |family| u16::from_ne_bytes(*family));
        field.row(0, 2, name, format!("{macro_name} = {number}"), HOST)
    };
    match (address.inet(), &address.place) {
        (Some(std::net::SocketAddr::V4(inet)), _) => {
            sheet.add("length_bytes", bytes.len() as u64);
            sheet.add(
                "sockaddr_in",
                vec![
                    family("sin_family", "AF_INET"),
                    field.row(2, 2, "sin_port", inet.port().to_string(), NETWORK),
                    field.row(4, 4, "sin_addr", inet.ip().to_string(), NETWORK),
                    field.row(8, 8, "sin_zero", "padding".into(), "-"),
                ],
            );
            port_orders(sheet, inet.port());
            sheet.add("address_in_both_orders", orders(inet.ip().to_bits().into(), &[32]));
        }
        (Some(std::net::SocketAddr::V6(inet)), _) => {
            sheet.add("length_bytes", bytes.len() as u64);
            sheet.add(
                "sockaddr_in6",
                vec![
                    family("sin6_family", "AF_INET6"),
                    field.row(2, 2, "sin6_port", inet.port().to_string(), NETWORK),
                    field.row(4, 4, "sin6_flowinfo", inet.flowinfo().to_string(), NETWORK),
                    field.row(8, 16, "sin6_addr", inet.ip().to_string(), NETWORK),
                    field.row(24, 4, "sin6_scope_id", inet.scope_id().to_string(), HOST),
                ],
            );
            port_orders(sheet, inet.port());
        }
        (None, Location::Vsock(cid, port)) => {
            sheet.add("length_bytes", bytes.len() as u64);
            sheet.add(
                "sockaddr_vm",
                vec![
                    family("svm_family", "AF_VSOCK"),
                    field.row(2, 2, "svm_reserved1", "0".into(), "-"),
                    field.row(4, 4, "svm_port", port.to_string(), HOST),
                    field.row(8, 4, "svm_cid", cid.to_string(), HOST),
                    field.row(12, 4, "svm_zero", "flags and zeroes".into(), "-"),
                ],
            );
        }
        (None, place) => {
            let path = bytes.len().saturating_sub(2);
            let (value, rule) = match place {
                Location::Abstract(name) => (
                    format!("NUL, then {}", name.escape_ascii()),
                    format!(
                        "2 + 1 + {}: an abstract name begins with NUL and has none at its end; every byte of the \
                         length counts",
                        path.saturating_sub(1)
                    ),
                ),
                _ => (
                    format!("{}, then NUL", Escaped(&bytes[2..bytes.len() - 1])),
                    format!("2 + {} + 1: the path and its closing NUL", path.saturating_sub(1)),
                ),
            };
            sheet.add("length_bytes", bytes.len() as u64);
            sheet.add("length_is", rule);
            sheet.add("room", "sun_path has 108 bytes, the whole structure 110 (unix(7))");
            sheet.add(
                "sockaddr_un",
                vec![family("sun_family", "AF_UNIX"), field.row(2, path, "sun_path", value, "-")],
            );
        }
    }
    Ok(())
}

/// A port in both orders; 0 stands for none, and is the same in both.
fn port_orders(sheet: &mut Sheet, port: u16) {
    if port != 0 {
        sheet.add("port_in_both_orders", orders(port.into(), &[16]));
    }
}

struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn row(&self, offset: usize, len: usize, field: &str, value: String, order: &str) -> Row {
        let bytes = self.bytes.get(offset..offset + len).unwrap_or_default();
        vec![
            ("offset", Fact::from(offset as u64)),
            ("field", field.into()),
            ("bytes", bytes_as_hex(bytes).into()),
            ("order", order.into()),
            ("value", value.into()),
        ]
    }
}
