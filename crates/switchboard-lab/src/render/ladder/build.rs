//! Events become rows, one after the other.

mod packets;

use super::{Banner, Bar, Cell, Content, Ladder, Place, Row, Span, Tone};
use crate::record::{Call, Change, Event, HostId, Nanos, Recording, Returned, Socket, What};
use crate::render::flow::Flows;
use crate::render::wording;
use std::collections::{HashMap, HashSet};

/// Things in different columns share a row if they happened within this time.
const TOGETHER_NS: Nanos = 1_000_000;
/// Calls whose success is told by what becomes of a process.
const TOLD_OTHERWISE: [&str; 8] =
    ["execve", "execveat", "fork", "vfork", "clone", "clone3", "exit", "exit_group"];
/// Calls that move no data and change no connection.
const QUIET: [&str; 12] = [
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "fcntl",
    "ioctl",
    "epoll_create1",
    "epoll_ctl",
    "eventfd2",
];
/// A call that did not wait says how long it took if it was at least this long; less is the watching itself.
const LONG_NS: Nanos = 50_000_000;
/// Bars and strips beside each other; more are drawn over one another.
const TRACKS: usize = 3;

/// A call that has not returned: the row in which it was entered, its bar, its process.
struct Waiting {
    row: usize,
    bar: usize,
    pid: i32,
    tid: i32,
}

/// A socket over time, by what does not change.
type SocketKey = (usize, String, String, Option<String>);

pub(super) fn rows(recording: &Recording) -> Ladder {
    let hosts: Vec<String> =
        recording.header.hosts.iter().map(|host| wording::harmless(&host.name)).collect();
    let hosts = if hosts.is_empty() { vec!["host".to_owned()] } else { hosts };
    let ladder = Ladder {
        hosts,
        rows: Vec::new(),
        bars: Vec::new(),
        arrows: Vec::new(),
        spans: Vec::new(),
        row_of: vec![None; recording.events.len()],
    };
    let mut callers: HashMap<Option<HostId>, HashSet<i32>> = HashMap::new();
    for event in &recording.events {
        if let What::Call(call) | What::CallEntered(call) = &event.what {
            callers.entry(event.host).or_default().insert(call.tid);
        }
    }
    let crowded = callers.iter().filter(|(_, callers)| callers.len() > 1);
    let crowded = crowded.map(|(host, _)| host.map_or(0, |host| usize::from(host.0))).collect();
    let mut builder = Builder {
        crowded,
        ladder,
        began: recording.header.began_at_ns,
        flows: Flows::default(),
        waiting: HashMap::new(),
        under_way: HashMap::new(),
        states: HashMap::new(),
    };
    for (index, event) in recording.events.iter().enumerate() {
        builder.event(index, event);
    }
    let last = builder.ladder.rows.len().saturating_sub(1);
    for bar in builder.ladder.bars.iter_mut().filter(|bar| bar.stuck) {
        bar.to = last;
    }
    for (span, _) in builder.states.into_values() {
        builder.ladder.spans[span].to = last;
    }
    builder.ladder
}

struct Builder {
    ladder: Ladder,
    /// Hosts on which several threads or processes are watched: there each call says whose it is.
    crowded: HashSet<usize>,
    began: Nanos,
    flows: Flows,
    /// Calls that have not returned, by serial number.
    waiting: HashMap<u64, Waiting>,
    /// Packets that have neither arrived nor been lost: id → arrow.
    under_way: HashMap<u64, usize>,
    /// The present span of each socket, and its inode number.
    states: HashMap<SocketKey, (usize, u64)>,
}

impl Builder {
    fn event(&mut self, index: usize, event: &Event) {
        let at_ns = event.at_ns.saturating_sub(self.began);
        let host = event.host.and_then(|host| self.host(host));
        // What is on no known host still has its place on the axis.
        let here = host.unwrap_or(0);
        match &event.what {
            What::Step { text } => self.banner(index, at_ns, Banner::Step, host, wording::harmless(text)),
            What::Note { text } => self.banner(index, at_ns, Banner::Note, host, wording::harmless(text)),
            What::Signal(signal) => self.banner(index, at_ns, Banner::Signal, host, wording::signal(signal)),
            What::Process(process) => {
                if let Some(text) = wording::process(process) {
                    let death = matches!(process.change, Change::Killed { .. });
                    let of = if death { Banner::Death } else { Banner::Process };
                    self.banner(index, at_ns, of, host, text);
                }
                if matches!(process.change, Change::Killed { .. } | Change::Exited { .. }) {
                    self.ended(process.pid, process.tid);
                }
            }
            What::CallEntered(call) => self.entered(index, at_ns, here, call),
            What::Call(call) => self.returned(index, at_ns, here, call),
            What::Packet(packet) => self.packet(index, at_ns, packet),
            What::Socket(socket) => self.socket(index, at_ns, here, socket),
            What::Output { pid, stream, bytes } => {
                let name =
                    ["stdin", "stdout", "stderr"].get(usize::from(*stream)).copied().unwrap_or("output");
                let sign = if *stream == 0 { '<' } else { '>' };
                let cell = Cell {
                    place: Place::Calls(here),
                    text: format!("{name} {sign} {}", wording::quoted(bytes, bytes.len(), 40)),
                    details: format!("process {pid}, {name}: {}", wording::quoted(bytes, bytes.len(), 400)),
                    tone: Tone::Output,
                    wire: None,
                };
                self.cell(index, at_ns, cell);
            }
        }
    }

    fn host(&self, host: HostId) -> Option<usize> {
        let host = usize::from(host.0);
        (host < self.ladder.hosts.len()).then_some(host)
    }

    fn banner(&mut self, index: usize, at_ns: Nanos, of: Banner, host: Option<usize>, text: String) {
        self.row(at_ns, Content::Banner { of, host, text });
        self.ladder.row_of[index] = Some(self.ladder.rows.len() - 1);
    }

    /// A process (or one of its threads) has ended, and whatever it waited for with it.
    fn ended(&mut self, pid: i32, tid: i32) {
        let last = self.ladder.rows.len() - 1;
        self.waiting.retain(|_, waiting| {
            let ends = if tid == pid { waiting.pid == pid } else { waiting.tid == tid };
            if ends {
                let bar = &mut self.ladder.bars[waiting.bar];
                (bar.to, bar.stuck) = (last, false);
                bar.details.push_str("; its process ended first");
            }
            !ends
        });
    }

    fn row(&mut self, at_ns: Nanos, content: Content) {
        // Observers are several and the log is in order; should it not be, the axis still goes one way.
        let at_ns = self.ladder.rows.last().map_or(at_ns, |row| row.at_ns.max(at_ns));
        self.ladder.rows.push(Row { line: None, at_ns, content, cited: false });
    }

    /// Adds a cell to the last row, if it is of the same moment and has room there, or to a new one.
    fn cell(&mut self, index: usize, at_ns: Nanos, cell: Cell) -> usize {
        let fits = self.ladder.rows.last().is_some_and(|row| {
            let Content::Cells(cells) = &row.content else { return false };
            at_ns.saturating_sub(row.at_ns) < TOGETHER_NS
                && cells.iter().all(|other| !overlap(other.place, cell.place))
        });
        if !fits {
            self.row(at_ns, Content::Cells(Vec::new()));
        }
        let row = self.ladder.rows.len() - 1;
        if let Content::Cells(cells) = &mut self.ladder.rows[row].content {
            cells.push(cell);
        }
        self.ladder.row_of[index] = Some(row);
        row
    }

    fn entered(&mut self, index: usize, at_ns: Nanos, host: usize, call: &Call) {
        if call.name.starts_with("exit") {
            return;
        }
        let cell = Cell {
            place: Place::Calls(host),
            text: format!("{}{} …", self.caller(host, call), wording::call(call)),
            details: wording::call_at_length(call),
            tone: Tone::Waits,
            wire: None,
        };
        let row = self.cell(index, at_ns, cell);
        let bars = self.waiting.values().map(|waiting| &self.ladder.bars[waiting.bar]);
        let busy: Vec<usize> = bars.filter(|bar| bar.host == host).map(|bar| bar.track).collect();
        let track = (0..TRACKS).find(|track| !busy.contains(track)).unwrap_or(TRACKS - 1);
        let details = wording::call_at_length(call);
        self.ladder.bars.push(Bar { host, track, from: row, to: row, stuck: true, details });
        let bar = self.ladder.bars.len() - 1;
        self.waiting.insert(call.serial, Waiting { row, bar, pid: call.pid, tid: call.tid });
    }

    fn returned(&mut self, index: usize, at_ns: Nanos, host: usize, call: &Call) {
        let is = |names: &[&str]| names.contains(&&*call.name);
        let done = matches!(call.result, Some(Returned::Value(_)));
        if done && !self.waiting.contains_key(&call.serial) && is(&TOLD_OTHERWISE) {
            return;
        }
        // A search along PATH fails until it succeeds.
        let searches = is(&["execve", "execveat"]) && call.result == Some(Returned::Errno(libc::ENOENT));
        // How a program asks whether it talks to a terminal.
        let asks = is(&["ioctl"]) && call.result == Some(Returned::Errno(libc::ENOTTY));
        let result = wording::returned(call).unwrap_or_else(|| "?".to_owned());
        let data = match call.data.is_empty() {
            true => String::new(),
            false => format!(" {}", wording::quoted(&call.data, call.data.len(), 16)),
        };
        // The watcher writes what moved among the arguments.
        let is_shown = call.arguments.iter().any(|(_, value)| value.starts_with('"'));
        let beside = if is_shown { "" } else { &*data };
        let waited = match call.took_ns {
            0..LONG_NS => String::new(),
            long => format!(" after {}", wording::time(long)),
        };
        // Not failures: try again, or wait.
        let later = [libc::EAGAIN, libc::EINPROGRESS].map(|errno| Some(Returned::Errno(errno)));
        let tone = match () {
            () if later.contains(&call.result) => Tone::Plain,
            () if searches || asks || done && is(&QUIET) => Tone::Quiet,
            () if done || call.result.is_none() => Tone::Plain,
            () => Tone::Bad,
        };
        let mut cell = Cell {
            place: Place::Calls(host),
            text: format!("{}{} = {result}{waited}{beside}", self.caller(host, call), wording::call(call)),
            details: wording::call_at_length(call),
            tone,
            wire: None,
        };
        let remarks = [(call.restarted, " ↻ restarted"), (call.injected.is_some(), " ✱ changed by the lab")];
        remarks.iter().filter(|(is, _)| *is).for_each(|(_, remark)| cell.text.push_str(remark));
        let Some(Waiting { row, bar, .. }) = self.waiting.remove(&call.serial) else {
            self.cell(index, at_ns, cell);
            return;
        };
        let details = cell.details.clone();
        let last = self.ladder.rows.len() - 1;
        if row == last && self.replace(row, host, &cell) {
            // It hardly waited: one line says it all.
            self.ladder.row_of[index] = Some(row);
        } else {
            cell.text = format!(
                "{}… {} = {result} after {}{data}",
                self.caller(host, call),
                wording::harmless(&call.name),
                wording::time(call.took_ns)
            );
            self.cell(index, at_ns, cell);
        }
        let to = self.ladder.rows.len() - 1;
        let bar = &mut self.ladder.bars[bar];
        (bar.to, bar.stuck, bar.details) = (to, false, details);
    }

    /// Whose call it is, where there is a choice.
    fn caller(&self, host: usize, call: &Call) -> String {
        if self.crowded.contains(&host) { format!("{}: ", call.tid) } else { String::new() }
    }

    /// Puts the return in the place of the entry.
    fn replace(&mut self, row: usize, host: usize, cell: &Cell) -> bool {
        let Content::Cells(cells) = &mut self.ladder.rows[row].content else { return false };
        let entry =
            cells.iter_mut().find(|known| known.place == Place::Calls(host) && known.tone == Tone::Waits);
        entry.map(|entry| *entry = cell.clone()).is_some()
    }

    fn socket(&mut self, index: usize, at_ns: Nanos, host: usize, socket: &Socket) {
        let key = (host, socket.protocol.clone(), socket.local.clone(), socket.peer.clone());
        let state = wording::harmless(&socket.state);
        let known = self.states.get(&key).copied();
        let before = known.map(|(span, _)| span);
        if before.is_some_and(|span| self.ladder.spans[span].state == state) {
            return;
        }
        // A half-open connection has no inode; when it is whole, the half that is gone is not news.
        if state == "GONE" && known.is_none_or(|(_, inode)| inode != socket.inode) {
            return;
        }
        let peer = socket.peer.as_deref().map_or(String::new(), |peer| format!(" → {peer}"));
        let ends = wording::harmless(&format!("{} {}{peer}", socket.protocol, socket.local));
        let timer = socket.timer.as_deref().map_or(String::new(), |timer| format!(", {timer}"));
        let details = format!(
            "{ends}: {state}; queues: {} to be read, {} to be sent{}",
            socket.receive_queue,
            socket.send_queue,
            wording::harmless(&timer)
        );
        let cell = Cell {
            place: Place::Edge(host),
            text: state.clone(),
            details: details.clone(),
            tone: Tone::Plain,
            wire: None,
        };
        let row = self.cell(index, at_ns, cell);
        let track = match before {
            Some(span) => {
                self.ladder.spans[span].to = row;
                self.ladder.spans[span].track
            }
            None => {
                let taken: Vec<usize> = self
                    .states
                    .values()
                    .map(|(span, _)| &self.ladder.spans[*span])
                    .filter(|span| span.host == host)
                    .map(|span| span.track)
                    .collect();
                (0..TRACKS).find(|track| !taken.contains(track)).unwrap_or(TRACKS - 1)
            }
        };
        if state == "GONE" {
            self.states.remove(&key);
            return;
        }
        self.ladder.spans.push(Span { host, track, state, details, from: row, to: row });
        self.states.insert(key, (self.ladder.spans.len() - 1, socket.inode));
    }
}

/// Whether two things cannot stand in the same row.
fn overlap(a: Place, b: Place) -> bool {
    match (a, b) {
        (Place::Wire(a, b), Place::Wire(c, d)) => a < d && c < b || (a, b) == (c, d),
        // An arrow that passes a host's column.
        (Place::Wire(a, b), Place::Calls(host) | Place::Edge(host))
        | (Place::Calls(host) | Place::Edge(host), Place::Wire(a, b)) => a < host && host < b,
        (a, b) => a == b,
    }
}
