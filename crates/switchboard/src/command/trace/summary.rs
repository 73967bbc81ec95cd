//! [`Summary`]: calls, errors, bytes and time, call by call.

use super::line::time;
use crate::report::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use switchboard_lab::record::{Call, Event, Returned, What};

/// What was seen of each call.
#[derive(Debug, Default)]
pub(super) struct Summary(BTreeMap<String, Sums>);

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: u64,
    errors: u64,
    bytes_in: u64,
    bytes_out: u64,
    took_ns: u64,
}

/// Calls whose result is a number of bytes that came in, and that went out; splice(2) does both.
const IN: [&str; 4] = ["read", "readv", "recvfrom", "recvmsg"];
const OUT: [&str; 5] = ["write", "writev", "sendto", "sendmsg", "sendfile"];

impl Sums {
    fn add(&mut self, call: &Call) {
        self.calls += 1;
        self.took_ns += call.took_ns;
        match call.result {
            Some(Returned::Errno(_)) => self.errors += 1,
            Some(Returned::Value(bytes)) if IN.contains(&&*call.name) => self.bytes_in += bytes.max(0) as u64,
            Some(Returned::Value(bytes)) if OUT.contains(&&*call.name) => {
                self.bytes_out += bytes.max(0) as u64
            }
            Some(Returned::Value(bytes)) if call.name == "splice" => {
                let from_socket = call.socket.is_some();
                *if from_socket { &mut self.bytes_in } else { &mut self.bytes_out } += bytes.max(0) as u64;
            }
            _ => {}
        }
    }
}

impl Summary {
    pub(super) fn count(&mut self, event: &Event) {
        if let What::Call(call) = &event.what {
            self.0.entry(call.name.clone()).or_default().add(call);
        }
    }

    /// Those that took longest first.
    fn rows(&self) -> Vec<(&str, Sums)> {
        let mut rows: Vec<(&str, Sums)> = self.0.iter().map(|(name, sums)| (&**name, *sums)).collect();
        rows.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.took_ns));
        rows
    }

    fn total(&self) -> Sums {
        self.0.values().fold(Sums::default(), |total, sums| Sums {
            calls: total.calls + sums.calls,
            errors: total.errors + sums.errors,
            bytes_in: total.bytes_in + sums.bytes_in,
            bytes_out: total.bytes_out + sums.bytes_out,
            took_ns: total.took_ns + sums.took_ns,
        })
    }

    /// One object, the last of the trace.
    pub(super) fn json(&self) -> Value {
        let object = |(name, sums): (&str, Sums)| {
            json!({
                "call": name, "calls": sums.calls, "errors": sums.errors, "bytes_in": sums.bytes_in,
                "bytes_out": sums.bytes_out, "took_ns": sums.took_ns,
            })
        };
        json!({ "event": "summary", "calls": self.rows().into_iter().map(object).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["call", "calls", "errors", "bytes in", "bytes out", "time in it"]);
        for (name, sums) in self.rows().into_iter().chain([("all", self.total())]) {
            let Sums { calls, errors, bytes_in, bytes_out, took_ns } = sums;
            table.row([&name, &calls, &errors, &bytes_in, &bytes_out, &time(took_ns)]);
        }
        table.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up() {
        let mut summary = Summary::default();
        let call = |name: &str, result, took_ns| {
            What::Call(Call { name: name.to_owned(), result: Some(result), took_ns, ..Call::default() })
        };
        for what in [
            call("recvfrom", Returned::Value(5), 10),
            call("recvfrom", Returned::Errno(libc::EAGAIN), 1),
            call("sendto", Returned::Value(7), 20),
            call("accept4", Returned::Value(9), 3),
        ] {
            summary.count(&Event { at_ns: 0, host: None, what });
        }
        let json = summary.json();
        let first = json!({
            "call": "sendto", "calls": 1, "errors": 0, "bytes_in": 0, "bytes_out": 7, "took_ns": 20,
        });
        assert_eq!(json["calls"][0], first);
        let total = summary.total();
        assert_eq!((total.calls, total.errors, total.bytes_in, total.bytes_out), (4, 1, 5, 7));
    }
}
