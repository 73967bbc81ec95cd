//! `connect listen:udp:…` with several senders: each is a conversation of his own, and nothing that came is lost. Rows S16,
//! S17.

mod harness;
#[path = "ends/running.rs"]
mod running;

use harness::{PATIENCE, Scratch, has_ipv6, program, skip, suspend, text};
use running::{start, start_command};
use rustix::process::{Signal, kill_process};
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;

/// Datagrams of each sender.
const EACH: usize = 20;

fn sender(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn port_of(door: &str) -> &str {
    door.rsplit_once(':').unwrap().1
}

/// Everything of one sender comes back to him, in its order, and nothing else. A program in between may join datagrams.
fn echoed(name: &str, count: usize, mut receive: impl FnMut(&mut [u8]) -> usize) {
    let wanted: String = (0..count).map(|number| format!("{name}{number}")).collect();
    let mut all = String::new();
    while all.len() < wanted.len() {
        let mut room = [0; 1000];
        let n = receive(&mut room);
        all += &text(&room[..n]);
    }
    assert_eq!(all, wanted);
}

#[test]
fn senders_whose_datagrams_are_queued_together_do_not_get_each_others() {
    let mut doors = vec![("udp:0.0.0.0:0", "127.0.0.1:0", ["127.0.0.1", "127.0.0.1", "127.0.0.5"])];
    match has_ipv6() {
        true => doors.push(("udp:[::]:0", "[::1]:0", ["[::1]"; 3])),
        false => skip("UDP over IPv6", "no ::1 here"),
    }
    for (door, own, targets) in doors {
        let listen = format!("listen:{door}");
        let mut running = start(&["-v", "--fork", "-w", "20s", &listen, "exec:cat"]);
        let at = running.after("listening on udp:");
        // While it stands still, all of it is queued at the one socket.
        suspend(running.pid());
        let to = targets.map(|host| format!("{host}:{}", port_of(&at)));
        let senders = ["a", "b", "c"].map(|name| (name, sender(own)));
        for number in 0..EACH {
            for ((name, socket), to) in senders.iter().zip(&to) {
                socket.send_to(format!("{name}{number}").as_bytes(), to).unwrap();
            }
        }
        kill_process(running.pid(), Signal::CONT).unwrap();
        for ((name, socket), to) in senders.iter().zip(&to) {
            echoed(name, EACH, |room| {
                let (n, source) = socket.recv_from(room).unwrap();
                // From where it was sent to.
                assert_eq!(&source.to_string(), to);
                n
            });
        }
        // What comes later goes to the conversations that there are.
        for ((_, socket), to) in senders.iter().zip(&to) {
            socket.send_to(b"later0", to).unwrap();
            echoed("later", 1, |room| socket.recv(room).unwrap());
        }
    }
}

/// How a client that is asked to keep its door open is ended: by the test, since it would go on for ever.
fn heard(arguments: &[&str], talk: impl FnOnce(&str)) -> String {
    let scratch = Scratch::new();
    let file = scratch.path("heard");
    let out = std::fs::File::create(&file).unwrap();
    let line = format!("exec \"$0\" \"$@\" >{file}");
    drop(out);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &line]).arg(program().get_program()).args(arguments);
    let mut running = start_command(&mut command);
    let at = running.after(" on ").replace("127.0.0.1 ", "udp:127.0.0.1:");
    suspend(running.pid());
    talk(&at);
    kill_process(running.pid(), Signal::CONT).unwrap();
    let mut all = String::new();
    harness::wait_until(
        "everything is heard",
        || {
            all = std::fs::read_to_string(&file).unwrap();
            all.matches('.').count() == 6
        },
        String::new,
    );
    drop(running);
    std::fs::read_to_string(&file).unwrap()
}

fn by_turns(at: &str) {
    let senders = ["a", "b"].map(|name| (name, sender("127.0.0.1:0")));
    for number in 0..3 {
        for (name, socket) in &senders {
            socket.send_to(format!("{name}{number}.").as_bytes(), at.strip_prefix("udp:").unwrap()).unwrap();
        }
    }
}

#[test]
fn one_after_the_other_or_all_at_once() {
    let kept = heard(&["connect", "-v", "-k", "-w", "100ms", "listen:udp:127.0.0.1:0"], by_turns);
    assert_eq!(kept, "a0.a1.a2.b0.b1.b2.");
    let together = ["connect", "-v", "-k", "--unconnected", "--recv-only", "listen:udp:127.0.0.1:0"];
    assert_eq!(heard(&together, by_turns), "a0.b0.a1.b1.a2.b2.");
    // nc -k -u hears everybody.
    assert_eq!(heard(&["nc", "-v", "-k", "-l", "-u", "127.0.0.1", "0"], by_turns), "a0.b0.a1.b1.a2.b2.");
}

#[test]
fn one_conversation_is_with_one_sender_and_says_so() {
    let mut running = start(&["-v", "-w", "100ms", "listen:udp:127.0.0.1:0"]);
    let at = running.after("listening on ");
    suspend(running.pid());
    by_turns(&at);
    kill_process(running.pid(), Signal::CONT).unwrap();
    let (heard, said) = running.ends(0);
    assert_eq!(heard, "a0.a1.a2.");
    assert!(said.contains("3 datagrams of others were not taken"), "{said}");
}

#[test]
fn unix_senders_are_heard_in_turn_and_those_with_names_answered() {
    let scratch = Scratch::new();
    let door = format!("listen:unix-dgram:{}", scratch.path("door"));
    let unix = |name: &str| {
        let name = format!("switchboard-callers-{}-{name}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap())
                .unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let senders = [("a", unix("a")), ("b", unix("b"))];
    let mut running = start(&["-v", "--fork", "-w", "20s", &door, "exec:cat"]);
    running.after("listening on ");
    suspend(running.pid());
    for number in 0..3 {
        for (name, socket) in &senders {
            socket.send_to(format!("{name}{number}").as_bytes(), scratch.path("door")).unwrap();
        }
    }
    kill_process(running.pid(), Signal::CONT).unwrap();
    for (name, socket) in &senders {
        echoed(name, 3, |room| socket.recv(room).unwrap());
    }
    // Who has no name is heard.
    let nameless = UnixDatagram::unbound().unwrap();
    let kept = heard(&["connect", "-v", "-k", "-w", "100ms", &format!("{door}2")], |at| {
        for number in 0..3 {
            let path = at.strip_prefix("unix-dgram:").unwrap();
            nameless.send_to(format!("x{number}.").as_bytes(), path).unwrap();
            senders[0].1.send_to(format!("a{number}.").as_bytes(), path).unwrap();
        }
    });
    assert_eq!(kept, "x0.x1.x2.a0.a1.a2.");
}
