//! What a program without fault did: SURVIVED, RECOVERED, NOTICED.

use super::evidence::{Evidence, is_receive, is_send};
use super::{Kind, Verdict};
use crate::record::{Change, Point, Returned, What};
use crate::scenario::Must;
use crate::wire::segment::Segment;

pub(super) fn look(evidence: &Evidence<'_>) -> Verdict {
    let facts = evidence.facts;
    match facts.must {
        Must::Notice => noticed(evidence),
        Must::Recover => match progress(evidence) {
            Some(index) => {
                let text = format!("after {:.1} s", evidence.since_fault_s(index));
                Verdict::new(Kind::Recovered, text, vec![index])
            }
            None if evidence.told().is_some() || evidence.end().is_some() => noticed(evidence),
            None => Verdict::new(
                Kind::Inconclusive,
                "nothing moved after the fault was over".to_owned(),
                Vec::new(),
            ),
        },
        Must::End => match evidence.end() {
            Some((index, Change::Exited { status, .. })) => Verdict::new(
                Kind::Survived,
                format!("it ended with status {status} when it was asked to"),
                vec![index],
            ),
            Some((index, _)) => {
                Verdict::new(Kind::Survived, "it ended when it was asked to".to_owned(), vec![index])
            }
            None => Verdict::new(Kind::Hangs, "it was asked to end and goes on".to_owned(), Vec::new()),
        },
        Must::Endure if matches!(evidence.end(), Some((_, Change::Exited { status: 1.., .. }))) => {
            noticed(evidence)
        }
        Must::Survive | Must::Endure => survived(evidence),
    }
}

fn survived(evidence: &Evidence<'_>) -> Verdict {
    let facts = evidence.facts;
    let told = evidence.failed();
    let mut cites: Vec<usize> = told.iter().map(|(index, _)| *index).collect();
    let mut parts = Vec::new();
    if let Some((_, said)) = &told
        && facts.role.starts_with("server")
        && facts.fault.is_some()
    {
        parts.push(said.clone());
    }
    if facts.probe.is_some() {
        parts.push("others are served".to_owned());
    }
    let bytes: usize = facts.streams.iter().map(|stream| stream.got.len()).sum();
    if bytes > 0 && facts.streams.iter().all(|stream| stream.whole) {
        parts.push(format!("all of {bytes} bytes arrived"));
    }
    if let Some((index, change)) = evidence.end() {
        cites.push(index);
        if let Change::Exited { status, .. } = change {
            parts.push(format!("exit {status}"));
        }
    }
    if parts.is_empty() {
        parts.push("it went on".to_owned());
    }
    Verdict::new(Kind::Survived, parts.join("; "), cites)
}

fn noticed(evidence: &Evidence<'_>) -> Verdict {
    let told = evidence.told();
    let end = evidence.end();
    let ending = end.map(|(index, change)| {
        let how = match change {
            Change::Exited { status, .. } => format!("exit {status}"),
            Change::Killed { signal, .. } => crate::names::of_signal(*signal),
            _ => String::new(),
        };
        (index, how)
    });
    match (told, ending) {
        (Some((index, said)), end) => {
            let mut text = format!("after {:.1} s, {said}", evidence.since_fault_s(index));
            let mut cites = vec![index];
            if let Some((at, how)) = end {
                text += &format!("; {how}");
                cites.push(at);
            }
            Verdict::new(Kind::Noticed, text, cites)
        }
        (None, Some((index, how))) => {
            let text = format!("after {:.1} s; {how}", evidence.since_fault_s(index));
            Verdict::new(Kind::Noticed, text, vec![index])
        }
        (None, None) => Verdict::new(Kind::Survived, "it went on".to_owned(), Vec::new()),
    }
}

/// The first thing that moved after the last step: data by a call of the program's, or on the wire from its host.
pub(super) fn progress(evidence: &Evidence<'_>) -> Option<usize> {
    let from = evidence
        .events
        .iter()
        .rposition(|event| matches!(event.what, What::Step { .. }))
        .map_or(0, |index| index + 1);
    let call = evidence.calls(from).find(|(_, call)| {
        let moved = matches!(call.result, Some(Returned::Value(value)) if value > 0);
        moved && call.socket.is_some() && is_receive(&call.name) && !is_send(&call.name)
    });
    let packet = || {
        evidence.events.iter().enumerate().skip(from).find_map(|(index, event)| match &event.what {
            What::Packet(packet)
                if packet.point == Point::Delivered && packet.from == Some(evidence.facts.host) =>
            {
                let segment = Segment::decode(&packet.bytes)?;
                (segment.data_length() > 0).then_some(index)
            }
            _ => None,
        })
    };
    call.map(|(index, _)| index).or_else(packet)
}
