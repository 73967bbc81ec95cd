//! Echo servers on runtimes from the registry, each as its documentation would have it written, on one thread, with
//! buffers as large as the yardsticks' (64 KiB): so that the benchmark compares designs and not sizes.
//!
//! `peers NAME` listens on a port of 127.0.0.1 that the kernel chooses, names it as `tcp:127.0.0.1:PORT`, and serves
//! until it is killed. `cargo bench -p switchboard --bench engines -- --peers` builds and starts them.

mod mio;
mod monoio;
mod tokio;

use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;

/// Room of one read.
const BUFFER_BYTES: usize = 64 * 1024;

type Serve = fn(TcpListener) -> io::Result<()>;

/// The table: what can be asked for.
const PEERS: [(&str, Serve); 3] = [("tokio", tokio::serve), ("monoio", monoio::serve), ("mio", mio::serve)];

fn main() -> ExitCode {
    let names = PEERS.map(|(name, _)| name);
    let asked = std::env::args().nth(1).unwrap_or_default();
    if asked == "--list" {
        return told(say(&names.join("\n")));
    }
    let Some((_, serve)) = PEERS.iter().find(|(name, _)| *name == asked) else {
        return told(Err(io::Error::other(format!("{asked:?} is not one of {}", names.join(", ")))));
    };
    told(listen().and_then(serve))
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

fn told(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            _ = writeln!(io::stderr(), "peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // A queue as long as the kernel allows, as every server of the comparison has it; a second listen(2) changes it.
    rustix::net::listen(&listener, i32::MAX)?;
    // Accepted sockets inherit it.
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    listener.set_nonblocking(true)?;
    say(&format!("tcp:{}", listener.local_addr()?))?;
    Ok(listener)
}
