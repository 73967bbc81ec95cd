//! One thread, epoll(7), level-triggered.

use super::readiness::{Event, Interest, Loop, Waiter, interrupted_is_nothing};
use super::{Engine, EngineRow, Site, Workers};
use crate::error::Error;
use crate::sys::fault;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::time::Duration;

mod letterbox;

use letterbox::Letterbox;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "epoll",
    summary: "one thread watches all connections with epoll; the default",
    source: "epoll(7)",
    workers: Workers::ReusePort,
    datagrams: true,
    many_services: true,
    spins: true,
    engine: &Epoll,
};

struct Epoll;

impl Engine for Epoll {
    fn serve(&self, site: Site<'_>) -> Result<(), Error> {
        let waiter = Waiting::new().and_then(Letterbox::new);
        let waiter = waiter.map_err(|errno| Error::system("make an epoll descriptor", errno))?;
        Loop::new(site, waiter)?.run()
    }
}

/// Events fetched by one call.
const EVENTS: usize = 256;

pub(crate) struct Waiting {
    epoll: OwnedFd,
}

impl Waiting {
    pub(crate) fn new() -> Result<Waiting, Errno> {
        Ok(Waiting { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a listener that other processes watch too: the kernel wakes one of them, not all.
    pub(super) fn add_exclusive(&mut self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags)
    }

    /// Watches only whether the peer of `fd` has finished sending (`EPOLLRDHUP`), whatever of it is still unread. That is
    /// reported, as an event that is nothing but an event, for as long as it is watched for.
    pub(crate) fn add_peers_end(&mut self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::RDHUP)
    }
}

impl AsFd for Waiting {
    /// Readable while any of what is watched is ready (epoll(7)).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.read);
    flags.set(epoll::EventFlags::OUT, interest.write);
    flags
}

impl Waiter for Waiting {
    fn add(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags(interest))
    }

    fn change(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token), flags(interest))
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, _token: u64) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    fn closing(&mut self, _fd: BorrowedFd<'_>, _token: u64) {
        // The kernel forgets a descriptor when its last copy is closed (epoll(7)), which spares a call.
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<(), Errno> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut room = [const { MaybeUninit::uninit() }; EVENTS];
        let waited = if fault::interrupted() {
            Err(Errno::INTR)
        } else {
            epoll::wait(&self.epoll, &mut room, timeout.as_ref())
        };
        // An interrupted wait ends early without events: the caller computes the rest of its time anew.
        let Ok((ready, _)) = waited else { return waited.map(|_| ()).or_else(interrupted_is_nothing) };
        events.extend(ready.iter().map(|event| {
            let flags = event.flags;
            Event {
                token: event.data.u64(),
                readable: flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
                broken: flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP),
            }
        }));
        Ok(())
    }
}
