//! `upgrade`: a running server is replaced by its binary as it is now.

use super::status::Server;
use crate::control::Request;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::Duration;

/// Replaces a running server by its binary as it is now, cutting nobody off
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  switchboard upgrade
  switchboard upgrade --control /run/switchboard.sock

The new program takes the sockets over and says when it serves; only then does the old one drain. If it crashes, hangs
or finds its configuration wrong, the old one goes on. SIGUSR2 does the same.";

/// Beyond the server's own limits, which are at most this long.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    arguments.server.tell(&Request::Upgrade, PATIENCE, out)
}
