//! One thread, poll(2): the whole list of descriptors is handed to the kernel each time.

use super::readiness::{Event, Interest, Loop, Waiter, interrupted_is_nothing};
use super::{Engine, EngineRow, Site, Workers};
use crate::error::Error;
use crate::sys::fault;
use crate::sys::watchlist::WatchList;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::time::Duration;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "poll",
    summary: "one thread hands the list of all connections to poll each time",
    source: "poll(2), UNP 6.10",
    workers: Workers::ReusePort,
    datagrams: true,
    many_services: true,
    spins: true,
    engine: &Poll,
};

struct Poll;

impl Engine for Poll {
    fn serve(&self, site: Site<'_>) -> Result<(), Error> {
        Loop::new(site, Waiting::default())?.run()
    }
}

/// The list, its owners in the same order, and where each owner's entry is.
#[derive(Default)]
pub(super) struct Waiting {
    list: WatchList,
    tokens: Vec<u64>,
    places: std::collections::HashMap<u64, usize>,
}

impl Waiting {
    /// How many descriptors are watched.
    pub(super) fn count(&self) -> usize {
        self.tokens.len()
    }

    /// Whether this is the token of a descriptor that is watched.
    pub(super) fn knows(&self, token: u64) -> bool {
        self.places.contains_key(&token)
    }

    /// What is watched, by which token, and for what.
    pub(super) fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, u64, Interest)> {
        let entries = self.list.entries().zip(&self.tokens);
        entries.map(|((fd, read, write), token)| (fd, *token, Interest { read, write }))
    }
}

impl Waiter for Waiting {
    fn add(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        self.places.insert(token, self.tokens.len());
        self.tokens.push(token);
        self.list.push(fd, interest.read, interest.write);
        Ok(())
    }

    fn change(&mut self, _fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        let place = *self.places.get(&token).ok_or(Errno::NOENT)?;
        self.list.set(place, interest.read, interest.write);
        Ok(())
    }

    fn remove(&mut self, _fd: BorrowedFd<'_>, token: u64) {
        let Some(place) = self.places.remove(&token) else { return };
        self.list.swap_remove(place);
        self.tokens.swap_remove(place);
        if let Some(moved) = self.tokens.get(place) {
            self.places.insert(*moved, place);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<(), Errno> {
        if fault::interrupted() {
            return Ok(());
        }
        if let Err(errno) = self.list.wait(timeout) {
            return interrupted_is_nothing(errno);
        }
        events.extend(self.list.ready().map(|(place, ready)| Event::of(self.tokens[place], ready)));
        Ok(())
    }
}
