//! `switchboard connect` against small servers: the program itself, real sockets, every byte compared: the two directions
//! are independent, outputs that fail, time limits, many connections. Rows S5, S7.

mod client;

use client::{
    HUNG, Held, Input, MB, client, data, finish, hold, quick, read_all, reset, run, same, server, watchdog,
};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_stopped_output_does_not_stop_the_input() {
    let input = data(3 * MB);
    let output = data(5 * MB);
    let (received, seen) = mpsc::channel();
    let to_send = output.clone();
    let (address, server) = server(move |mut stream| {
        let mut sending = stream.try_clone().unwrap();
        let sender = thread::spawn(move || sending.write_all(&to_send).unwrap());
        received.send(read_all(&mut stream)).unwrap();
        sender.join().unwrap();
    });
    let mut client = hold(&[&address.to_string()], None);
    client.input.take().unwrap().write_all(&input).unwrap();
    // Nobody has read the output yet, which is more than its pipe and both sockets' buffers can hold at first.
    same("input", &seen.recv_timeout(HUNG).unwrap(), &input);
    let ran = client.finish().ended(0);
    same("output", &ran.stdout, &output);
    server.join().unwrap();
}

#[test]
fn a_server_that_ends_first_and_reads_late_gets_everything() {
    let input = data(20 * MB);
    let (address, server) = server(|mut stream| {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Longer than input may pause: it does not pause, there is no room for it.
        thread::sleep(Duration::from_secs(3));
        read_all(&mut stream)
    });
    run(&[&address.to_string(), "--after-eof", "2s"], Input::Pipe(input.clone())).ended(0);
    same("input", &server.join().unwrap(), &input);
}

#[test]
fn shared_descriptors_stay_blocking() {
    use rustix::fs::{OFlags, fcntl_getfl};
    let (address, server) = server(|mut stream| drop(read_all(&mut stream)));
    let (input, mut feed) = std::io::pipe().unwrap();
    let (_drain, output) = std::io::pipe().unwrap();
    let mut command = client(&[&address.to_string()], None);
    command.stdin(input.try_clone().unwrap()).stdout(output.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    feed.write_all(b"hello").unwrap();
    drop(feed);
    assert!(child.wait().unwrap().success());
    server.join().unwrap();
    for fd in [OwnedFd::from(input), OwnedFd::from(output)] {
        assert!(!fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
    }
}

#[test]
fn output_closed_early() {
    let (address, server) = server(|mut stream| {
        // Until the client has gone; it takes no more than a few buffers.
        let piece = data(64 * 1024);
        while stream.write_all(&piece).is_ok() {}
    });
    let mut client = hold(&[&address.to_string()], None);
    client.output.read_exact(&mut [0; 10]).unwrap();
    let Held { mut child, output, done, input, started } = client;
    drop(output);
    let (nothing, closed) = std::io::pipe().unwrap();
    drop((nothing, closed));
    child.stdout = None;
    // The exit code says it; a reader who has seen enough wants no complaint.
    let ran = finish(child, done, started).ended(10);
    assert_eq!(ran.stderr, "");
    drop(input);
    server.join().unwrap();
}

#[test]
fn output_full_device() {
    let (address, server) = server(|mut stream| drop(stream.write_all(b"lost")));
    let mut command = client(&[&address.to_string()], None);
    command.stdin(Stdio::null()).stdout(File::options().write(true).open("/dev/full").unwrap());
    let child = command.spawn().unwrap();
    let done = watchdog(&child);
    finish(child, done, Instant::now()).ended(10).said("No space left");
    server.join().unwrap();
}

#[test]
fn time_limits() {
    let (address, server_thread) = server(|mut stream| drop(read_all(&mut stream)));
    run(&[&address.to_string(), "-w", "200ms"], Input::OpenPipe(b"x".to_vec()))
        .ended(6)
        .said("nothing moved");
    server_thread.join().unwrap();

    // A stream that never pauses has a total limit all the same, and what came is written.
    let is_written = |limit: &str| {
        let (address, server_thread) = server(|mut stream| while stream.write_all(&[b'x'; 8192]).is_ok() {});
        let ran = run(&[&address.to_string(), "-W", limit], Input::OpenPipe(Vec::new())).ended(6);
        server_thread.join().unwrap();
        !ran.said("not done").stdout.is_empty()
    };
    // On a busy machine nothing may come in a short time.
    assert!(["300ms", "2s", "10s"].into_iter().any(is_written));

    // The wait for the server's end can be limited; that is not an error.
    let (address, server_thread) = server(|mut stream| {
        assert_eq!(read_all(&mut stream), b"x");
        let _ = stream.read(&mut [0]);
        // Until the client has gone.
        while stream.write_all(b"y").is_ok() {}
    });
    run(&[&address.to_string(), "-q", "300ms"], Input::Pipe(b"x".to_vec())).ended(0);
    server_thread.join().unwrap();

    // Input that goes on after the server's end can be cut at once.
    quick(Duration::from_millis(900), || {
        let (address, server_thread) = server(drop);
        let ran = run(&[&address.to_string(), "--after-eof", "now"], Input::OpenPipe(Vec::new())).ended(0);
        server_thread.join().unwrap();
        ran
    });
}

#[test]
fn without_half_close_the_server_ends_first() {
    let (address, server) = server(|mut stream| {
        let mut question = [0; 8];
        stream.read_exact(&mut question).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // No end of input comes.
        assert!(stream.read(&mut [0]).is_err());
        stream.write_all(&question).unwrap();
    });
    let input = Input::Pipe(b"question".to_vec());
    let ran = run(&[&address.to_string(), "--no-half-close"], input).ended(0);
    same("answer", &ran.stdout, b"question");
    server.join().unwrap();
}

// ── Many connections ──

#[test]
fn fifty_connections_end_together() {
    const COUNT: usize = 50;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (all_here, here) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut streams: Vec<TcpStream> = (0..COUNT).map(|_| listener.accept().unwrap().0).collect();
        for stream in &mut streams {
            stream.write_all(b"welcome").unwrap();
        }
        let mut first = [0; 5];
        streams[0].read_exact(&mut first).unwrap();
        for stream in &streams {
            // All are open, and nothing came on the others.
            stream.set_nonblocking(true).unwrap();
            let mut stream = stream;
            let answer = stream.read(&mut [0]);
            assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            stream.set_nonblocking(false).unwrap();
        }
        all_here.send(()).unwrap();
        for stream in &mut streams {
            assert_eq!(read_all(stream), b"");
            stream.write_all(b"!").unwrap();
        }
        first
    });
    let mut client = hold(&[&address.to_string(), "--connections", "50", "-v"], None);
    client.input.as_mut().unwrap().write_all(b"hello").unwrap();
    here.recv_timeout(HUNG).unwrap();
    let ran = client.finish().ended(0).said("50 connections are open");
    same("answer", &ran.stdout, b"welcome!");
    ran.said(&format!("49 other connections received {} bytes, 0 were reset", 49 * 8));
    assert_eq!(&server.join().unwrap(), b"hello");
}

#[test]
fn a_companion_that_is_reset_is_not_overlooked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let (second, _) = listener.accept().unwrap();
        // The conversation starts when all connections are made.
        let mut question = [0; 5];
        first.read_exact(&mut question).unwrap();
        reset(second);
        assert_eq!(read_all(&mut first), b"");
        first.write_all(&question).unwrap();
    });
    let arguments = [&*address.to_string(), "--connections", "2"];
    let ran = run(&arguments, Input::Pipe(b"hello".to_vec())).ended(7).said("the peer reset 1");
    same("answer", &ran.stdout, b"hello");
    server.join().unwrap();
}
