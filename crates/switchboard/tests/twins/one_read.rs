//! A server that gives every line back, and a line is all that it thinks in.
//!
//! The fault: what one read brought is taken for one line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let faulty = arguments[1] == "faulty";
    let listener = TcpListener::bind(format!("0.0.0.0:{}", arguments[2])).expect("a free port");
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || if faulty { by_reads(client) } else { by_lines(client) });
    }
}

fn by_reads(mut client: TcpStream) -> Option<()> {
    let mut bytes = [0; 4096];
    loop {
        let size = client.read(&mut bytes).ok().filter(|size| *size > 0)?;
        answer(&mut client, String::from_utf8_lossy(&bytes[..size]).trim_end())?;
    }
}

fn by_lines(mut client: TcpStream) -> Option<()> {
    let mut input = BufReader::new(client.try_clone().ok()?);
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|size| *size > 0)?;
        answer(&mut client, line.trim_end())?;
    }
}

fn answer(client: &mut TcpStream, line: &str) -> Option<()> {
    client.write_all(format!("{line}\n").as_bytes()).ok()
}
