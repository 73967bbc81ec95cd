//! `load compare`: which of two servers is better, or that it cannot be told.
//!
//! Both are up all the time, and are measured in turn for a short while each: A B, B A, A B … What changes slowly on the
//! machine (clock speed, neighbours) is the same for both runs of a pair, so their ratio holds where rates do not.

mod contender;
mod disturbance;
mod paired;

use super::measure::{Format, failed, stop_on_signals};
use super::order::{Order, Processors, processors};
use super::progress::can_redraw;
use super::record::{Facts, plural};
use super::server;
use super::started::Orphans;
use super::summary::{latency, people};
use crate::exit::Exit;
use crate::report::{Output, Table};
use clap::Args;
use contender::Contender;
use disturbance::{Disturbance, Meter};
use paired::{Paired, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::load::{self, Plan, Shard, Tally};
use switchboard_net::{Error, Stop, quantity};

/// Fewer pairs say nothing.
const LEAST_PAIRS: usize = 3;
/// Parts of a run between which the server's processor time is read.
const PARTS: u32 = 10;
/// More than this part of the pairs disturbed, and nothing is concluded.
const MOST_DISTURBED: f64 = 1.0 / 3.0;

/// Compares two servers by short runs in turn, and says whether they differ
///
/// A and B are endpoints, or commands with {port} in them, which are started and ended. The runs go A B, B A, A B …; each
/// pair gives a ratio B/A, and all of them its geometric mean with a 99 % confidence interval (Student's t of the
/// logarithms). "differs": the interval does not hold 1. What other processes and the hypervisor took of the processors
/// meanwhile is measured, and on a disturbed machine nothing is concluded (exit code 1).
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("duration", |arg| arg.default_value("500ms").help("How long each run is measured")))]
#[command(mut_arg("warm_up", |arg| arg.default_value("100ms").help("What comes before in each run")))]
pub(super) struct Arguments {
    /// An endpoint, or a command with {port}
    a: String,

    /// Another one
    b: String,

    #[command(flatten)]
    order: Order,

    /// How many pairs of runs
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "12")]
    pairs: usize,

    /// Processors of servers that are started; the last ones are left to the load if there are two or more
    #[arg(long, value_name = "LIST", value_parser = processors)]
    pin_servers: Option<Processors>,

    /// Conclude even if the machine was disturbed
    #[arg(long)]
    allow_disturbed: bool,

    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  switchboard load compare 127.0.0.1:7007 127.0.0.1:8007 -c 50
  switchboard load compare 'switchboard serve echo --listen 127.0.0.1:{port} --engine epoll' \\
    'switchboard serve echo --listen 127.0.0.1:{port} --engine uring' -c 50 --pairs 20";

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Metric {
    Rate,
    Throughput,
    P50,
    P99,
    P999,
    ServerCpu,
}

impl Metric {
    const ALL: [Metric; 6] =
        [Metric::Rate, Metric::Throughput, Metric::P50, Metric::P99, Metric::P999, Metric::ServerCpu];

    fn name(self) -> &'static str {
        match self {
            Metric::Rate => "answers/s",
            Metric::Throughput => "bytes/s",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
            Metric::ServerCpu => "server cpu/answer",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Metric::Rate => format!("{value:.0}"),
            Metric::Throughput => super::summary::bytes(value),
            _ => people(value),
        }
    }
}

/// One run of one contender.
struct Measured {
    tally: Tally,
    /// For each answer.
    server_cpu_ns: Option<f64>,
    disturbance: Disturbance,
}

impl Measured {
    fn value(&self, metric: Metric, facts: &Facts) -> Option<f64> {
        let times = latency(facts, &self.tally);
        let quantile = |at: f64| (!times.is_empty()).then(|| times.value_at_quantile(at) as f64);
        match metric {
            Metric::Rate => (!facts.is_flow()).then(|| self.tally.rate()),
            Metric::Throughput => facts.is_flow().then(|| self.tally.bytes_rate()),
            Metric::P50 => quantile(0.5),
            Metric::P99 => quantile(0.99),
            Metric::P999 => quantile(0.999),
            Metric::ServerCpu => self.server_cpu_ns.filter(|_| !facts.is_flow()),
        }
        .filter(|value| *value > 0.0)
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    compare(arguments, out).unwrap_or_else(|error| failed(error, out))
}

fn compare(arguments: &Arguments, out: &mut Output) -> Result<Exit, Error> {
    if arguments.pairs < LEAST_PAIRS {
        return Err(Error::Config(format!(
            "--pairs {}: fewer than {LEAST_PAIRS} say nothing",
            arguments.pairs
        )));
    }
    let order = &arguments.order;
    let _orphans = Orphans::adopt();
    let (servers, clients) = places(arguments);
    let mut contenders = Vec::new();
    for written in [&arguments.a, &arguments.b] {
        contenders.push(Contender::start(written, &servers, &mut |what| out.talk(what))?);
    }
    // Before this there is nothing to be told: a signal ends us, and the servers with us.
    let stop = Arc::new(Stop::new()?);
    stop_on_signals(Arc::clone(&stop)).map_err(|error| Error::system("catch signals", error))?;
    let mut plans: Vec<Plan> = Vec::new();
    let mut facts = None;
    // Looked for once: all descriptors of all processes are read for it.
    let mut pids = Vec::new();
    for contender in &contenders {
        let remote = &contender.remote;
        let errand = order.errand(&remote.endpoint)?;
        let secure = order.secured.secure(remote)?;
        let answerer = match order.secured.answerer(remote, secure, order.timeout, out) {
            Ok(answerer) => answerer,
            Err(exit) => return Ok(exit),
        };
        let (plan, its_facts) = order.plan(answerer, errand, Shard::WHOLE, None)?;
        facts.get_or_insert(its_facts);
        pids.push(contender.pid(&plan.address));
        let processors = if plan.processors.is_empty() { clients.clone() } else { plan.processors.clone() };
        plans.push(Plan { processors, ..plan });
    }
    let facts = facts.ok_or_else(|| Error::Config("two servers are compared".into()))?;
    let looked_at: Vec<usize> = servers.iter().chain(&plans[0].processors).copied().collect();
    let mut pairs: Vec<[Measured; 2]> = Vec::new();
    for pair in 0..arguments.pairs {
        // Who goes first changes, so that being first is nobody's advantage.
        let turn = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut measured = [None, None];
        for side in turn {
            let meter = Meter::begin(&looked_at, pids[side]);
            let (tally, server_cpu_ns) = measured_run(&plans[side], pids[side], &stop)?;
            let disturbance = meter.end();
            if stop.is_set() {
                break;
            }
            if contenders[side].has_ended() {
                return Err(Error::Config(
                    contenders.swap_remove(side).complaint("it ended while it was measured"),
                ));
            }
            measured[side] = Some(Measured { tally, server_cpu_ns, disturbance });
        }
        let [Some(a), Some(b)] = measured else { break };
        pairs.push([a, b]);
        if can_redraw() {
            out.passing(format_args!("pair {} of {}", pair + 1, arguments.pairs));
        }
    }
    if can_redraw() {
        out.passing("");
    }
    drop(contenders);
    if pairs.len() < LEAST_PAIRS {
        out.talk(format_args!(
            "ended after {}: nothing can be concluded",
            plural(pairs.len(), "pair", "pairs")
        ));
        return Ok(Exit::Failed);
    }
    Ok(conclude(arguments, &facts, &pairs, out))
}

/// What a run measured, and the server's processor time for as many answers, if its process is known: that of the warm-up
/// and of the first part is left out, and so are the answers of these.
fn measured_run(plan: &Plan, pid: Option<i32>, stop: &Stop) -> Result<(Tally, Option<f64>), Error> {
    let plan = Plan { interval: (plan.duration / PARTS).max(Duration::from_nanos(1)), ..plan.clone() };
    let (mut first, mut last, mut answers) = (None, None, 0);
    let tally = load::watch(&plan, stop, &mut |slice| {
        last = pid.and_then(server::cpu_ns);
        if first.is_none() {
            first = last;
        } else {
            answers += slice.tally.in_time;
        }
    })?;
    let used = first.zip(last).map(|(first, last)| last.saturating_sub(first));
    Ok((tally, used.filter(|_| answers > 0).map(|used| used as f64 / answers as f64)))
}

/// Processors for the servers and for the load: apart, if there are two or more.
fn places(arguments: &Arguments) -> (Vec<usize>, Vec<usize>) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let servers = match &arguments.pin_servers {
        Some(processors) => processors.0.clone(),
        None if count >= 2 => (0..count / 2).collect(),
        None => Vec::new(),
    };
    let clients = (0..count).filter(|processor| !servers.contains(processor)).collect::<Vec<_>>();
    if servers.is_empty() { (servers, Vec::new()) } else { (servers, clients) }
}

/// Tells what the pairs say.
fn conclude(arguments: &Arguments, facts: &Facts, pairs: &[[Measured; 2]], out: &mut Output) -> Exit {
    let is_disturbed = |pair: &&[Measured; 2]| pair.iter().any(|run| run.disturbance.is_too_much());
    let disturbed = pairs.iter().filter(is_disturbed).count();
    let is_refused = disturbed as f64 > MOST_DISTURBED * pairs.len() as f64 && !arguments.allow_disturbed;
    // Without the disturbed pairs, if enough are left.
    let good: Vec<&[Measured; 2]> =
        pairs.iter().filter(|pair| arguments.allow_disturbed || !is_disturbed(pair)).collect();
    let used = if is_refused { pairs.iter().collect() } else { good };
    let rows: Vec<(Metric, Paired)> = Metric::ALL
        .into_iter()
        .filter_map(|metric| {
            let values =
                used.iter().filter_map(|[a, b]| Some((a.value(metric, facts)?, b.value(metric, facts)?)));
            Some((metric, Paired::of(values)?))
        })
        .collect();
    let sum = |of: fn(&Tally) -> u64| {
        [0, 1].map(|side| pairs.iter().map(|pair| of(&pair[side].tally)).sum::<u64>())
    };
    let (errors, unsent) = (sum(Tally::failed), sum(|tally| tally.unsent));
    let mean = |of: &dyn Fn(&Disturbance) -> f64| {
        pairs.iter().flatten().map(|run| of(&run.disturbance)).sum::<f64>() / (2 * pairs.len()) as f64
    };
    let (foreign, steal) = (mean(&|d| d.foreign), mean(&|d| d.steal));
    match arguments.format {
        Format::Json => {
            out.line(as_json(arguments, &rows, pairs.len(), disturbed, is_refused, errors, (foreign, steal)))
        }
        Format::Text => {
            out.line(format_args!("A  {}\nB  {}", arguments.a, arguments.b));
            out.line(format_args!(
                "{} pairs of {}, {}",
                pairs.len(),
                people(facts.duration_ns as f64),
                facts.title().split_once(": ").map_or("", |(_, title)| title)
            ));
            let mut table = Table::new(&["", "A", "B", "B/A", "99 % interval", "verdict"]);
            for (metric, paired) in &rows {
                let verdict = if is_refused { "-" } else { paired.verdict().word() };
                let interval = format!("{:.3} – {:.3}", paired.low, paired.high);
                let (a, b) = (metric.show(paired.a), metric.show(paired.b));
                table.row([&metric.name(), &a, &b, &format!("{:.3}", paired.ratio), &interval, &verdict]);
            }
            out.line(table);
            out.line(
                "A and B: medians. B/A: geometric mean of the pairs' ratios; interval: Student's t of their logarithms.",
            );
            out.line(format_args!(
                "machine: {:.1} % of the processors' time went to others, {:.1} % was stolen; {disturbed} of {} pairs disturbed",
                foreign * 100.0,
                steal * 100.0,
                pairs.len()
            ));
        }
    }
    for (name, errors) in ["A", "B"].into_iter().zip(errors) {
        if errors > 0 {
            out.talk(format_args!("{name} had {errors} errors: what is compared is the rest"));
        }
    }
    for (name, unsent) in ["A", "B"].into_iter().zip(unsent) {
        if unsent > 0 {
            out.talk(format_args!(
                "{name} left {unsent} requests unsent at the end of its runs: it did not keep up with the rate"
            ));
        }
    }
    if is_refused {
        out.talk(format_args!(
            "MACHINE DISTURBED: in {disturbed} of {} pairs others used the processors; nothing is concluded. Repeat it on \
             a quiet machine, or say --allow-disturbed",
            pairs.len()
        ));
        return Exit::Failed;
    }
    Exit::Ok
}

fn as_json(
    arguments: &Arguments,
    rows: &[(Metric, Paired)],
    pairs: usize,
    disturbed: usize,
    is_refused: bool,
    errors: [u64; 2],
    (foreign, steal): (f64, f64),
) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(metric, paired)| {
            let verdict = if is_refused { Verdict::CannotTell } else { paired.verdict() };
            json!({
                "metric": metric.name(),
                "a": paired.a,
                "b": paired.b,
                "ratio": paired.ratio,
                "low": paired.low,
                "high": paired.high,
                "pairs": paired.pairs,
                "verdict": verdict.word(),
            })
        })
        .collect();
    json!({
        "schema": "switchboard.load.compare",
        "version": 1,
        "a": arguments.a,
        "b": arguments.b,
        "method": "geometric mean of paired ratios B/A, 99 % interval by Student's t of their logarithms",
        "pairs": pairs,
        "disturbed_pairs": disturbed,
        "foreign_share": foreign,
        "steal_share": steal,
        "concluded": !is_refused,
        "errors": { "a": errors[0], "b": errors[1] },
        "metrics": rows,
    })
}
