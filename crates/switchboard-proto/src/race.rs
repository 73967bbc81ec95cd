//! Happy Eyeballs without I/O: which of a name's addresses to try next, and when.
//!
//! RFC 8305 (version 2): attempts start one after the other with a pause between them, the families take turns, the
//! first connection wins and all other attempts are closed. A dead first address so costs a quarter of a second, not
//! its time-out; a refused one costs nothing, since the next attempt starts at once.
//!
//! ```text
//!   answers ──▶ answer(), answer_all() ──▶ ┌──────┐ ──▶ Start(n): make a socket, begin to connect
//!   kernel  ──▶ connected(n), failed(n) ─▶ │ Race │ ──▶ Close(n): its fate says why
//!   time    ──▶ step(now) ───────────────▶ └──────┘ ──▶ Wait(until), and at the end Won(n) or Lost
//! ```
//! Order *within* a family is the caller's: that of getaddrinfo(3), which sorts by RFC 6724.
//!
//! ```
//! use switchboard_proto::Instant;
//! use switchboard_proto::race::{Family, Fate, Race, Step, Timing};
//!
//! let timing = Timing::default();
//! let mut race: Race<&str, &str> = Race::new(timing);
//! let now = Instant(0);
//! race.answer_all([(Family::V6, "2001:db8::1"), (Family::V4, "192.0.2.1")], now);
//! assert_eq!(race.step(now), Step::Start(0));
//! assert_eq!(race.step(now), Step::Wait(now + timing.attempt_delay));
//! let now = now + timing.attempt_delay; // the first address is still silent
//! assert_eq!(race.step(now), Step::Start(1));
//! assert!(race.connected(1));
//! assert_eq!(race.step(now), Step::Close(0));
//! assert_eq!(race.fate(0), &Fate::Outrun(timing.attempt_delay));
//! assert_eq!(race.step(now), Step::Won(1));
//! ```

use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

/// An internet protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }
}

/// The numbers of a race. The defaults are those of RFC 8305 section 8, where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// How long IPv4 addresses that came first wait for the answer about IPv6.
    pub resolution_delay: Duration,
    /// From the start of one attempt to that of the next, while none has failed; [`Race::new`] keeps it within
    /// [`Timing::ATTEMPT_DELAYS`].
    pub attempt_delay: Duration,
    /// How many addresses of the first one's family are tried before one of the other; at least 1.
    pub first_family_count: usize,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// How many attempts may be under way at a time; at least 1. The RFC has no such number, but descriptors are
    /// finite. 1 tries the addresses in turn.
    pub at_once: usize,
}

impl Timing {
    /// What may be between two attempts: RFC 8305 section 8 forbids less and recommends no more.
    pub const ATTEMPT_DELAYS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(2);
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            resolution_delay: Duration::from_millis(50),
            attempt_delay: Duration::from_millis(250),
            first_family_count: 1,
            attempt_timeout: Duration::from_secs(10),
            at_once: 32,
        }
    }
}

/// What to do now. Attempts have numbers, from 0 in the order in which they start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Begin to connect to [`Race::address`] of this attempt, and report what comes of it.
    Start(usize),
    /// Close the socket of this attempt, without a reset; its [`Fate`] says why.
    Close(usize),
    /// Nothing before that instant, unless something is reported.
    Wait(Instant),
    /// This attempt is connected, and no other is open. The race is over.
    Won(usize),
    /// Every address was tried, and failed; or there is none. The race is over.
    Lost,
}

/// What became of an attempt; `E` is the reason of a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate<E> {
    /// It is under way.
    Running,
    /// It won.
    Connected,
    /// It failed.
    Failed(E),
    /// It did not answer within [`Timing::attempt_timeout`].
    TimedOut,
    /// Another one won, when this one had run for so long.
    Outrun(Duration),
}

/// Attempts to connect to one of several addresses; `A` is an address, `E` the reason of a failure.
#[derive(Debug)]
pub struct Race<A, E> {
    timing: Timing,
    /// Addresses not tried yet, by family.
    v4: VecDeque<A>,
    v6: VecDeque<A>,
    /// Whether everything is known about a family.
    v4_answered: bool,
    v6_answered: bool,
    /// The family that starts: that of the resolver's first address.
    leading: Option<Family>,
    /// Before it no first attempt starts: the answer about IPv6 may still come.
    hold: Instant,
    /// Before it no further attempt starts.
    next: Instant,
    attempts: Vec<Attempt<A, E>>,
    winner: Option<usize>,
}

#[derive(Debug)]
struct Attempt<A, E> {
    address: A,
    family: Family,
    began: Instant,
    fate: Fate<E>,
}

impl<A, E> Race<A, E> {
    /// A race that knows no address yet.
    pub fn new(timing: Timing) -> Race<A, E> {
        let (least, most) = (*Timing::ATTEMPT_DELAYS.start(), *Timing::ATTEMPT_DELAYS.end());
        Race {
            timing: Timing {
                attempt_delay: timing.attempt_delay.clamp(least, most),
                first_family_count: timing.first_family_count.max(1),
                at_once: timing.at_once.max(1),
                ..timing
            },
            v4: VecDeque::new(),
            v6: VecDeque::new(),
            v4_answered: false,
            v6_answered: false,
            leading: None,
            hold: Instant(0),
            next: Instant(0),
            attempts: Vec::new(),
            winner: None,
        }
    }

    /// The whole answer about one family, in the order of preference; empty if the name has no such address, or if
    /// the question failed. IPv6 starts, if it is known in time.
    ///
    /// For resolvers that ask for A and AAAA apart: IPv4 addresses that come first wait for the resolution delay
    /// (RFC 8305 section 3). Addresses that come late join the race.
    pub fn answer(&mut self, family: Family, addresses: impl IntoIterator<Item = A>, now: Instant) {
        self.queue(family).extend(addresses);
        match family {
            Family::V6 => {
                self.v6_answered = true;
                self.hold = Instant(0);
            }
            Family::V4 => {
                self.v4_answered = true;
                if !self.v6_answered && !self.v4.is_empty() {
                    self.hold = now + self.timing.resolution_delay;
                }
            }
        }
    }

    /// Both families at once and sorted, as getaddrinfo(3) answers; the first address's family starts.
    pub fn answer_all(&mut self, addresses: impl IntoIterator<Item = (Family, A)>, now: Instant) {
        for (family, address) in addresses {
            self.leading = self.leading.or(Some(family));
            self.queue(family).push_back(address);
        }
        self.answer(Family::V6, [], now);
        self.answer(Family::V4, [], now);
    }

    /// This attempt's connection is made. False if another one was first: this one will be closed.
    ///
    /// # Panics
    /// On the number of an attempt that was not started; this holds for all functions that take one.
    pub fn connected(&mut self, attempt: usize) -> bool {
        let runner = &mut self.attempts[attempt];
        let wins = self.winner.is_none() && matches!(runner.fate, Fate::Running);
        if wins {
            runner.fate = Fate::Connected;
            self.winner = Some(attempt);
        }
        wins
    }

    /// This attempt failed, and its socket is closed: the next one starts at once. An attempt that was over by then
    /// keeps its fate.
    pub fn failed(&mut self, attempt: usize, reason: E, now: Instant) {
        let runner = &mut self.attempts[attempt];
        if matches!(runner.fate, Fate::Running) {
            runner.fate = Fate::Failed(reason);
            self.next = self.next.min(now);
        }
    }

    /// What to do at `now`. To be called until it says [`Step::Wait`], and again at that time and after each report.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(winner) = self.winner {
            let Some(loser) = self.running().next() else { return Step::Won(winner) };
            let runner = &mut self.attempts[loser];
            runner.fate = Fate::Outrun(now.since(runner.began));
            return Step::Close(loser);
        }
        let late = self.running().find(|attempt| self.deadline(*attempt) <= now);
        if let Some(late) = late {
            self.attempts[late].fate = Fate::TimedOut;
            self.next = self.next.min(now);
            return Step::Close(late);
        }
        let (mut running, mut until) = (0, Instant::NEVER);
        for attempt in self.running() {
            running += 1;
            until = until.min(self.deadline(attempt));
        }
        let waiting = !self.v4.is_empty() || !self.v6.is_empty();
        if waiting && running < self.timing.at_once {
            let start = self.next.max(self.hold);
            if start <= now
                && let Some((family, address)) = self.take()
            {
                self.next = now + self.timing.attempt_delay;
                self.attempts.push(Attempt { address, family, began: now, fate: Fate::Running });
                return Step::Start(self.attempts.len() - 1);
            }
            until = until.min(start);
        }
        if running == 0 && !waiting && self.v4_answered && self.v6_answered {
            return Step::Lost;
        }
        Step::Wait(until)
    }

    /// The address of an attempt.
    pub fn address(&self, attempt: usize) -> &A {
        &self.attempts[attempt].address
    }

    /// When an attempt started.
    pub fn began(&self, attempt: usize) -> Instant {
        self.attempts[attempt].began
    }

    /// What became of an attempt.
    pub fn fate(&self, attempt: usize) -> &Fate<E> {
        &self.attempts[attempt].fate
    }

    /// Attempts under way, the oldest first.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        let numbered = self.attempts.iter().enumerate();
        numbered.filter(|(_, attempt)| matches!(attempt.fate, Fate::Running)).map(|(number, _)| number)
    }

    /// Every address that was tried and what became of it, in the order of the attempts.
    pub fn into_fates(self) -> impl Iterator<Item = (A, Fate<E>)> {
        self.attempts.into_iter().map(|attempt| (attempt.address, attempt.fate))
    }

    fn deadline(&self, attempt: usize) -> Instant {
        self.began(attempt) + self.timing.attempt_timeout
    }

    fn queue(&mut self, family: Family) -> &mut VecDeque<A> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// The next address: some of the leading family, then the families in turn as long as both have one (RFC 8305
    /// section 4).
    fn take(&mut self) -> Option<(Family, A)> {
        // Two answers that came apart have no common order: IPv6 is preferred, if it is there by now.
        let fallback = if self.v6.is_empty() { Family::V4 } else { Family::V6 };
        let leading = *self.leading.get_or_insert(fallback);
        let wanted = match self.attempts.last() {
            Some(last) if self.attempts.len() >= self.timing.first_family_count => last.family.other(),
            _ => leading,
        };
        [wanted, wanted.other()]
            .into_iter()
            .find_map(|family| self.queue(family).pop_front().map(|address| (family, address)))
    }
}

#[cfg(test)]
mod tests {
    use super::Family::{V4, V6};
    use super::*;
    use crate::random::Random;
    use std::string::String;
    use std::{format, vec};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(ms: u64) -> Instant {
        Instant(0) + Duration::from_millis(ms)
    }

    /// Addresses have their family's number and their place in it for a name: 60, 61, 40, 41.
    fn race(addresses: &[u32], timing: Timing) -> Race<u32, &'static str> {
        let mut race = Race::new(timing);
        let family = |address: u32| if address >= 60 { V6 } else { V4 };
        race.answer_all(addresses.iter().map(|address| (family(*address), *address)), at(0));
        race
    }

    /// The order in which addresses are tried if each is refused at once.
    fn order(mut race: Race<u32, &'static str>) -> Vec<u32> {
        while let Step::Start(attempt) = race.step(at(0)) {
            race.failed(attempt, "refused", at(0));
        }
        assert_eq!(race.step(at(0)), Step::Lost);
        race.into_fates()
            .map(|(address, fate)| {
                assert_eq!(fate, Fate::Failed("refused"));
                address
            })
            .collect()
    }

    #[test]
    fn the_defaults_are_the_rfcs() {
        let timing = Timing::default();
        assert_eq!(timing.resolution_delay, ms(50));
        assert_eq!(timing.attempt_delay, ms(250));
        assert_eq!(timing.first_family_count, 1);
    }

    #[test]
    fn families_take_turns() {
        let rfc = Timing::default();
        assert_eq!(order(race(&[60, 61, 62, 40, 41], rfc)), [60, 40, 61, 41, 62]);
        assert_eq!(order(race(&[40, 41, 60], rfc)), [40, 60, 41]);
        assert_eq!(order(race(&[40, 60, 41, 61], rfc)), [40, 60, 41, 61]);
        assert_eq!(order(race(&[40, 41, 42], rfc)), [40, 41, 42]);
        assert_eq!(order(race(&[], rfc)), []);
        let two_first = Timing { first_family_count: 2, ..rfc };
        assert_eq!(order(race(&[60, 61, 62, 40, 41], two_first)), [60, 61, 40, 62, 41]);
        assert_eq!(order(race(&[60, 40, 41], two_first)), [60, 40, 41]);
    }

    #[test]
    fn silent_addresses_are_tried_a_quarter_of_a_second_apart() {
        let mut race = race(&[60, 61, 40], Timing::default());
        assert_eq!(race.step(at(0)), Step::Start(0));
        assert_eq!(race.step(at(0)), Step::Wait(at(250)));
        assert_eq!(race.step(at(249)), Step::Wait(at(250)));
        assert_eq!(race.step(at(250)), Step::Start(1));
        assert_eq!(race.step(at(250)), Step::Wait(at(500)));
        // Late by 10 ms: the pause counts from the start that was, so that two never start together.
        assert_eq!(race.step(at(510)), Step::Start(2));
        assert_eq!(race.step(at(510)), Step::Wait(at(10_000)));
        assert_eq!([0, 1, 2].map(|attempt| *race.address(attempt)), [60, 40, 61]);
        assert!(race.connected(1));
        assert!(!race.connected(2), "there is one winner");
        assert_eq!(race.step(at(600)), Step::Close(0));
        assert_eq!(race.step(at(600)), Step::Close(2));
        assert_eq!(race.step(at(600)), Step::Won(1));
        let fates: Vec<_> = race.into_fates().map(|(_, fate)| fate).collect();
        assert_eq!(fates, [Fate::Outrun(ms(600)), Fate::Connected, Fate::Outrun(ms(90))]);
    }

    #[test]
    fn a_failure_starts_the_next_at_once() {
        let mut race = race(&[60, 40, 61], Timing::default());
        assert_eq!(race.step(at(0)), Step::Start(0));
        race.failed(0, "refused", at(3));
        assert_eq!(race.step(at(3)), Step::Start(1));
        // The next pause counts from there.
        assert_eq!(race.step(at(3)), Step::Wait(at(253)));
        assert_eq!(race.step(at(253)), Step::Start(2));
        race.failed(2, "unreachable", at(260));
        assert_eq!(race.step(at(260)), Step::Wait(at(10_003)));
        // What is over keeps its fate.
        race.failed(2, "refused", at(261));
        assert!(!race.connected(0));
        assert_eq!(race.step(at(10_003)), Step::Close(1));
        assert_eq!(race.step(at(10_003)), Step::Lost);
        let fates: Vec<_> = race.into_fates().collect();
        assert_eq!(
            fates,
            [(60, Fate::Failed("refused")), (40, Fate::TimedOut), (61, Fate::Failed("unreachable"))]
        );
    }

    #[test]
    fn each_attempt_has_its_own_time_out() {
        let mut race = race(&[60, 40], Timing { attempt_timeout: ms(300), ..Timing::default() });
        assert_eq!(race.step(at(0)), Step::Start(0));
        assert_eq!(race.step(at(250)), Step::Start(1));
        assert_eq!(race.step(at(250)), Step::Wait(at(300)));
        assert_eq!(race.step(at(300)), Step::Close(0));
        assert_eq!(race.fate(0), &Fate::TimedOut);
        assert_eq!(race.step(at(300)), Step::Wait(at(550)));
        assert_eq!(race.step(at(550)), Step::Close(1));
        assert_eq!(race.step(at(550)), Step::Lost);
    }

    #[test]
    fn a_time_out_shorter_than_the_pause_starts_the_next() {
        let mut race = race(&[60, 40], Timing { attempt_timeout: ms(100), ..Timing::default() });
        assert_eq!(race.step(at(0)), Step::Start(0));
        assert_eq!(race.step(at(100)), Step::Close(0));
        assert_eq!(race.step(at(100)), Step::Start(1));
    }

    #[test]
    fn attempts_at_once_are_limited() {
        let mut race = race(&[60, 40], Timing { at_once: 1, ..Timing::default() });
        assert_eq!(race.step(at(0)), Step::Start(0));
        assert_eq!(race.step(at(5_000)), Step::Wait(at(10_000)));
        assert_eq!(race.step(at(10_000)), Step::Close(0));
        assert_eq!(race.step(at(10_000)), Step::Start(1));
    }

    #[test]
    fn the_pause_is_clamped() {
        for (asked, got) in [(ms(0), ms(10)), (ms(100), ms(100)), (ms(60_000), ms(2_000))] {
            let mut race = race(&[60, 40], Timing { attempt_delay: asked, ..Timing::default() });
            assert_eq!(race.step(at(0)), Step::Start(0));
            assert_eq!(race.step(at(0)), Step::Wait(at(0) + got));
        }
    }

    #[test]
    fn ipv4_waits_a_little_for_ipv6() {
        // The answer about IPv6 comes in time.
        let mut race: Race<u32, ()> = Race::new(Timing::default());
        assert_eq!(race.step(at(0)), Step::Wait(Instant::NEVER));
        race.answer(V4, [40], at(5));
        assert_eq!(race.step(at(5)), Step::Wait(at(55)));
        race.answer(V6, [60], at(30));
        assert_eq!(race.step(at(30)), Step::Start(0));
        assert_eq!(race.address(0), &60);

        // It says that there is none.
        let mut race: Race<u32, ()> = Race::new(Timing::default());
        race.answer(V4, [40], at(5));
        race.answer(V6, [], at(6));
        assert_eq!(race.step(at(6)), Step::Start(0));

        // It is late, and joins the race.
        let mut race: Race<u32, ()> = Race::new(Timing::default());
        race.answer(V4, [40, 41], at(5));
        assert_eq!(race.step(at(55)), Step::Start(0));
        race.answer(V6, [60], at(60));
        assert_eq!(race.step(at(60)), Step::Wait(at(305)));
        assert_eq!(race.step(at(305)), Step::Start(1));
        assert_eq!([0, 1].map(|attempt| *race.address(attempt)), [40, 60]);

        // IPv6 waits for nothing; that nothing is left is known only after the last answer.
        let mut race: Race<u32, ()> = Race::new(Timing::default());
        race.answer(V6, [60], at(5));
        assert_eq!(race.step(at(5)), Step::Start(0));
        race.failed(0, (), at(6));
        assert_eq!(race.step(at(6)), Step::Wait(Instant::NEVER));
        race.answer(V4, [], at(400));
        assert_eq!(race.step(at(400)), Step::Lost);
    }

    // ── Random races ──

    /// What the network does to an attempt, and after how long.
    #[derive(Clone, Copy, Debug)]
    enum Nature {
        Answers(u64),
        Refuses(u64),
        Silent,
    }

    #[derive(Debug)]
    struct World {
        timing: Timing,
        /// When each family's answer comes.
        answers: [(Family, u64); 2],
        /// Whether both come in one answer, sorted.
        together: bool,
        natures: Vec<(Family, Nature)>,
    }

    impl World {
        fn new(random: &mut Random) -> World {
            let timing = Timing {
                resolution_delay: ms(50),
                attempt_delay: ms(random.below(600) as u64),
                first_family_count: 1 + random.below(3),
                attempt_timeout: ms(1 + random.below(3_000) as u64),
                at_once: 1 + random.below(6),
            };
            let lag = |random: &mut Random| {
                let most = [1, 60, 2_000][random.below(3)];
                random.below(most) as u64
            };
            let together = random.one_in(3);
            let v4 = lag(random);
            let answers = [(V4, v4), (V6, if together { v4 } else { lag(random) })];
            let natures = (0..random.below(9)).map(|_| {
                let family = if random.one_in(2) { V4 } else { V6 };
                let after = if random.one_in(4) { 0 } else { random.below(2_000) as u64 };
                let nature = match random.below(4) {
                    0 => Nature::Answers(after),
                    1 | 2 => Nature::Refuses(after),
                    _ => Nature::Silent,
                };
                (family, nature)
            });
            World { natures: natures.collect(), timing, answers, together }
        }

        /// Runs the race millisecond by millisecond, and checks every promise on the way.
        fn run(&self, random: &mut Random) -> Result<(), String> {
            let mut race: Race<usize, ()> = Race::new(self.timing);
            let (least, most) = (ms(10), ms(2_000));
            let delay = self.timing.attempt_delay.clamp(least, most);
            let of = |family| {
                let places = self.natures.iter().enumerate();
                places.filter(move |(_, (its, _))| *its == family).map(|(place, _)| place)
            };
            let answered =
                |family, now| self.answers.iter().any(|(its, when)| *its == family && *when <= now);
            let mut open: Vec<usize> = vec![];
            let mut started: Vec<(usize, u64)> = vec![];
            let mut last_failure = None;
            let mut wake = at(0);
            for now in 0..40_000 {
                let mut news = now == 0;
                if self.together && self.answers[0].1 == now {
                    let places = self.natures.iter().enumerate();
                    race.answer_all(places.map(|(place, (family, _))| (*family, place)), at(now));
                    news = true;
                }
                let due = self.answers.iter().filter(|(_, when)| *when == now && !self.together);
                for (family, _) in due {
                    race.answer(*family, of(*family), at(now));
                    news = true;
                }
                for attempt in open.clone() {
                    let (place, began) = started[attempt];
                    match self.natures[place].1 {
                        Nature::Answers(after) if began + after == now => {
                            race.connected(attempt);
                            news = true;
                        }
                        Nature::Refuses(after) if began + after == now => {
                            race.failed(attempt, (), at(now));
                            open.retain(|one| *one != attempt);
                            last_failure = Some(now);
                            news = true;
                        }
                        _ => {}
                    }
                }
                // A driver calls when it was told to, when something has happened, and sometimes for nothing.
                if !news && wake > at(now) && !random.one_in(50) {
                    // Nothing may be due that it was not woken for.
                    let age = |one: &usize| at(now).since(at(started[*one].1));
                    if open.iter().any(|one| age(one) >= self.timing.attempt_timeout) {
                        return Err(format!("{now}: an attempt has no time-out"));
                    }
                    let known = self.natures.iter().filter(|(family, _)| answered(*family, now)).count();
                    let held = !answered(V6, now) && now < self.answers[0].1 + 50;
                    if open.is_empty() && started.len() < known && !held {
                        return Err(format!("{now}: an address is left, and nothing is tried"));
                    }
                    continue;
                }
                loop {
                    match race.step(at(now)) {
                        Step::Start(attempt) => {
                            let place = *race.address(attempt);
                            let family = self.natures[place].0;
                            if attempt != started.len() || started.iter().any(|(one, _)| *one == place) {
                                return Err(format!("attempt {attempt} is not a new one"));
                            }
                            if !answered(family, now) {
                                return Err(format!("{now}: address {place} is not known yet"));
                            }
                            let earlier =
                                of(family).find(|one| started.iter().all(|(other, _)| other != one));
                            if earlier != Some(place) {
                                return Err(format!("{now}: {place} was tried before {earlier:?}"));
                            }
                            let left = |family| {
                                answered(family, now)
                                    && of(family).any(|one| started.iter().all(|(other, _)| *other != one))
                            };
                            if let Some((last, when)) = started.last() {
                                let early = at(now).since(at(*when)) < delay;
                                if early && last_failure.is_none_or(|failure| failure < *when) {
                                    return Err(format!("{now}: an attempt started too early"));
                                }
                                let same = self.natures[*last].0 == family;
                                let turns = started.len() >= self.timing.first_family_count;
                                if turns && same && left(family.other()) {
                                    return Err(format!("{now}: {place} is of the same family again"));
                                }
                            } else if self.together {
                                if place != 0 {
                                    return Err(format!("{now}: {place} was tried before the first"));
                                }
                            } else if family == V4 && !answered(V6, now) && now < self.answers[0].1 + 50 {
                                return Err(format!("{now}: IPv4 did not wait for IPv6"));
                            } else if family == V4 && left(V6) {
                                return Err(format!("{now}: IPv6 was there, and IPv4 started"));
                            }
                            started.push((place, now));
                            match self.natures[place].1 {
                                Nature::Answers(0) => {
                                    open.push(attempt);
                                    race.connected(attempt);
                                }
                                Nature::Refuses(0) => {
                                    race.failed(attempt, (), at(now));
                                    last_failure = Some(now);
                                }
                                _ => open.push(attempt),
                            }
                            if open.len() > self.timing.at_once {
                                return Err(format!("{now}: {} are open", open.len()));
                            }
                        }
                        Step::Close(attempt) => {
                            let Some(at) = open.iter().position(|one| *one == attempt) else {
                                return Err(format!("{now}: {attempt} is not open"));
                            };
                            open.remove(at);
                            if race.fate(attempt) == &Fate::TimedOut {
                                last_failure = Some(now);
                            }
                        }
                        Step::Wait(until) => {
                            if until <= at(now) {
                                return Err(format!("{now}: waits for what has passed"));
                            }
                            wake = until;
                            break;
                        }
                        Step::Won(attempt) => {
                            let answers = matches!(self.natures[started[attempt].0].1, Nature::Answers(_));
                            if open != [attempt] || !answers || race.fate(attempt) != &Fate::Connected {
                                return Err(format!("{now}: {attempt} won, and open are {open:?}"));
                            }
                            return Ok(());
                        }
                        Step::Lost => {
                            let in_time = self.natures.iter().find(|(_, nature)| {
                                matches!(nature, Nature::Answers(after) if ms(*after) < self.timing.attempt_timeout)
                            });
                            if let Some(address) = in_time {
                                return Err(format!("{now}: lost, and {address:?} would have answered"));
                            }
                            if started.len() != self.natures.len() || !open.is_empty() {
                                return Err(format!("{now}: lost with {open:?} open"));
                            }
                            return Ok(());
                        }
                    }
                }
            }
            Err("the race has no end".into())
        }
    }

    #[test]
    fn random_races_keep_every_promise() {
        let given = std::env::var("SWITCHBOARD_SEED").ok();
        let given: Option<u64> = given.map(|text| text.parse().expect("SWITCHBOARD_SEED is a number"));
        for seed in given.map_or(0..2_000, |seed| seed..seed + 1) {
            let mut random = Random::new(seed);
            let world = World::new(&mut random);
            if let Err(problem) = world.run(&mut random) {
                panic!(
                    "{problem}\n{world:?}\nreplay with: SWITCHBOARD_SEED={seed} \
                     cargo test -p switchboard-proto --lib random_races"
                );
            }
        }
    }
}
