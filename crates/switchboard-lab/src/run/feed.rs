//! [`Feed`]: standard input of a program or an actor, and its output as events.

use super::log::Log;
use crate::record::{Event, HostId, What};
use crate::scenario::Lines;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A person types a line about so often; it is a speed and nothing waits for it.
const TYPING: Duration = Duration::from_millis(100);
/// Who does not answer a line within this time gets the next one all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes in one write of a flood.
const FLOOD: usize = 16 * 1024;
/// Bytes of a line in a flood: a client that waits for the answer to each fills a packet with it all the same.
const LONG: usize = 1500;

/// What was written so far.
type Fed = Arc<Mutex<Vec<u8>>>;

/// The writing end of a standard input.
pub(super) struct Feed {
    orders: Option<Sender<Vec<u8>>>,
    fed: Fed,
}

/// When input has to end, dropping the feed ends it.
impl Feed {
    /// For an actor: bytes only when told.
    pub(super) fn by_hand(stdin: OwnedFd) -> Feed {
        let (feed, orders, fed) = Feed::new();
        std::thread::spawn(move || {
            let mut stdin = File::from(stdin);
            while let Ok(bytes) = orders.recv() {
                if !write(&mut stdin, &bytes, &fed) {
                    return;
                }
            }
        });
        feed
    }

    /// For a program: lines in this manner.
    pub(super) fn of_program(stdin: OwnedFd, lines: Vec<String>, how: Lines, log: Log, pid: i32) -> Feed {
        let (feed, orders, fed) = Feed::new();
        std::thread::spawn(move || {
            let mut stdin = File::from(stdin);
            match how {
                Lines::Asked => asked(&mut stdin, &lines, &log, pid, &fed),
                Lines::Typed => typed(&mut stdin, &lines, &orders, &fed),
                Lines::Flood => flood(&mut stdin, &fed),
                Lines::Idle => {
                    let first = lines.first().map_or(&b"hello\n"[..], |line| line.as_bytes());
                    write(&mut stdin, first, &fed);
                    // Until the feed is dropped.
                    let _ = orders.recv();
                }
            }
        });
        feed
    }

    fn new() -> (Feed, Receiver<Vec<u8>>, Fed) {
        let (orders, queue) = channel();
        let fed = Arc::new(Mutex::new(Vec::new()));
        (Feed { orders: Some(orders), fed: Arc::clone(&fed) }, queue, fed)
    }

    pub(super) fn feed(&self, bytes: &[u8]) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(bytes.to_vec());
        }
    }

    pub(super) fn end(&mut self) {
        self.orders = None;
    }

    /// Everything that was written so far.
    pub(super) fn fed(&self) -> Vec<u8> {
        self.fed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn write(stdin: &mut File, bytes: &[u8], fed: &Mutex<Vec<u8>>) -> bool {
    let written = stdin.write_all(bytes).is_ok();
    if written {
        fed.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    }
    written
}

/// The next line when the last one was answered, and the end after the last.
fn asked(stdin: &mut File, lines: &[String], log: &Log, pid: i32, fed: &Mutex<Vec<u8>>) {
    for line in lines {
        let before = log.lock().events.len();
        if !write(stdin, line.as_bytes(), fed) {
            return;
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        log.wait(deadline, |state| {
            let answered = state.events[before.min(state.events.len())..]
                .iter()
                .any(|event| matches!(&event.what, What::Output { pid: who, stream: 1, .. } if *who == pid));
            answered.then_some(())
        });
    }
}

/// Now and then a line, without end.
fn typed(stdin: &mut File, lines: &[String], orders: &Receiver<Vec<u8>>, fed: &Mutex<Vec<u8>>) {
    for line in lines.iter().cycle() {
        if !write(stdin, line.as_bytes(), fed) {
            return;
        }
        if let Err(RecvTimeoutError::Disconnected) = orders.recv_timeout(TYPING) {
            return;
        }
    }
}

/// As much as it takes.
fn flood(stdin: &mut File, fed: &Mutex<Vec<u8>>) {
    let mut line = 0_u64;
    loop {
        let mut bytes = Vec::with_capacity(FLOOD + LONG);
        while bytes.len() < FLOOD {
            bytes.extend(format!("{line:0width$}\n", width = LONG - 1).into_bytes());
            line += 1;
        }
        if !write(stdin, &bytes, fed) {
            return;
        }
    }
}

/// Makes events of what a program writes.
pub(super) fn listen(from: OwnedFd, stream: u8, pid: i32, host: HostId, log: Log) {
    std::thread::spawn(move || {
        let mut from = File::from(from);
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(size) = from.read(&mut bytes) {
            if size == 0 {
                return;
            }
            let what = What::Output { pid, stream, bytes: bytes[..size].to_vec() };
            log.add(Event { at_ns: crate::wire::now(), host: Some(host), what });
        }
    });
}
