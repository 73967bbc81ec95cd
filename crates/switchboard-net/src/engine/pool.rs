//! A fixed number of threads, made beforehand; one of them at a time waits for the next client (UNP's lock around
//! accept), so a client wakes one thread and not all.

use super::attend::Inside;
use super::blocking::Lent;
use super::lobby::{Lobby, Next};
use super::{Engine, EngineRow, Site, Workers};
use crate::error::Error;
use crate::journal::Warning;
use crate::stop::Stop;
use crate::sys::clock;
use std::sync::{Mutex, PoisonError};
use std::thread;
use switchboard_proto::Instant;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "pool",
    summary: "a fixed number of threads made beforehand (--workers)",
    source: "UNP 30.11",
    workers: Workers::Threads,
    datagrams: false,
    many_services: false,
    spins: false,
    engine: &Pool,
};

struct Pool;

impl Engine for Pool {
    fn serve(&self, mut site: Site<'_>) -> Result<(), Error> {
        let threads = site.workers.clamp(1, site.limits.connections());
        let limit = site.limits.max_connections.unwrap_or(threads).min(threads);
        let inside = Inside::default();
        let ended = Stop::new()?;
        let lobby = Mutex::new(Lobby::new(&mut site, limit, None)?);
        let mut result = Ok(());
        thread::scope(|scope| {
            let mut started = Vec::new();
            for number in 0..limit {
                let name = thread::Builder::new().name(format!("pool {number}"));
                match name.spawn_scoped(scope, || work(&site, &lobby, &inside)) {
                    Ok(thread) => started.push(thread),
                    Err(error) if started.is_empty() => {
                        result = Err(Error::system("start a thread", error));
                    }
                    Err(error) => {
                        let text = format!("{number} of {limit} threads could be started: {error}");
                        site.journal.warn(Warning::Start, clock::now(), &|| text.clone());
                        break;
                    }
                }
            }
            // Threads in a conversation do not look at the request to stop: this one does, and cuts when late.
            scope.spawn(|| inside.cut_when_late(&site, &ended));
            for thread in started {
                if let Ok(Err(error)) = thread.join() {
                    result = Err(error);
                }
            }
            ended.set();
        });
        site.journal.finish();
        result
    }
}

/// One thread's life: wait for a client, serve him, come back.
fn work(site: &Site<'_>, lobby: &Mutex<Lobby>, inside: &Inside) -> Result<(), Error> {
    let lock = || lobby.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lent = Lent::default();
    loop {
        let mut waiting = lock();
        if waiting.is_closed() || inside.is_cut() {
            return Ok(());
        }
        let Next::Client(arrival) = waiting.next(site, Instant::NEVER)? else { continue };
        drop(waiting);
        inside.attend(site, arrival, &mut lent);
        lock().gate.leave();
    }
}
