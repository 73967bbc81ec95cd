//! Sleeping until something can be done.

use super::{Ready, Receiving, Sending, Talk, Way};
use crate::error::Error;
use crate::sys::{clock, fault, socket};
use rustix::fd::AsFd;
use rustix::io::Errno;
use switchboard_proto::Instant;

impl Talk<'_> {
    pub(super) fn wants_input(&mut self) -> bool {
        let room = !(self.way_up == Way::Short && self.net_full);
        self.input_open && self.sending == Sending::Open && self.pending() == 0 && room
    }

    pub(super) fn wants_net(&self) -> bool {
        self.receiving == Receiving::Open && self.down.is_empty()
    }

    /// Sleeps until something can be done or a time limit has passed.
    pub(super) fn wait(&mut self) -> Result<Ready, Error> {
        const UNWATCHED: usize = usize::MAX;
        let mut next = 0;
        let mut place = |watched: bool| {
            let at = if watched { next } else { UNWATCHED };
            next += usize::from(watched);
            at
        };
        let (wants_input, wants_net) = (self.wants_input(), self.wants_net());
        let wants_output = self.output_full && !self.down.is_empty() && self.output_error.is_none();
        let wants_room = self.net_full
            && (self.sending == Sending::Open || self.net.has_output())
            && self.sending != Sending::Broken;
        let input_at = place(wants_input);
        let net_at = place(!self.hung_up);
        let output_at = place(wants_output);
        let companions_at = place(self.companions.are_open());
        self.list.clear();
        if wants_input {
            self.list.push(self.input, true, false);
        }
        if !self.hung_up {
            self.list.push(self.net.as_fd(), wants_net, wants_room);
        }
        if wants_output {
            self.list.push(self.output, false, true);
        }
        if let Some(fd) = self.companions.as_fd() {
            self.list.push(fd, true, false);
        }
        // What TLS has decrypted already, poll(2) does not know of.
        let unasked = wants_net && (self.hung_up || self.net.has_input());
        let until = if unasked || self.hung_up && wants_room { Instant(0) } else { self.deadline() };
        let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
        match if fault::interrupted() { Err(Errno::INTR) } else { self.list.wait(timeout) } {
            Ok(()) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for the connection (poll)", errno)),
        }
        let mut ready = Ready { net: unasked, ..Ready::default() };
        let was_full = self.net_full;
        self.net_full &= !self.hung_up;
        let mut broken = false;
        for (place, state) in self.list.ready() {
            if place == input_at {
                ready.input = true;
            } else if place == net_at {
                ready.net |= wants_net && (state.readable || state.broken);
                self.net_full &= !(state.writable || state.broken);
                broken = state.broken;
            } else if place == output_at {
                self.output_full = false;
            } else if place == companions_at {
                ready.companions = true;
            }
        }
        // Input that goes the short way waits in its own place for this, and is not to be taken for silence.
        ready.input |= self.way_up == Way::Short && was_full && !self.net_full;
        if broken {
            self.on_broken(wants_net);
        }
        Ok(ready)
    }

    /// poll(2) says that the socket has an error or is over in both directions.
    pub(super) fn on_broken(&mut self, wants_net: bool) {
        if self.kind.is_datagram() {
            // An error of a datagram socket is an ICMP message; taking it makes poll quiet again.
            if !wants_net && let Some(errno) = socket::take_error(&self.net) {
                self.receive_failed(errno);
            }
        } else if !wants_net {
            // Not to be told again and again. recv(2) gives the error, if it is called once more; after the peer's
            // end an error means that our bytes are not wanted any more, and those that are lost are counted.
            self.hung_up = true;
        }
    }
}
