//! [`Lines`]: an event as one line for people.

use anstyle::{AnsiColor, Style};
use std::time::Duration;
use switchboard_lab::record::{Call, Change, Disposition, Event, Process, Returned, Signal, What};
use switchboard_lab::watch::name;

/// From here on it is shown how long a call took: 1 ms.
const NOTABLE_NS: u64 = 1_000_000;

const TIME: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default();
const ASIDE: Style = AnsiColor::Yellow.on_default();

/// Lines with the time since the first, and the thread once there is more than one.
#[derive(Debug, Default)]
pub(super) struct Lines {
    began_at_ns: Option<u64>,
    at_ns: u64,
    first: Option<i32>,
    several: bool,
}

impl Lines {
    /// The line of an event; none for an entry, since the return tells more.
    pub(super) fn event(&mut self, event: &Event) -> Option<String> {
        self.began_at_ns.get_or_insert(event.at_ns);
        self.at_ns = event.at_ns;
        let (pid, tid, text) = match &event.what {
            What::CallEntered(_) => return None,
            What::Call(call) => (call.pid, call.tid, returned(call)),
            What::Signal(it) => (it.pid, it.tid, format!("{ASIDE}--- {} ---{ASIDE:#}", signal(it))),
            What::Process(it) => (it.pid, it.tid, format!("{ASIDE}+++ {} +++{ASIDE:#}", change(it)?)),
            What::Note { text } => {
                return Some(format!("{ERROR}{}! {text}{ERROR:#}", self.time(event.at_ns)));
            }
            _ => return None,
        };
        Some(self.line(pid, tid, event.at_ns, &text))
    }

    /// The line of a call that has not returned for `span`.
    pub(super) fn blocked(&mut self, call: &Call, span: Duration) -> String {
        let text =
            format!("{}  {ASIDE}… blocked for {}{ASIDE:#}", invoked(call), time(span.as_nanos() as u64));
        self.line(call.pid, call.tid, self.at_ns + span.as_nanos() as u64, &text)
    }

    fn time(&self, at_ns: u64) -> String {
        let since = at_ns.saturating_sub(self.began_at_ns.unwrap_or(at_ns));
        format!("{TIME}{:>4}.{:06}{TIME:#}  ", since / 1_000_000_000, since / 1000 % 1_000_000)
    }

    fn line(&mut self, pid: i32, tid: i32, at_ns: u64, text: &str) -> String {
        let first = *self.first.get_or_insert(tid);
        self.several |= tid != first;
        let who = match (self.several, pid == tid) {
            (false, _) => String::new(),
            (true, true) => format!("[{pid}] "),
            (true, false) => format!("[{pid}/{tid}] "),
        };
        format!("{}{who}{text}", self.time(at_ns))
    }
}

fn invoked(call: &Call) -> String {
    let arguments: Vec<&str> =
        call.arguments.iter().map(|(_, value)| &**value).filter(|value| !value.is_empty()).collect();
    format!("{}({})", call.name, arguments.join(", "))
}

fn returned(call: &Call) -> String {
    let mut text = invoked(call);
    match call.result {
        None => text.push_str(" = ?"),
        Some(Returned::Value(value)) => text.push_str(&format!(" = {value}")),
        Some(Returned::Errno(errno)) => {
            let name = name::errno(errno).map_or_else(|| format!("errno {errno}"), str::to_owned);
            text.push_str(&format!(" = {ERROR}-1 {name}{ERROR:#} ({})", message(errno)));
        }
    }
    if call.restarted {
        text.push_str("  (restarted)");
    }
    if let Some(injected) = &call.injected {
        text.push_str(&format!("  {ASIDE}[{injected}]{ASIDE:#}"));
    }
    if call.took_ns >= NOTABLE_NS {
        text.push_str(&format!("  {TIME}{}{TIME:#}", time(call.took_ns)));
    }
    text
}

/// What strerror(3) says.
fn message(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.rsplit_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

fn signal(signal: &Signal) -> String {
    let what = match signal.disposition {
        Disposition::Handled => "handled",
        Disposition::Ignored => "ignored",
        Disposition::Default => "default action",
    };
    let from = match signal.sender {
        Some(sender) if sender == signal.pid => " from itself".to_owned(),
        Some(sender) => format!(" from {sender}"),
        None => String::new(),
    };
    format!("{}{from}: {what}", name::signal(signal.signal))
}

fn change(process: &Process) -> Option<String> {
    let sockets = |open: &[String]| match open {
        [] => String::new(),
        _ => format!("; open sockets: {}", open.join(", ")),
    };
    Some(match &process.change {
        Change::Started { thread: true, .. } => "thread started".to_owned(),
        Change::Started { parent, .. } => format!("started by {parent}"),
        Change::Executed { command } => format!("runs {}", command.join(" ").escape_debug()),
        Change::Exited { .. } if process.pid != process.tid => "thread ended".to_owned(),
        Change::Killed { .. } if process.pid != process.tid => "thread ended".to_owned(),
        Change::Exited { status, open_sockets } => format!("exited {status}{}", sockets(open_sockets)),
        Change::Killed { signal, core, open_sockets } => {
            let core = if *core { ", core dumped" } else { "" };
            format!("killed by {}{core}{}", name::signal(*signal), sockets(open_sockets))
        }
        Change::Stopped(true) => "stopped".to_owned(),
        Change::Stopped(false) => "continued".to_owned(),
        Change::Zombie => "is a zombie".to_owned(),
        // The wait that returned has been shown.
        Change::Reaped | Change::Sampled { .. } => return None,
    })
}

/// A span with three digits or so.
pub(super) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{}.{:02} s", ns / 1_000_000_000, ns / 10_000_000 % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    fn event(at_ns: u64, what: What) -> Event {
        Event { at_ns, host: None, what }
    }

    #[test]
    fn a_call_is_one_line() {
        let mut lines = Lines::default();
        let call = Call {
            pid: 7,
            tid: 7,
            name: "recvfrom".to_owned(),
            arguments: vec![("fd".to_owned(), "3".to_owned()), ("data".to_owned(), "\"a\"".to_owned())],
            result: Some(Returned::Errno(libc::ECONNRESET)),
            took_ns: 12_345_678,
            ..Call::default()
        };
        let first = lines.event(&event(5, What::Call(call.clone()))).expect("a line");
        assert_eq!(
            strip_str(&first).to_string(),
            "   0.000000  recvfrom(3, \"a\") = -1 ECONNRESET (Connection reset by peer)  12.3 ms"
        );
        let other = Call { tid: 8, result: Some(Returned::Value(1)), took_ns: 0, restarted: true, ..call };
        let second = lines.event(&event(1_500_000_005, What::Call(other))).expect("a line");
        assert_eq!(strip_str(&second).to_string(), "   1.500000  [7/8] recvfrom(3, \"a\") = 1  (restarted)");
    }

    #[test]
    fn spans_are_read_at_a_glance() {
        assert_eq!([0, 1_500, 2_340_000, 61_239_000_000].map(time), ["0 ns", "1 µs", "2.3 ms", "61.23 s"]);
    }
}
