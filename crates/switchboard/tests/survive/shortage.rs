//! Without descriptors: clients wait in the queue, the server is calm, and it recovers.

use super::{arguments, expect_rest, start};
use crate::harness;
use crate::harness::{Server, Stream, can_fault, each_engine, end, engines, number, wait_until};
use rustix::process::{Pid, Resource, Rlimit};
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// While the server cannot let anybody in: it uses next to no CPU, says little, and connecting works. `lines`: at most so
/// many in each second that has begun.
fn is_calm(server: &Server, lines: usize) -> Vec<Stream> {
    const WINDOW: Duration = Duration::from_secs(2);
    server.said();
    let cpu = server.cpu_time();
    let began = Instant::now();
    let late: Vec<Stream> = (0..4)
        .map(|_| {
            // Spread over the window, so that each finds the listener open at another time.
            std::thread::sleep(WINDOW / 4);
            Stream::connect(&server.endpoint()).expect("the listener is open")
        })
        .collect();
    let share = (server.cpu_time() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.05, "{:.1} % CPU while starved", 100.0 * share);
    let said = server.said();
    let took = began.elapsed();
    assert!(
        said.len() <= lines * (took.as_secs() as usize + 1),
        "{} lines in {took:?}: {said:?}",
        said.len()
    );
    late
}

#[test]
fn more_clients_than_descriptors_wait_in_the_queue() {
    const CLIENTS: usize = 200;
    each_engine(engines(), 4, |engine| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_switchboard")]);
        command.args(["serve", "--format", "json", "--log", "json"]).args(arguments(engine, &["echo"], &[]));
        let server = Server::try_start(&mut command).unwrap_or_else(|said| panic!("{said:?}"));
        let mut clients: Vec<Stream> = (0..CLIENTS)
            .map(|client| {
                let mut stream = Stream::connect(&server.endpoint()).expect("connect");
                stream.write_all(&(client as u64).to_be_bytes()).expect("send");
                stream
            })
            .collect();
        server.wait_until_quiet("everybody who can be let in is in");
        clients.extend(is_calm(&server, 0));
        let last = clients.split_off(CLIENTS);
        for (client, mut stream) in clients.into_iter().enumerate() {
            let mut heard = [0; 8];
            stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("client {client}: {error}"));
            assert_eq!(u64::from_be_bytes(heard), client as u64);
        }
        last.into_iter()
            .for_each(|mut stream| assert_eq!(stream.converse(b"last").expect("served"), b"last"));
        let summary = end(server);
        assert_eq!(number(&summary, "accept_starved"), 0, "the limit is never reached: {summary}");
        assert_eq!(number(&summary, "accepted"), CLIENTS as u64 + 4, "{summary}");
    });
}

#[test]
fn a_moment_without_descriptors_passes() {
    if !can_fault("accept=EMFILE") {
        return;
    }
    each_engine(engines(), 2, |engine| {
        for errno in ["EMFILE", "ENFILE", "ENOBUFS"] {
            let fault = format!("accept={errno}/2");
            let server = Server::start_faulty(&fault, &arguments(engine, &["echo"], &[]));
            let began = Instant::now();
            let clients: Vec<Stream> =
                (0..40).map(|_| Stream::connect(&server.endpoint()).expect("connect")).collect();
            for mut client in clients {
                assert_eq!(client.converse(b"hello").expect("served"), b"hello");
            }
            let is_notice = |line: &str| line.contains("accepting pauses");
            server.wait_for_line("the pause", is_notice);
            let seconds = began.elapsed().as_secs() as usize;
            let said = server.said();
            let notices = 1 + said.iter().filter(|line| is_notice(line)).count();
            assert!(notices <= seconds + 2, "{notices} notices in {seconds} s: {said:?}");
            let summary = end(server);
            assert!(number(&summary, "accept_starved") > 0, "{summary}");
            assert_eq!(number(&summary, "accepted"), 40, "{summary}");
        }
    });
}

#[test]
fn without_any_descriptor_the_server_waits_calmly_and_recovers_within_a_second() {
    let soft = |pids: &[Pid], to: Option<u64>| {
        for pid in pids {
            let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
            let new = Rlimit { current: to.or(maximum), maximum };
            rustix::process::prlimit(Some(*pid), Resource::Nofile, new).expect("our own process");
        }
    };
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["echo"], &[]);
        assert_eq!(
            Stream::connect(&server.endpoint()).expect("connect").converse(b"1").expect("served"),
            b"1"
        );
        server.records(1);
        server.settled_footprint();
        let workers = server.workers();
        let mut accepted = 1;
        let mut recovery = || {
            soft(&workers, Some(3));
            let mut clients: Vec<Stream> =
                (0..20).map(|_| Stream::connect(&server.endpoint()).expect("connect")).collect();
            clients.extend(is_calm(&server, 1));
            accepted += clients.len() as u64;
            soft(&workers, None);
            let freed = Instant::now();
            for mut client in clients {
                assert_eq!(client.converse(b"at last").expect("served"), b"at last");
            }
            freed.elapsed()
        };
        // A busy machine may take its time once; a server that waits too long does so each time.
        let mut took = Vec::new();
        while took.last().is_none_or(|last| *last >= Duration::from_millis(1_500)) {
            assert!(took.len() < 5, "recovery took {took:?}");
            took.push(recovery());
        }
        let summary = end(server);
        // An accept that the ring holds goes by the limit of the time when it was submitted.
        if engine.name == "uring" && number(&summary, "accept_starved") == 0 {
            harness::skip("uring at a lowered limit", "its multishot accept was never told of it");
        } else {
            assert!(number(&summary, "accept_starved") > 0, "{summary}");
        }
        assert_eq!(number(&summary, "accepted"), accepted, "{summary}");
    });
}

#[test]
fn a_full_house_keeps_the_others_waiting_and_refuses_nobody() {
    const MOST: usize = 3;
    each_engine(engines(), 2, |engine| {
        let server = start(engine, &["echo"], &["--max-connections", "3"]);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..30 {
                scope.spawn(|| {
                    let mut stream = Stream::connect(&server.endpoint()).expect("connect");
                    let mut say = || {
                        stream.write_all(b"?").expect("send");
                        stream.read_exact(&mut [0]).expect("served");
                    };
                    say();
                    // Counted while certainly inside: after the first answer, before the end.
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    // Nobody leaves before the house was full.
                    let full =
                        || most.load(Ordering::SeqCst) >= if engine.name == "iterative" { 1 } else { MOST };
                    wait_until("the house is full", full, || format!("only {most:?} were inside at once"));
                    (0..20).for_each(|_| say());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    expect_rest(&mut stream, b"", engine.name);
                });
            }
        });
        let most = most.into_inner();
        assert!(most <= MOST, "{most} were inside at once");
        assert_eq!(number(&end(server), "accepted"), 30);
    });
}
