//! From the input to the socket.

use super::{BUFFER, DATAGRAM, Receiving, Sending, Talk, Way, Ways};
use crate::sys::{clock, socket};
use rustix::io::Errno;
use std::thread;
use std::time::Duration;
use switchboard_proto::Line;

impl Talk<'_> {
    pub(super) fn is_message(&self) -> bool {
        !self.kind.is_stream()
    }

    /// Bytes that can be sent now: for messages, those of the next one.
    pub(super) fn pending(&mut self) -> usize {
        if !(self.rules.by_line && self.is_message()) {
            return self.up.len();
        }
        match self.up.line(DATAGRAM) {
            Line::Complete(n) => n,
            Line::TooLong => DATAGRAM,
            // The last line may lack its line feed.
            Line::Partial if self.input_open => 0,
            Line::Partial => self.up.len(),
        }
    }

    /// Reads from the input, which poll has called readable.
    pub(super) fn fill(&mut self) {
        if self.way_up == Way::Short {
            self.input_ready = true;
            return;
        }
        let dressed = self.is_dressed();
        let limit = if self.kind.is_datagram() { DATAGRAM } else { BUFFER };
        self.up.reserve(limit);
        let spare = &mut self.up.spare()[..limit];
        match self.input_nature.read(self.input, spare) {
            Ok(0) => {
                self.input_open = false;
                self.encode_end();
            }
            Ok(n) if dressed => {
                let typed = spare[..n].to_vec();
                self.encode(&typed);
                self.input_moved = clock::now();
            }
            Ok(n) => {
                if self.rules.crlf {
                    let lines = with_returns(&spare[..n], self.last_was_return);
                    self.last_was_return = spare[n - 1] == b'\r';
                    self.up.push(&lines);
                } else {
                    self.up.commit(n);
                }
                if self.way_up == Way::Undecided && n == limit {
                    self.way_up = Way::Short;
                }
                self.input_moved = clock::now();
            }
            Err(Errno::AGAIN) => {}
            Err(errno) => {
                self.input_open = false;
                self.input_error = Some(errno);
            }
        }
    }

    /// Sends what there is, until the socket takes no more.
    pub(super) fn flush_up(&mut self) {
        if self.net.has_output() && self.sending != Sending::Broken && !self.net_full {
            match self.net.flush() {
                Ok(()) => self.moved = clock::now(),
                Err(Errno::AGAIN) => self.net_full = true,
                Err(errno) => self.send_failed(errno),
            }
        }
        if self.way_up == Way::Short && self.up.is_empty() {
            return self.pass_up();
        }
        while self.sending == Sending::Open && !self.net_full {
            self.answer_commands();
            let mut pending = self.pending();
            if pending == 0 && !self.empty_due {
                return;
            }
            let now = clock::now();
            let allowed = self.pace.allowed(&self.up.bytes()[..pending], now);
            if allowed == 0 && !self.empty_due {
                return;
            }
            // A message is whole or none.
            pending = if self.is_message() { pending } else { allowed };
            let answer = if self.is_message() {
                let message = if self.empty_due { &[] } else { &self.up.bytes()[..pending] };
                match &self.rules.addressee {
                    Some(to) => socket::send_to(&self.net, message, to),
                    None => socket::send_message(&self.net, message),
                }
            } else {
                self.net.send(&self.up.bytes()[..pending])
            };
            match answer {
                Ok(n) => {
                    self.messages_sent += u64::from(self.is_message());
                    if self.empty_due {
                        self.empty_due = false;
                    } else {
                        let bytes = &self.up.bytes()[..n];
                        self.pace.left(bytes, now);
                        self.witness.sent(bytes);
                        self.up.consume(n);
                    }
                    self.sent += n as u64;
                    self.moved = clock::now();
                    self.input_moved = self.moved;
                }
                Err(Errno::AGAIN) => self.net_full = true,
                // The device's queue is full; poll(2) does not know when it has room again.
                Err(Errno::NOBUFS) if self.is_message() => {
                    thread::sleep(Duration::from_millis(1));
                    self.net_full = true;
                }
                Err(errno) => self.send_failed(errno),
            }
        }
    }

    pub(super) fn send_failed(&mut self, errno: Errno) {
        self.sending = Sending::Broken;
        self.input_open = false;
        // EPIPE: the peer has ended the connection, which the receiving side will see. Every other error is one
        // that the socket gives only once, so this is the place to remember it.
        if errno != Errno::PIPE || self.kind.is_datagram() {
            self.error.get_or_insert(errno);
        }
        // What came before the error is still received: of a stream until its end, of datagrams what is queued.
        self.hung_up |= self.kind.is_datagram();
    }

    /// When the input has ended and all of it was sent, tells the peer.
    pub(super) fn finish_if_all_sent(&mut self) {
        if self.sending != Sending::Open || self.input_open || self.empty_due || !self.up.is_empty() {
            if self.sending == Sending::Broken {
                self.companions.half_close();
            }
            return;
        }
        if self.rules.ways == Ways::Receive && self.telnet.is_some() && self.receiving == Receiving::Open {
            // There is no input, but there are answers to give.
            return;
        }
        self.sending = Sending::Finished;
        self.finished = clock::now();
        self.received_when_finished = self.received;
        if self.rules.ways == Ways::Send && self.receiving == Receiving::Open {
            self.receiving = Receiving::Stopped;
        }
        if self.rules.half_close && self.rules.ways != Ways::Receive && !self.kind.is_datagram() {
            match self.net.finish() {
                Ok(()) => {}
                Err(Errno::AGAIN) => self.net_full = true,
                // Everything else was sent; what became of it is known to the kernel.
                Err(_) => {}
            }
            self.companions.half_close();
        }
    }
}

/// A carriage return before each line feed that has none. `after_return`: the byte before these was one.
pub(super) fn with_returns(bytes: &[u8], after_return: bool) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    let mut before = if after_return { b'\r' } else { 0 };
    for byte in bytes {
        if *byte == b'\n' && before != b'\r' {
            lines.push(b'\r');
        }
        lines.push(*byte);
        before = *byte;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::with_returns;

    #[test]
    fn returns_are_added_and_never_doubled() {
        for (bytes, after, wanted) in [
            (&b"a\nb\r\n\n"[..], false, &b"a\r\nb\r\n\r\n"[..]),
            (b"\n", true, b"\n"),
            (b"\n", false, b"\r\n"),
            (b"\r", false, b"\r"),
            (b"", true, b""),
        ] {
            assert_eq!(with_returns(bytes, after), wanted);
        }
    }
}
