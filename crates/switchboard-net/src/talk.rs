//! The two-way copy between local descriptors and a connected socket, which loses nothing in either direction.
//!
//! ```text
//!   input ──▶ up, 64 KiB ──▶ socket        each direction has a buffer of its own, refilled when it is empty;
//!   output ◀─ down, 64 KiB ◀─ socket       a direction that cannot move does not hold up the other
//! ```
//!
//! One thread and poll(2) are enough, because nothing here ever waits but poll: the socket is used with
//! `MSG_DONTWAIT`, and the local descriptors, which are shared with the shell and must stay blocking, in the ways
//! of [`Nature`]. Threads would need a way to be called back from a write to a stopped terminal; this needs none.
//!
//! The rules of ending are those that the classic clients get wrong: the end of input is passed on (half-close)
//! and the answer still awaited; the peer's end does not cut off input that is still coming; bytes count as
//! delivered when the peer's kernel has acknowledged them, and as received when they are written.

use crate::endpoint::Kind;
use crate::error::Error;
use crate::sys::local::Nature;
use crate::sys::watchlist::WatchList;
use crate::sys::{clock, fault, socket};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::io;
use std::thread;
use std::time::Duration;
use switchboard_proto::{Buffer, Instant, Line};

mod companions;

use companions::Companions;

/// Storage for each direction.
const BUFFER: usize = 64 * 1024;
/// The largest payload of a UDP datagram over IPv4; what is read for one datagram at most.
pub const DATAGRAM: usize = 65_507;
/// How long replies to datagrams are awaited after the last one, unless asked otherwise.
const REPLY_WAIT: Duration = Duration::from_secs(2);
/// How long input that goes on after the peer's end may pause, unless asked otherwise.
const AFTER_EOF: Duration = Duration::from_secs(1);
/// How long the peer may take to acknowledge the last bytes.
const SETTLE: Duration = Duration::from_secs(5);
/// How long the rest of the input may take to leave after the output failed: the run has failed already.
const AFTER_OUTPUT: Duration = Duration::from_millis(500);
/// After this long without an answer, whoever waits is told.
const PATIENCE: Duration = crate::dial::PATIENCE;

/// When a conversation ends, and how input is cut into messages.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Tell the peer that input has ended (shutdown(2)); without it the peer learns of it by the close.
    pub half_close: bool,
    /// After the end of input, wait at most this long for the peer's end; `None`: without limit.
    pub quit_after: Option<Duration>,
    /// Streams: end when nothing moves either way for this long. Datagrams: after the end of input, wait for
    /// replies until none has come for this long; `None`: two seconds.
    pub idle_timeout: Option<Duration>,
    /// End after this long, whatever happens.
    pub timeout: Option<Duration>,
    /// How long input goes on after the peer's end; `None`: as its nature suggests. A file is sent to its end, a
    /// terminal is left at once, a pipe may pause for one second.
    pub after_eof: Option<AfterEof>,
    /// Messages: one line each, its line feed included; otherwise what one read gives.
    pub by_line: bool,
    /// Messages: end after this many from the peer.
    pub count: Option<u64>,
    /// Datagrams: send an empty one first.
    pub empty_first: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            half_close: true,
            quit_after: None,
            idle_timeout: None,
            timeout: None,
            after_eof: None,
            by_line: false,
            count: None,
            empty_first: false,
        }
    }
}

/// How long input goes on after the peer has ended its side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterEof {
    /// What was read already is sent, no more.
    Now,
    /// Until none has come for this long.
    Pause(Duration),
    /// To its end.
    Forever,
}

/// What came of a conversation.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Bytes that the kernel took for the peer.
    pub sent: u64,
    /// Bytes that came from the peer.
    pub received: u64,
    /// Of those, bytes that the output took.
    pub written: u64,
    /// Bytes read from the input that the peer is not known to have: not sent, or not acknowledged.
    pub undelivered: u64,
    /// Messages sent, for kinds that have them.
    pub messages_sent: u64,
    /// Messages received, for kinds that have them; empty ones count.
    pub messages_received: u64,
    /// From the start to the end.
    pub duration: Duration,
    /// Connections held open beside this one.
    pub companions: usize,
    /// Bytes that came on those, and were thrown away.
    pub companions_received: u64,
    /// Of those, how many were reset.
    pub companions_reset: usize,
}

/// How a conversation ended.
#[derive(Debug)]
pub enum End {
    /// Everything was delivered both ways, as far as can be known.
    Complete,
    /// The peer reset the connection; what came before is written.
    Reset,
    /// All is well with the conversation, but some of the companions were reset.
    CompanionsReset,
    /// A datagram's addressee is not there, or there is no way to it.
    Refused(io::Error),
    /// The connection broke in another way: no acknowledgement for too long, a route that vanished.
    Broken(io::Error),
    /// Nothing moved for `idle_timeout`; or fewer than `count` replies came.
    IdleTimeout,
    /// `timeout` passed.
    Timeout,
    /// The peer ended the connection, or did not acknowledge in time, and bytes are left over.
    Undelivered,
    /// The input could not be read; what had been read is delivered.
    Input(io::Error),
    /// The output could not be written, so the rest of the peer's bytes is lost.
    Output(io::Error),
}

/// What a conversation waits for when nothing has happened for two seconds; told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// All input was sent, and no answer has come since.
    Answer,
}

/// Copies `input` to the connected `socket` and what comes from it to `output`, until both sides have ended or
/// `rules` end it. The socket is closed at the end. `companions` are connections to the same peer that only have
/// to be there: their input is swallowed, they are half-closed together with `socket`, and waited for.
///
/// Uses 64 KiB for each direction, up to four times that for input that is cut into lines, and whatever a larger message of a
/// Unix socket needs. SIGPIPE must be ignored, as it is in Rust programs.
///
/// # Errors
/// poll(2) and epoll(7) themselves, for lack of memory or descriptors. Everything that the peer, the input or the
/// output does is an [`Outcome`].
pub fn talk(
    socket: OwnedFd,
    companions: Vec<OwnedFd>,
    kind: Kind,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    rules: &Rules,
    tell: &mut dyn FnMut(Waiting),
) -> Result<Outcome, Error> {
    let companions =
        Companions::new(companions).map_err(|errno| Error::system("watch the other connections", errno))?;
    Talk::new(&socket, companions, kind, input, output, rules).run(tell)
}

/// How far the peer's side is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Receiving {
    /// More may come.
    Open,
    /// The peer has ended its side.
    Ended,
    /// It broke, or nobody is interested any more.
    Stopped,
}

/// How far our side is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sending {
    /// The peer takes input.
    Open,
    /// All input was sent (and the peer was told, if it is to be told).
    Finished,
    /// The peer takes no more.
    Broken,
}

/// A conversation in progress.
struct Talk<'a> {
    kind: Kind,
    rules: &'a Rules,
    net: &'a OwnedFd,
    companions: Companions,
    input: BorrowedFd<'a>,
    input_nature: Nature,
    output: BorrowedFd<'a>,
    output_nature: Nature,
    list: WatchList,

    up: Buffer,
    down: Buffer,
    input_open: bool,
    sending: Sending,
    receiving: Receiving,
    /// The socket takes nothing until poll says so.
    net_full: bool,
    /// The output takes nothing until poll says so.
    output_full: bool,
    /// The socket is over in both directions as far as poll can tell: it would report that for ever, so it is
    /// not asked again, and what is left in it is read without asking.
    hung_up: bool,
    /// An empty datagram is still to be sent.
    empty_due: bool,

    started: Instant,
    /// When a byte last moved to or from the peer, or to the output.
    moved: Instant,
    /// When the input last gave anything, or what it gave had gone.
    input_moved: Instant,
    peer_ended: Instant,
    finished: Instant,
    output_failed: Instant,
    received_when_finished: u64,
    told: bool,

    error: Option<Errno>,
    input_error: Option<Errno>,
    output_error: Option<Errno>,
    sent: u64,
    received: u64,
    written: u64,
    messages_sent: u64,
    messages_received: u64,
}

/// What poll(2) found.
#[derive(Default)]
struct Ready {
    input: bool,
    net: bool,
    companions: bool,
}

/// Why the loop ended before everything was done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Done,
    Idle,
    Timeout,
}

impl<'a> Talk<'a> {
    fn new(
        net: &'a OwnedFd,
        companions: Companions,
        kind: Kind,
        input: BorrowedFd<'a>,
        output: BorrowedFd<'a>,
        rules: &'a Rules,
    ) -> Talk<'a> {
        let now = clock::now();
        let output_nature = Nature::of(output);
        Talk {
            kind,
            rules,
            net,
            companions,
            input,
            input_nature: Nature::of(input),
            output,
            output_nature,
            list: WatchList::default(),
            up: Buffer::with_capacity(BUFFER),
            down: Buffer::with_capacity(BUFFER),
            input_open: true,
            sending: Sending::Open,
            receiving: Receiving::Open,
            net_full: false,
            output_full: output_nature.must_poll(),
            hung_up: false,
            empty_due: rules.empty_first && kind.is_datagram(),
            started: now,
            moved: now,
            input_moved: now,
            peer_ended: Instant::NEVER,
            finished: Instant::NEVER,
            output_failed: Instant::NEVER,
            received_when_finished: 0,
            told: false,
            error: None,
            input_error: None,
            output_error: None,
            sent: 0,
            received: 0,
            written: 0,
            messages_sent: 0,
            messages_received: 0,
        }
    }

    fn run(mut self, tell: &mut dyn FnMut(Waiting)) -> Result<Outcome, Error> {
        let cut = loop {
            self.flush_up();
            self.flush_down();
            self.finish_if_all_sent();
            if self.is_over() {
                break Cut::Done;
            }
            let ready = self.wait()?;
            if ready.input {
                self.fill();
            }
            if ready.net {
                self.receive();
            }
            if ready.companions {
                self.companions.swallow();
            }
            if let Some(cut) = self.on_time(clock::now(), !(ready.input || ready.net), tell) {
                // One last chance for what was received.
                self.flush_down();
                break cut;
            }
        };
        let undelivered = match cut {
            Cut::Done => self.settle(),
            _ => self.outstanding(),
        };
        Ok(self.outcome(cut, undelivered))
    }

    // ── From the input to the socket ──

    fn is_message(&self) -> bool {
        !matches!(self.kind, Kind::Tcp | Kind::Unix)
    }

    /// Bytes that can be sent now: for messages, those of the next one.
    fn pending(&mut self) -> usize {
        if !(self.rules.by_line && self.is_message()) {
            return self.up.len();
        }
        match self.up.line(DATAGRAM) {
            Line::Complete(n) => n,
            Line::TooLong => DATAGRAM,
            // The last line may lack its line feed.
            Line::Partial if self.input_open => 0,
            Line::Partial => self.up.len(),
        }
    }

    /// Reads from the input, which poll has called readable.
    fn fill(&mut self) {
        let limit = if self.kind.is_datagram() { DATAGRAM } else { BUFFER };
        self.up.reserve(limit);
        let spare = &mut self.up.spare()[..limit];
        match self.input_nature.read(self.input, spare) {
            Ok(0) => self.input_open = false,
            Ok(n) => {
                self.up.commit(n);
                self.input_moved = clock::now();
            }
            Err(Errno::AGAIN) => {}
            Err(errno) => {
                self.input_open = false;
                self.input_error = Some(errno);
            }
        }
    }

    /// Sends what there is, until the socket takes no more.
    fn flush_up(&mut self) {
        while self.sending == Sending::Open && !self.net_full {
            let pending = self.pending();
            if pending == 0 && !self.empty_due {
                return;
            }
            let answer = if self.empty_due {
                socket::send_message(self.net, &[])
            } else if self.is_message() {
                socket::send_message(self.net, &self.up.bytes()[..pending])
            } else {
                socket::send(self.net, self.up.bytes(), socket::Wait::No)
            };
            match answer {
                Ok(n) => {
                    self.messages_sent += u64::from(self.is_message());
                    if self.empty_due {
                        self.empty_due = false;
                    } else {
                        self.up.consume(n);
                    }
                    self.sent += n as u64;
                    self.moved = clock::now();
                    self.input_moved = self.moved;
                }
                Err(Errno::AGAIN) => self.net_full = true,
                // The device's queue is full; poll(2) does not know when it has room again.
                Err(Errno::NOBUFS) if self.is_message() => {
                    thread::sleep(Duration::from_millis(1));
                    self.net_full = true;
                }
                Err(errno) => self.send_failed(errno),
            }
        }
    }

    fn send_failed(&mut self, errno: Errno) {
        self.sending = Sending::Broken;
        self.input_open = false;
        // EPIPE: the peer has ended the connection, which the receiving side will see. Every other error is one
        // that the socket gives only once, so this is the place to remember it.
        if errno != Errno::PIPE || self.kind.is_datagram() {
            self.error.get_or_insert(errno);
        }
        // What came before the error is still received: of a stream until its end, of datagrams what is queued.
        self.hung_up |= self.kind.is_datagram();
    }

    /// When the input has ended and all of it was sent, tells the peer.
    fn finish_if_all_sent(&mut self) {
        if self.sending != Sending::Open || self.input_open || self.empty_due || !self.up.is_empty() {
            if self.sending == Sending::Broken {
                self.companions.half_close();
            }
            return;
        }
        self.sending = Sending::Finished;
        self.finished = clock::now();
        self.received_when_finished = self.received;
        if self.rules.half_close && !self.kind.is_datagram() {
            socket::shutdown_write(self.net);
            self.companions.half_close();
        }
    }

    // ── From the socket to the output ──

    /// Receives, when poll has called the socket readable or it has hung up.
    fn receive(&mut self) {
        let answer = if self.is_message() {
            self.receive_message()
        } else {
            socket::recv(self.net, self.down.spare(), socket::Wait::No).map(|n| (n, n == 0))
        };
        match answer {
            Ok((_, true)) => {
                self.receiving = Receiving::Ended;
                self.peer_ended = clock::now();
                if self.after_eof() == AfterEof::Now {
                    self.input_open = false;
                }
            }
            Ok((n, false)) => {
                self.down.commit(n);
                self.received += n as u64;
                self.messages_received += u64::from(self.is_message());
                self.moved = clock::now();
                if self.rules.count.is_some_and(|count| self.messages_received >= count && self.is_message())
                {
                    // Nothing more is wanted, so nothing more is asked.
                    self.receiving = Receiving::Stopped;
                    self.input_open = false;
                    self.empty_due = false;
                    self.up.clear();
                }
            }
            Err(Errno::AGAIN) if self.kind.is_datagram() => {
                // A datagram socket gives its error before what is queued; now nothing is left.
                if self.error.is_some() {
                    self.receiving = Receiving::Stopped;
                }
            }
            // Let poll decide again.
            Err(Errno::AGAIN) => self.hung_up = false,
            Err(errno) => self.receive_failed(errno),
        }
    }

    /// The bytes of one message, and whether it was the end instead.
    fn receive_message(&mut self) -> Result<(usize, bool), Errno> {
        let mut room = BUFFER;
        if self.kind != Kind::Udp {
            // Unix sockets carry messages as large as the sender's buffer; this many bytes are queued.
            room = room.max(queued(self.net));
        }
        self.down.reserve(room);
        let n = socket::recv_message(self.net, self.down.spare())?;
        // An empty message and the end look alike; only after the end is nothing queued and the peer gone.
        let end = n == 0 && self.kind == Kind::UnixSeqpacket && queued(self.net) == 0 && self.peer_is_gone();
        Ok((n, end))
    }

    fn peer_is_gone(&mut self) -> bool {
        let mut event = [rustix::event::PollFd::new(self.net, rustix::event::PollFlags::RDHUP)];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut event, Some(&at_once)), Ok(1))
    }

    fn receive_failed(&mut self, errno: Errno) {
        self.error.get_or_insert(errno);
        self.input_open = false;
        self.sending = if self.sending == Sending::Open { Sending::Broken } else { self.sending };
        if self.kind.is_datagram() {
            // More may be queued behind the error.
            self.hung_up = true;
        } else {
            self.receiving = Receiving::Stopped;
        }
    }

    /// Writes what was received, until the output takes no more.
    fn flush_down(&mut self) {
        while self.output_error.is_none() && !self.output_full && !self.down.is_empty() {
            match self.output_nature.write(self.output, self.down.bytes()) {
                Ok(n) => {
                    self.down.consume(n);
                    self.written += n as u64;
                    self.moved = clock::now();
                    self.output_full = self.output_nature.must_poll();
                }
                Err(Errno::AGAIN) => self.output_full = true,
                Err(errno) => {
                    self.output_error = Some(errno);
                    self.output_failed = clock::now();
                    self.receiving = Receiving::Stopped;
                    self.input_open = false;
                    self.down.clear();
                }
            }
        }
    }

    // ── Waiting and ending ──

    fn wants_input(&mut self) -> bool {
        self.input_open && self.sending == Sending::Open && self.pending() == 0
    }

    fn wants_net(&self) -> bool {
        self.receiving == Receiving::Open && self.down.is_empty()
    }

    /// Sleeps until something can be done or a time limit has passed.
    fn wait(&mut self) -> Result<Ready, Error> {
        const UNWATCHED: usize = usize::MAX;
        let mut next = 0;
        let mut place = |watched: bool| {
            let at = if watched { next } else { UNWATCHED };
            next += usize::from(watched);
            at
        };
        let (wants_input, wants_net) = (self.wants_input(), self.wants_net());
        let wants_output = self.output_full && !self.down.is_empty() && self.output_error.is_none();
        let wants_room = self.net_full && self.sending == Sending::Open;
        let input_at = place(wants_input);
        let net_at = place(!self.hung_up);
        let output_at = place(wants_output);
        let companions_at = place(self.companions.are_open());
        self.list.clear();
        if wants_input {
            self.list.push(self.input, true, false);
        }
        if !self.hung_up {
            self.list.push(self.net.as_fd(), wants_net, wants_room);
        }
        if wants_output {
            self.list.push(self.output, false, true);
        }
        if let Some(fd) = self.companions.as_fd() {
            self.list.push(fd, true, false);
        }
        let unasked = self.hung_up && wants_net;
        let until = if self.hung_up && (wants_net || wants_room) { Instant(0) } else { self.deadline() };
        let timeout = (until != Instant::NEVER).then(|| until.since(clock::now()));
        match if fault::interrupted() { Err(Errno::INTR) } else { self.list.wait(timeout) } {
            Ok(()) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for the connection (poll)", errno)),
        }
        let mut ready = Ready { net: unasked, ..Ready::default() };
        self.net_full &= !self.hung_up;
        let mut broken = false;
        for (place, state) in self.list.ready() {
            if place == input_at {
                ready.input = true;
            } else if place == net_at {
                ready.net |= wants_net && (state.readable || state.broken);
                self.net_full &= !(state.writable || state.broken);
                broken = state.broken;
            } else if place == output_at {
                self.output_full = false;
            } else if place == companions_at {
                ready.companions = true;
            }
        }
        if broken {
            self.on_broken(wants_net);
        }
        Ok(ready)
    }

    /// poll(2) says that the socket has an error or is over in both directions.
    fn on_broken(&mut self, wants_net: bool) {
        if self.kind.is_datagram() {
            // An error of a datagram socket is an ICMP message; taking it makes poll quiet again.
            if !wants_net && let Some(errno) = socket::take_error(self.net) {
                self.receive_failed(errno);
            }
        } else if !wants_net {
            // Not to be told again and again. recv(2) gives the error, if it is called once more; after the peer's
            // end an error means that our bytes are not wanted any more, and those that are lost are counted.
            self.hung_up = true;
        }
    }

    fn after_eof(&self) -> AfterEof {
        self.rules.after_eof.unwrap_or(match self.input_nature {
            Nature::Regular => AfterEof::Forever,
            Nature::Terminal => AfterEof::Now,
            // The peer's kernel is known to take nothing any more; what is in the pipe already is tried, so that
            // its loss is noticed.
            _ if self.hung_up => AfterEof::Pause(Duration::ZERO),
            _ => AfterEof::Pause(AFTER_EOF),
        })
    }

    /// When input that goes on after the peer's end has paused for too long.
    fn pause_ends(&self) -> Instant {
        match self.after_eof() {
            AfterEof::Pause(pause)
                if self.input_open && self.receiving == Receiving::Ended && self.up.is_empty() =>
            {
                self.peer_ended.max(self.input_moved) + pause
            }
            _ => Instant::NEVER,
        }
    }

    fn limit(&self, from: Instant, limit: Option<Duration>) -> Instant {
        match limit {
            Some(limit) if from != Instant::NEVER => from + limit,
            _ => Instant::NEVER,
        }
    }

    fn total_ends(&self) -> Instant {
        self.limit(self.started, self.rules.timeout)
    }

    /// When silence has lasted too long. While the output takes nothing, the silence is not the peer's.
    fn silence_ends(&self) -> Instant {
        if !self.down.is_empty() {
            return Instant::NEVER;
        }
        if self.kind.is_datagram() {
            let wait = self.rules.idle_timeout.unwrap_or(REPLY_WAIT);
            let from =
                if self.finished == Instant::NEVER { Instant::NEVER } else { self.finished.max(self.moved) };
            return self.limit(from, Some(wait));
        }
        self.limit(self.moved, self.rules.idle_timeout)
    }

    fn quit_ends(&self) -> Instant {
        if self.receiving == Receiving::Stopped && !self.companions.are_open() {
            return Instant::NEVER;
        }
        self.limit(self.finished, self.rules.quit_after)
    }

    fn output_failure_ends(&self) -> Instant {
        let from = if self.sending == Sending::Open { self.output_failed } else { Instant::NEVER };
        self.limit(from, Some(AFTER_OUTPUT))
    }

    fn patience_ends(&self) -> Instant {
        let waits = !self.told
            && self.receiving == Receiving::Open
            && self.sending == Sending::Finished
            && self.received == self.received_when_finished
            && !self.kind.is_datagram();
        self.limit(if waits { self.finished } else { Instant::NEVER }, Some(PATIENCE))
    }

    fn deadline(&self) -> Instant {
        self.total_ends()
            .min(self.silence_ends())
            .min(self.quit_ends())
            .min(self.pause_ends())
            .min(self.output_failure_ends())
            .min(self.patience_ends())
    }

    /// Applies the time limits that have passed.
    /// `quiet`: poll has found nothing. What waits for silence does not end while there is something to move, even
    /// if this process was stopped for so long that the limit has passed.
    fn on_time(&mut self, now: Instant, quiet: bool, tell: &mut dyn FnMut(Waiting)) -> Option<Cut> {
        if now >= self.total_ends() {
            return Some(Cut::Timeout);
        }
        if quiet && now >= self.silence_ends() {
            if !self.kind.is_datagram() || self.rules.count.is_some() {
                return Some(Cut::Idle);
            }
            self.receiving = Receiving::Stopped;
        }
        if now >= self.quit_ends() {
            self.receiving = Receiving::Stopped;
            self.companions.abandon();
        }
        if quiet && now >= self.pause_ends() {
            self.input_open = false;
        }
        if now >= self.output_failure_ends() {
            self.sending = Sending::Broken;
        }
        if now >= self.patience_ends() {
            self.told = true;
            tell(Waiting::Answer);
        }
        None
    }

    fn is_over(&mut self) -> bool {
        let sent = self.sending != Sending::Open;
        let unaware = !self.rules.half_close && self.receiving != Receiving::Open;
        if sent && (unaware || self.output_error.is_some()) {
            // They do not know that it is over, or nobody wants to wait for them.
            self.companions.abandon();
        }
        sent && self.receiving != Receiving::Open && self.down.is_empty() && !self.companions.are_open()
    }

    /// Bytes of the input that the peer is not known to have.
    fn outstanding(&self) -> u64 {
        let unacknowledged = match self.kind {
            // The FIN counts as one byte; when it is the only one, all before it arrived.
            Kind::Tcp => {
                let fin = usize::from(self.sending == Sending::Finished && self.rules.half_close);
                socket::unacknowledged(self.net).saturating_sub(fin)
            }
            // What a Unix socket took is in the peer's queue already.
            _ => 0,
        };
        (self.up.len() + unacknowledged) as u64
    }

    /// Waits until the peer's kernel has everything, at most [`SETTLE`]: a close before that could lose bytes
    /// without anybody being told. Returns the number of bytes that it does not have.
    fn settle(&mut self) -> u64 {
        let until = clock::now() + if self.output_error.is_some() { AFTER_OUTPUT } else { SETTLE };
        let mut pause = Duration::from_micros(200);
        loop {
            let left = self.outstanding();
            let hopeless = left == self.up.len() as u64 || socket::is_closed(self.net);
            if hopeless || clock::now() >= until {
                // A reset may have come between the two looks, or while nobody was looking.
                if self.kind == Kind::Tcp
                    && self.receiving != Receiving::Ended
                    && let Some(errno) = socket::take_error(self.net)
                    && errno != Errno::PIPE
                {
                    self.error.get_or_insert(errno);
                }
                return left;
            }
            // No event tells of an acknowledgement, so the queue is looked at ever more slowly.
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn outcome(self, cut: Cut, undelivered: u64) -> Outcome {
        let failed = |errno: Errno| io::Error::from(errno);
        let end = if let Some(errno) = self.output_error {
            End::Output(failed(errno))
        } else if cut == Cut::Timeout {
            End::Timeout
        } else if cut == Cut::Idle {
            End::IdleTimeout
        } else if let Some(errno) = self.error {
            match errno {
                Errno::CONNRESET if !self.kind.is_datagram() => End::Reset,
                Errno::CONNREFUSED
                | Errno::CONNRESET
                | Errno::PIPE
                | Errno::NOTCONN
                | Errno::HOSTUNREACH
                | Errno::HOSTDOWN
                | Errno::NETUNREACH
                    if self.kind.is_datagram() =>
                {
                    End::Refused(failed(errno))
                }
                errno => End::Broken(failed(errno)),
            }
        } else if undelivered > 0 {
            End::Undelivered
        } else if let Some(errno) = self.input_error {
            End::Input(failed(errno))
        } else if self.companions.reset() > 0 {
            End::CompanionsReset
        } else {
            End::Complete
        };
        Outcome {
            end,
            sent: self.sent,
            received: self.received,
            written: self.written,
            undelivered,
            messages_sent: self.messages_sent,
            messages_received: self.messages_received,
            duration: clock::now().since(self.started),
            companions: self.companions.count(),
            companions_received: self.companions.received(),
            companions_reset: self.companions.reset(),
        }
    }
}

/// Bytes that are queued at a socket: for datagrams those of the next one, for seqpackets those of all.
fn queued(fd: &OwnedFd) -> usize {
    rustix::io::ioctl_fionread(fd).map_or(0, |n| usize::try_from(n).unwrap_or(0))
}
