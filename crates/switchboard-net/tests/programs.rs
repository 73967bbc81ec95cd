//! Programs as services, at the level of the library: every worker here is a process of its own, as in the program,
//! started from this very file with its listener, register and control socket sent to it.

#[path = "programs/bench.rs"]
mod bench;

use bench::{Server, Spec, root, skipped, until};
use std::io::{Read, Write};
use std::net::Shutdown;
use switchboard_net::confine::{Confinement, Identity, Landlock};
use switchboard_net::program::Register;
use switchboard_net::tcpmux::{self, MuxSite, Offer};
use switchboard_net::{Counters, Endpoint, Journal, Listener, SocketOptions, Stop};

/// Not a test: what a worker process runs.
#[test]
fn worker() {
    bench::worker();
}

fn shell(script: &str) -> Spec {
    Spec::new(&["/bin/sh", "-c", script])
}

/// Closes with a reset.
fn reset(stream: std::net::TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
}

fn exchange(server: &Server, input: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(input).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_program_has_the_connection_on_0_and_1() {
    let server = Server::start(&Spec::new(&["/bin/cat"]));
    for n in 0..10 {
        assert_eq!(exchange(&server, format!("hello {n}").as_bytes()), format!("hello {n}"));
    }
    let log = server.stop();
    assert_eq!(
        log.lines().filter(|line| line.contains("status=0") && line.contains("end=program")).count(),
        10,
        "{log}"
    );
}

#[test]
fn its_descriptors_are_0_1_2_and_its_signals_are_fresh() {
    let server = Server::start(&shell(
        "ls /proc/$$/fd; grep -E '^Sig(Blk|Ign)' /proc/$$/status | tr '\\n\\t' '  '; ulimit -Sn",
    ));
    let answer = exchange(&server, b"");
    let limit = std::process::Command::new("sh").args(["-c", "ulimit -Sn"]).output().unwrap().stdout;
    let limit = String::from_utf8(limit).unwrap();
    assert_eq!(answer, format!("0\n1\n2\nSigBlk: 0000000000000000 SigIgn: 0000000000000000 {limit}"));
    server.stop();
}

#[test]
fn standard_error_goes_to_the_log_and_not_to_the_client() {
    let server = Server::start(&shell("echo out; echo 'err\"or' >&2; printf 'no end' >&2"));
    assert_eq!(exchange(&server, b""), "out\n");
    server.logged("#1 stderr: err\\\"or");
    server.logged("#1 stderr: no end");
    server.stop();
}

#[test]
fn standard_error_goes_to_the_client_if_asked() {
    let server = Server::start(&shell("echo out; echo error >&2").option("stderr=client"));
    assert_eq!(exchange(&server, b""), "out\nerror\n");
    server.stop();
}

#[test]
fn the_environment_is_exact() {
    let server =
        Server::start(&Spec::new(&["/usr/bin/env"]).option("set=GIVEN=yes").option("set=REMOTE_HOST=mine"));
    let stream = server.connect();
    let (local, remote) = (stream.peer_addr().unwrap().port(), stream.local_addr().unwrap().port());
    let mut answer = String::new();
    (&stream).read_to_string(&mut answer).unwrap();
    let mut lines: Vec<&str> = answer.lines().collect();
    lines.sort_unstable();
    let expected = format!(
        "GIVEN=yes NCAT_LOCAL_ADDR=127.0.0.1 NCAT_LOCAL_PORT={local} NCAT_PROTO=TCP NCAT_REMOTE_ADDR=127.0.0.1 \
         NCAT_REMOTE_PORT={remote} PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PROTO=TCP \
         REMOTE_ADDR=127.0.0.1 REMOTE_HOST=mine REMOTE_PORT={remote} SOCAT_PEERADDR=127.0.0.1 \
         SOCAT_PEERPORT={remote} SOCAT_SOCKADDR=127.0.0.1 SOCAT_SOCKPORT={local} SWITCHBOARD_CONNECTION=1 \
         SWITCHBOARD_SERVICE=test TCPLOCALIP=127.0.0.1 TCPLOCALPORT={local} TCPREMOTEIP=127.0.0.1 \
         TCPREMOTEPORT={remote}"
    );
    assert_eq!(lines.join(" "), expected);
    server.stop();
}

#[test]
fn a_program_that_cannot_be_started_is_said_with_the_reason() {
    for (spec, reason) in [
        (Spec::new(&["/no/such/program"]), "cannot execute /no/such/program: No such file"),
        (Spec::new(&["/etc/passwd"]), "cannot execute /etc/passwd: Permission denied"),
        (Spec::new(&["/bin/cat"]).option("directory=/no/such"), "cannot chdir /no/such: No such file"),
    ] {
        let server = Server::start(&spec);
        assert_eq!(exchange(&server, b""), "");
        server.logged(reason);
        server.logged("end=not-started");
        server.stop();
    }
}

#[test]
fn a_file_that_is_no_program_is_said() {
    let path = std::env::temp_dir().join(format!("switchboard-program-{}", std::process::id()));
    // Written by another process: a child of another test may have our open file, too, and then it is busy (ETXTBSY).
    let script = "echo neither this nor that >\"$0\" && chmod 755 \"$0\"";
    assert!(std::process::Command::new("sh").args(["-c", script]).arg(&path).status().unwrap().success());
    let server = Server::start(&Spec::new(&[path.to_str().unwrap()]));
    assert_eq!(exchange(&server, b""), "");
    server.logged("Exec format error");
    server.stop();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn nobody_is_left_after_a_thousand() {
    let server = Server::start(&Spec::new(&["/bin/true"]));
    for _ in 0..1_000 {
        assert_eq!(exchange(&server, b""), "");
    }
    until("all are reaped and forgotten", || {
        server.children().is_empty() && server.register.entries().count() == 0
    });
    assert!(server.descriptors() < 20, "{}", server.descriptors());
    server.stop();
}

#[test]
fn a_daemon_that_leaves_by_two_forks_is_not_left_behind() {
    let server = Server::start(&shell("(setsid sleep 1000 & ) ; echo gone"));
    // The daemon has the client's socket too: only the line is awaited, not the end.
    let mut stream = server.connect();
    let mut line = [0; 5];
    stream.read_exact(&mut line).unwrap();
    server.logged("end=program");
    until("the orphan is ours", || server.children().len() == 1);
    let orphan = server.children()[0];
    server.stop();
    until("the orphan has ended", || !bench::is_alive(orphan));
}

#[test]
fn the_client_gone_ends_the_program_if_asked() {
    let server = Server::start(
        &shell("trap '' TERM; echo up; sleep 1000").option("when_gone=terminate").option("grace=100"),
    );
    let mut stream = server.connect();
    let mut line = [0; 3];
    stream.read_exact(&mut line).unwrap();
    // A client who has only finished sending is not gone.
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.children().len(), 1);
    reset(stream);
    // It ignores SIGTERM, also for the sleep below it.
    server.logged("signal=9");
    until("all are reaped", || server.children().is_empty());
    server.stop();
}

#[test]
fn a_full_house_makes_clients_wait() {
    let server = Server::start(&Spec::new(&["/bin/cat"]).option("most=1"));
    let mut first = server.connect();
    first.write_all(b"1").unwrap();
    first.read_exact(&mut [0]).unwrap();
    let mut second = server.connect();
    second.write_all(b"2").unwrap();
    second.shutdown(Shutdown::Write).unwrap();
    drop(first);
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "2");
    server.stop();
}

#[test]
fn stopping_drains_then_ends_what_is_left() {
    let server = Server::start(
        &shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done").option("drain=50"),
    );
    let mut stream = server.connect();
    let mut answer = String::new();
    let mut line = [0; 3];
    stream.read_exact(&mut line).unwrap();
    let log = server.stop();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "bye\n");
    assert!(log.contains("status=3") && log.contains("end=stopped"), "{log}");
}

#[test]
fn a_killed_workers_programs_are_adopted() {
    let spec = Spec::new(&["/bin/cat"]).option("most=1");
    let server = Server::start(&spec);
    let mut stream = server.connect();
    stream.write_all(b"a").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(server.register.entries().count(), 1);
    let server = server.kill_and_start_again(&spec);
    until("it is adopted", || server.register.entries().all(|entry| entry.worker() == server.id()));
    // The program goes on, and counts: a second client waits.
    stream.write_all(b"b").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let mut second = server.connect();
    second.write_all(b"c").unwrap();
    assert_eq!(server.register.entries().count(), 1);
    drop(stream);
    second.read_exact(&mut [0]).unwrap();
    server.logged("status=unknown");
    drop(second);
    server.stop();
}

#[test]
fn a_flood_of_standard_error_is_read_and_not_logged() {
    let server = Server::start(&shell("head -c 10000000 /dev/zero | tr '\\0' '\\n' >&2; echo done"));
    assert_eq!(exchange(&server, b""), "done\n");
    server.logged("lines of standard error were not logged");
    let log = server.stop();
    assert!(log.len() < 100_000, "{}", log.len());
}

#[test]
fn few_descriptors_are_enough() {
    let server = Server::start(&Spec::new(&["/bin/cat"]).option("nofile=64"));
    let streams: Vec<_> = (0..80).map(|_| server.connect()).collect();
    for mut stream in streams {
        stream.write_all(b"x").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "x");
    }
    server.stop();
}

#[test]
fn privileges_are_dropped_in_order_and_seen_to_be() {
    if !root() {
        return skipped("needs root");
    }
    let server = Server::start(
        &shell("id -u; id -g; id -G; grep -E '^(Cap(Prm|Eff|Bnd|Amb|Inh)|NoNewPrivs|Uid)' /proc/self/status | tr '\\n\\t' '  '")
            .option("uid=65534").option("gid=65533").option("groups=65531,65532"),
    );
    let answer = exchange(&server, b"");
    assert!(answer.starts_with("65534\n65533\n65533 65531 65532\n"), "{answer}");
    for line in ["Uid: 65534 65534 65534 65534", "NoNewPrivs: 1"] {
        assert!(answer.contains(line), "{answer}");
    }
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        assert!(answer.contains(&format!("Cap{set}: 0000000000000000")), "{answer}");
    }
    server.stop();
}

#[test]
fn capabilities_are_gone_also_for_root() {
    if !root() {
        return skipped("needs root");
    }
    let server = Server::start(&shell("grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | tr '\\n\\t' '  '"));
    assert_eq!(
        exchange(&server, b""),
        "CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000 "
    );
    server.stop();
}

#[test]
fn no_process_for_that_user_is_waited_out() {
    if !root() {
        return skipped("needs root");
    }
    // The worker is that user itself; its own threads count too.
    let server = Server::start(&Spec::new(&["/bin/cat"]).option("worker_uid=64999").option("worker_nproc=5"));
    let mut streams: Vec<_> = (0..6).map(|_| server.connect()).collect();
    streams.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
    server.logged("cannot start a process now");
    for mut stream in streams {
        stream.read_exact(&mut [0]).unwrap();
    }
    server.stop();
}

#[test]
fn no_more_processes_for_the_programs_user_is_said() {
    if !root() {
        return skipped("needs root");
    }
    let server =
        Server::start(&Spec::new(&["/bin/cat"]).option("uid=64997").option("gid=64997").option("nproc=0"));
    let mut first = server.connect();
    first.write_all(b"x").unwrap();
    first.read_exact(&mut [0]).unwrap();
    assert_eq!(exchange(&server, b""), "");
    server.logged("RLIMIT_NPROC");
    drop(first);
    server.stop();
}

#[test]
fn a_register_can_be_opened_by_its_descriptor() {
    let (fd, register) = Register::create().unwrap();
    let again = Register::open(&fd).unwrap();
    assert_eq!(register.entries().count(), again.entries().count());
}

#[test]
fn a_program_may_have_the_listener_itself() {
    // Reads LISTEN_PID and its like, then accepts one client on descriptor 0, as inetd's wait servers do.
    let script = "import os,socket; s=socket.socket(fileno=0); c,_=s.accept(); \
        c.send((' '.join([os.environ['LISTEN_FDS'],str(os.environ['LISTEN_PID']==str(os.getpid())),\
        os.environ['LISTEN_FDNAMES'],str(os.get_blocking(3)),str(os.path.samestat(os.fstat(3),os.fstat(0))),\
        ','.join(sorted(os.listdir('/proc/self/fd')))])).encode())";
    let server = Server::start(&Spec::new(&["/usr/bin/env", "python3", "-c", script]).option("mode=wait"));
    for _ in 0..3 {
        let mut answer = String::new();
        server.connect().read_to_string(&mut answer).unwrap();
        // 4 is the connection, 5 the folder that is being listed.
        assert_eq!(answer, "1 True test True True 0,1,2,3,4,5");
    }
    server.stop();
}

#[test]
fn a_listeners_program_that_fails_again_and_again_is_not_started_in_a_hurry() {
    let server = Server::start(&shell("echo again >&2; exit 1").option("mode=wait"));
    let _waiting = server.connect();
    until("it was started five times", || server.count("stderr: again") >= 5);
    // 10, 20, 40, 80 ms: five starts take 150 ms; a sixth within the next moment would be a hurry.
    let log = server.stop();
    assert!(log.matches("status=1").count() < 30, "{log}");
}

#[test]
fn a_pool_is_kept_full() {
    let script = "import os,socket\ns=socket.socket(fileno=0)\nwhile True:\n c,_=s.accept()\n c.send(str(os.getpid()).encode())\n c.close()";
    let server = Server::start(&Spec::new(&["/usr/bin/env", "python3", "-c", script]).option("mode=3"));
    until("three run", || server.register.entries().count() == 3);
    let mut pid = String::new();
    server.connect().read_to_string(&mut pid).unwrap();
    let victim = server.register.entries().find(|entry| entry.pid.as_raw_pid().to_string() == pid).unwrap();
    victim.kill();
    server.logged("signal=9");
    until("three run again", || {
        server.register.entries().filter(|entry| entry.connection != victim.connection).count() == 3
    });
    server.stop();
    assert!(!victim.is_alive());
}

#[test]
fn a_datagram_has_a_process_and_its_answer_comes_back() {
    let server = Server::start(
        &shell("echo $PROTO $UDPREMOTEIP; cat").option("mode=datagram").listen("udp:127.0.0.1:0"),
    );
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    socket.connect(server.address.inet().unwrap()).unwrap();
    let mut answer = vec![0; 70_000];
    for n in 0..20 {
        socket.send(format!("number {n}").as_bytes()).unwrap();
        let len = socket.recv(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[..len]), format!("UDP 127.0.0.1\nnumber {n}"));
    }
    let large = vec![b'x'; 65_000];
    socket.send(&large).unwrap();
    assert_eq!(socket.recv(&mut answer).unwrap(), 14 + large.len());
    // An empty one is one too.
    socket.send(b"").unwrap();
    assert_eq!(socket.recv(&mut answer).unwrap(), 14);
    server.stop();
}

#[test]
fn programs_are_handed_over_with_what_they_say() {
    let script = "printf 'half ' >&2; while read line; do printf \"$line\n\" >&2; echo $line; done";
    // It waits so long for its programs before it leaves them.
    let spec = shell(script).option("drain=100");
    let server = Server::start(&spec);
    let mut stream = server.connect();
    stream.write_all(b"a\n").unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    server.logged("#1 stderr: half a");
    stream.write_all(b"b\n").unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    let (server, log) = server.succeed(&spec);
    assert!(!log.contains("end="), "nothing has ended: {log}");
    stream.write_all(b"c\n").unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    server.logged("#1 stderr: c");
    assert_eq!(exchange(&server, b"d\n"), "d\n");
    drop(stream);
    server.logged("status=unknown");
    server.stop();
}

#[test]
fn a_service_is_chosen_by_name_and_not_a_byte_is_lost() {
    let server = Server::start(&Spec::new(&["/bin/cat"]));
    let door = server.passer.as_ref().unwrap().try_clone().unwrap();
    let endpoint: Endpoint = "tcp:127.0.0.1:0".parse().unwrap();
    let listeners = Listener::bind(&endpoint, &SocketOptions::default()).unwrap();
    let address = listeners[0].local().inet().unwrap();
    let stop = Box::leak(Box::new(Stop::new().unwrap()));
    let counters = Counters::shared().unwrap();
    let mux = std::thread::spawn(|| {
        let journal = Journal::silent();
        tcpmux::serve(MuxSite {
            id: "tcpmux",
            listeners,
            offers: vec![Offer { name: "Cat".into(), door }],
            warden: None,
            stop,
            journal: &journal,
            counters,
            numbers: counters,
        })
    });
    let ask = |pieces: &[&[u8]]| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        assert!(stream.read_to_string(&mut answer).is_ok(), "{pieces:?}: {answer}");
        answer
    };
    assert_eq!(ask(&[b"cat\r\nmore than the name\n"]), "+Go\r\nmore than the name\n");
    assert_eq!(ask(&[b"C", b"A", b"T", b"\r", b"\n", b"x"]), "+Go\r\nx");
    assert_eq!(ask(&[b"HELP\r\n"]), "Cat\r\n");
    assert_eq!(ask(&[b"dog\r\nignored"]), "-Service name not found\r\n");
    assert_eq!(ask(&[&[b'x'; 1_000]]), "-Name too long\r\n");
    assert_eq!(ask(&[b"ca"]), "");
    let log = server.stop();
    assert_eq!(log.matches("end=program").count(), 2, "{log}");
    stop.set();
    mux.join().unwrap().unwrap();
}

#[test]
fn a_grandchild_with_the_socket_keeps_the_connection_and_no_place() {
    let script = "exec 3<&0; (read line <&3; echo late) & echo early";
    let server = Server::start(&shell(script).option("most=1"));
    let mut first = server.connect();
    first.read_exact(&mut [0; 6]).unwrap();
    server.logged("end=program");
    // The grandchild has the socket; the place is free.
    let mut second = server.connect();
    second.read_exact(&mut [0; 6]).unwrap();
    for mut stream in [first, second] {
        stream.write_all(b"go\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "late\n");
    }
    server.stop();
}

#[test]
fn a_program_that_closes_its_output_goes_on() {
    let server = Server::start(&shell("exec 0<&- 1>&-; sleep 0.05; echo still here >&2; exit 7"));
    assert_eq!(exchange(&server, b""), "");
    server.logged("stderr: still here");
    server.logged("status=7");
    server.stop();
}

#[test]
fn datagrams_are_answered_from_where_they_were_asked() {
    let server = Server::start(&Spec::new(&["/bin/cat"]).option("mode=datagram").listen("udp:0.0.0.0:0"));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    // A connected socket only hears the address that it has asked.
    socket.connect(("127.0.0.2", server.address.inet().unwrap().port())).unwrap();
    socket.send(b"x").unwrap();
    assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 1);
    server.stop();
}

#[test]
fn unix_clients_are_named_by_process_and_user() {
    let path = std::env::temp_dir().join(format!("switchboard-programs-{}", std::process::id()));
    let server = Server::start(&shell("env | grep UNIX | sort").listen(&format!("unix:{}", path.display())));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let ours = std::process::id();
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    assert_eq!(
        answer,
        format!(
            "PROTO=UNIX\nUNIXLOCALPATH={}\nUNIXREMOTEEGID={group}\nUNIXREMOTEEUID={user}\nUNIXREMOTEPID={ours}\n",
            path.display()
        )
    );
    server.stop();
}

#[test]
fn system_calls_are_filtered() {
    let server = Server::start(&shell("grep ^Seccomp: /proc/self/status").option("seccomp=service"));
    assert_eq!(exchange(&server, b""), "Seccomp:\t2\n");
    server.stop();
    let script = "import os,socket,threading\nt=threading.Thread(target=lambda: print('thread'));t.start();t.join()\nfor f in (socket.socket,os.fork):\n try: f(); print('no')\n except OSError as e: print(e.errno)";
    let server = Server::start(&Spec::new(&["/usr/bin/python3", "-c", script]).option("seccomp=strict"));
    assert_eq!(exchange(&server, b""), "thread\n1\n1\n");
    server.stop();
}

#[test]
fn files_are_restricted_with_landlock() {
    let rules =
        |read: &[&str]| Landlock { read: read.iter().map(Into::into).collect(), ..Landlock::default() };
    let available = Confinement { landlock: Some(rules(&[])), ..Confinement::default() }.check();
    if let Err(error) = available {
        return skipped(&error.to_string());
    }
    let server = Server::start(
        &shell("cat /etc/passwd >/dev/null; cat /usr/lib/os-release | head -c 6")
            .option("landlock=/usr,/lib,/lib64,/bin"),
    );
    assert_eq!(exchange(&server, b"").len(), 6);
    server.logged("/etc/passwd: Permission denied");
    server.stop();
}

#[test]
fn what_needs_a_capability_names_it() {
    let identity = Identity { uid: 4_294_000_000, gid: 1, groups: Vec::new(), login: None };
    let confinement = Confinement { identity: Some(identity), ..Confinement::default() };
    if root() {
        // Asked again by a process that is not root.
        let server = Server::start(&Spec::new(&["/bin/cat"]).option("worker_uid=64996").option("uid=0"));
        exchange(&server, b"");
        server.logged("CAP_SETGID");
        server.stop();
        return confinement.check().unwrap();
    }
    assert!(confinement.check().unwrap_err().to_string().contains("CAP_SETUID"));
}

#[test]
fn the_limit_of_descriptors_does_not_matter() {
    let possible = std::process::Command::new("sh").args(["-c", "ulimit -Hn 1000000"]).output().unwrap();
    if !possible.status.success() {
        return skipped("the limit of descriptors cannot be raised here");
    }
    let server = Server::start(&shell("ulimit -Hn").option("nofile=1000000"));
    assert_eq!(exchange(&server, b""), "1000000\n");
    // Nothing here is done for each number that a descriptor could have: the worker's memory would show a table.
    assert!(server.resident_kib() < 64 * 1024, "{}", server.resident_kib());
    server.stop();
}
