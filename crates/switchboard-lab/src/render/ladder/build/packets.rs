//! Packets become arrows: from where they left to where they arrived or were lost.

use super::Builder;
use crate::record::{Nanos, Packet, Point};
use crate::render::ladder::{Arrow, Cell, Content, Part, Place, Tone};
use crate::render::wording;

impl Builder {
    pub(super) fn packet(&mut self, index: usize, at_ns: Nanos, packet: &Packet) {
        let Some(to) = self.host(packet.to) else { return };
        let known = self.under_way.get(&packet.id).copied();
        match (&packet.point, known) {
            (Point::Sent | Point::Forged(_), None) => {
                self.leaves(index, at_ns, packet, to);
            }
            (Point::Sent, Some(_)) => {}
            // Changed on its way: the arrow goes on.
            (Point::Forged(why), Some(arrow)) => {
                self.ladder.arrows[arrow].forged = Some(wording::harmless(why));
                self.ends(index, at_ns, arrow, Part::Leaves);
            }
            (Point::Delivered, known) => {
                let arrow = known.unwrap_or_else(|| self.leaves(index, at_ns, packet, to));
                self.under_way.remove(&packet.id);
                self.ends(index, at_ns, arrow, Part::Arrives);
            }
            (Point::Dropped(why), known) => {
                let arrow = known.unwrap_or_else(|| self.leaves(index, at_ns, packet, to));
                self.under_way.remove(&packet.id);
                self.ladder.arrows[arrow].lost = Some(wording::harmless(why));
                self.ends(index, at_ns, arrow, Part::Lost);
            }
        }
    }

    fn leaves(&mut self, index: usize, at_ns: Nanos, packet: &Packet, to: usize) -> usize {
        let told = self.flows.tell(packet);
        let from = packet.from.and_then(|from| self.host(from));
        let forged = match &packet.point {
            Point::Forged(why) => Some(wording::harmless(why)),
            _ => None,
        };
        let arrow = Arrow {
            from,
            to,
            left: 0,
            ended: None,
            lost: None,
            forged,
            kind: told.kind,
            again: told.again,
            label: told.label,
            details: told.details,
        };
        self.ladder.arrows.push(arrow);
        let number = self.ladder.arrows.len() - 1;
        let cell = self.wire_cell(number, Part::Leaves);
        let row = self.cell(index, at_ns, cell);
        self.ladder.arrows[number].left = row;
        self.under_way.insert(packet.id, number);
        number
    }

    fn wire_cell(&self, number: usize, part: Part) -> Cell {
        let arrow = &self.ladder.arrows[number];
        let last = self.ladder.hosts.len() - 1;
        // What the wire makes comes out of the gap beside the host that it is for.
        let beside = if arrow.to == 0 { 1.min(last) } else { arrow.to - 1 };
        let from = arrow.from.filter(|from| *from != arrow.to).unwrap_or(beside);
        let bad = arrow.lost.is_some();
        Cell {
            place: Place::Wire(from.min(arrow.to), from.max(arrow.to)),
            text: arrow.label.clone(),
            details: arrow.details.clone(),
            tone: if bad { Tone::Bad } else { Tone::Plain },
            wire: Some((number, part)),
        }
    }

    /// The arrow ends in the row in which it left, if nothing has come between, or in one of its own.
    fn ends(&mut self, index: usize, at_ns: Nanos, number: usize, part: Part) {
        let last = self.ladder.rows.len() - 1;
        let cell = self.wire_cell(number, part);
        let left = self.ladder.arrows[number].left;
        let mut row = left;
        let whole = if part == Part::Arrives { Part::Whole } else { part };
        let here = match &mut self.ladder.rows[left].content {
            Content::Cells(cells) if left == last => {
                let own = cells.iter_mut().find(|cell| cell.wire.is_some_and(|(arrow, _)| arrow == number));
                own.map(|own| *own = Cell { wire: Some((number, whole)), ..cell.clone() }).is_some()
            }
            _ => false,
        };
        if here {
            self.ladder.row_of[index] = Some(left);
        } else {
            row = self.cell(index, at_ns, cell);
        }
        if part != Part::Leaves {
            self.ladder.arrows[number].ended = Some(row);
        }
    }
}
