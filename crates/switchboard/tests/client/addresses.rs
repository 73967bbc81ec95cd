//! Addresses that refuse, that are silent, and one of each beside one that answers.
#![allow(dead_code, reason = "each file of tests uses some of it")]

use super::read_all;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

/// A TCP socket that is bound and does not listen: whoever connects is refused, and nobody else gets the port.
pub(crate) fn refusing(address: &str) -> Option<(OwnedFd, u16)> {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::bind(&socket, &address).ok()?;
    let port = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap().port();
    Some((socket, port))
}

/// An address that never answers: the queue of a listener is full, so that it drops what comes (listen(2)).
pub(crate) struct BlackHole {
    _listener: OwnedFd,
    _queued: TcpStream,
    pub(crate) port: u16,
}

pub(crate) fn black_hole(address: &str) -> Option<BlackHole> {
    let (listener, port) = refusing(address)?;
    rustix::net::listen(&listener, 0).unwrap();
    let whole = SocketAddr::new(address.parse::<SocketAddr>().unwrap().ip(), port);
    Some(BlackHole { _listener: listener, _queued: TcpStream::connect(whole).unwrap(), port })
}

/// A black hole at one address, and at the same port of `alive` a server.
pub(crate) fn dead_and_alive(dead: &str, alive: &str) -> (BlackHole, TcpListener) {
    let found = (0..50).find_map(|_| {
        let listener = TcpListener::bind((alive, 0)).unwrap();
        // Somebody may have that port at the other address.
        let hole = black_hole(&format!("{dead}:{}", listener.local_addr().unwrap().port()))?;
        Some((hole, listener))
    });
    found.expect("a port that is free at both addresses")
}

pub(crate) fn says_hello(listener: TcpListener) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        drop(read_all(&mut stream));
    })
}
