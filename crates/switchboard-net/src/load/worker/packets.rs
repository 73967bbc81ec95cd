//! Datagrams: requests that may be lost, doubled, or overtaken.

use super::client::{Asked, State};
use super::{Worker, clock, record};
use crate::load::tally::Trouble;
use crate::sys::socket;
use rustix::io::Errno;
use std::cmp::Reverse;
use switchboard_proto::Instant;
use switchboard_proto::workload::Arrival;

/// Datagrams that one socket may get until the others have their turn.
const TURN: usize = 64;

impl Worker<'_> {
    pub(super) fn can_take_packet(&self, place: usize) -> bool {
        let client = &self.clients[place];
        let super::client::Line::Packets(packets) = &client.line else { return false };
        matches!(client.state, State::Open(..))
            && !client.is_resting
            && client.out.is_empty()
            && packets.waiting() < self.plan.depth
    }

    /// A socket that may be able to take more: in a closed loop it sends at once.
    pub(super) fn offer_packet(&mut self, place: usize) {
        if self.is_open_loop() {
            return self.wait_for_turn(place);
        }
        while self.now < self.schedule.end && self.can_take_packet(place) {
            self.send_packet(place, self.now);
        }
    }

    pub(super) fn send_packet(&mut self, place: usize, intended: Instant) {
        if intended >= self.schedule.from {
            self.tally.started += 1;
        }
        let asked = Asked { intended, started: clock::now(), first_byte_seen: false };
        let client = &mut self.clients[place];
        let super::client::Line::Packets(packets) = &mut client.line else { return };
        packets.ask(&mut client.out, asked);
        self.push_packet(place);
    }

    /// Sends the datagram that waits, if the socket takes it.
    fn push_packet(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let State::Open(channel, _) = &client.state else { return };
        if client.out.is_empty() {
            return;
        }
        let sent = socket::send_message(channel, &client.out);
        let is_full = matches!(sent, Err(Errno::AGAIN | Errno::NOBUFS));
        if !is_full {
            client.out.clear();
        }
        if let Ok(n) = sent
            && self.schedule.is_measured(self.now)
        {
            self.tally.bytes_up += n as u64;
        }
        let watched = self.watch_room(place, is_full);
        if let Err(errno) = if is_full { watched } else { sent.map(|_| ()).and(watched) } {
            self.fail(place, Trouble::of(errno));
        }
    }

    pub(super) fn receive(&mut self, place: usize) {
        self.push_packet(place);
        for _ in 0..TURN {
            let client = &mut self.clients[place];
            let State::Open(channel, _) = &client.state else { return };
            let n = match socket::recv_message(channel, &mut self.bytes) {
                Ok(n) => n,
                Err(Errno::AGAIN) => break,
                Err(errno) => return self.fail(place, Trouble::of(errno)),
            };
            let now = clock::now();
            let from = self.schedule.from;
            if self.schedule.is_measured(now) {
                self.tally.bytes_down += n as u64;
            }
            let Some(packets) = client.packets_mut() else { return };
            match packets.hear(&self.bytes[..n]) {
                Ok(Arrival::Answer { asked, is_reordered }) => {
                    if asked.intended >= from {
                        self.tally.reordered += u64::from(is_reordered);
                    }
                    if self.is_counted(asked, now) {
                        record(&mut self.tally.service, now.since(asked.started));
                    }
                }
                // What was asked in the warm-up is not counted whenever it comes, as it is not counted among the lost.
                Ok(Arrival::Doubled(asked)) => self.tally.doubled += u64::from(asked.intended >= from),
                Ok(Arrival::Late(asked)) => self.tally.too_late += u64::from(asked.intended >= from),
                Ok(Arrival::Forgotten) => {}
                Ok(Arrival::Damaged(asked, wrong)) => {
                    self.tally.complaint.get_or_insert(wrong.how);
                    self.tally.errors[Trouble::WrongContent as usize] += u64::from(asked.intended >= from);
                }
                Err(wrong) => {
                    self.tally.complaint.get_or_insert(wrong.how);
                    self.tally.errors[Trouble::WrongContent as usize] += u64::from(now >= from);
                }
            }
            self.now = now;
        }
        if !self.is_open_loop() && !self.plan.think_time.is_zero() {
            self.clients[place].is_resting = true;
            self.timers.push(Reverse((self.now + self.plan.think_time, place)));
        } else {
            self.offer_packet(place);
        }
    }

    /// Gives up the datagrams of a socket that have waited for too long.
    pub(super) fn give_up(&mut self, place: usize) {
        let (now, timeout, from) = (self.now, self.plan.timeout, self.schedule.from);
        let Some(packets) = self.clients[place].packets_mut() else { return };
        if packets.waiting() == 0 {
            return;
        }
        let mut lost = 0;
        packets.give_up(
            |asked| now.since(asked.started) >= timeout,
            |asked| lost += u64::from(asked.intended >= from),
        );
        self.tally.errors[Trouble::Lost as usize] += lost;
        self.offer_packet(place);
    }
}
