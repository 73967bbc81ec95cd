//! [`Logger`]: the process that writes the log to a file, to syslog(3) or to systemd's journal. Workers, which may not
//! open files, send it whole lines; a full disk or a slow daemon holds nobody up. The log on standard error is written
//! by the workers themselves.

use crate::plan::{LogPlan, Sink};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::Pid;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchboard_net::sys::process::{self, Fork};
use switchboard_net::sys::signal::{self, Signal, Signals};
use switchboard_net::sys::watchlist::WatchList;
use switchboard_net::sys::{clock, parcel};
use switchboard_net::{Format, Journal};
use switchboard_proto::Instant;

/// Where a local syslog daemon listens (syslog(3)).
const SYSLOG: &str = "/dev/log";
/// Where systemd's journal listens (sd_journal_print(3), native protocol).
const JOURNALD: &str = "/run/systemd/journal/socket";
/// Pause before a logger that died is started again.
const PAUSE: Duration = Duration::from_millis(100);
/// Time for the last lines at the end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines on their way to the logger, in bytes; beyond it they are lost, counted, and told of.
const ROOM: usize = 1024 * 1024;

/// What is to be said of a sink that nobody reads from now. It is no error: a daemon may be started later.
pub(super) fn unread(log: &LogPlan) -> Option<String> {
    log.format?;
    let (who, path) = match &log.sink {
        Sink::Syslog { .. } => ("syslog daemon", SYSLOG),
        Sink::Journald => ("systemd-journald", JOURNALD),
        Sink::Stderr | Sink::File(_) => return None,
    };
    let missing = !std::path::Path::new(path).exists();
    missing
        .then(|| format!("no {who} listens at {path}: until one does, lines of the log are lost and counted"))
}

/// The process that writes the log.
pub(super) struct Logger {
    sink: Sink,
    /// Where lines come in; held here, so that none is lost when the process dies.
    lines: OwnedFd,
    pid: Option<Pid>,
    start_at: Instant,
    /// The file, opened before privileges are dropped.
    first: Option<File>,
    /// Counts lines that could not be written.
    lost: &'static AtomicU64,
}

impl Logger {
    /// The journal of `plan`, and the process that writes it, if it needs one; both count the lines that are `lost`.
    pub(super) fn start(
        plan: &LogPlan,
        lost: &'static AtomicU64,
    ) -> Result<(Option<Logger>, Journal), String> {
        let Some(format) = plan.format else { return Ok((None, Journal::silent())) };
        let first = match &plan.sink {
            Sink::Stderr => {
                let fd = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3)
                    .map_err(|error| format!("cannot use standard error for the log: {error}"))?;
                return Ok((None, dress(Journal::new(fd, format), plan, lost)));
            }
            Sink::File(path) => {
                Some(open(path).map_err(|error| format!("cannot open the log {}: {error}", path.display()))?)
            }
            Sink::Syslog { .. } | Sink::Journald => None,
        };
        let failed = |errno| format!("no socket for the log: {errno}");
        let flags = SocketFlags::CLOEXEC;
        let (lines, writer) =
            net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed)?;
        rustix::io::ioctl_fionbio(&writer, true).map_err(failed)?;
        net::sockopt::set_socket_send_buffer_size(&writer, ROOM).map_err(failed)?;
        // The journal's own lines have more to say than a text.
        let format = if plan.sink == Sink::Journald { Format::Json } else { format };
        let mut logger =
            Logger { sink: plan.sink.clone(), lines, pid: None, start_at: Instant::default(), first, lost };
        logger.start_due(clock::now());
        Ok((Some(logger), dress(Journal::new(writer, format), plan, lost)))
    }

    /// When it is to be started again.
    pub(super) fn due(&self) -> Instant {
        if self.pid.is_none() { self.start_at } else { Instant::NEVER }
    }

    /// Starts the process if it does not run.
    pub(super) fn start_due(&mut self, now: Instant) {
        if self.pid.is_some() || now < self.start_at {
            return;
        }
        match process::fork() {
            Ok(Fork::Child) => self.work(),
            Ok(Fork::Parent(pid)) => self.pid = Some(pid),
            Err(_) => self.start_at = now + PAUSE,
        }
    }

    /// Opens the file again (SIGUSR1): it was moved away by a rotation.
    pub(super) fn reopen(&self) {
        if let Some(pid) = self.pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::USR1);
        }
    }

    /// Whether it was the logger that ended; it is started again.
    pub(super) fn collect(&mut self, pid: Pid, now: Instant) -> bool {
        let ours = self.pid == Some(pid);
        if ours {
            (self.pid, self.start_at) = (None, now + PAUSE);
        }
        ours
    }

    /// Lets the last lines be written. Nobody may hold the end that is written to any more.
    pub(super) fn finish(self) {
        let Some(pid) = self.pid else { return };
        drop(self.lines);
        let _ = process::wait_for_end(pid.as_raw_pid().cast_unsigned(), Some(PATIENCE));
    }

    /// In a worker: the lines are read elsewhere.
    pub(super) fn leave(&mut self) {
        if let Ok((nothing, _)) = parcel::pair() {
            self.lines = nothing;
        }
        self.first = None;
    }

    /// The rest of the child's life: it ends when nobody can write any more.
    fn work(&mut self) -> ! {
        // It outlives the supervisor for as long as lines are on their way.
        for signal in [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::User2] {
            let _ = signal::ignore(signal);
        }
        let Ok(signals) = Signals::watch(&[Signal::User1]) else { process::exit_now(1) };
        // Above all not the end that is written to: it would never see that nobody writes any more.
        let mut keep = vec![signals.as_fd(), self.lines.as_fd()];
        keep.extend(self.first.as_ref().map(AsFd::as_fd));
        process::close_all_but(&keep);
        let mut out = Destination::open(&self.sink, self.first.take());
        let mut list = WatchList::default();
        list.push(signals.as_fd(), true, false);
        list.push(self.lines.as_fd(), true, false);
        loop {
            let _ = list.wait(None);
            if signals.take().count() > 0 {
                out = Destination::open(&self.sink, None);
            }
            if !list.ready().any(|(place, _)| place == 1) {
                continue;
            }
            match parcel::receive(&self.lines) {
                Ok(Some(parcel)) => {
                    let lost = out.write(&parcel.bytes, &self.sink);
                    self.lost.fetch_add(lost, Ordering::Relaxed);
                }
                Ok(None) => process::exit_now(0),
                Err(_) => {}
            }
        }
    }
}

fn dress(journal: Journal, plan: &LogPlan, lost: &'static AtomicU64) -> Journal {
    let journal = journal.with_mask(plan.mask).counting_lost(lost);
    if plan.names { journal.with_names() } else { journal }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

/// Where lines go; what cannot be written is counted and told of when it can be again.
struct Destination {
    at: Option<At>,
    lost: u64,
}

enum At {
    File(File),
    Datagram(UnixDatagram),
}

impl Destination {
    fn open(sink: &Sink, first: Option<File>) -> Destination {
        let connect = |path: &str| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect(path).ok()?;
            Some(At::Datagram(socket))
        };
        let at = match sink {
            Sink::File(path) => first.or_else(|| open(path).ok()).map(At::File),
            Sink::Syslog { .. } => connect(SYSLOG),
            Sink::Journald => connect(JOURNALD),
            Sink::Stderr => None,
        };
        Destination { at, lost: 0 }
    }

    /// Writes what can be written, and returns how many lines could not.
    fn write(&mut self, bytes: &[u8], sink: &Sink) -> u64 {
        if self.at.is_none() {
            let lost = self.lost;
            *self = Destination { lost, ..Destination::open(sink, None) };
        }
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().count() as u64;
        let mut written = true;
        match (&mut self.at, sink) {
            (Some(At::File(file)), _) => {
                if self.lost > 0 {
                    written = writeln!(file, "{} lines of the log before this were lost", self.lost).is_ok();
                }
                written = written && file.write_all(bytes).is_ok();
            }
            (Some(At::Datagram(socket)), Sink::Syslog { facility }) => {
                for line in text.lines() {
                    written &= socket.send(syslog(*facility, line).as_bytes()).is_ok();
                }
            }
            (Some(At::Datagram(socket)), _) => {
                for line in text.lines() {
                    written &= net::send(&*socket, &journald(line), SendFlags::NOSIGNAL).is_ok();
                }
            }
            (None, _) => written = false,
        }
        if written {
            self.lost = 0;
            return 0;
        }
        self.lost += lines;
        if matches!(self.at, Some(At::Datagram(_))) {
            // The daemon was started anew: its old socket is gone.
            self.at = None;
        }
        lines
    }
}

/// A line as RFC 3164 has it on the local socket: priority, name and process, text. Severity: informational.
fn syslog(facility: u8, line: &str) -> String {
    const INFORMATIONAL: u8 = 6;
    format!(
        "<{}>switchboard[{}]: {line}",
        u16::from(facility) * 8 + u16::from(INFORMATIONAL),
        std::process::id()
    )
}

/// A JSON record in the journal's native protocol: `FIELD=value` lines.
fn journald(line: &str) -> Vec<u8> {
    let mut message = String::new();
    let mut fields = String::new();
    if let Ok(serde_json::Value::Object(record)) = serde_json::from_str(line) {
        for (name, value) in &record {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match name.as_str() {
                "time" | "event" => {}
                "text" => message.push_str(&value),
                _ => {
                    message.push_str(&format!("{}{name}={value}", if message.is_empty() { "" } else { " " }))
                }
            }
            fields.push_str(&format!("SWITCHBOARD_{}={value}\n", name.to_ascii_uppercase()));
        }
    }
    let message = if message.is_empty() { line } else { &message };
    format!("MESSAGE={message}\nPRIORITY=6\nSYSLOG_IDENTIFIER=switchboard\n{fields}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_lines_carry_facility_and_severity() {
        assert!(syslog(3, "echo #1").starts_with("<30>switchboard["));
        assert!(syslog(16, "x").ends_with("]: x"));
    }

    #[test]
    fn journal_records_keep_their_fields() {
        let line = r#"{"time":"2026-01-01T00:00:00.000Z","event":"connection","id":7,"service":"echo","end":"peer"}"#;
        let record = String::from_utf8(journald(line)).unwrap();
        assert!(
            record.contains("SWITCHBOARD_SERVICE=echo\n") && record.contains("SWITCHBOARD_ID=7\n"),
            "{record}"
        );
        let message = record.lines().find(|line| line.starts_with("MESSAGE=")).unwrap();
        assert!(message.contains("service=echo") && message.contains("id=7"), "{message}");
        assert!(String::from_utf8(journald("plain")).unwrap().starts_with("MESSAGE=plain\n"));
    }
}
