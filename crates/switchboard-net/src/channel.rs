//! [`Channel`]: a connected socket, perhaps with TLS on it, that is read and written without waiting.
//!
//! ```text
//!   send ─▶ codec ─▶ ciphertext, a few records ─▶ socket       what TLS makes of bytes that were taken is sent before
//!   recv ◀─ plaintext ◀─ codec ◀──────────────── socket        more are taken; so both halves push back as TCP does
//! ```
//!
//! What the peer has of our bytes is known as exactly as on a plain socket: each record is remembered until TCP has
//! acknowledged its last byte.

use crate::endpoint::Kind;
use crate::prelude::{PreludeError, wait};
use crate::sys::{clock, socket};
use crate::tls::{Codec, Facts, Failure, Server, State};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use switchboard_proto::Buffer;

/// Plaintext of one record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;
/// Plaintext that is encrypted before the socket is asked again.
const PIECE: usize = 4 * RECORD;
/// Ciphertext that is read at once: at first, so that a connection with little to say stays small, and at most.
const FIRST_READ: usize = 4 * 1024;
const READ: usize = 64 * 1024;
/// Records that are remembered before those that were acknowledged are forgotten.
const RECORDS: usize = 64;
/// How long a client with whom there is no agreement may take to hear why.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connected socket, perhaps with TLS on it.
pub struct Channel {
    fd: OwnedFd,
    kind: Kind,
    /// Our half has ended, or will when everything is out.
    ended: bool,
    /// The socket was told so.
    shut: bool,
    tls: Option<Box<Tls>>,
    caller: Option<Box<Caller>>,
}

/// Whoever sent the first datagram of a conversation.
struct Caller {
    /// What he sent before there was a socket for him.
    early: VecDeque<Vec<u8>>,
    /// Who alone is heard, in case the kernel gave the socket somebody else's before it was connected.
    address: Option<SocketAddr>,
}

/// What TLS keeps of a connection.
struct Tls {
    codec: Codec,
    /// Ciphertext that came and was not looked at.
    arrived: Buffer,
    /// How much is read at once; more when that was too little.
    read_bytes: usize,
    /// What it said, until it is asked for.
    plain: Buffer,
    /// Plaintext on its way into the codec.
    raw: Buffer,
    /// Ciphertext until the socket takes it.
    leaving: Buffer,
    /// Bytes of ciphertext that the socket took.
    taken: u64,
    /// Records that may be on their way: where their ciphertext ends, and how much plaintext they are.
    records: VecDeque<(u64, usize)>,
    failure: Option<Failure>,
}

/// What a handshake waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// Something to come from the peer.
    Input,
    /// Room for what is to be sent.
    Room,
}

/// Why there is no TLS on a connection.
#[derive(Debug)]
pub enum HandshakeError {
    /// The two do not agree, or the peer is not who he should be.
    Tls(Failure),
    /// It was not done in this time.
    TimedOut(Duration),
    /// The connection broke meanwhile.
    System(Errno),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Tls(failure) => failure.fmt(f),
            HandshakeError::TimedOut(after) => write!(f, "the TLS handshake was not done in {after:?}"),
            HandshakeError::System(errno) => write!(f, "{errno}, before the TLS handshake was done"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl Channel {
    /// A socket without TLS. Datagram sockets are only carried: what is said here of reading and writing is about
    /// streams.
    pub fn plain(fd: OwnedFd, kind: Kind) -> Channel {
        Channel { fd, kind, ended: false, shut: false, tls: None, caller: None }
    }

    /// A socket of messages whose peer has sent `early` already; with an `address`, nobody else is heard.
    pub(crate) fn of_caller(
        fd: OwnedFd,
        kind: Kind,
        early: VecDeque<Vec<u8>>,
        address: Option<SocketAddr>,
    ) -> Channel {
        Channel { caller: Some(Box::new(Caller { early, address })), ..Channel::plain(fd, kind) }
    }

    /// A stream socket on which hands are yet to be [shaken](Channel::shake_hands).
    pub fn unshaken(fd: OwnedFd, kind: Kind, codec: Codec) -> Channel {
        Channel { tls: Some(Box::new(Tls::new(codec))), ..Channel::plain(fd, kind) }
    }

    /// Shakes hands on a stream socket within `limit`.
    ///
    /// # Errors
    /// No agreement, no trust, no time, or a connection that broke. The peer was told why, if it is the one at fault.
    pub fn secure(fd: OwnedFd, kind: Kind, codec: Codec, limit: Duration) -> Result<Channel, HandshakeError> {
        let mut channel = Channel::unshaken(fd, kind, codec);
        channel.shake_hands_within(limit)?;
        Ok(channel)
    }

    /// Shakes hands with a client on a stream socket that nothing has been said on yet, in the time that `server` gives.
    ///
    /// # Errors
    /// No agreement, no trust, no time, or a connection that broke. A client who is at fault was told why, and has had a
    /// second to hear it.
    pub fn welcome(mut self, server: &Server) -> Result<Channel, HandshakeError> {
        let codec = server.codec().map_err(HandshakeError::Tls)?;
        self.tls = Some(Box::new(Tls::new(codec)));
        let shaken = self.shake_hands_within(server.settings().handshake_timeout);
        if let Err(HandshakeError::Tls(_)) = shaken {
            self.see_off();
        }
        shaken.map(|()| self)
    }

    /// Swallows what the peer still sends: a close with input unread is a reset, which destroys the alert on its way.
    fn see_off(&self) {
        let until = clock::now() + FAREWELL;
        socket::shutdown_write(&self.fd);
        let mut room = [0; 4096];
        loop {
            match socket::recv(&self.fd, &mut room, socket::Wait::No) {
                Ok(1..) if clock::now() < until => {}
                Err(Errno::AGAIN) if wait(&self.fd, true, until).is_ok() => {}
                _ => return,
            }
        }
    }

    fn shake_hands_within(&mut self, limit: Duration) -> Result<(), HandshakeError> {
        let until = clock::now() + limit;
        while let Some(awaited) = self.shake_hands()? {
            wait(&self.fd, awaited == Awaited::Input, until).map_err(|error| match error {
                PreludeError::System(errno) => HandshakeError::System(errno),
                _ => HandshakeError::TimedOut(limit),
            })?;
        }
        Ok(())
    }

    /// Goes on shaking hands as far as it goes without waiting: what is to be waited for, or nothing when it is done.
    ///
    /// # Errors
    /// Those of [`secure`](Channel::secure), but that of time.
    pub fn shake_hands(&mut self) -> Result<Option<Awaited>, HandshakeError> {
        let Channel { fd, tls: Some(tls), .. } = self else { return Ok(None) };
        loop {
            tls.codec.transmit(&mut tls.leaving);
            let sent = tls.flush(fd);
            if let Some(failure) = tls.failure.take() {
                return Err(HandshakeError::Tls(failure));
            }
            match sent {
                Ok(()) if tls.codec.state() != State::Handshake => return Ok(None),
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(Some(Awaited::Room)),
                Err(errno) => {
                    // The peer takes no more; an alert that says why may have come before.
                    let _ = tls.read(fd);
                    let failure = tls.failure.take().filter(|failure| *failure != Failure::Unfinished);
                    return Err(failure.map_or(HandshakeError::System(errno), HandshakeError::Tls));
                }
            }
            match tls.read(fd) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(Some(Awaited::Input)),
                Err(errno) => return Err(HandshakeError::System(errno)),
            }
        }
    }

    /// What kind of socket it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The socket itself, for whoever moves bytes past this where there is no TLS, and tells of it.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.fd
    }

    /// The socket was told of the end of our half past this.
    pub(crate) fn was_shut(&mut self) {
        self.ended = true;
        self.shut = true;
    }

    /// What was agreed on, and with whom, if there is TLS.
    pub fn facts(&self) -> Option<Facts> {
        self.tls.as_ref().and_then(|tls| tls.codec.facts())
    }

    /// Whether an earlier session was resumed; the same as in the [`facts`](Channel::facts), without the others.
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.codec.is_resumed())
    }

    /// Whether bytes change on their way.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// What went wrong with TLS. A peer's end without close_notify is [`Failure::Truncated`].
    pub fn failure(&self) -> Option<&Failure> {
        self.tls.as_ref().and_then(|tls| tls.failure.as_ref())
    }

    /// Receives into `bytes` without waiting: how many; 0 at the end of the peer's half, in TLS its close_notify. The end
    /// of the connection without that is 0 as well, and a [`failure`](Channel::failure).
    ///
    /// # Errors
    /// `EAGAIN`; `EPROTO` if TLS failed, as [`failure`](Channel::failure) tells; the others of recv(2).
    pub fn recv(&mut self, bytes: &mut [u8]) -> Result<usize, Errno> {
        let Some(tls) = &mut self.tls else { return socket::recv(&self.fd, bytes, socket::Wait::No) };
        loop {
            if !tls.plain.is_empty() {
                let n = tls.plain.len().min(bytes.len());
                bytes[..n].copy_from_slice(&tls.plain.bytes()[..n]);
                tls.plain.consume(n);
                return Ok(n);
            }
            match (&tls.failure, tls.codec.state()) {
                (Some(Failure::Truncated), _) | (None, State::PeerEnded) => return Ok(0),
                (Some(_), _) | (None, State::Failed) => return Err(Errno::PROTO),
                (None, State::Open | State::Handshake) => tls.read(&self.fd)?,
            }
        }
    }

    /// Receives one message into `bytes` without waiting: its length.
    ///
    /// # Errors
    /// `EAGAIN` and the others of recv(2).
    pub fn recv_message(&mut self, bytes: &mut [u8]) -> Result<usize, Errno> {
        let Some(caller) = &mut self.caller else { return socket::recv_message(&self.fd, bytes) };
        if let Some(message) = caller.early.pop_front() {
            let n = message.len().min(bytes.len());
            bytes[..n].copy_from_slice(&message[..n]);
            return Ok(n);
        }
        let Some(address) = caller.address else { return socket::recv_message(&self.fd, bytes) };
        loop {
            let (n, from) = socket::recv_from(&self.fd, bytes)?;
            if from == Some(address) {
                return Ok(n);
            }
        }
    }

    /// Bytes of the next message, or more: for datagrams those of the next one, for seqpackets those of all.
    pub(crate) fn queued(&self) -> usize {
        let early = self.caller.as_ref().and_then(|caller| caller.early.front()).map(Vec::len);
        early.unwrap_or_else(|| socket::queued(&self.fd))
    }

    /// The same as [`recv`](Channel::recv), but waits up to `limit` for something to come.
    ///
    /// # Errors
    /// `ETIMEDOUT` if nothing came; those of [`recv`](Channel::recv).
    pub fn recv_within(&mut self, bytes: &mut [u8], limit: Duration) -> Result<usize, Errno> {
        let until = clock::now() + limit;
        loop {
            match self.recv(bytes) {
                Err(Errno::AGAIN) => wait(&self.fd, true, until).map_err(|error| match error {
                    PreludeError::System(errno) => errno,
                    _ => Errno::TIMEDOUT,
                })?,
                answer => return answer,
            }
        }
    }

    /// Sends without waiting: how many of `bytes` are taken. In TLS some of those may still have to leave; see
    /// [`flush`](Channel::flush).
    ///
    /// # Errors
    /// `EAGAIN`, `EPIPE` and the others of send(2).
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let Some(tls) = &mut self.tls else { return socket::send(&self.fd, bytes, socket::Wait::No) };
        tls.flush(&self.fd)?;
        let piece = &bytes[..bytes.len().min(PIECE)];
        let remembered = tls.records.len();
        let mut taken = 0;
        for record in piece.chunks(RECORD) {
            tls.raw.push(record);
            tls.codec.send(&mut tls.raw, &mut tls.leaving);
            let left = tls.raw.len();
            tls.raw.clear();
            if left == record.len() {
                break;
            }
            taken += record.len() - left;
            tls.records.push_back((tls.taken + tls.leaving.len() as u64, record.len() - left));
        }
        if taken == 0 && !piece.is_empty() {
            // TLS has failed, or our half has ended.
            return Err(Errno::PIPE);
        }
        match tls.flush(&self.fd) {
            Ok(()) | Err(Errno::AGAIN) => {}
            Err(errno) => {
                // They stay the caller's.
                tls.records.truncate(remembered);
                return Err(errno);
            }
        }
        if tls.records.len() > RECORDS {
            self.forget();
        }
        Ok(taken)
    }

    /// Sends what TLS made of bytes that were taken, and then the end of our half if it is due.
    ///
    /// # Errors
    /// `EAGAIN` while there is more; the others of send(2), and then it is dropped.
    pub fn flush(&mut self) -> Result<(), Errno> {
        if let Some(tls) = &mut self.tls {
            tls.flush(&self.fd)?;
        }
        if self.ended && !self.shut {
            self.shut = true;
            socket::shutdown_write(&self.fd);
        }
        Ok(())
    }

    /// Whether something is to be [flushed](Channel::flush).
    pub fn has_output(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.leaving.is_empty())
    }

    /// Whether [`recv`](Channel::recv) or [`recv_message`](Channel::recv_message) has something to tell although nothing
    /// more has come.
    pub fn has_input(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| !caller.early.is_empty())
            || self.tls.as_ref().is_some_and(|tls| {
                !tls.plain.is_empty() || tls.failure.is_some() || tls.codec.state() == State::PeerEnded
            })
    }

    /// Ends our half: close_notify, then the socket's. Receiving goes on.
    ///
    /// # Errors
    /// As [`flush`](Channel::flush).
    pub fn finish(&mut self) -> Result<(), Errno> {
        self.ended = true;
        if let Some(tls) = &mut self.tls {
            tls.codec.close(&mut tls.leaving);
        }
        self.flush()
    }

    /// Bytes that were taken and that the peer's kernel is not known to have. Of sockets whose kernel does not tell: that
    /// this kernel has not taken.
    pub fn outstanding(&mut self) -> usize {
        if self.tls.is_none() {
            return self.unacknowledged();
        }
        self.forget();
        self.tls.as_ref().map_or(0, |tls| tls.records.iter().map(|(_, plain)| plain).sum())
    }

    /// Bytes, of whatever meaning, that the peer's kernel has not acknowledged; the end of our half is none.
    pub fn unacknowledged(&self) -> usize {
        match self.kind {
            // The FIN counts as one byte; when it is the only one, all before it arrived.
            Kind::Tcp => socket::unacknowledged(&self.fd).saturating_sub(usize::from(self.shut)),
            // What a Unix socket took is in the peer's queue already.
            _ => 0,
        }
    }

    /// Forgets records that were acknowledged to their last byte.
    fn forget(&mut self) {
        let under_way = self.unacknowledged() as u64;
        if let Some(tls) = &mut self.tls {
            let acknowledged = tls.taken.saturating_sub(under_way);
            while tls.records.front().is_some_and(|(end, _)| *end <= acknowledged) {
                tls.records.pop_front();
            }
        }
    }
}

impl Tls {
    fn new(codec: Codec) -> Tls {
        Tls {
            codec,
            arrived: Buffer::new(),
            read_bytes: FIRST_READ,
            plain: Buffer::new(),
            raw: Buffer::new(),
            leaving: Buffer::new(),
            taken: 0,
            records: VecDeque::new(),
            failure: None,
        }
    }

    /// Reads once and lets the codec look at it. What it says in return leaves as far as there is room.
    fn read(&mut self, fd: &OwnedFd) -> Result<(), Errno> {
        self.arrived.reserve(self.read_bytes);
        let n = socket::recv(fd, &mut self.arrived.spare()[..self.read_bytes], socket::Wait::No)?;
        if n == self.read_bytes {
            self.read_bytes = READ.min(self.read_bytes * 4);
        }
        let told = if n == 0 {
            self.codec.receive_end()
        } else {
            self.arrived.commit(n);
            self.codec.receive(&mut self.arrived, &mut self.plain, usize::MAX)
        };
        self.codec.transmit(&mut self.leaving);
        // What does not go is seen by whoever writes.
        let _ = self.flush(fd);
        if let Err(failure) = told {
            self.failure = Some(failure);
        }
        Ok(())
    }

    fn flush(&mut self, fd: &OwnedFd) -> Result<(), Errno> {
        while !self.leaving.is_empty() {
            match socket::send(fd, self.leaving.bytes(), socket::Wait::No) {
                Ok(n) => {
                    self.leaving.consume(n);
                    self.taken += n as u64;
                }
                Err(Errno::AGAIN) => return Err(Errno::AGAIN),
                Err(errno) => {
                    self.leaving.clear();
                    return Err(errno);
                }
            }
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("fd", &self.fd)
            .field("secure", &self.is_secure())
            .finish_non_exhaustive()
    }
}
