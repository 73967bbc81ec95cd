//! Who may come in, how many, how fast: every policy on every engine, with real sockets. Loopback has sixteen million
//! IPv4 addresses, so there are as many clients as a test needs. Row S14.

mod harness;

use harness::{
    PATIENCE, Scratch, Server, Stream, ask, datagram_socket, each_engine, end, engines, number, wait_until,
};
use rustix::net::{self};
use rustix::process::Signal;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use switchboard::EngineRow;

const ANYWHERE: &str = "tcp:127.0.0.1:0";

fn start(engine: &EngineRow, more: &[&str]) -> Server {
    let base = ["echo", "--engine", engine.name, "--listen", ANYWHERE];
    Server::start(&[&base[..], more].concat())
}

/// A connection to `server` from 127.0.0.`host`. The kernel connects even those who are then sent away.
fn connect_from(host: u8, server: &Server) -> TcpStream {
    try_connect_from(host, server).expect("the listener is open")
}

fn try_connect_from(host: u8, server: &Server) -> io::Result<TcpStream> {
    harness::connect_from(host, &server.endpoint())
}

/// Whether one line comes back; false if the connection ends or is reset instead.
fn is_served(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 3];
    let heard = stream.write_all(b"hi\n").and_then(|()| stream.read_exact(&mut answer));
    match heard {
        Ok(()) => answer == *b"hi\n",
        Err(error) => {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
            assert!(
                matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof),
                "{error}"
            );
            false
        }
    }
}

/// Tries until a new connection from `host` is served.
fn wait_until_served(host: u8, server: &Server) -> TcpStream {
    let mut found = None;
    wait_until(
        "a client is served",
        || {
            let mut stream = connect_from(host, server);
            if is_served(&mut stream) {
                found = Some(stream);
            }
            found.is_some()
        },
        || format!("127.0.0.{host} is still refused"),
    );
    found.expect("served")
}

/// One client at a time is all that a worker of this engine has.
fn serves_several(row: &EngineRow) -> bool {
    row.name != "iterative"
}

#[test]
fn the_longest_prefix_decides() {
    each_engine(engines(), 4, |engine| {
        let server =
            start(engine, &["--allow", "127.0.0.0/28,127.0.0.130", "--deny", "127.0.0.4/30,127.0.0.128/25"]);
        for (host, expected) in
            [(1, true), (4, false), (7, false), (8, true), (130, true), (131, false), (77, false)]
        {
            let mut stream = connect_from(host, &server);
            assert_eq!(is_served(&mut stream), expected, "127.0.0.{host}");
        }
        let summary = end(server);
        assert_eq!((number(&summary, "accepted"), number(&summary, "denied")), (3, 4));
    });
}

#[test]
fn a_mapped_address_is_an_ipv4_address() {
    if !harness::has_ipv6() {
        return harness::skip("mapped addresses", "no IPv6 here");
    }
    each_engine(engines(), 4, |engine| {
        let base = ["echo", "--engine", engine.name, "--listen", "tcp:[::]:0"];
        let server = Server::start(&[&base[..], &["--allow", "127.0.0.1/32"]].concat());
        assert!(is_served(&mut connect_from(1, &server)));
        assert!(!is_served(&mut connect_from(2, &server)));
        end(server);
    });
}

#[test]
fn users_of_this_machine_on_unix_sockets() {
    let scratch = Scratch::new();
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let cases =
        [(format!("uid:{uid}"), true), (format!("gid:{gid}"), true), (format!("uid:{}", uid + 1), false)];
    each_engine(engines(), 4, |engine| {
        for (n, (who, expected)) in cases.iter().enumerate() {
            let at = format!("unix:{}", scratch.path(&format!("{}{n}", engine.name)));
            let server = Server::start(&["echo", "--engine", engine.name, "--listen", &at, "--allow", who]);
            let heard = Stream::connect(&at).expect("the listener is open").converse(b"hi\n");
            assert_eq!(heard.is_ok_and(|heard| heard == b"hi\n"), *expected, "{who}");
            end(server);
        }
    });
}

#[test]
fn no_more_of_one_source_than_it_may_have() {
    each_engine(engines().into_iter().filter(|row| serves_several(row)), 4, |engine| {
        let server = start(engine, &["--max-connections-per-source", "2"]);
        let mut first = [connect_from(9, &server), connect_from(9, &server)];
        assert!(first.iter_mut().all(is_served));
        for _ in 0..5 {
            assert!(!is_served(&mut connect_from(9, &server)), "the third one");
        }
        assert!(is_served(&mut connect_from(10, &server)), "somebody else");
        drop(first);
        drop(wait_until_served(9, &server));
        let summary = end(server);
        assert!(number(&summary, "limited") >= 5, "{summary}");
    });
}

#[test]
fn beyond_the_limit_of_a_service_there_is_a_message() {
    each_engine(engines().into_iter().filter(|row| serves_several(row)), 4, |engine| {
        let more = ["--max-connections", "1", "--otherwise", "close", "--refusal", "421 later"];
        let server = start(engine, &more);
        let mut inside = connect_from(1, &server);
        assert!(is_served(&mut inside));
        let mut other = connect_from(2, &server);
        // What he says first must not destroy the message.
        other.write_all(b"EHLO\r\n").expect("connected");
        let mut heard = String::new();
        other.read_to_string(&mut heard).expect("an orderly end");
        assert_eq!(heard, "421 later\r\n");
        drop(inside);
        drop(wait_until_served(2, &server));
        end(server);
    });
}

#[test]
fn those_who_wait_in_the_queue_come_in_by_themselves() {
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["--rate", "20/s:2"]);
        let begun = Instant::now();
        let mut clients: Vec<TcpStream> = (0..8).map(|n| connect_from(n + 1, &server)).collect();
        // An engine that serves one after the other is left by each in turn.
        for mut client in clients.drain(..) {
            assert!(is_served(&mut client));
        }
        assert!(begun.elapsed() >= Duration::from_millis(250), "two at once, then one in 50 ms");
        let summary = end(server);
        assert_eq!((number(&summary, "accepted"), number(&summary, "limited")), (8, 0), "{summary}");
    });
}

#[test]
fn a_full_service_lets_the_next_one_in_when_somebody_leaves() {
    each_engine(engines().into_iter().filter(|row| serves_several(row)), 4, |engine| {
        // A bound of sources that nobody reaches makes the ledger count, beside the engine.
        let server = start(engine, &["--max-connections", "2", "--max-connections-per-source", "9"]);
        let mut inside = vec![connect_from(1, &server), connect_from(2, &server)];
        assert!(inside.iter_mut().all(is_served));
        let mut waiting = connect_from(3, &server);
        waiting.write_all(b"hi\n").expect("the listener is open");
        waiting.set_read_timeout(Some(Duration::from_millis(150))).expect("a socket");
        let mut answer = [0; 3];
        assert!(waiting.read_exact(&mut answer).is_err(), "nobody serves him yet");
        inside.pop();
        waiting.set_read_timeout(Some(PATIENCE)).expect("a socket");
        waiting.read_exact(&mut answer).expect("served when there was room");
        drop((inside, waiting));
        end(server);
    });
}

#[test]
fn who_is_delayed_comes_in_later_or_not_at_all() {
    each_engine(engines(), 4, |engine| {
        // On a busy machine the second one may be looked at so late that he need not wait: then with a lower rate.
        let delayed = ["5/s:1", "1/s:1", "20/m:1"].into_iter().any(|rate| {
            let server = start(engine, &["--rate-per-source", rate, "--otherwise", "delay:60s"]);
            let mut clients: Vec<TcpStream> = (0..3).map(|_| connect_from(7, &server)).collect();
            for mut client in clients.drain(..) {
                assert!(is_served(&mut client));
            }
            let summary = end(server);
            assert_eq!(number(&summary, "limited"), 0, "{summary}");
            number(&summary, "delayed") >= 1
        });
        assert!(delayed, "nobody was delayed");

        let server = start(engine, &["--rate-per-source", "1/h:1", "--otherwise", "delay:100ms"]);
        assert!(is_served(&mut connect_from(7, &server)));
        assert!(!is_served(&mut connect_from(7, &server)));
        assert!(is_served(&mut connect_from(8, &server)), "a token of his own");
        let summary = end(server);
        assert_eq!((number(&summary, "limited"), number(&summary, "delayed")), (1, 1), "{summary}");
    });
}

#[test]
fn a_rate_never_outlives_its_window() {
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["--rate-per-source", "10/s:3"]);
        let served = (0..50).filter(|_| is_served(&mut connect_from(5, &server))).count();
        assert!(served >= 3, "{served}");
        // However hard he tried before, a tenth of a second is enough.
        drop(wait_until_served(5, &server));
        end(server);
    });
}

#[test]
fn hours_and_load_and_memory() {
    let never = "--min-memory=1000000GiB";
    let engine = EngineRow::find("epoll").expect("a row");
    // A machine may have had nothing to do for a minute.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let idle = load.starts_with("0.0");
    if idle {
        harness::skip("a load above 0", "this machine has none");
    }
    for (more, expected) in [
        (&["--hours", "00:00-24:00"][..], true),
        (&["--max-load", if idle { "100000" } else { "0" }, "--otherwise", "reset"], idle),
        (&["--max-load", "100000", "--otherwise", "reset"], true),
        (&[never, "--otherwise", "close"], false),
        (&["--min-memory", "1"], true),
    ] {
        let server = start(engine, more);
        assert_eq!(is_served(&mut connect_from(1, &server)), expected, "{more:?}");
        end(server);
    }
}

#[test]
fn datagrams_of_those_who_are_kept_out_are_not_answered() {
    let able = engines().into_iter().filter(|row| row.datagrams);
    each_engine(able, 4, |engine| {
        let at = "udp:127.0.0.1:0";
        let base = ["echo", "--engine", engine.name, "--listen", at, "--listen", at];
        let server = Server::start(&[&base[..], &["--deny", "127.0.0.1"]].concat());
        let socket = datagram_socket(&server.endpoint());
        net::send(&socket, b"hi", net::SendFlags::empty()).expect("sent");
        // The server takes one after the other: when this one is answered, that one was not.
        let other = std::net::UdpSocket::bind("127.0.0.2:0").expect("loopback");
        other.set_read_timeout(Some(PATIENCE)).expect("a socket");
        other.connect(&server.endpoint()["udp:".len()..]).expect("an address");
        other.send(b"ho").expect("sent");
        assert_eq!(other.recv(&mut [0; 9]).expect("answered"), 2);
        assert!(is_silent(&socket), "no answer is expected");
        let summary = end(server);
        assert_eq!((number(&summary, "datagrams_denied"), number(&summary, "datagrams_out")), (1, 1));

        let server = Server::start(&[&base[..], &["--deny", "127.0.0.2"]].concat());
        assert_eq!(ask(&datagram_socket(&server.endpoint()), b"hi").expect("answered"), b"hi");
        end(server);
    });
}

#[test]
fn datagrams_are_counted_by_all_workers_together() {
    let engine = EngineRow::find("epoll").expect("a row");
    let base = ["echo", "--engine", engine.name, "--listen", "udp:127.0.0.1:0", "--workers", "3"];
    let server = Server::start(&[&base[..], &["--rate-per-source", "1/h:5"]].concat());
    // Many sockets, so that the kernel spreads them over the workers.
    let sockets: Vec<_> = (0..30).map(|_| datagram_socket(&server.endpoint())).collect();
    for socket in &sockets {
        net::send(socket, b"hi", net::SendFlags::empty()).expect("sent");
    }
    server.wait_until_quiet("all are judged");
    let answered = sockets.iter().filter(|socket| !is_silent(socket)).count();
    assert_eq!(answered, 5);
    assert_eq!(number(&end(server), "datagrams_limited"), 25);
}

/// Whether nothing has come back.
fn is_silent(socket: &rustix::fd::OwnedFd) -> bool {
    net::recv(socket, &mut [0_u8; 9][..], net::RecvFlags::DONTWAIT).is_err()
}

#[test]
fn what_a_killed_process_held_counts_no_more() {
    each_engine(engines().into_iter().filter(|row| serves_several(row)), 4, |engine| {
        let server = start(engine, &["--max-connections", "1", "--otherwise", "reset"]);
        for _ in 0..3 {
            let mut inside = wait_until_served(1, &server);
            assert!(!is_served(&mut connect_from(2, &server)), "full");
            // Whoever serves, and all its children.
            for pid in server.workers() {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            assert!(!is_served(&mut inside), "his server is dead");
        }
        drop(wait_until_served(2, &server));
        let ended = server.stop();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    });
}

#[test]
fn a_child_that_is_killed_counts_no_more() {
    let forking = engines().into_iter().filter(|row| ["fork", "prefork"].contains(&row.name));
    each_engine(forking, 2, |engine| {
        let server = start(engine, &["--max-connections-per-source", "1"]);
        for _ in 0..6 {
            let mut inside = wait_until_served(1, &server);
            let children: Vec<i32> =
                server.workers().iter().flat_map(|pid| harness::children_of(pid.as_raw_pid())).collect();
            for pid in children.into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            assert!(!is_served(&mut inside), "his server is dead");
        }
        drop(wait_until_served(1, &server));
        let ended = server.stop();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    });
}

#[test]
fn a_name_counts_if_it_leads_back() {
    // Whoever is called localhost by the machine's files; nobody knows a name for the other one.
    each_engine(engines(), 4, |engine| {
        let server = start(engine, &["--allow", "localhost,127.0.0.8"]);
        assert!(is_served(&mut connect_from(1, &server)));
        assert!(is_served(&mut connect_from(8, &server)), "no name is needed");
        assert!(!is_served(&mut connect_from(9, &server)));
        assert!(is_served(&mut connect_from(1, &server)), "remembered");
        let workers = server.workers();
        let summary = end(server);
        assert_eq!((number(&summary, "accepted"), number(&summary, "denied")), (3, 1), "{summary}");
        // Whoever looked the names up has gone with the worker.
        Server::wait_until_gone(&workers, "a worker");
    });
}

#[test]
fn files_of_rules_are_obeyed_as_they_change() {
    let scratch = Scratch::new();
    let engine = EngineRow::find("epoll").expect("a row");
    let write = |name: &str, text: &str| std::fs::write(scratch.path(name), text).expect("written");
    write("hosts.deny", "ALL: ALL\n");
    write("hosts.allow", "other: ALL\n");
    write("rules", "127.0.0.2:allow\n:deny\n");
    let at = format!("echod:{}", scratch.path(""));
    let hosts = start(engine, &["--hosts-access", &at]);
    let rules_at = scratch.path("rules");
    let rules = start(engine, &["--tcprules", &rules_at]);
    assert!(!is_served(&mut connect_from(1, &hosts)));
    assert!(!is_served(&mut connect_from(1, &rules)));
    assert!(is_served(&mut connect_from(2, &rules)));
    // In one go, as editors do it.
    write("new", "echod: 127.0.0.1 EXCEPT 127.0.0.9\n");
    std::fs::rename(scratch.path("new"), scratch.path("hosts.allow")).expect("renamed");
    write("rules", "127.0.0.1:allow\n:deny\n");
    drop((wait_until_served(1, &hosts), wait_until_served(1, &rules)));
    assert!(!is_served(&mut connect_from(2, &rules)));
    // A version that is wrong is said and not used.
    write("hosts.allow", "echod: ALL: twist /bin/echo\n");
    write("rules", "nonsense\n");
    for (server, said) in [(&hosts, "twist"), (&rules, "nonsense")] {
        wait_until(
            "the change is seen",
            || {
                assert!(is_served(&mut connect_from(1, server)), "the old rules hold");
                server.said().iter().any(|line| line.contains(said) && line.contains("still hold"))
            },
            || format!("nothing is said of {said}"),
        );
    }
    end(hosts);
    end(rules);
}

#[test]
fn a_flood_from_one_address_leaves_the_others_served() {
    let subjects =
        engines().into_iter().filter(|row| ["epoll", "uring", "fork", "threads"].contains(&row.name));
    each_engine(subjects, 1, |engine| {
        let server = start(engine, &["--rate-per-source", "200/s:200", "--max-connections-per-source", "20"]);
        let over = AtomicBool::new(false);
        let attempts = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begun = Instant::now();
                let mut held = std::collections::VecDeque::new();
                // 10,000 a second at most, as fast as the machine can below that.
                while !over.load(Ordering::Relaxed) {
                    let n = attempts.fetch_add(1, Ordering::Relaxed);
                    let due = begun + Duration::from_micros(u64::from(n) * 100);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if let Ok(stream) = try_connect_from(66, &server) {
                        held.push_back(stream);
                    }
                    if held.len() > 100 {
                        held.pop_front();
                    }
                }
            });
            wait_until("the flood", || attempts.load(Ordering::Relaxed) > 500, String::new);
            let served: Vec<bool> =
                (0..200).map(|n| is_served(&mut connect_from(n % 50 + 1, &server))).collect();
            over.store(true, Ordering::Relaxed);
            assert!(served.iter().all(|served| *served), "{served:?}");
        });
        let summary = end(server);
        assert!(number(&summary, "limited") > 0, "the flood was held back: {summary}");
    });
}

#[test]
fn a_flood_that_is_denied_does_not_fill_the_log() {
    let server = start(EngineRow::find("epoll").expect("a row"), &["--deny", "127.0.0.66"]);
    for _ in 0..2_000 {
        drop(connect_from(66, &server));
    }
    assert!(is_served(&mut connect_from(1, &server)));
    let line = server.wait_for_line("a denial", |line| line.contains("denied"));
    assert!(line.contains("echo: 127.0.0.66:"), "{line}");
    let more = server.said().iter().filter(|line| line.contains("denied")).count();
    assert!(more < 100, "{more} lines");
    assert_eq!(number(&end(server), "denied"), 2_000);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_served() {
    for (more, said) in [
        (&["--allow", "10.0.0.0/33"][..], "0 to 32 bits"),
        (&["--hours", "9-5"], "HH:MM-HH:MM"),
        (&["--rate", "10"], "N/s"),
        (&["--otherwise", "drop"], "queue, reset, close"),
        (&["--max-load", "nan"], "load average"),
        (&["--tcprules", "/nonexistent/rules.cdb"], "/nonexistent/rules.cdb"),
    ] {
        let ended = harness::program().args(["serve", "echo"]).args(more).output().expect("started");
        let stderr = harness::text(&ended.stderr);
        assert!(!ended.status.success() && stderr.contains(said), "{more:?}: {stderr}");
    }
}
