//! [`Flows`]: where each TCP connection stands, as far as the packets that passed tell; enough to reset it.

use crate::record::HostId;
use crate::wire::segment::{Kind, Segment, Tcp};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The most connections remembered; beyond it the oldest numbers are forgotten first.
pub(crate) const MOST_FLOWS: usize = 4096;

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flow {
    from: HostId,
    to: HostId,
    /// The sequence number after the last that was sent.
    next: u32,
    /// The sequence number up to which everything has arrived.
    arrived: Option<u32>,
    /// The last acknowledgment: what the sender of this direction expects next from the other.
    expects: Option<u32>,
    /// When it was last seen, by count of segments.
    seen: u64,
}

/// All directions, by their ends.
#[derive(Default)]
pub(crate) struct Flows {
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
    segments: u64,
}

/// A reset that the receiver will believe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reset {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) host: HostId,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
}

impl Flows {
    /// A segment passes.
    pub(crate) fn see(&mut self, from: HostId, to: HostId, segment: &Segment) {
        let Some(tcp) = segment.tcp() else { return };
        let ends = segment.ends();
        if segment.kind() == Kind::Rst {
            self.flows.remove(&ends);
            self.flows.remove(&(ends.1, ends.0));
            return;
        }
        self.segments += 1;
        let next = tcp.sequence.wrapping_add(tcp.sequence_length());
        let expects = (tcp.flags & Tcp::ACK != 0).then_some(tcp.acknowledgment);
        let seen = self.segments;
        let known = self.flows.entry(ends).or_insert(Flow { from, to, next, arrived: None, expects, seen });
        let begins = segment.kind() == Kind::Syn || segment.kind() == Kind::SynAck;
        if begins || is_after(next, known.next) {
            known.next = next;
        }
        if begins || expects.is_some_and(|new| known.expects.is_none_or(|old| is_after(new, old))) {
            known.expects = expects;
        }
        known.seen = seen;
        if self.flows.len() > MOST_FLOWS
            && let Some(oldest) = self.flows.iter().min_by_key(|(_, flow)| flow.seen).map(|(ends, _)| *ends)
        {
            self.flows.remove(&oldest);
        }
    }

    /// A segment has reached its host.
    pub(crate) fn arrive(&mut self, segment: &Segment) {
        let Some(tcp) = segment.tcp() else { return };
        let Some(flow) = self.flows.get_mut(&segment.ends()) else { return };
        let next = tcp.sequence.wrapping_add(tcp.sequence_length());
        let begins = tcp.flags & Tcp::SYN != 0;
        if begins || flow.arrived.is_some_and(|old| !is_after(tcp.sequence, old) && is_after(next, old)) {
            flow.arrived = Some(next);
        }
    }

    /// Resets in the name of `from` for every connection to `to` that is known.
    pub(crate) fn resets(&self, from: Option<HostId>, to: Option<HostId>) -> Vec<Reset> {
        // Known by the reverse direction: what its sender expects is what a reset must carry.
        let back = self.flows.iter().filter(|(_, back)| {
            from.is_none_or(|host| host == back.to) && to.is_none_or(|host| host == back.from)
        });
        back.filter_map(|(ends, _)| self.reset(ends.1, ends.0)).collect()
    }

    /// A reset from one end to the other, if it would be believed.
    pub(crate) fn reset(&self, from: SocketAddr, to: SocketAddr) -> Option<Reset> {
        let back = self.flows.get(&(to, from))?;
        let forth = self.flows.get(&(from, to));
        // What arrived may not be acknowledged yet. Before anything has arrived, the acknowledgment of the SYN makes it
        // a refusal (RFC 9293, section 3.10.7.3).
        let sequence = match (back.expects, forth.and_then(|flow| flow.arrived)) {
            (Some(expected), Some(arrived)) if is_after(arrived, expected) => arrived,
            (Some(expected), _) => expected,
            (None, arrived) => arrived.unwrap_or(0),
        };
        Some(Reset { from, to, host: back.from, sequence, acknowledgment: back.next })
    }

    /// Forgets everything about a host.
    pub(crate) fn forget(&mut self, host: HostId) {
        self.flows.retain(|_, flow| flow.from != host && flow.to != host);
    }
}

/// Whether a sequence number is after another, in their circle (RFC 9293, section 3.4).
fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}
