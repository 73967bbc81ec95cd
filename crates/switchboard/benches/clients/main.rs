//! The clients people use, and ours, at the same table: which of the cases that hang or lose bytes each gets right,
//! and how fast each moves a file and relays a stream.
//!
//! ```text
//! cargo bench --bench clients                     everything; some minutes, most of them waiting for clients that hang
//! cargo bench --bench clients -- matrix           the cases only; `matrix UDP`: those with UDP in their name
//! cargo bench --bench clients -- throughput 10    ten rounds of throughput only
//! ```
//! Each is started as a user would start it, without flags but those in its name. A case is right if every byte came
//! both ways, compared one by one, and the exit code says so; what hangs is killed. Those that are not installed are
//! SKIPPED aloud.

mod case;
mod pace;
mod run;
#[path = "../../tests/client/sealed.rs"]
mod sealed;
mod secure;
#[path = "../engines/statistics.rs"]
#[expect(dead_code, reason = "shared with the benchmark of the engines")]
mod statistics;
mod subject;

use std::io::Write;
use std::time::Duration;

/// Who is silent for longer hangs.
const HUNG: Duration = case::PATIENCE;

fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let only = |what: &str| words.first().is_none_or(|first| first == what);
    let subjects = subject::installed(&mut |missing| say(format_args!("SKIPPED {missing}: not installed")));
    if only("matrix") {
        case::table(&subjects, words.get(1).map_or("", String::as_str));
    }
    if only("throughput") {
        let rounds = words.get(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
        pace::table(&subjects, rounds);
    }
}
