//! What is ended from outside: one connection, when somebody asks for it; what is left when the time to drain is over.

use super::board::Terminating;
use super::unit::Worker;
use super::{GRACE, Supervisor};
use crate::plan::{Action, ServicePlan};
use rustix::process::Pid;
use std::time::Duration;
use switchboard_net::confine::Tree;
use switchboard_net::program::{self, service_key};
use switchboard_net::roster::{self, Cut};
use switchboard_net::sys::{clock, process};
use switchboard_proto::Instant;

/// Whoever is let in late by a worker that is being cut is cut after this time.
const AGAIN: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Ends one connection, by its number or its peer's address: a conversation of ours is broken off, the program that
    /// serves it is asked to end, and killed after its grace time.
    pub(super) fn terminate(&mut self, connection: &str) -> Result<Vec<String>, String> {
        let number = connection.trim_start_matches('#').parse::<u64>().ok();
        let is_meant = |id: u64, peer: &dyn ToString| Some(id) == number || peer.to_string() == connection;
        let mut programs = self.programs.register.entries();
        if let Some(entry) = programs.find(|entry| is_meant(entry.connection, &entry.peer)) {
            return Ok(vec![self.terminate_program(&entry)]);
        }
        let mut conversations = self.connections.roster.entries();
        let entry = conversations.find(|entry| is_meant(entry.connection, &entry.peer)).ok_or_else(|| {
            format!("nobody is served on a connection {connection}; `status` shows those that are open")
        })?;
        let roster::Entry { connection, service, peer, .. } = entry;
        if !self.connections.roster.cut(&entry, Cut::Terminated) {
            return Err(format!("connection {connection} is about to end already"));
        }
        Ok(vec![format!("connection {connection} ({}, {peer}) is broken off", self.name_of(service))])
    }

    fn terminate_program(&mut self, entry: &program::Entry) -> String {
        let grace = self.service_of(entry.service).and_then(|service| match &service.action {
            Action::Program(program) => Some(program.grace),
            _ => None,
        });
        let terminating = Terminating {
            connection: entry.connection,
            kill_at: clock::now() + grace.unwrap_or(GRACE),
            tree: entry.tree(),
        };
        self.programs.register.terminate(entry.connection);
        self.programs.terminating.push(terminating);
        format!("process {} was asked to end", entry.pid.as_raw_pid())
    }

    /// Kills programs that were asked to end and have not.
    pub(super) fn kill_terminated(&mut self) {
        let now = clock::now();
        let register = self.programs.register;
        self.programs.terminating.retain_mut(|Terminating { connection, kill_at, tree }| {
            let entry = register.entries().find(|entry| entry.connection == *connection);
            // The program may have ended, and others whom it made may not. Its worker sees neither if it has adopted it.
            let tree = tree.iter().find(|tree| !tree.remove());
            if now >= *kill_at {
                entry.iter().for_each(program::Entry::kill);
                tree.into_iter().for_each(Tree::kill);
                *kill_at = now + AGAIN;
                return tree.is_some();
            }
            entry.is_some() || tree.is_some()
        });
    }

    /// The service with this key, if there still is one.
    fn service_of(&self, key: u64) -> Option<&ServicePlan> {
        self.plan.services.iter().find(|service| service_key(&service.id) == key)
    }

    /// What a service is called, of which the key is known.
    pub(super) fn name_of(&self, key: u64) -> String {
        let known = self.service_of(key).map(|service| &service.id);
        // One that was taken away from the file goes on for those whom it serves.
        let gone = || self.retired.iter().map(|retired| &retired.unit).find(|unit| service_key(unit) == key);
        known.or_else(gone).map_or_else(|| "?".to_owned(), String::clone)
    }

    /// Takes conversations off the roster whose process has died, and counts them as ended; their number.
    pub(super) fn forget_lost(&mut self) -> usize {
        let owner = |key: u64| {
            self.units.iter().find(|unit| unit.services.iter().any(|service| service_key(&service.id) == key))
        };
        self.connections.roster.sweep(|entry| {
            if let Some(unit) = owner(entry.service) {
                self.board.of(unit.slot).lose();
            }
        })
    }

    /// Cuts what workers without listeners still do. They were told to take their time, and listen no more: each of their
    /// conversations is broken off, and has its record; who has none to break off is killed; programs are asked to end. A
    /// successor's programs are left alone. Returns when to look again.
    pub(super) fn cut_retired(&mut self, now: Instant) -> Instant {
        let retired: Vec<u64> = self.retired.iter().map(|one| service_key(&one.unit)).collect();
        let mut again = Instant::NEVER;
        for one in self.retired.iter().filter(|one| !one.programs) {
            if one.listed {
                self.cut_all_of(one.pid);
                again = now + AGAIN;
            } else {
                process::kill(one.pid);
            }
        }
        if !self.handed_over {
            let register = self.programs.register;
            let theirs = register.entries().filter(|entry| retired.contains(&entry.service));
            for entry in theirs {
                register.terminate(entry.connection);
            }
        }
        again
    }

    fn cut_all_of(&self, worker: Pid) {
        let roster = self.connections.roster;
        for entry in self.conversations_of(worker) {
            roster.cut(&entry, Cut::Stopped);
        }
    }

    fn conversations_of(&self, worker: Pid) -> impl Iterator<Item = roster::Entry> {
        let worker = worker.as_raw_pid().unsigned_abs();
        self.connections.roster.entries().filter(move |entry| entry.worker == worker)
    }

    /// Kills workers that have not ended although everything that they did was cut, and says so.
    pub(super) fn kill_the_late(&self) {
        let units = self.units.iter().flat_map(|unit| {
            unit.workers.iter().filter_map(|worker| worker.pid).map(|pid| (pid, unit.name()))
        });
        let retired = self.retired.iter().map(|one| (one.pid, one.unit.clone()));
        for (pid, name) in units.chain(retired) {
            let left = self.conversations_of(pid).count();
            let pid = pid.as_raw_pid();
            self.journal.event(&format!(
                "worker {pid} ({name}) has not ended in time and is killed; conversations without a record: {left}"
            ));
        }
        self.kill();
    }

    /// Kills whatever is left, programs included, unless a successor looks after them.
    pub(super) fn kill(&self) {
        self.units.iter().flat_map(|unit| &unit.workers).for_each(Worker::kill);
        self.retired.iter().for_each(|retired| process::kill(retired.pid));
        if !self.handed_over {
            self.programs.register.entries().for_each(|entry| entry.kill());
        }
    }
}
