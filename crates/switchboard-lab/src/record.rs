//! [`Recording`]: one ordered log of everything that was seen, with one clock; the source of every output.

use serde::{Deserialize, Serialize};

/// Nanoseconds on `CLOCK_MONOTONIC`; as it is in the whole machine, so that all observers share it.
pub type Nanos = u64;

/// A host of the run, by its place in [`Header::hosts`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(pub u8);

/// What was run, and all that was seen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recording {
    /// What was run.
    pub header: Header,
    /// Everything in the order in which it happened.
    pub events: Vec<Event>,
}

/// What was run, where.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Version of this format: 1.
    pub version: u32,
    /// The scenario's id, such as `14-child-killed`; or `trace`.
    pub scenario: String,
    /// One line for people.
    pub title: String,
    /// Seed of all randomness.
    pub seed: u64,
    /// `uname -r`.
    pub kernel: String,
    /// When the run began: [`Nanos`] of the first moment, and the same moment as nanoseconds since 1970.
    pub began_at_ns: Nanos,
    /// See [`Header::began_at_ns`].
    pub began_unix_ns: u64,
    /// The hosts; for a plain trace, one.
    pub hosts: Vec<HostInfo>,
}

/// A host as people see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostInfo {
    /// `client`, `server`, `router`, …
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// The command line of the program on it, if any.
    pub program: Option<String>,
}

/// One thing that was seen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When; for a call that returned, when it returned.
    pub at_ns: Nanos,
    /// On which host; none for what happens to the wire or to the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What was seen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The scenario did something on purpose: `crash server`, `cut the wire`.
    Step {
        /// What, in words.
        text: String,
    },
    /// A remark of the lab's: a trigger fired, a limit was reached.
    Note {
        /// In words.
        text: String,
    },
    /// A system call was entered and may block; it is followed by a [`What::Call`] with the same `tid` and `serial`
    /// when it returns, if it does.
    CallEntered(Call),
    /// A system call returned.
    Call(Call),
    /// A signal was delivered to a process.
    Signal(Signal),
    /// A process or thread began, became another program, stopped, or ended.
    Process(Process),
    /// A packet at one point of its way.
    Packet(Packet),
    /// A socket changed state or queues.
    Socket(Socket),
    /// A program wrote to its standard output or error, or read its input, as the lab connected them.
    Output {
        /// The process.
        pid: i32,
        /// 0, 1 or 2.
        stream: u8,
        /// What.
        #[serde(with = "hex")]
        bytes: Vec<u8>,
    },
}

/// A system call of a watched thread. Numbers are as the kernel sees them in the machine's own pid namespace.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Call {
    /// Process (thread group).
    pub pid: i32,
    /// Thread.
    pub tid: i32,
    /// Counts the calls of the whole run; pairs [`What::CallEntered`] with [`What::Call`].
    pub serial: u64,
    /// `recvfrom`, …
    pub name: String,
    /// Arguments as people write them: name and decoded value, in order.
    pub arguments: Vec<(String, String)>,
    /// The descriptor that it acts on, if it acts on one.
    pub fd: Option<i32>,
    /// The socket behind `fd`, by inode number, if it is a socket.
    pub socket: Option<u64>,
    /// First bytes of the data that moved, at most 64; the whole number of bytes is the result.
    #[serde(with = "hex", skip_serializing_if = "Vec::is_empty", default)]
    pub data: Vec<u8>,
    /// What it returned; none while it is blocked, or if it never returned.
    pub result: Option<Returned>,
    /// From entry to return, in nanoseconds; being watched makes some 10 µs of it.
    pub took_ns: Nanos,
    /// A signal interrupted it and the kernel started it again (`SA_RESTART`).
    pub restarted: bool,
    /// The lab changed it: which way, in words (`first 3 of 100 bytes`, `ECONNABORTED injected`).
    pub injected: Option<String>,
}

/// What a system call returned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returned {
    /// Success.
    Value(i64),
    /// Failure: errno.
    Errno(i32),
}

/// A signal that was delivered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signal {
    /// Process (thread group).
    pub pid: i32,
    /// Thread.
    pub tid: i32,
    /// Number, such as 13 for SIGPIPE.
    pub signal: i32,
    /// Who sent it, if a process did.
    pub sender: Option<i32>,
    /// What the process does with it.
    pub disposition: Disposition,
}

/// What a process does with a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// The default of signal(7).
    Default,
    /// Ignored.
    Ignored,
    /// A handler runs.
    Handled,
}

/// What became of a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process (thread group).
    pub pid: i32,
    /// Thread; equal to `pid` for the first.
    pub tid: i32,
    /// What happened.
    pub change: Change,
}

/// See [`Process`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Began, as a child (or thread) of `parent`.
    Started {
        /// The parent's process number.
        parent: i32,
        /// A thread of the same process.
        thread: bool,
    },
    /// Became another program.
    Executed {
        /// The command line.
        command: Vec<String>,
    },
    /// Ended by exit.
    Exited {
        /// Its status.
        status: i32,
        /// Sockets that were open at that moment, in words.
        open_sockets: Vec<String>,
    },
    /// Ended by a signal.
    Killed {
        /// Which.
        signal: i32,
        /// With a core dump.
        core: bool,
        /// Sockets that were open at that moment, in words.
        open_sockets: Vec<String>,
    },
    /// Ended, and its parent has not waited for it.
    Zombie,
    /// Its parent has waited for it, or has said that it never will (SIGCHLD ignored): it leaves no zombie.
    Reaped,
    /// Stopped or continued by a signal.
    Stopped(bool),
    /// A sample of `/proc`: CPU time used so far, and where it sleeps.
    Sampled {
        /// User and system time in nanoseconds.
        cpu_ns: Nanos,
        /// One letter of proc_pid_stat(5).
        state: char,
        /// System call it sleeps in, and its first argument, if it sleeps in one.
        blocked_in: Option<(String, i64)>,
        /// Descriptors open.
        descriptors: u32,
    },
}

/// A packet at one point of its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Packet {
    /// Counts packets; the same at every point of one packet's way. A duplicate has a number of its own.
    pub id: u64,
    /// Host that it left, if it was not made by the wire.
    pub from: Option<HostId>,
    /// Host that it is for.
    pub to: HostId,
    /// Which point.
    pub point: Point,
    /// The IP packet, from the IP header on; cut to the recorded length.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
    /// Length of the whole packet.
    pub length: u32,
}

/// Where on its way a packet was seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// It left its host.
    Sent,
    /// It reached the other host.
    Delivered,
    /// It reached nobody: why, in words (`random loss`, `black hole`, `host is down`).
    Dropped(String),
    /// The wire made it, or changed it, on purpose: why, in words. It is then delivered.
    Forged(String),
}

/// A socket as sock_diag(7) tells of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Socket {
    /// Inode number; 0 for one that no process holds any more.
    pub inode: u64,
    /// `tcp`, `udp`, `unix`, …
    pub protocol: String,
    /// Local address.
    pub local: String,
    /// Peer's address, if connected.
    pub peer: Option<String>,
    /// `ESTABLISHED`, …; `GONE` when it was there before and is no more.
    pub state: String,
    /// Receive queue: bytes, or connections waiting for accept on a listener.
    pub receive_queue: u32,
    /// Send queue: bytes not yet acknowledged, or the backlog of a listener.
    pub send_queue: u32,
    /// The timer that runs, in words (`retransmit in 0.4 s, 3rd`), if any.
    pub timer: Option<String>,
}

/// Bytes as lower-case hexadecimal text.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Write;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if text.len() % 2 != 0 {
            return Err(D::Error::custom("an odd number of hexadecimal digits"));
        }
        (0..text.len())
            .step_by(2)
            .map(|at| digit(at).ok_or_else(|| D::Error::custom("not hexadecimal")))
            .collect()
    }
}
