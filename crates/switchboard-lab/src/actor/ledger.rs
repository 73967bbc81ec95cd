//! [`Ledger`]: what an actor really sent and received, byte for byte, also if it is killed in the middle.

use std::fs::{File, OpenOptions};
use std::io::Write;

/// Two files for each connection: `…-PID-N.in` and `…-PID-N.out`.
pub(super) struct Ledger {
    prefix: String,
    connections: u32,
    files: Option<[File; 2]>,
}

impl Ledger {
    pub(super) fn new(prefix: String) -> Ledger {
        Ledger { prefix, connections: 0, files: None }
    }

    /// A new connection begins; its files are made when bytes move.
    pub(super) fn turn(&mut self) {
        self.connections += 1;
        self.files = None;
    }

    /// Writes down what was received, or sent. A ledger that cannot be written shows as bytes that never came.
    pub(super) fn note(&mut self, sent: bool, bytes: &[u8]) {
        if self.files.is_none() {
            let name = |end| format!("{}-{}-{}.{end}", self.prefix, std::process::id(), self.connections);
            let open = |end| OpenOptions::new().create(true).append(true).open(name(end));
            self.files = open("in").and_then(|input| Ok([input, open("out")?])).ok();
        }
        if let Some(files) = &mut self.files {
            let _ = files[usize::from(sent)].write_all(bytes);
        }
    }
}
