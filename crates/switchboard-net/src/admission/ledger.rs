//! [`Ledger`]: who is inside, and how fast they came, in memory that all processes of a server share: workers,
//! their children, and the successor after an upgrade.
//!
//! * The truth is the [`Ticket`]s: one for each connection inside, with the process that holds it. Counts of
//!   services and sources are derived from them under one [`Lock`]; a process that is killed while it holds that
//!   leaves a table that the next one counts anew.
//! * Tickets of a process that died are given back by whoever learns of it ([`Ledger::release_dead`]), or by the
//!   next one who meets a limit ([`Ledger::sweep`]). So nothing counts that is not there (systemd#20685).
//! * The table of sources is bounded. A source with open connections is never forgotten, and there is room for as
//!   many of them as there are tickets. Of the others the one is forgotten first whose bucket is full again
//!   soonest: he would be treated alike. To be forgotten is never to anybody's disadvantage, so nobody gains by
//!   crowding others out.

use super::holder::{self, Holder};
use super::lock::{Held, Lock};
use super::pace::Pace;
use crate::bucket::{AnswerTable, Answers, digest};
use crate::error::Error;
use crate::sys::clock;
use crate::sys::shared::{map, shared_file};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release};
use switchboard_proto::Instant;

/// Connections inside that can be counted.
pub const TICKETS: usize = 65_536;
/// Services that can be counted.
pub const SERVICES: usize = 1_024;
/// Sources remembered: two sets of [`WAYS`] are looked at for each.
const SETS: usize = 16_384;
const WAYS: usize = 8;
/// Changes with the layout.
const MAGIC: u64 = u64::from_be_bytes(*b"swledg02");
/// Time between two looks for tickets of the dead, nanoseconds.
const SWEEP_EVERY_NS: u64 = 1_000_000_000;

/// What lies in shared memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Table {
    magic: AtomicU64,
    /// Keys of the hash that spreads sources, so that nobody can aim at a set.
    salt: [AtomicU64; 2],
    lock: Lock,
    /// Ticket that is free, plus one; the others hang on it.
    free: AtomicU32,
    /// Tickets that were ever used.
    used: AtomicU32,
    reserved: AtomicU32,
    swept_at: AtomicU64,
    overall: Cell,
    services: [Cell; SERVICES],
    sources: [Cell; SETS * WAYS],
    tickets: [Slot; TICKETS],
    answers: AnswerTable,
}

/// A service or a source. A key of zero: nobody yet.
#[derive(Debug)]
#[repr(C)]
struct Cell {
    key: AtomicU64,
    /// When its bucket is full again, nanoseconds ([`Pace`]).
    full_at: AtomicU64,
    open: AtomicU32,
    reserved: AtomicU32,
}

#[derive(Debug)]
#[repr(C)]
struct Slot {
    /// Zero: free. Written last when a ticket is given out, first when it comes back.
    holder: AtomicU64,
    service: AtomicU32,
    /// The source's number plus one; zero: it is not counted. In a free ticket: the next free one, plus one.
    source: AtomicU32,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ledger {
    table: &'static Table,
    file: Arc<OwnedFd>,
}

/// The number of a service in a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceNumber(u32);

/// A connection that is counted; given back when dropped, by the process that took it and no other: a copy in a
/// forked child does nothing.
#[derive(Debug)]
pub struct Ticket {
    table: &'static Table,
    slot: u32,
    holder: Holder,
}

/// What [`Ledger::take`] asks.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Bounds {
    pub(crate) overall: Option<u32>,
    pub(crate) service: Option<u32>,
    pub(crate) source: Option<u32>,
    pub(crate) service_pace: Option<Pace>,
    pub(crate) source_pace: Option<Pace>,
}

/// Which bound was reached, and until when at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reached {
    Overall,
    Service,
    Source,
    ServiceRate(Instant),
    SourceRate(Instant),
    /// No ticket, or no room for one more source.
    Full,
}

impl Ledger {
    /// An empty one.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub fn create() -> Result<Ledger, Error> {
        let (file, table) =
            shared_file::<Table>("admission").map_err(|error| Error::system("map shared memory", error))?;
        table.salt.iter().for_each(|salt| salt.store(clock::seed(), Relaxed));
        table.magic.store(MAGIC, Release);
        Ok(Ledger { table, file: Arc::new(file) })
    }

    /// The one in a descriptor that another process got from [`Ledger::descriptor`]. A successor that cannot open
    /// it (another layout) starts with an empty one.
    ///
    /// # Errors
    /// A file that is not a ledger of this layout; `ENOMEM`.
    pub fn open(file: OwnedFd) -> Result<Ledger, Error> {
        let table: &Table = map(&file).map_err(|error| Error::system("map the ledger", error))?;
        if table.magic.load(Relaxed) != MAGIC {
            return Err(Error::Config("the ledger that was handed over has another layout".into()));
        }
        Ok(Ledger { table, file: Arc::new(file) })
    }

    /// What a successor needs for [`Ledger::open`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The number of the service called `name`, the same in every process and as long as the ledger lives.
    ///
    /// # Errors
    /// More than [`SERVICES`] names were ever asked for.
    pub fn service(&self, name: &str) -> Result<ServiceNumber, Error> {
        let key = self.table.key(0, name.as_bytes());
        let _held = self.table.hold();
        for (number, cell) in self.table.services.iter().enumerate() {
            let known = cell.key.load(Relaxed);
            if known == 0 {
                cell.key.store(key, Relaxed);
            }
            if known == 0 || known == key {
                return Ok(ServiceNumber(number as u32));
            }
        }
        Err(Error::Config(format!("{SERVICES} services have been counted, there is no room for {name}")))
    }

    /// How many datagrams are answered by the service called `name`, counted by all who serve it.
    pub fn answers(&self, name: &str) -> Answers {
        self.table.answers.of(name, self.table.salt())
    }

    /// Connections of a service that are inside now.
    pub fn inside(&self, service: ServiceNumber) -> u32 {
        self.table.services[service.0 as usize].open.load(Relaxed)
    }

    /// Connections that are inside now, of all services.
    pub fn inside_in_all(&self) -> u32 {
        self.table.overall.open.load(Relaxed)
    }

    /// When the service's bucket has a token, without taking it.
    pub(crate) fn ready_at(&self, service: ServiceNumber, pace: Pace) -> Instant {
        pace.ready_at(self.table.services[service.0 as usize].full_at.load(Relaxed))
    }

    /// Counts one more connection of a service, from `source` (any bytes that tell it apart; none if sources do
    /// not matter), if that is within all bounds; otherwise nothing has changed.
    pub(crate) fn take(
        &self,
        service: ServiceNumber,
        source: Option<&[u8]>,
        bounds: &Bounds,
        now: Instant,
    ) -> Result<Ticket, Reached> {
        let table = self.table;
        let taken = table.take(&table.hold(), service, source, bounds, now);
        // Before anybody is refused for their sake: those that are counted should be alive.
        let counted =
            matches!(taken, Err(Reached::Overall | Reached::Service | Reached::Source | Reached::Full));
        if counted && self.sweep_when_due(now) > 0 {
            return table.take(&table.hold(), service, source, bounds, now);
        }
        taken
    }

    /// Gives back the tickets of a process that has ended, and returns how many there were. For the parent that
    /// has collected it (or a process whose id cannot be in use again yet).
    pub fn release_dead(&self, pid: i32) -> usize {
        self.table.release(|holder| holder::pid_of(holder) == pid.unsigned_abs())
    }

    /// Gives back the tickets of every process that is gone, and returns how many there were.
    pub fn sweep(&self) -> usize {
        // Looking at processes takes long, so it is done before the lock is taken, and once for each of them.
        let used = (self.table.used.load(Relaxed) as usize).min(TICKETS);
        let tickets = self.table.tickets[..used].iter();
        let holders: HashSet<Holder> = tickets.map(|ticket| ticket.holder.load(Relaxed)).collect();
        let gone: HashSet<Holder> =
            holders.into_iter().filter(|holder| *holder != 0 && holder::has_ended(*holder)).collect();
        if gone.is_empty() { 0 } else { self.table.release(|holder| gone.contains(&holder)) }
    }

    /// [`Ledger::sweep`], at most once a second in all processes together.
    pub(crate) fn sweep_when_due(&self, now: Instant) -> usize {
        let last = self.table.swept_at.load(Relaxed);
        let due = now.0.saturating_sub(last) >= SWEEP_EVERY_NS;
        let mine = due && self.table.swept_at.compare_exchange(last, now.0, Relaxed, Relaxed).is_ok();
        if mine { self.sweep() } else { 0 }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if holder::is_mine(self.holder) {
            let held = self.table.hold();
            if self.table.tickets[self.slot as usize].holder.load(Relaxed) == self.holder {
                self.table.give_back(&held, self.slot);
            }
        }
    }
}

impl Table {
    /// Locks, after having put right what a killed process left.
    fn hold(&self) -> Held<'_> {
        let held = self.lock.hold();
        if held.inherited {
            self.count_anew(&held);
        }
        held
    }

    fn take(
        &'static self,
        held: &Held<'_>,
        service: ServiceNumber,
        source: Option<&[u8]>,
        bounds: &Bounds,
        now: Instant,
    ) -> Result<Ticket, Reached> {
        let cell = &self.services[service.0 as usize];
        // The source's own bounds first, so that the reason that is logged is his own doing.
        let number = match source {
            None => None,
            Some(source) => {
                let number =
                    self.source(held, self.key(u64::from(service.0) + 1, source)).ok_or(Reached::Full)?;
                let source = &self.sources[number];
                if bounds.source.is_some_and(|most| source.open.load(Relaxed) >= most) {
                    return Err(Reached::Source);
                }
                late(source, bounds.source_pace, now)
                    .map_or(Ok(()), |until| Err(Reached::SourceRate(until)))?;
                Some(number)
            }
        };
        if bounds.service.is_some_and(|most| cell.open.load(Relaxed) >= most) {
            return Err(Reached::Service);
        }
        if bounds.overall.is_some_and(|most| self.overall.open.load(Relaxed) >= most) {
            return Err(Reached::Overall);
        }
        late(cell, bounds.service_pace, now).map_or(Ok(()), |until| Err(Reached::ServiceRate(until)))?;
        let slot = self.free_slot(held).ok_or(Reached::Full)?;
        let ticket = &self.tickets[slot as usize];
        ticket.service.store(service.0, Relaxed);
        ticket.source.store(number.map_or(0, |number| number as u32 + 1), Relaxed);
        let holder = holder::me();
        ticket.holder.store(holder, Release);
        self.count(ticket, 1);
        spend(cell, bounds.service_pace, now);
        if let Some(number) = number {
            spend(&self.sources[number], bounds.source_pace, now);
        }
        Ok(Ticket { table: self, slot, holder })
    }

    /// The number of the source with this key, made room for if it is new; `None` if all that could be forgotten
    /// have open connections.
    fn source(&self, _held: &Held<'_>, key: u64) -> Option<usize> {
        let ways = |set: usize| set * WAYS..(set + 1) * WAYS;
        let idle = |way: &usize| self.sources[*way].open.load(Relaxed) == 0;
        let sets = [key as usize % SETS, (key >> 32) as usize % SETS];
        let known = sets.into_iter().flat_map(ways).find(|way| self.sources[*way].key.load(Relaxed) == key);
        known.or_else(|| {
            // The set with fewer that must stay: so no set fills up while there are fewer of them than half the
            // table ("the power of two choices").
            let set = sets.into_iter().max_by_key(|set| ways(*set).filter(idle).count())?;
            let way = ways(set).filter(idle).min_by_key(|way| self.sources[*way].full_at.load(Relaxed))?;
            let cell = &self.sources[way];
            cell.full_at.store(0, Relaxed);
            cell.key.store(key, Relaxed);
            Some(way)
        })
    }

    fn free_slot(&self, _held: &Held<'_>) -> Option<u32> {
        if let Some(slot) = self.free.load(Relaxed).checked_sub(1) {
            self.free.store(self.tickets[slot as usize].source.load(Relaxed), Relaxed);
            return Some(slot);
        }
        let used = self.used.load(Relaxed);
        ((used as usize) < TICKETS).then(|| {
            self.used.store(used + 1, Relaxed);
            used
        })
    }

    fn give_back(&self, _held: &Held<'_>, slot: u32) {
        let ticket = &self.tickets[slot as usize];
        ticket.holder.store(0, Release);
        self.count(ticket, u32::MAX);
        ticket.source.store(self.free.load(Relaxed), Relaxed);
        self.free.store(slot + 1, Relaxed);
    }

    /// Adds `n` (one, or minus one) to all that a ticket counts for.
    fn count(&self, ticket: &Slot, n: u32) {
        let add = |cell: &Cell| cell.open.store(cell.open.load(Relaxed).wrapping_add(n), Relaxed);
        add(&self.overall);
        add(&self.services[ticket.service.load(Relaxed) as usize % SERVICES]);
        if let Some(source) = ticket.source.load(Relaxed).checked_sub(1) {
            add(&self.sources[source as usize % (SETS * WAYS)]);
        }
    }

    fn release(&self, of: impl Fn(Holder) -> bool) -> usize {
        let held = self.hold();
        let used = (self.used.load(Relaxed) as usize).min(TICKETS);
        let mut released = 0;
        for slot in 0..used {
            let holder = self.tickets[slot].holder.load(Relaxed);
            if holder != 0 && of(holder) {
                self.give_back(&held, slot as u32);
                released += 1;
            }
        }
        released
    }

    /// Derives counts and free tickets from the tickets that are held.
    fn count_anew(&self, _held: &Held<'_>) {
        let cells = self.services.iter().chain(&self.sources).chain([&self.overall]);
        cells.for_each(|cell| cell.open.store(0, Relaxed));
        self.free.store(0, Relaxed);
        let used = (self.used.load(Relaxed) as usize).min(TICKETS);
        for (slot, ticket) in self.tickets[..used].iter().enumerate() {
            if ticket.holder.load(Relaxed) == 0 {
                ticket.source.store(self.free.load(Relaxed), Relaxed);
                self.free.store(slot as u32 + 1, Relaxed);
            } else {
                self.count(ticket, 1);
            }
        }
    }

    fn key(&self, kind: u64, bytes: &[u8]) -> u64 {
        digest(self.salt(), kind, bytes)
    }

    fn salt(&self) -> [u64; 2] {
        [self.salt[0].load(Relaxed), self.salt[1].load(Relaxed)]
    }
}

/// Until when the bucket of `cell` is empty, if it is.
fn late(cell: &Cell, pace: Option<Pace>, now: Instant) -> Option<Instant> {
    let ready_at = pace?.ready_at(cell.full_at.load(Relaxed));
    (ready_at > now).then_some(ready_at)
}

fn spend(cell: &Cell, pace: Option<Pace>, now: Instant) {
    if let Some(pace) = pace {
        cell.full_at.store(pace.take(cell.full_at.load(Relaxed), now), Relaxed);
    }
}

#[cfg(test)]
mod tests;
