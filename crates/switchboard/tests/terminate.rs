//! Connections of built-in services and relays are listed, and one of them is ended from outside, whatever serves it; and
//! those that are cut in the end have their record. Row S14.

#![allow(dead_code, unreachable_pub)]

#[path = "harness/mod.rs"]
mod harness;
#[path = "life/house.rs"]
mod house;

use harness::{Scratch, Stream, ask, datagram_socket, each_engine, engines, number, wait_until};
use house::House;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};

/// A server of these services; its log is JSON, on standard error.
fn serve(services: &str) -> House {
    let global = "version = 1\ndrain_timeout = \"1s\"\nlog = { format = \"json\" }\n";
    House::start(&format!("{global}{services}"))
}

fn connections(house: &House) -> Vec<Value> {
    house.status()["connections"].as_array().expect("connections").clone()
}

/// Waits until so many are listed.
fn listed(house: &House, many: usize) -> Vec<Value> {
    let there = || connections(house).len() == many;
    wait_until("everybody is listed", there, || format!("{:?}", connections(house)));
    connections(house)
}

fn terminate(house: &House, connection: &str) -> Value {
    house.ask(&json!({ "do": "terminate", "connection": connection }))
}

/// The record of a connection.
fn record(house: &House, id: u64) -> Value {
    let line = house.wait_for(&format!("\"event\":\"connection\",\"id\":{id},"));
    serde_json::from_str(&line).expect("JSON")
}

/// Talks once, so that he is known to be served.
fn come(endpoint: &str) -> Stream {
    let mut stream = Stream::connect(endpoint).expect("the listener is open");
    greet(&mut stream);
    stream
}

fn greet(stream: &mut Stream) {
    stream.write_all(b"hello").expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"hello");
}

/// Reads to the end, however that comes; true if it was a reset.
fn is_reset(stream: &mut Stream) -> bool {
    let mut bytes = [0; 65_536];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return true,
            Err(error) => panic!("neither an end nor a reset: {error}"),
        }
    }
}

#[test]
fn one_of_two_conversations_is_ended_on_every_engine() {
    each_engine(engines(), 2, |row| {
        let scratch = Scratch::new();
        let house = serve(&format!(
            "[[service]]\nid = \"tcp\"\nbuiltin = \"echo\"\nengine = \"{0}\"\nlisten = \"tcp:127.0.0.1:0\"\n\
             [[service]]\nid = \"unix\"\nbuiltin = \"echo\"\nengine = \"{0}\"\nlisten = \"unix:{1}\"\n\
             [[service]]\nid = \"flood\"\nbuiltin = \"chargen\"\nengine = \"{0}\"\nlisten = \"tcp:127.0.0.1:0\"\n",
            row.name,
            scratch.path("echo"),
        ));
        let endpoints = house.endpoints();
        // A child or thread of those with a fixed number of them, and the one of `iterative`, is enough for one client.
        let alone = row.name == "iterative";
        let mut tcp = come(&endpoints["tcp"]);
        let mut other = (!alone).then(|| come(&endpoints["tcp"]));
        let mut unix = come(&endpoints["unix"]);
        // He takes nothing: whoever serves him waits for room.
        let mut flood = Stream::connect(&endpoints["flood"]).expect("the listener is open");
        let there = listed(&house, if alone { 3 } else { 4 });
        for one in &there {
            assert!(one["age_s"].as_f64().is_some_and(|age| age < 600.0), "{one}");
        }
        let of = |service: &str| {
            let mut those = there.iter().filter(|one| one["service"] == service);
            those.next().unwrap_or_else(|| panic!("no {service} in {there:?}")).clone()
        };
        let ids = ["tcp", "unix", "flood"].map(|service| number(&of(service), "connection"));
        for id in ids {
            let said = terminate(&house, &id.to_string());
            assert_eq!(said["ok"], true, "{said}");
        }
        assert!(is_reset(&mut tcp), "a TCP client is reset");
        is_reset(&mut unix);
        assert!(is_reset(&mut flood), "a TCP client is reset");
        let mut records = Vec::new();
        for _ in ids {
            let line = house.wait_for("\"event\":\"connection\"");
            let record: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(record["end"], "terminated", "{record}");
            records.push(number(&record, "id"));
        }
        records.sort_unstable();
        let mut ids = ids;
        ids.sort_unstable();
        assert_eq!(records, ids);
        // The other one is not touched, and his address will do as well.
        if let Some(other) = &mut other {
            greet(other);
            let left = listed(&house, 1);
            let said = terminate(&house, left[0]["peer"].as_str().expect("an address"));
            assert_eq!(said["ok"], true, "{said}");
            assert!(is_reset(other));
            let ended = record(&house, number(&left[0], "connection"));
            assert_eq!(ended["end"], "terminated", "{ended}");
        }
        listed(&house, 0);
        let status = house.status();
        let terminated = status["services"]
            .as_array()
            .expect("services")
            .iter()
            .map(|one| number(&one["counters"], "terminated"));
        assert_eq!(terminated.sum::<u64>(), if alone { 3 } else { 4 });
        // And the next client is served as if nothing had been.
        come(&endpoints["tcp"]);
    });
}

#[test]
fn relayed_connections_are_ended_whatever_they_do() {
    let scratch = Scratch::new();
    let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let house = serve(&format!(
        "[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = [\"unix:{0}/echo\", \"udp:127.0.0.1:0\"]\n\
         udp_source_rate = \"off\"\n\
         [[service]]\nid = \"relay\"\nforward = \"unix:{0}/echo\"\nlisten = \"tcp:127.0.0.1:0\"\n\
         [[service]]\nid = \"mute\"\nforward = \"tcp:{1}\"\nlisten = \"unix:{0}/mute\"\n",
        scratch.0.display(),
        target.local_addr().expect("an address"),
    ));
    let endpoints = house.endpoints();
    let by_service = |house: &House, service: &str| {
        let there = connections(house);
        there.iter().find(|one| one["service"] == service).map(|one| number(one, "connection"))
    };
    // One that talks.
    let mut client = come(&endpoints["relay"]);
    let id = by_service(&house, "relay").expect("it is listed");
    assert_eq!(terminate(&house, &id.to_string())["ok"], true);
    assert!(is_reset(&mut client));
    assert_eq!(record(&house, id)["end"], "terminated");
    // One that has finished sending, and waits for a target that says nothing: nobody reads from it.
    let mut client =
        Stream::connect(&format!("unix:{}", scratch.path("mute"))).expect("the listener is open");
    let (mut served, _) = target.accept().expect("relayed");
    client.write_all(b"question").expect("sent");
    client.finish();
    let mut question = Vec::new();
    served.read_to_end(&mut question).expect("all of it, and its end");
    assert_eq!(question, b"question");
    let id = by_service(&house, "mute").expect("it is listed");
    assert_eq!(terminate(&house, &id.to_string())["ok"], true);
    is_reset(&mut client);
    assert_eq!(record(&house, id)["end"], "terminated");
    listed(&house, 0);
}

#[test]
fn a_sender_of_relayed_datagrams_is_forgotten_on_request() {
    let echo = serve(
        "[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"udp:127.0.0.1:0\"\nudp_source_rate = \"off\"\n",
    );
    let to = &echo.endpoints()["echo"];
    let house =
        serve(&format!("[[service]]\nid = \"relay\"\nforward = \"{to}\"\nlisten = \"udp:127.0.0.1:0\"\n"));
    let at = &house.endpoints()["relay"];
    let (first, second) = (datagram_socket(at), datagram_socket(at));
    assert_eq!(ask(&first, b"one").expect("an answer"), b"one");
    assert_eq!(ask(&second, b"two").expect("an answer"), b"two");
    let id = number(&listed(&house, 2)[0], "connection");
    assert_eq!(terminate(&house, &id.to_string())["ok"], true);
    assert_eq!(record(&house, id)["end"], "terminated");
    listed(&house, 1);
    // He may send again, and is somebody else then.
    assert_eq!(ask(&first, b"three").expect("an answer"), b"three");
    listed(&house, 2);
}

#[test]
fn the_verb_says_what_it_does_and_whom_it_does_not_find() {
    let house = serve("[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n");
    let mut client = come(&house.endpoints()["echo"]);
    let id = number(&listed(&house, 1)[0], "connection");
    let shown = house.verb(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.lines().any(|line| line.starts_with(&format!("{id} ")) && line.contains("127.0.0.1:")),
        "{shown}"
    );
    let nobody = house.verb(&["terminate", "4711000"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nobody is served on a connection 4711000"));
    let done = house.verb(&["terminate", &format!("#{id}")]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("connection {id} (echo, 127.0.0.1:")), "{said}");
    assert!(is_reset(&mut client));
}

#[test]
fn conversations_of_a_worker_that_is_killed_are_off_the_list_and_counted() {
    for engine in ["epoll", "fork"] {
        let house = serve(&format!(
            "[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nengine = \"{engine}\"\nlisten = \"tcp:127.0.0.1:0\"\n"
        ));
        let endpoint = house.endpoints()["echo"].clone();
        let mut clients = [come(&endpoint), come(&endpoint)];
        listed(&house, 2);
        let worker = house.workers("echo")[0];
        rustix::process::kill_process(worker, Signal::KILL).expect("it is there");
        house.wait_for("was killed by signal 9");
        for client in &mut clients {
            is_reset(client);
        }
        listed(&house, 0);
        assert_eq!(number(&house.service("echo"), "open"), 0);
        come(&endpoint);
    }
}

#[test]
fn a_successor_lists_and_ends_what_its_predecessor_still_serves() {
    let text = |n: usize| {
        format!(
            "version = 1\ndrain_timeout = \"60s\"\nlog = {{ format = \"json\" }}\n[[service]]\nid = \"echo\"\n\
             builtin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\nidle_timeout = \"{n}h\"\n"
        )
    };
    let house = House::start(&text(1));
    let endpoint = house.endpoints()["echo"].clone();
    let mut client = come(&endpoint);
    let id = number(&listed(&house, 1)[0], "connection");
    let before = house.pid();
    house.must("upgrade");
    wait_until("the successor answers", || house.pid() != before, String::new);
    greet(&mut client);
    assert_eq!(number(&listed(&house, 1)[0], "connection"), id);
    assert_eq!(terminate(&house, &id.to_string())["ok"], true);
    assert!(is_reset(&mut client));
    assert_eq!(record(&house, id)["end"], "terminated");
    house.succeeded(before);
}

#[test]
fn what_a_retired_worker_serves_at_the_end_has_its_record() {
    for engine in engines().iter().map(|row| row.name).filter(|name| *name != "iterative") {
        let text = |n: usize| {
            format!(
                "version = 1\ndrain_timeout = \"0s\"\nlog = {{ format = \"json\" }}\n[[service]]\nid = \"echo\"\n\
                 builtin = \"echo\"\nengine = \"{engine}\"\nlisten = \"tcp:127.0.0.1:0\"\nidle_timeout = \"{n}h\"\n"
            )
        };
        let house = House::start(&text(1));
        let endpoint = house.endpoints()["echo"].clone();
        let mut clients = [come(&endpoint), come(&endpoint)];
        let ids: Vec<u64> = listed(&house, 2).iter().map(|one| number(one, "connection")).collect();
        house.write(&text(2));
        house.must("reload");
        assert_eq!(house.status()["retired"].as_array().map(Vec::len), Some(1), "{engine}");
        clients.iter_mut().for_each(greet);
        house.signal(Signal::TERM);
        let mut records = Vec::new();
        for _ in &ids {
            let line = house.wait_for("\"event\":\"connection\"");
            let record: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(record["end"], "stopped", "{engine}: {record}");
            records.push(number(&record, "id"));
        }
        records.sort_unstable();
        assert_eq!(records, ids, "{engine}");
        for client in &mut clients {
            is_reset(client);
        }
    }
}
