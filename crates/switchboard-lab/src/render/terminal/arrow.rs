//! A packet as a line of characters.

use super::{colour, dim};
use crate::render::flow::Kind;
use crate::render::ladder::{Arrow, Part};
use crate::render::wording;
use anstyle::{AnsiColor, Style};

pub(super) fn style(arrow: &Arrow) -> Style {
    if arrow.lost.is_some() || arrow.forged.is_some() {
        return colour(AnsiColor::Red);
    }
    match arrow.kind {
        Kind::Syn => colour(AnsiColor::Green),
        Kind::Fin => colour(AnsiColor::Blue),
        Kind::Reset => colour(AnsiColor::Red).bold(),
        Kind::Icmp => colour(AnsiColor::Magenta),
        Kind::Ack => dim(),
        Kind::Data | Kind::Other => Style::new(),
    }
}

/// `── 4 B "one\n" ──▶`, `◀── ACK ──`, `── FIN ──┄`, `┄┄ FIN ✗ black hole`, `✱ RST ──▶`, `width` characters long.
pub(super) fn drawn(arrow: &Arrow, part: Part, width: usize) -> String {
    let right = arrow.points_right();
    let mut label = arrow.label.clone();
    if part != Part::Arrives
        && let Some(why) = &arrow.forged
    {
        label = format!("✱ {label} ({why})");
    }
    if let (Some(why), Part::Lost) = (&arrow.lost, part) {
        // The cause is what matters: the packet is known from the line in which it left.
        let why = wording::cut(why, width.saturating_sub(12));
        label = wording::cut(&label, width.saturating_sub(7 + why.chars().count()));
        label = if right { format!("{label} ✗ {why}") } else { format!("{why} ✗ {label}") };
    }
    let head = match (part, right) {
        (Part::Whole | Part::Arrives, true) => "▶",
        (Part::Whole | Part::Arrives, false) => "◀",
        _ => "",
    };
    // Solid where it is at home, dotted where it is under way.
    let (near, far) = match part {
        Part::Whole => ('─', '─'),
        Part::Leaves => ('─', '┄'),
        Part::Arrives => ('┄', '─'),
        Part::Lost => (if arrow.left == arrow.ended.unwrap_or(arrow.left) { '─' } else { '┄' }, ' '),
    };
    let label = wording::cut(&label, width.saturating_sub(4 + head.chars().count()));
    let free = width.saturating_sub(label.chars().count() + 2 + head.chars().count());
    let (before, after) = (free / 2, free - free / 2);
    let line = |sign: char, length: usize| sign.to_string().repeat(length);
    if right {
        format!("{} {label} {}{head}", line(near, before), line(far, after))
    } else {
        format!("{head}{} {label} {}", line(far, before), line(near, after))
    }
}
