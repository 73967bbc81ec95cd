//! Workers and children: collected, replaced, gone with their supervisor, asleep while nothing happens.

use super::{expect_rest, start};
use crate::harness;
use crate::harness::{Scratch, Server, Stream, each_engine, end, engines, number, state_of, wait_until};
use rustix::process::{Pid, Resource, Signal};
use std::io::{Read, Write};
use std::time::Duration;
use switchboard::{EngineRow, Workers};

#[test]
fn no_child_stays_a_zombie_when_1000_end_at_once() {
    const WANTED: usize = 1_000;
    // They are all held here; half is left to the tests beside this one.
    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let clients = WANTED.min(usize::try_from(limit / 2).unwrap_or(WANTED));
    if clients < WANTED {
        harness::skip("1000 children", &format!("{clients} are tried: RLIMIT_NOFILE is {limit}"));
    }
    let Some(engine) = EngineRow::find("fork") else { panic!("no engine fork") };
    let server = start(engine, &["echo"], &["--max-connections", "2000"]);
    let before = server.settled_footprint();
    let parent = server.workers()[0];
    let mut held: Vec<Stream> =
        (0..clients).map(|_| Stream::connect(&server.endpoint()).expect("connect")).collect();
    for client in &mut held {
        client.write_all(b"x").expect("send");
        client.read_exact(&mut [0]).expect("a child for everybody");
    }
    let children: Vec<Pid> = server.workers().into_iter().filter(|pid| *pid != parent).collect();
    assert_eq!(children.len(), clients);
    // While their parent cannot look, all children end: one pending SIGCHLD stands for a thousand.
    harness::suspend(parent);
    drop(held);
    let zombies = || children.iter().filter(|pid| state_of(**pid) == Some('Z')).count();
    wait_until("all children end", || zombies() == clients, || format!("{} have ended", zombies()));
    rustix::process::kill_process(parent, Signal::CONT).expect("the parent is there");
    wait_until("all children are collected", || zombies() == 0, || format!("{} zombies", zombies()));
    server.wait_for_footprint(before, "nothing is left of the children");
    let records = server.records(clients);
    let mut ids: Vec<u64> = records.iter().map(|record| number(record, "id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), clients, "a record for everybody");
    assert_eq!(number(&end(server), "ended"), clients as u64);
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_nobody_is_refused() {
    each_engine(engines(), 2, |engine| {
        let server = start(engine, &["echo"], &[]);
        let endpoint = server.endpoint();
        assert_eq!(Stream::connect(&endpoint).expect("connect").converse(b"1").expect("served"), b"1");
        for round in 0..3 {
            let worker = server.workers()[0];
            // What was in the worker's hands is lost; who waits in the queue is not.
            harness::suspend(worker);
            let workers = server.workers();
            workers.iter().for_each(|pid| harness::suspend(*pid));
            let mut waiting: Vec<Stream> =
                (0..20).map(|_| Stream::connect(&endpoint).expect("connect")).collect();
            rustix::process::kill_process(worker, Signal::KILL).expect("the worker is there");
            Server::wait_until_gone(&[worker], "the killed worker");
            // A child that was stopped before it ran has not asked to die with its parent: it sees that he is gone.
            for pid in &workers {
                let _ = rustix::process::kill_process(*pid, Signal::CONT);
            }
            waiting.extend((0..20).map(|_| Stream::connect(&endpoint).expect("nobody is refused")));
            for mut client in waiting {
                let heard =
                    client.converse(b"again").unwrap_or_else(|error| panic!("round {round}: {error}"));
                assert_eq!(heard, b"again");
            }
            Server::wait_until_gone(&workers, "the old worker and its children");
        }
        server.wait_for_line("the dead worker", |line| line.contains("was killed by signal 9"));
        let ended = server.stop();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        assert_eq!(number(&ended.summary, "crashes"), 3);
    });
}

#[test]
fn nothing_outlives_a_supervisor_that_is_killed() {
    let scratch = Scratch::new();
    each_engine(engines(), 2, |engine| {
        let path = format!("unix:{}", scratch.path(engine.name));
        let arguments = ["echo", "--engine", engine.name, "--listen", &path];
        let server = Server::start(&arguments);
        let mut client = Stream::connect(&path).expect("connect");
        client.write_all(b"x").expect("send");
        client.read_exact(&mut [0]).expect("served");
        let workers = server.workers();
        assert!(!workers.is_empty());
        server.signal(Signal::KILL);
        assert_eq!(server.wait().code, Some(128 + 9));
        Server::wait_until_gone(&workers, "workers and children");
        // The kernel takes an io_uring down, and with it the listener it holds, a moment after its process.
        wait_until("the path is free", || Stream::connect(&path).is_err(), || "it is not".to_owned());
        let next = Server::start(&arguments);
        assert_eq!(Stream::connect(&path).expect("connect").converse(b"next").expect("served"), b"next");
        end(next);
        assert!(!std::fs::exists(scratch.path(engine.name)).expect("a directory"), "the file is gone");
    });
}

#[test]
fn an_idle_server_does_not_wake_up() {
    let servers: Vec<(&str, Server)> = engines()
        .into_iter()
        .map(|engine| {
            let udp: &[&str] = if engine.datagrams { &["--listen", "udp:127.0.0.1:0"] } else { &[] };
            let server = start(engine, &["echo"], udp);
            let mut client = Stream::connect(&server.endpoint()).expect("connect");
            assert_eq!(client.converse(b"hello").expect("served"), b"hello");
            drop(client);
            server.records(1);
            (engine.name, server)
        })
        .collect();
    // One client stays inside and says nothing.
    let clients: Vec<Stream> = servers
        .iter()
        .map(|(name, server)| {
            let mut client = Stream::connect(&server.endpoint()).expect(name);
            client.write_all(b"x").expect(name);
            client.read_exact(&mut [0]).expect(name);
            client
        })
        .collect();
    servers.iter().for_each(|(name, server)| server.wait_until_quiet(name));
    let before: Vec<_> = servers.iter().map(|(_, server)| server.switches()).collect();
    // Not to wait for anything: this is the time in which nothing is to happen.
    std::thread::sleep(Duration::from_millis(1_500));
    for ((name, server), before) in servers.iter().zip(before) {
        assert_eq!(server.switches(), before, "{name} woke up");
    }
    drop(clients);
    servers.into_iter().for_each(|(_, server)| drop(end(server)));
}

#[test]
fn several_workers_share_the_clients() {
    const CLIENTS: usize = 60;
    let shares = |row: &&EngineRow| row.workers == Workers::ReusePort;
    each_engine(engines().into_iter().filter(shares), 2, |engine| {
        let server = start(engine, &["echo"], &["--workers", "3"]);
        let supervisor = server.pid().as_raw_nonzero().get();
        let copies = || harness::children_of(supervisor);
        wait_until("all workers are there", || copies().len() == 3, || format!("{:?}", copies()));
        let copies = copies();
        let served = |stream: &mut Stream| {
            stream.write_all(b"x").expect("send");
            stream.read_exact(&mut [0]).expect("served");
        };
        let connect = || Stream::connect(&server.endpoint()).expect("connect");
        if engine.name == "iterative" {
            (0..CLIENTS).for_each(|_| expect_rest(&mut connect(), b"", "served"));
        } else {
            let load = |pid: &i32| -> usize {
                let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
                descriptors + harness::descendants(*pid).len()
            };
            let before: Vec<usize> = copies.iter().map(load).collect();
            let mut clients: Vec<Stream> = (0..CLIENTS).map(|_| connect()).collect();
            clients.iter_mut().for_each(served);
            let after: Vec<usize> = copies.iter().map(load).collect();
            assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} {after:?}");
        }
        assert_eq!(number(&end(server), "accepted"), CLIENTS as u64);
        let copies: Vec<Pid> = copies.into_iter().filter_map(Pid::from_raw).collect();
        Server::wait_until_gone(&copies, "all workers");
    });
}
