//! `load report`: what runs measured, as a page of one file, and as pictures.

mod figures;
mod page;
mod plot;

use super::files;
use super::hlog;
use super::record::Record;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::path::{Path, PathBuf};

/// Most runs of one report: more lines could not be told apart.
const MOST_RUNS: usize = 8;

/// Makes a page with pictures of one or several runs
///
/// Each run is the --hlog file of `load` or `load merge`. The page is one file that fetches nothing and needs no script:
/// percentiles of all runs in one picture, latency over time, throughput, a table, the command lines and the machine.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The runs, as FILE or NAME=FILE
    #[arg(required = true, value_name = "[NAME=]FILE")]
    files: Vec<String>,

    /// Where to write the page; `-` is standard output
    #[arg(short, long, value_name = "FILE", required_unless_present = "svg")]
    output: Option<PathBuf>,

    /// Write every figure as a picture of its own into this folder
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,

    /// The headline
    #[arg(long, value_name = "TEXT", default_value = "Load")]
    title: String,
}

const EXAMPLES: &str = "\
Examples:
  switchboard load HOST:7007 -c 50 --rate 20k --hlog before.hlog
  switchboard load report before.hlog after.hlog -o report.html
  switchboard load report epoll=a.hlog uring=b.hlog --svg figures";

/// A run with the name under which it is shown.
struct Run {
    name: String,
    record: Record,
}

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    if arguments.files.len() > MOST_RUNS {
        out.talk(format_args!("{} runs: a report shows at most {MOST_RUNS}", arguments.files.len()));
        return Exit::Usage;
    }
    let mut runs: Vec<Run> = Vec::new();
    for file in &arguments.files {
        let (name, path) = match file.split_once('=') {
            Some((name, path)) if !Path::new(file).exists() => (Some(name), path),
            _ => (None, file.as_str()),
        };
        if arguments.output.as_deref().is_some_and(|output| files::is_same(output, Path::new(path))) {
            out.talk(format_args!("--output {path} is one of the runs: that would be lost"));
            return Exit::Usage;
        }
        match hlog::read(Path::new(path)) {
            Ok(record) => {
                let stem = Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
                let name = name.map_or_else(|| stem.unwrap_or_default(), str::to_owned);
                runs.push(Run { name, record });
            }
            Err(problem) => {
                out.talk(problem);
                return Exit::Failed;
            }
        }
    }
    match write(arguments, &runs, out) {
        Ok(()) => Exit::Ok,
        Err(problem) => {
            out.talk(problem);
            Exit::Output
        }
    }
}

fn write(arguments: &Arguments, runs: &[Run], out: &mut Output) -> Result<(), String> {
    let cannot = |path: &Path, error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let figures = figures::all(runs);
    if let Some(folder) = &arguments.svg {
        std::fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
        for figure in &figures {
            let path = folder.join(format!("{}.svg", figure.id));
            std::fs::write(&path, plot::alone(&figure.svg)).map_err(|error| cannot(&path, error))?;
        }
    }
    if let Some(path) = &arguments.output {
        let page = page::document(&arguments.title, runs, &figures);
        if path == Path::new("-") {
            out.bytes(page.as_bytes());
        } else {
            std::fs::write(path, page).map_err(|error| cannot(path, error))?;
        }
    }
    Ok(())
}
