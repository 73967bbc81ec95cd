//! One process for each datagram: its payload on descriptor 0, to the end; what it writes to 1, to the end, goes back
//! as one datagram, from the address that was asked.
//!
//! Only one datagram is taken at a time, when there is a process for it: whatever else is queued stays there.

use super::arrivals::FIRST_PAUSE;
use super::environment::Client;
use super::launcher::Standard;
use super::processes::{Process, Purpose, Stage};
use super::worker::{READ, WRITE, Worker, tag, token};
use crate::engine::readiness::Waiter;
use crate::introduction::Introduction;
use crate::journal::Warning;
use crate::peer::{Peer, canonical};
use crate::sys::mmsg::Batch;
use crate::sys::socket;
use crate::tally::Counters;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::time::Duration;
use switchboard_proto::Instant;

/// The longest answer: the payload of a UDP datagram over IPv4.
const LONGEST: usize = 65_507;
/// From a datagram to its answer; then the program is asked to end.
const LONGEST_TIME: Duration = Duration::from_secs(30);
/// Datagrams taken at one door before others get their turn.
const TURN: usize = 64;

/// A datagram that is being answered.
pub(super) struct Exchange {
    door: usize,
    /// One slot: who sent it, where to, and the answer so far.
    datagram: Batch,
    /// Where the program reads it, until it is written, and how much is.
    input: Option<(OwnedFd, usize)>,
    output: OwnedFd,
    /// The answer has become too long.
    overflowed: bool,
    late_at: Instant,
}

impl Worker<'_> {
    /// A datagram has come.
    pub(super) fn on_datagram(&mut self, number: usize) {
        for _ in 0..TURN {
            if !self.is_open() {
                return;
            }
            let Some(Some(door)) = self.doors.get(number) else { return };
            let mut datagram = self.spare.pop().unwrap_or_else(Batch::one);
            match datagram.receive(door) {
                Ok(_) => {}
                Err(errno) => {
                    self.spare.push(datagram);
                    // Others are errors of an earlier answer, told here (ECONNREFUSED): the next call goes on.
                    if errno == Errno::AGAIN {
                        return;
                    }
                    continue;
                }
            }
            Counters::add(&self.site.counters.datagrams_in, 1);
            let source = datagram.slots(1)[0].source();
            let mut peer = source.map_or(Peer::Unknown, |source| Peer::Inet(canonical(source)));
            let mut introduction = None;
            if let Some(upstreams) = &self.site.upstreams {
                match upstreams.take_from(&mut datagram.slots(1)[0].request, peer) {
                    Ok(said) => introduction = said,
                    Err(_) => {
                        Counters::add(&self.site.counters.datagrams_unintroduced, 1);
                        self.spare.push(datagram);
                        continue;
                    }
                }
            }
            peer = introduction.as_ref().map_or(peer, |said| said.client());
            if let Some(warden) = &self.site.warden
                && let Some(refusal) = warden.judge_datagram(peer, door, self.now)
            {
                let counters = self.site.counters;
                let counter =
                    if refusal.denied { &counters.datagrams_denied } else { &counters.datagrams_limited };
                Counters::add(counter, 1);
                self.spare.push(datagram);
                continue;
            }
            self.answer(number, datagram, peer, introduction);
        }
    }

    fn answer(&mut self, door: usize, datagram: Batch, peer: Peer, introduction: Option<Box<Introduction>>) {
        let id = self.site.number();
        let Some((slot, pipe)) = self.prepare(id, peer, 0) else { return self.drop_datagram(datagram) };
        let pipes = pipe_with(PipeFlags::CLOEXEC)
            .and_then(|input| pipe_with(PipeFlags::CLOEXEC).map(|output| (input, output)));
        let ((their_input, input), (output, their_output)) = match pipes {
            Ok(pipes) => pipes,
            Err(errno) => {
                self.settle_start(slot, Err(errno));
                return self.drop_datagram(datagram);
            }
        };
        // Only our ends: the program expects blocking ones.
        let _ = rustix::io::ioctl_fionbio(&input, true);
        let _ = rustix::io::ioctl_fionbio(&output, true);
        let local = self.site.listeners[door].local().clone();
        let client = Client {
            id,
            peer,
            socket: None,
            local: &local,
            names: None,
            settings: &[],
            introduction: introduction.as_deref(),
        };
        let started = self.launcher.start(
            &self.site.program,
            self.site.id,
            &client,
            Standard::Pipes { input: their_input.as_fd(), output: their_output.as_fd() },
            pipe.as_ref().map(|(_, writer)| writer),
            self.site.register.places(slot),
        );
        let Some(pid) = self.settle_start(slot, started) else { return self.drop_datagram(datagram) };
        drop((their_input, their_output));
        self.pause = FIRST_PAUSE;
        let process = Process {
            pid,
            slot,
            id,
            peer,
            local,
            came: self.now,
            waited: Duration::ZERO,
            stage: Stage::Running,
            client: None,
            ask_at: Instant::NEVER,
            pidfd: None,
            ticket: None,
            told: None,
            purpose: Purpose::Datagram,
            introduction,
            tree: self.launcher.tree(id),
        };
        let number = self.add_process(process);
        self.listen_to(number, pipe, id);
        let late_at = self.now + LONGEST_TIME;
        let exchange =
            Exchange { door, datagram, input: Some((input, 0)), output, overflowed: false, late_at };
        let watched = self.waiting.add(exchange.output.as_fd(), token(tag::OUTPUT, number), READ);
        self.exchanges.insert(number, exchange);
        self.timers.schedule(number, late_at);
        if watched.is_err() {
            return self.end_exchange(number);
        }
        self.feed(number);
    }

    /// There was nothing to answer it with. What is queued behind it stays there until there is.
    fn drop_datagram(&mut self, datagram: Batch) {
        Counters::add(&self.site.counters.datagrams_unsent, 1);
        self.spare.push(datagram);
    }

    /// Writes what there is room for. A pipe has room for any datagram, unless its user has too many pipes (pipe(7)).
    pub(super) fn feed(&mut self, number: u64) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        let Some((input, written)) = &mut exchange.input else { return };
        let was_full = *written > 0;
        let bytes = exchange.datagram.slots(1)[0].request.bytes();
        let done = loop {
            if *written == bytes.len() {
                break true;
            }
            match socket::retry(|| rustix::io::write(&*input, &bytes[*written..])) {
                Ok(n) => *written += n,
                Err(Errno::AGAIN) => break false,
                // It does not want to read it.
                Err(_) => break true,
            }
        };
        let token = token(tag::INPUT, number);
        if done {
            if was_full {
                self.waiting.remove(input.as_fd(), token);
            }
            exchange.input = None;
        } else if !was_full && self.waiting.add(input.as_fd(), token, WRITE).is_err() {
            exchange.input = None;
        }
    }

    /// The program has written, or has closed its output: then the answer is whole.
    pub(super) fn take_answer(&mut self, number: u64) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        let slot = &mut exchange.datagram.slots(1)[0];
        let mut bytes = [0; 16 * 1024];
        loop {
            match socket::retry(|| rustix::io::read(&exchange.output, &mut bytes)) {
                Ok(0) => break,
                Ok(n) if slot.answer.len() + n > LONGEST => exchange.overflowed = true,
                Ok(n) => slot.answer.push(&bytes[..n]),
                Err(Errno::AGAIN) => return,
                Err(_) => break,
            }
        }
        self.send_answer(number);
        self.end_exchange(number);
    }

    fn send_answer(&mut self, number: u64) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        let slot = &mut exchange.datagram.slots(1)[0];
        if exchange.overflowed {
            self.site.journal.warn(Warning::Program, self.now, &|| {
                format!("{}: an answer longer than {LONGEST} bytes was not sent", self.site.id)
            });
        }
        if slot.answer.is_empty() || exchange.overflowed || !slot.has_return_address() {
            return;
        }
        slot.answered = true;
        let Some(Some(door)) = self.doors.get(exchange.door) else { return };
        let sent = exchange.datagram.send(door, 0, 1).1.is_ok();
        let counters = self.site.counters;
        Counters::add(if sent { &counters.datagrams_out } else { &counters.datagrams_unsent }, 1);
    }

    /// Whether the time for an answer is over; the program is then asked to end.
    pub(super) fn is_late(&self, number: u64) -> bool {
        self.exchanges.get(&number).is_some_and(|exchange| exchange.late_at <= self.now)
    }

    pub(super) fn end_exchange(&mut self, number: u64) {
        let Some(exchange) = self.exchanges.remove(&number) else { return };
        self.waiting.remove(exchange.output.as_fd(), token(tag::OUTPUT, number));
        if let Some((input, 1..)) = &exchange.input {
            self.waiting.remove(input.as_fd(), token(tag::INPUT, number));
        }
        /// Buffers kept for the next datagrams.
        const SPARE: usize = 16;
        if self.spare.len() < SPARE {
            self.spare.push(exchange.datagram);
        }
    }
}
