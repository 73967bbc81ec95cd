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
mod fragment;
pub mod frame;
pub mod impairment;
mod mover;
mod neighbour;
mod path;
pub(crate) mod port;
pub mod segment;
mod trigger;

use crate::record::{Event, HostId, Nanos};
use fabric::Fabric;
use mover::{Mover, TURN};
use port::Port;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::io;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use act::{Act, Way};
pub use segment::{Kind, Segment};
pub use trigger::{Fired, Pattern, Sight, Trigger, Where};

/// Takes what the wire sees, in order. It is called by the wire's thread and should return soon.
pub type Sink = Box<dyn FnMut(Event) + Send>;

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
        let (orders, queue) = channel();
        let mover = Mover::new(fabric, exact, sink)?;
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

/// A host's hardware address: locally administered.
pub(crate) fn hardware(host: HostId) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, host.0]
}

/// The wire's own hardware address.
pub(crate) const WIRE_HARDWARE: [u8; 6] = [0x02, 0, 0, 0, 0xff, 0xff];
