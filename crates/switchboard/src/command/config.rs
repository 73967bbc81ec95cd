//! `config`: a commented example of the configuration file, and the reference of its keys.

use crate::config::{manual, notes};
use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, ValueEnum};

/// Prints a commented configuration file, or the reference of its keys
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// What to print
    #[arg(value_enum)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  switchboard config example > switchboard.toml; switchboard check switchboard.toml
  switchboard config example | grep -B6 '^.per_source'
  switchboard config reference               as docs/configuration.md";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum What {
    /// A file with every key, commented; `check` accepts it as it is
    Example,
    /// Every key, in Markdown
    Reference,
    /// What of inetd's and xinetd's files is done otherwise, in Markdown
    Migration,
}

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let text = match arguments.what {
        What::Example => manual::example(),
        What::Reference => manual::reference(),
        What::Migration => notes::migration(),
    };
    out.line(text.trim_end());
    Exit::Ok
}
