//! Sockets for switchboard, on Linux: where to listen and connect ([`Endpoint`]), bound sockets with their
//! options ([`Listener`], [`SocketOptions`]), and eight ways to serve what comes in ([`ENGINES`]).
//!
//! The protocols are those of `switchboard_proto`: this crate moves their bytes and knows none of them.

#![deny(unsafe_code)]

pub mod admission;
mod bucket;
pub mod callers;
pub mod channel;
pub mod class;
pub mod confine;
mod datagrams;
pub mod dial;
mod endpoint;
pub mod engine;
mod error;
mod guests;
pub mod introduction;
pub mod join;
mod journal;
mod limits;
mod listener;
pub mod load;
mod option;
pub mod passing;
mod peer;
pub mod preference;
pub mod prelude;
pub mod program;
pub mod quantity;
pub mod relay;
mod resolve;
pub mod roster;
pub mod scan;
pub mod services;
mod stop;
pub mod sys;
pub mod talk;
mod tally;
pub mod tcpmux;
pub mod tls;
pub mod tunnel;

pub use channel::Channel;
pub use dial::{Attempt, DialError, Dialing, Pinned, dial};
pub use endpoint::{Address, Cid, Endpoint, Host, Kind, Location, Place, Port};
pub use engine::{Door, ENGINES, Engine, EngineRow, Site, Workers};
pub use error::Error;
pub use journal::{Escaped, Exit, Format, Journal, Json, Mask, Ran, Record};
pub use limits::{Limits, Rate, Rates};
pub use listener::{Listener, Sharing};
pub use option::{Effect, On, SOCKET_OPTIONS, SocketOption, SocketOptions};
pub use peer::Peer;
pub use stop::Stop;
pub use talk::{AfterEof, Outcome, Rules, Ways, Witness, talk};
pub use tally::{Announced, Counters, MAX_SERVICES, Scoreboard, Tally};
