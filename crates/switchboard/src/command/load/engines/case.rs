//! [`Case`]: what servers are asked; and the rounds in which they take turns.

use super::contestant::Contestant;
use super::machine::Machine;
use super::results::{Findings, Row, Sample};
use super::server::Server;
use std::thread;
use std::time::Duration;
use switchboard_net::load::{self, Plan, Tally};
use switchboard_net::{Error, Stop};
use switchboard_proto::Workload;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Requests on connections that stay.
    Ask,
    /// A connection for each request.
    Connect,
    /// Connections that say nothing.
    Hold,
}

/// A row of the table of cases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    /// Clients at once; of idle ones the run says how many.
    connections: usize,
    /// Whether `--quick` has it.
    pub(super) quick: bool,
}

pub(super) const CASES: [Case; 5] = [
    Case { name: "one", title: "one client", kind: Kind::Ask, connections: 1, quick: false },
    Case { name: "many", title: "50 clients", kind: Kind::Ask, connections: 50, quick: true },
    Case { name: "crowd", title: "1,000 clients", kind: Kind::Ask, connections: 1_000, quick: false },
    Case {
        name: "connect",
        title: "a connection for each request, 16 at once",
        kind: Kind::Connect,
        connections: 16,
        quick: true,
    },
    Case { name: "idle", title: "idle connections", kind: Kind::Hold, connections: 0, quick: true },
];

/// Parts of a measurement: processor time is read at the end of the first and of the last, and counts for the answers
/// between.
const PARTS: u32 = 10;
/// How long a server and its connections have to come back to what they were.
const SETTLE: Duration = Duration::from_millis(30);
/// How long idle connections are held, and how often memory is read meanwhile.
const HOLD: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a measurement without an answer is tried, each time three times as long.
const ATTEMPTS: usize = 4;

/// What all cases of a run share.
pub(super) struct Course<'a> {
    pub(super) rounds: usize,
    pub(super) duration: Duration,
    /// Idle connections.
    pub(super) idle: usize,
    pub(super) machine: &'a Machine,
    pub(super) stop: &'a Stop,
}

impl Course<'_> {
    /// Clients at once in this case.
    pub(super) fn connections(&self, case: &Case) -> usize {
        if case.kind == Kind::Hold { self.idle } else { case.connections }
    }

    /// Runs one case with everybody who can take part.
    ///
    /// # Errors
    /// What keeps the clients from running. What befalls a server is in its row.
    pub(super) fn run(
        &self,
        case: &'static Case,
        contestants: &[Contestant],
        tell: &mut dyn FnMut(&str),
        say: &mut dyn FnMut(&str),
    ) -> Result<Findings, Error> {
        let connections = self.connections(case);
        let mut rows: Vec<Row> = Vec::new();
        let mut servers: Vec<Option<Server>> = Vec::new();
        let mut start = |contestant: &Contestant, room| {
            let mut say = |what: &str| say(&format!("{}: {what}", contestant.title));
            Server::start(contestant.start(room), self.machine, &mut say)
        };
        for contestant in contestants {
            let room = contestant.room(case, connections);
            let mut row = Row::new(room.as_ref().copied().unwrap_or(0));
            // Where memory is measured each server is started when it is its turn.
            let server = match room {
                Err(reason) => Err(reason),
                Ok(_) if case.kind == Kind::Hold => Ok(None),
                Ok(room) => {
                    tell(&format!("{}: starting {}", case.title, contestant.title));
                    start(contestant, room).map(Some)
                }
            };
            row.missing = server.as_ref().err().cloned();
            servers.push(server.ok().flatten());
            rows.push(row);
        }
        let before = self.machine.reading();
        let cpu = |servers: &[Option<Server>]| servers.iter().flatten().map(Server::cpu).sum::<Duration>();
        let cpu_before = cpu(&servers);
        let mut used = Duration::ZERO;
        let rounds = if case.kind == Kind::Hold { 1 } else { self.rounds };
        for round in 0..rounds {
            for turn in 0..rows.len() {
                let index = (turn + round) % rows.len();
                if rows[index].missing.is_some() {
                    continue;
                }
                if self.stop.is_set() {
                    break;
                }
                let title = &contestants[index].title;
                tell(&format!("{}, round {} of {rounds}: {title}", case.title, round + 1));
                if case.kind == Kind::Hold {
                    match start(&contestants[index], rows[index].connections) {
                        Ok(server) => {
                            self.hold(&server, &mut rows[index])?;
                            used += server.cpu();
                            rows[index].missing = rows[index].missing.take().or(server.is_lost());
                        }
                        Err(reason) => rows[index].missing = Some(reason),
                    }
                } else if let Some(server) = &servers[index] {
                    self.turn(case, server, &mut rows[index], round)?;
                    rows[index].missing = rows[index].missing.take().or(server.is_lost());
                }
            }
        }
        used += cpu(&servers).saturating_sub(cpu_before);
        Ok(Findings { case, connections, rows, disturbance: self.machine.disturbance(&before, used) })
    }

    fn plan(&self, server: &Server, workload: &str, connections: usize) -> Plan {
        let errand = Workload::find(workload).expect("it is in the table").errand(1);
        Plan {
            connections,
            workers: self.machine.clients.len().min(connections),
            processors: self.machine.clients.clone(),
            timeout: PATIENCE,
            ..Plan::new(server.address.clone(), errand)
        }
    }

    /// One server's turn in a round. On a machine so busy that nothing was answered in time it is given more of that.
    fn turn(&self, case: &Case, server: &Server, row: &mut Row, round: usize) -> Result<(), Error> {
        let mut duration = self.duration;
        for _ in 0..ATTEMPTS {
            let (tally, cpu_us) = self.load(case, server, row.connections, duration)?;
            row.failed += tally.failed();
            // Answers that came afterwards have no rate.
            if tally.in_time > 0 {
                row.times.add(&tally.service).expect("all histograms have the same bounds");
                row.samples.push((round, Sample { rate: tally.rate(), cpu_us }));
                thread::sleep(SETTLE);
                return Ok(());
            }
            if tally.failed() > 0 || self.stop.is_set() {
                let why = tally.complaint.unwrap_or_else(|| "it does not send back what it gets".to_owned());
                row.missing = Some(why);
                return Ok(());
            }
            duration *= 3;
        }
        row.missing = Some(format!("not one answer in {} ms", duration.as_millis() / 3));
        Ok(())
    }

    /// What clients measured, and the server's processor time for each answer, µs.
    fn load(
        &self,
        case: &Case,
        server: &Server,
        connections: usize,
        duration: Duration,
    ) -> Result<(Tally, f64), Error> {
        let workload = if case.kind == Kind::Connect { "connect" } else { "ping" };
        let plan = Plan {
            warm_up: duration / 5,
            duration,
            interval: duration / PARTS,
            ..self.plan(server, workload, connections)
        };
        let (mut first, mut last, mut answers) = (None, Duration::ZERO, 0);
        let tally = load::watch(&plan, self.stop, &mut |slice| {
            last = server.cpu();
            if first.is_none() {
                first = Some(last);
            } else {
                answers += slice.tally.answers();
            }
        })?;
        let used = last.saturating_sub(first.unwrap_or(last)).as_secs_f64();
        let cpu_us = if answers == 0 { f64::NAN } else { used * 1e6 / answers as f64 };
        Ok((tally, cpu_us))
    }

    /// Opens idle connections and reads how much memory the server has then.
    fn hold(&self, server: &Server, row: &mut Row) -> Result<(), Error> {
        // What the first connections cost is not charged to every one.
        let few = Plan {
            warm_up: Duration::ZERO,
            duration: SETTLE,
            ..self.plan(server, "ping", row.connections.min(16))
        };
        load::run(&few, self.stop)?;
        thread::sleep(SETTLE);
        let before = server.memory();
        let plan = Plan {
            warm_up: Duration::ZERO,
            duration: HOLD * 2,
            interval: HOLD,
            ..self.plan(server, "idle", row.connections)
        };
        let mut held = 0;
        let tally = load::watch(&plan, self.stop, &mut |slice| {
            if slice.tally.open == plan.connections as u64 {
                held = held.max(server.memory());
            }
        })?;
        row.failed += tally.failed();
        if held == 0 {
            row.missing = Some(format!("not all of {} connections were answered", row.connections));
        } else {
            row.memory = Some((before, held.saturating_sub(before) as f64 / row.connections as f64));
        }
        Ok(())
    }
}
