//! Unix sockets: `struct unix_diag_req` and `struct unix_diag_msg` (linux/unix_diag.h).

use super::entry::{End, Entry, Protocol, State};
use super::inet;
use super::netlink::{Fields, Malformed, attributes};
use std::collections::HashMap;

/// `AF_UNIX`.
pub(super) const FAMILY: u8 = 1;

/// Attributes (`UNIX_DIAG_*`).
const NAME: u16 = 0;
const PEER: u16 = 2;
const QUEUES: u16 = 4;
const MEMORY: u16 = 5;
const SHUTDOWN: u16 = 6;
const UID: u16 = 7;
/// What to tell (`UDIAG_SHOW_*`): name, peer, queues, memory, user.
const SHOW: u32 = 1 | 4 | 0x10 | 0x20 | 0x40;

/// Length of `struct unix_diag_msg`.
const MESSAGE: usize = 16;

/// The body of a request for all Unix sockets in these states (a bit each).
pub(super) fn request(states: u32) -> Vec<u8> {
    let mut body = vec![FAMILY, 0, 0, 0];
    body.extend(states.to_ne_bytes());
    body.extend(0u32.to_ne_bytes());
    body.extend(SHOW.to_ne_bytes());
    body.extend([0; 8]);
    body
}

/// One socket of an answer.
pub(super) fn entry(body: &[u8]) -> Result<Entry, Malformed> {
    let fields = Fields(body);
    let Some(rest) = body.get(MESSAGE..) else {
        return Err(Malformed { what: "a Unix socket's message is too short" });
    };
    if body[0] != FAMILY {
        return Err(Malformed { what: "a Unix socket is of another family" });
    }
    let inode = u64::from(fields.u32(4).unwrap_or(0));
    let mut entry = Entry {
        protocol: Protocol::Unix(body[1]),
        state: State::of(body[2]).ok_or(Malformed { what: "a socket is in a state without name" })?,
        local: End::Unnamed(inode),
        peer: None,
        inode,
        cookie: fields.u64(8).unwrap_or(0),
        uid: None,
        receive_queue: 0,
        send_queue: 0,
        timer: None,
        memory: None,
        shutdown: 0,
        congestion_control: None,
        tcp: None,
        cgroup: None,
    };
    for attribute in attributes(rest) {
        let (kind, value) = attribute?;
        let number = Fields(value).u32(0);
        match kind {
            NAME if !value.is_empty() => entry.local = End::Unix(name(value)),
            PEER => entry.peer = number.map(|inode| End::Unnamed(inode.into())),
            QUEUES => {
                entry.receive_queue = number.unwrap_or(0);
                entry.send_queue = Fields(value).u32(4).unwrap_or(0);
            }
            MEMORY => entry.memory = Some(inet::memory(value)),
            SHUTDOWN => entry.shutdown = value.first().copied().unwrap_or(0) & 3,
            UID => entry.uid = number,
            _ => {}
        }
    }
    Ok(entry)
}

/// A path ends at its NUL byte; an abstract name begins with one and has its length.
fn name(bytes: &[u8]) -> Vec<u8> {
    match bytes.first() {
        Some(0) => bytes.to_vec(),
        _ => bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
    }
}

/// Gives peers their names: the kernel tells their inode numbers only.
pub(super) fn name_peers(entries: &mut [Entry]) {
    let named = entries.iter().filter(|entry| matches!(entry.local, End::Unix(_)));
    let names: HashMap<u64, End> = named.map(|entry| (entry.inode, entry.local.clone())).collect();
    for entry in entries {
        if let Some(End::Unnamed(inode)) = &entry.peer
            && let Some(name) = names.get(inode)
        {
            entry.peer = Some(name.clone());
        }
    }
}
