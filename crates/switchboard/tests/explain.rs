//! `explain` and `resolve`: bytes, byte orders, ports, errnos, buffers; names in their order. Rows S13, S22, S23.

mod harness;

use harness::{program, text};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener};
use std::process::{Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

fn said(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What `explain --json` says: one object for each thing.
fn explained(words: &[&str]) -> Vec<Value> {
    let lines = said(&[&["explain", "--json"], words].concat());
    let object = |line: &str| -> Value {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(object["schema"], "switchboard.explain", "{line}");
        assert_eq!(object["version"], 1, "{line}");
        object
    };
    lines.lines().map(object).collect()
}

/// The meaning called `what`.
fn meaning(words: &[&str], what: &str) -> Value {
    let all = explained(words);
    let mut meanings = all.iter().filter_map(|object| object["meanings"].as_array()).flatten();
    let found = meanings.find(|meaning| meaning["what"] == what).cloned();
    found.unwrap_or_else(|| panic!("{words:?} has no meaning as {what}: {all:?}"))
}

/// The bytes of a structure's fields, one after the other: all that the kernel gets.
fn bytes(sheet: &Value, structure: &str) -> String {
    let fields = sheet[structure].as_array().unwrap_or_else(|| panic!("no {structure}: {sheet}"));
    let bytes: Vec<&str> = fields.iter().filter_map(|field| field["bytes"].as_str()).collect();
    let all = bytes.join(" ");
    assert_eq!(all.split(' ').count() as u64, sheet["length_bytes"].as_u64().expect("a length"), "{sheet}");
    all
}

/// Families are in host order, everything else is as it goes over the wire.
fn family(number: u16) -> String {
    number.to_ne_bytes().map(|byte| format!("{byte:02x}")).join(" ")
}

#[test]
fn socket_addresses_are_explained_to_the_byte() {
    let (inet, inet6, unix) = (family(2), family(10), family(1));
    let index = 1_u32.to_ne_bytes().map(|byte| format!("{byte:02x}")).join(" ");
    let zero = |n: usize| vec!["00"; n].join(" ");
    for (endpoint, structure, wanted) in [
        ("tcp:127.0.0.1:7", "sockaddr_in", format!("{inet} 00 07 7f 00 00 01 {}", zero(8))),
        ("udp:192.0.2.7:40000", "sockaddr_in", format!("{inet} 9c 40 c0 00 02 07 {}", zero(8))),
        ("tcp:[::1]:7", "sockaddr_in6", format!("{inet6} 00 07 {} {} 01 {}", zero(4), zero(15), zero(4))),
        (
            "tcp:[::ffff:192.0.2.1]:80",
            "sockaddr_in6",
            format!("{inet6} 00 50 {} {} ff ff c0 00 02 01 {}", zero(4), zero(10), zero(4)),
        ),
        (
            "tcp:[fe80::1%1]:80",
            "sockaddr_in6",
            format!("{inet6} 00 50 {} fe 80 {} 01 {index}", zero(4), zero(13)),
        ),
        // An abstract name begins with NUL and ends with its length; a path ends with NUL.
        ("unix:@x", "sockaddr_un", format!("{unix} 00 78")),
        ("unix-dgram:/run/x", "sockaddr_un", format!("{unix} 2f 72 75 6e 2f 78 00")),
    ] {
        assert_eq!(bytes(&meaning(&[endpoint], "endpoint"), structure), wanted, "{endpoint}");
    }
    let sheet = meaning(&["tcp:127.0.0.1:7"], "endpoint");
    let fields: Vec<&str> =
        sheet["sockaddr_in"].as_array().expect("fields").iter().filter_map(|f| f["field"].as_str()).collect();
    assert_eq!(fields, ["sin_family", "sin_port", "sin_addr", "sin_zero"]);
    assert_eq!(sheet["sockaddr_in"][0]["order"], "host order");
    assert_eq!(sheet["sockaddr_in"][1]["order"], "network order");
    assert_eq!(sheet["socket"], "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)");
}

/// Host order is that of the machine on which the README was written.
#[test]
#[cfg(target_endian = "little")]
fn screens_in_the_readme_are_the_real_ones() {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    for what in ["tcp:127.0.0.1:7", "ETIMEDOUT"] {
        let prompt = format!("$ switchboard explain {what}\n");
        let (_, shown) = readme.split_once(&prompt).unwrap_or_else(|| panic!("README.md has no `{prompt}`"));
        let real = said(&["explain", what]);
        assert!(shown.starts_with(&real), "README.md, {}: it is now\n{real}", prompt.trim_end());
    }
}

#[test]
fn addresses_are_given_in_every_notation() {
    for written in ["127.0.0.1", "127.1", "0x7f.1", "0177.0.0.01", "017700000001", "2130706433", "0x7f000001"]
    {
        let sheet = meaning(&["address", written], "address");
        for (key, wanted) in [
            ("address", "127.0.0.1"),
            ("hexadecimal", "0x7f000001"),
            ("octal", "017700000001"),
            ("binary", "01111111.00000000.00000000.00000001"),
            ("reverse_name", "1.0.0.127.in-addr.arpa"),
            ("mapped", "::ffff:127.0.0.1"),
            ("class", "loopback"),
            ("block", "127.0.0.0/8"),
        ] {
            assert_eq!(sheet[key], wanted, "{written}: {key}");
        }
        assert_eq!(sheet["decimal"], 2_130_706_433_u32, "{written}");
    }
    let loopback = meaning(&["[::1]"], "address");
    assert_eq!(loopback["full"], "0000:0000:0000:0000:0000:0000:0000:0001");
    assert_eq!(loopback["reverse_name"], format!("1.{}ip6.arpa", "0.".repeat(31)));
    let mapped = meaning(&["::ffff:10.0.0.1"], "address");
    assert!(mapped["ipv4_within"].as_str().expect("it has one").starts_with("10.0.0.1: private"), "{mapped}");
    assert_eq!(mapped["bytes"], "00 00 00 00 00 00 00 00 00 00 ff ff 0a 00 00 01");
    for (address, class, source) in [
        ("192.168.1.1", "private", "RFC 1918"),
        ("100.64.0.1", "CGNAT", "RFC 6598"),
        ("198.51.100.1", "documentation", "RFC 5737"),
        ("169.254.0.1", "link-local", "RFC 3927"),
        ("239.255.255.250", "multicast", "RFC 2365"),
        ("fd00::1", "unique local", "RFC 4193"),
        ("2002:c000:204::1", "6to4", "RFC 3056"),
        ("ff02::1", "multicast", "RFC 4291"),
        ("::", "unspecified", "RFC 4291"),
    ] {
        let sheet = meaning(&[address], "address");
        assert!(sheet["class"].as_str().is_some_and(|text| text.contains(class)), "{address}: {sheet}");
        assert!(sheet["source"].as_str().is_some_and(|text| text.starts_with(source)), "{address}: {sheet}");
    }
    assert_eq!(meaning(&["ff02::1"], "address")["scope"], "link");
    assert_eq!(meaning(&["fe80::211:22ff:fe33:4455"], "address")["made_from_mac"], "00:11:22:33:44:55");
}

/// The demonstration of the classic texts: 1 without htonl is 16777216 on the other side.
#[test]
fn numbers_are_shown_in_both_byte_orders() {
    let row = |sheet: &Value, at: usize| sheet["in_both_orders"][at].clone();
    let one = meaning(&["number", "1"], "number");
    assert_eq!(
        (row(&one, 2)["bits"].as_u64(), row(&one, 2)["bytes"].as_str()),
        (Some(32), Some("00 00 00 01"))
    );
    assert_eq!(row(&one, 2)["read_as_big_endian"], 1);
    assert_eq!(row(&one, 2)["read_as_little_endian"], 16_777_216);
    assert_eq!(row(&one, 3)["bytes"], "01 00 00 00");
    assert_eq!(row(&one, 3)["read_as_big_endian"], 16_777_216);
    assert_eq!(one["htonl"], 1_u32.to_be());
    assert_eq!(one["htons"], 1_u16.to_be());
    assert!(said(&["explain", "number", "1"]).contains("1 is 16777216 to a machine of the other order"));

    let short = meaning(&["number", "0x0102"], "number");
    assert_eq!((&short["decimal"], row(&short, 0)["bytes"].as_str()), (&Value::from(258), Some("01 02")));
    // What does not fit into 16 bits has no 16 bits.
    let long = meaning(&["number", "65536"], "number");
    assert_eq!(row(&long, 0)["bits"], 32);
    assert!(long["htons"].is_null(), "{long}");
    let longest = meaning(&["number", "0xffffffffffffffff"], "number");
    assert_eq!(longest["decimal"], u64::MAX);
}

#[test]
fn what_means_several_things_is_explained_as_each() {
    for (written, wanted) in [
        ("258", &["port", "number"][..]),
        ("111", &["port", "errno", "number"]),
        ("65536", &["address", "number"]),
        ("18446744073709551615", &["number"]),
        ("127.0.0.1", &["address"]),
        ("echo", &["port"]),
        ("tcp:127.0.0.1:7", &["endpoint"]),
        ("tcp:7", &["endpoint", "endpoint"]),
        ("econnrefused", &["errno"]),
    ] {
        let object = &explained(&[written])[0];
        assert_eq!(object["input"], written);
        let found: Vec<&str> = object["meanings"]
            .as_array()
            .expect("meanings")
            .iter()
            .filter_map(|meaning| meaning["what"].as_str())
            .collect();
        assert_eq!(found, wanted, "{written}");
    }
    assert_eq!(explained(&["127.0.0.1", "::1", "7"]).len(), 3);
    assert_eq!(explained(&["port", "7", "80"]).len(), 2);
}

#[test]
fn ports_have_their_range_and_their_price() {
    for (port, range) in [(7, "well-known"), (80, "well-known"), (40_000, "registered"), (65_535, "dynamic")]
    {
        let sheet = meaning(&["port", &port.to_string()], "port");
        assert!(sheet["range"].as_str().is_some_and(|text| text.starts_with(range)), "{sheet}");
        assert_eq!(sheet["port"], port);
        // What is said of privilege is what bind does.
        let bound = TcpListener::bind(("127.0.0.1", port));
        match bound.map_err(|error| error.kind()) {
            Err(ErrorKind::PermissionDenied) => {
                assert_eq!(
                    (&sheet["privilege_needed_here"], &sheet["may_bind_now"]),
                    (&true.into(), &false.into())
                );
            }
            Ok(_) | Err(ErrorKind::AddrInUse) => assert_ne!(sheet["may_bind_now"], false, "{sheet}"),
            Err(other) => panic!("{port}: {other:?}"),
        }
    }
    let echo = meaning(&["echo"], "port");
    assert_eq!((&echo["port"], &echo["network_order"]), (&7.into(), &"00 07".into()));
    let names = echo["names"].as_array().expect("names");
    assert!(names.iter().any(|row| row["name"] == "echo" && row["protocol"] == "tcp"), "{echo}");
    assert!(said(&["explain", "port", "7"]).contains("echo"));
}

#[test]
fn errnos_tell_who_meets_them_and_when() {
    const NAMES: &str = "ECONNREFUSED ECONNRESET EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH EADDRINUSE EADDRNOTAVAIL \
                         EACCES EAGAIN EINPROGRESS EALREADY EISCONN ENOTCONN ECONNABORTED EINTR EMFILE ENFILE ENOBUFS \
                         EMSGSIZE ENOPROTOOPT EHOSTDOWN EPROTO EPERM";
    for name in NAMES.split_whitespace() {
        let sheet = meaning(&[name], "errno");
        assert_eq!(sheet["name"], name);
        let number = sheet["number"].as_i64().expect("a number");
        let same = meaning(&["errno", &number.to_string()], "errno");
        assert_eq!(same, sheet);
        let system = std::io::Error::from_raw_os_error(number as i32).to_string();
        assert!(system.starts_with(sheet["text"].as_str().expect("a text")), "{name}: {system}");
        assert!(sheet["met_by"].as_array().is_some_and(|rows| !rows.is_empty()), "{name}");
    }
    let refused = meaning(&["ECONNREFUSED"], "errno");
    assert_eq!(
        (&refused["number"], &refused["met_by"][0]["call"]),
        (&libc::ECONNREFUSED.into(), &"connect".into())
    );
    assert_eq!(meaning(&["EWOULDBLOCK"], "errno")["name"], "EAGAIN");
    assert_eq!(meaning(&["errno", "2"], "errno")["text"], "No such file or directory");
}

#[test]
fn buffers_are_computed_from_bandwidth_and_delay() {
    let sheet = meaning(&["bdp", "1Gbit/s", "40ms"], "bdp");
    assert_eq!(sheet["product_bytes"], 5_000_000);
    assert_eq!(sheet["set"], "--option sndbuf=5000000 --option rcvbuf=5000000");
    for words in [["explain", "bdp", "100Mbit/s", "80ms"], ["list", "options", "--bdp", "100Mbit/s,80ms"]] {
        assert!(said(&words).contains("sndbuf=1000000"), "{words:?}");
    }
}

#[test]
fn options_are_those_of_list() {
    assert_eq!(said(&["explain", "options"]), said(&["list", "options"]));
    let sheet = meaning(&["options"], "socket_options");
    let names: Vec<&str> =
        sheet["options"].as_array().expect("rows").iter().filter_map(|row| row["name"].as_str()).collect();
    let table: Vec<&str> = switchboard::SOCKET_OPTIONS.iter().map(|option| option.name).collect();
    assert_eq!(names, table);
}

#[test]
fn what_is_not_understood_is_said_in_one_line() {
    for (words, part) in [
        (&["explain", "www.example.org"][..], "switchboard resolve www.example.org"),
        (&["explain", "no such thing"], "`no such thing` is not"),
        (&["explain", ""], "`` is not"),
        (&["explain", "2001:db8::1/32"], "explain one, as `2001:db8::1`"),
        (&["explain", "address", "256.1.1.1"], "is not an address"),
        (&["explain", "port", "65536"], "out of range"),
        (&["explain", "errno", "ENOSUCH"], "known are ECONNREFUSED"),
        (&["explain", "number", "0x"], "write it in decimal"),
        (&["explain", "number", "18446744073709551616"], "18446744073709551615"),
        (&["explain", "bdp", "1Gbit/s"], "a rate and a round-trip time"),
        (&["explain", "bdp", "1Gbit/s", "soon"], "soon"),
        (&["explain", "tpc:127.0.0.1:7"], "tpc"),
        (&["explain", "\u{1b}[31m"], "\\u{1b}"),
        (&["list", "options", "--bdp", "1Gbit/s"], "--bdp: "),
        (&["resolve", "*"], "not a name to look up"),
        (&["resolve", "no such name"], "neither an address nor a host name"),
        (&["resolve", "localhost", "65536"], "out of range"),
    ] {
        let output = run(words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{words:?}: {}", text(&output.stdout));
        assert!(stderr.starts_with("switchboard: ") && stderr.lines().count() == 1, "{words:?}: {stderr}");
        assert!(stderr.contains(part) && !stderr.contains('\u{1b}'), "{words:?}: {stderr}");
    }
    // A path may hold anything; the screen is not touched by it.
    let shown = said(&["explain", "unix:/tmp/\u{1b}[31m\n"]);
    assert!(shown.contains("/tmp/\\u{1b}[31m\\n") && !shown.contains('\u{1b}'), "{shown}");
    // One that is not understood does not keep the others back.
    let output = run(&["explain", "nonsense!", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).starts_with("127.0.0.1: an IPv4 address\n"));
}

fn resolved(words: &[&str]) -> Value {
    let line = said(&[&["resolve", "--json"], words].concat());
    let object: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!((&object["schema"], &object["version"]), (&"switchboard.resolve".into(), &1.into()), "{line}");
    object
}

fn addresses(object: &Value) -> Vec<IpAddr> {
    let rows = object["addresses"].as_array().expect("addresses");
    rows.iter().map(|row| row["address"].as_str().expect("text").parse().expect("an address")).collect()
}

#[test]
fn localhost_is_a_loopback_address() {
    let object = resolved(&["localhost", "7"]);
    let found = addresses(&object);
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{object}");
    assert_eq!(object["port"], 7);
    assert!(object["elapsed_us"].is_u64(), "{object}");
    // Between neighbours there is a reason each.
    assert_eq!(object["order"].as_array().expect("reasons").len(), found.len() - 1, "{object}");
    // The order is the resolver's: that of getaddrinfo(3), without what is there twice.
    let mut theirs = Vec::new();
    for at in std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 7)).expect("it resolves") {
        if !theirs.contains(&at.ip()) {
            theirs.push(at.ip());
        }
    }
    assert_eq!(found, theirs);
    let shown = said(&["resolve", "localhost", "--numeric"]);
    assert!(!shown.contains("reverse name"), "{shown}");
}

#[test]
fn numeric_addresses_are_their_own_names() {
    for (name, address) in
        [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("192.0.2.1", "192.0.2.1")]
    {
        let object = resolved(&[name, "--numeric"]);
        assert_eq!(addresses(&object), [address.parse::<IpAddr>().expect("an address")], "{name}");
    }
    // We send to ourselves from where we send to.
    let object = resolved(&["127.0.0.1", "-4"]);
    assert_eq!(object["addresses"][0]["sent_from"], "127.0.0.1");
    assert_eq!(object["addresses"][0]["scope"], "link");
    assert_eq!(object["addresses"][0]["precedence"], 35);
}

#[test]
fn what_does_not_resolve_has_its_exit_code() {
    for words in [
        &["resolve", "nobody.invalid"][..],
        &["resolve", "nobody.invalid", "--json"],
        &["resolve", "127.0.0.1", "-6"],
        &["resolve", "::1", "-4"],
        &["resolve", "localhost", "no-such-service"],
        &["explain", "tcp:nobody.invalid:7"],
        &["explain", "port", "no-such-service"],
        &["explain", "fe80::1%no-such-interface"],
    ] {
        let output = run(words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{words:?}: {}", text(&output.stdout));
        assert!(stderr.starts_with("switchboard: ") && stderr.lines().count() == 1, "{words:?}: {stderr}");
    }
}

/// The shape that programs rely on is the one that is written down.
#[test]
fn every_key_of_resolve_is_documented() {
    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let document = std::fs::read_to_string(DOCUMENT).expect("docs/json.md");
    let document = document.split("## resolve --json").nth(1).expect("a section");
    let document = document.split("\n## ").next().expect("its end");
    let object = resolved(&["127.0.0.1", "7"]);
    let mut keys: Vec<String> = object.as_object().expect("an object").keys().cloned().collect();
    for part in ["addresses", "order"] {
        for row in object[part].as_array().expect("an array") {
            keys.extend(row.as_object().expect("an object").keys().cloned());
        }
    }
    keys.retain(|key| !["schema", "version"].contains(&key.as_str()));
    assert!(keys.iter().any(|key| key == "source_is"), "{keys:?}");
    for key in keys {
        assert!(document.contains(&format!("`{key}`")), "`{key}` is not in docs/json.md");
    }
}
