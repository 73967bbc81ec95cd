//! Words for calls, packets, processes and times: the same in every picture.

use crate::record::{Call, Change, Disposition, Nanos, Process, Returned, Signal};
use crate::watch::name;
use std::fmt::Write;
use switchboard_net::Escaped;

/// The longest argument that is shown whole.
const ARGUMENT: usize = 40;

/// Text that may come from a program or a peer: what could move the cursor or reorder a line is escaped.
pub(super) fn harmless(text: &str) -> String {
    let reorders = |c: char| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let moves = |c: char| c.is_control() || reorders(c);
    if text.contains(moves) { Escaped(text.as_bytes()).to_string() } else { text.to_owned() }
}

/// Text for XML 1.0 and HTML: besides what has a meaning there, characters that XML does not allow (§2.2) are written
/// visibly.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most `width` characters; what is longer ends with an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short.chars().take(width).collect()
}

/// At most `width` characters, the middle left out.
pub(super) fn squeezed(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let is_return = text.contains("… ");
    if let (false, Some((short, _))) = (is_return, text.split_once(" after ")) {
        return squeezed(short, width);
    }
    let tail = match text.rfind(" = ") {
        Some(at) if !is_return => text[at..].chars().count().min(width / 2),
        // What a call came back with stands at the beginning already.
        Some(_) | None => return cut(text, width),
    };
    let head: String = text.chars().take(width.saturating_sub(tail + 1)).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    cut(&format!("{head}…{tail}"), width)
}

/// Up to `most` bytes in quotes, with an ellipsis if there are more than `whole` tells.
pub(super) fn quoted(bytes: &[u8], whole: usize, most: usize) -> String {
    let shown = &bytes[..bytes.len().min(most)];
    let more = if whole > shown.len() { "…" } else { "" };
    format!("\"{}\"{more}", Escaped(shown))
}

/// `recvfrom(3, 100, 0)`.
pub(super) fn call(call: &Call) -> String {
    let values: Vec<String> =
        call.arguments.iter().map(|(_, value)| cut(&harmless(value), ARGUMENT)).collect();
    format!("{}({})", harmless(&call.name), values.join(", "))
}

/// `5`, `EPIPE`; none if it has not returned.
pub(super) fn returned(call: &Call) -> Option<String> {
    match call.result? {
        Returned::Value(value) => Some(value.to_string()),
        Returned::Errno(errno) => {
            Some(name::errno(errno).map_or_else(|| format!("errno {errno}"), str::to_owned))
        }
    }
}

/// Everything that is known of a call, with the names of its arguments.
pub(super) fn call_at_length(called: &Call) -> String {
    let arguments = called.arguments.iter();
    let arguments: Vec<String> =
        arguments.map(|(name, value)| format!("{}={}", harmless(name), harmless(value))).collect();
    let mut text = format!("{}({})", harmless(&called.name), arguments.join(", "));
    match returned(called) {
        Some(result) => {
            let _ = write!(text, " = {result} after {}", time(called.took_ns));
        }
        None => text.push_str(" has not returned"),
    }
    let _ = write!(text, "; process {}", called.pid);
    if called.tid != called.pid {
        let _ = write!(text, ", thread {}", called.tid);
    }
    if !called.data.is_empty() {
        let _ = write!(text, "; data {}", quoted(&called.data, called.data.len(), 64));
    }
    if called.restarted {
        text.push_str("; interrupted by a signal and started again");
    }
    if let Some(injected) = &called.injected {
        let _ = write!(text, "; changed by the lab: {}", harmless(injected));
    }
    text
}

/// `SIGPIPE to process 12, default action`.
pub(super) fn signal(signal: &Signal) -> String {
    let what = match signal.disposition {
        Disposition::Default => "default action",
        Disposition::Ignored => "ignored",
        Disposition::Handled => "handled",
    };
    let sender = signal.sender.map_or(String::new(), |pid| format!(", sent by process {pid}"));
    format!("{} to process {}, {what}{sender}", name::signal(signal.signal), signal.pid)
}

/// What became of a process; none for what is only a sample.
pub(super) fn process(process: &Process) -> Option<String> {
    let pid = process.pid;
    let open = |sockets: &[String]| match sockets {
        [] => String::new(),
        sockets => {
            let sockets: Vec<String> = sockets.iter().map(|socket| harmless(socket)).collect();
            format!(", with sockets open: {}", sockets.join("; "))
        }
    };
    Some(match &process.change {
        Change::Started { parent, thread: true } => format!("process {parent} begins thread {}", process.tid),
        Change::Started { parent, thread: false } => format!("process {pid} begins, a child of {parent}"),
        Change::Executed { command } => {
            format!("process {pid} becomes {}", cut(&harmless(&command.join(" ")), 100))
        }
        Change::Exited { .. } if process.tid != pid => {
            format!("thread {} of process {pid} ends", process.tid)
        }
        Change::Exited { status, open_sockets } => {
            format!("process {pid} exits with {status}{}", open(open_sockets))
        }
        Change::Killed { signal, core, open_sockets } => {
            let core = if *core { ", leaving a core dump" } else { "" };
            format!("process {pid} is killed by {}{core}{}", name::signal(*signal), open(open_sockets))
        }
        Change::Zombie => format!("process {pid} is a zombie: its parent has not waited for it"),
        Change::Reaped => format!("process {pid} is waited for"),
        Change::Stopped(true) => format!("process {pid} is stopped"),
        Change::Stopped(false) => format!("process {pid} goes on"),
        Change::Sampled { .. } => return None,
    })
}

/// Three digits and a unit: `18 µs`, `3.93 s`.
pub(super) fn time(ns: Nanos) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..999_500 => (ns as f64 / 1e3, "µs"),
        999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// Seconds since the beginning, to the tenth of a millisecond.
pub(super) fn moment(ns: Nanos) -> String {
    format!("{}.{:04}", ns / 1_000_000_000, ns % 1_000_000_000 / 100_000)
}

/// Five letters of a state.
pub(super) fn abbreviated(state: &str) -> String {
    const SHORT: usize = 5;
    const NAMES: [(&str, &str); 13] = [
        ("ESTABLISHED", "ESTAB"),
        ("SYN_SENT", "SYN-S"),
        ("SYN_RECV", "SYN-R"),
        ("FIN_WAIT1", "FINW1"),
        ("FIN_WAIT2", "FINW2"),
        ("TIME_WAIT", "TIMEW"),
        ("CLOSE", "CLOSE"),
        ("CLOSE_WAIT", "CLOSW"),
        ("LAST_ACK", "LASTA"),
        ("LISTEN", "LISTN"),
        ("CLOSING", "CLSNG"),
        ("UNCONNECTED", "UNCON"),
        ("GONE", "gone"),
    ];
    let known = NAMES.iter().find(|(name, _)| *name == state);
    known.map_or_else(|| cut(state, SHORT), |(_, short)| (*short).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let times =
            [0, 999, 1_000, 18_300, 999_499, 999_500, 5_040_000, 999_499_999, 3_930_000_000, u64::MAX];
        let told: Vec<String> = times.into_iter().map(time).collect();
        assert_eq!(
            told,
            [
                "0 ns",
                "999 ns",
                "1.00 µs",
                "18.3 µs",
                "999 µs",
                "1.00 ms",
                "5.04 ms",
                "999 ms",
                "3.93 s",
                "18446744074 s"
            ]
        );
        assert_eq!(moment(1_234_567_890), "1.2345");
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(harmless("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(harmless("\u{202e}x"), "\\u{202e}x");
        assert_eq!(harmless("… → \"x\\n\""), "… → \"x\\n\"", "what is harmless stays as it is");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut("abcd", 0), "");
    }
}
