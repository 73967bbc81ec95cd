//! Everything that happens on a socket: serve it, connect to it.
//!
//! This crate is the program `switchboard` and the façade of the libraries under it. A service is written once, as
//! a [`Session`] without I/O, and runs on every [`Engine`], over TCP, UDP and Unix sockets.
//!
//! A complete echo server:
//!
//! ```no_run
//! use switchboard::{Counters, EngineRow, Journal, Listener, Service, Site, SocketOptions, Stop};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let echo = Service::find("echo").ok_or("no such service")?.recipe(&[])?;
//!     let engine = EngineRow::find("epoll").ok_or("no such engine")?;
//!     let listeners = Listener::bind(&"tcp:127.0.0.1:7007".parse()?, &SocketOptions::default())?;
//!     let (stop, journal) = (Stop::new()?, Journal::silent());
//!     engine.engine.serve(Site::new(engine, listeners, &echo, &stop, &journal, Counters::shared()?))?;
//!     Ok(())
//! }
//! ```
//!
//! A service of your own, served and talked to:
//!
//! ```
//! use std::io::{Read, Write};
//! use switchboard::*;
//!
//! struct Shout;
//! impl Session for Shout {
//!     fn advance(&mut self, io: &mut Io<'_>) -> Flow {
//!         let n = io.rx.len().min(io.tx.room());
//!         io.tx.push(&io.rx.bytes()[..n].to_ascii_uppercase());
//!         io.rx.consume(n);
//!         if io.rx_eof && io.rx.is_empty() { Flow::Finish } else { Flow::Continue }
//!     }
//! }
//!
//! let listeners = Listener::bind(&"tcp:127.0.0.1:0".parse()?, &SocketOptions::default())?;
//! let mut client = std::net::TcpStream::connect(listeners[0].local().inet().ok_or("no address")?)?;
//! client.write_all(b"hello")?;
//! client.shutdown(std::net::Shutdown::Write)?;
//! let (shout, epoll) = (Recipe::new("shout", |_| Shout), EngineRow::find("epoll").ok_or("no epoll")?);
//! let (stop, journal, counters) = (Stop::new()?, Journal::silent(), Counters::shared()?);
//! stop.set(); // serves those who are there already, and returns
//! epoll.engine.serve(Site::new(epoll, listeners, &shout, &stop, &journal, counters))?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "HELLO");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod command;
mod config;
mod control;
mod daemon;
mod exit;
mod getopt;
mod personality;
mod pid_file;
mod plan;
mod report;
mod supervisor;

pub use switchboard_net::{
    Address, Counters, Door, ENGINES, Effect, Endpoint, Engine, EngineRow, Error, Escaped, Format, Host,
    Journal, Json, Kind, Limits, Listener, Location, On, Peer, Place, Port, Rate, Rates, Record,
    SOCKET_OPTIONS, Sharing, Site, SocketOption, SocketOptions, Stop, Tally, Workers, quantity,
};
pub use switchboard_proto::{
    Board, Bounds, Buffer, Cause, Civil, Connection, Datagram, End, Example, Flow, Instant, Io, Line, Maker,
    OptionError, Over, Random, Recipe, SERVICES, Service, ServiceOption, Session, Settings, Start, Transport,
    Tx, Wall, Wants, Zone, datagram, layer, sim,
};

/// Runs the program with the arguments of this process.
#[doc(hidden)]
pub fn run() -> std::process::ExitCode {
    command::run()
}

/// Checks the text of a configuration file, and writes it anew, every service with its defaults.
///
/// # Errors
/// All that is wrong with it, as people see it.
#[doc(hidden)]
pub fn check_configuration(text: &str) -> Result<String, String> {
    match config::check_text(text) {
        Ok(configuration) => Ok(configuration.to_toml().expect("what was read can be written")),
        Err(rejected) => Err(anstream::adapter::strip_str(&rejected.to_string()).to_string()),
    }
}

/// Converts the text of an old daemon's file (`openbsd`, `freebsd`, `netbsd`, `gnu`, `xinetd-compat`, `xinetd`), without
/// those that it includes: the configuration, and all that is to be said, as people see it.
#[doc(hidden)]
pub fn convert_configuration(language: &str, text: &str) -> (String, String) {
    config::legacy::convert_text(language, text)
}
