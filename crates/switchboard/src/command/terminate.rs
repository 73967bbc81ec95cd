//! `terminate`: one connection of a running server is ended.

use super::status::Server;
use crate::control::Request;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::Duration;

/// Ends one connection of a running server: resets it, or asks its program to end
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// The connection's number in `status` and in the log, or the client's address
    #[arg(value_name = "CONNECTION")]
    connection: String,

    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  switchboard terminate 4711
  switchboard terminate 192.0.2.7:51234 --control /run/switchboard.sock";

/// Time to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let request = Request::Terminate { connection: arguments.connection.clone() };
    arguments.server.tell(&request, PATIENCE, out)
}
