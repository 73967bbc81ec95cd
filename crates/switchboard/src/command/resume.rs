//! `resume`: a service that was drained asks balancers for work again.

use super::status::Server;
use crate::control::{Announcement, Request};
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::Duration;

/// Makes a service that was drained alone ask for work again
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Its id
    #[arg(value_name = "SERVICE")]
    service: String,

    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  switchboard resume web
  switchboard resume web --control /run/switchboard.sock";

/// Time to answer a request.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let request = Request::Announce { service: arguments.service.clone(), state: Announcement::Serving };
    arguments.server.tell(&request, PATIENCE, out)
}
