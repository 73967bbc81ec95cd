//! A fixed number of child processes, made beforehand, all accepting on the same inherited listeners. The kernel
//! wakes one of them per client (`EPOLLEXCLUSIVE`). A child that dies is replaced, after a pause if it keeps dying.

use super::attend::attend_alone;
use super::blocking::Lent;
use super::fork::Children;
use super::lobby::{Lobby, Next};
use super::readiness::interrupted_is_nothing;
use super::{Engine, EngineRow, Site, Workers};
use crate::error::Error;
use crate::journal::Warning;
use crate::sys::signal::{self, Ended};
use crate::sys::watchlist::WatchList;
use crate::sys::{clock, process};
use rustix::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard_proto::Instant;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "prefork",
    summary: "a fixed number of child processes made beforehand (--workers)",
    source: "UNP 30.6",
    workers: Workers::Children,
    datagrams: false,
    many_services: false,
    spins: false,
    engine: &Preforking,
};

struct Preforking;

/// Pause before a child that died is replaced; doubled up to a second while they keep dying.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Engine for Preforking {
    fn serve(&self, mut site: Site<'_>) -> Result<(), Error> {
        let wanted = site.limits.max_connections.map_or(site.workers, |most| most.min(site.workers)).max(1);
        let ended = Ended::watch().map_err(|error| Error::system("watch for children", error))?;
        let mut children = Children::default();
        let mut list = WatchList::default();
        list.push(ended.as_fd(), true, false);
        list.push(site.stop.as_fd(), true, false);
        let (mut pause, mut start_at, mut cut_at) = (FIRST_PAUSE, Instant::default(), Instant::NEVER);
        let mut draining = false;
        loop {
            while !draining && children.count() < wanted && start_at <= clock::now() {
                match children.start() {
                    Ok(Some(child)) => children.entrust(child, None),
                    Ok(None) => work(&mut site, ended),
                    Err(error) if children.is_empty() && start_at == Instant::default() => {
                        return Err(Error::system("start the first child", error));
                    }
                    Err(error) => {
                        let now = clock::now();
                        site.journal.warn(Warning::Start, now, &|| format!("cannot start a child: {error}"));
                        (start_at, pause) = (now + pause, (pause * 2).min(LONGEST_PAUSE));
                    }
                }
            }
            if draining && children.is_empty() {
                site.journal.finish();
                return Ok(());
            }
            let until = if draining { cut_at } else { Instant::NEVER };
            let until = if children.count() < wanted && !draining { until.min(start_at) } else { until };
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            site.journal.flush();
            // Interrupted, it looks at the clock and at everything else, and waits for what is left of the time.
            list.wait(timeout)
                .or_else(interrupted_is_nothing)
                .map_err(|errno| Error::system("wait for children", errno))?;
            ended.take();
            if children.collect(&site) > 0 && !draining {
                (start_at, pause) = (clock::now() + pause, (pause * 2).min(LONGEST_PAUSE));
            }
            if !draining && site.stop.is_set() {
                draining = true;
                // The children see the same request; each lets in who waits, and the last one closes the port.
                site.doors.iter_mut().for_each(|door| drop(door.listener.take()));
                list.swap_remove(1);
                cut_at = site.stop.cut_at(clock::now(), site.limits.drain_timeout);
            }
            if draining && clock::now() >= cut_at {
                cut_at = children.cut();
            }
        }
    }
}

/// One child's life: it serves one client after the other until it is to stop.
fn work(site: &mut Site<'_>, parents: Ended) -> ! {
    drop(parents);
    let served = (|| -> Result<(), Error> {
        let cut = signal::cut_on_request().map_err(|error| Error::system("catch a signal", error))?;
        let mut lobby = Lobby::new(site, 1, None)?;
        let mut lent = Lent::default();
        while !(lobby.is_closed() || cut.load(Ordering::SeqCst)) {
            if let Next::Client(arrival) = lobby.next(site, Instant::NEVER)? {
                attend_alone(site, arrival, &mut lent, cut);
                lobby.gate.leave();
            }
        }
        Ok(())
    })();
    if let Err(error) = &served {
        site.journal.event(&error.to_string());
    }
    site.journal.finish();
    process::exit_now(i32::from(served.is_err()))
}
