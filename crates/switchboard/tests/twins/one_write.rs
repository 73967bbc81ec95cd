//! An echo server with a thread for each client.
//!
//! The fault: write instead of write_all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let faulty = arguments[1] == "faulty";
    let listener = TcpListener::bind(format!("0.0.0.0:{}", arguments[2])).expect("a free port");
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || attend(client, faulty));
    }
}

fn attend(mut client: TcpStream, faulty: bool) {
    let mut bytes = [0; 4096];
    while let Ok(size @ 1..) = client.read(&mut bytes) {
        let bytes = &bytes[..size];
        let done = if faulty { client.write(bytes).map(drop) } else { client.write_all(bytes) };
        if done.is_err() {
            return;
        }
    }
}
