//! Requests and answers on streams, in their order: connections that stay, that serve once, that are held.

use super::client::{Asked, State};
use super::{LATE, Worker, clock, record};
use crate::load::tally::Trouble;
use rustix::io::Errno;
use std::cmp::Reverse;
use switchboard_proto::{Instant, Shape};

/// Input that is compared in less time than it takes to read the clock again: the next request starts when its answer
/// came, bytes.
const SHORT: usize = 1_024;

impl Worker<'_> {
    /// Starts the requests that are due, as far as there are connections. Whoever `had_free` ones before it slept was to
    /// wake in time for the first: if that starts late, so does everything that was due meanwhile, and it is our fault.
    pub(super) fn start_due(&mut self, had_free: bool) {
        let mut is_first = had_free;
        while !self.free.is_empty() {
            let due = self.schedule.due(self.issued);
            if due > self.now || due >= self.schedule.end {
                return;
            }
            let Some(place) = self.free.pop_front() else { return };
            self.clients[place].is_free = false;
            if !self.can_take(place) {
                continue;
            }
            self.issued += 1;
            let is_late = self.now.since(due) > LATE;
            if std::mem::take(&mut is_first) && is_late {
                self.overslept_until = self.now;
            }
            if is_late && due < self.overslept_until && due >= self.schedule.from {
                self.tally.late += 1;
            }
            if self.shape == Shape::Packets {
                self.send_packet(place, due);
            } else {
                self.ask(place, due, clock::now());
                self.flush(place);
            }
            self.offer(place);
        }
    }

    fn can_take(&self, place: usize) -> bool {
        let client = &self.clients[place];
        let Some(requests) = client.requests() else { return self.can_take_packet(place) };
        match (self.shape, &client.state) {
            (Shape::Stay, State::Open(..)) => {
                requests.asked.len() < self.plan.depth && requests.dialogue.is_ready()
            }
            (Shape::Once, State::Off) => !client.is_resting,
            _ => false,
        }
    }

    /// In an open loop it waits for its turn, as long as there are any.
    pub(super) fn wait_for_turn(&mut self, place: usize) {
        if self.can_take(place) && !self.clients[place].is_free && !self.is_closed {
            self.clients[place].is_free = true;
            self.free.push_back(place);
        }
    }

    /// A connection that can take requests: in a closed loop it asks at once.
    pub(super) fn offer_request(&mut self, place: usize) {
        if self.is_open_loop() {
            return self.wait_for_turn(place);
        }
        // The clock is read anew: what was done for other connections of this round is not this request's time.
        self.ask_at(place, clock::now());
    }

    /// In a closed loop: asks at `now`, if it can take requests.
    fn ask_at(&mut self, place: usize, now: Instant) {
        let mut is_asked = false;
        while now < self.schedule.end && self.can_take(place) {
            self.ask(place, now, now);
            is_asked = true;
            if self.shape == Shape::Once {
                break;
            }
        }
        if is_asked {
            self.flush(place);
        }
    }

    /// Puts a request in the queue of its connection, and makes that if there is to be one for each.
    fn ask(&mut self, place: usize, intended: Instant, started: Instant) {
        if intended >= self.schedule.from {
            self.tally.started += 1;
        }
        let asked = Asked { intended, started, first_byte_seen: false };
        let is_bare = self.is_bare();
        let client = &mut self.clients[place];
        if client.out.capacity() == 0 {
            client.out = std::mem::take(&mut self.spare);
        }
        let out = &mut client.out;
        let super::client::Line::Requests(requests) = &mut client.line else { return };
        requests.asked.push_back(asked);
        if !is_bare {
            requests.dialogue.ask(out);
        }
        if self.shape == Shape::Once {
            self.connect(place);
        }
    }

    /// Whether the connection is all.
    fn is_bare(&self) -> bool {
        self.shape == Shape::Once
            && self.plan.errand.sizes.bounds().1 == 0
            && self.plan.errand.script.is_none()
    }

    /// A connection was made.
    pub(super) fn greet(&mut self, place: usize, now: Instant) {
        if self.is_bare() {
            return self.answered(place, now);
        }
        let client = &mut self.clients[place];
        let out = &mut client.out;
        let super::client::Line::Requests(requests) = &mut client.line else { return };
        requests.dialogue.begin(out);
        let is_ready = requests.dialogue.is_ready();
        match self.shape {
            Shape::Hold => {
                self.ask(place, now, now);
                self.flush(place);
            }
            Shape::Stay if is_ready => self.offer_request(place),
            _ => self.flush(place),
        }
    }

    pub(super) fn read(&mut self, place: usize) {
        loop {
            let client = &mut self.clients[place];
            let State::Open(channel, _) = &mut client.state else { return };
            let super::client::Line::Requests(requests) = &mut client.line else { return };
            let was_ready = requests.dialogue.is_ready();
            let n = match channel.recv(&mut self.bytes) {
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.break_off(place, errno),
            };
            // The epoll knows nothing of what TLS has read already.
            let is_all = n < self.bytes.len() && !channel.has_input();
            let is_cut_short = n == 0 && channel.failure().is_some();
            let now = clock::now();
            if self.schedule.is_measured(now) {
                self.tally.bytes_down += n as u64;
            }
            let heard = if n > 0 {
                requests.dialogue.hear(&self.bytes[..n], &mut client.out)
            } else {
                match requests.dialogue.hear_end() {
                    // The end of the connection is that of the answer: nobody knows where that would have been.
                    Some(_) if is_cut_short => return self.break_off(place, Errno::PROTO),
                    Some(answers) => Ok(answers),
                    None => return self.fail(place, Trouble::Closed),
                }
            };
            let became_ready = !was_ready && requests.dialogue.is_ready();
            let answers = match heard {
                Ok(answers) => answers,
                Err(wrong) => {
                    let mut how = wrong.how;
                    if self.plan.secure.is_none() && is_tls(&self.bytes[..n]) {
                        how += "; that is how TLS begins, which is spoken with tls: before the address";
                    }
                    self.tally.complaint.get_or_insert(how);
                    return self.fail(place, Trouble::WrongContent);
                }
            };
            self.now = now;
            for _ in 0..answers {
                self.answered(place, now);
            }
            self.first_byte(place, now);
            if self.clients[place].written < self.clients[place].out.len() {
                // A script says more.
                self.flush(place);
            }
            if answers > 0 || became_ready {
                if !self.is_open_loop() && !self.plan.think_time.is_zero() && answers > 0 {
                    self.clients[place].is_resting = true;
                    self.timers.push(Reverse((now + self.plan.think_time, place)));
                } else if !self.is_open_loop() && n <= SHORT {
                    self.ask_at(place, now);
                } else {
                    self.offer_request(place);
                }
            }
            if is_all {
                return;
            }
        }
    }

    /// A part of an answer has come, or none.
    fn first_byte(&mut self, place: usize, now: Instant) {
        let from = self.schedule.from;
        let Some(requests) = self.clients[place].requests_mut() else { return };
        let oldest = requests.asked.front_mut().filter(|asked| !asked.first_byte_seen);
        let Some(asked) = oldest.filter(|_| requests.dialogue.is_within_answer()) else { return };
        asked.first_byte_seen = true;
        if asked.intended >= from {
            record(&mut self.tally.first_byte, now.since(asked.started));
        }
    }

    /// The oldest request of the connection has its answer.
    fn answered(&mut self, place: usize, now: Instant) {
        let Some(requests) = self.clients[place].requests_mut() else { return };
        let Some(asked) = requests.asked.pop_front() else { return };
        if self.is_counted(asked, now) {
            let is_at_once = !asked.first_byte_seen && !self.is_bare();
            let times = if is_at_once { &mut self.at_once } else { &mut self.tally.service };
            record(times, now.since(asked.started));
        }
        match self.shape {
            Shape::Once => {
                if self.is_bare() {
                    return self.part(place);
                }
                self.clients[place].disconnect();
            }
            Shape::Hold => {
                let was_made = std::mem::replace(&mut self.clients[place].is_made, true);
                self.unmade -= usize::from(!was_made);
            }
            _ => {}
        }
    }

    /// Counts an answer; whether its times are those of a request of the measured time.
    pub(super) fn is_counted(&mut self, asked: Asked, now: Instant) -> bool {
        // A rate is what comes in a time, whenever it was asked for: only what was asked within would be too few where
        // answers take long.
        self.tally.in_time += u64::from(now >= self.schedule.from && now <= self.schedule.end);
        if asked.intended < self.schedule.from {
            return false;
        }
        if self.is_open_loop() {
            record(&mut self.tally.response, now.since(asked.intended));
        }
        true
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self, place: usize) {
        let is_measured = self.schedule.is_measured(self.now);
        let client = &mut self.clients[place];
        let State::Open(channel, _) = &mut client.state else { return };
        while client.written < client.out.len() {
            match channel.send(&client.out[client.written..]) {
                Ok(n) => {
                    client.written += n;
                    self.tally.bytes_up += if is_measured { n as u64 } else { 0 };
                }
                Err(Errno::AGAIN) => break,
                Err(errno) => return self.break_off(place, errno),
            }
        }
        if channel.has_output()
            && let Err(errno) = channel.flush()
            && errno != Errno::AGAIN
        {
            return self.break_off(place, errno);
        }
        let is_taken = client.written == client.out.len();
        let is_full = !is_taken || channel.has_output();
        if is_taken {
            client.out.clear();
            client.written = 0;
            if self.spare.capacity() == 0 {
                self.spare = std::mem::take(&mut client.out);
            }
        }
        if let Err(errno) = self.watch_room(place, is_full) {
            self.fail(place, Trouble::of(errno));
        }
    }

    /// Connections that are held: from when the last one was made the time runs, and at its end every one must answer.
    pub(super) fn look_after_held(&mut self) {
        if self.schedule.end == Instant::NEVER && self.unmade == 0 {
            self.schedule.end = self.now + self.plan.duration;
        }
        if self.now < self.schedule.end || self.is_last_asked {
            return;
        }
        self.is_last_asked = true;
        for place in 0..self.clients.len() {
            if matches!(self.clients[place].state, State::Open(..)) && self.clients[place].is_quiet() {
                self.ask(place, self.now, clock::now());
                self.flush(place);
            }
        }
    }
}

/// Whether these bytes begin as a TLS record does that an unasked server may send, an alert or a handshake (RFC 8446 §5.1).
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [21 | 22, 3, ..])
}
