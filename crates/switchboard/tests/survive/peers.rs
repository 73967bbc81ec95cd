//! Peers that reset, never read, never write, or leave early.

use super::{ANYWHERE, TALKERS, endpoint_of, start, talk};
use crate::harness;
use crate::harness::{Stream, each_engine, end, engines, number, own_memory};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use switchboard::{
    Counters, EngineRow, Flow, Io, Journal, Listener, Recipe, Session, Site, SocketOptions, Stop, Workers,
};

fn reset(stream: Stream) {
    rustix::net::sockopt::set_socket_linger(stream.fd(), Some(Duration::ZERO)).expect("linger");
}

#[test]
fn peers_that_reset_before_they_are_accepted_do_no_harm() {
    const RESETS: usize = 200;
    each_engine(engines(), 2, |engine| {
        let server = start(engine, &TALKERS, &[]);
        talk(&server, 1_000, 1);
        let before = server.settled_footprint();
        for service in TALKERS {
            let endpoint = endpoint_of(&server, service);
            server.freeze();
            (0..RESETS).for_each(|_| reset(Stream::connect(&endpoint).expect("connect")));
            server.thaw();
            talk(&server, 1_000, 2);
        }
        server.wait_for_footprint(before, "nothing is left of the resets");
        server.wait_until_quiet("after the resets");
        let summary = end(server);
        // 4 rounds of three conversations, and the resets, which Linux leaves in the queue.
        assert_eq!(number(&summary, "accepted"), 12 + 3 * RESETS as u64, "{summary}");
        assert!(number(&summary, "reset") >= 2 * RESETS as u64, "{summary}");
    });
}

#[test]
fn peers_that_never_read_cost_bounded_memory_and_lose_nothing() {
    const OFFERED: usize = 16 << 20;
    // Input, output and one read, 64 KiB each, for 20 peers; twice that for the allocator and for stacks.
    const BOUND: usize = 2 * 20 * 3 * 65_536;
    each_engine(engines(), 1, |engine| {
        let peers = if engine.name == "iterative" { 1 } else { 19 };
        let more: &[&str] = if engine.workers == Workers::ReusePort { &[] } else { &["--workers", "24"] };
        let buffers = ["--option", "sndbuf=64k", "--option", "rcvbuf=64k"];
        let server = start(engine, &TALKERS, &[more, &buffers].concat());
        talk(&server, 100_000, 1);
        server.settled_footprint();
        let memory = || server.workers().into_iter().map(own_memory).max().unwrap_or(0);
        let before = memory();
        let connect = |service| Stream::connect(&endpoint_of(&server, service)).expect("connect");
        let mute: Vec<Stream> = (0..peers).map(|_| connect("chargen")).collect();
        let mut echo = connect("echo");
        let (out, sent) = (echo.fd().try_clone_to_owned().expect("dup"), AtomicUsize::new(0));
        let byte = |at: usize| (at ^ at >> 8 ^ at >> 16) as u8;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while sent.load(Ordering::SeqCst) < OFFERED {
                    let at = sent.load(Ordering::SeqCst);
                    let piece: Vec<u8> = (at..OFFERED.min(at + 65_536)).map(byte).collect();
                    let n = rustix::net::send(&out, &piece, rustix::net::SendFlags::NOSIGNAL).expect("send");
                    sent.fetch_add(n, Ordering::SeqCst);
                }
                rustix::net::shutdown(&out, rustix::net::Shutdown::Write).expect("half-close");
            });
            server.wait_until_quiet("every buffer is full");
            let grown = memory().saturating_sub(before);
            assert!(grown < BOUND, "a worker grew by {grown} bytes for {peers} peers");
            assert!(sent.load(Ordering::SeqCst) < OFFERED, "the server never held anybody up");
            if engine.name != "iterative" {
                talk(&server, 10_000, 2);
            }
            let (mut heard, mut at) = (vec![0; 65_536], 0);
            loop {
                let n = echo.read(&mut heard).unwrap_or_else(|error| panic!("after {at} bytes: {error}"));
                assert!(
                    heard[..n].iter().enumerate().all(|(i, b)| *b == byte(at + i)),
                    "wrong after {at} bytes"
                );
                at += n;
                if n == 0 {
                    break;
                }
            }
            assert_eq!(at, OFFERED);
        });
        drop(mute);
        assert!(number(&end(server), "ended") > peers as u64);
    });
}

#[test]
fn a_peer_that_never_writes_meets_the_idle_limit_and_one_that_talks_does_not() {
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["echo"], &["--idle-timeout", "300ms"]);
        let mut silent = Stream::connect(&server.endpoint()).expect("connect");
        assert_eq!(silent.read(&mut [0]).expect("a polite end"), 0);
        drop(silent);
        assert_eq!(server.records(1)[0]["end"], "idle");
        assert!(number(&end(server), "timed_out") >= 1);
        // On a busy machine this test may itself be late with a word: then it says nothing about the server, and tries
        // again with more time for each word.
        let stays = [300, 300, 300, 1_200, 4_800].into_iter().any(|limit_ms| talker_stays(engine, limit_ms));
        assert!(stays, "this machine is too busy to talk every 2.4 s");
    });
}

/// Whether somebody who talks all the time is there after three times the idle limit; not so if this test was slow.
fn talker_stays(engine: &EngineRow, limit_ms: u64) -> bool {
    let server = start(engine, &["echo"], &["--idle-timeout", &format!("{limit_ms}ms")]);
    let limit = Duration::from_millis(limit_ms);
    let mut talker = Stream::connect(&server.endpoint()).expect("connect");
    let (began, mut spoke, mut slowest) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut went_on = true;
    while began.elapsed() < 3 * limit && went_on {
        std::thread::sleep(limit / 10);
        slowest = slowest.max(spoke.elapsed());
        spoke = Instant::now();
        went_on = talker.write_all(b".").is_ok() && matches!(talker.read(&mut [0]), Ok(1));
        slowest = slowest.max(spoke.elapsed());
    }
    assert!(went_on || slowest > limit / 2, "a talker was ended, silent for {slowest:?} at most");
    if went_on {
        talker.finish();
        let last = talker.read(&mut [0]);
        assert!(matches!(last, Ok(0)), "a talker's end: {last:?}");
    }
    drop(talker);
    let how = server.records(1)[0]["end"].clone();
    // He may have been late with his end, too.
    assert!(!went_on || how == "peer" || spoke.elapsed() > limit / 2, "{how}");
    end(server);
    went_on
}

#[test]
fn nobody_stays_longer_than_the_lifetime() {
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["chargen", "echo"], &["--lifetime", "300ms"]);
        let began = Instant::now();
        let mut busy = Stream::connect(&endpoint_of(&server, "chargen")).expect("connect");
        let mut piece = vec![0; 65_536];
        // He always has output waiting for him, so the end may be a reset.
        while matches!(busy.read(&mut piece), Ok(n) if n > 0) {
            assert!(began.elapsed() < harness::PATIENCE, "characters are generated for ever");
        }
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
        let mut silent = Stream::connect(&endpoint_of(&server, "echo")).expect("connect");
        assert_eq!(silent.read(&mut piece).expect("a polite end"), 0);
        drop((busy, silent));
        for record in server.records(2) {
            assert_eq!(record["end"], "lifetime", "{record}");
        }
        assert_eq!(number(&end(server), "timed_out"), 2);
    });
}

#[test]
fn peers_that_leave_while_they_are_written_to_kill_nobody() {
    each_engine(engines(), 2, |engine| {
        let server = start(engine, &["chargen"], &[]);
        let endpoint = server.endpoint();
        drop(Stream::connect(&endpoint).expect("connect"));
        server.records(1);
        let before = server.settled_footprint();
        let workers = server.workers();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for leaver in 0..50 {
                        let mut stream = Stream::connect(&endpoint).expect("connect");
                        stream.read_exact(&mut [0; 1_000]).expect("characters");
                        if leaver % 2 == 0 {
                            reset(stream);
                        }
                    }
                });
            }
        });
        server.wait_for_footprint(before, "all have left");
        assert_eq!(server.workers(), workers, "somebody was killed");
        server.wait_until_quiet("all have left");
        assert_eq!(number(&end(server), "accepted"), 201);
    });
}

#[test]
fn an_early_answer_survives_input_that_nobody_reads() {
    const INPUT: usize = 200_000;
    each_engine(engines(), 2, |engine| {
        let services = ["qotd", "daytime", "time", "acknowledge"];
        let server = start(engine, &services, &[]);
        for (service, least) in services.into_iter().zip([10, 26, 4, 18]) {
            for half_close in [false, true] {
                let mut stream = Stream::connect(&endpoint_of(&server, service)).expect("connect");
                stream.write_all(&vec![b'x'; INPUT]).unwrap_or_else(|error| panic!("{service}: {error}"));
                if half_close {
                    stream.finish();
                }
                let mut heard = Vec::new();
                let result = (&mut stream).take(10_000).read_to_end(&mut heard);
                result.unwrap_or_else(|error| panic!("{service}: {error}"));
                assert!((least..512).contains(&heard.len()), "{service}: {}", heard.escape_ascii());
            }
        }
        let summary = end(server);
        assert_eq!(number(&summary, "reset"), 0, "{summary}");
    });
}

const BURST: usize = 200_000;

/// Waits for a byte, says [`BURST`] bytes, and finishes, whatever else comes in.
struct Burst {
    said: usize,
}

impl Session for Burst {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        if self.said == 0 && io.rx.is_empty() {
            return if io.rx_eof { Flow::Finish } else { Flow::Continue };
        }
        let n = io.tx.room().min(BURST - self.said);
        let bytes: Vec<u8> = (self.said..self.said + n).map(|at| (at % 251) as u8).collect();
        io.tx.push(&bytes);
        self.said += n;
        if self.said == BURST { Flow::Finish } else { Flow::Continue }
    }
}

// The engines of threads run inside this test; those of processes need one of their own, and share the driver.
#[test]
fn closing_with_unread_input_loses_no_byte_of_200_000() {
    const INPUT: usize = 1_000_000;
    let forks = |row: &&EngineRow| matches!(row.name, "fork" | "prefork");
    let recipe = Recipe::new("burst", |_| Burst { said: 0 });
    each_engine(engines().into_iter().filter(|row| !forks(row)), 2, |engine| {
        let endpoint = ANYWHERE.parse().expect("an endpoint");
        let listeners = Listener::bind(&endpoint, &SocketOptions::default()).expect("bind");
        let address = listeners[0].local().to_string();
        let (stop, journal) = (Stop::new().expect("a stop"), Journal::silent());
        let counters = Counters::shared().expect("counters");
        std::thread::scope(|scope| {
            // The engine is stopped even if a check below fails.
            struct Stopping<'a>(&'a Stop);
            impl Drop for Stopping<'_> {
                fn drop(&mut self) {
                    self.0.set();
                }
            }
            let stopping = Stopping(&stop);
            let served = scope.spawn(|| {
                engine.engine.serve(Site::new(engine, listeners, &recipe, &stop, &journal, counters))
            });
            for round in 0..3 {
                let mut stream = Stream::connect(&address).expect("connect");
                stream.write_all(&vec![b'i'; INPUT]).unwrap_or_else(|error| panic!("round {round}: {error}"));
                let mut heard = Vec::new();
                let result = (&mut stream).take(1 << 20).read_to_end(&mut heard);
                result.unwrap_or_else(|error| panic!("round {round}: {error} after {} bytes", heard.len()));
                assert_eq!(heard.len(), BURST, "round {round}");
                assert!(heard.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
            }
            drop(stopping);
            served.join().expect("no panic").expect("served");
        });
        assert_eq!(counters.read().reset, 0);
    });
}
