//! Thousands of conversations in virtual time: every service, over random links, with peers that read slowly,
//! end early or not at all. The simulation checks the connection's promises after every step; these tests check
//! what was delivered.

use core::time::Duration;
use switchboard_proto::layer::{Idle, Lifetime};
use switchboard_proto::sim::{Fault, Link, Outcome, Pace, Peer, Simulation};
use switchboard_proto::{
    Bounds, Buffer, Cause, Connection, End, Instant, Random, Recipe, SERVICES, Service, Session, Start,
    Transport, Wall,
};

/// Longest single answer of any service, bytes: a quote.
const LONGEST_ANSWER: usize = 511;
const SEEDS: u64 = 5_000;

/// Runs `check` with every seed, or with the one that is to be replayed.
fn for_each_seed(test: &str, seeds: u64, check: impl Fn(u64) -> Result<(), String>) {
    let given = std::env::var("SWITCHBOARD_SEED").ok();
    let given: Option<u64> = given.map(|text| text.parse().expect("SWITCHBOARD_SEED is a number"));
    for seed in given.map_or(0..seeds, |seed| seed..seed + 1) {
        if let Err(problem) = check(seed) {
            panic!(
                "{problem}\nreplay with: SWITCHBOARD_SEED={seed} \
                 cargo test -p switchboard-proto --test simulation {test}"
            );
        }
    }
}

fn start(transport: Transport, seed: u64) -> Start {
    Start { transport, wall: Wall::utc(1_795_228_982), seed }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// From 1 to one of three sizes: small numbers are as likely as large ones.
fn up_to_one_of(most: [usize; 3], random: &mut Random) -> usize {
    let most = most[random.below(3)];
    1 + random.below(most)
}

fn link(random: &mut Random) -> Link {
    Link {
        delay: ms([0, 1, 20, 100][random.below(4)]),
        window: up_to_one_of([8, 100, 5_000], random),
        segment: up_to_one_of([4, 60, 1_000], random),
    }
}

/// Input of a kind that the service understands at least in parts.
fn input(service: &Service, random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    while !random.one_in(6) {
        match (random.below(3), service.name) {
            (0, _) => input.extend((0..random.below(40)).map(|_| random.bits() as u8)),
            (_, "sum") => {
                input.extend(format!("{} {}\n", random.bits() as i32, random.bits() as i64).bytes())
            }
            _ if service.examples.is_empty() => {}
            _ => {
                let example = &service.examples[random.below(service.examples.len())];
                input.extend_from_slice(&example.input[..example.input.len().min(100)]);
            }
        }
    }
    // The end of input comes anywhere.
    input.truncate(if random.one_in(4) { random.below(input.len() + 1) } else { input.len() });
    input
}

/// The output when nothing is cut, late or slow.
fn ideal(recipe: &Recipe, start: &Start, input: &[u8]) -> Vec<u8> {
    let now = Instant(0);
    let bounds = Bounds { rx: u32::MAX, tx: 1 << 20, ..Bounds::default() };
    let mut c = Connection::new(recipe.session(start), Transport::Stream, bounds, now);
    if !input.is_empty() {
        c.on_read(Buffer::from(input), now);
    }
    c.on_read(Buffer::new(), now);
    let output = c.take_write().bytes().to_vec();
    c.on_write(Buffer::new(), now);
    assert!(c.is_closed());
    output
}

#[test]
fn every_service_over_every_link() {
    for_each_seed("every_service_over_every_link", SEEDS, |seed| {
        let mut random = Random::new(seed);
        let service = &SERVICES[random.below(SERVICES.len())];
        let options: Vec<(&str, &str)> = service
            .options
            .iter()
            .flat_map(|option| {
                let values = if option.values == "NUMBER" { "0|7" } else { option.values };
                let values: Vec<&str> = values.split('|').collect();
                random.one_in(2).then(|| (option.name, values[random.below(values.len())]))
            })
            .collect();
        let recipe = service.recipe(&options).unwrap();
        let transport = [Transport::Stream, Transport::Messages][random.below(2)];
        let start = start(transport, seed);
        let bytes = input(service, &mut random);
        let simulation = Simulation {
            transport,
            bounds: Bounds {
                rx: if service.name == "echo" { 1 + random.below(50) as u32 } else { Bounds::LEAST_RX },
                tx: up_to_one_of([1, 30, 1_000], &mut random) as u32,
                linger_ms: 2_000,
            },
            answer: LONGEST_ANSWER,
            link: link(&mut random),
            peer: Peer {
                input: &bytes,
                ends: true,
                reads: [Pace::Eager, Pace::Slow(ms(1)), Pace::Slow(ms(50))][random.below(3)],
            },
            limit: Duration::from_secs(600),
        };
        let outcome = simulation
            .run(recipe.session(&start), seed)
            .map_err(|fault| format!("{} {options:?}: {fault}\n{simulation:?}", service.name))?;
        let expected = ideal(&recipe, &start, &bytes);
        let delivered = if service.name == "chargen" {
            expected.iter().zip(&outcome.output).all(|(a, b)| a == b)
                && outcome.sent.iter().sum::<usize>() == bytes.len()
        } else {
            expected == outcome.output
        };
        // A peer that trickles on at a service that has ended is not lingered for without end.
        let patient = outcome.took >= ms(2_000) * Bounds::PATIENCE;
        let ended = (!outcome.reset || patient) && matches!(outcome.end, End::Peer | End::Service);
        if delivered && ended {
            return Ok(());
        }
        Err(format!("{} {options:?}\n{simulation:?}\nexpected {expected:?}\n{outcome:?}", service.name))
    });
}

#[test]
fn echoed_messages_keep_their_boundaries() {
    for_each_seed("echoed_messages_keep_their_boundaries", 500, |seed| {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..random.below(2_000)).map(|_| random.bits() as u8).collect();
        let simulation = Simulation {
            transport: Transport::Messages,
            bounds: Bounds::default(),
            answer: 0,
            link: link(&mut random),
            peer: Peer { input: &bytes, ends: true, reads: Pace::Slow(ms(5)) },
            limit: Duration::from_secs(3_600),
        };
        let recipe = Service::find("echo").unwrap().recipe(&[]).unwrap();
        let outcome = simulation
            .run(recipe.session(&start(Transport::Messages, 0)), seed)
            .map_err(|fault| format!("{fault}\n{simulation:?}"))?;
        let same = outcome.output == bytes && outcome.sent == outcome.received;
        if same { Ok(()) } else { Err(format!("{simulation:?}\n{outcome:?}")) }
    });
}

#[test]
fn one_seed_is_one_conversation() {
    let recipe = Service::find("sum").unwrap().recipe(&[]).unwrap();
    for seed in 0..50 {
        let run = || {
            converse(&recipe, Peer { input: b"1 2\n3 4\nx\n", ends: true, reads: Pace::Slow(ms(9)) }, seed)
        };
        assert_eq!(run(), run());
    }
}

const LINK: Link = Link { delay: Duration::from_millis(10), window: 4_096, segment: 1_460 };

fn simulation(peer: Peer<'_>) -> Simulation<'_> {
    Simulation {
        transport: Transport::Stream,
        bounds: Bounds::default(),
        answer: LONGEST_ANSWER,
        link: LINK,
        peer,
        limit: Duration::from_secs(86_400),
    }
}

fn converse(recipe: &Recipe, peer: Peer<'_>, seed: u64) -> Result<Outcome, Fault> {
    simulation(peer).run(recipe.session(&start(Transport::Stream, seed)), seed)
}

fn recipe(name: &str) -> Recipe {
    Service::find(name).unwrap().recipe(&[]).unwrap()
}

#[test]
fn a_peer_that_never_reads_costs_bounded_memory_until_the_idle_limit_resets_it() {
    let flood = vec![b'x'; 300_000];
    for (name, ends) in [("echo", true), ("chargen", false), ("sum", true)] {
        for seed in 0..5 {
            let session = recipe(name).session(&start(Transport::Stream, 0));
            let idle: Box<dyn Session> = Box::new(Idle::new(session, Duration::from_secs(60), Instant(0)));
            let input = if name == "sum" { &b"1 2\n".repeat(75_000) } else { &flood };
            let peer = Peer { input, ends, reads: Pace::Never };
            let outcome =
                simulation(peer).run(idle, seed).unwrap_or_else(|fault| panic!("{name} {seed}: {fault}"));
            assert_eq!((outcome.end, outcome.reset), (End::Cause(Cause::Idle), true), "{name} {seed}");
            assert!(outcome.most_pending <= 65_536 + 512 && outcome.most_untaken <= 65_536 + 1_460, "{name}");
            assert!(outcome.took >= Duration::from_secs(60), "{name} {:?}", outcome.took);
        }
    }
}

#[test]
fn a_peer_that_never_writes_is_ended_politely() {
    for name in ["echo", "discard", "sum", "sum-binary", "acknowledge"] {
        let peer = Peer { input: b"", ends: false, reads: Pace::Eager };
        assert_eq!(converse(&recipe(name), peer, 1), Err(Fault::Deadlock), "{name} without a limit");
        let session = recipe(name).session(&start(Transport::Stream, 0));
        let idle = Box::new(Idle::new(session, Duration::from_secs(60), Instant(0)));
        let outcome = simulation(peer).run(idle, 1).unwrap();
        assert_eq!(
            (outcome.end, outcome.reset, outcome.output),
            (End::Cause(Cause::Idle), false, vec![]),
            "{name}"
        );
        // The limit, then two seconds of lingering.
        assert_eq!(outcome.took, Duration::from_secs(62), "{name}");
    }
}

#[test]
fn a_busy_conversation_is_not_idle_but_its_lifetime_ends() {
    let input = vec![b'x'; 20_000];
    let peer = Peer { input: &input, ends: true, reads: Pace::Slow(Duration::from_secs(9)) };
    for seed in 0..5 {
        let session = recipe("echo").session(&start(Transport::Stream, 0));
        let idle = Box::new(Idle::new(session, Duration::from_secs(10), Instant(0)));
        let outcome = simulation(peer).run(idle, seed).unwrap();
        assert_eq!((outcome.end, outcome.output.len()), (End::Peer, 20_000), "seed {seed}");

        let session = recipe("chargen").session(&start(Transport::Stream, 0));
        let lifetime = Box::new(Lifetime::new(session, Duration::from_secs(100), Instant(0)));
        let outcome = simulation(Peer { ends: false, ..peer }).run(lifetime, seed).unwrap();
        assert_eq!((outcome.end, outcome.reset), (End::Cause(Cause::Lifetime), true), "seed {seed}");
        assert_eq!(outcome.took, Duration::from_secs(100), "seed {seed}");
    }
    // Who owes nothing is let go politely.
    let session = recipe("echo").session(&start(Transport::Stream, 0));
    let lifetime = Box::new(Lifetime::new(session, Duration::from_secs(100), Instant(0)));
    let outcome =
        simulation(Peer { input: b"hello", ends: false, reads: Pace::Eager }).run(lifetime, 1).unwrap();
    assert_eq!((outcome.end, outcome.reset), (End::Cause(Cause::Lifetime), false));
    assert_eq!(outcome.output, b"hello");
}

#[test]
fn a_service_that_ends_first_loses_no_byte_to_a_peer_that_goes_on_sending() {
    let input = vec![b'x'; 200_000];
    for name in ["daytime", "time", "qotd", "acknowledge"] {
        for ends in [true, false] {
            for seed in 0..10 {
                let peer = Peer { input: &input, ends, reads: Pace::Slow(ms(100)) };
                let outcome = converse(&recipe(name), peer, seed).unwrap();
                let expected = ideal(&recipe(name), &start(Transport::Stream, seed), &input);
                assert_eq!(outcome.output, expected, "{name} {seed}");
                assert_eq!((outcome.end, outcome.reset), (End::Service, false), "{name} {seed}");
            }
        }
    }
}

#[test]
fn a_peer_that_never_reads_the_last_bytes_is_given_up() {
    let link = Link { window: 10, ..LINK };
    let bounds = Bounds { linger_ms: 1_000, ..Bounds::default() };
    let peer = Peer { input: b"", ends: true, reads: Pace::Never };
    let outcome = Simulation { link, bounds, ..simulation(peer) }
        .run(recipe("qotd").session(&start(Transport::Stream, 0)), 1)
        .unwrap();
    assert_eq!((outcome.end, outcome.reset), (End::Reset, true));
    assert!(outcome.took >= Duration::from_secs(15) && outcome.took < Duration::from_secs(16), "{outcome:?}");
}
