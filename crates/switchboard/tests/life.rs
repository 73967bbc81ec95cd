//! A server's life: it is reloaded, upgraded, drained and shot at while clients keep coming, and nobody is refused, reset
//! or cut short.

#![allow(unreachable_pub)]

#[path = "life/adoption.rs"]
mod adoption;
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

use harness::{Scratch, free_port, make_executable, skip, wait_until};
use house::{House, inodes};
use load::{Held, under_load};
use notifications::Manager;
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

/// A file with these services and a short time for upgrades.
fn small(services: &str) -> String {
    let global =
        "version = 1\ndrain_timeout = \"1s\"\nupgrade_timeout = \"1s\"\nlog = { to = \"SCRATCH/log\" }\n";
    format!("{global}{services}")
}

const ECHO: &str = "[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n";
const CAT: &str = "[[service]]\nid = \"cat\"\nexec = \"cat\"\nlisten = \"tcp:127.0.0.1:0\"\n";

/// A house whose program can be replaced on disk: it runs a copy at `program` in its directory.
fn replaceable(text: &str) -> House {
    House::start_by(text, |command, scratch| {
        let copy = scratch.0.join("program");
        make_executable(&copy, None);
        *command = std::process::Command::new(copy);
    })
}

/// Puts another program where the server's was.
fn replace(house: &House, script: &str) {
    let beside = house.scratch.0.join("program.new");
    let script = (!script.is_empty()).then(|| format!("#!/bin/sh\n{script}\n"));
    make_executable(&beside, script.as_deref());
    std::fs::rename(beside, house.scratch.0.join("program")).expect("renamed");
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let text = small(&format!("{ECHO}{CAT}"));
    let house = replaceable(&text);
    let endpoints = house.endpoints();
    let mut held: Vec<Held> = endpoints.iter().map(|(name, at)| Held::open(name, at)).collect();
    let pid = house.pid();
    let seen = under_load(&endpoints, || {
        for (script, why) in [
            ("exit 3", "ended with status 3"),
            ("kill -SEGV $$", "signal 11"),
            ("exec sleep 600", "did not serve within 1 s"),
            ("exec 1>&- 2>&-; read never <&0; exec sleep 0", "before it served"),
        ] {
            replace(&house, script);
            let said = house.must_not("upgrade");
            assert!(said.contains(why), "{script}: {said}");
        }
        // While one runs, a second one and a reload are refused; the first one's end is told to whoever asked.
        replace(&house, "exec sleep 600");
        std::thread::scope(|scope| {
            let first =
                scope.spawn(|| house.try_ask(&serde_json::json!({ "do": "upgrade" })).expect("answer"));
            wait_until(
                "the upgrade has begun",
                || {
                    harness::children_of(pid.as_raw_nonzero().get())
                        .iter()
                        .any(|child| is_called(*child, "sleep"))
                },
                || "no successor".into(),
            );
            assert!(second(&house, "upgrade").contains("being upgraded"));
            assert!(second(&house, "reload").contains("being upgraded"));
            assert_eq!(first.join().expect("no panic")["ok"], false);
        });
        replace(&house, "");
        house.write("version = 1\n[[service]]\nbuiltin = \"eccho\"\n");
        let said = house.must_not("upgrade");
        assert!(said.contains("eccho"), "{said}");
        std::fs::remove_file(house.path()).expect("removed");
        assert!(house.must_not("upgrade").contains("file.toml"));
    });
    for (name, seen) in seen {
        assert!(seen.bad.is_empty() && seen.good > 0, "{name}: {seen:?}");
    }
    held.iter_mut().for_each(Held::check);
    assert_eq!(house.pid(), pid);
    assert_eq!(house.status()["upgrades"], 0);
    house.write(&text);
    house.upgrade();
    assert_eq!(house.endpoints(), endpoints);
    assert_eq!(house.status()["upgrades"], 1);
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
fn a_service_manager_is_told_how_it_goes() {
    let told = Scratch::new();
    let manager = Manager::listen(told.0.join("notify"));
    let house = House::start_by(&small(ECHO), |command, _| {
        command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "400000");
    });
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("STATUS=1 service"), "{ready}");
    manager.wait_for("WATCHDOG=1");
    house.must("reload");
    let reloading = manager.wait_for("RELOADING=1");
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok_and(|time| time > 0)), "{reloading}");
    manager.wait_for("READY=1");
    house.upgrade();
    let main = manager.wait_for("MAINPID=");
    assert_eq!(main.trim(), format!("MAINPID={}", house.pid().as_raw_nonzero()));
    // The successor goes on with the watchdog, and the one who ended did not say that the service stops.
    manager.wait_for("WATCHDOG=1");
    house.signal(Signal::TERM);
    assert!(manager.wait_for("STOPPING=1").contains("STATUS="));
}

#[test]
fn sockets_of_a_service_manager_are_taken_by_name_and_by_address() {
    for (name, listen) in
        [("echo", "tcp:127.0.0.1:0"), ("other", "tcp:ADDRESS"), ("other", "tcp:127.0.0.1:0")]
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let listen = listen.replace("ADDRESS", &address);
        let scratch = Scratch::new();
        house::write(
            &scratch,
            &small(&format!("[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"{listen}\"\n")),
        );
        // The shell puts its own number where the program, which takes its place, will look for it.
        let script =
            format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec \"$0\" \"$@\" 3<&0 </dev/null");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_switchboard"), "serve", "--format", "json"]);
        command.arg("--config").arg(scratch.path("file.toml"));
        command.arg(format!("--control={}", scratch.path("control")));
        let at = format!("tcp:{address}");
        let before = inodes(&at);
        let house = House::run_with(scratch, std::os::fd::OwnedFd::from(listener).into(), &mut command);
        // It holds what it gave away.
        drop(command);
        if name == "other" && listen.ends_with(":0") {
            house.wait_for("`other` that was handed over is not needed");
            // A process of the server that was forked a moment ago may have it until it looks at what it has.
            wait_until("it is closed", || inodes(&at).is_empty(), || format!("{:?}", inodes(&at)));
            continue;
        }
        assert!(listeners(&house).contains(&at), "{name} {listen}: {:?}", listeners(&house));
        // A reload knows nothing of the service manager any more, and keeps what there is.
        house.must("reload");
        house.upgrade();
        Held::open("activated", &at).finish();
        assert_eq!(inodes(&at), before);
    }
}

#[test]
fn the_control_socket_is_ours_alone() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let house = House::start(&small(ECHO));
    let path = house.scratch.0.join("control");
    let metadata = std::fs::metadata(&path).expect("there");
    assert!(
        metadata.file_type().is_socket() && metadata.permissions().mode() & 0o777 == 0o600,
        "{metadata:?}"
    );
    let refused = |what: &str| {
        let config = house.scratch.path("file.toml");
        let control = format!("--control={}", path.display());
        let ended =
            harness::program().args(["serve", "--config", &config, &control]).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(1), "{what}: {ended:?}");
        harness::text(&ended.stderr)
    };
    assert!(refused("a live server's").contains("Address already in use"));
    house.must("status");
    if rustix::process::geteuid().is_root() {
        let other = std::process::Command::new("setpriv")
            .args([
                "--reuid",
                "65534",
                "--clear-groups",
                env!("CARGO_BIN_EXE_switchboard"),
                "stop",
                "--control",
            ])
            .arg(&path)
            .output();
        match other {
            Ok(other) => assert!(!other.status.success(), "{other:?}"),
            Err(error) => skip("another user at the control socket", &format!("setpriv: {error}")),
        }
        house.must("status");
    } else {
        skip("another user at the control socket", "it takes root to become one");
    }
    // Nonsense, nothing, and more than a line: answered or cut, and the server goes on.
    assert!(second(&house, "sing").contains("no request"));
    let long = "x".repeat(10_000);
    assert_eq!(second(&house, &long), "");
    house.signal(Signal::KILL);
    let gone = || harness::state_of(Pid::from_child(&house.first)).is_none_or(|state| state == 'Z');
    wait_until("it is gone", gone, String::new);
    // Its file is left behind, and taken over.
    assert!(path.exists());
    let control = format!("--control={}", path.display());
    let again = harness::Server::start(&["--config", &house.scratch.path("file.toml"), &control]);
    assert!(house.verb(&["status"]).status.success());
    assert_eq!(again.stop().code, Some(0));
    assert!(!path.exists(), "removed at the end");
    std::fs::write(&path, "mine").expect("a file");
    assert!(refused("a file").contains("left alone"));
    assert_eq!(std::fs::read(&path).expect("there"), b"mine");
    std::fs::remove_file(&path).expect("removed");
    symlink(house.scratch.0.join("elsewhere"), &path).expect("a link");
    assert!(refused("a link").contains("left alone"));
    assert!(!house.scratch.0.join("elsewhere").exists());
}

#[test]
fn the_log_is_moved_changed_and_lost_without_harm() {
    let log = |to: &str| small(ECHO).replace("SCRATCH/log", to);
    let house = House::start(&log("SCRATCH/log"));
    let endpoints = house.endpoints();
    let read = |name: &str| std::fs::read_to_string(house.scratch.0.join(name)).unwrap_or_default();
    let visit = || Held::open("echo", &endpoints["echo"]).finish();
    visit();
    wait_until("a record", || read("log").contains("echo"), || read("log"));
    std::fs::rename(house.scratch.0.join("log"), house.scratch.0.join("log.1")).expect("rotated");
    house.signal(Signal::USR1);
    wait_until("the file is made anew", || house.scratch.0.join("log").exists(), String::new);
    visit();
    wait_until("a record in the new file", || read("log").contains("echo"), || read("log"));
    // Another file by a reload; a conversation that began before ends in the old one.
    let held = Held::open("echo", &endpoints["echo"]);
    house.write(&log("SCRATCH/other"));
    assert!(house.must("reload").contains("changed log"));
    // The old worker still lets in whoever is in the queue.
    let other = || {
        visit();
        read("other").contains("echo")
    };
    wait_until("a record in the other file", other, || read("other"));
    let before = read("log").len();
    held.finish();
    wait_until("the last record in the old file", || read("log").len() > before, || read("log"));
    // A full disk holds nobody up; what was lost is told of.
    house.write(&log("/dev/full"));
    house.must("reload");
    for _ in 0..20 {
        visit();
    }
    house.write(&log("SCRATCH/no/such/directory"));
    let refused = house.must_not("reload");
    assert!(refused.contains("cannot open the log"), "{refused}");
    visit();
}

#[test]
fn sixty_four_descriptors_are_enough() {
    let house = House::start_by(&small(&format!("{ECHO}{CAT}")), |command, _| {
        let program = std::mem::replace(command, std::process::Command::new("sh"));
        command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(program.get_program()).env("TZ", "UTC");
    });
    let endpoints = house.endpoints();
    let mut held: Vec<Held> = endpoints.iter().map(|(name, at)| Held::open(name, at)).collect();
    for _ in 0..3 {
        house.must("reload");
        house.upgrade();
    }
    // Too many services for so few descriptors: refused, and nothing is lost.
    let many: String =
        (0..80).map(|n| ECHO.replace("\"echo\"\nbuiltin", &format!("\"e{n}\"\nbuiltin"))).collect();
    house.write(&small(&format!("{ECHO}{CAT}{many}")));
    let refused = house.must_not("reload");
    assert!(refused.contains("Too many open files"), "{refused}");
    assert_eq!(house.endpoints(), endpoints);
    for (name, at) in &endpoints {
        Held::open(name, at).finish();
    }
    // The program's conversation went on over three upgrades.
    held.remove(0).check();
}

#[test]
fn the_status_keeps_its_form() {
    const OFFER: &str = "[[service]]\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
                         [[service]]\nid = \"offered\"\nexec = \"cat\"\ntcpmux = true\n";
    let house = House::start(&small(&format!("{ECHO}{CAT}{OFFER}")));
    let program = Held::open("cat", &house.endpoints()["cat"]);
    let status = house.status();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let expected = "connections connections_unlisted files log_lines_lost pid program programs reloads reloads_refused \
                    retired schema services state upgrades uptime_s version";
    assert_eq!(keys(&status).join(" "), expected);
    assert_eq!(status["schema"], "switchboard-status");
    assert_eq!(status["version"], 1);
    let service = "by counters id listeners open restarts state workers";
    assert_eq!(keys(&status["services"][0]).join(" "), service);
    assert_eq!(keys(&status["services"][0]["listeners"][0]).join(" "), "endpoint service waiting");
    assert_eq!(keys(&status["programs"][0]).join(" "), "age_s connection peer pid service");
    let number = status["programs"][0]["connection"].to_string();
    assert!(house.verb(&["terminate", &number]).status.success());
    program.ended();
    assert_eq!(house.verb(&["terminate", "4294967296"]).status.code(), Some(1));
    let human = harness::text(&house.verb(&["status"]).stdout);
    assert!(human.contains("is serving") && human.contains("echo") && human.contains("program"), "{human}");
    // A service that listens nowhere has its counts too.
    let offered = human.lines().find(|line| line.starts_with("offered")).unwrap_or_default();
    assert!(offered.split_whitespace().eq("offered program tcpmux - 0 0 0 0 0 1".split(' ')), "{human}");
}

#[test]
fn process_one_of_a_container_stays_and_reaps() {
    use rustix::process::geteuid;
    if !geteuid().is_root() {
        return skip("process 1 of a container", "it takes root to make a namespace of processes");
    }
    let unshare = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let possible = std::process::Command::new("unshare").args(unshare).arg("true").output();
    if !possible.is_ok_and(|tried| tried.status.success()) {
        return skip("process 1 of a container", "unshare --pid --mount-proc is not permitted here");
    }
    // Its program leaves an orphan behind.
    let orphan = "[[service]]\nid = \"orphan\"\nexec = [\"sh\", \"-c\", \"(sleep 0; exit 0) & exec cat\"]\nlisten = \"tcp:127.0.0.1:0\"\n";
    let house = House::start_by(&small(&format!("{ECHO}{orphan}")), |command, _| {
        let program = std::mem::replace(command, std::process::Command::new("unshare"));
        command.args(unshare).arg(program.get_program());
    });
    let outside = harness::children_of(i32::try_from(house.first.id()).expect("a number"));
    let [init] = outside[..] else { panic!("one process 1: {outside:?}") };
    let endpoints = house.endpoints();
    assert_eq!(house.status()["pid"], 1);
    house.must("upgrade");
    let second = || house.status()["pid"].as_i64().expect("a number");
    assert_ne!(second(), 1);
    wait_until("it stays as init", || harness::children_of(init).len() == 1, String::new);
    house.must("upgrade");
    let tasks = || harness::descendants(init);
    for (name, at) in &endpoints {
        Held::open(name, at).finish();
    }
    let zombies =
        || tasks().into_iter().filter_map(Pid::from_raw).any(|pid| harness::state_of(pid) == Some('Z'));
    wait_until("zombies are reaped", || !zombies(), || format!("{:?}", tasks()));
    // Signals reach whoever serves by now, and process 1 ends with it.
    let pid = Pid::from_raw(init).expect("a number");
    rustix::process::kill_process(pid, Signal::HUP).expect("there");
    wait_until("the reload", || house.status()["reloads"] == 1, || house.status().to_string());
    rustix::process::kill_process(pid, Signal::TERM).expect("there");
    let gone = || matches!(harness::state_of(pid), None | Some('Z'));
    wait_until("the container ends", gone, || format!("{:?}", tasks()));
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

#[test]
fn metrics_are_told_over_http() {
    let text = small(&format!("{ECHO}{CAT}"))
        .replace("version = 1\n", "version = 1\nmetrics = \"tcp:127.0.0.1:0\"\n");
    let house = House::start(&text);
    let ask = |request: &str| {
        let at = house.endpoints()["(metrics)"].clone();
        let mut stream = harness::Stream::connect(&at).expect("there");
        let answer = stream.converse(request.as_bytes()).expect("an answer");
        harness::text(&answer)
    };
    let scrape = || ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    Held::open("echo", &house.endpoints()["echo"]).finish();
    let held = Held::open("cat", &house.endpoints()["cat"]);
    let has = |line: &str| wait_until(line, || scrape().lines().any(|there| there == line), scrape);
    let answer = scrape();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    for line in body.lines() {
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
        assert!(line.starts_with("# ") || line.starts_with("switchboard_") && value.is_some(), "{line}");
    }
    has("switchboard_accepted_total{service=\"echo\"} 1");
    has("switchboard_ended_total{service=\"echo\"} 1");
    has("switchboard_programs{service=\"cat\"} 1");
    has("switchboard_connections_open{service=\"cat\"} 1");
    house.write(&format!("{text}{}", ECHO.replace("echo", "time")));
    house.must("reload");
    has("switchboard_accepted_total{service=\"time\"} 0");
    has("switchboard_reloads_total 1");
    house.upgrade();
    has("switchboard_upgrades_total 1");
    has("switchboard_accepted_total{service=\"echo\"} 1");
    assert!(ask("GET /healthz HTTP/1.0\r\n\r\n").contains("200 OK"));
    assert!(ask("GET /readyz HTTP/1.0\r\n\r\n").contains("200 OK"));
    assert!(ask("HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    assert!(ask("GET /etc/passwd HTTP/1.1\r\n\r\n").contains("404"));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").contains("405"));
    assert!(ask(&"x".repeat(9000)).contains("431"));
    house.ask(&serde_json::json!({ "do": "drain", "notice_ms": 600_000, "timeout_ms": 1000 }));
    assert!(ask("GET /readyz HTTP/1.1\r\n\r\n").contains("503"));
    assert!(ask("GET /healthz HTTP/1.1\r\n\r\n").contains("200 OK"));
    held.finish();
}

#[test]
fn units_of_systemd_are_well_formed() {
    const NEWER_KEY: &str = "DelegateSubgroup=supervisor\n";
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let files: Vec<_> =
        std::fs::read_dir(&folder).expect("the folder").flatten().map(|file| file.path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    let version = match std::process::Command::new("systemd-analyze").arg("--version").output() {
        Err(error) => return skip("systemd's units", &format!("systemd-analyze: {error}")),
        Ok(said) => harness::text(&said.stdout),
    };
    let version: u32 = version.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let scratch = Scratch::new();
    let mut copies = Vec::new();
    for file in files {
        // What is checked is that the program is there, too.
        let mut text = std::fs::read_to_string(&file).expect("a unit");
        if version < 254 && text.contains(NEWER_KEY) {
            // An older systemd warns that it does not know the key, and goes on without it.
            skip("DelegateSubgroup", &format!("systemd {version} does not know it, 254 does"));
            text = text.replace(NEWER_KEY, "");
        }
        let copy = scratch.0.join(file.file_name().expect("a name"));
        std::fs::write(&copy, text.replace("/usr/bin/switchboard", env!("CARGO_BIN_EXE_switchboard")))
            .expect("written");
        if copy.to_str().is_some_and(|name| name.contains("@.")) {
            let instance = copy.to_str().expect("UTF-8").replace("@.", "@a.");
            std::fs::copy(&copy, &instance).expect("a copy");
            copies.push(instance.into());
        } else {
            copies.push(copy);
        }
    }
    let verified = std::process::Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(&copies)
        .output()
        .expect("systemd-analyze, which told its version");
    let said = harness::text(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("switchboard")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}
