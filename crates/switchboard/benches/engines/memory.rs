//! Memory per idle connection: many connections that have each echoed once, and then say nothing.

use crate::client::{Client, Load};
use crate::report::{Table, number, say};
use crate::server::Server;
use crate::statistics::{Spread, Verdict};
use crate::subject::Subject;
use std::io;
use std::time::Duration;

/// Wanted of the engines that wait for events.
pub(crate) const LIMIT_BYTES: f64 = 1024.0;
const MANY: usize = 10_000;
/// For those that give every connection a thread or a process.
const FEW: usize = 1_000;
/// Opened and closed before the baseline is read: what a first connection costs is not charged to every one.
const FIRST: usize = 16;
const SETTLE: Duration = Duration::from_millis(200);

/// Measures every subject this question makes sense for, prints the table, and returns what it gave for each.
pub(crate) fn run(subjects: &[Subject], descriptors: u64, processor: usize) -> Vec<(Subject, Option<f64>)> {
    let affordable = (descriptors.saturating_sub(100) as usize).min(MANY);
    if affordable < MANY {
        say(&format!("  {descriptors} descriptors hold {affordable} connections, not {MANY}: scaled down"));
    }
    let mut table = Table::new(&["server", "connections", "KiB before", "KiB idle", "bytes each"]);
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for subject in subjects {
        let connections = match subject {
            Subject::Yardstick("epoll" | "uring") => affordable,
            Subject::Yardstick(_) => affordable.min(FEW),
            Subject::Engine(engine) => match engine.name {
                "epoll" | "poll" | "uring" => affordable,
                "threads" | "fork" => affordable.min(FEW),
                _ => {
                    say(&format!("  {} is left out: its memory is that of its workers", subject.title()));
                    continue;
                }
            },
        };
        let (before, after) = match measure(*subject, connections, processor) {
            Ok(measured) => measured,
            Err(error) => {
                failures.push(format!("  {} failed: {error}", subject.title()));
                found.push((*subject, None));
                continue;
            }
        };
        let each = (after as f64 - before as f64) / connections as f64;
        let [before, after] = [before, after].map(|bytes| number(bytes as f64 / 1024.0));
        table.row(vec![subject.title(), connections.to_string(), before, after, number(each)]);
        found.push((*subject, Some(each)));
    }
    table.print();
    failures.iter().for_each(|failure| say(failure));
    say("  anonymous and shared pages of the whole process tree; the kernel's own memory is not in it");
    say("");
    found
}

fn measure(subject: Subject, connections: usize, processor: usize) -> io::Result<(u64, u64)> {
    let mut server = Server::start(subject.command(None)?, processor)?;
    drop(open(&mut server, FIRST)?);
    std::thread::sleep(SETTLE);
    let before = server.memory_bytes()?;
    let client = open(&mut server, connections)?;
    let after = server.memory_bytes()?;
    drop(client);
    Ok((before, after))
}

fn open(server: &mut Server, connections: usize) -> io::Result<Client> {
    let client = Client::open(Load::Echo { connections, bytes: 64 }, server.port)
        .map_err(|error| io::Error::other(server.complaint(&error.to_string())))?;
    std::thread::sleep(SETTLE);
    Ok(client)
}

/// Whether a measured number of bytes is what was wanted.
pub(crate) fn verdict(bytes: Option<f64>) -> Verdict {
    Verdict::at_most(Spread::of(bytes), LIMIT_BYTES)
}
