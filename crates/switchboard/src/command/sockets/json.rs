//! The listing as JSON: `switchboard.sockets`, version 1. Units are in the names.

use super::snapshot::Snapshot;
use serde_json::{Map, Value, json};
use switchboard_lab::diag::{End, Entry, Protocol, State};

/// One look.
pub(super) fn document(snapshot: &Snapshot) -> String {
    let sockets: Vec<Value> = snapshot.rows.iter().map(|entry| socket(snapshot, entry)).collect();
    let counted = snapshot.overflow.map(|counted| {
        json!({ "overflows": counted.overflows, "drops": counted.drops, "cookies_sent": counted.cookies_sent })
    });
    // By hand, so that a reader meets the schema first.
    format!(
        "{{\"schema\":\"switchboard.sockets\",\"version\":1,\"sockets\":{},\"time_wait_not_listed\":{},\
         \"listen_queues\":{},\"hidden_processes\":{}}}",
        Value::from(sockets),
        snapshot.folded,
        counted.unwrap_or_default(),
        snapshot.owners.hidden,
    )
}

fn socket(snapshot: &Snapshot, entry: &Entry) -> Value {
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| drop(row.insert(key.to_owned(), value));
    put("protocol", entry.protocol.name().into());
    put("family", family(&entry.local).into());
    if let Protocol::Raw(number) = entry.protocol {
        put("ip_protocol", number.into());
    }
    put("state", entry.state_name().into());
    put("local", entry.local.to_string().into());
    put("local_port", entry.local.port().filter(|port| *port != 0).into());
    put("peer", entry.peer.as_ref().map(End::to_string).into());
    put("peer_port", entry.peer.as_ref().and_then(End::port).into());
    match entry.backlog() {
        Some((waiting, backlog)) => {
            put("waiting_connections", waiting.into());
            put("backlog_connections", backlog.into());
            put("full", entry.is_full().into());
        }
        None => {
            put("receive_queue_bytes", entry.receive_queue.into());
            put("send_queue_bytes", entry.send_queue.into());
        }
    }
    put("timer", entry.timer.map_or(Value::Null, |timer| {
        json!({ "kind": timer.kind.name(), "expires_ms": timer.expires_ms, "retries": timer.retries })
    }));
    put("shutdown", ["none", "receive", "send", "both"][usize::from(entry.shutdown & 3)].into());
    put("drops", entry.memory.map(|memory| memory.drops).into());
    put(
        "memory",
        entry.memory.map_or(Value::Null, |memory| {
            json!({
                "receive_bytes": memory.receive_bytes,
                "receive_limit_bytes": memory.receive_limit_bytes,
                "send_bytes": memory.send_bytes,
                "send_limit_bytes": memory.send_limit_bytes,
            })
        }),
    );
    put("inode", entry.inode.into());
    put("cookie", entry.cookie.into());
    put("uid", entry.uid.into());
    put("cgroup_id", entry.cgroup.into());
    // A listener has no connection that these numbers could be of.
    let tcp = entry.tcp.as_ref().filter(|_| entry.state != State::Listen);
    put("congestion_control", entry.congestion_control.clone().into());
    put("tcp", tcp.and_then(|info| serde_json::to_value(info).ok()).unwrap_or_default());
    let owners = snapshot.holders(entry).map(|(holder, name)| {
        let zombies = snapshot.owners.program(holder.pid).map_or(&[][..], |program| &program.zombies);
        json!({ "pid": holder.pid, "fd": holder.fd, "program": name, "zombie_children": zombies })
    });
    put("owners", owners.collect());
    row.into()
}

fn family(end: &End) -> &'static str {
    match end {
        End::Any(_) => "ipv6",
        End::Inet(address, _) if address.is_ipv6() => "ipv6",
        End::Inet(..) => "ipv4",
        End::Unix(_) | End::Unnamed(_) => "unix",
    }
}
