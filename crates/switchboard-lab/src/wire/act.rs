//! [`Act`]: what can be done to a wire while it runs; [`Way`]: in which direction.

use crate::record::HostId;
use crate::wire::impairment;

/// A direction, or several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// From this host; from any if none.
    pub from: Option<HostId>,
    /// To this host; to any if none.
    pub to: Option<HostId>,
}

impl Way {
    /// Every direction.
    pub const ALL: Way = Way { from: None, to: None };

    /// From one host to another.
    pub fn between(from: HostId, to: HostId) -> Way {
        Way { from: Some(from), to: Some(to) }
    }

    /// Whatever a host sends.
    pub fn out_of(host: HostId) -> Way {
        Way { from: Some(host), to: None }
    }

    /// Whatever is for a host.
    pub fn into(host: HostId) -> Way {
        Way { from: None, to: Some(host) }
    }

    /// Whether a direction is meant.
    pub fn has(self, from: HostId, to: HostId) -> bool {
        self.from.is_none_or(|host| host == from) && self.to.is_none_or(|host| host == to)
    }
}

/// Something to be done to a wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Puts an impairment there, in the place of one of its kind. See [`Act::impair`].
    Impair {
        /// Where.
        way: Way,
        /// Which, by its place in the table.
        row: usize,
        /// Its value, which was found to be one.
        value: String,
    },
    /// Takes one impairment away, or all.
    Heal {
        /// Where.
        way: Way,
        /// Which, by its place in the table; all if none.
        row: Option<usize>,
    },
    /// Resets every TCP connection that was seen there: packets go to the receiving end, in the sender's name.
    Reset {
        /// Where.
        way: Way,
    },
    /// Hands a packet to a host.
    Inject {
        /// To whom.
        to: HostId,
        /// From its IP header on, with its checksums.
        packet: Vec<u8>,
        /// Why, in words, for the record.
        why: String,
    },
}

impl Act {
    /// Puts an impairment there: `delay`, `20ms`; `drop-next`, `2 SYN-ACK`. The names are those of
    /// [`impairment::IMPAIRMENTS`].
    ///
    /// # Errors
    /// What is wrong with the name or the value.
    pub fn impair(way: Way, name: &str, value: &str) -> Result<Act, String> {
        let (row, impairment) = impairment::find(name)?;
        (impairment.make)(value).map_err(|error| format!("{name}: {error}"))?;
        Ok(Act::Impair { way, row, value: value.to_owned() })
    }

    /// Takes one impairment away.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn heal_one(way: Way, name: &str) -> Result<Act, String> {
        let (row, _) = impairment::find(name)?;
        Ok(Act::Heal { way, row: Some(row) })
    }

    /// Takes all impairments away.
    pub fn heal(way: Way) -> Act {
        Act::Heal { way, row: None }
    }

    /// Cuts the wire: a black hole.
    pub fn cut(way: Way) -> Act {
        let (row, _) = impairment::find("black-hole").expect("a row of the table");
        Act::Impair { way, row, value: String::new() }
    }

    /// Resets every TCP connection that was seen there.
    pub fn reset(way: Way) -> Act {
        Act::Reset { way }
    }
}
