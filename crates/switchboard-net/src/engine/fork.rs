//! A child process for each connection. The child closes the listeners, the parent the connection; children that
//! end are collected in a loop, since one SIGCHLD may stand for many (UNP 5.10).

use super::attend::attend_alone;
use super::blocking::Lent;
use super::lobby::{Lobby, Next};
use super::porch::Arrival;
use super::{Engine, EngineRow, Site, Workers};
use crate::admission::Ticket;
use crate::error::Error;
use crate::journal::Warning;
use crate::sys::process::{self, Fork};
use crate::sys::signal::{self, Ended};
use crate::sys::{clock, signal::ask_to_cut};
use crate::tally::Counters;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::process::{Pid, WaitStatus};
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use switchboard_proto::Instant;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "fork",
    summary: "a child process for each connection",
    source: "UNP 4.8, 5.10, 30.5",
    workers: Workers::ReusePort,
    datagrams: false,
    many_services: true,
    spins: false,
    engine: &Forking,
};

struct Forking;

/// Time that cut children have for their last line in the log before they are killed.
pub(super) const GRACE: Duration = Duration::from_secs(2);

impl Engine for Forking {
    fn serve(&self, mut site: Site<'_>) -> Result<(), Error> {
        let ended = Ended::watch().map_err(|error| Error::system("watch for children", error))?;
        let limit = site.limits.tasks();
        process::tidy_memory();
        // What a child would have to make for itself is made here: it gets it with the fork.
        let mut lent = Lent::made();
        site.journal.make_room();
        let mut lobby = Lobby::new(&mut site, limit, Some(ended.as_fd()))?;
        let mut children = Children::default();
        let mut cut_at = Instant::NEVER;
        let mut unserved: Option<Arrival> = None;
        while !(lobby.is_closed() && children.is_empty() && unserved.is_none()) {
            let retry_at = if unserved.is_some() { lobby.gate.retry_at() } else { Instant::NEVER };
            let mut arrival = match lobby.next(&site, cut_at.min(retry_at))? {
                Next::Client(arrival) => arrival,
                Next::Other => {
                    ended.take();
                    for _ in 0..children.collect(&site) {
                        lobby.gate.leave();
                    }
                    continue;
                }
                Next::Stopped => {
                    cut_at = site.stop.cut_at(clock::now(), site.limits.drain_timeout);
                    continue;
                }
                Next::TimedOut if clock::now() >= cut_at => {
                    cut_at = children.cut();
                    lobby.turn_away();
                    continue;
                }
                Next::TimedOut => match unserved.take() {
                    Some(arrival) => arrival,
                    None => continue,
                },
            };
            signal::set_current(Some(arrival.as_fd()));
            // The time zone is looked up, at most every quarter of an hour, by the one who goes on.
            let _ = clock::wall();
            match children.start() {
                Ok(Some(child)) => {
                    children.entrust(child, arrival.ticket.take());
                    drop(arrival);
                }
                Ok(None) => {
                    // The child: one client, and nothing else of the parent's. Its memory is a copy, made page by
                    // page as it is written to, so nothing is freed here and little is made.
                    lobby.leave_to_parent();
                    if let Ok(cut) = signal::cut_on_request() {
                        attend_alone(&site, arrival, &mut lent, cut);
                    }
                    site.journal.finish();
                    process::exit_now(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    return Err(Error::system("start a child", error));
                }
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::NOMEM);
                    lobby.gate.on_shortage(errno, &site, clock::now());
                    unserved = Some(arrival);
                }
            }
        }
        site.journal.finish();
        Ok(())
    }
}

/// Child processes of this one.
#[derive(Default)]
pub(super) struct Children {
    /// With what their clients are counted by: a child counts until it is collected.
    alive: HashMap<Pid, Option<Ticket>>,
    cut: bool,
}

impl Children {
    pub(super) fn is_empty(&self) -> bool {
        self.alive.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.alive.len()
    }

    /// fork(2): `None` in the child, which dies with its parent. The parent [entrusts](Children::entrust) it here.
    pub(super) fn start(&self) -> io::Result<Option<Pid>> {
        let parent = Pid::from_raw(process::known_id().cast_signed()).expect("a process has an id");
        match process::fork()? {
            Fork::Parent(pid) => Ok(Some(pid)),
            Fork::Child => {
                process::die_with(parent);
                Ok(None)
            }
        }
    }

    /// Counts a child until it has ended, and keeps what its client is counted by as long.
    pub(super) fn entrust(&mut self, child: Pid, ticket: Option<Ticket>) {
        self.alive.insert(child, ticket);
    }

    /// Collects every child that has ended; their number. A child that died of a signal is a bug of ours and is
    /// logged.
    pub(super) fn collect(&mut self, site: &Site<'_>) -> usize {
        let mut collected = 0;
        while let Some((pid, status)) = process::reap() {
            if self.alive.remove(&pid).is_none() {
                continue;
            }
            collected += 1;
            if status.exit_status() != Some(0) {
                site.release_dead(pid);
            }
            if status.exit_status() != Some(0) && !self.cut {
                Counters::add(&site.counters.crashes, 1);
                let pid = pid.as_raw_pid();
                site.journal.warn(Warning::Child, clock::now(), &|| format!("child {pid} {}", fate(status)));
            }
        }
        collected
    }

    /// Cuts the conversations of all children; those that are still there at the time returned are killed by the
    /// next call.
    pub(super) fn cut(&mut self) -> Instant {
        for pid in self.alive.keys() {
            if self.cut {
                process::kill(*pid);
            } else {
                ask_to_cut(*pid);
            }
        }
        self.cut = true;
        clock::now() + GRACE
    }
}

/// What became of a process, in words.
pub(super) fn fate(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
