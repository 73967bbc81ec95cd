//! Runs every worked example of every service, however the bytes are cut: whole, one at a time, at random
//! splits, with the end of input at every position, with short writes, as messages and as a datagram.
//!
//! Randomness comes from one seed, which every failure prints with the command that replays it.

use switchboard_proto::datagram::{MAX_DATAGRAM, answer};
use switchboard_proto::{
    Bounds, Buffer, Connection, Datagram, Example, Instant, Over, Random, Recipe, SERVICES, Service, Start,
    Transport, Wall,
};

/// Longest single answer of any service, bytes: a quote.
const LONGEST_ANSWER: usize = 511;

/// The seed of this run.
fn seed() -> u64 {
    let given = std::env::var("SWITCHBOARD_SEED").ok();
    given.map_or(2026, |text| text.parse().expect("SWITCHBOARD_SEED is a number"))
}

/// What to print when something fails.
fn replay(service: &Service, what: &str) -> String {
    format!(
        "{} ({what}); replay with: SWITCHBOARD_SEED={} cargo test -p switchboard-proto --test examples",
        service.name,
        seed()
    )
}

/// How a conversation is cut into pieces.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Bytes,
    Random,
}

struct Driver<'a> {
    recipe: &'a Recipe,
    start: Start,
    bounds: Bounds,
    cut: Cut,
}

impl Driver<'_> {
    /// Sends `input` and then the end, and returns what comes back until the connection closes.
    fn converse(&self, input: &[u8], random: &mut Random) -> Vec<u8> {
        let mut now = Instant(1);
        let mut c = Connection::new(self.recipe.session(&self.start), self.start.transport, self.bounds, now);
        let (mut rest, mut output, mut told_eof) = (input, Vec::new(), false);
        for _ in 0..20 * (input.len() + 1_000) {
            assert!(
                c.pending() <= self.bounds.tx as usize + LONGEST_ANSWER,
                "{} bytes of output",
                c.pending()
            );
            assert!(c.untaken() <= self.bounds.rx as usize + input.len(), "{} bytes of input", c.untaken());
            let wants = c.wants();
            if wants.close {
                assert!(!wants.reset, "reset");
                return output;
            }
            let reads_first = matches!(self.cut, Cut::Whole) || random.one_in(2);
            if wants.read && (reads_first || !wants.write) {
                assert!(!told_eof, "wants to read after the end");
                let n = match self.cut {
                    Cut::Whole => rest.len(),
                    Cut::Bytes => rest.len().min(1),
                    Cut::Random => rest.len().min(1 + random.below(rest.len().min(40) + 1)),
                };
                told_eof = rest.is_empty();
                c.on_read(Buffer::from(&rest[..n]), now);
                rest = &rest[n..];
            } else if wants.write {
                let mut out = c.take_write();
                assert!(!out.is_empty(), "wants to write nothing");
                let n = match self.cut {
                    Cut::Whole => out.len(),
                    Cut::Bytes => out.len().min(self.bounds.tx as usize),
                    Cut::Random => 1 + random.below(out.len()),
                };
                output.extend_from_slice(&out.bytes()[..n]);
                out.consume(n);
                c.on_write(out, now);
            } else if wants.shutdown {
                c.on_shutdown(now);
            } else {
                now = c.deadline();
                assert_ne!(now, Instant::NEVER, "waits for nothing");
                c.on_deadline(now);
            }
        }
        panic!("the conversation does not end");
    }
}

fn agrees(example: &Example, expected: &[u8], output: &[u8]) -> bool {
    match example.over {
        // How much was sent before the end was seen is a matter of time.
        Over::Endless => expected.iter().zip(output).all(|(a, b)| a == b),
        _ => expected == output,
    }
}

/// Calls `check` with every example that applies to a conversation, configured.
fn for_each_conversation(mut check: impl FnMut(&Service, &Example, &Recipe)) {
    for service in SERVICES {
        for example in service.examples {
            if matches!(example.over, Over::Both | Over::Stream | Over::Endless) {
                check(service, example, &service.recipe(example.options).unwrap());
            }
        }
    }
}

fn start(example: &Example, transport: Transport) -> Start {
    Start { transport, wall: Wall::utc(example.unix_s), seed: 0 }
}

#[test]
fn whole() {
    for_each_conversation(|service, example, recipe| {
        for transport in [Transport::Stream, Transport::Messages] {
            let (start, bounds) = (start(example, transport), Bounds::default());
            let output = Driver { recipe, start, bounds, cut: Cut::Whole }
                .converse(example.input, &mut Random::new(seed()));
            let at_least = example.over == Over::Endless && output.len() >= example.output.len();
            assert!(
                agrees(example, example.output, &output)
                    && (at_least || output.len() == example.output.len()),
                "{}: {} over {transport:?}: {:?}",
                service.name,
                example.title,
                String::from_utf8_lossy(&output)
            );
        }
    });
}

#[test]
fn however_it_is_split_and_wherever_it_ends() {
    let mut random = Random::new(seed());
    for_each_conversation(|service, example, recipe| {
        for end in 0..=example.input.len() {
            let input = &example.input[..end];
            for transport in [Transport::Stream, Transport::Messages] {
                let start = start(example, transport);
                let whole = Driver { recipe, start, bounds: Bounds::default(), cut: Cut::Whole }
                    .converse(input, &mut random);
                for cut in [Cut::Bytes, Cut::Random, Cut::Random, Cut::Random] {
                    let tx = [1, 7, 100, 65_536][random.below(4)];
                    let rx = Bounds::LEAST_RX;
                    let bounds = Bounds { rx, tx, ..Bounds::default() };
                    let output = Driver { recipe, start, bounds, cut }.converse(input, &mut random);
                    assert!(
                        agrees(example, &whole, &output),
                        "{}\n{cut:?}, {transport:?}, tx {tx}, input {:?}\nwhole {:?}\nsplit {:?}",
                        replay(service, example.title),
                        String::from_utf8_lossy(input),
                        String::from_utf8_lossy(&whole),
                        String::from_utf8_lossy(&output)
                    );
                }
            }
        }
    });
}

/// The answer to one datagram, if there is one.
fn ask(recipe: &Recipe, request: &[u8], unix_s: i64, seed: u64) -> Option<Vec<u8>> {
    let start = Start { transport: Transport::Datagram, wall: Wall::utc(unix_s), seed };
    let mut out = Buffer::from(&b"left over from the last one"[..]);
    answer(recipe, &mut Buffer::from(request), &mut out, &start, Instant(1)).then(|| out.bytes().to_vec())
}

#[test]
fn as_datagrams() {
    for service in SERVICES {
        for example in service.examples {
            let recipe = service.recipe(example.options).unwrap();
            let expected = match example.over {
                Over::Both | Over::Datagram => Some(example.output.to_vec()),
                Over::Silence => None,
                Over::Stream | Over::Endless => continue,
            };
            for seed in 0..20 {
                let answer = ask(&recipe, example.input, example.unix_s, seed);
                assert_eq!(answer, expected, "{}: {}", service.name, example.title);
            }
        }
    }
}

#[test]
fn no_answer_is_longer_than_its_service_may_send() {
    let mut random = Random::new(seed());
    for service in SERVICES {
        for options in [&[][..], &[("amplify", "off")]] {
            let recipe = service.recipe(options).unwrap();
            for length in (0..=1_472).chain([MAX_DATAGRAM]) {
                let noise: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
                let mut line = b"9223372036854775807 1".to_vec();
                line.resize(length, b' ');
                for request in [noise, line] {
                    let answer = ask(&recipe, &request, i64::MAX, random.bits());
                    let limit = match service.datagram {
                        Datagram::Silent => None,
                        Datagram::Bounded => Some(length),
                        Datagram::Fixed(most) => Some(most.min(64)),
                    };
                    let sent = answer.as_ref().map(Vec::len);
                    assert!(sent <= limit, "{}: {sent:?} > {limit:?}", replay(service, "amplification"));
                }
            }
        }
    }
}

#[test]
fn amplification_must_be_asked_for() {
    let chargen = Service::find("chargen").unwrap();
    let lengths = |options: &[(&str, &str)], request: &[u8]| -> Vec<usize> {
        let recipe = chargen.recipe(options).unwrap();
        (0..2_000).map(|seed| ask(&recipe, request, 0, seed).unwrap().len()).collect()
    };
    assert!(lengths(&[], b"").iter().all(|n| *n == 0));
    assert!(lengths(&[], b"12345678").iter().all(|n| (1..=8).contains(n)));
    let amplified = lengths(&[("amplify", "on")], b"");
    assert!(amplified.iter().all(|n| *n <= 512));
    assert!(amplified.iter().any(|n| *n < 50) && amplified.iter().any(|n| *n > 460));
    let echo = Service::find("echo").unwrap().recipe(&[]).unwrap();
    let largest = vec![7; MAX_DATAGRAM];
    assert_eq!(ask(&echo, &largest, 0, 0), Some(largest));
}

#[test]
fn a_thousand_requests_in_one_segment_are_answered_in_order() {
    let (mut text, mut binary, mut sums, mut statuses) = (Vec::new(), Vec::new(), String::new(), Vec::new());
    for n in 0..1_000i64 {
        let (a, b) = (n * 1_000_003, -n * n);
        text.extend_from_slice(format!("{a}\t{b}\r\n").as_bytes());
        binary.extend_from_slice(&[a.to_be_bytes(), b.to_be_bytes()].concat());
        sums += &format!("{}\n", a + b);
        statuses.extend_from_slice(&[&[0; 4][..], &(a + b).to_be_bytes()].concat());
    }
    let mut random = Random::new(seed());
    for (name, input, output) in [("sum", &text, sums.as_bytes()), ("sum-binary", &binary, &statuses)] {
        let service = Service::find(name).unwrap();
        let recipe = service.recipe(&[]).unwrap();
        let start = Start { transport: Transport::Stream, wall: Wall::utc(0), seed: 0 };
        for cut in [Cut::Whole, Cut::Bytes, Cut::Random] {
            for tx in [1, 100, 65_536] {
                let bounds = Bounds { tx, ..Bounds::default() };
                let driver = Driver { recipe: &recipe, start, bounds, cut };
                assert!(driver.converse(input, &mut random) == output, "{}", replay(service, "pipelined"));
            }
        }
    }
}

#[test]
fn lines_are_bounded_exactly() {
    let recipe = Service::find("sum").unwrap().recipe(&[]).unwrap();
    let start = Start { transport: Transport::Stream, wall: Wall::utc(0), seed: 0 };
    let mut random = Random::new(seed());
    for end in [&b"\n"[..], b"\r\n", b""] {
        for (length, answer) in [(4_095, "3\n"), (4_096, "input error\n"), (20_000, "input error\n")] {
            // The carriage return counts as part of the line.
            let blanks = length - 3 - usize::from(end.len() == 2);
            let mut input = [&b"1"[..], &vec![b' '; blanks + 1], b"2", end].concat();
            let mut output = answer.to_owned();
            if !end.is_empty() {
                input.extend_from_slice(b"20 22\n");
                output += "42\n";
            }
            for cut in [Cut::Whole, Cut::Bytes, Cut::Random] {
                let bounds = Bounds { rx: Bounds::LEAST_RX, tx: 1, ..Bounds::default() };
                let driver = Driver { recipe: &recipe, start, bounds, cut };
                let got = driver.converse(&input, &mut random);
                assert_eq!(String::from_utf8_lossy(&got), output, "{length} {end:?} {cut:?}");
            }
        }
    }
}

#[test]
fn options_are_checked_with_the_reason() {
    let problem = |service: &str, options: &[(&str, &str)]| {
        let error = Service::find(service).unwrap().recipe(options).err();
        error.map_or(String::new(), |error| error.to_string())
    };
    assert_eq!(problem("echo", &[("loud", "yes")]), "option loud: service echo has no such option");
    assert_eq!(
        problem("sum", &[("syntax", "loose")]),
        "option syntax: `loose` is not a value it takes; use strict|lenient"
    );
    assert_eq!(
        problem("daytime", &[("format", "iso")]),
        "option format: `iso` is not a value it takes; use rfc867|ctime"
    );
    assert!(problem("sum-binary", &[("abi", "")]).ends_with("use xdr|lp64-le|lp64-be|ilp32-le|ilp32-be"));
    assert_eq!(
        problem("echo", &[("amplify", "yes")]),
        "option amplify: `yes` is not a value it takes; use on|off"
    );
    // The last one given counts.
    assert_eq!(problem("sum", &[("syntax", "loose"), ("syntax", "lenient")]), "");
    for service in SERVICES {
        for option in service.options {
            assert_eq!(problem(service.name, &[(option.name, option.default)]), "", "{}", option.name);
        }
    }
}

#[test]
fn the_table_and_the_folder_hold_the_same_services() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/service")).unwrap();
    let mut files: Vec<String> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".rs", "").replace('_', "-"))
        .collect();
    files.sort();
    let mut names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
    names.sort_unstable();
    assert_eq!(names, files);
    for service in SERVICES {
        assert!(!service.examples.is_empty(), "{}", service.name);
        assert!(service.board.tcp.iter().chain(service.board.udp).all(|port| *port > 1_023));
    }
}
