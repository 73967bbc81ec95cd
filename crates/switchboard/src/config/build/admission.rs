//! Who may come in, how many at once, how fast.

use super::super::complaint::Complaint;
use super::super::document::{BoundTable, BucketTable};
use super::super::read::Table;
use super::super::source::At;
use super::super::value::Otherwise;
use super::Draft;
use crate::plan::Place;
use switchboard_net::admission::{Admission, Bound, LoadBound, MemoryBound, Policy, RateBound};

impl Draft<'_> {
    /// The rules at its doors.
    pub(super) fn admission(&mut self, listen: &[At<Place>]) -> Admission {
        let all = &self.service.all;
        let access = self.access(listen);
        let connections = all.max_connections.as_ref().and_then(|at| self.bound(at, Queueing::May));
        let per_source =
            all.per_source.as_ref().and_then(|at| self.bound(at, Queueing::Cannot("per_source")));
        let rate = all.rate.as_ref().and_then(|at| self.bucket(at, Queueing::May));
        let rate_per_source =
            all.rate_per_source.as_ref().and_then(|at| self.bucket(at, Queueing::Cannot("rate_per_source")));
        let load = all.max_load.as_ref().and_then(|at| {
            let policy = self.policy(at.value.otherwise.as_ref(), Queueing::May);
            let most = self.needed(at.value.most.as_ref(), at, "most")?.0;
            Some(LoadBound { most, policy })
        });
        let memory = all.min_memory.as_ref().and_then(|at| {
            let policy = self.policy(at.value.otherwise.as_ref(), Queueing::May);
            let least = self.needed(at.value.least.as_ref(), at, "least")?.0;
            Some(MemoryBound { least, policy })
        });
        let ipv6_prefix = all.ipv6_prefix.as_ref().and_then(|at| {
            let length = u8::try_from(at.value.0).ok().filter(|length| (1..=128).contains(length));
            if length.is_none() {
                let problem = format!("an IPv6 prefix of {} bits does not exist", at.value.0);
                self.complain(Complaint::new(problem).at(at.span, "expected 1 to 128"));
            }
            length
        });
        Admission {
            access,
            connections,
            per_source,
            rate,
            rate_per_source,
            load,
            memory,
            ipv6_prefix,
            message: all.message.as_ref().map(|at| at.value.clone().into_bytes()),
        }
    }

    fn bound(&mut self, at: &At<BoundTable>, queueing: Queueing) -> Option<Bound> {
        let policy = self.policy(at.value.otherwise.as_ref(), queueing);
        let most = self.needed(at.value.most.as_ref(), at, "most")?.0;
        Some(Bound { most, policy })
    }

    fn bucket(&mut self, at: &At<BucketTable>, queueing: Queueing) -> Option<RateBound> {
        let policy = self.policy(at.value.otherwise.as_ref(), queueing);
        let rate = self.needed(at.value.most.as_ref(), at, "most")?.bucket();
        Some(RateBound { rate, policy })
    }

    /// The key that a limit cannot do without.
    fn needed<T: Copy>(&mut self, value: Option<&At<T>>, table: &At<impl Table>, key: &str) -> Option<T> {
        if !table.value.said(key) {
            let complaint = Complaint::new("the limit does not say how much");
            self.complain(complaint.at(table.span, format!("expected `{key}`")));
        }
        value.map(|at| at.value)
    }

    fn policy(&mut self, otherwise: Option<&At<Otherwise>>, queueing: Queueing) -> Policy {
        let usual = match queueing {
            Queueing::May => Otherwise::Queue,
            // A message cannot be followed by a reset, which might overtake it.
            Queueing::Cannot(_) if self.service.all.message.is_some() => Otherwise::Close,
            Queueing::Cannot(_) => Otherwise::Reset,
        };
        let otherwise = otherwise.map_or(At::from(usual), |at| *at);
        if let (Otherwise::Queue, Queueing::Cannot(key)) = (otherwise.value, queueing) {
            let problem = format!(
                "clients beyond `{key}` cannot wait in the kernel's queue: it is one for all sources"
            );
            self.complain(
                Complaint::new(problem).at(otherwise.span, "expected `reset`, `close` or `delay:DURATION`"),
            );
        }
        otherwise.value.policy()
    }
}

/// Whether clients beyond a limit may wait in the kernel's queue.
#[derive(Clone, Copy)]
enum Queueing {
    May,
    /// It is the limit of one source, with this key.
    Cannot(&'static str),
}
