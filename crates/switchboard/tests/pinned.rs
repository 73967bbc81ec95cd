//! Workers that are pinned to processors, and what arrives there (`--pin`). Row B5.

mod harness;

use harness::{PATIENCE, Scratch, Server, Stream, end, program, run_to_end, skip, text, wait_until};
use rustix::process::Pid;
use switchboard_net::sys::processors::{allowed, pin};

/// Connections that one client makes. That all come to one of two workers by chance happens once in 2³¹ times.
const CLIENTS: usize = 32;

/// Two processors that tests may use, on a kernel that heeds SO_INCOMING_CPU among sockets of one address (Linux 6.2).
fn two_processors(what: &str) -> Option<[usize; 2]> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(2)) {
        skip(what, &format!("Linux {release} is older than 6.2"));
        return None;
    }
    match allowed().expect("sched_getaffinity(2)")[..] {
        [one, .., other] => Some([one, other]),
        _ => {
            skip(what, "there is one processor");
            None
        }
    }
}

/// The processors that a process may use, as the kernel writes them.
fn allowed_to(pid: Pid) -> String {
    // A worker of before may be gone by now.
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_default().trim().to_owned()
}

fn sockets_of(pid: Pid) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).expect("it is there");
    let is_socket = |fd: &std::fs::DirEntry| {
        std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    fds.flatten().filter(is_socket).count()
}

/// Connections that were made from one processor and are being served.
fn from(processor: usize, endpoint: &str) -> Vec<Stream> {
    let connect = || {
        pin(processor).expect("it may be used");
        let greeted = |_| {
            let mut client = Stream::connect(endpoint).expect("connect");
            std::io::Write::write_all(&mut client, b"!").expect("send");
            std::io::Read::read_exact(&mut client, &mut [0]).expect("the answer");
            client
        };
        (0..CLIENTS).map(greeted).collect()
    };
    std::thread::scope(|scope| scope.spawn(connect).join().expect("no panic"))
}

/// The two workers of a server, the one that may use `first` only first of all, once both are as `settled` says.
fn workers(server: &Server, first: usize, settled: impl Fn(&[String]) -> bool) -> Vec<Pid> {
    let mut workers = Vec::new();
    let are_there = || {
        workers = server.workers();
        workers.sort_by_key(|pid| allowed_to(*pid) != first.to_string());
        let allowed: Vec<String> = workers.iter().map(|pid| allowed_to(*pid)).collect();
        workers.len() == 2 && settled(&allowed)
    };
    wait_until("two workers", are_there, || format!("{:?}", server.workers()));
    workers
}

/// Connects from `processor` again and again until each worker has as many connections as `wanted` says: workers that have
/// just been started say a moment later what they prefer.
fn wait_for_shares(server: &Server, workers: &[Pid], processor: usize, wanted: impl Fn(&[usize]) -> bool) {
    let are_right = || {
        let before: Vec<usize> = workers.iter().map(|pid| sockets_of(*pid)).collect();
        let clients = from(processor, &server.endpoint());
        // Less than before: some were still being closed. It is looked at once more then.
        let now = workers.iter().map(|pid| sockets_of(*pid));
        let shares: Vec<usize> = now.zip(&before).map(|(now, before)| now.saturating_sub(*before)).collect();
        for mut client in clients {
            assert_eq!(client.converse(b"").expect("the end"), b"");
        }
        wanted(&shares)
    };
    wait_until("who arrives where", are_right, || format!("processor {processor}, workers {workers:?}"));
}

#[test]
fn a_worker_takes_what_arrives_on_its_processor() {
    let Some(processors) = two_processors("--pin") else { return };
    let names = processors.map(|number| number.to_string());
    for engine in ["epoll", "poll", "threads"] {
        let arguments =
            ["echo", "--engine", engine, "--pin", &names.join(","), "--listen", "tcp:127.0.0.1:0"];
        let server = Server::start(&arguments);
        let workers = workers(&server, processors[0], |allowed| allowed == names);
        wait_for_shares(&server, &workers, processors[0], |shares| shares == [CLIENTS, 0]);
        wait_for_shares(&server, &workers, processors[1], |shares| shares == [0, CLIENTS]);
        end(server);
    }
}

#[test]
fn a_reload_pins_workers_and_lets_them_go() {
    let Some(processors) = two_processors("pin and reload") else { return };
    let names = processors.map(|number| number.to_string());
    let scratch = Scratch::new();
    let file = scratch.path("file.toml");
    let write = |pin: &str| {
        let service =
            "version = 1\n[[service]]\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\nworkers = 2\n";
        std::fs::write(&file, format!("{service}{pin}\n")).expect("a file");
    };
    let socket = scratch.path("control");
    let pinned = format!("pin = \"{}\"", names.join(","));
    write(&pinned);
    let server = Server::start(&["--config", &file, &format!("--control={socket}")]);
    let free = allowed_to(server.pid());
    let mut before = workers(&server, processors[0], |allowed| allowed == names);
    wait_for_shares(&server, &before, processors[0], |shares| shares == [CLIENTS, 0]);
    for pin in ["", &pinned] {
        write(pin);
        let said = run_to_end(program().args(["reload", "--control", &socket]), None, PATIENCE);
        assert!(said.status.success() && text(&said.stdout).contains("echo: changed pin\n"), "{said:?}");
        Server::wait_until_gone(&before, "the old workers");
        before = workers(&server, processors[0], |allowed| {
            if pin.is_empty() { allowed.iter().all(|one| *one == free) } else { allowed == names }
        });
        wait_for_shares(&server, &before, processors[0], |shares| match pin {
            "" => shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == CLIENTS,
            _ => shares == [CLIENTS, 0],
        });
    }
    end(server);
}

#[test]
fn what_cannot_be_pinned_is_said() {
    let refused = |arguments: &[&str]| {
        let mut command = program();
        command.arg("serve").args(arguments).args(["--listen", "tcp:127.0.0.1:0"]);
        let ended = run_to_end(&mut command, None, PATIENCE);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        text(&ended.stderr)
    };
    let said = refused(&["echo", "--engine", "pool", "--pin", "all"]);
    assert!(
        said.contains("--pin: the workers of engine pool share one listener") && said.contains("epoll"),
        "{said}"
    );
    let said = refused(&["echo", "--pin", "1023"]);
    assert!(said.contains("--pin: processor 1023 is none of those that may be used here: "), "{said}");
    let said = refused(&["echo", "--pin", "2-1"]);
    assert!(said.contains("`2-1` are no processors"), "{said}");
    let said = refused(&["exec:cat", "--pin", "all"]);
    assert!(said.contains("--pin"), "{said}");
    let scratch = Scratch::new();
    let check = |keys: &str| {
        let file = scratch.path("file.toml");
        let text =
            format!("version = 1\n[[service]]\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n{keys}\n");
        std::fs::write(&file, text).expect("a file");
        let ended = run_to_end(program().args(["check", &file]), None, PATIENCE);
        (ended.status.success(), harness::text(&ended.stdout) + &harness::text(&ended.stderr))
    };
    assert!(check("pin = \"all\"").0);
    for (keys, words) in [
        ("engine = \"prefork\"\npin = \"all\"", "`pin` does nothing for this service"),
        ("pin = 1023", "processor 1023 is none of those"),
        ("pin = \"some\"", "such as \"0,2-3\", or \"all\""),
    ] {
        let (good, said) = check(keys);
        assert!(!good && said.contains(words) && (said.contains(":5") || said.contains(":6")), "{said}");
    }
}
