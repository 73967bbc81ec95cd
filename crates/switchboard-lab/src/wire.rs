//! [`Wire`]: what is between the hosts. Every packet passes through a thread of the lab, which records it, delays,
//! loses, changes it as it was told, and hands it on.
//!
//! The rules are in [`fabric`], which knows no clock and no device; the thread here moves packets between it and the
//! hosts' ports.

mod act;
mod checksum;
pub mod fabric;
mod flow;
pub mod forge;
pub mod frame;
pub mod impairment;
mod neighbour;
mod path;
pub(crate) mod port;
pub mod segment;
mod trigger;

use crate::record::{Event, HostId, Nanos, What};
use fabric::Fabric;
use port::{Arrival, Port};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use act::{Act, Way};
pub use segment::{Kind, Segment};
pub use trigger::{Fired, Pattern, Sight, Trigger, Where};

/// Takes what the wire sees, in order. It is called by the wire's thread and should return soon.
pub type Sink = Box<dyn FnMut(Event) + Send>;

/// Packets read from one port before others get their turn.
const TURN: usize = 64;

/// Packets that may wait in a host's interface for the wire to take them; beyond it the kernel drops them unseen.
pub(crate) const QUEUE: usize = 10_000;

/// Now on `CLOCK_MONOTONIC`.
pub fn now() -> Nanos {
    switchboard_net::sys::clock::now().0
}

/// A handle to the wire; all clones are of the same one. It ends with the last of them.
#[derive(Clone)]
pub struct Wire(Arc<Hold>);

struct Hold {
    orders: Mutex<Sender<Order>>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

type Order = Box<dyn FnOnce(&mut Mover) + Send>;

impl Wire {
    /// Starts the wire's thread. `exact` says that no packet stands for several.
    ///
    /// # Errors
    /// Those of eventfd(2) and of starting a thread.
    pub fn start(fabric: Fabric, exact: bool, sink: Sink) -> io::Result<Wire> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let woken = wake.try_clone()?;
        let clock =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let (orders, queue) = channel();
        let mover = Mover {
            fabric,
            exact,
            sink,
            clock,
            armed_for: None,
            ports: Vec::new(),
            triggers: Vec::new(),
            spare: Vec::new(),
            closing: false,
        };
        let thread =
            std::thread::Builder::new().name("wire".into()).spawn(move || mover.run(&queue, &woken))?;
        Ok(Wire(Arc::new(Hold { orders: Mutex::new(orders), wake, thread: Some(thread) })))
    }

    /// Does something in the wire's thread, between two packets, and returns its result: when this returns it is done.
    fn with<T: Send + 'static>(&self, order: impl FnOnce(&mut Mover) -> T + Send + 'static) -> T {
        let (result, done) = sync_channel(1);
        self.0.tell(Box::new(move |mover| {
            let _ = result.send(order(mover));
        }));
        done.recv().expect("the wire's thread lives as long as its handles")
    }

    /// Does something to the wire. When this returns it is done, and no packet sent later escapes it.
    pub fn act(&self, act: Act) {
        self.with(move |mover| mover.fabric.act(now(), &act));
    }

    /// Waits for the `count`th packet that fits `pattern`, and then does `acts` at once, before another packet moves.
    /// Packets that were seen before this call do not count.
    pub fn when(&self, pattern: Pattern, count: u32, acts: Vec<Act>) -> Fired {
        self.when_seen(move |sight| pattern.fits(sight), count, acts)
    }

    /// The same for packets that a function knows; it is called by the wire's thread and should return soon.
    pub fn when_seen(
        &self,
        fits: impl FnMut(&Sight<'_>) -> bool + Send + 'static,
        count: u32,
        acts: Vec<Act>,
    ) -> Fired {
        let (trigger, fired) = Trigger::new(fits, count, acts);
        self.with(move |mover| mover.triggers.push(trigger));
        fired
    }

    /// Joins a host that is up to the wire.
    pub(crate) fn attach(&self, host: HostId, port: Port) {
        self.with(move |mover| {
            mover.ports.retain(|(known, _)| *known != host);
            mover.ports.push((host, port));
            mover.fabric.up(host);
        });
    }

    /// The host is dead from now on: no packet leaves it, none arrives, those under way vanish. Its port stays open, and
    /// what its kernel still says is swallowed.
    pub(crate) fn mute(&self, host: HostId) {
        self.with(move |mover| mover.fabric.down(host, now()));
    }

    /// The host falls silent in good order: what it has sent so far goes on its way, nothing arrives there any more.
    pub(crate) fn part(&self, host: HostId) {
        self.with(move |mover| {
            if let Some(at) = mover.ports.iter().position(|(known, _)| *known == host) {
                let mut scratch = Vec::new();
                // As many packets as its interface can hold back.
                for _ in 0..QUEUE / TURN {
                    mover.take(at, &mut scratch);
                }
            }
            mover.fabric.leave(host);
        });
    }

    /// Closes the port of a host that is silent.
    pub(crate) fn detach(&self, host: HostId) {
        self.with(move |mover| mover.ports.retain(|(known, _)| *known != host));
    }
}

impl Hold {
    fn tell(&self, order: Order) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = orders.send(order);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.tell(Box::new(|mover| mover.closing = true));
        // A sink may hold the last handle; a thread cannot wait for itself.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

/// Moves packets between ports and fabric.
struct Mover {
    fabric: Fabric,
    exact: bool,
    sink: Sink,
    /// Becomes readable when the next packet is due. The time-out of poll(2) would be late by a thousandth of itself:
    /// the kernel takes that much for slack, whatever PR_SET_TIMERSLACK says.
    clock: OwnedFd,
    armed_for: Option<Nanos>,
    ports: Vec<(HostId, Port)>,
    triggers: Vec<Trigger>,
    /// Buffers of long packets that have arrived.
    spare: Vec<Vec<u8>>,
    closing: bool,
}

impl Mover {
    fn run(mut self, orders: &Receiver<Order>, wake: &OwnedFd) {
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
    fn take(&mut self, at: usize, scratch: &mut Vec<u8>) {
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
            let _ = port.write(&mut frame::Frame::new(&answer), Some(hardware));
        }
    }
}

/// A host's hardware address: locally administered.
pub(crate) fn hardware(host: HostId) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, host.0]
}

/// The wire's own hardware address.
pub(crate) const WIRE_HARDWARE: [u8; 6] = [0x02, 0, 0, 0, 0xff, 0xff];
