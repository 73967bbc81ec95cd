//! Who a program is, and what it may do; a step that fails means that it is not started.

use super::{file, hear, is_root, line_of, run, said, script, serve};
use crate::harness;
use crate::harness::{Scratch, Server, end, skip};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn a_program_is_who_it_was_told_to_be() {
    if !is_root("identities") {
        return;
    }
    let scratch = Scratch::new();
    let server = serve(
        &scratch,
        &script(
            "cat /proc/self/status; echo Nice: $(nice); echo Files: $(ulimit -n); echo Hard: $(ulimit -Hn)",
            "user = \"65534\"\ngroup = \"61111\"\ngroups = [\"62222\", \"63333\"]\numask = \"027\"\nnice = 5\n\
             rlimits = { nofile = [100, 200] }\ncapabilities = [\"net_raw\"]\nseccomp = \"service\"",
        ),
    );
    let status = hear(&server, b"");
    let expected = [
        ("Uid", "65534 65534 65534 65534"),
        ("Gid", "61111 61111 61111 61111"),
        ("Groups", "62222 63333"),
        ("Umask", "0027"),
        ("Nice", "5"),
        ("Files", "100"),
        ("Hard", "200"),
        ("CapEff", "0000000000002000"),
        ("CapPrm", "0000000000002000"),
        ("CapBnd", "0000000000002000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ];
    for (name, value) in expected {
        assert_eq!(line_of(&status, name), value, "{name}");
    }
    end(server);
}

#[test]
fn a_program_of_root_has_none_of_roots_privileges() {
    if !is_root("capabilities") {
        return;
    }
    let scratch = Scratch::new();
    let server = serve(&scratch, &script("cat /proc/self/status", ""));
    let status = hear(&server, b"");
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(line_of(&status, name), "0000000000000000", "{name}");
    }
    assert_eq!(line_of(&status, "NoNewPrivs"), "1");
    end(server);
}

#[test]
fn a_program_sees_its_root_and_what_landlock_leaves() {
    if !is_root("roots") {
        return;
    }
    let scratch = Scratch::new();
    let (jail, secret) = (scratch.0.join("jail"), scratch.path("secret"));
    std::fs::create_dir(&jail).expect("a directory");
    std::fs::write(&secret, "secret").expect("a file");
    let landlock = "landlock = { read = [\"/bin\", \"/usr\", \"/lib\", \"/lib64\", \"/etc\"], write = [] }";
    let text = script(&format!("cat {secret} || echo no; cat /etc/passwd | head -n 1"), landlock);
    let file = file(
        &scratch,
        &text.replace("\"/lib64\", ", if Path::new("/lib64").exists() { "\"/lib64\", " } else { "" }),
    );
    let mut command = harness::program();
    let server = Server::try_start(command.args(["serve", "--format", "json", "--config", &file]));
    match server {
        Ok(server) => {
            let heard = hear(&server, b"");
            assert!(heard.starts_with("no\nroot:"), "{heard}");
            end(server);
        }
        Err(said) if said.iter().any(|line| line.contains("this kernel")) => {
            skip("Landlock", &format!("{said:?}"));
        }
        Err(said) => panic!("{said:?}"),
    }
    // Nothing can be executed in an empty root: the step that fails is in the log, and nothing runs outside it.
    let text = script("echo outside", &format!("chroot = \"{}\"", jail.display()));
    let file = self::file(&scratch, &text);
    let mut command = harness::program();
    match Server::try_start(command.args(["serve", "--format", "json", "--config", &file])) {
        Ok(server) => {
            assert_eq!(hear(&server, b""), "");
            server.wait_for_line("the step", |line| line.contains("cannot execute"));
            end(server);
        }
        Err(said) => assert!(said.iter().any(|line| line.contains("/bin/sh")), "{said:?}"),
    }
}

#[test]
fn a_step_that_fails_is_said_and_the_program_is_not_started() {
    let scratch = Scratch::new();
    let place = scratch.0.join("place");
    std::fs::create_dir(&place).expect("a directory");
    let text = script("echo started", &format!("directory = \"{}\"", place.display()));
    let server = serve(&scratch, &text);
    assert_eq!(hear(&server, b""), "started\n");
    server.records(1);
    std::fs::remove_dir(&place).expect("ours");
    assert_eq!(hear(&server, b""), "");
    server.wait_for_line("the step", |line| line.contains("cannot chdir"));
    end(server);
}

#[test]
fn an_ordinary_user_is_told_which_capability_is_missing() {
    let scratch = Scratch::new();
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o755)).expect("ours");
    for (keys, capability) in [
        ("user = \"root\"", "CAP_SETUID"),
        ("chroot = \"/usr\"", "CAP_SYS_CHROOT"),
        ("nice = -5", "CAP_SYS_NICE"),
        ("capabilities = \"net_raw\"", "CAP_NET_RAW"),
    ] {
        let file = file(&scratch, &script("exec cat", keys));
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
            command.arg(env!("CARGO_BIN_EXE_switchboard"));
            command
        } else {
            harness::program()
        };
        let done = run(command.args(["serve", "--config", &file]));
        let said = said(&done);
        if matches!(done.status.code(), Some(126 | 127)) {
            return skip("an ordinary user", &format!("cannot start this build: {said}"));
        }
        assert_eq!(done.status.code(), Some(78), "{said}");
        assert!(said.contains(capability), "{keys}: {said}");
    }
}
