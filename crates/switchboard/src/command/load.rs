//! `load`: many clients of one service, and how long its answers took, in numbers that can be trusted.

mod compare;
mod csv;
mod engines;
mod files;
mod heat;
mod hlog;
mod measure;
mod merge;
mod moment;
mod order;
mod progress;
mod record;
mod report;
mod secured;
mod server;
mod started;
mod summary;
pub(super) mod tether;
mod threshold;

use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, Subcommand};

/// Loads a service with many clients and measures its answers
///
/// Every byte that comes back is checked. One connection more is made first, to choose among the addresses of a name.
/// With --rate, requests are due at fixed times and their latency counts from then, so that a stall is seen for as
/// long as it lasted; beside it stands the time from when they were really sent. Without it each connection asks again
/// when it has its answer (closed loop), and a stall is seen once per connection. What is due and cannot be sent before
/// the end is `unsent`, and counts with its wait. Ctrl-C ends the run and reports what there is.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,

    #[command(flatten)]
    measure: measure::Run,
}

#[derive(Subcommand, Debug)]
enum Task {
    Merge(merge::Arguments),
    Compare(Box<compare::Arguments>),
    Report(report::Arguments),
    /// Prints the JSON schema of `--format json`
    #[command(after_help = "Examples:\n  switchboard load schema > load.schema.json")]
    Schema,
    Engines(engines::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  switchboard load 127.0.0.1:7007 --duration 300ms --warm-up 100ms
  switchboard load 127.0.0.1:7007 --connections 20 --rate 500 --duration 500ms
  switchboard load 127.0.0.1:7007 --workload connect --duration 200ms --fail-if 'errors>0'
  switchboard load 127.0.0.1:7007 --workload stream --connections 2 --duration 200ms
  switchboard load 127.0.0.1:7007 --workload idle --connections 100 --duration 200ms
  switchboard load 127.0.0.1:7007 -s zipf:64-16KiB -d 200ms --hlog run.hlog --csv run.csv
  switchboard load 127.0.0.1:7007 --depth 8 --size 4KiB --duration 200ms --format json";

/// What `--format json` prints.
const SCHEMA: &str = include_str!("../../schema/load.json");

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match &arguments.task {
        None => measure::run(&arguments.measure, out),
        Some(Task::Merge(arguments)) => merge::run(arguments, out),
        Some(Task::Compare(arguments)) => compare::run(arguments, out),
        Some(Task::Report(arguments)) => report::run(arguments, out),
        Some(Task::Schema) => {
            out.line(SCHEMA.trim_end());
            Exit::Ok
        }
        Some(Task::Engines(arguments)) => engines::run(arguments, out),
    }
}
