//! [`WaitingRoom`]: clients who were accepted and whom a [`Warden`] has told to wait. They are judged again when it is
//! time.

use super::{Admitted, Refusal, Verdict, Visit, Warden};
use crate::peer::Peer;
use crate::tally::Counters;
use rustix::fd::AsFd;
use switchboard_proto::Instant;

/// Of those who wait, clients from one source.
const FROM_ONE_SOURCE: usize = 32;

/// A decision about a client that is not to wait.
pub(crate) enum Judged<T> {
    In(T, Admitted),
    Away(T, Visit, Refusal),
}

struct Waiting<T> {
    client: T,
    visit: Visit,
    /// When he is judged again.
    at: Instant,
}

pub(crate) struct WaitingRoom<T> {
    waiting: Vec<Waiting<T>>,
    most: usize,
}

impl<T: AsFd> WaitingRoom<T> {
    /// Room for so many; those beyond are sent away.
    pub(crate) fn new(most: usize) -> WaitingRoom<T> {
        WaitingRoom { waiting: Vec::new(), most }
    }

    /// Has a client judged who has just come; `None`: he waits here.
    pub(crate) fn judge(
        &mut self,
        client: T,
        peer: Peer,
        warden: &Warden,
        counters: &Counters,
        now: Instant,
    ) -> Option<Judged<T>> {
        let mut visit = Visit::new(peer);
        let verdict = warden.judge(&mut visit, &client, now);
        if let Verdict::Wait(at) = verdict
            && self.has_room_for(&visit)
        {
            Counters::add(&counters.delayed, 1);
            self.waiting.push(Waiting { client, visit, at: later(at, now) });
            return None;
        }
        Some(decided(client, visit, verdict))
    }

    /// The next of those who wait about whom it is decided now, by the warden of his door.
    pub(crate) fn next<'w>(
        &mut self,
        now: Instant,
        warden: impl Fn(&T) -> Option<&'w Warden>,
    ) -> Option<Judged<T>> {
        let mut index = 0;
        while index < self.waiting.len() {
            let Waiting { client, visit, at } = &mut self.waiting[index];
            let warden = if *at <= now { warden(client) } else { None };
            match warden.map(|warden| warden.judge(visit, &*client, now)) {
                None => index += 1,
                Some(Verdict::Wait(again)) => {
                    *at = later(again, now);
                    index += 1;
                }
                Some(verdict) => {
                    let Waiting { client, visit, .. } = self.waiting.remove(index);
                    return Some(decided(client, visit, verdict));
                }
            }
        }
        None
    }

    /// When somebody is to be judged again; [`Instant::NEVER`] if nobody waits.
    pub(crate) fn wakes_at(&self) -> Instant {
        self.waiting.iter().map(|waiting| waiting.at).fold(Instant::NEVER, Instant::min)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Leaves all who wait.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    fn has_room_for(&self, visit: &Visit) -> bool {
        // Those who would have waited in the queue, had it been known in time, are not sent away.
        if visit.is_queued() {
            return true;
        }
        let alike = self.waiting.iter().filter(|other| other.visit.is_from_the_source_of(visit)).count();
        self.waiting.len() < self.most && alike < FROM_ONE_SOURCE
    }
}

fn decided<T>(client: T, visit: Visit, verdict: Verdict) -> Judged<T> {
    match verdict {
        Verdict::Admit(admitted) => Judged::In(client, admitted),
        Verdict::Refuse(refusal) => Judged::Away(client, visit, refusal),
        Verdict::Wait(_) => Judged::Away(client, visit, Warden::CROWDED),
    }
}

/// Whoever waits is not judged again in the same breath.
fn later(at: Instant, now: Instant) -> Instant {
    at.max(Instant(now.0 + 1))
}
