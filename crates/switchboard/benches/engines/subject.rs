//! What is measured: the yardsticks, and the engines of the real server, with the command line each one
//! needs.

use crate::client::Load;
use std::io;
use std::process::Command;

#[derive(Clone, Copy)]
pub(crate) enum Subject {
    Yardstick(&'static str),
    Engine(&'static Engine),
}

/// An engine's row: whom it is compared with, and how many connections it can hold at once.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// The yardstick that waits the way this engine does.
    model: &'static str,
    room: Room,
}

#[derive(Clone, Copy)]
enum Room {
    One,
    /// A connection occupies a worker, and every worker exists from the start.
    Workers,
    Any,
}

/// More workers than this say nothing about an engine, and much about the machine.
const WORKERS: usize = 100;

pub(crate) const ENGINES: [Engine; 8] = [
    Engine { name: "iterative", model: "epoll", room: Room::One },
    Engine { name: "fork", model: "fork", room: Room::Any },
    Engine { name: "prefork", model: "fork", room: Room::Workers },
    Engine { name: "threads", model: "threads", room: Room::Any },
    Engine { name: "pool", model: "threads", room: Room::Workers },
    Engine { name: "poll", model: "epoll", room: Room::Any },
    Engine { name: "epoll", model: "epoll", room: Room::Any },
    Engine { name: "uring", model: "uring", room: Room::Any },
];

/// The server's binary: built along by cargo, or named by the environment where it is not.
pub(crate) fn program() -> Option<String> {
    option_env!("CARGO_BIN_EXE_switchboard")
        .map(str::to_owned)
        .or_else(|| std::env::var("SWITCHBOARD_BIN").ok())
}

impl Subject {
    pub(crate) fn title(self) -> String {
        match self {
            Subject::Yardstick(name) => format!("yardstick:{name}"),
            Subject::Engine(engine) => engine.name.to_owned(),
        }
    }

    /// The yardstick of the same model; none for a yardstick itself.
    pub(crate) fn model(self) -> Option<&'static str> {
        match self {
            Subject::Yardstick(_) => None,
            Subject::Engine(engine) => Some(engine.model),
        }
    }

    /// Why it cannot take part under this load, if it cannot.
    pub(crate) fn unfit(self, load: Load) -> Option<String> {
        let Subject::Engine(engine) = self else { return None };
        match (engine.room, load) {
            (Room::One, Load::Echo { connections: 2.., .. }) => {
                Some("it holds one connection at a time".to_owned())
            }
            (Room::Workers, Load::Echo { connections, .. }) if connections > WORKERS => {
                Some(format!("it would need {connections} workers, one for each connection"))
            }
            _ => None,
        }
    }

    pub(crate) fn command(self, load: Option<Load>) -> io::Result<Command> {
        let engine = match self {
            Subject::Yardstick(name) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--yardstick", name]);
                return Ok(command);
            }
            Subject::Engine(engine) => engine,
        };
        let program = program().ok_or_else(|| io::Error::other("there is no server binary"))?;
        let mut command = Command::new(program);
        command.args(["serve", "echo", "--listen", "tcp:127.0.0.1:0", "--engine", engine.name]);
        command.args(["--log", "none", "--format", "json"]);
        if let Room::Workers = engine.room {
            let workers = match load {
                Some(Load::Echo { connections, .. }) => connections,
                Some(Load::Connect { at_once }) => at_once,
                Some(Load::Stream) | None => 1,
            };
            command.args(["--workers", &workers.to_string()]);
        }
        Ok(command)
    }
}
