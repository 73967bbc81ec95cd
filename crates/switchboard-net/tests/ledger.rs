//! The ledger under random killing: processes take and give back tickets and are killed with SIGKILL at any moment,
//! also while they hold its lock. Whatever happens, what the dead held counts no more, and the next one gets in.
//!
//! The processes are this test's own program, started anew: a test runner has threads, and must not fork.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use switchboard_net::admission::{Admission, Bound, Ledger, Policy, Ticket, Verdict, Visit, Warden};
use switchboard_net::{Peer, sys::clock};
use switchboard_proto::Random;

/// Set for a process that is to take tickets: the number of the ledger's descriptor.
const ROLE: &str = "SWITCHBOARD_TEST_LEDGER";
const MOST: u32 = 12;
const PATIENCE: Duration = Duration::from_secs(120);

fn warden(ledger: &Ledger) -> Warden {
    let bound = |most, policy| Some(Bound { most, policy });
    let admission = Admission {
        connections: bound(MOST, Policy::Reset),
        per_source: bound(MOST / 2, Policy::Reset),
        ..Admission::default()
    };
    Warden::new("s", &admission, None, ledger).expect("no rule is wrong")
}

/// Somebody from 10.0.0.`n`.
fn take(warden: &Warden, n: u8, socket: &TcpStream) -> Option<Ticket> {
    let peer = Peer::Inet(SocketAddr::from(([10, 0, 0, n], 1_000)));
    match warden.judge(&mut Visit::new(peer), socket, clock::now()) {
        Verdict::Admit(admitted) => admitted.ticket,
        _ => None,
    }
}

fn some_socket() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    TcpStream::connect(listener.local_addr().expect("bound")).expect("connected")
}

/// The role: takes and gives back as fast as it can, until it is killed.
#[test]
fn worker() {
    let Ok(number) = std::env::var(ROLE) else { return };
    let path = format!("/proc/self/fd/{number}");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the ledger");
    let ledger = Ledger::open(file.into()).expect("a ledger");
    let (warden, socket) = (warden(&ledger), some_socket());
    let mut random = Random::new(u64::from(std::process::id()));
    let mut inside: Vec<Ticket> = Vec::new();
    let _ = writeln!(std::io::stderr(), "ready");
    loop {
        match random.bits() % 3 {
            0 if !inside.is_empty() => drop(inside.swap_remove(random.bits() as usize % inside.len())),
            _ => inside.extend(take(&warden, (random.bits() % 3) as u8, &socket)),
        }
    }
}

fn start(ledger: &Ledger) -> Child {
    let fd = rustix::io::fcntl_dupfd_cloexec(ledger.descriptor(), 100).expect("a descriptor");
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).expect("inheritable");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "worker", "--nocapture"])
        .env(ROLE, fd.as_raw_fd().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let said = BufReader::new(child.stderr.take().expect("piped"));
    assert!(said.lines().map_while(Result::ok).any(|line| line.contains("ready")), "the worker started");
    child
}

#[test]
fn counts_never_leak_whoever_is_killed_whenever() {
    if std::env::var(ROLE).is_ok() {
        return;
    }
    let seed = std::env::var("SWITCHBOARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let ledger = Ledger::create().expect("memory");
    let (warden, socket) = (warden(&ledger), some_socket());
    let service = ledger.service("s").expect("room");
    let begun = Instant::now();
    for round in 0..25 {
        let mut workers: Vec<Child> = (0..2).map(|_| start(&ledger)).collect();
        // Any moment will do: the workers do nothing but take and give back.
        for _ in 0..random.bits() % 20_000 {
            assert!(ledger.inside(service) <= MOST, "seed {seed}, round {round}: more than may be inside");
        }
        for worker in &mut workers {
            worker.kill().expect("our child");
            worker.wait().expect("our child");
            if random.bits().is_multiple_of(2) {
                ledger.release_dead(worker.id() as i32);
            }
        }
        ledger.sweep();
        assert_eq!(ledger.inside(service), 0, "seed {seed}, round {round}");
        let all: Vec<Ticket> = (0..MOST).filter_map(|n| take(&warden, n as u8, &socket)).collect();
        assert_eq!(all.len(), MOST as usize, "seed {seed}, round {round}: everybody finds room again");
        assert!(begun.elapsed() < PATIENCE, "seed {seed}: it hangs");
    }
    assert_eq!(ledger.inside_in_all(), 0);
}
