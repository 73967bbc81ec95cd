//! `load engines`: who is in the table, what stands in it, what is said when somebody cannot take part. Not how fast
//! anything is. Row S4.

mod harness;

use harness::{PATIENCE, Scratch, has_io_uring, program, run_to_end, skip};
use serde_json::Value;
use std::process::Output;

/// Short rounds on a machine that may be busy: numbers are there, whatever they are.
fn bake(more: &[&str]) -> Output {
    let mut command = program();
    command.args(["load", "engines", "--quick", "--rounds", "1", "--duration", "60ms", "--idle", "40"]);
    run_to_end(command.args(more), None, 6 * PATIENCE)
}

fn found(more: &[&str]) -> Value {
    let ended = bake(&[more, &["--format", "json"]].concat());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn servers<'a>(found: &'a Value, case: &str) -> &'a Vec<Value> {
    let cases = found["cases"].as_array().expect("cases");
    let case = cases.iter().find(|found| found["name"] == case).unwrap_or_else(|| panic!("no case {case}"));
    case["servers"].as_array().expect("servers")
}

#[test]
fn every_server_has_every_number_of_its_case_or_a_reason() {
    if !has_io_uring() {
        skip("engine uring in the bake-off", "this kernel has no io_uring, or forbids it");
    }
    let found = found(&["--workers", "1"]);
    assert_eq!(found["version"], 1);
    for case in ["many", "connect", "idle"] {
        let servers = servers(&found, case);
        let names: Vec<&str> = servers.iter().map(|server| server["name"].as_str().expect("name")).collect();
        let engines: Vec<&str> = switchboard::ENGINES.iter().map(|engine| engine.name).collect();
        assert_eq!(names, engines);
        for server in servers {
            let missing = server["missing"].as_str();
            let numbers: &[&str] = match case {
                "idle" => &["bytes_before", "bytes_each"],
                _ => &["p50_us", "p99_us", "p999_us"],
            };
            for name in numbers {
                assert_eq!(server[name].is_number(), missing.is_none(), "{case} {name}: {server}");
            }
            if case != "idle" && missing.is_none() {
                // A busy machine may give a server no answer in time: a rate of 0 is a number too.
                assert!(server["rate_per_s"]["median"].is_number(), "{case}: {server}");
            }
            let expected = match server["name"].as_str() {
                Some("uring") => missing.is_some() != has_io_uring(),
                Some("iterative") => missing.is_some() == (case != "connect"),
                Some("prefork" | "pool") => missing.is_some() == (case == "idle"),
                _ => missing.is_none(),
            };
            assert!(expected, "{case}: {server}");
        }
    }
    assert!(found["advice"].as_array().is_some_and(|advice| advice.len() >= 3), "{}", found["advice"]);
}

#[test]
fn peers_stand_in_the_same_table_and_one_that_is_no_echo_says_so() {
    let own = env!("CARGO_BIN_EXE_switchboard");
    let echo =
        format!("other={own} serve echo --log none --engine threads --listen 'tcp:127.0.0.1:{{port}}'");
    let deaf = format!("deaf={own} serve discard --log none --listen 'tcp:127.0.0.1:{{port}}'");
    let none = "none=/no/such/program {port}";
    let only = ["--engines", "epoll", "--workers", "1,2", "--busy-poll", "--cases", "connect"];
    let found = found(&[&only[..], &["--peer", &echo, "--peer", &deaf, "--peer", none]].concat());
    let servers = servers(&found, "connect");
    let missing = |name: &str| -> Option<&str> {
        let server = servers.iter().find(|server| server["name"] == name);
        server.unwrap_or_else(|| panic!("{name} is not there"))["missing"].as_str()
    };
    for name in ["epoll", "epoll ×2", "epoll busy", "other"] {
        assert_eq!(missing(name), None, "{name}");
    }
    assert!(missing("deaf").is_some());
    assert!(missing("none").is_some_and(|reason| reason.contains("cannot start /no/such/program")));
}

/// A peer that is told its port: the first time that cannot be bound, the second time somebody else listens there, and
/// then it is an echo. In between it waits until the port is taken.
const LATE: &str = r#"
cd "$(dirname "$0")" || exit
n=$(cat count 2>/dev/null || echo 0)
echo $((n + 1)) > count
if [ "$n" -lt 2 ]; then
    echo "$2" > port
    read -r go < go
fi
case $n in
    0) echo 'no place for me' >&2; exit 1 ;;
    1) exec tail -f /dev/null ;;
esac
exec "$1" serve echo --log none --listen "tcp:127.0.0.1:$2"
"#;

#[test]
fn a_port_that_somebody_else_took_is_given_up_for_another() {
    let scratch = Scratch::new();
    let (script, port, go) = (scratch.path("late.sh"), scratch.path("port"), scratch.path("go"));
    std::fs::write(&script, LATE).expect("our directory");
    for fifo in [&port, &go] {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    }
    // It ends with the process of the test, and holds what it took until then.
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        while let Ok(port) = std::fs::read_to_string(&port) {
            let port: u16 = port.trim().parse().expect("a port");
            taken.push(std::net::TcpListener::bind(("127.0.0.1", port)));
            std::fs::write(&go, "\n").expect("somebody waits");
        }
    });
    let own = env!("CARGO_BIN_EXE_switchboard");
    let late = format!("late=sh '{script}' '{own}' {{port}}");
    let only = ["--engines", "epoll", "--workers", "1", "--cases", "connect", "--peer", &late];
    let ended = bake(&[&only[..], &["--format", "json"]].concat());
    let said = String::from_utf8_lossy(&ended.stderr);
    let found: Value =
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let late = servers(&found, "connect").iter().find(|server| server["name"] == "late").expect("late");
    // A machine may be too busy for any answer in time.
    let missing = late["missing"].as_str();
    assert!(missing.is_none_or(|why| why.contains("not one answer")), "{late}: {said}");
    assert_eq!(said.matches("was taken meanwhile by").count(), 2, "{said}");
    assert!(said.contains("no place for me") && said.contains("late: port "), "{said}");
}

#[test]
fn a_peer_that_goes_into_the_background_is_refused_and_ended() {
    let own = env!("CARGO_BIN_EXE_switchboard");
    let scratch = Scratch::new();
    let (script, number) = (scratch.path("daemon.sh"), scratch.path("pid"));
    // It leaves its parent, its group and its session. It may listen before or after its parent's end is noticed.
    let text = format!(
        "setsid \"{own}\" serve echo --log none --listen tcp:127.0.0.1:$1 &\necho $! > \"{number}\"\n"
    );
    std::fs::write(&script, text).expect("our directory");
    let peer = format!("daemon=sh '{script}' {{port}}");
    let found = found(&["--engines", "epoll", "--workers", "1", "--cases", "connect", "--peer", &peer]);
    let daemon = servers(&found, "connect").iter().find(|server| server["name"] == "daemon").expect("it");
    let pid = std::fs::read_to_string(&number).expect("it has been there");
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().expect("a number")).expect("of a process");
    harness::Server::wait_until_gone(&[pid], "it ends with the bake-off");
    let why = daemon["missing"].as_str().unwrap_or_default();
    assert!(why.contains("background") || why.contains("ended before it listened"), "{daemon}");
}

#[test]
fn the_page_is_whole_and_fetches_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("engines.html");
    let ended =
        bake(&["--engines", "epoll,threads", "--workers", "1", "--cases", "one,idle", "--output", &path]);
    let text = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(
        text.contains("requests/s") && text.contains("p99.9 µs") && text.contains("bytes each"),
        "{text}"
    );
    if text.contains("not one answer in") {
        return skip("figures of the bake-off", "this machine is too busy for any answer in time");
    }
    let page = std::fs::read_to_string(&path).expect("the page");
    assert_eq!(page.matches("<svg ").count(), 3, "rates and latencies of one case, memory of the other");
    assert_eq!(page.matches("<section ").count(), page.matches("</section>").count());
    for engine in ["epoll", "threads"] {
        assert!(page.contains(&format!("<th scope=\"row\">{engine}</th>")), "{engine}");
    }
    let links = page.replace("http://www.w3.org/2000/svg", "");
    assert!(
        !links.contains("http:") && !links.contains("https:") && !page.contains("<script"),
        "it fetches something"
    );
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    for (arguments, reason) in [
        (&["--engines", "eppoll"][..], "the engines are iterative, fork"),
        (&["--cases", "two"], "the cases are one, many"),
        (&["--peer", "go=./echo"], "does not say where the port belongs"),
        (&["--engines", "epoll", "--peer", "epoll=./echo {port}"], "two servers are called epoll"),
        (&["--workers", "1,2,3,4,5,6,7,8,9,10"], "too many for one run"),
    ] {
        let ended = bake(arguments);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
}
