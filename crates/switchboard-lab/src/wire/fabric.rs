//! [`Fabric`]: who is where, and which packet arrives when. Pure: no I/O; time is an argument.

use crate::record::{Event, HostId, Nanos, Packet, Point, What};
use crate::wire::act::Act;
use crate::wire::flow::{Flows, Reset};
use crate::wire::forge;
use crate::wire::fragment;
use crate::wire::frame::Frame;
use crate::wire::impairment::Reply;
use crate::wire::path::Paths;
use crate::wire::segment::Segment;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// Bytes of each packet that are recorded.
pub const SNAP: usize = 128;

/// For packets to an address that no host has.
pub const NOBODY: HostId = HostId(u8::MAX);

/// All hosts' places at the wire, and the packets on their way.
pub struct Fabric {
    places: Vec<Place>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    paths: Paths,
    flows: Flows,
    /// Packets so far.
    packets: u64,
    /// Insertions into the queue so far: what is due at the same moment leaves in this order.
    serial: u64,
    events: Vec<Event>,
}

struct Place {
    addresses: Vec<IpAddr>,
    up: bool,
}

struct UnderWay {
    due_ns: Nanos,
    serial: u64,
    arriving: Arriving,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &UnderWay) -> bool {
        self.serial == other.serial
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &UnderWay) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &UnderWay) -> std::cmp::Ordering {
        (self.due_ns, self.serial).cmp(&(other.due_ns, other.serial))
    }
}

/// A packet that is to be handed to a host now.
pub struct Arriving {
    /// Its number.
    pub id: u64,
    /// Who sent it, unless the wire did.
    pub from: Option<HostId>,
    /// For whom.
    pub to: HostId,
    /// The packet.
    pub frame: Frame,
}

impl Fabric {
    /// A wire that hosts with these addresses will be attached to; [`HostId`]s are places in the list. All are down.
    /// Everything random follows from `seed`.
    pub fn new(hosts: impl IntoIterator<Item = Vec<IpAddr>>, seed: u64) -> Fabric {
        let places = hosts.into_iter().map(|addresses| Place { addresses, up: false }).collect();
        Fabric {
            places,
            under_way: BinaryHeap::new(),
            paths: Paths::new(seed),
            flows: Flows::default(),
            packets: 0,
            serial: 0,
            events: Vec::new(),
        }
    }

    /// Whether a host is attached and running.
    pub fn is_up(&self, host: HostId) -> bool {
        self.places.get(usize::from(host.0)).is_some_and(|place| place.up)
    }

    /// A host is there from now on.
    pub fn up(&mut self, host: HostId) {
        if let Some(place) = self.places.get_mut(usize::from(host.0)) {
            place.up = true;
        }
    }

    /// A host has left: it sends no more and nothing arrives there, but what it sent goes on its way.
    pub fn leave(&mut self, host: HostId) {
        if let Some(place) = self.places.get_mut(usize::from(host.0)) {
            place.up = false;
        }
        self.flows.forget(host);
    }

    /// A host is gone: packets on their way from it and to it vanish.
    pub fn down(&mut self, host: HostId, now: Nanos) {
        self.leave(host);
        for Reverse(packet) in std::mem::take(&mut self.under_way) {
            if packet.arriving.to == host || packet.arriving.from == Some(host) {
                self.delivered(now, &packet.arriving, Some("host is down".into()));
            } else {
                self.under_way.push(Reverse(packet));
            }
        }
    }

    /// The host with this address.
    pub fn owner(&self, address: IpAddr) -> Option<HostId> {
        let at = self.places.iter().position(|place| place.addresses.contains(&address))?;
        Some(HostId(at as u8))
    }

    /// Whether two hosts are up and there is a black hole in neither direction between them.
    pub fn hears(&mut self, a: HostId, b: HostId) -> bool {
        self.is_up(a) && self.is_up(b) && !self.paths.is_cut(a, b) && !self.paths.is_cut(b, a)
    }

    /// A packet has left a host.
    pub fn send(&mut self, now: Nanos, from: HostId, mut frame: Frame) {
        if !self.is_up(from) {
            return;
        }
        let Some(segment) = Segment::decode(frame.packet()) else { return };
        if is_housekeeping(&segment) {
            return;
        }
        let owner = self.owner(segment.destination);
        let to = owner.unwrap_or(NOBODY);
        let id = self.number();
        self.note(now, id, Some(from), to, Point::Sent, frame.packet());
        self.flows.see(from, to, &segment);
        let met = self.paths.meet((from, to), now, &mut frame, &segment);
        for reply in met.replies {
            self.reply(now, from, reply, &frame, &segment);
        }
        if let Some(cause) = met.dropped {
            return self.note(now, id, Some(from), to, Point::Dropped(cause.into()), frame.packet());
        }
        if owner.is_none() {
            let cause = Point::Dropped("no host has this address".into());
            return self.note(now, id, Some(from), to, cause, frame.packet());
        }
        if let Some(change) = met.changed {
            self.note(now, id, Some(from), to, Point::Forged(change), frame.packet());
        }
        if let Some(pieces) = met.pieces.and_then(|mtu| in_pieces(&mut frame, mtu)) {
            return self.put_pieces(
                now,
                met.due,
                met.twice,
                Arriving { id, from: Some(from), to, frame },
                pieces,
            );
        }
        if met.twice {
            let copy = Arriving { id: self.number(), from: Some(from), to, frame: frame.clone() };
            let why = Point::Forged(format!("duplicate of packet {id}"));
            self.note(now, copy.id, copy.from, to, why, copy.frame.packet());
            self.put(met.due, Arriving { id, from: Some(from), to, frame });
            return self.put(met.due, copy);
        }
        self.put(met.due, Arriving { id, from: Some(from), to, frame });
    }

    /// The pieces of a packet go on their way, the first in its place.
    fn put_pieces(&mut self, now: Nanos, due: Nanos, twice: bool, whole: Arriving, pieces: Vec<Vec<u8>>) {
        let Arriving { id, from, to, .. } = whole;
        let count = pieces.len();
        for round in 0..1 + u8::from(twice) {
            for (index, packet) in pieces.iter().enumerate() {
                let (id, why) = match (index, round) {
                    (0, 0) => (id, format!("cut up into {count} fragments")),
                    (_, 0) => (self.number(), format!("fragment {} of {count} of packet {id}", index + 1)),
                    _ => (self.number(), format!("duplicate of fragment {} of packet {id}", index + 1)),
                };
                self.note(now, id, from, to, Point::Forged(why), packet);
                self.put(due, Arriving { id, from, to, frame: Frame::new(packet) });
            }
        }
    }

    /// Does something to the wire.
    pub fn act(&mut self, now: Nanos, act: &Act) {
        match act {
            Act::Impair { way, row, value } => self.paths.impair(*way, *row, value),
            Act::Heal { way, row } => self.paths.heal(*way, *row),
            Act::Reset { way } => {
                for reset in self.flows.resets(way.from, way.to) {
                    self.reset(now, reset, "reset injected");
                }
            }
            Act::Inject { to, packet, why } => self.inject(now, *to, packet, why),
        }
    }

    fn reply(&mut self, now: Nanos, sender: HostId, reply: Reply, frame: &Frame, segment: &Segment) {
        match reply {
            Reply::Icmp(error) => {
                if let Some(packet) = forge::icmp(frame.packet(), segment, error) {
                    self.inject(now, sender, &packet, "ICMP from the router");
                }
            }
            Reply::Reset => {
                let (from, to) = segment.ends();
                for (from, to) in [(to, from), (from, to)] {
                    if let Some(reset) = self.flows.reset(from, to) {
                        self.reset(now, reset, "reset by a middlebox");
                    }
                }
            }
        }
    }

    fn reset(&mut self, now: Nanos, reset: Reset, why: &str) {
        if let Some(packet) = forge::reset(reset.from, reset.to, reset.sequence, reset.acknowledgment) {
            self.inject(now, reset.host, &packet, why);
        }
    }

    /// A packet of the wire's own making.
    fn inject(&mut self, now: Nanos, to: HostId, packet: &[u8], why: &str) {
        let id = self.number();
        self.note(now, id, None, to, Point::Forged(why.into()), packet);
        self.put(now, Arriving { id, from: None, to, frame: Frame::new(packet) });
    }

    fn number(&mut self) -> u64 {
        self.packets += 1;
        self.packets
    }

    fn put(&mut self, due_ns: Nanos, arriving: Arriving) {
        self.serial += 1;
        self.under_way.push(Reverse(UnderWay { due_ns, serial: self.serial, arriving }));
    }

    /// When the next packet is due.
    pub fn due(&self) -> Option<Nanos> {
        self.under_way.peek().map(|Reverse(packet)| packet.due_ns)
    }

    /// The next packet that is due by now, for a host that is up. Tell afterwards what became of it:
    /// [`Fabric::delivered`].
    pub fn deliver(&mut self, now: Nanos) -> Option<Arriving> {
        while self.due()? <= now {
            let Reverse(UnderWay { arriving, .. }) = self.under_way.pop()?;
            if self.is_up(arriving.to) {
                return Some(arriving);
            }
            self.delivered(now, &arriving, Some("host is down".into()));
        }
        None
    }

    /// A packet was handed to its host, or could not be, and why.
    pub fn delivered(&mut self, now: Nanos, arriving: &Arriving, failure: Option<String>) {
        let packet = arriving.frame.packet();
        if failure.is_none()
            && let Some(segment) = Segment::decode(packet)
        {
            self.flows.arrive(&segment);
        }
        let point = failure.map_or(Point::Delivered, Point::Dropped);
        self.note(now, arriving.id, arriving.from, arriving.to, point, packet);
    }

    /// What was seen since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn note(&mut self, at_ns: Nanos, id: u64, from: Option<HostId>, to: HostId, point: Point, packet: &[u8]) {
        let host = match point {
            Point::Sent => from,
            Point::Delivered => Some(to),
            _ => None,
        };
        let bytes = packet[..packet.len().min(SNAP)].to_vec();
        let packet = Packet { id, from, to, point, bytes, length: packet.len() as u32 };
        self.events.push(Event { at_ns, host, what: What::Packet(packet) });
    }
}

/// The packet cut up, unless it stands for several, whose pieces only a network card makes.
fn in_pieces(frame: &mut Frame, mtu: u16) -> Option<Vec<Vec<u8>>> {
    frame.complete();
    if frame.is_complete() { fragment::fragments(frame.packet(), mtu) } else { None }
}

/// What IPv6 hosts say of their own accord about multicast groups and neighbours: no conversation of anybody's.
fn is_housekeeping(segment: &Segment) -> bool {
    use crate::wire::segment::Transport;
    matches!(
        (segment.destination, segment.transport),
        (IpAddr::V6(_), Transport::Icmp { kind: 130..=137 | 143, .. })
    )
}
