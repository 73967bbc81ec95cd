//! The parts of the picture: lanes, rows, bars, arrows, strips.

use super::geometry::{BAR, CALL_CHARACTERS, EDGE_WIDTH, Geometry, HEAD, STEP};
use crate::record::HostInfo;
use crate::render::flow::Kind;
use crate::render::ladder::{Arrow, Banner, Bar, Content, Ladder, Place, Row, Span, Tone};
use crate::render::wording::{self, escaped};
use std::fmt::Write;

/// Heads of arrows, one for each kind, since a marker does not take its line's colour everywhere.
pub(super) fn heads(out: &mut String, anchor: &str) {
    out.push_str("<defs>\n");
    let kinds = [Kind::Syn, Kind::Fin, Kind::Reset, Kind::Data, Kind::Ack, Kind::Icmp, Kind::Other];
    for kind in kinds {
        let name = kind.name();
        let _ = writeln!(
            out,
            "<marker id=\"{anchor}-{name}\" class=\"head {name}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" \
             markerWidth=\"8\" markerHeight=\"8\" orient=\"auto-start-reverse\" markerUnits=\"userSpaceOnUse\">\
             <path d=\"M0 1 10 5 0 9z\"/></marker>"
        );
    }
    out.push_str("</defs>\n");
}

pub(super) fn lanes(out: &mut String, geometry: &Geometry, ladder: &Ladder, hosts: &[HostInfo]) {
    let bottom = geometry.height - 8.0;
    for (index, lane) in geometry.lanes.iter().enumerate() {
        let (x, width) = (lane.left, lane.right - lane.left);
        let name = ladder.hosts.get(index).map_or("", String::as_str);
        let _ = writeln!(
            out,
            "<rect class=\"lane\" x=\"{x}\" y=\"8\" width=\"{width}\" height=\"{}\" rx=\"8\"/>\n\
             <text class=\"host\" x=\"{}\" y=\"32\">{}</text>",
            bottom - 8.0,
            x + width / 2.0,
            escaped(name),
        );
        if let Some(host) = hosts.get(index) {
            let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
            let program = host.program.as_deref().map_or(String::new(), |program| format!(" · {program}"));
            let text = wording::cut(&format!("{}{program}", addresses.join(" ")), 62);
            let _ = writeln!(
                out,
                "<text class=\"program\" x=\"{}\" y=\"50\">{}</text>",
                x + width / 2.0,
                escaped(&text)
            );
        }
        let mut lines = vec![lane.line];
        lines
            .extend([lane.arrives, lane.departs].into_iter().filter(|x| *x != lane.line && *x != lane.right));
        for x in lines {
            let _ = writeln!(
                out,
                "<line class=\"lifeline\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{bottom}\"/>",
                HEAD - 8.0
            );
        }
    }
}

/// What lies under a row: its mark, if it is cited, and what can be pointed at.
pub(super) fn backdrop(out: &mut String, geometry: &Geometry, anchor: &str, index: usize, row: &Row) {
    let (y, height) = (geometry.y(index), geometry.height_of(index));
    let (left, right) = geometry.across();
    let top = y - height / 2.0;
    match (&row.content, row.line) {
        (Content::Silence(_) | Content::Fold { .. }, _) => {
            let class = if matches!(row.content, Content::Silence(_)) { "silence" } else { "fold" };
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{left}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                top + 5.0,
                right - left,
                height - 10.0
            );
        }
        (_, Some(line)) => {
            let cited = if row.cited { " cited" } else { "" };
            let _ = writeln!(
                out,
                "<rect class=\"row{cited}\" id=\"{anchor}-l{line}\" x=\"4\" y=\"{top}\" width=\"{}\" height=\"{height}\" rx=\"3\"/>",
                right - 4.0
            );
        }
        _ => {}
    }
}

pub(super) fn row(out: &mut String, geometry: &Geometry, index: usize, row: &Row) {
    let y = geometry.y(index);
    let (left, right) = geometry.across();
    let middle = f64::midpoint(left, right);
    if let Some(line) = row.line {
        let class = if row.cited { "number cited" } else { "number" };
        let _ = writeln!(
            out,
            "<text class=\"{class}\" x=\"28\" y=\"{0}\">{line}</text><text class=\"time\" x=\"86\" y=\"{0}\">{1}</text>",
            y + 4.0,
            wording::moment(row.at_ns)
        );
    }
    match &row.content {
        Content::Silence(ns) => {
            let _ = writeln!(
                out,
                "<text class=\"pause\" x=\"{middle}\" y=\"{}\">{} of silence</text>",
                y + 4.0,
                wording::time(*ns)
            );
        }
        Content::Fold { rows, took_ns } => {
            let _ = writeln!(
                out,
                "<text class=\"pause\" x=\"{middle}\" y=\"{}\">{rows} lines of routine in {}</text>",
                y + 4.0,
                wording::time(*took_ns)
            );
        }
        Content::Banner { of, host, text } => {
            let (class, sign) = match of {
                Banner::Step => ("step", "▶"),
                Banner::Note => ("note", "·"),
                Banner::Signal => ("signal", "!"),
                Banner::Process => ("process", "○"),
                Banner::Death => ("death", "✗"),
            };
            // What belongs to one host stands in its lane, with a rule across all of them.
            let lane = host.and_then(|host| geometry.lanes.get(host));
            let (from, to, room) = lane.map_or((left, right, 130), |lane| (lane.left, lane.right, 52));
            let _ = writeln!(
                out,
                "<g class=\"banner {class}\"><title>{0}</title><path d=\"M{left} {y}H{right}\"/><rect x=\"{1}\" y=\"{2}\" \
                 width=\"{3}\" height=\"21\" rx=\"10.5\"/><text x=\"{4}\" y=\"{5}\">{sign} {6}</text></g>",
                escaped(text),
                from + 6.0,
                y - 10.5,
                to - from - 12.0,
                f64::midpoint(from, to),
                y + 4.0,
                escaped(&wording::cut(text, room))
            );
        }
        Content::Cells(cells) => {
            for cell in cells {
                let Place::Calls(host) = cell.place else { continue };
                let Some(lane) = geometry.lanes.get(host) else { continue };
                let tone = match cell.tone {
                    Tone::Plain => "",
                    Tone::Quiet => " quiet",
                    Tone::Waits => " waits",
                    Tone::Bad => " bad",
                    Tone::Output => " output",
                };
                let side = if lane.mirrored { "" } else { " end" };
                let _ = writeln!(
                    out,
                    "<text class=\"call{tone}{side}\" x=\"{}\" y=\"{}\"><title>{}</title>{}</text>",
                    lane.calls,
                    y + 4.0,
                    escaped(&cell.details),
                    escaped(&wording::squeezed(&cell.text, CALL_CHARACTERS))
                );
            }
        }
    }
}

pub(super) fn bar(out: &mut String, geometry: &Geometry, bar: &Bar) {
    let Some(lane) = geometry.lanes.get(bar.host) else { return };
    if bar.from == bar.to && !bar.stuck {
        return;
    }
    let shift = bar.track as f64 * STEP * if lane.mirrored { 1.0 } else { -1.0 };
    let top = geometry.y(bar.from) - 6.0;
    // One that never returned runs out of the picture.
    let bottom = if bar.stuck { geometry.height - 10.0 } else { geometry.y(bar.to) + 6.0 };
    let class = if bar.stuck { "bar stuck" } else { "bar" };
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{}\" y=\"{top}\" width=\"{BAR}\" height=\"{}\" rx=\"4\"><title>{}</title></rect>",
        lane.line + shift - BAR / 2.0,
        bottom - top,
        escaped(&bar.details)
    );
}

pub(super) fn arrow(out: &mut String, geometry: &Geometry, anchor: &str, arrow: &Arrow) {
    let points_right = arrow.points_right();
    let (x1, x2) = geometry.arrow(arrow.from, arrow.to, points_right);
    let (y1, y2) = (geometry.y(arrow.left), geometry.y(arrow.ended.unwrap_or(arrow.left)));
    let kind = arrow.kind.name();
    let is_lost = arrow.lost.is_some();
    let again = if arrow.again { " again" } else { "" };
    let fate = match (&arrow.lost, &arrow.forged, arrow.ended) {
        (Some(_), ..) => " lost",
        (None, _, None) => " unknown",
        (None, Some(_), _) => " forged",
        _ => "",
    };
    let remarks = [("lost", &arrow.lost), ("made or changed by the wire", &arrow.forged)];
    let remarks = remarks.iter().filter_map(|(what, why)| Some(format!("; {what}: {}", why.as_ref()?)));
    let details = format!("{}{}", arrow.details, remarks.collect::<String>());
    // Lost on the way: the line ends where the packet did.
    let part = if is_lost || arrow.ended.is_none() { 0.62 } else { 1.0 };
    let (x2, y2) = (x1 + (x2 - x1) * part, y1 + (y2 - y1) * part);
    let way = if points_right { 1.0 } else { -1.0 };
    let marker = if part < 1.0 { String::new() } else { format!(" marker-end=\"url(#{anchor}-{kind})\"") };
    let _ = write!(
        out,
        "<g class=\"packet {kind}{fate}{again}\"><title>{}</title><path class=\"hit\" d=\"M{x1} {y1}L{x2} {y2}\"/>\
         <path d=\"M{x1} {y1}L{x2} {y2}\"{marker}/>",
        escaped(&details)
    );
    let side = if points_right { "" } else { " end" };
    let x = x1 + way * 14.0;
    let _ = write!(
        out,
        "<text class=\"label{side}\" x=\"{x}\" y=\"{}\">{}</text>",
        y1 - 4.0,
        escaped(&wording::cut(&arrow.label, 34))
    );
    if let Some(why) = &arrow.lost {
        let _ = write!(
            out,
            "<path class=\"cross\" d=\"M{0} {1}l10 10m0 -10l-10 10\"/><text class=\"cause{side}\" x=\"{2}\" y=\"{3}\">{4}</text>",
            x2 - 5.0,
            y2 - 5.0,
            x2 + way * 10.0,
            y2 + 4.0,
            escaped(&wording::cut(why, 18))
        );
    }
    if let Some(why) = &arrow.forged {
        let _ = write!(
            out,
            "<circle class=\"star\" cx=\"{x1}\" cy=\"{y1}\" r=\"4\"/><text class=\"cause{side}\" x=\"{x}\" y=\"{}\">{}</text>",
            y1 + 12.0,
            escaped(&wording::cut(why, 28))
        );
    }
    out.push_str("</g>\n");
}

pub(super) fn span(out: &mut String, geometry: &Geometry, span: &Span) {
    let Some(lane) = geometry.lanes.get(span.host) else { return };
    let class = match &*span.state {
        "LISTEN" => "listen",
        "SYN_SENT" | "SYN_RECV" => "opening",
        "ESTABLISHED" => "open",
        "CLOSE" | "GONE" => "closed",
        "TIME_WAIT" => "waiting",
        "UNCONNECTED" | "BOUND" => "listen",
        _ => "closing",
    };
    let (top, bottom) = (geometry.y(span.from) - 9.0, geometry.y(span.to) - 11.0);
    let height = (bottom - top).max(18.0);
    // Strips beside each other get narrower, the first keeps its name readable.
    let shift = span.track as f64 * 12.0;
    let (x, width) = (lane.edge + shift, EDGE_WIDTH - shift);
    let name =
        if span.track == 0 { wording::cut(&span.state, 12) } else { wording::abbreviated(&span.state) };
    let _ = writeln!(
        out,
        "<g class=\"state {class}\"><title>{}</title><rect class=\"body\" x=\"{x}\" y=\"{top}\" width=\"{width}\" \
         height=\"{height}\" rx=\"4\"/><rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"18\" rx=\"4\"/>\
         <text x=\"{}\" y=\"{}\">{}</text></g>",
        escaped(&span.details),
        x + width / 2.0,
        top + 13.0,
        escaped(&name),
    );
}
