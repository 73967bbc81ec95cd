//! `lab guide`: the field guide, made from runs.

use super::play;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::path::PathBuf;
use switchboard_lab::mode;
use switchboard_lab::record::{Change, What};
use switchboard_lab::render::guide::{self, Page};
use switchboard_lab::run::{Grade, Outcome};
use switchboard_lab::scenario::Scenario;

/// Writes the field guide: what happens on a network when something goes wrong, a page a case
///
/// Every case is run with switchboard's own client and server, and its page shows what was seen: pages that need no
/// network and no JavaScript. Nothing is written if the lab cannot run here.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  switchboard lab guide field-guide/ 1 14")]
pub(crate) struct Arguments {
    /// Where to write it; files of an older guide are replaced
    folder: PathBuf,

    /// Only these cases, by id or number [default: all]
    #[arg(value_name = "ID")]
    cases: Vec<String>,

    /// Seed of all randomness
    #[arg(long, default_value = "1")]
    seed: u64,

    /// Cases run at the same time
    #[arg(long, value_name = "N", default_value = "6")]
    jobs: usize,
}

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let mode = mode::probe();
    if !mode.is_full() {
        out.talk(format_args!("nothing can be run here: {mode}"));
        return Exit::Permission;
    }
    match write(arguments, out) {
        Ok(fine) => super::result::exit(fine),
        Err(error) => {
            out.talk(error);
            Exit::Usage
        }
    }
}

/// Returns whether every case went as it should.
fn write(arguments: &Arguments, out: &mut Output) -> Result<bool, String> {
    let scenarios =
        if arguments.cases.is_empty() { Scenario::all() } else { super::named(&arguments.cases)? };
    let mut outcomes = play::own(&scenarios, arguments.seed, arguments.jobs, out)?;
    for outcome in &mut outcomes {
        anonymous(outcome);
    }
    let pages: Vec<Page<'_>> = scenarios
        .iter()
        .map(|scenario| {
            let of_it = outcomes.iter().filter(|outcome| outcome.plan.scenario == scenario.id);
            Page { scenario, outcomes: of_it.filter(|outcome| outcome.skipped.is_none()).collect() }
        })
        .collect();
    let wrong = |error: std::io::Error| format!("{}: {error}", arguments.folder.display());
    std::fs::create_dir_all(&arguments.folder).map_err(wrong)?;
    let files = guide::site(&pages);
    let size: usize = files.iter().map(|(_, text)| text.len()).sum();
    for (name, text) in &files {
        std::fs::write(arguments.folder.join(name), text).map_err(wrong)?;
    }
    out.line(format_args!(
        "{}: {} cases, {} files, {} KiB",
        arguments.folder.join("index.html").display(),
        pages.len(),
        files.len(),
        size / 1024
    ));
    Ok(outcomes.iter().all(|outcome| matches!(outcome.grade(), Grade::Good | Grade::Skipped)))
}

/// Where this program lies on this machine is nobody's business.
fn anonymous(outcome: &mut Outcome) {
    let path = std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned();
    for host in &mut outcome.recording.header.hosts {
        host.program = host.program.take().map(|program| program.replace(&path, "switchboard"));
    }
    for event in &mut outcome.recording.events {
        if let What::Output { bytes, .. } = &mut event.what {
            *bytes = String::from_utf8_lossy(bytes).replace(&path, "switchboard").into_bytes();
        }
        let words: Vec<&mut String> = match &mut event.what {
            What::Call(call) | What::CallEntered(call) => {
                call.arguments.iter_mut().map(|(_, value)| value).collect()
            }
            What::Process(process) => match &mut process.change {
                Change::Executed { command } => command.iter_mut().collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        for word in words {
            *word = word.replace(&path, "switchboard");
        }
    }
}
