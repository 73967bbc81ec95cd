//! The table for people.

use super::snapshot::Snapshot;
use crate::report::Table;
use std::collections::HashMap;
use std::fmt::Write;
use switchboard_lab::diag::{End, Entry, Protocol, State, TcpInfo};
use switchboard_net::{Escaped, services};

const HEADING: [&str; 8] = ["proto", "state", "recv-q", "send-q", "local", "peer", "owner", "notes"];

/// Names of ports, by port and protocol.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<(u16, String), String>);

impl Names {
    pub(super) fn of_this_machine() -> Names {
        let mut names = HashMap::new();
        for entry in services::entries() {
            names.entry((entry.port, entry.protocol)).or_insert(entry.name);
        }
        Names(names)
    }

    /// An end as it is shown.
    fn end(&self, protocol: Protocol, end: &End) -> String {
        let text = end.to_string();
        let name = end.port().and_then(|port| self.0.get(&(port, protocol.name().to_owned())));
        match (name, text.rsplit_once(':')) {
            (Some(name), Some((address, _))) => format!("{address}:{}", Escaped(name.as_bytes())),
            _ => text,
        }
    }
}

/// The table, one line a string, and what is to be said below it.
pub(super) fn lines(snapshot: &Snapshot, names: &Names, with_info: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !snapshot.rows.is_empty() {
        let mut table = Table::new(&HEADING);
        for entry in &snapshot.rows {
            table.push(cells(snapshot, entry, names).into());
        }
        let table = table.to_string();
        let mut drawn = table.lines().map(|line| line.trim_end().to_owned());
        lines.extend(drawn.next());
        for (line, entry) in drawn.zip(&snapshot.rows) {
            lines.push(line);
            if let (true, Some(info)) = (with_info, &entry.tcp) {
                lines.extend(details(info, entry).into_iter().map(|text| format!("       {text}")));
            }
        }
    }
    if snapshot.folded > 0 {
        let connections = if snapshot.folded == 1 { "connection" } else { "connections" };
        lines.push(format!("and {} {connections} in TIME_WAIT (--all shows them)", snapshot.folded));
    }
    for program in snapshot.negligent() {
        let zombies: Vec<String> = program.zombies.iter().map(i32::to_string).collect();
        lines.push(format!(
            "zombie children of {}[{}], which has not waited for them: {}",
            Escaped(program.name.as_bytes()),
            program.pid,
            zombies.join(" ")
        ));
    }
    let listeners =
        snapshot.rows.iter().any(|entry| entry.protocol == Protocol::Tcp && entry.state == State::Listen);
    if let (true, Some(counted)) = (listeners, snapshot.overflow) {
        lines.push(format!(
            "queues of all TCP listeners, since this network namespace was made: {} overflows, {} drops, {} SYN cookies",
            counted.overflows, counted.drops, counted.cookies_sent
        ));
    }
    lines
}

/// What the columns hold.
pub(super) fn cells(snapshot: &Snapshot, entry: &Entry, names: &Names) -> [String; 8] {
    let (receive_queue, send_queue) = match entry.backlog() {
        Some((waiting, most)) => (format!("{waiting} of {most}"), "-".to_owned()),
        None => (entry.receive_queue.to_string(), entry.send_queue.to_string()),
    };
    let peer = entry.peer.as_ref().map_or("-".to_owned(), |peer| names.end(entry.protocol, peer));
    [
        protocol(entry),
        entry.state_name().to_owned(),
        receive_queue,
        send_queue,
        names.end(entry.protocol, &entry.local),
        peer,
        owner(snapshot, entry),
        notes(snapshot, entry),
    ]
}

fn protocol(entry: &Entry) -> String {
    match entry.protocol {
        Protocol::Raw(number) => match number {
            1 => "raw:icmp".to_owned(),
            58 => "raw:icmpv6".to_owned(),
            number => format!("raw:{number}"),
        },
        protocol => protocol.name().to_owned(),
    }
}

/// `name[pid] fd 3`; processes of one name that share it are put together, such as a server and its workers.
pub(super) fn owner(snapshot: &Snapshot, entry: &Entry) -> String {
    /// Processes that are named; more are counted.
    const NAMED: usize = 3;
    let mut programs: Vec<(&str, Vec<i32>, i32)> = Vec::new();
    for (holder, name) in snapshot.holders(entry) {
        match programs.iter_mut().find(|(known, _, fd)| *known == name && *fd == holder.fd) {
            Some((_, pids, _)) => pids.push(holder.pid),
            None => programs.push((name, vec![holder.pid], holder.fd)),
        }
    }
    let mut text = String::new();
    for (name, pids, fd) in &programs {
        let shown: Vec<String> = pids.iter().take(NAMED).map(i32::to_string).collect();
        let more =
            if pids.len() > NAMED { format!(" and {} more", pids.len() - NAMED) } else { String::new() };
        let gap = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{gap}{}[{}{more}] fd {fd}", Escaped(name.as_bytes()), shown.join(" "));
    }
    match (text.is_empty(), entry.inode, entry.uid) {
        (false, ..) => text,
        (true, 0, _) => "-".to_owned(),
        (true, _, Some(uid)) => format!("? of uid {uid}"),
        (true, _, None) => "?".to_owned(),
    }
}

fn notes(snapshot: &Snapshot, entry: &Entry) -> String {
    let mut notes = Vec::new();
    if entry.is_full() {
        notes.push("QUEUE FULL".to_owned());
    }
    let drops = entry.memory.map_or(0, |memory| memory.drops);
    if drops > 0 {
        notes.push(format!("{drops} dropped"));
    }
    notes.extend(entry.timer.map(|timer| timer.to_string()));
    if entry.state == State::Established || entry.protocol.is_unix() {
        notes.extend(match entry.shutdown {
            1 => Some("receiving shut".to_owned()),
            2 => Some("sending shut".to_owned()),
            3 => Some("shut both ways".to_owned()),
            _ => None,
        });
    }
    let holders = snapshot.owners.of(entry.inode).iter();
    let zombies: usize = holders
        .filter_map(|holder| snapshot.owners.program(holder.pid))
        .map(|program| program.zombies.len())
        .sum();
    if zombies > 0 {
        notes.push(format!("{zombies} zombie{}", if zombies == 1 { "" } else { "s" }));
    }
    notes.join("; ")
}

/// TCP's own numbers, in sentences.
fn details(info: &TcpInfo, entry: &Entry) -> Vec<String> {
    if entry.state == State::Listen {
        return Vec::new();
    }
    let mut lines = Vec::new();
    lines.push(format!(
        "rtt {} ± {}, least {}; time-out {}{}; {} window {} × {} B, path MTU {} B; peer's window {}",
        time(info.rtt_us.into()),
        time(info.rtt_deviation_us.into()),
        time(info.least_rtt_us.into()),
        time(info.rto_us.into()),
        if info.backoff > 0 { format!(" (doubled {} times)", info.backoff) } else { String::new() },
        entry
            .congestion_control
            .as_deref()
            .map_or("congestion".into(), |name| Escaped(name.as_bytes()).to_string()),
        info.congestion_window_segments,
        info.send_mss_bytes,
        info.path_mtu_bytes,
        amount(info.peer_window_bytes.into()),
    ));
    lines.push(format!(
        "sent {} in {} segments, {} again; received {} in {} segments; delivery {}/s; {}",
        amount(info.sent_bytes),
        info.sent_segments,
        amount(info.retransmitted_bytes),
        amount(info.received_bytes),
        info.received_segments,
        amount(info.delivery_rate_bytes_per_s),
        if info.options.is_empty() { "no options".to_owned() } else { info.options.join(" ") },
    ));
    let trouble = [
        (info.congestion_state != "open", format!("congestion: {}", info.congestion_state)),
        (info.unacknowledged_segments > 0, format!("{} segments in flight", info.unacknowledged_segments)),
        (info.lost_segments > 0, format!("{} lost", info.lost_segments)),
        (info.retransmits > 0, format!("{} time-outs in a row", info.retransmits)),
        (info.probes > 0, format!("{} probes unanswered", info.probes)),
        (info.total_retransmits > 0, format!("{} segments sent again in all", info.total_retransmits)),
        (info.unsent_bytes > 0, format!("{} not sent yet", amount(info.unsent_bytes.into()))),
        (
            info.limited_by_peer_us > 0,
            format!("held back by the peer's window for {}", time(info.limited_by_peer_us)),
        ),
        (
            info.limited_by_buffer_us > 0,
            format!("held back by the buffer for {}", time(info.limited_by_buffer_us)),
        ),
        (info.out_of_order_segments > 0, format!("{} segments out of order", info.out_of_order_segments)),
    ];
    let trouble: Vec<String> = trouble.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect();
    if !trouble.is_empty() {
        lines.push(trouble.join("; "));
    }
    lines
}

/// Three digits and a unit.
fn time(us: u64) -> String {
    match us {
        // The kernel's "none yet".
        4_294_967_295 => "unknown".to_owned(),
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

fn amount(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
