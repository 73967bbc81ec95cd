//! Every engine × every stream service × TCP over IPv4, TCP over IPv6, Unix stream and seqpacket; every datagram
//! service × UDP over IPv4 and IPv6, Unix datagram. For each: the row's worked examples, 50 clients at once with
//! checked content, half-close, drain, and nothing left behind. Rows S1–S5, S9–S11, S16–S18, S25, B1.

mod harness;

use harness::{PATIENCE, Scratch, Server, Stream, ask, datagram_socket, has_io_uring, has_ipv6, skip};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::{Instant, SystemTime};
use switchboard::{
    Datagram, ENGINES, Example, Over, Random, Recipe, SERVICES, Service, Start, Transport, Wall,
};

const CLIENTS: usize = 50;

/// Where a service listens in one cell of the matrix, and how it is asked for.
fn places(scratch: &Scratch, service: &Service) -> Vec<(&'static str, String)> {
    let path = |kind: &str| scratch.path(&format!("{}-{kind}-{}", service.name, harness::unique()));
    vec![
        ("tcp4", "tcp:127.0.0.1:0".into()),
        ("tcp6", "tcp:[::1]:0".into()),
        ("unix", format!("unix:{}", path("unix"))),
        ("seqpacket", format!("unix-seqpacket:{}", path("seqpacket"))),
    ]
}

fn engine_is_here(engine: &str) -> bool {
    if engine == "uring" && !has_io_uring() {
        skip("engine uring", "this kernel has no io_uring, or forbids it");
        return false;
    }
    true
}

fn streams(engine: &str) {
    if !engine_is_here(engine) {
        return;
    }
    let scratch = Scratch::new();
    for service in SERVICES {
        for (family, place) in places(&scratch, service) {
            if family == "tcp6" && !has_ipv6() {
                skip(&format!("{engine} {} over IPv6", service.name), "there is no ::1 here");
                continue;
            }
            let context = format!("{engine} {} {family}", service.name);
            for options in
                option_sets(service, |over| matches!(over, Over::Both | Over::Stream | Over::Endless))
            {
                let mut arguments = vec![service.name, "--engine", engine, "--listen", &place];
                let pairs: Vec<String> =
                    options.iter().map(|(name, value)| format!("{name}={value}")).collect();
                pairs.iter().for_each(|pair| arguments.extend(["--option", pair]));
                let server = Server::start(&arguments);
                let endpoint = server.endpoint();
                // One conversation, so that every lazy start is behind it.
                let _ = converse(&mut Stream::connect(&endpoint).expect(&context), b"");
                server.records(1);
                let before = server.settled_footprint();
                let examples: Vec<&Example> = service
                    .examples
                    .iter()
                    .filter(|example| example.options == options)
                    .filter(|example| matches!(example.over, Over::Both | Over::Stream | Over::Endless))
                    .collect();
                let recipe = service.recipe(options).expect("options of the row");
                for example in &examples {
                    run_example(&context, &recipe, &endpoint, example);
                }
                let mut conversations = examples.len();
                if options.is_empty() {
                    crowd(&context, service, &endpoint);
                    conversations += CLIENTS;
                }
                // Every conversation is logged after its descriptor was closed.
                let records = server.records(conversations);
                assert!(records.iter().all(|record| record["service"] == service.name), "{context}");
                server.wait_for_footprint(before, &context);
                if options.is_empty() {
                    drain(&context, service, server);
                } else {
                    assert_eq!(server.stop().code, Some(0), "{context}");
                }
            }
        }
    }
}

/// The different option sets of a service's examples, the defaults first.
fn option_sets(
    service: &Service,
    applies: impl Fn(Over) -> bool,
) -> Vec<&'static [(&'static str, &'static str)]> {
    let mut sets: Vec<&'static [(&'static str, &'static str)]> = vec![&[]];
    let examples: &'static [Example] = service.examples;
    for example in examples.iter().filter(|example| applies(example.over)) {
        if !sets.contains(&example.options) {
            sets.push(example.options);
        }
    }
    sets
}

/// The answers that a service may give to `input` between `from` and `to`: one, unless it tells the time or draws.
fn answers(recipe: &Recipe, example: &Example, from: i64, to: i64) -> BTreeSet<Vec<u8>> {
    let tells_time = matches!(&*recipe.name, "daytime" | "time");
    if !tells_time {
        return BTreeSet::from([example.output.to_vec()]);
    }
    (from..=to)
        .map(|unix_s| {
            let start = Start { transport: Transport::Stream, wall: Wall::utc(unix_s), seed: 0 };
            let now = switchboard::Instant(0);
            let bounds = switchboard::Bounds::default();
            let session = recipe.session(&start);
            let mut connection = switchboard::Connection::new(session, start.transport, bounds, now);
            connection.take_write().bytes().to_vec()
        })
        .collect()
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

fn run_example(context: &str, recipe: &Recipe, endpoint: &str, example: &Example) {
    let context = format!("{context}: {}", example.title);
    let from = unix_now();
    let mut stream = Stream::connect(endpoint).unwrap_or_else(|error| panic!("{context}: {error}"));
    if example.over == Over::Endless {
        let mut answer = vec![0; example.output.len()];
        stream.write_all(example.input).expect(&context);
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(answer, example.output, "{context}");
        return;
    }
    let answer = converse(&mut stream, example.input).unwrap_or_else(|error| panic!("{context}: {error}"));
    let answers = answers(recipe, example, from, unix_now());
    assert!(
        answers.contains(&answer),
        "{context}: got {:?}, expected one of {:?}",
        answer.escape_ascii().to_string(),
        answers.iter().map(|answer| answer.escape_ascii().to_string()).collect::<Vec<_>>()
    );
}

/// Whether what was heard is right.
type Check = Box<dyn Fn(&[u8]) -> bool>;

/// What a client of the crowd says, and what it must hear.
fn conversation(service: &Service, client: usize) -> (Vec<u8>, Check) {
    let mut random = Random::new(client as u64);
    let bytes = |random: &mut Random, n: usize| (0..n).map(|_| random.bits() as u8).collect::<Vec<u8>>();
    match service.name {
        "echo" => {
            let n = random.below(100_000);
            let said = bytes(&mut random, n);
            let expected = said.clone();
            (said, Box::new(move |heard| heard == expected))
        }
        "discard" => (bytes(&mut random, 50_000), Box::new(|heard| heard.is_empty())),
        "sum" => {
            let pairs: Vec<(i32, i32)> =
                (0..100).map(|_| (random.bits() as i32, random.bits() as i32)).collect();
            let said: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
            let expected: String =
                pairs.iter().map(|(a, b)| format!("{}\n", i64::from(*a) + i64::from(*b))).collect();
            (said.into_bytes(), Box::new(move |heard| heard == expected.as_bytes()))
        }
        "sum-binary" => {
            let (a, b) = (random.bits() as i32, random.bits() as i32);
            let said = [i64::from(a).to_be_bytes(), i64::from(b).to_be_bytes()].concat();
            let sum = (i64::from(a) + i64::from(b)).to_be_bytes();
            (said, Box::new(move |heard| heard.len() == 12 && heard[..4] == [0; 4] && heard[4..] == sum))
        }
        "acknowledge" => (b"hello\n".to_vec(), Box::new(|heard| heard == b"I got your message")),
        "daytime" => (Vec::new(), Box::new(|heard| heard.ends_with(b" UTC\r\n") && heard.len() == 26)),
        "time" => (Vec::new(), Box::new(|heard| heard.len() == 4)),
        "qotd" => (Vec::new(), Box::new(|heard| heard.len() > 10 && heard.len() < 512)),
        // The end of input ends the stream of characters; what came before it is whole lines' worth.
        "chargen" => (bytes(&mut random, 1_000), Box::new(is_ring)),
        "agent" => (Vec::new(), Box::new(|heard| heard == b"up 100% ready\n")),
        other => panic!("say what a client of {other} says, and what it must hear"),
    }
}

/// Whether `heard` is the beginning of the RFC 864 ring.
fn is_ring(heard: &[u8]) -> bool {
    heard.iter().enumerate().all(|(at, byte)| {
        let (line, column) = (at / 74, at % 74);
        *byte
            == match column {
                72 => b'\r',
                73 => b'\n',
                _ => 32 + ((line + column) % 95) as u8,
            }
    })
}

fn crowd(context: &str, service: &Service, endpoint: &str) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let (said, right) = conversation(service, client);
                let mut stream =
                    Stream::connect(endpoint).unwrap_or_else(|error| panic!("{context}: {error}"));
                let heard = converse(&mut stream, &said);
                let heard = heard.unwrap_or_else(|error| panic!("{context}, client {client}: {error}"));
                let shown = &heard[..heard.len().min(80)];
                assert!(right(&heard), "{context}, client {client}: {}", shown.escape_ascii());
            });
        }
    });
}

fn converse(stream: &mut Stream, said: &[u8]) -> std::io::Result<Vec<u8>> {
    match stream {
        Stream::Seqpacket(_) => converse_in_messages(stream, said),
        _ => stream.converse(said),
    }
}

/// Messages of at most 64 KiB, so that none is cut.
fn converse_in_messages(stream: &mut Stream, said: &[u8]) -> std::io::Result<Vec<u8>> {
    let out = stream.fd().try_clone_to_owned()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for message in said.chunks(60_000) {
                if rustix::net::send(&out, message, rustix::net::SendFlags::NOSIGNAL).is_err() {
                    break;
                }
            }
            let _ = rustix::net::shutdown(&out, rustix::net::Shutdown::Write);
        });
        let (mut heard, mut message) = (Vec::new(), vec![0; 70_000]);
        loop {
            match stream.read(&mut message)? {
                0 => return Ok(heard),
                n => heard.extend_from_slice(&message[..n]),
            }
        }
    })
}

/// A conversation that is going on when the server is asked to stop goes on to its end; a new one is refused.
fn drain(context: &str, service: &Service, server: Server) {
    let endpoint = server.endpoint();
    let talks_on = matches!(service.name, "echo" | "sum" | "discard" | "sum-binary");
    if !talks_on {
        assert_eq!(server.stop().code, Some(0), "{context}: stop");
        return;
    }
    let mut stream = Stream::connect(&endpoint).expect(context);
    let (said, right) = conversation(service, 7);
    let (said, right) = if said.len() > 2_000 && service.name == "echo" {
        (b"still here".to_vec(), Box::new(|heard: &[u8]| heard == b"still here") as Check)
    } else {
        (said, right)
    };
    // The server has let this client in when something came back, or when its footprint has grown.
    if service.name == "echo" {
        stream.write_all(b"x").expect(context);
        stream.read_exact(&mut [0]).expect(context);
    }
    server.signal(Signal::TERM);
    // An engine that is busy with this one client looks at its doors again when he has left.
    let busy = matches!(&*server.engine(), "iterative" | "prefork");
    let refused = Instant::now();
    while !busy && Stream::connect(&endpoint).is_ok() {
        assert!(refused.elapsed() < PATIENCE, "{context}: new clients are still let in");
    }
    let heard =
        converse(&mut stream, &said).unwrap_or_else(|error| panic!("{context}: while draining: {error}"));
    assert!(right(&heard), "{context}: while draining: {}", heard.escape_ascii());
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{context}: {:?}", ended.stderr);
    assert_eq!(ended.summary["stopped"], 0, "{context}: nobody was cut");
}

fn datagrams(engine: &str) {
    if !engine_is_here(engine) {
        return;
    }
    let scratch = Scratch::new();
    for service in SERVICES {
        let unix = format!("unix-dgram:{}", scratch.path(&format!("{}-{engine}", service.name)));
        for (family, place) in [("udp4", "udp:127.0.0.1:0"), ("udp6", "udp:[::1]:0"), ("unix", &unix)] {
            if family == "udp6" && !has_ipv6() {
                skip(&format!("{engine} {} over IPv6", service.name), "there is no ::1 here");
                continue;
            }
            let context = format!("{engine} {} {family}", service.name);
            for options in
                option_sets(service, |over| matches!(over, Over::Both | Over::Datagram | Over::Silence))
            {
                let mut arguments = vec![service.name, "--engine", engine, "--listen", place];
                let pairs: Vec<String> =
                    options.iter().map(|(name, value)| format!("{name}={value}")).collect();
                pairs.iter().for_each(|pair| arguments.extend(["--option", pair]));
                let server = Server::start(&arguments);
                let endpoint = server.endpoint();
                let before = server.settled_footprint();
                let recipe = service.recipe(options).expect("options of the row");
                for example in service.examples.iter().filter(|example| example.options == options) {
                    packet_example(&context, service, &recipe, &endpoint, example);
                }
                if options.is_empty() {
                    packet_crowd(&context, service, &endpoint);
                }
                server.wait_for_footprint(before, &context);
                let ended = server.stop();
                assert_eq!(ended.code, Some(0), "{context}: {:?}", ended.stderr);
            }
        }
    }
}

fn packet_example(context: &str, service: &Service, recipe: &Recipe, endpoint: &str, example: &Example) {
    let context = format!("{context}: {}", example.title);
    let socket = datagram_socket(endpoint);
    let from = unix_now();
    match example.over {
        Over::Both | Over::Datagram if service.datagram != Datagram::Silent => {
            let answer = ask(&socket, example.input).unwrap_or_else(|error| panic!("{context}: {error}"));
            let right = match service.name {
                // The length is drawn; the content is the ring.
                "chargen" => is_ring(&answer) && answer.len() <= example.input.len().min(512),
                _ => answers(recipe, example, from, unix_now()).contains(&answer),
            };
            assert!(right, "{context}: {}", answer.escape_ascii());
        }
        Over::Both | Over::Datagram | Over::Silence => {
            rustix::net::send(&socket, example.input, rustix::net::SendFlags::empty()).expect(&context);
            // No answer: what follows is answered, if anything is, and it is the first thing to arrive.
            let follower = service.examples.iter().find(|follower| {
                follower.over == Over::Both
                    && follower.options == example.options
                    && follower.input != example.input
            });
            if let Some(follower) = follower.filter(|_| service.datagram != Datagram::Silent) {
                let answer =
                    ask(&socket, follower.input).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(answer, follower.output, "{context}: something answered what must meet silence");
            }
        }
        Over::Stream | Over::Endless => {}
    }
}

fn packet_crowd(context: &str, service: &Service, endpoint: &str) {
    if service.datagram == Datagram::Silent {
        return;
    }
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let (mut said, right) = conversation(service, client);
                if matches!(service.name, "echo" | "chargen") {
                    said.truncate(client * 20);
                }
                if service.name == "sum" {
                    said = b"20 22".to_vec();
                }
                if matches!(service.name, "qotd" | "chargen") {
                    said.resize(said.len().max(600), b'.');
                }
                let socket = datagram_socket(endpoint);
                let heard = ask(&socket, &said).unwrap_or_else(|error| panic!("{context}: {error}"));
                let right = match service.name {
                    "echo" => heard == said,
                    "sum" => heard == b"42\n",
                    _ => right(&heard),
                };
                assert!(right, "{context}, client {client}: {}", heard.escape_ascii());
            });
        }
    });
}

macro_rules! matrix {
    ($($engine:ident),*) => {
        $(mod $engine {
            #[test]
            fn serves_every_stream_service() {
                super::streams(stringify!($engine));
            }

            #[test]
            fn serves_every_datagram_service() {
                let row = switchboard::EngineRow::find(stringify!($engine)).expect("a row");
                if row.datagrams {
                    super::datagrams(stringify!($engine));
                }
            }
        })*

        #[test]
        fn every_engine_is_here() {
            let here: Vec<&str> = vec![$(stringify!($engine)),*];
            let rows: Vec<&str> = ENGINES.iter().map(|row| row.name).collect();
            assert_eq!(here, rows);
        }
    };
}

matrix!(iterative, fork, prefork, threads, pool, poll, epoll, uring);
