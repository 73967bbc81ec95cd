//! TCP, UDP and raw sockets: `struct inet_diag_req_v2` and `struct inet_diag_msg` (linux/inet_diag.h).

use super::entry::{End, Entry, Memory, Protocol, State, Timer, TimerKind};
use super::netlink::{Fields, Malformed, attributes};
use super::tcp_info::TcpInfo;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;

/// `AF_INET` and `AF_INET6` as the kernel's messages have them.
pub(super) const V4: u8 = 2;
pub(super) const V6: u8 = 10;

/// Attributes (`INET_DIAG_*`).
const INFO: u16 = 2;
const CONGESTION: u16 = 4;
const MEMORY: u16 = 7;
const SHUTDOWN: u16 = 8;
const V6_ONLY: u16 = 11;
const CGROUP: u16 = 21;

/// Length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;

/// `INET_DIAG_REQ_BYTECODE`.
const BYTECODE: u16 = 1;
/// Operations of that code (`INET_DIAG_BC_*`).
const JUMP: u8 = 1;
const SOURCE_FROM: u8 = 2;
const SOURCE_TO: u8 = 3;
const DESTINATION_FROM: u8 = 4;
const DESTINATION_TO: u8 = 5;

/// A filter for the kernel's little machine: the port of either end is one of these.
///
/// An operation is `struct inet_diag_bc_op`: what, how far to go on if so, how far if not. A comparison is followed by
/// another one that holds nothing but the port. To go just to the end is to take the socket, and four bytes further not
/// to; the way of `yes` must pass every place that a `no` leads to (inet_diag_bc_audit in net/ipv4/inet_diag.c), which is
/// why one jumps.
fn either_port(ports: &RangeInclusive<u16>) -> Vec<u8> {
    let mut code = Vec::with_capacity(36);
    let mut op = |what: u8, yes: u8, no: u16, port: Option<u16>| {
        code.extend([what, yes]);
        code.extend(no.to_ne_bytes());
        if let Some(port) = port {
            code.extend([0, 0]);
            code.extend(port.to_ne_bytes());
        }
    };
    op(SOURCE_FROM, 8, 20, Some(*ports.start()));
    op(SOURCE_TO, 8, 12, Some(*ports.end()));
    op(JUMP, 4, 20, None);
    op(DESTINATION_FROM, 8, 20, Some(*ports.start()));
    op(DESTINATION_TO, 8, 12, Some(*ports.end()));
    code
}

/// The body of a request for all sockets of this family and protocol number in these states (a bit each), and at these
/// ports.
pub(super) fn request(
    family: u8,
    protocol: u8,
    states: u32,
    with_info: bool,
    ports: Option<&RangeInclusive<u16>>,
) -> Vec<u8> {
    let bit = |attribute: u16| 1u8 << (attribute - 1);
    let mut wanted = bit(MEMORY) | bit(SHUTDOWN);
    if with_info {
        wanted |= bit(INFO) | bit(CONGESTION);
    }
    let mut body = vec![family, protocol, wanted, 0];
    body.extend(states.to_ne_bytes());
    // No address, port, interface or cookie: all of them.
    body.extend([0; 48]);
    if let Some(ports) = ports {
        let code = either_port(ports);
        body.extend((4 + code.len() as u16).to_ne_bytes());
        body.extend(BYTECODE.to_ne_bytes());
        body.extend(code);
    }
    body
}

/// One socket of an answer.
pub(super) fn entry(protocol: Protocol, body: &[u8]) -> Result<Entry, Malformed> {
    let fields = Fields(body);
    let Some(rest) = body.get(MESSAGE..) else {
        return Err(Malformed { what: "an internet socket's message is too short" });
    };
    // All of the offsets below are within what was just checked.
    let (family, number) = (body[0], body[1]);
    let state = State::of(number).ok_or(Malformed { what: "a socket is in a state without name" })?;
    let interface = fields.u32(40).filter(|interface| *interface != 0);
    let end = |port_at, address_at| -> Result<End, Malformed> {
        let port = fields.port(port_at).unwrap_or(0);
        let ip: IpAddr = match family {
            V4 => Ipv4Addr::from(fields.array::<4>(address_at).unwrap_or_default()).into(),
            V6 => Ipv6Addr::from(fields.array::<16>(address_at).unwrap_or_default()).into(),
            _ => return Err(Malformed { what: "an internet socket is of another family" }),
        };
        Ok(End::Inet(with_scope(ip, port, interface), interface))
    };
    let local = end(4, 8)?;
    let peer = end(6, 24)?;
    let mut entry = Entry {
        protocol,
        state,
        local,
        peer: (!peer.is_nobody()).then_some(peer),
        inode: fields.u32(68).unwrap_or(0).into(),
        cookie: fields.u64(44).unwrap_or(0),
        uid: fields.u32(64),
        receive_queue: fields.u32(56).unwrap_or(0),
        send_queue: fields.u32(60).unwrap_or(0),
        timer: timer(body[2], body[3], fields.u32(52).unwrap_or(0)),
        memory: None,
        shutdown: 0,
        congestion_control: None,
        tcp: None,
        cgroup: None,
    };
    if let (Protocol::Raw(_), End::Inet(at, _)) = (protocol, &mut entry.local) {
        // A raw socket has no port: its protocol number stands there.
        entry.protocol = Protocol::Raw(at.port() as u8);
        at.set_port(0);
    }
    // Only IPv6 sockets have the attribute; 0 says that they take IPv4 as well.
    let mut takes_both = false;
    for attribute in attributes(rest) {
        let (kind, value) = attribute?;
        match kind {
            INFO => entry.tcp = Some(TcpInfo::read(value)),
            CONGESTION => entry.congestion_control = Some(text(value)),
            MEMORY => entry.memory = Some(memory(value)),
            SHUTDOWN => entry.shutdown = value.first().copied().unwrap_or(0) & 3,
            V6_ONLY => takes_both = value.first() == Some(&0),
            CGROUP => entry.cgroup = Fields(value).u64(0),
            _ => {}
        }
    }
    if takes_both && entry.local.ip().is_some_and(|ip| ip.is_unspecified()) {
        let port = entry.local.port().unwrap_or(0);
        if port != 0 {
            entry.local = End::Any(port);
        }
    }
    Ok(entry)
}

/// A link-local address means something on its interface only.
fn with_scope(ip: IpAddr, port: u16, interface: Option<u32>) -> SocketAddr {
    match (ip, interface) {
        (IpAddr::V6(ip), Some(interface)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, port, 0, interface).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

fn timer(kind: u8, retries: u8, expires_ms: u32) -> Option<Timer> {
    let kind = match kind {
        1 => TimerKind::Retransmit,
        2 => TimerKind::Keepalive,
        3 => TimerKind::TimeWait,
        4 => TimerKind::WindowProbe,
        _ => return None,
    };
    // One that has just expired is told of with a negative rest.
    let expires_ms = if expires_ms > i32::MAX as u32 { 0 } else { expires_ms };
    Some(Timer { kind, expires_ms, retries })
}

/// `SK_MEMINFO_VARS` (linux/sock_diag.h).
pub(super) fn memory(bytes: &[u8]) -> Memory {
    let value = |index: usize| Fields(bytes).u32(index * 4).unwrap_or(0);
    Memory {
        receive_bytes: value(0),
        receive_limit_bytes: value(1),
        send_bytes: value(2),
        send_limit_bytes: value(3),
        drops: value(8),
    }
}

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
