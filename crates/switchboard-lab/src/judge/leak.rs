//! DESCRIPTORS LEAKED: connections that the peer closed and that the program holds in CLOSE_WAIT.

use super::evidence::Evidence;
use super::{Kind, Verdict};
use crate::record::{Nanos, Returned};

/// A program may be busy for a moment, or have something left to send.
const PATIENCE_NS: Nanos = 1_500_000_000;

/// The other half may be in use for long after the peer's end.
fn is_sending(evidence: &Evidence<'_>, inode: u64, since: Nanos) -> bool {
    evidence.calls(0).any(|(index, call)| {
        evidence.events[index].at_ns >= since
            && call.socket == Some(inode)
            && super::evidence::is_send(&call.name)
            && matches!(call.result, Some(Returned::Value(sent)) if sent > 0)
    })
}

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    if evidence.end().is_some() {
        return None;
    }
    let ours = evidence.inodes();
    let until = evidence.facts.until_ns;
    let held: Vec<usize> = evidence
        .sockets()
        .into_iter()
        .filter(|(index, socket)| {
            socket.state == "CLOSE_WAIT"
                && ours.contains(&socket.inode)
                && evidence.events[*index].at_ns + PATIENCE_NS < until
                && !is_sending(evidence, socket.inode, until - PATIENCE_NS)
        })
        .map(|(index, _)| index)
        .collect();
    let n = held.len();
    let text = match n {
        0 => return None,
        1 => "1 connection that the peer has closed is still held (CLOSE_WAIT)".to_owned(),
        n => format!("{n} connections that the peers have closed are still held (CLOSE_WAIT)"),
    };
    Some(Verdict::new(Kind::Leaked, text, held))
}
