//! What is asked over the control socket, and done.

use super::control::Control;
use super::unit::{Retired, Unit};
use super::{GRACE, State, Supervisor};
use crate::control::{ListenerStatus, ProgramStatus, Reply, Request, RetiredStatus, ServiceStatus, Status};
use crate::plan::{Action, ServicePlan};
use crate::report::Output;
use rustix::process::Pid;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard_net::program::{Entry, service_key};
use switchboard_net::sys::{clock, socket};

impl Supervisor {
    pub(super) fn serve_control(&mut self, out: &mut Output) {
        let asked = self.control.as_mut().map(Control::advance).unwrap_or_default();
        for (client, request) in asked {
            let reply = match request {
                Err(why) => Some(Err(why)),
                Ok(Request::Status) => {
                    let reply = Reply { ok: true, text: Vec::new(), status: Some(self.status()) };
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
                    match self.state {
                        State::Draining { .. } => self.kill(),
                        _ => self.drain(Some(Duration::ZERO), out),
                    }
                    Some(Ok(vec!["stopped".into()]))
                }
                Ok(Request::Terminate { connection }) => Some(self.terminate(&connection)),
            };
            if let Some(reply) = reply {
                let (ok, text) = match reply {
                    Ok(text) => (true, text),
                    Err(why) => (false, vec![why]),
                };
                self.answer(client, &Reply { ok, text, status: None });
            }
        }
    }

    fn answer(&mut self, client: u64, reply: &Reply) {
        if let Some(control) = &mut self.control {
            control.answer(client, reply);
        }
    }

    /// Ends the program that serves a connection: asked first, killed after its grace time.
    fn terminate(&mut self, connection: &str) -> Result<Vec<String>, String> {
        let number = connection.trim_start_matches('#').parse::<u64>().ok();
        let is_meant =
            |entry: &Entry| Some(entry.connection) == number || entry.peer.to_string() == connection;
        let entry = self.programs.register.entries().find(is_meant).ok_or_else(|| {
            format!("no program serves a connection {connection}; `status` shows those that are")
        })?;
        let grace = self.service_of(&entry).and_then(|service| match &service.action {
            Action::Program(program) => Some(program.grace),
            _ => None,
        });
        self.programs.register.terminate(entry.connection);
        self.programs.terminating.push((entry.connection, clock::now() + grace.unwrap_or(GRACE)));
        Ok(vec![format!("process {} was asked to end", entry.pid.as_raw_pid())])
    }

    /// Kills programs that were asked to end and have not.
    pub(super) fn kill_terminated(&mut self) {
        let now = clock::now();
        let register = self.programs.register;
        self.programs.terminating.retain(|(connection, kill_at)| {
            let entry = register.entries().find(|entry| entry.connection == *connection);
            if now < *kill_at {
                return entry.is_some();
            }
            entry.iter().for_each(Entry::kill);
            false
        });
    }

    /// The service of a running program, if it is still there.
    fn service_of(&self, entry: &Entry) -> Option<&ServicePlan> {
        self.plan.services.iter().find(|service| service_key(&service.id) == entry.service)
    }

    fn status(&self) -> Status {
        let listener = |unit: &Unit| {
            let addresses = unit.addresses().filter_map(|(service, socket)| {
                let listener = self.sockets.listener(socket)?;
                Some(ListenerStatus {
                    service: service.id.clone(),
                    endpoint: listener.local().to_string(),
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
                state: if unit.failed { "failed" } else { "serving" }.into(),
                listeners: listener(unit),
                workers: unit.workers.iter().filter_map(|worker| worker.pid).map(Pid::as_raw_pid).collect(),
                restarts: unit.restarts,
                open: tally.open(),
                counters: tally.figures().into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
            }
        };
        let program = |entry: Entry| ProgramStatus {
            connection: entry.connection,
            service: self.service_of(&entry).map_or_else(|| "?".to_owned(), |service| service.id.clone()),
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
            files: self.plan.files.clone(),
            services: self.units.iter().map(service).collect(),
            programs: self.programs.register.entries().map(program).collect(),
            retired: self.retired.iter().map(retired).collect(),
        }
    }
}
