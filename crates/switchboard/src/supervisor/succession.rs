//! The running server's part in an upgrade: when one may begin, what the successor is given, and what its success or
//! failure means here.

use super::upgrade::{Outcome, Upgrading};
use super::{State, Supervisor};
use crate::control::Reply;
use crate::report::Output;
use rustix::fd::{AsFd, BorrowedFd};
use switchboard_net::sys::process;

/// What a successor knows the ledger of admissions by.
pub(super) const LEDGER: &str = "ledger";
/// What a successor knows by this and the service's id: the socket on which the worker here hands its programs over.
pub(super) const BEQUEST: &str = "bequest ";
/// What a successor knows the register of running programs by.
pub(super) const REGISTER: &str = "programs";
/// What a successor knows the roster of conversations by.
pub(super) const ROSTER: &str = "connections";

impl Supervisor {
    /// Starts a successor; the answer to whoever asked comes when it serves, or does not.
    pub(super) fn upgrade(&mut self, client: Option<u64>) -> Result<(), String> {
        let begun = if self.state != State::Serving || self.upgrading.is_some() {
            Err("the server is draining, or being upgraded already".to_owned())
        } else {
            Upgrading::begin(self, client)
        };
        match begun {
            Ok(upgrading) => {
                self.journal.event("upgrade: a successor was started");
                self.upgrading = Some(upgrading);
                Ok(())
            }
            Err(why) => {
                self.journal.event(&why);
                Err(why)
            }
        }
    }

    pub(super) fn look_at_successor(&mut self, out: &mut Output) {
        let Some(mut upgrading) = self.upgrading.take() else { return };
        let Some(outcome) = upgrading.advance(self) else {
            self.upgrading = Some(upgrading);
            return;
        };
        let client = upgrading.client;
        let (successor, text) = match outcome {
            Outcome::Serving(pid) => (Some(pid), format!("process {pid} serves now; this one drains")),
            Outcome::Failed(why) => (None, why),
        };
        if successor.is_none() {
            // It may have got as far as to say whose process this is.
            self.board.scores.set_supervisor(process::id().as_raw_pid());
            let _ = self.write_pid_file();
        }
        self.journal.event(&format!("upgrade: {text}"));
        if let (Some(client), Some(control)) = (client, &mut self.control) {
            control.answer(client, &Reply { ok: successor.is_some(), text: vec![text], ..Reply::default() });
        }
        if let Some(pid) = successor {
            self.notify.successor(pid);
            self.handed_over = true;
            if let Some(control) = &mut self.control {
                control.disown();
            }
            self.control = None;
            self.drain(None, out);
        }
    }

    /// Other descriptors that a successor is given, by name.
    pub(super) fn others(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let descriptors = [
            (LEDGER, self.ledger.descriptor()),
            (REGISTER, self.programs.file.as_fd()),
            (ROSTER, self.connections.file.as_fd()),
        ];
        let bequests = self.units.iter().filter_map(|unit| {
            let bequest = unit.bequest.as_ref()?;
            Some((format!("{BEQUEST}{}", unit.name()), bequest.to.as_fd()))
        });
        descriptors.into_iter().map(|(name, fd)| (name.to_owned(), fd)).chain(bequests)
    }
}
