//! One thread, io_uring(7): operations are queued, the kernel is entered once for all of them, and it reports what
//! is done.
//!
//! * A listener is accepted from, and a connection received from, by one operation that stays ("multishot"). Input
//!   lands in a small buffer that the kernel picks from a [`Pool`] when it is there. A connection that fills such
//!   buffers, or that must be held back, is received from by single operations with large buffers instead:
//!   a stream needs them to be fast, and only what was asked for one by one need not be called off (the kernel
//!   may have queued 32 buffers before it sees a cancellation).
//! * Buffers are moved, never copied: from the pool to the connection to the send and back as spare storage.
//! * A send nearly always is done when the call that submits it returns, and its report ends that call's wait at
//!   once. To ask for reports of failure only would spare a call, but nobody would call the session whose output
//!   has drained: one that has more to say would sleep.
//! * An operation in flight owns what it points at: a connection is freed, its descriptor closed and its buffer
//!   used again only after the last of its operations has reported.

// The kernel reads and writes memory that operations point at, which the compiler cannot follow.
#![allow(unsafe_code)]

use super::conversation::Conversation;
use super::gate::Gate;
use super::porch::{Arrival, Porch};
use super::readiness::FIRST_SLOTS;
use super::spin::Spin;
use super::timers::Timers;
use super::{Engine, EngineRow, Site, Workers};
use crate::datagrams::Datagrams;
use crate::endpoint::Kind;
use crate::error::Error;
use crate::roster;
use crate::sys::{clock, fault, socket};
use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::time::Duration;
use switchboard_proto::{Buffer, Instant};

mod doors;
mod pool;
mod ring;

use doors::{Accept, Armed};
use pool::Pool;
use ring::Ring;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "uring",
    summary: "one thread hands operations to the kernel in batches with io_uring (Linux 6.0)",
    source: "io_uring(7)",
    workers: Workers::ReusePort,
    datagrams: true,
    many_services: true,
    spins: true,
    engine: &Uring,
};

struct Uring;

impl Engine for Uring {
    fn serve(&self, site: Site<'_>) -> Result<(), Error> {
        let mut uring = Loop::new(site)?;
        match uring.run() {
            Ok(()) => Ok(()),
            Err(error) => {
                // Operations may be in flight that cannot be waited for: what they point at is left to them.
                mem::forget(uring);
                Err(error)
            }
        }
    }
}

/// Small buffers: a page and a little, so that messages of 4 KiB do not fill one, and so that the first lines of
/// many buffers do not meet in the same sets of the cache.
const SMALL_SIZE: usize = 4_096 + 64;
/// As many as complete in one entry of the kernel and no more: the kernel takes them in turn, and what it wrote
/// long ago has left the cache. Should they run out, receiving is started again, and nothing is lost.
const SMALL_COUNT: u16 = 256;
/// Large buffers: a stream's. Untouched pages cost nothing.
const LARGE_SIZE: usize = 64 * 1024;
const LARGE_COUNT: u16 = 32;
/// Spare buffers kept of each size.
const SMALL_SPARES: usize = 64;
const LARGE_SPARES: usize = 16;
/// Pieces of input that would have fitted a small buffer, one after another, until a stream counts as one no more.
const STREAM_LASTS: u8 = 16;
/// What an operation is, in the top byte of its `user_data`; below it whose.
const RECEIVE_MANY: u64 = 0;
const RECEIVE_ONE: u64 = 1 << 56;
const SEND: u64 = 2 << 56;
const ACCEPT: u64 = 3 << 56;
const POLL: u64 = 4 << 56;
const STOP: u64 = 5 << 56;
/// The poll of the forecourt.
const FORECOURT: u64 = 6 << 56;
/// The poll of the roster's bell.
const BELL: u64 = 7 << 56;
/// The cancellation of the operation named by the other bits; reports only if that was not found.
const CANCEL: u64 = 1 << 63;
const KIND: u64 = 0x7f << 56;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receive {
    No,
    /// The operation that stays is armed.
    Many,
    /// One receive into a large buffer is.
    One,
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Send {
    No,
    Queued,
    Cancelled,
}

struct Slot {
    generation: u32,
    receive: Receive,
    send: Send,
    /// More than 0: input comes as a stream, or in messages whose boundaries count.
    stream: u8,
    scheduled: Instant,
    live: Option<Live>,
}

/// A connection. Dropped only when `receive` and `send` of its slot say `No`.
struct Live {
    fd: OwnedFd,
    conversation: Conversation,
    /// What the send in flight sends.
    out: Buffer,
}

impl Slot {
    /// Whether `token` is that of the connection here now.
    fn is(&self, token: u64) -> bool {
        self.live.is_some() && u64::from(self.generation) == token >> 32
    }
}

struct Loop<'a> {
    // First, so that it is gone before what its operations could point at.
    ring: Ring,
    small: Pool,
    large: Pool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    armed: Vec<Armed>,
    /// How to accept now, and whether the doors may differ from that.
    accept: Accept,
    look_at_doors: bool,
    /// Clients that the kernel had accepted when the gate shut.
    waiting: VecDeque<(OwnedFd, usize)>,
    porch: Porch,
    watches_forecourt: bool,
    datagrams: Datagrams,
    blocked: Option<usize>,
    timers: Timers,
    spin: Spin,
    gate: Gate,
    limit: usize,
    now: Instant,
    cut_at: Instant,
    is_cut: bool,
    site: Site<'a>,
}

impl<'a> Loop<'a> {
    fn new(site: Site<'a>) -> Result<Loop<'a>, Error> {
        let ring = Ring::new(site.limits.busy_poll.is_some())?;
        let small = Pool::new(0, SMALL_COUNT, SMALL_SIZE, SMALL_SPARES);
        let large = Pool::new(1, LARGE_COUNT, LARGE_SIZE, LARGE_SPARES);
        for pool in [&small, &large] {
            // SAFETY: both live in the loop, which outlives its operations: `run` ends well only when none is left,
            // and the loop is never freed otherwise.
            unsafe { pool.register(ring.uring()) }.map_err(ring::unavailable)?;
        }
        let limit = site.limits.connections();
        Ok(Loop {
            ring,
            small,
            large,
            slots: Vec::with_capacity(FIRST_SLOTS),
            free: Vec::new(),
            armed: vec![Armed { accept: Accept::No, poll: false, closing: false }; site.doors.len()],
            accept: Accept::No,
            look_at_doors: true,
            waiting: VecDeque::new(),
            porch: Porch::new(&site)?,
            watches_forecourt: false,
            datagrams: Datagrams::new(&site),
            blocked: None,
            timers: Timers::default(),
            spin: Spin::new(site.limits.busy_poll),
            gate: Gate::new(limit),
            limit,
            now: clock::now(),
            cut_at: Instant::NEVER,
            is_cut: false,
            site,
        })
    }

    /// Serves until stopped and drained, and nothing is in flight.
    fn run(&mut self) -> Result<(), Error> {
        let stop = self.site.stop.as_fd().as_raw_fd();
        // SAFETY: the descriptor is borrowed for longer than the loop lives.
        unsafe {
            self.ring.push(opcode::PollAdd::new(Fd(stop), libc::POLLIN as u32).build().user_data(STOP))
        };
        self.watch_bell();
        let mut events = Vec::new();
        loop {
            self.let_in();
            self.open_or_shut_doors();
            self.watch_forecourt();
            if self.gate.is_draining() && self.gate.inside() == 0 && self.doors_are_quiet() {
                break;
            }
            let porch = self.porch.wakes_at(self.gate.has_room());
            let until = self.timers.next().min(self.gate.opens_at()).min(porch).min(self.cut_at);
            self.site.journal.flush();
            let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
            self.wait(timeout).map_err(|error| Error::system("enter io_uring", error))?;
            self.ring.collect(&mut events);
            self.now = clock::now();
            self.spin.waited(self.now);
            for event in events.drain(..) {
                self.event(&event);
            }
            while let Some(token) = self.timers.due(self.now) {
                self.deadline(token);
            }
            let slots = &self.slots;
            self.timers.tidy(slots.len(), |token| slots[token as u32 as usize].is(token));
            if self.now >= self.cut_at {
                self.cut();
            }
        }
        self.site.journal.finish();
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let ring = &mut self.ring;
        match self.spin.look(timeout, || ring.glance())? {
            Some(timeout) => ring.enter(timeout),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: &cqueue::Entry) {
        let data = event.user_data();
        let whose = data as u32;
        if data & CANCEL != 0 {
            return self.not_cancelled(data & !CANCEL, event.result());
        }
        match data & KIND {
            RECEIVE_MANY | RECEIVE_ONE => self.received(whose, event),
            SEND => self.sent(whose, event.result()),
            ACCEPT => self.accepted(whose as usize, event),
            POLL => self.datagram(whose as usize, event),
            // The next turn hears them.
            FORECOURT => self.watches_forecourt = false,
            BELL => self.somebody_was_cut(),
            _ => self.drain(),
        }
    }

    fn sent(&mut self, slot: u32, result: i32) {
        let entry = &mut self.slots[slot as usize];
        entry.send = Send::No;
        let Some(live) = &mut entry.live else { return };
        let connection = &mut live.conversation.connection;
        let mut out = mem::take(&mut live.out);
        out.consume(usize::try_from(result).unwrap_or(0));
        let unused = connection.on_write(out, self.now);
        if result < 0 && !matches!(-result, libc::EAGAIN | libc::EINTR | libc::ECANCELED) {
            connection.on_error();
        }
        self.keep(unused);
        self.turn(slot);
    }

    fn received(&mut self, slot: u32, event: &cqueue::Entry) {
        let one = event.user_data() & KIND == RECEIVE_ONE;
        let pool = if one { &mut self.large } else { &mut self.small };
        let bytes = pool.take(event).unwrap_or_default();
        let entry = &mut self.slots[slot as usize];
        if !cqueue::more(event.flags()) {
            entry.receive = Receive::No;
        }
        let Some(live) = &mut entry.live else { return self.keep(bytes) };
        let connection = &mut live.conversation.connection;
        let mut unused = bytes;
        match event.result() {
            n @ 0.. => {
                if !one && n as usize == SMALL_SIZE {
                    entry.stream = entry.stream.max(STREAM_LASTS);
                } else if one && entry.stream != u8::MAX {
                    entry.stream = if n as usize > SMALL_SIZE { STREAM_LASTS } else { entry.stream - 1 };
                }
                unused = connection.on_read(unused, self.now);
            }
            // No buffer was left, or it was called off: `turn` starts anew if input is wanted.
            error if matches!(-error, libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {}
            _ => connection.on_error(),
        }
        self.keep(unused);
        self.turn(slot);
    }

    /// Starts all that a connection wants.
    fn turn(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let token = u64::from(entry.generation) << 32 | u64::from(slot);
        let Some(Live { fd, conversation, out }) = &mut entry.live else { return };
        let is_cut = conversation.is_cut();
        let connection = &mut conversation.connection;
        if is_cut {
            connection.on_stop();
        }
        let socket = Fd(fd.as_raw_fd());
        let wants = loop {
            let wants = connection.wants();
            if wants.write {
                *out = connection.take_write();
                entry.send = Send::Queued;
                let len = fault::short(out.len()) as u32;
                let send = opcode::Send::new(socket, out.bytes().as_ptr(), len).flags(libc::MSG_NOSIGNAL);
                // SAFETY: `out` and `fd` stay as they are until the send has reported.
                unsafe { self.ring.push(send.build().user_data(SEND | u64::from(slot))) };
            } else if wants.shutdown {
                socket::shutdown_write(&*fd);
                connection.on_shutdown(self.now);
            } else {
                break wants;
            }
        };
        if wants.close {
            return self.close(slot, wants.reset);
        }
        match entry.receive {
            Receive::No if wants.read => {
                let (receive, kind) = if entry.stream > 0 {
                    entry.receive = Receive::One;
                    let len = self.large.size() as u32;
                    let receive = opcode::Recv::new(socket, std::ptr::null_mut(), len)
                        .buf_group(self.large.group())
                        .build()
                        .flags(Flags::BUFFER_SELECT);
                    (receive, RECEIVE_ONE)
                } else {
                    entry.receive = Receive::Many;
                    (opcode::RecvMulti::new(socket, self.small.group()).build(), RECEIVE_MANY)
                };
                // SAFETY: it writes into buffers of the pools only; the descriptor stays open until it reported.
                unsafe { self.ring.push(receive.user_data(kind | u64::from(slot))) };
            }
            Receive::Many if !wants.read || entry.stream > 0 => {
                entry.stream = entry.stream.max(STREAM_LASTS);
                entry.receive = Receive::Cancelled;
                cancel(&mut self.ring, RECEIVE_MANY | u64::from(slot));
            }
            _ => {}
        }
        if connection.deadline() < entry.scheduled {
            entry.scheduled = self.timers.schedule(token, connection.deadline());
        }
    }

    /// Calls off what is in flight; without anything in flight, closes.
    fn close(&mut self, slot: u32, reset: bool) {
        let entry = &mut self.slots[slot as usize];
        let kind = if entry.receive == Receive::One { RECEIVE_ONE } else { RECEIVE_MANY };
        if matches!(entry.receive, Receive::Many | Receive::One) {
            entry.receive = Receive::Cancelled;
            cancel(&mut self.ring, kind | u64::from(slot));
        }
        if entry.send == Send::Queued {
            entry.send = Send::Cancelled;
            cancel(&mut self.ring, SEND | u64::from(slot));
        }
        if entry.receive != Receive::No || entry.send != Send::No {
            return;
        }
        let Some(Live { fd, conversation, .. }) = entry.live.take() else { return };
        entry.generation = entry.generation.wrapping_add(1) & 0x7fff_ffff;
        self.free.push(slot);
        if reset {
            socket::reset_on_close(&fd);
        }
        self.gate.leave();
        conversation.close(&self.site, fd, self.now);
    }

    /// A cancellation did not find its operation. Either that has just reported by itself, or it was between two
    /// attempts and is still there.
    fn not_cancelled(&mut self, data: u64, result: i32) {
        let whose = data as u32 as usize;
        let still_there = match data & KIND {
            RECEIVE_MANY | RECEIVE_ONE => self.slots[whose].receive == Receive::Cancelled,
            SEND => self.slots[whose].send == Send::Cancelled,
            ACCEPT => self.armed[whose].accept == Accept::Cancelled,
            _ => self.armed[whose].closing && self.armed[whose].poll,
        };
        if still_there && result == -libc::ENOENT {
            cancel(&mut self.ring, data);
        }
    }

    fn deadline(&mut self, token: u64) {
        let slot = token as u32;
        let Some(entry) = self.slots.get_mut(slot as usize).filter(|entry| entry.is(token)) else { return };
        entry.scheduled = Instant::NEVER;
        if let Some(live) = &mut entry.live {
            live.conversation.connection.on_deadline(self.now);
        }
        self.turn(slot);
    }

    fn enter(&mut self, arrival: Arrival) {
        self.gate.enter();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                receive: Receive::No,
                send: Send::No,
                stream: 0,
                scheduled: Instant::NEVER,
                live: None,
            });
            (self.slots.len() - 1) as u32
        });
        let messages = self.site.doors[arrival.door].listener.local().kind == Kind::UnixSeqpacket;
        let (fd, conversation) = Conversation::open(&self.site, arrival, self.now);
        let entry = &mut self.slots[slot as usize];
        // Received one by one for ever: messages must not run together.
        entry.stream = if messages { u8::MAX } else { 0 };
        entry.scheduled = Instant::NEVER;
        entry.live = Some(Live { fd, conversation, out: Buffer::new() });
        // A service that speaks first does so now.
        self.turn(slot);
    }

    /// Asks to be told when connections were broken off from outside.
    fn watch_bell(&mut self) {
        let Some(bell) = roster::bell() else { return };
        let poll = opcode::PollAdd::new(Fd(bell.as_raw_fd()), libc::POLLIN as u32).build().user_data(BELL);
        // SAFETY: points at nothing, and the descriptor is never closed.
        unsafe { self.ring.push(poll) };
    }

    /// Operations on a socket that was broken off report by themselves; a connection of which none is in flight is
    /// looked for.
    fn somebody_was_cut(&mut self) {
        if let Some(bell) = roster::bell() {
            let _ = rustix::io::read(bell, &mut [0; 8]);
        }
        self.watch_bell();
        for slot in 0..self.slots.len() as u32 {
            let live = self.slots[slot as usize].live.as_ref();
            if live.is_some_and(|live| live.conversation.is_cut()) {
                self.turn(slot);
            }
        }
    }

    /// Draining took too long.
    fn cut(&mut self) {
        self.is_cut = true;
        self.cut_at = Instant::NEVER;
        for slot in 0..self.slots.len() as u32 {
            if let Some(live) = &mut self.slots[slot as usize].live {
                live.conversation.connection.on_stop();
                self.turn(slot);
            }
        }
    }

    fn keep(&mut self, buffer: Buffer) {
        match buffer.capacity() {
            SMALL_SIZE => self.small.keep(buffer),
            LARGE_SIZE => self.large.keep(buffer),
            _ => {}
        }
    }
}

/// Calls an operation off. It reports all the same.
fn cancel(ring: &mut Ring, data: u64) {
    let cancel = opcode::AsyncCancel::new(data).build().flags(Flags::SKIP_SUCCESS).user_data(CANCEL | data);
    // SAFETY: points at nothing.
    unsafe { ring.push(cancel) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 300 bytes for each idle connection are wanted, with its place in the roster and what tables leave unused.
    #[test]
    fn an_idle_connection_takes_few_bytes() {
        let bytes = size_of::<Slot>();
        assert!(bytes <= 216, "a slot takes {bytes} bytes");
    }
}
