//! Reading and writing descriptors that other processes share, such as standard input and output, without
//! waiting and without making them non-blocking.
//!
//! `O_NONBLOCK` belongs to the open file, not to the descriptor: a program that sets it on its standard output
//! sets it for the shell and for every other program on that terminal or pipe, which then lose data. So the flag
//! stays as it is, and each kind of file is asked in its own way not to wait:
//!
//! | file | how |
//! |---|---|
//! | regular file, device | always ready; the call does what it has to do |
//! | socket | `MSG_DONTWAIT` |
//! | pipe | `RWF_NOWAIT` (Linux 6.4 for pipes); on older kernels poll(2) first, then at most `PIPE_BUF` bytes |
//! | terminal | poll(2) first, then a few bytes |

use super::socket;
use rustix::fd::AsFd;
use rustix::fs::FileType;
use rustix::io::{self, Errno, IoSlice, IoSliceMut, ReadWriteFlags};
use rustix::net::{self, RecvFlags, SendFlags};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a descriptor leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    /// A file with an end.
    Regular,
    /// A pipe or FIFO.
    Pipe,
    /// A socket of any kind.
    Socket,
    /// A terminal.
    Terminal,
    /// Anything else: /dev/null, /dev/zero.
    Device,
}

/// A pipe that poll(2) calls writable has room for this much (pipe(7): `PIPE_BUF`).
const PIPE_ROOM: usize = 4_096;
/// A terminal that is writable has room for some bytes; more would wait for the screen.
const TERMINAL_ROOM: usize = 1_024;

/// Whether the kernel knows `RWF_NOWAIT` on pipes.
static NOWAIT: AtomicBool = AtomicBool::new(true);

impl Nature {
    /// What `fd` leads to; a descriptor that is not open is called a device, and fails when it is used.
    pub fn of(fd: impl AsFd) -> Nature {
        match rustix::fs::fstat(&fd).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => Nature::Regular,
            Ok(FileType::Fifo) => Nature::Pipe,
            Ok(FileType::Socket) => Nature::Socket,
            _ if rustix::termios::isatty(&fd) => Nature::Terminal,
            _ => Nature::Device,
        }
    }

    /// Whether [`write`](Nature::write) must only be called after poll(2) said that there is room.
    pub fn must_poll(self) -> bool {
        match self {
            Nature::Terminal => true,
            Nature::Pipe => !NOWAIT.load(Ordering::Relaxed),
            Nature::Regular | Nature::Socket | Nature::Device => false,
        }
    }

    /// Reads from `fd` after poll(2) said that it is readable: the number of bytes, 0 at the end of input.
    ///
    /// # Errors
    /// `EAGAIN` when another reader was faster; those of read(2).
    pub fn read(self, fd: impl AsFd, bytes: &mut [u8]) -> Result<usize, Errno> {
        let fd = fd.as_fd();
        match self {
            Nature::Socket => {
                socket::retry(|| net::recv(fd, &mut *bytes, RecvFlags::DONTWAIT)).map(|(n, _)| n)
            }
            Nature::Pipe => or_without_flag(
                || {
                    let into = &mut [IoSliceMut::new(bytes)];
                    io::preadv2(fd, into, u64::MAX, ReadWriteFlags::NOWAIT)
                },
                || None,
            )
            .unwrap_or_else(|| socket::retry(|| io::read(fd, &mut *bytes))),
            Nature::Regular | Nature::Terminal | Nature::Device => {
                socket::retry(|| io::read(fd, &mut *bytes))
            }
        }
    }

    /// Writes to `fd` what there is room for: the number of bytes taken, at least one.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room; `EPIPE` when nobody reads any more (SIGPIPE must be ignored, as it is in
    /// Rust programs); the others of write(2).
    pub fn write(self, fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
        let fd = fd.as_fd();
        let at_most = |room: usize| &bytes[..bytes.len().min(room)];
        match self {
            Nature::Socket => {
                socket::retry(|| net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
            }
            Nature::Pipe => or_without_flag(
                || io::pwritev2(fd, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT),
                // The caller has not polled yet: let it do so.
                || Some(Err(Errno::AGAIN)),
            )
            .unwrap_or_else(|| socket::retry(|| io::write(fd, at_most(PIPE_ROOM)))),
            Nature::Terminal => socket::retry(|| io::write(fd, at_most(TERMINAL_ROOM))),
            Nature::Regular | Nature::Device => socket::retry(|| io::write(fd, bytes)),
        }
    }
}

/// The answer of `call`, which uses `RWF_NOWAIT`; `None` if the kernel is known not to have that flag here, and
/// what `first` says when that has just been found out.
fn or_without_flag(
    mut call: impl FnMut() -> Result<usize, Errno>,
    first: impl FnOnce() -> Option<Result<usize, Errno>>,
) -> Option<Result<usize, Errno>> {
    if !NOWAIT.load(Ordering::Relaxed) {
        return None;
    }
    match socket::retry(&mut call) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            NOWAIT.store(false, Ordering::Relaxed);
            first()
        }
        answer => Some(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn a_full_pipe_says_so_and_stays_blocking() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let nature = Nature::of(&writer);
        assert_eq!(nature, Nature::Pipe);
        if nature.must_poll() {
            return;
        }
        let data = vec![7; 1 << 20];
        let mut written = 0;
        let full = loop {
            match nature.write(&writer, &data) {
                Ok(n) => written += n,
                Err(errno) => break errno,
            }
        };
        // A kernel without the flag says EAGAIN at once.
        assert_eq!(full, Errno::AGAIN);
        let mut room = vec![0; written];
        let mut got = 0;
        while got < written {
            got += Nature::Pipe.read(&reader, &mut room[got..]).unwrap();
        }
        assert_eq!(Nature::Pipe.read(&reader, &mut room[..0]), Ok(0));
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
        drop(reader);
        assert!(matches!(nature.write(&writer, &data), Err(Errno::PIPE | Errno::AGAIN)));
    }
}
