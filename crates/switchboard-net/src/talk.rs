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

use crate::channel::Channel;
use crate::endpoint::Kind;
use crate::error::Error;
use crate::sys::clock;
use crate::sys::local::Nature;
use crate::sys::watchlist::WatchList;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use switchboard_proto::{Buffer, Instant, Telnet};

mod companions;
mod downward;
mod dress;
mod limits;
mod outcome;
mod pace;
mod rules;
mod screen;
mod settle;
mod shortcut;
mod upward;
mod wait;
mod witness;

use companions::Companions;
pub use outcome::{End, Outcome};
use pace::Pace;
pub use rules::{AfterEof, Rules, Ways};
pub use screen::Screen;
use shortcut::{Siphon, Way};
pub use witness::Witness;

/// Storage for each direction.
const BUFFER: usize = 64 * 1024;
/// The largest payload of a UDP datagram over IPv4; what is read for one datagram at most.
pub const DATAGRAM: usize = 65_507;

/// What a conversation waits for when nothing has happened for two seconds; told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Nothing was said yet, by either side.
    Start,
    /// All input was sent, and no answer has come since.
    Answer,
}

/// Copies `input` to the connected `peer` and what comes from it to `output`, until both sides have ended or
/// `rules` end it. The connection is closed at the end. `companions` are connections to the same peer that only have
/// to be there: their input is swallowed, they are half-closed together with `peer`, and waited for.
///
/// Uses 64 KiB for each direction, up to four times that for input that is cut into lines, and whatever a larger
/// message of a
/// Unix socket needs. SIGPIPE must be ignored, as it is in Rust programs.
///
/// # Errors
/// poll(2) and epoll(7) themselves, for lack of memory or descriptors. Everything that the peer, the input or the
/// output does is an [`Outcome`].
pub fn talk(
    peer: Channel,
    companions: Vec<Channel>,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    rules: &Rules,
    witness: &mut dyn Witness,
) -> Result<Outcome, Error> {
    let companions =
        Companions::new(companions).map_err(|errno| Error::system("watch the other connections", errno))?;
    Talk::new(peer, companions, input, output, rules, witness).run()
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
    net: Channel,
    companions: Companions,
    input: BorrowedFd<'a>,
    input_nature: Nature,
    output: BorrowedFd<'a>,
    output_nature: Nature,
    list: WatchList,
    pace: Pace,
    telnet: Option<Telnet>,
    witness: &'a mut dyn Witness,

    up: Buffer,
    down: Buffer,
    /// How input goes to the socket.
    way_up: Way,
    /// There may be some to go past `up`.
    input_ready: bool,
    /// What is received goes to the output past `down`.
    siphon: Option<Siphon>,
    input_open: bool,
    /// The last byte of the input was a carriage return.
    last_was_return: bool,
    sending: Sending,
    receiving: Receiving,
    /// The socket takes nothing until poll says so; there may be ciphertext that has to leave.
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
    start_told: bool,

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
        net: Channel,
        companions: Companions,
        input: BorrowedFd<'a>,
        output: BorrowedFd<'a>,
        rules: &'a Rules,
        witness: &'a mut dyn Witness,
    ) -> Talk<'a> {
        let (now, kind) = (clock::now(), net.kind());
        let (input_nature, output_nature) = (Nature::of(input), Nature::of(output));
        let telnet = rules.telnet && kind.is_stream();
        if telnet {
            // The data mark of a Synch is urgent data (RFC 854, "The TELNET Synch signal"): out of line, the byte after
            // its IAC would be taken for the command.
            let _ = rustix::net::sockopt::set_socket_oobinline(&net, true);
        }
        let pace = Pace::new(rules.rate, rules.delay_line, now);
        let as_they_are = !telnet && !witness.wants_bytes() && witness.screen().is_none();
        let may_be_short =
            as_they_are && !rules.crlf && !pace.is_set() && shortcut::leads_up(&net, input, input_nature);
        let keeps = as_they_are && rules.ways != Ways::Send;
        let siphon = keeps.then(|| Siphon::between(&net, output, output_nature)).flatten();
        Talk {
            kind,
            rules,
            net,
            companions,
            input,
            input_nature,
            output,
            output_nature,
            list: WatchList::default(),
            telnet: telnet.then(Telnet::new),
            pace,
            witness,
            up: Buffer::with_capacity(BUFFER),
            down: Buffer::with_capacity(BUFFER),
            way_up: if may_be_short { Way::Undecided } else { Way::Memory },
            input_ready: false,
            siphon,
            input_open: rules.ways != Ways::Receive,
            last_was_return: false,
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
            start_told: false,
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

    fn run(mut self) -> Result<Outcome, Error> {
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
            if let Some(cut) = self.on_time(clock::now(), !(ready.input || ready.net)) {
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
}
