//! [`Tally`]: what was measured, kept by each worker for itself and added together at the end.

use hdrhistogram::Histogram;
use rustix::io::Errno;

/// The longest time that is told apart, an hour; longer ones count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of a recorded time.
const DIGITS: u8 = 3;

/// An empty histogram with the bounds that all of them have: 1 ns to an hour, three digits.
pub fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("constant, valid bounds")
}

/// Why a request got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nobody listens, or the way there is closed.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer ended the connection before the answer was whole.
    Closed,
    /// No connection or no answer within the time-out.
    TimedOut,
    /// The answer is not what was asked for.
    WrongContent,
    /// Ours: no port, descriptor or memory was left for another connection.
    Exhausted,
    /// A datagram whose answer did not come in time.
    Lost,
    /// Another answer of the kernel.
    Other,
    /// No agreement or no trust in the TLS handshake, or a session that was broken or cut short.
    Tls,
}

impl Trouble {
    /// Every kind, in the order of [`Tally::errors`].
    pub const ALL: [Trouble; 9] = [
        Trouble::Refused,
        Trouble::Reset,
        Trouble::Closed,
        Trouble::TimedOut,
        Trouble::WrongContent,
        Trouble::Exhausted,
        Trouble::Lost,
        Trouble::Other,
        Trouble::Tls,
    ];

    /// As reports and programs call it.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::Refused => "refused",
            Trouble::Reset => "reset",
            Trouble::Closed => "closed",
            Trouble::TimedOut => "timeout",
            Trouble::WrongContent => "wrong_content",
            Trouble::Exhausted => "exhausted",
            Trouble::Lost => "lost",
            Trouble::Other => "other",
            Trouble::Tls => "tls",
        }
    }

    pub(super) fn of(errno: Errno) -> Trouble {
        match errno {
            Errno::CONNREFUSED | Errno::NOENT | Errno::HOSTUNREACH | Errno::NETUNREACH => Trouble::Refused,
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Trouble::Reset,
            Errno::TIMEDOUT => Trouble::TimedOut,
            Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => {
                Trouble::Exhausted
            }
            _ => Trouble::Other,
        }
    }
}

/// What was measured. Times are in nanoseconds; only whole, right answers have any.
#[derive(Clone, PartialEq, Debug)]
pub struct Tally {
    /// Open loop only: from when a request was meant to start to the end of its answer. A request that was never sent is
    /// here too ([`unsent`](Tally::unsent)), with the least that it can have taken: what it had waited at the end of the
    /// measured time, and as long as the fastest answer.
    pub response: Histogram<u64>,
    /// From when it was started to the end of its answer: in an open loop what hides the wait for a stalled server. Of
    /// a stream in both directions: the way of single bytes, there and back.
    pub service: Histogram<u64>,
    /// From when it was started to the first byte of its answer.
    pub first_byte: Histogram<u64>,
    /// From connect(2) to the connection.
    pub connect: Histogram<u64>,
    /// From the connection to the end of the TLS handshake; none where there is no TLS.
    pub handshake: Histogram<u64>,
    /// TLS handshakes that resumed an earlier session; they are in [`handshake`](Tally::handshake) as well.
    pub resumed: u64,
    /// Requests without an answer, by [`Trouble`].
    pub errors: [u64; Trouble::ALL.len()],
    /// In what the first wrong answer was wrong.
    pub complaint: Option<String>,
    /// Why there first was no connection, where [`Trouble::Exhausted`] and [`Trouble::Other`] do not tell what to do.
    pub obstacle: Option<String>,
    /// What was wrong with TLS when it first was.
    pub tls_failure: Option<String>,
    /// Requests that were due; in a closed loop those that were started.
    pub offered: u64,
    /// Requests that were started.
    pub started: u64,
    /// Answers that came within the measured time, whenever they were asked for: those of a rate.
    pub in_time: u64,
    /// Requests that the end of the run left without an answer.
    pub unfinished: u64,
    /// Open loop only: requests that were due within the measured time, and for which no connection was free before its
    /// end. They are part of what was offered, and of [`response`](Tally::response).
    pub unsent: u64,
    /// Requests that started late, or not at all, since the generator slept when they were due: its own fault.
    pub late: u64,
    /// Datagrams that were answered after one that was sent later.
    pub reordered: u64,
    /// Answers to datagrams that came more than once, without the first.
    pub doubled: u64,
    /// Answers to datagrams that had been given up as lost.
    pub too_late: u64,
    /// Bytes of requests, or of streams, that were sent while it was measured; within TLS, where there is TLS.
    pub bytes_up: u64,
    /// Bytes of answers, or of streams, that came while it was measured, right or not.
    pub bytes_down: u64,
    /// Connections that were open at the end.
    pub open: u64,
    /// Processor time of the workers while it was measured.
    pub cpu_ns: u64,
    /// How long the workers were ready to run meanwhile and had no processor; 0 where the kernel does not count it.
    pub waited_ns: u64,
    /// How long it was measured.
    pub measured_ns: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Tally {
        Tally {
            response: times(),
            service: times(),
            first_byte: times(),
            connect: times(),
            handshake: times(),
            resumed: 0,
            errors: [0; Trouble::ALL.len()],
            complaint: None,
            obstacle: None,
            tls_failure: None,
            offered: 0,
            started: 0,
            in_time: 0,
            unfinished: 0,
            unsent: 0,
            late: 0,
            reordered: 0,
            doubled: 0,
            too_late: 0,
            bytes_up: 0,
            bytes_down: 0,
            open: 0,
            cpu_ns: 0,
            waited_ns: 0,
            measured_ns: 0,
        }
    }

    /// Adds what others measured at the same time.
    pub fn beside(&mut self, other: &Tally) {
        let (open, measured_ns) =
            (self.open.saturating_add(other.open), self.measured_ns.max(other.measured_ns));
        self.add(other);
        (self.open, self.measured_ns) = (open, measured_ns);
    }

    /// Adds what was measured afterwards.
    pub fn then(&mut self, other: &Tally) {
        let (open, measured_ns) = (other.open, self.measured_ns.saturating_add(other.measured_ns));
        self.add(other);
        (self.open, self.measured_ns) = (open, measured_ns);
    }

    fn add(&mut self, other: &Tally) {
        let pairs = [
            (&mut self.response, &other.response),
            (&mut self.service, &other.service),
            (&mut self.first_byte, &other.first_byte),
            (&mut self.connect, &other.connect),
            (&mut self.handshake, &other.handshake),
        ];
        for (sum, more) in pairs {
            if !more.is_empty() {
                sum.add(more).expect("all histograms have the same bounds");
            }
        }
        for (sum, more) in self.errors.iter_mut().zip(other.errors) {
            *sum = sum.saturating_add(more);
        }
        if self.complaint.is_none() {
            self.complaint.clone_from(&other.complaint);
        }
        if self.obstacle.is_none() {
            self.obstacle.clone_from(&other.obstacle);
        }
        if self.tls_failure.is_none() {
            self.tls_failure.clone_from(&other.tls_failure);
        }
        for ((_, sum), (_, more)) in self.counters_mut().into_iter().zip(other.counters()) {
            // Counts may come from files.
            *sum = sum.saturating_add(more);
        }
    }

    /// Whole, right answers.
    pub fn answers(&self) -> u64 {
        self.service.len()
    }

    /// Requests without an answer, of every kind.
    pub fn failed(&self) -> u64 {
        self.errors.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Bytes per second, both ways together.
    pub fn bytes_rate(&self) -> f64 {
        per_second(self.bytes_up + self.bytes_down, self.measured_ns)
    }

    /// Answers per second of the measured time, whenever they were asked for.
    pub fn rate(&self) -> f64 {
        per_second(self.in_time, self.measured_ns)
    }

    /// Requests due per second.
    pub fn offered_rate(&self) -> f64 {
        per_second(self.offered, self.measured_ns)
    }
}

/// Counters with their names, in one order.
macro_rules! counters {
    ($($name:ident)*) => {
        /// How many counters a [`Tally`] has beside its errors.
        const COUNTERS: usize = [$(stringify!($name)),*].len();

        impl Tally {
            /// Every number that is only counted, by its field's name; errors have names of their own ([`Trouble::name`]).
            pub fn counters(&self) -> [(&'static str, u64); COUNTERS] {
                [$((stringify!($name), self.$name)),*]
            }

            /// The same, to be set.
            pub fn counters_mut(&mut self) -> [(&'static str, &mut u64); COUNTERS] {
                [$((stringify!($name), &mut self.$name)),*]
            }
        }
    };
}

counters! {
    resumed offered started in_time unfinished unsent late reordered doubled too_late bytes_up bytes_down open cpu_ns
    waited_ns measured_ns
}

fn per_second(count: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { count as f64 * 1e9 / ns as f64 }
}
