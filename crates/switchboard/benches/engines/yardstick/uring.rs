//! Yardstick: one thread on io_uring, with multishot accept, multishot receive out of a provided buffer ring,
//! and one send in flight per connection.
//!
//! A received buffer is sent as it is, in place, and returned to the ring when its last byte has left.
//! Buffers that arrive while a send is under way queue up behind it in a list threaded through the buffers'
//! own numbers, so that no connection ever allocates.

use super::BUFFER_BYTES;
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// How many buffers circulate. Their size is a stream's: as large as the epoll yardstick's, or io_uring would
/// lose by the size of its reads alone. Their number is a compromise: the kernel takes them in the order in
/// which they were returned, so a stream walks through all of them, and many push it out of the processor's
/// cache; few run dry when a thousand connections become readable at once, and a dry ring ends the multishot
/// receive of each of them.
const BUFFERS: u16 = 256;
const GROUP: u16 = 0;
const ENTRIES: u32 = 1024;
const NONE: u16 = u16::MAX;

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

struct Connection {
    socket: OwnedFd,
    /// The buffer being sent, and the last one queued behind it.
    first: u16,
    last: u16,
    /// Bytes of `first` that have left.
    sent: u32,
    /// Whether a receive is armed, or about to be: more input may come.
    receiving: bool,
}

/// What the kernel knows about one buffer while we hold it.
#[derive(Clone, Copy)]
struct Held {
    length: u32,
    next: u16,
}

/// The provided buffer ring: the entries the kernel reads, and the memory behind them.
struct Buffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    /// How many buffers are ours rather than the kernel's.
    taken: u16,
    held: [Held; BUFFERS as usize],
}

struct Server {
    ring: IoUring,
    listener: TcpListener,
    buffers: Buffers,
    connections: Vec<Option<Connection>>,
    /// Connections whose receive ended because the ring was dry; armed again once a buffer has come back.
    starved: Vec<usize>,
}

pub(super) fn serve(listener: TcpListener) -> io::Result<()> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_cqsize(4 * ENTRIES)
        .build(ENTRIES)?;
    let buffers = Buffers::new(&ring)?;
    let mut server = Server { ring, listener, buffers, connections: Vec::new(), starved: Vec::new() };
    server.accept()?;
    let mut completions: Vec<cqueue::Entry> = Vec::with_capacity(4 * ENTRIES as usize);
    loop {
        match server.ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
            Err(error) => return Err(error),
        }
        completions.extend(server.ring.completion());
        for entry in completions.drain(..) {
            let index = (entry.user_data() >> 2) as usize;
            match entry.user_data() & 3 {
                ACCEPT => server.on_accept(&entry)?,
                RECEIVE => server.on_receive(index, &entry)?,
                _ => server.on_send(index, entry.result())?,
            }
        }
        server.buffers.publish();
        server.feed()?;
    }
}

impl Server {
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: every operation refers to a descriptor of `connections` or to memory of `buffers`; a
            // connection is dropped only when it has no operation in flight, the buffers never are.
            match unsafe { self.ring.submission().push(entry) } {
                Ok(()) => return Ok(()),
                Err(_) => drop(self.ring.submit()?),
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(&entry.user_data(ACCEPT))
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(index as i32), GROUP).build();
        self.push(&entry.user_data((index as u64) << 2 | RECEIVE))
    }

    fn send(&mut self, index: usize, buffer: u16, sent: u32) -> io::Result<()> {
        let length = self.buffers.held[usize::from(buffer)].length - sent;
        let start = self.buffers.address(buffer).wrapping_add(sent as usize);
        let entry = opcode::Send::new(Fd(index as i32), start, length).flags(libc::MSG_NOSIGNAL).build();
        self.push(&entry.user_data((index as u64) << 2 | SEND))
    }

    fn on_accept(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        if !cqueue::more(entry.flags()) {
            self.accept()?;
        }
        if entry.result() < 0 {
            return Ok(());
        }
        let index = entry.result() as usize;
        // SAFETY: the completion of an accept hands over a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(entry.result()) };
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] =
            Some(Connection { socket, first: NONE, last: NONE, sent: 0, receiving: true });
        self.receive(index)
    }

    fn on_receive(&mut self, index: usize, entry: &cqueue::Entry) -> io::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let received = entry.result();
        if let Some(buffer) = cqueue::buffer_select(entry.flags()) {
            self.buffers.take(buffer, received.max(0) as u32);
            if received <= 0 {
                self.buffers.give_back(buffer);
            } else if connection.first == NONE {
                (connection.first, connection.last, connection.sent) = (buffer, buffer, 0);
                self.send(index, buffer, 0)?;
            } else {
                self.buffers.held[usize::from(connection.last)].next = buffer;
                connection.last = buffer;
            }
        }
        if cqueue::more(entry.flags()) {
            return Ok(());
        }
        if received > 0 {
            return self.receive(index);
        }
        if received == -libc::ENOBUFS {
            self.starved.push(index);
        } else if let Some(connection) = &mut self.connections[index] {
            connection.receiving = false;
            self.close_if_done(index);
        }
        Ok(())
    }

    fn on_send(&mut self, index: usize, result: i32) -> io::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let mut buffer = connection.first;
        if result < 0 && result != -libc::EAGAIN && result != -libc::EINTR {
            // The peer is gone: drop what is queued and let the receive end.
            _ = rustix::net::shutdown(&connection.socket, rustix::net::Shutdown::Both);
            connection.first = NONE;
            while buffer != NONE {
                let next = self.buffers.held[usize::from(buffer)].next;
                self.buffers.give_back(buffer);
                buffer = next;
            }
        } else {
            connection.sent += result.max(0) as u32;
            let held = self.buffers.held[usize::from(buffer)];
            if connection.sent == held.length {
                (connection.first, connection.sent) = (held.next, 0);
                self.buffers.give_back(buffer);
            }
            let (first, sent) = (connection.first, connection.sent);
            if first != NONE {
                self.send(index, first, sent)?;
            }
        }
        self.close_if_done(index);
        Ok(())
    }

    /// Arms starved receives again while buffers are to be had; those that find the ring dry once more come
    /// back with the completions that hold the buffers.
    fn feed(&mut self) -> io::Result<()> {
        while self.buffers.taken < BUFFERS
            && let Some(index) = self.starved.pop()
        {
            self.receive(index)?;
        }
        Ok(())
    }

    /// The descriptor's number may be used again at once, so it is closed only when no operation names it.
    fn close_if_done(&mut self, index: usize) {
        if let Some(connection) = &self.connections[index]
            && !connection.receiving
            && connection.first == NONE
        {
            self.connections[index] = None;
        }
    }
}

impl Buffers {
    fn new(ring: &IoUring) -> io::Result<Buffers> {
        let map = |bytes| {
            // SAFETY: a new anonymous mapping at an address of the kernel's choice; it is never unmapped.
            unsafe {
                mmap_anonymous(
                    std::ptr::null_mut(),
                    bytes,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE,
                )
            }
        };
        let entries = map(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        let memory = map(usize::from(BUFFERS) * BUFFER_BYTES)?;
        // SAFETY: page-aligned memory for exactly `BUFFERS` entries that lives as long as the process.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0)? };
        let held = [Held { length: 0, next: NONE }; BUFFERS as usize];
        let mut buffers =
            Buffers { ring: entries.cast(), memory: memory.cast(), tail: 0, taken: BUFFERS, held };
        (0..BUFFERS).for_each(|buffer| buffers.give_back(buffer));
        buffers.publish();
        Ok(buffers)
    }

    fn address(&self, buffer: u16) -> *const u8 {
        self.memory.wrapping_add(usize::from(buffer) * BUFFER_BYTES)
    }

    fn take(&mut self, buffer: u16, length: u32) {
        self.held[usize::from(buffer)] = Held { length, next: NONE };
        self.taken += 1;
    }

    /// Queues a buffer for the kernel, which sees it after the next `publish`.
    fn give_back(&mut self, buffer: u16) {
        let slot = usize::from(self.tail % BUFFERS);
        let address = self.address(buffer) as u64;
        // SAFETY: `slot` is inside the ring, and the kernel reads no entry at or beyond the published tail.
        let entry = unsafe { &mut *self.ring.add(slot) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.taken -= 1;
    }

    fn publish(&mut self) {
        // SAFETY: `ring` is the first entry of the ring, whose reserved field is the tail; both sides use it
        // as an atomic, and the release store makes the entries before it visible.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring).cast_mut()) }
            .store(self.tail, Ordering::Release);
    }
}
