//! Bounds that only some kernels keep: ports by Landlock. Real programs try what is forbidden. Where the kernel cannot, the
//! test is skipped aloud.

use super::{file, hear, script};
use crate::harness::{Scratch, Server, end, program, skip};
use std::net::TcpListener;
use std::process::Command;

const OURS: &str = env!("CARGO_BIN_EXE_switchboard");

/// A server of this text; nothing if the kernel does not have what it takes.
fn try_serve(scratch: &Scratch, what: &str, text: &str, command: &mut Command) -> Option<Server> {
    let file = file(scratch, text);
    match Server::try_start(command.args(["serve", "--format", "json", "--config", &file])) {
        Ok(server) => Some(server),
        Err(said) if said.iter().any(|line| line.contains("this kernel") || line.contains("Linux 6.7")) => {
            skip(what, &format!("{said:?}"));
            None
        }
        Err(said) => panic!("{said:?}"),
    }
}

#[test]
fn landlock_keeps_a_program_from_ports_that_are_not_its_own() {
    let scratch = Scratch::new();
    // Both listen, so that whoever is let through is told that he is connected.
    let [allowed, forbidden] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let try_both = format!(
        "for port in {} {}; do {OURS} connect -z tcp:127.0.0.1:$port 2>&1 && echo through; done",
        port(&allowed),
        port(&forbidden)
    );
    let rules =
        format!("landlock = {{ read = [\"/\"], write = [\"/dev\"], connect = [{}] }}", port(&allowed));
    let Some(server) = try_serve(&scratch, "ports", &script(&try_both, &rules), &mut program()) else {
        return;
    };
    let heard = hear(&server, b"");
    assert_eq!(heard.matches("through").count(), 1, "{heard}");
    let refused = heard.lines().filter(|line| line.contains("ermission denied")).collect::<Vec<_>>();
    assert!(refused.iter().any(|line| line.contains(&port(&forbidden).to_string())), "{heard}");
    end(server);

    let serve = |port: u16| format!("timeout 5 {OURS} serve echo --listen tcp:127.0.0.1:{port} 2>&1");
    let free = port(&forbidden);
    drop(forbidden);
    let rules = "landlock = { read = [\"/\"], write = [\"/dev\"], bind = [1] }";
    let Some(server) = try_serve(&scratch, "ports", &script(&serve(free), rules), &mut program()) else {
        return;
    };
    let heard = hear(&server, b"");
    assert!(heard.contains("ermission denied"), "{heard}");
    end(server);
}
