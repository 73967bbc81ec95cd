//! HANGS: the program was to notice something, or to go on, and sits in a call instead.

use super::evidence::{Evidence, is_receive, is_send, plain};
use super::{Kind, Verdict};
use crate::record::{Call, Nanos, Returned};
use crate::scenario::Must;
use switchboard_net::quantity;

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    let facts = evidence.facts;
    if evidence.end().is_some() || facts.role.starts_with("server") && facts.must != Must::End {
        return None;
    }
    match facts.must {
        Must::Endure => return None,
        // One that never ends by itself has done its part when its bytes have arrived.
        Must::Survive if facts.ends != Some(true) => return None,
        Must::Notice if has_let_go(evidence) => return None,
        // A stopped conversation goes on or it does not: `outcome` asks for progress.
        Must::Recover if super::outcome::progress(evidence).is_some() => return None,
        _ => {}
    }
    if facts.must == Must::Survive
        && let Some(index) = moving(evidence)
    {
        let text = "it was still at it when the lab stopped looking".to_owned();
        return Some(Verdict::new(Kind::Inconclusive, text, vec![index]));
    }
    let pending = evidence.pending();
    // The call on a socket says most; then any that sleeps.
    let stuck = pending.iter().find(|(_, call)| call.socket.is_some()).or_else(|| pending.first());
    let (cites, place) = match stuck {
        Some((index, call)) => (vec![*index], place(evidence, call)),
        None => (Vec::new(), "outside of any call that the lab can see".to_owned()),
    };
    let limit = own_limit(evidence, &pending);
    let text = match limit {
        Some(limit) => {
            let text = format!(
                "{place}; it has set a limit itself, {limit}, which is longer than the lab looked on"
            );
            return Some(Verdict::new(Kind::Inconclusive, text, cites));
        }
        None => {
            let kernel = match facts.gives_up.as_str() {
                _ if is_over(evidence) => "the connection is over, and it does not look".to_owned(),
                "at once" => "the kernel has told all it knows".to_owned(),
                "never" => "the kernel would never give up".to_owned(),
                time => format!("the kernel would give up after {time}"),
            };
            format!("> {:.0} s {place}; {kernel}", facts.watched_s)
        }
    };
    Some(Verdict::new(Kind::Hangs, text, cites))
}

/// Whether the kernel has ended all connections that the program had.
fn is_over(evidence: &Evidence<'_>) -> bool {
    let mut states = evidence.inodes().into_iter().filter_map(|inode| evidence.state(inode)).peekable();
    states.peek().is_some() && states.all(|state| ["GONE", "CLOSE"].contains(&state))
}

/// Data that the program moved in the last second.
fn moving(evidence: &Evidence<'_>) -> Option<usize> {
    const STILL_NS: Nanos = 1_000_000_000;
    evidence
        .calls(0)
        .filter(|(index, call)| {
            evidence.events[*index].at_ns + STILL_NS > evidence.facts.until_ns
                && (is_receive(&call.name) || is_send(&call.name))
                && call.socket.is_some()
                && matches!(call.result, Some(Returned::Value(1..)))
        })
        .map(|(index, _)| index)
        .last()
}

/// It was told and has closed the socket, whatever it does now.
fn has_let_go(evidence: &Evidence<'_>) -> bool {
    let Some((told, _)) = evidence.told() else { return false };
    let socket = evidence.calls(told).next().and_then(|(_, call)| call.fd);
    evidence.calls(told).any(|(_, call)| {
        matches!(call.name.as_str(), "close" | "shutdown")
            && call.fd == socket
            && call.result == Some(Returned::Value(0))
    })
}

/// `in recv on descriptor 3, ESTABLISHED`
fn place(evidence: &Evidence<'_>, call: &Call) -> String {
    let mut text = format!("in {}", plain(&call.name));
    if let Some(fd) = call.fd {
        text += &match fd {
            0 if call.socket.is_none() => " on standard input".to_owned(),
            fd => format!(" on descriptor {fd}"),
        };
    }
    let states: Vec<&str> = match call.socket {
        Some(inode) => evidence.state(inode).into_iter().collect(),
        // poll and its like wait for several: the connections that the program holds.
        None => {
            let ours = evidence.inodes();
            let mut states: Vec<&str> = ours.iter().filter_map(|inode| evidence.state(*inode)).collect();
            states.retain(|state| !["LISTEN", "GONE", "CLOSE"].contains(state));
            states.sort_unstable();
            states.dedup();
            states
        }
    };
    if !states.is_empty() {
        text += &format!(", connection {}", states.join(" and "));
    }
    text
}

/// A limit that the program has set and that is still running: a time-out in poll, keepalive, SO_RCVTIMEO.
fn own_limit(evidence: &Evidence<'_>, pending: &[(usize, &Call)]) -> Option<String> {
    let argument = |call: &Call, name: &str| {
        call.arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    for (_, call) in pending {
        if let Some(timeout) = argument(call, "timeout")
            && quantity::duration(&timeout).is_ok_and(|limit| limit.as_secs_f64() > evidence.facts.watched_s)
            && !is_receive(&call.name)
            && !is_send(&call.name)
        {
            return Some(format!("{} with a time-out of {timeout}", plain(&call.name)));
        }
    }
    let set = |name: &str| {
        evidence.calls(0).any(|(_, call)| {
            call.name == "setsockopt"
                && call.result == Some(Returned::Value(0))
                && call.arguments.iter().any(|(_, value)| value == name)
                && !call.arguments.iter().any(|(argument, value)| argument == "value" && value == "0")
        })
    };
    // An idle connection is only ended by keepalive.
    set("SO_KEEPALIVE").then(|| "SO_KEEPALIVE".to_owned())
}
