//! Silences become one row, and so do long runs of routine: data and acknowledgements that arrive, calls that succeed,
//! and whatever repeats itself (a loop that spins). Should a picture still be too long, its middle is left out.

use super::{Content, Ladder, Part, Place, Row, Tone};
use crate::record::Nanos;
use crate::render::flow::Kind;

/// A silence is said if it lasts at least this long.
const SILENCE_NS: Nanos = 300_000_000;
/// A run of routine is folded if it has at least this many rows; so many stay at its beginning and end.
const RUN: usize = 30;
const HEAD: usize = 8;
const TAIL: usize = 6;
/// Quiet calls in a row are folded if they are at least this many, all of them.
const QUIET_RUN: usize = 4;
/// What repeats itself does so after at most this many rows.
const PERIOD: usize = 4;
/// The most rows of a picture, but for those that are cited.
const MOST: usize = 2_000;

pub(super) fn fold(ladder: &mut Ladder) {
    let out = left_out(ladder);
    let old = std::mem::take(&mut ladder.rows);
    let mut rows: Vec<Row> = Vec::with_capacity(old.len());
    // Where each old row is now.
    let mut moved = Vec::with_capacity(old.len());
    let mut fold: Option<usize> = None;
    let mut before: Option<Nanos> = None;
    for (index, row) in old.into_iter().enumerate() {
        let at_ns = row.at_ns;
        let gap = before.map_or(0, |before| at_ns.saturating_sub(before));
        before = Some(at_ns);
        if out[index] && gap < SILENCE_NS {
            let at = *fold.get_or_insert_with(|| {
                rows.push(Row {
                    line: None,
                    at_ns,
                    content: Content::Fold { rows: 0, took_ns: 0 },
                    cited: false,
                });
                rows.len() - 1
            });
            let began = rows[at].at_ns;
            if let Content::Fold { rows, took_ns } = &mut rows[at].content {
                *rows += 1;
                *took_ns = at_ns - began;
            }
            moved.push(at);
            continue;
        }
        fold = None;
        if gap >= SILENCE_NS {
            rows.push(Row { line: None, at_ns: at_ns - gap, content: Content::Silence(gap), cited: false });
        }
        moved.push(rows.len());
        rows.push(row);
    }
    ladder.rows = rows;
    let to = |row: &mut usize| *row = moved.get(*row).copied().unwrap_or(0);
    for bar in &mut ladder.bars {
        to(&mut bar.from);
        to(&mut bar.to);
    }
    for arrow in &mut ladder.arrows {
        to(&mut arrow.left);
        arrow.ended.iter_mut().for_each(to);
    }
    for span in &mut ladder.spans {
        to(&mut span.from);
        to(&mut span.to);
    }
    ladder.row_of.iter_mut().flatten().for_each(to);
}

/// Which rows are folded.
fn left_out(ladder: &Ladder) -> Vec<bool> {
    let says: Vec<String> = ladder.rows.iter().map(saying).collect();
    let repeats = |index: usize| {
        let before = index.saturating_sub(PERIOD)..index;
        !says[index].is_empty() && before.into_iter().any(|earlier| says[earlier] == says[index])
    };
    let rows = ladder.rows.iter().enumerate();
    let routine: Vec<bool> =
        rows.map(|(index, row)| !row.cited && (is_routine(ladder, row) || repeats(index))).collect();
    let mut out: Vec<bool> = (0..routine.len()).map(|index| is_inside(&routine, index)).collect();
    let quiet: Vec<bool> = ladder.rows.iter().map(|row| !row.cited && is_quiet(row)).collect();
    let mut start = 0;
    for run in quiet.chunk_by(|a, b| a == b) {
        if run[0] && run.len() >= QUIET_RUN {
            out[start..start + run.len()].fill(true);
        }
        start += run.len();
    }
    let shown: Vec<usize> = (0..out.len()).filter(|index| !out[*index]).collect();
    if shown.len() > MOST {
        for index in &shown[MOST / 2..shown.len() - MOST / 2] {
            out[*index] = !ladder.rows[*index].cited;
        }
    }
    out
}

/// What the cells of a row say, without how long anything took; nothing for other rows.
fn saying(row: &Row) -> String {
    let Content::Cells(cells) = &row.content else { return String::new() };
    let says = cells.iter().map(|cell| cell.text.split(" after ").next().unwrap_or_default());
    says.collect::<Vec<_>>().join("\n")
}

/// Whether all of a row is quiet.
fn is_quiet(row: &Row) -> bool {
    let Content::Cells(cells) = &row.content else { return false };
    cells.iter().all(|cell| cell.tone == Tone::Quiet)
}

/// Whether a row is so deep within a run of routine that it is left out.
fn is_inside(routine: &[bool], index: usize) -> bool {
    if !routine[index] {
        return false;
    }
    // Runs are short or long, and looking further than this decides nothing.
    let before = routine[..index].iter().rev().take(RUN).take_while(|routine| **routine).count();
    let after = routine[index + 1..].iter().take(RUN).take_while(|routine| **routine).count();
    before >= HEAD && after >= TAIL && before + after + 1 >= RUN
}

/// Whether a row tells nothing that its neighbours do not: data and acknowledgements that arrive, calls that succeed.
fn is_routine(ladder: &Ladder, row: &Row) -> bool {
    let Content::Cells(cells) = &row.content else { return false };
    let usual = |number: usize, part: Part| {
        let arrow = &ladder.arrows[number];
        let usual = matches!(arrow.kind, Kind::Data | Kind::Ack) && !arrow.again && arrow.forged.is_none();
        usual && part != Part::Lost && arrow.lost.is_none()
    };
    cells.iter().all(|cell| match cell.wire {
        Some((arrow, part)) => usual(arrow, part),
        None => cell.tone != Tone::Bad && !matches!(cell.place, Place::Edge(_)),
    })
}
