//! [`Progress`]: what is shown while a run goes on: lines, or a view that a terminal redraws.

use super::heat::{Heat, braille};
use super::record::Facts;
use super::summary::{bytes, latency, people};
use crate::report::Output;
use std::io::IsTerminal;
use switchboard_net::load::{Slice, Tally};

/// Columns of the view's map; two are one letter.
const MAP_COLUMNS: usize = 120;
/// Of a terminal that does not tell.
const USUAL_COLUMNS: usize = 80;
/// The same.
const USUAL_ROWS: usize = 24;
/// Letters of the bar that shows how far it is.
const BAR: usize = 30;

/// What is shown.
pub(super) enum Progress {
    Nothing,
    /// A line for each slice.
    Lines,
    View(Box<View>),
}

pub(super) struct View {
    heat: Heat,
    total: Option<Tally>,
    /// Lines that stand there and are to be replaced.
    drawn: usize,
}

impl Progress {
    /// For a run with these facts: a view if standard error is a terminal that can, lines if there is more than one
    /// slice to be told, and the caller wants to hear of it at all.
    pub(super) fn new(facts: &Facts, is_wanted: bool) -> Progress {
        if !is_wanted {
            return Progress::Nothing;
        }
        if can_redraw() {
            return Progress::View(Box::new(View { heat: Heat::new(MAP_COLUMNS), total: None, drawn: 0 }));
        }
        if facts.duration_ns > facts.interval_ns { Progress::Lines } else { Progress::Nothing }
    }

    /// A slice is over.
    pub(super) fn slice(&mut self, facts: &Facts, slice: &Slice, out: &mut Output) {
        match self {
            Progress::Nothing => {}
            Progress::Lines => {
                let at = slice.begin.as_secs_f64() + slice.tally.measured_ns as f64 / 1e9;
                out.aside(format_args!("{at:>7.1} s  {}", gist(facts, &slice.tally)));
            }
            Progress::View(view) => view.draw(facts, slice, out),
        }
    }
}

/// Whether standard error is a terminal that understands cursor movements.
pub(super) fn can_redraw() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stderr().is_terminal() && !is_dumb
}

/// Rows and columns of the terminal: two of each or more.
fn room() -> (usize, usize) {
    let said = |cells: u16, usual| if cells == 0 { usual } else { usize::from(cells).max(2) };
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.map_or((USUAL_ROWS, USUAL_COLUMNS), |size| {
        (said(size.ws_row, USUAL_ROWS), said(size.ws_col, USUAL_COLUMNS))
    })
}

/// As much of a line as fits into so many columns, with its colours or without. Those take no room, and do not go on
/// behind it.
fn cut(line: &str, columns: usize, is_coloured: bool) -> String {
    let (mut text, mut used, mut is_escape) = (String::new(), 0, false);
    for letter in line.chars() {
        is_escape |= letter == '\x1b';
        if is_escape {
            if is_coloured {
                text.push(letter);
            }
            is_escape = letter != 'm';
        } else if used < columns {
            text.push(letter);
            used += 1;
        }
    }
    text
}

/// Rate, errors and percentiles in a line, the most important first: a narrow terminal cuts it off.
fn gist(facts: &Facts, tally: &Tally) -> String {
    let times = latency(facts, tally);
    let rate = if facts.is_flow() {
        format!("{}/s", bytes(tally.bytes_rate()))
    } else {
        format!("{:.0}/s", tally.rate())
    };
    let mut text = format!("{rate:>12}  errors {}", tally.failed());
    for (name, at) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let time = if times.is_empty() { "-".to_owned() } else { people(times.value_at_quantile(at) as f64) };
        text += &format!("  {name} {time:>9}");
    }
    let max = if times.is_empty() { "-".to_owned() } else { people(times.max() as f64) };
    text + &format!("  max {max:>9}  open {}", tally.open)
}

impl View {
    fn draw(&mut self, facts: &Facts, slice: &Slice, out: &mut Output) {
        self.heat.add(latency(facts, &slice.tally));
        match &mut self.total {
            Some(total) => total.then(&slice.tally),
            None => self.total = Some(slice.tally.clone()),
        }
        let total = self.total.as_ref().unwrap_or(&slice.tally);
        let share = (total.measured_ns as f64 / facts.duration_ns.max(1) as f64).min(1.0);
        let full = (share * BAR as f64).round() as usize;
        let mut lines = vec![
            facts.title(),
            format!("{}{} {:.0} %", "━".repeat(full), "╌".repeat(BAR - full), share * 100.0),
            format!("now   {}", gist(facts, &slice.tally)),
            format!("all   {}", gist(facts, total)),
        ];
        lines.extend(braille(&self.heat));
        // Up to where it began, and each line cleared before it is written anew; what is left below as well.
        let mut text = if self.drawn > 0 { format!("\x1b[{}A\r", self.drawn) } else { String::new() };
        // A line that the terminal broke in two would be one too many to go up again, and so would one that it scrolled
        // away.
        let (rows, columns) = room();
        lines.truncate(rows - 1);
        let is_coloured = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        for line in &lines {
            text += &format!("\x1b[2K{}\n", cut(line, columns, is_coloured));
        }
        text += "\x1b[J";
        self.drawn = lines.len();
        out.redraw(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_net::Endpoint;
    use switchboard_net::load::Plan;

    #[test]
    fn colours_take_no_room_and_end_with_their_line() {
        let line = "1 ms \x1b[38;5;74m⣿\x1b[0m\x1b[38;5;208m⣿\x1b[0m ⣿";
        assert_eq!(cut(line, 80, true), line);
        assert_eq!(cut(line, 6, true), "1 ms \x1b[38;5;74m⣿\x1b[0m\x1b[38;5;208m\x1b[0m");
        assert_eq!(cut(line, 7, false), "1 ms ⣿⣿");
    }

    #[test]
    fn a_line_tells_rate_percentiles_and_errors() {
        let endpoint: Endpoint = "127.0.0.1:7".parse().unwrap();
        let facts = Facts::of(&Plan::ping(endpoint.resolve().unwrap().remove(0)), None);
        let mut tally = Tally { in_time: 10, measured_ns: 1_000_000_000, ..Tally::new() };
        assert!(gist(&facts, &tally).contains("p99         -"));
        tally.service.record_n(2_000_000, 10).unwrap();
        let line = gist(&facts, &tally);
        for part in ["10/s", "p99   2.00 ms", "errors 0"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
