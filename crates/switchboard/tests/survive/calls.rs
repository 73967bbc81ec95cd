//! Interrupted, short, refused and aborted calls change nothing.

use super::{TALKERS, arguments, start, talk};
use crate::harness::{Over, Server, Stream, can_fault, each_engine, end, engines, number};
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Signals stop and continue every process all the time while `work` is done; how often.
fn storm(server: &Server, work: impl FnOnce(&AtomicUsize)) -> usize {
    let (rounds, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                server.freeze();
                server.thaw();
                rounds.fetch_add(1, Ordering::SeqCst);
                // Not to wait for anything: the server is to get some work done between two storms.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // The storm ends even if the work panics.
        let _over = Over(&over);
        work(&rounds);
    });
    rounds.into_inner()
}

// epoll_wait, poll and a recv with a time-out end with EINTR after SIGCONT, without any handler (signal(7)).
#[test]
fn interruptions_by_signals_change_nothing() {
    each_engine(engines(), 2, |engine| {
        // A lifetime and an idle limit make every wait one with a time-out.
        let server = start(engine, &TALKERS, &["--idle-timeout", "600s", "--lifetime", "900s"]);
        let rounds = storm(&server, |rounds| {
            std::thread::scope(|scope| {
                for client in 0..3 {
                    let server = &server;
                    scope.spawn(move || {
                        let mut seed = client;
                        while seed == client || rounds.load(Ordering::SeqCst) < 25 {
                            talk(server, 30_000, seed);
                            seed += 100;
                        }
                    });
                }
            });
        });
        assert!(rounds >= 25);
        end(server);
    });
}

#[test]
fn a_deadline_is_met_although_waiting_is_interrupted() {
    each_engine(engines(), 2, |engine| {
        let server = start(engine, &["echo"], &["--idle-timeout", "300ms"]);
        let mut silent = Stream::connect(&server.endpoint()).expect("connect");
        // The storm goes on until the end has come: a wait that began anew with each interruption would have none.
        storm(&server, |_| assert_eq!(silent.read(&mut [0]).expect("a polite end"), 0));
        drop(silent);
        assert_eq!(server.records(1)[0]["end"], "idle");
    });
}

fn faults(fault: &str, size: usize) {
    if !can_fault(fault) {
        return;
    }
    each_engine(engines(), 2, |engine| {
        let server = Server::start_faulty(fault, &arguments(engine, &TALKERS, &["--idle-timeout", "600s"]));
        std::thread::scope(|scope| {
            for client in 0..3 {
                let server = &server;
                scope.spawn(move || talk(server, size, client));
            }
        });
        end(server);
    });
}

#[test]
fn injected_interruptions_change_nothing() {
    faults("eintr=50", 100_000);
}

#[test]
fn one_byte_at_a_time_changes_nothing() {
    faults("short=1", 3_000);
}

#[test]
fn seven_bytes_at_a_time_change_nothing() {
    faults("short=7,eintr=20", 10_000);
}

#[test]
fn calls_that_would_block_change_nothing() {
    faults("again=80", 100_000);
}

#[test]
fn an_aborted_connection_does_not_cost_the_next_one_anything() {
    if !can_fault("accept=ECONNABORTED") {
        return;
    }
    each_engine(engines(), 2, |engine| {
        for errno in ["ECONNABORTED", "EPROTO", "EPERM"] {
            let fault = format!("accept={errno}/3");
            let server = Server::start_faulty(&fault, &arguments(engine, &["echo"], &[]));
            for client in 0..30 {
                let said = format!("client {client}");
                let mut stream = Stream::connect(&server.endpoint()).expect("connect");
                assert_eq!(stream.converse(said.as_bytes()).expect("served"), said.as_bytes());
            }
            let summary = end(server);
            assert!(number(&summary, "accept_aborted") > 0, "{summary}");
            assert_eq!(number(&summary, "accepted"), 30, "{summary}");
            assert_eq!(number(&summary, "accept_starved"), 0, "{summary}");
        }
    });
}
