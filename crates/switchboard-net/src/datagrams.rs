//! Datagram service: receive a batch, answer each packet by a session of its own, send a batch. Used by every
//! engine that serves datagrams; an engine only says when a socket is readable or writable again.
//!
//! What must never happen here is a loop of two services that answer each other, or an answer to somebody who
//! did not ask (CERT CA-1996-01, CVE-2024-2169): see [`Filter`].

use crate::bucket::Buckets;
use crate::endpoint::Kind;
use crate::engine::{Door, Site};
use crate::peer::{Peer, canonical};
use crate::sys::clock;
use crate::sys::mmsg::{Batch, Slot};
use crate::tally::Counters;
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};
use switchboard_proto::{Datagram, Instant, Random, Start, Transport, datagram};

/// Batches served in one go before other sockets get their turn.
const BATCHES_AT_ONCE: usize = 16;

/// What one worker needs to serve any number of datagram sockets.
pub(crate) struct Datagrams {
    /// Made when the first datagram comes.
    batch: Option<Batch>,
    buckets: Buckets,
    random: Random,
    filter: Filter,
    /// Door whose answers wait for room in the socket's buffer, and which of them.
    blocked: Option<(usize, usize, usize)>,
}

/// How far serving a socket came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Nothing more is queued.
    Empty,
    /// More is queued; others may go first.
    More,
    /// Answers wait until this door's socket is writable; no datagram socket is read until then.
    Blocked(usize),
}

impl Datagrams {
    /// For the datagram doors of a site.
    pub(crate) fn new(site: &Site<'_>) -> Datagrams {
        let Site { doors, limits, answers, .. } = site;
        Datagrams {
            batch: None,
            buckets: Buckets::new(limits.datagrams, *answers),
            random: Random::new(clock::seed()),
            filter: Filter::new(limits.reserved_ports.iter().copied().chain(own_ports(doors))),
            blocked: None,
        }
    }

    /// Receives and answers what is queued at `doors[index]`, a good number at most. While answers are blocked
    /// at another socket, nothing is received.
    pub(crate) fn serve(&mut self, doors: &[Door], index: usize, counters: &Counters) -> Progress {
        if let Some((door, ..)) = self.blocked {
            return Progress::Blocked(door);
        }
        let door = &doors[index];
        for _ in 0..BATCHES_AT_ONCE {
            let n = match self.batch().receive(&door.listener) {
                Ok(n) => n,
                // Nothing there, or an error that an ICMP answer left on the socket: being told cleared it.
                Err(_) => return Progress::Empty,
            };
            Counters::add(&counters.datagrams_in, n as u64);
            self.answer(door, n, counters);
            if let Err(blocked) = self.send(doors, index, 0, n, counters) {
                return blocked;
            }
            // Several at once: while they were answered more have come, or will be told of.
            if n == 1 {
                return Progress::Empty;
            }
        }
        Progress::More
    }

    /// Sends what was blocked at `doors[index]`, now that it is writable.
    pub(crate) fn resume(&mut self, doors: &[Door], index: usize, counters: &Counters) -> Progress {
        match self.blocked {
            Some((door, from, to)) if door == index => {
                self.blocked = None;
                match self.send(doors, index, from, to, counters) {
                    Ok(()) => self.serve(doors, index, counters),
                    Err(blocked) => blocked,
                }
            }
            _ => Progress::Empty,
        }
    }

    fn batch(&mut self) -> &mut Batch {
        self.batch.get_or_insert_default()
    }

    fn answer(&mut self, door: &Door, n: usize, counters: &Counters) {
        let now = clock::now();
        let wall = clock::wall();
        let answers = door.recipe.datagram != Datagram::Silent;
        let kind = door.listener.local().kind;
        for slot in self.batch.get_or_insert_default().slots(n) {
            let mut peer = slot.source().map_or(Peer::Unknown, |source| Peer::Inet(canonical(source)));
            if let Some(upstreams) = &door.upstreams {
                match upstreams.take_from(&mut slot.request, peer) {
                    Ok(introduction) => peer = introduction.map_or(peer, |said| said.client()),
                    Err(_) => {
                        Counters::add(&counters.datagrams_unintroduced, 1);
                        continue;
                    }
                }
            }
            if let Some(warden) = &door.warden
                && let Some(refusal) = warden.judge_datagram(peer, &door.listener, now)
            {
                let counter = match refusal.denied {
                    true => &counters.datagrams_denied,
                    false => &counters.datagrams_limited,
                };
                Counters::add(counter, 1);
                continue;
            }
            // Who was introduced is answered through his proxy, and must be no service either.
            if answers && !(self.filter.admits(slot, kind) && self.filter.admits_client(peer)) {
                Counters::add(&counters.datagrams_filtered, 1);
                continue;
            }
            if answers && !within_rate(&mut self.buckets, peer, now) {
                Counters::add(&counters.datagrams_limited, 1);
                continue;
            }
            let start = Start { transport: Transport::Datagram, wall, seed: self.random.bits() };
            slot.answered = datagram::answer(&door.recipe, &mut slot.request, &mut slot.answer, &start, now);
        }
    }

    fn send(
        &mut self,
        doors: &[Door],
        index: usize,
        mut from: usize,
        to: usize,
        counters: &Counters,
    ) -> Result<(), Progress> {
        let listener = &doors[index].listener;
        let kind = listener.local().kind;
        while from < to {
            let (reached, result) = self.batch().send(listener, from, to);
            let sent = self.batch().slots(to)[from..reached].iter().filter(|slot| slot.answered).count();
            Counters::add(&counters.datagrams_out, sent as u64);
            from = reached;
            match result {
                Ok(()) => {}
                // A Unix socket is "full" when this peer's queue is: waiting would let one peer hold up all.
                Err(Errno::AGAIN) if kind == Kind::Udp => {
                    self.blocked = Some((index, from, to));
                    return Err(Progress::Blocked(index));
                }
                Err(_) => {
                    Counters::add(&counters.datagrams_unsent, 1);
                    from += 1;
                }
            }
        }
        Ok(())
    }
}

fn within_rate(buckets: &mut Buckets, peer: Peer, now: Instant) -> bool {
    match peer {
        Peer::Inet(source) => buckets.allow(source.ip(), now),
        Peer::Unix { .. } | Peer::Vsock { .. } | Peer::Unknown => true,
    }
}

/// The UDP ports that this worker serves.
fn own_ports(doors: &[Door]) -> impl Iterator<Item = u16> {
    doors
        .iter()
        .filter(|door| door.listener.local().kind == Kind::Udp)
        .filter_map(|door| door.listener.local().inet())
        .map(|address| address.port())
}

/// Which datagrams a service that answers must not even look at.
///
/// * From ports below 1024 and from 2049 (NFS): services, not clients; an answer would be their next request.
/// * From a port that we serve ourselves: the other end may be one of our services.
/// * Sent to or from a multicast or broadcast address, from the unspecified address, or from an IPv4 address
///   mapped into IPv6 on the wire (OpenBSD's inetd drops the same).
#[derive(Debug)]
struct Filter {
    ports: Vec<u16>,
}

impl Filter {
    fn new(ports: impl Iterator<Item = u16>) -> Filter {
        let mut ports: Vec<u16> = ports.collect();
        ports.sort_unstable();
        ports.dedup();
        Filter { ports }
    }

    fn admits(&self, slot: &Slot, kind: Kind) -> bool {
        match slot.source() {
            Some(source) => self.source(source) && asked_alone(slot),
            // A Unix peer that has no name cannot be answered.
            None => kind == Kind::UnixDatagram && slot.has_return_address(),
        }
    }

    fn admits_client(&self, peer: Peer) -> bool {
        !matches!(peer, Peer::Inet(source) if !self.source(source))
    }

    fn source(&self, source: SocketAddr) -> bool {
        const NFS: u16 = 2049;
        let port = source.port();
        let address = match source.ip() {
            IpAddr::V4(ip) => !(ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0),
            IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some()),
        };
        address && port >= 1024 && port != NFS && self.ports.binary_search(&port).is_err()
    }
}

/// Whether the datagram was sent to one host only.
fn asked_alone(slot: &Slot) -> bool {
    use crate::sys::mmsg::Asked;
    match slot.asked {
        Asked::Unknown => true,
        // The local address differs from the destination when that is a broadcast address of the interface.
        Asked::V4 { to, local } => !(to.is_multicast() || to.is_broadcast() || to != local),
        Asked::V6 { to, .. } => !to.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_not_answered() {
        let filter = Filter::new([7007, 7019].into_iter());
        for (source, admitted) in [
            ("127.0.0.1:40000", true),
            ("[::1]:40000", true),
            ("127.0.0.1:7", false),
            ("127.0.0.1:1023", false),
            ("127.0.0.1:1024", true),
            ("10.0.0.1:2049", false),
            ("10.0.0.1:7019", false),
            ("[2001:db8::1]:7007", false),
            ("224.0.0.1:40000", false),
            ("255.255.255.255:40000", false),
            ("0.0.0.0:40000", false),
            ("[ff02::1]:40000", false),
            ("[::]:40000", false),
            ("[::ffff:10.0.0.1]:40000", false),
        ] {
            assert_eq!(filter.source(source.parse().unwrap()), admitted, "{source}");
        }
    }
}
