//! Whether what a scenario expects has come about, in its order and at its time.

use crate::names;
use crate::record::{Event, Nanos, Returned, What};
use crate::scenario::{Pattern, roles::Roles};

/// Every expectation that these events do not fulfil, with what was seen in its place. Each is sought after the event
/// that fulfilled the one before; expectations of different roles may overtake each other.
pub(super) fn unmet(expect: &[Pattern], events: &[Event], roles: &Roles) -> Vec<String> {
    let mut problems = Vec::new();
    // Each subject has a place of its own: two programs run at the same time.
    let mut places: Vec<(String, usize)> = Vec::new();
    for pattern in expect {
        let subject = pattern.line();
        // What must not happen must not after the last step; before it is another story.
        let after_steps = if pattern.never {
            events.iter().rposition(|event| matches!(event.what, What::Step { .. }))
        } else {
            None
        };
        let from = places.iter().find(|(known, _)| *known == subject).map_or(0, |(_, at)| *at);
        let from = from.max(after_steps.unwrap_or(0));
        let moment = moment(events, from);
        let found = events
            .iter()
            .enumerate()
            .skip(from)
            .filter(|(_, event)| pattern.matches(event, roles))
            .filter(|(_, event)| {
                let since = std::time::Duration::from_nanos(event.at_ns.saturating_sub(moment));
                pattern.after.as_ref().is_none_or(|range| range.contains(&since))
            })
            .nth(pattern.count.saturating_sub(1) as usize);
        match (found, pattern.never) {
            (None, false) => problems.push(format!(
                "`{}` did not happen{}",
                pattern.text,
                instead(pattern, events, from, roles)
            )),
            (Some((index, _)), true) => {
                problems.push(format!("`{}`, but it did: event {index}", pattern.text));
            }
            (Some((index, _)), false) => {
                places.retain(|(known, _)| *known != subject);
                places.push((subject, index + 1));
            }
            (None, true) => {}
        }
    }
    problems
}

/// The last step before this place, or the event before.
fn moment(events: &[Event], from: usize) -> Nanos {
    events[..from.min(events.len())]
        .last()
        .map_or_else(|| events.first().map_or(0, |event| event.at_ns), |event| event.at_ns)
}

/// What the subject did instead: its last calls from there on.
fn instead(pattern: &Pattern, events: &[Event], from: usize, roles: &Roles) -> String {
    let Some(subject) = pattern.subject() else { return String::new() };
    let calls: Vec<String> = events
        .iter()
        .skip(from)
        .filter_map(|event| match &event.what {
            What::Call(call) if roles.is(subject, call.pid) => {
                let result = match call.result? {
                    Returned::Value(value) => value.to_string(),
                    Returned::Errno(errno) => names::of_errno(errno),
                };
                Some(format!("{} = {result} in {:.2} s", call.name, call.took_ns as f64 / 1e9))
            }
            _ => None,
        })
        .collect();
    let shown = calls.len().saturating_sub(4);
    match calls.as_slice() {
        [] => String::new(),
        calls => format!("; {subject} did {}", calls[shown..].join(", ")),
    }
}
