//! `--watch`: the table again and again at a terminal, what changed everywhere else.

use super::snapshot::{Looker, Snapshot};
use super::view::{self, Names};
use super::{Arguments, Form, json, remarks, verdict};
use crate::exit::Exit;
use crate::report::Output;
use std::collections::HashMap;
use std::time::{Duration, Instant};

pub(super) fn run(
    looker: &mut Looker,
    names: &Names,
    interval: Duration,
    arguments: &Arguments,
    out: &mut Output,
) -> Exit {
    let screen = screen().filter(|_| arguments.format == Form::Human);
    let mut before = HashMap::new();
    let mut found = false;
    let mut looks = 0;
    let mut due = Instant::now();
    loop {
        let snapshot = match looker.look() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                out.talk(error);
                return Exit::Failed;
            }
        };
        found |= !snapshot.rows.is_empty();
        match (arguments.format, &screen) {
            (Form::Json, _) => out.line(json::document(&snapshot)),
            (Form::Human, Some(_)) => draw(&snapshot, names, arguments.info, out),
            (Form::Human, None) => {
                let now = table(&snapshot, names);
                changes(&before, &now).iter().for_each(|line| out.line(line));
                before = now;
            }
        }
        if looks == 0 && screen.is_none() {
            remarks(&snapshot, out);
        }
        out.flush();
        looks += 1;
        if out.is_broken() || arguments.count.is_some_and(|most| looks >= most) {
            return verdict(found, &looker.filter, out);
        }
        // By the clock and not by the pause: what a look takes does not add up.
        due = (due + interval).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Columns and lines of the terminal on standard output, if it is one.
fn screen() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 1).then(|| (size.ws_col.into(), size.ws_row.into()))
}

fn draw(snapshot: &Snapshot, names: &Names, with_info: bool, out: &mut Output) {
    // Asked each time: windows change their size.
    let (columns, rows) = screen().unwrap_or((80, 24));
    let mut lines = view::lines(snapshot, names, with_info);
    lines.extend(snapshot.unseen());
    let hidden = (lines.len() + 1).saturating_sub(rows);
    if hidden > 0 {
        lines.truncate(lines.len() - hidden - 1);
        lines.push(format!("… and {} lines more", hidden + 1));
    }
    let mut screen = String::from("\x1b[H");
    for (index, line) in lines.iter().enumerate() {
        let plain = anstream::adapter::strip_str(line).to_string();
        let cut: String = plain.chars().take(columns).collect();
        let style = if index == 0 { anstyle::Style::new().bold() } else { anstyle::Style::new() };
        screen.push_str(&format!("{style}{cut}{style:#}"));
        screen.push_str("\x1b[K\n");
    }
    screen.push_str("\x1b[J");
    out.line(screen.trim_end_matches('\n'));
}

/// One socket as it is told: who it is, and what may change.
type Told = (String, Vec<(&'static str, String)>);

/// By cookie; by what it looks like where there is none.
fn table(snapshot: &Snapshot, names: &Names) -> HashMap<(u64, String), Told> {
    let told = |entry| {
        let [protocol, state, receive_queue, send_queue, local, peer, owner, _] =
            view::cells(snapshot, entry, names);
        let arrow = if peer == "-" { String::new() } else { format!(" → {peer}") };
        let who = format!("{protocol} {local}{arrow}");
        (who, vec![("state", state), ("recv-q", receive_queue), ("send-q", send_queue), ("owner", owner)])
    };
    let rows = snapshot.rows.iter().map(|entry| (entry, told(entry)));
    rows.map(|(entry, told)| {
        let name = if entry.cookie == 0 { told.0.clone() } else { String::new() };
        ((entry.cookie, name), told)
    })
    .collect()
}

/// A line for each socket that came, went, or is no longer what it was.
fn changes(before: &HashMap<(u64, String), Told>, now: &HashMap<(u64, String), Told>) -> Vec<String> {
    let whole = |sign: char, (who, parts): &Told| {
        let parts: Vec<String> = parts.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("{sign} {who}: {}", parts.join(", "))
    };
    let mut lines = Vec::new();
    for (key, told) in before {
        if !now.contains_key(key) {
            lines.push(whole('-', told));
        }
    }
    for (key, told) in now {
        match before.get(key) {
            None => lines.push(whole('+', told)),
            Some(old) if old != told => {
                let pairs = old.1.iter().zip(&told.1).filter(|(old, new)| old != new);
                let parts: Vec<String> =
                    pairs.map(|((name, old), (_, new))| format!("{name} {old} → {new}")).collect();
                let renamed = if old.0 == told.0 { String::new() } else { format!(" (was {})", old.0) };
                lines.push(format!("~ {}{renamed}: {}", told.0, parts.join(", ")));
            }
            Some(_) => {}
        }
    }
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_and_changed_is_told() {
        let told = |state: &str| {
            ("tcp a → b".to_owned(), vec![("state", state.to_owned()), ("recv-q", "0".to_owned())])
        };
        let at = |cookie: u64, state| HashMap::from([((cookie, String::new()), told(state))]);
        assert_eq!(changes(&HashMap::new(), &at(1, "LISTEN")), ["+ tcp a → b: state LISTEN, recv-q 0"]);
        assert_eq!(changes(&at(1, "SYN_SENT"), &at(1, "CLOSE")), ["~ tcp a → b: state SYN_SENT → CLOSE"]);
        assert_eq!(changes(&at(1, "CLOSE"), &at(1, "CLOSE")), [""; 0]);
        assert_eq!(changes(&at(1, "CLOSE"), &at(2, "CLOSE")).len(), 2);
    }
}
