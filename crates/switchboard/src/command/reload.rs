//! `reload`: a running server reads its configuration again.

use super::status::Server;
use crate::control::Request;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::Duration;

/// Makes a running server read its configuration again
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  switchboard reload
  switchboard reload --control /run/switchboard.sock

Sockets and conversations of services that stay the same are untouched; conversations of services that change go on
under the old rules. SIGHUP does the same.";

/// Time for reading files and looking names up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    arguments.server.tell(&Request::Reload, PATIENCE, out)
}
