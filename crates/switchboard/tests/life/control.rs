//! The control socket: whose it is, what is said over it; metrics.

use super::{CAT, ECHO, second, small};
use crate::harness;
use crate::harness::{skip, wait_until};
use crate::house::House;
use crate::load::Held;
use rustix::process::{Pid, Signal};

#[test]
fn the_control_socket_is_ours_alone() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let house = House::start(&small(ECHO));
    let path = house.scratch.0.join("control");
    let metadata = std::fs::metadata(&path).expect("there");
    assert!(
        metadata.file_type().is_socket() && metadata.permissions().mode() & 0o777 == 0o600,
        "{metadata:?}"
    );
    let refused = |what: &str| {
        let config = house.scratch.path("file.toml");
        let control = format!("--control={}", path.display());
        let ended =
            harness::program().args(["serve", "--config", &config, &control]).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(1), "{what}: {ended:?}");
        harness::text(&ended.stderr)
    };
    assert!(refused("a live server's").contains("Address already in use"));
    house.must("status");
    if rustix::process::geteuid().is_root() {
        let other = std::process::Command::new("setpriv")
            .args([
                "--reuid",
                "65534",
                "--clear-groups",
                env!("CARGO_BIN_EXE_switchboard"),
                "stop",
                "--control",
            ])
            .arg(&path)
            .output();
        match other {
            Ok(other) => assert!(!other.status.success(), "{other:?}"),
            Err(error) => skip("another user at the control socket", &format!("setpriv: {error}")),
        }
        house.must("status");
    } else {
        skip("another user at the control socket", "it takes root to become one");
    }
    // Nonsense, nothing, and more than a line: answered or cut, and the server goes on.
    assert!(second(&house, "sing").contains("no request"));
    let long = "x".repeat(10_000);
    assert_eq!(second(&house, &long), "");
    house.signal(Signal::KILL);
    let gone = || harness::state_of(Pid::from_child(&house.first)).is_none_or(|state| state == 'Z');
    wait_until("it is gone", gone, String::new);
    // Its file is left behind, and taken over.
    assert!(path.exists());
    let control = format!("--control={}", path.display());
    let again = harness::Server::start(&["--config", &house.scratch.path("file.toml"), &control]);
    assert!(house.verb(&["status"]).status.success());
    assert_eq!(again.stop().code, Some(0));
    assert!(!path.exists(), "removed at the end");
    std::fs::write(&path, "mine").expect("a file");
    assert!(refused("a file").contains("left alone"));
    assert_eq!(std::fs::read(&path).expect("there"), b"mine");
    std::fs::remove_file(&path).expect("removed");
    symlink(house.scratch.0.join("elsewhere"), &path).expect("a link");
    assert!(refused("a link").contains("left alone"));
    assert!(!house.scratch.0.join("elsewhere").exists());
}

#[test]
fn the_status_keeps_its_form() {
    const OFFER: &str = "[[service]]\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
                         [[service]]\nid = \"offered\"\nexec = \"cat\"\ntcpmux = true\n";
    let house = House::start(&small(&format!("{ECHO}{CAT}{OFFER}")));
    let program = Held::open("cat", &house.endpoints()["cat"]);
    let status = house.status();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let expected = "connections connections_unlisted files log_lines_lost pid program programs reloads reloads_refused \
                    retired schema services state upgrades uptime_s version";
    assert_eq!(keys(&status).join(" "), expected);
    assert_eq!(status["schema"], "switchboard-status");
    assert_eq!(status["version"], 1);
    let service = "by counters id listeners open restarts state workers";
    assert_eq!(keys(&status["services"][0]).join(" "), service);
    assert_eq!(keys(&status["services"][0]["listeners"][0]).join(" "), "endpoint service waiting");
    assert_eq!(keys(&status["programs"][0]).join(" "), "age_s connection peer pid service");
    let number = status["programs"][0]["connection"].to_string();
    assert!(house.verb(&["terminate", &number]).status.success());
    program.ended();
    assert_eq!(house.verb(&["terminate", "4294967296"]).status.code(), Some(1));
    let human = harness::text(&house.verb(&["status"]).stdout);
    assert!(human.contains("is serving") && human.contains("echo") && human.contains("program"), "{human}");
    // A service that listens nowhere has its counts too.
    let offered = human.lines().find(|line| line.starts_with("offered")).unwrap_or_default();
    assert!(offered.split_whitespace().eq("offered program tcpmux - 0 0 0 0 0 1".split(' ')), "{human}");
}

#[test]
fn metrics_are_told_over_http() {
    let text = small(&format!("{ECHO}{CAT}"))
        .replace("version = 1\n", "version = 1\nmetrics = \"tcp:127.0.0.1:0\"\n");
    let house = House::start(&text);
    let ask = |request: &str| {
        let at = house.endpoints()["(metrics)"].clone();
        let mut stream = harness::Stream::connect(&at).expect("there");
        let answer = stream.converse(request.as_bytes()).expect("an answer");
        harness::text(&answer)
    };
    let scrape = || ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    Held::open("echo", &house.endpoints()["echo"]).finish();
    let held = Held::open("cat", &house.endpoints()["cat"]);
    let has = |line: &str| wait_until(line, || scrape().lines().any(|there| there == line), scrape);
    let answer = scrape();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    for line in body.lines() {
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
        assert!(line.starts_with("# ") || line.starts_with("switchboard_") && value.is_some(), "{line}");
    }
    has("switchboard_accepted_total{service=\"echo\"} 1");
    has("switchboard_ended_total{service=\"echo\"} 1");
    has("switchboard_programs{service=\"cat\"} 1");
    has("switchboard_connections_open{service=\"cat\"} 1");
    house.write(&format!("{text}{}", ECHO.replace("echo", "time")));
    house.must("reload");
    has("switchboard_accepted_total{service=\"time\"} 0");
    has("switchboard_reloads_total 1");
    house.upgrade();
    has("switchboard_upgrades_total 1");
    has("switchboard_accepted_total{service=\"echo\"} 1");
    assert!(ask("GET /healthz HTTP/1.0\r\n\r\n").contains("200 OK"));
    assert!(ask("GET /readyz HTTP/1.0\r\n\r\n").contains("200 OK"));
    assert!(ask("HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    assert!(ask("GET /etc/passwd HTTP/1.1\r\n\r\n").contains("404"));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").contains("405"));
    assert!(ask(&"x".repeat(9000)).contains("431"));
    house.ask(&serde_json::json!({ "do": "drain", "notice_ms": 600_000, "timeout_ms": 1000 }));
    assert!(ask("GET /readyz HTTP/1.1\r\n\r\n").contains("503"));
    assert!(ask("GET /healthz HTTP/1.1\r\n\r\n").contains("200 OK"));
    held.finish();
}
