//! Streams: bytes as fast as they go.

use super::client::{Line, State};
use super::{Worker, clock, record};
use crate::load::tally::Trouble;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

/// Bytes that one connection may send, and get, until the others have their turn.
const TURN_BYTES: usize = 256 << 10;

impl Worker<'_> {
    pub(super) fn stream(&mut self, place: usize, flags: EventFlags) {
        // Input first: a peer that sends back stops taking when nobody listens to it.
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP) {
            self.drain(place);
        }
        if flags.contains(EventFlags::OUT) {
            self.pump(place);
        }
    }

    /// Takes what has come.
    fn drain(&mut self, place: usize) {
        let is_measured = self.schedule.is_measured(self.now);
        let mut turn = 0;
        loop {
            let client = &mut self.clients[place];
            let State::Open(channel, _) = &mut client.state else { return };
            let Line::Stream(flow) = &mut client.line else { return };
            if turn >= TURN_BYTES && !channel.has_input() {
                return;
            }
            let n = match channel.recv(&mut self.bytes) {
                Ok(0) => return self.fail(place, Trouble::Closed),
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.break_off(place, errno),
            };
            // The epoll knows nothing of what TLS has read already.
            let is_all = n < self.bytes.len() && !channel.has_input();
            if let Err(wrong) = flow.stream.hear(&self.bytes[..n]) {
                self.tally.complaint.get_or_insert(wrong.how);
                return self.fail(place, Trouble::WrongContent);
            }
            turn += n;
            if is_measured {
                self.tally.bytes_down += n as u64;
            }
            if let Some((_, sent)) = flow.mark.filter(|(byte, _)| flow.stream.returned() > *byte) {
                flow.mark = None;
                if sent >= self.schedule.from {
                    record(&mut self.tally.service, clock::now().since(sent));
                }
            }
            if is_all {
                return;
            }
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn pump(&mut self, place: usize) {
        use switchboard_proto::workload::Direction::{Both, Down};
        let is_measured = self.schedule.is_measured(self.now);
        let direction = self.plan.direction();
        if direction == Some(Down) || self.now >= self.schedule.end {
            return;
        }
        let mut turn = 0;
        while turn < TURN_BYTES {
            let client = &mut self.clients[place];
            let State::Open(channel, _) = &mut client.state else { return };
            let Line::Stream(flow) = &mut client.line else { return };
            let n = match channel.send(flow.stream.chunk()) {
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.break_off(place, errno),
            };
            flow.stream.sent(n);
            turn += n;
            if is_measured {
                self.tally.bytes_up += n as u64;
            }
            if flow.mark.is_none() && direction == Some(Both) {
                flow.mark = Some((flow.stream.position() - 1, clock::now()));
            }
        }
    }
}
