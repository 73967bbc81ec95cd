//! From the socket to the output.

use super::{AfterEof, BUFFER, Receiving, Sending, Talk, Ways};
use crate::endpoint::Kind;
use crate::sys::{clock, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

impl Talk<'_> {
    /// Receives, when poll has called the socket readable or it has hung up.
    pub(super) fn receive(&mut self) {
        match self.pass_down() {
            Some(Ok(n @ 1..)) => {
                self.received += n as u64;
                self.moved = clock::now();
                return;
            }
            Some(answer) => return self.took(answer.map(|n| (n, n == 0))),
            None => {}
        }
        let answer = if self.is_message() {
            self.receive_message()
        } else {
            self.net.recv(self.down.spare()).map(|n| (n, n == 0))
        };
        self.took(answer);
    }

    /// What came of receiving: so many bytes, which are in the spare room of `down`, and whether that was the end instead.
    fn took(&mut self, answer: Result<(usize, bool), Errno>) {
        match answer {
            Ok((_, true)) => {
                self.receiving = Receiving::Ended;
                self.peer_ended = clock::now();
                self.decode_end();
                if self.after_eof() == AfterEof::Now {
                    self.input_open = false;
                }
            }
            Ok((n, false)) => {
                self.witness.received(&self.down.spare()[..n]);
                if self.is_dressed() {
                    self.decode(n);
                } else if self.rules.ways == Ways::Send {
                    self.written += n as u64;
                } else {
                    self.down.commit(n);
                }
                self.received += n as u64;
                self.messages_received += u64::from(self.is_message());
                self.moved = clock::now();
                if self.rules.count.is_some_and(|count| self.messages_received >= count && self.is_message())
                {
                    // Nothing more is wanted, so nothing more is asked.
                    self.receiving = Receiving::Stopped;
                    self.input_open = false;
                    self.empty_due = false;
                    self.up.clear();
                }
            }
            Err(Errno::AGAIN) if self.kind.is_datagram() => {
                // A datagram socket gives its error before what is queued; now nothing is left.
                if self.error.is_some() {
                    self.receiving = Receiving::Stopped;
                }
            }
            // Let poll decide again.
            Err(Errno::AGAIN) => self.hung_up = false,
            Err(errno) => self.receive_failed(errno),
        }
    }

    /// The bytes of one message, and whether it was the end instead.
    pub(super) fn receive_message(&mut self) -> Result<(usize, bool), Errno> {
        let mut room = BUFFER;
        if self.kind != Kind::Udp {
            // Unix sockets carry messages as large as the sender's buffer; this many bytes are queued.
            room = room.max(self.net.queued());
        }
        self.down.reserve(room);
        if let Some(addressee) = self.rules.addressee {
            let (n, from) = socket::recv_from(&self.net, self.down.spare())?;
            if let Some(from) = from {
                self.witness.came_from(from, addressee);
            }
            return Ok((n, false));
        }
        let n = self.net.recv_message(self.down.spare())?;
        // An empty message and the end look alike; only after the end is nothing queued and the peer gone.
        let end = n == 0 && self.kind == Kind::UnixSeqpacket && self.net.queued() == 0 && self.peer_is_gone();
        Ok((n, end))
    }

    pub(super) fn peer_is_gone(&mut self) -> bool {
        let mut event = [PollFd::new(&self.net, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut event, Some(&at_once)), Ok(1))
    }

    pub(super) fn receive_failed(&mut self, errno: Errno) {
        self.error.get_or_insert(errno);
        self.input_open = false;
        self.sending = if self.sending == Sending::Open { Sending::Broken } else { self.sending };
        if self.kind.is_datagram() {
            // More may be queued behind the error.
            self.hung_up = true;
        } else {
            self.receiving = Receiving::Stopped;
        }
    }

    /// Writes what was received, until the output takes no more.
    pub(super) fn flush_down(&mut self) {
        self.refresh();
        while self.output_error.is_none() && !self.output_full && !self.down.is_empty() {
            match self.output_nature.write(self.output, self.down.bytes()) {
                Ok(n) => {
                    self.down.consume(n);
                    if !self.is_dressed() {
                        self.written += n as u64;
                    } else if self.down.is_empty() {
                        // Bytes here and bytes that came are not the same; all are out when none is left.
                        self.written = self.received;
                    }
                    self.moved = clock::now();
                    self.output_full = self.output_nature.must_poll();
                }
                Err(Errno::AGAIN) => self.output_full = true,
                Err(errno) => {
                    self.output_error = Some(errno);
                    self.output_failed = clock::now();
                    self.receiving = Receiving::Stopped;
                    self.input_open = false;
                    self.down.clear();
                }
            }
        }
    }
}
