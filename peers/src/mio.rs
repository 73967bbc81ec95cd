//! mio: a loop written by hand on its portable, edge-triggered readiness; one buffer for all connections.

use crate::BUFFER_BYTES;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, Read, Write};

const LISTENER: Token = Token(usize::MAX);

/// A connection, and what of its output did not fit yet.
struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
}

pub(crate) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut connections: HashMap<usize, Connection> = HashMap::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut next = 0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                // Edge-triggered: until there is nothing left.
                loop {
                    match listener.accept() {
                        Ok((mut stream, _)) => {
                            let both = Interest::READABLE | Interest::WRITABLE;
                            poll.registry().register(&mut stream, Token(next), both)?;
                            connections.insert(next, Connection { stream, rest: Vec::new() });
                            next += 1;
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Err(error) => return Err(error),
                    }
                }
                continue;
            }
            let Token(key) = event.token();
            if let Some(connection) = connections.get_mut(&key)
                && connection.echo(&mut buffer).is_err()
            {
                connections.remove(&key);
            }
        }
    }
}

impl Connection {
    /// Reads and writes until one of them would block.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            if !self.rest.is_empty() {
                let rest = std::mem::take(&mut self.rest);
                let sent = self.send(&rest)?;
                self.rest = rest[sent..].to_vec();
                if !self.rest.is_empty() {
                    return Ok(());
                }
            }
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let sent = self.send(&buffer[..count])?;
            self.rest.extend_from_slice(&buffer[sent..count]);
            // mio: a read that did not fill the buffer has emptied the socket, and a new edge will come.
            if count < buffer.len() && self.rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }
}
