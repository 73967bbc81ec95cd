//! [`Secure`]: TLS with the client, plaintext with the target; each half is kept by itself. close_notify is the end of
//! a half, and told on as one; an end without it is none, and the target is not made to believe so.

use crate::engine::readiness::Interest;
use crate::sys::socket::{self, Wait};
use crate::tls::{Codec, Failure, State, Witness};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use switchboard_proto::Buffer;

/// Bytes that each direction may hold.
const ROOM: usize = 64 * 1024;
/// Bytes received in one call.
const PIECE: usize = 16 * 1024;
/// Bytes moved before others get their turn.
const TURN: usize = 256 * 1024;

/// A session between a client and a target.
pub(crate) struct Secure {
    codec: Codec,
    pub(crate) witness: Witness,
    /// Received, and not decrypted yet for lack of room.
    cipher: Buffer,
    to_target: Buffer,
    to_client: Buffer,
    /// The client says no more.
    client_ended: bool,
    target_ended: bool,
    /// A target that takes no more may still have said something: it is heard out.
    forgiving: bool,
    /// Why nothing more comes from the client; told when what came before is delivered.
    failure: Option<Failure>,
    told_client: bool,
    told_target: bool,
    /// Bytes of plaintext delivered to the target.
    pub(crate) received: u64,
    /// Bytes of plaintext taken from the target.
    pub(crate) sent: u64,
}

/// Which side has broken.
pub(crate) enum Broke {
    Client,
    Target,
    Tls(Failure),
}

impl Secure {
    pub(crate) fn new(codec: Codec, forgiving: bool) -> Secure {
        Secure {
            codec,
            witness: Witness::default(),
            cipher: Buffer::new(),
            to_target: Buffer::new(),
            to_client: Buffer::new(),
            client_ended: false,
            target_ended: false,
            forgiving,
            failure: None,
            told_client: false,
            told_target: false,
            received: 0,
            sent: 0,
        }
    }

    /// The handshake is done.
    pub(crate) fn is_open(&self) -> bool {
        self.codec.state() != State::Handshake
    }

    /// The client has ended his half.
    pub(crate) fn client_ended(&self) -> bool {
        self.client_ended
    }

    /// A target that has said all may leave without a word: its hang-up is waited for.
    pub(crate) fn awaits_departure(&self) -> bool {
        self.forgiving && self.target_ended && !self.told_target
    }

    /// Both halves have ended, and everybody knows.
    pub(crate) fn is_over(&self) -> bool {
        self.told_client && self.told_target
    }

    /// What the client's and the target's socket are to be watched for.
    pub(crate) fn wants(&self) -> [Interest; 2] {
        let answers = self.to_client.len() < ROOM;
        [
            Interest {
                read: !self.client_ended && self.to_target.len() < ROOM && answers,
                write: !self.to_client.is_empty(),
            },
            Interest { read: !self.target_ended && answers, write: !self.to_target.is_empty() },
        ]
    }

    /// Moves what can be moved now, and says whether anything was; without a target, the handshake only.
    pub(crate) fn pump(&mut self, client: &OwnedFd, target: Option<&OwnedFd>) -> Result<bool, Broke> {
        let mut moved = 0;
        while moved < TURN {
            let mut now = self.flush(client)?;
            if let Some(target) = target {
                now += self.deliver(target)?;
            }
            if target.is_some() || !self.is_open() {
                now += self.take(client)?;
            }
            if let Some(target) = target {
                now += self.answer(target)?;
            }
            if now == 0 {
                break;
            }
            moved += now;
        }
        drop([self.to_target.settle(), self.to_client.settle(), self.cipher.settle()]);
        Ok(moved > 0)
    }

    /// Sends the client what can be sent of what he is still owed, such as an alert; for the end.
    pub(crate) fn say_last_words(&mut self, client: &OwnedFd) {
        self.codec.transmit(&mut self.to_client);
        let _ = socket::send(client, self.to_client.bytes(), Wait::No);
    }

    /// Why the session has ended, for the log.
    pub(crate) fn failed(&self, failure: Failure) {
        self.witness.failed(&self.codec, failure);
    }

    fn flush(&mut self, client: &OwnedFd) -> Result<usize, Broke> {
        let sent = drain(&mut self.to_client, client).map_err(|_| Broke::Client)?;
        if self.target_ended && self.to_client.is_empty() && !self.told_client {
            self.told_client = true;
            socket::shutdown_write(client);
        }
        Ok(sent)
    }

    fn deliver(&mut self, target: &OwnedFd) -> Result<usize, Broke> {
        let delivered = match drain(&mut self.to_target, target) {
            // Gone, in both directions: whatever else the client says, nobody hears it.
            Ok(0) if self.awaits_departure() && has_left(target) => {
                self.to_target.clear();
                self.told_target = true;
                0
            }
            Err(Errno::PIPE | Errno::CONNRESET) if self.forgiving => {
                let lost = self.to_target.len();
                self.to_target.clear();
                self.told_target = true;
                lost
            }
            done => done.map_err(|_| Broke::Target)?,
        };
        self.received += delivered as u64;
        if self.to_target.is_empty() && self.cipher.is_empty() && self.client_ended {
            if let Some(failure) = self.failure.take() {
                return Err(Broke::Tls(failure));
            }
            if !self.told_target {
                self.told_target = true;
                socket::shutdown_write(target);
            }
        }
        Ok(delivered)
    }

    /// Receives from the client and decrypts.
    fn take(&mut self, client: &OwnedFd) -> Result<usize, Broke> {
        let room = ROOM.saturating_sub(self.to_target.len());
        if self.client_ended || room == 0 || self.to_client.len() >= ROOM {
            return Ok(0);
        }
        let mut came = 0;
        if self.cipher.is_empty() {
            self.cipher.reserve(PIECE);
            came = match socket::recv(client, self.cipher.spare(), Wait::No) {
                Ok(0) => {
                    self.client_ended = true;
                    self.failure = self.codec.receive_end().err();
                    return match self.failure.take() {
                        // There is no target yet that could be told.
                        Some(failure @ Failure::Unfinished) => Err(Broke::Tls(failure)),
                        failure => {
                            self.failure = failure;
                            Ok(1)
                        }
                    };
                }
                Ok(came) => came,
                Err(Errno::AGAIN) => return Ok(0),
                Err(_) => return Err(Broke::Client),
            };
            self.cipher.commit(came);
        }
        let (before, handshaking) = (self.cipher.len(), !self.is_open());
        let result = self.codec.receive(&mut self.cipher, &mut self.to_target, room);
        self.codec.transmit(&mut self.to_client);
        if handshaking && self.is_open() && result.is_ok() {
            self.witness.opened(&self.codec);
        }
        match result {
            Ok(()) => {}
            Err(failure) if handshaking => return Err(Broke::Tls(failure)),
            Err(failure) => (self.client_ended, self.failure) = (true, Some(failure)),
        }
        self.client_ended |= self.codec.state() == State::PeerEnded;
        Ok(came.max(before - self.cipher.len()))
    }

    /// Receives from the target and encrypts.
    fn answer(&mut self, target: &OwnedFd) -> Result<usize, Broke> {
        if self.target_ended || self.to_client.len() >= ROOM {
            return Ok(0);
        }
        let mut plain = Buffer::with_capacity(PIECE);
        match socket::recv(target, plain.spare(), Wait::No) {
            Ok(came @ 1..) => {
                plain.commit(came);
                self.sent += came as u64;
                self.codec.send(&mut plain, &mut self.to_client);
                Ok(came)
            }
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) if errno != Errno::CONNRESET || !self.forgiving => Err(Broke::Target),
            Ok(_) | Err(_) => {
                self.target_ended = true;
                self.codec.close(&mut self.to_client);
                Ok(1)
            }
        }
    }
}

/// Whether both directions of a Unix socket are over at its other end (poll(2), `POLLHUP`).
fn has_left(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let looked = socket::retry(|| poll(&mut fds, Some(&Timespec::default())));
    looked.is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// Sends what the kernel takes.
fn drain(from: &mut Buffer, to: &OwnedFd) -> Result<usize, Errno> {
    let mut sent = 0;
    while !from.is_empty() {
        match socket::send(to, from.bytes(), Wait::No) {
            Ok(n) => {
                from.consume(n);
                sent += n;
            }
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(sent)
}
