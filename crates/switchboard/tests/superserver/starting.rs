//! Programs that are not there or cannot be started: said before anything is served, and tried again.

use super::{connect, file, hear, is_root, run, said, serve};
use crate::harness;
use crate::harness::{Scratch, Server, end, make_executable, skip, wait_until};
use rustix::process::Resource;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

#[test]
fn a_program_that_is_missing_is_said_before_anything_is_served() {
    let scratch = Scratch::new();
    let file = file(&scratch, "[[service]]\nexec = \"/nonexistent/program\"\nlisten = \"tcp:127.0.0.1:0\"\n");
    for arguments in [["check", &file].as_slice(), &["serve", "--config", &file]] {
        let done = run(harness::program().args(arguments));
        let said = said(&done);
        assert_eq!(done.status.code(), Some(78), "{said}");
        assert!(said.contains("/nonexistent/program: no such file") && said.contains(":4:8"), "{said}");
    }
}

#[test]
fn a_program_that_is_taken_away_and_put_back_is_served_again() {
    let scratch = Scratch::new();
    let (here, away) = (scratch.path("program"), scratch.path("away"));
    make_executable(Path::new(&here), Some("#!/bin/sh\necho served\n"));
    // Two places for this source: what failed must not keep one.
    let more = "per_source = 2\n";
    let text = format!("[[service]]\nexec = [\"{here}\"]\nlisten = \"tcp:127.0.0.1:0\"\n{more}");
    let server = serve(&scratch, &text);
    assert_eq!(hear(&server, b""), "served\n");
    assert_eq!(server.records(1)[0]["status"], 0);
    std::fs::rename(&here, &away).expect("ours");
    (0..10).for_each(|_| assert_eq!(hear(&server, b""), ""));
    server.wait_for_line("what is missing", |line| {
        line.contains("cannot execute") && line.contains("There is no such file")
    });
    std::fs::rename(&away, &here).expect("ours");
    // The places of the last ones are free a moment after they have heard their end.
    wait_until("it is served again", || hear(&server, b"") == "served\n", || "it is not".to_owned());
    end(server);
}

#[test]
fn no_process_for_the_server_itself_passes_by_itself() {
    if !is_root("no processes") {
        return;
    }
    // A user of its own, since the limit counts all processes of a user; root may always start more.
    let user = (3_000_000_000 + u64::from(std::process::id())).to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    command.arg(env!("CARGO_BIN_EXE_switchboard")).args(["serve", "exec:/bin/cat"]);
    command.args(["--listen", "tcp:127.0.0.1:0", "--format", "json", "--log", "json"]);
    let server = match Server::try_start(&mut command) {
        Ok(server) => server,
        Err(said) => return skip("no processes", &format!("another user cannot start this build: {said:?}")),
    };
    assert_eq!(hear(&server, b"before"), "before");
    server.records(1);
    let limit = |soft: &str| {
        for pid in server.workers() {
            // By that user: even root may be without the capability for the limits of others.
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit"]);
            let done =
                run(command.args(["--pid", &pid.as_raw_nonzero().to_string(), &format!("--nproc={soft}:")]));
            assert!(done.status.success(), "{}", said(&done));
        }
    };
    let normal = rustix::process::getrlimit(Resource::Nproc).current;
    let normal = normal.map_or("unlimited".to_owned(), |limit| limit.to_string());
    limit("1");
    let mut waiting = connect(&server);
    waiting.write_all(b"waiting").expect("connected");
    waiting.finish();
    let line = server.wait_for_line("no process", |line| line.contains("rocess"));
    assert!(line.contains("EAGAIN") || line.contains("temporarily") || line.contains("NPROC"), "{line}");
    limit(&normal);
    let mut rest = String::new();
    waiting.read_to_string(&mut rest).expect("served in the end, or closed");
    assert!(rest.is_empty() || rest == "waiting", "{rest}");
    assert_eq!(hear(&server, b"after"), "after");
    end(server);
}
