//! [`Mover`]: the wire's thread, which moves packets between the hosts' ports and the fabric.

use crate::record::{Event, HostId, Nanos, What};
use crate::wire::fabric::Fabric;
use crate::wire::frame::Frame;
use crate::wire::port::{Arrival, Port};
use crate::wire::trigger::{self, Trigger};
use crate::wire::{Order, Sink, hardware, neighbour, now};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::mpsc::Receiver;

/// Packets read from one port before others get their turn.
pub(super) const TURN: usize = 64;

/// Moves packets between ports and fabric.
pub(super) struct Mover {
    pub(super) fabric: Fabric,
    exact: bool,
    sink: Sink,
    /// Becomes readable when the next packet is due. The time-out of poll(2) would be late by a thousandth of itself:
    /// the kernel takes that much for slack, whatever PR_SET_TIMERSLACK says.
    clock: OwnedFd,
    armed_for: Option<Nanos>,
    pub(super) ports: Vec<(HostId, Port)>,
    pub(super) triggers: Vec<Trigger>,
    /// Buffers of long packets that have arrived.
    spare: Vec<Vec<u8>>,
    pub(super) closing: bool,
}

impl Mover {
    /// With no port yet.
    pub(super) fn new(fabric: Fabric, exact: bool, sink: Sink) -> io::Result<Mover> {
        let clock =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Mover {
            fabric,
            exact,
            sink,
            clock,
            armed_for: None,
            ports: Vec::new(),
            triggers: Vec::new(),
            spare: Vec::new(),
            closing: false,
        })
    }

    /// Until it is closing.
    pub(super) fn run(mut self, orders: &Receiver<Order>, wake: &OwnedFd) {
        let mut scratch = Vec::new();
        while !self.closing {
            self.hand_over();
            self.report();
            let ready = self.wait(wake);
            if ready.first() == Some(&true) {
                let _ = rustix::io::read(wake, &mut [0_u8; 8]);
                while let Ok(order) = orders.try_recv() {
                    order(&mut self);
                }
                // The ports may be others now.
                continue;
            }
            for at in (0..self.ports.len()).filter(|at| ready.get(at + 1) == Some(&true)).rev() {
                self.take(at, &mut scratch);
            }
        }
        self.report();
    }

    /// Hands over what is due.
    fn hand_over(&mut self) {
        while let Some(mut arriving) = self.fabric.deliver(now()) {
            let port = self.ports.iter().find(|(host, _)| *host == arriving.to);
            let sender = arriving.from.map(hardware);
            let failure = match port.map(|(_, port)| port.write(&mut arriving.frame, sender)) {
                None => Some("host is down".to_owned()),
                Some(Ok(())) => None,
                Some(Err(Errno::AGAIN | Errno::NOBUFS)) => Some("the host's queue is full".to_owned()),
                Some(Err(error)) => Some(format!("the host's interface does not take it: {error}")),
            };
            self.fabric.delivered(now(), &arriving, failure);
            if let Some(buffer) = arriving.frame.into_long_buffer().filter(|_| self.spare.len() < TURN) {
                self.spare.push(buffer);
            }
            self.report();
        }
    }

    /// Tells what was seen, and does what it triggers, which may be seen in turn.
    fn report(&mut self) {
        loop {
            let events = self.fabric.events();
            if events.is_empty() {
                return;
            }
            for event in events {
                let acts = trigger::show(&mut self.triggers, &event);
                (self.sink)(event);
                for act in &acts {
                    self.fabric.act(now(), act);
                }
            }
        }
    }

    /// Waits for orders (the first), for ports (the rest), or until something is due.
    fn wait(&mut self, wake: &OwnedFd) -> Vec<bool> {
        self.arm();
        let mut on = vec![PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
        on.extend(self.ports.iter().map(|(_, port)| PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN)));
        on.push(PollFd::from_borrowed_fd(self.clock.as_fd(), PollFlags::IN));
        match poll(&mut on, None) {
            Ok(_) => on[..=self.ports.len()].iter().map(|on| !on.revents().is_empty()).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Sets the clock to the next packet.
    fn arm(&mut self) {
        let due = self.fabric.due();
        if self.armed_for == due {
            return;
        }
        // Setting it also takes back that it was readable. Zero would mean never.
        let at = due.map_or(0, |due| due.max(1));
        let it_value = Timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        if timerfd_settime(&self.clock, TimerfdTimerFlags::ABSTIME, &once).is_ok() {
            self.armed_for = due;
        }
    }

    /// Says what the wire itself has lost: a scenario must not take that for the weather.
    fn confess(&mut self, at: usize) {
        let Some((host, port)) = self.ports.get(at) else { return };
        let lost = port.overrun();
        if lost > 0 {
            let text = format!("{lost} packets came faster than the wire could take them, and are lost");
            (self.sink)(Event { at_ns: now(), host: Some(*host), what: What::Note { text } });
        }
    }

    /// Reads some packets from a port.
    pub(super) fn take(&mut self, at: usize, scratch: &mut Vec<u8>) {
        for _ in 0..TURN {
            let Some((host, port)) = self.ports.get(at) else { return };
            let host = *host;
            if scratch.is_empty() {
                *scratch = self.spare.pop().unwrap_or_default();
            }
            match port.read(scratch) {
                Ok(None) => return,
                Ok(Some(Arrival::Packet(mut frame))) => {
                    if let Some(question) = neighbour::solicitation(frame.packet()) {
                        self.introduce(at, question);
                        continue;
                    }
                    if self.exact {
                        frame.complete();
                    }
                    self.fabric.send(now(), host, frame);
                    self.report();
                }
                Ok(Some(Arrival::Arp(packet))) => {
                    if let Some(question) = neighbour::arp_question(&packet) {
                        self.introduce(at, question);
                    }
                }
                Ok(Some(Arrival::Other)) => {}
                Err(_) => {
                    // The interface is gone; a port that only reports so would keep us busy.
                    self.ports.remove(at);
                    return;
                }
            }
        }
        // Only a port that had so many to give may have had too many.
        self.confess(at);
    }

    /// Answers a question about an address, if its owner can hear and answer it.
    fn introduce(&mut self, at: usize, question: neighbour::Question) {
        let Some((host, port)) = self.ports.get(at) else { return };
        let Some(owner) = self.fabric.owner(question.wanted) else { return };
        if !self.fabric.hears(*host, owner) {
            return;
        }
        let hardware = hardware(owner);
        if let Some(answer) = neighbour::arp_answer(question, hardware) {
            let _ = port.write_arp(&answer, hardware);
        } else if let Some(answer) = neighbour::advertisement(question, hardware) {
            let _ = port.write(&mut Frame::new(&answer), Some(hardware));
        }
    }
}
