//! [`Looker`] and [`Snapshot`]: the sockets that are wanted, and those that are there.

use super::filter::Filter;
use std::collections::BTreeMap;
use switchboard_lab::diag::{Diag, Entry, Error, Holder, Overflow, Owners, Program, State, Wanted};

/// What to look for.
#[derive(Debug)]
pub(super) struct Looker {
    pub(super) tcp: bool,
    pub(super) udp: bool,
    pub(super) raw: bool,
    pub(super) unix: bool,
    /// The kinds were named: one that the kernel does not list is worth a word.
    pub(super) asked: bool,
    pub(super) v4: bool,
    pub(super) v6: bool,
    pub(super) time_wait: bool,
    pub(super) tcp_info: bool,
    pub(super) filter: Filter,
}

/// What was there at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The sockets that passed, in the order in which they are shown.
    pub(super) rows: Vec<Entry>,
    pub(super) owners: Owners,
    /// None if the kernel does not count.
    pub(super) overflow: Option<Overflow>,
    /// Connections in TIME_WAIT that are only counted.
    pub(super) folded: usize,
    /// Kinds that were asked for and that this kernel does not list.
    pub(super) refused: Vec<Error>,
}

impl Looker {
    pub(super) fn look(&self) -> Result<Snapshot, Error> {
        let none = Wanted { tcp: false, udp: false, raw: false, ..Wanted::inet() };
        let base = Wanted { v4: self.v4, v6: self.v6, states: self.filter.states.clone(), ..none };
        let mut diag = Diag::open()?;
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        for wanted in [
            Wanted { tcp: self.tcp, tcp_info: self.tcp_info, ..base.clone() },
            Wanted { udp: self.udp, ..base.clone() },
            Wanted { raw: self.raw, ..base.clone() },
            Wanted { unix: self.unix, ..base.clone() },
        ] {
            match diag.sockets(&wanted) {
                Ok(some) => rows.extend(some),
                Err(error @ Error::Refused { .. }) if self.asked || wanted.tcp => refused.push(error),
                Err(Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // After the sockets: what was opened meanwhile is not shown, what was closed has no owner.
        let owners = Owners::look().map_err(|source| Error::System { call: "reading /proc", source })?;
        rows.retain(|entry| self.filter.passes(entry, &owners));
        let before = rows.len();
        if !self.time_wait {
            rows.retain(|entry| entry.state != State::TimeWait);
        }
        let folded = before - rows.len();
        rows.sort_by_cached_key(|entry| {
            let (local, peer) = (entry.local.port(), entry.peer.as_ref().and_then(|peer| peer.port()));
            let ends = (entry.local.clone(), entry.peer.clone());
            (entry.state != State::Listen, entry.protocol, local, peer, ends, entry.inode)
        });
        Ok(Snapshot { rows, owners, overflow: Overflow::look(None).ok(), folded, refused })
    }
}

impl Snapshot {
    /// Who holds a socket: each with the name of its program.
    pub(super) fn holders(&self, entry: &Entry) -> impl Iterator<Item = (Holder, &str)> {
        let name = |pid| self.owners.program(pid).map_or("?", |program| &*program.name);
        self.owners.of(entry.inode).iter().map(move |holder| (*holder, name(holder.pid)))
    }

    /// Programs of the shown sockets that have zombie children.
    pub(super) fn negligent(&self) -> Vec<&Program> {
        let holders = self.rows.iter().flat_map(|entry| self.owners.of(entry.inode));
        let programs = holders.filter_map(|holder| self.owners.program(holder.pid));
        let negligent = programs.filter(|program| !program.zombies.is_empty());
        let by_pid: BTreeMap<i32, &Program> = negligent.map(|program| (program.pid, program)).collect();
        by_pid.into_values().collect()
    }

    /// What cannot be seen with the privileges at hand.
    pub(super) fn unseen(&self) -> Option<String> {
        let without = |entry: &&Entry| entry.inode != 0 && self.owners.of(entry.inode).is_empty();
        let count = self.rows.iter().filter(without).count();
        let hidden = self.owners.hidden;
        (count > 0 && hidden > 0).then(|| {
            format!(
                "owners of {count} sockets are not shown: {hidden} processes of other users hide their descriptors; \
                 CAP_SYS_PTRACE (root has it) would show them"
            )
        })
    }
}
