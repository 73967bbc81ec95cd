//! How it stops: at its deadline, after the queue, at once.

use super::{expect_rest, start};
use crate::harness::{Server, Stream, each_engine, engines, number};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use switchboard::EngineRow;

#[test]
fn draining_ends_at_its_deadline() {
    let stop = |engine: &EngineRow| {
        let server = start(engine, &["echo"], &["--drain-timeout", "300ms"]);
        let mut client = Stream::connect(&server.endpoint()).expect("connect");
        client.write_all(b"x").expect("send");
        client.read_exact(&mut [0]).expect("served");
        let workers = server.workers();
        let began = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(client.read(&mut [0]).expect("cut, with nothing lost"), 0);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(250), "cut after {took:?}");
        assert_eq!(server.records(1)[0]["end"], "stopped");
        let ended = server.wait();
        let took = began.elapsed();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        assert_eq!(number(&ended.summary, "stopped"), 1);
        assert_eq!(number(&ended.summary, "ended"), 1);
        Server::wait_until_gone(&workers, engine.name);
        took
    };
    each_engine(engines(), 4, |engine| {
        // A busy machine may take its time once; a server that takes too long does so each time.
        let mut took = Vec::new();
        while took.last().is_none_or(|last| *last >= Duration::from_millis(2_300)) {
            assert!(took.len() < 5, "stopping took {took:?}");
            took.push(stop(engine));
        }
    });
}

#[test]
fn who_waits_in_the_queue_when_the_server_is_stopped_is_served() {
    const CLIENTS: usize = 200;
    // With room for all, and in a house that is full with three.
    each_engine(engines(), 2, |engine| {
        queue_at_the_end(engine, CLIENTS, &[]);
        queue_at_the_end(engine, CLIENTS, &["--max-connections", "3"]);
    });
}

fn queue_at_the_end(engine: &EngineRow, clients: usize, limit: &[&str]) {
    let server = start(engine, &["echo"], limit);
    assert_eq!(Stream::connect(&server.endpoint()).expect("connect").converse(b"1").expect("served"), b"1");
    server.freeze();
    let count = clients;
    let clients: Vec<Stream> = (0..clients)
        .map(|client| {
            let mut stream = Stream::connect(&server.endpoint()).expect("connect");
            stream.write_all(&(client as u64).to_be_bytes()).expect("send");
            stream.finish();
            stream
        })
        .collect();
    server.signal(Signal::TERM);
    server.thaw();
    for (client, mut stream) in clients.into_iter().enumerate() {
        expect_rest(&mut stream, &(client as u64).to_be_bytes(), &format!("client {client} of {count}"));
    }
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert_eq!(number(&ended.summary, "ended"), count as u64 + 1);
    assert_eq!(number(&ended.summary, "stopped"), 0);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    each_engine(engines(), 2, |engine| {
        for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
            let server = start(engine, &["echo"], &["--drain-timeout", "600s"]);
            let mut client = Stream::connect(&server.endpoint()).expect("connect");
            client.write_all(b"x").expect("send");
            client.read_exact(&mut [0]).expect("served");
            let workers = server.workers();
            server.signal(signal);
            server.wait_for_line("draining", |line| line.contains("draining 1 connection"));
            server.signal(signal);
            assert_eq!(server.wait().code, Some(code));
            Server::wait_until_gone(&workers, "workers and children");
        }
    });
}
