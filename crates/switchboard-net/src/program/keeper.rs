//! Programs that serve a listener themselves (inetd's `wait`, and pools): as many as there should be are kept
//! running, and none is started in a hurry that leads nowhere.
//!
//! Here the loop only watches the listener and never accepts: the socket is a blocking one, as such programs expect,
//! and whatever is queued is theirs. Datagrams that nobody wanted are never taken away.

use super::Mode;
use super::arrivals::{FIRST_PAUSE, LONGEST_PAUSE};
use super::environment::Client;
use super::launcher::Standard;
use super::processes::{Process, Purpose, Stage};
use super::register::service_key;
use super::worker::{Worker, tag, token};
use crate::engine::readiness::Waiter;
use crate::journal::Exit;
use crate::peer::{Peer, canonical};
use crate::sys::{clock, socket};
use crate::tally::Counters;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recvfrom};
use std::net::SocketAddr;
use std::time::Duration;
use switchboard_proto::Instant;

/// A program that lived this long was not started in vain.
const STEADY: Duration = Duration::from_secs(1);

/// Datagrams that are taken away before others get their turn.
const TURN: usize = 64;

/// Keeps programs running at one listener.
pub(super) struct Keeper {
    /// How many run.
    pub(super) running: usize,
    /// The listener's address in the register.
    pub(super) key: u64,
    pause: Duration,
    start_at: Instant,
    /// Whether the listener is watched: somebody must come first.
    watched: bool,
}

impl Keeper {
    pub(super) fn new(local: &crate::endpoint::Address) -> Keeper {
        Keeper {
            running: 0,
            key: service_key(&local.to_string()),
            pause: FIRST_PAUSE,
            start_at: Instant::default(),
            watched: false,
        }
    }
}

impl Worker<'_> {
    /// Whether programs serve the listeners themselves.
    pub(super) fn keeps(&self) -> bool {
        matches!(self.site.program.mode, Mode::Listener | Mode::Pool(_))
    }

    /// Starts what should run and does not; watches the listeners where somebody must come first.
    pub(super) fn keep(&mut self) {
        if !self.keeps() || self.is_stopping() {
            return;
        }
        for number in 0..self.keepers.len() {
            let keeper = &self.keepers[number];
            let due = keeper.start_at <= self.now && self.starved_until.is_none_or(|until| until <= self.now);
            match self.site.program.mode {
                Mode::Pool(most) if due => {
                    let missing = usize::from(most.max(1)).saturating_sub(keeper.running);
                    for _ in 0..missing {
                        if !self.start_keeper(number) {
                            break;
                        }
                    }
                }
                _ => {
                    let watch = due && keeper.running == 0 && self.site.program.mode == Mode::Listener;
                    self.watch_keeper(number, watch);
                }
            }
        }
    }

    /// Somebody waits at a listener.
    pub(super) fn somebody_came(&mut self, number: usize) {
        if !self.is_first_welcome(number) {
            return;
        }
        self.watch_keeper(number, false);
        if self.keepers.get(number).is_some_and(|keeper| keeper.running == 0) {
            self.start_keeper(number);
        }
    }

    /// Whether a program is to be started for whoever is first in the queue. Datagrams of those who may not come in
    /// are taken away, or they would be first for ever. Who is in a queue of streams only accept(2) tells, and that
    /// is the program's.
    fn is_first_welcome(&mut self, number: usize) -> bool {
        let (Some(warden), Some(Some(door))) = (&self.site.warden, self.doors.get(number)) else {
            return true;
        };
        if !self.site.listeners[number].local().kind.is_datagram() {
            return true;
        }
        let mut nothing = [0; 1];
        for _ in 0..TURN {
            let source = match recvfrom(door, &mut nothing, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((_, _, source)) => source.and_then(|source| SocketAddr::try_from(source).ok()),
                Err(Errno::AGAIN) => return false,
                // Of an earlier datagram (ECONNREFUSED), and told only once; or a signal.
                Err(_) => continue,
            };
            let peer = source.map_or(Peer::Unknown, |source| Peer::Inet(canonical(source)));
            let Some(refusal) = warden.judge_datagram(peer, door, self.now) else { return true };
            let counters = self.site.counters;
            let counter =
                if refusal.denied { &counters.datagrams_denied } else { &counters.datagrams_limited };
            Counters::add(counter, 1);
            let _ = recvfrom(door, &mut nothing, RecvFlags::DONTWAIT);
        }
        false
    }

    /// When the next start is due.
    pub(super) fn keeps_at(&self) -> Instant {
        if !self.keeps() || self.is_stopping() {
            return Instant::NEVER;
        }
        let most = if let Mode::Pool(most) = self.site.program.mode { usize::from(most.max(1)) } else { 1 };
        let due = self.keepers.iter().filter(|keeper| keeper.running < most && !keeper.watched);
        let next = due.map(|keeper| keeper.start_at).min().unwrap_or(Instant::NEVER);
        next.max(self.starved_until.unwrap_or_default())
    }

    /// One of the programs at a listener has ended.
    pub(super) fn keeper_ended(&mut self, number: usize, came: Instant, exit: Exit) {
        let door = self.doors.get(number).and_then(Option::as_ref);
        let still_waiting = door.is_some_and(|door| is_readable(door.as_fd()));
        let Some(keeper) = self.keepers.get_mut(number) else { return };
        keeper.running = keeper.running.saturating_sub(1);
        let lived = self.now.since(came);
        let pooled = matches!(self.site.program.mode, Mode::Pool(_));
        if lived >= STEADY || (!pooled && !still_waiting && exit == Exit::Status(0)) {
            // It has done what there was to do.
            keeper.pause = FIRST_PAUSE;
            keeper.start_at = if pooled { self.now + FIRST_PAUSE } else { self.now };
        } else if exit == Exit::Status(0) && !pooled {
            // It may have served one client and left others, as some do; or it looks at nothing: 100 times a second.
            keeper.start_at = self.now + FIRST_PAUSE;
        } else {
            keeper.start_at = self.now + keeper.pause;
            keeper.pause = (keeper.pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn watch_keeper(&mut self, number: usize, watch: bool) {
        let (Some(keeper), Some(Some(door))) = (self.keepers.get_mut(number), self.doors.get(number)) else {
            return;
        };
        if keeper.watched == watch {
            return;
        }
        let token = token(tag::DOOR, number as u64);
        if watch {
            keeper.watched = self.waiting.add(door.as_fd(), token, super::worker::READ).is_ok();
            if !keeper.watched {
                keeper.start_at = self.now + LONGEST_PAUSE;
            }
        } else {
            self.waiting.remove(door.as_fd(), token);
            keeper.watched = false;
        }
    }

    /// No listener is watched any more.
    pub(super) fn unwatch_keepers(&mut self) {
        (0..self.keepers.len()).for_each(|number| self.watch_keeper(number, false));
    }

    fn start_keeper(&mut self, number: usize) -> bool {
        let key = self.keepers[number].key;
        let id = self.site.number();
        let Some((slot, pipe)) = self.prepare(id, Peer::Unknown, key) else { return false };
        let Some(Some(door)) = self.doors.get(number) else { return false };
        if self.keepers[number].running == 0 {
            // O_NONBLOCK belongs to the socket and not to the program: the one before may have left it so.
            let _ = rustix::io::ioctl_fionbio(door, false);
        }
        let local = self.site.listeners[number].local().clone();
        let client = Client {
            id,
            peer: Peer::Unknown,
            socket: None,
            local: &local,
            names: None,
            settings: &[],
            introduction: None,
        };
        let started = self.launcher.start(
            &self.site.program,
            self.site.id,
            &client,
            Standard::Listener(door.as_fd()),
            pipe.as_ref().map(|(_, writer)| writer),
            self.site.register.places(slot),
        );
        let Some(pid) = self.settle_start(slot, started) else { return false };
        self.keepers[number].running += 1;
        let process = Process {
            pid,
            slot,
            id,
            peer: Peer::Unknown,
            local,
            came: clock::now(),
            waited: Duration::ZERO,
            stage: Stage::Running,
            client: None,
            ask_at: Instant::NEVER,
            pidfd: None,
            ticket: None,
            told: None,
            purpose: Purpose::Listener(number),
            introduction: None,
            tree: self.launcher.tree(id),
        };
        let place = self.add_process(process);
        self.listen_to(place, pipe, id);
        true
    }
}

fn is_readable(fd: rustix::fd::BorrowedFd<'_>) -> bool {
    let mut list = [PollFd::new(&fd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(socket::retry(|| poll(&mut list, Some(&at_once))), Ok(1..))
}
