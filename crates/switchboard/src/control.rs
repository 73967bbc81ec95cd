//! What is said over the control socket: one JSON object a line, a [`Request`] from the client and one [`Reply`].
//! Both ends are in this program, of the same or of different versions.

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard_net::Announced;

/// What a client asks of a running server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// What is going on.
    Status,
    /// Read the configuration again.
    Reload,
    /// Start the new binary and hand over to it.
    Upgrade,
    /// Accept no more, let conversations end, and end. `notice_ms`: first go on as before for so long, while `health`
    /// says that the end is near. `timeout_ms`: cut what is left after this long; none: as configured.
    Drain {
        /// See above.
        notice_ms: u64,
        /// See above.
        timeout_ms: Option<u64>,
    },
    /// Announce of one service whether it wants work, to balancers who ask the agent; it is served as before.
    Announce {
        /// Its id.
        service: String,
        /// `serving`, `draining` or `maintenance`.
        state: Announcement,
    },
    /// Cut everything, and end.
    Stop,
    /// End one connection: its number, or its peer's address.
    Terminate {
        /// See above.
        connection: String,
    },
}

/// What is announced of one service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Announcement {
    Serving,
    Draining,
    Maintenance,
}

impl From<Announcement> for Announced {
    fn from(announcement: Announcement) -> Announced {
        match announcement {
            Announcement::Serving => Announced::Serving,
            Announcement::Draining => Announced::Draining,
            Announcement::Maintenance => Announced::Maintenance,
        }
    }
}

/// What the server answers.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Whether it was done.
    pub(crate) ok: bool,
    /// What was done, or why not; lines for people.
    #[serde(default)]
    pub(crate) text: Vec<String>,
    /// To [`Request::Stop`]: the server has ended after this long at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) within_ms: Option<u64>,
    /// To [`Request::Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Status>,
}

/// A running server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Name of this format.
    pub(crate) schema: String,
    /// Version of this format.
    pub(crate) version: u32,
    /// Version of the program.
    pub(crate) program: String,
    /// Process number of the supervisor.
    pub(crate) pid: u32,
    /// `serving`, `noticed` (about to drain), `draining`.
    pub(crate) state: String,
    /// Seconds since it began.
    pub(crate) uptime_s: f64,
    /// Reloads that changed something or nothing, and those that were refused.
    pub(crate) reloads: u64,
    /// See above.
    pub(crate) reloads_refused: u64,
    /// Upgrades that led to this process.
    pub(crate) upgrades: u64,
    /// Lines of the log that could not be written: the disk was full, or whoever reads the log too slow.
    #[serde(default)]
    pub(crate) log_lines_lost: u64,
    /// The configuration's files.
    pub(crate) files: Vec<PathBuf>,
    /// What is served.
    pub(crate) services: Vec<ServiceStatus>,
    /// Running programs, one for each connection or listener.
    pub(crate) programs: Vec<ProgramStatus>,
    /// Conversations of built-in services and relays, the oldest first, up to 1,000; and how many more there are.
    #[serde(default)]
    pub(crate) connections: Vec<ConnectionStatus>,
    /// See above.
    #[serde(default)]
    pub(crate) connections_unlisted: u64,
    /// Worker processes that serve on without listeners, after a reload.
    pub(crate) retired: Vec<RetiredStatus>,
}

/// One service, or several that share their workers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ServiceStatus {
    /// Id.
    pub(crate) id: String,
    /// Engine, `program`, `relay`, `tcpmux`.
    pub(crate) by: String,
    /// `serving`, `failed`; `draining` or `maintenance` if that was announced of it.
    pub(crate) state: String,
    /// Addresses, with their queues.
    pub(crate) listeners: Vec<ListenerStatus>,
    /// Worker processes.
    pub(crate) workers: Vec<i32>,
    /// Workers that died and were started again.
    pub(crate) restarts: u64,
    /// Conversations now.
    pub(crate) open: u64,
    /// Every counter by name; since the service began, across reloads and upgrades.
    pub(crate) counters: std::collections::BTreeMap<String, u64>,
}

/// One listener.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ListenerStatus {
    /// Service.
    pub(crate) service: String,
    /// Where.
    pub(crate) endpoint: String,
    /// Connections waiting to be accepted, where the kernel tells.
    pub(crate) waiting: Option<u64>,
}

/// A running program.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ProgramStatus {
    /// The connection's number.
    pub(crate) connection: u64,
    /// Service.
    pub(crate) service: String,
    /// Process number.
    pub(crate) pid: i32,
    /// Client.
    pub(crate) peer: String,
    /// Seconds since it was started.
    pub(crate) age_s: f64,
}

/// A conversation of a built-in service, or a relayed one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ConnectionStatus {
    /// The connection's number.
    pub(crate) connection: u64,
    /// Service.
    pub(crate) service: String,
    /// The process that serves it.
    pub(crate) pid: i32,
    /// Client.
    pub(crate) peer: String,
    /// Seconds since it was accepted.
    pub(crate) age_s: f64,
}

/// A worker without listeners.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct RetiredStatus {
    /// Service.
    pub(crate) service: String,
    /// Process number.
    pub(crate) pid: i32,
}

/// Environment variable with the control socket's path.
pub(crate) const VARIABLE: &str = "SWITCHBOARD_CONTROL";
/// A request is no longer than this, in bytes.
pub(crate) const LONGEST_REQUEST: usize = 4_096;

/// Where the control socket is if nobody says: in the user's run-time directory, or `/run` for root.
pub(crate) fn default_path() -> PathBuf {
    match std::env::var_os(VARIABLE).or_else(|| {
        std::env::var_os("XDG_RUNTIME_DIR").map(|dir| {
            let mut path = PathBuf::from(dir);
            path.push("switchboard.sock");
            path.into_os_string()
        })
    }) {
        Some(path) => path.into(),
        None => "/run/switchboard.sock".into(),
    }
}

/// Asks the server at `path`, and waits for its answer, at most `patience`.
///
/// # Errors
/// Nobody is there, or does not answer as expected: in words.
pub(crate) fn ask(path: &Path, request: &Request, patience: Duration) -> Result<Reply, String> {
    let failed = |error: std::io::Error| {
        format!(
            "cannot ask the server at {}: {error}. It must have been started with --control, or `control` in its \
             file; --control says where here too",
            path.display()
        )
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(patience)).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(failed)?;
    if answer.is_empty() {
        return Err(format!("the server at {} ended without an answer", path.display()));
    }
    serde_json::from_str(&answer)
        .map_err(|error| format!("the server at {} answered something else: {error}", path.display()))
}
