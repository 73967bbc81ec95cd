//! Runs every fuzz target on its seeds, on mutations of them and on random bytes: no fuzzer and no nightly
//! compiler needed. `SWITCHBOARD_SEED` chooses the random inputs; a failure names the input.

use std::panic::{AssertUnwindSafe, catch_unwind};
use switchboard_fuzz::{TARGETS, Target};
use switchboard_proto::Random;

const INPUTS: usize = 3_000;

fn run(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("{} fails on b\"{}\"", target.name, input.escape_ascii());
    }
}

/// A seed with a few bytes replaced, removed, repeated or added; at times nothing but noise.
fn mutated(target: &Target, random: &mut Random) -> Vec<u8> {
    let mut input = match target.seeds {
        [] => Vec::new(),
        seeds => seeds[random.below(seeds.len())].to_vec(),
    };
    if random.one_in(10) {
        input.clear();
        let length = random.below(300);
        input.extend((0..length).map(|_| random.bits() as u8));
    }
    for _ in 0..random.below(6) {
        let (at, to) = (random.below(input.len() + 1), random.below(input.len() + 1));
        let byte = match random.below(3) {
            0 => random.bits() as u8,
            1 => b"0123456789+- \t\r\n\0=:/[]."[random.below(23)],
            _ => input.get(to).copied().unwrap_or(0),
        };
        match random.below(4) {
            0 => input.insert(at, byte),
            1 if at < input.len() => input[at] = byte,
            2 if at < to => drop(input.drain(at..to)),
            3 if at < to && input.len() < 10_000 => input.extend_from_within(at..to),
            _ => input.push(byte),
        }
    }
    input
}

#[test]
fn every_target_holds_on_seeds_and_mutations() {
    let seed = std::env::var("SWITCHBOARD_SEED").ok();
    let seed = seed.map_or(2026, |text| text.parse().expect("SWITCHBOARD_SEED is a number"));
    for target in TARGETS {
        run(target, b"");
        target.seeds.iter().for_each(|input| run(target, input));
        let mut random = Random::new(seed);
        for _ in 0..INPUTS {
            run(target, &mutated(target, &mut random));
        }
    }
}

#[test]
fn every_target_has_a_binary() {
    let root = env!("CARGO_MANIFEST_DIR");
    let manifest = std::fs::read_to_string(format!("{root}/Cargo.toml")).unwrap();
    for target in TARGETS {
        let source = std::fs::read_to_string(format!("{root}/fuzz_targets/{}.rs", target.name)).unwrap();
        assert!(source.contains(&format!("switchboard_fuzz::{}(data)", target.name)));
        assert!(manifest.contains(&format!("name = \"{}\"\npath = \"fuzz_targets/{0}.rs\"", target.name)));
    }
    assert_eq!(std::fs::read_dir(format!("{root}/fuzz_targets")).unwrap().count(), TARGETS.len());
}
