//! The protocols of `switchboard-proto`: each answer is worked out a second time, another way, and compared.

use switchboard_proto::datagram::{MAX_DATAGRAM, answer};
use switchboard_proto::{
    Bounds, Buffer, Connection, Datagram, Instant, Random, Recipe, SERVICES, Service, Start, Transport, Wall,
};

/// Longest single answer of any service, bytes: a quote.
const LONGEST_ANSWER: usize = 511;
/// Calls after which a conversation of this many bytes must be over.
const CALLS_A_BYTE: usize = 100;

fn start(transport: Transport) -> Start {
    Start { transport, wall: Wall::utc(1_795_228_982), seed: 7 }
}

fn recipe(name: &str, options: &[(&str, &str)]) -> Recipe {
    let service = Service::find(name).expect("the service is in the table");
    service.recipe(options).expect("the options are valid")
}

/// What a service sends to a peer that sends `input` and ends. With `random`, everything is cut up.
fn converse(recipe: &Recipe, start: &Start, input: &[u8], random: Option<&mut Random>) -> Vec<u8> {
    let mut whole = Random::new(0);
    let cuts = random.is_some();
    let random = random.unwrap_or(&mut whole);
    let mut bounds = Bounds::default();
    if cuts {
        bounds.tx = 1 + random.below(100) as u32;
        bounds.rx = Bounds::LEAST_RX + random.below(100) as u32;
    }
    let mut now = Instant(0);
    let mut c = Connection::new(recipe.session(start), start.transport, bounds, now);
    let (mut rest, mut output) = (input, Vec::new());
    for _ in 0..CALLS_A_BYTE * (input.len() + 1_000) {
        let wants = c.wants();
        assert!(c.pending() <= bounds.tx as usize + LONGEST_ANSWER);
        if wants.close {
            assert!(!wants.reset && c.deadline() == Instant::NEVER);
            return output;
        }
        if wants.read && (!cuts || !wants.write || random.one_in(2)) {
            let n = if cuts { rest.len().min(1 + random.below(30)) } else { rest.len() };
            c.on_read(Buffer::from(&rest[..n]), now);
            rest = &rest[n..];
        } else if wants.write {
            let mut out = c.take_write();
            let n = if cuts { random.below(out.len() + 1) } else { out.len() };
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
        if cuts && random.one_in(8) {
            c.on_deadline(now);
        }
    }
    panic!("the conversation does not end");
}

fn ask(recipe: &Recipe, request: &[u8]) -> Option<Vec<u8>> {
    let mut out = Buffer::new();
    let start = start(Transport::Datagram);
    answer(recipe, &mut Buffer::from(request), &mut out, &start, Instant(0)).then(|| out.bytes().to_vec())
}

/// The answer to one line without its line end, by means as different as possible from the service's own.
fn sum_of(line: &[u8]) -> String {
    let refused = || "input error\n".to_owned();
    let Ok(text) = std::str::from_utf8(line) else { return refused() };
    let words: Vec<&str> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match (words.len(), &numbers[..]) {
        (2, [a, b]) if line.len() <= 4_095 => match i64::try_from(i128::from(*a) + i128::from(*b)) {
            Ok(sum) => format!("{sum}\n"),
            Err(_) => "overflow error\n".to_owned(),
        },
        _ => refused(),
    }
}

/// The text protocol against 128-bit arithmetic and the standard library's parser, on a stream and in a datagram.
pub fn sum_line(data: &[u8]) {
    let data = &data[..data.len().min(MAX_DATAGRAM)];
    let mut expected = String::new();
    for piece in data.split_inclusive(|b| *b == b'\n') {
        // Length is judged before the carriage return is dropped.
        let (line, content) = match piece.strip_suffix(b"\n") {
            Some(line) => (line, line.strip_suffix(b"\r").unwrap_or(line)),
            None => (piece, piece),
        };
        expected += &if line.len() > 4_095 { "input error\n".to_owned() } else { sum_of(content) };
    }
    let recipe = recipe("sum", &[]);
    let output = converse(&recipe, &start(Transport::Stream), data, None);
    assert_eq!(String::from_utf8_lossy(&output), expected);

    let one_line = data.split_inclusive(|b| *b == b'\n').count() == 1;
    let good = one_line && expected != "input error\n";
    assert_eq!(ask(&recipe, data), good.then(|| expected.into_bytes()));
}

/// The binary protocol in each of its layouts; the first byte chooses.
pub fn sum_binary(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let abi = ["xdr", "lp64-le", "lp64-be", "ilp32-le", "ilp32-be"][usize::from(*choice) % 5];
    let (width, big) = (if abi.starts_with("ilp32") { 4 } else { 8 }, !abi.ends_with("-le"));
    let number = |field: &[u8]| {
        let digits: Vec<u8> = if big { field.to_vec() } else { field.iter().rev().copied().collect() };
        let unsigned = digits.iter().fold(0i128, |value, digit| value * 256 + i128::from(*digit));
        if digits[0] < 0x80 { unsigned } else { unsigned - (1i128 << (8 * width)) }
    };
    let mut expected = Vec::new();
    for request in data.chunks_exact(2 * width) {
        let sum = number(&request[..width]) + number(&request[width..]);
        let mut bytes: Vec<u8> = (0..width).rev().map(|n| (sum >> (8 * n)) as u8).collect();
        if !big {
            bytes.reverse();
        }
        if abi == "xdr" {
            let overflow = i64::try_from(sum).is_err();
            expected.extend_from_slice(&[0, 0, 0, u8::from(overflow)]);
            bytes = if overflow { vec![0; 8] } else { bytes };
        }
        expected.extend_from_slice(&bytes);
    }
    let recipe = recipe("sum-binary", &[("abi", abi)]);
    assert_eq!(converse(&recipe, &start(Transport::Stream), data, None), expected);
    if data.len() <= MAX_DATAGRAM {
        let one = abi == "xdr" && data.len() == 16;
        assert_eq!(ask(&recipe, data), one.then_some(expected));
    }
}

/// Any service, however the bytes are cut: the same output as for the whole input. The first byte chooses the
/// service, the next three the cuts; the datagram rules are checked on the rest.
pub fn session_splits(data: &[u8]) {
    let Some((head, input)) = data.split_first_chunk::<4>() else { return };
    let service = &SERVICES[usize::from(head[0]) % SERVICES.len()];
    let recipe = service.recipe(&[]).expect("defaults are valid");
    let transport = if head[1] & 1 == 0 { Transport::Stream } else { Transport::Messages };
    let mut random = Random::new(u64::from(u32::from_le_bytes(*head)));
    let start = start(transport);
    let whole = converse(&recipe, &start, input, None);
    let cut = converse(&recipe, &start, input, Some(&mut random));
    if service.name == "chargen" {
        // How much is sent before the end is seen is a matter of time.
        assert!(whole.iter().zip(&cut).all(|(a, b)| a == b));
    } else {
        assert_eq!(whole, cut, "{} over {transport:?}", service.name);
    }
    let request = &input[..input.len().min(MAX_DATAGRAM)];
    let answered = ask(&recipe, request).map(|answer| answer.len());
    assert!(match service.datagram {
        Datagram::Silent => answered.is_none(),
        Datagram::Bounded => answered <= Some(request.len()),
        Datagram::Fixed(most) => answered <= Some(most),
    });
}

/// Any options, as `name=value` separated by NULs; the first byte chooses the service. They are refused with a
/// reason, or make a service that works.
pub fn service_options(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let service = &SERVICES[usize::from(*choice) % SERVICES.len()];
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let options: Vec<(&str, &str)> = text.split('\0').filter_map(|option| option.split_once('=')).collect();
    match service.recipe(&options) {
        Ok(recipe) => {
            let output = converse(&recipe, &start(Transport::Stream), b"1 2\n", None);
            if service.name == "qotd" {
                assert!(output.len() <= LONGEST_ANSWER && output.ends_with(b"\n") && output.is_ascii());
            }
            let request = b"1 2\n";
            let answered = ask(&recipe, request).map(|answer| answer.len());
            let amplify = options.iter().rev().find(|(name, _)| *name == "amplify").map(|(_, value)| *value);
            match service.datagram {
                Datagram::Silent => assert!(answered.is_none()),
                Datagram::Bounded if amplify != Some("on") => assert!(answered <= Some(request.len())),
                Datagram::Bounded => assert!(answered <= Some(512)),
                Datagram::Fixed(most) => assert!(answered <= Some(most)),
            }
        }
        Err(error) => {
            assert!(options.iter().any(|(name, _)| *name == error.name) && !error.problem.is_empty())
        }
    }
}
