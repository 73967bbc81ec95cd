//! `load merge`: the parts of one run become the run. Histograms are added; percentiles are never averaged.

use super::files;
use super::hlog;
use super::measure::{Format, conclude};
use super::record::{End, Facts, Record};
use super::server::Used;
use super::summary::{Summary, people};
use super::threshold::Threshold;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::load::{Slice, open_since};

/// Adds the parts of a run together that several processes or machines did
///
/// Each part is the --hlog file of a `load --shard I/N`. Every part must be there, once, and of the same plan.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The parts
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Write the whole as a log
    #[arg(short, long, value_name = "FILE", value_parser = files::name)]
    output: Option<PathBuf>,

    /// Parts may be missing; then it is not the whole, and that is said
    #[arg(long)]
    allow_missing: bool,

    /// Fail (exit code 1) if this is so, such as `p99>5ms`; may be repeated
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Threshold>,

    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Parts that begin more than this part of their duration apart have not run together.
const MOST_APART: u64 = 10;

const EXAMPLES: &str = "\
Examples:
  for i in 1 2; do switchboard load HOST:7007 -c 100 --shard $i/2 --hlog part$i.hlog & done; wait
  switchboard load merge part1.hlog part2.hlog -o whole.hlog";

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let mut parts = Vec::new();
    for file in &arguments.files {
        if arguments.output.as_ref().is_some_and(|output| files::is_same(output, file)) {
            let shown = file.display();
            out.talk(format_args!("--output {shown} is one of the parts: that would be lost"));
            return Exit::Usage;
        }
        match hlog::read(file) {
            Ok(part) => parts.push((file.display().to_string(), part)),
            Err(problem) => {
                out.talk(problem);
                return Exit::Failed;
            }
        }
    }
    let doubts = doubts(&parts);
    let (whole, missing) = match merge(parts, arguments.allow_missing) {
        Ok(merged) => merged,
        Err(problem) => {
            out.talk(problem);
            return Exit::Failed;
        }
    };
    if !missing.is_empty() {
        out.talk(format_args!(
            "this is not the whole: of the shards these are missing: {}",
            listed(&missing)
        ));
    }
    doubts.into_iter().for_each(|doubt| out.talk(doubt));
    if let Some(path) = &arguments.output
        && let Err(error) = hlog::write(path, &whole)
    {
        out.talk(format_args!("cannot write {}: {error}", path.display()));
        return Exit::Output;
    }
    let tally = whole.total();
    let summary = Summary { facts: &whole.facts, tally: &tally, end: &whole.end };
    conclude(&summary, arguments.format, &arguments.fail_if, out)
}

fn listed(shards: &[usize]) -> String {
    shards.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// The whole, and the numbers of the shards that are missing.
fn merge(parts: Vec<(String, Record)>, allow_missing: bool) -> Result<(Record, Vec<usize>), String> {
    let mut seen: BTreeMap<usize, String> = BTreeMap::new();
    let Some((first_name, first)) = parts.first() else { return Err("there are no parts".into()) };
    let (first_name, plan) = (first_name.clone(), first.facts.clone());
    for (name, part) in &parts {
        if let Some(what) = difference(&plan, &part.facts) {
            return Err(format!("{name} and {first_name} are not of one plan: {what}"));
        }
        if let Some(other) = seen.insert(part.facts.shard, name.clone()) {
            let (shard, shards) = (part.facts.shard, part.facts.shards);
            return Err(format!("{other} and {name} are both shard {shard}/{shards}: each belongs in once"));
        }
    }
    let missing: Vec<usize> = (1..=plan.shards).filter(|shard| !seen.contains_key(shard)).collect();
    if !missing.is_empty() && !allow_missing {
        let shards = plan.shards;
        return Err(format!(
            "of {shards} shards these are missing: {} (--allow-missing does without)",
            listed(&missing)
        ));
    }
    let mut whole = Record {
        facts: Facts {
            workers: parts.iter().map(|(_, part)| part.facts.workers).sum(),
            began_unix_ns: parts.iter().map(|(_, part)| part.facts.began_unix_ns).min().unwrap_or(0),
            shard: 1,
            shards: 1,
            ..plan
        },
        slices: Vec::new(),
        end: End::default(),
    };
    let mut slices: BTreeMap<u64, Slice> = BTreeMap::new();
    // The last slice of each part, and the connections that were open then.
    let last: Vec<(u64, u64)> = parts
        .iter()
        .filter_map(|(_, part)| part.slices.last())
        .map(|slice| (slice.index, slice.tally.open))
        .collect();
    for (_, part) in parts {
        whole.end.ended_early |= part.end.ended_early;
        whole.end.saturated.extend(part.end.saturated);
        whole.end.server = together(whole.end.server.take(), part.end.server);
        for slice in part.slices {
            match slices.get_mut(&slice.index) {
                Some(sum) => sum.tally.beside(&slice.tally),
                None => _ = slices.insert(slice.index, slice),
            }
        }
    }
    // Parts that hold connections are over at different times, and keep them until then.
    for slice in slices.values_mut() {
        slice.tally.open = slice.tally.open.saturating_add(open_since(&last, slice.index));
    }
    whole.slices = slices.into_values().collect();
    Ok((whole, missing))
}

/// Why parts of one plan may not be those of one run: each names the server in a way of its own, which may be right, and
/// the clocks of machines differ a little.
fn doubts(parts: &[(String, Record)]) -> Vec<String> {
    let Some(((first_name, first), others)) = parts.split_first() else { return Vec::new() };
    let mut doubts = Vec::new();
    if let Some((name, part)) = others.iter().find(|(_, part)| part.facts.endpoint != first.facts.endpoint) {
        doubts.push(format!(
            "{first_name} loaded {} and {name} {}: what is told is right only if these are one server",
            first.facts.endpoint, part.facts.endpoint
        ));
    }
    let begun = || parts.iter().map(|(_, part)| part.facts.began_unix_ns);
    let apart_ns = begun().max().unwrap_or(0) - begun().min().unwrap_or(0);
    if apart_ns > first.facts.duration_ns / MOST_APART {
        doubts.push(format!(
            "the parts began up to {} apart: their rates are added as if they had run together (--start-at)",
            people(apart_ns as f64)
        ));
    }
    doubts
}

/// What two parts say of the server. When it is one process that several parts watched, each saw all of its work.
fn together(one: Option<Used>, other: Option<Used>) -> Option<Used> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let cpu_ns = |used: &Used| used.cpu_user_ns + used.cpu_system_ns;
            Some(if cpu_ns(&one) >= cpu_ns(&other) { one } else { other })
        }
        (one, other) => one.or(other),
    }
}

/// In what two plans differ that should be the same, if in anything. Where they run, how many workers each has and how
/// they name the server may differ.
fn difference(one: &Facts, other: &Facts) -> Option<String> {
    let time = |ns| format!("{:?}", Duration::from_nanos(ns));
    // `tls:`, `tcp:`, `unix:` and so on stand before the address.
    let transport = |endpoint: &str| endpoint.split(':').next().unwrap_or_default().to_owned();
    let part = |facts: &Facts| {
        let Facts { workload, size, direction, connections, depth, asked_rate_per_s, .. } = facts.clone();
        let Facts {
            think_time_ns, ramp_ns, warm_up_ns, duration_ns, timeout_ns, interval_ns, shards, ..
        } = *facts;
        [
            ("transport", transport(&facts.endpoint)),
            ("workload", workload),
            ("sizes", size),
            ("direction", direction.unwrap_or_default()),
            ("connections", connections.to_string()),
            ("depth", depth.to_string()),
            ("rate", asked_rate_per_s.map_or_else(|| "none".to_owned(), |rate| format!("{rate}/s"))),
            ("think time", time(think_time_ns)),
            ("ramp", time(ramp_ns)),
            ("warm-up", time(warm_up_ns)),
            ("duration", time(duration_ns)),
            ("time-out", time(timeout_ns)),
            ("interval", time(interval_ns)),
            ("number of shards", shards.to_string()),
        ]
    };
    let pairs = part(one).into_iter().zip(part(other));
    let mut differing = pairs.filter(|((_, one), (_, other))| one != other);
    differing.next().map(|((what, one), (_, other))| format!("{what} {one} and {other}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_net::Endpoint;
    use switchboard_net::load::{Plan, Tally};

    /// One of two parts of five connections each, which took so many slices.
    fn part(shard: &str, slices: u64) -> (String, Record) {
        let endpoint: Endpoint = "127.0.0.1:7".parse().unwrap();
        let address = endpoint.resolve().unwrap().remove(0);
        let plan = Plan { connections: 10, shard: shard.parse().unwrap(), ..Plan::ping(address) };
        let tally = Tally { open: 5, ..Tally::new() };
        let slice = |index| Slice { index, begin: Duration::from_secs(index), tally: tally.clone() };
        let slices = (0..slices).map(slice).collect();
        (shard.to_owned(), Record { facts: Facts::of(&plan, None), slices, end: End::default() })
    }

    #[test]
    fn a_part_that_is_over_first_held_its_connections_until_then() {
        let (whole, _) = merge(vec![part("1/2", 2), part("2/2", 4)], false).unwrap();
        let open: Vec<u64> = whole.slices.iter().map(|slice| slice.tally.open).collect();
        assert_eq!(open, [10, 10, 10, 10]);
    }
}
