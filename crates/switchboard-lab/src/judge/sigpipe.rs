//! KILLED BY SIGPIPE: the default action for who writes to a connection that the peer has reset.

use super::evidence::Evidence;
use super::{Kind, Verdict};
use crate::record::{Change, What};

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    let (index, pid, _) = evidence
        .changes(0)
        .find(|(_, _, change)| matches!(change, Change::Killed { signal: libc::SIGPIPE, .. }))?;
    let mut cites = vec![index];
    // The write that did it, and the signal; a pipe's SIGPIPE is somebody else's business.
    let write = evidence.events[..index].iter().rposition(|event| match &event.what {
        What::Call(call) | What::CallEntered(call) => call.pid == pid && super::evidence::is_send(&call.name),
        _ => false,
    });
    cites.extend(write);
    let on = write.and_then(|at| match &evidence.events[at].what {
        What::Call(call) | What::CallEntered(call) => Some(format!(
            " in {} on descriptor {}",
            super::evidence::plain(&call.name),
            call.fd.unwrap_or(-1)
        )),
        _ => None,
    });
    let after = evidence.since_fault_s(index);
    let text = format!("{after:.1} s after the fault{}", on.unwrap_or_default());
    cites.sort_unstable();
    Some(Verdict::new(Kind::KilledBySigpipe, text, cites))
}
