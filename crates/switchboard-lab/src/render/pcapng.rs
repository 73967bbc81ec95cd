//! Packets as one host saw them, as pcapng (draft-ietf-opsawg-pcapng): one file for each vantage point.
//!
//! One file has one interface of type LINKTYPE_RAW, which holds IPv4 and IPv6 alike; libpcap 1.10 refuses a file with
//! two such interfaces. What a host sent is there also if it was lost on the way, with the reason as a comment; what
//! never arrived is not in the file of whom it was for, just as a capture there would not have it.

use crate::record::{Header, HostId, Nanos, Packet, Point, Recording, What};
use std::collections::HashMap;
use std::io::{self, Write};

/// Block types.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// `LINKTYPE_RAW`: packets begin with their IP header.
const RAW: u16 = 101;
/// Options.
const END: u16 = 0;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const APPLICATION: u16 = 4;
const RESOLUTION: u16 = 9;
const FLAGS: u16 = 2;
const PACKET_ID: u16 = 5;
/// Directions in [`FLAGS`].
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Writes what `host` saw.
///
/// # Errors
/// Those of `to`.
pub fn write(recording: &Recording, host: HostId, to: &mut impl Write) -> io::Result<()> {
    let header = &recording.header;
    let mut section = Vec::new();
    section.extend(0x1a2b_3c4du32.to_le_bytes());
    section.extend(1u16.to_le_bytes());
    section.extend(0u16.to_le_bytes());
    section.extend(u64::MAX.to_le_bytes());
    let title = format!("{}: {} (seed {})", header.scenario, header.title, header.seed);
    option(&mut section, COMMENT, title.as_bytes());
    option(&mut section, APPLICATION, b"switchboard lab");
    option(&mut section, END, &[]);
    block(to, SECTION, &section)?;

    let mut interface = Vec::new();
    interface.extend(RAW.to_le_bytes());
    interface.extend([0; 2]);
    interface.extend(0u32.to_le_bytes());
    let name = header.hosts.get(usize::from(host.0)).map_or("host", |host| &host.name);
    option(&mut interface, NAME, name.as_bytes());
    option(&mut interface, RESOLUTION, &[9]);
    option(&mut interface, END, &[]);
    block(to, INTERFACE, &interface)?;

    let fates = fates(recording);
    for event in &recording.events {
        let What::Packet(packet) = &event.what else { continue };
        let direction = match packet.point {
            Point::Sent if packet.from == Some(host) => OUTBOUND,
            Point::Delivered if packet.to == host => INBOUND,
            _ => continue,
        };
        let at = unix(header, event.at_ns);
        let mut body = Vec::new();
        body.extend(0u32.to_le_bytes());
        body.extend(((at >> 32) as u32).to_le_bytes());
        body.extend((at as u32).to_le_bytes());
        let captured = packet.bytes.len() as u32;
        body.extend(captured.to_le_bytes());
        body.extend(packet.length.max(captured).to_le_bytes());
        padded(&mut body, &packet.bytes);
        if let Some(fate) = fates.get(&packet.id) {
            option(&mut body, COMMENT, fate.as_bytes());
        }
        option(&mut body, FLAGS, &direction.to_le_bytes());
        option(&mut body, PACKET_ID, &packet.id.to_le_bytes());
        option(&mut body, END, &[]);
        block(to, PACKET, &body)?;
    }
    to.flush()
}

/// What the wire did to packets, in words.
fn fates(recording: &Recording) -> HashMap<u64, String> {
    let mut fates: HashMap<u64, String> = HashMap::new();
    for event in &recording.events {
        let What::Packet(Packet { id, point, .. }) = &event.what else { continue };
        let fate = match point {
            Point::Dropped(why) => format!("dropped: {why}"),
            Point::Forged(why) => format!("made or changed by the wire: {why}"),
            Point::Sent | Point::Delivered => continue,
        };
        fates.entry(*id).and_modify(|known| *known = format!("{known}; {fate}")).or_insert(fate);
    }
    fates
}

/// Nanoseconds since 1970.
fn unix(header: &Header, at_ns: Nanos) -> u64 {
    header.began_unix_ns.saturating_add(at_ns.saturating_sub(header.began_at_ns))
}

fn padded(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(bytes);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// An option; text that is too long for its length field is cut.
fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX) & !3)];
    to.extend(code.to_le_bytes());
    to.extend((value.len() as u16).to_le_bytes());
    padded(to, value);
}

/// A block: its body is a multiple of 4 long already.
fn block(to: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    to.write_all(&kind.to_le_bytes())?;
    to.write_all(&length)?;
    to.write_all(body)?;
    to.write_all(&length)
}
