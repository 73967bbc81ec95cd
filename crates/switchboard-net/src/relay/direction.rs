//! [`Direction`]: one half of a relayed connection: from one socket through a pipe to the other.

use crate::sys::{socket, splice};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Bytes that one direction may hold: what a pipe has room for, unless more is asked for.
const ROOM: usize = 64 * 1024;
/// What an empty pipe takes, however small it had to be made (pipe(7): `PIPE_BUF`).
const PAGE: usize = 4096;
/// Bytes in a wide pipe, which takes a third less processor time; the most that may be asked for without privilege
/// (/proc/sys/fs/pipe-max-size).
pub(crate) const WIDE: usize = 1024 * 1024;
/// Wide pipes of one process: a user has 64 MiB for all pipes (/proc/sys/fs/pipe-user-pages-soft), and beyond that
/// each new one is tiny.
const WIDE_PIPES: usize = 4;
/// Bytes moved in one direction before others get their turn.
const TURN: usize = 256 * 1024;
/// Empty pipes kept for later.
const SPARE: usize = 64;

/// Pipes that are empty. A direction has one only while bytes are in it, so that an idle connection has none.
#[derive(Default)]
pub(crate) struct Pipes {
    spare: Vec<Pipe>,
    /// Wide ones that were made.
    wide: usize,
}

/// Both ends, non-blocking.
pub(crate) struct Pipe {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
    /// Bytes that it holds.
    pub(crate) room: usize,
}

impl Pipe {
    /// A pipe, with room for [`WIDE`] bytes if that is wanted and may be had.
    ///
    /// # Errors
    /// Those of pipe(2).
    pub(crate) fn new(wide: bool) -> Result<Pipe, Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let room = if wide { fcntl_setpipe_size(&writer, WIDE).unwrap_or(ROOM) } else { ROOM };
        Ok(Pipe { reader, writer, room })
    }
}

impl Pipes {
    fn take(&mut self) -> Result<Pipe, Errno> {
        if let Some(pipe) = self.spare.pop() {
            return Ok(pipe);
        }
        let wide = self.wide < WIDE_PIPES;
        self.wide += usize::from(wide);
        Pipe::new(wide)
    }

    fn give_back(&mut self, pipe: Pipe) {
        if self.spare.len() < SPARE || pipe.room > ROOM {
            self.spare.push(pipe);
        }
    }
}

/// One half of a connection.
#[derive(Default)]
pub(crate) struct Direction {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
    /// The sender has finished.
    ended: bool,
    /// The receiver was told so: nothing more happens here.
    pub(crate) over: bool,
    /// Bytes delivered.
    pub(crate) bytes: u64,
}

/// What came of moving bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moved {
    /// As much as there was, or nothing.
    Some(bool),
    /// The sender's side is broken.
    SenderBroke(Errno),
    /// The receiver's side is broken.
    ReceiverBroke(Errno),
}

impl Direction {
    /// Whether the sender's socket should be watched for input.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && self.held == 0
    }

    /// Whether the receiver's socket should be watched for room.
    pub(crate) fn wants_room(&self) -> bool {
        self.held > 0
    }

    /// Bytes taken and not delivered.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Moves what can be moved now.
    pub(crate) fn pump(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Moved {
        let mut moved = 0;
        while moved < TURN && !self.over {
            if self.held == 0 && !self.ended {
                match self.fill(from, pipes) {
                    Ok(0) => self.ended = true,
                    Ok(n) => self.held = n,
                    Err(Errno::AGAIN) => break,
                    Err(errno) => return Moved::SenderBroke(errno),
                }
            }
            if self.held == 0 {
                // All that was sent is delivered: only now is the end told on.
                socket::shutdown_write(to);
                self.over = true;
                break;
            }
            match self.drain(to, pipes) {
                Ok(n) => moved += n,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Moved::ReceiverBroke(errno),
            }
        }
        Moved::Some(moved > 0)
    }

    fn fill(&mut self, from: &OwnedFd, pipes: &mut Pipes) -> Result<usize, Errno> {
        let pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => pipes.take()?,
        };
        let mut filled = splice::splice(from, &pipe.writer, pipe.room);
        if filled == Err(Errno::INVAL) {
            // A kind of socket that cannot do it: through our memory.
            let mut bytes = [0; PAGE];
            filled = socket::recv(from, &mut bytes, socket::Wait::No);
            if let Ok(n @ 1..) = filled {
                filled = socket::retry(|| rustix::io::write(&pipe.writer, &bytes[..n]));
                debug_assert_eq!(filled, Ok(n), "an empty pipe takes a page");
            }
        }
        match filled {
            Ok(1..) => self.pipe = Some(pipe),
            _ => pipes.give_back(pipe),
        }
        filled
    }

    fn drain(&mut self, to: &OwnedFd, pipes: &mut Pipes) -> Result<usize, Errno> {
        let Some(pipe) = &self.pipe else { return Err(Errno::INVAL) };
        let n = splice::splice(&pipe.reader, to, self.held)?;
        self.held -= n;
        self.bytes += n as u64;
        if self.held == 0
            && let Some(pipe) = self.pipe.take()
        {
            pipes.give_back(pipe);
        }
        Ok(n)
    }
}
