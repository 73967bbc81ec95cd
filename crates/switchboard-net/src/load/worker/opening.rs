//! How a client gets its connection: connect(2) without waiting, and what is done when there is none to be had.

use super::client::State;
use super::{CROWDED, Worker, clock, record};
use crate::channel::Channel;
use crate::dial::{self, Reason, Start};
use crate::load::supply;
use crate::load::tally::Trouble;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::cmp::Reverse;
use switchboard_proto::{Instant, Shape};

/// Clients that may try at once again whether a full accept queue has room.
const MOST_KNOCKS: usize = 64;

impl Worker<'_> {
    pub(super) fn connect(&mut self, place: usize) {
        let started = match self.clients[place].state {
            State::Knocking(since) => {
                self.knocking -= 1;
                self.clients[place].state = State::Off;
                since
            }
            _ => clock::now(),
        };
        // Shards take connections in turn, and each of them is to use all sources.
        let turn = self.clients[place].number / self.plan.shard.count();
        let dialing = &self.dialings[turn % self.dialings.len()];
        let data = epoll::EventData::new_u64(place as u64);
        match dial::start(&self.plan.address, dialing) {
            Ok(Start::Connected(fd)) => match epoll::add(&self.epoll, &fd, data, self.interest()) {
                Ok(()) => self.connected(place, fd, started),
                Err(errno) => self.fail(place, Trouble::of(errno)),
            },
            Ok(Start::InProgress(fd)) => match epoll::add(&self.epoll, &fd, data, epoll::EventFlags::OUT) {
                Ok(()) => {
                    self.connecting += 1;
                    self.clients[place].state = State::Connecting(fd, started);
                }
                Err(errno) => self.fail(place, Trouble::of(errno)),
            },
            // The accept queue of a Unix socket is full; no poll tells when there is room (connect(2)).
            Err(Reason::TimedOut(_)) => self.knock(place, started),
            Err(Reason::System(errno) | Reason::Reset(errno)) => self.cannot_connect(place, errno, None),
            Err(Reason::Unprepared(error)) => {
                let errno = error.errno().map_or(Errno::NOBUFS, Errno::from_raw_os_error);
                self.cannot_connect(place, errno, Some(error.to_string()));
            }
        }
    }

    /// Tries again in a while. Who is one of many waits longer, so that all together do not keep us busy.
    fn knock(&mut self, place: usize, since: Instant) {
        self.clients[place].state = State::Knocking(since);
        self.knocking += 1;
        let turns = 1 + self.knocking / MOST_KNOCKS;
        self.timers.push(Reverse((self.now + CROWDED * turns as u32, place)));
    }

    /// Counts it and, where its kind alone does not tell what to do, says why.
    fn cannot_connect(&mut self, place: usize, errno: Errno, said: Option<String>) {
        // So says a socket for datagrams that finds no port (ip(7)).
        let errno = if errno == Errno::AGAIN { Errno::ADDRNOTAVAIL } else { errno };
        let trouble = Trouble::of(errno);
        if matches!(trouble, Trouble::Exhausted | Trouble::Other) && self.tally.obstacle.is_none() {
            let to = &self.plan.address;
            self.tally.obstacle = Some(match (said, errno) {
                (Some(said), _) => said,
                (None, Errno::ADDRNOTAVAIL) => supply::no_port(to),
                (None, Errno::MFILE | Errno::NFILE) => supply::NO_DESCRIPTOR.to_owned(),
                (None, errno) => format!("connect to {to}: {}", std::io::Error::from(errno)),
            });
        }
        self.fail(place, trouble);
    }

    /// What an open connection is watched for while everything that is to be sent fits.
    pub(super) fn interest(&self) -> epoll::EventFlags {
        use switchboard_proto::workload::Direction::{Both, Up};
        match self.shape {
            Shape::Flow(Up | Both) => epoll::EventFlags::IN | epoll::EventFlags::OUT,
            _ => epoll::EventFlags::IN,
        }
    }

    fn connected(&mut self, place: usize, fd: OwnedFd, started: Instant) {
        let now = clock::now();
        if started >= self.schedule.from && now < self.schedule.end {
            record(&mut self.tally.connect, now.since(started));
        }
        if self.plan.secure.is_some() {
            return self.begin_handshake(place, fd, now);
        }
        self.opened(place, Channel::plain(fd, self.plan.address.kind), now);
    }

    /// A connection can be used.
    pub(super) fn opened(&mut self, place: usize, channel: Channel, now: Instant) {
        self.clients[place].state = State::Open(channel, now);
        self.clients[place].wants_write = false;
        match self.shape {
            Shape::Stay | Shape::Once | Shape::Hold => self.greet(place, now),
            Shape::Packets => self.offer_packet(place),
            // The epoll says when there is room.
            Shape::Flow(_) => {}
        }
    }

    pub(super) fn finish_connecting(&mut self, place: usize) {
        let state = std::mem::replace(&mut self.clients[place].state, State::Off);
        let State::Connecting(fd, started) = state else { return };
        self.connecting -= 1;
        let data = epoll::EventData::new_u64(place as u64);
        let made = dial::finish(&fd).and_then(|()| epoll::modify(&self.epoll, &fd, data, self.interest()));
        match made {
            Ok(()) => self.connected(place, fd, started),
            Err(errno) => self.fail(place, Trouble::of(errno)),
        }
    }
}
