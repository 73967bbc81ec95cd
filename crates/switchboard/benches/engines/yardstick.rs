//! The yardsticks: echo servers written straight on the kernel interface, with no session, no limits, no log
//! and no drain. They show what the machine gives away for nothing, so that an engine's price is what is left
//! over.
//!
//! Each is a role of the benchmark's own binary, started again as `engines --yardstick NAME`, so that it is
//! measured from outside exactly as the real server is.

mod epoll;
mod fork;
mod mmsg;
mod threads;
mod uring;

use crate::{report, server};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

/// Room of one read, the same in every yardstick: the size of the buffer decides the speed of a stream.
const BUFFER_BYTES: usize = 64 * 1024;

pub(crate) enum Serve {
    Stream(fn(TcpListener) -> io::Result<()>),
    Datagrams(fn(UdpSocket) -> io::Result<()>),
}

/// The table: what `--yardstick` accepts.
pub(crate) const YARDSTICKS: [(&str, Serve); 5] = [
    ("epoll", Serve::Stream(epoll::serve)),
    ("uring", Serve::Stream(uring::serve)),
    ("threads", Serve::Stream(threads::serve)),
    ("fork", Serve::Stream(fork::serve)),
    ("mmsg", Serve::Datagrams(mmsg::serve)),
];

/// Serves as the named yardstick until it is killed; several workers are as many processes, each with a listener of
/// its own.
pub(crate) fn run(name: &str, workers: usize) -> io::Result<()> {
    let Some((_, serve)) = YARDSTICKS.iter().find(|(known, _)| *known == name) else {
        return Err(io::Error::other(format!("no yardstick is called {name:?}")));
    };
    server::raise_descriptor_limit(0);
    match serve {
        Serve::Datagrams(serve) => {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            report::say(&format!("udp:{}", socket.local_addr()?));
            serve(socket)
        }
        Serve::Stream(serve) => {
            let mut listener = listener(0, workers > 1)?;
            let port = listener.local_addr()?.port();
            for _ in 1..workers {
                // SAFETY: this process never started a thread, so the child may do anything the parent may.
                if unsafe { libc::fork() } == 0 {
                    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
                    listener = self::listener(port, true)?;
                    return serve(listener);
                }
            }
            report::say(&format!("tcp:127.0.0.1:{port}"));
            serve(listener)
        }
    }
}

fn listener(port: u16, shared: bool) -> io::Result<TcpListener> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    listen(&socket, 4_096)?;
    // Accepted sockets inherit it, so no connection pays for a call of its own.
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket.into())
}
