//! Yardstick: a thread per connection, blocking read and write.

use super::BUFFER_BYTES;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read, write};
use std::io;
use std::net::{TcpListener, TcpStream};

pub(super) fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => drop(std::thread::Builder::new().spawn(move || echo(&stream))?),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Echoes until the peer ends or breaks; the blocking loop that the forking yardstick shares.
pub(super) fn echo(stream: &TcpStream) {
    // Reading into spare capacity leaves the pages that no message reaches untouched, so an idle connection
    // is not charged for the size of a buffer it never used.
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER_BYTES);
    loop {
        buffer.clear();
        match read(stream, spare_capacity(&mut buffer)) {
            Ok(0) => return,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            match write(stream, rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
