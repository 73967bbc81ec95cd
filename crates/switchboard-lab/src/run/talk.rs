//! [`Talk`]: what went in and what came out, and what of it should be the same every time.

use super::{Answers, Baseline, Cast, Plan, Program};
use crate::judge::Stream;
use crate::record::{Change, Event, HostId, Point, Returned, What};
use crate::scenario::roles::Roles;
use crate::scenario::{Must, Part, has_sent, is_call};
use crate::wire::segment::Segment;

/// What went in and came out, as both ends wrote it down.
pub(super) struct Talk {
    /// For each direction: what went in, what came out.
    ways: [(Vec<u8>, Vec<u8>); 2],
}

impl Talk {
    pub(super) fn new(
        plan: &Plan,
        fed: Vec<u8>,
        peer: [Vec<u8>; 2],
        events: &[Event],
        roles: &Roles,
    ) -> Talk {
        let [received, sent] = peer;
        if plan.cast == Cast::Client {
            let mut printed = Vec::new();
            for event in events {
                if let What::Output { pid, stream: 1, bytes } = &event.what
                    && roles.is("client", *pid)
                {
                    printed.extend_from_slice(bytes);
                }
            }
            Talk { ways: [(fed, received), (sent, printed)] }
        } else {
            Talk { ways: [(sent, received), (Vec::new(), Vec::new())] }
        }
    }

    pub(super) fn baseline(&self, judged: &str, events: &[Event], roles: &Roles) -> Baseline {
        let verbatim = |way: &(Vec<u8>, Vec<u8>)| !way.0.is_empty() && way.0 == way.1;
        let ended = roles.first(judged).is_some_and(|first| has_ended(events, first));
        // A server that says nothing is known by ending a conversation all the same; before, it may yet answer.
        let (said, heard) = &self.ways[0];
        let answers = match (said.is_empty(), heard.is_empty()) {
            (_, false) => Answers::Words,
            (false, true) if events.iter().any(|event| is_end_of_input(event, "client", roles)) => {
                Answers::Silence
            }
            _ => Answers::Unknown,
        };
        Baseline {
            answers,
            verbatim: [verbatim(&self.ways[0]), verbatim(&self.ways[1])],
            ended,
            came: [self.ways[0].1.clone(), self.ways[1].1.clone()],
        }
    }

    /// What should have come out, by the conversation without a fault.
    pub(super) fn streams(&self, plan: &Plan, program: &Program, part: &Part) -> Vec<Stream> {
        let names = match plan.cast {
            Cast::Client => ["from standard input to the server", "from the server to standard output"],
            _ => ["from the client and back", ""],
        };
        let mut streams = Vec::new();
        if let Some(baseline) = &plan.baseline
            && (part.whole || part.must == Must::Recover)
        {
            for (at, (went, came)) in self.ways.iter().enumerate() {
                let verbatim = baseline.verbatim[at];
                if verbatim || part.whole && !baseline.came[at].is_empty() {
                    streams.push(Stream {
                        name: names[at].to_owned(),
                        wanted: if verbatim { went.clone() } else { baseline.came[at].clone() },
                        got: came.clone(),
                        whole: part.whole,
                        length_only: !verbatim,
                    });
                }
            }
        }
        let answers = &self.ways[usize::from(plan.cast == Cast::Client)].1;
        if let Some(text) = program.expect.as_ref().filter(|_| part.whole)
            && !String::from_utf8_lossy(answers).contains(text.as_str())
        {
            streams.push(Stream {
                name: format!("the answer, which must contain `{}`", text.escape_debug()),
                wanted: text.clone().into_bytes(),
                got: Vec::new(),
                whole: true,
                length_only: false,
            });
        }
        streams
    }
}

/// Whether a role's first process has ended.
pub(super) fn has_ended(events: &[Event], first: i32) -> bool {
    events.iter().any(|event| match &event.what {
        What::Process(process) => {
            process.pid == first
                && process.tid == first
                && matches!(process.change, Change::Exited { .. } | Change::Killed { .. })
        }
        _ => false,
    })
}

/// Whether a role was told, in order, that its peer will say no more.
pub(super) fn is_end_of_input(event: &Event, role: &str, roles: &Roles) -> bool {
    match &event.what {
        What::Call(call) => {
            roles.is(role, call.pid)
                && call.socket.is_some()
                && is_call(&call.name, "recv")
                && call.result == Some(Returned::Value(0))
        }
        _ => false,
    }
}

/// The host whose data has arrived by this event: on the wire, or, where none is seen, by a call that has sent it.
pub(super) fn sender(event: &Event, wire: bool) -> Option<HostId> {
    match &event.what {
        What::Packet(packet) if packet.point == Point::Delivered => {
            let segment = Segment::decode(&packet.bytes)?;
            packet.from.filter(|_| segment.data_length() > 0)
        }
        What::Call(call) if !wire && has_sent(call) => event.host,
        _ => None,
    }
}
