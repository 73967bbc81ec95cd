//! What can be had again of a program whose worker was killed: the reading end of its standard error, and its client's
//! socket. The kernel closed the worker's descriptors; the program still has the other end of the one, and the other
//! itself, and a process that may trace it (ptrace(2): the same user, or `CAP_SYS_PTRACE`) may ask for them.
//!
//! Between the death of a worker and its successor's look at the register nobody reads: a program that writes to its
//! standard error in these milliseconds gets SIGPIPE.

use super::WhenGone;
use super::processes::{Purpose, Stage};
use super::register::Entry;
use super::worker::Worker;
use crate::peer::Peer;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

impl Worker<'_> {
    /// Gets back what a process lacks that was adopted from a worker which is no more.
    pub(super) fn recover(&mut self, number: u64, entry: &Entry) {
        if !self.lines.contains_key(&number)
            && let Some(pipe) = standard_error(entry)
        {
            self.watch_lines(number, pipe, entry.connection, Vec::new());
        }
        let Some(process) = self.processes.get(&number) else { return };
        let is_wanted = self.site.program.when_gone != WhenGone::Leave
            && process.purpose == Purpose::Connection
            && process.stage == Stage::Running
            && process.client.is_none();
        if is_wanted && let Some(socket) = process.pidfd.as_ref().and_then(|pidfd| client(pidfd, entry.peer))
        {
            self.watch_client(number, socket);
        }
    }
}

/// The pipe that a program was given as standard error, opened for reading; if it still has it there.
fn standard_error(entry: &Entry) -> Option<OwnedFd> {
    let theirs = format!("/proc/{}/fd/2", entry.pid.as_raw_pid());
    // Without opening it: it may be anything by now, and what it is must be known first.
    let found = open(theirs, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&found).ok()?;
    let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && stat.st_ino == entry.stderr;
    if entry.stderr == 0 || !is_ours {
        return None;
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    open(again, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The socket that a program has as standard input, if `peer` is at its other end.
fn client(pidfd: &OwnedFd, peer: Peer) -> Option<OwnedFd> {
    let socket = pidfd_getfd(pidfd, 0, PidfdGetfdFlags::empty()).ok()?;
    let is_socket = FileType::from_raw_mode(fstat(&socket).ok()?.st_mode) == FileType::Socket;
    let inet = matches!(peer, Peer::Inet(_));
    (is_socket && peer != Peer::Unknown && Peer::of_connected(socket.as_fd(), inet) == peer).then_some(socket)
}
