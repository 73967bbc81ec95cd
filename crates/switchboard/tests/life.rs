//! A server's life: it is reloaded, upgraded, drained and shot at while clients keep coming, and nobody is refused, reset
//! or cut short.

#![allow(unreachable_pub)]

#[path = "life/adoption.rs"]
mod adoption;
#[path = "life/control.rs"]
mod control;
#[path = "life/counts.rs"]
mod counts;
#[path = "harness/mod.rs"]
mod harness;
#[path = "life/house.rs"]
mod house;
#[path = "life/load.rs"]
mod load;
#[path = "life/notifications.rs"]
mod notifications;
#[path = "life/surroundings.rs"]
mod surroundings;
#[path = "life/upgrade.rs"]
mod upgrade;

use harness::{free_port, wait_until};
use house::{House, inodes};
use load::{Held, under_load};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::io::Write;

/// Services that are there all the time; `n` changes what may change while they are used.
fn file(n: usize) -> String {
    let idle = 60 + n;
    let workers = [1, 2, 4][n % 3];
    let uring = if harness::has_io_uring() { "uring" } else { "poll" };
    let mut text = String::from(
        "version = 1\ndrain_timeout = \"4s\"\nupgrade_timeout = \"30s\"\nlog = { to = \"SCRATCH/log\" }\n\
         [defaults]\nudp_source_rate = \"off\"\nudp_total_rate = \"off\"\n",
    );
    let mut service = |id: &str, keys: &str| {
        let listen = if keys.contains("listen") { "" } else { "listen = \"tcp:127.0.0.1:0\"\n" };
        text.push_str(&format!("[[service]]\nid = \"{id}\"\n{listen}{keys}\n"));
    };
    service("steady", "builtin = \"echo\"");
    service("steady-cat", "exec = \"cat\"");
    service("copies", &format!("builtin = \"echo\"\nworkers = {workers}"));
    let packets = format!("builtin = \"echo\"\nlisten = \"udp:127.0.0.1:0\"\nlifetime = \"{idle}m\"");
    service("packets", &packets);
    service("cat", &format!("exec = \"cat\"\nenv = {{ N = \"{n}\" }}"));
    for engine in ["epoll", uring, "fork", "threads"] {
        let keys = format!("builtin = \"echo\"\nengine = \"{engine}\"\nidle_timeout = \"{idle}m\"");
        service(engine, &keys);
    }
    if n % 2 == 1 {
        service("extra", "builtin = \"daytime\"");
    }
    text
}

#[test]
fn reloads_and_upgrades_under_load_lose_nobody() {
    const RELOADS: usize = 200;
    const UPGRADES: usize = 20;
    let house = House::start(&file(0));
    let write = |n| house.write(&file(n));
    let endpoints = house.endpoints();
    let before: BTreeMap<_, _> = endpoints.values().map(|at| (at.clone(), inodes(at))).collect();
    let mut programs: Vec<Held> = Vec::new();
    let seen = under_load(&endpoints, || {
        for upgrade in 0..UPGRADES {
            // Programs go on over everything; a predecessor waits for them for a while before it hands them over.
            if upgrade % 8 == 0 {
                programs.extend(["steady-cat", "cat"].iter().map(|name| Held::open(name, &endpoints[*name])));
            }
            // A builtin's conversation goes on over reloads; an upgrade may cut it in the end.
            let mut held: Vec<Held> = ["steady", "epoll", "fork", "threads"]
                .iter()
                .map(|name| Held::open(name, &endpoints[*name]))
                .collect();
            for reload in 0..RELOADS / UPGRADES {
                write(upgrade * RELOADS / UPGRADES + reload + 1);
                house.must("reload");
            }
            held.iter_mut().for_each(Held::check);
            held.into_iter().for_each(Held::finish);
            let pid = house.pid();
            house.must("upgrade");
            programs.iter_mut().for_each(Held::check);
            house.succeeded(pid);
            programs.iter_mut().for_each(Held::check);
            programs.drain(..).for_each(Held::finish);
        }
    });
    let status = house.status();
    let mut said = format!("{RELOADS} reloads, {UPGRADES} upgrades;");
    let mut bad = Vec::new();
    for (name, seen) in &seen {
        said.push_str(&format!(" {name} {}", seen.good));
        bad.extend(seen.bad.iter().map(|how| format!("{name} {how}")));
        assert!(seen.good > 0, "{name} was not tried");
    }
    let _ = writeln!(std::io::stderr(), "{said}; failed {}", bad.len());
    assert!(bad.is_empty(), "{} of the clients: {bad:#?}", bad.len());
    for (endpoint, before) in before {
        assert_eq!(inodes(&endpoint), before, "{endpoint} was bound anew");
    }
    assert_eq!(status["upgrades"], UPGRADES);
    assert_eq!(status["reloads_refused"], 0);
}

/// A file with these services.
fn small(services: &str) -> String {
    format!("version = 1\ndrain_timeout = \"1s\"\nlog = {{ to = \"SCRATCH/log\" }}\n{services}")
}

const ECHO: &str = "[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n";
const CAT: &str = "[[service]]\nid = \"cat\"\nexec = \"cat\"\nlisten = \"tcp:127.0.0.1:0\"\n";

#[test]
fn a_bad_file_changes_nothing() {
    let house = House::start(&small(ECHO));
    let endpoints = house.endpoints();
    let workers = house.workers("echo");
    let mut held = Held::open("echo", &endpoints["echo"]);
    house.write(&small(
        "[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\nspeed = 9\n",
    ));
    assert!(house.must_not("reload").contains("speed"));
    house.signal(Signal::HUP);
    let refused = || house.status()["reloads_refused"] == 2;
    wait_until("the reload is refused", refused, || house.status()["reloads_refused"].to_string());
    // An address that cannot be bound is no better.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address");
    house.write(&small(&format!(
        "{CAT}[[service]]\nid = \"x\"\nbuiltin = \"time\"\nlisten = \"tcp:{port}\"\n"
    )));
    assert!(house.must_not("reload").contains("Address already in use"));
    drop(taken);
    held.check();
    assert_eq!(house.endpoints(), endpoints);
    assert_eq!(house.workers("echo"), workers);
    assert_eq!(house.status()["reloads"], 0);
    let log = std::fs::read_to_string(house.scratch.0.join("log")).expect("a log");
    assert!(log.contains("reload refused, nothing was changed") && log.contains("speed"), "{log}");
}

#[test]
fn sockets_outlive_names_copies_and_processes() {
    let (a, b) = (free_port(), free_port());
    let two = |x: &str, y: &str, workers: usize| {
        small(&format!(
            "[[service]]\nid = \"{x}\"\nbuiltin = \"echo\"\nworkers = {workers}\nlisten = \"tcp:127.0.0.1:{a}\"\n\
             [[service]]\nid = \"{y}\"\nbuiltin = \"echo\"\nlisten = [\"udp:127.0.0.1:{b}\", \"tcp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n"
        ))
    };
    let house = House::start(&two("one", "two", 4));
    let places: Vec<String> = listeners(&house);
    let before: Vec<_> = places.iter().map(|at| inodes(at)).collect();
    assert_eq!(before[0].len(), 4, "a socket for each worker");
    let look = |what: &str| {
        let now: Vec<_> = places.iter().map(|at| inodes(at)).collect();
        assert_eq!(now, before, "{what}");
        for at in places.iter().filter(|at| at.starts_with("tcp:")) {
            Held::open(what, at).finish();
        }
    };
    for (x, y, workers, what) in [
        ("one", "two", 2, "fewer workers"),
        ("one", "two", 1, "one worker"),
        ("one", "two", 4, "more workers"),
        ("uno", "two", 4, "another name"),
        ("three", "two", 2, "another name again"),
    ] {
        house.write(&two(x, y, workers));
        house.must("reload");
        look(what);
        house.upgrade();
        look(what);
    }
    // The file changes together with the program.
    house.write(&two("four", "two", 3));
    house.upgrade();
    look("renamed by the upgrade");
}

#[test]
fn a_udp_socket_is_not_bound_anew_under_the_program_that_has_it() {
    let text = |n: u8| {
        small(&format!(
            "[[service]]\nid = \"held\"\nexec = \"sleep 60\"\nmode = \"wait\"\nenv = {{ N = \"{n}\" }}\n\
             listen = \"udp:127.0.0.1:0\"\n"
        ))
    };
    let house = House::start(&text(1));
    let at = house.endpoints()["held"].clone();
    let socket = inodes(&at);
    let client = harness::datagram_socket(&at);
    // Nobody takes it: it is there for whoever comes next.
    assert_eq!(rustix::io::write(&client, b"request").expect("sent"), 7);
    let program = || house.status()["programs"][0]["pid"].as_i64();
    wait_until("the program", || program().is_some(), || house.status().to_string());
    let first = program().expect("it runs");
    for n in [2, 3] {
        house.write(&text(n));
        house.must("reload");
        assert_eq!((inodes(&at), program()), (socket.clone(), Some(first)), "reload {n}");
    }
    let pid = i32::try_from(first).ok().and_then(Pid::from_raw).expect("a process number");
    rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    let successor = || program().filter(|pid| *pid != first);
    wait_until("the program of the new file", || successor().is_some(), || house.status().to_string());
    let environ = format!("/proc/{}/environ", successor().expect("it runs"));
    let own = || std::fs::read(&environ).unwrap_or_default();
    // Between fork and execve it has its parent's.
    wait_until(
        "its environment",
        || own().split(|byte| *byte == 0).any(|pair| pair == b"N=3"),
        || environ.clone(),
    );
    assert_eq!(inodes(&at), socket);
    house.must("stop");
}

/// Every endpoint that is served.
fn listeners(house: &House) -> Vec<String> {
    let status = house.status();
    let services = status["services"].as_array().expect("services").iter();
    let listeners = services.flat_map(|service| service["listeners"].as_array().expect("listeners").clone());
    listeners.map(|at| at["endpoint"].as_str().expect("a string").to_owned()).collect()
}

#[test]
fn whoever_is_killed_is_replaced_and_the_listeners_stay() {
    let house = House::start(&small(&format!("{ECHO}{CAT}")));
    let endpoints = house.endpoints();
    let before: Vec<_> = endpoints.values().map(|at| inodes(at)).collect();
    let mut program = Held::open("cat", &endpoints["cat"]);
    for name in ["echo", "cat"] {
        for _ in 0..3 {
            let worker = house.workers(name)[0];
            harness::suspend(worker);
            // Whoever comes now waits in the queue, whatever becomes of the worker.
            let mut waiting = std::thread::scope(|scope| {
                let at = &endpoints[name];
                let waiting = scope.spawn(move || Held::open(name, at));
                wait_until(
                    "the client waits",
                    || house.service(name)["listeners"][0]["waiting"] == 1,
                    || house.service(name).to_string(),
                );
                let _ = rustix::process::kill_process(worker, Signal::KILL);
                waiting.join().expect("no panic")
            });
            waiting.check();
            waiting.finish();
            program.check();
        }
        assert_eq!(house.service(name)["restarts"], 3);
    }
    program.check();
    wait_until(
        "only the adopted one is left",
        || house.status()["programs"].as_array().map(Vec::len) == Some(1),
        || house.status()["programs"].to_string(),
    );
    // The logger.
    let server = house.pid().as_raw_nonzero().get();
    let workers: Vec<i32> = ["echo", "cat"]
        .iter()
        .flat_map(|name| house.workers(name))
        .map(|pid| pid.as_raw_nonzero().get())
        .collect();
    let logger = harness::children_of(server).into_iter().filter(|pid| !workers.contains(pid));
    let logger: Vec<i32> = logger.filter(|pid| is_called(*pid, "switchboard")).collect();
    let [logger] = logger[..] else { panic!("which one is the logger? {logger:?}") };
    let _ = rustix::process::kill_process(Pid::from_raw(logger).expect("a number"), Signal::KILL);
    house.must("reload");
    let written = || std::fs::read_to_string(house.scratch.0.join("log")).unwrap_or_default();
    wait_until("the log goes on", || written().contains("reload: 2 services unchanged"), written);
    assert_eq!(endpoints.values().map(|at| inodes(at)).collect::<Vec<_>>(), before);
    // The supervisor: everything of ours ends, a program goes on until its client does.
    let workers: Vec<Pid> = ["echo", "cat"].iter().flat_map(|name| house.workers(name)).collect();
    house.signal(Signal::KILL);
    harness::Server::wait_until_gone(&workers, "workers end with their supervisor");
    program.check();
    program.finish();
}

#[test]
fn the_end_is_announced_and_bounded() {
    for (verb, words) in
        [("drain", &["drain", "--notice", "300ms", "--timeout", "200ms"][..]), ("stop", &["stop"])]
    {
        let house = House::start(&small(&format!("{ECHO}{CAT}")).replace("1s", "600s"));
        let endpoints = house.endpoints();
        assert!(house.verb(&["health"]).status.success());
        let held: Vec<Held> = endpoints.iter().map(|(name, at)| Held::open(name, at)).collect();
        // Whom a reload has left behind is part of it.
        house
            .write(&small("[[service]]\nid = \"other\"\nbuiltin = \"time\"\nlisten = \"tcp:127.0.0.1:0\"\n"));
        house.must("reload");
        assert_eq!(house.status()["retired"].as_array().map(Vec::len), Some(2));
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| house.verb(words));
            if verb == "drain" {
                wait_until(
                    "it is announced",
                    || house.verb(&["health"]).status.code() == Some(1),
                    String::new,
                );
                assert!(house.verb(&["health", "--live"]).status.success());
            }
            held.into_iter().for_each(Held::ended);
            let ended = ending.join().expect("no panic");
            assert!(ended.status.success(), "{verb}: {ended:?}");
        });
        let pid = house.first.id();
        let gone = || house.verb(&["health"]).status.code() == Some(4);
        wait_until("nobody answers", gone, || format!("{pid}: {:?}", house.verb(&["health"])));
    }
}

#[test]
fn a_file_that_changes_is_read_again_by_itself() {
    let house = House::start(&format!("watch = true\n{}", small(ECHO)));
    let served = |what: &str, name: &str| {
        let log = || std::fs::read_to_string(house.scratch.0.join("log")).unwrap_or_default();
        wait_until(what, || house.endpoints().contains_key(name), log);
    };
    let watched = |services: &str| format!("watch = true\n{}", small(services));
    house.write(&watched(&format!("{ECHO}{CAT}")));
    served("a file renamed into place", "cat");
    let time = ECHO.replace("echo", "time");
    let text = watched(&time).replace("SCRATCH", house.scratch.0.to_str().expect("UTF-8"));
    std::fs::write(house.path(), text).expect("written");
    served("a file written in place", "time");
    // As a ConfigMap changes: the file is a link through `..data`, which is renamed.
    let at = |name: &str| house.scratch.0.join(name);
    for (version, services) in [("..1", ECHO), ("..2", CAT)] {
        std::fs::create_dir(at(version)).expect("a directory");
        let text = watched(services).replace("SCRATCH", house.scratch.0.to_str().expect("UTF-8"));
        std::fs::write(at(version).join("file.toml"), text).expect("written");
        std::os::unix::fs::symlink(version, at("..data_tmp")).expect("a link");
        std::fs::rename(at("..data_tmp"), at("..data")).expect("renamed");
        if version == "..1" {
            std::os::unix::fs::symlink("..data/file.toml", at("file.link")).expect("a link");
            std::fs::rename(at("file.link"), house.path()).expect("renamed");
            served("the file became a link", "echo");
        }
    }
    served("`..data` was renamed", "cat");
    house.write("version = 1\nnonsense");
    wait_until(
        "a bad one is refused",
        || house.status()["reloads_refused"] != 0,
        || house.status().to_string(),
    );
    served("and changes nothing", "cat");
}

fn second(house: &House, verb: &str) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(house.scratch.0.join("control")).expect("there");
    let _ = writeln!(stream, "{{\"do\":\"{verb}\"}}");
    let mut answer = String::new();
    let _ = std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut answer);
    answer
}

/// Whether a process runs the program `name` (proc(5) `comm`).
fn is_called(pid: i32, name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
}
