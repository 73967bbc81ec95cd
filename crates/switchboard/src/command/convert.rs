//! `convert`: the file of an inetd or of xinetd as a configuration of ours.

use crate::config::legacy::{self, LANGUAGES, Old};
use crate::config::notes::Severity;
use crate::config::source::Sources;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;

/// Prints a file of inetd or xinetd as a configuration of ours
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// The file; of xinetd, with all that it includes; or a directory of inetd's files
    file: PathBuf,

    /// Whose file it is [default: seen from what is in it, and said]
    #[arg(long, value_name = "DAEMON", value_parser = PossibleValuesParser::new(LANGUAGES.map(|(name, _)| name)))]
    from: Option<String>,

    /// Keep the old behaviour where it is not a hole, and leave out what the old daemon left out
    #[arg(long)]
    compat: bool,

    /// Say only what is left out
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  echo 'time stream tcp nowait root internal' | switchboard convert --quiet /dev/stdin
  echo 'time stream tcp6 nowait root internal' | switchboard convert --from gnu /dev/stdin
  echo 'time dgram udp wait root internal' | switchboard convert --compat -q /dev/stdin";

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let mut sources = Sources::default();
    let old = Old::new(arguments.from.as_deref().and_then(legacy::language), arguments.compat);
    let mut read = match legacy::read(&arguments.file, &old, &mut sources) {
        Ok(read) => read,
        Err(complaint) => {
            out.report(complaint.show(&sources));
            return Exit::Config;
        }
    };
    if let Some(because) = read.because.as_ref().filter(|_| !arguments.quiet) {
        out.talk(format_args!("{}: {because}", arguments.file.display()));
    }
    let least = if arguments.quiet { Severity::LeftOut } else { Severity::Remark };
    for finding in read.findings.iter().filter(|finding| finding.note.severity >= least) {
        out.report(finding.complaint(arguments.compat).show(&sources));
    }
    let accepted = read.is_accepted(arguments.compat);
    read.remark(arguments.compat, &sources);
    match read.document.to_toml() {
        Ok(toml) => out.line(toml.trim_end()),
        Err(error) => {
            out.talk(format_args!("{}: it cannot be written as TOML: {error}", arguments.file.display()));
            return Exit::Failed;
        }
    }
    if accepted {
        return Exit::Ok;
    }
    out.talk(format_args!("{}: what has errors is left out above", arguments.file.display()));
    Exit::Config
}
