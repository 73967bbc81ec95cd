//! One cell of the benchmark: one load, all servers up at once, each given a slice in turn, round after
//! round.
//!
//! Absolute numbers drift by tens of per cent within a minute where other work shares the processors. What
//! two servers did within the same round is comparable, so results are ratios per round, and the rounds'
//! spread says how far to trust them.

use crate::client::{CONNECT_BYTES, Client, Load, STREAM_BYTES};
use crate::report::{Table, number, ratio, say};
use crate::server::Server;
use crate::statistics::Spread;
use crate::subject::Subject;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use switchboard_net::sys::process::{cpu_time, id};
use switchboard_net::sys::processors::{Busy, waited_ns};

/// Not counted at the start of a slice: caches and connections come back from another server's turn.
const WARM: Duration = Duration::from_millis(15);
/// After closed connections, so that the work of closing them is part of their slice.
const SETTLE: Duration = Duration::from_millis(3);

/// A slice in which the client waited longer than this share of it is tried again,
const CALM: f64 = 0.05;
/// so many times.
const REPEATS: usize = 2;
/// A cell whose usual slice was worse than this is shown, but proves nothing.
const DISTURBED: f64 = 0.1;

pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) load: Load,
}

/// What one server did in one round.
#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    cpu_us: f64,
    waited: f64,
}

/// A server's rounds, in order; a round is missing if the server failed in it.
pub(crate) struct Row {
    pub(crate) subject: Subject,
    samples: Vec<Option<Sample>>,
    failure: Option<String>,
}

struct Contender {
    server: Server,
    client: Client,
}

/// Which of a sample's two numbers is compared.
#[derive(Clone, Copy)]
pub(crate) enum Measure {
    Rate,
    Cpu,
}

pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    /// The share of each slice in which the client was ready to run and another process had its processor.
    waited: Option<Spread>,
    /// The share of both processors that went to processes that are not of this benchmark.
    foreign: f64,
}

/// Everything the cells of one run share.
pub(crate) struct Terms {
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    pub(crate) descriptors: u64,
    /// The servers' processor and the client's; the same where there is only one.
    pub(crate) processors: [usize; 2],
}

impl Cell {
    /// The load, scaled down, aloud, if the limit on descriptors cannot hold it for so many servers at once.
    fn affordable(&self, servers: usize, descriptors: u64) -> Load {
        let Load::Echo { connections, bytes } = self.load else { return self.load };
        let room = (descriptors.saturating_sub(200) as usize / servers.max(1)).max(1);
        if room >= connections {
            return self.load;
        }
        say(&format!(
            "  {descriptors} descriptors hold {room} connections to each of {servers} servers: scaled down"
        ));
        Load::Echo { connections: room, bytes }
    }

    pub(crate) fn run(&self, number: usize, subjects: &[Subject], terms: &Terms) -> Results {
        let mut fit = Vec::new();
        for subject in subjects {
            match subject.unfit(self.load) {
                Some(Some(reason)) => say(&format!("  {} is left out: {reason}", subject.title())),
                Some(None) => {}
                None => fit.push(*subject),
            }
        }
        let load = self.affordable(fit.len(), terms.descriptors);
        let mut contenders = Vec::new();
        let mut rows = Vec::new();
        for subject in fit {
            let started = Contender::start(subject, load, terms.processors);
            let failure = started.as_ref().err().map(ToString::to_string);
            contenders.push(started.ok());
            rows.push(Row { subject, samples: Vec::new(), failure });
        }
        let machine = Machine::now(terms.processors);
        let mut servers_ns = 0;
        for round in 0..terms.rounds {
            for turn in 0..rows.len() {
                let index = (turn + round) % rows.len();
                let row = &mut rows[index];
                let Some(contender) = &mut contenders[index] else {
                    row.samples.push(None);
                    continue;
                };
                // An address of its own for every slice: closed connections keep their ports for a minute.
                let source =
                    Ipv4Addr::new(127, (1 + number) as u8, (1 + index) as u8, (1 + round % 250) as u8);
                match contender.calmest_slice(terms.window, source, &mut servers_ns) {
                    Ok(sample) => row.samples.push(Some(sample)),
                    Err(error) => {
                        row.samples.push(None);
                        row.failure = Some(contender.server.complaint(&error.to_string()));
                        contenders[index] = None;
                    }
                }
            }
        }
        let foreign = machine.foreign_share(terms.processors, servers_ns);
        let waits = rows.iter().flat_map(|row| &row.samples).flatten().map(|sample| sample.waited);
        Results { waited: Spread::of(waits), foreign, rows }
    }

    /// The unit of the rate, how many of it a message is, and what a message is called.
    fn units(&self) -> (&'static str, f64, String) {
        match self.load {
            Load::Echo { bytes, .. } | Load::Awake { bytes } => {
                ("msg/s", 1.0, format!("message of {bytes} bytes"))
            }
            Load::Datagram { bytes, .. } => ("dgram/s", 1.0, format!("datagram of {bytes} bytes")),
            Load::Stream => ("MB/s", STREAM_BYTES as f64 / 1e6, format!("block of {STREAM_BYTES} bytes")),
            Load::Connect { .. } => {
                ("conn/s", 1.0, format!("connection with one message of {CONNECT_BYTES} bytes"))
            }
        }
    }

    pub(crate) fn print(&self, results: &Results) {
        let (unit, factor, message) = self.units();
        let head =
            ["server", unit, "CPU us", "model", "rate / model", "CPU / model", "rate / best", "CPU / best"];
        let mut table = Table::new(&head);
        for row in &results.rows {
            let own = row.subject.model(self.load);
            let median = |measure| row.spread(measure).map_or(f64::NAN, |spread| spread.median);
            let against =
                |other: Option<&Row>, measure| ratio(other.and_then(|other| row.ratio(other, measure)));
            let model = own.and_then(|own| results.yardstick(own));
            table.row(vec![
                row.subject.title(),
                number(median(Measure::Rate) * factor),
                number(median(Measure::Cpu)),
                own.unwrap_or("-").to_owned(),
                against(model, Measure::Rate),
                against(model, Measure::Cpu),
                against(results.best(self.load, Measure::Rate), Measure::Rate),
                against(results.best(self.load, Measure::Cpu), Measure::Cpu),
            ]);
        }
        table.print();
        for row in &results.rows {
            if let Some(failure) = &row.failure {
                say(&format!("  {} failed: {failure}", row.subject.title()));
            }
        }
        let best = |measure| {
            results.best(self.load, measure).map_or_else(|| "-".to_owned(), |row| row.subject.title())
        };
        say(&format!(
            "  CPU per {message}; best by rate: {}, by CPU: {}",
            best(Measure::Rate),
            best(Measure::Cpu)
        ));
        if let Some(Spread { low, median, high }) = results.waited {
            let [low, median, high, foreign] =
                [low, median, high, results.foreign].map(|share| share * 100.0);
            say(&format!(
                "  disturbance: the client waited for its processor {median:.1} % [{low:.1} {high:.1}] of a slice, \
                 other processes took {foreign:.0} %"
            ));
        }
        say("");
    }
}

impl Contender {
    fn start(subject: Subject, load: Load, processors: [usize; 2]) -> io::Result<Contender> {
        // Several workers share both processors with the client: there is no third.
        let places = if load.workers() > 1 { processors.to_vec() } else { vec![processors[0]] };
        let mut server = Server::start(subject.command(Some(load))?, places)?;
        match Client::open(load, server.port) {
            Ok(client) => Ok(Contender { server, client }),
            Err(error) => Err(io::Error::other(server.complaint(&error.to_string()))),
        }
    }

    /// A slice; if other processes disturbed it, the calmest of a few.
    fn calmest_slice(
        &mut self,
        window: Duration,
        source: Ipv4Addr,
        servers_ns: &mut u64,
    ) -> io::Result<Sample> {
        let mut calmest = self.slice(window, source, servers_ns)?;
        for _ in 0..REPEATS {
            if calmest.waited <= CALM {
                break;
            }
            let again = self.slice(window, source, servers_ns)?;
            if again.waited < calmest.waited {
                calmest = again;
            }
        }
        Ok(calmest)
    }

    fn slice(&mut self, window: Duration, source: Ipv4Addr, servers_ns: &mut u64) -> io::Result<Sample> {
        let before_ns = self.server.cpu_ns();
        let waited_before_ns = waited_ns();
        let work = self.client.slice(WARM, window, source)?;
        let waited_ns = waited_ns().zip(waited_before_ns).map_or(0, |(now, before)| now - before);
        let waited = waited_ns as f64 / (WARM + window).as_nanos() as f64;
        std::thread::sleep(SETTLE);
        let used_ns = self.server.cpu_ns().saturating_sub(before_ns);
        *servers_ns += used_ns;
        Ok(Sample { rate: work.rate, cpu_us: used_ns as f64 / 1000.0 / work.messages, waited })
    }
}

impl Row {
    fn spread(&self, measure: Measure) -> Option<Spread> {
        Spread::of(self.samples.iter().flatten().map(|sample| sample.value(measure)))
    }

    /// This row over another, round by round.
    pub(crate) fn ratio(&self, other: &Row, measure: Measure) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&other.samples);
        Spread::of(pairs.filter_map(|(own, other)| Some((*own)?.value(measure) / (*other)?.value(measure))))
    }
}

impl Sample {
    fn value(self, measure: Measure) -> f64 {
        match measure {
            Measure::Rate => self.rate,
            Measure::Cpu => self.cpu_us,
        }
    }
}

impl Results {
    /// Whether other processes left too little of the machine for a verdict.
    pub(crate) fn disturbed(&self) -> bool {
        self.waited.is_none_or(|waited| waited.median > DISTURBED)
    }

    pub(crate) fn yardstick(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| matches!(row.subject, Subject::Yardstick(known) if known == name))
    }

    /// The best of the yardsticks that all are measured against.
    pub(crate) fn best(&self, load: Load, measure: Measure) -> Option<&Row> {
        let median = |row: &Row| row.spread(measure).map(|spread| spread.median);
        let rows = self.rows.iter().filter(|row| row.subject.is_measure(load) && median(row).is_some());
        let order =
            |a: &&Row, b: &&Row| median(a).partial_cmp(&median(b)).unwrap_or(std::cmp::Ordering::Equal);
        match measure {
            Measure::Rate => rows.max_by(order),
            Measure::Cpu => rows.min_by(order),
        }
    }
}

/// The processors' busy time so far, and this process's own.
struct Machine {
    at: Instant,
    busy: Duration,
    own_ns: u64,
}

impl Machine {
    fn now(processors: [usize; 2]) -> Machine {
        let busy = Busy::of(&processors).unwrap_or_default().busy;
        Machine { at: Instant::now(), busy, own_ns: cpu_time(id()).as_nanos() as u64 }
    }

    /// The share of the processors' time since then that neither this process nor its servers had.
    fn foreign_share(&self, processors: [usize; 2], servers_ns: u64) -> f64 {
        let now = Machine::now(processors);
        let elapsed_ns =
            (now.at - self.at).as_nanos() as f64 * if processors[0] == processors[1] { 1.0 } else { 2.0 };
        let busy_ns = (now.busy - self.busy).as_nanos() as u64;
        let ours_ns = now.own_ns - self.own_ns + servers_ns;
        (busy_ns.saturating_sub(ours_ns) as f64 / elapsed_ns).min(1.0)
    }
}
