//! Who is let in, who is sent away, and when a door that was shut opens.

use super::super::names::tests::Fake;
use super::super::{Access, LoadBound, MemoryBound, RateBound, Who};
use super::*;
use crate::limits::Rate;
use std::net::{TcpListener, TcpStream};

fn socket() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    TcpStream::connect(listener.local_addr().expect("an address")).expect("loopback")
}

fn from(address: &str) -> Visit {
    Visit::new(Peer::Inet((address.parse::<IpAddr>().expect("an address"), 4_000).into()))
}

fn warden(admission: &Admission) -> Warden {
    Warden::new("s", admission, None, &Ledger::create().expect("memory")).expect("rules that can be")
}

fn rate(per_second: f64, burst: f64, policy: Policy) -> Option<RateBound> {
    Some(RateBound { rate: Rate { per_second, burst }, policy })
}

/// Judges as the porch does, until it is decided; the clock is the real one, since look-ups take real time.
fn settle(warden: &Warden, visit: &mut Visit, socket: &TcpStream) -> Verdict {
    loop {
        match warden.judge(visit, socket, clock::now()) {
            Verdict::Wait(until) => std::thread::sleep(until.since(clock::now())),
            verdict => return verdict,
        }
    }
}

#[test]
fn who_is_denied_costs_no_token() {
    let admission = Admission {
        access: Access { deny: vec!["10.0.0.0/8".parse().expect("an address")], ..Access::default() },
        rate: rate(0.0, 1.0, Policy::Reset),
        connections: Some(Bound { most: 1, policy: Policy::Reset }),
        ..Admission::default()
    };
    let (warden, socket, now) = (warden(&admission), socket(), Instant(1_000_000_000));
    for _ in 0..1_000 {
        let verdict = warden.judge(&mut from("10.1.2.3"), &socket, now);
        assert!(matches!(verdict, Verdict::Refuse(Refusal { denied: true, .. })));
    }
    assert!(matches!(warden.judge(&mut from("192.0.2.1"), &socket, now), Verdict::Admit(_)));
    let verdict = warden.judge(&mut from("192.0.2.1"), &socket, now);
    assert!(matches!(verdict, Verdict::Refuse(Refusal { denied: false, .. })));
}

#[test]
fn a_name_that_leads_back_lets_in_and_no_other_does() {
    let admission = Admission {
        access: Access { allow: vec![Who::Name(".good.example".into())], ..Access::default() },
        ..Admission::default()
    };
    let names = Fake(vec![
        ("192.0.2.1", "a.good.example", "192.0.2.1"),
        ("192.0.2.2", "b.good.example", "192.0.2.99"),
        ("192.0.2.3", "evil.example", "192.0.2.3"),
    ]);
    let warden = warden(&admission).with_lookup(Arc::new(names)).expect("memory");
    let socket = socket();
    for (address, expected) in
        [("192.0.2.1", true), ("192.0.2.2", false), ("192.0.2.3", false), ("192.0.2.4", false)]
    {
        let verdict = settle(&warden, &mut from(address), &socket);
        assert_eq!(matches!(verdict, Verdict::Admit(_)), expected, "{address}");
    }
}

#[test]
fn one_ipv6_network_is_one_source() {
    let admission = Admission {
        rate_per_source: rate(0.0, 1.0, Policy::Reset),
        ipv6_prefix: Some(56),
        ..Admission::default()
    };
    let (warden, socket, now) = (warden(&admission), socket(), Instant(1_000_000_000));
    let comes_in = |address| matches!(warden.judge(&mut from(address), &socket, now), Verdict::Admit(_));
    assert!(comes_in("2001:db8:0:1200::1"));
    assert!(!comes_in("2001:db8:0:12ff::2"), "the same /56");
    assert!(comes_in("2001:db8:0:1300::1"));
    assert!(comes_in("192.0.2.1") && !comes_in("::ffff:192.0.2.1") && comes_in("192.0.2.2"));
}

#[test]
fn a_door_that_is_shut_opens_by_itself() {
    let admission = Admission { rate: rate(10.0, 2.0, Policy::Queue), ..Admission::default() };
    let (warden, socket) = (warden(&admission), socket());
    let mut now = Instant(1_000_000_000);
    for _ in 0..50 {
        let Verdict::Admit(_) = warden.judge(&mut from("192.0.2.1"), &socket, now) else { panic!("open") };
        if let PollState::ShutUntil(until) = warden.may_poll(now) {
            assert!(until > now && until <= now + Duration::from_millis(100), "a token is due");
            now = until;
        }
        assert_eq!(warden.may_poll(now), PollState::Open);
    }
}

#[test]
fn pressure_holds_everybody_off_until_it_is_read_again() {
    for (load, memory) in [
        (Some(LoadBound { most: 0.0, policy: Policy::Queue }), None),
        (None, Some(MemoryBound { least: u64::MAX, policy: Policy::Queue })),
    ] {
        let warden = warden(&Admission { load, memory, ..Admission::default() });
        let now = Instant(1_000_000_000);
        assert_eq!(warden.may_poll(now), PollState::ShutUntil(now + Duration::from_secs(1)));
    }
}

#[test]
fn a_source_cannot_be_made_to_wait_in_everybodys_queue() {
    let bound = Some(Bound { most: 1, policy: Policy::Queue });
    let admission = Admission { per_source: bound, ..Admission::default() };
    let error = Warden::new("s", &admission, None, &Ledger::create().expect("memory")).unwrap_err();
    assert!(error.to_string().contains("policy queue"), "{error}");
    assert!(!Warden::is_needed(&Admission::default(), None));
    assert!(Warden::is_needed(&Admission::default(), bound));
}
