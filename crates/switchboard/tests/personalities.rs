//! The program under the names of those that it replaces: their command lines, their way into the background, their
//! exit codes, and scripts of the shape of their own test suites. Row S14.

mod harness;

use harness::{PATIENCE, Scratch, free_port, program, skip, text};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a client hears who says `input` and no more.
fn converse(port: u16, input: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(input.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Tries until it is so.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A daemon that went into the background by itself; killed when dropped, if it still runs.
struct Daemon {
    pid: i32,
}

impl Daemon {
    /// Runs a command that goes into the background, and reads the file with its number, which must be there already.
    fn start(command: &mut Command, pid_file: &Path) -> Daemon {
        let output = finished(command);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let pid = fs::read_to_string(pid_file).expect("the process number is written before the parent ends");
        let pid = pid.trim().parse().expect("a number");
        assert_ne!(pid, i32::try_from(std::process::id()).expect("a number"));
        Daemon { pid }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid).expect("a process");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    fn is_gone(&self) -> bool {
        // A zombie that nobody collects has ended as well.
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        status.is_empty() || status.contains(") Z ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.is_gone() {
            let pid = rustix::process::Pid::from_raw(self.pid).expect("a process");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Runs a command to its end; killed if that takes too long. Files for what it says: the daemon it leaves keeps pipes.
fn finished(command: &mut Command) -> Output {
    let scratch = Scratch::new();
    let (out, err) = (scratch.0.join("out"), scratch.0.join("err"));
    command.stdin(Stdio::null());
    command.stdout(fs::File::create(&out).expect("a file")).stderr(fs::File::create(&err).expect("a file"));
    let mut child = command.spawn().expect("the program runs");
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let read = |path| fs::read(path).expect("a file");
    Output { status, stdout: read(out), stderr: read(err) }
}

/// A link to the program under another name.
fn called(name: &str, scratch: &Scratch) -> Command {
    let link = scratch.0.join(name);
    let _ = symlink(env!("CARGO_BIN_EXE_switchboard"), &link);
    let mut command = Command::new(link);
    command.current_dir(&scratch.0).env("TZ", "UTC").env_remove("SWITCHBOARD_FAULT");
    command
}

#[test]
fn inetd_goes_into_the_background_when_it_serves_and_reloads() {
    let scratch = Scratch::new();
    let (first, second) = (free_port(), free_port());
    let config = scratch.0.join("inetd.conf");
    let line = |port: u16, name: &str| format!("{port} stream tcp4 nowait root /bin/cat {name}\n");
    fs::write(&config, line(first, "cat")).expect("a scratch file");
    let pid_file = scratch.0.join("inetd.pid");
    let mut command = called("inetd", &scratch);
    command.arg(format!("-p{}", pid_file.display())).arg("inetd.conf");
    let daemon = Daemon::start(&mut command, &pid_file);
    // No race: whoever started it may connect at once.
    assert_eq!(converse(first, "hello\n").expect("it listens already"), "hello\n");
    fs::write(&config, line(first, "cat") + &line(second, "cat")).expect("a scratch file");
    daemon.signal(rustix::process::Signal::HUP);
    until("the reload", || converse(second, "new\n").ok().filter(|answer| answer == "new\n"));
    // A broken entry is left out, as the old one did; the others stay.
    fs::write(&config, line(first, "cat") + "broken\n").expect("a scratch file");
    daemon.signal(rustix::process::Signal::HUP);
    until("the second reload", || TcpStream::connect(("127.0.0.1", second)).is_err().then_some(()));
    assert_eq!(converse(first, "still\n").expect("it listens"), "still\n");
    daemon.signal(rustix::process::Signal::TERM);
    until("the end", || daemon.is_gone().then_some(()));
    assert!(!pid_file.exists(), "the file with the process number is left");
}

/// As GNU inetutils' `tests/inetd.sh` does it: a configuration, `inetd -pPIDFILE CONF`, a client, kill.
#[test]
fn a_script_of_the_gnu_suite_s_shape_runs() {
    let scratch = Scratch::new();
    let port = free_port();
    let script = format!(
        r#"set -e
        IN_INETD='{program} inetutils-inetd'
        echo '127.0.0.1:{port} stream tcp nowait root /bin/cat cat' > inetd.conf
        $IN_INETD -p"$PWD/pid" inetd.conf
        test -r pid
        echo hello | '{program}' connect 127.0.0.1 {port}
        kill "$(cat pid)"
        $IN_INETD --version | head -n1
        "#,
        program = env!("CARGO_BIN_EXE_switchboard"),
    );
    let output = finished(Command::new("sh").arg("-c").arg(script).current_dir(&scratch.0));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.starts_with("hello\ninetd (switchboard) "), "{said}");
}

/// As NetBSD's `t_accept_max.sh` does it: `inetd -d -f ./inetd.conf`, both forms, and at most so many at once.
#[test]
fn a_script_of_the_netbsd_suite_s_shape_runs() {
    let scratch = Scratch::new();
    let (lines, keys) = (free_port(), free_port());
    fs::write(
        scratch.0.join("inetd.conf"),
        format!(
            "127.0.0.1:{lines} stream,2 tcp nowait root /bin/cat cat\n127.0.0.1:{keys} on socktype = stream, \
             accept_max = 2, user = root,\n exec = /bin/cat, args = cat;\n"
        ),
    )
    .expect("a scratch file");
    let mut command = called("inetd", &scratch);
    let mut child = command
        .args(["-d", "-f", "./inetd.conf"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    for port in [lines, keys] {
        let first = until("the listener", || TcpStream::connect(("127.0.0.1", port)).ok());
        let mut held: Vec<TcpStream> = vec![first];
        held.push(TcpStream::connect(("127.0.0.1", port)).expect("the second"));
        for stream in &mut held {
            stream.write_all(b"x").expect("it is written");
            stream.set_read_timeout(Some(PATIENCE)).expect("an option");
            stream.read_exact(&mut [0]).expect("each of two is served");
        }
        let mut third = TcpStream::connect(("127.0.0.1", port)).expect("the third waits in the queue");
        third.write_all(b"y").expect("it is written");
        third.set_read_timeout(Some(Duration::from_millis(100))).expect("an option");
        assert!(third.read_exact(&mut [0]).is_err(), "the third is served beyond accept_max");
        drop(held);
        third.set_read_timeout(Some(PATIENCE)).expect("an option");
        third.read_exact(&mut [0]).expect("it is served when others have left");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    until("the end", || child.try_wait().expect("our child"));
}

#[test]
fn xinetd_serves_in_the_background_and_logs_where_it_is_told() {
    let scratch = Scratch::new();
    let port = free_port();
    fs::write(
        scratch.0.join("xinetd.conf"),
        format!(
            "defaults\n{{\n}}\nservice cat\n{{\n type = UNLISTED\n port = {port}\n protocol = tcp\n socket_type = \
             stream\n wait = no\n user = root\n bind = 127.0.0.1\n server = /bin/cat\n}}\n"
        ),
    )
    .expect("a scratch file");
    let (pid_file, log) = (scratch.0.join("pid"), scratch.0.join("log"));
    let mut command = called("xinetd", &scratch);
    command.args([
        "-f",
        "xinetd.conf",
        "-stayalive",
        "-reuse",
        "-limit",
        "50",
        "-cc",
        "60",
        "-logprocs",
        "5",
    ]);
    command.arg("-pidfile").arg(&pid_file).arg("-filelog").arg(&log);
    let daemon = Daemon::start(&mut command, &pid_file);
    assert_eq!(converse(port, "hello\n").expect("it listens already"), "hello\n");
    daemon.signal(rustix::process::Signal::TERM);
    until("the end", || daemon.is_gone().then_some(()));
    assert!(log.exists(), "there is no log");
}

#[test]
fn tcpserver_prints_its_port_and_sets_its_environment() {
    let mut command = program();
    command.args([
        "tcpserver",
        "-1",
        "-q",
        "-H",
        "-R",
        "-l0",
        "-c5",
        "-B",
        "220 hi\n",
        "127.0.0.1",
        "0",
        "env",
    ]);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the program runs");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut digits = Vec::new();
    let mut byte = [0];
    while stdout.read(&mut byte).expect("a port") == 1 && byte[0] != b'\n' {
        digits.push(byte[0]);
    }
    let port: u16 = text(&digits).parse().expect("a port");
    let answer = converse(port, "").expect("it listens");
    assert!(answer.starts_with("220 hi\n"), "{answer}");
    for line in ["PROTO=TCP", "TCPREMOTEIP=127.0.0.1", "TCPLOCALHOST=0", &format!("TCPLOCALPORT={port}")] {
        assert!(answer.lines().any(|one| one == line), "{line} is missing: {answer}");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let status = until("the end", || child.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_port_that_is_taken_costs_only_its_service_and_no_service_is_no_end() {
    let scratch = Scratch::new();
    let (conf, pid_file) = (scratch.path("inetd.conf"), scratch.0.join("pid"));
    // Held by whoever the last one has left behind, as in.tftpd.
    let held = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let (taken, port) = (held.local_addr().expect("bound").port(), free_port());
    let line = |port, kind: &str| format!("127.0.0.1:{port} {kind} root /bin/cat cat\n");
    fs::write(&conf, line(taken, "dgram udp wait") + &line(port, "stream tcp nowait")).expect("a file");
    let daemon =
        Daemon::start(called("inetd", &scratch).arg("-p").arg(&pid_file).arg("-f").arg(&conf), &pid_file);
    assert_eq!(converse(port, "served").expect("an answer"), "served");
    fs::write(&conf, "# nothing\n").expect("a file");
    daemon.signal(rustix::process::Signal::HUP);
    until("the listener to be closed", || converse(port, "").is_err().then_some(()));
    drop(daemon);
    fs::remove_file(&pid_file).expect("it was killed");
    // From the beginning, too, it waits for a reload.
    let daemon = Daemon::start(called("inetd", &scratch).arg("-p").arg(&pid_file).arg(&conf), &pid_file);
    fs::write(&conf, line(port, "stream tcp nowait")).expect("a file");
    daemon.signal(rustix::process::Signal::HUP);
    until("the listener to be there", || {
        converse(port, "again").is_ok_and(|heard| heard == "again").then_some(())
    });
}

#[test]
fn what_is_not_known_ends_as_it_did() {
    let cases: [(&[&str], i32, &str); 12] = [
        (&["inetd", "-Z"], 1, "usage: inetd "),
        (&["inetd", "-R", "many"], 1, "expected a number"),
        (&["inetd", "/nonexistent/inetd.conf"], 1, "cannot read"),
        (&["inetd", "-d", "a", "b"], 1, "one configuration file"),
        (&["inetutils-inetd", "--bogus"], 64, "unrecognized option '--bogus'"),
        (&["xinetd", "-bogus"], 1, "Usage: xinetd "),
        (&["xinetd", "-syslog", "nowhere"], 1, "no such facility"),
        (&["xinetd", "-filelog", "/x", "-syslog", "daemon"], 1, "exclude each other"),
        (&["xinetd", "-dontfork", "-f", "/nonexistent/xinetd.conf"], 1, "cannot read"),
        (&["tcpserver"], 100, "tcpserver: usage: "),
        (&["tcpserver", "-Z", "0", "0", "cat"], 100, "illegal option -- Z"),
        (&["tcpserver", "127.0.0.1", "0", "/nonexistent/program"], 111, "tcpserver: fatal: cannot use"),
    ];
    for (arguments, code, part) in cases {
        let output = finished(program().args(arguments));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    for arguments in [["inetd", "--help"], ["inetutils-inetd", "--version"], ["xinetd", "-version"]] {
        let output = finished(program().args(arguments));
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(0), false), "{arguments:?}");
    }
}

/// One file, read by xinetd itself and by us: what clients can see is the same.
#[test]
fn clients_of_xinetd_see_no_difference() {
    let found =
        ["/usr/sbin/xinetd", "/usr/local/sbin/xinetd"].into_iter().find(|path| Path::new(path).exists());
    let Some(xinetd) = found else { return skip("a comparison with xinetd", "it is not installed") };
    if !rustix::process::geteuid().is_root() {
        return skip("a comparison with xinetd", "it takes root to start programs of other users");
    }
    let mut answers: Vec<Vec<String>> = Vec::new();
    for command in [vec![xinetd], vec![env!("CARGO_BIN_EXE_switchboard"), "xinetd"]] {
        let scratch = Scratch::new();
        let ports: Vec<u16> = (0..7).map(|_| free_port()).collect();
        let service = |port: u16, lines: &str| {
            format!(
                "service s{port}\n{{\n type = UNLISTED\n port = {port}\n protocol = tcp\n socket_type = stream\n wait = \
                 no\n user = nobody\n bind = 127.0.0.1\n{lines} server = /bin/cat\n}}\n"
            )
        };
        let print = |what: &str| format!(" server_args = {what}\n");
        let config = [
            // The name, and the arguments, as the program sees them.
            service(ports[0], &print("/proc/self/cmdline")),
            service(ports[1], &format!(" flags = NAMEINARGS\n{}", print("other /proc/self/cmdline"))),
            // Somebody who is not let in, and nobody.
            service(ports[2], &format!(" only_from = 10.0.0.0\n{}", print("/proc/self/cmdline"))),
            service(ports[3], &format!(" only_from =\n{}", print("/proc/self/cmdline"))).replacen(
                " server = /bin/sh\n",
                "",
                1,
            ),
            service(ports[4], &format!(" only_from = 127.0.0.0\n{}", print("/proc/self/cmdline"))),
            service(ports[5], &format!(" instances = 0\n{}", print("/proc/self/cmdline"))).replacen(
                " server = /bin/sh\n",
                "",
                1,
            ),
            // A value that is wrong disables its service.
            service(ports[6], &format!(" umask = 9\n{}", print("/proc/self/cmdline"))).replacen(
                " server = /bin/sh\n",
                "",
                1,
            ),
        ];
        fs::write(scratch.0.join("conf"), config.concat()).expect("a scratch file");
        let mut run = Command::new(command[0]);
        run.args(&command[1..]).args(["-dontfork", "-f"]).arg(scratch.0.join("conf"));
        run.arg("-filelog").arg(scratch.0.join("log"));
        // It closes every descriptor that it might have, one by one.
        let mut child = run
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("xinetd runs");
        until("the listener", || TcpStream::connect(("127.0.0.1", ports[4])).ok());
        let seen = ports.iter().map(|port| match converse(*port, "") {
            Ok(answer) => answer,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => "refused".into(),
            // Closed or reset: the client is not let in.
            Err(_) => String::new(),
        });
        answers.push(seen.collect());
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        until("the end", || child.try_wait().expect("our child"));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][1], "other\0/proc/self/cmdline\0", "{answers:?}");
}
