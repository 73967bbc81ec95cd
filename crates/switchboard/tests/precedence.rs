//! A command line with a file: what is said of the whole server wins over the file, also after a reload; what is said of
//! single services is refused, with the key to write; nothing is ignored. Row S14.

#![allow(dead_code, unreachable_pub)]

#[path = "harness/mod.rs"]
mod harness;
#[path = "life/house.rs"]
mod house;

use harness::{PATIENCE, Scratch, Stream, program, run_to_end, text};
use house::House;
use std::path::Path;

const ECHO: &str = "[[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n";

/// One conversation; the log that it leaves at this path.
fn logged(house: &House, log: &Path) -> String {
    let mut stream = Stream::connect(&house.endpoints()["echo"]).expect("the listener is open");
    assert_eq!(stream.converse(b"hello").expect("an answer"), b"hello");
    let read = || std::fs::read_to_string(log).unwrap_or_default();
    harness::wait_until("a record", || read().contains("bytes_in"), read);
    let said = read();
    std::fs::write(log, "").expect("ours");
    said
}

/// A server of this file, with more options on its command line; SCRATCH stands for the directory.
fn serve(text: &str, options: &[&str]) -> House {
    let scratch = Scratch::new();
    house::write(&scratch, text);
    let directory = scratch.0.to_str().expect("UTF-8");
    let options = options.iter().map(|option| option.replace("SCRATCH", directory));
    let mut command = program();
    command.args(["serve", "--format", "json", "--config", &scratch.path("file.toml")]).args(options);
    command.arg(format!("--control={}", scratch.path("control")));
    House::run(scratch, &mut command)
}

#[test]
fn what_is_said_of_the_whole_server_wins_over_the_file_and_over_the_next_one() {
    let file = |idle: u8| {
        let log =
            "log = { to = \"SCRATCH/files\", format = \"json\", mask = \"all\" }\ndrain_timeout = \"600s\"";
        format!("version = 1\n{log}\n{ECHO}idle_timeout = \"{idle}m\"\n")
    };
    let options =
        ["--log-file", "SCRATCH/own", "--log", "logfmt", "--log-mask", "host", "--drain-timeout", "0s"];
    let house = serve(&file(1), &options);
    let own = house.scratch.0.join("own");
    for idle in [2, 3] {
        let said = logged(&house, &own);
        assert!(said.contains("service=echo") && said.contains("peer=127.0.0.0/24"), "{said}");
        house.write(&file(idle));
        house.must("reload");
    }
    assert!(!house.scratch.0.join("files").exists(), "the file's log is not used");
    // Nobody has ten minutes.
    let mut held = Stream::connect(&house.endpoints()["echo"]).expect("the listener is open");
    let stopped = std::process::Command::new("kill").arg(house.pid().as_raw_nonzero().to_string()).status();
    assert!(stopped.is_ok_and(|status| status.success()));
    let _ = held.converse(b"").map(|answer| assert_eq!(answer, b""));
}

#[test]
fn a_part_of_the_log_that_is_not_given_stays_as_the_file_has_it() {
    let log = "log = { to = \"SCRATCH/files\", format = \"json\", mask = \"all\" }\n";
    let house = serve(&format!("version = 1\n{log}{ECHO}"), &["--log-mask", "none"]);
    let said = logged(&house, &house.scratch.0.join("files"));
    assert!(said.contains("\"service\":\"echo\"") && said.contains("\"peer\":\"127.0.0.1:"), "{said}");
}

/// What a command that must be refused as a wrong use says.
fn refused(words: &[&str]) -> String {
    let done = run_to_end(program().arg("serve").args(words), None, PATIENCE);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{words:?}: {said}");
    said
}

#[test]
fn what_is_said_of_single_services_is_refused_with_the_key_to_write() {
    let scratch = Scratch::new();
    let file = scratch.path("file.toml");
    std::fs::write(&file, format!("version = 1\n{ECHO}")).expect("a file");
    for (words, key) in [
        (&["--engine", "fork"][..], "`engine`"),
        (&["--workers", "2"], "`workers`"),
        (&["--option", "nodelay=off"], "`socket_options`"),
        (&["--max-connections", "3"], "`max_connections`"),
        (&["--idle-timeout", "3s"], "`idle_timeout`"),
        (&["--lifetime", "3s"], "`lifetime`"),
        (&["--udp-source-rate", "off"], "`udp_source_rate`"),
        (&["--udp-total-rate", "off"], "`udp_total_rate`"),
        (&["--allow", "::1"], "`access.allow`"),
        (&["--deny", "::1"], "`access.deny`"),
        (&["--hours", "08:00-12:00"], "`access.times`"),
        (&["--hosts-access", "x"], "`access.hosts`"),
        (&["--tcprules", "/x"], "`access.tcprules`"),
        (&["--max-connections-per-source", "3"], "`per_source`"),
        (&["--rate", "3/s"], "`rate`"),
        (&["--rate-per-source", "3/s"], "`rate_per_source`"),
        (&["--max-load", "3"], "`max_load`"),
        (&["--min-memory", "3MiB"], "`min_memory`"),
        (&["--otherwise", "reset"], "`otherwise` beside the limit"),
        (&["--refusal", "no"], "`message`"),
        (&["--ipv6-prefix", "48"], "`ipv6_prefix`"),
        (&["--accept-proxy", "any", "--proxy-from", "::1"], "`proxy_in`"),
        (&["--proxy-timeout", "3s"], "`proxy_timeout`"),
        (&["--cert", "/x"], "`tls.cert`"),
        (&["--set", "user=nobody"], "the key itself"),
        (&["--compat"], "--compat is about files of inetd and xinetd"),
    ] {
        let said = refused(&[&["--config", &file], words].concat());
        assert!(said.contains(words[0]) && said.contains(key), "{words:?}: {said}");
    }
    let inetd = scratch.path("inetd.conf");
    std::fs::write(&inetd, "127.0.0.1:0 stream tcp nowait root /bin/cat cat\n").expect("a file");
    let said = refused(&["--inetd", &inetd, "--idle-timeout", "3s"]);
    assert!(said.contains("with --inetd") && said.contains("convert"), "{said}");
}

#[test]
fn every_option_is_one_of_the_whole_server_or_is_known_to_be_refused() {
    let help = text(&run_to_end(program().args(["serve", "--help"]), None, PATIENCE).stdout);
    let options = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let options: std::collections::BTreeSet<&str> = options
        .map(|word| word.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or(word))
        .collect();
    let known = "accept-proxy allow alpn busy-poll cert client-cert client-roots compat config control deny \
                 dialect drain-timeout engine format handshake-timeout help hosts-access hours \
                 idle-timeout inetd ipv6-prefix key lifetime listen log log-file log-mask log-names \
                 max-connections max-connections-per-source max-load min-memory option otherwise pin \
                 proxy-from proxy-only proxy-timeout rate rate-per-source refusal set strict tcprules \
                 tls-max tls-min udp-source-rate udp-total-rate verbose version workers xinetd";
    let known: Vec<&str> = known.split_whitespace().collect();
    let here: Vec<&str> = options.into_iter().filter(|option| !option.is_empty()).collect();
    assert_eq!(
        here, known,
        "a new option: does it win over a file (serve.rs, Overrides), or is it refused with one (serve/given.rs)?"
    );
}

#[test]
fn an_option_that_no_service_of_the_command_line_heeds_is_refused() {
    for (words, option) in [
        (&["exec:cat", "--engine", "fork"][..], "--engine"),
        (&["exec:cat", "--workers", "2"], "--workers"),
        (&["exec:cat", "--idle-timeout", "3s"], "--idle-timeout"),
        (&["exec:cat", "--udp-total-rate", "off"], "--udp-total-rate"),
        (&["forward:tcp:127.0.0.1:1", "--engine", "poll"], "--engine"),
        (&["forward:tcp:127.0.0.1:1", "--udp-source-rate", "off"], "--udp-source-rate"),
    ] {
        let said = refused(&[words, &["--listen", "tcp:127.0.0.1:0"]].concat());
        assert!(said.contains(&format!("{option} makes no difference here")), "{words:?}: {said}");
    }
    assert!(refused(&["echo", "--compat"]).contains("--compat is about files"));
}

/// A program on the command line with more words; what two clients hear.
fn heard(words: &[&str]) -> [Vec<u8>; 2] {
    let arguments = [&["exec:cat", "--listen", "tcp:127.0.0.1:0"], words].concat();
    let server = harness::Server::start(&arguments);
    let endpoint = server.endpoint();
    let heard = [b"one", b"two"].map(|said| {
        let answer = Stream::connect(&endpoint).and_then(|mut stream| stream.converse(said));
        answer.unwrap_or_default()
    });
    harness::end(server);
    heard
}

#[test]
fn what_is_set_for_a_program_of_the_command_line_holds_beside_options() {
    assert_eq!(heard(&["--set", "access.deny=127.0.0.1"]), [b"".to_vec(), b"".to_vec()]);
    assert_eq!(heard(&["--set", "access.deny=all", "--rate", "9/s", "--refusal", "no"])[0], b"no\r\n");
    let slow = ["--set", "rate={ most = \"1/h\", otherwise = \"close\" }", "--deny", "10.0.0.0/8"];
    assert_eq!(heard(&slow), [b"one".to_vec(), b"".to_vec()]);
    assert_eq!(heard(&["--max-connections", "2", "--set", "stderr=null"]), [b"one", b"two"]);
    for words in [
        &["--set", "access.times=08:00-12:00", "--allow", "all"][..],
        &["--set", "per_source=3", "--max-connections-per-source", "3"],
        &["--set", "rate=3/s", "--otherwise", "reset"],
    ] {
        let said = refused(&[&["exec:cat", "--listen", "tcp:127.0.0.1:0"], words].concat());
        assert!(said.contains("say it one way") && said.contains(words[2]), "{words:?}: {said}");
    }
}
