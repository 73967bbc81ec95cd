//! The command line as users see it: help whose examples work, lists, errors that name the part and the way out,
//! exit codes, and quiet when nobody reads. Rows S1, S5, S7, S13, S16, S17, S22.

mod harness;

use harness::{PATIENCE, Scratch, Server, Stream, has_answers, has_io_uring, program, skip, text};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use switchboard::{ENGINES, SERVICES, SOCKET_OPTIONS};

const VERBS: [&str; 13] = [
    "serve", "cert", "check", "config", "convert", "connect", "load", "lab", "list", "explain", "resolve",
    "sockets", "trace",
];
/// They speak to a running server; `control.rs` runs their examples.
const CONTROL_VERBS: [&str; 7] = ["status", "reload", "upgrade", "drain", "stop", "terminate", "health"];

/// Runs the program to its end; it is killed, and the test fails, when that takes too long.
fn run(arguments: &[&str]) -> Output {
    finish(program().args(arguments), &format!("{arguments:?}"))
}

fn finish(command: &mut Command, what: &str) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let (alive, done) = std::sync::mpsc::channel::<()>();
    let process = rustix::process::Pid::from_child(&child);
    std::thread::spawn(move || {
        if done.recv_timeout(PATIENCE).is_err() {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    });
    // The pipes are small and so is what goes through them; the watchdog sees to the rest.
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let status = child.wait().expect("our child");
    let _ = alive.send(());
    assert!(status.code().is_some(), "{what}: {status}");
    let output = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().expect("a reader");
    Output { status, stdout: output(stdout), stderr: output(stderr) }
}

fn read_all(from: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// What a run that must succeed says.
fn said(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn help_names_every_verb_and_every_option() {
    for flag in ["-h", "--help"] {
        let help = said(&[flag]);
        for verb in VERBS.into_iter().chain(CONTROL_VERBS) {
            assert!(help.contains(&format!("\n  {verb} ")), "{flag}: {verb}: {help}");
            let of_verb = said(&[verb, flag]);
            assert!(of_verb.contains("Usage: switchboard"), "{of_verb}");
            assert!(of_verb.contains("Examples:\n"), "{verb} {flag} has no examples");
            assert!(of_verb.lines().all(|line| line.chars().count() <= 110), "{verb} {flag}: too wide");
        }
    }
    for verb in ["serve", "connect"] {
        assert!(said(&[verb, "--help"]).contains("Exit codes:\n"), "{verb}");
    }
}

#[test]
fn the_version_is_one_line() {
    for flag in ["-V", "--version"] {
        assert_eq!(said(&[flag]), format!("switchboard {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn lists_hold_every_row() {
    let services = said(&["list", "services"]);
    for service in SERVICES {
        assert!(services.contains(&format!("\n{} ", service.name)), "{}", service.name);
        assert!(services.contains(service.summary), "{}", service.name);
    }
    let engines = said(&["list", "engines"]);
    for engine in ENGINES {
        assert!(engines.contains(&format!("\n{} ", engine.name)), "{}", engine.name);
    }
    let options = said(&["list", "options"]);
    for option in SOCKET_OPTIONS {
        assert!(options.contains(&format!("\n{} ", option.name)), "{}", option.name);
    }
    for option in SERVICES.iter().flat_map(|service| service.options) {
        assert!(options.contains(&format!("\n{} ", option.name)), "{}", option.name);
    }
    assert!(options.contains("\namplify "), "{options}");
}

#[test]
fn lists_in_the_readme_are_the_real_ones() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    for what in ["services", "engines"] {
        let prompt = format!("$ switchboard list {what}\n");
        let at = readme.find(&prompt).unwrap_or_else(|| panic!("README.md has no `{}`", prompt.trim_end()));
        let real = said(&["list", what]);
        let shown = &readme[at + prompt.len()..];
        assert!(shown.starts_with(&real), "README.md, {}: it is now\n{real}", prompt.trim_end());
    }
}

/// The commands among a help text's examples, without the remarks beside them.
fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty()).map(str::trim_start);
    lines.map(|line| line.split("   ").next().unwrap_or(line).trim_end().to_owned()).collect()
}

#[test]
fn examples_are_found_without_their_remarks() {
    let help = "Options:\n  -x\n\nExamples:\n  a b     what it does\n  c | d 'e  f'\n\nMore:\n  g\n";
    assert_eq!(examples(help), ["a b", "c | d 'e  f'"]);
}

/// A shell in `folder` in which `switchboard` is the program under test.
fn shell(command: &str, folder: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_switchboard"));
    let folder_of_program = program.parent().expect("a folder").to_str().expect("UTF-8");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).current_dir(folder);
    shell.env("PATH", format!("{folder_of_program}:{path}")).env("TZ", "UTC").env_remove("SWITCHBOARD_FAULT");
    // What a user keeps is not touched.
    shell.env("XDG_DATA_HOME", folder.join("data"));
    shell
}

/// Every example of every help text runs. Those of `serve` one after the other, since some use the ports of the
/// board; those of `connect` against a board on free ports.
#[test]
fn examples_in_the_help_work() {
    let mut connects = examples(&said(&["--help"]));
    for verb in VERBS {
        let found = examples(&said(&[verb, "--help"]));
        assert!(found.len() >= 3, "{verb} --help has {} examples", found.len());
        connects.extend(found);
    }
    let is_serve = |line: &String| line.starts_with("switchboard serve");
    let serves: Vec<String> = connects.iter().filter(|line| is_serve(line)).cloned().collect();
    connects.retain(|line| !is_serve(line));
    serves.iter().for_each(|line| serve_example(line));
    let board = Board::start();
    connects.iter().for_each(|line| board.example(line));
}

fn serve_example(line: &str) {
    if line.contains("--engine uring") && !has_io_uring() {
        return skip(line, "this kernel has no io_uring, or forbids it");
    }
    let scratch = Scratch::new();
    let free = line
        .replace("tcp:*:7013", "tcp:*:0")
        .replace("udp:0.0.0.0:7013", "udp:0.0.0.0:0")
        .replace("unix:/tmp/", &format!("unix:{}/", scratch.0.display()));
    let command = format!("exec {free} --format json --log json");
    match Server::try_start(&mut shell(&command, &scratch.0)) {
        Ok(server) => {
            let (_, stream) = server
                .listeners()
                .into_iter()
                .find(|(_, endpoint)| !endpoint.starts_with("udp:"))
                .unwrap_or_else(|| panic!("{line} serves no stream"));
            let mut client = Stream::connect(&stream).unwrap_or_else(|error| panic!("{line}: {error}"));
            client.converse(b"1 2\n").unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(server.stop().code, Some(0), "{line}");
        }
        // Fixed ports may be those of another program here; then that is what must be said.
        Err(stderr) if stderr.iter().any(|line| line.contains("Address already in use")) => {
            assert!(stderr.iter().all(|line| line.starts_with("switchboard: ")), "{line}: {stderr:?}");
            skip(line, "the ports of the board are in use");
        }
        // So may the machine's bound of buffers be too low; then the way out is what must be said.
        Err(stderr) if stderr.iter().any(|line| line.contains("raise that sysctl")) => {
            skip(line, "net.core.wmem_max is too low here");
        }
        Err(stderr) => panic!("{line}: {stderr:?}"),
    }
}

/// Every service on free ports, and what stands in the examples for them.
struct Board {
    _servers: [Server; 2],
    scratch: Scratch,
    /// (kind, port in the examples) → port here.
    ports: HashMap<(&'static str, String), String>,
}

impl Board {
    fn start() -> Board {
        let scratch = Scratch::new();
        let mut arguments: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
        arguments.extend(["--listen", "tcp:127.0.0.1:0", "--listen", "udp:127.0.0.1:0"]);
        let inet = Server::start(&arguments);
        let unix = Server::start(&["echo", "--listen", &format!("unix:{}", scratch.path("echo.sock"))]);
        let mut ports = HashMap::new();
        for (name, endpoint) in inet.listeners() {
            let service = SERVICES.iter().find(|service| service.name == name).expect("a service");
            let (kind, at) = endpoint.split_once(':').expect("kind:place");
            let here = at.rsplit(':').next().expect("a port").to_owned();
            let (kind, board) =
                if kind == "tcp" { ("tcp", service.board.tcp) } else { ("udp", service.board.udp) };
            let known = board.iter().map(u16::to_string).chain([name.clone()]);
            ports.extend(known.map(|port| ((kind, port), here.clone())));
        }
        std::fs::write(scratch.path("request.bin"), [0, 1, 2, 255]).expect("a scratch file");
        Board { _servers: [inet, unix], scratch, ports }
    }

    /// Runs a line of the help with this board's ports; its outcome must be good, and the right one.
    fn example(&self, line: &str) {
        let here = self.translated(line);
        let mut output = finish(&mut shell(&here, &self.scratch.0), line);
        if line.contains(" load ") && !has_answers(&output) {
            // The machine was busy with something else for all of a short time: ten times as long.
            output = finish(&mut shell(&here.replace("0ms", "00ms"), &self.scratch.0), line);
        }
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if (line.contains(" lab run ") || line.contains(" lab guide ")) && output.status.code() == Some(77) {
            return skip(line, &stderr);
        }
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        let right = match line {
            _ if line.starts_with("echo hello") => stdout == "hello\n",
            _ if line.contains(" cert dev") => stdout.starts_with("certificate "),
            _ if line.contains("exec:'tr a-z") => stdout == "HELLO",
            _ if line.contains("sum-binary") => stdout.ends_with("sum = 7\n"),
            _ if line.contains("--verify") => stdout.contains("all came back"),
            _ if line.contains("connect -z") => stdout.contains(" open "),
            _ if line.contains("exec:'sort") => {
                std::fs::exists(self.scratch.path("daytime.txt")).unwrap_or(false)
            }
            _ if line.contains(" trace ") => stdout.ends_with(" UTC\r\n"),
            _ if line.contains(":daytime") || line.contains(":7013") => stdout.ends_with(" UTC\r\n"),
            _ if line.starts_with("printf '3 4") => stdout == "7\n11\n",
            _ if line.ends_with("> answer.bin") => {
                std::fs::read(self.scratch.path("answer.bin")).expect("the answer") == [0, 1, 2, 255]
            }
            _ if line.contains(" load engines ") && line.contains("json") => stdout.contains("\"version\":1"),
            _ if line.contains(" load engines ") => stdout.contains("requests/s"),
            _ if line.contains(" load ") && line.contains("json") => {
                stdout.contains("\"schema\":\"switchboard.load\"")
            }
            // A stream has no times if not one of its probes came back.
            _ if line.contains(" load ") && line.contains("stream") => stdout.contains("errors 0"),
            _ if line.contains(" load ") => {
                // On a busy machine a request may not have been started in time, which is told there, too.
                stdout.contains("p99.999 ")
                    && (stdout.contains("errors 0\n") || stdout.contains("errors 0; "))
            }
            _ if line.contains(" lab run ") => stdout.contains(" coped with"),
            _ if line.contains(" lab guide ") => stdout.contains("index.html"),
            _ if line.contains(" lab list") => stdout.contains("14-child-killed"),
            _ if line.contains(" lab show ") => stdout.contains("SIGPIPE"),
            _ if line.contains(" list ") => stdout.lines().count() > 5,
            _ if line.contains(" explain ") => stdout.lines().count() > 5,
            _ if line.contains(" sockets --watch") || line.contains("--count 3") => !stdout.is_empty(),
            _ if line.contains(" sockets") => stdout.contains("LISTEN"),
            _ if line.contains(" resolve ") => stdout.contains("127.0.0.1") || stdout.contains("::1"),
            _ if line.contains(" convert ") && !line.contains(" check ") => stdout.contains("version = 1\n"),
            _ if line.contains(" check ") => stdout.contains("good") || stdout.contains("built in"),
            _ if line.contains(" config ") => stdout.lines().count() > 5,
            _ => line.contains("--connections") && stdout.is_empty(),
        };
        assert!(right, "{line}: {stdout:?}");
        // An ordinary user is told that owners are hidden.
        let remark = line.contains(" sockets") && stderr.contains("CAP_SYS_PTRACE");
        let remark = remark || line.contains(" --hex");
        let remark = remark || line.contains(" trace ") && !line.contains(" -o ");
        // How much of the lab there can be on this machine.
        let remark = remark || stderr.starts_with("switchboard: mode: ");
        // A slow or busy machine has a saturated generator, and says so.
        let said = |words| line.contains(" load ") && stderr.contains(words);
        let remark = remark || said("GENERATOR SATURATED") || said("had not been sent at the end");
        assert_eq!(line.contains(" -v") || remark, !stderr.is_empty(), "{line}: {stderr}");
    }

    fn translated(&self, line: &str) -> String {
        let kind = if line.contains("udp:") { "udp" } else { "tcp" };
        let mut here = line.replace("unix:/run/", &format!("unix:{}/", self.scratch.0.display()));
        for ((of, port), ours) in &self.ports {
            // The word after `connect` may be a service's name and no port.
            if *of == kind && !(port.parse::<u16>().is_err() && line.contains(&format!("connect {port} "))) {
                for (before, after) in [(":", " "), (":", ""), (" ", " "), (" ", "")] {
                    let (theirs, ours) = (format!("{before}{port}{after}"), format!("{before}{ours}{after}"));
                    let whole = !after.is_empty() || here.ends_with(&theirs);
                    here = if whole { here.replace(&theirs, &ours) } else { here };
                }
            }
        }
        here
    }
}

/// A command line that is wrong: exit code 2 and, in one line, which part and what would be right.
#[test]
fn usage_errors_name_the_part_and_the_way_out() {
    for (line, parts) in [
        ("", &["Usage: switchboard <COMMAND>"][..]),
        ("frob", &["frob", "--help"]),
        ("list", &["<WHAT>", "--help"]),
        ("list everything", &["everything", "services"]),
        ("explain", &["<WHAT>", "--help"]),
        ("resolve", &["<NAME>", "--help"]),
        ("resolve localhost -4 -6", &["--ipv4", "--ipv6"]),
        ("sockets --state listening", &["`listening`", "listen", "connected"]),
        ("sockets --port 70000", &["70000", "65535"]),
        ("sockets --watch=soon", &["soon", "500ms"]),
        ("sockets --watch=1ms", &["--watch", "10 ms"]),
        ("sockets --count 3", &["--watch"]),
        ("serve nosuch", &["nosuch", "echo", "discard"]),
        ("serve echo --engine nosuch", &["nosuch", "epoll", "uring"]),
        ("serve echo --nosuch", &["--nosuch"]),
        ("serve echo --listen tpc:127.0.0.1:7", &["`tpc`", "tcp, udp, unix"]),
        ("serve echo --listen tcp:::1:7", &["brackets"]),
        ("serve echo --listen tcp:127.0.0.1:65536", &["65536", "65535"]),
        ("serve echo --listen tcp:127.0.0.1:", &["port is missing"]),
        ("serve --listen tcp:127.0.0.1:0", &["--listen needs a service"]),
        ("serve echo discard --listen tcp:127.0.0.1:47007", &["cannot share", "47007"]),
        ("serve echo --engine threads --listen udp:127.0.0.1:0", &["streams only", "epoll"]),
        ("serve echo --option nodely=off", &["`nodely`", "did you mean `nodelay`?"]),
        ("serve echo --option nodelay", &["NAME=VALUE"]),
        ("serve echo --option nodelay=maybe", &["`maybe`", "on|off"]),
        ("serve echo --option abi=xdr", &["`abi`"]),
        ("serve sum-binary --option abi=vax", &["`vax`", "lp64-le"]),
        (
            "serve echo --listen unix:@switchboard-cli --option nodelay=off",
            &["nodelay", "none of the sockets"],
        ),
        ("serve echo --idle-timeout 5parsecs", &["parsecs", "500ms"]),
        ("serve echo --max-connections 1.5", &["1.5", "whole number"]),
        ("serve echo --udp-source-rate 5", &["RATE/BURST", "off"]),
        ("connect", &["ENDPOINT"]),
        ("connect tpc:127.0.0.1:7", &["`tpc`"]),
        ("connect 127.0.0.1 seven!", &["seven!"]),
        ("connect --line 127.0.0.1 7", &["--line"]),
        ("connect udp:127.0.0.1:7 --connections 5", &["--connections"]),
        ("connect 127.0.0.1 7 --option nodely=off", &["nodely"]),
        ("connect 127.0.0.1 7 --option backlog=5", &["backlog"]),
        ("connect 127.0.0.1 7 --connect-timeout soon", &["soon", "500ms"]),
        ("connect 127.0.0.1 7 -4 -6", &["--ipv4", "--ipv6"]),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = run(&words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "`{line}`: {stderr}");
        assert!(output.stdout.is_empty(), "`{line}` says something on standard output");
        for part in parts {
            assert!(stderr.contains(part), "`{line}` does not say {part:?}: {stderr}");
        }
        let first = stderr.lines().next().unwrap_or_default();
        // clap's own complaints begin with `error:`, ours with the program's name; help begins with what it is.
        let told = line.is_empty() || first.starts_with("error: ") || first.starts_with("switchboard: ");
        assert!(told && !stderr.contains("panicked"), "`{line}`: {stderr}");
    }
}

#[test]
fn what_cannot_be_bound_is_said_and_the_others_serve() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("tcp:127.0.0.1:{}", taken.local_addr().expect("an address").port());

    let alone = run(&["serve", "echo", "--listen", &taken]);
    let stderr = text(&alone.stderr);
    assert_eq!(alone.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on {taken}: Address already in use")), "{stderr}");
    assert!(stderr.contains("port 0"), "the way out: {stderr}");
    assert!(alone.stdout.is_empty(), "{}", text(&alone.stdout));

    let both = ["echo", "--listen", &taken, "--listen", "tcp:127.0.0.1:0"];
    let server = Server::start(&both);
    assert_eq!(server.listeners().len(), 1);
    server.wait_for_line("the port in use", |line| line.contains(&taken));
    let mut client = Stream::connect(&server.endpoint()).expect("the other one serves");
    assert_eq!(client.converse(b"hello").expect("an answer"), b"hello");
    assert_eq!(server.stop().code, Some(0));

    let strict = run(&[&["serve"], &both[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(1), "{}", text(&strict.stderr));
}

#[test]
fn names_that_nobody_knows_have_their_exit_code() {
    for line in ["serve echo --listen tcp:127.0.0.1:no-such-service", "connect 127.0.0.1 no-such-service"] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = run(&words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{line}: {stderr}");
        assert!(stderr.contains("no-such-service"), "{line}: {stderr}");
    }
}

#[test]
fn port_0_is_printed() {
    let mut child = program()
        .args(["serve", "echo", "--listen", "tcp:127.0.0.1:0", "--log", "none"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let ready = loop {
        let line = lines.next().expect("a line that says ready").expect("UTF-8");
        if line.starts_with("server ready on port ") {
            break line;
        }
    };
    let port = ready.split_whitespace().nth(4).expect("a port");
    let mut client = Stream::connect(&format!("tcp:127.0.0.1:{port}")).expect(&ready);
    assert_eq!(client.converse(b"hello").expect(&ready), b"hello");
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("it is there");
    assert!(child.wait().expect("our child").success());
}

/// Whoever reads may leave early: no panic, no message, and an exit code that says so.
#[test]
fn a_closed_output_is_met_quietly() {
    let mut child = program()
        .args(["list", "options"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("our child");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 10)), "{}", output.status);

    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = program().args(["list", "services"]).stdout(full).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(10), "{}", text(&output.stderr));

    let scratch = Scratch::new();
    let piped = finish(&mut shell("switchboard list options | head -1", &scratch.0), "| head -1");
    assert_eq!(text(&piped.stdout).lines().count(), 1);
    assert!(piped.stderr.is_empty(), "{}", text(&piped.stderr));
}

#[test]
fn a_server_whose_output_is_closed_goes_on_serving() {
    let scratch = Scratch::new();
    let path = scratch.path("echo.sock");
    let mut child = program()
        .args(["serve", "echo", "--listen", &format!("unix:{path}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop((child.stdout.take(), child.stderr.take()));
    let until = Instant::now() + PATIENCE;
    let mut client = loop {
        match std::os::unix::net::UnixStream::connect(&path) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < until, "nobody listens: {error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    client.write_all(b"still here?").expect("somebody listens");
    client.shutdown(std::net::Shutdown::Write).expect("a socket");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer).expect("an answer");
    assert_eq!(answer, "still here?");
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("it is there");
    let status = child.wait().expect("our child");
    assert!(status.code().is_some(), "it must not die of a signal: {status}");
}

#[test]
fn the_log_can_go_to_a_file() {
    let scratch = Scratch::new();
    let log = scratch.path("log");
    let server = Server::start(&["echo", "--listen", "tcp:127.0.0.1:0", "--log-file", &log]);
    let mut stream = Stream::connect(&server.endpoint()).expect("it listens");
    assert_eq!(stream.converse(b"hello").expect("an answer"), b"hello");
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let log = std::fs::read_to_string(log).expect("the log");
    let record: serde_json::Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!((record["service"].as_str(), record["event"].as_str()), (Some("echo"), Some("connection")));
    for key in ["id", "peer", "engine", "end"] {
        assert!(!record[key].is_null(), "{log}");
    }
}
