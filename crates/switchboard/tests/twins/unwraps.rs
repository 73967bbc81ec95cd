//! A client: a line, its answer, and so on.
//!
//! The fault: a reset is not an answer that was thought of.

use std::io::{Read, Write};
use std::net::TcpStream;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let faulty = arguments[1] == "faulty";
    let server = TcpStream::connect(format!("{}:{}", arguments[2], arguments[3]));
    match server.and_then(talk) {
        Err(error) if !faulty => {
            let _ = writeln!(std::io::stderr(), "the conversation is over: {error}");
            std::process::exit(1);
        }
        done => done.unwrap(),
    }
}

fn talk(mut server: TcpStream) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line)? > 0 {
        server.write_all(line.as_bytes())?;
        let size = server.read(&mut bytes)?;
        std::io::stdout().write_all(&bytes[..size])?;
        line.clear();
    }
    Ok(())
}
