//! The ladder as a picture: one time axis from top to bottom, each host's calls beside its lifeline, packets as
//! arrows from the moment they left to the moment they arrived, calls that waited as bars, TCP states at the edges.
//!
//! Colours are variables, dark where the reader prefers it, from a palette that colour-blind readers can tell apart
//! (Okabe and Ito); each has a shape or a word beside it.

mod geometry;
mod parts;

use super::finding::Chapter;
use super::ladder::{Content, Ladder};
use geometry::Geometry;
use std::fmt::Write;

pub use super::wording::escaped;

/// Everything that the picture looks like, for a page or for the picture itself.
pub const STYLE: &str = include_str!("svg/style.css");

/// A picture in a file of its own.
pub fn document(chapter: &Chapter<'_>) -> String {
    let ladder = Ladder::new(chapter.recording, &chapter.cited());
    figure(chapter, &ladder, true)
}

/// A picture; alone it brings its style and its namespace.
pub(super) fn figure(chapter: &Chapter<'_>, ladder: &Ladder, alone: bool) -> String {
    let geometry = Geometry::new(ladder);
    let header = &chapter.recording.header;
    let anchor = chapter.anchor();
    let mut out = String::new();
    let namespace = if alone { " xmlns=\"http://www.w3.org/2000/svg\"" } else { "" };
    let (width, height) = (geometry.width, geometry.height);
    let _ = write!(
        out,
        "<svg{namespace} class=\"ladder\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"{anchor}-title {anchor}-desc\">\n<title id=\"{anchor}-title\">{}: {}</title>\n\
         <desc id=\"{anchor}-desc\">Time runs from top to bottom. {} packets between {}, {} calls that waited.</desc>\n",
        escaped(&header.scenario),
        escaped(&header.title),
        ladder.arrows.len(),
        escaped(&ladder.hosts.join(" and ")),
        ladder.bars.len(),
    );
    if alone {
        let _ = writeln!(out, "<style>\n{STYLE}</style>");
    }
    parts::heads(&mut out, &anchor);
    let _ = writeln!(out, "<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>");
    parts::lanes(&mut out, &geometry, ladder, &header.hosts);
    for (index, row) in ladder.rows.iter().enumerate() {
        parts::backdrop(&mut out, &geometry, &anchor, index, row);
    }
    ladder.spans.iter().for_each(|span| parts::span(&mut out, &geometry, span));
    ladder.bars.iter().for_each(|bar| parts::bar(&mut out, &geometry, bar));
    for arrow in &ladder.arrows {
        // One that is folded away altogether is counted in the fold.
        let folded = |row: usize| matches!(ladder.rows[row].content, Content::Fold { .. });
        if !folded(arrow.left) || arrow.ended.is_some_and(|ended| !folded(ended)) {
            parts::arrow(&mut out, &geometry, &anchor, arrow);
        }
    }
    for (index, row) in ladder.rows.iter().enumerate() {
        parts::row(&mut out, &geometry, index, row);
    }
    out.push_str("</svg>\n");
    out
}
