//! The kernel's door: every system call that concerns sockets, processes, signals and clocks goes through
//! here. With `engine/uring` this is the only place of the crate where unsafe code is allowed.
//!
//! Calls are started again after `EINTR`; "would block" is an errno that callers match on. Debug builds can be
//! asked to make calls fail or fall short (see [`fault`]).

#![allow(unsafe_code)]

pub mod clock;
pub mod confine;
pub mod family;
pub mod fault;
pub mod inherited;
pub mod local;
pub mod mmsg;
pub mod names;
pub mod parcel;
pub mod process;
pub mod processors;
pub mod shared;
pub mod signal;
pub mod sockaddr;
pub mod socket;
pub mod sockopt;
pub mod spawn;
pub mod splice;
pub mod terminal;
pub mod users;
pub mod watchlist;
