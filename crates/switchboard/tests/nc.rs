//! Called as `nc`: the flags that scripts use, and no success with bytes missing. Rows S5, S16, S22.

mod harness;

use harness::{PATIENCE, program, run_to_end, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::thread;

/// Runs `nc`; killed when it hangs.
fn nc(arguments: &[&str], input: &[u8]) -> Output {
    run_to_end(program().arg("nc").args(arguments), Some(input), PATIENCE)
}

#[test]
fn it_talks_and_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        }
        // One who stays silent: -w ends it, and nothing is missing.
        let (stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        (&stream).read_to_end(&mut all).unwrap();
        (stream, all)
    });
    let output = nc(&["-n", "127.0.0.1", &port], b"hello\n");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "hello\n".into()));
    let output = nc(&["-4", "-N", "-C", "-w", "5", "localhost", &port], b"a\n");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "a\r\n".into()));
    let output = nc(&["-w", "1", "127.0.0.1", &port], b"all of it");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (_stream, all) = server.join().unwrap();
    assert_eq!(all, b"all of it");
}

#[test]
fn a_reset_is_no_success() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        switchboard_net::sys::socket::reset_on_close(&stream);
    });
    assert_eq!(nc(&["-d", "127.0.0.1", &port], b"").status.code(), Some(1));
    server.join().unwrap();
}

#[test]
fn it_listens() {
    let mut child = program()
        .args(["nc", "-l", "-v", "-n", "127.0.0.1", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("Listening on 127.0.0.1 ")).unwrap();
    let mut client =
        TcpStream::connect(line.strip_prefix("Listening on ").unwrap().replace(' ', ":")).unwrap();
    let own = client.local_addr().unwrap();
    assert_eq!(lines.next(), Some(format!("Connection received on 127.0.0.1 {}", own.port())));
    client.write_all(b"in").unwrap();
    drop(client);
    let mut came = String::new();
    child.stdout.take().unwrap().read_to_string(&mut came).unwrap();
    assert_eq!(came, "in");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_scans_and_refuses() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open.local_addr().unwrap().port().to_string();
    let output = nc(&["-zv", "127.0.0.1", &port], b"");
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("Connection to 127.0.0.1 {port} port [tcp/*] succeeded!")), "{said}");
    let output = nc(&["-4", "-zv", "localhost", "1", &port], b"");
    assert_eq!(output.status.code(), Some(0), "one of several is enough");
    let said = text(&output.stderr);
    assert!(
        said.contains("nc: connect to localhost (127.0.0.1) port 1 (tcp) failed: Connection refused"),
        "{said}"
    );
    assert!(
        said.contains(&format!("Connection to localhost (127.0.0.1) {port} port [tcp/*] succeeded!")),
        "{said}"
    );
    let said = text(&nc(&["-v", "-n", "-d", "127.0.0.1", "1"], b"").stderr);
    assert_eq!(said, "nc: connect to 127.0.0.1 port 1 (tcp) failed: Connection refused\n");
    let taken = open.try_clone().unwrap();
    // The scan and the talk; each ends when its connection does.
    thread::spawn(move || taken.incoming().for_each(drop));
    let said = text(&nc(&["-v", "-n", "-d", "127.0.0.1", &port], b"").stderr);
    assert!(said.starts_with(&format!("Connection to 127.0.0.1 {port} port [tcp/*] succeeded!\n")), "{said}");
    assert_eq!(nc(&["-z", "127.0.0.1", "1"], b"").status.code(), Some(1));
    for (arguments, part) in [
        (&["-X", "5", "127.0.0.1", "7"][..], "name it with -x"),
        (&["-n", "localhost", "7"], "-n forbids"),
        (&["127.0.0.1"], "missing port number"),
        (&["-l"], "missing port number"),
        (&[], "usage: nc"),
        (&["-w", "soon", "127.0.0.1", "7"], "timeout invalid: soon"),
        (&["-p", "99999", "127.0.0.1", "7"], "port number invalid: 99999"),
        (&["-k", "127.0.0.1", "7"], "must use -l with -k"),
        (&["-y"], "invalid option"),
    ] {
        let output = nc(arguments, b"");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(nc(&["-h"], b"").status.code(), Some(0));
}

#[test]
fn it_answers_telnet_commands() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"\xff\xfd\x18\xff\xfb\x01login: ").unwrap();
        let mut all = vec![0; 6];
        stream.read_exact(&mut all).unwrap();
        all
    });
    let output = nc(&["-t", "-d", "127.0.0.1", &port], b"");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "login: ".into()));
    let mut all: Vec<[u8; 3]> = server.join().unwrap().chunks(3).map(|one| one.try_into().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, [*b"\xff\xfc\x18", *b"\xff\xfe\x01"]);
}

#[test]
fn it_passes_the_socket_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port().to_string();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = program();
    command
        .args(["nc", "-F", "127.0.0.1", &port])
        .stdin(Stdio::null())
        .stdout(std::os::fd::OwnedFd::from(theirs));
    let mut child = command.spawn().unwrap();
    drop(command);
    // The client may be gone before anybody has accepted.
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let parcel = switchboard_net::sys::parcel::receive(&ours).unwrap().unwrap();
    let mut passed = TcpStream::from(parcel.descriptors.into_iter().next().unwrap());
    assert_eq!(passed.peer_addr().unwrap(), address);
    let (mut server, _) = listener.accept().unwrap();
    passed.set_nonblocking(false).unwrap();
    passed.write_all(b"hello").unwrap();
    drop(passed);
    let mut all = Vec::new();
    server.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");

    let output = nc(&["-F", "127.0.0.1", &port], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Unix socket"), "{}", text(&output.stderr));
}

#[test]
fn socket_flags_are_set_or_refused_aloud() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || listener.incoming().take(1).for_each(drop));
    let output = nc(&["-b", "-T", "af11", "-m", "1", "-M", "9", "-w", "5", "127.0.0.1", &port], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    server.join().unwrap();
    for (flags, said) in [
        (&["-S"][..], "MD5"),
        (&["-V", "1"], "routing table"),
        (&["-Z"], "DCCP"),
        (&["-T", "fast"], "illegal tos value fast"),
    ] {
        let output = nc(&[flags, &["127.0.0.1", "1"]].concat(), b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

/// A link of that name is enough, as /usr/bin/nc is one.
#[test]
fn a_link_named_nc_is_nc() {
    let folder = std::env::temp_dir().join(format!("switchboard-nc-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let link = folder.join("nc");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_switchboard"), &link).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let mut command = std::process::Command::new(&link);
    let output = run_to_end(command.args(["-N", "127.0.0.1", &port]), Some(b"by name"), PATIENCE);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "by name".into()));
    server.join().unwrap();
    // What goes wrong is said under that name.
    let output = run_to_end(std::process::Command::new(&link).arg("-V").arg("1"), None, PATIENCE);
    assert!(text(&output.stderr).starts_with("nc: "), "{}", text(&output.stderr));
    std::fs::remove_dir_all(&folder).unwrap();
}
