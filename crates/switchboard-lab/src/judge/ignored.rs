//! IGNORED ERROR: going on as if a call had not failed.

use super::evidence::{Evidence, is_fatal, is_receive, is_send, plain};
use super::{Kind, Verdict};
use crate::names;
use crate::record::{Call, Change, Returned};
use std::collections::HashMap;

/// A call after the fatal one may be part of tidying up; so many are not.
const MORE: usize = 2;

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    nowhere(evidence)
        .or_else(|| unconnected(evidence))
        .or_else(|| again(evidence))
        .or_else(|| silent(evidence))
}

/// A descriptor that never was one: −1 from a call that failed.
fn nowhere(evidence: &Evidence<'_>) -> Option<Verdict> {
    let data = |call: &Call| is_receive(&call.name) || is_send(&call.name) || call.name == "listen";
    let (index, call) = evidence.calls(0).find(|(_, call)| {
        data(call) && call.fd.is_some_and(|fd| fd < 0) && call.result == Some(Returned::Errno(libc::EBADF))
    })?;
    let text =
        format!("{} on descriptor {}, which is what a failed call returned", plain(&call.name), call.fd?);
    Some(Verdict::new(Kind::IgnoredError, text, vec![index]))
}

/// A conversation on a socket whose connect failed.
fn unconnected(evidence: &Evidence<'_>) -> Option<Verdict> {
    if evidence.facts.datagrams {
        return None;
    }
    let mut failed: HashMap<(i32, i32), (usize, String)> = HashMap::new();
    for (index, call) in evidence.calls(0) {
        let Some(fd) = call.fd else { continue };
        let key = (call.pid, fd);
        match (call.name.as_str(), call.result) {
            ("connect", Some(Returned::Errno(errno))) if is_fatal(errno) => {
                failed.insert(key, (index, names::of_errno(errno)));
            }
            ("connect" | "close" | "socket" | "dup2" | "dup3", _) => drop(failed.remove(&key)),
            (name, _) if is_send(name) || is_receive(name) => {
                let Some((first, said)) = failed.get(&key) else { continue };
                let text = format!("{} on descriptor {fd}, where connect had said {said}", plain(name));
                return Some(Verdict::new(Kind::IgnoredError, text, vec![*first, index]));
            }
            _ => {}
        }
    }
    None
}

/// The same thing done again on a socket that said it is over.
fn again(evidence: &Evidence<'_>) -> Option<Verdict> {
    // By process, descriptor and direction: the first fatal answer, and how often it was tried again.
    let mut failed: HashMap<(i32, i32, bool), (usize, String, usize)> = HashMap::new();
    for (index, call) in evidence.calls(0) {
        let Some(fd) = call.fd else { continue };
        if matches!(call.name.as_str(), "close" | "socket" | "connect" | "dup2" | "dup3") {
            failed.retain(|(pid, other, _), _| *pid != call.pid || *other != fd);
            continue;
        }
        let sends = is_send(&call.name);
        if call.socket.is_none() || evidence.facts.datagrams || !sends && !is_receive(&call.name) {
            continue;
        }
        let key = (call.pid, fd, sends);
        match (failed.get_mut(&key), call.result) {
            (Some((first, said, times)), _) => {
                *times += 1;
                if *times >= MORE {
                    let text = format!("{} on descriptor {fd} went on after {said}", plain(&call.name));
                    return Some(Verdict::new(Kind::IgnoredError, text, vec![*first, index]));
                }
            }
            (None, Some(Returned::Errno(errno))) if is_fatal(errno) => {
                failed.insert(key, (index, names::of_errno(errno), 0));
            }
            _ => {}
        }
    }
    None
}

/// The connection could not even be made, and the program ends content and says nothing.
fn silent(evidence: &Evidence<'_>) -> Option<Verdict> {
    let (end, change) = evidence.end()?;
    if !matches!(change, Change::Exited { status: 0, .. }) || evidence.facts.datagrams {
        return None;
    }
    let mut refused = None;
    for (index, call) in evidence.calls(0) {
        if matches!(call.name.as_str(), "connect" | "bind" | "listen") && call.socket.is_some() {
            match call.result {
                Some(Returned::Errno(errno)) if is_fatal(errno) => refused = Some((index, call, errno)),
                // Another address may have answered, or the result comes later.
                _ => return None,
            }
        }
    }
    let (index, call, errno) = refused?;
    if evidence.spoke(index).is_some() {
        return None;
    }
    let text = format!(
        "{} said {}, and the program ended with status 0 and without a word",
        call.name,
        names::of_errno(errno)
    );
    Some(Verdict::new(Kind::IgnoredError, text, vec![index, end]))
}
