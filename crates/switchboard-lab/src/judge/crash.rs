//! CRASHED: a deadly signal, a panic, or an end where going on was asked for.

use super::evidence::Evidence;
use super::{Kind, Verdict};
use crate::names;
use crate::record::{Change, What};
use crate::scenario::Must;

/// Signals that only a broken program gets.
const DEADLY: [i32; 6] =
    [libc::SIGSEGV, libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSYS];

/// What runtimes print when an error was caught by nobody.
const LAST_WORDS: [&str; 6] = [
    "panicked at",
    "Traceback (most recent call last)",
    "panic: ",
    "terminate called after",
    "Exception in thread",
    "Unhandled exception",
];

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    deadly(evidence).or_else(|| last_words(evidence)).or_else(|| untimely(evidence))
}

fn deadly(evidence: &Evidence<'_>) -> Option<Verdict> {
    let sent = &evidence.facts.signals;
    let (index, signal) = evidence.changes(0).find_map(|(index, _, change)| match change {
        Change::Killed { signal, .. } if DEADLY.contains(signal) && !sent.contains(signal) => {
            Some((index, *signal))
        }
        _ => None,
    })?;
    let text = format!("{} {:.1} s after the fault", names::of_signal(signal), evidence.since_fault_s(index));
    Some(Verdict::new(Kind::Crashed, text, vec![index]))
}

fn last_words(evidence: &Evidence<'_>) -> Option<Verdict> {
    // A server that cannot even begin has nobody to go on for: however it says so, it has said it.
    if evidence.facts.role.starts_with("server") && evidence.facts.must == Must::Notice {
        return None;
    }
    // A line may come in pieces.
    let mut said = String::new();
    let mut first = None;
    for (index, event) in evidence.events.iter().enumerate() {
        if let What::Output { pid, stream: 2, bytes } = &event.what
            && evidence.is_ours(*pid)
        {
            first = first.or(Some(index));
            said.push_str(&String::from_utf8_lossy(bytes));
        }
    }
    LAST_WORDS.iter().find(|words| said.contains(*words))?;
    let telling =
        |line: &&str| line.contains("panicked at") || line.contains("Error") || line.contains("panic: ");
    let line = said.lines().rev().find(telling).or(said.lines().next_back()).unwrap_or("").trim();
    let ended = evidence.end();
    let cites = first.into_iter().chain(ended.map(|(index, _)| index)).collect();
    Some(Verdict::new(Kind::Crashed, format!("an error that nobody caught: {}", line.escape_debug()), cites))
}

/// It ended although it should have gone on; or was killed by a signal that nobody sent.
fn untimely(evidence: &Evidence<'_>) -> Option<Verdict> {
    let (index, change) = evidence.end()?;
    let facts = evidence.facts;
    let how = match change {
        Change::Killed { signal: libc::SIGPIPE, .. } => return None,
        Change::Killed { signal, .. } if facts.signals.contains(signal) => return None,
        // The lab shuts hosts down and crashes them with SIGKILL.
        Change::Killed { signal: libc::SIGKILL, .. } => return None,
        Change::Killed { signal, .. } => format!("was killed by {}", names::of_signal(*signal)),
        Change::Exited { status, .. } => {
            let server = facts.role.starts_with("server");
            let wanted = match facts.must {
                Must::Notice | Must::Endure | Must::End => true,
                Must::Recover => *status == 0 && !server,
                Must::Survive => *status == 0 && !server,
            };
            if wanted {
                return None;
            }
            format!("ended with status {status}")
        }
        _ => return None,
    };
    let told = evidence.told().filter(|(at, _)| *at < index);
    let text = match &told {
        Some((_, said)) => format!("{how} after {said}, where going on was asked for"),
        None => format!("{how}, where going on was asked for"),
    };
    let cites = told.map(|(at, _)| at).into_iter().chain([index]).collect();
    Some(Verdict::new(Kind::Crashed, text, cites))
}
