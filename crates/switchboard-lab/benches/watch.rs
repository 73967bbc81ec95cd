//! What it costs a program to be watched: a byte that goes to and fro over TCP on loopback, four calls a round, under
//! the watcher and under strace(1); and a call that nobody watches.
//!
//! `cargo bench -p switchboard-lab --bench watch`. Each row is the best of several runs, so that what else the machine
//! does counts little; ratios are what to look at.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use switchboard_lab::watch::{Ended, Settings, Watcher};

/// Rounds of one run.
const ROUNDS: u32 = 5_000;
/// Calls of one run that nobody watches.
const OTHERS: u32 = 100_000;
const RUNS: u32 = 3;
/// The argument that makes this program the one that is watched.
const SUBJECT: &str = "--be-watched";
const PATIENCE: Duration = Duration::from_secs(120);

/// Nanoseconds of a round, and of a call that nobody watches.
#[derive(Clone, Copy)]
struct Cost {
    round: u64,
    other: u64,
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let (Some(SUBJECT), Some(file)) = (arguments.next().as_deref(), arguments.next()) {
        return be_watched(Path::new(&file));
    }
    let this = std::env::current_exe()?;
    let file = std::env::temp_dir().join(format!("switchboard-bench-watch-{}", std::process::id()));
    let subject = |before: &[&str]| {
        let mut command = match before.split_first() {
            Some((tool, arguments)) => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(&this);
                command
            }
            None => Command::new(&this),
        };
        command.arg(SUBJECT).arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut out = io::stdout();
    let plain = best(&file, || run(subject(&[])))?;
    writeln!(
        out,
        "{:<24} {:>9} {:>8} {:>14} {:>14}",
        "", "µs/round", "× plain", "µs/call added", "ns/other call"
    )?;
    let mut show = |name: &str, cost: io::Result<Cost>| match cost {
        Err(error) => writeln!(out, "SKIPPED {name}: {error}"),
        Ok(cost) => writeln!(
            out,
            "{name:<24} {:>9.1} {:>8.1} {:>14.1} {:>14}",
            cost.round as f64 / 1e3,
            cost.round as f64 / plain.round as f64,
            cost.round.saturating_sub(plain.round) as f64 / 4e3,
            cost.other,
        ),
    };
    show("plain", Ok(plain))?;
    show("switchboard", best(&file, || watched(subject(&[]))))?;
    show(
        "strace -f --seccomp-bpf",
        best(&file, || {
            run(subject(&[
                "strace",
                "-f",
                "--seccomp-bpf",
                "-e",
                "trace=network,read,write,close",
                "-o",
                "/dev/null",
            ]))
        }),
    )?;
    show("strace -f", best(&file, || run(subject(&["strace", "-f", "-o", "/dev/null"]))))?;
    drop(std::fs::remove_file(&file));
    Ok(())
}

/// The program that is watched: writes what it has measured to a file, since its descriptors are not looked at there.
fn be_watched(file: &Path) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut byte = [7];
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        client.write_all(&byte)?;
        server.read_exact(&mut byte)?;
        server.write_all(&byte)?;
        client.read_exact(&mut byte)?;
    }
    let round = begun.elapsed().as_nanos() / u128::from(ROUNDS);
    let begun = Instant::now();
    for _ in 0..OTHERS {
        std::hint::black_box(rustix::process::getppid());
    }
    let other = begun.elapsed().as_nanos() / u128::from(OTHERS);
    std::fs::write(file, format!("{round} {other}"))
}

/// The best of several runs.
fn best(file: &Path, mut run: impl FnMut() -> io::Result<()>) -> io::Result<Cost> {
    let mut best = Cost { round: u64::MAX, other: u64::MAX };
    for _ in 0..RUNS {
        run()?;
        let text = std::fs::read_to_string(file)?;
        let number = |text: &str| text.parse().map_err(io::Error::other);
        let (round, other) = text.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
        best = Cost { round: best.round.min(number(round)?), other: best.other.min(number(other)?) };
    }
    Ok(best)
}

fn run(mut command: Command) -> io::Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// The watcher; what it tells goes nowhere, as that of strace does.
fn watched(command: Command) -> io::Result<()> {
    let watcher = Watcher::new(Settings::default(), |event| drop(std::hint::black_box(event)));
    let watched = watcher.spawn(command)?;
    match watched.wait_for_all(PATIENCE) {
        Some(Ended::Exited(0)) => Ok(()),
        other => {
            watched.kill();
            Err(io::Error::other(format!("{other:?}")))
        }
    }
}
