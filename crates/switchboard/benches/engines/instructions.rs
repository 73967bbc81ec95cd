//! Instructions in user space for each request, counted by valgrind's callgrind: the same number on a busy machine as
//! on a quiet one, so that a bound on it can be a test.
//!
//! A server is run twice, with few requests and with many on one connection, one at a time; the difference is what the
//! requests cost. Waiting is in it once for each request, where many connections would share one wait.

use crate::client::{Client, Load};
use crate::report::{Table, number, say};
use crate::server::Server;
use crate::subject::Subject;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FEW: u64 = 200;
const MANY: u64 = 1_200;

/// More instructions for a request than this, and something has crept into the path of every byte. Half as much again as
/// what was measured (docs/performance.md): compilers differ.
const BOUNDS: [(&str, u64); 2] = [("epoll", 1_800), ("uring", 2_700)];

/// Counts, prints, and says whether all are within their bounds; `None` if they could not be counted.
pub(crate) fn run(subjects: &[Subject]) -> Result<Option<bool>, String> {
    let there =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        say("SKIPPED instructions per request: valgrind is not installed");
        return Ok(None);
    }
    let mut table = Table::new(&["server", "instructions each", "bound", ""]);
    let mut within = true;
    for subject in subjects {
        let (name, bound) = match subject {
            Subject::Yardstick("epoll") => ("epoll", None),
            Subject::Engine(engine) => match BOUNDS.iter().find(|(name, _)| *name == engine.name) {
                Some((name, bound)) => (*name, Some(*bound)),
                None => continue,
            },
            _ => continue,
        };
        let counted = count(*subject, FEW).and_then(|few| Ok((few, count(*subject, MANY)?)));
        let (few, many) = match counted {
            Ok(counted) => counted,
            // Valgrind does not know io_uring everywhere.
            Err(error) if name == "uring" => {
                say(&format!("SKIPPED instructions of uring: {error}"));
                continue;
            }
            Err(error) => return Err(format!("{}: {error}", subject.title())),
        };
        let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
        let fits = bound.is_none_or(|bound| each <= bound as f64);
        within &= fits;
        let bound = bound.map_or_else(|| "-".to_owned(), |bound| number(bound as f64));
        table.row(vec![subject.title(), number(each), bound, if fits { "" } else { "BEYOND" }.to_owned()]);
    }
    table.print();
    Ok(Some(within))
}

/// Instructions of a server, from its start to its end, with so many requests.
fn count(subject: Subject, requests: u64) -> io::Result<u64> {
    let scratch = Scratch::new()?;
    let plain = subject.command(None)?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--trace-children=yes", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}/%p", scratch.0.display()));
    command.arg(plain.get_program()).args(plain.get_args());
    let mut server = Server::start(command, Vec::new())?;
    let mut client = Client::open(Load::Echo { connections: 1, bytes: 64 }, server.port)
        .map_err(|error| io::Error::other(server.complaint(&error.to_string())))?;
    for _ in 0..requests {
        client.ask_all()?;
    }
    drop(client);
    server.leave();
    let mut sum = 0;
    for entry in fs::read_dir(&scratch.0)? {
        sum += total(&entry?.path())?;
    }
    if sum == 0 {
        return Err(io::Error::other(server.complaint("valgrind counted nothing")));
    }
    Ok(sum)
}

/// The sum of one process.
fn total(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary:").or(line.strip_prefix("totals:")));
    Ok(line.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("switchboard-instructions-{}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}
