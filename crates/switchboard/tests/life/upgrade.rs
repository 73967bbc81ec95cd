//! Upgrades that fail: the predecessor goes on.

use super::{CAT, ECHO, is_called, second, small};
use crate::harness;
use crate::harness::{make_executable, wait_until};
use crate::house::House;
use crate::load::{Held, under_load};
use rustix::process::{Pid, Signal, kill_process};

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
        let fails = |script: &str, why: &str| {
            replace(&house, script);
            let said = house.must_not("upgrade");
            assert!(said.contains(why), "{script}: {said}");
        };
        for (script, why) in [
            ("exit 3", "ended with status 3"),
            ("kill -SEGV $$", "signal 11"),
            ("exec 1>&- 2>&-; read never <&0; exec sleep 0", "before it served"),
        ] {
            fails(script, why);
        }
        // While one runs, a second one and a reload are refused; the first one's end is told to whoever asked.
        replace(&house, "exec sleep 600");
        std::thread::scope(|scope| {
            let first =
                scope.spawn(|| house.try_ask(&serde_json::json!({ "do": "upgrade" })).expect("answer"));
            let successor = || {
                let children = harness::children_of(pid.as_raw_pid());
                children.into_iter().find(|child| is_called(*child, "sleep"))
            };
            wait_until("the upgrade has begun", || successor().is_some(), || "no successor".into());
            assert!(second(&house, "upgrade").contains("being upgraded"));
            assert!(second(&house, "reload").contains("being upgraded"));
            let successor = successor().and_then(Pid::from_raw).expect("it sleeps for ten minutes");
            kill_process(successor, Signal::KILL).expect("it is there");
            assert_eq!(first.join().expect("no panic")["ok"], false);
        });
        // Only who is to come too late has little time.
        house.write(&text.replace("version = 1\n", "version = 1\nupgrade_timeout = \"1s\"\n"));
        house.must("reload");
        fails("exec sleep 600", "did not serve within 1 s");
        house.write(&text);
        house.must("reload");
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
