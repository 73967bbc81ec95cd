//! What it costs to start a program for each connection: connections per second at `cat`, of our worker, of a minimal
//! loop of accept, vfork and exec on the same kernel, and of xinetd, tcpserver, socat and ncat where they are
//! installed.
//!
//! ```text
//! cargo bench --bench spawn            ten rounds of 0.5 s each
//! cargo bench --bench spawn -- 3 0.2   three rounds of 0.2 s each
//! ```
//! All run at once but only one is asked at a time, in turns, so that whatever else the machine does hits all alike.
//! The ratio is that of neighbours in one round; the table has its median and quartiles.

#[path = "../engines/statistics.rs"]
#[expect(dead_code, reason = "shared with the benchmark of the engines")]
mod statistics;
mod subject;
mod worker;
mod yardstick;

use statistics::Spread;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use subject::Subject;

/// Clients at once: enough that a server that could do more has more to do.
const CLIENTS: usize = 4;
/// What is sent and must come back.
const MESSAGE: &[u8] = b"what comes back is what was sent\n";
/// What was wanted of our worker: at least this part of what the minimal loop does.
const WANTED: f64 = 0.9;

fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() {
    if worker::serve_if_asked() || yardstick::serve_if_asked() {
        return;
    }
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<f64>().ok());
    let rounds = numbers.next().unwrap_or(10.0) as usize;
    let slice = Duration::from_secs_f64(numbers.next().unwrap_or(0.5));
    let subjects = Subject::start_all(&mut |missing| say(format_args!("SKIPPED {missing}: not installed")));
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    for subject in &subjects {
        // Warm: the file's pages, the server's first allocations.
        measure(subject.address, slice / 5);
    }
    for _ in 0..rounds {
        for (subject, rates) in subjects.iter().zip(&mut rates) {
            rates.push(measure(subject.address, slice));
        }
    }
    say(format_args!("{:<34} {:>12}   of the minimal loop (quartiles)", "", "conns/s"));
    for (subject, own) in subjects.iter().zip(&rates) {
        let Some(rate) = Spread::of(own.iter().copied()) else { continue };
        let ratios = own.iter().zip(&rates[0]).map(|(own, minimal)| own / minimal);
        let Some(ratio) = Spread::of(ratios) else { continue };
        if rate.median == 0.0 {
            say(format_args!("{:<34} gave no right answer", subject.name));
            continue;
        }
        say(format_args!(
            "{:<34} {:>12.0}   {:.3} ({:.3} to {:.3}){}",
            subject.name,
            rate.median,
            ratio.median,
            ratio.low,
            ratio.high,
            if subject.wanted { format!("   wanted: {WANTED} or more") } else { String::new() }
        ));
    }
}

/// Connections per second that were answered rightly.
fn measure(address: SocketAddr, slice: Duration) -> f64 {
    let begin = Instant::now();
    let served: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(move || {
                    let mut served = 0;
                    while begin.elapsed() < slice {
                        served += usize::from(converse(address).is_ok_and(|answer| answer == MESSAGE));
                    }
                    served
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap_or(0)).sum()
    });
    served as f64 / begin.elapsed().as_secs_f64()
}

/// The answer is awaited before the end is said: ncat takes the end of its client's input for the end of all, and drops
/// what the program has not said yet.
fn converse(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(MESSAGE)?;
    let mut answer = vec![0; MESSAGE.len()];
    stream.read_exact(&mut answer)?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
