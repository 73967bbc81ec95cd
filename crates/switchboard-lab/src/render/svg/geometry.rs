//! [`Geometry`]: where columns and rows are, in pixels.

use crate::render::ladder::{Content, Ladder};

/// Numbers and times.
const MARGIN: f64 = 92.0;
/// Strips of states.
const EDGE: f64 = 92.0;
/// Texts of calls.
const CALLS: f64 = 304.0;
/// Between two lifelines.
const WIRE: f64 = 300.0;
/// Names of the hosts.
pub(super) const HEAD: f64 = 70.0;
/// Width of a bar, and of the step to the next.
pub(super) const BAR: f64 = 9.0;
pub(super) const STEP: f64 = 12.0;

pub(super) struct Geometry {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) lanes: Vec<Lane>,
    /// Middle of each row.
    rows: Vec<f64>,
    heights: Vec<f64>,
}

/// A host's place.
#[derive(Clone, Copy)]
pub(super) struct Lane {
    /// Where its lane begins and ends.
    pub(super) left: f64,
    pub(super) right: f64,
    /// Where its states are.
    pub(super) edge: f64,
    /// Where its bars are.
    pub(super) line: f64,
    /// Where the texts of its calls touch.
    pub(super) calls: f64,
    /// Whether the calls are right of the line.
    pub(super) mirrored: bool,
    /// Where arrows from the left end, and where those to the right begin.
    pub(super) arrives: f64,
    pub(super) departs: f64,
}

/// Characters of a call's text that fit.
pub(super) const CALL_CHARACTERS: usize = 44;
pub(super) const EDGE_WIDTH: f64 = EDGE - 10.0;

impl Geometry {
    pub(super) fn new(ladder: &Ladder) -> Geometry {
        let count = ladder.hosts.len();
        let mut lanes = Vec::new();
        let mut x = MARGIN;
        for host in 0..count {
            let extra = ladder.tracks(host).max(1).saturating_sub(1) as f64 * STEP;
            let width = EDGE + CALLS + extra + 2.0 * BAR;
            let mirrored = count > 1 && host + 1 == count;
            let (left, right) = (x, x + width);
            lanes.push(if mirrored {
                let line = left + BAR;
                let edge = right - EDGE + 5.0;
                Lane {
                    left,
                    right,
                    edge,
                    line,
                    calls: line + extra + STEP,
                    mirrored,
                    arrives: line,
                    departs: right,
                }
            } else {
                let line = right - BAR;
                let arrives = if host == 0 { line } else { left };
                Lane {
                    left,
                    right,
                    edge: left + 5.0,
                    line,
                    calls: line - extra - STEP,
                    mirrored,
                    arrives,
                    departs: line,
                }
            });
            x += width + WIRE;
        }
        let mut y = HEAD;
        let (mut rows, mut heights) = (Vec::new(), Vec::new());
        for row in &ladder.rows {
            let height = match row.content {
                Content::Cells(_) => 24.0,
                Content::Banner { .. } => 27.0,
                Content::Silence(_) => 40.0,
                Content::Fold { .. } => 30.0,
            };
            rows.push(y + height / 2.0);
            heights.push(height);
            y += height;
        }
        Geometry { width: x - WIRE + 12.0, height: y + 16.0, lanes, rows, heights }
    }

    /// The middle of a row.
    pub(super) fn y(&self, row: usize) -> f64 {
        self.rows.get(row).copied().unwrap_or(HEAD)
    }

    pub(super) fn height_of(&self, row: usize) -> f64 {
        self.heights.get(row).copied().unwrap_or(0.0)
    }

    /// Where the lanes begin and end.
    pub(super) fn across(&self) -> (f64, f64) {
        let left = self.lanes.first().map_or(0.0, |lane| lane.left);
        (left, self.lanes.last().map_or(self.width, |lane| lane.right))
    }

    /// Where an arrow begins and ends.
    pub(super) fn arrow(&self, from: Option<usize>, to: usize, points_right: bool) -> (f64, f64) {
        let Some(target) = self.lanes.get(to) else { return (0.0, 0.0) };
        match from.filter(|from| *from != to).and_then(|from| self.lanes.get(from)) {
            Some(source) if points_right => (source.departs, target.arrives),
            Some(source) => (source.arrives, target.departs),
            // Out of the wire, or from a host to itself.
            None if points_right => (target.arrives - WIRE * 0.5, target.arrives),
            None => (target.departs + WIRE * 0.5, target.departs),
        }
    }
}
