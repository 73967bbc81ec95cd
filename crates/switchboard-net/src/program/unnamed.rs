//! [`Unnamed`]: clients who may come in and wait until the names of both ends are known, for programs that want
//! them. A name counts only if it leads back to its address, and is a host name; whoever has none, or one that is not
//! found in time, comes in without.

use super::ProgramSite;
use crate::admission::{Answer, Names, is_host_name};
use crate::error::Error;
use crate::guests::{Arrival, BothNames};
use crate::introduction::Introduction;
use crate::peer::Peer;
use rustix::fd::AsFd;
use rustix::net::getsockname;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard_proto::Instant;

/// Time until it is looked again whether a name is known: a quarter of what it has taken so far, within these.
const SOONEST: Duration = Duration::from_millis(1);
const LATEST: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Default)]
pub(super) struct Unnamed {
    /// Who looks up; none: nobody asks for names.
    names: Option<Arc<Names>>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    arrival: Arrival,
    since: Instant,
    look_at: Instant,
}

impl Unnamed {
    /// For a program that wants names, or not.
    ///
    /// # Errors
    /// No memory, no descriptors.
    pub(super) fn new(site: &ProgramSite<'_>) -> Result<Unnamed, Error> {
        let names = site.program.environment.names.then(Names::system).transpose()?;
        Ok(Unnamed { names, waiting: Vec::new() })
    }

    /// He comes back at once if all that is wanted is known.
    pub(super) fn admit(&mut self, mut arrival: Arrival, now: Instant) -> Option<Arrival> {
        if self.look_up(&mut arrival, now) {
            return Some(arrival);
        }
        self.waiting.push(Waiting { arrival, since: now, look_at: now + SOONEST });
        None
    }

    /// The next of those who wait of whom all is known now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Arrival> {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            if waiting.look_at > now {
                at += 1;
                continue;
            }
            let Waiting { mut arrival, since, .. } = self.waiting.swap_remove(at);
            if self.look_up(&mut arrival, now) {
                return Some(arrival);
            }
            let pause = (now.since(since) / 4).clamp(SOONEST, LATEST);
            self.waiting.push(Waiting { arrival, since, look_at: now + pause });
        }
        None
    }

    /// When somebody is to be looked at again.
    pub(super) fn wakes_at(&self) -> Instant {
        self.waiting.iter().map(|waiting| waiting.look_at).min().unwrap_or(Instant::NEVER)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Leaves all who wait: there is no time left for them.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Gives the client his names, if somebody asked for them; false if some of them are not known yet.
    fn look_up(&self, arrival: &mut Arrival, now: Instant) -> bool {
        let Some(names) = self.names.as_ref().filter(|_| arrival.names.is_none()) else { return true };
        let Peer::Inet(remote) = arrival.peer else { return true };
        let said = arrival.introduction.as_deref().and_then(Introduction::destination);
        let own = || getsockname(arrival.fd.as_fd()).ok().and_then(|name| SocketAddr::try_from(name).ok());
        let local = said.or_else(own);
        // Both are asked for before either is waited for.
        let ask = |ip: IpAddr| names.ask(ip.to_canonical(), now);
        let (remote, local) = (ask(remote.ip()), local.map_or(Answer::Unknown, |local| ask(local.ip())));
        let (Some(remote), Some(local)) = (name(remote), name(local)) else { return false };
        arrival.names = Some(BothNames { remote, local });
        true
    }
}

/// The name, if there is one, once it is known.
fn name(answer: Answer) -> Option<Option<String>> {
    match answer {
        Answer::Pending => None,
        Answer::Unknown | Answer::Forged => Some(None),
        Answer::Confirmed(name) => Some(Some(name).filter(|name| is_host_name(name))),
    }
}
