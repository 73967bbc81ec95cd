//! [`Names`]: host names of clients, for rules that speak of names. A name counts only if it leads back to the
//! address (forward-confirmed reverse look-up), since whoever owns an address can give it any name.
//!
//! Look-ups take as long as name servers like, so nobody who serves ever waits for one: a client whose name is
//! needed waits on the porch, and is looked at again. They are made by a process of its own, forked from the one
//! that serves when the first name is needed, since engines that fork must not have threads; in a process that has
//! threads already it is threads of the same process. Answers lie in memory that all share, so children of a
//! worker share them too.

use super::holder;
use super::lock::{Held, Lock};
use crate::error::Error;
use crate::sys::process::{self, Fork};
use crate::sys::shared::shared;
use crate::sys::{clock, names, socket};
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fmt, thread};
use switchboard_proto::Instant;

/// Asks about names and addresses; may take its time.
pub trait Lookup: Send + Sync {
    /// The name of an address.
    fn name_of(&self, address: IpAddr) -> Option<String>;
    /// The addresses of a name.
    fn addresses_of(&self, name: &str) -> Vec<IpAddr>;
}

/// The C library: files, DNS, whatever nsswitch.conf(5) says.
struct System;

/// What is known of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It is being looked up.
    Pending,
    /// There is none, or nobody could say.
    Unknown,
    /// There is one that does not lead back.
    Forged,
    /// It leads back; lower case, without a dot at its end.
    Confirmed(String),
}

/// Answers remembered: sets of four.
const SETS: usize = 256;
const WAYS: usize = 4;
/// Look-ups at once; more wait in the socket, and what does not fit there is answered by [`Answer::Unknown`].
const LOOKUPS: usize = 16;
/// Time after which a look-up counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is good: a name that was found, and everything else.
const GOOD_FOR: Duration = Duration::from_secs(60);
const BAD_FOR: Duration = Duration::from_secs(10);
/// The longest name of DNS (RFC 1035 §3.1) fits.
const NAME_WORDS: usize = 32;

/// What lies in shared memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Table {
    lock: Lock,
    reserved: AtomicU32,
    /// The process that looks names up.
    helper: AtomicU64,
    salt: AtomicU64,
    entries: [Entry; SETS * WAYS],
}

#[derive(Debug)]
#[repr(C)]
struct Entry {
    /// The address as an IPv6 one; zero: nobody.
    address: [AtomicU64; 2],
    state: AtomicU32,
    len: AtomicU32,
    /// When it came into its state, nanoseconds.
    since: AtomicU64,
    name: [AtomicU64; NAME_WORDS],
}

const PENDING: u32 = 0;
const UNKNOWN: u32 = 1;
const FORGED: u32 = 2;
const CONFIRMED: u32 = 3;

/// See the module.
pub(crate) struct Names {
    table: &'static Table,
    requests: OwnedFd,
    work: Arc<OwnedFd>,
    lookup: Arc<dyn Lookup>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// Whether a name is one that a host may have: letters, digits, hyphens and dots, labels of 1 to 63 characters that
/// neither begin nor end with a hyphen, at most 253 in all (RFC 1123 §2.1, RFC 1035 §2.3.4). Whoever owns an address can
/// give it any name, and shell scripts have been known to read environments.
pub(crate) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let fits = (1..=63).contains(&label.len());
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The process that looks names up for this one, if one was started.
pub(crate) fn helper() -> Option<rustix::process::Pid> {
    let helper = SYSTEM.get()?.table.helper.load(Relaxed);
    rustix::process::Pid::from_raw(holder::pid_of(helper).cast_signed())
}

static SYSTEM: OnceLock<Arc<Names>> = OnceLock::new();

impl Names {
    /// Those of the C library, the same for all services of this process and its children.
    ///
    /// # Errors
    /// No memory, no descriptors.
    pub(crate) fn system() -> Result<Arc<Names>, Error> {
        if let Some(names) = SYSTEM.get() {
            return Ok(Arc::clone(names));
        }
        let names = Arc::new(Names::new(Arc::new(System))?);
        Ok(Arc::clone(SYSTEM.get_or_init(|| names)))
    }

    /// # Errors
    /// No memory, no descriptors.
    pub(super) fn new(lookup: Arc<dyn Lookup>) -> Result<Names, Error> {
        let table: &Table = shared().map_err(|error| Error::system("map shared memory", error))?;
        table.salt.store(clock::seed(), Relaxed);
        // Messages, so that no request is ever cut in two, whoever reads.
        let (requests, work) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|errno| Error::system("make a socket for name look-ups", errno))?;
        Ok(Names { table, requests, work: Arc::new(work), lookup })
    }

    /// What is known of the name of `address`. If that is nothing, somebody starts looking it up.
    pub(crate) fn ask(&self, address: IpAddr, now: Instant) -> Answer {
        let key = bits(address);
        {
            let held = self.table.hold();
            if let Some(entry) = self.table.find(&held, key)
                && let Some(answer) = entry.answer(now)
            {
                return answer;
            }
            let Some(entry) = self.table.make_room(&held, key, now) else { return Answer::Unknown };
            entry.set(key, PENDING, "", now);
        }
        self.start_helper();
        let sent = socket::retry(|| {
            rustix::net::send(&self.requests, &key.to_be_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        });
        if sent.is_err() {
            self.table.store(key, &Answer::Unknown, now);
            return Answer::Unknown;
        }
        Answer::Pending
    }

    /// Sees to it that somebody looks names up.
    fn start_helper(&self) {
        let known = self.table.helper.load(Relaxed);
        if known != 0 && !holder::has_ended(known) {
            return;
        }
        let me = holder::me();
        if self.table.helper.compare_exchange(known, me, Relaxed, Relaxed).is_err() {
            return;
        }
        let parent = process::id();
        match process::fork() {
            Ok(Fork::Child) => {
                process::die_with(parent);
                // Listeners and clients are none of its business, and must not be held open by it.
                process::close_all_but(&[self.work.as_fd()]);
                self.start_threads();
                look_up_all(&self.work, self.table, &*self.lookup);
                process::exit_now(0)
            }
            Ok(Fork::Parent(pid)) => self.table.helper.store(holder::of(pid), Relaxed),
            // There are threads already: a few more do no harm.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => self.start_threads(),
            // The next one who asks tries again; this request fails when its time is over.
            Err(_) => self.table.helper.store(0, Relaxed),
        }
    }

    fn start_threads(&self) {
        for _ in 0..LOOKUPS {
            let (work, table, lookup) = (Arc::clone(&self.work), self.table, Arc::clone(&self.lookup));
            let thread = thread::Builder::new().name("look-up".into()).stack_size(256 * 1024);
            if thread.spawn(move || look_up_all(&work, table, &*lookup)).is_err() {
                return;
            }
        }
    }
}

/// Answers requests until nobody can make any more.
fn look_up_all(work: &OwnedFd, table: &Table, lookup: &dyn Lookup) {
    let mut request = [0; 16];
    while let Ok((16, _)) = socket::retry(|| rustix::net::recv(work, &mut request[..], RecvFlags::empty())) {
        let key = u128::from_be_bytes(request);
        let answer = confirm(Ipv6Addr::from(key).to_canonical(), lookup);
        table.store(key, &answer, clock::now());
    }
}

/// Reverse, then forward.
fn confirm(address: IpAddr, lookup: &dyn Lookup) -> Answer {
    let Some(name) = lookup.name_of(address) else { return Answer::Unknown };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // A "name" that is an address would lead back to itself without anybody being asked.
    if name.parse::<IpAddr>().is_ok() || name.is_empty() || name.len() > 8 * NAME_WORDS {
        return Answer::Forged;
    }
    let leads_back = lookup.addresses_of(&name).iter().any(|found| found.to_canonical() == address);
    if leads_back { Answer::Confirmed(name) } else { Answer::Forged }
}

impl Lookup for System {
    fn name_of(&self, address: IpAddr) -> Option<String> {
        names::of(address)?.into_string().ok()
    }

    fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        (name, 0).to_socket_addrs().map(|found| found.map(|at| at.ip()).collect()).unwrap_or_default()
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl Table {
    fn hold(&self) -> Held<'_> {
        let held = self.lock.hold();
        if held.inherited {
            // Whatever was half written is forgotten with the rest.
            self.entries
                .iter()
                .for_each(|entry| entry.address.iter().for_each(|word| word.store(0, Relaxed)));
        }
        held
    }

    fn ways(&self, key: u128) -> &[Entry] {
        let mixed =
            (key as u64 ^ (key >> 64) as u64 ^ self.salt.load(Relaxed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let set = (mixed >> 56) as usize % SETS;
        &self.entries[set * WAYS..(set + 1) * WAYS]
    }

    fn find(&self, _held: &Held<'_>, key: u128) -> Option<&Entry> {
        self.ways(key).iter().find(|entry| entry.key() == key)
    }

    /// An entry for `key`: its own, an unused one, or that of the oldest answer; never one that is waited for.
    fn make_room(&self, held: &Held<'_>, key: u128, now: Instant) -> Option<&Entry> {
        self.find(held, key).or_else(|| {
            let idle = |entry: &&Entry| entry.key() == 0 || entry.answer(now) != Some(Answer::Pending);
            self.ways(key)
                .iter()
                .filter(idle)
                .min_by_key(|entry| (entry.key() != 0, entry.since.load(Relaxed)))
        })
    }

    fn store(&self, key: u128, answer: &Answer, now: Instant) {
        let held = self.hold();
        // Nobody waits for it any more if it was forgotten.
        let Some(entry) = self.find(&held, key) else { return };
        match answer {
            Answer::Pending => entry.set(key, PENDING, "", now),
            Answer::Unknown => entry.set(key, UNKNOWN, "", now),
            Answer::Forged => entry.set(key, FORGED, "", now),
            Answer::Confirmed(name) => entry.set(key, CONFIRMED, name, now),
        }
    }
}

impl Entry {
    fn key(&self) -> u128 {
        u128::from(self.address[0].load(Relaxed)) << 64 | u128::from(self.address[1].load(Relaxed))
    }

    fn set(&self, key: u128, state: u32, name: &str, now: Instant) {
        self.address[0].store((key >> 64) as u64, Relaxed);
        self.address[1].store(key as u64, Relaxed);
        self.state.store(state, Relaxed);
        self.since.store(now.0, Relaxed);
        self.len.store(name.len() as u32, Relaxed);
        for (word, bytes) in self.name.iter().zip(name.as_bytes().chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(eight), Relaxed);
        }
    }

    /// What it says at `now`; `None` if that is too old to count.
    fn answer(&self, now: Instant) -> Option<Answer> {
        let age = Duration::from_nanos(now.0.saturating_sub(self.since.load(Relaxed)));
        match self.state.load(Relaxed) {
            PENDING if age < PATIENCE => Some(Answer::Pending),
            PENDING if age < PATIENCE + BAD_FOR => Some(Answer::Unknown),
            UNKNOWN if age < BAD_FOR => Some(Answer::Unknown),
            FORGED if age < BAD_FOR => Some(Answer::Forged),
            CONFIRMED if age < GOOD_FOR => {
                let bytes: Vec<u8> =
                    self.name.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
                let name = bytes.get(..self.len.load(Relaxed) as usize)?;
                Some(Answer::Confirmed(String::from_utf8(name.to_vec()).ok()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Names from a list; `slow.test` never answers.
    pub(in super::super) struct Fake(pub(in super::super) Vec<(&'static str, &'static str, &'static str)>);

    impl Lookup for Fake {
        fn name_of(&self, address: IpAddr) -> Option<String> {
            let (.., name, _) = self.0.iter().find(|(at, ..)| at.parse() == Ok(address))?;
            if *name == "slow.test" {
                thread::sleep(Duration::from_secs(3_600));
            }
            Some((*name).to_owned())
        }

        fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
            let led = self.0.iter().filter(|(_, known, _)| known.eq_ignore_ascii_case(name));
            led.filter_map(|(.., to)| to.parse().ok()).collect()
        }
    }

    fn settled(names: &Names, address: &str) -> Answer {
        loop {
            match names.ask(address.parse().unwrap(), clock::now()) {
                Answer::Pending => thread::yield_now(),
                answer => return answer,
            }
        }
    }

    #[test]
    fn host_names_are_letters_digits_hyphens_and_dots() {
        for name in ["a", "localhost", "a-b.example", "3com.com", "xn--bcher-kva.example", &"a".repeat(63)] {
            assert!(is_host_name(name), "{name}");
        }
        let long = "a.".repeat(127) + "a";
        for name in
            ["", ".", "a..b", "-a", "a-.b", "a_b", "a b", "$(id)", "() { :; }", "a\nb", "bücher", &long]
        {
            assert!(!is_host_name(name), "{name}");
        }
        assert!(!is_host_name(&"a".repeat(64)));
    }

    #[test]
    fn only_names_that_lead_back_count() {
        let names = Names::new(Arc::new(Fake(vec![
            ("10.0.0.1", "Good.Example.", "10.0.0.1"),
            ("10.0.0.1", "good.example", "10.0.0.1"),
            ("10.0.0.2", "good.example", "10.0.0.1"),
            ("10.0.0.3", "10.0.0.3", "10.0.0.3"),
            ("2001:db8::1", "six.example", "2001:db8::1"),
        ])))
        .unwrap();
        assert_eq!(settled(&names, "10.0.0.1"), Answer::Confirmed("good.example".into()));
        assert_eq!(settled(&names, "10.0.0.2"), Answer::Forged);
        assert_eq!(settled(&names, "10.0.0.3"), Answer::Forged, "an address is no name");
        assert_eq!(settled(&names, "10.0.0.4"), Answer::Unknown);
        assert_eq!(settled(&names, "2001:db8::1"), Answer::Confirmed("six.example".into()));
    }

    #[test]
    fn a_look_up_that_takes_too_long_has_failed_and_holds_up_no_other() {
        let slow: Vec<_> = vec![("10.0.0.1", "slow.test", ""), ("10.0.0.2", "quick.test", "10.0.0.2")];
        let names = Names::new(Arc::new(Fake(slow))).unwrap();
        let (slow, start) = ("10.0.0.1".parse().unwrap(), clock::now());
        assert_eq!(names.ask(slow, start), Answer::Pending);
        assert_eq!(settled(&names, "10.0.0.2"), Answer::Confirmed("quick.test".into()));
        assert_eq!(names.ask(slow, start + PATIENCE / 2), Answer::Pending);
        assert_eq!(names.ask(slow, start + PATIENCE), Answer::Unknown);
    }

    #[test]
    fn answers_are_forgotten_and_memory_is_bounded() {
        let names = Names::new(Arc::new(Fake(vec![("10.0.0.1", "a.test", "10.0.0.1")]))).unwrap();
        assert_eq!(settled(&names, "10.0.0.1"), Answer::Confirmed("a.test".into()));
        let later = clock::now() + GOOD_FOR + Duration::from_secs(1);
        assert_eq!(names.ask("10.0.0.1".parse().unwrap(), later), Answer::Pending, "asked anew");
        for n in 0..10_000_u32 {
            let answer = names.ask(IpAddr::V4((0x0b00_0000 + n).into()), later);
            assert!(matches!(answer, Answer::Pending | Answer::Unknown));
        }
    }
}
