//! `drain`: a running server ends when its conversations have; or one service of it asks balancers for no more work.

use super::status::Server;
use crate::control::{Announcement, Request};
use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use std::time::{Duration, Instant};
use switchboard_net::quantity;
use switchboard_net::sys::process;

/// Ends a running server when its conversations have, or drains one service
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Only this service, by its id: the `agent` of it (`of = SERVICE`) tells balancers `drain`, and the server goes on
    ///
    /// Whoever comes all the same is served: the listener and its limits stay as they are. `resume SERVICE` takes it back;
    /// reloads and upgrades do not.
    #[arg(value_name = "SERVICE", conflicts_with_all = ["notice", "timeout", "no_wait"])]
    service: Option<String>,

    /// With a SERVICE: say `maint` instead, so that a balancer closes what it has with it too, and stops its checks
    #[arg(long, requires = "service")]
    maintenance: bool,

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
  switchboard drain --control /run/switchboard.sock --no-wait
  switchboard drain web";

/// Time to answer a request.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    if let Some(service) = &arguments.service {
        let state = if arguments.maintenance { Announcement::Maintenance } else { Announcement::Draining };
        let request = Request::Announce { service: service.clone(), state };
        return arguments.server.tell(&request, PATIENCE, out);
    }
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
