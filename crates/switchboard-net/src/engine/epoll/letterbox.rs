//! [`Letterbox`]: epoll(7) for connections and, while little but datagrams comes, poll(2) for those.
//!
//! A socket that epoll watches calls it for every datagram that arrives, whether anybody sleeps or not: two locks and a
//! list, shared by whoever sends and whoever receives on another processor. A stream can afford that, since its answer is
//! a turn of its own. Datagrams come in tens to one call, and it is 5 to 9 % of their cost. poll(2) stands in a socket's queue
//! only while it sleeps. So the sockets are taken out of epoll when nearly all turns are theirs alone, and poll waits for
//! them and for the epoll descriptor; a turn with connections in it then costs one call more, and a few of them end it.

use super::Waiting;
use crate::engine::poll;
use crate::engine::readiness::{Event, Interest, OWN, Waiter};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::time::Duration;

/// More sockets than this always stay with epoll: poll looks at every one each time.
const MOST: usize = 16;
/// Turns of datagrams alone until their sockets leave epoll.
const ENOUGH: u32 = 64;
/// A turn with anything else in it counts as so many against.
const WEIGHT: u32 = 16;

pub(super) struct Letterbox {
    epoll: Waiting,
    /// The sockets of datagrams, and the epoll descriptor, by the token [`OWN`]. Waited for while they are `apart`.
    sockets: poll::Waiting,
    /// Whether the sockets have left epoll.
    apart: bool,
    /// Turns of datagrams alone, less those with anything else, within 0 and [`ENOUGH`].
    alone: u32,
}

impl Letterbox {
    pub(super) fn new(epoll: Waiting) -> Result<Letterbox, Errno> {
        let mut sockets = poll::Waiting::default();
        sockets.add(epoll.as_fd(), OWN, Interest { read: true, write: false })?;
        Ok(Letterbox { epoll, sockets, apart: false, alone: 0 })
    }

    /// Learns from what a turn brought, and lets the sockets leave or join epoll when that pays.
    fn learn(&mut self, events: &[Event]) {
        let count = self.sockets.count() - 1;
        if count == 0 || events.is_empty() {
            return;
        }
        let alone = count <= MOST && events.iter().all(|event| self.sockets.knows(event.token));
        self.alone = if alone { ENOUGH.min(self.alone + 1) } else { self.alone.saturating_sub(WEIGHT) };
        if !self.apart && self.alone == ENOUGH {
            self.leave();
        } else if self.apart && self.alone == 0 {
            self.join();
        }
    }

    fn leave(&mut self) {
        self.apart = true;
        for (fd, token, _) in self.sockets.watched().filter(|(_, token, _)| *token != OWN) {
            self.epoll.remove(fd, token);
        }
    }

    /// Without memory for it they stay where they are, and it is tried again after the next such turn.
    fn join(&mut self) {
        let joined = self
            .sockets
            .watched()
            .filter(|(_, token, _)| *token != OWN)
            .try_for_each(|(fd, token, interest)| self.epoll.add(fd, token, interest));
        self.apart = false;
        if joined.is_err() {
            self.leave();
        }
    }
}

impl Waiter for Letterbox {
    fn add(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        self.epoll.add(fd, token, interest)
    }

    fn add_datagrams(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        if !self.apart {
            self.epoll.add(fd, token, interest)?;
        }
        self.sockets.add(fd, token, interest)
    }

    fn change(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Errno> {
        if self.sockets.knows(token) {
            self.sockets.change(fd, token, interest)?;
            if self.apart {
                return Ok(());
            }
        }
        self.epoll.change(fd, token, interest)
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, token: u64) {
        if self.sockets.knows(token) {
            self.sockets.remove(fd, token);
            if self.apart {
                return;
            }
        }
        self.epoll.remove(fd, token);
    }

    fn closing(&mut self, fd: BorrowedFd<'_>, token: u64) {
        self.epoll.closing(fd, token);
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<(), Errno> {
        let before = events.len();
        if self.apart {
            self.sockets.wait(timeout, events)?;
            if let Some(place) = events[before..].iter().position(|event| event.token == OWN) {
                events.swap_remove(before + place);
                self.epoll.wait(Some(Duration::ZERO), events)?;
            }
        } else {
            self.epoll.wait(timeout, events)?;
        }
        self.learn(&events[before..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::OwnedFd;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    const READ: Interest = Interest { read: true, write: false };

    fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn tokens(letterbox: &mut Letterbox) -> Vec<u64> {
        let mut events = Vec::new();
        letterbox.wait(Some(Duration::ZERO), &mut events).unwrap();
        let mut tokens: Vec<u64> = events.iter().map(|event| event.token).collect();
        tokens.sort_unstable();
        tokens
    }

    fn write(fd: &OwnedFd) {
        rustix::io::write(fd, b"x").unwrap();
    }

    fn read(fd: &OwnedFd) {
        rustix::io::read(fd, &mut [0_u8; 8][..]).unwrap();
    }

    #[test]
    fn sockets_leave_epoll_while_they_are_alone_and_are_told_of_all_the_same() {
        let (near, far) = pair(SocketType::DGRAM);
        let (other, other_far) = pair(SocketType::STREAM);
        let mut letterbox = Letterbox::new(Waiting::new().unwrap()).unwrap();
        letterbox.add_datagrams(near.as_fd(), 7, READ).unwrap();
        letterbox.add(other.as_fd(), 8, READ).unwrap();
        write(&far);
        for _ in 0..ENOUGH {
            assert!(!letterbox.apart);
            assert_eq!(tokens(&mut letterbox), [7]);
        }
        assert!(letterbox.apart);
        assert_eq!(tokens(&mut letterbox), [7]);
        // Others are told of too, and end it when they come often.
        write(&other_far);
        for _ in 0..ENOUGH / WEIGHT {
            assert!(letterbox.apart);
            assert_eq!(tokens(&mut letterbox), [7, 8]);
        }
        assert!(!letterbox.apart);
        assert_eq!(tokens(&mut letterbox), [7, 8]);
        read(&near);
        assert_eq!(tokens(&mut letterbox), [8]);
        read(&other);
        assert_eq!(tokens(&mut letterbox), []);
    }

    #[test]
    fn what_they_are_watched_for_goes_with_them() {
        let sockets = [pair(SocketType::DGRAM), pair(SocketType::DGRAM), pair(SocketType::DGRAM)];
        let (other, other_far) = pair(SocketType::STREAM);
        let mut letterbox = Letterbox::new(Waiting::new().unwrap()).unwrap();
        for (token, (near, far)) in (0..).zip(&sockets) {
            letterbox.add_datagrams(near.as_fd(), token, READ).unwrap();
            write(far);
        }
        letterbox.add(other.as_fd(), 8, READ).unwrap();
        for _ in 0..ENOUGH {
            assert_eq!(tokens(&mut letterbox), [0, 1, 2]);
        }
        assert!(letterbox.apart);
        letterbox.change(sockets[1].0.as_fd(), 1, Interest::default()).unwrap();
        letterbox.remove(sockets[0].0.as_fd(), 0);
        assert_eq!(tokens(&mut letterbox), [2]);
        write(&other_far);
        while letterbox.apart {
            assert_eq!(tokens(&mut letterbox), [2, 8]);
        }
        assert_eq!(tokens(&mut letterbox), [2, 8]);
        letterbox.change(sockets[1].0.as_fd(), 1, Interest { read: false, write: true }).unwrap();
        letterbox.remove(sockets[2].0.as_fd(), 2);
        assert_eq!(tokens(&mut letterbox), [1, 8]);
    }

    #[test]
    fn many_sockets_stay_with_epoll() {
        let sockets: Vec<_> = (0..=MOST).map(|_| pair(SocketType::DGRAM)).collect();
        let mut letterbox = Letterbox::new(Waiting::new().unwrap()).unwrap();
        for (token, (near, _)) in (0..).zip(&sockets) {
            letterbox.add_datagrams(near.as_fd(), token, READ).unwrap();
        }
        write(&sockets[3].1);
        for _ in 0..2 * ENOUGH {
            assert_eq!(tokens(&mut letterbox), [3]);
            assert!(!letterbox.apart);
        }
    }
}
