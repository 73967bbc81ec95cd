//! What a program finds: descriptors, and an environment that is a list of names.

use super::{connect, file, hear, script, serve};
use crate::harness;
use crate::harness::{Scratch, Server, end, wait_until};
use std::collections::BTreeSet;

#[test]
fn a_program_has_three_descriptors() {
    let scratch = Scratch::new();
    let text = "[[service]]\nexec = [\"/bin/ls\", \"/proc/self/fd\"]\nlisten = \"tcp:127.0.0.1:0\"\n";
    let server = serve(&scratch, text);
    // The fourth is that of the directory which ls reads.
    assert_eq!(hear(&server, b""), "0\n1\n2\n3\n");
    end(server);
}

/// The names in the environment of a program; the server's own has something secret in it.
fn environment(scratch: &Scratch, listen: &str, more: &str) -> (BTreeSet<String>, String) {
    let env = format!("[[service]]\nexec = \"/usr/bin/env\"\nlisten = \"{listen}\"\n{more}\n");
    let file = file(scratch, &env);
    let mut command = harness::program();
    command.args(["serve", "--format", "json", "--config", &file]).env("SECRET", "leaks");
    let server = Server::try_start(&mut command).unwrap_or_else(|said| panic!("{said:?}"));
    let heard = if listen.contains("udp") {
        let socket = harness::datagram_socket(&server.endpoint());
        String::from_utf8(harness::ask(&socket, b"?").expect("answered")).expect("UTF-8")
    } else {
        hear(&server, b"")
    };
    end(server);
    let names = heard.lines().filter_map(|line| line.split_once('='));
    (names.map(|(name, _)| name.to_owned()).collect(), heard)
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_environment_is_a_list_of_names() {
    const ALWAYS: &str = "PATH TZ PROTO SWITCHBOARD_CONNECTION SWITCHBOARD_SERVICE ";
    const INET: &str = "NCAT_LOCAL_ADDR NCAT_LOCAL_PORT NCAT_PROTO NCAT_REMOTE_ADDR NCAT_REMOTE_PORT REMOTE_ADDR \
                        REMOTE_HOST REMOTE_PORT SOCAT_PEERADDR SOCAT_PEERPORT SOCAT_SOCKADDR SOCAT_SOCKPORT ";
    let scratch = Scratch::new();
    let own = "TCPLOCALIP TCPLOCALPORT TCPREMOTEIP TCPREMOTEPORT";
    let (names, _) = environment(&scratch, "tcp:127.0.0.1:0", "");
    assert_eq!(names, words(&[ALWAYS, INET, own].concat()));
    let more = "env = { OWN = \"x\" }\npass_env = [\"SECRET\"]";
    let (names, text) = environment(&scratch, "tcp:127.0.0.1:0", more);
    assert_eq!(names, words(&[&ALWAYS.replace("TZ ", ""), INET, own, " OWN SECRET"].concat()));
    assert!(text.contains("OWN=x\n") && text.contains("SECRET=leaks\n"), "{text}");
}

#[test]
fn a_program_for_a_datagram_knows_who_sent_it() {
    let scratch = Scratch::new();
    let (names, text) = environment(&scratch, "udp:127.0.0.1:0", "mode = \"per-datagram\"");
    assert!(names.is_superset(&words("PROTO REMOTE_ADDR REMOTE_PORT UDPREMOTEIP UDPREMOTEPORT")), "{text}");
    assert!(text.contains("REMOTE_ADDR=127.0.0.1\n") && text.contains("PROTO=UDP\n"), "{text}");
}

#[test]
fn a_program_knows_the_user_at_the_other_end_of_a_unix_socket() {
    let scratch = Scratch::new();
    let at = format!("unix:{}", scratch.path("socket"));
    let (names, text) = environment(&scratch, &at, "");
    let expected = "PATH TZ PROTO SWITCHBOARD_CONNECTION SWITCHBOARD_SERVICE UNIXLOCALPATH UNIXREMOTEPID \
                    UNIXREMOTEEUID UNIXREMOTEEGID";
    assert_eq!(names, words(expected));
    let (pid, uid) = (std::process::id(), rustix::process::getuid().as_raw());
    assert!(text.contains(&format!("UNIXREMOTEPID={pid}\n")), "{text}");
    assert!(text.contains(&format!("UNIXREMOTEEUID={uid}\n")), "{text}");
}

#[test]
fn a_listener_blocks_whatever_the_program_before_has_left() {
    let scratch = Scratch::new();
    let out = scratch.path("flags");
    // dd(1) makes its input non-blocking, and fails to read from a listener; the client stays in the queue.
    let text =
        script(&format!("grep flags /proc/self/fdinfo/0 >> {out}; dd iflag=nonblock of=/dev/null"), "");
    let server = serve(&scratch, &format!("{text}mode = \"wait\"\nstderr = \"null\"\n"));
    let _waits = connect(&server);
    let seen = || std::fs::read_to_string(&out).unwrap_or_default();
    wait_until("three programs", || seen().lines().count() >= 3, seen);
    let seen = seen();
    let flags: BTreeSet<&str> = seen.lines().take(3).collect();
    assert_eq!(flags.len(), 1, "{seen}");
    let first = flags.first().and_then(|line| line.split_whitespace().last()).expect("a line");
    assert_eq!(u32::from_str_radix(first, 8).expect("octal") & 0o4000, 0, "{seen}");
    end(server);
}
