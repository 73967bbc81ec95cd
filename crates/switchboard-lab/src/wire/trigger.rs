//! [`Trigger`]: do something the moment that a certain packet is seen, and tell who waits for it.

use crate::record::{Event, Nanos, Packet, Point, What};
use crate::wire::act::{Act, Way};
use crate::wire::segment::{Kind, Segment};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A packet that was seen somewhere.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// When.
    pub at_ns: Nanos,
    /// What and where; not all of its bytes.
    pub packet: &'a Packet,
    /// Its headers.
    pub segment: &'a Segment,
}

/// Where on its way a packet is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Where {
    /// It has left its host.
    #[default]
    Sent,
    /// It has reached its host.
    Delivered,
    /// It was dropped.
    Dropped,
    /// The wire made or changed it.
    Forged,
}

/// Packets that are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pattern {
    /// Direction.
    pub way: Way,
    /// Kind; any if none.
    pub kind: Option<Kind>,
    /// Point of the way.
    pub place: Where,
}

impl Pattern {
    /// Packets of a kind that have left their host.
    pub fn sent(way: Way, kind: Kind) -> Pattern {
        Pattern { way, kind: Some(kind), place: Where::Sent }
    }

    /// Packets of a kind that have reached their host.
    pub fn delivered(way: Way, kind: Kind) -> Pattern {
        Pattern { way, kind: Some(kind), place: Where::Delivered }
    }

    /// Whether a packet is one of these. What the wire made has no sender, and is in every direction to its receiver.
    pub fn fits(&self, sight: &Sight<'_>) -> bool {
        let place = match sight.packet.point {
            Point::Sent => Where::Sent,
            Point::Delivered => Where::Delivered,
            Point::Dropped(_) => Where::Dropped,
            Point::Forged(_) => Where::Forged,
        };
        let way = match sight.packet.from {
            Some(from) => self.way.has(from, sight.packet.to),
            None => self.way.to.is_none_or(|to| to == sight.packet.to),
        };
        place == self.place && way && self.kind.is_none_or(|kind| kind == sight.segment.kind())
    }
}

/// Waits for the `count`th packet that fits, and then acts, before another packet moves.
pub struct Trigger {
    fits: Box<dyn FnMut(&Sight<'_>) -> bool + Send>,
    left: u32,
    acts: Vec<Act>,
    told: SyncSender<Nanos>,
}

/// The other end of a trigger.
#[derive(Debug)]
pub struct Fired(Receiver<Nanos>);

impl Trigger {
    /// Fires at the `count`th packet for which `fits` is true; it is called by the wire's thread.
    pub fn new(
        fits: impl FnMut(&Sight<'_>) -> bool + Send + 'static,
        count: u32,
        acts: Vec<Act>,
    ) -> (Trigger, Fired) {
        let (told, fired) = sync_channel(1);
        (Trigger { fits: Box::new(fits), left: count.max(1), acts, told }, Fired(fired))
    }

    /// A packet is seen; true when that fires it.
    fn see(&mut self, sight: &Sight<'_>) -> bool {
        if (self.fits)(sight) {
            self.left -= 1;
        }
        self.left == 0
    }
}

impl Fired {
    /// When it fired, waiting no longer than `patience`; none if it has not by then.
    pub fn wait(&self, patience: Duration) -> Option<Nanos> {
        self.0.recv_timeout(patience).ok()
    }
}

/// Shows an event to all triggers; those that fire are removed, and what they want done is returned.
pub(crate) fn show(triggers: &mut Vec<Trigger>, event: &Event) -> Vec<Act> {
    if triggers.is_empty() {
        return Vec::new();
    }
    let What::Packet(packet) = &event.what else { return Vec::new() };
    let Some(segment) = Segment::decode(&packet.bytes) else { return Vec::new() };
    let sight = Sight { at_ns: event.at_ns, packet, segment: &segment };
    let mut acts = Vec::new();
    triggers.retain_mut(|trigger| {
        let fires = trigger.see(&sight);
        if fires {
            acts.append(&mut trigger.acts);
            let _ = trigger.told.try_send(event.at_ns);
        }
        !fires
    });
    acts
}
