//! An echo server with a thread for each client.
//!
//! The fault: that a client gave up between its arrival and accept ends the server for all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let faulty = arguments[1] == "faulty";
    let listener = TcpListener::bind(format!("0.0.0.0:{}", arguments[2])).expect("a free port");
    for client in listener.incoming() {
        match client {
            Ok(client) => drop(std::thread::spawn(move || attend(client))),
            Err(error) if faulty => panic!("accept: {error}"),
            Err(error) => drop(writeln!(std::io::stderr(), "accept: {error}")),
        }
    }
}

fn attend(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(size @ 1..) = client.read(&mut bytes) {
        if client.write_all(&bytes[..size]).is_err() {
            return;
        }
    }
}
