//! `stop`: a running server ends at once.

use super::status::Server;
use crate::control::Request;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::Duration;

/// Makes a running server cut every conversation and end; `drain` lets them end
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  switchboard stop
  switchboard stop --control /run/switchboard.sock";

/// Time to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    arguments.server.tell(&Request::Stop, PATIENCE, out)
}
