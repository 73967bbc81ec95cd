//! TLS at the beginning of a connection and, where there is nothing else, at its end.

use super::client::State;
use super::{Worker, clock, record};
use crate::channel::{Awaited, Channel, HandshakeError};
use crate::load::tally::Trouble;
use crate::tls::Failure;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::cmp::Reverse;
use switchboard_proto::Instant;

impl Worker<'_> {
    /// A connection was made on which hands are to be shaken.
    pub(super) fn begin_handshake(&mut self, place: usize, fd: OwnedFd, now: Instant) {
        // What the epoll was told of: streams wait for room from the beginning.
        let is_watched = self.interest().contains(epoll::EventFlags::OUT);
        let client = &mut self.clients[place];
        let (Some(secure), Some(plain)) = (&self.plan.secure, &self.secure) else { return };
        match client.memory.as_ref().unwrap_or(plain).codec(&secure.name) {
            Ok(codec) => {
                let channel = Channel::unshaken(fd, self.plan.address.kind, codec);
                client.state = State::Shaking(channel, now);
                client.wants_write = is_watched;
                self.shake_hands(place);
            }
            Err(error) => {
                self.tally.tls_failure.get_or_insert(error.to_string());
                self.fail(place, Trouble::Tls);
            }
        }
    }

    pub(super) fn shake_hands(&mut self, place: usize) {
        let State::Shaking(channel, since) = &mut self.clients[place].state else { return };
        let since = *since;
        match channel.shake_hands() {
            Ok(Some(awaited)) => {
                if let Err(errno) = self.watch_room(place, awaited == Awaited::Room) {
                    self.fail(place, Trouble::of(errno));
                }
            }
            Ok(None) => self.shaken(place, since),
            Err(error) => {
                let trouble = match &error {
                    HandshakeError::System(errno) => Trouble::of(*errno),
                    HandshakeError::TimedOut(_) => Trouble::TimedOut,
                    HandshakeError::Tls(Failure::Unfinished) => Trouble::Closed,
                    HandshakeError::Tls(failure) => {
                        self.tally.tls_failure.get_or_insert_with(|| failure.to_string());
                        Trouble::Tls
                    }
                };
                self.fail(place, trouble);
            }
        }
    }

    fn shaken(&mut self, place: usize, since: Instant) {
        let now = clock::now();
        let State::Shaking(channel, _) = std::mem::replace(&mut self.clients[place].state, State::Off) else {
            return;
        };
        if since >= self.schedule.from && now < self.schedule.end {
            record(&mut self.tally.handshake, now.since(since));
            self.tally.resumed += u64::from(channel.is_resumed());
        }
        let data = epoll::EventData::new_u64(place as u64);
        if let Err(errno) = epoll::modify(&self.epoll, &channel, data, self.interest()) {
            return self.fail(place, Trouble::of(errno));
        }
        self.opened(place, channel, now);
        // What came with the last of the handshake was read with it, and the epoll does not tell of it.
        if let State::Open(channel, _) = &self.clients[place].state
            && channel.has_input()
        {
            let flags = epoll::EventFlags::IN;
            self.on_input(place, flags);
        }
    }

    /// Ends a connection that was all that was asked for. With TLS the peer's end is awaited: tickets for sessions to be
    /// resumed come behind the handshake, and a socket that is closed before would answer them with a reset.
    pub(super) fn part(&mut self, place: usize) {
        let client = &mut self.clients[place];
        match std::mem::replace(&mut client.state, State::Off) {
            State::Open(mut channel, _) if channel.is_secure() => {
                let is_out = channel.finish().is_ok();
                client.state = State::Leaving(channel, clock::now());
                if is_out { self.leave(place) } else { self.rest(place) }
            }
            state => {
                client.state = state;
                self.rest(place);
            }
        }
    }

    pub(super) fn leave(&mut self, place: usize) {
        let State::Leaving(channel, _) = &mut self.clients[place].state else { return };
        loop {
            match channel.recv(&mut self.bytes) {
                Ok(1..) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Ok(0) | Err(_) => return self.rest(place),
            }
        }
    }

    /// Closes a connection that has done its duty. Through the timers: a connect that succeeds at once must not call
    /// itself.
    pub(super) fn rest(&mut self, place: usize) {
        let client = &mut self.clients[place];
        client.disconnect();
        client.is_resting = true;
        self.timers.push(Reverse((clock::now() + self.plan.think_time, place)));
    }
}
