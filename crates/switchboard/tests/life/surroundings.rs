//! What a service manager, a container and a full disk mean for it.

use super::{CAT, ECHO, listeners, small};
use crate::harness::{Scratch, skip, wait_until};
use crate::house::{House, inodes};
use crate::load::Held;
use crate::notifications::Manager;
use crate::{harness, house};
use rustix::process::{Pid, Signal};

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
