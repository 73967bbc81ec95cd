//! A thread for each connection.

use super::attend::Inside;
use super::blocking::Lent;
use super::lobby::{Lobby, Next};
use super::porch::Arrival;
use super::{Engine, EngineRow, Site, Workers};
use crate::error::Error;
use crate::stop::Stop;
use crate::sys::clock;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use switchboard_proto::Instant;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "threads",
    summary: "a thread for each connection",
    source: "UNP 26.4, 30.10",
    workers: Workers::ReusePort,
    datagrams: false,
    many_services: true,
    spins: false,
    engine: &Threads,
};

struct Threads;

/// Address space for a thread's stack; pages that are never touched cost nothing.
const STACK: usize = 256 * 1024;

/// Clients that have left, and how their threads say so.
struct Leaving {
    left: AtomicUsize,
    /// Whether the accepting thread waits for somebody to leave.
    awaited: AtomicBool,
    /// Written only then: one call less per connection.
    bell: Stop,
}

impl Leaving {
    fn leave(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) {
            self.bell.set();
        }
    }
}

impl Engine for Threads {
    fn serve(&self, mut site: Site<'_>) -> Result<(), Error> {
        let inside = Inside::default();
        let leaving =
            Leaving { left: AtomicUsize::new(0), awaited: AtomicBool::new(false), bell: Stop::new()? };
        let limit = site.limits.tasks();
        let mut lobby = Lobby::new(&mut site, limit, Some(leaving.bell.as_fd()))?;
        thread::scope(|scope| {
            let mut cut_at = Instant::NEVER;
            let mut unserved: Option<Arrival> = None;
            let result = loop {
                // From here on a thread that leaves rings; those that left before are counted below.
                let now = clock::now();
                let full = !lobby.gate.is_open(now);
                leaving.awaited.store(full, Ordering::SeqCst);
                leaving.bell.clear();
                for _ in 0..leaving.left.swap(0, Ordering::SeqCst) {
                    lobby.gate.leave();
                }
                if lobby.is_closed() && lobby.gate.inside() == 0 {
                    break Ok(());
                }
                // A client for whom there was no thread is tried again before anybody else is let in.
                let retry_at = if unserved.is_some() { lobby.gate.retry_at() } else { Instant::NEVER };
                let arrival = match lobby.next(&site, cut_at.min(retry_at)) {
                    Ok(Next::Client(arrival)) => arrival,
                    Ok(Next::Other) => continue,
                    Ok(Next::Stopped) => {
                        cut_at = site.stop.cut_at(clock::now(), site.limits.drain_timeout);
                        continue;
                    }
                    Ok(Next::TimedOut) if clock::now() >= cut_at => {
                        inside.cut();
                        lobby.turn_away();
                        cut_at = Instant::NEVER;
                        continue;
                    }
                    Ok(Next::TimedOut) => match unserved.take() {
                        Some(arrival) => arrival,
                        None => continue,
                    },
                    Err(error) => break Err(error),
                };
                // The client moves into his thread only if there is one.
                let seat = Arc::new(Mutex::new(Some(arrival)));
                let his_seat = Arc::clone(&seat);
                let (site, inside, leaving) = (&site, &inside, &leaving);
                let started = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
                    let arrival = his_seat.lock().ok().and_then(|mut seat| seat.take());
                    if let Some(arrival) = arrival {
                        inside.attend(site, arrival, &mut Lent::default());
                    }
                    leaving.leave();
                });
                if let Err(error) = started {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::NOMEM);
                    lobby.gate.on_shortage(errno, site, clock::now());
                    unserved = seat.lock().ok().and_then(|mut seat| seat.take());
                }
            };
            if result.is_err() {
                inside.cut();
            }
            result
        })?;
        site.journal.finish();
        Ok(())
    }
}
