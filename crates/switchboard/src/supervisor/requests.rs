//! What is asked over the control socket, and done.

use super::control::Control;
use super::unit::{Retired, Unit};
use super::{GRACE, State, Supervisor};
use crate::control::{
    ConnectionStatus, ListenerStatus, ProgramStatus, Reply, Request, RetiredStatus, ServiceStatus, Status,
};
use crate::plan::secured;
use crate::report::Output;
use rustix::process::Pid;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard_net::program::Entry;
use switchboard_net::sys::{clock, socket};
use switchboard_net::{Announced, roster};

/// Conversations that `status` lists, the oldest first.
const MOST_LISTED: usize = 1_000;

impl Supervisor {
    pub(super) fn serve_control(&mut self, out: &mut Output) {
        let asked = self.control.as_mut().map(Control::advance).unwrap_or_default();
        for (client, request) in asked {
            let reply = match request {
                Err(why) => Some(Err(why)),
                Ok(Request::Status) => {
                    let reply = Reply { ok: true, status: Some(self.status()), ..Reply::default() };
                    self.answer(client, &reply);
                    None
                }
                Ok(Request::Reload) => Some(self.reload()),
                Ok(Request::Upgrade) => self.upgrade(Some(client)).err().map(Err),
                Ok(Request::Drain { notice_ms, timeout_ms }) => {
                    let timeout = timeout_ms.map(Duration::from_millis);
                    self.board.scores.set_draining();
                    let until = clock::now() + Duration::from_millis(notice_ms);
                    match self.state {
                        State::Serving | State::Noticed { .. } => {
                            self.state = State::Noticed { until, timeout };
                            Some(Ok(vec!["draining".into()]))
                        }
                        State::Draining { .. } => Some(Ok(vec!["draining already".into()])),
                    }
                }
                Ok(Request::Stop) => {
                    let within = match self.state {
                        State::Draining { .. } => {
                            self.kill();
                            GRACE
                        }
                        _ => self.drain(Some(Duration::ZERO), out),
                    };
                    let seconds = within.as_secs_f64();
                    let reply = Reply {
                        ok: true,
                        text: vec![format!(
                            "what is open is cut; what does not end is killed within {seconds} s"
                        )],
                        within_ms: Some(u64::try_from(within.as_millis()).unwrap_or(u64::MAX)),
                        status: None,
                    };
                    self.answer(client, &reply);
                    None
                }
                Ok(Request::Announce { service, state }) => Some(self.announce(&service, state.into())),
                Ok(Request::Terminate { connection }) => Some(self.terminate(&connection)),
            };
            if let Some(reply) = reply {
                let (ok, text) = match reply {
                    Ok(text) => (true, text),
                    Err(why) => (false, vec![why]),
                };
                self.answer(client, &Reply { ok, text, ..Reply::default() });
            }
        }
    }

    fn answer(&mut self, client: u64, reply: &Reply) {
        if let Some(control) = &mut self.control {
            control.answer(client, reply);
        }
    }

    fn status(&mut self) -> Status {
        self.forget_lost();
        let mut conversations: Vec<_> = self.connections.roster.entries().collect();
        conversations.sort_unstable_by_key(|entry| entry.connection);
        let unlisted = conversations.len().saturating_sub(MOST_LISTED);
        let connection = |entry: &roster::Entry| ConnectionStatus {
            connection: entry.connection,
            service: self.name_of(entry.service),
            pid: entry.pid.as_raw_pid(),
            peer: entry.peer.to_string(),
            age_s: entry.age().as_secs_f64(),
        };
        let listener = |unit: &Unit| {
            let addresses = unit.addresses().filter_map(|(service, socket, tls)| {
                let listener = self.sockets.listener(socket)?;
                Some(ListenerStatus {
                    service: service.id.clone(),
                    endpoint: secured(&listener.local().to_string(), tls),
                    waiting: socket::queue_length(listener).map(|n| n as u64),
                })
            });
            addresses.collect()
        };
        let service = |unit: &Unit| {
            let tally = self.board.of(unit.slot).read();
            ServiceStatus {
                id: unit.name(),
                by: unit.services[0].action.by().into(),
                state: match self.board.scores.announced(unit.slot) {
                    _ if unit.failed => "failed",
                    Announced::Serving => "serving",
                    Announced::Draining => "draining",
                    Announced::Maintenance => "maintenance",
                }
                .into(),
                listeners: listener(unit),
                workers: unit.workers.iter().filter_map(|worker| worker.pid).map(Pid::as_raw_pid).collect(),
                restarts: unit.restarts,
                open: tally.open(),
                counters: tally.figures().into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
            }
        };
        let program = |entry: Entry| ProgramStatus {
            connection: entry.connection,
            service: self.name_of(entry.service),
            pid: entry.pid.as_raw_pid(),
            peer: entry.peer.to_string(),
            age_s: entry.age.as_secs_f64(),
        };
        let retired = |one: &Retired| RetiredStatus { service: one.unit.clone(), pid: one.pid.as_raw_pid() };
        Status {
            schema: "switchboard-status".into(),
            version: 1,
            program: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            state: match self.state {
                State::Serving => "serving",
                State::Noticed { .. } => "noticed",
                State::Draining { .. } => "draining",
            }
            .into(),
            uptime_s: clock::now().since(self.began).as_secs_f64(),
            reloads: self.board.scores.reloads.load(Ordering::Relaxed),
            reloads_refused: self.board.scores.reloads_refused.load(Ordering::Relaxed),
            upgrades: self.upgrades,
            log_lines_lost: self.board.scores.log_lines_lost.load(Ordering::Relaxed),
            files: self.plan.files.clone(),
            services: self.units.iter().map(service).collect(),
            programs: self.programs.register.entries().map(program).collect(),
            connections: conversations.iter().take(MOST_LISTED).map(connection).collect(),
            connections_unlisted: unlisted as u64,
            retired: self.retired.iter().map(retired).collect(),
        }
    }
}
