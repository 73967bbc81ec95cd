//! Names of peers for the log: looked up by a thread of its own, so that a slow name server delays nothing but
//! the line that waits for it.

use crate::journal::{Json, write_all};
use rustix::fd::OwnedFd;
use std::ffi::CStr;
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Lines that wait for a name at most; beyond it lines are written without one.
const WAITING: usize = 1_024;

/// The thread that looks names up and writes the lines that waited for them.
#[derive(Debug)]
pub(crate) struct Resolver {
    thread: Mutex<Option<(SyncSender<Job>, JoinHandle<()>)>>,
    sink: Option<OwnedFd>,
}

#[derive(Debug)]
struct Job {
    before: String,
    address: IpAddr,
    after: String,
}

impl Resolver {
    /// Starts the thread; if it cannot be started, lines are written without names.
    pub(crate) fn start(sink: &OwnedFd) -> Resolver {
        let (queue, jobs) = sync_channel::<Job>(WAITING);
        let started = sink.try_clone().and_then(|sink| {
            thread::Builder::new().name("names".into()).spawn(move || {
                for job in jobs {
                    let name = crate::sys::names::of(job.address);
                    job.write(&sink, name.as_deref());
                }
            })
        });
        let thread = started.ok().map(|thread| (queue, thread));
        Resolver { thread: Mutex::new(thread), sink: sink.try_clone().ok() }
    }

    /// Writes a line once the name of `address` is known, or at once if too many wait.
    pub(crate) fn finish(&self, before: String, address: IpAddr, after: String) {
        let job = Job { before, address, after };
        let refused = match &*self.lock() {
            Some((queue, _)) => match queue.try_send(job) {
                Ok(()) => return,
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
            },
            None => job,
        };
        if let Some(sink) = &self.sink {
            refused.write(sink, None);
        }
    }

    /// Waits until every line is written; lines that come later are written without a name.
    pub(crate) fn drain(&self) {
        let running = self.lock().take();
        if let Some((queue, thread)) = running {
            drop(queue);
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(SyncSender<Job>, JoinHandle<()>)>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn write(self, sink: &OwnedFd, name: Option<&CStr>) {
        let mut line = self.before;
        if let Some(name) = name {
            let name = name.to_string_lossy();
            let json = line.starts_with('{');
            line.push_str(&if json {
                format!(",\"peer_name\":{}", Json(&name))
            } else {
                format!(" name={}", crate::journal::Escaped(name.as_bytes()))
            });
        }
        line.push_str(&self.after);
        let _ = write_all(sink, line.as_bytes());
    }
}
