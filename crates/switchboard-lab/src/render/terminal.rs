//! The ladder and the score table as text. Every difference has a sign of its own; colour only helps to find it.
//!
//! Colours are escapes of ECMA-48: whoever writes the text where there are none strips them (`anstream` does).

mod arrow;
mod canvas;
mod score;

pub use score::scores;

use super::finding::{Chapter, Finding};
use super::ladder::{Banner, Cell, Content, Ladder, Place, Row, Tone};
use super::wording;
use anstyle::{AnsiColor, Color, Style};
use canvas::Canvas;
use std::fmt::Write;

/// The narrowest that a ladder is drawn for two hosts; in a narrower window lines break.
const LEAST_WIDTH: usize = 72;
/// Beyond this there is nothing to be won.
const MOST_WIDTH: usize = 400;

const NUMBER: usize = 4;
const TIME: usize = 9;
const EDGE: usize = 5;

fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

fn dim() -> Style {
    Style::new().dimmed()
}

/// A chapter: title, ladder, findings; `width` is that of the window.
pub fn chapter(chapter: &Chapter<'_>, width: usize) -> String {
    let header = &chapter.recording.header;
    let ladder = Ladder::new(chapter.recording, &chapter.cited());
    let bold = Style::new().bold();
    let (id, title) = (wording::harmless(&header.scenario), wording::harmless(&header.title));
    let mut text = format!("{bold}{id}{bold:#}  {title}\n\n");
    text.push_str(&draw(&ladder, width));
    text.push('\n');
    for finding in chapter.findings {
        text.push_str(&said(finding, &ladder));
    }
    text
}

/// A finding with the lines that it cites.
fn said(finding: &Finding, ladder: &Ladder) -> String {
    let style = score::style(finding.class);
    let lines: Vec<String> = finding
        .cites
        .iter()
        .filter_map(|event| ladder.line_of(*event))
        .map(|line| line.to_string())
        .collect();
    let cites = match &*lines {
        [] => String::new(),
        [line] => format!(" (line {line})"),
        lines => format!(" (lines {})", lines.join(", ")),
    };
    let mut text = format!(
        "{style}{} {}{style:#} {}: {}{cites}\n",
        finding.class.sign(),
        wording::harmless(&finding.word),
        wording::harmless(&finding.subject),
        wording::harmless(&finding.sentence)
    );
    if let Some(remedy) = &finding.remedy {
        let _ = writeln!(text, "  remedy: {}", wording::harmless(remedy));
    }
    text
}

/// The rows of a ladder.
pub fn draw(ladder: &Ladder, width: usize) -> String {
    lines(ladder, width).iter().map(Canvas::styled).collect()
}

/// The same without any escape.
pub fn plain(ladder: &Ladder, width: usize) -> String {
    lines(ladder, width).iter().map(Canvas::plain).collect()
}

fn lines(ladder: &Ladder, width: usize) -> Vec<Canvas> {
    let columns = Columns::new(ladder, width.clamp(LEAST_WIDTH, MOST_WIDTH));
    let rows = ladder.rows.iter().enumerate().map(|(index, row)| columns.row(ladder, index, row));
    std::iter::once(columns.heading(ladder)).chain(rows).collect()
}

/// Where the columns are.
struct Columns {
    width: usize,
    hosts: Vec<Column>,
}

/// Of one host; the lifeline is drawn at `line`, and its bars from there.
#[derive(Clone, Copy)]
struct Column {
    edge: usize,
    calls: usize,
    calls_width: usize,
    line: usize,
    tracks: usize,
    /// Where arrows from the left end, and where those to the right begin.
    left: usize,
    right: usize,
}

impl Columns {
    fn new(ladder: &Ladder, width: usize) -> Columns {
        let count = ladder.hosts.len();
        let tracks: Vec<usize> = (0..count).map(|host| ladder.tracks(host).max(1)).collect();
        let fixed = NUMBER + 1 + TIME + 1 + count * (EDGE + 2) + tracks.iter().sum::<usize>();
        let free = width.saturating_sub(fixed);
        let gaps = count - 1;
        let wire = (free * 3 / 10).checked_div(gaps).map_or(0, |wire| wire.clamp(20, 36));
        let calls_width = (free.saturating_sub(wire * gaps) / count).max(14);
        let mut hosts = Vec::new();
        let mut x = NUMBER + 1 + TIME + 1;
        for (host, tracks) in tracks.into_iter().enumerate() {
            // The last host is the mirror image, so that the edges are at the edges.
            let mirrored = count > 1 && host + 1 == count;
            let column = if mirrored {
                let calls = x + tracks + 1;
                let edge = calls + calls_width + 1;
                Column { edge, calls, calls_width, line: x, tracks, left: x, right: edge + EDGE }
            } else {
                let calls = x + EDGE + 1;
                let line = calls + calls_width + 1;
                // One in the middle is met from both sides.
                let left = if host == 0 { line } else { x.saturating_sub(1) };
                Column { edge: x, calls, calls_width, line, tracks, left, right: line + tracks }
            };
            x += EDGE + 2 + calls_width + tracks + wire;
            hosts.push(column);
        }
        Columns { width: x.saturating_sub(wire).max(width.min(x)), hosts }
    }

    fn heading(&self, ladder: &Ladder) -> Canvas {
        let mut canvas = Canvas::new(self.width);
        canvas.put(0, "line", dim());
        canvas.put(NUMBER + 1, "seconds", dim());
        for (column, name) in self.hosts.iter().zip(&ladder.hosts) {
            canvas.put(column.calls, &wording::cut(name, column.calls_width), Style::new().bold());
        }
        canvas
    }

    fn row(&self, ladder: &Ladder, index: usize, row: &Row) -> Canvas {
        let mut canvas = Canvas::new(self.width);
        if let Some(line) = row.line {
            let style = if row.cited { Style::new().bold() } else { dim() };
            canvas.put(0, &format!("{line:>NUMBER$}"), style);
            if row.cited {
                canvas.put(NUMBER, "*", style);
            }
            canvas.put(NUMBER + 1, &wording::cut(&wording::moment(row.at_ns), TIME), dim());
        }
        match &row.content {
            Content::Banner { of, host, text } => self.banner(&mut canvas, ladder, *of, *host, text),
            Content::Cells(cells) => {
                self.lifelines(&mut canvas, ladder, index);
                cells.iter().for_each(|cell| self.cell(&mut canvas, ladder, cell));
            }
            Content::Silence(ns) => {
                self.lifelines(&mut canvas, ladder, index);
                self.remark(&mut canvas, &format!("… {} of silence", wording::time(*ns)));
            }
            Content::Fold { rows, took_ns } => {
                self.lifelines(&mut canvas, ladder, index);
                let lines = if *rows == 1 { "line" } else { "lines" };
                let text = format!("… {rows} {lines} of routine in {}", wording::time(*took_ns));
                self.remark(&mut canvas, &text);
            }
        }
        canvas
    }

    /// In the middle, over everything.
    fn remark(&self, canvas: &mut Canvas, text: &str) {
        let start = NUMBER + 1 + TIME + 1;
        let x = start + (self.width - start).saturating_sub(text.chars().count()) / 2;
        canvas.put(x, text, Style::new().italic());
    }

    fn lifelines(&self, canvas: &mut Canvas, ladder: &Ladder, index: usize) {
        for (host, column) in self.hosts.iter().enumerate() {
            canvas.put(column.line, "│", dim());
            if column.left < column.edge {
                canvas.put(column.left, "│", dim());
            }
            for bar in ladder.bars.iter().filter(|bar| bar.host == host && bar.from < bar.to) {
                let sign = match () {
                    () if index < bar.from || index > bar.to => continue,
                    () if index == bar.from => "╻",
                    () if index == bar.to && !bar.stuck => "╹",
                    () => "┃",
                };
                let x = column.line + bar.track.min(column.tracks - 1);
                canvas.put(x, sign, colour(AnsiColor::Yellow));
            }
        }
    }

    fn banner(&self, canvas: &mut Canvas, ladder: &Ladder, of: Banner, host: Option<usize>, text: &str) {
        let (sign, style) = match of {
            Banner::Step => ('═', colour(AnsiColor::Cyan).bold()),
            Banner::Note => ('·', dim()),
            Banner::Signal => ('!', colour(AnsiColor::Yellow)),
            Banner::Process => ('─', Style::new()),
            Banner::Death => ('✗', colour(AnsiColor::Red).bold()),
        };
        let start = NUMBER + 1 + TIME + 1;
        let at =
            host.and_then(|host| ladder.hosts.get(host)).map_or(String::new(), |name| format!("{name}: "));
        let text = format!("{sign}{sign} {at}{text} ");
        let text = wording::cut(&text, self.width - start);
        canvas.put(start, &text, style);
        let filled = start + text.chars().count();
        if of == Banner::Step {
            canvas.put(filled, &"═".repeat(self.width.saturating_sub(filled)), style);
        }
    }

    fn cell(&self, canvas: &mut Canvas, ladder: &Ladder, cell: &Cell) {
        let style = match cell.tone {
            Tone::Plain => Style::new(),
            Tone::Quiet => dim(),
            Tone::Waits => colour(AnsiColor::Yellow),
            Tone::Bad => colour(AnsiColor::Red).bold(),
            Tone::Output => colour(AnsiColor::Cyan),
        };
        match cell.place {
            Place::Calls(host) => {
                let Some(column) = self.hosts.get(host) else { return };
                // The result stands at the end, and is what matters: the middle gives way.
                canvas.put(column.calls, &wording::squeezed(&cell.text, column.calls_width), style);
            }
            Place::Edge(host) => {
                let Some(column) = self.hosts.get(host) else { return };
                canvas.put(column.edge, &wording::abbreviated(&cell.text), Style::new().bold());
            }
            Place::Wire(left, right) => {
                let (Some(left), Some(right)) = (self.hosts.get(left), self.hosts.get(right)) else { return };
                let Some((packet, part)) = cell.wire else { return };
                let Some(packet) = ladder.arrows.get(packet) else { return };
                // One host alone has no wire: what it tells itself stands among its calls.
                let wire = (left.right, right.left);
                let (from, to) =
                    if wire.0 < wire.1 { wire } else { (left.calls, left.calls + left.calls_width) };
                canvas.put(from, &arrow::drawn(packet, part, to - from), arrow::style(packet));
            }
        }
    }
}
