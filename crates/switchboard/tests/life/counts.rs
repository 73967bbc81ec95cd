//! What is counted by all processes of a server together, whoever of them dies or succeeds another.

use crate::harness::{Server, Stream, engines, has_io_uring, number, skip, text, wait_until};
use crate::house::House;
use rustix::process::{Signal, kill_process};
use std::net::UdpSocket;

/// Sends one datagram from each of `n` ports of `host`, and waits until something became of every one.
fn ask(house: &House, host: &str, n: u64) {
    let done = || {
        let counters = house.service("echo")["counters"].clone();
        number(&counters, "datagrams_out") + number(&counters, "datagrams_limited")
    };
    let to = house.endpoints()["echo"]["udp:".len()..].to_owned();
    let before = done();
    // All stay open, so that each has another port, and its datagram may go to another worker.
    let sockets: Vec<_> = (0..n).map(|_| UdpSocket::bind((host, 0)).expect("a port")).collect();
    for socket in &sockets {
        assert_eq!(socket.send_to(b"?", &to).expect("sent"), 1);
    }
    wait_until("all datagrams", || done() == before + n, || done().to_string());
}

#[test]
fn answers_to_datagrams_have_one_rate_however_many_workers_there_are() {
    for engine in engines().into_iter().filter(|row| row.datagrams && row.name != "iterative") {
        if engine.name == "uring" && !has_io_uring() {
            skip("uring", "there is no io_uring");
            continue;
        }
        // Rates that give their burst and nothing more, however slow the machine is.
        let house = House::start(&format!(
            "version = 1\n[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"udp:127.0.0.1:0\"\n\
             engine = \"{}\"\nworkers = 4\nudp_source_rate = \"1/d:20\"\nudp_total_rate = \"1/d:50\"\n",
            engine.name
        ));
        let answered = || number(&house.service("echo")["counters"], "datagrams_out");
        ask(&house, "127.0.0.1", 64);
        assert_eq!(answered(), 20, "{}: one source", engine.name);
        let worker = house.workers("echo")[0];
        kill_process(worker, Signal::KILL).expect("a worker");
        // Who is woken up by his end may take a datagram with him.
        Server::wait_until_gone(&[worker], "the killed worker");
        ask(&house, "127.0.0.2", 40);
        assert_eq!(answered(), 40, "{}: another source, after a death", engine.name);
        house.upgrade();
        ask(&house, "127.0.0.1", 16);
        assert_eq!(answered(), 40, "{}: the first one again, after an upgrade", engine.name);
        ask(&house, "127.0.0.3", 30);
        assert_eq!(answered(), 50, "{}: all sources together", engine.name);
    }
}

#[test]
fn lost_lines_of_the_log_are_told_of() {
    if !std::fs::metadata("/dev/full").is_ok_and(|meta| !meta.is_file()) {
        return skip("a full disk", "there is no /dev/full");
    }
    let house = House::start(
        "version = 1\nmetrics = \"tcp:127.0.0.1:0\"\nlog = { to = \"/dev/full\" }\n\
         [[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n",
    );
    let endpoints = house.endpoints();
    assert!(!text(&house.verb(&["status"]).stdout).contains("lost"));
    for _ in 0..3 {
        let mut client = Stream::connect(&endpoints["echo"]).expect("there");
        assert_eq!(client.converse(b"!").expect("an answer"), b"!");
    }
    let lost = || number(&house.status(), "log_lines_lost");
    wait_until("three lost lines", || lost() >= 3, || lost().to_string());
    let said = text(&house.verb(&["status"]).stdout);
    assert!(said.contains(" lines of the log could not be written"), "{said}");
    let mut scraper = Stream::connect(&endpoints["(metrics)"]).expect("there");
    let metrics = text(&scraper.converse(b"GET /metrics HTTP/1.1\r\n\r\n").expect("an answer"));
    let line = metrics.lines().find_map(|line| line.strip_prefix("switchboard_log_lines_lost_total "));
    assert!(line.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n >= 3), "{metrics}");
}
