//! Throughput: a file to a file through two clients' worth of network, and a stream through a relay; in turns, as ratios
//! to ours in the same round.

use crate::case::data;
use crate::say;
use crate::statistics::Spread;
use crate::subject::Subject;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the file.
const FILE: usize = 512 << 20;
/// Bytes through the relay.
const STREAM: usize = 512 << 20;
/// Who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

type Measure = fn(&Subject) -> io::Result<Option<f64>>;

const MEASURES: [(&str, Measure); 3] =
    [("file to network", send_file), ("network to file", receive_file), ("relay", relay)];

pub(crate) fn table(subjects: &[Subject], rounds: usize) {
    for (name, measure) in MEASURES {
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
        for round in 0..=rounds {
            for (subject, rates) in subjects.iter().zip(&mut rates) {
                match measure(subject) {
                    // The first round warms the machine.
                    Ok(Some(rate)) if round > 0 => rates.push(rate),
                    Ok(_) => {}
                    Err(error) => say(format_args!("SKIPPED {name}, {}: {error}", subject.name)),
                }
            }
        }
        say(format_args!("{name:<20} {:>9}   of ours (quartiles)", "GB/s"));
        let ours = rates[0].clone();
        for (subject, own) in subjects.iter().zip(&rates) {
            let Some(rate) = Spread::of(own.iter().copied()) else { continue };
            let ratios = own.iter().zip(&ours).map(|(own, ours)| own / ours);
            let Some(ratio) = Spread::of(ratios) else { continue };
            say(format_args!(
                "{:<20} {:>9.2}   {:.3} ({:.3} to {:.3})",
                subject.name,
                rate.median / 1e9,
                ratio.median,
                ratio.low,
                ratio.high
            ));
        }
    }
}

/// A file in memory.
fn file_of(len: usize) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC)?);
    let piece = data(1 << 20);
    for _ in 0..len / piece.len() {
        file.write_all(&piece)?;
    }
    file.rewind()?;
    Ok(file)
}

/// Takes everything; the number of bytes, and when the last one came.
fn drain(mut stream: &TcpStream) -> io::Result<(usize, Instant)> {
    let mut room = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match stream.read(&mut room)? {
            0 => return Ok((total, Instant::now())),
            n => total += n,
        }
    }
}

/// From a file of the client's: the rate until the server has all of it and its end. A client that does not tell the end
/// is measured until it has everything.
fn send_file(subject: &Subject) -> io::Result<Option<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut command = subject.tcp("127.0.0.1", port);
    command.stdin(file_of(FILE)?).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (stream, _) = listener.accept()?;
    let begin = Instant::now();
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut room = vec![0; 1 << 20];
    let mut total = 0;
    while total < FILE {
        match (&stream).read(&mut room)? {
            0 => break,
            n => total += n,
        }
    }
    let took = begin.elapsed();
    stream.shutdown(Shutdown::Both)?;
    let _ = child.kill();
    child.wait()?;
    Ok((total == FILE).then(|| FILE as f64 / took.as_secs_f64()))
}

/// To a file of the client's: the rate until that has all of it.
fn receive_file(subject: &Subject) -> io::Result<Option<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let output = file_of(0)?;
    let mut command = subject.tcp("127.0.0.1", port);
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (mut stream, _) = listener.accept()?;
    let begin = Instant::now();
    stream.set_write_timeout(Some(PATIENCE))?;
    let piece = vec![7; 1 << 20];
    for _ in 0..FILE / piece.len() {
        stream.write_all(&piece)?;
    }
    stream.shutdown(Shutdown::Write)?;
    while output.metadata()?.len() < FILE as u64 && begin.elapsed() < PATIENCE {
        thread::yield_now();
    }
    let took = begin.elapsed();
    let whole = output.metadata()?.len() == FILE as u64;
    drop(stream);
    let _ = child.kill();
    child.wait()?;
    Ok(whole.then(|| FILE as f64 / took.as_secs_f64()))
}

fn relay(subject: &Subject) -> io::Result<Option<f64>> {
    let target = TcpListener::bind("127.0.0.1:0")?;
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(mut command) = subject.relay(free, target.local_addr()?.port()) else { return Ok(None) };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let begin = Instant::now();
    let source = loop {
        match TcpStream::connect(("127.0.0.1", free)) {
            Ok(stream) => break stream,
            Err(_) if begin.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error),
        }
    };
    let (sink, _) = target.accept()?;
    sink.set_read_timeout(Some(PATIENCE))?;
    let begin = Instant::now();
    let sender = thread::spawn(move || -> io::Result<TcpStream> {
        let piece = vec![7; 1 << 20];
        for _ in 0..STREAM / piece.len() {
            (&source).write_all(&piece)?;
        }
        source.shutdown(Shutdown::Write)?;
        Ok(source)
    });
    let (total, ended) = drain(&sink)?;
    let took = ended - begin;
    drop(sink);
    let _ = sender.join();
    let _ = child.kill();
    child.wait()?;
    Ok((total == STREAM).then(|| STREAM as f64 / took.as_secs_f64()))
}
