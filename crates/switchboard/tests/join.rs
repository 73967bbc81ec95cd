//! `connect` with two ends: what comes from one goes to the other, each half ends by itself, and nothing is lost
//! without being told. Rows S5, S6, S7.

mod harness;
#[path = "ends/running.rs"]
mod running;

use harness::{PATIENCE, Scratch, can_fault, program, text};
use running::{start, start_command};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

const MB: usize = 1_000_000;

/// Bytes that are different everywhere, so that a lost or doubled piece shows.
fn data(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// A server that reads to the end of input, and only then answers.
fn late_answerer(answer: Vec<u8>) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let question = read_all(&stream);
        stream.write_all(&answer).unwrap();
        question
    });
    (address, server)
}

fn both_halves(faults: Option<&str>, size: usize) {
    let (question, answer) = (data(size), data(2 * size));
    let (target, server) = late_answerer(answer.clone());
    let mut command = program();
    command.args(["connect", "-v", "listen:127.0.0.1:0", &target.to_string()]);
    if let Some(faults) = faults {
        command.env("SWITCHBOARD_FAULT", faults);
    }
    let mut running = start_command(&mut command);
    let mut client = connect(running.door());
    client.write_all(&question).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(client) == answer, "the answer is another one");
    assert!(server.join().unwrap() == question, "the question is another one");
    let (_, said) = running.ends(0);
    assert!(said.contains(&format!("{size} bytes; back: {} bytes", 2 * size)), "{said}");
}

#[test]
fn the_end_of_one_half_is_told_on_and_the_other_goes_on() {
    both_halves(None, 3 * MB);
}

#[test]
fn interrupted_and_not_ready() {
    if can_fault("two ends joined") {
        both_halves(Some("seed=11,again=80,eintr=50,short=1"), 50_000);
    }
}

#[test]
fn a_reset_is_passed_on_and_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let mut running = start(&["-v", "listen:127.0.0.1:0", &target.to_string()]);
    let mut client = connect(running.door());
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"a part").unwrap();
    let mut part = [0; 6];
    client.read_exact(&mut part).unwrap();
    switchboard_net::sys::socket::reset_on_close(&server);
    drop(server);
    let error = client.read(&mut part).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let (_, said) = running.ends(7);
    assert!(said.contains(&format!("tcp:{target} broke: Connection reset by peer")), "{said}");
}

#[test]
fn a_client_whose_target_is_not_there_is_reset() {
    let unused = format!("127.0.0.1:{}", harness::free_port());
    let mut running = start(&["-v", "listen:127.0.0.1:0", &unused]);
    let mut client = connect(running.door());
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    running.ends(4);
}

#[test]
fn a_program_is_an_end_and_its_status_is_told() {
    for (command, code, stdout, said) in [
        ("exec:echo  'a  b'", 0, "a  b\n", "exec:echo ended with status 0"),
        ("exec:sh -c 'echo x; exit 3'", 1, "x\n", "exec:sh ended with status 3"),
        ("exec:sh -c 'kill -9 $$'", 1, "", "exec:sh was ended by signal 9"),
        ("exec:/no/such/program", 1, "", "cannot run `/no/such/program`"),
    ] {
        let (out, err) = start(&["-v", command]).ends(code);
        assert_eq!(out, stdout, "{command}");
        assert!(err.contains(said), "{command}: {err}");
    }
}

#[test]
fn a_program_serves_a_client_who_ends_his_half_first_or_does_not() {
    let mut running = start(&["-v", "listen:127.0.0.1:0", "exec:sort"]);
    let mut client = connect(running.door());
    client.write_all(b"b\na\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), b"a\nb\n");
    running.ends(0);

    // The client says nothing and does not end: the program's end is enough.
    let mut running = start(&["-v", "listen:127.0.0.1:0", "exec:echo done"]);
    let client = connect(running.door());
    let copy = client.try_clone().unwrap();
    assert_eq!(read_all(copy), b"done\n");
    running.ends(0);
    drop(client);
}

#[test]
fn a_program_that_does_not_read_everything_is_no_success() {
    let (target, server) = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (address, thread::spawn(move || drop(listener.accept().unwrap().0.write_all(&data(5 * MB)))))
    };
    let (_, said) = start(&[&target.to_string(), "exec:head -c 10"]).ends(8);
    assert!(said.contains("exec:head did not take everything"), "{said}");
    server.join().unwrap();
}

#[test]
fn one_client_after_the_other_or_all_at_once() {
    let mut running = start(&["-v", "-k", "listen:127.0.0.1:0", "exec:tr a-z A-Z"]);
    let door = running.door();
    let ask = |word: &str| {
        let mut client = connect(door);
        client.write_all(word.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        text(&read_all(client))
    };
    assert_eq!([ask("one"), ask("two")], ["ONE", "TWO"]);
    drop(running);

    let mut running = start(&["-v", "--fork", "listen:127.0.0.1:0", "exec:cat"]);
    let door = running.door();
    let mut slow = connect(door);
    let mut quick = connect(door);
    for client in [&mut quick, &mut slow] {
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(client), b"hello");
    }
}

#[test]
fn one_client_and_standard_output() {
    let mut running = start(&["-v", "listen:127.0.0.1:0"]);
    let door = running.door();
    let mut client = connect(door);
    client.write_all(b"to the end").unwrap();
    drop(client);
    running.after("has come");
    assert_eq!(running.ends(0).0, "to the end");
    assert!(TcpStream::connect(door).is_err(), "it listens still");
}

#[test]
fn kinds_are_mixed_and_messages_stay_whole() {
    let scratch = Scratch::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let udp = format!("udp:{}", socket.local_addr().unwrap());
    let path = scratch.path("door.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let running = start(&["-v", &format!("unix:{path}"), &udp]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"question").unwrap();
    let mut room = [0; 100];
    let (n, from) = socket.recv_from(&mut room).unwrap();
    assert_eq!(&room[..n], b"question");
    socket.send_to(b"answer", from).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(stream), b"answer");
    running.ends(0);
}

#[test]
fn the_first_datagram_opens_a_door() {
    let is_answered = |silence: &str| {
        let mut running = start(&["-v", "-w", silence, "listen:udp:127.0.0.1:0", "exec:cat"]);
        let door = running.after("listening on udp:");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(&door).unwrap();
        client.send(b"hello").unwrap();
        // Datagrams have no end; silence is one.
        running.ends(6);
        client.set_nonblocking(true).unwrap();
        let mut room = [0; 100];
        let answer = client.recv(&mut room).map(|n| &room[..n]);
        assert!(answer.is_err() || answer.as_ref().is_ok_and(|answer| answer == b"hello"), "{answer:?}");
        answer.is_ok()
    };
    // On a busy machine the program may take longer to answer than silence lasts.
    assert!(["100ms", "1s", "10s"].into_iter().any(is_answered));
}

#[test]
fn a_descriptor_is_an_end() {
    let scratch = Scratch::new();
    let path = scratch.path("input");
    std::fs::write(&path, "from a file").unwrap();
    let line =
        format!("exec {} connect exec:'tr a-z A-Z' fd:3 3<>{path}; cat", env!("CARGO_BIN_EXE_switchboard"));
    let running = start_command(Command::new("sh").args(["-c", &line]));
    running.ends(0);
    let left = std::fs::read_to_string(&path).unwrap();
    assert_eq!(left, "from a fileFROM A FILE");
}

#[test]
fn what_cannot_be_joined_is_said() {
    for (arguments, part) in [
        (&["-", "-"][..], "one of the two ends must be"),
        (&["-"], "`-` needs another end"),
        (&["fd:77"], "descriptor 77 is not open"),
        (&["fd:1"], "write `-`"),
        (&["exec:'"], "not closed"),
        (&["7007", "--fork"], "for an end that listens"),
        (&["listen:0", "--fork"], "--fork needs two ends"),
        (&["listen:0", "exec:cat", "--line"], "--line sends lines"),
    ] {
        let (_, said) = start(arguments).ends(2);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}
