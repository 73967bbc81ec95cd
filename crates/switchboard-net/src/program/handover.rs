//! Handing programs over to another worker of the same service, when this one has to leave and they do not: after a
//! reload that changed the service, and after an upgrade.
//!
//! The register tells the new worker what runs. What it cannot tell is what a process has: the reading end of a
//! program's standard error, and its client's socket, if his going is to be noticed. These travel in messages over a
//! Unix socket, each with the program's place in the register and the line that has not ended yet.

use super::processes::Stage;
use super::worker::{Worker, tag, token};
use crate::engine::readiness::Waiter;
use crate::sys::parcel;
use rustix::fd::AsFd;
use rustix::io::Errno;

/// Bytes before the unfinished line: the place in the register, the connection's number, and the sum of what follows.
const HEADER: usize = 24;
/// The reading end of its standard error is among the descriptors, the first of them.
const LINES: u64 = 1;
/// The client's socket is, as the last.
const CLIENT: u64 = 2;
/// It was asked to end already.
const ASKED: u64 = 4;

impl Worker<'_> {
    /// Gives everything that still runs to the heir, if there is one. Without one, or if he is gone, the programs are
    /// looked after here as long as they run. Returns whether they were given away.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(heir) = self.site.heir.take() else { return false };
        let mut numbers: Vec<u64> = self.processes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(process) = self.processes.get(&number) else { continue };
            let lines = self.lines.get(&number);
            let mut bytes = Vec::with_capacity(HEADER);
            bytes.extend_from_slice(&(process.slot as u64).to_ne_bytes());
            bytes.extend_from_slice(&process.id.to_ne_bytes());
            let (pipe, client) = (lines.map(|lines| lines.pipe.as_fd()), process.client.as_ref());
            let has = [
                (pipe.is_some(), LINES),
                (client.is_some(), CLIENT),
                (process.stage != Stage::Running, ASKED),
            ];
            let has: u64 = has.into_iter().filter(|(has, _)| *has).map(|(_, what)| what).sum();
            bytes.extend_from_slice(&has.to_ne_bytes());
            let descriptors: Vec<_> = pipe.into_iter().chain(client.map(AsFd::as_fd)).collect();
            bytes.extend_from_slice(lines.map_or(&[], |lines| lines.partial()));
            if parcel::send(&heir, &bytes, &descriptors).is_err() {
                return false;
            }
            self.lines.remove(&number);
            self.processes.remove(&number);
            self.end_exchange(number);
        }
        true
    }

    /// Takes over what an earlier worker gives away.
    pub(super) fn inherit(&mut self) {
        loop {
            let Some(legacy) = &self.site.legacy else { return };
            match parcel::receive(legacy) {
                Ok(Some(parcel)) => self.take_over(parcel),
                Err(Errno::AGAIN) => return,
                Ok(None) | Err(_) => {
                    self.waiting.remove(legacy.as_fd(), token(tag::LEGACY, 0));
                    self.site.legacy = None;
                    return self.adopt_the_rest();
                }
            }
        }
    }

    fn take_over(&mut self, mut parcel: parcel::Parcel) {
        let number = |at: usize| {
            let bytes = parcel.bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_ne_bytes)
        };
        let (Some(slot), Some(id), Some(has)) = (number(0), number(8), number(16)) else { return };
        let Ok(slot) = usize::try_from(slot) else { return };
        let Some(entry) = self.site.register.entry(slot).filter(|entry| entry.connection == id) else {
            return;
        };
        if entry.service != self.key {
            return;
        }
        self.site.register.own(slot, self.me);
        // It may have been started after this worker looked at the register.
        if !self.processes.values().any(|process| process.slot == slot && process.id == id) {
            self.adopt_one(&entry);
        }
        let of_it =
            |(_, process): &(&u64, &super::processes::Process)| process.slot == slot && process.id == id;
        let Some(place) = self.processes.iter().find(of_it).map(|(number, _)| *number) else { return };
        let client = if has & CLIENT == 0 { None } else { parcel.descriptors.pop() };
        let pipe = if has & LINES == 0 { None } else { parcel.descriptors.pop() };
        if let Some(pipe) = pipe {
            self.watch_lines(place, pipe, id, parcel.bytes.split_off(HEADER));
        }
        if let Some(client) = client {
            self.watch_client(place, client);
        }
        if has & ASKED != 0 {
            self.ask(place);
        }
    }

    /// The earlier worker has gone. Whatever it did not give away is ours now.
    fn adopt_the_rest(&mut self) {
        let known = |slot| self.processes.values().any(|process| process.slot == slot);
        let entries: Vec<_> = self
            .site
            .register
            .entries()
            .filter(|entry| entry.service == self.key && !known(entry.slot))
            .collect();
        entries.iter().for_each(|entry| self.adopt_one(entry));
        // It may have been killed before it gave away what it had.
        let adopted = self.processes.iter().filter(|(_, process)| process.pidfd.is_some());
        let adopted: Vec<_> = adopted.map(|(number, process)| (*number, process.slot, process.id)).collect();
        for (number, slot, id) in adopted {
            let entry = self.site.register.entry(slot).filter(|entry| entry.connection == id);
            if let Some(entry) = entry.filter(|entry| entry.is_for(self.me)) {
                self.site.register.own(slot, self.me);
                self.recover(number, &entry);
            }
        }
    }
}
