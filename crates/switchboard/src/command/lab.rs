//! `lab`: what becomes of a program when the net goes bump.

use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, Subcommand};
use switchboard_lab::scenario::Scenario;

mod compare;
mod guide;
mod index;
mod play;
mod result;
mod sheet;

/// Shows what becomes of a client or server when the network or its peer fails
///
/// Every case runs on the real kernel, between simulated hosts that are made for it, without root. The program is
/// watched, not changed, and may be written in any language. Without a program, switchboard's own client and server
/// are put to the test.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  switchboard lab list
  switchboard lab show 14-child-killed
  switchboard lab run 1 --kernel
  switchboard lab run 14 --client 'switchboard connect {host} {port}'";

#[derive(Subcommand, Debug)]
enum Task {
    List(index::Arguments),
    Show(sheet::Arguments),
    Run(Box<play::Arguments>),
    Diff(compare::Arguments),
    Guide(guide::Arguments),
}

pub(crate) fn run(arguments: Arguments, out: &mut Output) -> Exit {
    match arguments.task {
        Task::List(arguments) => index::run(&arguments, out),
        Task::Show(arguments) => sheet::run(&arguments, out),
        Task::Run(arguments) => play::run(&arguments, out),
        Task::Diff(arguments) => compare::run(&arguments, out),
        Task::Guide(arguments) => guide::run(&arguments, out),
    }
}

/// The scenarios that were named.
fn named(ids: &[String]) -> Result<Vec<Scenario>, String> {
    let mut all: Vec<Scenario> = Vec::new();
    for id in ids {
        for scenario in Scenario::find(id)? {
            if !all.iter().any(|known| known.id == scenario.id) {
                all.push(scenario);
            }
        }
    }
    Ok(all)
}
