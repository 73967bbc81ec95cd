//! `stop`: a running server ends at once.

use super::status::Server;
use crate::control::{self, Request};
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::{Duration, Instant};
use switchboard_net::sys::process;

/// Makes a running server cut every conversation and end; `drain` lets them end
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,

    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

const EXAMPLES: &str = "\
Examples:
  switchboard stop
  switchboard stop --control /run/switchboard.sock --no-wait";

/// Time to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Beyond the time after which the server kills what is left: for its own end.
const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let began = Instant::now();
    let pid = arguments.server.status().map(|status| status.pid);
    let reply = match control::ask(&arguments.server.path(), &Request::Stop, PATIENCE) {
        Ok(reply) => reply,
        Err(problem) => {
            out.talk(problem);
            return Exit::Refused;
        }
    };
    reply.text.iter().for_each(|line| out.line(line));
    // An older server does not say how long it may take.
    let (Ok(pid), Some(within_ms), false) = (pid, reply.within_ms, arguments.no_wait) else {
        return Exit::Ok;
    };
    let within = Duration::from_millis(within_ms) + SLACK;
    if let Err(error) = process::wait_for_end(pid, Some(within)) {
        out.talk(format_args!("cannot wait for process {pid}: {error}"));
        return Exit::Failed;
    }
    if began.elapsed() >= within {
        out.talk(format_args!("process {pid} has not ended after {:.1} s", within.as_secs_f64()));
        return Exit::Failed;
    }
    out.line(format_args!("ended after {:.1} s", began.elapsed().as_secs_f64()));
    Exit::Ok
}
