//! `health`: whether a running server is well, for probes of load balancers and container managers.

use super::status::Server;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;

/// Tells by its exit code whether a running server serves
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Only whether it answers at all: a server that drains is alive
    #[arg(long)]
    live: bool,

    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  switchboard health
  switchboard health --live --control /run/switchboard.sock";

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match arguments.server.status() {
        Ok(status) => {
            let failed: Vec<&str> = status
                .services
                .iter()
                .filter(|service| service.state != "serving")
                .map(|service| service.id.as_str())
                .collect();
            let well = status.state == "serving" && failed.is_empty();
            out.line(match failed.as_slice() {
                [] => status.state.clone(),
                failed => format!("{}; failed: {}", status.state, failed.join(", ")),
            });
            if well || arguments.live { Exit::Ok } else { Exit::Failed }
        }
        Err(problem) => {
            out.talk(problem);
            Exit::Refused
        }
    }
}
