//! vsock, the sockets between virtual machines and their host, on this machine alone (`VMADDR_CID_LOCAL`): `connect`, its
//! listening end, joined ends, TLS; `serve` with services, programs and relays; and what is said where the kernel lacks
//! something. `.ci/guest` runs it on a kernel that has all of it. Row S5.

mod harness;

#[path = "tls/authority.rs"]
#[allow(dead_code)]
mod authority;
#[path = "ends/running.rs"]
mod running;

use authority::Authority;
use harness::{PATIENCE, Server, end, program, run_to_end, skip, text};
use running::{Running, start_command};
use std::process::Output;
use std::sync::LazyLock;

/// What becomes of somebody who calls where nobody listens.
static NOBODY: LazyLock<Output> =
    LazyLock::new(|| run_to_end(program().args(["connect", "vsock:local:1"]), Some(b""), PATIENCE));

/// Whether the kernel has a way from this machine to itself; if not, that is said.
fn has_a_way() -> bool {
    let said = text(&NOBODY.stderr);
    let lacks = said.contains("CONFIG_VSOCKETS") || said.contains("module vsock_loopback");
    if lacks {
        skip("vsock from this machine to itself", said.trim_end());
    }
    !lacks
}

fn connect(at: &str, more: &[&str], input: &[u8]) -> Output {
    run_to_end(program().args(["connect", at]).args(more), Some(input), PATIENCE)
}

#[test]
fn what_is_missing_is_named() {
    let said = text(&NOBODY.stderr);
    assert_ne!(NOBODY.status.code(), Some(0), "{said}");
    assert!(
        ["modprobe vsock", "vsock_loopback", "Nothing listens there"].iter().any(|part| said.contains(part)),
        "{said}"
    );
    for (arguments, part) in [
        (&["vsock:7"][..], "CID:PORT"),
        (&["vsock:*:7"], "for listening"),
        (&["vsock:host:0"], "port 0"),
        (&["-4", "vsock:host:7"], "for TCP and UDP"),
        // Some machines have no authorities that could be trusted.
        (&["--insecure", "tls:vsock:host:7"], "--server-name"),
    ] {
        let ran = run_to_end(program().arg("connect").args(arguments), Some(b""), PATIENCE);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains(part), "{arguments:?}: {}", text(&ran.stderr));
    }
}

#[test]
fn both_halves_pass_and_tls_on_them() {
    if !has_a_way() {
        return;
    }
    let authority = Authority::new();
    let own = authority.server("localhost");
    let payload: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    for tls in ["", "tls:"] {
        let mut command = program();
        command.args(["connect", "-v", &format!("listen:{tls}vsock:local:0"), "exec:cat"]);
        if !tls.is_empty() {
            command.args(["--cert", &own.cert, "--key", &own.key]);
        }
        let mut running: Running = start_command(&mut command);
        let at = running.after("listening on ");
        let more = ["--ca", &authority.file, "--server-name", "localhost"];
        let ran = connect(&at, if tls.is_empty() { &[] } else { &more }, &payload);
        assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
        assert!(ran.stdout == payload, "{} bytes", ran.stdout.len());
        running.ends(0);
    }
}

#[test]
fn services_are_served_there() {
    if !has_a_way() {
        return;
    }
    for engine in ["epoll", "uring", "threads"] {
        let server = Server::start(&["echo", "--listen", "vsock:local:0", "--engine", engine]);
        let ran = connect(&server.endpoint(), &[], b"hello");
        assert_eq!((ran.status.code(), &ran.stdout[..]), (Some(0), &b"hello"[..]), "{}", text(&ran.stderr));
        let record = &server.records(1)[0];
        assert!(record["peer"].as_str().is_some_and(|peer| peer.starts_with("local:")), "{record}");
        end(server);
    }
}

#[test]
fn nobody_there_is_a_refusal() {
    if !has_a_way() {
        return;
    }
    assert_eq!(NOBODY.status.code(), Some(4), "{}", text(&NOBODY.stderr));
    assert!(text(&NOBODY.stderr).contains("Nothing listens there"), "{}", text(&NOBODY.stderr));
}

#[test]
fn a_program_is_served_there_and_knows_its_client() {
    if !has_a_way() {
        return;
    }
    let server = Server::start(&["exec:/bin/sh -c 'env; cat'", "--listen", "vsock:*:0"]);
    let at = server.endpoint();
    let port = at.strip_prefix("vsock:*:").unwrap_or_else(|| panic!("{at}"));
    let ran = connect(&format!("vsock:local:{port}"), &[], b"and its input");
    let heard = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    for line in ["PROTO=VSOCK", "VSOCKREMOTECID=1", "and its input"] {
        assert!(heard.lines().any(|heard| heard == line), "{line}: {heard}");
    }
    let record = &server.records(1)[0];
    assert!(record["peer"].as_str().is_some_and(|peer| peer.starts_with("local:")), "{record}");
    end(server);
}

#[test]
fn relays_lead_there_and_from_there() {
    if !has_a_way() {
        return;
    }
    let payload: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let echo = Server::start(&["echo", "--listen", "vsock:local:0"]);
    let inward = Server::start(&[&format!("forward:{}", echo.endpoint()), "--listen", "tcp:127.0.0.1:0"]);
    let outward = Server::start(&[&format!("forward:{}", inward.endpoint()), "--listen", "vsock:local:0"]);
    // To the relay on vsock, by TCP to the other one, by vsock to the echo.
    let ran = connect(&outward.endpoint(), &[], &payload);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(ran.stdout == payload, "{} bytes", ran.stdout.len());
    for server in [outward, inward] {
        let record = &server.records(1)[0];
        for bytes in ["bytes_in", "bytes_out"] {
            assert_eq!(record[bytes], payload.len(), "{record}");
        }
        end(server);
    }

    // The client joins two endpoints itself.
    let at = echo.endpoint();
    let mut running = start_command(program().args(["connect", "-v", "listen:tcp:127.0.0.1:0", &at]));
    let ran = connect(&running.after("listening on "), &[], &payload);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(ran.stdout == payload, "{} bytes", ran.stdout.len());
    running.ends(0);
    end(echo);
}
