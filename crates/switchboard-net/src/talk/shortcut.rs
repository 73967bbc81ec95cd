//! The short way: bytes that go between a file or pipe and the socket in the kernel, by sendfile(2) and splice(2),
//! without passing through this process.
//!
//! It is taken where nobody wants to see or change the bytes, or to hold them back; by input once it has filled a
//! buffer. What was promised of bytes that come this way is the same: they stay where they are until the socket takes
//! them, so each is counted once, and what the peer does not take is noticed. If a kernel, a file or a socket cannot do
//! it, or anything goes wrong, the direction goes on through memory, where every error has its place.

use super::{Sending, Talk};
use crate::channel::Channel;
use crate::endpoint::Kind;
use crate::relay::direction::Pipe;
use crate::sys::local::Nature;
use crate::sys::{clock, socket, splice};
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Bytes moved until the other direction has its turn. No more than a receiver takes in one call while its buffer stays
/// in the processor's cache: with a mebibyte at a time, everything went at two thirds of the speed.
const TURN: usize = 128 * 1024;

/// How input goes to the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Through memory, because it must.
    Memory,
    /// Through memory until there is much of it: what people type, and a script's few lines, gain nothing from the
    /// short way, and whoever traces us sees them.
    Undecided,
    /// In the kernel, once memory is empty.
    Short,
}

/// A pipe between the socket and a file, since splice(2) wants one; empty between any two calls of ours.
pub(super) struct Siphon(Pipe);

/// Whether these are a stream's own bytes, and its kind does splice: older kernels do not for vsock.
fn is_plain(net: &Channel) -> bool {
    matches!(net.kind(), Kind::Tcp | Kind::Unix) && !net.is_secure() && splice::is_non_blocking(net.socket())
}

/// Whether input of this nature can go to that socket in the kernel.
pub(super) fn leads_up(net: &Channel, input: BorrowedFd<'_>, nature: Nature) -> bool {
    let able = match nature {
        // Files without a size (proc(5)) are written when they are read, and not twice the same.
        Nature::Regular => rustix::fs::fstat(input).is_ok_and(|stat| stat.st_size > 0),
        Nature::Pipe => true,
        Nature::Socket | Nature::Terminal | Nature::Device => false,
    };
    able && is_plain(net)
}

impl Siphon {
    /// If what that socket receives can go to an output of this nature in the kernel.
    pub(super) fn between(net: &Channel, output: BorrowedFd<'_>, nature: Nature) -> Option<Siphon> {
        // splice(2) does not append (EINVAL).
        let able = nature == Nature::Regular
            && rustix::fs::fcntl_getfl(output).is_ok_and(|flags| !flags.contains(OFlags::APPEND));
        if !able || !is_plain(net) {
            return None;
        }
        Pipe::new(true).ok().map(Siphon)
    }
}

impl Talk<'_> {
    /// Moves input to the socket, as much as a turn may.
    pub(super) fn pass_up(&mut self) {
        if !self.input_open || self.sending != Sending::Open || self.net_full {
            return;
        }
        let regular = self.input_nature == Nature::Regular;
        let answer = if regular {
            splice::send_file(self.net.socket(), self.input, TURN)
        } else if self.input_ready {
            splice::splice(self.input, self.net.socket(), TURN)
        } else {
            return;
        };
        match answer {
            Ok(0) => self.input_open = false,
            Ok(n) => {
                self.sent += n as u64;
                self.moved = clock::now();
                self.input_moved = self.moved;
                self.witness.passed(n as u64, 0);
            }
            Err(Errno::AGAIN) => {
                // One of the two: nothing to read, or no room.
                self.input_ready = socket::queued(self.input) > 0;
                self.net_full = regular || self.input_ready;
            }
            Err(errno) => {
                // What could not be sent is read, so that it is counted as what is missing.
                self.way_up = Way::Memory;
                self.fill();
                if !is_inability(errno) {
                    self.send_failed(errno);
                }
            }
        }
    }

    /// Moves what the socket has to the output: the number of bytes, 0 at the peer's end. None: it is to be received.
    ///
    /// # Errors
    /// Those of recv(2). What the output does not take is in `down`.
    pub(super) fn pass_down(&mut self) -> Option<Result<usize, Errno>> {
        let Siphon(pipe) = self.siphon.take()?;
        let came = match splice::splice(self.net.socket(), &pipe.writer, pipe.room) {
            Ok(came) => came,
            Err(errno) if is_inability(errno) => return None,
            Err(errno) => {
                self.siphon = Some(Siphon(pipe));
                return Some(Err(errno));
            }
        };
        let mut left = came;
        while left > 0 {
            match splice::splice(&pipe.reader, self.output, left) {
                Ok(n @ 1..) => left -= n,
                Err(Errno::AGAIN) if self.output_nature == Nature::Regular => {}
                Ok(0) | Err(_) => break,
            }
        }
        self.written += (came - left) as u64;
        self.witness.passed(0, came as u64);
        if left == 0 {
            self.siphon = Some(Siphon(pipe));
            return Some(Ok(came));
        }
        // From here on through memory: the output says what is wrong when it is written to.
        self.down.reserve(left);
        while left > 0 {
            match rustix::io::read(&pipe.reader, &mut self.down.spare()[..left]) {
                Ok(n @ 1..) => {
                    self.down.commit(n);
                    left -= n;
                }
                Err(Errno::INTR) => {}
                // It holds that many.
                Ok(0) | Err(_) => break,
            }
        }
        Some(Ok(came))
    }
}

/// Whether this says that bytes cannot go this way, or that a file is at fault, which reading or writing it will tell.
fn is_inability(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::IO | Errno::NOMEM)
}
