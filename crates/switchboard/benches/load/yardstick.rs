//! The least that a load client does: epoll, a request on every connection, its answer compared, its time put into a
//! table, the next one. Written by hand for one shape: echo of small messages, one thread, closed loop.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

struct Connection {
    socket: TcpStream,
    asked: Instant,
    came: usize,
}

/// Answers in the time, and the processor time of this thread for them in nanoseconds.
pub(crate) fn run(
    to: SocketAddr,
    connections: usize,
    bytes: usize,
    time: Duration,
) -> io::Result<(u64, u64)> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let message = vec![0x5a_u8; bytes];
    let mut all = Vec::with_capacity(connections);
    for index in 0..connections {
        let socket = TcpStream::connect(to)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        epoll::add(&poller, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        all.push(Connection { socket, asked: Instant::now(), came: 0 });
    }
    let mut buffer = vec![0; 64 << 10];
    let mut events: Vec<Event> = Vec::with_capacity(256);
    // Powers of two of nanoseconds: coarse, but a table that every answer writes to.
    let mut table = [0_u64; 64];
    let mut answers = 0;
    let began_cpu_ns = super::thread_cpu_ns();
    let until = Instant::now() + time;
    for connection in &mut all {
        connection.asked = Instant::now();
        send(&connection.socket, &message, SendFlags::NOSIGNAL)?;
    }
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    let mut now = Instant::now();
    while now < until {
        events.clear();
        match epoll::wait(&poller, spare_capacity(&mut events), Some(&patience)) {
            Ok(0) => return Err(io::Error::other("the server is silent")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &events {
            let connection = &mut all[event.data.u64() as usize];
            let n = match recv(&connection.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::Error::other("the server closed a connection")),
                Ok((n, _)) => n,
                Err(Errno::AGAIN) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if buffer[..n] != message[connection.came..connection.came + n] {
                return Err(io::Error::other("a wrong answer"));
            }
            connection.came += n;
            if connection.came == bytes {
                now = Instant::now();
                let ns = (now - connection.asked).as_nanos() as u64;
                table[63 - ns.max(1).leading_zeros() as usize] += 1;
                answers += 1;
                connection.came = 0;
                connection.asked = now;
                send(&connection.socket, &message, SendFlags::NOSIGNAL)?;
            }
        }
    }
    std::hint::black_box(&table);
    Ok((answers, super::thread_cpu_ns() - began_cpu_ns))
}
