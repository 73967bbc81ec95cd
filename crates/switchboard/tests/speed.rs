//! What makes engines fast must not make them wrong, nor keep an idle machine awake. Row S19.

mod harness;

use harness::{Server, Stream, each_engine, end, engines, number, program, run_to_end, wait_until};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// A server that looks before it sleeps serves as others do, and goes to sleep when nobody asks.
#[test]
fn looking_before_sleeping_changes_no_answer_and_ends_by_itself() {
    const ROUNDS: u32 = 300;
    let able: Vec<_> = engines().into_iter().filter(|engine| engine.spins).collect();
    each_engine(able, 3, |engine| {
        let looking = ["--engine", engine.name, "--listen", "tcp:127.0.0.1:0", "--busy-poll=20ms"];
        let server = Server::start(&[&["echo"], &looking[..]].concat());
        let mut clients: Vec<Stream> =
            (0..3).map(|_| Stream::connect(&server.endpoint()).expect("connect")).collect();
        for round in 0..ROUNDS {
            for (client, stream) in (0_u32..).zip(&mut clients) {
                let said = (round * 8 + client).to_be_bytes();
                stream.write_all(&said).expect("send");
                let mut heard = [0; 4];
                stream.read_exact(&mut heard).expect("the answer");
                assert_eq!(heard, said, "round {round}");
            }
        }
        let (mut used, mut since) = (server.cpu_time(), Instant::now());
        wait_until(
            "it sleeps again",
            || {
                let now = server.cpu_time();
                if now != used {
                    (used, since) = (now, Instant::now());
                }
                since.elapsed() > Duration::from_millis(100)
            },
            || "it goes on looking though nobody asks".to_owned(),
        );
        let long = clients[0].converse(&vec![7; 300_000]).expect("a long message");
        assert!(long.len() == 300_000 && long.iter().all(|byte| *byte == 7));
        drop(clients);
        assert_eq!(number(&end(server), "accepted"), 3);
    });
}

#[test]
fn an_engine_that_cannot_look_says_so() {
    let mut command = program();
    command.args(["serve", "echo", "--engine", "fork", "--busy-poll", "--listen", "tcp:127.0.0.1:0"]);
    let ended = run_to_end(&mut command, None, harness::PATIENCE);
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("--busy-poll: engine fork") && said.contains("poll, epoll, uring"), "{said}");
}
