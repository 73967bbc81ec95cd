//! [`Answers`]: token buckets, how many datagrams are answered to one source, and to all. They lie in memory that the
//! workers of a service share, so that a rate means the same however many there are. No lock: a bucket is one word
//! ([`Pace`]). Time is an argument.

use crate::admission::Pace;
use crate::limits::Rates;
use crate::sys::clock;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use switchboard_proto::Instant;

/// Sources remembered at once, of all services. A set that is full forgets the source whose bucket is full again
/// soonest: an attacker who invents sources gains a fresh burst for each, but the bucket for all still holds him.
const SETS: usize = 4_096;
const WAYS: usize = 4;
/// Services with a bucket for all. Beyond them the one that was quiet longest shares its bucket.
const SERVICES: usize = 1_024;

/// What lies in shared memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct AnswerTable {
    services: [Cell; SERVICES],
    sources: [Cell; SETS * WAYS],
}

/// A service or a source. A key of zero: nobody yet.
#[derive(Debug, Default)]
#[repr(C)]
struct Cell {
    key: AtomicU64,
    /// When its bucket is full again, nanoseconds.
    full_at: AtomicU64,
}

/// Keys of the hash that spreads sources, so that nobody outside can aim at a set.
pub(crate) type Salt = [u64; 2];

/// The buckets of one service. Copies, also in other processes, are the same buckets.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    table: &'static AnswerTable,
    salt: Salt,
    service: u64,
    all: &'static Cell,
}

/// [`Answers`] with its rates, or a table of one's own.
#[derive(Debug)]
pub(crate) struct Buckets {
    source: Option<Pace>,
    all: Option<Pace>,
    salt: Salt,
    service: u64,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    Shared(Answers),
    /// Nobody else counts: a total, and sources, allocated on first use.
    Own(Cell, Vec<Cell>),
}

impl AnswerTable {
    /// The buckets of the service called `name`.
    pub(crate) fn of(&'static self, name: &str, salt: Salt) -> Answers {
        let service = digest(salt, 0, name.as_bytes());
        Answers { table: self, salt, service, all: find(&self.services, service) }
    }
}

impl Buckets {
    /// Counted in `shared`, or by this worker alone.
    pub(crate) fn new(rates: Rates, shared: Option<Answers>) -> Buckets {
        let [source, all] = [rates.source, rates.global].map(|rate| rate.map(Pace::from));
        let (salt, service, cells) = match shared {
            Some(answers) => (answers.salt, answers.service, Cells::Shared(answers)),
            None => ([clock::seed(), clock::seed()], 0, Cells::Own(Cell::default(), Vec::new())),
        };
        Buckets { source, all, salt, service, cells }
    }

    /// Whether a datagram from `source` may be answered now. The source's own bucket is asked first, so that a
    /// source over its limit takes nothing from the others.
    pub(crate) fn allow(&mut self, source: IpAddr, now: Instant) -> bool {
        if let Some(pace) = self.source
            && !self.bucket(source).take(pace, now)
        {
            return false;
        }
        let all = match &self.cells {
            Cells::Shared(answers) => answers.all,
            Cells::Own(all, _) => all,
        };
        self.all.is_none_or(|pace| all.take(pace, now))
    }

    fn bucket(&mut self, source: IpAddr) -> &Cell {
        let key = digest(self.salt, self.service, &prefix(source).to_be_bytes());
        let sources = match &mut self.cells {
            Cells::Shared(answers) => &answers.table.sources[..],
            Cells::Own(_, sources) => {
                if sources.is_empty() {
                    sources.resize_with(SETS * WAYS, Cell::default);
                }
                sources
            }
        };
        let set = (key as usize % SETS) * WAYS;
        find(&sources[set..set + WAYS], key)
    }
}

impl Cell {
    /// Takes a token if there is one.
    fn take(&self, pace: Pace, now: Instant) -> bool {
        let next = |full_at| (pace.ready_at(full_at) <= now).then(|| pace.take(full_at, now));
        self.full_at.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// The cell of `key` among `cells`, of which the one that is full again soonest is forgotten for it. Two processes
/// that do so at the same time may count a token for the wrong one, and no more than that.
fn find(cells: &[Cell], key: u64) -> &Cell {
    let known = |cell: &&Cell| cell.key.load(Relaxed) == key;
    let use_of = |cell: &&Cell| (cell.key.load(Relaxed) != 0, cell.full_at.load(Relaxed));
    cells.iter().find(known).unwrap_or_else(|| {
        let cell = cells.iter().min_by_key(use_of).expect("there are cells");
        let before = cell.key.load(Relaxed);
        if before != key && cell.key.compare_exchange(before, key, Relaxed, Relaxed).is_ok() {
            cell.full_at.store(0, Relaxed);
        }
        cell
    })
}

/// A key that is never zero and that nobody outside can foresee.
pub(crate) fn digest(salt: Salt, kind: u64, bytes: &[u8]) -> u64 {
    // The keyed SipHash of the standard library under its old name: the new one cannot be given its keys, and
    // other processes must come to the same.
    #[allow(deprecated)]
    let mut hash = std::hash::SipHasher::new_with_keys(salt[0], salt[1]);
    hash.write_u64(kind);
    hash.write(bytes);
    hash.finish().max(1)
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host has to itself (RFC 4291 §2.5.1).
fn prefix(source: IpAddr) -> u64 {
    match source {
        // The prefix ::/64 holds nothing but special addresses, so IPv4 can be kept apart by its low bits there.
        IpAddr::V4(ip) => 1 << 32 | u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rate;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    fn rates(source: (f64, f64), global: (f64, f64)) -> Rates {
        let rate = |(per_second, burst)| Some(Rate { per_second, burst });
        Rates { source: rate(source), global: rate(global) }
    }

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant(7_000_000_000);
        let mut buckets = Buckets::new(rates((10.0, 100.0), (1e9, 1e9)), None);
        let passed = (0..1_000).filter(|_| buckets.allow(HERE, start)).count();
        assert_eq!(passed, 100);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..1_000).filter(|_| buckets.allow(HERE, later)).count(), 20);
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        assert!(buckets.allow(other, later));
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let mut buckets = Buckets::new(rates((0.0, 1.0), (1e9, 1e9)), None);
        let host = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n));
        assert!(buckets.allow(host(1), Instant(1)));
        assert!(!buckets.allow(host(2), Instant(1)));
    }

    #[test]
    fn invented_sources_meet_the_bucket_for_all_in_bounded_memory() {
        let mut buckets = Buckets::new(rates((10.0, 10.0), (100.0, 5_000.0)), None);
        let mut random = switchboard_proto::Random::new(1);
        let passed = (0..200_000)
            .filter(|_| {
                let ip = Ipv6Addr::from(u128::from(random.bits()) << 64);
                buckets.allow(IpAddr::V6(ip), Instant(1))
            })
            .count();
        assert_eq!(passed, 5_000);
        let Cells::Own(_, sources) = &buckets.cells else { panic!("nobody shares") };
        assert_eq!(sources.len(), SETS * WAYS);
    }

    #[test]
    fn workers_of_a_service_count_together_and_services_apart() {
        let ledger = crate::admission::Ledger::create().unwrap();
        let worker = |name, rates| -> Buckets { Buckets::new(rates, Some(ledger.answers(name))) };
        let (by_source, by_all) = (rates((0.0, 50.0), (1e9, 1e9)), rates((1e9, 1e9), (0.0, 70.0)));
        // Threads stand for processes: what they share is the same memory.
        let race = |name: &'static str, rates: Rates| -> usize {
            std::thread::scope(|scope| {
                let count = || {
                    let mut buckets = worker(name, rates);
                    scope.spawn(move || (0..1_000).filter(|_| buckets.allow(HERE, Instant(1))).count())
                };
                let racers: Vec<_> = (0..4).map(|_| count()).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            })
        };
        // The source is made known first: what two who meet it at once may count wrongly is said at `find`.
        assert!(worker("a", by_source).allow(HERE, Instant(1)));
        assert_eq!(race("a", by_source), 49);
        assert!(worker("b", by_source).allow(HERE, Instant(1)));
        assert_eq!(race("c", by_all), 70);
        assert!(!worker("c", by_all).allow(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), Instant(1)));
    }
}
