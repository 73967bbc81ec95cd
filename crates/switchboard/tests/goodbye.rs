//! What becomes of a program whose client goes away, or has only finished sending: `when_gone`. Row S13.

mod harness;

use harness::{Scratch, Server, Stream, end, wait_until};
use serde_json::Value;
use std::io::Read;

/// A server of one script, with more keys.
fn serve(scratch: &Scratch, listen: &str, script: &str, keys: &str) -> Server {
    assert!(!script.contains("'''"));
    let file = scratch.path("switchboard.toml");
    let text = format!(
        "version = 1\nlog = {{ format = \"json\" }}\n[[service]]\nlisten = \"{listen}\"\n\
         exec = [\"/bin/sh\", \"-c\", '''{script}''']\n{keys}\n"
    );
    std::fs::write(&file, text).expect("a file");
    Server::start(&["--config", &file])
}

const TCP: &str = "tcp:127.0.0.1:0";

fn record(server: &Server) -> Value {
    server.records(1).remove(0)
}

/// Reads one line, by which the program says that it is there.
fn ready(client: &mut Stream) {
    let mut byte = [0];
    while client.read(&mut byte).expect("a line") == 1 && byte != *b"\n" {}
}

#[test]
fn one_who_has_only_finished_sending_is_not_gone() {
    let scratch = Scratch::new();
    // Much longer than its grace after the end of its input it still has something to say.
    let server =
        serve(&scratch, TCP, "cat; sleep 0.3; echo done", "when_gone = \"terminate\"\ngrace = \"1ms\"");
    let mut client = Stream::connect(&server.endpoint()).expect("the listener is open");
    client.finish();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the whole answer");
    assert_eq!(answer, "done\n");
    let record = record(&server);
    assert_eq!((&record["end"], &record["status"]), (&"program".into(), &0.into()), "{record}");
    end(server);
}

#[test]
fn the_end_of_input_is_the_end_if_it_is_said_to_be() {
    let scratch = Scratch::new();
    let script = "trap 'echo bye; exit 3' TERM; echo here; while :; do sleep 0.05; done";
    let server = serve(&scratch, TCP, script, "when_gone = \"terminate-at-end\"\ngrace = \"3s\"");
    let mut client = Stream::connect(&server.endpoint()).expect("the listener is open");
    ready(&mut client);
    client.finish();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("its last word");
    assert_eq!(answer, "bye\n");
    let asked = record(&server);
    assert_eq!((&asked["end"], &asked["status"]), (&"terminated".into(), &3.into()), "{asked}");
    // One who is gone altogether is found out in the same way.
    let mut client = Stream::connect(&server.endpoint()).expect("the listener is open");
    ready(&mut client);
    drop(client);
    assert_eq!(record(&server)["end"], "terminated");
    end(server);
}

#[test]
fn a_program_that_ends_by_itself_in_time_is_left_to_it() {
    let scratch = Scratch::new();
    let server = serve(&scratch, TCP, "exec wc -c", "when_gone = \"terminate-at-end\"\ngrace = \"600s\"");
    let mut client = Stream::connect(&server.endpoint()).expect("the listener is open");
    assert_eq!(client.converse(&[b'x'; 100_000]).expect("a number").trim_ascii(), b"100000");
    let record = record(&server);
    assert_eq!((&record["end"], &record["status"]), (&"program".into(), &0.into()), "{record}");
    end(server);
}

#[test]
fn one_who_has_closed_is_found_out_when_he_is_told_something() {
    let scratch = Scratch::new();
    let mark = scratch.path("mark");
    let script = format!(
        "trap 'echo bye >{mark}; exit 0' TERM; trap '' PIPE; echo here; while :; do echo news; sleep 0.05; done 2>&-"
    );
    let server = serve(&scratch, TCP, &script, "when_gone = \"terminate\"\ngrace = \"600s\"");
    let mut client = Stream::connect(&server.endpoint()).expect("the listener is open");
    ready(&mut client);
    drop(client);
    let record = record(&server);
    assert_eq!(record["end"], "terminated", "{record}");
    wait_until("it was asked", || std::path::Path::new(&mark).exists(), String::new);
    end(server);
}

#[test]
fn a_unix_client_is_gone_at_once() {
    for policy in ["terminate", "terminate-at-end"] {
        let scratch = Scratch::new();
        let at = format!("unix:{}", scratch.path("socket"));
        let script = "trap 'exit 4' TERM; echo here; while :; do sleep 0.05; done";
        // It is not given the time for ending by itself, since nobody would hear it.
        let server = serve(&scratch, &at, script, &format!("when_gone = \"{policy}\"\ngrace = \"600s\""));
        let mut client = Stream::connect(&server.endpoint()).expect("the listener is open");
        ready(&mut client);
        drop(client);
        let record = record(&server);
        assert_eq!((&record["end"], &record["status"]), (&"terminated".into(), &4.into()), "{record}");
        end(server);
    }
}
