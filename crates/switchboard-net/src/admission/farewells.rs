//! [`Farewells`]: clients who were told that it is over, and whose connections are kept for a moment: closed at once
//! with input on its way, a connection would be reset and the last words lost.

use super::Warden;
use crate::sys::socket::{self, Wait};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use switchboard_proto::Instant;

/// Those who are being seen off, in the order in which their time comes.
pub(crate) struct Farewells {
    most: usize,
    leaving: VecDeque<(Instant, OwnedFd)>,
}

impl Farewells {
    /// Clients who are seen off at most where nothing speaks for more.
    pub(crate) const MOST: usize = 256;

    /// At most `most` at a time; beyond it the one who has waited longest is left at once.
    pub(crate) fn new(most: usize) -> Farewells {
        Farewells { most, leaving: VecDeque::new() }
    }

    /// Sees one more off, whose writing half has been shut down.
    pub(crate) fn begin(&mut self, fd: OwnedFd, now: Instant) {
        if self.leaving.len() >= self.most
            && let Some((_, oldest)) = self.leaving.pop_front()
        {
            finish(oldest);
        }
        self.leaving.push_back((now + Warden::FAREWELL, fd));
    }

    /// Leaves those whose time has come.
    pub(crate) fn finish_due(&mut self, now: Instant) {
        while self.wakes_at() <= now
            && let Some((_, fd)) = self.leaving.pop_front()
        {
            finish(fd);
        }
    }

    /// When the next one's time comes; [`Instant::NEVER`] if nobody is being seen off.
    pub(crate) fn wakes_at(&self) -> Instant {
        self.leaving.front().map_or(Instant::NEVER, |(until, _)| *until)
    }

    /// Whether nobody is being seen off.
    pub(crate) fn is_empty(&self) -> bool {
        self.leaving.is_empty()
    }
}

/// Reads what still came from a client, so that closing sends no reset.
fn finish(fd: OwnedFd) {
    let mut bytes = [0; 4_096];
    /// A client who goes on sending is not listened to for ever.
    const READS: usize = 16;
    for _ in 0..READS {
        if !matches!(socket::recv(&fd, &mut bytes, Wait::No), Ok(1..)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn who_has_waited_longest_leaves_first_and_at_once_when_there_are_too_many() {
        let mut farewells = Farewells::new(3);
        assert_eq!(farewells.wakes_at(), Instant::NEVER);
        let mut peers = Vec::new();
        for n in 0..4 {
            let (ours, peer) = UnixStream::pair().unwrap();
            peer.set_nonblocking(true).unwrap();
            farewells.begin(ours.into(), Instant(n));
            peers.push(peer);
        }
        let has_left = |peer: &mut UnixStream| matches!(peer.read(&mut [0]), Ok(0));
        assert!(has_left(&mut peers[0]) && !has_left(&mut peers[1]));
        assert_eq!(farewells.wakes_at(), Instant(1) + Warden::FAREWELL);
        farewells.finish_due(Instant(2) + Warden::FAREWELL);
        assert!(has_left(&mut peers[2]) && !has_left(&mut peers[3]));
        farewells.finish_due(Instant::NEVER);
        assert!(farewells.is_empty());
    }
}
