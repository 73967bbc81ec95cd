//! The ledger against a model, against floods, and against processes that die in the middle of a change.

use super::*;
use crate::limits::Rate;
use std::collections::HashMap;
use switchboard_proto::Random;

fn random() -> Random {
    let seed = std::env::var("SWITCHBOARD_SEED").ok().and_then(|seed| seed.parse().ok());
    Random::new(seed.unwrap_or(7))
}

impl Ledger {
    /// Every count, derived from the tickets, and compared with what is there.
    fn check(&self) {
        let table = self.table;
        let _held = table.hold();
        let (mut services, mut sources) = (HashMap::new(), HashMap::new());
        let mut held = 0;
        for ticket in table.tickets.iter().filter(|ticket| ticket.holder.load(Relaxed) != 0) {
            held += 1;
            *services.entry(ticket.service.load(Relaxed)).or_insert(0) += 1;
            *sources.entry(ticket.source.load(Relaxed)).or_insert(0) += 1;
        }
        assert_eq!(table.overall.open.load(Relaxed), held);
        for (number, cell) in table.services.iter().enumerate() {
            assert_eq!(cell.open.load(Relaxed), services.get(&(number as u32)).copied().unwrap_or(0));
        }
        for (number, cell) in table.sources.iter().enumerate() {
            assert_eq!(cell.open.load(Relaxed), sources.get(&(number as u32 + 1)).copied().unwrap_or(0));
        }
    }
}

#[test]
fn agrees_with_a_model() {
    let mut random = random();
    let ledger = Ledger::create().expect("memory");
    let names: Vec<_> = (0..3).map(|n| ledger.service(&format!("service {n}")).expect("room")).collect();
    assert_eq!(names[1], ledger.service("service 1").expect("room"));
    let bounds = Bounds { overall: Some(40), service: Some(25), source: Some(4), ..Bounds::default() };
    let mut inside: Vec<(usize, u64, Ticket)> = Vec::new();
    for step in 0..20_000_u64 {
        let (service, source) = ((random.bits() % 3) as usize, random.bits() % 12);
        if random.bits() % 5 < 2 && !inside.is_empty() {
            inside.swap_remove(random.bits() as usize % inside.len());
            continue;
        }
        let count = |wanted: &dyn Fn(&(usize, u64, Ticket)) -> bool| {
            inside.iter().filter(|entry| wanted(entry)).count()
        };
        let expected = if count(&|(s, from, _)| (*s, *from) == (service, source)) >= 4 {
            Some(Reached::Source)
        } else if count(&|(s, ..)| *s == service) >= 25 {
            Some(Reached::Service)
        } else if inside.len() >= 40 {
            Some(Reached::Overall)
        } else {
            None
        };
        let taken = ledger.take(names[service], Some(&source.to_be_bytes()), &bounds, Instant(step));
        assert_eq!(taken.as_ref().err().copied(), expected, "step {step}");
        if let Ok(ticket) = taken {
            inside.push((service, source, ticket));
        }
    }
    ledger.check();
    inside.clear();
    assert_eq!((ledger.inside(names[0]), ledger.inside_in_all()), (0, 0));
    ledger.check();
}

#[test]
fn a_flood_from_one_takes_nothing_from_another() {
    let ledger = Ledger::create().expect("memory");
    let service = ledger.service("s").expect("room");
    let pace = |per_second, burst| Some(Pace::from(Rate { per_second, burst }));
    let bounds =
        Bounds { source_pace: pace(10.0, 5.0), service_pace: pace(100.0, 50.0), ..Bounds::default() };
    let (mut flooder, mut victim) = (0, 0);
    for ms in 0..10_000_u64 {
        let now = Instant(1_000_000_000_000 + ms * 1_000_000);
        for _ in 0..10 {
            flooder += u32::from(ledger.take(service, Some(b"flooder"), &bounds, now).is_ok());
        }
        if ms % 200 == 0 {
            victim += u32::from(ledger.take(service, Some(b"victim"), &bounds, now).is_ok());
        }
    }
    assert_eq!(victim, 50, "all were let in");
    assert!((104..=106).contains(&flooder), "burst and rate: {flooder}");
}

#[test]
fn sources_inside_are_not_forgotten_however_many_come() {
    let ledger = Ledger::create().expect("memory");
    let service = ledger.service("s").expect("room");
    let bounds = Bounds { source: Some(1), ..Bounds::default() };
    let inside: Vec<Ticket> = (0..20_000_u32)
        .map(|n| {
            ledger.take(service, Some(&n.to_be_bytes()), &bounds, Instant(1)).expect("within all bounds")
        })
        .collect();
    for n in 0..400_000_u32 {
        drop(
            ledger
                .take(service, Some(&(n + 1_000_000).to_be_bytes()), &bounds, Instant(2))
                .expect("within all bounds"),
        );
    }
    for n in 0..20_000_u32 {
        let taken = ledger.take(service, Some(&n.to_be_bytes()), &bounds, Instant(3));
        assert_eq!(taken.err(), Some(Reached::Source), "{n}");
    }
    ledger.check();
    drop(inside);
    assert_eq!(ledger.inside(service), 0);
}

#[test]
fn full_of_tickets_and_no_further() {
    let ledger = Ledger::create().expect("memory");
    let service = ledger.service("s").expect("room");
    let take = |n: u64| ledger.take(service, Some(&n.to_be_bytes()), &Bounds::default(), Instant(1));
    let mut inside: Vec<Ticket> = (0..TICKETS as u64).map(|n| take(n).expect("within all bounds")).collect();
    assert_eq!(take(1 << 40).err(), Some(Reached::Full));
    inside.pop();
    assert!(take(1 << 40).is_ok());
}

#[test]
fn another_process_opens_the_same_one() {
    let ledger = Ledger::create().expect("memory");
    let service = ledger.service("s").expect("room");
    let ticket = ledger.take(service, None, &Bounds::default(), Instant(1)).expect("within all bounds");
    let again =
        Ledger::open(ledger.descriptor().try_clone_to_owned().expect("a copy")).expect("within all bounds");
    assert_eq!(again.inside(again.service("s").expect("room")), 1);
    drop(ticket);
    assert_eq!(again.inside_in_all(), 0);
    assert!(Ledger::open(std::fs::File::open("/dev/null").expect("null(4)").into()).is_err());
}

#[test]
fn a_table_left_half_changed_is_counted_anew() {
    let ledger = Ledger::create().expect("memory");
    let service = ledger.service("s").expect("room");
    let tickets: Vec<_> = (0..9)
        .map(|_| ledger.take(service, Some(b"a"), &Bounds::default(), Instant(1)).expect("within all bounds"))
        .collect();
    ledger.table.overall.open.store(77, Relaxed);
    ledger.table.free.store(3, Relaxed);
    ledger.table.services[service.0 as usize].open.store(1, Relaxed);
    ledger.table.count_anew(&ledger.table.lock.hold());
    ledger.check();
    drop(tickets);
    ledger.check();
    assert_eq!(ledger.inside_in_all(), 0);
}
