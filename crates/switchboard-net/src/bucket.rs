//! Token buckets: how many datagrams are answered to one source, and to all. Pure: time is an argument.

use crate::limits::{Rate, Rates};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use switchboard_proto::Instant;

/// Sources remembered at once. A table that is full forgets the source of the set that was quiet longest: an
/// attacker who invents sources gains a fresh burst for each, but the bucket for all still holds him.
const SETS: usize = 1_024;
const WAYS: usize = 4;

/// The buckets of one worker. Memory is fixed: [`SETS`] × [`WAYS`] entries, allocated on first use.
#[derive(Debug)]
pub(crate) struct Buckets {
    rates: Rates,
    global: Bucket,
    sources: Vec<Entry>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    source: u64,
    bucket: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Takes a token if there is one.
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let refill = now.since(self.at).as_secs_f64() * rate.per_second;
        self.tokens = (self.tokens + refill).min(rate.burst);
        self.at = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

impl Buckets {
    pub(crate) fn new(rates: Rates, now: Instant) -> Buckets {
        let tokens = rates.global.map_or(0.0, |rate| rate.burst);
        Buckets { rates, global: Bucket { tokens, at: now }, sources: Vec::new(), hasher: RandomState::new() }
    }

    /// Whether a datagram from `source` may be answered now. The source's own bucket is asked first, so that a
    /// source over its limit takes nothing from the others.
    pub(crate) fn allow(&mut self, source: IpAddr, now: Instant) -> bool {
        if let Some(rate) = self.rates.source
            && !self.entry(source, rate, now).bucket.take(rate, now)
        {
            return false;
        }
        match self.rates.global {
            Some(rate) => self.global.take(rate, now),
            None => true,
        }
    }

    fn entry(&mut self, source: IpAddr, rate: Rate, now: Instant) -> &mut Entry {
        let fresh = |source| Entry { source, bucket: Bucket { tokens: rate.burst, at: now } };
        if self.sources.is_empty() {
            self.sources = vec![fresh(0); SETS * WAYS];
            // An entry nobody has used yet is the oldest there is.
            self.sources.iter_mut().for_each(|entry| entry.bucket.at = Instant(0));
        }
        let key = prefix(source);
        let set = (self.hasher.hash_one(key) as usize % SETS) * WAYS;
        let ways = &mut self.sources[set..set + WAYS];
        let known = ways.iter().position(|entry| entry.source == key);
        let way = known.unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|way| ways[*way].bucket.at).unwrap_or(0);
            ways[oldest] = fresh(key);
            oldest
        });
        &mut ways[way]
    }
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
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    fn rates(source: (f64, f64), global: (f64, f64)) -> Rates {
        let rate = |(per_second, burst)| Some(Rate { per_second, burst });
        Rates { source: rate(source), global: rate(global) }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant(7);
        let mut buckets = Buckets::new(rates((10.0, 100.0), (1e9, 1e9)), start);
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let passed = (0..1_000).filter(|_| buckets.allow(source, start)).count();
        assert_eq!(passed, 100);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..1_000).filter(|_| buckets.allow(source, later)).count(), 20);
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        assert!(buckets.allow(other, later));
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let mut buckets = Buckets::new(rates((0.0, 1.0), (1e9, 1e9)), Instant(0));
        let host = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n));
        assert!(buckets.allow(host(1), Instant(1)));
        assert!(!buckets.allow(host(2), Instant(1)));
    }

    #[test]
    fn invented_sources_meet_the_bucket_for_all_in_bounded_memory() {
        let mut buckets = Buckets::new(rates((10.0, 10.0), (100.0, 5_000.0)), Instant(0));
        let mut random = switchboard_proto::Random::new(1);
        let passed = (0..200_000)
            .filter(|_| {
                let ip = Ipv6Addr::from(u128::from(random.bits()) << 64);
                buckets.allow(IpAddr::V6(ip), Instant(1))
            })
            .count();
        assert_eq!(passed, 5_000);
        assert_eq!(buckets.sources.len(), SETS * WAYS);
    }
}
