//! `drain`: a running server ends when its conversations have.

use super::status::Server;
use crate::control::Request;
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::{Duration, Instant};
use switchboard_net::quantity;
use switchboard_net::sys::process;

/// Makes a running server end when its conversations have, and waits for it
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,

    /// First serve on as before for so long, while `health` and load balancers' checks are told that the end is near
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "0s")]
    notice: Duration,

    /// Cut conversations that take longer than this [default: the server's drain timeout]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    timeout: Option<Duration>,

    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

const EXAMPLES: &str = "\
Examples:
  switchboard drain
  switchboard drain --notice 10s --timeout 5m
  switchboard drain --control /run/switchboard.sock --no-wait";

/// Time to answer a request.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Drain { notice_ms: ms(arguments.notice), timeout_ms: arguments.timeout.map(ms) };
    let began = Instant::now();
    let pid = arguments.server.status().map(|status| status.pid);
    let asked = arguments.server.tell(&request, PATIENCE, out);
    if asked != Exit::Ok || arguments.no_wait {
        return asked;
    }
    if let Ok(pid) = pid
        && let Err(error) = process::wait_for_end(pid, None)
    {
        out.talk(format_args!("cannot wait for process {pid}: {error}"));
        return Exit::Failed;
    }
    out.line(format_args!("ended after {:.1} s", began.elapsed().as_secs_f64()));
    Exit::Ok
}
