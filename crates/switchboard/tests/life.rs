//! A server's life: it is reloaded, upgraded, drained and shot at while clients keep coming, and nobody is refused, reset
//! or cut short.

#![allow(unreachable_pub)]

#[path = "harness/mod.rs"]
#[allow(dead_code)]
mod harness;
#[path = "life/house.rs"]
mod house;
#[path = "life/load.rs"]
mod load;

use harness::{skip, wait_until};
use house::{House, inodes};
use load::{Held, under_load};
use std::collections::BTreeMap;
use std::io::Write;

/// Services that are there all the time; `n` changes what may change while they are used.
fn file(n: usize) -> String {
    let idle = 60 + n;
    let workers = [1, 2, 4][n % 3];
    let uring = if harness::has_io_uring() { "uring" } else { "poll" };
    let mut text = format!(
        "version = 1\ndrain_timeout = \"4s\"\nupgrade_timeout = \"30s\"\nlog = {{ to = \"SCRATCH/log\" }}\n\
         [defaults]\nudp_source_rate = \"off\"\nudp_total_rate = \"off\"\n"
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
