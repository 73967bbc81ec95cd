//! [`Tally`]: what was measured, kept by each worker for itself and added together at the end.

use hdrhistogram::Histogram;
use rustix::io::Errno;

/// The longest time that is told apart, an hour; longer ones count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of a recorded time.
const DIGITS: u8 = 3;

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
    /// Another answer of the kernel.
    Other,
}

impl Trouble {
    /// Every kind, in the order of [`Tally::errors`].
    pub const ALL: [Trouble; 7] = [
        Trouble::Refused,
        Trouble::Reset,
        Trouble::Closed,
        Trouble::TimedOut,
        Trouble::WrongContent,
        Trouble::Exhausted,
        Trouble::Other,
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
            Trouble::Other => "other",
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
#[derive(Clone, Debug)]
pub struct Tally {
    /// From when a request was meant to start to the end of its answer.
    pub response: Histogram<u64>,
    /// From when it was started to the end of its answer: what hides the wait for a stalled server.
    pub service: Histogram<u64>,
    /// From when it was started to the first byte of its answer.
    pub first_byte: Histogram<u64>,
    /// From connect(2) to the connection.
    pub connect: Histogram<u64>,
    /// Requests without an answer, by [`Trouble`].
    pub errors: [u64; Trouble::ALL.len()],
    /// Requests that were due; in a closed loop those that were started.
    pub offered: u64,
    /// Requests that were started.
    pub started: u64,
    /// Answers that came before the end of the measured time.
    pub in_time: u64,
    /// Requests that the end of the run left without an answer.
    pub unfinished: u64,
    /// Requests that started late though a connection was free: the generator's own fault.
    pub late: u64,
    /// Processor time of the workers while it was measured.
    pub cpu_ns: u64,
    /// How long it was measured.
    pub measured_ns: u64,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("constant, valid bounds");
        Tally {
            response: histogram(),
            service: histogram(),
            first_byte: histogram(),
            connect: histogram(),
            errors: [0; Trouble::ALL.len()],
            offered: 0,
            started: 0,
            in_time: 0,
            unfinished: 0,
            late: 0,
            cpu_ns: 0,
            measured_ns: 0,
        }
    }

    /// Adds what another worker measured in the same time.
    pub(super) fn add(&mut self, other: &Tally) {
        let same = "all histograms have the same bounds";
        self.response.add(&other.response).expect(same);
        self.service.add(&other.service).expect(same);
        self.first_byte.add(&other.first_byte).expect(same);
        self.connect.add(&other.connect).expect(same);
        for (sum, more) in self.errors.iter_mut().zip(other.errors) {
            *sum += more;
        }
        self.offered += other.offered;
        self.started += other.started;
        self.in_time += other.in_time;
        self.unfinished += other.unfinished;
        self.late += other.late;
        self.cpu_ns += other.cpu_ns;
        self.measured_ns = self.measured_ns.max(other.measured_ns);
    }

    pub(super) fn fail(&mut self, trouble: Trouble) {
        self.errors[trouble as usize] += 1;
    }

    /// Whole, right answers.
    pub fn answers(&self) -> u64 {
        self.service.len()
    }

    /// Requests without an answer, of every kind.
    pub fn failed(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Answers in time per second.
    pub fn rate(&self) -> f64 {
        per_second(self.in_time, self.measured_ns)
    }

    /// Requests due per second.
    pub fn offered_rate(&self) -> f64 {
        per_second(self.offered, self.measured_ns)
    }
}

fn per_second(count: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { count as f64 * 1e9 / ns as f64 }
}
