//! Yardstick: one thread, level-triggered epoll, one receive buffer shared by all connections.
//!
//! It writes before it sleeps and asks for writability only for what did not fit; while something is left
//! over it does not read, so that a peer who never reads costs one buffer at most.

use super::BUFFER_BYTES;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, accept_with};
use std::io;
use std::net::TcpListener;

const EVENTS: usize = 512;
const LISTENER: u64 = u64::MAX;

struct Connection {
    socket: OwnedFd,
    /// Bytes that did not fit into the socket; empty, and without memory, for almost everybody.
    rest: Vec<u8>,
}

pub(super) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poller, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    // The descriptor is the index: the kernel hands out the lowest free number, so the table stays dense.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&poller, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                accept(&poller, &listener, &mut connections)?;
                continue;
            }
            let slot = &mut connections[key as usize];
            let Some(connection) = slot else { continue };
            if advance(&poller, connection, &mut buffer).is_err() {
                *slot = None;
            }
        }
    }
}

fn accept(
    poller: &OwnedFd,
    listener: &TcpListener,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(socket) => socket,
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let index = socket.as_raw_fd() as usize;
    epoll::add(poller, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
    if connections.len() <= index {
        connections.resize_with(index + 1, || None);
    }
    connections[index] = Some(Connection { socket, rest: Vec::new() });
    Ok(())
}

/// One event's worth of echo; an error means that the connection is over, for whatever reason.
fn advance(poller: &OwnedFd, connection: &mut Connection, buffer: &mut [u8]) -> Result<(), Errno> {
    let key = EventData::new_u64(connection.socket.as_raw_fd() as u64);
    if !connection.rest.is_empty() {
        let sent = send(&connection.socket, &connection.rest)?;
        connection.rest.drain(..sent);
        if connection.rest.is_empty() {
            connection.rest = Vec::new();
            epoll::modify(poller, &connection.socket, key, EventFlags::IN)?;
        }
        return Ok(());
    }
    let received = match read(&connection.socket, &mut *buffer) {
        Ok(0) => return Err(Errno::PIPE),
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        Err(error) => return Err(error),
    };
    let sent = send(&connection.socket, &buffer[..received])?;
    if sent < received {
        connection.rest.extend_from_slice(&buffer[sent..received]);
        epoll::modify(poller, &connection.socket, key, EventFlags::OUT)?;
    }
    Ok(())
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match write(socket, bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}
