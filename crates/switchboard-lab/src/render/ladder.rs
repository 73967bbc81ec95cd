//! [`Ladder`]: events become rows on one time axis, hosts become columns with the wire between them. Pure layout:
//! nothing here knows of characters, pixels or colours.
//!
//! ```text
//! edge | calls of host 0 | wire | edge | calls of host 1 | wire | … | calls of the last host | edge
//! ```
//!
//! What happens in different columns within a millisecond shares a row and is read in the direction of the arrow. A
//! call that waits is a bar from the row in which it was entered to that in which it returned; a packet is an arrow
//! from the row in which it left to that in which it arrived or was lost. Silences and long runs of routine are
//! folded, but never what a finding cites.

mod build;
mod fold;

use super::flow::Kind;
use crate::record::{Nanos, Recording};

/// A whole run as rows.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Names of the hosts, from left to right; at least one.
    pub hosts: Vec<String>,
    /// From the first moment to the last.
    pub rows: Vec<Row>,
    /// Calls that waited.
    pub bars: Vec<Bar>,
    /// Packets.
    pub arrows: Vec<Arrow>,
    /// States of sockets over time.
    pub spans: Vec<Span>,
    /// For each event, by its place in the recording, its row.
    row_of: Vec<Option<usize>>,
}

/// One row.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The number that findings cite; folds and silences have none.
    pub line: Option<usize>,
    /// Since the beginning of the run.
    pub at_ns: Nanos,
    /// What is in it.
    pub content: Content,
    /// A finding cites it.
    pub cited: bool,
}

/// What is in a row.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// Things in different columns.
    Cells(Vec<Cell>),
    /// A line over the whole width.
    Banner {
        /// What kind of thing.
        of: Banner,
        /// On which host, if on one.
        host: Option<usize>,
        /// In words.
        text: String,
    },
    /// Nothing happened for so long.
    Silence(Nanos),
    /// So many rows of routine are left out.
    Fold {
        /// How many.
        rows: usize,
        /// How long they took.
        took_ns: Nanos,
    },
}

/// See [`Content::Banner`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Banner {
    /// Done on purpose.
    Step,
    /// A remark of the lab's.
    Note,
    /// A signal.
    Signal,
    /// The life of a process.
    Process,
    /// The death of a process by a signal.
    Death,
}

/// A part of a row.
#[derive(Clone, PartialEq, Debug)]
pub struct Cell {
    /// Where.
    pub place: Place,
    /// Short.
    pub text: String,
    /// At length.
    pub details: String,
    /// How it looks.
    pub tone: Tone,
    /// Of a packet: which arrow, and which part of it.
    pub wire: Option<(usize, Part)>,
}

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// The edge of a host: states of its sockets.
    Edge(usize),
    /// The calls of a host.
    Calls(usize),
    /// The wire, from one host's column to another's, the left one first.
    Wire(usize, usize),
}

/// How a cell looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// As usual.
    Plain,
    /// A call that succeeded, and that hardly anybody looks for.
    Quiet,
    /// A call that is entered and waits.
    Waits,
    /// A call that failed, or something lost.
    Bad,
    /// What a program says.
    Output,
}

/// Which part of an arrow a row shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// It leaves, and is under way when the row ends.
    Leaves,
    /// It arrives.
    Arrives,
    /// It is lost.
    Lost,
}

/// A call that waited.
#[derive(Clone, PartialEq, Debug)]
pub struct Bar {
    /// On which host.
    pub host: usize,
    /// Which of several at the same time, from 0.
    pub track: usize,
    /// Row in which it was entered.
    pub from: usize,
    /// Row in which it returned, or in which its process ended; the last row if neither happened.
    pub to: usize,
    /// It still waits when the run is over.
    pub stuck: bool,
    /// The call at length.
    pub details: String,
}

/// A packet.
#[derive(Clone, PartialEq, Debug)]
pub struct Arrow {
    /// Host that it left; none if the wire made it.
    pub from: Option<usize>,
    /// Host that it was for.
    pub to: usize,
    /// Row in which it left.
    pub left: usize,
    /// Row in which it arrived or was lost; none if neither was seen.
    pub ended: Option<usize>,
    /// Why it was lost, if it was.
    pub lost: Option<String>,
    /// Why the wire made or changed it, if it did.
    pub forged: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// Sent before.
    pub again: bool,
    /// Short.
    pub label: String,
    /// At length.
    pub details: String,
}

impl Arrow {
    /// Whether it points from left to right.
    pub fn points_right(&self) -> bool {
        self.from.is_none_or(|from| from <= self.to) && self.to > 0
    }
}

/// A socket in one state.
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    /// On which host.
    pub host: usize,
    /// Which of several of this host, from 0.
    pub track: usize,
    /// Which state.
    pub state: String,
    /// Both ends.
    pub details: String,
    /// First row.
    pub from: usize,
    /// Last row.
    pub to: usize,
}

impl Ladder {
    /// Lays a recording out; rows with events that are `cited` (by their places in [`Recording::events`]) are marked,
    /// and never folded.
    pub fn new(recording: &Recording, cited: &[usize]) -> Ladder {
        let mut ladder = build::rows(recording);
        for row in cited.iter().filter_map(|event| ladder.row_of(*event)).collect::<Vec<_>>() {
            ladder.rows[row].cited = true;
        }
        fold::fold(&mut ladder);
        // A call that began and ended within one row has no bar.
        ladder.bars.retain(|bar| bar.from < bar.to || bar.stuck);
        let mut line = 0;
        for row in &mut ladder.rows {
            if matches!(row.content, Content::Cells(_) | Content::Banner { .. }) {
                line += 1;
                row.line = Some(line);
            }
        }
        ladder
    }

    /// The row of an event, by its place in the recording.
    fn row_of(&self, event: usize) -> Option<usize> {
        self.row_of.get(event).copied().flatten()
    }

    /// The number of the line that shows an event, if one does.
    pub fn line_of(&self, event: usize) -> Option<usize> {
        self.rows.get(self.row_of(event)?)?.line
    }

    /// Bars of a host that are there at the same time, at most.
    pub fn tracks(&self, host: usize) -> usize {
        self.bars.iter().filter(|bar| bar.host == host).map(|bar| bar.track + 1).max().unwrap_or(0)
    }
}
