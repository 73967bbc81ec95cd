//! What all processes of a server share, and a successor is handed: [`Board`], the counters; [`Programs`], the register of
//! running programs; [`Connections`], the roster of conversations of built-in services and relays.

use rustix::fd::OwnedFd;
use switchboard_net::confine::Tree;
use switchboard_net::program::Register;
use switchboard_net::roster::Roster;
use switchboard_net::{Counters, Error, MAX_SERVICES, Scoreboard};
use switchboard_proto::Instant;

/// The counters of all services, and which is whose.
pub(super) struct Board {
    pub(super) file: OwnedFd,
    pub(super) scores: &'static Scoreboard,
    /// Names of units by their place; a name stays when its unit goes, and is found again when it comes back.
    pub(super) slots: Vec<String>,
}

/// The programs that run for clients, written down by the workers.
pub(super) struct Programs {
    pub(super) file: OwnedFd,
    pub(super) register: &'static Register,
    /// Connections that are being terminated.
    pub(super) terminating: Vec<Terminating>,
}

/// A connection that is being terminated.
pub(super) struct Terminating {
    /// Its number.
    pub(super) connection: u64,
    /// When its program is killed.
    pub(super) kill_at: Instant,
    /// The program with all that it made, if it has a cgroup of its own.
    pub(super) tree: Option<Tree>,
}

/// The conversations that are going on, written down by whoever serves them.
pub(super) struct Connections {
    pub(super) file: OwnedFd,
    pub(super) roster: &'static Roster,
}

impl Connections {
    pub(super) fn new() -> Result<Connections, Error> {
        let (file, roster) = Roster::create()?;
        Ok(Connections { file, roster })
    }

    pub(super) fn open(file: OwnedFd) -> Result<Connections, Error> {
        let roster = Roster::open(&file)?;
        Ok(Connections { file, roster })
    }
}

impl Programs {
    pub(super) fn new() -> Result<Programs, Error> {
        let (file, register) = Register::create()?;
        Ok(Programs { file, register, terminating: Vec::new() })
    }

    pub(super) fn open(file: OwnedFd) -> Result<Programs, Error> {
        let register = Register::open(&file)?;
        Ok(Programs { file, register, terminating: Vec::new() })
    }
}

impl Board {
    pub(super) fn new() -> Result<Board, Error> {
        let (file, scores) = Scoreboard::create()?;
        Ok(Board { file, scores, slots: Vec::new() })
    }

    /// The place of the unit called `name`. Beyond the last place, the last one is shared.
    pub(super) fn slot(&mut self, name: &str) -> usize {
        if let Some(at) = self.slots.iter().position(|slot| slot == name) {
            return at;
        }
        if self.slots.len() < MAX_SERVICES {
            self.slots.push(name.to_owned());
        }
        self.slots.len() - 1
    }

    pub(super) fn of(&self, slot: usize) -> &'static Counters {
        &self.scores.services[slot]
    }
}
