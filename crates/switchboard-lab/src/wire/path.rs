//! [`Paths`]: the impairments of every direction.

use crate::record::{HostId, Nanos};
use crate::wire::act::Way;
use crate::wire::frame::Frame;
use crate::wire::impairment::{Fate, IMPAIRMENTS, Impair, Passing, Reply};
use crate::wire::segment::Segment;
use std::collections::BTreeMap;
use switchboard_proto::Random;

/// From a host to a host.
type Ends = (HostId, HostId);

/// All directions that were used, and what was said about all.
pub(crate) struct Paths {
    seed: u64,
    paths: BTreeMap<Ends, Path>,
    /// What holds for directions that were not used yet, in the order in which it was said.
    standing: Vec<(Way, usize, Option<String>)>,
}

/// One direction: a place for each row of the table.
#[derive(Default)]
struct Path([Option<Slot>; IMPAIRMENTS.len()]);

struct Slot {
    impairment: Box<dyn Impair>,
    random: Random,
}

/// What became of a packet on its path.
pub(crate) struct Met {
    pub(crate) dropped: Option<&'static str>,
    pub(crate) due: Nanos,
    pub(crate) twice: bool,
    pub(crate) changed: Option<String>,
    /// It goes on in pieces of at most so many bytes.
    pub(crate) pieces: Option<u16>,
    pub(crate) replies: Vec<Reply>,
}

impl Paths {
    pub(crate) fn new(seed: u64) -> Paths {
        Paths { seed, paths: BTreeMap::new(), standing: Vec::new() }
    }

    /// A packet meets the impairments of its direction.
    pub(crate) fn meet(&mut self, ends: Ends, now: Nanos, frame: &mut Frame, segment: &Segment) -> Met {
        let mut met =
            Met { dropped: None, due: now, twice: false, changed: None, pieces: None, replies: Vec::new() };
        for slot in self.path(ends).0.iter_mut().flatten() {
            let mut passing = Passing {
                now,
                due: met.due,
                frame,
                segment,
                random: &mut slot.random,
                twice: met.twice,
                changed: met.changed.take(),
                pieces: met.pieces,
                replies: std::mem::take(&mut met.replies),
            };
            let fate = slot.impairment.meet(&mut passing);
            (met.due, met.twice, met.changed, met.pieces, met.replies) =
                (passing.due, passing.twice, passing.changed, passing.pieces, passing.replies);
            if let Fate::Drop(cause) = fate {
                met.dropped = Some(cause);
                break;
            }
        }
        met
    }

    /// Puts an impairment on some directions; its value was checked.
    pub(crate) fn impair(&mut self, way: Way, row: usize, value: &str) {
        self.remember(way, row, Some(value));
        for (ends, path) in self.paths.iter_mut().filter(|((from, to), _)| way.has(*from, *to)) {
            path.set(self.seed, *ends, row, Some(value));
        }
    }

    /// Takes one impairment, or all, from some directions.
    pub(crate) fn heal(&mut self, way: Way, row: Option<usize>) {
        for row in row.map_or(0..IMPAIRMENTS.len(), |row| row..row + 1) {
            self.remember(way, row, None);
            for (ends, path) in self.paths.iter_mut().filter(|((from, to), _)| way.has(*from, *to)) {
                path.set(self.seed, *ends, row, None);
            }
        }
    }

    /// Whether there is a black hole.
    pub(crate) fn is_cut(&mut self, from: HostId, to: HostId) -> bool {
        self.path((from, to))
            .0
            .iter()
            .zip(&IMPAIRMENTS)
            .any(|(slot, row)| slot.is_some() && row.name == "black-hole")
    }

    fn remember(&mut self, way: Way, row: usize, value: Option<&str>) {
        // What is said anew about the same directions, or about all, replaces what was said.
        self.standing.retain(|(known, of, _)| *of != row || (*known != way && way != Way::ALL));
        self.standing.push((way, row, value.map(str::to_owned)));
    }

    fn path(&mut self, ends: Ends) -> &mut Path {
        self.paths.entry(ends).or_insert_with(|| {
            let mut path = Path::default();
            for (_, row, value) in self.standing.iter().filter(|(way, ..)| way.has(ends.0, ends.1)) {
                path.set(self.seed, ends, *row, value.as_deref());
            }
            path
        })
    }
}

impl Path {
    fn set(&mut self, seed: u64, (from, to): Ends, row: usize, value: Option<&str>) {
        let (Some(place), Some(impairment)) = (self.0.get_mut(row), IMPAIRMENTS.get(row)) else { return };
        let made = value.and_then(|value| (impairment.make)(value).ok());
        *place = made.map(|impairment| {
            // Neighbouring numbers give unrelated sequences once they went through the generator.
            let own = u64::from(from.0) << 16 | u64::from(to.0) << 8 | row as u64;
            let random = Random::new(Random::new(seed ^ own << 32).bits());
            Slot { impairment, random }
        });
    }
}
