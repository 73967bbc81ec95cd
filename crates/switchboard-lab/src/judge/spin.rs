//! SPINS: calls that achieve nothing, one after the other, or processor time without progress.

use super::evidence::{Evidence, is_receive, is_send};
use super::{Kind, Verdict};
use crate::record::{Call, Change, Nanos, Returned, What};
use crate::scenario::is_call;
use crate::wire::segment::{Segment, Tcp};
use std::collections::{HashMap, HashSet, VecDeque};

/// The window in which nothing must have moved.
const WINDOW_NS: Nanos = 1_000_000_000;
/// Calls without effect in one window that no program makes that waits for something: under the watcher a call costs
/// some ten microseconds, and a loop makes thousands.
const CALLS: usize = 500;
/// Calls in one window that failed, and not because it was too early.
const ERRORS: usize = 100;
/// Calls that were told what they had been told before, one after the other and without a pause, however long a busy machine takes for them: who
/// asks so often is not told anything new.
const IN_VAIN: usize = 30;
/// Part of a processor, in a window in which nothing moved.
const SHARE: f64 = 0.7;

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    calls(evidence).or_else(|| time(evidence))
}

fn calls(evidence: &Evidence<'_>) -> Option<Verdict> {
    let mut window: VecDeque<(usize, Nanos, &Call)> = VecDeque::new();
    let mut in_vain: Vec<(usize, &Call)> = Vec::new();
    let mut told: HashSet<(&str, Option<u64>, Option<Returned>)> = HashSet::new();
    for (index, call) in evidence.calls(evidence.fault()) {
        let at = evidence.events[index].at_ns;
        if is_progress(call) {
            window.clear();
            in_vain.clear();
            continue;
        }
        if is_pause(call) {
            in_vain.clear();
        }
        // The same of another socket is news.
        if is_in_vain(call) && !told.insert((&call.name, call.socket, call.result)) && call.socket.is_some() {
            in_vain.push((index, call));
        }
        window.push_back((index, at, call));
        while window.front().is_some_and(|(_, first, _)| at - first > WINDOW_NS) {
            window.pop_front();
        }
        let errors = window.iter().filter(|(.., call)| is_error(call)).count();
        let (first, calls, how): (usize, Vec<&Call>, &str) = if window.len() >= CALLS || errors >= ERRORS {
            (
                window[0].0,
                window.iter().map(|(.., call)| *call).collect(),
                "within a second that moved nothing",
            )
        } else if in_vain.len() >= IN_VAIN {
            (in_vain[0].0, in_vain.iter().map(|(_, call)| *call).collect(), "in vain and without a pause")
        } else {
            continue;
        };
        let (call, times) = most_frequent(&calls)?;
        let text = format!("{} calls {how}, {times} of them {call}", calls.len());
        return Some(Verdict::new(Kind::Spins, text, vec![first, index]));
    }
    None
}

/// `accept = EMFILE`, and how often.
fn most_frequent(calls: &[&Call]) -> Option<(String, usize)> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for call in calls {
        let result = match call.result {
            Some(Returned::Errno(errno)) => crate::names::of_errno(errno),
            Some(Returned::Value(value)) => value.to_string(),
            None => "nothing".to_owned(),
        };
        *counts.entry(format!("{} = {result}", super::evidence::plain(&call.name))).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, times)| *times)
}

/// Whether it failed, and not because it is only too early.
fn is_error(call: &Call) -> bool {
    const LATER: [i32; 5] = [libc::EAGAIN, libc::EINTR, libc::EINPROGRESS, libc::EALREADY, libc::ETIMEDOUT];
    matches!(call.result, Some(Returned::Errno(errno)) if !LATER.contains(&errno) && errno < 512)
}

/// Whether it failed, or was told of the end.
fn is_in_vain(call: &Call) -> bool {
    is_error(call) || call.result == Some(Returned::Value(0)) && is_receive(&call.name)
}

/// Whether it waited until some time had passed.
fn is_pause(call: &Call) -> bool {
    const WAITING: [&str; 5] = ["nanosleep", "clock_nanosleep", "poll", "select", "epoll_wait"];
    call.result == Some(Returned::Value(0)) && WAITING.iter().any(|name| is_call(&call.name, name))
}

/// Whether something moved by this call.
fn is_progress(call: &Call) -> bool {
    let Some(Returned::Value(value)) = call.result else { return false };
    let moved =
        value > 0 && (is_receive(&call.name) || is_send(&call.name) || call.name.starts_with("accept"));
    let made = ["connect", "fork", "clone", "clone3", "vfork", "execve"].contains(&call.name.as_str());
    moved || made
}

fn time(evidence: &Evidence<'_>) -> Option<Verdict> {
    let from = evidence.fault();
    let mut samples: HashMap<i32, Vec<(usize, Nanos, Nanos)>> = HashMap::new();
    for (index, pid, change) in evidence.changes(from) {
        if let Change::Sampled { cpu_ns, .. } = change {
            samples.entry(pid).or_default().push((index, evidence.events[index].at_ns, *cpu_ns));
        }
    }
    for (pid, samples) in samples {
        for (at, (first, began, before)) in samples.iter().enumerate() {
            let Some((last, ended, after)) = samples[at..].iter().find(|(_, at, _)| at - began >= WINDOW_NS)
            else {
                break;
            };
            let share = (after - before) as f64 / (ended - began) as f64;
            if share >= SHARE && !moved(evidence, *first, *last) {
                let text =
                    format!("process {pid} used {:.0} % of a processor and moved nothing", share * 100.0);
                return Some(Verdict::new(Kind::Spins, text, vec![*first, *last]));
            }
        }
    }
    None
}

/// Whether data moved between two events: by the program's calls, or on the wire to or from its host.
fn moved(evidence: &Evidence<'_>, from: usize, to: usize) -> bool {
    let host = evidence.facts.host;
    evidence.calls(from).take_while(|(index, _)| *index <= to).any(|(_, call)| is_progress(call))
        || evidence.events[from..=to].iter().any(|event| match &event.what {
            What::Packet(packet) => {
                (packet.from == Some(host) || packet.to == host)
                    && Segment::decode(&packet.bytes).is_some_and(|segment| {
                        segment.data_length() > 0
                            || segment.tcp().is_some_and(|tcp| tcp.flags & Tcp::SYN != 0)
                    })
            }
            _ => false,
        })
}
