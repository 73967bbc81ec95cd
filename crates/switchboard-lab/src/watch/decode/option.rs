//! Socket options: names of their levels and numbers, and their values.

use super::name;
use crate::watch::memory::word;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    Int,
    Errno,
    Linger,
    Time,
    Text,
    Bytes,
    Type,
    Family,
}

const SOL: i32 = libc::SOL_SOCKET;
const TCP: i32 = libc::IPPROTO_TCP;
const IP: i32 = libc::IPPROTO_IP;
const IP6: i32 = libc::IPPROTO_IPV6;

macro_rules! options {
    ($($level:ident $value:ident: $($name:ident)+;)+) => {
        &[$($(($level, libc::$name, stringify!($name), Value::$value),)+)+]
    };
}

static OPTIONS: &[(i32, i32, &str, Value)] = options! {
    SOL Int: SO_DEBUG SO_REUSEADDR SO_DONTROUTE SO_BROADCAST SO_SNDBUF SO_RCVBUF SO_KEEPALIVE SO_OOBINLINE SO_NO_CHECK
        SO_PRIORITY SO_REUSEPORT SO_PASSCRED SO_RCVLOWAT SO_SNDLOWAT SO_TIMESTAMP SO_ACCEPTCONN SO_MARK SO_RXQ_OVFL
        SO_PROTOCOL SO_BUSY_POLL SO_INCOMING_CPU SO_SNDBUFFORCE SO_RCVBUFFORCE SO_ZEROCOPY SO_PEEK_OFF
        SO_TIMESTAMPNS SO_TIMESTAMPING;
    SOL Errno: SO_ERROR;
    SOL Linger: SO_LINGER;
    SOL Time: SO_RCVTIMEO SO_SNDTIMEO;
    SOL Text: SO_BINDTODEVICE;
    SOL Type: SO_TYPE;
    SOL Family: SO_DOMAIN;
    SOL Bytes: SO_PEERCRED SO_ATTACH_FILTER SO_ATTACH_REUSEPORT_EBPF SO_PEERSEC;
    TCP Int: TCP_NODELAY TCP_MAXSEG TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2
        TCP_DEFER_ACCEPT TCP_WINDOW_CLAMP TCP_QUICKACK TCP_USER_TIMEOUT TCP_FASTOPEN TCP_FASTOPEN_CONNECT
        TCP_NOTSENT_LOWAT TCP_INQ;
    TCP Text: TCP_CONGESTION TCP_ULP;
    TCP Bytes: TCP_INFO TCP_MD5SIG;
    IP Int: IP_TOS IP_TTL IP_HDRINCL IP_RECVERR IP_PKTINFO IP_MTU_DISCOVER IP_MTU IP_FREEBIND IP_TRANSPARENT
        IP_RECVTTL IP_RECVTOS IP_MULTICAST_TTL IP_MULTICAST_LOOP IP_BIND_ADDRESS_NO_PORT;
    IP Bytes: IP_OPTIONS IP_ADD_MEMBERSHIP IP_DROP_MEMBERSHIP IP_MULTICAST_IF;
    IP6 Int: IPV6_V6ONLY IPV6_UNICAST_HOPS IPV6_MULTICAST_HOPS IPV6_MULTICAST_LOOP IPV6_MULTICAST_IF
        IPV6_RECVPKTINFO IPV6_RECVERR IPV6_TCLASS IPV6_RECVTCLASS IPV6_MTU IPV6_MTU_DISCOVER IPV6_RECVHOPLIMIT;
    IP6 Bytes: IPV6_ADD_MEMBERSHIP IPV6_DROP_MEMBERSHIP;
};

fn find(level: i32, number: i32) -> Option<&'static (i32, i32, &'static str, Value)> {
    OPTIONS.iter().find(|(its_level, its_number, ..)| (*its_level, *its_number) == (level, number))
}

pub(super) fn level(number: i32) -> String {
    match number {
        SOL => "SOL_SOCKET".to_owned(),
        // Numbers of protocols; 0 stands for IP here.
        IP6 => "IPPROTO_IPV6".to_owned(),
        _ => name::or_number(name::PROTOCOLS, number.into()),
    }
}

pub(super) fn name(level: i32, number: i32) -> String {
    find(level, number).map_or_else(|| number.to_string(), |(_, _, name, _)| (*name).to_owned())
}

pub(super) fn value(level: i32, number: i32, bytes: &[u8]) -> String {
    let kind = find(level, number).map_or(Value::Int, |(.., kind)| *kind);
    let int = |at: usize| bytes.get(at..at + 4).and_then(|at| at.try_into().ok()).map(i32::from_ne_bytes);
    let shown = match kind {
        // Some take one byte as well (ip(7)).
        Value::Int if bytes.len() == 1 => Some(bytes[0].to_string()),
        Value::Int => int(0).filter(|_| bytes.len() == 4).map(|value| value.to_string()),
        Value::Errno => int(0).map(|errno| match errno {
            0 => "0".to_owned(),
            _ => name::errno(errno).map_or_else(|| errno.to_string(), str::to_owned),
        }),
        Value::Linger => int(0).zip(int(4)).map(|(on, seconds)| match on {
            0 => "off".to_owned(),
            _ => format!("{seconds}s"),
        }),
        Value::Time => word(bytes, 0)
            .zip(word(bytes, 1))
            .map(|(seconds, us)| super::time::span(seconds as i64, us as i64 * 1000)),
        Value::Text => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            Some(super::bytes::quoted(&bytes[..end], end))
        }
        Value::Type => int(0).map(|kind| name::or_number(name::SOCKET_TYPES, kind.into())),
        Value::Family => int(0).map(|family| name::or_number(name::FAMILIES, family.into())),
        Value::Bytes => None,
    };
    shown.unwrap_or_else(|| format!("{} bytes", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_names_and_values() {
        assert_eq!(name(SOL, libc::SO_REUSEADDR), "SO_REUSEADDR");
        assert_eq!(value(SOL, libc::SO_REUSEADDR, &1_i32.to_ne_bytes()), "1");
        assert_eq!(value(SOL, libc::SO_ERROR, &111_i32.to_ne_bytes()), "ECONNREFUSED");
        assert_eq!(value(SOL, libc::SO_LINGER, &[1, 0, 0, 0, 5, 0, 0, 0]), "5s");
        let two_and_a_half = [2_i64.to_ne_bytes(), 500_000_i64.to_ne_bytes()].concat();
        assert_eq!(value(SOL, libc::SO_RCVTIMEO, &two_and_a_half), "2.5s");
        assert_eq!(value(TCP, libc::TCP_CONGESTION, b"cubic\0\0\0"), "\"cubic\"");
        assert_eq!(value(TCP, libc::TCP_INFO, &[0; 104]), "104 bytes");
        assert_eq!((&*level(TCP), &*level(IP6), &*level(0)), ("IPPROTO_TCP", "IPPROTO_IPV6", "IPPROTO_IP"));
        assert_eq!((&*level(270), &*name(270, 9)), ("270", "9"));
        // A value that the program cut short.
        assert_eq!(value(SOL, libc::SO_LINGER, &[1, 0]), "2 bytes");
    }
}
