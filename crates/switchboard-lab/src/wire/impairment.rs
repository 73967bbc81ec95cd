//! What can be wrong with a wire: one impairment a file, and the table.
//!
//! Each direction between two hosts has its own set of them, at most one of a kind, each with random numbers of its
//! own: to change one does not shift the fate that the others give. A packet meets them in the order of the table.

mod black_hole;
mod corruption;
mod delay;
mod drop_next;
mod duplication;
mod jitter;
mod loss;
mod mtu;
mod rate;
mod reordering;
mod reset_next;
mod unreachable;

use crate::record::Nanos;
use crate::wire::frame::Frame;
use crate::wire::segment::{Kind, Segment};
use switchboard_proto::Random;

/// A row of the table.
pub struct Impairment {
    /// Its name in scenarios, and its file's.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Values that it takes.
    pub examples: &'static [&'static str],
    /// Makes one from its value as text; the error says what is wrong with it.
    pub make: fn(&str) -> Result<Box<dyn Impair>, String>,
}

/// All of them, in the order in which a packet meets them: first what stops it, then what changes it, then what holds it
/// up.
pub const IMPAIRMENTS: [Impairment; 12] = [
    black_hole::IMPAIRMENT,
    unreachable::IMPAIRMENT,
    mtu::IMPAIRMENT,
    drop_next::IMPAIRMENT,
    reset_next::IMPAIRMENT,
    loss::IMPAIRMENT,
    corruption::IMPAIRMENT,
    duplication::IMPAIRMENT,
    rate::IMPAIRMENT,
    delay::IMPAIRMENT,
    jitter::IMPAIRMENT,
    reordering::IMPAIRMENT,
];

/// An impairment of one direction.
pub trait Impair: Send {
    /// A packet comes by.
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate;
}

/// Whether a packet goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// To the next impairment, or on its way.
    Pass,
    /// No further, and why.
    Drop(&'static str),
}

/// A packet that meets impairments.
pub struct Passing<'a> {
    /// When it came.
    pub now: Nanos,
    /// When it will arrive, as far as is known.
    pub due: Nanos,
    /// The packet.
    pub frame: &'a mut Frame,
    /// Its headers.
    pub segment: &'a Segment,
    /// Random numbers for this impairment of this direction.
    pub random: &'a mut Random,
    /// Whether another one like it arrives as well.
    pub twice: bool,
    /// How it was changed, in words.
    pub changed: Option<String>,
    /// A router cuts it up into pieces of at most so many bytes.
    pub pieces: Option<u16>,
    /// What is said about it.
    pub replies: Vec<Reply>,
}

/// What the wire says on its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To the sender: an ICMP message in the place of a router.
    Icmp(Icmp),
    /// To both ends: a TCP reset, in the other's name.
    Reset,
}

/// Errors of ICMP (RFC 792) and ICMPv6 (RFC 4443) that a wire may report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmp {
    /// Destination unreachable, with the code of RFC 792; for IPv6 the nearest of RFC 4443.
    Unreachable(u8),
    /// Packet too big: the greatest length that fits.
    TooBig(u16),
}

impl Passing<'_> {
    /// True with the given probability, in millionths.
    fn happens(&mut self, millionths: u32) -> bool {
        (self.random.below(1_000_000) as u32) < millionths
    }
}

/// The row with this name.
pub fn find(name: &str) -> Result<(usize, &'static Impairment), String> {
    static TABLE: [Impairment; 12] = IMPAIRMENTS;
    let row = TABLE.iter().enumerate().find(|(_, row)| row.name == name);
    row.ok_or_else(|| {
        let names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        format!("no impairment is called `{name}`; there are {}", names.join(", "))
    })
}

/// A probability such as `2%`, in millionths.
fn probability(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a probability such as 2% or 0.5%");
    let percent: f64 =
        text.trim().strip_suffix('%').ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    Ok((percent * 10_000.0).round() as u32)
}

/// A duration such as `20ms`.
fn nanoseconds(text: &str) -> Result<Nanos, String> {
    let duration = switchboard_net::quantity::duration(text).map_err(|error| error.to_string())?;
    u64::try_from(duration.as_nanos()).map_err(|_| format!("`{text}` is too long"))
}

/// `SYN-ACK`, or `3 SYN-ACK`: a kind of segment, and how many.
fn count_and_kind(text: &str) -> Result<(u32, Kind), String> {
    let (count, name) = match text.trim().split_once(char::is_whitespace) {
        Some((count, name)) => {
            (count.parse().map_err(|_| format!("`{count}` is not a number of packets"))?, name.trim())
        }
        None => (1, text.trim()),
    };
    let kind = Kind::parse(name).ok_or_else(|| {
        let names: Vec<&str> = crate::wire::segment::KINDS.iter().map(|(_, name)| *name).collect();
        format!("`{name}` is no kind of segment; there are {}", names.join(", "))
    })?;
    Ok((count, kind))
}

/// The value of an impairment that takes none.
fn nothing(text: &str) -> Result<(), String> {
    match text.trim() {
        "" | "on" | "true" => Ok(()),
        other => Err(format!("`{other}`: it takes no value but `on`")),
    }
}
