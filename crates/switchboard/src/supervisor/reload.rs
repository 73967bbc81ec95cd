//! Reload: a plan becomes the one in force, or nothing changes. Units that stay the same keep their workers; the others
//! finish what they have begun beside those that take their place.

use super::logger::{Logger, unread};
use super::sockets::Opening;
use super::unit::{Retired, Unit};
use super::{State, Supervisor, escort, metrics};
use crate::plan::{Action, Changes, Plan, ServicePlan};
use rustix::fd::OwnedFd;
use std::sync::atomic::Ordering;
use switchboard_net::Error;
use switchboard_net::admission::{Bound, Policy};

impl Supervisor {
    /// Reads the configuration again and makes it the one in force; a bad one changes nothing. Returns what was done,
    /// or why not.
    pub(super) fn reload(&mut self) -> Result<Vec<String>, String> {
        self.notify.reloading();
        let done = self.try_reload();
        if done.is_ok() {
            // Links may lead elsewhere by now.
            self.watch_files();
        }
        match &done {
            Ok(changes) => {
                self.board.scores.reloads.fetch_add(1, Ordering::Relaxed);
                changes.iter().for_each(|change| self.journal.event(&format!("reload: {change}")));
            }
            Err(why) => {
                self.board.scores.reloads_refused.fetch_add(1, Ordering::Relaxed);
                let plain = anstream::adapter::strip_str(why).to_string();
                let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| *line != "|").collect();
                let why = lines.join(" ");
                self.journal.event(&format!("reload refused, nothing was changed: {why}"));
            }
        }
        self.notify.ready(&self.summary());
        done
    }

    /// After something has happened to the files: nothing is done, and said, if they still mean the same.
    pub(super) fn reload_if_changed(&mut self) {
        let read = self.loader.as_ref().and_then(|load| load().ok());
        let same = read.is_some_and(|plan| {
            let plan = Plan { control: self.plan.control.clone(), ..plan };
            plan.files == self.plan.files && Changes::between(&self.plan, &plan).is_empty()
        });
        if !same {
            drop(self.reload());
        }
    }

    fn try_reload(&mut self) -> Result<Vec<String>, String> {
        if self.state != State::Serving || self.upgrading.is_some() {
            return Err("the server is draining, or being upgraded".into());
        }
        let loader = self.loader.as_ref();
        let loader = loader.ok_or("there is no file to read again: everything was on the command line")?;
        let mut plan = loader()?;
        plan.check_rights()?;
        let changes = Changes::between(&self.plan, &plan).to_string();
        let mut changes: Vec<String> = changes.lines().map(str::to_owned).collect();
        // Clients look for the control socket where it was.
        if plan.control != self.plan.control {
            changes.push("`control` takes effect at the next start".into());
        }
        plan.control.clone_from(&self.plan.control);
        plan.pid_file.clone_from(&self.plan.pid_file);
        let file = |plan: &Plan| {
            plan.services.iter().map(|one| (one.id.clone(), one.file.clone())).collect::<Vec<_>>()
        };
        let before = file(&self.plan);
        for (id, file) in file(&plan) {
            if before.iter().any(|(old, before)| *old == id && *before != file) {
                changes.push(format!("{id}: files of its sockets that are there keep mode and owner"));
            }
        }
        changes.extend(
            plan.warnings().into_iter().chain(unread(&plan.log)).map(|warning| format!("warning: {warning}")),
        );
        self.apply(plan, &mut changes)?;
        Ok(changes)
    }

    /// Makes `plan` the one in force, or changes nothing.
    fn apply(&mut self, plan: Plan, changes: &mut Vec<String>) -> Result<(), String> {
        let whole = escort::with_escorts(metrics::with_metrics(&plan).map_err(|(_, why)| why)?);
        let opening = self.sockets.open(&whole, &mut Vec::new()).map_err(|(_, why)| why)?;
        changes.extend(opening.missed.iter().cloned());
        let log = (plan.log != self.plan.log)
            .then(|| Logger::start(&plan.log, &self.board.scores.log_lines_lost))
            .transpose()?;
        self.arrange(plan, &whole, opening, log.is_some(), changes).map_err(|error| error.to_string())?;
        if let Some((logger, journal)) = log {
            // The one before lives until nobody writes to it any more.
            self.old_loggers.extend(std::mem::replace(&mut self.logger, logger));
            self.journal = journal;
        }
        if let Err(error) = self.start_due() {
            changes.push(error.to_string());
        }
        Ok(())
    }

    /// Makes `plan` the one in force, which with what it implies is `whole`: units that are the same stay as they are, unless everything is to be `afresh`.
    /// All or nothing: an error changes nothing.
    pub(super) fn arrange(
        &mut self,
        plan: Plan,
        whole: &Plan,
        opening: Opening,
        afresh: bool,
        notices: &mut Vec<String>,
    ) -> Result<(), Error> {
        /// A unit of the plan: one that is there, by its place, or a new one.
        enum Next {
            Stays(usize),
            Comes(Box<Unit>),
        }
        let by_name = |plan: &ServicePlan| plan.tcpmux.then(|| plan.id.clone());
        let offers: Vec<String> = plan.services.iter().filter_map(by_name).collect();
        let offered: Vec<String> =
            self.units.iter().flat_map(|unit| &unit.services).filter_map(by_name).collect();
        let overall = plan.max_connections.map(|most| Bound { most, policy: Policy::Queue });
        let afresh = afresh || plan.max_connections != self.plan.max_connections;
        let mut next: Vec<Next> = Vec::new();
        for (services, seats) in Unit::groups(whole, &opening) {
            let same = |unit: &Unit| {
                let choice = !matches!(unit.services[0].action, Action::Tcpmux) || offers == offered;
                !afresh && !unit.failed && choice && unit.services == services && unit.seats == seats
            };
            next.push(match self.units.iter().position(same) {
                Some(at) => Next::Stays(at),
                None => Next::Comes(Box::new(Unit::new(services, seats, overall, &self.ledger)?)),
            });
        }
        self.plan = plan;
        let mut before: Vec<Option<Unit>> = std::mem::take(&mut self.units).into_iter().map(Some).collect();
        for next in next {
            let mut unit = match next {
                Next::Stays(at) => {
                    self.units.extend(before[at].take());
                    continue;
                }
                Next::Comes(unit) => *unit,
            };
            let name = unit.name();
            unit.slot = self.board.slot(&name);
            self.board.scores.set_failed(unit.slot, false);
            let old = before.iter_mut().flatten().find(|old| old.name() == name);
            let (bequest, door) = old.map(|old| (old.bequest.take(), old.door.take())).unwrap_or_default();
            if let Action::Program(_) = unit.services[0].action {
                // What its predecessor, here or in the process before this one, still looks after comes to it.
                unit.legacy = bequest.map(|bequest| bequest.to).or_else(|| self.heritage_of(&name));
            }
            // Whoever chooses by name goes on to find it behind the same door.
            if unit.door.is_some() && door.is_some() {
                unit.door = door;
            }
            self.units.push(unit);
        }
        // The old ones are told before sockets are closed: they let in whoever is in their queues.
        for unit in before.into_iter().flatten() {
            self.retire(unit);
        }
        drop(self.sockets.commit(opening, notices));
        Ok(())
    }

    /// What the predecessor's worker of a service hands over, if this process has a predecessor.
    fn heritage_of(&mut self, service: &str) -> Option<OwnedFd> {
        let at = self.bequests.iter().position(|bequest| bequest.name == service)?;
        Some(self.bequests.swap_remove(at).fd)
    }

    /// Lets a unit finish what it has begun.
    fn retire(&mut self, unit: Unit) {
        unit.stop.set_patiently();
        let name = unit.name();
        let action = &unit.services[0].action;
        let programs = matches!(action, Action::Program(_));
        let listed = matches!(action, Action::Builtin { .. } | Action::Forward(_));
        let pids = unit.workers.iter().filter_map(|worker| worker.pid);
        self.retired.extend(pids.map(|pid| Retired { pid, unit: name.clone(), programs, listed }));
    }
}
