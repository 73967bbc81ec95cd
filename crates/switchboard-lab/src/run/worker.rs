//! Many plans at the same time, each in a process of its own, which is killed when it takes too long.
//!
//! The program that embeds the lab starts itself anew with [`ROLE`] and must call [`role`] first thing in `main`. A plan
//! goes in by standard input and its outcome comes back by standard output, both as JSON.

use super::{Outcome, Plan, failed, span};
use crate::scenario::Scenario;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// First argument of a program that is to run one plan.
pub const ROLE: &str = "lab-worker";

/// What a program that embeds the lab must do first: plays the role that the arguments ask for and returns its exit
/// status; `None` if they ask for none. `arguments` are those after the program's name.
pub fn role(arguments: &[String]) -> Option<i32> {
    match arguments.first().map(String::as_str) {
        Some(crate::actor::ROLE) => Some(crate::actor::main(&arguments[1..])),
        Some(ROLE) => Some(work()),
        _ => None,
    }
}

/// Reads a plan, runs it, writes its outcome.
fn work() -> i32 {
    // The lab must not outlive who asked.
    if let Some(parent) = rustix::process::getppid() {
        switchboard_net::sys::process::die_with(parent);
    }
    let mut text = String::new();
    let plan = std::io::stdin()
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| serde_json::from_str::<Plan>(&text).ok());
    let Some(plan) = plan else { return 2 };
    let outcome = super::here(&plan);
    let written = serde_json::to_writer(std::io::stdout().lock(), &outcome).is_ok()
        && std::io::stdout().flush().is_ok();
    if written { 0 } else { 2 }
}

/// Runs plans, at most `jobs` at a time and the longest first; `program` is one that calls [`role`]. Outcomes come in the
/// order of the plans; `told` is called with each as it is there.
pub fn run(program: &Path, plans: &[Plan], jobs: usize, told: &(dyn Fn(&Outcome) + Sync)) -> Vec<Outcome> {
    let mut order: Vec<usize> = (0..plans.len()).collect();
    order.sort_by_cached_key(|index| std::cmp::Reverse(span::expected(&plans[*index])));
    let queue: Mutex<VecDeque<usize>> = Mutex::new(order.into());
    let done: Mutex<Vec<Option<Outcome>>> = Mutex::new(plans.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, plans.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(index) = next else { return };
                    let outcome = one(program, &plans[index]);
                    told(&outcome);
                    done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(outcome);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing = |plan: &Plan| failed(plan, "the lab lost it".to_owned());
    done.into_iter().zip(plans).map(|(outcome, plan)| outcome.unwrap_or_else(|| missing(plan))).collect()
}

/// Runs one plan in a process of its own.
pub fn one(program: &Path, plan: &Plan) -> Outcome {
    match attempt(program, plan) {
        Ok(outcome) => outcome,
        Err(why) => failed(plan, why),
    }
}

fn attempt(program: &Path, plan: &Plan) -> Result<Outcome, String> {
    let scenario =
        Scenario::exactly(&plan.scenario).ok_or_else(|| format!("no scenario is named {}", plan.scenario))?;
    let mut child = Command::new(program)
        .arg(ROLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let text = serde_json::to_vec(plan).map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A worker that is gone already says so by what it does not answer.
        let _ = stdin.write_all(&text);
    }
    let answer = collect(child.stdout.take());
    let complaint = collect(child.stderr.take());
    let limit = span::limit(&scenario, plan);
    let deadline = Instant::now() + limit;
    let answer = wait(&mut child, &answer, deadline);
    if answer.is_none() {
        let _ = child.kill();
    }
    let _ = child.wait();
    // One that was killed has not tidied up.
    let _ = std::fs::remove_dir_all(super::ledger::folder(child.id(), plan.seed));
    let Some(answer) = answer else {
        return Err(format!("it took more than {} s and was stopped", limit.as_secs()));
    };
    serde_json::from_slice(&answer).map_err(|_| {
        let complaint = complaint.recv_timeout(std::time::Duration::from_secs(1)).unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        format!("the run ended without an outcome: {}", complaint.trim().escape_debug())
    })
}

fn wait(child: &mut Child, answer: &Receiver<Vec<u8>>, deadline: Instant) -> Option<Vec<u8>> {
    match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(answer) => Some(answer),
        Err(RecvTimeoutError::Disconnected) => {
            let _ = child.kill();
            Some(Vec::new())
        }
        Err(RecvTimeoutError::Timeout) => None,
    }
}

/// Everything that comes out of a pipe, read by a thread of its own.
fn collect(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (all, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        let _ = all.send(bytes);
    });
    receiver
}
