//! [`Fabric`]: who is where, and which packet arrives when. Pure: no I/O; time is an argument.

use crate::record::{Event, HostId, Nanos, Packet, Point, What};
use crate::wire::frame::Frame;
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
    pub fn new(hosts: impl IntoIterator<Item = Vec<IpAddr>>) -> Fabric {
        let places = hosts.into_iter().map(|addresses| Place { addresses, up: false }).collect();
        Fabric { places, under_way: BinaryHeap::new(), packets: 0, serial: 0, events: Vec::new() }
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

    /// A host is gone: packets on their way from it and to it vanish.
    pub fn down(&mut self, host: HostId, now: Nanos) {
        if let Some(place) = self.places.get_mut(usize::from(host.0)) {
            place.up = false;
        }
        for Reverse(packet) in std::mem::take(&mut self.under_way) {
            if packet.arriving.to == host || packet.arriving.from == Some(host) {
                self.note(now, &packet.arriving, Point::Dropped("host is down".into()));
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

    /// A packet has left a host.
    pub fn send(&mut self, now: Nanos, from: HostId, frame: Frame) {
        if !self.is_up(from) {
            return;
        }
        let Some(segment) = Segment::decode(frame.packet()) else { return };
        if is_housekeeping(&segment) {
            return;
        }
        let to = self.owner(segment.destination);
        self.packets += 1;
        let arriving = Arriving { id: self.packets, from: Some(from), to: to.unwrap_or(NOBODY), frame };
        self.note(now, &arriving, Point::Sent);
        match to {
            None => self.note(now, &arriving, Point::Dropped("no host has this address".into())),
            Some(to) if !self.is_up(to) => self.note(now, &arriving, Point::Dropped("host is down".into())),
            Some(_) => self.put(now, arriving),
        }
    }

    fn put(&mut self, due_ns: Nanos, arriving: Arriving) {
        self.serial += 1;
        self.under_way.push(Reverse(UnderWay { due_ns, serial: self.serial, arriving }));
    }

    /// When the next packet is due.
    pub fn due(&self) -> Option<Nanos> {
        self.under_way.peek().map(|Reverse(packet)| packet.due_ns)
    }

    /// The next packet that is due by now. Tell afterwards what became of it: [`Fabric::delivered`].
    pub fn deliver(&mut self, now: Nanos) -> Option<Arriving> {
        if self.due()? > now {
            return None;
        }
        self.under_way.pop().map(|Reverse(packet)| packet.arriving)
    }

    /// A packet was handed to its host, or could not be, and why.
    pub fn delivered(&mut self, now: Nanos, arriving: &Arriving, failure: Option<String>) {
        self.note(now, arriving, failure.map_or(Point::Delivered, Point::Dropped));
    }

    /// What was seen since the last call.
    pub fn events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }

    fn note(&mut self, at_ns: Nanos, arriving: &Arriving, point: Point) {
        let packet = arriving.frame.packet();
        let host = match point {
            Point::Sent => arriving.from,
            Point::Delivered => Some(arriving.to),
            _ => None,
        };
        self.events.push(Event {
            at_ns,
            host,
            what: What::Packet(Packet {
                id: arriving.id,
                from: arriving.from,
                to: arriving.to,
                point,
                bytes: packet[..packet.len().min(SNAP)].to_vec(),
                length: packet.len() as u32,
            }),
        });
    }
}

/// What IPv6 hosts say of their own accord about multicast groups and neighbours: no conversation of anybody's.
fn is_housekeeping(segment: &Segment) -> bool {
    use crate::wire::segment::Transport;
    matches!(
        (segment.destination, segment.transport),
        (IpAddr::V6(_), Transport::Icmp { kind: 130..=137 | 143, .. })
    )
}
