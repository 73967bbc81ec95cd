//! What is measured: the yardsticks, the engines of the real server, and servers on other runtimes (`peers/`), with
//! the command line each one needs.

use crate::client::Load;
use std::io;
use std::process::{Command, Stdio};

#[derive(Clone, Copy)]
pub(crate) enum Subject {
    Yardstick(&'static str),
    Engine(&'static Engine),
    /// A program of `peers/`.
    Peer(&'static str),
}

/// An engine's row: whom it is compared with, and how many connections it can hold at once.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// What `--engine` gets, and what else is said.
    engine: &'static str,
    more: &'static [&'static str],
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

/// The yardstick of datagrams, for whoever serves them.
const DATAGRAMS: &str = "mmsg";
/// Where the programs of other runtimes are.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../peers/Cargo.toml");

/// More workers than this say nothing about an engine, and much about the machine.
const WORKERS: usize = 100;

pub(crate) const ENGINES: [Engine; 10] = [
    Engine::row("iterative", "epoll", Room::One),
    Engine::row("fork", "fork", Room::Any),
    Engine::row("prefork", "fork", Room::Workers),
    Engine::row("threads", "threads", Room::Any),
    Engine::row("pool", "threads", Room::Workers),
    Engine::row("poll", "epoll", Room::Any),
    Engine::row("epoll", "epoll", Room::Any),
    Engine::row("uring", "uring", Room::Any),
    Engine { name: "epoll-busy", more: BUSY, ..Engine::row("epoll", "epoll", Room::Any) },
    Engine { name: "uring-busy", more: BUSY, ..Engine::row("uring", "uring", Room::Any) },
];

const BUSY: &[&str] = &["--busy-poll"];

impl Engine {
    /// Whether this is what `other` would be if it did not look before it sleeps.
    pub(crate) fn is_sleeping(&self, other: &Engine) -> bool {
        self.engine == other.engine && self.more.is_empty() && !other.more.is_empty()
    }

    const fn row(name: &'static str, model: &'static str, room: Room) -> Engine {
        Engine { name, engine: name, more: &[], model, room }
    }
}

/// Builds the servers on other runtimes and names them.
pub(crate) fn peers() -> Result<Vec<Subject>, String> {
    let built = cargo("build").stdout(Stdio::null()).status();
    if !built.as_ref().is_ok_and(|status| status.success()) {
        return Err(format!("cargo could not build {PEERS}"));
    }
    let listed =
        cargo("run").args(["--quiet", "--", "--list"]).output().map_err(|error| error.to_string())?;
    let names: &'static str = String::leak(String::from_utf8_lossy(&listed.stdout).into_owned());
    Ok(names.lines().map(Subject::Peer).collect())
}

fn cargo(verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([verb, "--release", "--locked", "--manifest-path", PEERS]);
    command
}

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
            Subject::Peer(name) => format!("peer:{name}"),
        }
    }

    /// The yardstick of the same model; none for a yardstick itself, or another runtime.
    pub(crate) fn model(self, load: Load) -> Option<&'static str> {
        match (self, load) {
            (Subject::Engine(_), Load::Datagram { .. }) => Some(DATAGRAMS),
            (Subject::Engine(engine), _) => Some(engine.model),
            _ => None,
        }
    }

    /// Whether it is one of those that all are measured against.
    pub(crate) fn is_measure(self, load: Load) -> bool {
        match (self, load) {
            (Subject::Yardstick(name), Load::Datagram { .. }) => name == DATAGRAMS,
            (Subject::Yardstick(name), _) => ["epoll", "uring"].contains(&name),
            _ => false,
        }
    }

    /// Why it cannot take part under this load, if it cannot; nothing to say where nobody would expect it.
    pub(crate) fn unfit(self, load: Load) -> Option<Option<String>> {
        let datagrams = matches!(load, Load::Datagram { .. });
        let engine = match self {
            Subject::Yardstick(name) => {
                let workers = matches!(load, Load::Connect { workers: 2.., .. });
                return (datagrams != (name == DATAGRAMS) || (workers && !self.is_measure(load)))
                    .then_some(None);
            }
            Subject::Peer(_) => return (datagrams || load.workers() > 1).then_some(None),
            Subject::Engine(engine) => engine,
        };
        match (engine.room, load) {
            (Room::One, Load::Echo { connections: 2.., .. }) => {
                Some(Some("it holds one connection at a time".to_owned()))
            }
            (Room::Workers, Load::Echo { connections, .. }) if connections > WORKERS => {
                Some(Some(format!("it would need {connections} workers, one for each connection")))
            }
            (_, Load::Datagram { .. }) if !["iterative", "poll", "epoll", "uring"].contains(&engine.name) => {
                Some(None)
            }
            // Spinning is for those who are alone on their processor.
            (_, Load::Connect { workers: 2.., .. })
                if !engine.more.is_empty() || engine.room as u8 == Room::Workers as u8 =>
            {
                Some(None)
            }
            _ => None,
        }
    }

    pub(crate) fn command(self, load: Option<Load>) -> io::Result<Command> {
        let several = load.map_or(1, Load::workers);
        let engine = match self {
            Subject::Yardstick(name) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--yardstick", name, "--workers", &several.to_string()]);
                return Ok(command);
            }
            Subject::Peer(name) => {
                // cargo becomes the program.
                let mut command = cargo("run");
                command.args(["--quiet", "--", name]);
                return Ok(command);
            }
            Subject::Engine(engine) => engine,
        };
        let program = program().ok_or_else(|| io::Error::other("there is no server binary"))?;
        let kind = if matches!(load, Some(Load::Datagram { .. })) { "udp" } else { "tcp" };
        let mut command = Command::new(program);
        command.args([
            "serve",
            "echo",
            "--listen",
            &format!("{kind}:127.0.0.1:0"),
            "--engine",
            engine.engine,
        ]);
        command.args(["--log", "none", "--format", "json"]).args(engine.more);
        command.args(["--udp-source-rate", "off", "--udp-total-rate", "off"]);
        let workers = match (engine.room, load) {
            (Room::Workers, Some(Load::Echo { connections, .. })) => connections,
            (Room::Workers, Some(Load::Connect { at_once, .. })) => at_once,
            _ => several,
        };
        if workers > 1 || matches!(engine.room, Room::Workers) {
            command.args(["--workers", &workers.to_string()]);
        }
        Ok(command)
    }
}
