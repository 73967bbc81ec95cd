//! `status`: what a running server is doing.

use crate::control::{self, ListenerStatus, Request, Status};
use crate::exit::Exit;
use crate::report::{Output, Table};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Shows what a running server is doing
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Shape::Human)]
    format: Shape,
}

const EXAMPLES: &str = "\
Examples:
  switchboard status
  switchboard status --control /run/switchboard.sock --format json";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Shape {
    Human,
    Json,
}

/// Which server.
#[derive(Args, Debug)]
pub(super) struct Server {
    /// The server's control socket [default: $SWITCHBOARD_CONTROL, or switchboard.sock in the user's run-time
    /// directory, or in /run]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// Time that a server has to answer what it can answer at once.
const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// Asks, and prints what is for people; what is wrong goes to standard error.
    pub(super) fn tell(&self, request: &Request, patience: Duration, out: &mut Output) -> Exit {
        match control::ask(&self.path(), request, patience) {
            Ok(reply) => {
                for line in reply.text {
                    if reply.ok { out.line(line) } else { out.talk(line) }
                }
                if reply.ok { Exit::Ok } else { Exit::Failed }
            }
            Err(problem) => {
                out.talk(problem);
                Exit::Refused
            }
        }
    }

    /// Asks for the status.
    pub(super) fn status(&self) -> Result<Status, String> {
        let reply = control::ask(&self.path(), &Request::Status, PATIENCE)?;
        reply.status.ok_or_else(|| reply.text.join("; "))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.control.clone().unwrap_or_else(control::default_path)
    }
}

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let status = match arguments.server.status() {
        Ok(status) => status,
        Err(problem) => {
            out.talk(problem);
            return Exit::Refused;
        }
    };
    match arguments.format {
        Shape::Json => out.line(serde_json::to_string_pretty(&status).unwrap_or_default()),
        Shape::Human => show(&status, out),
    }
    Exit::Ok
}

fn show(status: &Status, out: &mut Output) {
    out.line(format_args!(
        "switchboard {} (process {}) is {} for {:.0} s; reloads {} ({} refused), upgrades {}",
        status.program,
        status.pid,
        status.state,
        status.uptime_s,
        status.reloads,
        status.reloads_refused,
        status.upgrades
    ));
    if status.log_lines_lost > 0 {
        out.line(format_args!(
            "{} lines of the log could not be written and are lost: is the disk full, or its reader too slow?",
            status.log_lines_lost
        ));
    }
    let heading =
        ["service", "by", "address", "waiting", "open", "served", "refused", "in", "out", "workers"];
    let mut table = Table::new(&heading);
    for service in &status.services {
        let count = |name: &str| service.counters.get(name).copied().unwrap_or_default();
        let address = |listener: &ListenerStatus| {
            let waiting = listener.waiting.map_or_else(|| "-".into(), |n| n.to_string());
            (listener.service.clone(), listener.endpoint.clone(), waiting)
        };
        let mut addresses: Vec<_> = service.listeners.iter().map(address).collect();
        if addresses.is_empty() {
            addresses.push((service.id.clone(), "tcpmux".into(), "-".into()));
        }
        for (at, (name, endpoint, waiting)) in addresses.into_iter().enumerate() {
            let mut cells = vec![name, service.by.clone(), endpoint, waiting];
            // Counts belong to the workers, which may serve several addresses: they are told once.
            if at == 0 {
                cells.extend([
                    service.open.to_string(),
                    (count("accepted") + count("datagrams_in")).to_string(),
                    REFUSALS.iter().map(|name| count(name)).sum::<u64>().to_string(),
                    count("bytes_in").to_string(),
                    count("bytes_out").to_string(),
                    match (service.state.as_str(), service.restarts) {
                        ("serving", 0) => service.workers.len().to_string(),
                        ("serving", n) => format!("{} ({n} restarts)", service.workers.len()),
                        (state, _) => state.to_owned(),
                    },
                ]);
            } else {
                cells.extend(["\""; 6].map(str::to_owned));
            }
            table.push(cells);
        }
    }
    out.line(table);
    if !status.programs.is_empty() {
        let mut table = Table::new(&["connection", "service", "process", "peer", "age"]);
        for program in &status.programs {
            table.row([
                &program.connection,
                &program.service,
                &program.pid,
                &program.peer,
                &format_args!("{:.0} s", program.age_s),
            ]);
        }
        out.line(table);
    }
    if !status.connections.is_empty() {
        let mut table = Table::new(&["connection", "service", "process", "peer", "age"]);
        for one in status.connections.iter().take(SHOWN) {
            table.row([
                &one.connection,
                &one.service,
                &one.pid,
                &one.peer,
                &format_args!("{:.0} s", one.age_s),
            ]);
        }
        out.line(table);
        let listed = status.connections.len() as u64;
        let more = listed.saturating_sub(SHOWN as u64) + status.connections_unlisted;
        if more > 0 {
            out.line(format_args!("and {more} more connections; --format json lists {listed}"));
        }
    }
    for retired in &status.retired {
        out.line(format_args!(
            "worker {} of {} finishes what it has begun before a reload",
            retired.pid, retired.service
        ));
    }
}

/// Conversations that people are shown, the oldest first.
const SHOWN: usize = 20;
/// Counters of clients who were not let in.
const REFUSALS: &[&str] = &["refused", "denied", "limited"];
