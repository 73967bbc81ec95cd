//! [`Contestant`]: a server that takes part, and how it is started for a case.

use super::case::{Case, Kind};
use crate::command::load::started::PORT;
use crate::config::value::Words;
use std::ffi::OsString;
use std::str::FromStr;
use switchboard_net::{EngineRow, Workers};

/// More workers than this say nothing about an engine that needs one for each connection.
const MOST_WORKERS: usize = 100;
/// Idle connections of those who give each a process or a thread.
const FEW: usize = 1_000;

/// Another server, from the command line.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    name: String,
    words: Vec<String>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let (name, command) = text
            .split_once('=')
            .filter(|(name, _)| !name.trim().is_empty())
            .ok_or("expected NAME=COMMAND, such as 'mine=./echo {port}'")?;
        let words = Words::split(command)?;
        if !words.iter().any(|word| word.contains(PORT)) {
            return Err(format!("the command of {name} does not say where the port belongs: {PORT}"));
        }
        Ok(Peer { name: name.trim().to_owned(), words })
    }
}

enum Who {
    Engine { row: &'static EngineRow, workers: Option<usize>, busy: bool },
    Peer(Peer),
}

pub(super) struct Contestant {
    /// As tables call it.
    pub(super) title: String,
    who: Who,
}

/// What to start, and how its port is learned.
pub(super) enum Start {
    /// It names it.
    Own(Vec<OsString>),
    /// It is told.
    Told(Vec<String>),
}

impl Contestant {
    /// An engine of ours; `workers`: how many, if that is not one for each connection.
    pub(super) fn engine(row: &'static EngineRow, workers: Option<usize>, busy: bool) -> Contestant {
        let mut title = row.name.to_owned();
        if let Some(count @ 2..) = workers {
            title.push_str(&format!(" ×{count}"));
        }
        if busy {
            title.push_str(" busy");
        }
        Contestant { title, who: Who::Engine { row, workers, busy } }
    }

    pub(super) fn peer(peer: Peer) -> Contestant {
        Contestant { title: peer.name.clone(), who: Who::Peer(peer) }
    }

    /// Whether it is an engine of ours.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.who, Who::Engine { .. })
    }

    /// The engine's name, for `--engine`.
    pub(super) fn engine_name(&self) -> Option<&'static str> {
        match &self.who {
            Who::Engine { row, .. } => Some(row.name),
            Who::Peer(_) => None,
        }
    }

    /// Its number of workers, if that is the same in all cases.
    pub(super) fn workers(&self) -> Option<usize> {
        match &self.who {
            Who::Engine { workers, .. } => *workers,
            Who::Peer(_) => None,
        }
    }

    /// What `serve` gets beside the engine.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.who, Who::Engine { busy: true, .. })
    }

    /// How many connections it can have in this case; or why it is left out.
    pub(super) fn room(&self, case: &Case, connections: usize) -> Result<usize, String> {
        let Who::Engine { row, .. } = &self.who else { return Ok(connections) };
        let by_worker = row.workers != Workers::ReusePort;
        match case.kind {
            Kind::Connect => Ok(connections),
            Kind::Ask if row.name == "iterative" && connections > 1 => {
                Err("one conversation at a time".into())
            }
            Kind::Ask if by_worker && connections > MOST_WORKERS => {
                Err("one worker for each connection".into())
            }
            Kind::Hold if row.name == "iterative" => Err("one conversation at a time".into()),
            Kind::Hold if by_worker => Err("its memory is that of its workers".into()),
            Kind::Hold if ["fork", "threads"].contains(&row.name) => Ok(connections.min(FEW)),
            Kind::Ask | Kind::Hold => Ok(connections),
        }
    }

    /// The command, for so many connections at once.
    pub(super) fn start(&self, connections: usize) -> Start {
        let (row, workers, busy) = match &self.who {
            Who::Engine { row, workers, busy } => (row, workers, busy),
            Who::Peer(peer) => return Start::Told(peer.words.clone()),
        };
        let workers = workers.unwrap_or(connections).to_string();
        let mut words = vec!["serve", "echo", "--listen", "tcp:127.0.0.1:0", "--engine", row.name];
        words.extend(["--workers", &workers, "--log", "none", "--format", "json"]);
        if *busy {
            words.push("--busy-poll");
        }
        Start::Own(words.into_iter().map(OsString::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_name_and_a_command_with_a_place_for_the_port() {
        let peer: Peer = "go=./echo -addr '127.0.0.1:{port}'".parse().expect("right");
        assert_eq!(peer.name, "go");
        assert_eq!(peer.words, ["./echo", "-addr", "127.0.0.1:{port}"]);
        for (text, problem) in [
            ("./echo {port}", "expected NAME=COMMAND"),
            ("=./echo {port}", "expected NAME=COMMAND"),
            ("go=./echo", "does not say where the port belongs"),
            ("go=./echo '{port}", "not closed"),
        ] {
            assert!(text.parse::<Peer>().is_err_and(|error| error.contains(problem)), "{text}");
        }
    }
}
