//! Socket addresses, and what kind of socket it is.

use super::name;
use crate::watch::memory::Memory;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

/// The address at `address`, `length` bytes of it.
pub(super) fn read(memory: Memory, address: u64, length: usize) -> Option<String> {
    let bytes = memory.bytes(address, length.min(size_of::<libc::sockaddr_storage>()));
    (bytes.len() >= 2 || length == 0).then(|| show(&bytes))
}

/// A `struct sockaddr` of any family.
fn show(bytes: &[u8]) -> String {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return "unnamed".to_owned() };
    let family = i32::from(u16::from_ne_bytes(*family));
    let port = |at: &[u8]| u16::from_be_bytes([at[0], at[1]]);
    match (family, rest) {
        (libc::AF_INET, [a, b, w, x, y, z, ..]) => {
            format!("{}:{}", Ipv4Addr::new(*w, *x, *y, *z), port(&[*a, *b]))
        }
        (libc::AF_INET6, rest) if rest.len() >= 22 => {
            let octets: [u8; 16] = rest[6..22].try_into().unwrap_or_default();
            let scope = rest.get(22..26).and_then(|at| at.try_into().ok()).map_or(0, u32::from_ne_bytes);
            SocketAddrV6::new(Ipv6Addr::from(octets), port(rest), 0, scope).to_string()
        }
        (libc::AF_UNIX, []) => "unix:(unnamed)".to_owned(),
        (libc::AF_UNIX, [0, name @ ..]) => format!("unix:@{}", name.escape_ascii()),
        (libc::AF_UNIX, path) => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            format!("unix:{}", path[..end].escape_ascii())
        }
        (libc::AF_NETLINK, [_, _, a, b, c, d, ..]) => {
            format!("netlink:{}", u32::from_ne_bytes([*a, *b, *c, *d]))
        }
        _ => name::or_number(name::FAMILIES, family.into()),
    }
}

/// Type and flags of socket(2).
pub(super) fn socket_type(value: i32) -> String {
    let kind = value & 0xf;
    let flags = value & !0xf;
    let kind = name::or_number(name::SOCKET_TYPES, kind.into());
    match flags {
        0 => kind,
        _ => format!("{kind}|{}", name::flags(name::SOCKET_FLAGS, flags.into())),
    }
}

/// Protocol of socket(2), whose numbers depend on the family.
pub(super) fn protocol(family: i32, value: i32) -> String {
    match (family, value) {
        (libc::AF_INET | libc::AF_INET6, 1..) => name::or_number(name::PROTOCOLS, value.into()),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_each_family() {
        let family = |n: i32| (n as u16).to_ne_bytes();
        let v4 = [&family(libc::AF_INET)[..], &[0x1f, 0x90, 127, 0, 0, 1], &[0; 8]].concat();
        assert_eq!(show(&v4), "127.0.0.1:8080");
        let mut v6 = [&family(libc::AF_INET6)[..], &[0, 7], &[0; 24]].concat();
        v6[23] = 1;
        assert_eq!(show(&v6), "[::1]:7");
        let unix = |path: &[u8]| show(&[&family(libc::AF_UNIX)[..], path].concat());
        assert_eq!(unix(b"/run/x\0\0"), "unix:/run/x");
        assert_eq!(unix(b"\0board"), "unix:@board");
        assert_eq!((&*unix(b""), &*show(b"")), ("unix:(unnamed)", "unnamed"));
        assert_eq!(show(&family(0)), "AF_UNSPEC");
        // Cut short by the program: nothing is read beyond.
        assert_eq!(show(&v4[..5]), "AF_INET");
    }

    #[test]
    fn kinds_of_sockets() {
        assert_eq!(socket_type(libc::SOCK_STREAM | libc::SOCK_CLOEXEC), "SOCK_STREAM|SOCK_CLOEXEC");
        assert_eq!(protocol(libc::AF_INET, 6), "IPPROTO_TCP");
        assert_eq!(protocol(libc::AF_INET, 0), "0");
        assert_eq!(protocol(libc::AF_NETLINK, 0), "0");
    }
}
