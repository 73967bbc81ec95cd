//! The yardsticks: echo servers written straight on the kernel interface, with no session, no limits, no log
//! and no drain. They show what the machine gives away for nothing, so that an engine's price is what is left
//! over.
//!
//! Each is a role of the benchmark's own binary, started again as `engines --yardstick NAME`, so that it is
//! measured from outside exactly as the real server is.

mod epoll;
mod fork;
mod threads;
mod uring;

use crate::{report, server};
use rustix::net::sockopt;
use std::io;
use std::net::TcpListener;

/// Room of one read, the same in every yardstick: the size of the buffer decides the speed of a stream.
const BUFFER_BYTES: usize = 64 * 1024;

type Serve = fn(TcpListener) -> io::Result<()>;

/// The table: what `--yardstick` accepts.
pub(crate) const YARDSTICKS: [(&str, Serve); 4] =
    [("epoll", epoll::serve), ("uring", uring::serve), ("threads", threads::serve), ("fork", fork::serve)];

/// Serves as the named yardstick until it is killed.
pub(crate) fn run(name: &str) -> io::Result<()> {
    let Some((_, serve)) = YARDSTICKS.iter().find(|(known, _)| *known == name) else {
        return Err(io::Error::other(format!("no yardstick is called {name:?}")));
    };
    server::raise_descriptor_limit();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // Accepted sockets inherit it, so no connection pays for a call of its own.
    sockopt::set_tcp_nodelay(&listener, true)?;
    report::say(&format!("tcp:{}", listener.local_addr()?));
    serve(listener)
}
