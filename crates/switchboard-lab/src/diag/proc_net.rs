//! UDP and raw sockets from `/proc/net/udp` and its kin (proc_pid_net(5)), for kernels without the modules that list
//! them: fewer facts, no cookie, and only for the network namespace at hand.

use super::entry::{End, Entry, Memory, Protocol, State};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The sockets of one family.
pub(super) fn list(protocol: Protocol, v6: bool) -> io::Result<Vec<Entry>> {
    let name = if protocol == Protocol::Udp { "udp" } else { "raw" };
    let text = fs::read_to_string(format!("/proc/thread-self/net/{name}{}", if v6 { "6" } else { "" }))?;
    Ok(text.lines().skip(1).filter_map(|line| entry(protocol, line)).collect())
}

/// `sl local remote state tx:rx timer:when retransmits uid timeout inode references pointer drops`.
fn entry(protocol: Protocol, line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, peer, state, queues, _, _, uid, _, inode, rest @ ..] = &*words else { return None };
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let (send_queue, receive_queue) = queues.split_once(':')?;
    let (mut local, peer) = (address(local)?, address(peer)?);
    let protocol = match protocol {
        Protocol::Raw(_) => {
            // A raw socket has no port: its protocol number stands there.
            let number = local.port() as u8;
            local.set_port(0);
            Protocol::Raw(number)
        }
        other => other,
    };
    let peer = End::Inet(peer, None);
    Some(Entry {
        protocol,
        state: State::of(hex(state)? as u8)?,
        local: End::Inet(local, None),
        peer: (!peer.is_nobody()).then_some(peer),
        inode: inode.parse().ok()?,
        cookie: 0,
        uid: uid.parse().ok(),
        receive_queue: hex(receive_queue)?,
        send_queue: hex(send_queue)?,
        timer: None,
        memory: rest
            .get(2)
            .and_then(|drops| Some(Memory { drops: drops.parse().ok()?, ..Memory::default() })),
        shutdown: 0,
        congestion_control: None,
        tcp: None,
        cgroup: None,
    })
}

/// Words of 32 bits as this machine has them in memory, and a port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(words.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match words.len() {
        8 => word(0)?.into(),
        32 => {
            let bytes: Vec<u8> = (0..4).map_while(word).flatten().collect();
            <[u8; 16]>::try_from(bytes).ok()?.into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_other_lines_are_passed_over() {
        let v4 = if cfg!(target_endian = "little") { "0100007F" } else { "7F000001" };
        let line =
            format!(" 1: {v4}:0001 00000000:0000 07 00000000:00000300 00:00000000 00000000 1000 0 77 2 00 5");
        let raw = entry(Protocol::Raw(0), &line).expect("a socket");
        assert_eq!(
            (raw.protocol, raw.local.to_string(), raw.peer),
            (Protocol::Raw(1), "127.0.0.1:*".into(), None)
        );
        assert_eq!((raw.inode, raw.uid, raw.receive_queue), (77, Some(1000), 0x300));
        assert_eq!(raw.memory.expect("drops").drops, 5);
        for cut in 0..line.len() - 8 {
            // Whatever is missing, there is no panic; with the inode cut short it may still be a number.
            let _ = entry(Protocol::Udp, &line[..cut]);
        }
        assert_eq!(entry(Protocol::Udp, ""), None);
    }
}
