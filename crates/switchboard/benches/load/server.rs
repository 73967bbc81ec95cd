//! What is loaded: a plain epoll loop on a processor of its own, which echoes, or answers every read by a page.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

const LISTENER: u64 = u64::MAX;
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Echo,
    Page,
}

/// Starts one; it ends with the program.
pub(crate) fn start(kind: Kind) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("server".to_owned()).spawn(move || {
        super::pin(super::SERVER);
        // Whoever measures hears of a server that is gone by its silence.
        let _ = serve(&listener, kind);
    })?;
    Ok(address)
}

fn serve(listener: &TcpListener, kind: Kind) -> io::Result<()> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poller, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut events: Vec<Event> = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&poller, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                let Ok((socket, _)) = listener.accept() else { continue };
                socket.set_nodelay(true)?;
                let place = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                if place == connections.len() {
                    connections.push(None);
                }
                epoll::add(&poller, &socket, EventData::new_u64(place as u64), EventFlags::IN)?;
                connections[place] = Some(socket);
                continue;
            }
            let Some(socket) = &connections[key as usize] else { continue };
            let done = match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => Err(Errno::PIPE),
                Ok((n, _)) => {
                    let answer = if kind == Kind::Echo { &buffer[..n] } else { PAGE };
                    send(socket, answer, SendFlags::NOSIGNAL).map(|_| ())
                }
                Err(Errno::AGAIN) => Ok(()),
                Err(errno) => Err(errno),
            };
            if done.is_err() {
                connections[key as usize] = None;
            }
        }
    }
}
