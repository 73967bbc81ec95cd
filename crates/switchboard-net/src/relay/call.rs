//! [`Call`]: the sockets of a race for the target (RFC 8305), in a loop that waits for many things.

use super::{Relay, stream::Stage, tag, token};
use crate::dial::{self, Start};
use crate::endpoint::Address;
use crate::engine::readiness::{Interest, Waiter};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::AddressFamily;
use switchboard_proto::Instant;
use switchboard_proto::race::{Family, Race, Step, Timing};

/// Numbers of attempts are below this.
const ATTEMPTS: u64 = 64;

/// A connection that is being made.
pub(super) struct Call {
    race: Race<Address, ()>,
    sockets: Vec<(usize, OwnedFd)>,
    pub(super) wakes_at: Instant,
}

impl Call {
    pub(super) fn new(addresses: Vec<Address>, how: &dial::Dialing, now: Instant) -> Call {
        let mut race = Race::new(Timing {
            attempt_delay: how.attempt_delay,
            attempt_timeout: how.connect_timeout,
            ..Timing::default()
        });
        let family = |address: &Address| match address.family() {
            AddressFamily::INET6 => Family::V6,
            _ => Family::V4,
        };
        let usable = addresses.into_iter().filter(|address| {
            how.source
                .is_none_or(|source| address.inet().is_none_or(|inet| inet.is_ipv4() == source.is_ipv4()))
        });
        race.answer_all(usable.map(|address| (family(&address), address)), now);
        Call { race, sockets: Vec::new(), wakes_at: now }
    }
}

impl Relay<'_> {
    /// An attempt has an answer.
    pub(super) fn attempt_answered(&mut self, number: u64) {
        let (flow, attempt) = (number / ATTEMPTS, (number % ATTEMPTS) as usize);
        let Some(Stage::Calling(call)) = self.flows.get_mut(&flow).map(|flow| &mut flow.stage) else {
            return;
        };
        let Some(place) = call.sockets.iter().position(|(this, _)| *this == attempt) else { return };
        match dial::finish(&call.sockets[place].1) {
            Ok(()) => {
                call.race.connected(attempt);
            }
            Err(_) => {
                let (_, fd) = call.sockets.remove(place);
                self.waiting.remove(fd.as_fd(), token(tag::ATTEMPT, number));
                call.race.failed(attempt, (), self.now);
            }
        }
        self.call(flow);
    }

    /// Does what the race says, until it waits or is over.
    pub(super) fn call(&mut self, number: u64) {
        loop {
            let Some(flow) = self.flows.get_mut(&number) else { return };
            let Stage::Calling(call) = &mut flow.stage else { return };
            let mark = |attempt: usize| token(tag::ATTEMPT, number * ATTEMPTS + attempt as u64);
            match call.race.step(self.now) {
                Step::Start(attempt) => {
                    let interest = Interest { read: false, write: true };
                    match dial::start(call.race.address(attempt), &self.site.dialing) {
                        Ok(Start::Connected(fd)) => {
                            call.sockets.push((attempt, fd));
                            call.race.connected(attempt);
                        }
                        Ok(Start::InProgress(fd))
                            if self.waiting.add(fd.as_fd(), mark(attempt), interest).is_ok() =>
                        {
                            call.sockets.push((attempt, fd));
                        }
                        Ok(Start::InProgress(_)) | Err(_) => call.race.failed(attempt, (), self.now),
                    }
                }
                Step::Close(attempt) => {
                    if let Some(place) = call.sockets.iter().position(|(this, _)| *this == attempt) {
                        let (_, fd) = call.sockets.remove(place);
                        self.waiting.remove(fd.as_fd(), mark(attempt));
                    }
                }
                Step::Wait(until) => {
                    call.wakes_at = until;
                    self.timers.schedule(number, until);
                    return;
                }
                Step::Won(attempt) => {
                    let place = call.sockets.iter().position(|(this, _)| *this == attempt);
                    let Some(place) = place else { return self.unreached(number) };
                    let (_, fd) = call.sockets.remove(place);
                    self.waiting.remove(fd.as_fd(), mark(attempt));
                    return self.connected(number, fd);
                }
                Step::Lost => return self.unreached(number),
            }
        }
    }
}
